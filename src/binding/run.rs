//! The trampoline: does what the core says is to be done next.
//!
//! All that can follow from firing, cancelling or resuming is work on one stack, so that nothing
//! recurses: not a Deferred chained to a Deferred, not a generator that ends and so resumes the
//! one that waits for it, not the cancelling of one that waits for one that waits. Only a
//! callback that itself fires a Deferred gets a trampoline of its own, as it must: to Python, what
//! it calls is done when the call returns.

use std::mem::ManuallyDrop;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyTuple};
use pyo3::{Borrowed, PyTraverseError};
use smallvec::SmallVec;

use super::awaiting::{self, Awaiting};
use super::callback::Callback;
use super::deferred::{self, Deferred};
use super::error::{Error, Raise, Result};
use super::ffi::stack::Nested;
use super::ffi::{self, Held, Hold, Text};
use super::gather::{self, DeferredList, Race};
use super::gc::Traverse;
use super::generator::{self, Stopped, Task};
use super::interned::intern;
use super::names;
use super::native;
use super::outcome::{self, Link, Outcome, Raised, classify_returned, into_object, share};
use super::overrides::overrides;
use super::report;
use super::sync::{self, Locked};
use crate::core::{Cancel, NoMemory, On, Turn, refusable};

/// Something to be done.
pub(super) enum Work<'py> {
    /// Run the links of a Deferred that has fired.
    Run(Bound<'py, Deferred>),
    /// End the run of this Deferred, if it is the one to be settled next: it has been paused, and
    /// its waiter stands in front of its chain again.
    Halt(Bound<'py, Deferred>),
    /// Cancel a Deferred by its `cancel` method.
    Cancel(Bound<'py, Deferred>),
    /// Cancel a Deferred whose `cancel` method is ours.
    CancelHere(Bound<'py, Deferred>),
    /// Cancel a list whose `cancel` method is ours.
    CancelList(Bound<'py, DeferredList>),
    /// Cancel those that take part in a race.
    CancelRace(Bound<'py, Race>),
    /// Let a race know what one of those that take part has come to.
    Race(Bound<'py, Race>, usize, Outcome),
    /// Resume the generator of a task with what it waited for.
    Resume(Bound<'py, Task>, Outcome),
    /// Take up where the generator of a task has stopped.
    TakeUp(Bound<'py, Task>, Stopped<'py>),
}

/// Something to be done when what stands above it on the stack has been done.
pub(super) enum Later<'py> {
    /// Go on with the links of a Deferred, after the one that was chained to it had its turn.
    GoOn(Bound<'py, Deferred>),
    /// Settle a link of a Deferred with this, or with the failure of what was done above.
    Settle(Bound<'py, Deferred>, Outcome),
    /// See whether the task has been given what this Deferred came to.
    Look(Bound<'py, Task>, Bound<'py, Deferred>),
    /// Have the task wait for a Deferred.
    Wait(Bound<'py, Task>, Bound<'py, Deferred>),
    /// What a generator had raised is no longer being handled. It is this again, if anything.
    Handled(Option<Bound<'py, PyAny>>),
    /// The canceller of a Deferred has been asked.
    Asked(Bound<'py, Deferred>),
    /// Cancel what a list waits for, from this place on, whatever the cancellers raise.
    CancelList(Bound<'py, DeferredList>, usize),
    /// Cancel those that take part in a race, from this place on.
    CancelRace(Bound<'py, Race>, usize),
    /// Cancel those that lost a race, from this place on, and tell who won.
    CancelLosers(Bound<'py, Race>, usize),
}

/// What follows from doing something.
pub(super) enum Next<'py> {
    /// This is to be done first, as part of it.
    Do(Work<'py>),
    /// Go on with the links of this Deferred, whose link was settled.
    Links(Bound<'py, Deferred>),
    /// It is done.
    Done,
    /// A run has met a paused Deferred. It is over, for those it came from, too.
    Abandoned,
}

/// What becomes of an outcome that a waiter has been given.
pub(super) enum Answer<'py> {
    /// The link is settled with this.
    Now(Outcome),
    /// When that has been done, the link is settled with this.
    After(Work<'py>, Outcome),
}

/// What is still to be done, last in, first out. Most runs are shallow, and never allocate.
pub(super) type Stack<'py> = SmallVec<[Later<'py>; 2]>;

/// Something that waits in a chain without being a callback.
///
/// One of a few classes of ours; in one word, to keep links small.
pub(super) struct Waiter(Held<PyAny>);

/// The place of a Deferred that is to be fired with the outcome.
pub(super) const FIRE: u32 = u32::MAX;

impl Waiter {
    /// Let this wait.
    #[inline]
    pub(super) fn new<T>(waiter: &Bound<'_, T>) -> Self {
        Self(waiter.as_any().clone().hold())
    }

    /// Whether it is this.
    pub(super) fn is<T>(&self, other: &Bound<'_, T>) -> bool {
        self.0.as_ptr() == other.as_ptr()
    }

    /// Whether it is what `await` iterates: that takes the outcome, or lets it pass.
    pub(super) fn is_awaiting(&self, py: Python<'_>) -> bool {
        ffi::is_exact::<Awaiting>(self.0.bind(py))
    }

    /// Let it have an outcome. What it does with it is part of the run of the Deferred whose it is.
    #[inline(always)]
    fn deliver<'py>(self, py: Python<'py>, place: u32, outcome: Outcome) -> Result<Answer<'py>> {
        let waiter = self.0.into_bound(py);
        match ffi::into_exact::<Task>(waiter) {
            Ok(task) => generator::deliver(task, place, outcome),
            Err(other) => Self::deliver_to_other(other, place, outcome),
        }
    }

    /// Let one that is no task have an outcome.
    #[inline(never)]
    fn deliver_to_other(
        waiter: Bound<'_, PyAny>,
        place: u32,
        outcome: Outcome,
    ) -> Result<Answer<'_>> {
        if place == FIRE {
            return deferred::deliver(waiter.cast_into::<Deferred>()?, outcome);
        }
        let waiter = match waiter.cast_into::<DeferredList>() {
            Ok(list) => return gather::deliver(list, place, outcome),
            Err(other) => other.into_inner(),
        };
        let waiter = match waiter.cast_into::<Race>() {
            Ok(race) => {
                let work = Work::Race(race, place as usize, outcome);
                return Ok(Answer::After(work, Outcome::Taken));
            }
            Err(other) => other.into_inner(),
        };
        let waiter = match waiter.cast_into::<Locked>() {
            Ok(locked) => return sync::deliver(locked, place, outcome),
            Err(other) => other.into_inner(),
        };
        awaiting::deliver(&waiter.cast_into::<Awaiting>()?, outcome)
    }
}

impl Traverse for Waiter {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.traverse(visit)
    }
}

/// Do something, and all that follows from it.
///
/// # Errors
///
/// What the outermost piece of work raises: the canceller of a Deferred to be cancelled, the
/// Deferred of a generator that was fired by somebody else. Whatever callbacks raise stays in
/// their chains.
pub(super) fn run<'py>(py: Python<'py>, work: Work<'py>) -> Result<()> {
    let _nested = Nested::enter(py)?;
    run_within(py, work)
}

/// As [`run`], within a call that is known to nest.
///
/// # Errors
///
/// As [`run`].
pub(super) fn run_within<'py>(py: Python<'py>, work: Work<'py>) -> Result<()> {
    match work {
        Work::Run(deferred) => run_deferred_within(deferred),
        work => drive(py, Ok(Next::Do(work)), &mut new_stack()),
    }
}

/// Run the links of a Deferred, and do all that follows from it.
///
/// # Errors
///
/// As [`run`].
pub(super) fn run_deferred(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let _nested = Nested::enter(deferred.py())?;
    run_deferred_within(deferred.clone())
}

/// As [`run_deferred`], within a call that is known to nest.
#[inline(always)]
fn run_deferred_within(deferred: Bound<'_, Deferred>) -> Result<()> {
    let py = deferred.py();
    let mut stack = new_stack();
    let next = match begin(deferred) {
        Next::Links(deferred) => links(deferred, &mut stack),
        next => Ok(next),
    };
    end(py, next, &mut stack)
}

/// Call a callback with the outcome of a Deferred to which it is to be added, if that is what would
/// come of it at once, and do all that follows. False if it has to be added.
///
/// # Errors
///
/// As [`run`].
#[inline(never)]
pub(super) fn call_at_once<'py>(
    deferred: &Bound<'py, Deferred>,
    on: On,
    callable: Borrowed<'_, 'py, PyAny>,
    args: &[Borrowed<'_, 'py, PyAny>],
) -> Result<bool> {
    let py = deferred.py();
    // Where that is refused, it is added all the same, as with Twisted.
    let Ok(_nested) = Nested::enter(py) else { return Ok(false) };
    let argument = deferred.get().chain(py, |chain| {
        chain.call_at_once(on).map(|outcome| into_object(py, share(py, outcome)))
    });
    let Some(argument) = argument else { return Ok(false) };
    let mut stack = new_stack();
    let next = if ffi::is_of_python(&callable) {
        call_first(deferred, callable, argument, args)
    } else {
        call_first_of_others(deferred, callable, argument, args, &mut stack)
    };
    let next = match next? {
        Some(next) => Ok(next),
        None => links(deferred.clone(), &mut stack),
    };
    end(py, next, &mut stack)?;
    Ok(true)
}

/// Call a callback with an outcome and other arguments. What follows, but for the links.
#[inline(always)]
fn call_first<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: Borrowed<'_, 'py, PyAny>,
    argument: Bound<'py, PyAny>,
    args: &[Borrowed<'_, 'py, PyAny>],
) -> Result<Option<Next<'py>>> {
    let called = ffi::call_first(&callable, &argument, args);
    drop(argument);
    let outcome = answer_of(deferred, called, || Ok(callable.to_owned()))?;
    take_up(deferred, outcome)
}

/// The same for one that was not written in Python, and so may be one of ours.
#[inline(never)]
fn call_first_of_others<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: Borrowed<'_, 'py, PyAny>,
    argument: Bound<'py, PyAny>,
    args: &[Borrowed<'_, 'py, PyAny>],
    stack: &mut Stack<'py>,
) -> Result<Option<Next<'py>>> {
    let mut more = SmallVec::<[_; 3]>::new();
    if refusable(|| more.try_reserve(args.len())).is_err() {
        return Err(ffi::no_memory(deferred.py()));
    }
    more.extend(args.iter().map(|it| (**it).clone()));
    let Some(answer) = native::answer(&callable, &argument, &more) else {
        return call_first(deferred, callable, argument, args);
    };
    drop(argument);
    let outcome = match answer {
        Ok(Answer::Now(outcome)) => outcome,
        Ok(Answer::After(work, outcome)) => match put_off(deferred, work, outcome, stack) {
            Ok(work) => return Ok(Some(Next::Do(work))),
            Err(outcome) => outcome?,
        },
        Err(error) => failed(deferred, error)?,
    };
    take_up(deferred, outcome)
}

/// Come to the end of a run that may have ended already, as most have.
#[inline(always)]
fn end<'py>(py: Python<'py>, next: Result<Next<'py>>, stack: &mut Stack<'py>) -> Result<()> {
    match next {
        Ok(Next::Done) if stack.is_empty() && !stack.spilled() => Ok(()),
        next => drive(py, next, stack),
    }
}

/// A stack that is looked after by [`drive`] or [`end`]: at their end there is nothing in it, nor
/// any memory of its own, so that it need not be dropped.
#[inline(always)]
fn new_stack<'py>() -> ManuallyDrop<Stack<'py>> {
    ManuallyDrop::new(Stack::new())
}

/// Make room on the stack for one more.
///
/// # Errors
///
/// `MemoryError` if there is none.
#[inline(always)]
pub(super) fn make_room(py: Python<'_>, stack: &mut Stack<'_>) -> Result<()> {
    if stack.len() == stack.capacity() && refusable(|| stack.try_reserve(1)).is_err() {
        return Err(ffi::no_memory(py));
    }
    Ok(())
}

/// Put the settling of a link off until something else has been done. Where there is no memory for
/// that, it is not done, and the link is settled with that error.
#[inline(always)]
fn put_off<'py>(
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
        Err(error) => Err(failed(deferred, error)),
    }
}

/// Go on from here until nothing is left on the stack.
#[inline(never)]
fn drive<'py>(py: Python<'py>, mut next: Result<Next<'py>>, stack: &mut Stack<'py>) -> Result<()> {
    let result = loop {
        next = match next {
            Ok(Next::Do(work)) => perform(work, stack),
            Ok(Next::Links(deferred)) => links(deferred, stack),
            Ok(Next::Done) => match stack.pop() {
                None => break Ok(()),
                Some(later) => resume(py, later, stack),
            },
            Ok(Next::Abandoned) => {
                // Those that came before in the same run are left as they are.
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

fn perform<'py>(work: Work<'py>, stack: &mut Stack<'py>) -> Result<Next<'py>> {
    match work {
        Work::Run(deferred) => Ok(begin(deferred)),
        Work::Halt(halted) => {
            if stack.last().is_some_and(|it| matches!(it, Later::Settle(it, _) if it.is(&halted))) {
                stack.pop();
                halted.get().chain(halted.py(), |chain| chain.stop_running());
            }
            Ok(Next::Done)
        }
        Work::Cancel(deferred) => {
            let cancel = intern!(deferred.py(), "cancel");
            if !overrides::<Deferred>(&deferred, cancel) {
                return cancel_here(deferred, stack);
            }
            match deferred.cast_into::<DeferredList>() {
                Ok(list) if gather::cancels_plainly(&list) => {
                    return gather::cancel_list(list, 0, stack);
                }
                Ok(list) => list.call_method0(cancel)?,
                Err(other) => other.into_inner().call_method0(cancel)?,
            };
            Ok(Next::Done)
        }
        Work::CancelList(list) => gather::cancel_list(list, 0, stack),
        Work::CancelRace(race) => gather::cancel_race(race, 0, stack),
        Work::Race(race, place, outcome) => gather::arrive(race, place, outcome, stack),
        Work::CancelHere(deferred) => cancel_here(deferred, stack),
        Work::Resume(task, outcome) => generator::resume(task, outcome, stack),
        Work::TakeUp(task, stopped) => generator::take_up(task, stopped, stack),
    }
}

#[inline(always)]
fn resume<'py>(py: Python<'py>, later: Later<'py>, stack: &mut Stack<'py>) -> Result<Next<'py>> {
    match later {
        Later::GoOn(deferred) => Ok(enter(deferred)),
        Later::Settle(deferred, outcome) => settle(deferred, outcome),
        Later::Look(task, deferred) => generator::look(task, deferred),
        Later::Wait(task, deferred) => generator::wait(task, deferred, stack),
        Later::Handled(before) => {
            ffi::end_handling(py, before);
            Ok(Next::Done)
        }
        Later::CancelList(list, place) => gather::cancel_list(list, place, stack),
        Later::CancelRace(race, place) => gather::cancel_race(race, place, stack),
        Later::CancelLosers(race, place) => gather::cancel_losers(race, place, stack),
        Later::Asked(deferred) => {
            if deferred.get().chain(deferred.py(), |chain| chain.called()) {
                return Ok(Next::Done);
            }
            fail_cancelled(deferred)
        }
    }
}

/// Go on with something that had been put off, where what came first has raised.
#[cold]
fn interrupt<'py>(
    py: Python<'py>,
    later: Later<'py>,
    error: Error,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    match later {
        Later::Settle(deferred, _) => {
            let outcome = failed(&deferred, error)?;
            settle(deferred, outcome)
        }
        Later::Handled(before) => {
            ffi::end_handling(py, before);
            Err(error)
        }
        Later::CancelList(list, place) => match gather::canceller_raised(&list, place - 1, error) {
            Ok(()) => gather::cancel_list(list, place, stack),
            Err(error) => {
                gather::stop_cancelling_list(&list);
                Err(error)
            }
        },
        Later::Look(task, deferred) => {
            generator::stop_looking(&task, deferred);
            Err(error)
        }
        Later::CancelRace(race, _) => {
            gather::stop_cancelling(&race);
            Err(error)
        }
        _ => Err(error),
    }
}

/// Begin a run, unless one is under way.
#[inline(always)]
fn begin(deferred: Bound<'_, Deferred>) -> Next<'_> {
    if deferred.get().chain(deferred.py(), |chain| chain.running()) {
        return Next::Done;
    }
    enter(deferred)
}

/// Begin a run, or come back to one.
#[inline(always)]
fn enter(deferred: Bound<'_, Deferred>) -> Next<'_> {
    match deferred.get().chain(deferred.py(), |chain| chain.enter()) {
        Err(_paused) => Next::Abandoned,
        Ok(chained_to) => {
            drop(chained_to);
            Next::Links(deferred)
        }
    }
}

/// The next turn of a Deferred, with a hold on what it needs.
enum Step<'py> {
    Call(Callback, Option<Callback>, Bound<'py, PyAny>),
    Deliver(Waiter, u32, Outcome),
    Continue(Held<Deferred>, Outcome),
    Skip(Link),
    Pass(Link, Outcome),
    /// No link is left, and the outcome is a failure or not.
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

/// Run the links of a Deferred, and of those that this settles, until none is left or something
/// else has to be done first.
fn links<'py>(mut deferred: Bound<'py, Deferred>, stack: &mut Stack<'py>) -> Result<Next<'py>> {
    let py = deferred.py();
    loop {
        let outcome = match step(&deferred) {
            Step::Call(callback, spare, argument) => {
                drop(spare);
                match callback.call_if_of_python(&argument) {
                    Some(called) => {
                        drop(argument);
                        answer_of(&deferred, called, || callback.callable(py))?
                    }
                    None => match call_another(&deferred, &callback, argument)? {
                        Answer::Now(outcome) => outcome,
                        Answer::After(work, outcome) => {
                            match put_off(&deferred, work, outcome, stack) {
                                Ok(work) => return Ok(Next::Do(work)),
                                Err(outcome) => outcome?,
                            }
                        }
                    },
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
            Step::Deliver(waiter, place, outcome) => match waiter.deliver(py, place, outcome) {
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
                Err(error) => failed(&deferred, error)?,
            },
            Step::Rest(on_failure) => {
                if on_failure {
                    report::rests_on_failure(&deferred)?;
                } else {
                    report::forget(&deferred)?;
                }
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
        if let Some(next) = take_up(&deferred, outcome)? {
            return Ok(next);
        }
    }
}

/// Hand the outcome of a Deferred on to the one that is chained to it. What follows.
#[inline(never)]
fn hand_on<'py>(
    deferred: Bound<'py, Deferred>,
    other: Bound<'py, Deferred>,
    outcome: Outcome,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = deferred.py();
    // One that waits for itself gets its own outcome and has it taken, at once.
    let outcome = if other.is(&deferred) { Outcome::Taken } else { outcome };
    if let Err(error) = make_room(py, stack).and_then(|()| report::forget(&deferred)) {
        // As with Twisted, the other has the outcome, but is not let go.
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

/// Call a callback that was not written in Python, and so may be one of ours, or gets arguments by
/// keyword. Whatever it raises is an outcome.
#[inline(never)]
fn call_another<'py>(
    deferred: &Bound<'py, Deferred>,
    callback: &Callback,
    argument: Bound<'py, PyAny>,
) -> Result<Answer<'py>> {
    match callback.answer_natively(&argument) {
        None => call(deferred, callback, argument).map(Answer::Now),
        Some(answer) => {
            drop(argument);
            answer.or_else(|error| failed(deferred, error).map(Answer::Now))
        }
    }
}

/// Call a callback. Whatever it raises is an outcome.
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

/// The outcome of a call of a callback.
#[inline(always)]
fn answer_of<'py>(
    deferred: &Bound<'py, Deferred>,
    called: Result<Bound<'py, PyAny>, Raised<'py>>,
    callable: impl FnOnce() -> Result<Bound<'py, PyAny>>,
) -> Result<Outcome> {
    let result = match called {
        Ok(result) if ffi::is_known_ordinary(&result) => return Ok(Outcome::Value(result.hold())),
        Ok(result) => result,
        Err(raised) => return failure_of(deferred, raised),
    };
    if result.as_ptr() == deferred.as_ptr()
        && let Err(error) = callable().and_then(|it| warn_of_self_return(&it))
    {
        return failed_by_itself(deferred, error);
    }
    match ffi::into_exact::<Deferred>(result) {
        Ok(other) => Ok(Outcome::Deferred(other.hold())),
        Err(result) => outcome_of_another(deferred, result),
    }
}

/// What a callback has returned that has to be looked at more closely.
#[inline(never)]
fn outcome_of_another<'py>(
    deferred: &Bound<'py, Deferred>,
    result: Bound<'py, PyAny>,
) -> Result<Outcome> {
    classify_returned(&result).or_else(|error| failed(deferred, error))
}

#[cold]
fn failed(deferred: &Bound<'_, Deferred>, error: Error) -> Result<Outcome> {
    failure_of(deferred, error.into_raised(deferred.py()))
}

/// The failure that an exception in a link of a Deferred makes.
///
/// # Errors
///
/// Where no failure can be made. The link is over all the same, as with Twisted: the outcome
/// before it stays, and the chain goes on from there when it is run again.
#[inline(never)]
fn failure_of<'py>(deferred: &Bound<'py, Deferred>, raised: Raised<'py>) -> Result<Outcome> {
    let debugging = if ffi::is_exact::<Deferred>(deferred) {
        ffi::debugging(deferred)
    } else {
        // A subclass may have a `debug` that raises. That has the exception for its context.
        ffi::while_handling(&raised, || ffi::debugging(deferred))
    };
    let failed = debugging.and_then(|debugging| outcome::failed(raised, debugging));
    if failed.is_err() {
        deferred.get().chain(deferred.py(), |chain| chain.stop_running());
    }
    failed
}

/// As [`failed`], where the Deferred itself was about to become its outcome. That is what it is
/// left with if no failure can be made.
#[cold]
fn failed_by_itself(deferred: &Bound<'_, Deferred>, error: Error) -> Result<Outcome> {
    failed(deferred, error).inspect_err(|_| {
        let itself = Outcome::Deferred(deferred.clone().hold());
        let before = deferred.get().chain(deferred.py(), |chain| chain.replace_outcome(itself));
        drop(before);
    })
}

/// Let an outcome pass a link, as if by a callback that returns it: warn if it is the Deferred
/// itself.
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
    let text = ffi::new_str(
        callback.py(),
        "Callback returned the Deferred it was attached to; this breaks the callback chain and \
         will raise an exception in the future.",
    )?;
    names::WARN_ABOUT_FUNCTION.get(callback.py())?.call1((callback, text))?;
    Ok(())
}

/// Settle a link that something on the stack has answered.
#[inline(always)]
fn settle<'py>(deferred: Bound<'py, Deferred>, outcome: Outcome) -> Result<Next<'py>> {
    let outcome = pass(&deferred, outcome)?;
    match take_up(&deferred, outcome)? {
        Some(next) => Ok(next),
        None => Ok(Next::Links(deferred)),
    }
}

/// Take up how a link ended. None if the links can go on.
#[inline(always)]
fn take_up<'py>(deferred: &Bound<'py, Deferred>, outcome: Outcome) -> Result<Option<Next<'py>>> {
    let py = deferred.py();
    let other = match &outcome {
        Outcome::Deferred(other) => Some(other.bind(py).clone()),
        _ => None,
    };
    // The old outcome may run code when it dies. The chain still counts as running then.
    let before = deferred.get().chain(py, |chain| chain.replace_outcome(outcome));
    drop(before);
    deferred.get().chain(py, |chain| chain.stop_running());
    match other {
        None => Ok(None),
        Some(other) => chain_to(deferred, other),
    }
}

/// Chain a Deferred to the one that a callback returned: take that one's outcome, or wait for it.
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
    if let Err(error) = deferred::or_no_memory(py, added) {
        // Nobody would ever tell it that the other is done: it goes on with this instead.
        let outcome = failed(deferred, error)?;
        let before = deferred
            .get()
            .chain(py, |chain| (chain.replace_outcome(outcome), chain.wait_no_more()));
        drop(before);
        return Ok(None);
    }
    report::forget(deferred)?;
    Ok(Some(Next::Done))
}

/// Do what cancelling a Deferred comes to.
fn cancel_here<'py>(deferred: Bound<'py, Deferred>, stack: &mut Stack<'py>) -> Result<Next<'py>> {
    enum Do<'py> {
        Ask(Bound<'py, PyAny>),
        Fail,
        Forward(Bound<'py, Deferred>),
        Nothing,
    }
    let py = deferred.py();
    make_room(py, stack)?;
    let what = deferred.get().chain(py, |chain| match chain.cancel() {
        Cancel::Ask(canceller) => Do::Ask(canceller.bind(py).clone()),
        Cancel::Fail => Do::Fail,
        Cancel::Forward(other) => Do::Forward(other.bind(py).clone()),
        Cancel::Nothing => Do::Nothing,
    });
    match what {
        Do::Nothing => Ok(Next::Done),
        Do::Forward(other) => Ok(Next::Do(Work::Cancel(last_of_those(deferred, other)?))),
        Do::Ask(canceller) => {
            if let Some(task) = ffi::as_exact::<Task>(&canceller) {
                stack.push(Later::Asked(deferred.clone()));
                return generator::ask_to_cancel(task, deferred);
            }
            if let Ok(race) = canceller.cast_exact::<Race>() {
                stack.push(Later::Asked(deferred));
                return Ok(Next::Do(Work::CancelRace(race.clone())));
            }
            if sync::give_up(&canceller, &deferred)? {
                return resume(py, Later::Asked(deferred), stack);
            }
            if !canceller.is_truthy()? {
                return fail_unasked(deferred);
            }
            if ffi::is_of_python(&canceller) {
                canceller.call1((&deferred,))?;
            } else {
                match native::answer(&canceller, &deferred, &[]) {
                    None => drop(canceller.call1((&deferred,))?),
                    Some(answer) => {
                        if let Answer::After(work, _) = answer? {
                            stack.push(Later::Asked(deferred));
                            return Ok(Next::Do(work));
                        }
                    }
                }
            }
            drop(canceller);
            resume(py, Later::Asked(deferred), stack)
        }
        Do::Fail => fail_unasked(deferred),
    }
}

/// Cancel what a Deferred that has fired waits for, if it waits.
pub(super) fn cancel_waited_for<'py>(deferred: &Bound<'py, Deferred>) -> Result<Next<'py>> {
    let waits_for = deferred.get().chain(deferred.py(), |chain| match chain.cancel() {
        Cancel::Forward(other) => Some(other.bind(deferred.py()).clone()),
        _ => None,
    });
    Ok(match waits_for {
        Some(other) => Next::Do(Work::Cancel(last_of_those(deferred.clone(), other)?)),
        None => Next::Done,
    })
}

/// Of the Deferreds that wait for each other, the first that has something to be cancelled, or a
/// `cancel` of its own.
///
/// # Errors
///
/// `RecursionError`, as with Twisted, if they wait for each other in a ring.
#[cold]
fn last_of_those<'py>(
    first: Bound<'py, Deferred>,
    second: Bound<'py, Deferred>,
) -> Result<Bound<'py, Deferred>> {
    let py = first.py();
    // To find a ring, compare with one left behind at each power of two of the way (Brent).
    let (mut behind, mut steps, mut power) = (first, 0usize, 1usize);
    let mut current = second;
    loop {
        if overrides::<Deferred>(&current, intern!(py, "cancel"))
            && !gather::has_fired_plainly(&current)
        {
            return Ok(current);
        }
        if current.is(&behind) {
            return Err(gather::waits_for_itself(py));
        }
        if steps == power {
            behind = current.clone();
            (steps, power) = (0, power * 2);
        }
        steps += 1;
        let next = current.get().chain(py, |chain| match chain.cancel() {
            Cancel::Forward(other) => Some(other.bind(py).clone()),
            _ => None,
        });
        match next {
            Some(other) => current = other,
            None => return Ok(current),
        }
    }
}

fn fail_unasked(deferred: Bound<'_, Deferred>) -> Result<Next<'_>> {
    deferred.get().chain(deferred.py(), |chain| chain.swallow_next_fire());
    fail_cancelled(deferred)
}

fn fail_cancelled(deferred: Bound<'_, Deferred>) -> Result<Next<'_>> {
    if deferred::fail_cancelled(&deferred)? {
        return Ok(Next::Do(Work::Run(deferred)));
    }
    Ok(Next::Done)
}

/// The links of a Deferred as Twisted shows them: pairs of (callable, args, kwargs).
///
/// What waits without being a callback, and is none in Twisted's either, is the argument of the
/// function `waiting`.
pub(super) fn describe_links<'py>(deferred: &Bound<'py, Deferred>) -> Result<Bound<'py, PyList>> {
    let py = deferred.py();
    let empty = || PyTuple::empty(py);
    let half = |callback: Option<Callback>, name| match callback {
        Some(callback) => callback.describe(py),
        None => match names::public(py, name)? {
            Some(callable) => describe(callable, empty()),
            None => describe(py.None().into_bound(py), empty()),
        },
    };
    let described = ffi::new_list(py)?;
    for link in linked(deferred)? {
        let (on_value, on_failure) = match link {
            Linked::Pair(callback, errback) => {
                (half(callback, intern!(py, "passthru"))?, half(errback, intern!(py, "_failthru"))?)
            }
            Linked::Waiter(deferred, FIRE) => {
                let half = |name| describe(deferred.getattr(name)?, empty());
                (half(intern!(py, "callback"))?, half(intern!(py, "errback"))?)
            }
            Linked::Waiter(waiter, place) if waiter.is_instance_of::<DeferredList>() => {
                let collect = waiter.getattr(intern!(py, "_cbDeferred"))?;
                let half = |success| {
                    let success = PyBool::new(py, success).to_owned().into_any();
                    let place = ffi::new_int(py, place.into())?;
                    describe(collect.clone(), ffi::new_tuple(py, [place, success])?)
                };
                (half(true)?, half(false)?)
            }
            Linked::Waiter(waiter, _) => {
                let waiting = names::WAITING.get(py)?.clone();
                let half = describe(waiting, ffi::new_tuple(py, [waiter])?)?;
                (half.clone(), half)
            }
        };
        described.append(ffi::new_tuple(py, [on_value.into_any(), on_failure.into_any()])?)?;
    }
    Ok(described)
}

/// What stands in a chain.
enum Linked<'py> {
    Pair(Option<Callback>, Option<Callback>),
    Waiter(Bound<'py, PyAny>, u32),
}

/// The links of a Deferred, with a hold on each.
fn linked<'py>(deferred: &Bound<'py, Deferred>) -> Result<Vec<Linked<'py>>> {
    let py = deferred.py();
    let mut links = Vec::new();
    let kept = deferred.get().chain(py, |chain| {
        if refusable(|| links.try_reserve_exact(chain.links().len())).is_err() {
            return Err(NoMemory(()));
        }
        links.extend(chain.links().iter().map(|link| match link {
            Link::OnValue(callback) => Linked::Pair(Some(callback.share(py)), None),
            Link::OnFailure(callback) => Linked::Pair(None, Some(callback.share(py))),
            Link::Either(callback) => {
                Linked::Pair(Some(callback.share(py)), Some(callback.share(py)))
            }
            Link::Both(pair) => Linked::Pair(Some(pair.0.share(py)), Some(pair.1.share(py))),
            Link::Continue(other) => Linked::Waiter(other.bind(py).as_any().clone(), 0),
            Link::Deliver(waiter, place) => Linked::Waiter(waiter.0.bind(py).clone(), *place),
        }));
        Ok(())
    });
    deferred::or_no_memory(py, kept)?;
    Ok(links)
}

fn describe<'py>(
    callable: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
) -> Result<Bound<'py, PyTuple>> {
    let py = args.py();
    ffi::new_tuple(py, [callable, args.into_any(), ffi::new_dict(py)?.into_any()])
}

/// Make a link of what [`describe_links`] says of one.
///
/// # Errors
///
/// `TypeError` if it is something else, or what waits is no Deferred: no second link can stand for
/// that.
pub(super) fn link_described(pair: &Bound<'_, PyAny>) -> Result<Link> {
    type Half<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);
    let py = pair.py();
    let (on_value, on_failure): (Half<'_>, Half<'_>) = pair.extract()?;
    if on_value.0.is(names::WAITING.get(py)?) {
        let (waiter,): (Bound<'_, PyAny>,) = on_value.1.extract()?;
        if let Some(other) = outcome::as_deferred(&waiter) {
            return Ok(Link::Continue(other.clone().hold()));
        }
        return Err(PyTypeError::error_saying(ffi::joined(
            py,
            [
                Text::Ours("cannot copy a Deferred that a "),
                Text::Python(waiter.get_type().name()?),
                Text::Ours(" waits for"),
            ],
        )));
    }
    let [on_value, on_failure] = [on_value, on_failure].map(|(callable, args, kwargs)| {
        Callback::with_spread_arguments(callable, args, Some(kwargs))
    });
    deferred::link_of_both(py, (on_value?, on_failure?))
}
