//! The usual case of `Deferred.addTimeout`. The rest is in `deferrous/_timeout.py`.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyException;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString};

use crate::binding::capi::{
    self, Hold,
    cell::Shared,
    error::{Raised, Result},
    interned::intern,
    overrides::overrides,
    stack::Nested,
};
use crate::binding::judge::creating;
use crate::binding::model::{
    callback::Callback,
    deferred::{CancelledError, Deferred, TimeoutError},
    failure::FailureBase,
    names, observe,
    outcome::Link,
    task::Task,
    timeout::{CONVERT, STOP, State, Timeout},
    traverse::Traverse,
};
use crate::binding::run::engine;
use crate::binding::waits::work::Work;

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Timeout {
    /// The name that clocks show for the delayed call: that of Twisted's function.
    #[getter(__qualname__)]
    fn qualified_name<'py>(slf: &Bound<'py, Self>) -> &'py Bound<'py, PyString> {
        intern!(slf.py(), "Deferred.addTimeout.<locals>.timeItOut")
    }

    /// The last part of that name.
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
        match who_is_asked(deferred) {
            Asked::Nobody => {
                let Err(error) = engine::run_within(py, Work::CancelHere(deferred.clone())) else {
                    return Ok(());
                };
                if deferred.get().chain(py, |chain| chain.called()) {
                    return Err(error.into());
                }
            }
            Asked::One(canceller) => return Ok(cancel_asking(deferred, &canceller)?),
            Asked::Several => {}
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

/// Whose code runs first when a Deferred is cancelled.
enum Asked<'py> {
    /// No canceller. Generators may run.
    Nobody,
    /// Its canceller, a Python function.
    One(Bound<'py, PyAny>),
    /// It cannot be found out quickly.
    Several,
}

/// How many generators that wait for each other are looked at.
const MOST: usize = 100;

fn who_is_asked<'py>(deferred: &Bound<'py, Deferred>) -> Asked<'py> {
    let py = deferred.py();
    let mut current = deferred.clone();
    for depth in 0..MOST {
        if !is_cancelled_here(&current) {
            return Asked::Several;
        }
        let (called, canceller) = current
            .get()
            .chain(py, |chain| (chain.called(), chain.canceller().map(|it| it.bind(py).clone())));
        let canceller = match canceller {
            _ if called => return Asked::Several,
            None => return Asked::Nobody,
            Some(canceller) => canceller,
        };
        let Some(task) = capi::as_exact::<Task>(&canceller) else {
            let is_asked = depth == 0 && capi::is_of_python(&canceller);
            return if is_asked { Asked::One(canceller) } else { Asked::Several };
        };
        let waits_for =
            task.get().with(py, |state| state.waiting_on.as_ref().map(|it| it.bind(py).clone()));
        let Some(waits_for) = waits_for else { return Asked::Several };
        current = waits_for;
    }
    Asked::Several
}

/// Whether it is cancelled and failed by methods of ours.
fn is_cancelled_here(deferred: &Bound<'_, Deferred>) -> bool {
    let py = deferred.py();
    [intern!(py, "cancel"), intern!(py, "errback")].into_iter().all(|method| {
        !overrides::<Deferred>(deferred, method) && capi::dict_lacks(deferred, method)
    })
}

/// Cancel a Deferred whose canceller is a Python function. What the canceller raises is reported,
/// and the Deferred fails as if it had none.
#[inline(never)]
fn cancel_asking<'py>(
    deferred: &Bound<'py, Deferred>,
    canceller: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferred.py();
    // If the canceller cancels a list, this collects what the cancellers in the list raise.
    let raised = capi::new_list(py)?;
    let key = capi::new_int(py, raised.as_ptr() as u64)?;
    let under_way = names::TIMEOUTS_UNDER_WAY.get(py)?;
    under_way.set_item(&key, &raised)?;
    observe::cancelled(deferred);
    let asked = capi::call_one(canceller, deferred);
    let _ = capi::ok(py, under_way.del_item(&key));
    let mut to_raise = None;
    if let Err(error) = asked {
        deferred.get().chain(py, |chain| {
            if !chain.called() {
                chain.set_swallows_next_fire(true);
            }
        });
        to_raise = reported(error)?;
    }
    if let Err(error) = engine::end_cancelling(deferred) {
        if deferred.get().chain(py, |chain| chain.called()) {
            return Err(error);
        }
        let error = error.into_raised(py);
        raised.append((deferred, error.clone()))?;
        to_raise = to_raise.or(reported(error)?);
    }
    if !raised.is_empty() {
        names::END_TIMEOUT.get(py)?.call1((&raised,))?;
    }
    to_raise.map_or(Ok(()), |error| Err(error.into()))
}

/// Report what a canceller has raised. An error that is not an `Exception` is returned, to be
/// raised at the end.
#[cold]
fn reported(error: Raised<'_>) -> Result<Option<Raised<'_>>> {
    let py = error.py();
    if !error.is_instance_of::<PyException>() {
        return Ok(Some(error));
    }
    let failure = creating::from_raised(error, false)?;
    names::REPORT_CANCELLER.get(py)?.call1((failure,))?;
    Ok(None)
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
    // Even if the call has been made already: the clock decides.
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
            // Nothing else would stop the clock when the Deferred fires.
            let _ = capi::ok(py, stop_clock(&timeout));
            return Err(error.into());
        }
    }
    Ok(deferred.as_any().clone())
}
