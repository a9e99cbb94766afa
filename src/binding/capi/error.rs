//! How our own functions make errors, and conversions from PyO3's.

use std::num::TryFromIntError;

use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{CastError, CastIntoError, PyTypeInfo};

use super::in_flight::{as_pyo3_has_it, exception_of, new_raised, new_raised_with};
pub(crate) use super::raised::{Error, Raised, Result};

/// An exception class that can be raised.
pub(crate) trait Raise: PyTypeInfo {
    /// An error of this class with a message.
    #[cold]
    fn error(py: Python<'_>, text: &str) -> Error {
        new_raised::<Self>(py, Some(text)).into()
    }

    /// An error of this class with this message; if making the message failed, that error.
    #[cold]
    fn error_saying<'py>(text: Result<Bound<'py, PyString>>) -> Error {
        match text {
            Ok(text) => {
                let py = text.py();
                new_raised_with::<Self>(py, Some(&text)).into()
            }
            Err(error) => error,
        }
    }

    /// An error of this class without a message.
    #[cold]
    fn bare_error(py: Python<'_>) -> Error {
        new_raised::<Self>(py, None).into()
    }
}

impl<T: PyTypeInfo> Raise for T {}

impl From<PyErr> for Error {
    #[cold]
    fn from(error: PyErr) -> Self {
        exception_of(error).into()
    }
}

impl From<Error> for PyErr {
    #[cold]
    fn from(error: Error) -> Self {
        as_pyo3_has_it(error)
    }
}

impl From<CastError<'_, '_>> for Error {
    #[cold]
    fn from(error: CastError<'_, '_>) -> Self {
        PyErr::from(error).into()
    }
}

impl From<CastIntoError<'_>> for Error {
    #[cold]
    fn from(error: CastIntoError<'_>) -> Self {
        PyErr::from(error).into()
    }
}

impl From<TryFromIntError> for Error {
    #[cold]
    fn from(error: TryFromIntError) -> Self {
        PyErr::from(error).into()
    }
}
