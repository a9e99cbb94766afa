//! The error type of our own functions.

use std::convert::Infallible;
use std::num::TryFromIntError;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{CastError, CastIntoError, PyTypeInfo};

use super::{Held, Hold};
use crate::binding::capi;

/// An exception that was raised, no longer in flight.
pub(crate) type Raised<'py> = Bound<'py, PyBaseException>;

/// The exception that is to be raised, in one word.
///
/// It is made where the error is found. A `PyErr` may still have to make it, and lets go of what
/// it is made of in PyO3's way: on a thread that PyO3 has not attached, as in the slots that we
/// fill ourselves, that waits for the next call of something that PyO3 has.
pub(crate) struct Error(Held<PyBaseException>);

/// A result, or an error that a Python user will see.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be raised: classes of exceptions.
pub(crate) trait Raise: PyTypeInfo {
    /// An error of this class, with a text.
    #[cold]
    fn error(py: Python<'_>, text: &str) -> Error {
        capi::new_raised::<Self>(py, Some(text)).into()
    }

    /// An error of this class, with a text that there may have been no memory for.
    #[cold]
    fn error_saying<'py>(text: Result<Bound<'py, PyString>>) -> Error {
        match text {
            Ok(text) => {
                let py = text.py();
                capi::new_raised_with::<Self>(py, Some(&text)).into()
            }
            Err(error) => error,
        }
    }

    /// An error of this class, without a text.
    #[cold]
    fn bare_error(py: Python<'_>) -> Error {
        capi::new_raised::<Self>(py, None).into()
    }
}

impl<T: PyTypeInfo> Raise for T {}

impl Error {
    /// The exception.
    pub(crate) fn value<'py>(&self, py: Python<'py>) -> &Raised<'py> {
        self.0.bind(py)
    }

    /// The exception itself.
    pub(crate) fn into_raised(self, py: Python<'_>) -> Raised<'_> {
        self.0.into_bound(py)
    }

    /// Whether the exception is of a class.
    pub(crate) fn is_instance_of<T: PyTypeInfo>(&self, py: Python<'_>) -> bool {
        self.value(py).is_instance_of::<T>()
    }
}

impl From<Raised<'_>> for Error {
    fn from(exception: Raised<'_>) -> Self {
        Self(exception.hold())
    }
}

impl From<PyErr> for Error {
    #[cold]
    fn from(error: PyErr) -> Self {
        Self(capi::exception_of(error))
    }
}

impl From<Error> for PyErr {
    #[cold]
    fn from(error: Error) -> Self {
        capi::as_pyo3_has_it(error.0)
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

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
