//! What `await deferred` and `yield from deferred` iterate.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::cell::Shared;
use super::deferred::{self, Deferred};
use super::error::{Error, Raise, Result};
use super::failure;
use super::ffi::{self, Held, Hold, Pool, Recycled, Sent};
use super::gc::Traverse;
use super::generator;
use super::interned::intern;
use super::names;
use super::outcome::{Link, Outcome, classify, into_object, share};
use super::overrides::overrides;
use super::report;
use super::run::Waiter;
use crate::core::Boxed;

/// Yields its Deferred until that has a result, then returns or raises the result.
///
/// To an asyncio task, which waits for nothing but futures, it yields a future instead, and to
/// Twisted's own driver one of Twisted's own Deferreds.
#[pyclass(name = "_DeferredIterator", module = "deferrous", frozen, weakref)]
pub(super) struct Awaiting {
    state: Shared<State>,
}

enum State {
    /// It waits for this, or has not begun to.
    For(Held<Deferred>),
    /// The driver waits for something else in its place.
    Through(Boxed<StandIn>),
    /// The driver was cancelled, and the Deferred with it. A failure of that is of no interest.
    Cancelled,
    /// It has returned, raised or been closed.
    Done,
}

/// What a driver waits for that cannot wait for a Deferred.
struct StandIn {
    deferred: Held<Deferred>,
    /// What is yielded to the driver.
    object: Held<PyAny>,
    /// Wakes the driver, when the Deferred's outcome is here.
    wake: Held<PyAny>,
    arrived: Option<Outcome>,
}

impl Awaiting {
    /// Wait for this one.
    pub(super) fn new(deferred: Bound<'_, Deferred>) -> Self {
        Self { state: Shared::new(State::For(deferred.hold())) }
    }

    fn replace(&self, py: Python<'_>, state: State) -> State {
        self.state.with(py, |current| std::mem::replace(current, state))
    }

    /// What the driver of a coroutine gets next.
    pub(super) fn step<'py>(slf: &Bound<'py, Self>) -> Sent<'py> {
        let py = slf.py();
        enum Seen<'py> {
            For(Bound<'py, Deferred>),
            Through(Bound<'py, PyAny>),
            Arrived,
            Done,
        }
        let seen = slf.get().state.with(py, |state| match state {
            State::For(deferred) => Seen::For(deferred.bind(py).clone()),
            State::Through(it) if it.arrived.is_some() => Seen::Arrived,
            State::Through(it) => Seen::Through(it.object.bind(py).clone()),
            State::Cancelled | State::Done => Seen::Done,
        });
        match seen {
            Seen::For(deferred) => slf.get().wait(slf, deferred),
            Seen::Through(stand_in) => yield_stand_in(stand_in),
            Seen::Arrived => match slf.get().replace(py, State::Done) {
                State::Through(it) => {
                    returned(py, it.into_inner().arrived.unwrap_or(Outcome::Taken))
                }
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
            let failed = matches!(outcome, Outcome::Failure(_));
            if failed {
                chain.mark_handled();
            }
            Some((outcome, failed && !chain.has_rested_on_failure()))
        });
        match outcome {
            None => pending(slf, deferred).unwrap_or_else(|error| raised(py, error)),
            Some((outcome, unwatched)) => {
                drop(self.replace(py, State::Done));
                if unwatched && !report::has_debug_info(&deferred) {
                    // A failure that is just passing by, in one of the Deferred's own callbacks,
                    // or that was given to `succeed`: Twisted's assertion.
                    drop(outcome);
                    return raised(py, PyAssertionError::bare_error(py));
                }
                if matches!(outcome, Outcome::Failure(_))
                    && let Err(error) = report::forget(&deferred)
                {
                    return raised(py, error);
                }
                returned(py, outcome)
            }
        }
    }

    fn answer(sent: Sent<'_>) -> Result<Bound<'_, PyAny>> {
        match sent {
            Sent::Yielded(object) => Ok(object),
            Sent::Returned(object) if object.is_none() => {
                Err(PyStopIteration::bare_error(object.py()))
            }
            Sent::Returned(object) => Err(ffi::stopped_with(object)),
            Sent::Raised(raised) => Err(raised.into()),
        }
    }
}

impl Recycled for Awaiting {
    fn pool() -> &'static Pool {
        static POOL: Pool = Pool::new();
        &POOL
    }

    #[inline]
    fn dies_quietly(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| matches!(state, State::For(_) | State::Done))
    }

    #[inline]
    fn is_light(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| match state {
            State::For(deferred) => deferred.is_shared(py),
            State::Through(_) => false,
            State::Cancelled | State::Done => true,
        })
    }

    #[inline(always)]
    fn dispose_of_light(&self, py: Python<'_>) {
        drop(self.replace(py, State::Done));
    }

    #[inline(always)]
    fn dispose(&self, py: Python<'_>) {
        self.replace(py, State::Done).give_up(py);
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        ffi::dropping(|py| self.dispose(py));
    }
}

impl State {
    /// Nobody will resume this. A failure that has arrived, nobody has handled.
    #[inline(always)]
    fn give_up(self, py: Python<'_>) {
        if let State::Through(it) = self
            && let Some(Outcome::Failure(failure)) = it.into_inner().arrived
        {
            report::unhandled(failure.into_bound(py));
        }
    }
}

fn raised(py: Python<'_>, error: Error) -> Sent<'_> {
    Sent::Raised(error.into_raised(py))
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
fn raise<'py>(reason: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    let py = reason.py();
    let raised = if reason.get_type_ptr() == names::failure_class(py)?.as_type_ptr() {
        ffi::raise(failure::to_raise(&reason)?)
    } else {
        match reason.call_method0(intern!(py, "raiseException")) {
            Ok(_) => return Ok(reason),
            Err(error) => error.into(),
        }
    };
    Err(no_result(py, raised))
}

/// An error as it leaves an iterator. A StopIteration would say that there is a result.
fn no_result(py: Python<'_>, error: Error) -> Error {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let instead = PyRuntimeError::error(py, "generator raised StopIteration");
    let error = error.into_raised(py);
    ffi::set_context(&instead, error.clone());
    ffi::set_cause(&instead, error);
    instead
}

/// The Deferred has no result yet: yield what the driver can wait for.
fn pending<'py>(
    awaiting: &Bound<'py, Awaiting>,
    deferred: Bound<'py, Deferred>,
) -> Result<Sent<'py>> {
    let py = deferred.py();
    let Some((stand_in, wake)) = generator::stand_in(&deferred)? else {
        return Ok(Sent::Yielded(deferred.into_any()));
    };
    let stand_in = StandIn {
        deferred: deferred.clone().hold(),
        object: stand_in.hold(),
        wake: wake.hold(),
        arrived: None,
    };
    let stand_in = deferred::or_no_memory(py, Boxed::new(stand_in))?;
    drop(awaiting.get().replace(py, State::Through(stand_in)));
    let add_both = intern!(py, "addBoth");
    if overrides::<Deferred>(&deferred, add_both) {
        deferred.call_method1(add_both, (awaiting.getattr(intern!(py, "_arrive"))?,))?;
    } else {
        deferred::add(&deferred, Link::Deliver(Waiter::new(awaiting), 0))?;
    }
    Ok(Awaiting::step(awaiting))
}

/// Yield a stand-in as its own `await` does: a future says then that it is awaited.
fn yield_stand_in(stand_in: Bound<'_, PyAny>) -> Sent<'_> {
    let py = stand_in.py();
    let blocking = intern!(py, "_asyncio_future_blocking");
    let marked = stand_in
        .hasattr(blocking)
        .and_then(|is_future| if is_future { stand_in.setattr(blocking, true) } else { Ok(()) });
    match marked {
        Ok(()) => Sent::Yielded(stand_in),
        Err(error) => raised(py, error.into()),
    }
}

/// A Deferred has an outcome for another driver than ours: take it in, and wake the driver. What
/// is left of the outcome for the Deferred's own chain.
pub(super) fn deliver(awaiting: &Bound<'_, Awaiting>, outcome: Outcome) -> Result<Outcome> {
    let py = awaiting.py();
    let mut outcome = Some(outcome);
    let (wake, discard) = awaiting.get().state.with(py, |state| match state {
        State::Through(it) if it.arrived.is_none() => {
            it.arrived = outcome.take();
            (Some(it.wake.bind(py).clone()), false)
        }
        State::Cancelled => (None, true),
        _ => (None, false),
    });
    if let Some(wake) = wake {
        wake.call0()?;
    }
    Ok(match outcome {
        None => Outcome::Taken,
        Some(Outcome::Failure(_)) if discard => Outcome::Taken,
        Some(outcome) => outcome,
    })
}

#[pymethods]
impl Awaiting {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::answer(Self::step(slf))
    }

    /// Resume. The value is of no interest: the result is read from the Deferred.
    fn send<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
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
    ) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        let before = slf.get().replace(py, State::Done);
        if let State::Through(it) = &before
            && it.arrived.is_none()
            && let Some(cancelled) = it.object.bind(py).getattr_opt(intern!(py, "cancelled"))?
            && cancelled.call0()?.is_truthy()?
        {
            drop(slf.get().replace(py, State::Cancelled));
            it.deferred.bind(py).call_method0(intern!(py, "cancel"))?;
        }
        before.give_up(py);
        let exception = match typ.cast::<PyType>() {
            Ok(class) => match val {
                Some(val) if val.is_instance(class)? => val,
                Some(val) => class.call1((val,))?,
                None => class.call0()?,
            },
            Err(_) => typ.clone(),
        };
        let exception: super::outcome::Raised<'py> = exception.cast_into().map_err(|_| {
            PyTypeError::error(
                py,
                "exceptions must be classes or instances deriving from BaseException",
            )
        })?;
        if let Some(tb) = tb {
            ffi::set_traceback(&exception, &tb)?;
        }
        Err(no_result(py, exception.into()))
    }

    /// Stop waiting.
    fn close(slf: &Bound<'_, Self>) {
        slf.get().replace(slf.py(), State::Done).give_up(slf.py());
    }

    /// As a callback, for Deferreds that insist on being given one.
    fn _arrive<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let left = deliver(slf, classify(&result)?)?;
        Ok(into_object(slf.py(), left))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.state.during_gc() {
            State::For(deferred) => deferred.traverse(visit),
            State::Through(it) => {
                it.deferred.traverse(visit)?;
                it.object.traverse(visit)?;
                it.wake.traverse(visit)?;
                it.arrived.as_ref().map_or(Ok(()), |outcome| outcome.traverse(visit))
            }
            State::Cancelled | State::Done => Ok(()),
        }
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        slf.get().replace(slf.py(), State::Done).give_up(slf.py());
    }
}
