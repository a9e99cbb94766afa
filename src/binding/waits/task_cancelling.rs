//! Cancels tasks: the Deferred that a generator waits for, and then what the generator makes of it.

use pyo3::create_exception;
use pyo3::exceptions::{PyAssertionError, PyException};
use pyo3::prelude::*;

use crate::binding::capi::{
    Hold,
    error::{Raise, Result},
    interned::intern,
};
use crate::binding::judge::creating;
use crate::binding::model::{
    deferred::Deferred,
    outcome::{self, Chain, Link, Outcome},
    task::Task,
    waiter::Waiter,
};
use crate::binding::waits::{
    firing::{self, make},
    work::{Answer, Next, Work},
};

create_exception!(
    deferrous,
    _InternalInlineCallbacksCancelledError,
    PyException,
    "What the Deferred of a generator comes to while the generator is being cancelled."
);

/// The number of a task's link in the chain of its own Deferred, while that is being cancelled.
pub(super) const CANCEL: u32 = 1;

/// Start to cancel a task: add it to the front of its Deferred's chain, and fire the Deferred with
/// a mark. True if the Deferred has to be run.
pub(crate) fn begin_cancel<'py>(
    task: &Bound<'py, Task>,
    deferred: &Bound<'py, Deferred>,
) -> Result<bool> {
    let py = task.py();
    let reason = creating::of_new::<_InternalInlineCallbacksCancelledError>(py)?;
    let waiter = Waiter::new(task);
    let added = deferred.get().chain(py, |chain| chain.add_front(Link::Deliver(waiter, CANCEL)));
    outcome::or_no_memory(py, added)?;
    firing::begin_fire(deferred, Outcome::Failure(reason.hold()))
}

/// Cancel a task, as the canceller of its Deferred.
pub(crate) fn ask_to_cancel<'py>(
    task: &Bound<'py, Task>,
    deferred: Bound<'py, Deferred>,
) -> Result<Next<'py>> {
    if begin_cancel(task, &deferred)? {
        return Ok(Next::Do(Work::Run(deferred)));
    }
    Ok(Next::Done)
}

/// Continue cancelling a task: its own Deferred has delivered the mark of the cancellation.
#[cold]
pub(super) fn deliver_cancelled<'py>(
    task: &Bound<'py, Task>,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    let Outcome::Failure(reason) = outcome else { return Ok(Answer::Now(outcome)) };
    // It may be another failure if a program has reset `called` by hand. `trap` raises that again.
    let py = task.py();
    let ours = py.get_type::<_InternalInlineCallbacksCancelledError>();
    reason.bind(py).call_method1(intern!(py, "trap"), (ours,))?;
    cancel(task)
}

/// Cancel the Deferred that a task waits for. The generator's result goes to a new Deferred, for
/// which the cancelled one waits.
fn cancel<'py>(task: &Bound<'py, Task>) -> Result<Answer<'py>> {
    let py = task.py();
    let deferred = make(py, || Chain::new(Some(task.as_any().clone().hold())))?;
    let next = deferred.clone().hold();
    let (before, waiting_on) = task.get().with(py, |state| {
        let waiting_on = state.waiting_on.as_ref().map(|it| it.bind(py).clone());
        (state.deferred.replace(next), waiting_on)
    });
    drop(before);
    match waiting_on {
        Some(waiting_on) => {
            Ok(Answer::After(Work::Cancel(waiting_on), Outcome::Deferred(deferred.hold())))
        }
        // A generator cancels itself before it has waited for anything.
        None => Err(PyAssertionError::bare_error(py)),
    }
}
