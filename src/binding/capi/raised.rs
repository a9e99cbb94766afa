//! Exceptions that were raised, and our `Result` type.

use std::convert::Infallible;

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::held::{Held, Hold};

/// An exception that was raised and is no longer in flight.
pub(crate) type Raised<'py> = Bound<'py, PyBaseException>;

/// An exception to raise, in one word.
///
/// It is made where the error is found. A `PyErr` may be lazy, and drops its parts in PyO3's way:
/// on a thread that PyO3 has not attached itself, as in the slots that we fill, the drop is delayed
/// until PyO3 is called again.
pub(crate) struct Error(Held<PyBaseException>);

/// A result, or an error that a Python user will see.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The exception.
    pub(crate) fn value<'py>(&self, py: Python<'py>) -> &Raised<'py> {
        self.0.bind(py)
    }

    /// The exception itself.
    pub(crate) fn into_raised(self, py: Python<'_>) -> Raised<'_> {
        self.0.into_bound(py)
    }

    /// Whether the exception is an instance of a class.
    pub(crate) fn is_instance_of<T: PyTypeInfo>(&self, py: Python<'_>) -> bool {
        self.value(py).is_instance_of::<T>()
    }
}

impl From<Raised<'_>> for Error {
    fn from(exception: Raised<'_>) -> Self {
        Self(exception.hold())
    }
}

impl From<Held<PyBaseException>> for Error {
    fn from(exception: Held<PyBaseException>) -> Self {
        Self(exception)
    }
}

impl From<Error> for Held<PyBaseException> {
    fn from(error: Error) -> Self {
        error.0
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
