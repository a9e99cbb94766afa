//! Shared by the cancelling of lists and races: errors for cycles.

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;

use crate::binding::capi::{
    error::{Error, Raise, Result},
    interned::intern,
};
use crate::binding::judge::{classify::as_deferred, creating};
use crate::binding::model::names;
use crate::binding::waits::work::{Next, Work};

const WAITS_FOR_ITSELF: &str = "the Deferred waits for itself";

/// The error for a cycle. Twisted raises it, too.
#[cold]
pub(crate) fn waits_for_itself(py: Python<'_>) -> Error {
    PyRecursionError::error(py, WAITS_FOR_ITSELF)
}

/// Whether an error reports a cycle, and is not a program's own.
pub(crate) fn is_of_ring(py: Python<'_>, error: &Error) -> bool {
    error.is_instance_of::<PyRecursionError>(py)
        && error.value(py).str().is_ok_and(|text| text == WAITS_FOR_ITSELF)
}
/// Call the `cancel` method of any object.
pub(crate) fn cancel_one(object: Bound<'_, PyAny>) -> Result<Next<'_>> {
    match as_deferred(&object) {
        Some(deferred) => Ok(Next::Do(Work::Cancel(deferred.clone()))),
        None => {
            object.call_method0(intern!(object.py(), "cancel"))?;
            Ok(Next::Done)
        }
    }
}

/// Log the exception of a canceller that cannot be raised to the caller.
#[cold]
pub(crate) fn report_canceller(py: Python<'_>, error: Error) -> Result<()> {
    let reason = creating::from_raised(error.into_raised(py), false)?;
    names::LOG_FAILURE
        .get(py)?
        .call1((reason, intern!(py, "Exception raised from user supplied canceller")))?;
    Ok(())
}
