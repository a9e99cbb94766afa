//! The class `DeferredList`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::{
    self, Held,
    cell::Shared,
    error::{Raise, Result},
    shown::Switch,
};
use crate::binding::model::{cancels::Cancels, deferred::Deferred};

/// A Deferred for the outcomes of several Deferreds.
///
/// By default it fires when all of them have fired, with a list of pairs `(success, result)` in
/// their order. If there are none, it fires at once with an empty list, but never with
/// `fireOnOneCallback`.
///
/// Arguments:
///
/// - `deferredList`: an iterable of Deferreds.
/// - `fireOnOneCallback`: whether to fire with the first result, as a pair `(result, index)`.
/// - `fireOnOneErrback`: whether to fail with the first failure, as a FirstError.
/// - `consumeErrors`: whether failures are taken from the given Deferreds: their later
///   callbacks then get None, and the failures are not reported as unhandled.
///
/// Errors:
///
/// - TypeError: `deferredList` is not iterable, or is a single Deferred.
/// - AttributeError: an item is not a Deferred.
///
/// Cancelling it cancels all the given Deferreds. What their cancellers raise is logged.
///
/// Differs from Twisted: if an item is not a Deferred, no callback is added to the others.
///
/// ```python
/// from deferrous import DeferredList, fail, succeed
///
/// outcomes = DeferredList([succeed(1), fail(KeyError())], consumeErrors=True)
/// outcomes.addCallback(lambda pairs: print([success for success, _ in pairs]))
/// ```
///
/// This prints `[True, False]`.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    module = "deferrous",
    extends = Deferred,
    subclass,
    frozen
)]
pub(crate) struct DeferredList {
    pub(crate) state: Shared<ListState>,
}

#[derive(Default)]
pub(crate) struct ListState {
    pub(crate) deferreds: Option<Held<PyList>>,
    /// The attribute `resultList`, which programs may replace.
    pub(crate) results: Option<Held<PyAny>>,
    pub(crate) finished: usize,
    pub(crate) fire_on_one_callback: Switch,
    pub(crate) fire_on_one_errback: Switch,
    pub(crate) consume_errors: Switch,
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
        match self.with(py, |state| state.results.as_ref().map(|it| it.bind(py).clone())) {
            Some(results) => results
                .cast_into()
                .map_err(|_| PyTypeError::error(py, "DeferredList.resultList is not a list")),
            None => capi::new_list(py),
        }
    }
}
