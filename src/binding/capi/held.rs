//! Owned references to Python objects.

use std::mem::ManuallyDrop;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// An owned reference, for the fields of our Python objects.
///
/// Unlike `Py`, it is dropped at once. `Py` first checks whether PyO3 itself has attached the
/// thread, and otherwise delays the drop; in the functions that we put into type slots ourselves,
/// it has not.
#[repr(transparent)]
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
    /// Borrow the object.
    #[inline]
    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, T> {
        self.0.bind(py)
    }

    /// A new reference to the same object.
    #[inline]
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(ManuallyDrop::new(self.0.clone_ref(py)))
    }

    /// Convert into the reference itself.
    #[inline]
    pub(crate) fn into_bound<'py>(self, py: Python<'py>) -> Bound<'py, T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the reference is taken once, here, as `this` is not dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }.into_bound(py)
    }

    /// Convert to PyO3's type.
    #[inline]
    pub(crate) fn as_py(&self) -> &Py<T> {
        &self.0
    }

    /// The object's address.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }
}

/// Store an object in a cell forever, unless the cell is full already.
///
/// The cell is locked only while one pointer is written.
pub(crate) fn keep<T>(cell: &PyOnceLock<Py<T>>, object: Bound<'_, T>) {
    let py = object.py();
    if let Err(late) = cell.set(py, object.unbind()) {
        drop(late.into_bound(py));
    }
}

/// Conversion into [`Held`].
pub(crate) trait Hold {
    /// The class of the object.
    type Class;
    /// Convert.
    fn hold(self) -> Held<Self::Class>;
}

impl<T> Hold for Bound<'_, T> {
    type Class = T;
    #[inline]
    fn hold(self) -> Held<T> {
        Held(ManuallyDrop::new(self.unbind()))
    }
}
