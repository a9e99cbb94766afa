//! References, as the states of our Python objects hold them.

use std::mem::ManuallyDrop;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::error::Result;
use super::safe;

/// A reference that the state of one of our Python objects holds.
///
/// It is `Py` but for its drop. `Py` asks first whether the thread is attached, and puts off the
/// drop if PyO3 did not attach it, as in the functions that we put into slots ourselves.
pub(crate) struct Held<T>(ManuallyDrop<Py<T>>);

impl<T> Drop for Held<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference is taken once, here. The thread is attached: these stand only in
        // the state of Python objects, which is touched through `Shared` or freed by the
        // interpreter, and in local variables of functions that were called by it.
        unsafe {
            drop(ManuallyDrop::take(&mut self.0).into_bound(Python::assume_attached()));
        }
    }
}

impl<T> Held<T> {
    /// The object.
    #[inline]
    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, T> {
        self.0.bind(py)
    }

    /// One more reference.
    #[inline]
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(ManuallyDrop::new(self.0.clone_ref(py)))
    }

    /// The reference itself.
    #[inline]
    pub(crate) fn into_bound<'py>(self, py: Python<'py>) -> Bound<'py, T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the reference is taken once, here, as `this` is not dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }.into_bound(py)
    }

    /// As PyO3 has it.
    #[inline]
    pub(crate) fn as_py(&self) -> &Py<T> {
        &self.0
    }

    /// Whether somebody else holds the object, too.
    #[inline]
    pub(crate) fn is_shared(&self, _py: Python<'_>) -> bool {
        // SAFETY: an object that is alive, on an attached thread.
        unsafe { ffi::Py_REFCNT(self.as_ptr()) > 1 }
    }

    /// Where the object is.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }
}

/// Keep an object for good. If somebody else was quicker, theirs stays.
///
/// The cell is locked while a pointer is written to it, and nothing else happens then.
pub(crate) fn keep<T>(cell: &PyOnceLock<Py<T>>, object: Bound<'_, T>) {
    let py = object.py();
    if let Err(late) = cell.set(py, object.unbind()) {
        drop(late.into_bound(py));
    }
}

/// A string that is the same object wherever it is used as a name.
pub(crate) fn new_interned<'py>(py: Python<'py>, text: &str) -> Result<Bound<'py, PyString>> {
    let mut string = PyString::from_bytes(py, text.as_bytes())?;
    safe::intern(py, &mut string);
    Ok(string)
}

/// What can be held.
pub(crate) trait Hold {
    /// The class of the object.
    type Class;
    /// Hold this.
    fn hold(self) -> Held<Self::Class>;
}

impl<T> Hold for Bound<'_, T> {
    type Class = T;
    #[inline]
    fn hold(self) -> Held<T> {
        Held(ManuallyDrop::new(self.unbind()))
    }
}
