//! Interior mutability for state that only attached threads touch.

use std::cell::UnsafeCell;
#[cfg(Py_GIL_DISABLED)]
use std::{cell::RefCell, mem::ManuallyDrop, num::NonZeroUsize, thread::LocalKey};

use pyo3::Python;

#[cfg(Py_GIL_DISABLED)]
use super::{byte_lock::ByteLock, here::here};

/// Interior mutability for state that several objects or threads can reach. It is guarded by the
/// GIL or, if the interpreter can run without one, by a lock of its own.
///
/// PyO3's borrow flags would also work, but take one more word in each Deferred.
pub(crate) struct Shared<T> {
    value: UnsafeCell<T>,
    #[cfg(Py_GIL_DISABLED)]
    lock: ByteLock,
    #[cfg(all(debug_assertions, not(Py_GIL_DISABLED)))]
    busy: std::cell::Cell<bool>,
}

// SAFETY: the value is reached only through `with`, by a thread that is attached to the
// interpreter. With the GIL there is one such thread at a time; without, the lock admits one.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Make a cell with this value.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            #[cfg(Py_GIL_DISABLED)]
            lock: ByteLock::new(),
            #[cfg(all(debug_assertions, not(Py_GIL_DISABLED)))]
            busy: std::cell::Cell::new(false),
        }
    }

    /// Run one transition on the state.
    ///
    /// `transition` must not run any Python code, nor drop a Python object, which can run some:
    /// that code would see a half-done transition. It must not call anything that can detach the
    /// thread either, such as a function that locks a Python object: see `lock.rs`.
    /// Every caller is a single step of the core, which returns whatever it removes. Debug builds
    /// check for nested transitions.
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

    /// The address of the value, for callers that know that nobody else can reach it.
    #[inline(always)]
    pub(super) const fn as_ptr(&self) -> *mut T {
        self.value.get()
    }

    /// Read the value during a garbage collection, or that of a dead object.
    #[inline(always)]
    pub(crate) fn during_gc(&self) -> &T {
        // SAFETY: called from `__traverse__`, and for dead objects, which nobody else can reach (for
        // them, `capi/dying` calls it). The collector runs on an attached thread
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

/// The thread that runs a chain: an address that is unique as long as the thread lives.
#[cfg(Py_GIL_DISABLED)]
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Runner(NonZeroUsize);

#[cfg(Py_GIL_DISABLED)]
impl crate::core::Runner for Runner {
    const SEVERAL: bool = true;

    #[inline(always)]
    fn here() -> Self {
        Self(NonZeroUsize::new(here()).unwrap_or(NonZeroUsize::MAX))
    }
}

/// State that each thread has of its own, if the interpreter can run without the GIL. Otherwise,
/// all threads share one, which is cheaper to access. Declared by [`each_thread`].
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) type EachThread<T> = Shared<T>;

/// State that each thread has of its own. Declared by [`each_thread`].
///
/// What is left in it when a thread ends is never freed: it may contain Python objects, and the
/// thread is no longer attached then. [`free_if_empty`](Self::free_if_empty) frees the memory of nothing.
#[cfg(Py_GIL_DISABLED)]
pub(crate) struct EachThread<T: 'static>(&'static LocalKey<ManuallyDrop<RefCell<T>>>);

#[cfg(Py_GIL_DISABLED)]
impl<T> EachThread<T> {
    /// The state behind a key.
    pub(crate) const fn of(key: &'static LocalKey<ManuallyDrop<RefCell<T>>>) -> Self {
        Self(key)
    }

    /// Run one transition, as [`Shared::with`] does.
    #[inline(always)]
    pub(crate) fn with<R>(&self, _py: Python<'_>, transition: impl FnOnce(&mut T) -> R) -> R {
        self.0.with(|state| transition(&mut state.borrow_mut()))
    }
}

#[cfg(Py_GIL_DISABLED)]
impl<T> EachThread<Vec<T>> {
    /// Free the memory of a vector in which nothing is. The thread need not be attached for that.
    pub(crate) fn free_if_empty(&self) {
        let _ = self.0.try_with(|state| {
            let mut all = state.try_borrow_mut().ok()?;
            all.is_empty().then(|| all.shrink_to_fit())
        });
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
