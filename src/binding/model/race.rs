//! The waiter of `race`.

use pyo3::prelude::*;

use crate::binding::capi::{Held, cell::Shared};
use crate::binding::model::{cancels::Cancels, deferred::Deferred};

/// The waiter of `race`.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_Race", module = "deferrous", frozen)]
pub(crate) struct Race {
    pub(crate) state: Shared<RaceState>,
}

#[derive(Default)]
pub(crate) struct RaceState {
    pub(crate) deferreds: Vec<Held<PyAny>>,
    pub(crate) winner: Option<(usize, Held<PyAny>)>,
    pub(crate) failures: Vec<(usize, Held<PyAny>)>,
    /// The Deferred to fire. Until then, that holds this race as its canceller.
    pub(crate) result: Option<Held<Deferred>>,
    pub(crate) cancels: Cancels,
}

impl Race {
    pub(crate) fn with<R>(
        &self,
        py: Python<'_>,
        transition: impl FnOnce(&mut RaceState) -> R,
    ) -> R {
        self.state.with(py, transition)
    }
}
