//! Failures that nobody handled, and the debug mode's memory of who made and fired a Deferred.
//!
//! Twisted gives each Deferred that rests on a failure a `DebugInfo`, a Python object whose
//! `__del__` reports. Programs replace that class to catch the reports, so we use it too. But as
//! long as it is our own, it is enough to make one at the moment when the Deferred dies.
//!
//! A Deferred that needs one before that (in debug mode, or where the class was replaced) has it
//! as its attribute `_debugInfo`.

use crate::core::refusable;
use std::collections::HashSet;

#[cfg(Py_3_11)]
use pyo3::exceptions::PyBaseExceptionGroup;
use pyo3::exceptions::{PyBaseException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::binding::capi;
use crate::binding::capi::error::Result;
use crate::binding::capi::interned::intern;
use crate::binding::model::deferred::Deferred;
use crate::binding::model::failure::FailureBase;
use crate::binding::model::names;
use crate::binding::model::outcome::Outcome;

/// A new `DebugInfo`, of the class that goes by that name now.
fn new_debug_info(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match names::public(py, intern!(py, "DebugInfo"))? {
        Some(class) if !class.is_none() => class.call0(),
        _ => names::DEBUG_INFO.get(py)?.call0(),
    }
}

/// Whether a failure may be reported by a `DebugInfo` made as late as at the Deferred's death.
fn is_ours(py: Python<'_>) -> PyResult<bool> {
    Ok(names::is_public(intern!(py, "DebugInfo"), names::DEBUG_INFO.get(py)?))
}

/// The Deferred's `DebugInfo`, if it has one.
fn debug_info<'py>(deferred: &Bound<'py, Deferred>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if capi::is_exact::<Deferred>(deferred) && !capi::has_instance_dict(deferred) {
        return Ok(None);
    }
    let info = deferred.getattr(intern!(deferred.py(), "_debugInfo"))?;
    Ok(if info.is_none() { None } else { Some(info) })
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
pub(crate) fn remember_creator(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    let py = deferred.py();
    let info = new_debug_info(py)?;
    deferred.setattr(intern!(py, "_debugInfo"), &info)?;
    info.setattr(intern!(py, "creator"), stack(py)?)
}

/// Remember the stack in which a Deferred is fired.
#[cold]
pub(crate) fn remember_invoker(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    let py = deferred.py();
    ensure_debug_info(deferred)?.setattr(intern!(py, "invoker"), stack(py)?)
}

/// Who made and first fired the Deferred, as text.
pub(crate) fn debug_tracebacks<'py>(
    deferred: &Bound<'py, Deferred>,
) -> PyResult<Bound<'py, PyAny>> {
    ensure_debug_info(deferred)?.call_method0(intern!(deferred.py(), "_getDebugTracebacks"))
}

/// The Deferred has come to rest on a failure.
#[cold]
pub(crate) fn rests_on_failure(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let py = deferred.py();
    let info = match debug_info(deferred)? {
        Some(info) => info,
        None if is_ours(py)? => return Ok(()),
        None => ensure_debug_info(deferred)?,
    };
    // From now on the DebugInfo answers for it.
    let failure = take_over_failure(deferred);
    Ok(info.setattr(intern!(py, "failResult"), failure)?)
}

/// The failure that the Deferred rested on has been taken, or replaced by another outcome.
///
/// Only where it has a `DebugInfo` is there anything to do.
#[inline]
pub(crate) fn forget(deferred: &Bound<'_, Deferred>) -> Result<()> {
    if capi::has_instance_dict(deferred) { forget_in_debug_info(deferred) } else { Ok(()) }
}

#[cold]
fn forget_in_debug_info(deferred: &Bound<'_, Deferred>) -> Result<()> {
    match debug_info(deferred)? {
        Some(info) => {
            let py = deferred.py();
            Ok(info.setattr(intern!(py, "failResult"), py.None())?)
        }
        None => Ok(()),
    }
}

/// An outcome is about to be replaced by hand. A failure that the Deferred rests on will be
/// reported nonetheless, as with Twisted.
pub(crate) fn keep_unhandled(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    let py = deferred.py();
    let failure = deferred.get().chain(py, |chain| match chain.outcome() {
        Outcome::Failure(failure) => Some(failure.bind(py).clone()),
        _ => None,
    });
    failure.map_or(Ok(()), |failure| keep_replaced(deferred, &failure))
}

/// As [`keep_unhandled`], when it is done: this was the failure.
#[cold]
pub(crate) fn keep_replaced(
    deferred: &Bound<'_, Deferred>,
    failure: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = deferred.py();
    if !deferred.get().chain(py, |chain| chain.unhandled()) {
        return Ok(());
    }
    let info = ensure_debug_info(deferred)?;
    deferred.get().chain(py, |chain| chain.mark_handled());
    info.setattr(intern!(py, "failResult"), failure)
}

/// The collector is about to take apart a cycle that the Deferred is part of. Where there is too
/// little of the stack left for a report, this is left to the Deferred's death.
pub(crate) fn finalize(deferred: &Bound<'_, Deferred>) {
    let py = deferred.py();
    if deferred.get().chain(py, |chain| chain.unhandled())
        && capi::stack::has_room_to_report()
        && let Some(failure) = take_over_failure(deferred)
    {
        unhandled(failure);
    }
}

/// The failure that nobody has handled, for whoever answers for it from now on.
fn take_over_failure<'py>(deferred: &Bound<'py, Deferred>) -> Option<Bound<'py, PyAny>> {
    let py = deferred.py();
    deferred
        .get()
        .chain(py, |chain| chain.take_over_failure().map(|failure| failure.bind(py).clone()))
}

/// So many exceptions that are each other's arguments can be shown, at CPython's default limit.
const NESTED: usize = 1000;
/// Of failures in each other, ten are shown: see `failure.py`. Twice as many are looked at.
const FAILURE: usize = NESTED / 20;
/// So many exceptions can be shown, and some more: see `has_end` in `failure.py`.
const MANY: usize = 50_000;

/// Make exceptions fit to be shown that the collector has taken apart.
///
/// A Deferred can fail while a cycle that it is part of is being taken apart: by what another
/// object of the cycle does as it dies. Its exception may have been cleared before. CPython itself
/// then has a null pointer for its arguments, and dies when it is to make a text of them.
///
/// Only so much is looked at as a report can show.
///
/// What they refer to is asked of CPython itself and of us, never of a property of a program's: that
/// may give another exception each time, without end.
fn mend(failure: &Bound<'_, PyAny>) -> Result<()> {
    let py = failure.py();
    let base = py.get_type::<PyBaseException>();
    let get = intern!(py, "__get__");
    let args = base.getattr(intern!(py, "args"))?;
    let links =
        [base.getattr(intern!(py, "__cause__"))?, base.getattr(intern!(py, "__context__"))?];
    let (mut seen, mut held, mut rest) = (HashSet::new(), Vec::new(), Vec::new());
    capi::push(py, &mut rest, (failure.clone(), 0))?;
    while let Some((object, depth)) = rest.pop() {
        if depth > NESTED || held.len() > MANY {
            continue;
        }
        if refusable(|| seen.try_reserve(1)).is_err() {
            return Err(capi::no_memory(py));
        }
        if !seen.insert(object.as_ptr()) {
            continue;
        }
        if let Ok(items) = object.cast_exact::<PyTuple>() {
            for item in items.iter() {
                capi::push(py, &mut rest, (item, depth + 1))?;
            }
        } else if let Ok(items) = object.cast_exact::<PyList>() {
            for item in items.iter() {
                capi::push(py, &mut rest, (item, depth + 1))?;
            }
        } else if object.is_instance_of::<PyBaseException>() {
            let given = args.call_method1(get, (&object,))?;
            if given.is_none() {
                args.call_method1(intern!(py, "__set__"), (&object, PyTuple::empty(py)))?;
            }
            capi::push(py, &mut rest, (given, depth))?;
            for link in &links {
                capi::push(py, &mut rest, (link.call_method1(get, (&object,))?, depth))?;
            }
            if let Some(members) = mend_group(&object)? {
                capi::push(py, &mut rest, (members, depth))?;
            }
            let within = match object.cast::<FailureBase>() {
                Ok(failure) => FailureBase::value_of(failure),
                // The failure in a `FirstError`.
                Err(_) if object.cast().is_ok_and(capi::has_no_exception_dict) => None,
                Err(_) => capi::exception_dict(&object)?.get_item(intern!(py, "subFailure"))?,
            };
            if let Some(within) = within {
                capi::push(py, &mut rest, (within, depth + FAILURE))?;
            }
        }
        // Held, so that no other object can come to be at its address meanwhile.
        capi::push(py, &mut held, object)?;
    }
    Ok(())
}

/// Make a group of exceptions fit to be shown. Gives the exceptions in it.
#[cfg(Py_3_11)]
fn mend_group<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Ok(group) = object.cast::<PyBaseExceptionGroup>() else { return Ok(None) };
    let py = object.py();
    let base = py.get_type::<PyBaseExceptionGroup>();
    let get = |name| base.getattr(name)?.call_method1(intern!(py, "__get__"), (group,));
    let (message, members) = (get(intern!(py, "message"))?, get(intern!(py, "exceptions"))?);
    if message.is_none() || members.is_none() {
        capi::refill_group(group)?;
    }
    Ok(Some(members))
}

/// There are no groups of exceptions.
#[cfg(not(Py_3_11))]
fn mend_group<'py>(_: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(None)
}

/// Report a failure that nobody handled. Nothing escapes: what goes wrong here is reported, too.
#[cold]
pub(crate) fn unhandled(failure: Bound<'_, PyAny>) {
    let py = failure.py();
    capi::with_error_saved(py, || {
        let report = || -> Result<()> {
            // Where there is no memory to look, it is reported as it is.
            if let Err(error) = mend(&failure)
                && !error.is_instance_of::<PyMemoryError>(py)
            {
                return Err(error);
            }
            let info = new_debug_info(py)?;
            Ok(info.setattr(intern!(py, "failResult"), &failure)?)
            // Here the DebugInfo dies, and reports.
        };
        if let Err(error) = report() {
            PyErr::from(error).write_unraisable(py, Some(&failure));
        }
    });
}
