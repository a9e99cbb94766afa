//! Requests to the engine, as plain data.

use pyo3::prelude::*;
use smallvec::SmallVec;

use crate::binding::capi::{
    self,
    error::{Error, Raised, Result},
};
use crate::binding::model::{
    deferred::Deferred, list::DeferredList, outcome::Outcome, race::Race, task::Task,
};
use crate::core::refusable;

/// Something to do now.
pub(crate) enum Work<'py> {
    /// Run the links of a Deferred that has fired.
    Run(Bound<'py, Deferred>),
    /// Run a Deferred, if there is one, then raise an error.
    RunAndRaise(Option<Bound<'py, Deferred>>, Error),
    /// Hand an object over to a waiter with a `callback` method that is not ours.
    HandOver(Bound<'py, PyAny>, Bound<'py, PyAny>),
    /// Stop the run of this Deferred, if it is the next to be settled: it has been paused, and its
    /// waiter is back at the front of its chain.
    Halt(Bound<'py, Deferred>),
    /// Cancel a Deferred through its `cancel` method, which may be overridden.
    Cancel(Bound<'py, Deferred>),
    /// Cancel a Deferred directly.
    CancelHere(Bound<'py, Deferred>),
    /// Cancel a list directly.
    CancelList(Bound<'py, DeferredList>),
    /// Cancel the competitors of a race.
    CancelRace(Bound<'py, Race>),
    /// Report the outcome of one competitor to its race.
    Race(Bound<'py, Race>, usize, Outcome),
    /// Resume the generator of a task with the outcome it waited for.
    Resume(Bound<'py, Task>, Outcome),
    /// Act on how the generator of a task has stopped.
    HandleStop(Bound<'py, Task>, Stopped<'py>),
}

impl<'py> Work<'py> {
    /// Run a Deferred, if there is one, then raise an error, if there is one.
    pub(super) fn run_and(
        fired: Option<Bound<'py, Deferred>>,
        error: Option<Error>,
    ) -> Option<Self> {
        match error {
            None => fired.map(Self::Run),
            Some(error) => Some(Self::RunAndRaise(fired, error)),
        }
    }
}

/// Something to do later, when everything above it on the stack is done.
pub(crate) enum Later<'py> {
    /// Resume the run of a Deferred, after the one chained to it has run.
    GoOn(Bound<'py, Deferred>),
    /// Settle a link of a Deferred with this, or with the error of the work above.
    Settle(Bound<'py, Deferred>, Outcome),
    /// Check whether running this Deferred has given its outcome to the task.
    TakeInlineResult(Bound<'py, Task>, Bound<'py, Deferred>),
    /// Make the task wait for a Deferred.
    Wait(Bound<'py, Task>, Bound<'py, Deferred>),
    /// Restore the exception that was being handled before that of a generator.
    Handled(Option<Raised<'py>>),
    /// Raise an error.
    Raise(Error),
    /// The canceller has been called. Fail the Deferred if that did not fire it.
    Asked(Bound<'py, Deferred>),
    /// Cancel the Deferreds of a list, from this index on, even if cancellers raise.
    CancelList(Bound<'py, DeferredList>, usize),
    /// Cancel the competitors of a race, from this index on.
    CancelRace(Bound<'py, Race>, usize),
    /// Cancel the losers of a race, from this index on, then fire its Deferred.
    CancelLosers(Bound<'py, Race>, usize),
}

/// What comes after a step.
pub(crate) enum Next<'py> {
    /// Do this next.
    Do(Work<'py>),
    /// Continue with the next link of this Deferred.
    Links(Bound<'py, Deferred>),
    /// Nothing more to do.
    Done,
    /// The run has met a paused Deferred. It ends, and so do the runs that led to it.
    Abandoned,
}

/// A waiter's answer to an outcome: how its link is settled.
pub(crate) enum Answer<'py> {
    /// Settle the link with this.
    Now(Outcome),
    /// Do the work first, then settle the link with this.
    After(Work<'py>, Outcome),
}

/// Implemented by the classes of waiters.
pub(crate) trait Waits: Sized {
    /// Take the outcome of a Deferred. `place` is the number that the link holds beside the
    /// waiter, such as the index in a list.
    fn deliver<'py>(waiter: Bound<'py, Self>, place: u32, outcome: Outcome) -> Result<Answer<'py>>;
}

/// Pending work, last in, first out. Most runs are shallow and never allocate.
pub(crate) type Stack<'py> = SmallVec<[Later<'py>; 2]>;

/// Reserve room on the stack for one more entry.
///
/// # Errors
///
/// `MemoryError` if there is none.
#[inline(always)]
pub(crate) fn make_room(py: Python<'_>, stack: &mut Stack<'_>) -> Result<()> {
    if stack.len() == stack.capacity() && refusable(|| stack.try_reserve(1)).is_err() {
        return Err(capi::no_memory(py));
    }
    Ok(())
}

/// How a generator has stopped.
pub(crate) enum Stopped<'py> {
    /// It yielded this Deferred, of exactly our class, whose outcome cannot be taken yet.
    Before(Bound<'py, Deferred>),
    /// It yielded this object, which has yet to be classified.
    At(Bound<'py, PyAny>),
    /// It returned this.
    Returned(Bound<'py, PyAny>),
    /// It raised this.
    Raised(Raised<'py>),
}
