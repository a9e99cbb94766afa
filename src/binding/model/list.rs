//! The class `DeferredList`.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::{self, Held, cell::Shared, error::Result};
use crate::binding::model::{cancels::Cancels, deferred::Deferred};

/// The results of several Deferreds.
///
/// Takes the Deferreds, and flags. By default, it fires when all have fired, with a list of pairs
/// `(success, result)` in the order of the Deferreds. With `fireOnOneCallback`, it fires with the
/// first result and its place, `(result, index)`. With `fireOnOneErrback`, it fails with the first
/// failure, as a FirstError. Without Deferreds, it fires at once with an empty list, but never with
/// `fireOnOneCallback`. With `consumeErrors`, a failure is None to the callbacks that are
/// added to its own Deferred later, and is not reported as unhandled.
#[pyclass(module = "deferrous", extends = Deferred, subclass, frozen)]
pub(crate) struct DeferredList {
    pub(crate) state: Shared<ListState>,
}

#[derive(Default)]
pub(crate) struct ListState {
    pub(crate) deferreds: Option<Held<PyList>>,
    pub(crate) results: Option<Held<PyList>>,
    pub(crate) finished: usize,
    pub(crate) fire_on_one_callback: bool,
    pub(crate) fire_on_one_errback: bool,
    pub(crate) consume_errors: bool,
    pub(crate) cancels: Cancels,
}

impl DeferredList {
    /// With nothing to wait for.
    pub(crate) fn empty() -> Self {
        Self { state: Shared::new(ListState::default()) }
    }

    pub(crate) fn with<R>(
        &self,
        py: Python<'_>,
        transition: impl FnOnce(&mut ListState) -> R,
    ) -> R {
        self.state.with(py, transition)
    }

    pub(crate) fn deferreds<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        self.with(py, |state| state.deferreds.as_ref().map(|list| list.bind(py).clone()))
            .map_or_else(|| capi::new_list(py), Ok)
    }

    pub(crate) fn results<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        self.with(py, |state| state.results.as_ref().map(|list| list.bind(py).clone()))
            .map_or_else(|| capi::new_list(py), Ok)
    }
}
