//! Delivers outcomes to coroutines that somebody else drives, such as asyncio tasks; and gives up
//! the place in a line of a coroutine that is closed.

use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::binding::capi::{
    self,
    error::{Error, Raised, Result},
    interned::intern,
};
use crate::binding::judge::classify::failure_of;
use crate::binding::model::{
    awaiting::{Awaiting, Left, State, Waker},
    deferred::CancelledError,
    names,
    outcome::{Link, Outcome, into_object},
    task::Task,
};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::task_steps;
use crate::binding::waits::{
    handing_over, loops, ring,
    work::{Answer, Waits, Work},
};

impl Waits for Awaiting {
    #[inline(always)]
    fn deliver<'py>(waiter: Bound<'py, Self>, _: u32, outcome: Outcome) -> Result<Answer<'py>> {
        deliver(&waiter, outcome)
    }
}

/// Store an outcome for a coroutine and wake its driver. Returns what the Deferred's own chain
/// continues with.
pub(crate) fn deliver<'py>(
    awaiting: &Bound<'py, Awaiting>,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    let py = awaiting.py();
    let mut outcome = Some(outcome);
    let (wake, left) = awaiting.get().state.with(py, |state| match state {
        State::Through(it) if it.arrived.is_none() => {
            it.arrived = outcome.take();
            if it.source.is_some() {
                it.number = handing_over::number_of_hand_over();
            }
            let (waker, is_future) = match &it.waker {
                Waker::Function(function) => (function, false),
                Waker::Loop(its_loop) => (its_loop, true),
            };
            let waker = waker.bind(py).clone();
            (Some((it.object.bind(py).clone(), waker, is_future, it.thread)), None)
        }
        State::Left(Left { cancelled, source }) => (None, Some((*cancelled, source.take()))),
        _ => (None, None),
    });
    if let Some((object, waker, is_future, thread)) = wake {
        let woken = if !is_future {
            waker.call0().map(|woken| !woken.is(PyBool::new(py, false)))
        } else if thread != capi::this_thread(py) {
            wake_elsewhere(&object)
        } else {
            wake_future(&object, &waker)
        };
        if woken.as_ref().is_ok_and(|woken| *woken) {
            return Ok(Answer::Now(Outcome::Taken));
        }
        return not_woken(awaiting, woken);
    }
    Ok(match (outcome, left) {
        (None, _) => Answer::Now(Outcome::Taken),
        (Some(Outcome::Failure(reason)), Some((true, _))) if is_cancellation(reason.bind(py)) => {
            Answer::Now(Outcome::Taken)
        }
        (Some(outcome @ Outcome::Value(_)), Some((_, Some(source)))) => {
            let (deferred, source) = source.into_inner();
            // The next waiter of the same Deferred gets the outcome.
            if !deferred.bind(py).get().chain(py, |chain| chain.links().is_empty()) {
                return Ok(Answer::Now(outcome));
            }
            let number = handing_over::number_of_hand_over();
            let source = source.into_bound(py);
            match handing_over::take_back(&source, into_object(py, outcome), number)? {
                Some(work) => Answer::After(work, Outcome::Taken),
                None => Answer::Now(Outcome::Taken),
            }
        }
        (Some(outcome), _) => Answer::Now(outcome),
    })
}

/// Whether a failure says that something was cancelled: a Deferred, or a future of asyncio's. To the
/// one who has cancelled it, that is no news; anything else is for others, or is reported.
#[cold]
pub(crate) fn is_cancellation(failure: &Bound<'_, PyAny>) -> bool {
    let py = failure.py();
    let Some(value) = capi::ok(py, failure.getattr(intern!(py, "value"))) else { return false };
    let theirs = names::ASYNCIO_CANCELLED.get_if_imported(py);
    value.is_instance_of::<CancelledError>()
        || theirs.is_some_and(|class| value.is_instance(class).unwrap_or(false))
}

/// Wake an asyncio task that waits for a future. Returns whether it was still waiting.
///
/// A future that is done already raises. Checking first would take as long as setting the result.
fn wake_future<'py>(future: &Bound<'py, PyAny>, its_loop: &Bound<'py, PyAny>) -> PyResult<bool> {
    let py = future.py();
    if loops::wake(future, its_loop)? {
        return Ok(true);
    }
    let none = py.None().into_bound(py);
    match capi::call_method_one(future, intern!(py, "set_result"), &none) {
        Ok(_) => Ok(true),
        Err(error) if is_done_already(&error) => Ok(false),
        Err(error) => Err(Error::from(error).into()),
    }
}

/// Whether this is the exception of a future that has been cancelled, or has a result already.
#[cold]
fn is_done_already(error: &Raised<'_>) -> bool {
    let invalid_state = names::INVALID_STATE.get_if_imported(error.py());
    invalid_state.is_some_and(|class| error.get_type().is(class))
}

/// [`wake_future`] from another thread than that of the task's loop, which may be sleeping.
#[cold]
fn wake_elsewhere(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    names::WAKE_ELSEWHERE.get(future.py())?.call1((future,))?.is_truthy()
}

/// The driver has been cancelled, or its loop is closed.
#[cold]
fn not_woken<'py>(awaiting: &Bound<'py, Awaiting>, woken: PyResult<bool>) -> Result<Answer<'py>> {
    let py = awaiting.py();
    if let Some(failure) = take_error(awaiting) {
        // The Deferred keeps the failure: why its driver could not be woken is said elsewhere.
        if let Err(error) = woken {
            error.write_unraisable(py, Some(awaiting));
        }
        return Ok(Answer::Now(failure));
    }
    match (woken, take_arrived(awaiting)?) {
        (Ok(_), None) => Ok(Answer::Now(Outcome::Taken)),
        (Ok(_), Some(work)) => Ok(Answer::After(work, Outcome::Taken)),
        (Err(error), None) => Err(error.into()),
        (Err(error), Some(work)) => {
            let raised = failure_of(capi::into_raised(py)(error), false)?;
            Ok(Answer::After(work, raised))
        }
    }
}

/// Take a failure that has arrived, unless it says that something was cancelled: it stays where it
/// came from, for others.
fn take_error(awaiting: &Bound<'_, Awaiting>) -> Option<Outcome> {
    let py = awaiting.py();
    let failure = awaiting.get().state.with(py, |state| match state {
        State::Through(it) => match &it.arrived {
            Some(Outcome::Failure(failure)) => Some(failure.bind(py).clone()),
            _ => None,
        },
        _ => None,
    })?;
    if is_cancellation(&failure) {
        return None;
    }
    awaiting.get().state.with(py, |state| match state {
        State::Through(it) => it.arrived.take(),
        _ => None,
    })
}

/// Take back what was handed over, because the driver could not be woken.
fn take_arrived<'py>(awaiting: &Bound<'py, Awaiting>) -> Result<Option<Work<'py>>> {
    let py = awaiting.py();
    let handed_over = awaiting.get().state.with(py, |state| match state {
        State::Through(it) if matches!(it.arrived, Some(Outcome::Value(_))) => {
            let source = it.source.as_ref()?.bind(py).clone();
            Some((source, it.arrived.take()?, it.number))
        }
        _ => None,
    });
    match handed_over {
        None => Ok(None),
        Some((source, outcome, number)) => {
            handing_over::take_back(&source, into_object(py, outcome), number)
        }
    }
}

/// A coroutine driven by Deferreds is being closed while it is the only one to wait for a place in
/// the line of a lock or queue. Give up the place: what is handed over to it would be lost.
///
/// # Errors
///
/// What is not an `Exception`, such as KeyboardInterrupt.
pub(crate) fn leave_line(awaiting: &Bound<'_, Awaiting>) -> Result<()> {
    let py = awaiting.py();
    let deferred = awaiting.get().state.with(py, |state| match state {
        State::For(deferred) => Some(deferred.bind(py).clone()),
        _ => None,
    });
    let Some(deferred) = deferred else { return Ok(()) };
    let (waiter, canceller) = deferred.get().chain(py, |chain| {
        let mut links = chain.links().iter();
        let waiter = match (links.next(), links.next()) {
            (Some(Link::Deliver(waiter, _)), None) if !chain.called() => {
                Some(waiter.object(py).clone())
            }
            _ => None,
        };
        (waiter, chain.canceller().map(|it| it.bind(py).clone()))
    });
    let Some(waiter) = waiter else { return Ok(()) };
    let Some(task) = capi::as_exact::<Task>(&waiter) else { return Ok(()) };
    let Some(source) = canceller.and_then(handing_over::source_behind) else { return Ok(()) };
    // A coroutine that is being closed counts as running. Otherwise, another one is being closed.
    if !is_running(task) {
        return Ok(());
    }
    // From here on, what another thread hands over goes back.
    #[cfg(Py_GIL_DISABLED)]
    if !task_steps::stand_in_line_instead(awaiting, &deferred, task, source)? {
        return Ok(());
    }
    #[cfg(not(Py_GIL_DISABLED))]
    drop(source);
    // It has ended, and gets nothing. Only cancelling can end its Deferred now.
    let (ended, of_task) = task.get().with(py, |state| {
        let of_task = state.deferred.as_ref().map(|it| it.bind(py).clone());
        (state.generator.take(), of_task)
    });
    drop(of_task.map(|it| it.get().chain(py, |chain| chain.replace_canceller(None))));
    match deferred.call_method0(intern!(py, "cancel")) {
        // It is not in the line any more: the collector has cleared the line.
        Err(error) if error.is_instance_of::<PyValueError>(py) => {}
        Err(error) if error.is_instance_of::<PyException>(py) => {
            ring::report_canceller(py, error.into())?;
        }
        cancelled => drop(cancelled?),
    }
    drop(ended);
    Ok(())
}

/// Whether the generator or coroutine of a task says that it is running.
fn is_running(task: &Bound<'_, Task>) -> bool {
    let py = task.py();
    let Some(generator) = task.get().generator(py) else { return false };
    let name = if capi::is_generator(&generator) {
        intern!(py, "gi_running")
    } else {
        intern!(py, "cr_running")
    };
    capi::ok(py, generator.getattr(name)).is_some_and(|it| it.is_truthy().unwrap_or(false))
}
