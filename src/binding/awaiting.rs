//! What `await deferred` and `yield from deferred` iterate.

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyTraverseError, intern};

use super::cell::Shared;
use super::deferred::Deferred;
use super::failure;
use super::ffi::{self, Sent};
use super::outcome::{Outcome, into_object, share};

/// Yields its Deferred until that has a result, then returns or raises the result.
#[pyclass(name = "_DeferredIterator", module = "deferrous", frozen, weakref)]
pub(super) struct Awaiting {
    /// None once it has returned, raised or been closed.
    deferred: Shared<Option<Py<Deferred>>>,
}

impl Awaiting {
    /// Wait for this one.
    pub(super) fn new(deferred: Bound<'_, Deferred>) -> Self {
        Self { deferred: Shared::new(Some(deferred.unbind())) }
    }

    /// What the driver of a coroutine gets next.
    pub(super) fn step<'py>(&self, py: Python<'py>) -> Sent<'py> {
        let waiting =
            self.deferred.with(py, |deferred| deferred.as_ref().map(|it| it.clone_ref(py)));
        let Some(deferred) = waiting.map(|deferred| deferred.into_bound(py)) else {
            return Sent::Returned(py.None().into_bound(py));
        };
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
            None => Sent::Yielded(deferred.into_any()),
            Some(Outcome::Failure(reason)) => {
                self.finish(py);
                if let Err(error) = super::report::forget(&deferred) {
                    return Sent::Raised(ffi::into_raised(py)(error));
                }
                match raise(reason.into_bound(py)) {
                    Ok(object) => Sent::Returned(object),
                    Err(error) => Sent::Raised(ffi::into_raised(py)(error)),
                }
            }
            Some(outcome) => {
                self.finish(py);
                Sent::Returned(into_object(py, outcome))
            }
        }
    }

    fn finish(&self, py: Python<'_>) -> bool {
        let before = self.deferred.with(py, Option::take);
        before.is_some()
    }

    fn answer(sent: Sent<'_>) -> PyResult<Bound<'_, PyAny>> {
        match sent {
            Sent::Yielded(object) => Ok(object),
            Sent::Returned(object) => Err(PyStopIteration::new_err((object.unbind(),))),
            Sent::Raised(raised) => Err(PyErr::from_value(raised.into_any())),
        }
    }
}

/// Raise the failure that was waited for. Returns only if a subclass of Failure declines to.
fn raise<'py>(reason: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = reason.py();
    if reason.get_type_ptr() == super::names::failure_class(py)?.as_type_ptr() {
        return Err(PyErr::from_value(failure::to_raise(&reason)?.into_any()));
    }
    reason.call_method0(intern!(py, "raiseException"))?;
    Ok(reason)
}

#[pymethods]
impl Awaiting {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::answer(slf.get().step(slf.py()))
    }

    /// Resume. The value is of no interest: the result is read from the Deferred.
    fn send<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _ = value;
        Self::answer(slf.get().step(slf.py()))
    }

    /// Raise an exception where this waits.
    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw<'py>(
        slf: &Bound<'py, Self>,
        typ: &Bound<'py, PyAny>,
        val: Option<Bound<'py, PyAny>>,
        tb: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().finish(slf.py());
        let exception = match typ.cast::<PyType>() {
            Ok(class) => match val {
                Some(val) if val.is_instance(class)? => val,
                Some(val) => class.call1((val,))?,
                None => class.call0()?,
            },
            Err(_) => typ.clone(),
        };
        let exception = exception.cast_into().map_err(|_| {
            PyTypeError::new_err("exceptions must be classes or instances deriving from BaseException")
        })?;
        if let Some(tb) = tb {
            ffi::set_traceback(&exception, &tb)?;
        }
        Err(PyErr::from_value(exception.into_any()))
    }

    /// Stop waiting.
    fn close(slf: &Bound<'_, Self>) {
        slf.get().finish(slf.py());
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.deferred.during_gc())
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        slf.get().finish(slf.py());
    }
}
