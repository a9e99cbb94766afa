//! The class `DeferredQueue`.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::binding::capi::{Held, Hold, Pool, Pooled, Recycled, cell::Shared};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::gate::Taken;
#[cfg(not(Py_GIL_DISABLED))]
use crate::binding::model::line::busy_line_in;
use crate::binding::model::{
    fifo::Fifo,
    line::{Line, if_busy, line_in, new_line, ours},
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
/// Threads: on a free-threaded Python, any thread may use it. An object is handed over once.
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

/// Programs see all of it, and may replace any part.
#[derive(Default)]
pub(crate) struct QueueState {
    pub(crate) waiting: Line,
    pub(crate) pending: Line,
    /// `None` for no limit, as programs see it. Empty if a program has deleted it, with the same
    /// effect.
    pub(crate) size: Option<Held<PyAny>>,
    pub(crate) backlog: Option<Held<PyAny>>,
    /// Whether a thread has a turn at a list: see `waits/turns.rs`.
    #[cfg(Py_GIL_DISABLED)]
    pub(crate) turn: Taken,
}

impl Recycled for DeferredQueue {
    type State = QueueState;

    #[inline(always)]
    fn state(&self) -> &Shared<QueueState> {
        &self.state
    }

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<DeferredQueue> = Pool::new(Pooled::Queue);
        &POOL
    }

    fn dies_quietly(_state: &QueueState) -> bool {
        true
    }

    fn is_light(_state: &QueueState, _py: Python<'_>) -> bool {
        false
    }

    fn dispose_of_light(state: &mut QueueState, _py: Python<'_>) {
        drop(std::mem::take(state));
    }

    fn dispose(&self, py: Python<'_>) {
        drop(self.with(py, std::mem::take));
    }
}

/// An object, and the line that it was the first of.
#[cfg(Py_GIL_DISABLED)]
type FirstOf<'py> = (Bound<'py, PyAny>, Bound<'py, Fifo>);

impl QueueState {
    /// An empty one.
    pub(crate) fn new<'py>(
        py: Python<'py>,
        size: Option<Bound<'py, PyAny>>,
        backlog: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self {
            waiting: new_line(py)?,
            pending: new_line(py)?,
            size: Self::shown_limit(py, size),
            backlog: Self::shown_limit(py, backlog),
            #[cfg(Py_GIL_DISABLED)]
            turn: Taken::default(),
        })
    }

    /// A limit, as programs see it.
    pub(crate) fn shown_limit<'py>(
        py: Python<'py>,
        limit: Option<Bound<'py, PyAny>>,
    ) -> Option<Held<PyAny>> {
        Some(limit.unwrap_or_else(|| py.None().into_bound(py)).hold())
    }

    /// Whether its lines are new: empty, and without references from elsewhere.
    pub(crate) fn has_new_lines(&self, py: Python<'_>) -> bool {
        [&self.waiting, &self.pending].into_iter().all(|line| {
            matches!(if_busy(py, line), Ok(None))
                && line.as_ref().is_some_and(|line| !line.is_shared(py))
        })
    }

    /// Set the limits. Returns those before.
    pub(crate) fn replace_limits(
        &mut self,
        limits: [Option<Held<PyAny>>; 2],
    ) -> [Option<Held<PyAny>>; 2] {
        let [size, backlog] = limits;
        [std::mem::replace(&mut self.size, size), std::mem::replace(&mut self.backlog, backlog)]
    }
}

/// A limit, if there is one.
#[inline(always)]
fn limit<'a, 'py>(
    py: Python<'py>,
    shown: &'a Option<Held<PyAny>>,
) -> Option<&'a Bound<'py, PyAny>> {
    shown.as_ref().map(|limit| limit.bind(py)).filter(|limit| !limit.is_none())
}

impl DeferredQueue {
    /// How many objects it may hold.
    #[inline(always)]
    pub(crate) fn capacity<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.with(py, |state| limit(py, &state.size).cloned())
    }

    /// How many may wait.
    #[inline(always)]
    pub(crate) fn room<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.with(py, |state| limit(py, &state.backlog).cloned())
    }

    pub(crate) fn with<R>(
        &self,
        py: Python<'_>,
        transition: impl FnOnce(&mut QueueState) -> R,
    ) -> R {
        self.state.with(py, transition)
    }

    pub(crate) fn waiting_line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line_in(py, &self.state, |state| &mut state.waiting)
    }

    /// The line of waiters, if there are any.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline(always)]
    pub(crate) fn busy_line<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Fifo>>> {
        busy_line_in(py, &self.state, |state| &mut state.waiting)
    }

    pub(crate) fn pending_line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line_in(py, &self.state, |state| &mut state.pending)
    }

    /// Put an object in, if nobody waits and there is no limit. Otherwise, the object is returned.
    ///
    /// New waiters join under the same lock, so none is forgotten.
    #[cfg(Py_GIL_DISABLED)]
    #[inline(always)]
    pub(crate) fn put_at_once<'py>(
        &self,
        py: Python<'py>,
        object: Bound<'py, PyAny>,
    ) -> Result<(), Bound<'py, PyAny>> {
        let object = object.hold();
        let put = self.with(py, |state| {
            let is_free = ours(py, &state.waiting).is_some_and(|it| !it.get().may_have_items());
            match ours(py, &state.pending) {
                Some(pending)
                    if is_free && !state.turn.is_taken() && limit(py, &state.size).is_none() =>
                {
                    pending.get().push_in_line(py, object)
                }
                _ => Err(object),
            }
        });
        put.map_err(|object| object.into_bound(py))
    }

    /// Take the first object out, if there is one; returns its line, too. None if the line is a
    /// program's, or a list.
    #[cfg(Py_GIL_DISABLED)]
    #[inline(always)]
    pub(crate) fn get_at_once<'py>(&self, py: Python<'py>) -> Option<Option<FirstOf<'py>>> {
        self.with(py, |state| {
            let pending = ours(py, &state.pending)?;
            if !pending.get().may_have_items() {
                return Some(None);
            }
            let first = pending.get().pop_from_line(py).ok()?;
            Some(first.map(|first| (first, pending.clone())))
        })
    }

    /// The line of objects, if another one can simply be added: there are no waiters, and no limit.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline(always)]
    pub(crate) fn free_line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Fifo>> {
        self.with(py, |state| match (if_busy(py, &state.waiting), limit(py, &state.size)) {
            (Ok(None), None) => ours(py, &state.pending).cloned(),
            _ => None,
        })
    }
}
