//! Limits: of tokens for semaphores, and of the length of a line.

use pyo3::exceptions::PyAssertionError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::binding::capi::{
    self,
    error::{Error, Raise, Result},
    stack,
};
use crate::binding::model::fifo::Fifo;

/// The error for releasing a semaphore too often.
#[cold]
pub(crate) fn too_many_tokens(py: Python<'_>) -> Error {
    PyAssertionError::error(py, "Someone released me too many times: too many tokens!")
}

/// Whether a line has room for another item.
pub(crate) fn has_room(line: &Bound<'_, Fifo>, limit: &Bound<'_, PyAny>) -> Result<bool> {
    let py = line.py();
    if let Ok(limit) = limit.cast_exact::<PyInt>()
        && let Some(limit) = capi::ok(py, limit.extract::<i64>())
    {
        return Ok((line.get().len(py) as i64) < limit);
    }
    stack::check(py)?;
    Ok(capi::new_int(py, line.get().len(py) as u64)?.lt(limit)?)
}
