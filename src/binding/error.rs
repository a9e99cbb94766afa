//! What our own functions fail with.

use std::convert::Infallible;
use std::num::TryFromIntError;
use std::ops::Deref;

use pyo3::prelude::*;
use pyo3::{CastError, CastIntoError};

/// A `PyErr` in one word.
///
/// It takes eight by itself, and so would every result of a function that may fail, which then
/// comes back through memory.
pub(super) struct Error(Box<PyErr>);

/// A result, or an error that a Python user will see.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

impl From<PyErr> for Error {
    #[cold]
    fn from(error: PyErr) -> Self {
        Self(Box::new(error))
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        *error.0
    }
}

impl Deref for Error {
    type Target = PyErr;

    fn deref(&self) -> &PyErr {
        &self.0
    }
}

impl From<CastError<'_, '_>> for Error {
    fn from(error: CastError<'_, '_>) -> Self {
        PyErr::from(error).into()
    }
}

impl From<CastIntoError<'_>> for Error {
    fn from(error: CastIntoError<'_>) -> Self {
        PyErr::from(error).into()
    }
}

impl From<TryFromIntError> for Error {
    fn from(error: TryFromIntError) -> Self {
        PyErr::from(error).into()
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
