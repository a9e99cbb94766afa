//! Interior mutability for state that only attached threads touch.

use std::cell::UnsafeCell;

use pyo3::Python;

/// State behind a shared reference, guarded by being attached to the interpreter.
///
/// PyO3's borrow flags would work as well, but take one more word in each Deferred.
pub(crate) struct Shared<T> {
    value: UnsafeCell<T>,
    #[cfg(debug_assertions)]
    busy: std::cell::Cell<bool>,
}

// SAFETY: the value is reached only through `with`, by a thread that is attached to the
// interpreter. The module declares that it uses the GIL, so there is one such thread at a time, on
// free-threaded builds too.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Wrap a value.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            #[cfg(debug_assertions)]
            busy: std::cell::Cell::new(false),
        }
    }

    /// Make one transition.
    ///
    /// `transition` must not run any Python code, nor drop a Python object, which can run some: it
    /// would see the state half-way. Every caller is a single step of the core, which by its own
    /// rule returns what it lets go of. Debug builds check that.
    #[inline(always)]
    pub(crate) fn with<R>(&self, _py: Python<'_>, transition: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(!self.busy.replace(true), "a transition ran Python code");
        // SAFETY: no other thread is attached while `_py` is held, and on this thread no other
        // `with` on this value is under way, as no transition runs code that could begin one.
        let result = transition(unsafe { &mut *self.value.get() });
        #[cfg(debug_assertions)]
        self.busy.set(false);
        result
    }

    /// Read the value during a garbage collection.
    pub(crate) fn during_gc(&self) -> &T {
        // SAFETY: called from `__traverse__` only. The collector runs on an attached thread
        // between two pieces of Python code, and no transition is ever under way there.
        unsafe { &*self.value.get() }
    }
}
