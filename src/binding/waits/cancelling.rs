//! Cancelling a Deferred: its canceller, or the Deferred that it waits for.

use pyo3::prelude::*;

use crate::binding::capi::{self, error::Result, interned::intern, overrides::overrides};
use crate::binding::model::{deferred::Deferred, list::DeferredList, race::Race, task::Task};
use crate::binding::waits::{
    firing, handing_over, native, ring, task,
    work::{Answer, Later, Next, Stack, Work, make_room},
};
use crate::core::Cancel;

/// Do what cancelling a Deferred comes to.
pub(crate) fn cancel_here<'py>(
    deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
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
            if let Some(task) = capi::as_exact::<Task>(&canceller) {
                stack.push(Later::Asked(deferred.clone()));
                return task::ask_to_cancel(task, deferred);
            }
            if let Ok(race) = canceller.cast_exact::<Race>() {
                stack.push(Later::Asked(deferred));
                return Ok(Next::Do(Work::CancelRace(race.clone())));
            }
            if handing_over::give_up(&canceller, &deferred)? {
                return asked(deferred);
            }
            if !canceller.is_truthy()? {
                return fail_unasked(deferred);
            }
            if capi::is_of_python(&canceller) {
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
            asked(deferred)
        }
        Do::Fail => fail_unasked(deferred),
    }
}

/// The canceller of a Deferred has been asked: if that has not fired it, it fails.
pub(crate) fn asked(deferred: Bound<'_, Deferred>) -> Result<Next<'_>> {
    if deferred.get().chain(deferred.py(), |chain| chain.called()) {
        return Ok(Next::Done);
    }
    fail_cancelled(deferred)
}

/// Cancel what a Deferred that has fired waits for, if it waits.
pub(crate) fn cancel_waited_for<'py>(deferred: &Bound<'py, Deferred>) -> Result<Next<'py>> {
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
        if overrides::<Deferred>(&current, intern!(py, "cancel")) && !has_fired_plainly(&current) {
            return Ok(current);
        }
        if current.is(&behind) {
            return Err(ring::waits_for_itself(py));
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
    if firing::fail_cancelled(&deferred)? {
        return Ok(Next::Do(Work::Run(deferred)));
    }
    Ok(Next::Done)
}

/// Whether a list's `cancel` is ours.
pub(crate) fn cancels_plainly(list: &Bound<'_, DeferredList>) -> bool {
    !overrides::<DeferredList>(list, intern!(list.py(), "cancel"))
}

/// Whether cancelling this does what it does to a Deferred that has fired.
pub(crate) fn has_fired_plainly(deferred: &Bound<'_, Deferred>) -> bool {
    deferred.get().chain(deferred.py(), |chain| chain.called())
        && deferred.cast::<DeferredList>().is_ok_and(cancels_plainly)
}
