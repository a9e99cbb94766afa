//! Makes fired Deferreds from results, failures and finished calls.

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    error::{Error, Raised, Result},
};
use crate::binding::judge::{
    classify::{as_deferred, claimed_class, classify, classify_as, unless_interrupted},
    creating,
    debug::debugging_by_default,
    foreign, notes,
    ordinary::{is_known_ordinary, is_ordinary},
};
use crate::binding::model::{
    deferred::Deferred,
    observe,
    outcome::{Chain, Outcome},
};
use crate::binding::waits::firing::{fired, make, reason_of};

/// `succeed`.
#[inline]
pub(crate) fn of_result<'py>(result: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    if is_known_ordinary(&result) { of_value(result) } else { of_result_to_be_asked(result) }
}

/// [`of_result`] for an object that has to be classified.
#[inline(never)]
fn of_result_to_be_asked<'py>(result: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = result.py();
    let outcome = classify(&result)?;
    let deferred = make(py, Chain::default)?;
    // As with Twisted, a Failure that is passed as a result is not reported as unhandled.
    observe::fired(&deferred, &outcome);
    let before = deferred.get().chain(py, |chain| chain.set_fired(outcome));
    drop(before);
    Ok(deferred)
}

/// [`of_result`] for an object that is certainly a value.
#[inline]
fn of_value(value: Bound<'_, PyAny>) -> Result<Bound<'_, Deferred>> {
    let py = value.py();
    make(py, || Chain::fired(Outcome::Value(value.hold())))
}

/// `fail`.
pub(crate) fn of_failure<'py>(
    py: Python<'py>,
    reason: Option<Bound<'py, PyAny>>,
) -> Result<Bound<'py, Deferred>> {
    let outcome = reason_of(py, reason, || debugging_by_default(py))?;
    fired(py, outcome)
}

/// Make a Deferred that has failed with an error.
pub(crate) fn of_error<'py>(py: Python<'py>, error: Error) -> Result<Bound<'py, Deferred>> {
    let reason = creating::from_raised(error.into_raised(py), debugging_by_default(py)?)?;
    fired(py, Outcome::Failure(reason.hold()))
}

/// Make a Deferred that has failed with what a function raised. If nothing else tells which
/// function that was, a note is added to the exception.
pub(crate) fn of_call_that_raised<'py>(
    raised: Raised<'py>,
    function: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let py = raised.py();
    let raised = if capi::traceback_of(&raised).is_none() {
        notes::name_function(raised, function)
    } else {
        raised
    };
    of_error(py, raised.into())
}

/// Make the Deferred for the result of a call, which is not a coroutine.
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

/// [`of_returned`] for an object that has to be classified. Its class is looked up only once.
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
