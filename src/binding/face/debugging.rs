//! `setDebugging` and `getDebugging`.

use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::binding::capi::{interned::intern, stack};
use crate::binding::model::deferred::Deferred;

/// Say whether Deferreds are to remember the stacks in which they are made and fired.
///
/// These are then in the texts of AlreadyCalledErrors, and in reports of errors that nobody
/// handled.
#[pyfunction]
#[pyo3(name = "setDebugging")]
pub(crate) fn set_debugging(on: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = on.py();
    py.get_type::<Deferred>().setattr(intern!(py, "debug"), PyBool::new(py, stack::truth(on)?))
}

/// Return whether Deferreds remember the stacks in which they are made and fired.
#[pyfunction]
#[pyo3(name = "getDebugging")]
pub(crate) fn get_debugging(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.get_type::<Deferred>().getattr(intern!(py, "debug"))
}
