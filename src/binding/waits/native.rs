//! Our own methods and callables as callbacks and cancellers.
//!
//! With `a.addCallback(b.callback)`, native code would call native code, unseen by Python's
//! recursion limit. So such a callback becomes work for the engine, like the answer of a waiter.
//! Unusual calls, for instance with wrong arguments, go through Python, which raises the usual
//! errors.

use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::binding::capi::{Hold, error::Result, methods::KnownMethods};
use crate::binding::judge::{
    classify::{classify, classify_asking},
    debug::debugging,
};
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    list::DeferredList,
    outcome::Outcome,
    primitive::{LockRun, Primitive},
    queue::DeferredQueue,
    race::Race,
    task::TaskCallback,
};
use crate::binding::waits::{
    firing::{self, reason_of},
    handing_over, list, lock_run, task,
    work::{Answer, Waits, Work},
};

/// A method of ours that may run the callbacks of other Deferreds.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    /// `Deferred.callback`
    Callback,
    /// `Deferred.errback`
    Errback,
    /// `Deferred.unpause`
    Unpause,
    /// `DeferredQueue.put`
    Put,
    /// `release`, of locks and semaphores
    Release,
    /// `_releaseAndReturn`, likewise
    ReleaseAndReturn,
    /// `DeferredList._cbDeferred`
    Collect,
}

/// The table of these methods.
pub(crate) static METHODS: KnownMethods<Method, 9> = KnownMethods::new();

/// Handle a callback without calling it, if it is one of our methods that [`answer`] knows.
pub(crate) fn answer_callback<'py>(
    callback: &Callback,
    outcome: &Bound<'py, PyAny>,
) -> Option<Result<Answer<'py>>> {
    let (callable, args) = callback.without_keywords(outcome.py())?;
    answer(callable, outcome, args)
}

/// Handle a call of one of our methods, with an outcome and more arguments, without making the
/// call. None if it has to be made.
#[inline(never)]
pub(crate) fn answer<'py>(
    callable: &Bound<'py, PyAny>,
    outcome: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Option<Result<Answer<'py>>> {
    match METHODS.call_of(callable, outcome, args) {
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
            firing::begin_fire_with(&deferred, result.clone()).map(|work| after(work, none(py)))
        }
        (Method::Errback, [] | [_]) => {
            let deferred = slf.cast_into::<Deferred>().ok()?;
            let reason = args.first().filter(|reason| !reason.is_none()).cloned();
            reason_of(py, reason, || debugging(&deferred))
                .and_then(|reason| firing::begin_fire(&deferred, reason))
                .map(|fired| after_run(deferred, fired))
        }
        (Method::Unpause, []) => {
            let deferred = slf.cast_into::<Deferred>().ok()?;
            let runnable = deferred.get().chain(py, |chain| chain.unpause());
            Ok(after_run(deferred, runnable))
        }
        (Method::Put, [object]) => {
            let queue = slf.cast_into::<DeferredQueue>().ok()?;
            handing_over::begin_put(&queue, object.clone()).map(|work| after(work, none(py)))
        }
        (Method::Release, []) => {
            let primitive = slf.cast_into::<Primitive>().ok()?;
            handing_over::begin_release(&primitive).map(|work| after(work, none(py)))
        }
        (Method::ReleaseAndReturn, [result]) => {
            let primitive = slf.cast_into::<Primitive>().ok()?;
            if !handing_over::releases_plainly(&primitive) {
                return None;
            }
            // A result that cannot be classified is a value. It is not classified again.
            let (outcome, _) = classify_asking(result.clone());
            if matches!(outcome, Outcome::Deferred(_)) {
                return None;
            }
            handing_over::begin_release(&primitive).map(|work| after(work, outcome))
        }
        (Method::Collect, [result, index, succeeded]) => {
            let list = slf.cast_into::<DeferredList>().ok()?;
            let index = index.cast_exact::<PyInt>().ok()?.extract().ok()?;
            // A result that cannot be classified is a value. It is not classified again.
            let (outcome, _) = classify_asking(result.clone());
            if matches!(outcome, Outcome::Deferred(_)) {
                return None;
            }
            list::begin_collect(&list, result, index, succeeded)
                .map(|(work, consumed)| after(work, if consumed { none(py) } else { outcome }))
        }
        _ => return None,
    })
}

/// Our waiters used as callbacks, for subclasses that override `addBoth` and the like.
fn answer_of_callable<'py>(
    callable: &Bound<'py, PyAny>,
    outcome: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Option<Result<Answer<'py>>> {
    let py = callable.py();
    if let ([], Ok(callback)) = (args, callable.cast_exact::<TaskCallback>()) {
        return Some(task::answer_callback(callback, outcome));
    }
    if let ([], Ok(call)) = (args, callable.cast_exact::<LockRun>()) {
        return Some(LockRun::deliver(call.clone(), lock_run::RUN, Outcome::Taken));
    }
    if let ([place], Ok(race)) = (args, callable.cast_exact::<Race>()) {
        let place = place.cast_exact::<PyInt>().ok()?.extract().ok()?;
        let race = race.clone();
        let work = classify(outcome).map(|outcome| Work::Race(race, place, outcome));
        return Some(work.map(|work| Answer::After(work, none(py))));
    }
    None
}

/// The outcome of a method that returns None.
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
