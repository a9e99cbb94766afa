//! `succeed`, `fail`, `execute` and `maybeDeferred`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{self, error::Result, stack::Nested};
use crate::binding::face::generators::start_within;
use crate::binding::model::deferred::Deferred;
use crate::binding::waits::made;

/// Return a Deferred that has been fired with this result.
///
/// With a Failure, it has failed.
#[pyfunction]
pub(crate) fn succeed<'py>(result: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    made::of_result(result)
}

/// Return a Deferred that has been fired with this failure: a Failure, an exception, or, if left
/// out, the exception that is being handled.
///
/// Raises NoCurrentExceptionError if nothing is given and no exception is being handled.
#[pyfunction]
#[pyo3(signature = (result=None))]
pub(crate) fn fail<'py>(
    py: Python<'py>,
    result: Option<Bound<'py, PyAny>>,
) -> Result<Bound<'py, Deferred>> {
    made::of_failure(py, result)
}

/// Call a function with the other arguments, and return a Deferred that has been fired with what
/// it returned or raised.
///
/// A Deferred that it returns is a result like any other: `maybeDeferred` is for that.
#[pyfunction]
#[pyo3(signature = (callable, *args, **kwargs))]
pub(crate) fn execute<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, Deferred>> {
    let _nested = Nested::enter(callable.py())?;
    match capi::call_any_way(callable.py(), callable, args, kwargs) {
        Ok(result) => made::of_result(result),
        Err(error) => made::of_error(callable.py(), error.into()),
    }
}

/// The same, of arguments of which the last go by these names.
pub(crate) fn execute_quickly<'py>(
    callable: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, Deferred>> {
    let _nested = Nested::enter(callable.py())?;
    match capi::call_many(callable, args, names) {
        Ok(result) => made::of_result(result),
        Err(error) => made::of_error(callable.py(), error.into()),
    }
}

/// Call a function with the other arguments, and return a Deferred for what it comes to: a
/// Deferred that it returns, as it is; what a coroutine that it returns comes to; a Failure or
/// what it raises, as a failure; anything else, as a result.
#[pyfunction]
#[pyo3(name = "maybeDeferred", signature = (f, *args, **kwargs))]
pub(crate) fn maybe_deferred<'py>(
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, PyAny>> {
    let _nested = Nested::enter(f.py())?;
    called(f.py(), capi::call_any_way(f.py(), f, args, kwargs).map_err(Into::into))
}

/// The same, of arguments of which the last go by these names.
pub(crate) fn maybe_deferred_quickly<'py>(
    f: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>> {
    let _nested = Nested::enter(f.py())?;
    called(f.py(), capi::call_many(f, args, names).map_err(Into::into))
}

/// The Deferred for what a call came to.
#[inline]
fn called<'py>(py: Python<'py>, result: Result<Bound<'py, PyAny>>) -> Result<Bound<'py, PyAny>> {
    match result {
        Err(error) => Ok(made::of_error(py, error)?.into_any()),
        Ok(result) if capi::is_coroutine(&result) => Ok(start_within(result)?.into_any()),
        Ok(result) => made::of_returned(result),
    }
}
