//! The object that runs a generator or a coroutine.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::binding::capi::{Held, Pool, Pooled, Recycled, cell::Shared, error::Result, new_exact};
use crate::binding::model::{deferred::Deferred, outcome::Outcome, traverse::Traverse};

/// A generator or coroutine that is being run.
///
/// It is a waiter in the chain of the Deferred that it waits for, and the canceller of the Deferred
/// that it will fire.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_Task", module = "deferrous", frozen)]
pub(crate) struct Task {
    pub(crate) state: Shared<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// None after it has ended.
    pub(crate) generator: Option<Held<PyAny>>,
    /// The context that it runs in.
    pub(crate) context: Option<Held<PyAny>>,
    /// The Deferred to fire at the end. None only in a task that is being cleared.
    pub(crate) deferred: Option<Held<Deferred>>,
    /// The Deferred that it waits for, or waited for last.
    pub(crate) waiting_on: Option<Held<Deferred>>,
    /// Whether the Deferred that it has yielded is being run at this moment.
    pub(crate) runs_inline: bool,
    /// The outcome that this run has delivered, if any.
    pub(crate) inline_result: Option<Outcome>,
    /// Whether to cancel the Deferred that it waits for next.
    pub(crate) cancel_next: bool,
    /// Whether the Deferred has been fired to be cancelled, and is to be replaced by a new one.
    #[cfg(Py_GIL_DISABLED)]
    pub(crate) is_cancelled: bool,
    /// The outcome, if the generator has ended before the new one is there.
    #[cfg(Py_GIL_DISABLED)]
    pub(crate) ended: Option<Outcome>,
    /// The blocks of `deferrous.concurrency` that it is in and that have cancelled it, as a tuple.
    pub(crate) cancelled_by: Option<Held<PyAny>>,
}

impl State {
    /// Whether freeing it drops no other object: it has ended, and its Deferreds have other owners.
    pub(crate) fn is_light(&self, py: Python<'_>) -> bool {
        let (Some(deferred), Some(waiting_on)) = (&self.deferred, &self.waiting_on) else {
            return false;
        };
        self.generator.is_none()
            && self.context.is_none()
            && self.inline_result.is_none()
            && self.cancelled_by.is_none()
            && deferred.as_ptr() != waiting_on.as_ptr()
            && deferred.is_shared(py)
            && waiting_on.is_shared(py)
    }

    pub(crate) fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.generator.traverse(visit)?;
        self.context.traverse(visit)?;
        self.deferred.traverse(visit)?;
        self.waiting_on.traverse(visit)?;
        self.cancelled_by.traverse(visit)?;
        #[cfg(Py_GIL_DISABLED)]
        if let Some(ended) = &self.ended {
            ended.traverse(visit)?;
        }
        self.inline_result.as_ref().map_or(Ok(()), |result| result.traverse(visit))
    }
}

/// Whether `cancel_next` of any task has ever been set. Until then there is no need to read it.
static ANY_CANCEL_NEXT: AtomicBool = AtomicBool::new(false);

impl Task {
    /// Whether what it waits for next is to be cancelled.
    #[inline(always)]
    pub(crate) fn is_to_cancel_next(&self, py: Python<'_>) -> bool {
        ANY_CANCEL_NEXT.load(Ordering::Relaxed) && self.with(py, |state| state.cancel_next)
    }

    /// Say whether what it waits for next is to be cancelled. Returns what was said before.
    pub(crate) fn set_cancel_next(&self, py: Python<'_>, cancel: bool) -> bool {
        ANY_CANCEL_NEXT.fetch_or(cancel, Ordering::Relaxed);
        self.with(py, |state| std::mem::replace(&mut state.cancel_next, cancel))
    }

    /// The generator or coroutine. None when it has ended.
    pub(crate) fn generator<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.with(py, |state| state.generator.as_ref().map(|it| it.bind(py).clone()))
    }

    pub(crate) fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, transition)
    }
}

impl Recycled for Task {
    type State = State;

    #[inline(always)]
    fn state(&self) -> &Shared<State> {
        &self.state
    }

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Task> = Pool::new(Pooled::Task);
        &POOL
    }

    fn dies_quietly(_state: &State) -> bool {
        true
    }

    fn is_light(state: &State, py: Python<'_>) -> bool {
        state.is_light(py)
    }

    fn dispose_of_light(state: &mut State, _py: Python<'_>) {
        drop(std::mem::take(state));
    }

    fn dispose(&self, py: Python<'_>) {
        drop(self.with(py, std::mem::take));
    }
}

/// A task as a callback, for subclasses of Deferred that override `addBoth`.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    name = "_TaskCallback",
    module = "deferrous",
    frozen
)]
pub(crate) struct TaskCallback {
    pub(crate) task: Held<Task>,
}

/// Make one.
#[inline(always)]
pub(crate) fn new_task<'py>(
    py: Python<'py>,
    state: impl FnOnce() -> State,
) -> Result<Bound<'py, Task>> {
    new_exact(py, || Task { state: Shared::new(state()) })
}
