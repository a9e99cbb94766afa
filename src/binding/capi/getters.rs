//! Fast getters for attributes.
//!
//! PyO3's getters repeat checks that the interpreter has made already. These replace them, with the
//! same names, docstrings and setters.

use std::ffi::c_void;
use std::ptr;

use pyo3::exceptions::{PyAttributeError, PySystemError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{Borrowed, PyTypeInfo};

use super::error::{Raise, Result};
#[cfg(Py_3_12)]
use super::in_flight::new_exception;
use super::in_flight::raise_of;
use super::kinds::Kind;
#[cfg(Py_3_12)]
use super::making::new_tuple;
use super::panics;

/// An attribute of `Self::Of`, with its getter.
pub(crate) trait Read {
    /// The class.
    type Of: PyTypeInfo;
    /// The name in Python.
    const NAME: &'static str;

    /// Read it.
    fn read<'py>(of: &Bound<'py, Self::Of>) -> Result<Bound<'py, PyAny>>;

    /// The message of the AttributeError to raise instead, if it is known without any further
    /// look-up. The exception itself is made only when somebody looks at it: most programs that ask
    /// for a missing attribute use `getattr` or `hasattr`.
    #[inline(always)]
    fn missing<'a, 'py>(_of: &'a Bound<'py, Self::Of>) -> Option<&'a Bound<'py, PyString>> {
        None
    }
}

/// Raise an AttributeError with this message.
#[inline(always)]
fn raise_missing(text: &Bound<'_, PyString>) {
    let py = text.py();
    let kind = Kind::of::<PyAttributeError>(py);
    // From 3.12 on, it is made at once in any case. Most of that time goes into calling the class,
    // which parses keyword arguments.
    #[cfg(Py_3_12)]
    if let Ok(args) = new_tuple(py, [text.clone().into_any()]) {
        if let Some(error) = new_exception(&py.get_type::<PyAttributeError>(), &args) {
            raise_of(py, kind, Some(error.as_any()));
        }
        return;
    }
    raise_of(py, kind, Some(text.as_any()));
}

/// The error for deleting an attribute that can only be set. PyO3 would raise the same, but outside
/// the code that catches panics.
///
/// # Errors
///
/// Always that `AttributeError`.
pub(crate) fn no_deleter(py: Python<'_>) -> Result<()> {
    Err(PyAttributeError::error(py, "property has no deleter"))
}

/// Called by the interpreter, with an object whose type its descriptor has checked.
extern "C" fn get<R: Read>(
    of: Borrowed<'_, '_, R::Of>,
    _closure: *mut c_void,
) -> *mut ffi::PyObject {
    let py = of.py();
    if let Some(text) = R::missing(&of) {
        raise_missing(text);
        return ptr::null_mut();
    }
    panics::answering(py, || R::read(&of))
}

/// Replace PyO3's getter in the class's own descriptor.
///
/// # Errors
///
/// `SystemError` if there is no such attribute.
pub(crate) fn put<R: Read>(py: Python<'_>) -> PyResult<()> {
    type Get<'a, 'py, T> = extern "C" fn(Borrowed<'a, 'py, T>, *mut c_void) -> *mut ffi::PyObject;
    let class = py.get_type::<R::Of>();
    let slow = class.getattr("__dict__")?.get_item(R::NAME)?;
    // SAFETY: of the very type whose layout is read. Its definition is replaced by one that is
    // leaked, and so is alive for good: the same with another getter, which gets an object of the
    // class: a borrowed reference is one pointer. The interpreter looks at the definition whenever
    // the attribute is read or set.
    unsafe {
        if slow.get_type_ptr() != &raw mut ffi::PyGetSetDescr_Type {
            return Err(PySystemError::new_err("an attribute is none"));
        }
        let getter = std::mem::transmute::<Get<'_, '_, R::Of>, ffi::getter>(get::<R>);
        let descriptor = slow.as_ptr().cast::<ffi::PyGetSetDescrObject>();
        let definition = ffi::PyGetSetDef { get: Some(getter), ..*(*descriptor).d_getset };
        (*descriptor).d_getset = Box::leak(Box::new(definition));
    }
    Ok(())
}
