//! The iterator behind `await deferred` and `yield from deferred`.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold, Pool, Pooled, Recycled, Sent,
    cell::Shared,
    error::{Error, Raise, Result},
    interned::intern,
    overrides::overrides,
    stack,
};
use crate::binding::face::leaving::{drop_another, leave, thrown};
use crate::binding::judge::{asked::has_of_its_own, attributes, classify::classify, report};
use crate::binding::model::{
    awaiting::{Awaiting, Left, StandIn, State, Waker},
    deferred::Deferred,
    failure::FailureBase,
    names, observe,
    outcome::{self, Link, Outcome, into_object, share},
    traverse::Traverse,
    waiter::Waiter,
};
use crate::binding::run::engine;
use crate::binding::waits::{
    awaiting, driving, handing_over,
    work::{Answer, Waits},
};
use crate::core::Boxed;

/// What a resumed coroutine finds.
enum Seen<'py> {
    #[cfg(not(Py_GIL_DISABLED))]
    For(Bound<'py, Deferred>),
    /// The Deferred has no outcome yet. Both in one step, which saves a lock.
    #[cfg(Py_GIL_DISABLED)]
    Pending(Bound<'py, Deferred>),
    /// Its outcome is there, and the iterator has stopped waiting: this was its state.
    #[cfg(Py_GIL_DISABLED)]
    Outcome(Outcome, State),
    Through(Bound<'py, PyAny>, bool),
    #[cfg(not(Py_GIL_DISABLED))]
    Arrived,
    /// What has arrived. It is taken in the same step, or another thread might take it back.
    #[cfg(Py_GIL_DISABLED)]
    Arrived(State),
    Done,
}

impl Awaiting {
    /// Yield, return or raise the next object for the driver of a coroutine.
    pub(crate) fn go_on<'py>(slf: &Bound<'py, Self>) -> Sent<'py> {
        let py = slf.py();
        let seen = slf.get().state.with(py, |state| match state {
            #[cfg(Py_GIL_DISABLED)]
            State::For(deferred) => {
                let deferred = deferred.bind(py);
                match Self::look(deferred) {
                    Some(outcome) => Seen::Outcome(outcome, std::mem::replace(state, State::Done)),
                    None => Seen::Pending(deferred.clone()),
                }
            }
            #[cfg(not(Py_GIL_DISABLED))]
            State::For(deferred) => Seen::For(deferred.bind(py).clone()),
            #[cfg(not(Py_GIL_DISABLED))]
            State::Through(it) if it.arrived.is_some() => Seen::Arrived,
            #[cfg(Py_GIL_DISABLED)]
            State::Through(it) if it.arrived.is_some() => {
                Seen::Arrived(std::mem::replace(state, State::Done))
            }
            State::Through(it) => {
                let is_future = matches!(it.waker, Waker::Loop(_));
                Seen::Through(it.object.bind(py).clone(), is_future)
            }
            State::Left(_) | State::Done => Seen::Done,
        });
        match seen {
            #[cfg(not(Py_GIL_DISABLED))]
            Seen::For(deferred) => {
                let outcome = Self::look(&deferred);
                if outcome.is_some() {
                    drop(slf.get().replace(py, State::Done));
                }
                Self::wait(slf, deferred, outcome)
            }
            #[cfg(Py_GIL_DISABLED)]
            Seen::Pending(deferred) => Self::wait(slf, deferred, None),
            #[cfg(Py_GIL_DISABLED)]
            Seen::Outcome(outcome, State::For(deferred)) => {
                Self::wait(slf, deferred.into_bound(py), Some(outcome))
            }
            #[cfg(Py_GIL_DISABLED)]
            Seen::Outcome(outcome, _) => returned(slf, outcome),
            Seen::Through(stand_in, is_future) => yield_stand_in(stand_in, is_future),
            #[cfg(not(Py_GIL_DISABLED))]
            Seen::Arrived => match slf.get().replace(py, State::Done) {
                State::Through(it) => {
                    returned(slf, it.into_inner().arrived.unwrap_or(Outcome::Taken))
                }
                _ => Sent::Returned(py.None().into_bound(py)),
            },
            #[cfg(Py_GIL_DISABLED)]
            Seen::Arrived(state) => match state {
                State::Through(it) => {
                    returned(slf, it.into_inner().arrived.unwrap_or(Outcome::Taken))
                }
                _ => Sent::Returned(py.None().into_bound(py)),
            },
            Seen::Done => Sent::Returned(py.None().into_bound(py)),
        }
    }

    /// The outcome, if it is there.
    #[inline(always)]
    fn look(deferred: &Bound<'_, Deferred>) -> Option<Outcome> {
        let py = deferred.py();
        deferred.get().chain(py, |chain| chain.look_at_outcome().map(|it| share(py, it)))
    }

    /// Return the outcome, or wait for it.
    #[inline]
    fn wait<'py>(
        slf: &Bound<'py, Self>,
        deferred: Bound<'py, Deferred>,
        outcome: Option<Outcome>,
    ) -> Sent<'py> {
        let py = deferred.py();
        match outcome {
            None => pending(slf, deferred).unwrap_or_else(|error| raised(py, error)),
            Some(outcome) => {
                if matches!(outcome, Outcome::Failure(_)) {
                    observe::taken(&deferred, &outcome);
                    if let Err(error) = report::forget(&deferred) {
                        return raised(py, error);
                    }
                }
                returned(slf, outcome)
            }
        }
    }

    fn answer(sent: Sent<'_>) -> Result<Bound<'_, PyAny>> {
        match sent {
            Sent::Yielded(object) => Ok(object),
            Sent::Returned(object) if object.is_none() => {
                Err(PyStopIteration::bare_error(object.py()))
            }
            Sent::Returned(object) => Err(capi::stopped_with(object)),
            Sent::Raised(raised) => Err(raised.into()),
        }
    }
}

impl Recycled for Awaiting {
    type State = State;

    #[inline(always)]
    fn state(&self) -> &Shared<State> {
        &self.state
    }

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Awaiting> = Pool::new(Pooled::Awaiting);
        &POOL
    }

    #[inline]
    fn dies_quietly(state: &State) -> bool {
        matches!(state, State::For(_) | State::Done)
    }

    #[inline]
    fn is_light(state: &State, py: Python<'_>) -> bool {
        match state {
            State::For(deferred) => deferred.is_shared(py),
            State::Through(_) | State::Left(_) => false,
            State::Done => true,
        }
    }

    #[inline(always)]
    fn dispose_of_light(state: &mut State, _py: Python<'_>) {
        match std::mem::replace(state, State::Done) {
            State::For(deferred) => drop(deferred),
            State::Done => {}
            // Not cheap to drop after all.
            other => drop_another(other),
        }
    }

    #[inline(always)]
    fn dispose(&self, py: Python<'_>) {
        self.replace(py, State::Done).give_up(py);
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        capi::dropping(self);
    }
}

fn raised(py: Python<'_>, error: Error) -> Sent<'_> {
    Sent::Raised(error.into_raised(py))
}

/// Return an outcome, or raise it.
fn returned<'py>(awaiting: &Bound<'py, Awaiting>, outcome: Outcome) -> Sent<'py> {
    let py = awaiting.py();
    match outcome {
        Outcome::Failure(reason) => match raise(awaiting, reason.into_bound(py)) {
            Ok(object) => Sent::Returned(object),
            Err(error) => raised(py, error),
        },
        outcome => Sent::Returned(into_object(py, outcome)),
    }
}

/// Raise a failure. Returns only if a subclass of Failure declines to.
#[inline(never)]
fn raise<'py>(
    awaiting: &Bound<'py, Awaiting>,
    reason: Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = reason.py();
    stack::check(py)?;
    let class = names::failure_class(py)?;
    let [throw, raise] =
        [intern!(py, "throwExceptionIntoGenerator"), intern!(py, "raiseException")];
    let has_set = |names: &[_]| {
        reason.cast::<FailureBase>().is_ok_and(|failure| has_of_its_own(failure, names))
    };
    if reason.get_type_ptr() == class.as_type_ptr() && !has_set(&[throw, raise]) {
        return Err(no_result(py, capi::raise(attributes::to_raise(&reason)?)));
    }
    let has_its_own = |name| {
        capi::lookup(&reason.get_type(), name) != capi::lookup(class, name) || has_set(&[name])
    };
    let answer = if has_its_own(throw) && !has_its_own(raise) {
        // A subclass, such as Perspective Broker's, overrides `throwExceptionIntoGenerator`. That
        // calls our `throw`, which raises the exception.
        reason.call_method1(throw, (awaiting,))
    } else {
        reason.call_method0(raise)
    };
    match answer {
        Ok(_) => Ok(reason),
        Err(error) => Err(no_result(py, error.into())),
    }
}

/// Convert an error that leaves an iterator. A StopIteration would look like a result.
fn no_result(py: Python<'_>, error: Error) -> Error {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let instead = PyRuntimeError::error(py, "generator raised StopIteration");
    let error = error.into_raised(py);
    capi::set_context(&instead, error.clone());
    capi::set_cause(&instead, error);
    instead
}

/// The Deferred has no result yet: yield what the driver can wait for.
fn pending<'py>(
    awaiting: &Bound<'py, Awaiting>,
    deferred: Bound<'py, Deferred>,
) -> Result<Sent<'py>> {
    match driving::stand_in(&deferred)? {
        None => {
            #[cfg(Py_GIL_DISABLED)]
            driving::note_awaited(&deferred);
            Ok(Sent::Yielded(deferred.into_any()))
        }
        Some((stand_in, waker)) => pending_through(awaiting, deferred, stand_in, waker),
    }
}

/// As [`pending`], for a driver that waits for a stand-in and is woken through this object.
#[inline(never)]
fn pending_through<'py>(
    awaiting: &Bound<'py, Awaiting>,
    deferred: Bound<'py, Deferred>,
    stand_in: Bound<'py, PyAny>,
    waker: Waker,
) -> Result<Sent<'py>> {
    let py = deferred.py();
    let stand_in = StandIn {
        deferred: deferred.clone().hold(),
        object: stand_in.hold(),
        waker,
        thread: capi::this_thread(py),
        arrived: None,
        source: handing_over::source_of(&deferred).map(Hold::hold),
        number: 0,
    };
    let stand_in = outcome::or_no_memory(py, Boxed::new(stand_in))?;
    drop(awaiting.get().replace(py, State::Through(stand_in)));
    let add_both = intern!(py, "addBoth");
    if overrides::<Deferred>(&deferred, add_both) {
        deferred.call_method1(add_both, (awaiting.getattr(intern!(py, "_arrive"))?,))?;
    } else {
        engine::add(&deferred, Link::Deliver(Waiter::new(awaiting), 0))?;
    }
    Ok(Awaiting::go_on(awaiting))
}

/// Yield a stand-in. A future is marked first, as its own iterator does: its driver looks for that.
fn yield_stand_in(stand_in: Bound<'_, PyAny>, is_future: bool) -> Sent<'_> {
    let py = stand_in.py();
    if !is_future {
        return Sent::Yielded(stand_in);
    }
    match stand_in.setattr(intern!(py, "_asyncio_future_blocking"), capi::yes(py)) {
        Ok(()) => Sent::Yielded(stand_in),
        Err(error) => raised(py, error.into()),
    }
}

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Awaiting {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::answer(Self::go_on(slf))
    }

    /// Resume. The value is ignored: the result comes from the Deferred.
    fn send<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
        let _ = value;
        Self::answer(Self::go_on(slf))
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
        let (val, tb) = (val.filter(|it| !it.is_none()), tb.filter(|it| !it.is_none()));
        let exception = thrown(typ, val, tb)?;
        leave(slf, Some(&exception))?;
        Err(no_result(py, exception.into()))
    }

    /// Stop waiting.
    fn close(slf: &Bound<'_, Self>) -> Result<()> {
        awaiting::leave_line(slf)?;
        leave(slf, None)
    }

    /// As a callback, for subclasses of Deferred that override `addBoth`.
    fn _arrive<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let outcome = match Self::deliver(slf.clone(), 0, classify(&result)?)? {
            Answer::Now(outcome) => outcome,
            Answer::After(work, outcome) => {
                engine::run(py, work)?;
                outcome
            }
        };
        Ok(into_object(py, outcome))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.state.during_gc() {
            State::For(deferred) => deferred.traverse(visit),
            State::Through(it) => {
                it.deferred.traverse(visit)?;
                it.object.traverse(visit)?;
                match &it.waker {
                    Waker::Function(it) | Waker::Loop(it) => it.traverse(visit)?,
                }
                it.source.traverse(visit)?;
                it.arrived.as_ref().map_or(Ok(()), |outcome| outcome.traverse(visit))
            }
            State::Left(Left { source, .. }) => match source {
                Some(source) => {
                    source.0.traverse(visit)?;
                    source.1.traverse(visit)
                }
                None => Ok(()),
            },
            State::Done => Ok(()),
        }
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        slf.get().replace(slf.py(), State::Done).give_up(slf.py());
    }
}
