//! `DeferredQueue`.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{
    self, Hold,
    cell::Shared,
    error::{Raise, Result},
    interned::intern,
    overrides::overrides,
    stack::Nested,
};
use crate::binding::face::functions::succeed;
use crate::binding::model::{
    deferred::Deferred,
    fifo::Fifo,
    line::if_busy,
    names,
    outcome::Chain,
    queue::{DeferredQueue, QueueState, QueueUnderflow},
    traverse::Traverse,
};
use crate::binding::run::engine;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::queue_steps;
use crate::binding::waits::{
    firing::make, handing_over::begin_put, limits::has_room, nesting::hand_over,
};

#[pymethods(crate = "crate::binding::capi::guarded")]
#[allow(non_snake_case)]
impl DeferredQueue {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(size=None, backlog=None)")]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Ok(Self { state: Shared::new(QueueState::new(py, None, None)?) })
    }

    #[pyo3(signature = (size=None, backlog=None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        size: Option<Bound<'_, PyAny>>,
        backlog: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        if slf.get().with(py, |state| state.has_new_lines(py)) {
            // The limits that `__new__` has set.
            let limits = [size, backlog].map(|limit| QueueState::shown_limit(py, limit));
            let before = slf.get().with(py, |state| state.replace_limits(limits));
            drop(before);
            return Ok(());
        }
        let state = QueueState::new(py, size, backlog)?;
        let before = slf.get().with(py, |current| std::mem::replace(current, state));
        drop(before);
        Ok(())
    }

    /// Put an object into the queue. If somebody waits, the first of them gets it at once.
    ///
    /// Arguments:
    ///
    /// - `obj`: the object.
    ///
    /// Errors:
    ///
    /// - QueueOverflow: the queue is full.
    ///
    /// ```python
    /// from deferrous import DeferredQueue, QueueOverflow
    ///
    /// queue = DeferredQueue(size=1)
    /// queue.put("one")
    /// try:
    ///     queue.put("two")
    /// except QueueOverflow:
    ///     print("full")
    /// ```
    ///
    /// This prints `full`.
    pub(crate) fn put<'py>(slf: &Bound<'py, Self>, obj: Bound<'py, PyAny>) -> Result<()> {
        #[cfg(not(Py_GIL_DISABLED))]
        return match slf.get().free_line(slf.py()) {
            Some(pending) => Ok(pending.get().push_back(obj)?),
            None => put_where_asked(slf, obj),
        };
        #[cfg(Py_GIL_DISABLED)]
        match slf.get().put_at_once(slf.py(), obj) {
            Ok(()) => Ok(()),
            Err(obj) => put_where_asked(slf, obj),
        }
    }

    /// Return a Deferred for the next object.
    ///
    /// It has fired already if the queue has an object.
    ///
    /// Errors:
    ///
    /// - QueueUnderflow: as many as `backlog` wait already.
    ///
    /// Cancelling the Deferred while it waits gives up the place in the line.
    ///
    /// ```python
    /// from deferrous import DeferredQueue
    ///
    /// queue = DeferredQueue()
    /// queue.put("item")
    /// queue.get().addCallback(print)
    /// ```
    ///
    /// This prints `item`.
    pub(crate) fn get<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, Deferred>> {
        let py = slf.py();
        if let Some(deferred) = take_pending(slf)? {
            return Ok(deferred);
        }
        let waiting = slf.get().waiting_line(py)?;
        if let Some(backlog) = slf.get().room(py)
            && !has_room(&waiting, &backlog)?
        {
            return Err(QueueUnderflow::bare_error(py));
        }
        let cancel = intern!(py, "_cancelGet");
        let canceller = if overrides::<Self>(slf, cancel) || slf.is_callable() {
            slf.getattr(cancel)?
        } else {
            slf.as_any().clone()
        };
        let deferred = make(py, || Chain::new(Some(canceller.hold())))?;
        // Any of this may have run other code, which may have put an object in.
        if let Some(deferred) = take_pending(slf)? {
            return Ok(deferred);
        }
        #[cfg(Py_GIL_DISABLED)]
        if let Some(object) = queue_steps::get(slf, &deferred)? {
            // Another thread has put an object in meanwhile.
            return succeed(object);
        }
        #[cfg(not(Py_GIL_DISABLED))]
        slf.get().waiting_line(py)?.get().push_back(deferred.as_any().clone())?;
        Ok(deferred)
    }

    /// Remove a cancelled Deferred from the waiters.
    fn _cancelGet<'py>(slf: &Bound<'py, Self>, d: &Bound<'py, PyAny>) -> Result<()> {
        Fifo::remove(&slf.get().waiting_line(slf.py())?, d)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::REDUCE.get(slf.py())?.call1((slf,))
    }

    /// Return all of the state, for `copy` and `pickle`.
    fn __getstate__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::GET_STATE.get(slf.py())?.call1((slf,))
    }

    fn __setstate__(slf: &Bound<'_, Self>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        names::SET_STATE.get(slf.py())?.call1((slf, state)).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.during_gc();
        state.waiting.traverse(visit)?;
        state.pending.traverse(visit)?;
        state.size.traverse(visit)?;
        state.backlog.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let state = slf.get().with(slf.py(), std::mem::take);
        drop(state);
    }
}

/// The rest of `put`, if somebody waits, or if the limit has to be checked.
#[inline(never)]
fn put_where_asked<'py>(
    queue: &Bound<'py, DeferredQueue>,
    object: Bound<'py, PyAny>,
) -> Result<()> {
    let _nested = Nested::enter(queue.py())?;
    match begin_put(queue, object)? {
        Some(work) => hand_over(queue.py(), work, engine::run_within),
        None => Ok(()),
    }
}

/// A Deferred for the first object of a queue, if there is one.
#[inline(always)]
fn take_pending<'py>(queue: &Bound<'py, DeferredQueue>) -> Result<Option<Bound<'py, Deferred>>> {
    let py = queue.py();
    #[cfg(Py_GIL_DISABLED)]
    if let Some(object) = queue.get().get_at_once(py) {
        let Some((object, pending)) = object else { return Ok(None) };
        return first_of(&pending, object).map(Some);
    }
    let pending =
        match queue.get().with(py, |state| if_busy(py, &state.pending).map(|it| it.cloned())) {
            Ok(None) => return Ok(None),
            Ok(Some(pending)) => pending,
            Err(_) => queue.get().pending_line(py)?,
        };
    let Some(object) = pending.get().pop_front(py)? else { return Ok(None) };
    first_of(&pending, object).map(Some)
}

/// A Deferred for the object that was the first in a line.
#[inline(always)]
fn first_of<'py>(
    line: &Bound<'py, Fifo>,
    object: Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    succeed(object.clone()).or_else(|error| {
        // There was no memory for a Deferred.
        Fifo::insert_at(line, 0, object)?;
        Err(error)
    })
}

impl DeferredQueue {
    /// Make one.
    pub(crate) fn limited<'py>(
        py: Python<'py>,
        size: Option<Bound<'py, PyAny>>,
        backlog: Option<Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, Self>> {
        let state = QueueState::new(py, size, backlog)?;
        capi::new_exact(py, || Self { state: Shared::new(state) })
    }
}
