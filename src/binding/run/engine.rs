//! The main loop, and the stack of pending work.

use std::mem::ManuallyDrop;

use pyo3::prelude::*;

#[cfg(Py_GIL_DISABLED)]
use crate::binding::capi::error::Error;
use crate::binding::capi::{
    self, Hold,
    cell::SEVERAL_THREADS,
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
    outcome::{Link, Outcome, or_no_memory},
};
use crate::binding::run::links::{
    Begin, Begun, End, begin, begin_calls, complete_and_turn, enter, is_about_to_call, links,
    next_call, rest,
};
use crate::binding::run::pending::{interrupt, resume};
use crate::binding::run::settling::settle_call;
use crate::binding::waits::{
    cancel_list,
    cancelling::{self, Simply},
    firing::{self, begin_fire, begin_fire_with},
    nesting, race, task,
    work::{Later, Next, Stack, Work, make_room},
};
#[cfg(Py_GIL_DISABLED)]
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
    // Without the GIL, to look first would take a lock.
    let calls = SEVERAL_THREADS || is_about_to_call(deferred);
    if calls { run_calls(deferred, Begin::Fired) } else { run_links(deferred) }
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
fn run_calls(deferred: &Bound<'_, Deferred>, begin: Begin) -> Result<()> {
    #[cfg(not(Py_GIL_DISABLED))]
    let _nested = Nested::enter_to_run(deferred.py())?;
    #[cfg(Py_GIL_DISABLED)]
    let _nested = match Nested::enter_to_run(deferred.py()) {
        Ok(nested) => nested,
        Err(error) => return not_run(deferred, begin, error),
    };
    let mut next = match begin_calls(deferred, begin) {
        Begun::With(next) => next,
        #[cfg(Py_GIL_DISABLED)]
        Begun::Refused(outcome) => return fire_slowly(deferred, outcome),
        Begun::Not => return Ok(()),
    };
    loop {
        let (callback, argument) = match next {
            Ok(call) => call,
            Err(End::Rest) => return rest(deferred, false),
            Err(End::RestOnFailure) => return rest(deferred, true),
            Err(End::Another) => return go_on(deferred),
        };
        let called = callback.call(&argument);
        drop(argument);
        next = match called {
            Ok(result) if is_known_ordinary(&result) => {
                drop(callback);
                complete_and_turn(deferred, Outcome::Value(result.hold()))
            }
            called => {
                if !answered(deferred, callback, called)? {
                    return Ok(());
                }
                next_call(deferred)
            }
        };
    }
}

/// The run is refused, but the Deferred is fired all the same.
#[cfg(Py_GIL_DISABLED)]
#[cold]
fn not_run(deferred: &Bound<'_, Deferred>, begin: Begin, error: Error) -> Result<()> {
    match begin {
        Begin::Fire(outcome) => {
            let runs = begin_fire(deferred, outcome)?;
            if runs { Err(error) } else { Ok(()) }
        }
        Begin::Fired => Err(error),
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
pub(super) fn go_on(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let mut stack = new_stack();
    let next = links(deferred.clone(), &mut stack);
    end(deferred.py(), next, &mut stack)
}

/// Finish a run. Most have finished already, so this is checked first.
#[inline(always)]
pub(super) fn end<'py>(
    py: Python<'py>,
    next: Result<Next<'py>>,
    stack: &mut Stack<'py>,
) -> Result<()> {
    match next {
        Ok(Next::Done) if stack.is_empty() && !stack.spilled() => Ok(()),
        next => drive(py, next, stack),
    }
}

/// A new stack, for [`drive`] or [`end`]. Both leave it empty and without heap memory, so it need
/// not be dropped.
#[inline(always)]
pub(super) fn new_stack<'py>() -> ManuallyDrop<Stack<'py>> {
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

/// [`add`], with the check whether the chain is at rest in the same step. If it is, the callback is
/// returned instead.
#[cfg(Py_GIL_DISABLED)]
#[inline(always)]
pub(crate) fn add_unless_at_rest(
    deferred: &Bound<'_, Deferred>,
    on: On,
    callback: Callback,
) -> Result<Option<Callback>> {
    let py = deferred.py();
    let added = deferred.get().chain(py, |chain| {
        if chain.is_at_rest() {
            return Ok(Err(callback));
        }
        chain.add(on.link(callback)).map(|()| Ok(chain.is_runnable()))
    });
    match or_no_memory(py, added)? {
        Ok(true) => run_deferred(deferred).map(|()| None),
        Ok(false) => Ok(None),
        Err(callback) => Ok(Some(callback)),
    }
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
    fire_quickly(deferred, Outcome::Value(result.hold()))
}

/// [`fire`], where there is most likely nothing more to do than to store the outcome.
#[cfg(not(Py_GIL_DISABLED))]
#[inline(always)]
pub(crate) fn fire_quickly(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<()> {
    match firing::fire_quickly(deferred, outcome) {
        Ok(true) => run_deferred(deferred),
        Ok(false) => Ok(()),
        Err(outcome) => fire_slowly(deferred, outcome),
    }
}

/// The same, in one step with the first turn.
#[cfg(Py_GIL_DISABLED)]
#[inline(always)]
pub(crate) fn fire_quickly(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<()> {
    if firing::is_quick(deferred) {
        run_calls(deferred, Begin::Fire(outcome))
    } else {
        fire_slowly(deferred, outcome)
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
