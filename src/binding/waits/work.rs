//! What is to be done: plain data, for the engine to act on.

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

/// Something to be done.
pub(crate) enum Work<'py> {
    /// Run the links of a Deferred that has fired.
    Run(Bound<'py, Deferred>),
    /// Run a Deferred, if there is one, then raise an error.
    RunAndRaise(Option<Bound<'py, Deferred>>, Error),
    /// Hand an object over to something whose `callback` is its own.
    HandOver(Bound<'py, PyAny>, Bound<'py, PyAny>),
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
pub(crate) enum Later<'py> {
    /// Go on with the links of a Deferred, after the one that was chained to it had its turn.
    GoOn(Bound<'py, Deferred>),
    /// Settle a link of a Deferred with this, or with the failure of what was done above.
    Settle(Bound<'py, Deferred>, Outcome),
    /// See whether the task has been given what this Deferred came to.
    Look(Bound<'py, Task>, Bound<'py, Deferred>),
    /// Have the task wait for a Deferred.
    Wait(Bound<'py, Task>, Bound<'py, Deferred>),
    /// What a generator had raised is no longer being handled. It is this again, if anything.
    Handled(Option<Raised<'py>>),
    /// Raise an error.
    Raise(Error),
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
pub(crate) enum Next<'py> {
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
pub(crate) enum Answer<'py> {
    /// The link is settled with this.
    Now(Outcome),
    /// When that has been done, the link is settled with this.
    After(Work<'py>, Outcome),
}

/// What can wait in a chain without being a callback.
pub(crate) trait Waits: Sized {
    /// Take the outcome of a Deferred, as part of its run. `place` is what the link says beside
    /// the waiter.
    fn deliver<'py>(waiter: Bound<'py, Self>, place: u32, outcome: Outcome) -> Result<Answer<'py>>;
}

/// What is still to be done, last in, first out. Most runs are shallow, and never allocate.
pub(crate) type Stack<'py> = SmallVec<[Later<'py>; 2]>;

/// Make room on the stack for one more.
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

/// Where a generator has stopped.
pub(crate) enum Stopped<'py> {
    /// It has yielded this Deferred, of the class itself, which has no outcome to be taken.
    Before(Bound<'py, Deferred>),
    /// It has yielded this, which has to be looked at more closely.
    At(Bound<'py, PyAny>),
    /// It returned this.
    Returned(Bound<'py, PyAny>),
    /// It raised this.
    Raised(Raised<'py>),
}
