//! Runs the links of a chain, one after the other.

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Held, Hold,
    error::{Error, Raised, Result},
    interned::intern,
    lives,
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
    outcome::{self, Link, Outcome, into_object, share},
    waiter::Waiter,
};
use crate::binding::run::deliver::deliver;
use crate::binding::waits::{
    native,
    work::{Answer, Later, Next, Stack, Work, make_room},
};
use crate::core::Turn;

/// Start a run of its own, if the chain is neither running already nor paused.
#[inline(always)]
pub(super) fn begins(deferred: &Bound<'_, Deferred>) -> bool {
    let py = deferred.py();
    let entered =
        deferred.get().chain(py, |chain| if chain.running() { None } else { chain.enter().ok() });
    match entered {
        Some(chained_to) => {
            drop(chained_to);
            true
        }
        None => false,
    }
}

/// Start a run, unless the chain is running already.
#[inline(always)]
pub(super) fn begin(deferred: Bound<'_, Deferred>) -> Next<'_> {
    if deferred.get().chain(deferred.py(), |chain| chain.running()) {
        return Next::Done;
    }
    enter(deferred)
}

/// Start or resume a run.
#[inline(always)]
pub(super) fn enter(deferred: Bound<'_, Deferred>) -> Next<'_> {
    match deferred.get().chain(deferred.py(), |chain| chain.enter()) {
        Err(_paused) => Next::Abandoned,
        Ok(chained_to) => {
            drop(chained_to);
            Next::Links(deferred)
        }
    }
}

/// The next turn of a chain, with references of its own.
enum Step<'py> {
    Call(Callback, Option<Callback>, Bound<'py, PyAny>),
    Deliver(Waiter, u32, Outcome),
    Continue(Held<Deferred>, Outcome),
    Skip(Link),
    Pass(Link, Outcome),
    /// No link is left. True if the outcome is a failure that nobody has handled.
    Rest(bool),
}

#[inline(always)]
fn step<'py>(deferred: &Bound<'py, Deferred>) -> Step<'py> {
    let py = deferred.py();
    deferred.get().chain(py, |chain| {
        match chain.turn() {
            Turn::Call { callback, spare, outcome } => {
                return Step::Call(callback, spare, into_object(py, share(py, outcome)));
            }
            Turn::Deliver(waiter, place, outcome) => {
                return Step::Deliver(waiter, place, share(py, outcome));
            }
            Turn::Continue(other, outcome) => return Step::Continue(other, outcome),
            Turn::Skip(link) => return Step::Skip(link),
            Turn::Pass(link, outcome) => return Step::Pass(link, outcome),
            Turn::Rest => {}
        }
        Step::Rest(chain.unhandled())
    })
}

/// Whether the next turn of a chain is most likely the call of a function of Python's.
#[inline(always)]
pub(super) fn is_about_to_call(deferred: &Bound<'_, Deferred>) -> bool {
    let py = deferred.py();
    deferred
        .get()
        .chain(py, |chain| chain.is_about_to_call(|callback| callback.may_be_of_python(py)))
}

/// The next turn of a chain, as far as it is of such calls.
pub(super) enum CallOrRest<'py> {
    /// Call this function of Python's with the outcome.
    Call(Callback, Bound<'py, PyAny>),
    /// As [`Step::Rest`].
    Rest(bool),
    /// Anything else.
    Another,
}

#[inline(always)]
pub(super) fn call_or_rest<'py>(deferred: &Bound<'py, Deferred>) -> CallOrRest<'py> {
    let py = deferred.py();
    let is_unwatched = |callback: &Callback| callback.is_of_python(py) && !observe::tracing();
    deferred.get().chain(py, |chain| {
        if let Some((callback, outcome)) = chain.turn_to_call(is_unwatched) {
            return CallOrRest::Call(callback, into_object(py, share(py, outcome)));
        }
        chain.turn_to_rest().map_or(CallOrRest::Another, CallOrRest::Rest)
    })
}

/// No link is left. See to the report if the outcome is a failure that nobody has handled.
#[inline(always)]
pub(super) fn rest(deferred: &Bound<'_, Deferred>, on_failure: bool) -> Result<()> {
    if on_failure { report::rests_on_failure(deferred) } else { report::forget(deferred) }
}

/// Run the links of a Deferred, and of the Deferreds that follow from them, until none is left or
/// other work has to come first.
pub(super) fn links<'py>(
    mut deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = deferred.py();
    loop {
        let outcome = match step(&deferred) {
            Step::Call(callback, spare, argument) => {
                drop(spare);
                // What is watched goes the longer way.
                if callback.is_of_python(py) && !observe::tracing() {
                    let called = callback.call(&argument);
                    drop(argument);
                    answer_of(&deferred, called, || callback.callable(py))?
                } else {
                    match call_another(&deferred, &callback, argument)? {
                        Answer::Now(outcome) => outcome,
                        Answer::After(work, outcome) => {
                            match put_off(&deferred, work, outcome, stack) {
                                Ok(work) => return Ok(Next::Do(work)),
                                Err(outcome) => outcome?,
                            }
                        }
                    }
                }
            }
            Step::Skip(link) => {
                drop(link);
                continue;
            }
            Step::Pass(link, outcome) => {
                drop(link);
                pass(&deferred, outcome)?
            }
            Step::Continue(other, outcome) => {
                match hand_on(deferred, other.into_bound(py), outcome, stack)? {
                    Next::Links(other) => deferred = other,
                    next => return Ok(next),
                }
                continue;
            }
            Step::Deliver(waiter, place, outcome) => {
                match deliver(&deferred, waiter, place, outcome) {
                    Ok(Answer::Now(outcome)) => pass(&deferred, outcome)?,
                    Ok(Answer::After(work, outcome)) => {
                        match put_off(&deferred, work, outcome, stack) {
                            Ok(Work::Run(first)) => match begin(first) {
                                Next::Links(first) => {
                                    deferred = first;
                                    continue;
                                }
                                next => return Ok(next),
                            },
                            Ok(work) => return Ok(Next::Do(work)),
                            Err(outcome) => outcome?,
                        }
                    }
                    Err(error) => failure_of_error(&deferred, error)?,
                }
            }
            Step::Rest(on_failure) => {
                rest(&deferred, on_failure)?;
                match stack.pop() {
                    Some(Later::Settle(giver, outcome)) => {
                        deferred = giver;
                        pass(&deferred, outcome)?
                    }
                    Some(Later::GoOn(waited)) => {
                        match enter(waited) {
                            Next::Links(waited) => deferred = waited,
                            next => return Ok(next),
                        }
                        continue;
                    }
                    Some(later) => {
                        stack.push(later);
                        return Ok(Next::Done);
                    }
                    None => return Ok(Next::Done),
                }
            }
        };
        if let Some(next) = complete_link(&deferred, outcome)? {
            return Ok(next);
        }
    }
}

/// Pass the outcome of a Deferred to the one that is chained to it, and continue with that one.
#[inline(never)]
fn hand_on<'py>(
    deferred: Bound<'py, Deferred>,
    other: Bound<'py, Deferred>,
    outcome: Outcome,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = deferred.py();
    // A Deferred that waits for itself receives its own outcome, and loses it at once.
    let outcome = if other.is(&deferred) { Outcome::Taken } else { outcome };
    let noted = match &outcome {
        Outcome::Failure(failure) if lives::watching_for(lives::TRACK) => {
            notes::passed_on(failure.bind(py), &other)
        }
        _ => Ok(()),
    };
    let ready = noted.and_then(|()| make_room(py, stack)).and_then(|()| report::forget(&deferred));
    if let Err(error) = ready {
        // As with Twisted, the other has the outcome, but stays paused.
        let before = other.get().chain(py, |chain| chain.replace_outcome(outcome));
        drop(before);
        return Err(error);
    }
    let before = other.get().chain(py, |chain| chain.receive(outcome));
    stack.push(Later::GoOn(deferred));
    match other.get().chain(py, |chain| chain.enter()) {
        Err(_paused) => {
            if let Outcome::Failure(failure) = &before {
                report::keep_replaced(&other, failure.bind(py))?;
            }
            Ok(Next::Abandoned)
        }
        Ok(chained_to) => {
            drop((before, chained_to));
            Ok(Next::Links(other))
        }
    }
}

/// Call a callback that is not a Python function (it may be a method of ours) or that has keyword
/// arguments. An exception becomes the outcome.
#[inline(never)]
fn call_another<'py>(
    deferred: &Bound<'py, Deferred>,
    callback: &Callback,
    argument: Bound<'py, PyAny>,
) -> Result<Answer<'py>> {
    let begun = observe::callback_begins(deferred, callback);
    let answer = match native::answer_callback(callback, &argument) {
        None => call(deferred, callback, argument).map(Answer::Now),
        Some(answer) => {
            drop(argument);
            answer.or_else(|error| {
                let raised = error.into_raised(deferred.py());
                failure_of_call(deferred, raised, callback.callable(deferred.py())).map(Answer::Now)
            })
        }
    };
    let (Ok(Answer::Now(outcome)) | Ok(Answer::After(_, outcome))) = &answer else {
        observe::callback_ends(deferred, begun, None);
        return answer;
    };
    observe::callback_ends(deferred, begun, Some(outcome));
    answer
}

/// Call a callback. An exception becomes the outcome.
#[inline(never)]
fn call<'py>(
    deferred: &Bound<'py, Deferred>,
    callback: &Callback,
    argument: Bound<'py, PyAny>,
) -> Result<Outcome> {
    let called = callback.call(&argument);
    drop(argument);
    answer_of(deferred, called, || callback.callable(deferred.py()))
}

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

/// As [`answer_of`], for a result that may be a failure, or a Deferred of a subclass.
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

/// Convert an exception that a callback raised into a failure. Where nothing else tells, a note on
/// it says which callback that was.
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
/// If no `Failure` can be made. As with Twisted, the link is done all the same: the chain keeps
/// the outcome before it, and continues with the next link when it is run again.
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

/// As [`failure_of_error`], for a callback that returned its own Deferred. If no failure can be
/// made, the Deferred keeps itself as its outcome.
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
fn pass(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<Outcome> {
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
    deferred.get().chain(py, |chain| chain.stop_running());
    match other {
        None => Ok(None),
        Some(other) => chain_to(deferred, other),
    }
}

/// As [`complete_link`], for an ordinary value: the next link can run at once.
#[inline(always)]
pub(super) fn complete_with_value<'py>(deferred: &Bound<'py, Deferred>, value: Bound<'py, PyAny>) {
    let (py, value) = (deferred.py(), Outcome::Value(value.hold()));
    let before = deferred.get().chain(py, |chain| chain.replace_outcome(value));
    drop(before);
    deferred.get().chain(py, |chain| chain.stop_running());
}

/// Take the outcome of the Deferred that a callback returned, or wait for it.
#[inline(never)]
fn chain_to<'py>(
    deferred: &Bound<'py, Deferred>,
    other: Bound<'py, Deferred>,
) -> Result<Option<Next<'py>>> {
    let py = deferred.py();
    if let Some(outcome) = other.get().chain(py, |chain| chain.steal()) {
        report::forget(&other)?;
        let before = deferred.get().chain(py, |chain| chain.replace_outcome(outcome));
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
        if pauses_itself {
            chain.mark_handled();
            chain.replace_chained_to(Some(waits_for))
        } else {
            chain.wait(waits_for)
        }
    });
    drop(before);
    let waiting = deferred.clone().hold();
    let added = other.get().chain(py, |chain| chain.add(Link::Continue(waiting)));
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
