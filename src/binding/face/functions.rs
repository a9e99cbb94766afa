//! `succeed`, `fail`, `execute` and `maybeDeferred`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{self, error::Result, stack::Nested};
use crate::binding::face::generators::start_within;
use crate::binding::model::deferred::Deferred;
use crate::binding::waits::made;

/// Return a Deferred that has been fired with a result.
///
/// Arguments:
///
/// - `result`: the result. A Failure makes a failed Deferred.
///
/// ```python
/// from deferrous import succeed
///
/// succeed(42).addCallback(print)
/// ```
///
/// This prints 42.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn succeed<'py>(result: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    made::of_result(result)
}

/// Return a Deferred that has been fired with a failure.
///
/// Arguments:
///
/// - `result`: a Failure or an exception. By default, the exception that is being handled.
///
/// Errors:
///
/// - NoCurrentExceptionError: nothing is given, and no exception is being handled.
///
/// ```python
/// from deferrous import fail
///
/// fail(KeyError("name")).addErrback(lambda failure: print(failure.type.__name__))
/// ```
///
/// This prints `KeyError`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (result=None))]
pub(crate) fn fail<'py>(
    py: Python<'py>,
    result: Option<Bound<'py, PyAny>>,
) -> Result<Bound<'py, Deferred>> {
    made::of_failure(py, result)
}

/// Call a function, and return a Deferred that has been fired with its result.
///
/// Arguments:
///
/// - `callable`: the function. It is called with `args` and `kwargs`.
///
/// Returns a Deferred for what the function returned or raised. A Deferred that it returns is
/// not waited for: use `maybeDeferred` for that.
///
/// ```python
/// from deferrous import execute
///
/// execute(int, "42").addCallback(print)
/// ```
///
/// This prints 42.
#[pyfunction(crate = "crate::binding::capi::guarded")]
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

/// [`execute`] with arguments whose last ones have these names.
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

/// Call a function that may or may not return a Deferred, and return a Deferred in any case.
///
/// Arguments:
///
/// - `f`: the function. It is called with `args` and `kwargs`.
///
/// Returns a Deferred that `f` returned, as it is. If `f` returns a coroutine, that is run. A
/// Failure, or an exception that `f` raises, makes a failed Deferred; anything else is a
/// result.
///
/// Cancelling the Deferred cancels what `f` waits for.
///
/// ```python
/// from deferrous import maybeDeferred
///
/// maybeDeferred(int, "42").addCallback(print)
/// maybeDeferred(int, "x").addErrback(lambda failure: print(failure.type.__name__))
/// ```
///
/// This prints 42 and `ValueError`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "maybeDeferred", signature = (f, *args, **kwargs))]
pub(crate) fn maybe_deferred<'py>(
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, PyAny>> {
    let _nested = Nested::enter(f.py())?;
    called(f, capi::call_any_way(f.py(), f, args, kwargs).map_err(Into::into))
}

/// [`maybe_deferred`] with arguments whose last ones have these names.
#[inline(always)]
pub(crate) fn maybe_deferred_quickly<'py>(
    f: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>> {
    let _nested = Nested::enter(f.py())?;
    called(f, capi::call_many(f, args, names).map_err(Into::into))
}

/// The Deferred for the result of a call.
#[inline]
fn called<'py>(
    f: &Bound<'py, PyAny>,
    result: Result<Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>> {
    match result {
        Ok(result) if !capi::is_coroutine(&result) => made::of_returned(result),
        result => called_otherwise(f, result),
    }
}

/// The Deferred for a call that returned a coroutine, or raised.
#[inline(never)]
fn called_otherwise<'py>(
    f: &Bound<'py, PyAny>,
    result: Result<Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>> {
    Ok(match result {
        Ok(coroutine) => start_within(coroutine)?,
        Err(error) => made::of_call_that_raised(error.into_raised(f.py()), f)?,
    }
    .into_any())
}
