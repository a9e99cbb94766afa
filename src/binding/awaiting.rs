//! What `await deferred` and `yield from deferred` iterate.

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyTraverseError, intern};

use super::cell::Shared;
use super::deferred::{self, Deferred};
use super::failure;
use super::ffi::{self, Sent};
use super::gc::Traverse;
use super::generator;
use super::names;
use super::outcome::{Link, Outcome, classify, into_object, share};
use super::report;
use super::run::{Later, Next, Stack, Waiter};

/// Yields its Deferred until that has a result, then returns or raises the result.
///
/// To an asyncio task, which waits for nothing but futures, it yields a future instead.
#[pyclass(name = "_DeferredIterator", module = "deferrous", frozen, weakref)]
pub(super) struct Awaiting {
    state: Shared<State>,
}

enum State {
    /// It waits for this, or has not begun to.
    For(Py<Deferred>),
    /// An asyncio task waits for this future, which is done when the Deferred's outcome is here.
    Future { deferred: Py<Deferred>, future: Py<PyAny>, arrived: Option<Outcome> },
    /// The task was cancelled, and the Deferred with it. A failure of that is of no interest.
    Cancelled,
    /// It has returned, raised or been closed.
    Done,
}

impl Awaiting {
    /// Wait for this one.
    pub(super) fn new(deferred: Bound<'_, Deferred>) -> Self {
        Self { state: Shared::new(State::For(deferred.unbind())) }
    }

    fn replace(&self, py: Python<'_>, state: State) -> State {
        self.state.with(py, |current| std::mem::replace(current, state))
    }

    /// What the driver of a coroutine gets next.
    pub(super) fn step<'py>(slf: &Bound<'py, Self>) -> Sent<'py> {
        let py = slf.py();
        enum Seen<'py> {
            For(Bound<'py, Deferred>),
            Future(Bound<'py, PyAny>),
            Arrived,
            Done,
        }
        let seen = slf.get().state.with(py, |state| match state {
            State::For(deferred) => Seen::For(deferred.bind(py).clone()),
            State::Future { arrived: Some(_), .. } => Seen::Arrived,
            State::Future { future, .. } => Seen::Future(future.bind(py).clone()),
            State::Cancelled | State::Done => Seen::Done,
        });
        match seen {
            Seen::For(deferred) => slf.get().wait(slf, deferred),
            Seen::Future(future) => yield_future(future),
            Seen::Arrived => match slf.get().replace(py, State::Done) {
                State::Future { arrived: Some(outcome), .. } => returned(py, outcome),
                _ => Sent::Returned(py.None().into_bound(py)),
            },
            Seen::Done => Sent::Returned(py.None().into_bound(py)),
        }
    }

    #[inline]
    fn wait<'py>(&self, slf: &Bound<'py, Self>, deferred: Bound<'py, Deferred>) -> Sent<'py> {
        let py = deferred.py();
        let outcome = deferred.get().chain(py, |chain| {
            if !chain.called() || chain.paused() != 0 {
                return None;
            }
            let outcome = share(py, chain.outcome());
            if matches!(outcome, Outcome::Failure(_)) {
                chain.mark_handled();
            }
            Some(outcome)
        });
        match outcome {
            None => pending(slf, deferred).unwrap_or_else(|error| raised(py, error)),
            Some(outcome) => {
                drop(self.replace(py, State::Done));
                match report::forget(&deferred) {
                    Ok(()) => returned(py, outcome),
                    Err(error) => raised(py, error),
                }
            }
        }
    }

    fn answer(sent: Sent<'_>) -> PyResult<Bound<'_, PyAny>> {
        match sent {
            Sent::Yielded(object) => Ok(object),
            Sent::Returned(object) => Err(PyStopIteration::new_err((object.unbind(),))),
            Sent::Raised(raised) => Err(PyErr::from_value(raised.into_any())),
        }
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, Shared::new(State::Done)).into_inner();
        if let State::Future { arrived: Some(Outcome::Failure(failure)), .. } = state {
            // SAFETY: this is only ever part of a Python object, which the interpreter frees on an
            // attached thread.
            let py = unsafe { Python::assume_attached() };
            report::unhandled(failure.into_bound(py));
        }
    }
}

fn raised(py: Python<'_>, error: PyErr) -> Sent<'_> {
    Sent::Raised(ffi::into_raised(py)(error))
}

/// Return an outcome, or raise it.
fn returned(py: Python<'_>, outcome: Outcome) -> Sent<'_> {
    match outcome {
        Outcome::Failure(reason) => match raise(reason.into_bound(py)) {
            Ok(object) => Sent::Returned(object),
            Err(error) => raised(py, error),
        },
        outcome => Sent::Returned(into_object(py, outcome)),
    }
}

/// Raise a failure. Returns only if a subclass of Failure declines to.
fn raise<'py>(reason: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = reason.py();
    if reason.get_type_ptr() == names::failure_class(py)?.as_type_ptr() {
        return Err(PyErr::from_value(failure::to_raise(&reason)?.into_any()));
    }
    reason.call_method0(intern!(py, "raiseException"))?;
    Ok(reason)
}

/// The Deferred has no result yet: yield what the driver can wait for.
fn pending<'py>(
    awaiting: &Bound<'py, Awaiting>,
    deferred: Bound<'py, Deferred>,
) -> PyResult<Sent<'py>> {
    let py = deferred.py();
    let Some(running) = generator::loop_to_wake(py)? else {
        return Ok(Sent::Yielded(deferred.into_any()));
    };
    let future = running.call_method0(intern!(py, "create_future"))?;
    let state = State::Future {
        deferred: deferred.clone().unbind(),
        future: future.clone().unbind(),
        arrived: None,
    };
    drop(awaiting.get().replace(py, state));
    let add_both = intern!(py, "addBoth");
    if deferred::overrides(&deferred, add_both) {
        deferred.call_method1(add_both, (awaiting.getattr(intern!(py, "_arrive"))?,))?;
    } else {
        deferred::add(&deferred, Link::Deliver(Waiter::new(awaiting), 0))?;
    }
    Ok(Awaiting::step(awaiting))
}

/// Yield a future as its own `await` does.
fn yield_future(future: Bound<'_, PyAny>) -> Sent<'_> {
    let py = future.py();
    match future.setattr(intern!(py, "_asyncio_future_blocking"), true) {
        Ok(()) => Sent::Yielded(future),
        Err(error) => raised(py, error),
    }
}

/// Take in the outcome that an asyncio task waits for, and wake the task. What is left of it for
/// the Deferred's own chain.
fn arrive(awaiting: &Bound<'_, Awaiting>, outcome: Outcome) -> PyResult<Outcome> {
    let py = awaiting.py();
    let (left, future) = awaiting.get().state.with(py, |state| match state {
        State::Future { future, arrived, .. } if arrived.is_none() => {
            *arrived = Some(outcome);
            (Outcome::Taken, Some(future.bind(py).clone()))
        }
        State::Cancelled if matches!(outcome, Outcome::Failure(_)) => {
            // It is dropped with what `left` replaces in the chain.
            (outcome, None)
        }
        _ => (outcome, None),
    });
    let discarded = awaiting.get().state.with(py, |state| matches!(state, State::Cancelled));
    if let Some(future) = future
        && !future.call_method0(intern!(py, "done"))?.is_truthy()?
    {
        future.call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(if discarded && matches!(left, Outcome::Failure(_)) { Outcome::Taken } else { left })
}

/// A Deferred has an outcome for an asyncio task, as part of its run.
pub(super) fn deliver<'py>(
    awaiting: Bound<'py, Awaiting>,
    giver: Bound<'py, Deferred>,
    outcome: Outcome,
    stack: &mut Stack<'py>,
) -> PyResult<Next<'py>> {
    let left = arrive(&awaiting, outcome)?;
    stack.push(Later::Settle(giver, left));
    Ok(Next::Done)
}

#[pymethods]
impl Awaiting {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::answer(Self::step(slf))
    }

    /// Resume. The value is of no interest: the result is read from the Deferred.
    fn send<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _ = value;
        Self::answer(Self::step(slf))
    }

    /// Raise an exception where this waits.
    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw<'py>(
        slf: &Bound<'py, Self>,
        typ: &Bound<'py, PyAny>,
        val: Option<Bound<'py, PyAny>>,
        tb: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let before = slf.get().replace(py, State::Done);
        if let State::Future { deferred, future, arrived: None } = &before
            && future.bind(py).call_method0(intern!(py, "cancelled"))?.is_truthy()?
        {
            drop(slf.get().replace(py, State::Cancelled));
            deferred.bind(py).call_method0(intern!(py, "cancel"))?;
        }
        drop(before);
        let exception = match typ.cast::<PyType>() {
            Ok(class) => match val {
                Some(val) if val.is_instance(class)? => val,
                Some(val) => class.call1((val,))?,
                None => class.call0()?,
            },
            Err(_) => typ.clone(),
        };
        let exception = exception.cast_into().map_err(|_| {
            PyTypeError::new_err(
                "exceptions must be classes or instances deriving from BaseException",
            )
        })?;
        if let Some(tb) = tb {
            ffi::set_traceback(&exception, &tb)?;
        }
        Err(PyErr::from_value(exception.into_any()))
    }

    /// Stop waiting.
    fn close(slf: &Bound<'_, Self>) {
        drop(slf.get().replace(slf.py(), State::Done));
    }

    /// As a callback, for Deferreds that insist on being given one.
    fn _arrive<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let left = arrive(slf, classify(result)?)?;
        Ok(into_object(slf.py(), left))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.state.during_gc() {
            State::For(deferred) => visit.call(deferred),
            State::Future { deferred, future, arrived } => {
                visit.call(deferred)?;
                visit.call(future)?;
                arrived.as_ref().map_or(Ok(()), |outcome| outcome.traverse(visit))
            }
            State::Cancelled | State::Done => Ok(()),
        }
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        drop(slf.get().replace(slf.py(), State::Done));
    }
}
