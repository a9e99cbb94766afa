//! The class `DeferredQueue`.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::binding::capi::{Held, cell::Shared};
use crate::binding::model::{
    fifo::Fifo,
    line::{if_busy, kept, line},
};

create_exception!(
    deferrous,
    QueueOverflow,
    PyException,
    "Something was put into a DeferredQueue that has as much as it may."
);

create_exception!(
    deferrous,
    QueueUnderflow,
    PyException,
    "Something was asked of a DeferredQueue that has as many waiting as it may."
);

/// A queue whose `get` returns a Deferred.
///
/// `size` is how many objects it holds at most, and `backlog` how many may wait for one at most;
/// None for any number. To put, to get and to give up waiting cost the same however much it holds.
#[pyclass(module = "deferrous", subclass, frozen, weakref, dict, generic)]
pub(crate) struct DeferredQueue {
    pub(crate) state: Shared<QueueState>,
}

#[derive(Default)]
pub(crate) struct QueueState {
    pub(crate) waiting: Option<Held<Fifo>>,
    pub(crate) pending: Option<Held<Fifo>>,
    pub(crate) size: Option<Held<PyAny>>,
    pub(crate) backlog: Option<Held<PyAny>>,
}

impl DeferredQueue {
    /// How many objects it may hold.
    pub(crate) fn capacity<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.with(py, |state| state.size.as_ref().map(|size| size.bind(py).clone()))
    }

    pub(crate) fn with<R>(
        &self,
        py: Python<'_>,
        transition: impl FnOnce(&mut QueueState) -> R,
    ) -> R {
        self.state.with(py, transition)
    }

    pub(crate) fn waiting_line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line(py, |made| self.with(py, |state| kept(py, &mut state.waiting, made)))
    }

    /// Those who wait, if anybody does.
    #[inline(always)]
    pub(crate) fn busy_line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Fifo>> {
        self.with(py, |state| if_busy(py, &state.waiting).cloned())
    }

    pub(crate) fn pending_line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line(py, |made| self.with(py, |state| kept(py, &mut state.pending, made)))
    }

    /// What it holds, if another object can be added with nothing to be asked: nobody waits, and
    /// there is room for any number.
    #[inline(always)]
    pub(crate) fn free_line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Fifo>> {
        self.with(py, |state| match (&state.pending, &state.size, if_busy(py, &state.waiting)) {
            (Some(pending), None, None) => Some(pending.bind(py).clone()),
            _ => None,
        })
    }
}
