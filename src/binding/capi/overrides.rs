//! Detects overridden methods, which native code then calls through Python.

use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{PyTypeInfo, Python};

use crate::binding::capi;

/// Whether an object, an instance of a subclass of `T`, overrides this method.
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
