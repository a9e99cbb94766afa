//! Cancels tasks: the Deferred that a generator waits for, and then what the generator makes of it.

use pyo3::create_exception;
use pyo3::exceptions::{PyAssertionError, PyException};
use pyo3::prelude::*;

#[cfg(Py_GIL_DISABLED)]
use crate::binding::capi::Held;
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
    #[cfg(Py_GIL_DISABLED)]
    return begin_cancel_at_once(task, deferred, waiter, Outcome::Failure(reason.hold()));
    #[cfg(not(Py_GIL_DISABLED))]
    {
        let link = Link::Deliver(waiter, CANCEL);
        let added = deferred.get().chain(py, |chain| chain.add_front(link));
        outcome::or_no_memory(py, added)?;
        firing::begin_fire(deferred, Outcome::Failure(reason.hold()))
    }
}

/// [`begin_cancel`] in one step: the generator may end in another thread, or another thread may
/// cancel it, too. The first one wins: if the Deferred has been fired, this does nothing, and
/// whoever ends the generator finds either that Deferred, or that there will be a new one to fire.
#[cfg(Py_GIL_DISABLED)]
fn begin_cancel_at_once<'py>(
    task: &Bound<'py, Task>,
    deferred: &Bound<'py, Deferred>,
    waiter: Waiter,
    mark: Outcome,
) -> Result<bool> {
    let py = task.py();
    let link = Link::Deliver(waiter, CANCEL);
    let is_same = |it: &Held<Deferred>| it.as_ptr() == deferred.as_ptr();
    let fired = task.get().with(py, |state| {
        deferred.get().chain(py, |chain| {
            if chain.called() {
                return Err((mark, Ok(()), Some(link)));
            }
            if let Err(refused) = chain.add_front(link) {
                return Err((mark, Err(refused), None));
            }
            state.is_cancelled |= state.deferred.as_ref().is_some_and(is_same);
            Ok(chain.fire(mark))
        })
    });
    match fired {
        Ok(fired) => firing::after_fire(deferred, fired),
        Err((mark, added, link)) => {
            drop((mark, link));
            outcome::or_no_memory(py, added)?;
            Ok(false)
        }
    }
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

/// If a task's Deferred is not replaced after all, drops what its generator has ended with
/// meanwhile: the Deferred has an outcome.
#[cfg(Py_GIL_DISABLED)]
struct Unreplaced<'a, 'py>(&'a Bound<'py, Task>);

#[cfg(Py_GIL_DISABLED)]
impl Drop for Unreplaced<'_, '_> {
    fn drop(&mut self) {
        let ended = self.0.get().with(self.0.py(), |state| {
            if std::mem::take(&mut state.is_cancelled) { state.ended.take() } else { None }
        });
        drop(ended);
    }
}

/// Continue cancelling a task: its own Deferred has delivered the mark of the cancellation.
#[cold]
pub(super) fn deliver_cancelled<'py>(
    task: &Bound<'py, Task>,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    #[cfg(Py_GIL_DISABLED)]
    let _unless_replaced = Unreplaced(task);
    let Outcome::Failure(reason) = outcome else { return Ok(Answer::Now(outcome)) };
    // It is another failure if a program has reset `called`. `trap` raises that again.
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
    #[cfg(Py_GIL_DISABLED)]
    let mut ended = None;
    let (before, waiting_on) = task.get().with(py, |state| {
        let waiting_on = state.waiting_on.as_ref().map(|it| it.bind(py).clone());
        #[cfg(Py_GIL_DISABLED)]
        {
            state.is_cancelled = false;
            ended = state.ended.take();
        }
        (state.deferred.replace(next), waiting_on)
    });
    drop(before);
    #[cfg(Py_GIL_DISABLED)]
    if let Some(ended) = ended {
        // The generator has ended meanwhile, in another thread, and waits for nothing.
        firing::begin_fire(&deferred, ended)?;
        return Ok(Answer::Now(Outcome::Deferred(deferred.hold())));
    }
    match waiting_on {
        Some(waiting_on) => {
            Ok(Answer::After(Work::Cancel(waiting_on), Outcome::Deferred(deferred.hold())))
        }
        // A generator cancels itself before it has waited for anything.
        None => Err(PyAssertionError::bare_error(py)),
    }
}
