//! Return values of CPython functions that can raise.

use std::ffi::c_int;

use pyo3::prelude::*;

use super::conversions::{FromC, FromNew};
use super::in_flight::raised_by_call;
use super::raised::{Raised, Result};

/// The result of a function that makes an object.
pub(super) type New<'py, T> = Result<Bound<'py, T>>;

/// The result of a call: what it returned or raised.
pub(super) type Called<'py> = Result<Bound<'py, PyAny>, Raised<'py>>;

/// The result of a function that returns a status, or -1 with an exception.
pub(super) type Status<'py> = Result<c_int, Raised<'py>>;

/// A new reference to an object of the class, or null with an exception in flight.
impl<'py, T, E: From<Raised<'py>>> FromNew<'py> for Result<Bound<'py, T>, E> {
    type Class = T;

    #[inline(always)]
    fn from_new(py: Python<'py>, object: Option<Bound<'py, T>>) -> Self {
        match object {
            Some(object) => Ok(object),
            None => Err(raised_by_call(py).into()),
        }
    }
}

/// A negative number with an exception in flight, or another.
impl<'py> FromC<'py, c_int> for Status<'py> {
    #[inline(always)]
    unsafe fn from_c(py: Python<'py>, status: c_int) -> Self {
        if status < 0 { Err(raised_by_call(py)) } else { Ok(status) }
    }
}
