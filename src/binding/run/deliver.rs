//! Delivers outcomes to waiters, by their class.

use pyo3::PyTypeInfo;
use pyo3::prelude::*;

use crate::binding::capi::{Native, error::Result, into_exact, is_exact};
use crate::binding::judge::notes;
use crate::binding::model::{
    awaiting::Awaiting,
    deferred::Deferred,
    list::DeferredList,
    observe,
    outcome::Outcome,
    primitive::LockRun,
    race::Race,
    task::Task,
    waiter::{FIRE, Waiter},
};
use crate::binding::waits::work::{Answer, Waits};

/// Deliver the outcome of a Deferred to a waiter, within the Deferred's run.
#[inline(always)]
pub(super) fn deliver<'py>(
    deferred: &Bound<'py, Deferred>,
    waiter: Waiter,
    place: u32,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    match into_exact::<Task>(waiter.into_object(deferred.py())) {
        Ok(task) => Task::deliver(task, place, outcome),
        Err(other) => deliver_to_other(deferred, other, place, outcome),
    }
}

/// As [`deliver`], for a waiter that is not a task.
#[inline(never)]
fn deliver_to_other<'py>(
    deferred: &Bound<'py, Deferred>,
    waiter: Bound<'py, PyAny>,
    place: u32,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    let failed = matches!(outcome, Outcome::Failure(_));
    let answer = deliver_to_one(waiter, place, outcome);
    if failed && let Ok(Answer::Now(left) | Answer::After(_, left)) = &answer {
        observe::took_failure(deferred, left);
    }
    answer
}

/// [`deliver_to_other`] without recording the event.
#[inline(always)]
fn deliver_to_one(waiter: Bound<'_, PyAny>, place: u32, outcome: Outcome) -> Result<Answer<'_>> {
    if place == FIRE {
        let other = waiter.clone();
        return deliver_to::<Deferred>(waiter, place, outcome).map_err(|error| {
            notes::name_callback(error.into_raised(other.py()), Ok(other), None).into()
        });
    }
    // Lists come first: they get many outcomes, one for each item.
    match into_exact::<DeferredList>(waiter) {
        Ok(list) => DeferredList::deliver(list, place, outcome),
        Err(other) => deliver_by_class(other, place, outcome),
    }
}

/// As [`deliver`], for a waiter that is neither a task nor exactly a list.
#[inline(never)]
fn deliver_by_class(waiter: Bound<'_, PyAny>, place: u32, outcome: Outcome) -> Result<Answer<'_>> {
    let deliver = OTHERS.iter().find(|(is_exact, _)| is_exact(&waiter));
    // The only other possibility is a subclass of `DeferredList`.
    deliver.map_or(deliver_to::<DeferredList> as Deliver, |(_, deliver)| *deliver)(
        waiter, place, outcome,
    )
}

/// How an outcome is delivered to the objects of a class.
type Deliver = for<'py> fn(Bound<'py, PyAny>, u32, Outcome) -> Result<Answer<'py>>;

type IsExact = fn(&Bound<'_, PyAny>) -> bool;

/// The classes of all other waiters.
static OTHERS: [(IsExact, Deliver); 3] = [
    (is_exact::<Awaiting>, deliver_to::<Awaiting>),
    (is_exact::<Race>, deliver_to::<Race>),
    (is_exact::<LockRun>, deliver_to::<LockRun>),
];

fn deliver_to<'py, T: Waits + Native + PyTypeInfo>(
    waiter: Bound<'py, PyAny>,
    place: u32,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    match into_exact::<T>(waiter) {
        Ok(waiter) => T::deliver(waiter, place, outcome),
        Err(other) => T::deliver(other.cast_into::<T>()?, place, outcome),
    }
}
