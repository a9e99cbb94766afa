//! The function that a timeout's clock calls.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::binding::capi::{Held, cell::Shared};
use crate::binding::model::deferred::Deferred;

/// A timeout: called by its clock when the time has run out.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    name = "_Timeout",
    module = "deferrous",
    frozen,
    weakref
)]
pub(crate) struct Timeout {
    pub(crate) deferred: Held<Deferred>,
    pub(crate) seconds: Held<PyAny>,
    pub(crate) on_cancel: Option<Held<PyAny>>,
    pub(crate) state: Shared<State>,
}

pub(crate) struct State {
    /// What the clock returned for the delayed call.
    pub(crate) call: Option<Held<PyAny>>,
    pub(crate) timed_out: bool,
}

impl Timeout {
    pub(crate) fn has_timed_out(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.timed_out)
    }
}

/// The two callbacks of a timeout. Each gets the timeout as its argument.
pub(crate) static CONVERT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
pub(crate) static STOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Whether a callback is the one that converts the failure of a timeout.
pub(crate) fn converts(callback: &Bound<'_, PyAny>) -> bool {
    CONVERT.get(callback.py()).is_some_and(|convert| convert.bind(callback.py()).is(callback))
}
