//! Continues with pending work, after the work above it on the stack has ended or failed.

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::binding::capi::{
    self,
    error::{Error, Result},
};
use crate::binding::run::links::enter;
use crate::binding::run::settling::{failure_of_error, settle};
use crate::binding::waits::{
    cancel_list, cancelling, race, task,
    work::{Later, Next, Stack, make_room},
};

/// Continue with pending work.
#[inline(never)]
pub(super) fn resume<'py>(
    py: Python<'py>,
    later: Later<'py>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    match later {
        Later::GoOn(deferred) => Ok(enter(deferred)),
        Later::Settle(deferred, outcome) => settle(deferred, outcome),
        Later::TakeInlineResult(task, deferred) => task::take_inline_result(task, deferred),
        Later::Wait(task, deferred) => task::wait(task, deferred, stack),
        Later::Handled(before) => {
            capi::end_handling(py, before);
            Ok(Next::Done)
        }
        Later::CancelList(list, place) => cancel_list::cancel_list(list, place, stack),
        Later::CancelRace(race, place) => race::cancel_race(race, place, stack),
        Later::CancelLosers(race, place) => race::cancel_losers(race, place, stack),
        Later::Asked(deferred) => cancelling::asked(deferred),
        Later::Raise(error) => Err(error),
    }
}

/// Continue with pending work after the work before it has failed.
#[cold]
#[inline(never)]
pub(super) fn interrupt<'py>(
    py: Python<'py>,
    later: Later<'py>,
    error: Error,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    match later {
        Later::Settle(deferred, _) => {
            let outcome = failure_of_error(&deferred, error)?;
            settle(deferred, outcome)
        }
        Later::Handled(before) => {
            capi::end_handling(py, before);
            Err(error)
        }
        Later::CancelList(list, place) => {
            match cancel_list::canceller_raised(&list, place - 1, error) {
                Ok(()) => cancel_list::cancel_list(list, place, stack),
                Err(error) => {
                    cancel_list::stop_cancelling_list(&list);
                    Err(error)
                }
            }
        }
        Later::TakeInlineResult(task, deferred) => {
            task::give_up_inline_result(&task, deferred);
            Err(error)
        }
        Later::CancelRace(race, _) => {
            race::stop_cancelling(&race);
            Err(error)
        }
        // There was no memory to cancel one: the others are, and the race has been won all the same.
        Later::CancelLosers(race, place) if error.is_instance_of::<PyMemoryError>(py) => {
            make_room(py, stack)?;
            stack.push(Later::Raise(error));
            race::cancel_losers(race, place, stack)
        }
        _ => Err(error),
    }
}
