//! Deferreds made of results, failures and calls that are over.

use pyo3::prelude::*;

use crate::binding::capi::{
    Hold,
    error::{Error, Result},
};
use crate::binding::judge::{
    classify::{as_deferred, claimed_class, classify, classify_as, unless_interrupted},
    debug::debugging_by_default,
    failure, foreign,
    ordinary::{is_known_ordinary, is_ordinary},
};
use crate::binding::model::{
    deferred::Deferred,
    outcome::{Chain, Outcome},
};
use crate::binding::waits::firing::{fired, make, reason_of};

/// What `succeed` does.
#[inline]
pub(crate) fn of_result<'py>(result: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    if is_known_ordinary(&result) { of_value(result) } else { of_result_to_be_asked(result) }
}

/// `succeed`, of what has to be looked at.
#[inline(never)]
fn of_result_to_be_asked<'py>(result: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = result.py();
    let outcome = classify(&result)?;
    let deferred = make(py, Chain::default)?;
    // By hand, as in Twisted's: a Failure that is passed as a result is not watched over.
    let before = deferred.get().chain(py, |chain| chain.set_fired(outcome));
    drop(before);
    Ok(deferred)
}

/// `succeed`, of what is known to be a value and nothing else.
#[inline]
fn of_value(value: Bound<'_, PyAny>) -> Result<Bound<'_, Deferred>> {
    let py = value.py();
    make(py, || Chain::fired(Outcome::Value(value.hold())))
}

/// What `fail` does.
pub(crate) fn of_failure<'py>(
    py: Python<'py>,
    reason: Option<Bound<'py, PyAny>>,
) -> Result<Bound<'py, Deferred>> {
    let outcome = reason_of(py, reason, || debugging_by_default(py))?;
    fired(py, outcome)
}

/// A Deferred that has failed with an error.
pub(crate) fn of_error<'py>(py: Python<'py>, error: Error) -> Result<Bound<'py, Deferred>> {
    let reason = failure::from_raised(error.into_raised(py), debugging_by_default(py)?)?;
    fired(py, Outcome::Failure(reason.hold()))
}

/// The Deferred for what a call came to that was no coroutine.
#[inline(always)]
pub(crate) fn of_returned(result: Bound<'_, PyAny>) -> Result<Bound<'_, PyAny>> {
    let deferred = if is_known_ordinary(&result) {
        of_value(result)?
    } else if as_deferred(&result).is_some() {
        return Ok(result);
    } else if is_ordinary(&result) {
        of_value(result)?
    } else {
        of_another(result)?
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
        Some(Outcome::Failure(failure)) => of_failure(py, Some(failure.into_bound(py))),
        _ => of_value(result),
    }
}
