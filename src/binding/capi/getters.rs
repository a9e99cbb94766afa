//! Fast getters and setters for attributes.
//!
//! PyO3's repeat checks that the interpreter has made already. These replace them, with the same
//! names and docstrings.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::exceptions::{PyAttributeError, PySystemError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{Borrowed, PyTypeInfo};

use super::error::{Raise, Result};
#[cfg(Py_3_12)]
use super::in_flight::new_exception;
use super::in_flight::{raise_of, restore};
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

/// Such an attribute that can be set.
pub(crate) trait Write: Read {
    /// Set it, or delete it if there is no value.
    fn write<'py>(of: &Bound<'py, Self::Of>, value: Option<&Bound<'py, PyAny>>) -> Result<()>;
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

/// Called by the interpreter, with such an object, and with what is to be set, or null to delete.
extern "C" fn set<'py, W: Write>(
    of: Borrowed<'_, 'py, W::Of>,
    value: Option<Borrowed<'_, 'py, PyAny>>,
    _closure: *mut c_void,
) -> c_int {
    let py = of.py();
    match panics::catching(py, || W::write(&of, value.as_deref())) {
        Ok(()) => 0,
        Err(error) => {
            restore(error.into_raised(py));
            -1
        }
    }
}

type Get<'a, 'py, T> = extern "C" fn(Borrowed<'a, 'py, T>, *mut c_void) -> *mut ffi::PyObject;
type Set<'a, 'py, T> =
    extern "C" fn(Borrowed<'a, 'py, T>, Option<Borrowed<'a, 'py, PyAny>>, *mut c_void) -> c_int;

/// Replace PyO3's getter in the class's own descriptor.
///
/// # Errors
///
/// `SystemError` if there is no such attribute.
pub(crate) fn put<R: Read>(py: Python<'_>) -> PyResult<()> {
    put_both::<R>(py, None)
}

/// Replace PyO3's getter, setter and deleter.
///
/// # Errors
///
/// As [`put`].
pub(crate) fn put_settable<W: Write>(py: Python<'_>) -> PyResult<()> {
    put_both::<W>(py, Some(set::<W>))
}

fn put_both<R: Read>(py: Python<'_>, setter: Option<Set<'_, '_, R::Of>>) -> PyResult<()> {
    let class = py.get_type::<R::Of>();
    let slow = class.getattr("__dict__")?.get_item(R::NAME)?;
    // SAFETY: of the very type whose layout is read. Its definition is replaced by one that is
    // leaked, and so is alive for good: the same with another getter, and perhaps another setter.
    // Both get an object of the class, the setter also what is to be set, or null: a borrowed
    // reference is one pointer. The interpreter looks at the definition whenever the attribute is
    // read or set.
    unsafe {
        if slow.get_type_ptr() != &raw mut ffi::PyGetSetDescr_Type {
            return Err(PySystemError::new_err("an attribute is none"));
        }
        let getter = std::mem::transmute::<Get<'_, '_, R::Of>, ffi::getter>(get::<R>);
        let setter =
            setter.map(|setter| std::mem::transmute::<Set<'_, '_, R::Of>, ffi::setter>(setter));
        let descriptor = slow.as_ptr().cast::<ffi::PyGetSetDescrObject>();
        let before = *(*descriptor).d_getset;
        let definition =
            ffi::PyGetSetDef { get: Some(getter), set: setter.or(before.set), ..before };
        (*descriptor).d_getset = Box::leak(Box::new(definition));
    }
    Ok(())
}
