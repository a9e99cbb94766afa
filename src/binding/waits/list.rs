//! Collects the outcomes of a `DeferredList`.

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    again::insist,
    depth,
    error::{Error, Result},
    interned::intern,
    overrides::overrides,
    owed::owe,
    stack,
};
use crate::binding::judge::{creating, foreign};
use crate::binding::model::{
    deferred::Deferred,
    list::DeferredList,
    names,
    outcome::{Outcome, into_object, share},
};
use crate::binding::waits::{
    firing,
    work::{Answer, Waits, Work},
};
use crate::core::Flag;

/// `_cbDeferred`, without running the list. Returns the list if it has to be run, and whether the
/// failure is consumed.
pub(crate) fn begin_collect<'py>(
    list: &Bound<'py, DeferredList>,
    result: &Bound<'py, PyAny>,
    place: usize,
    succeeded: &Bound<'py, PyAny>,
) -> Result<(Option<Work<'py>>, bool)> {
    let success = stack::truth(succeeded)?;
    let ours = if success { None } else { foreign::adopt_failure(result)? };
    let fired = collect(list, place, success, ours.as_ref().unwrap_or(result))?;
    let consumed = !success && list.get().with(list.py(), |state| state.consume_errors.is_on());
    Ok((fired, consumed))
}

/// Store the outcome of the Deferred at an index. Returns the list if it has to be run.
///
/// # Errors
///
/// A MemoryError has changed nothing, unless a program's own method has raised it.
fn collect<'py>(
    list: &Bound<'py, DeferredList>,
    place: usize,
    success: bool,
    result: &Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    let py = list.py();
    let results = list.get().results(py)?;
    let succeeded = capi::new_bool(py, success);
    results.set_item(place, capi::new_tuple(py, [succeeded, result.clone()])?)?;
    let (finished, on_callback, on_errback) = list.get().with(py, |state| {
        state.finished = state.finished.saturating_add(1);
        (state.finished, state.fire_on_one_callback.is_on(), state.fire_on_one_errback.is_on())
    });
    let deferred = list.as_super();
    let fires_at_once = if success { on_callback } else { on_errback };
    // The chain is looked at only in this case, because that takes a lock without the GIL.
    if !(fires_at_once || finished == results.len())
        || deferred.get().chain(py, |chain| chain.called())
    {
        return Ok(None);
    }
    let fires_with = if success && on_callback {
        pair_of(result, place)
    } else if !success && on_errback {
        first_error(result, place)
    } else {
        Ok(Outcome::Value(results.into_any().hold()))
    };
    let outcome = match fires_with {
        Ok(outcome) => outcome,
        Err(error) if !error.is_instance_of::<PyMemoryError>(py) => return Err(error),
        Err(error) => {
            // As if it had not come.
            list.get().with(py, |state| state.finished = state.finished.saturating_sub(1));
            list.get().results(py)?.set_item(place, capi::none(py))?;
            return Err(error);
        }
    };
    let method = match outcome {
        Outcome::Failure(_) => intern!(py, "errback"),
        _ => intern!(py, "callback"),
    };
    if overrides::<Deferred>(deferred, method) {
        deferred.call_method1(method, (into_object(py, outcome),))?;
        return Ok(None);
    }
    Ok(firing::begin_fire_unless_fired(deferred, outcome)?.then(|| Work::Run(deferred.clone())))
}

/// What a list fires with on one callback.
fn pair_of(result: &Bound<'_, PyAny>, place: usize) -> Result<Outcome> {
    let py = result.py();
    let pair = capi::new_tuple(py, [result.clone(), capi::new_int(py, place as u64)?])?;
    Ok(Outcome::Value(pair.into_any().hold()))
}

/// What a list fires with on one errback.
fn first_error(result: &Bound<'_, PyAny>, place: usize) -> Result<Outcome> {
    let py = result.py();
    let place = capi::new_int(py, place as u64)?;
    // If this were refused, the list would never fire.
    let reason = depth::with_more(py, || {
        creating::from_exception(names::FIRST_ERROR.get(py)?.call1((result, place))?)
    })?;
    Ok(Outcome::Failure(reason.hold()))
}

/// An outcome could not be collected. If there was no memory for it, try again. If there is none then, the
/// list fails with that, or the outcome is collected when there is some: the list would never fire otherwise.
///
/// # Errors
///
/// The error, if it is another one, or a program's own method has raised it.
#[cold]
fn collect_again<'py>(
    list: &Bound<'py, DeferredList>,
    place: usize,
    success: bool,
    result: &Bound<'py, PyAny>,
    error: Error,
) -> Result<Option<Work<'py>>> {
    let py = list.py();
    let is_missing = || {
        let results = list.get().results(py);
        results.is_ok_and(|all| all.get_item(place).is_ok_and(|it| it.is_none()))
    };
    // If the outcome is there, a program's own method has raised the error.
    let is_refusal = |error: &Error| error.is_instance_of::<PyMemoryError>(py) && is_missing();
    if !is_refusal(&error) {
        return Err(error);
    }
    let collected = insist(py, || match collect(list, place, success, result) {
        Err(error) if !is_refusal(&error) => Ok(Err(error)),
        collected => collected.map(Ok),
    });
    let error = match collected {
        Ok(collected) => return collected,
        Err(error) => error,
    };
    let deferred = list.as_super();
    if overrides::<Deferred>(deferred, intern!(py, "errback")) {
        return Err(error);
    }
    let reason = match creating::from_raised(error.into_raised(py), false) {
        Ok(reason) => reason,
        Err(error) => {
            let collect = py.get_type::<DeferredList>().getattr(intern!(py, "_cbDeferred"))?;
            let place = capi::new_int(py, place as u64)?.into_any();
            let all = [list.as_any().clone(), result.clone(), place, capi::new_bool(py, success)];
            owe(&collect, &all, error);
            return Ok(None);
        }
    };
    let outcome = Outcome::Failure(reason.hold());
    Ok(firing::begin_fire_unless_fired(deferred, outcome)?.then(|| Work::Run(deferred.clone())))
}

impl Waits for DeferredList {
    /// Store the outcome of one item. `place` is its index.
    fn deliver<'py>(
        list: Bound<'py, DeferredList>,
        place: u32,
        outcome: Outcome,
    ) -> Result<Answer<'py>> {
        let py = list.py();
        let success = !matches!(outcome, Outcome::Failure(_));
        let passed_on = if !success && list.get().with(py, |state| state.consume_errors.is_on()) {
            Outcome::Taken
        } else {
            share(py, &outcome)
        };
        let result = into_object(py, outcome);
        let place = place as usize;
        let collected = collect(&list, place, success, &result);
        let again = |error| collect_again(&list, place, success, &result, error);
        Ok(match collected.or_else(again)? {
            Some(fired) => Answer::After(fired, passed_on),
            None => Answer::Now(passed_on),
        })
    }
}
