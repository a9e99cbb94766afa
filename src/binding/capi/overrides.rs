//! Subclasses with their own idea of a method: what would call it natively calls theirs.

use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{PyTypeInfo, Python};

use crate::binding::capi;

/// Whether the class of an object has another method under this name than `T`, of which it is an
/// instance.
#[inline(always)]
pub(crate) fn overrides<T: PyTypeInfo>(
    object: &Bound<'_, PyAny>,
    method: &Bound<'_, PyString>,
) -> bool {
    let py: Python<'_> = object.py();
    if object.get_type_ptr() == T::type_object_raw(py) {
        return false;
    }
    capi::lookup(&object.get_type(), method) != capi::lookup(&py.get_type::<T>(), method)
}
