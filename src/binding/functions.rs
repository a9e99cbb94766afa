//! The functions that make Deferreds of results, failures and calls.

use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::deferred::{self, Deferred, reason_of};
use super::error::{Error, Result};
use super::failure;
use super::ffi::stack::Nested;
use super::ffi::{self, Hold};
use super::foreign;
use super::generator;
use super::outcome::{
    Chain, Outcome, as_deferred, claimed_class, classify, classify_as, unless_interrupted,
};
use super::report;

/// Return a Deferred that has been fired with this result.
///
/// With a Failure, it has failed.
#[pyfunction]
pub(super) fn succeed<'py>(result: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    if ffi::is_known_ordinary(&result) { of_value(result) } else { succeed_with_another(result) }
}

/// `succeed`, of what has to be looked at.
#[inline(never)]
fn succeed_with_another<'py>(result: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = result.py();
    let outcome = classify(&result)?;
    let deferred = make(py, Chain::default)?;
    // By hand, as in Twisted's: a Failure that is passed as a result is not watched over.
    let before = deferred.get().chain(py, |chain| {
        chain.set_called(true);
        chain.replace_outcome(outcome)
    });
    drop(before);
    Ok(deferred)
}

/// `succeed`, of what is known to be a value and nothing else.
#[inline]
fn of_value(value: Bound<'_, PyAny>) -> Result<Bound<'_, Deferred>> {
    let py = value.py();
    make(py, || Chain::fired(Outcome::Value(value.hold())))
}

/// Return a Deferred that has been fired with this failure: a Failure, an exception, or, if left
/// out, the exception that is being handled.
///
/// Raises NoCurrentExceptionError if nothing is given and no exception is being handled.
#[pyfunction]
#[pyo3(signature = (result=None))]
pub(super) fn fail<'py>(
    py: Python<'py>,
    result: Option<Bound<'py, PyAny>>,
) -> Result<Bound<'py, Deferred>> {
    let outcome = reason_of(py, result, || ffi::debugging_by_default(py))?;
    fired(py, outcome)
}

fn failed<'py>(error: Error, py: Python<'py>) -> Result<Bound<'py, Deferred>> {
    let reason = failure::from_raised(error.into_raised(py), ffi::debugging_by_default(py)?)?;
    fired(py, Outcome::Failure(reason.hold()))
}

/// Make a Deferred. In debug mode it remembers by whom it was made.
#[inline(always)]
pub(super) fn make(py: Python<'_>, chain: impl FnOnce() -> Chain) -> Result<Bound<'_, Deferred>> {
    let deferred = ffi::new_deferred(py, chain)?;
    if ffi::debugging_by_default(py)? {
        report::remember_creator(&deferred)?;
    }
    Ok(deferred)
}

/// A Deferred that has been made and then fired, with a value or a failure and nothing else.
#[inline]
pub(super) fn fired(py: Python<'_>, outcome: Outcome) -> Result<Bound<'_, Deferred>> {
    if ffi::debugging_by_default(py)? {
        let deferred = make(py, Chain::default)?;
        deferred::fire(&deferred, outcome)?;
        return Ok(deferred);
    }
    let failed = matches!(outcome, Outcome::Failure(_));
    let deferred = ffi::new_deferred(py, || Chain::fired(outcome))?;
    if failed {
        report::rests_on_failure(&deferred)?;
    }
    Ok(deferred)
}

/// Call a function with the other arguments, and return a Deferred that has been fired with what
/// it returned or raised.
///
/// A Deferred that it returns is a result like any other: `maybeDeferred` is for that.
#[pyfunction]
#[pyo3(signature = (callable, *args, **kwargs))]
pub(super) fn execute<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, Deferred>> {
    let _nested = Nested::enter(callable.py())?;
    match ffi::call_any_way(callable, args, kwargs) {
        Ok(result) => succeed(result),
        Err(error) => failed(error.into(), callable.py()),
    }
}

/// The same, of arguments of which the last go by these names.
pub(super) fn execute_quickly<'py>(
    callable: Borrowed<'_, 'py, PyAny>,
    args: &[Borrowed<'_, 'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, Deferred>> {
    let _nested = Nested::enter(callable.py())?;
    match ffi::call_many(callable, args, names) {
        Ok(result) => succeed(result),
        Err(error) => failed(error, callable.py()),
    }
}

/// Call a function with the other arguments, and return a Deferred for what it comes to: a
/// Deferred that it returns, as it is; what a coroutine that it returns comes to; a Failure or
/// what it raises, as a failure; anything else, as a result.
#[pyfunction]
#[pyo3(name = "maybeDeferred", signature = (f, *args, **kwargs))]
pub(super) fn maybe_deferred<'py>(
    f: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, PyAny>> {
    let _nested = Nested::enter(f.py())?;
    called(f.py(), ffi::call_any_way(f, args, kwargs).map_err(Into::into))
}

/// The same, of arguments of which the last go by these names.
pub(super) fn maybe_deferred_quickly<'py>(
    f: Borrowed<'_, 'py, PyAny>,
    args: &[Borrowed<'_, 'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>> {
    let _nested = Nested::enter(f.py())?;
    called(f.py(), ffi::call_many(f, args, names))
}

/// The Deferred for what a call came to.
#[inline]
fn called<'py>(py: Python<'py>, result: Result<Bound<'py, PyAny>>) -> Result<Bound<'py, PyAny>> {
    let deferred = match result {
        Err(error) => failed(error, py)?,
        Ok(result) if ffi::is_coroutine(&result) => generator::start_within(result)?,
        Ok(result) if ffi::is_known_ordinary(&result) => of_value(result)?,
        Ok(result) if as_deferred(&result).is_some() => return Ok(result),
        Ok(result) if ffi::is_ordinary(&result) => of_value(result)?,
        Ok(result) => of_another(result)?,
    };
    Ok(deferred.into_any())
}

/// The Deferred for something that a call came to and that may pass for something else. It is asked
/// for its class once.
#[cold]
fn of_another(result: Bound<'_, PyAny>) -> Result<Bound<'_, Deferred>> {
    let py = result.py();
    let claimed = claimed_class(&result);
    if let Some(deferred) = foreign::adopt(&result)? {
        return Ok(deferred);
    }
    let outcome = claimed
        .and_then(|claimed| classify_as(&result, claimed.as_ref()))
        .map(Some)
        .or_else(|error| unless_interrupted(py, error, || None))?;
    match outcome {
        Some(Outcome::Failure(failure)) => fail(py, Some(failure.into_bound(py))),
        _ => of_value(result),
    }
}
