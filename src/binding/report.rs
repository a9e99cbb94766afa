//! Failures that nobody handled, and the debug mode's memory of who made and fired a Deferred.
//!
//! Twisted gives each Deferred that rests on a failure a `DebugInfo`, a Python object whose
//! `__del__` reports. Programs replace that class to catch the reports, so we use it too. But as
//! long as it is our own, it is enough to make one at the moment when the Deferred dies.
//!
//! A Deferred that needs one before that (in debug mode, or where the class was replaced) has it
//! as its attribute `_debugInfo`.

use pyo3::intern;
use pyo3::prelude::*;

use super::deferred::Deferred;
use super::ffi;
use super::names;
use super::outcome::Outcome;

/// A new `DebugInfo`, of the class that goes by that name now.
fn new_debug_info(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match names::public(py, intern!(py, "DebugInfo"))? {
        Some(class) if !class.is_none() => class.call0(),
        _ => names::DEBUG_INFO.get(py)?.call0(),
    }
}

/// Whether a failure may be reported by a `DebugInfo` made as late as at the Deferred's death.
fn is_ours(py: Python<'_>) -> PyResult<bool> {
    match names::public(py, intern!(py, "DebugInfo"))? {
        Some(class) => Ok(class.is(names::DEBUG_INFO.get(py)?)),
        None => Ok(true),
    }
}

/// The Deferred's `DebugInfo`, if it has one.
fn debug_info<'py>(deferred: &Bound<'py, Deferred>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let info = deferred.getattr(intern!(deferred.py(), "_debugInfo"))?;
    Ok(if info.is_none() { None } else { Some(info) })
}

/// Whether the Deferred has a `DebugInfo`.
pub(super) fn has_debug_info(deferred: &Bound<'_, Deferred>) -> bool {
    matches!(debug_info(deferred), Ok(Some(_)))
}

/// The Deferred's `DebugInfo`, made if it has none.
fn ensure_debug_info<'py>(deferred: &Bound<'py, Deferred>) -> PyResult<Bound<'py, PyAny>> {
    if let Some(info) = debug_info(deferred)? {
        return Ok(info);
    }
    let py = deferred.py();
    let info = new_debug_info(py)?;
    deferred.setattr(intern!(py, "_debugInfo"), &info)?;
    Ok(info)
}

fn stack(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    names::FORMAT_STACK.get(py)?.call0()
}

/// Remember the stack in which a Deferred is made.
#[cold]
pub(super) fn remember_creator(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    let py = deferred.py();
    let info = new_debug_info(py)?;
    deferred.setattr(intern!(py, "_debugInfo"), &info)?;
    info.setattr(intern!(py, "creator"), stack(py)?)
}

/// Remember the stack in which a Deferred is fired.
#[cold]
pub(super) fn remember_invoker(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    let py = deferred.py();
    ensure_debug_info(deferred)?.setattr(intern!(py, "invoker"), stack(py)?)
}

/// Who made and first fired the Deferred, as text.
pub(super) fn debug_tracebacks<'py>(
    deferred: &Bound<'py, Deferred>,
) -> PyResult<Bound<'py, PyAny>> {
    ensure_debug_info(deferred)?.call_method0(intern!(deferred.py(), "_getDebugTracebacks"))
}

/// The Deferred has come to rest on a failure.
#[cold]
pub(super) fn rests_on_failure(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    let py = deferred.py();
    let info = match debug_info(deferred)? {
        Some(info) => info,
        None if is_ours(py)? => return Ok(()),
        None => ensure_debug_info(deferred)?,
    };
    let failure = deferred.get().chain(py, |chain| {
        // From now on the DebugInfo answers for it.
        chain.mark_handled();
        match chain.outcome() {
            Outcome::Failure(failure) => Some(failure.bind(py).clone()),
            _ => None,
        }
    });
    info.setattr(intern!(py, "failResult"), failure)
}

/// The failure that the Deferred rested on has been taken, or replaced by another outcome.
///
/// Only where it has a `DebugInfo` is there anything to do.
#[inline]
pub(super) fn forget(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    if ffi::has_instance_dict(deferred) { forget_in_debug_info(deferred) } else { Ok(()) }
}

#[cold]
fn forget_in_debug_info(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    match debug_info(deferred)? {
        Some(info) => {
            let py = deferred.py();
            info.setattr(intern!(py, "failResult"), py.None())
        }
        None => Ok(()),
    }
}

/// An outcome is about to be replaced by hand. A failure that the Deferred rests on will be
/// reported nonetheless, as with Twisted.
pub(super) fn keep_unhandled(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    let py = deferred.py();
    if deferred.get().chain(py, |chain| chain.unhandled()) {
        ensure_debug_info(deferred)?;
        rests_on_failure(deferred)?;
    }
    Ok(())
}

/// The collector is about to take apart a cycle that the Deferred is part of.
pub(super) fn finalize(deferred: &Bound<'_, Deferred>) {
    let py = deferred.py();
    let failure = deferred.get().chain(py, |chain| {
        if !chain.unhandled() {
            return None;
        }
        chain.mark_handled();
        match chain.outcome() {
            Outcome::Failure(failure) => Some(failure.bind(py).clone()),
            _ => None,
        }
    });
    if let Some(failure) = failure {
        unhandled(failure);
    }
}

/// Report a failure that nobody handled. Nothing escapes: what goes wrong here is reported, too.
#[cold]
pub(super) fn unhandled(failure: Bound<'_, PyAny>) {
    let py = failure.py();
    ffi::with_error_saved(py, || {
        let report = || -> PyResult<()> {
            let info = new_debug_info(py)?;
            info.setattr(intern!(py, "failResult"), &failure)
            // Here the DebugInfo dies, and reports.
        };
        if let Err(error) = report() {
            error.write_unraisable(py, Some(&failure));
        }
    });
}
