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
    "An object was put into a DeferredQueue that is full."
);

create_exception!(
    deferrous,
    QueueUnderflow,
    PyException,
    "An object was asked of a DeferredQueue that has no room for another waiter."
);

/// A queue whose `get` returns a Deferred.
///
/// Objects come out in the order in which they were put in. Those who wait for one are served
/// in the order in which they asked.
///
/// Arguments:
///
/// - `size`: how many objects the queue holds at most. By default, there is no limit.
/// - `backlog`: how many may wait for an object at most. By default, there is no limit.
///
/// Cancelling the Deferred of `get()` gives up the place in the line.
///
/// Differs from Twisted: `put`, `get` and giving up take constant time, however much the queue
/// holds.
///
/// ```python
/// from deferrous import DeferredQueue
///
/// queue = DeferredQueue()
/// queue.get().addCallback(print)
/// queue.put("item")
/// ```
///
/// This prints `item`.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    module = "deferrous",
    subclass,
    frozen,
    weakref,
    dict,
    generic
)]
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
