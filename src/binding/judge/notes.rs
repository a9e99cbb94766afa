//! Adds notes to exceptions whose traceback does not show which callback raised them.

use pyo3::exceptions::{PyException, PyMemoryError, PyRecursionError};
use pyo3::prelude::*;

use crate::binding::capi::{
    self,
    error::{Raised, Result},
};
use crate::binding::model::{deferred::Deferred, names, timeout};

/// Add a note to an exception without a traceback: which callback raised it, and which Deferred
/// that was a callback of. If a Deferred was chained to another, its name stands for the callback.
///
/// Returns the exception that the callback has failed with: this one, or one that is not an
/// `Exception` and was raised while the note was made, such as Ctrl-C. If the note cannot be made
/// for any other reason, there is none. Expired timeouts need no note.
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

/// Add a note to an exception without a traceback: which function raised it, if that was not called
/// as a callback. Returns the same as [`name_callback`].
#[cold]
pub(crate) fn name_function<'py>(raised: Raised<'py>, function: &Bound<'py, PyAny>) -> Raised<'py> {
    let py = raised.py();
    name(raised, Ok(function.clone()), || capi::new_bool(py, false))
}

/// Add a note to an exception. `deferred` makes the third argument of the Python function that does
/// it.
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

/// If tracking is on, add a note to a failure: to which Deferred it is passed on. No Python frame
/// shows that.
///
/// # Errors
///
/// An exception that is not an `Exception` and was raised meanwhile, such as Ctrl-C. If the note
/// cannot be made for any other reason, there is none.
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
