//! References to objects that another thread may be freeing.

use pyo3::ffi;
use pyo3::prelude::*;

/// A new reference to an object. None if another thread is freeing it: without the GIL, that only
/// the interpreter can tell, which it does for objects that have been [`made_known`] to it.
///
/// # Safety
///
/// It has not been freed. Its count was not 0 just now, and nothing has run since in this thread;
/// or the interpreter is asked: then another thread that frees it waits for the table, which is
/// locked.
pub(super) unsafe fn lent(py: Python<'_>, object: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: it has not been freed. Where the interpreter is asked, a reference is added if there
    // is another one. Elsewhere, the thread is attached, so that nothing has run since: its count
    // is not 0 now.
    unsafe {
        #[cfg(all(Py_GIL_DISABLED, Py_3_14))]
        let reference =
            (ffi::PyUnstable_TryIncRef(object) != 0).then(|| Bound::from_owned_ptr(py, object));
        #[cfg(not(all(Py_GIL_DISABLED, Py_3_14)))]
        let reference = Some(Bound::from_borrowed_ptr(py, object));
        reference
    }
}

/// Tell the interpreter that [`lent`] may be called for an object.
pub(super) fn made_known<T>(_object: &Bound<'_, T>) {
    #[cfg(all(Py_GIL_DISABLED, Py_3_14))]
    // SAFETY: an object that is alive, on an attached thread.
    unsafe {
        ffi::PyUnstable_EnableTryIncRef(_object.as_ptr());
    }
}
