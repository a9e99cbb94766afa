//! Finalizers, `tp_finalize`: PyO3's macros do not set that slot, and CPython does not let
//! subclasses inherit it.

use std::ptr;
use std::sync::OnceLock;

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyTuple, PyType};

use super::classes::Native;
use super::error::{Raise, Result};
use super::inspect::is_subtype;
use super::kinds::Kind;
use super::panics;
use super::slots::{Slot, fill};

/// A class with a finalizer: it runs before the collector clears a cycle that an object is part of.
pub(crate) trait Finalize: Native {
    /// Run it.
    fn finalize(object: &Bound<'_, Self>);
}

/// `tp_finalize`
extern "C" fn finalize<T: Finalize>(object: Borrowed<'_, '_, T>) {
    panics::reporting(object.py(), || T::finalize(&object));
}

/// CPython's function that looks up `__del__` and calls it: the finalizer of all classes with a
/// Python `__del__`.
static CALL_DEL: OnceLock<ffi::destructor> = OnceLock::new();

/// The finalizer of subclasses that also have a `__del__`.
extern "C" fn finalize_and_del<T: Finalize>(object: Borrowed<'_, '_, T>) {
    finalize(object);
    if let Some(call_del) = CALL_DEL.get() {
        // SAFETY: attached; an object, alive. The function stood in the slot of its class, as
        // `inherit_finalizer` has seen, and does with any object what it is for.
        unsafe { call_del(object.as_ptr()) }
    }
}

/// Set the finalizer of a new subclass of `T`.
///
/// CPython lets a class inherit one only together with `__del__`, which `T` has not. A finalizer
/// that the class has from a base written in C is kept: it may accept only objects of that base.
///
/// # Errors
///
/// `TypeError` if the class does not derive from `T`.
pub(crate) fn inherit_finalizer<T: Finalize>(class: &Bound<'_, PyType>) -> Result<()> {
    let py = class.py();
    if !is_subtype(class, &py.get_type::<T>()) {
        return Err(PyTypeError::error(py, "not a subclass"));
    }
    let finalize = match (Kind::from(class).slots(py).finalize, CALL_DEL.get()) {
        (None, _) => finalize::<T>,
        (Some(there), Some(&call_del)) if ptr::fn_addr_eq(there, call_del) => finalize_and_del::<T>,
        _ => return Ok(()),
    };
    fill(py, Kind::from(class), Slot::<T>::Finalize(finalize));
    Ok(())
}

/// Set the finalizer of `T`.
pub(crate) fn fill_finalizer<T: Finalize>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::Finalize(finalize::<T>));
}

/// Find CPython's function that calls `__del__`. Needed before `inherit_finalizer`.
///
/// # Errors
///
/// Whatever making a class raises.
pub(crate) fn find_call_of_del(py: Python<'_>) -> PyResult<()> {
    let dict = [("__del__", py.None())].into_py_dict(py)?;
    let with_del = py.get_type::<PyType>().call1(("_WithDel", PyTuple::empty(py), dict))?;
    if let Some(call_del) = Kind::from(&with_del.cast_into::<PyType>()?).slots(py).finalize {
        let _ = CALL_DEL.set(call_del);
    }
    Ok(())
}
