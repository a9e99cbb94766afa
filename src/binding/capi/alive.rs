//! References to objects that may be on their way out.

use pyo3::ffi;
use pyo3::prelude::*;

/// A new reference to an object.
///
/// # Safety
///
/// It has not been freed, and its count was not 0 just now. Nothing has run since in this thread.
#[cfg(not(all(Py_GIL_DISABLED, Py_3_14)))]
pub(super) unsafe fn lent(py: Python<'_>, object: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the thread is attached, so that nothing has run since: its count is not 0 now.
    Some(unsafe { Bound::from_borrowed_ptr(py, object) })
}

/// A new reference to an object. None if another thread is freeing it: that only the interpreter can
/// tell, which it does for objects that have been [`made_known`] to it.
///
/// # Safety
///
/// As above. Where another thread frees it, that waits for the table, which is locked.
#[cfg(all(Py_GIL_DISABLED, Py_3_14))]
pub(super) unsafe fn lent(py: Python<'_>, object: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: it has not been freed; a reference is added if there is another one.
    unsafe {
        let is_alive = ffi::PyUnstable_TryIncRef(object) != 0;
        is_alive.then(|| Bound::from_owned_ptr(py, object))
    }
}

/// Have the interpreter know of an object that somebody may ask whether it is alive.
pub(super) fn made_known<T>(_object: &Bound<'_, T>) {
    #[cfg(all(Py_GIL_DISABLED, Py_3_14))]
    // SAFETY: an object that is alive, on an attached thread.
    unsafe {
        ffi::PyUnstable_EnableTryIncRef(_object.as_ptr());
    }
}
