//! Says what happens to Deferreds, for `trace`. Where that is not wanted, one flag is read.
//!
//! Nothing here runs code of a program's, or keeps anything alive but code objects and names.

use pyo3::prelude::*;

use crate::binding::capi::{
    self,
    events::{Kind, record},
    interned::intern,
    lives, places,
};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::outcome::share;
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    names,
    outcome::{Chain, Outcome},
    task::Task,
};

pub(crate) use crate::binding::capi::events::tracing;

/// What an outcome is, as a number that `_trace.py` knows.
fn number_of(outcome: &Outcome) -> u32 {
    match outcome {
        Outcome::Empty => 0,
        Outcome::Taken => 1,
        Outcome::Value(_) => 2,
        Outcome::Failure(_) => 3,
        Outcome::Deferred(_) => 4,
    }
}

/// The same of a chain. 0 if it has not been fired.
pub(crate) fn number_of_chain(chain: &Chain) -> u32 {
    if chain.called() { number_of(chain.outcome()) } else { 0 }
}

fn address<T>(object: &Bound<'_, T>) -> usize {
    object.as_ptr() as usize
}

/// A Deferred is being fired.
#[inline(always)]
pub(crate) fn fired(deferred: &Bound<'_, Deferred>, outcome: &Outcome) {
    if tracing() {
        note_fired(deferred, outcome);
    }
}

#[cold]
fn note_fired(deferred: &Bound<'_, Deferred>, outcome: &Outcome) {
    if !deferred.get().chain(deferred.py(), |chain| chain.called()) {
        record(deferred.py(), Kind::Fired, address(deferred), 0, number_of(outcome));
    }
}

/// A Deferred has been fired, in a step that could not say so.
#[cfg(Py_GIL_DISABLED)]
pub(crate) fn was_fired(deferred: &Bound<'_, Deferred>) {
    if tracing() {
        let py = deferred.py();
        let outcome = deferred.get().chain(py, |chain| share(py, chain.outcome()));
        record(py, Kind::Fired, address(deferred), 0, number_of(&outcome));
    }
}

/// A Deferred is being cancelled.
#[inline(always)]
pub(crate) fn cancelled(deferred: &Bound<'_, Deferred>) {
    if tracing() {
        record(deferred.py(), Kind::Cancelled, address(deferred), 0, 0);
    }
}

/// A Deferred waits for another, which one of its callbacks has returned.
#[inline(always)]
pub(crate) fn chained(deferred: &Bound<'_, Deferred>, other: &Bound<'_, Deferred>) {
    if tracing() {
        record(deferred.py(), Kind::Chained, address(deferred), address(other), 0);
    }
}

/// A Deferred, whose value is there, has died with a failure that nobody has handled.
pub(crate) fn unhandled(py: Python<'_>, deferred: &Deferred) {
    if tracing() {
        record(py, Kind::Unhandled, lives::address_of(deferred), 0, 0);
    }
}

/// The outcome of a Deferred has been taken by whoever waited for it.
#[cold]
pub(crate) fn taken(deferred: &Bound<'_, Deferred>, outcome: &Outcome) {
    if matches!(outcome, Outcome::Failure(_)) && tracing() {
        record(deferred.py(), Kind::Handled, address(deferred), 0, 0);
    }
}

/// Somebody who is no generator has got the failure of a Deferred, and has left it this.
pub(crate) fn took_failure(deferred: &Bound<'_, Deferred>, left: &Outcome) {
    if !matches!(left, Outcome::Failure(_)) && tracing() {
        record(deferred.py(), Kind::Handled, address(deferred), 0, 0);
    }
}

/// One of its callbacks is to be called. Returns what its end is to be told.
#[cold]
pub(crate) fn begins<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: impl FnOnce() -> Option<Bound<'py, PyAny>>,
) -> Option<u32> {
    let py = deferred.py();
    if !tracing() {
        return None;
    }
    let place = callable().map_or(places::NOWHERE, place_of);
    record(py, Kind::Begins, address(deferred), 0, place);
    Some(deferred.get().chain(py, |chain| number_of(chain.outcome())))
}

/// As [`begins`], for a callback with its arguments.
pub(crate) fn callback_begins(deferred: &Bound<'_, Deferred>, callback: &Callback) -> Option<u32> {
    let py = deferred.py();
    if tracing() { begins(deferred, || capi::ok(py, callback.callable(py))) } else { None }
}

/// It has ended so. None if that is not to be had.
pub(crate) fn callback_ends(
    deferred: &Bound<'_, Deferred>,
    begun: Option<u32>,
    outcome: Option<&Outcome>,
) {
    if let Some(before) = begun {
        let after = outcome.map_or(1, number_of);
        record(deferred.py(), Kind::Ends, address(deferred), 0, before * 8 + after);
    }
}

/// Where it is written what a callback does, or else its name.
fn place_of(mut callable: Bound<'_, PyAny>) -> u32 {
    let py = callable.py();
    // Partials of partials are one, usually.
    for _ in 0..10 {
        match capi::ok(py, names::PARTIAL.get(py)) {
            Some(partial) if callable.get_type().is(partial) => {}
            _ => break,
        }
        // As the class itself has it, which no dict of an object's comes before.
        match capi::ok(py, callable.getattr(intern!(py, "func"))) {
            Some(inner) => callable = inner,
            None => break,
        }
    }
    places::of_callable(&callable)
}

/// The Deferred that a task is to fire, where a generator has one.
pub(crate) fn of_driven(driven: &Bound<'_, PyAny>) -> usize {
    match driven.cast_exact::<Task>() {
        Ok(task) => task.get().with(driven.py(), |state| {
            state.deferred.as_ref().map_or(0, |deferred| deferred.as_ptr() as usize)
        }),
        Err(_) => 0,
    }
}

/// What a generator is resumed with. If that is a failure, the Deferred that it waited for has
/// handed it over.
pub(crate) fn resumed(driven: &Bound<'_, PyAny>, run: &lives::Running, outcome: &Outcome) {
    let py = driven.py();
    if !tracing() {
        return;
    }
    if let (Outcome::Failure(_), Ok(task)) = (outcome, driven.cast_exact::<Task>()) {
        let waited = task.get().with(py, |state| {
            state.waiting_on.as_ref().map_or(0, |deferred| deferred.as_ptr() as usize)
        });
        record(py, Kind::Handled, waited, 0, 0);
    }
    let kind = if run.starts { Kind::Started } else { Kind::Resumed };
    let detail = if run.starts { run.code() } else { run.code() * 8 + number_of(outcome) };
    record(py, kind, run.number(), of_driven(driven), detail);
}

/// It waits for a Deferred, or for something else.
pub(crate) fn suspended(py: Python<'_>, run: &lives::Running, on: Option<&Bound<'_, Deferred>>) {
    if tracing() {
        record(py, Kind::Suspended, run.number(), on.map_or(0, address), run.code());
    }
}

/// It has ended.
pub(crate) fn ended(driven: &Bound<'_, PyAny>, run: &lives::Running, raised: bool) {
    if tracing() {
        let detail = u32::from(raised);
        record(driven.py(), Kind::Ended, run.number(), of_driven(driven), detail);
    }
}
