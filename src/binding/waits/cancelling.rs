//! Cancels a Deferred: calls its canceller, or cancels the Deferred that it waits for.

use pyo3::prelude::*;

use crate::binding::capi::{self, error::Result, interned::intern, overrides::overrides};
use crate::binding::model::{
    deferred::Deferred, list::DeferredList, observe, race::Race, task::Task,
};
use crate::binding::waits::{
    firing, handing_over, native, ring, task_cancelling,
    work::{Answer, Later, Next, Stack, Work, make_room},
};
use crate::core::Cancel;

/// How to cancel a Deferred in the simple cases.
pub(crate) enum Simply<'py> {
    /// Call this canceller, a Python function.
    Call(Bound<'py, PyAny>),
    /// There is nothing to do.
    Nothing,
    /// It is not simple: [`cancel_here`] does it.
    Not,
}

/// How to cancel a Deferred.
#[inline(always)]
pub(crate) fn simply<'py>(deferred: &Bound<'py, Deferred>) -> Simply<'py> {
    let py = deferred.py();
    deferred.get().chain(py, |chain| match chain.cancel() {
        Cancel::Ask(canceller) if capi::is_of_python(canceller.bind(py)) => {
            Simply::Call(canceller.bind(py).clone())
        }
        Cancel::Nothing => Simply::Nothing,
        _ => Simply::Not,
    })
}

/// Cancel a Deferred.
///
/// Cancellers may cancel others, so this uses as little stack as possible.
#[inline(never)]
pub(crate) fn cancel_here<'py>(
    deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    match simply(&deferred) {
        Simply::Call(canceller) => {
            observe::cancelled(&deferred);
            drop(capi::call_one(&canceller, &deferred)?);
            drop(canceller);
            asked(deferred)
        }
        Simply::Nothing => Ok(Next::Done),
        Simply::Not => cancel_otherwise(deferred, stack),
    }
}

/// [`cancel_here`], if there is more to do than to call a function.
#[inline(never)]
fn cancel_otherwise<'py>(
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
    if !matches!(what, Do::Nothing) {
        observe::cancelled(&deferred);
    }
    match what {
        Do::Nothing => Ok(Next::Done),
        Do::Forward(other) => Ok(Next::Do(Work::Cancel(last_of_those(deferred, other)?))),
        Do::Ask(canceller) => {
            if let Some(task) = capi::as_exact::<Task>(&canceller) {
                stack.push(Later::Asked(deferred.clone()));
                return task_cancelling::ask_to_cancel(task, deferred);
            }
            if let Ok(race) = canceller.cast_exact::<Race>() {
                stack.push(Later::Asked(deferred));
                return Ok(Next::Do(Work::CancelRace(race.clone())));
            }
            if handing_over::is_of_line(&canceller) {
                // Made before: without memory, it would leave the line, and not be told.
                let reason = firing::cancellation(py)?;
                handing_over::give_up(&canceller, &deferred)?;
                return asked_with(deferred, || Ok(reason));
            }
            if !canceller.is_truthy()? {
                return fail_unasked(deferred);
            }
            match native::answer(&canceller, &deferred, &[]) {
                None => drop(capi::call_one(&canceller, &deferred)?),
                Some(answer) => {
                    if let Answer::After(work, _) = answer? {
                        stack.push(Later::Asked(deferred));
                        return Ok(Next::Do(work));
                    }
                }
            }
            drop(canceller);
            asked(deferred)
        }
        Do::Fail => fail_unasked(deferred),
    }
}

/// Fail a Deferred as cancelled, if its canceller has not fired it.
pub(crate) fn asked(deferred: Bound<'_, Deferred>) -> Result<Next<'_>> {
    let py = deferred.py();
    asked_with(deferred, || firing::cancellation(py))
}

/// [`asked`], with a failure that is made or was.
fn asked_with<'py>(
    deferred: Bound<'py, Deferred>,
    reason: impl FnOnce() -> Result<Bound<'py, PyAny>>,
) -> Result<Next<'py>> {
    if deferred.get().chain(deferred.py(), |chain| chain.called()) {
        return Ok(Next::Done);
    }
    Ok(match firing::fail_cancelled_by(&deferred, true, reason()?)? {
        true => Next::Do(Work::Run(deferred)),
        false => Next::Done,
    })
}

/// Cancel the Deferred that a fired one waits for, if any.
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

/// Follow Deferreds that wait for each other to the last one, or to the first with an overridden
/// `cancel`.
///
/// # Errors
///
/// `RecursionError`, as with Twisted, if they form a cycle.
#[cold]
fn last_of_those<'py>(
    first: Bound<'py, Deferred>,
    second: Bound<'py, Deferred>,
) -> Result<Bound<'py, Deferred>> {
    let py = first.py();
    // Brent's cycle detection.
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
    if firing::fail_cancelled(&deferred, false)? {
        return Ok(Next::Do(Work::Run(deferred)));
    }
    Ok(Next::Done)
}

/// Whether a list's `cancel` is not overridden.
pub(crate) fn cancels_plainly(list: &Bound<'_, DeferredList>) -> bool {
    !overrides::<DeferredList>(list, intern!(list.py(), "cancel"))
}

/// Whether this is a fired list, which is cancelled like any fired Deferred.
pub(crate) fn has_fired_plainly(deferred: &Bound<'_, Deferred>) -> bool {
    deferred.get().chain(deferred.py(), |chain| chain.called())
        && deferred.cast::<DeferredList>().is_ok_and(cancels_plainly)
}
