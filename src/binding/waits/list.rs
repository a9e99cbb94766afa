//! Collects the outcomes of a `DeferredList`.

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold, depth, error::Result, interned::intern, overrides::overrides, stack,
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
fn collect<'py>(
    list: &Bound<'py, DeferredList>,
    place: usize,
    success: bool,
    result: &Bound<'py, PyAny>,
) -> PyResult<Option<Work<'py>>> {
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
    let (method, outcome) = if success && on_callback {
        let pair = capi::new_tuple(py, [result.clone(), capi::new_int(py, place as u64)?])?;
        (intern!(py, "callback"), Outcome::Value(pair.into_any().hold()))
    } else if !success && on_errback {
        let place = capi::new_int(py, place as u64)?;
        // If this were refused, the list would never fire.
        let reason = depth::with_more(py, || {
            creating::from_exception(names::FIRST_ERROR.get(py)?.call1((result, place))?)
        })?;
        (intern!(py, "errback"), Outcome::Failure(reason.hold()))
    } else {
        (intern!(py, "callback"), Outcome::Value(results.into_any().hold()))
    };
    if overrides::<Deferred>(deferred, method) {
        deferred.call_method1(method, (into_object(py, outcome),))?;
        return Ok(None);
    }
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
        Ok(match collect(&list, place as usize, success, &result)? {
            Some(fired) => Answer::After(fired, passed_on),
            None => Answer::Now(passed_on),
        })
    }
}
