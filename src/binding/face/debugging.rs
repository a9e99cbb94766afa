//! `setDebugging` and `getDebugging`.

use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::binding::capi::{interned::intern, stack};
use crate::binding::model::deferred::Deferred;

/// Turn debug mode on or off.
///
/// In debug mode, Deferreds remember the stacks in which they are made and fired. The text of
/// an AlreadyCalledError and reports of unhandled failures show them.
///
/// Arguments:
///
/// - `on`: whether debug mode is to be on.
///
/// ```python
/// from deferrous import getDebugging, setDebugging
///
/// setDebugging(True)
/// print(getDebugging())
/// setDebugging(False)
/// ```
///
/// This prints `True`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "setDebugging")]
pub(crate) fn set_debugging(on: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = on.py();
    py.get_type::<Deferred>().setattr(intern!(py, "debug"), PyBool::new(py, stack::truth(on)?))
}

/// Return whether debug mode is on: see `setDebugging`.
///
/// ```python
/// from deferrous import getDebugging
///
/// print(getDebugging())
/// ```
///
/// This prints `False`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "getDebugging")]
pub(crate) fn get_debugging(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.get_type::<Deferred>().getattr(intern!(py, "debug"))
}
