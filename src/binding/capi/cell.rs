//! Interior mutability for state that only attached threads touch.

use std::cell::UnsafeCell;
#[cfg(Py_GIL_DISABLED)]
use std::{cell::RefCell, mem::ManuallyDrop, thread::LocalKey};

use pyo3::Python;

#[cfg(Py_GIL_DISABLED)]
use super::lock::Lock;

/// State behind a shared reference, guarded by the GIL, or by a lock of its own where the
/// interpreter can do without.
///
/// PyO3's borrow flags would work as well, but take one more word in each Deferred.
pub(crate) struct Shared<T> {
    value: UnsafeCell<T>,
    #[cfg(Py_GIL_DISABLED)]
    lock: Lock,
    #[cfg(all(debug_assertions, not(Py_GIL_DISABLED)))]
    busy: std::cell::Cell<bool>,
}

// SAFETY: the value is reached only through `with`, by a thread that is attached to the
// interpreter. With the GIL there is one such thread at a time; without, the lock admits one.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Wrap a value.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            #[cfg(Py_GIL_DISABLED)]
            lock: Lock::new(),
            #[cfg(all(debug_assertions, not(Py_GIL_DISABLED)))]
            busy: std::cell::Cell::new(false),
        }
    }

    /// Make one transition.
    ///
    /// `transition` must not run any Python code, nor drop a Python object, which can run some: it
    /// would see the state half-way. Nor may it call anything that can detach the thread, such as
    /// a function that locks an object of Python's: see [`lock`](super::lock). Every caller is a
    /// single step of the core, which by its own rule returns what it lets go of. Debug builds check
    /// that.
    #[inline(always)]
    pub(crate) fn with<R>(&self, _py: Python<'_>, transition: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(Py_GIL_DISABLED)]
        let _locked = self.lock.acquire();
        #[cfg(all(debug_assertions, not(Py_GIL_DISABLED)))]
        assert!(!self.busy.replace(true), "a transition ran Python code");
        // SAFETY: no other thread is in here: it would be attached, or have the lock. On this
        // thread no other `with` on this value is under way, as no transition runs code that could
        // begin one.
        let result = transition(unsafe { &mut *self.value.get() });
        #[cfg(all(debug_assertions, not(Py_GIL_DISABLED)))]
        self.busy.set(false);
        result
    }

    /// Read the value during a garbage collection.
    pub(crate) fn during_gc(&self) -> &T {
        // SAFETY: called from `__traverse__` only. The collector runs on an attached thread
        // between two pieces of Python code, and no transition is ever under way there: without
        // the GIL, it first waits until all other threads are between two pieces of Python code or
        // detached, and no transition detaches.
        unsafe { &*self.value.get() }
    }
}

/// Whether several threads can be attached at the same time.
pub(crate) const SEVERAL_THREADS: bool = cfg!(Py_GIL_DISABLED);

/// The thread that runs a chain.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) type Runner = ();

/// The thread that runs a chain: an address that is its own as long as it lives.
#[cfg(Py_GIL_DISABLED)]
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Runner(std::num::NonZeroUsize);

#[cfg(Py_GIL_DISABLED)]
impl crate::core::Runner for Runner {
    const SEVERAL: bool = true;

    #[inline(always)]
    fn here() -> Self {
        thread_local! {
            static HERE: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
        }
        HERE.with(|here| Self(std::ptr::NonNull::from(here).addr()))
    }
}

/// State of which each thread has its own, where the interpreter can do without the GIL. Where it
/// cannot, all threads have one, which costs less to reach. Declared by [`each_thread`].
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) type EachThread<T> = Shared<T>;

/// State of which each thread has its own. Declared by [`each_thread`].
///
/// What a thread leaves in it when it ends is never freed: it may be objects of Python's, and the
/// thread is no longer attached then.
#[cfg(Py_GIL_DISABLED)]
pub(crate) struct EachThread<T: 'static>(&'static LocalKey<ManuallyDrop<RefCell<T>>>);

#[cfg(Py_GIL_DISABLED)]
impl<T> EachThread<T> {
    /// The state behind a key.
    pub(crate) const fn of(key: &'static LocalKey<ManuallyDrop<RefCell<T>>>) -> Self {
        Self(key)
    }

    /// Make one transition, as [`Shared::with`] does.
    #[inline(always)]
    pub(crate) fn with<R>(&self, _py: Python<'_>, transition: impl FnOnce(&mut T) -> R) -> R {
        self.0.with(|state| transition(&mut state.borrow_mut()))
    }
}

/// Declare an [`EachThread`].
macro_rules! each_thread {
    ($(#[$doc:meta])* static $name:ident: EachThread<$kind:ty> = $value:expr;) => {
        $(#[$doc])*
        #[cfg(not(Py_GIL_DISABLED))]
        static $name: $crate::binding::capi::cell::EachThread<$kind> =
            $crate::binding::capi::cell::Shared::new($value);

        $(#[$doc])*
        #[cfg(Py_GIL_DISABLED)]
        static $name: $crate::binding::capi::cell::EachThread<$kind> = {
            thread_local! {
                static OWN: ::std::mem::ManuallyDrop<::std::cell::RefCell<$kind>> =
                    const { ::std::mem::ManuallyDrop::new(::std::cell::RefCell::new($value)) };
            }
            $crate::binding::capi::cell::EachThread::of(&OWN)
        };
    };
}

pub(crate) use each_thread;
