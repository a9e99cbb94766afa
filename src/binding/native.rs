//! Methods and callables of ours as callbacks and cancellers.
//!
//! `a.addCallback(b.callback)` would be native code that calls native code, with no Python between
//! that could count how deep it goes. What such a callback does is work on the trampoline's stack
//! instead, as for what waits without being a callback. Where a call is not as plain as can be, it
//! is left to Python: what it would raise is then raised by whoever raises it.

use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::deferred::{self, Deferred, reason_of};
use super::error::Result;
use super::ffi::{self, Hold, Method};
use super::gather::{self, DeferredList, Race};
use super::generator::{self, TaskCallback};
use super::outcome::{Outcome, classify, classify_asking};
use super::run::{Answer, Work};
use super::sync::{self, DeferredQueue, Locked, Primitive};

/// What comes of calling this with an outcome and more arguments, if it is one of ours and would
/// run what waits for it. None if it is to be called.
#[inline(never)]
pub(super) fn answer<'py>(
    callable: &Bound<'py, PyAny>,
    outcome: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Option<Result<Answer<'py>>> {
    match ffi::method_of_ours(callable, outcome, args) {
        Some((method, slf, args)) => answer_of_method(method, slf, &args),
        None => answer_of_callable(callable, outcome, args),
    }
}

fn answer_of_method<'py>(
    method: Method,
    slf: Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Option<Result<Answer<'py>>> {
    let py = slf.py();
    Some(match (method, args) {
        (Method::Callback, [result]) => {
            let deferred = slf.cast_into::<Deferred>().ok()?;
            deferred::begin_fire_with(&deferred, result.clone())
                .map(|fired| after_run(deferred, fired))
        }
        (Method::Errback, [] | [_]) => {
            let deferred = slf.cast_into::<Deferred>().ok()?;
            let reason = args.first().filter(|reason| !reason.is_none()).cloned();
            reason_of(py, reason, || ffi::debugging(&deferred))
                .and_then(|reason| deferred::begin_fire(&deferred, reason))
                .map(|fired| after_run(deferred, fired))
        }
        (Method::Unpause, []) => {
            let deferred = slf.cast_into::<Deferred>().ok()?;
            let runnable = deferred.get().chain(py, |chain| chain.unpause());
            Ok(after_run(deferred, runnable))
        }
        (Method::Put, [object]) => {
            let queue = slf.cast_into::<DeferredQueue>().ok()?;
            sync::begin_put(&queue, object.clone()).map(|work| after(work, none(py)))
        }
        (Method::Release, []) => {
            let primitive = slf.cast_into::<Primitive>().ok()?;
            sync::begin_release(&primitive).map(|work| after(work, none(py)))
        }
        (Method::ReleaseAndReturn, [result]) => {
            let primitive = slf.cast_into::<Primitive>().ok()?;
            if !sync::releases_plainly(&primitive) {
                return None;
            }
            // One that cannot be asked is not lost, nor asked again.
            let (outcome, _) = classify_asking(result.clone());
            if matches!(outcome, Outcome::Deferred(_)) {
                return None;
            }
            sync::begin_release(&primitive).map(|work| after(work, outcome))
        }
        (Method::Collect, [result, index, succeeded]) => {
            let list = slf.cast_into::<DeferredList>().ok()?;
            let index = index.cast_exact::<PyInt>().ok()?.extract().ok()?;
            // One that cannot be asked is not lost, nor asked again.
            let (outcome, _) = classify_asking(result.clone());
            if matches!(outcome, Outcome::Deferred(_)) {
                return None;
            }
            gather::begin_collect(&list, result, index, succeeded)
                .map(|(work, consumed)| after(work, if consumed { none(py) } else { outcome }))
        }
        _ => return None,
    })
}

/// What overriding subclasses are given as callbacks, where our own have waiters.
fn answer_of_callable<'py>(
    callable: &Bound<'py, PyAny>,
    outcome: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Option<Result<Answer<'py>>> {
    let py = callable.py();
    if let ([], Ok(callback)) = (args, callable.cast_exact::<TaskCallback>()) {
        return Some(generator::answer_callback(callback, outcome));
    }
    if let ([], Ok(locked)) = (args, callable.cast_exact::<Locked>()) {
        let locked = locked.clone();
        return Some(sync::deliver(locked, sync::RUN, Outcome::Taken));
    }
    if let ([place], Ok(race)) = (args, callable.cast_exact::<Race>()) {
        let place = place.cast_exact::<PyInt>().ok()?.extract().ok()?;
        let race = race.clone();
        let work = classify(outcome).map(|outcome| Work::Race(race, place, outcome));
        return Some(work.map(|work| Answer::After(work, none(py))));
    }
    None
}

/// What a method that returns None leaves.
fn none(py: Python<'_>) -> Outcome {
    Outcome::Value(py.None().into_bound(py).hold())
}

fn after(work: Option<Work<'_>>, outcome: Outcome) -> Answer<'_> {
    match work {
        Some(work) => Answer::After(work, outcome),
        None => Answer::Now(outcome),
    }
}

fn after_run(deferred: Bound<'_, Deferred>, runnable: bool) -> Answer<'_> {
    let outcome = none(deferred.py());
    after(runnable.then(|| Work::Run(deferred)), outcome)
}
