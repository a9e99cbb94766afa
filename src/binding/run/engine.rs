//! The main loop, and the stack of pending work.

use std::mem::ManuallyDrop;

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    error::{Raised, Result},
    interned::intern,
    overrides::overrides,
    stack::Nested,
};
use crate::binding::judge::ordinary::is_known_ordinary;
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    list::DeferredList,
    observe,
    outcome::{Link, Outcome, into_object, or_no_memory, share},
};
use crate::binding::run::links::{
    CallOrRest, begin, begins, call_or_rest, enter, is_about_to_call, links, rest,
};
use crate::binding::run::pending::{interrupt, resume};
use crate::binding::run::settling::{
    answer_of, complete_link, complete_with, failure_of_call, put_off, settle_call,
};
use crate::binding::waits::{
    cancel_list,
    cancelling::{self, Simply},
    firing::{self, begin_fire, begin_fire_with},
    native, nesting, race, task,
    work::{Answer, Later, Next, Stack, Work, make_room},
};
use crate::core::On;

/// Perform a piece of work, and everything that follows from it.
///
/// # Errors
///
/// What the outermost piece of work raises, such as an exception in a canceller, or
/// `AlreadyCalledError` if somebody else has fired the Deferred of a generator. Exceptions in
/// callbacks stay in their chains.
pub(crate) fn run<'py>(py: Python<'py>, work: Work<'py>) -> Result<()> {
    let _nested = Nested::enter_to_run(py)?;
    run_within(py, work)
}

/// As [`run`], for callers that have checked the stack already.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn run_within<'py>(py: Python<'py>, work: Work<'py>) -> Result<()> {
    match work {
        Work::Run(deferred) => run_links_within(deferred),
        work => drive(py, Ok(Next::Do(work)), &mut new_stack()),
    }
}

/// Run the links of a Deferred, and everything that follows from it.
///
/// # Errors
///
/// As [`run`].
#[inline(always)]
pub(crate) fn run_deferred(deferred: &Bound<'_, Deferred>) -> Result<()> {
    if is_about_to_call(deferred) { run_calls(deferred) } else { run_links(deferred) }
}

/// As [`run_deferred`], whatever the links are.
#[inline(never)]
fn run_links(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let _nested = Nested::enter_to_run(deferred.py())?;
    run_links_within(deferred.clone())
}

/// As [`run_links`], for callers that have checked the stack already.
#[inline(always)]
fn run_links_within(deferred: Bound<'_, Deferred>) -> Result<()> {
    let py = deferred.py();
    let mut stack = new_stack();
    let next = match begin(deferred) {
        Next::Links(deferred) => links(deferred, &mut stack),
        next => Ok(next),
    };
    end(py, next, &mut stack)
}

/// [`run_deferred`], if at least the first links are Python functions.
///
/// Callbacks that fire Deferreds with such callbacks nest this function, so it uses as little stack
/// as possible.
#[inline(never)]
fn run_calls(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let _nested = Nested::enter_to_run(deferred.py())?;
    if !begins(deferred) {
        return Ok(());
    }
    loop {
        match call_or_rest(deferred) {
            CallOrRest::Call(callback, argument) => {
                let called = callback.call(&argument);
                drop(argument);
                match called {
                    Ok(result) if is_known_ordinary(&result) => {
                        drop(callback);
                        complete_with(deferred, Outcome::Value(result.hold()));
                    }
                    called => {
                        if !answered(deferred, callback, called)? {
                            return Ok(());
                        }
                    }
                }
            }
            CallOrRest::Rest(on_failure) => return rest(deferred, on_failure),
            CallOrRest::Another => return go_on(deferred),
        }
    }
}

/// Handle a callback's result that is not an ordinary value. True if the next link can run.
#[inline(never)]
fn answered<'py>(
    deferred: &Bound<'py, Deferred>,
    callback: Callback,
    called: Result<Bound<'py, PyAny>, Raised<'py>>,
) -> Result<bool> {
    match settle_call(deferred, callback, called)? {
        None => Ok(true),
        Some(next) => end(deferred.py(), Ok(next), &mut new_stack()).map(|()| false),
    }
}

/// Continue the run of a Deferred, whatever the links are.
#[inline(never)]
fn go_on(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let mut stack = new_stack();
    let next = links(deferred.clone(), &mut stack);
    end(deferred.py(), next, &mut stack)
}

/// Fast path of `addCallback` and the like: call the callback now if the Deferred has fired and is
/// idle. Returns false if the callback has to be added to the chain instead.
///
/// # Errors
///
/// As [`run`].
#[inline(never)]
pub(crate) fn call_at_once<'py>(
    deferred: &Bound<'py, Deferred>,
    on: On,
    callable: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Result<bool> {
    let py = deferred.py();
    // If the stack is too deep, the callback is added to the chain, as in Twisted.
    let Ok(_nested) = Nested::enter(py) else { return Ok(false) };
    let argument = deferred.get().chain(py, |chain| {
        chain.call_at_once(on).map(|outcome| into_object(py, share(py, outcome)))
    });
    let Some(argument) = argument else { return Ok(false) };
    if !capi::is_of_python(callable) || observe::tracing() {
        return call_another_at_once(deferred, callable, argument, args);
    }
    let called = capi::call_first(callable, &argument, args);
    drop(argument);
    match called {
        Ok(result) if is_known_ordinary(&result) => {
            complete_with(deferred, Outcome::Value(result.hold()));
        }
        called => return answer_at_once(deferred, callable, called),
    }
    // Seldom does the callback leave more to do.
    match deferred.get().chain(py, |chain| chain.turn_to_rest()) {
        Some(on_failure) => rest(deferred, on_failure)?,
        None => go_on(deferred)?,
    }
    Ok(true)
}

/// The rest of [`call_at_once`], after the callback has returned.
#[inline(never)]
fn answer_at_once<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: &Bound<'py, PyAny>,
    called: Result<Bound<'py, PyAny>, Raised<'py>>,
) -> Result<bool> {
    let outcome = answer_of(deferred, called, || Ok(callable.clone()))?;
    let next = complete_link(deferred, outcome)?;
    continue_run(deferred, next, &mut new_stack())
}

/// The rest of [`call_at_once`], for a callable that is not a Python function.
#[inline(never)]
fn call_another_at_once<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: &Bound<'py, PyAny>,
    argument: Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Result<bool> {
    let mut stack = new_stack();
    let next = call_first_of_others(deferred, callable, argument, args, &mut stack)?;
    continue_run(deferred, next, &mut stack)
}

/// Do the next step, or run the remaining links.
#[inline(always)]
fn continue_run<'py>(
    deferred: &Bound<'py, Deferred>,
    next: Option<Next<'py>>,
    stack: &mut Stack<'py>,
) -> Result<bool> {
    let next = match next {
        Some(next) => Ok(next),
        None => links(deferred.clone(), stack),
    };
    end(deferred.py(), next, stack)?;
    Ok(true)
}

/// Call a callback that may be one of our methods, or that is being watched. Returns the next step,
/// if one comes before the remaining links.
#[inline(never)]
fn call_first_of_others<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: &Bound<'py, PyAny>,
    argument: Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    stack: &mut Stack<'py>,
) -> Result<Option<Next<'py>>> {
    let begun = observe::begins(deferred, || Some(callable.clone()));
    let Some(answer) = native::answer(callable, &argument, args) else {
        let called = capi::call_first(callable, &argument, args);
        drop(argument);
        let outcome = answer_of(deferred, called, || Ok(callable.clone()));
        observe::callback_ends(deferred, begun, outcome.as_ref().ok());
        return complete_link(deferred, outcome?);
    };
    drop(argument);
    if let Ok(Answer::Now(outcome) | Answer::After(_, outcome)) = &answer {
        observe::callback_ends(deferred, begun, Some(outcome));
    } else {
        observe::callback_ends(deferred, begun, None);
    }
    let outcome = match answer {
        Ok(Answer::Now(outcome)) => outcome,
        Ok(Answer::After(work, outcome)) => match put_off(deferred, work, outcome, stack) {
            Ok(work) => return Ok(Some(Next::Do(work))),
            Err(outcome) => outcome?,
        },
        Err(error) => {
            failure_of_call(deferred, error.into_raised(deferred.py()), Ok(callable.clone()))?
        }
    };
    complete_link(deferred, outcome)
}

/// Finish a run. Most have finished already, so this is checked first.
#[inline(always)]
fn end<'py>(py: Python<'py>, next: Result<Next<'py>>, stack: &mut Stack<'py>) -> Result<()> {
    match next {
        Ok(Next::Done) if stack.is_empty() && !stack.spilled() => Ok(()),
        next => drive(py, next, stack),
    }
}

/// A new stack, for [`drive`] or [`end`]. Both leave it empty and without heap memory, so it need
/// not be dropped.
#[inline(always)]
fn new_stack<'py>() -> ManuallyDrop<Stack<'py>> {
    ManuallyDrop::new(Stack::new())
}

/// The main loop: continue until the stack is empty. It can be re-entered, so it uses little stack.
#[inline(never)]
fn drive<'py>(py: Python<'py>, mut next: Result<Next<'py>>, stack: &mut Stack<'py>) -> Result<()> {
    let result = loop {
        next = match next {
            Ok(Next::Do(work)) => perform(work, stack),
            Ok(Next::Links(deferred)) => links(deferred, stack),
            Ok(Next::Done) => match stack.pop() {
                None => break Ok(()),
                Some(Later::GoOn(deferred)) => Ok(enter(deferred)),
                Some(later) => resume(py, later, stack),
            },
            Ok(Next::Abandoned) => {
                // A paused Deferred also ends the runs of those chained to it.
                while let Some(Later::GoOn(_)) = stack.last() {
                    stack.pop();
                }
                Ok(Next::Done)
            }
            Err(error) => match stack.pop() {
                None => break Err(error),
                Some(later) => interrupt(py, later, error, stack),
            },
        };
    };
    if stack.spilled() {
        *stack = Stack::new();
    }
    result
}

/// Do a piece of work.
#[inline(never)]
fn perform<'py>(work: Work<'py>, stack: &mut Stack<'py>) -> Result<Next<'py>> {
    match work {
        Work::Run(deferred) => Ok(begin(deferred)),
        Work::RunAndRaise(None, error) => Err(error),
        Work::RunAndRaise(Some(deferred), error) => {
            make_room(deferred.py(), stack)?;
            stack.push(Later::Raise(error));
            Ok(begin(deferred))
        }
        Work::HandOver(waiter, object) => {
            nesting::fire(waiter, object, run_within).map(|()| Next::Done)
        }
        Work::Halt(halted) => {
            if stack.last().is_some_and(|it| matches!(it, Later::Settle(it, _) if it.is(&halted))) {
                stack.pop();
                halted.get().chain(halted.py(), |chain| chain.stop_running());
            }
            Ok(Next::Done)
        }
        Work::Cancel(deferred) => {
            if overrides::<Deferred>(&deferred, intern!(deferred.py(), "cancel")) {
                return cancel_another(deferred, stack);
            }
            cancelling::cancel_here(deferred, stack)
        }
        Work::CancelList(list) => cancel_list::cancel_list(list, 0, stack),
        Work::CancelRace(race) => race::cancel_race(race, 0, stack),
        Work::Race(race, place, outcome) => race::arrive(race, place, outcome, stack),
        Work::CancelHere(deferred) => cancelling::cancel_here(deferred, stack),
        Work::Resume(task, outcome) => task::resume(task, outcome, stack),
        Work::HandleStop(task, stopped) => task::handle_stop(task, stopped, stack),
    }
}

/// Cancel a Deferred whose class overrides `cancel`.
#[inline(never)]
fn cancel_another<'py>(
    deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let cancel = intern!(deferred.py(), "cancel");
    match deferred.cast_into::<DeferredList>() {
        Ok(list) if cancelling::cancels_plainly(&list) => {
            return cancel_list::cancel_list(list, 0, stack);
        }
        Ok(list) => list.call_method0(cancel)?,
        Err(other) => other.into_inner().call_method0(cancel)?,
    };
    Ok(Next::Done)
}

/// Cancel a Deferred, and do everything that follows from it.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn cancel(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let py = deferred.py();
    let _nested = Nested::enter(py)?;
    // Cancellers may cancel others, so this uses as little stack as possible.
    match cancelling::simply(deferred) {
        Simply::Call(canceller) => {
            observe::cancelled(deferred);
            drop(capi::call_one(&canceller, deferred)?);
            drop(canceller);
            end_cancelling(deferred)
        }
        Simply::Nothing => Ok(()),
        Simply::Not => run_within(py, Work::CancelHere(deferred.clone())),
    }
}

/// The end of [`cancel`], when the canceller has been called.
///
/// # Errors
///
/// As [`run`].
#[inline(never)]
pub(crate) fn end_cancelling(deferred: &Bound<'_, Deferred>) -> Result<()> {
    match cancelling::asked(deferred.clone())? {
        Next::Done => Ok(()),
        next => drive(deferred.py(), Ok(next), &mut new_stack()),
    }
}

/// Add a link, and run the chain if possible.
#[inline(always)]
pub(crate) fn add<'py>(deferred: &Bound<'py, Deferred>, link: Link) -> Result<()> {
    let py = deferred.py();
    let added = deferred.get().chain(py, |chain| chain.add(link).map(|()| chain.is_runnable()));
    if or_no_memory(py, added)? { run_deferred(deferred) } else { Ok(()) }
}

/// Fire a Deferred with an outcome, and run its callbacks.
#[inline(always)]
pub(crate) fn fire(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<()> {
    if begin_fire(deferred, outcome)? {
        return run_deferred(deferred);
    }
    Ok(())
}

/// Fire a Deferred with any object, and run its callbacks.
#[inline(always)]
pub(crate) fn fire_with<'py>(
    deferred: &Bound<'py, Deferred>,
    result: Bound<'py, PyAny>,
) -> Result<()> {
    if !is_known_ordinary(&result) {
        return fire_with_another(deferred, result);
    }
    match firing::fire_quickly(deferred, Outcome::Value(result.hold())) {
        Ok(true) => run_deferred(deferred),
        Ok(false) => Ok(()),
        Err(outcome) => fire_slowly(deferred, outcome),
    }
}

/// [`fire`], if more has to happen than storing the outcome.
#[inline(never)]
fn fire_slowly(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<()> {
    fire(deferred, outcome)
}

/// [`fire_with`], for an object that may be a Deferred or a failure.
fn fire_with_another<'py>(
    deferred: &Bound<'py, Deferred>,
    result: Bound<'py, PyAny>,
) -> Result<()> {
    match begin_fire_with(deferred, result)? {
        Some(work) => run(deferred.py(), work),
        None => Ok(()),
    }
}
