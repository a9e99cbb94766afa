//! The interface of a [`Wakeup`] to asyncio's loops: that of an `asyncio.Handle`.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::binding::capi::{
    self,
    error::{Raised, Result},
    interned::intern,
    none,
};
use crate::binding::model::{
    names,
    traverse::Traverse,
    wakeup::{Call, State, Wakeup},
};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Wakeup {
    /// A loop skips a handle for which this is true. It asks each time, so this is a constant: a
    /// cancelled wakeup does nothing when it runs.
    #[classattr]
    fn _cancelled() -> bool {
        false
    }

    #[classattr]
    fn _source_traceback() -> Option<bool> {
        None
    }

    /// Make the call. What it raises is reported through the loop, except KeyboardInterrupt and
    /// SystemExit.
    fn _run(slf: &Bound<'_, Self>) -> Result<()> {
        let py = slf.py();
        let Some(call) = slf.get().take(py) else { return Ok(()) };
        match make(py, &call) {
            Ok(()) => Ok(()),
            Err(raised) => report(py, &call, raised),
        }
    }

    /// Let the call do nothing.
    fn cancel(slf: &Bound<'_, Self>) {
        let before = slf.get().state.with(slf.py(), |state| match state {
            State::Waiting(_) => Some(std::mem::replace(state, State::Cancelled)),
            State::Done | State::Cancelled => None,
        });
        drop(before);
    }

    fn cancelled(slf: &Bound<'_, Self>) -> bool {
        slf.get().state.with(slf.py(), |state| matches!(state, State::Cancelled))
    }

    #[getter]
    fn _callback<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        slf.get().look(slf.py(), |call| call.callback.bind(slf.py()).clone())
    }

    #[getter]
    fn _args<'py>(slf: &Bound<'py, Self>) -> Option<(Bound<'py, PyAny>,)> {
        slf.get().look(slf.py(), |call| (call.future.bind(slf.py()).clone(),))
    }

    #[getter]
    fn _context<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        Self::get_context(slf)
    }

    fn get_context<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        slf.get().look(slf.py(), |call| call.context.bind(slf.py()).clone())
    }

    #[getter]
    fn _loop<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().look(py, |call| call.future.bind(py).clone()) {
            Some(future) => Ok(future.getattr(intern!(py, "_loop"))?),
            None => Ok(none(py)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let State::Waiting(call) = self.state.during_gc() else { return Ok(()) };
        call.callback.traverse(visit)?;
        call.future.traverse(visit)?;
        call.context.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        drop(slf.get().take(slf.py()));
    }
}

/// Call the callback in its context.
#[inline(always)]
fn make<'py>(py: Python<'py>, call: &Call) -> Result<(), Raised<'py>> {
    let context = call.context.bind(py);
    capi::enter_context(py, context)?;
    let called = capi::call_one(call.callback.bind(py), call.future.bind(py));
    capi::exit_context(py, context)?;
    called.map(drop)
}

/// Report an exception as a handle of asyncio's does.
#[cold]
fn report<'py>(py: Python<'py>, call: &Call, raised: Raised<'py>) -> Result<()> {
    if raised.is_instance_of::<PyKeyboardInterrupt>() || raised.is_instance_of::<PySystemExit>() {
        return Err(raised.into());
    }
    let (callback, future, context) =
        (call.callback.bind(py), call.future.bind(py), call.context.bind(py));
    let report = names::WAKEUP_RAISED.get(py)?;
    capi::while_handling(&raised, || report.call1((callback, future, context, &raised)))?;
    Ok(())
}
