//! Records what happens to Deferreds, for `trace`. If that is off, only a flag is read.
//!
//! Nothing here runs code of a program, or keeps anything alive except code objects and names.

use pyo3::prelude::*;

use crate::binding::capi::{
    self, code_places,
    interned::intern,
    lives,
    trace_ring::{EventKind, record},
};
use crate::binding::model::outcome::share;
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    names,
    outcome::{Chain, Outcome},
    task::Task,
};

pub(crate) use crate::binding::capi::trace_ring::tracing;

/// The kind of an outcome, as a number that `_trace.py` knows.
fn number_of(outcome: &Outcome) -> u32 {
    match outcome {
        Outcome::Empty => 0,
        Outcome::Taken => 1,
        Outcome::Value(_) => 2,
        Outcome::Failure(_) => 3,
        Outcome::Deferred(_) => 4,
    }
}

/// The kind of a chain's outcome. 0 if it has not fired.
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
        record(deferred.py(), EventKind::Fired, address(deferred), 0, number_of(outcome));
    }
}

/// A Deferred was fired, in a step that could not record it.
pub(crate) fn was_fired(deferred: &Bound<'_, Deferred>) {
    if tracing() {
        let py = deferred.py();
        let outcome = deferred.get().chain(py, |chain| share(py, chain.outcome()));
        record(py, EventKind::Fired, address(deferred), 0, number_of(&outcome));
    }
}

/// A Deferred is being cancelled.
#[inline(always)]
pub(crate) fn cancelled(deferred: &Bound<'_, Deferred>) {
    if tracing() {
        record(deferred.py(), EventKind::Cancelled, address(deferred), 0, 0);
    }
}

/// A Deferred waits for another, which one of its callbacks returned.
#[inline(always)]
pub(crate) fn chained(deferred: &Bound<'_, Deferred>, other: &Bound<'_, Deferred>) {
    if tracing() {
        record(deferred.py(), EventKind::Chained, address(deferred), address(other), 0);
    }
}

/// A Deferred, with this value, died with an unhandled failure.
pub(crate) fn unhandled(py: Python<'_>, deferred: &Deferred) {
    if tracing() {
        record(py, EventKind::Unhandled, lives::address_of(deferred), 0, 0);
    }
}

/// The outcome of a Deferred was taken by a waiter.
#[cold]
pub(crate) fn taken(deferred: &Bound<'_, Deferred>, outcome: &Outcome) {
    if matches!(outcome, Outcome::Failure(_)) && tracing() {
        record(deferred.py(), EventKind::Handled, address(deferred), 0, 0);
    }
}

/// A waiter that is not a generator has got a failure, and left this outcome.
pub(crate) fn took_failure(deferred: &Bound<'_, Deferred>, left: &Outcome) {
    if !matches!(left, Outcome::Failure(_)) && tracing() {
        record(deferred.py(), EventKind::Handled, address(deferred), 0, 0);
    }
}

/// A callback is about to be called. Returns the argument for recording its end.
#[cold]
pub(crate) fn begins<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: impl FnOnce() -> Option<Bound<'py, PyAny>>,
) -> Option<u32> {
    let py = deferred.py();
    if !tracing() {
        return None;
    }
    let place = callable().map_or(code_places::NOWHERE, place_of);
    record(py, EventKind::Begins, address(deferred), 0, place);
    Some(deferred.get().chain(py, |chain| number_of(chain.outcome())))
}

/// [`begins`] for a callback with extra arguments.
pub(crate) fn callback_begins(deferred: &Bound<'_, Deferred>, callback: &Callback) -> Option<u32> {
    let py = deferred.py();
    if tracing() { begins(deferred, || capi::ok(py, callback.callable(py))) } else { None }
}

/// The callback has ended with this result. None if the result is not available.
pub(crate) fn callback_ends(
    deferred: &Bound<'_, Deferred>,
    begun: Option<u32>,
    outcome: Option<&Outcome>,
) {
    if let Some(before) = begun {
        let after = outcome.map_or(1, number_of);
        record(deferred.py(), EventKind::Ends, address(deferred), 0, before * 8 + after);
    }
}

/// The place of a callback's code, or else its name.
fn place_of(mut callable: Bound<'_, PyAny>) -> u32 {
    let py = callable.py();
    // Usually, partials of partials are flattened.
    for _ in 0..10 {
        match capi::ok(py, names::PARTIAL.get(py)) {
            Some(partial) if callable.get_type().is(partial) => {}
            _ => break,
        }
        // From the class itself, whose descriptor takes precedence over an instance dict.
        match capi::ok(py, callable.getattr(intern!(py, "func"))) {
            Some(inner) => callable = inner,
            None => break,
        }
    }
    code_places::of_callable(&callable)
}

/// The Deferred that a task will fire, if a generator has one.
pub(crate) fn of_driven(driven: &Bound<'_, PyAny>) -> usize {
    match driven.cast_exact::<Task>() {
        Ok(task) => task.get().with(driven.py(), |state| {
            state.deferred.as_ref().map_or(0, |deferred| deferred.as_ptr() as usize)
        }),
        Err(_) => 0,
    }
}

/// What a generator is resumed with. If it is a failure, the Deferred that it waited for has handed
/// it over.
pub(crate) fn resumed(driven: &Bound<'_, PyAny>, run: &lives::Running, outcome: &Outcome) {
    let py = driven.py();
    if !tracing() {
        return;
    }
    if let (Outcome::Failure(_), Ok(task)) = (outcome, driven.cast_exact::<Task>()) {
        let waited = task.get().with(py, |state| {
            state.waiting_on.as_ref().map_or(0, |deferred| deferred.as_ptr() as usize)
        });
        record(py, EventKind::Handled, waited, 0, 0);
    }
    let kind = if run.starts { EventKind::Started } else { EventKind::Resumed };
    let detail = if run.starts { run.code() } else { run.code() * 8 + number_of(outcome) };
    record(py, kind, run.number(), of_driven(driven), detail);
}

/// It waits for a Deferred, or for something else.
pub(crate) fn suspended(py: Python<'_>, run: &lives::Running, on: Option<&Bound<'_, Deferred>>) {
    if tracing() {
        record(py, EventKind::Suspended, run.number(), on.map_or(0, address), run.code());
    }
}

/// It has ended.
pub(crate) fn ended(driven: &Bound<'_, PyAny>, run: &lives::Running, raised: bool) {
    if tracing() {
        let detail = u32::from(raised);
        record(driven.py(), EventKind::Ended, run.number(), of_driven(driven), detail);
    }
}
