//! Notes on exceptions that no frame of Python tells the origin of: which callback raised them.

use pyo3::exceptions::{PyException, PyMemoryError, PyRecursionError};
use pyo3::prelude::*;

use crate::binding::capi::{
    self,
    error::{Raised, Result},
};
use crate::binding::model::{deferred::Deferred, names, timeout};

/// Note on an exception that has no traceback which callback it came of, and of which Deferred's
/// callbacks that was one. Where a Deferred was chained to another, it stands for the callback.
///
/// Returns the exception that the callback has failed with: this one, or one that is no
/// `Exception` and came while the note was made, as Ctrl-C does. A note that cannot be made for
/// any other reason is dropped. That the time has run out needs no note.
#[cold]
pub(crate) fn name_callback<'py>(
    raised: Raised<'py>,
    callable: Result<Bound<'py, PyAny>>,
    deferred: Option<&Bound<'py, Deferred>>,
) -> Raised<'py> {
    if callable.as_ref().is_ok_and(timeout::converts) {
        return raised;
    }
    let py = raised.py();
    name(raised, callable, || match deferred {
        Some(deferred) => deferred.as_any().clone(),
        None => py.None().into_bound(py),
    })
}

/// Note on an exception that has no traceback which function it came of that was called, and not as
/// a callback. Returns what [`name_callback`] does.
#[cold]
pub(crate) fn name_function<'py>(raised: Raised<'py>, function: &Bound<'py, PyAny>) -> Raised<'py> {
    let py = raised.py();
    name(raised, Ok(function.clone()), || capi::new_bool(py, false))
}

/// Note on an exception of what it came. `deferred` is the third argument of the function in Python
/// that does it.
fn name<'py>(
    raised: Raised<'py>,
    callable: Result<Bound<'py, PyAny>>,
    deferred: impl FnOnce() -> Bound<'py, PyAny>,
) -> Raised<'py> {
    let py = raised.py();
    if raised.is_instance_of::<PyMemoryError>()
        || raised.is_instance_of::<PyRecursionError>()
        || !capi::stack::has_room_to_report()
    {
        return raised;
    }
    let note = || -> Result<()> {
        let arguments = [raised.clone().into_any(), callable?, deferred()];
        capi::call_many(names::NAME_CALLBACK.get(py)?, &arguments, None)?;
        Ok(())
    };
    match note() {
        Err(error) if !error.is_instance_of::<PyException>(py) => error.into_raised(py),
        _ => raised,
    }
}

/// Note on a failure, while it is tracked where Deferreds are made, to which Deferred it is passed
/// on: no frame of Python's shows that.
///
/// # Errors
///
/// What is no `Exception` and came meanwhile, as Ctrl-C does. A note that cannot be made for any
/// other reason is dropped.
#[cold]
pub(crate) fn passed_on(failure: &Bound<'_, PyAny>, to: &Bound<'_, Deferred>) -> Result<()> {
    let py = failure.py();
    if !capi::stack::has_room_to_report() {
        return Ok(());
    }
    let note = || -> Result<()> {
        let arguments = [failure.clone(), to.as_any().clone()];
        capi::call_many(names::PASSED_ON.get(py)?, &arguments, None)?;
        Ok(())
    };
    match note() {
        Err(error) if !error.is_instance_of::<PyException>(py) => Err(error),
        _ => Ok(()),
    }
}
