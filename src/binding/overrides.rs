//! Subclasses with their own idea of a method: what would call it natively calls theirs.

use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{PyTypeInfo, Python};

/// Whether the class of an object has another method under this name than `T`, of which it is an
/// instance.
#[inline]
pub(super) fn overrides<T: PyTypeInfo>(
    object: &Bound<'_, PyAny>,
    method: &Bound<'_, PyString>,
) -> bool {
    let py: Python<'_> = object.py();
    if object.get_type_ptr() == T::type_object_raw(py) {
        return false;
    }
    match (object.get_type().getattr(method), py.get_type::<T>().getattr(method)) {
        (Ok(theirs), Ok(ours)) => !theirs.is(&ours),
        _ => true,
    }
}
