//! Runs the links of a chain, one after the other.

use std::mem;

use pyo3::prelude::*;

use crate::binding::capi::{Held, Hold, cell::SEVERAL_THREADS, error::Result, watching};
use crate::binding::judge::{notes, ordinary::is_known_ordinary, report};
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    observe,
    outcome::{Chain, Link, Outcome, frees_nothing, into_object, share},
    waiter::Waiter,
};
use crate::binding::run::deliver::deliver;
use crate::binding::run::settling::{
    answer_of, complete_link, complete_with, failure_of_call, failure_of_error, pass, put_off,
    settle, settle_call,
};
use crate::binding::waits::{
    native,
    work::{Answer, Later, Next, Stack, Work, make_room},
};
use crate::core::Turn;

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

/// The next turn of a chain, with owned references.
enum Step<'py> {
    Call(Callback, Option<Callback>, Bound<'py, PyAny>),
    Deliver(Waiter, u32, Outcome),
    Continue(Held<Deferred>, Outcome),
    Skip(Link),
    Pass(Link, Outcome),
    /// No link is left. The first flag tells whether the outcome is an unhandled failure, the
    /// second whether another thread takes the turns: then this run ends, and the other one does
    /// the rest.
    Rest(bool, bool),
}

/// The next turn.
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
            Turn::Busy => return Step::Rest(false, true),
            Turn::Rest => {}
        }
        Step::Rest(chain.unhandled(), false)
    })
}

/// Whether the next turn of a chain is most likely the call of a Python function.
#[inline(always)]
pub(super) fn is_about_to_call(deferred: &Bound<'_, Deferred>) -> bool {
    let py = deferred.py();
    deferred
        .get()
        .chain(py, |chain| chain.is_about_to_call(|callback| callback.may_be_of_python(py)))
}

/// The next turn of a chain: if it is such a call, the function, and the outcome to call it with.
pub(super) type CallOr<'py> = Result<(Callback, Bound<'py, PyAny>), End>;

/// Why there is no such call.
pub(super) enum End {
    /// As [`Step::Rest`].
    Rest,
    /// The same, and the outcome is an unhandled failure.
    RestOnFailure,
    /// Anything else.
    Another,
}

#[inline(always)]
fn call_or_end<'py>(py: Python<'py>, chain: &mut Chain) -> CallOr<'py> {
    let is_unwatched = |callback: &Callback| callback.is_of_python(py) && !observe::tracing();
    if let Some((callback, outcome)) = chain.turn_to_call(is_unwatched) {
        return Ok((callback, into_object(py, share(py, outcome))));
    }
    Err(match chain.turn_to_rest() {
        Some(false) => End::Rest,
        Some(true) => End::RestOnFailure,
        None => End::Another,
    })
}

/// Without the GIL, this is seldom called on its own.
#[cfg_attr(not(Py_GIL_DISABLED), inline(always))]
#[cfg_attr(Py_GIL_DISABLED, inline(never))]
pub(super) fn next_call<'py>(deferred: &Bound<'py, Deferred>) -> CallOr<'py> {
    let py = deferred.py();
    deferred.get().chain(py, |chain| call_or_end(py, chain))
}

/// How a run begins.
pub(super) enum Begin {
    /// Fire the chain first.
    #[cfg(Py_GIL_DISABLED)]
    Fire(Outcome),
    /// It has been fired.
    Fired,
}

/// How a run has begun, or not.
pub(super) enum Begun<'py> {
    /// With this turn.
    With(CallOr<'py>),
    /// There is more to do than to store the outcome.
    #[cfg(Py_GIL_DISABLED)]
    Refused(Outcome),
    /// There is nothing to do: it is running or paused.
    Not,
}

/// Start a new run, and take its first turn.
#[inline(always)]
pub(super) fn begin_calls<'py>(deferred: &Bound<'py, Deferred>, begin: Begin) -> Begun<'py> {
    let py = deferred.py();
    let mut chained_to = None;
    let begun = deferred.get().chain(py, |chain| {
        #[cfg(Py_GIL_DISABLED)]
        if let Begin::Fire(outcome) = begin {
            match chain.fire_fresh(outcome) {
                Ok(true) => {}
                Ok(false) => return Begun::Not,
                Err(outcome) => return Begun::Refused(outcome),
            }
        }
        #[cfg(not(Py_GIL_DISABLED))]
        let Begin::Fired = begin;
        if chain.running() {
            return Begun::Not;
        }
        match chain.enter() {
            Ok(None) => Begun::With(call_or_end(py, chain)),
            // Dropping that may run any code, so it comes before the first turn.
            Ok(before) => {
                chained_to = before;
                Begun::With(Err(End::Another))
            }
            Err(_paused) => Begun::Not,
        }
    });
    drop(chained_to);
    begun
}

/// Store the result of a callback, and take the next turn.
#[inline(always)]
pub(super) fn complete_and_turn<'py>(
    deferred: &Bound<'py, Deferred>,
    outcome: Outcome,
) -> CallOr<'py> {
    let py = deferred.py();
    let next = complete_and(deferred, outcome, |chain| call_or_end(py, chain));
    next.unwrap_or_else(|| next_call(deferred))
}

/// Store the result of a callback, and [rest](crate::core::Chain::turn_to_rest) if no link is left.
#[inline(always)]
pub(super) fn complete_and_rest(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Option<bool> {
    let rests = complete_and(deferred, outcome, |chain| chain.turn_to_rest());
    rests.unwrap_or_else(|| deferred.get().chain(deferred.py(), |chain| chain.turn_to_rest()))
}

/// [`complete_with`]. Without the GIL, this transition is made in one step with it, if possible.
#[inline(always)]
fn complete_and<R>(
    deferred: &Bound<'_, Deferred>,
    outcome: Outcome,
    next: impl FnOnce(&mut Chain) -> R,
) -> Option<R> {
    if !SEVERAL_THREADS {
        complete_with(deferred, outcome);
        return None;
    }
    let py = deferred.py();
    let mut done = None;
    let before = deferred.get().chain(py, |chain| {
        let before = chain.replace_outcome(outcome);
        // If dropping that can run code, the chain still has to count as running then.
        if frees_nothing(py, &before) {
            done = Some(next(chain));
        }
        before
    });
    drop(before);
    done
}

/// No link is left. Prepare the report if the outcome is an unhandled failure.
#[inline(always)]
pub(super) fn rest(deferred: &Bound<'_, Deferred>, on_failure: bool) -> Result<()> {
    if on_failure { report::rests_on_failure(deferred) } else { report::forget(deferred) }
}

/// Run the links of a Deferred, and of the Deferreds that follow from it, until none is left or
/// other work has to come first.
///
/// Callbacks and generators are called from here, and may get back here. So this uses as little
/// stack as possible: what is not needed for each link is in functions of its own.
pub(super) fn links<'py>(
    mut deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = deferred.py();
    loop {
        // None if the next link can run at once.
        let next = match step(&deferred) {
            Step::Call(callback, spare, argument) => {
                drop(spare);
                call_next(&deferred, callback, argument, stack)
            }
            Step::Skip(link) => {
                drop(link);
                continue;
            }
            Step::Pass(link, outcome) => pass_on(&deferred, link, outcome),
            Step::Continue(other, outcome) => {
                let giver = mem::replace(&mut deferred, other.into_bound(py));
                hand_on(giver, &deferred, outcome, stack)
            }
            Step::Deliver(waiter, place, outcome) => {
                match deliver(&deferred, waiter, place, outcome) {
                    Ok(Answer::Now(outcome)) if !matches!(outcome, Outcome::Deferred(_)) => {
                        complete_with(&deferred, outcome);
                        continue;
                    }
                    // The usual end of a generator.
                    Ok(Answer::After(Work::Run(first), outcome))
                        if stack.len() < stack.capacity() =>
                    {
                        stack.push(Later::Settle(deferred, outcome));
                        match begin(first) {
                            Next::Links(first) => {
                                deferred = first;
                                continue;
                            }
                            next => return Ok(next),
                        }
                    }
                    answer => settle_delivery(&deferred, answer, stack),
                }
            }
            Step::Rest(on_failure, is_busy) => {
                rest_unless(is_busy, &deferred, on_failure)?;
                match stack.pop() {
                    Some(Later::GoOn(waited)) => match enter(waited) {
                        Next::Links(waited) => {
                            deferred = waited;
                            continue;
                        }
                        next => return Ok(next),
                    },
                    Some(Later::Settle(giver, outcome))
                        if !matches!(outcome, Outcome::Deferred(_)) =>
                    {
                        deferred = giver;
                        complete_with(&deferred, outcome);
                        continue;
                    }
                    Some(later) => settle_later(later, stack),
                    None => return Ok(Next::Done),
                }
            }
        };
        match next {
            Ok(None) => {}
            Ok(Some(Next::Links(other))) => deferred = other,
            Ok(Some(next)) => return Ok(next),
            Err(error) => return Err(error),
        }
    }
}

/// A chain comes to rest, unless another thread continues with it.
#[inline(always)]
fn rest_unless(is_busy: bool, deferred: &Bound<'_, Deferred>, on_failure: bool) -> Result<()> {
    if is_busy { Ok(()) } else { rest(deferred, on_failure) }
}

/// Call a callback with this, and settle its link.
#[inline(always)]
fn call_next<'py>(
    deferred: &Bound<'py, Deferred>,
    callback: Callback,
    argument: Bound<'py, PyAny>,
    stack: &mut Stack<'py>,
) -> Result<Option<Next<'py>>> {
    // If it is watched, take the slow path.
    if !callback.is_of_python(deferred.py()) || observe::tracing() {
        return call_another(deferred, callback, argument, stack);
    }
    let called = callback.call(&argument);
    drop(argument);
    match called {
        Ok(result) if is_known_ordinary(&result) => {
            drop(callback);
            complete_with(deferred, Outcome::Value(result.hold()));
            Ok(None)
        }
        called => settle_call(deferred, callback, called),
    }
}

/// Settle a link that does not apply, when the outcome is a Deferred.
#[inline(never)]
fn pass_on<'py>(
    deferred: &Bound<'py, Deferred>,
    link: Link,
    outcome: Outcome,
) -> Result<Option<Next<'py>>> {
    drop(link);
    complete_link(deferred, pass(deferred, outcome)?)
}

/// Settle a link with the answer of a waiter.
#[inline(never)]
fn settle_delivery<'py>(
    deferred: &Bound<'py, Deferred>,
    answer: Result<Answer<'py>>,
    stack: &mut Stack<'py>,
) -> Result<Option<Next<'py>>> {
    let outcome = match answer {
        Ok(Answer::Now(outcome)) => pass(deferred, outcome)?,
        Ok(Answer::After(work, outcome)) => match put_off(deferred, work, outcome, stack) {
            Ok(Work::Run(first)) => return Ok(Some(begin(first))),
            Ok(work) => return Ok(Some(Next::Do(work))),
            Err(outcome) => outcome?,
        },
        Err(error) => failure_of_error(deferred, error)?,
    };
    complete_link(deferred, outcome)
}

/// If the pending work is another Deferred that waited for the one that has come to rest, settle
/// its link.
#[inline(never)]
fn settle_later<'py>(later: Later<'py>, stack: &mut Stack<'py>) -> Result<Option<Next<'py>>> {
    match later {
        Later::Settle(giver, outcome) => settle(giver, outcome).map(Some),
        later => {
            stack.push(later);
            Ok(Some(Next::Done))
        }
    }
}

/// Pass the outcome of a Deferred to the one that is chained to it. None if that one is to
/// continue.
#[inline(never)]
fn hand_on<'py>(
    deferred: Bound<'py, Deferred>,
    other: &Bound<'py, Deferred>,
    outcome: Outcome,
    stack: &mut Stack<'py>,
) -> Result<Option<Next<'py>>> {
    let py = deferred.py();
    // A Deferred that waits for itself receives its own outcome, and loses it at once.
    let outcome = if other.is(&deferred) { Outcome::Taken } else { outcome };
    let noted = match &outcome {
        Outcome::Failure(failure) if watching::watching_for(watching::TRACK) => {
            notes::passed_on(failure.bind(py), other)
        }
        _ => Ok(()),
    };
    let ready = noted.and_then(|()| make_room(py, stack)).and_then(|()| report::forget(&deferred));
    if let Err(error) = ready {
        // As in Twisted, the other has the outcome, but stays paused.
        let before = other.get().chain(py, |chain| chain.replace_outcome(outcome));
        drop(before);
        return Err(error);
    }
    #[cfg(not(Py_GIL_DISABLED))]
    let before = other.get().chain(py, |chain| chain.receive(outcome));
    #[cfg(Py_GIL_DISABLED)]
    let (before, entered) = other.get().chain(py, |chain| (chain.receive(outcome), chain.enter()));
    stack.push(Later::GoOn(deferred));
    #[cfg(not(Py_GIL_DISABLED))]
    let entered = other.get().chain(py, |chain| chain.enter());
    match entered {
        Err(_paused) => {
            if let Outcome::Failure(failure) = &before {
                report::keep_replaced(other, failure.bind(py))?;
            }
            Ok(Some(Next::Abandoned))
        }
        Ok(chained_to) => {
            drop((before, chained_to));
            Ok(None)
        }
    }
}

/// Settle a link with the result of a callback that is not a Python function (it may be a method of
/// ours), has keyword arguments, or is watched.
#[inline(never)]
fn call_another<'py>(
    deferred: &Bound<'py, Deferred>,
    callback: Callback,
    argument: Bound<'py, PyAny>,
    stack: &mut Stack<'py>,
) -> Result<Option<Next<'py>>> {
    let outcome = match answer_of_another(deferred, &callback, argument)? {
        Answer::Now(outcome) => outcome,
        Answer::After(work, outcome) => match put_off(deferred, work, outcome, stack) {
            Ok(work) => return Ok(Some(Next::Do(work))),
            Err(outcome) => outcome?,
        },
    };
    drop(callback);
    complete_link(deferred, outcome)
}

/// Call such a callback. An exception becomes the outcome.
#[inline(always)]
fn answer_of_another<'py>(
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
