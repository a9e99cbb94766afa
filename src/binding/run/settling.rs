//! Settles links with the result of a callback, at once or after other work.

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    cell::SEVERAL_THREADS,
    error::{Error, Raised, Result},
    interned::intern,
    overrides::overrides,
};
use crate::binding::judge::{
    classify::{self, classify_returned},
    debug::debugging,
    notes,
    ordinary::is_known_ordinary,
    report,
};
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    names, observe,
    outcome::{self, Link, Outcome},
};
use crate::binding::waits::work::{Later, Next, Stack, Work, make_room};

/// Convert the result of a callback into an outcome.
#[inline(always)]
pub(super) fn answer_of<'py>(
    deferred: &Bound<'py, Deferred>,
    called: Result<Bound<'py, PyAny>, Raised<'py>>,
    callable: impl FnOnce() -> Result<Bound<'py, PyAny>>,
) -> Result<Outcome> {
    let result = match called {
        Ok(result) if is_known_ordinary(&result) => return Ok(Outcome::Value(result.hold())),
        Ok(result) => result,
        Err(raised) => return failure_of_call(deferred, raised, callable()),
    };
    if result.as_ptr() == deferred.as_ptr()
        && let Err(error) = callable().and_then(|it| warn_of_self_return(&it))
    {
        return failed_by_itself(deferred, error);
    }
    match capi::into_exact::<Deferred>(result) {
        Ok(other) => Ok(Outcome::Deferred(other.hold())),
        Err(result) => outcome_of_another(deferred, result),
    }
}

/// Settle a link with the result of a callback.
#[inline(never)]
pub(super) fn settle_call<'py>(
    deferred: &Bound<'py, Deferred>,
    callback: Callback,
    called: Result<Bound<'py, PyAny>, Raised<'py>>,
) -> Result<Option<Next<'py>>> {
    let outcome = answer_of(deferred, called, || callback.callable(deferred.py()))?;
    drop(callback);
    complete_link(deferred, outcome)
}

/// [`answer_of`] for a result that may be a failure, or a Deferred of a subclass.
#[inline(never)]
fn outcome_of_another<'py>(
    deferred: &Bound<'py, Deferred>,
    result: Bound<'py, PyAny>,
) -> Result<Outcome> {
    classify_returned(&result).or_else(|error| failure_of_error(deferred, error))
}

#[cold]
pub(super) fn failure_of_error(deferred: &Bound<'_, Deferred>, error: Error) -> Result<Outcome> {
    failure_of(deferred, error.into_raised(deferred.py()))
}

/// Convert an exception that a callback raised into a failure. If nothing else tells which callback
/// that was, a note is added to the exception.
#[inline(never)]
pub(super) fn failure_of_call<'py>(
    deferred: &Bound<'py, Deferred>,
    mut raised: Raised<'py>,
    callable: Result<Bound<'py, PyAny>>,
) -> Result<Outcome> {
    if capi::traceback_of(&raised).is_none() {
        raised = notes::name_callback(raised, callable, Some(deferred));
    }
    failure_of(deferred, raised)
}

/// Convert an exception in a link into a failure.
///
/// # Errors
///
/// If no `Failure` can be made. As in Twisted, the link counts as done: the chain keeps the
/// previous outcome, and continues with the next link when it is run again.
#[inline(never)]
fn failure_of<'py>(deferred: &Bound<'py, Deferred>, raised: Raised<'py>) -> Result<Outcome> {
    let debugging = if capi::is_exact::<Deferred>(deferred) {
        debugging(deferred)
    } else {
        // The `debug` of a subclass may raise. The exception is then the context of that error.
        capi::while_handling(&raised, || debugging(deferred))
    };
    let failed = debugging.and_then(|debugging| classify::failure_of(raised, debugging));
    if failed.is_err() {
        deferred.get().chain(deferred.py(), |chain| chain.stop_running());
    }
    failed
}

/// [`failure_of_error`] for a callback that returned its own Deferred. If no failure can be made,
/// the Deferred keeps itself as its outcome.
#[cold]
fn failed_by_itself(deferred: &Bound<'_, Deferred>, error: Error) -> Result<Outcome> {
    failure_of_error(deferred, error).inspect_err(|_| {
        let itself = Outcome::Deferred(deferred.clone().hold());
        let before = deferred.get().chain(deferred.py(), |chain| chain.replace_outcome(itself));
        drop(before);
    })
}

/// Pass an outcome through a link unchanged. Warns if the outcome is the Deferred itself.
#[inline(always)]
pub(super) fn pass(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<Outcome> {
    let py = deferred.py();
    if let Outcome::Deferred(other) = &outcome
        && other.as_ptr() == deferred.as_ptr()
        && let Err(error) = names::PASSTHRU.get(py).and_then(warn_of_self_return)
    {
        return failed_by_itself(deferred, error);
    }
    Ok(outcome)
}

#[cold]
fn warn_of_self_return(callback: &Bound<'_, PyAny>) -> Result<()> {
    let text = capi::new_str(
        callback.py(),
        "Callback returned the Deferred it was attached to; this breaks the callback chain and \
         will raise an exception in the future.",
    )?;
    names::WARN_ABOUT_FUNCTION.get(callback.py())?.call1((callback, text))?;
    Ok(())
}

/// Settle a link whose answer comes from pending work on the stack.
#[inline(always)]
pub(super) fn settle<'py>(deferred: Bound<'py, Deferred>, outcome: Outcome) -> Result<Next<'py>> {
    let outcome = pass(&deferred, outcome)?;
    match complete_link(&deferred, outcome)? {
        Some(next) => Ok(next),
        None => Ok(Next::Links(deferred)),
    }
}

/// Store the outcome of a link. Returns None if the next link can run at once.
#[inline(always)]
pub(super) fn complete_link<'py>(
    deferred: &Bound<'py, Deferred>,
    outcome: Outcome,
) -> Result<Option<Next<'py>>> {
    let py = deferred.py();
    let other = match &outcome {
        Outcome::Deferred(other) => Some(other.bind(py).clone()),
        _ => None,
    };
    // Dropping the old outcome may run any code, so the chain still counts as running.
    let before = deferred.get().chain(py, |chain| chain.replace_outcome(outcome));
    drop(before);
    stop_running(deferred);
    match other {
        None => Ok(None),
        Some(other) if SEVERAL_THREADS => chain_to(deferred, other).inspect_err(|_| {
            deferred.get().chain(py, |chain| chain.stop_running());
        }),
        Some(other) => chain_to(deferred, other),
    }
}

/// [`complete_link`] for an outcome that is not a Deferred: the next link can run at once.
#[inline(always)]
pub(super) fn complete_with(deferred: &Bound<'_, Deferred>, outcome: Outcome) {
    let py = deferred.py();
    let before = deferred.get().chain(py, |chain| chain.replace_outcome(outcome));
    drop(before);
    stop_running(deferred);
}

/// A link has been settled. Without the GIL, that is said in one step with the next turn.
#[inline(always)]
fn stop_running(deferred: &Bound<'_, Deferred>) {
    if !SEVERAL_THREADS {
        deferred.get().chain(deferred.py(), |chain| chain.stop_running());
    }
}

/// Take the outcome of the Deferred that a callback returned, or wait for it.
///
/// Without the GIL, the chain counts as running until it has the outcome or waits: others would
/// take its turns with the other Deferred for an outcome. It waits before the other one knows, and
/// both look at the other one's outcome and leave a link there in one step. So whoever fires that
/// finds either no link or one that waits, and no step needs both chains.
#[inline(never)]
fn chain_to<'py>(
    deferred: &Bound<'py, Deferred>,
    other: Bound<'py, Deferred>,
) -> Result<Option<Next<'py>>> {
    let py = deferred.py();
    if let Some(outcome) = other.get().chain(py, |chain| chain.steal()) {
        report::forget(&other)?;
        let before = deferred.get().chain(py, |chain| {
            if SEVERAL_THREADS { chain.settle(outcome) } else { chain.replace_outcome(outcome) }
        });
        drop(before);
        return Ok(None);
    }
    observe::chained(deferred, &other);
    let pause = intern!(py, "pause");
    let pauses_itself = overrides::<Deferred>(deferred, pause);
    if pauses_itself {
        deferred.call_method0(pause)?;
    }
    let waits_for = other.clone().hold();
    let before = deferred.get().chain(py, |chain| {
        if SEVERAL_THREADS {
            chain.stop_running();
        }
        if pauses_itself {
            chain.mark_handled();
            chain.replace_chained_to(Some(waits_for))
        } else {
            chain.wait(waits_for)
        }
    });
    drop(before);
    let waiting = deferred.clone().hold();
    let link = Link::Continue(waiting);
    #[cfg(Py_GIL_DISABLED)]
    let added = match other.get().chain(py, |chain| chain.steal_or_add(link)) {
        Ok(None) => Ok(()),
        Ok(Some((outcome, link))) => {
            // It has arrived meanwhile.
            drop(link);
            let before = deferred.get().chain(py, |chain| chain.wait_no_more(outcome));
            drop(before);
            report::forget(&other)?;
            return Ok(None);
        }
        Err(refused) => Err(refused),
    };
    #[cfg(not(Py_GIL_DISABLED))]
    let added = other.get().chain(py, |chain| chain.add(link));
    if let Err(error) = outcome::or_no_memory(py, added) {
        // It would wait forever, so it continues with the MemoryError.
        let outcome = failure_of_error(deferred, error)?;
        let before = deferred.get().chain(py, |chain| chain.wait_no_more(outcome));
        drop(before);
        return Ok(None);
    }
    report::forget(deferred)?;
    Ok(Some(Next::Done))
}

/// Settle a link later, after other work. If there is no memory for that, the work is not done,
/// and the link gets the MemoryError.
#[inline(always)]
pub(super) fn put_off<'py>(
    deferred: &Bound<'py, Deferred>,
    work: Work<'py>,
    outcome: Outcome,
    stack: &mut Stack<'py>,
) -> Result<Work<'py>, Result<Outcome>> {
    match make_room(deferred.py(), stack) {
        Ok(()) => {
            stack.push(Later::Settle(deferred.clone(), outcome));
            Ok(work)
        }
        Err(error) => Err(failure_of_error(deferred, error)),
    }
}
