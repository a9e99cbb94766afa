//! Reports unhandled failures, and keeps the stacks of debug mode.
//!
//! Twisted gives each Deferred with an unhandled failure a `DebugInfo`, a Python object whose
//! `__del__` makes the report. Programs replace that class to catch reports, so we use it too. As
//! long as the class is our own, it is enough to make the object when the Deferred dies.
//!
//! In debug mode, or if the class was replaced, the object is made earlier. It is then the
//! Deferred's attribute `_debugInfo`.

use crate::core::refusable;
use std::collections::HashSet;

#[cfg(Py_3_11)]
use pyo3::exceptions::PyBaseExceptionGroup;
use pyo3::exceptions::{PyBaseException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};

use crate::binding::capi;
use crate::binding::capi::error::Result;
use crate::binding::capi::interned::intern;
use crate::binding::judge::showing::{plain_args, stands_alone};
use crate::binding::model::deferred::Deferred;
use crate::binding::model::failure::FailureBase;
use crate::binding::model::names;
use crate::binding::model::observe;
use crate::binding::model::outcome::Outcome;

/// Make a `DebugInfo`, of the class that currently has this name.
fn new_debug_info(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match names::public(py, intern!(py, "DebugInfo"))? {
        Some(class) if !class.is_none() => class.call0(),
        _ => names::DEBUG_INFO.get(py)?.call0(),
    }
}

/// Whether making the `DebugInfo` can wait until the Deferred dies.
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

/// The Deferred's `DebugInfo`, made if necessary.
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

/// The stacks in which the Deferred was made and first fired, as text.
pub(crate) fn debug_tracebacks<'py>(
    deferred: &Bound<'py, Deferred>,
) -> PyResult<Bound<'py, PyAny>> {
    ensure_debug_info(deferred)?.call_method0(intern!(deferred.py(), "_getDebugTracebacks"))
}

/// A run of the Deferred has ended with a failure. Prepare the report.
#[cold]
pub(crate) fn rests_on_failure(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let py = deferred.py();
    let info = match debug_info(deferred)? {
        Some(info) => info,
        None if is_ours(py)? => return Ok(()),
        None => ensure_debug_info(deferred)?,
    };
    // From now on the DebugInfo is responsible for the report.
    let failure = take_over_failure(deferred);
    Ok(info.setattr(intern!(py, "failResult"), failure)?)
}

/// The failure has been taken or replaced. Cancel the report.
///
/// This only has an effect if there is a `DebugInfo`.
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

/// A program is about to replace the outcome. An unhandled failure will be reported nevertheless,
/// as with Twisted.
pub(crate) fn keep_unhandled(deferred: &Bound<'_, Deferred>) -> PyResult<()> {
    let py = deferred.py();
    let failure = deferred.get().chain(py, |chain| match chain.outcome() {
        Outcome::Failure(failure) => Some(failure.bind(py).clone()),
        _ => None,
    });
    failure.map_or(Ok(()), |failure| keep_replaced(deferred, &failure))
}

/// [`keep_unhandled`], after this failure was replaced.
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

/// The garbage collector is about to clear a cycle that contains the Deferred. If there is too
/// little stack for a report, the report is made when the Deferred dies.
pub(crate) fn finalize(deferred: &Bound<'_, Deferred>) {
    let py = deferred.py();
    if deferred.get().chain(py, |chain| chain.unhandled())
        && capi::stack::has_room_to_report()
        && let Some(failure) = take_over_failure(deferred)
    {
        observe::unhandled(py, deferred.get());
        unhandled(failure);
    }
}

/// Take the unhandled failure. The caller becomes responsible for the report.
fn take_over_failure<'py>(deferred: &Bound<'py, Deferred>) -> Option<Bound<'py, PyAny>> {
    let py = deferred.py();
    deferred
        .get()
        .chain(py, |chain| chain.take_over_failure().map(|failure| failure.bind(py).clone()))
}

/// The greatest depth of exceptions in each other's arguments that can be shown, at CPython's
/// default recursion limit.
const NESTED: usize = 1000;
/// Of failures in each other, ten are shown: see `failure.py`. Twice as many are examined.
const FAILURE: usize = NESTED / 20;
/// More exceptions than a report ever shows: see `has_end` in `failure.py`.
const MANY: usize = 50_000;

/// Whether it makes no difference if there is no `DebugInfo`: the class is as we have defined it.
fn reports_as_ours(py: Python<'_>) -> Result<bool> {
    let class = names::DEBUG_INFO.get(py)?.cast::<PyType>()?;
    let base = py.get_type::<PyAny>();
    let methods = names::DEBUG_INFO_METHODS.get(py)?;
    let defined = [intern!(py, "__del__"), intern!(py, "_getDebugTracebacks")];
    let of_object = [intern!(py, "__init__"), intern!(py, "__setattr__")];
    let none = py.None().as_ptr() as usize;
    Ok(defined
        .into_iter()
        .zip(methods.iter_borrowed())
        .all(|(name, method)| capi::lookup(class, name) == method.as_ptr() as usize)
        && of_object.into_iter().all(|name| capi::lookup(class, name) == capi::lookup(&base, name))
        && capi::lookup(class, intern!(py, "failResult")) == none)
}

/// Whether the collector has certainly not cleared the exception of a failure: it has its
/// arguments, and nothing in them or next to it can have been cleared.
fn is_whole(failure: &Bound<'_, PyAny>) -> Result<bool> {
    let py = failure.py();
    let Some(value) = failure.cast::<FailureBase>().ok().and_then(FailureBase::value_of) else {
        return Ok(false);
    };
    let Ok(exception) = value.cast::<PyBaseException>() else { return Ok(false) };
    let (class, base) = (value.get_type(), py.get_type::<PyBaseException>());
    let has_of_base = |name| capi::lookup(&class, name) == capi::lookup(&base, name);
    Ok(has_of_base(intern!(py, "__cause__"))
        && has_of_base(intern!(py, "__context__"))
        && (!capi::is_of_heap_type(&value) || capi::has_no_exception_dict(exception))
        && stands_alone(&value)
        && plain_args(exception)?.is_some())
}

/// Repair exceptions that the garbage collector has cleared, so that they can be shown.
///
/// A Deferred can fail while a cycle that it is part of is being cleared, because of something that
/// another object of the cycle does when it dies. Its exception may have been cleared already. Then
/// its arguments are a null pointer in CPython, which crashes when it formats them.
///
/// Only as many exceptions are examined as a report can show.
///
/// The links between exceptions are read by CPython's functions and ours, never through a program's
/// properties: these could return new exceptions without end.
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
        // Held, so that no other object can get its address meanwhile.
        capi::push(py, &mut held, object)?;
    }
    Ok(())
}

/// Repair an exception group. Returns the exceptions in it.
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

/// This Python has no exception groups.
#[cfg(not(Py_3_11))]
fn mend_group<'py>(_: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(None)
}

/// Report an unhandled failure. Raises nothing: errors in reporting are reported, too.
#[cold]
pub(crate) fn unhandled(failure: Bound<'_, PyAny>) {
    let py = failure.py();
    capi::with_error_saved(py, || {
        let report = || -> Result<()> {
            // If there is no memory for the check, it is reported as it is.
            if !is_whole(&failure)?
                && let Err(error) = mend(&failure)
                && !error.is_instance_of::<PyMemoryError>(py)
            {
                return Err(error);
            }
            if is_ours(py)? && reports_as_ours(py)? {
                names::REPORT_UNHANDLED.get(py)?.call1((&failure,))?;
                return Ok(());
            }
            let info = new_debug_info(py)?;
            Ok(info.setattr(intern!(py, "failResult"), &failure)?)
            // The DebugInfo dies here, and makes the report.
        };
        if let Err(error) = report() {
            PyErr::from(error).write_unraisable(py, Some(&failure));
        }
    });
}
