//! Calling what stands in a chain.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::ffi;
use super::names;
use super::outcome::Raised;

/// A callable and what to pass it after the outcome.
///
/// One word: the callable itself, or, where there are extra arguments, a tuple of the callable,
/// the positional ones and the ones by keyword (`None` for none). A tuple is not callable, so
/// there is no doubt which it is; a tuple that somebody adds as a callback is itself wrapped.
pub(super) struct Callback(Py<PyAny>);

impl Callback {
    /// A callable that gets the outcome and nothing else.
    #[inline]
    pub(super) fn plain(callable: Bound<'_, PyAny>) -> PyResult<Self> {
        if callable.is_exact_instance_of::<PyTuple>() {
            let py = callable.py();
            return Self::wrapped(&callable, PyTuple::empty(py).as_any(), None);
        }
        Ok(Self(callable.unbind()))
    }

    /// A callable that gets the outcome and these.
    ///
    /// `args` and `kwargs` are usually a tuple and a dict, but may be whatever a call can spread,
    /// and what they hold then may still change until the call.
    pub(super) fn with_arguments(
        callable: Bound<'_, PyAny>,
        args: &Bound<'_, PyAny>,
        kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if kwargs.is_none() && args.cast_exact::<PyTuple>().is_ok_and(|args| args.is_empty()) {
            return Self::plain(callable);
        }
        Self::wrapped(&callable, args, kwargs)
    }

    fn wrapped(
        callable: &Bound<'_, PyAny>,
        args: &Bound<'_, PyAny>,
        kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self((callable, args, kwargs).into_pyobject(callable.py())?.into_any().unbind()))
    }

    /// Another hold on the same callable.
    pub(super) fn share(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// Call it.
    ///
    /// # Errors
    ///
    /// What it raises.
    #[inline]
    pub(super) fn call<'py>(
        &self,
        outcome: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>, Raised<'py>> {
        let callable = self.0.bind(outcome.py());
        match callable.cast_exact::<PyTuple>() {
            Err(_) => ffi::call_one(callable, outcome),
            Ok(parts) => Self::call_with_arguments(parts, outcome),
        }
    }

    fn call_with_arguments<'py>(
        parts: &Bound<'py, PyTuple>,
        outcome: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>, Raised<'py>> {
        let (callable, args, kwargs) = Self::parts(parts).map_err(ffi::into_raised(parts.py()))?;
        match (args.cast_exact::<PyTuple>(), &kwargs) {
            (Ok(args), None) => ffi::call_spread(&callable, outcome, args, None),
            (Ok(args), Some(kwargs)) if kwargs.is_exact_instance_of::<PyDict>() => {
                ffi::call_spread(&callable, outcome, args, kwargs.cast().ok())
            }
            _ => {
                // Lists, iterators, mappings: Python knows what to make of them, or what to raise.
                let py = outcome.py();
                let kwargs = kwargs.unwrap_or_else(|| PyDict::new(py).into_any());
                names::SPREAD
                    .get(py)
                    .and_then(|spread| spread.call1((callable, outcome, args, kwargs)))
                    .map_err(ffi::into_raised(py))
            }
        }
    }

    #[allow(clippy::type_complexity)]
    fn parts<'py>(
        parts: &Bound<'py, PyTuple>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        let kwargs = parts.get_item(2)?;
        Ok((
            parts.get_item(0)?,
            parts.get_item(1)?,
            if kwargs.is_none() { None } else { Some(kwargs) },
        ))
    }

    /// The callable alone.
    pub(super) fn callable<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let callable = self.0.bind(py);
        match callable.cast_exact::<PyTuple>() {
            Err(_) => Ok(callable.clone()),
            Ok(parts) => parts.get_item(0),
        }
    }

    /// As a tuple of callable, positional arguments and arguments by keyword.
    pub(super) fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let callable = self.0.bind(py);
        match callable.cast_exact::<PyTuple>() {
            Err(_) => (callable, PyTuple::empty(py), PyDict::new(py)).into_pyobject(py),
            Ok(parts) => {
                let (callable, args, kwargs) = Self::parts(parts)?;
                let kwargs = kwargs.unwrap_or_else(|| PyDict::new(py).into_any());
                (callable, args, kwargs).into_pyobject(py)
            }
        }
    }

    /// Show what is held to the garbage collector.
    pub(super) fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}
