//! The driver of a coroutine stops waiting: `throw` and `close` of the iterator behind `await`.

use pyo3::exceptions::{PyBaseException, PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyTraceback, PyTuple, PyType};

use crate::binding::capi::{
    self, Hold, Text,
    error::{Error, Raise, Raised, Result},
    interned::intern,
};
use crate::binding::judge::report;
use crate::binding::model::{
    awaiting::{Awaiting, Left, StandIn, State},
    names,
    outcome::{self, Link, Outcome, into_object},
};
use crate::binding::run::engine;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::task_steps;
use crate::binding::waits::{awaiting::is_cancellation, handing_over, ring};
use crate::core::Boxed;

impl State {
    /// The coroutine will not be resumed. An outcome that has arrived is lost: report a failure,
    /// and give back what was handed over.
    #[inline(always)]
    pub(crate) fn give_up(self, py: Python<'_>) {
        if let State::Through(it) = self {
            it.into_inner().give_up(py);
        }
    }
}

impl StandIn {
    #[cold]
    fn give_up(self, py: Python<'_>) {
        match (self.arrived, self.source) {
            (Some(Outcome::Failure(failure)), _) => report::unhandled(failure.into_bound(py)),
            (Some(outcome @ Outcome::Value(_)), Some(source)) => {
                let source = source.into_bound(py);
                // This may run while an object is freed, with an exception set.
                capi::with_error_saved(py, || {
                    let taken_back =
                        handing_over::take_back(&source, into_object(py, outcome), self.number)
                            .and_then(|work| work.map_or(Ok(()), |work| engine::run(py, work)));
                    if let Err(error) = taken_back {
                        PyErr::from(error).write_unraisable(py, Some(&source));
                    }
                });
            }
            _ => {}
        }
    }
}

/// Drop a state out of line, as that is rare.
#[cold]
pub(crate) fn drop_another(state: State) {
    drop(state);
}

/// Convert the arguments of `throw` into an exception, as generators do.
///
/// # Errors
///
/// `TypeError` for what cannot be thrown. If making the exception raises another one, that one is
/// thrown, as by a generator.
pub(crate) fn thrown<'py>(
    typ: &Bound<'py, PyAny>,
    val: Option<Bound<'py, PyAny>>,
    tb: Option<Bound<'py, PyAny>>,
) -> Result<Raised<'py>> {
    let py = typ.py();
    if tb.as_ref().is_some_and(|tb| tb.cast::<PyTraceback>().is_err()) {
        return Err(PyTypeError::error(py, "throw() third argument must be a traceback object"));
    }
    let class = typ.cast::<PyType>().ok();
    let class = match class {
        Some(class) if class.is_subclass_of::<PyBaseException>()? => Some(class),
        _ => None,
    };
    let exception = match (class, val) {
        (Some(class), val) => {
            let made = match val {
                None => class.call0(),
                Some(val) if val.is_instance(class)? => Ok(val),
                Some(val) => match val.cast_into::<PyTuple>() {
                    Ok(args) => class.call1(args),
                    Err(val) => class.call1((val.into_inner(),)),
                },
            };
            match made.map_err(Error::from).and_then(|it| Ok(it.cast_into::<PyBaseException>()?)) {
                Ok(exception) => exception,
                Err(error) => error.into_raised(py),
            }
        }
        (None, val) => match (typ.cast::<PyBaseException>(), val) {
            (Ok(exception), None) => exception.clone(),
            (Ok(_), Some(_)) => {
                let text = "instance exception may not have a separate value";
                return Err(PyTypeError::error(py, text));
            }
            (Err(_), _) => {
                let text =
                    "exceptions must be classes or instances deriving from BaseException, not ";
                let class = Text::Python(typ.get_type().name()?);
                return Err(PyTypeError::error_saying(capi::joined(py, [Text::Ours(text), class])));
            }
        },
    };
    if let Some(tb) = tb {
        capi::set_traceback(&exception, &tb)?;
    }
    Ok(exception)
}

/// The driver stops waiting: cancel the Deferred. An error from that is reported, so that it does
/// not replace the exception that the driver throws in.
///
/// # Errors
///
/// What is not an `Exception`, such as KeyboardInterrupt.
pub(crate) fn leave<'py>(
    awaiting: &Bound<'py, Awaiting>,
    thrown: Option<&Bound<'py, PyBaseException>>,
) -> Result<()> {
    let py = awaiting.py();
    match begin_leave(awaiting, thrown) {
        Err(error) if error.is_instance_of::<PyException>(py) => ring::report_canceller(py, error),
        left => left,
    }
}

/// Mark the waiting as done. Returns the previous state.
#[cfg(not(Py_GIL_DISABLED))]
#[inline(always)]
fn end(awaiting: &Bound<'_, Awaiting>) -> Result<State> {
    Ok(awaiting.get().replace(awaiting.py(), State::Done))
}

#[cfg(Py_GIL_DISABLED)]
fn end(awaiting: &Bound<'_, Awaiting>) -> Result<State> {
    task_steps::leave(awaiting)
}

/// Stop waiting, whether or not an outcome has arrived.
fn begin_leave<'py>(
    awaiting: &Bound<'py, Awaiting>,
    thrown: Option<&Bound<'py, PyBaseException>>,
) -> Result<()> {
    let py = awaiting.py();
    let it = match end(awaiting)? {
        State::Through(it) if it.arrived.is_none() => it.into_inner(),
        // Both were cancelled, and the driver is told of that: there is nothing to report.
        State::Through(it)
            if thrown.is_some()
                && matches!(&it.arrived, Some(Outcome::Failure(failure)) if is_cancellation(failure.bind(py))) =>
        {
            return Ok(());
        }
        other => {
            other.give_up(py);
            return Ok(());
        }
    };
    let deferred = it.deferred.bind(py);
    let left = |cancelled| -> Result<()> {
        let source = match &it.source {
            Some(source) => {
                let pair = (deferred.clone().hold(), source.clone_ref(py));
                Some(outcome::or_no_memory(py, Boxed::new(pair))?)
            }
            None => None,
        };
        drop(awaiting.get().replace(py, State::Left(Left { cancelled, source })));
        Ok(())
    };
    #[cfg(not(Py_GIL_DISABLED))]
    if it.source.is_some() {
        left(false)?;
    }
    let cancelled = match it.object.bind(py).getattr_opt(intern!(py, "cancelled"))? {
        Some(cancelled) => cancelled.call0()?.is_truthy()?,
        None => false,
    };
    // If nobody else waits for the Deferred, it gives up its place in the line of a lock or queue.
    let alone = || {
        let ours = |link: &Link| matches!(link, Link::Deliver(waiter, _) if waiter.object(py).is(awaiting));
        deferred.get().chain(py, |chain| !chain.called() && chain.links().iter().all(ours))
    };
    if cancelled || (it.source.is_some() && alone()) {
        left(true)?;
        let with_reason = |thrown: &&Bound<'py, PyBaseException>| {
            let args = thrown.getattr(intern!(py, "args"));
            args.is_ok_and(|args| args.is_truthy().unwrap_or(false))
        };
        match thrown.filter(with_reason) {
            Some(thrown) => names::CANCEL_AS.get(py)?.call1((deferred, thrown))?,
            None => deferred.call_method0(intern!(py, "cancel"))?,
        };
    }
    Ok(())
}
