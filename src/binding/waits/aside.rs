//! Hides asyncio's current task while a generator of ours runs.
//!
//! An asyncio task may fire a Deferred, and so resume a generator of ours. For asyncio, that task
//! is still the current one: `asyncio.timeout` or a `TaskGroup` in our generator would cancel it.
//! So there is no current task meanwhile, and functions that need one raise an error.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::binding::capi;
use crate::binding::model::names;

/// Makes the hidden task current again when dropped.
pub(crate) struct Aside<'py>(Bound<'py, PyTuple>);

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        let py = self.0.py();
        if let Some(enter) = capi::ok(py, names::ENTER_TASK.get(py)) {
            drop(capi::ok(py, enter.call1(&self.0)));
        }
    }
}

/// Hide the current task, if there is one.
#[inline(always)]
pub(crate) fn step_aside(py: Python<'_>) -> Option<Aside<'_>> {
    if may_have_a_task(py) { have_it_step_aside(py) } else { None }
}

/// Whether any task may be current. This runs each time a generator is resumed, so it is cheap if
/// no loop runs.
#[cfg(not(Py_3_14))]
#[inline(always)]
fn may_have_a_task(py: Python<'_>) -> bool {
    // The current task of each loop, in all threads.
    match names::CURRENT_TASKS.get_once_imported(py) {
        Some(tasks) => tasks.cast_exact::<pyo3::types::PyDict>().is_ok_and(|it| !it.is_empty()),
        None => false,
    }
}

/// Whether any task may be current: whether a loop runs in this thread.
#[cfg(Py_3_14)]
#[inline(always)]
fn may_have_a_task(py: Python<'_>) -> bool {
    match names::RUNNING_LOOP.get_once_imported(py) {
        Some(running) => capi::ok(py, running.call0()).is_some_and(|running| !running.is_none()),
        None => false,
    }
}

/// The current task of the loop that runs in this thread, as far as this thread can tell.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn current_task<'py>(running_loop: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = running_loop.py();
    let tasks = names::CURRENT_TASKS.get_once_imported(py)?;
    capi::ok(py, tasks.cast_exact::<pyo3::types::PyDict>().ok()?.get_item(running_loop))?
}

/// The current task of the loop that runs in this thread, as far as this thread can tell.
#[cfg(Py_3_14)]
#[inline]
pub(crate) fn current_task<'py>(running_loop: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = running_loop.py();
    let current = names::CURRENT_TASK.get_once_imported(py)?;
    capi::ok(py, current.call1((running_loop,))).filter(|task| !task.is_none())
}

/// The asyncio loop that runs in this thread, if any does.
#[inline]
pub(crate) fn running_loop(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let running = names::RUNNING_LOOP.get_once_imported(py)?;
    capi::ok(py, running.call0()).filter(|running| !running.is_none())
}

#[cold]
fn have_it_step_aside(py: Python<'_>) -> Option<Aside<'_>> {
    let left = capi::ok(py, capi::ok(py, names::LEAVE_TASK.get(py))?.call0())?;
    left.cast_into::<PyTuple>().ok().map(Aside)
}
