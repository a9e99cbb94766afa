//! The usual case of `Deferred.addTimeout`. The rest is in `deferrous/_timeout.py`.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString};

use crate::binding::capi::{
    self, Hold, cell::Shared, error::Result, interned::intern, overrides::overrides, stack::Nested,
};
use crate::binding::model::{
    callback::Callback,
    deferred::{CancelledError, Deferred, TimeoutError},
    failure::FailureBase,
    names,
    outcome::Link,
    timeout::{CONVERT, STOP, State, Timeout},
    traverse::Traverse,
};
use crate::binding::run::engine;
use crate::binding::waits::work::Work;

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Timeout {
    /// By what name a clock shows its delayed call: that of Twisted's function.
    #[getter(__qualname__)]
    fn qualified_name<'py>(slf: &Bound<'py, Self>) -> &'py Bound<'py, PyString> {
        intern!(slf.py(), "Deferred.addTimeout.<locals>.timeItOut")
    }

    /// The last part of it.
    #[getter(__name__)]
    fn name<'py>(slf: &Bound<'py, Self>) -> &'py Bound<'py, PyString> {
        intern!(slf.py(), "timeItOut")
    }

    /// Cancel the Deferred, as the time has run out.
    fn __call__(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        // Checked before anything has changed.
        let _nested = Nested::enter(py)?;
        let this = slf.get();
        this.state.with(py, |state| state.timed_out = true);
        let deferred = this.deferred.bind(py);
        let is_plain = capi::is_exact::<Deferred>(deferred) && !capi::has_instance_dict(deferred);
        let asks_nobody =
            || deferred.get().chain(py, |chain| !chain.called() && chain.canceller().is_none());
        if is_plain && asks_nobody() {
            let Err(error) = engine::run_within(py, Work::CancelHere(deferred.clone())) else {
                return Ok(());
            };
            if deferred.get().chain(py, |chain| chain.called()) {
                return Err(error.into());
            }
        }
        // The general case: there may be several cancellers, and each may raise.
        names::CANCEL_TIMED_OUT.get(py)?.call1((deferred,))?;
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.deferred.traverse(visit)?;
        self.seconds.traverse(visit)?;
        self.on_cancel.traverse(visit)?;
        self.state.during_gc().call.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let call = slf.get().state.with(slf.py(), |state| state.call.take());
        drop(call);
    }
}

/// Remember the two callbacks of the module.
pub(crate) fn know_callbacks(module: &Bound<'_, PyModule>) -> PyResult<()> {
    capi::keep(&CONVERT, module.getattr("_convertTimedOut")?);
    capi::keep(&STOP, module.getattr("_stopClock")?);
    Ok(())
}

/// The first callback: convert the outcome if the time has run out.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_convertTimedOut")]
pub(crate) fn convert<'py>(
    result: &Bound<'py, PyAny>,
    timeout: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = result.py();
    let timeout = timeout.cast::<Timeout>()?;
    let this = timeout.get();
    if !this.has_timed_out(py) {
        return Ok(result.clone());
    }
    let _nested = Nested::enter(py)?;
    let seconds = this.seconds.bind(py);
    if let Some(on_cancel) = &this.on_cancel
        && on_cancel.bind(py).is_truthy()?
    {
        return Ok(on_cancel.bind(py).call1((result, seconds))?);
    }
    let is_cancelled = result
        .cast::<FailureBase>()
        .is_ok_and(|failure| FailureBase::is_plainly_of::<CancelledError>(failure));
    if is_cancelled {
        let error = py.get_type::<TimeoutError>().call1((seconds, intern!(py, "Deferred")))?;
        return Err(capi::raise(error.cast_into()?));
    }
    Ok(names::CANCELLED_TO_TIMED_OUT.get(py)?.call1((result, seconds))?)
}

/// The second callback: stop the clock.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_stopClock")]
pub(crate) fn stop<'py>(
    result: &Bound<'py, PyAny>,
    timeout: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    stop_clock(timeout.cast::<Timeout>()?)?;
    Ok(result.clone())
}

/// Cancel the call of the clock.
fn stop_clock(timeout: &Bound<'_, Timeout>) -> Result<()> {
    let (py, this) = (timeout.py(), timeout.get());
    // Also if the call has been made already: that is for the clock to say.
    if let Some(call) = this.state.with(py, |state| state.call.take()) {
        let _nested = Nested::enter(py)?;
        let (call, active) = (call.bind(py), intern!(py, "active"));
        // The delayed calls of most clocks have a method `active`.
        let is_to_come = if capi::lookup(&call.get_type(), active) != 0 {
            call.call_method0(active)?.is_truthy()?
        } else {
            match call.getattr_opt(active)? {
                Some(active) if !active.is_none() => active.call0()?.is_truthy()?,
                _ => !this.has_timed_out(py),
            }
        };
        if is_to_come {
            call.call_method0(intern!(py, "cancel"))?;
        }
    }
    Ok(())
}

/// `deferred.addTimeout(seconds, clock, on_cancel)`
pub(crate) fn add<'py>(
    deferred: &Bound<'py, Deferred>,
    seconds: Bound<'py, PyAny>,
    clock: Option<Bound<'py, PyAny>>,
    on_cancel: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = deferred.py();
    let _nested = Nested::enter(py)?;
    let is_plain = !overrides::<Deferred>(deferred, intern!(py, "addBoth"))
        && !capi::has_instance_dict(deferred);
    let call_later = match &clock {
        Some(clock) if is_plain => clock.getattr_opt(intern!(py, "callLater"))?,
        _ => None,
    };
    let (Some(call_later), Some(convert), Some(stop)) = (call_later, CONVERT.get(py), STOP.get(py))
    else {
        return names::ADD_TIMEOUT.get(py)?.call1((deferred, seconds, clock, on_cancel));
    };
    let timeout = Timeout {
        deferred: deferred.clone().hold(),
        seconds: seconds.clone().hold(),
        on_cancel: on_cancel.map(Hold::hold),
        state: Shared::new(State { call: None, timed_out: false }),
    };
    let timeout = Bound::new(py, timeout)?;
    let arguments = [seconds, timeout.clone().into_any()];
    let call = capi::call_many(&call_later, &arguments, None)?.hold();
    let before = timeout.get().state.with(py, |state| state.call.replace(call));
    drop(before);
    for callback in [convert, stop] {
        let argument = timeout.as_any().clone();
        let added = Callback::with_arguments(py, callback.bind(py), &[argument], None)
            .and_then(|callback| engine::add(deferred, Link::Either(callback)));
        if let Err(error) = added {
            // Nobody would stop it when the Deferred has fired.
            let _ = capi::ok(py, stop_clock(&timeout));
            return Err(error.into());
        }
    }
    Ok(deferred.as_any().clone())
}
