//! Hides asyncio's current task while a generator of ours runs, and finds its code for `track`.
//!
//! An asyncio task may fire a Deferred, and so resume a generator of ours. For asyncio, that task
//! is still the current one: `asyncio.timeout` or a `TaskGroup` in our generator would cancel it.
//! So there is no current task meanwhile, and functions that need one raise an error.

use pyo3::prelude::*;
#[cfg(any(Py_3_14, Py_GIL_DISABLED))]
use pyo3::types::PyWeakrefMethods;
#[cfg(not(any(Py_3_14, Py_GIL_DISABLED)))]
use pyo3::types::{PyDict, PyInt};
use pyo3::types::{PyTuple, PyWeakrefReference};

use crate::binding::capi::{
    self, Held, Hold, cell::Shared, code_places, interned::intern, lives, with_error_saved,
};
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
    capi::ok(py, capi::call_one(current, running_loop)).filter(|task| !task.is_none())
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

/// The current task that was found last, in any thread.
struct Found {
    #[cfg(not(any(Py_3_14, Py_GIL_DISABLED)))]
    thread: usize,
    /// A weak reference: the task is not kept alive, and its address may be reused.
    task: Held<PyWeakrefReference>,
    /// The place of its code.
    code: u32,
}

static FOUND: Shared<Option<Found>> = Shared::new(None);

/// The place of the code of asyncio's current task. While tracking is on, this runs for each new
/// Deferred. So it is quick if there is no task, and if the task is the same as the last time in
/// this thread.
///
/// If the loop has moved to another thread since, in the middle of that task, and runs it right now,
/// this still finds the task.
#[cfg(not(any(Py_3_14, Py_GIL_DISABLED)))]
#[inline]
pub(crate) fn code_of_current_task(py: Python<'_>) -> u32 {
    let tasks = names::CURRENT_TASKS.get_once_imported(py);
    let Some(Ok(tasks)) = tasks.map(|tasks| tasks.cast_exact::<PyDict>()) else {
        return code_places::NOWHERE;
    };
    // There is one for each loop that is running a task.
    let (mut place, mut task, mut any) = (0, 0, false);
    while capi::next_value(py, tasks, &mut place, &mut task) {
        any = true;
        if let Some(code) = code_found(py, task) {
            return code;
        }
    }
    if any { with_error_saved(py, || code_of_task(py)) } else { None }
        .unwrap_or(code_places::NOWHERE)
}

/// The place of the code of the task at an address, if that is the one that was found last.
#[cfg(not(any(Py_3_14, Py_GIL_DISABLED)))]
#[inline]
fn code_found(py: Python<'_>, task: usize) -> Option<u32> {
    FOUND.with(py, |found| {
        let found = found.as_ref()?;
        let is_it = capi::referent(py, found.task.bind(py)) == task
            && found.thread == capi::this_thread(py);
        is_it.then_some(found.code)
    })
}

/// The place of the code of asyncio's current task. Here it is quick to ask asyncio for the task.
#[cfg(any(Py_3_14, Py_GIL_DISABLED))]
pub(crate) fn code_of_current_task(py: Python<'_>) -> u32 {
    if !may_have_a_task(py) {
        return code_places::NOWHERE;
    }
    with_error_saved(py, || code_of_task(py)).unwrap_or(code_places::NOWHERE)
}

/// Find the current task and the place of its code, and remember both.
fn code_of_task(py: Python<'_>) -> Option<u32> {
    let task = task_of_this_thread(py)?;
    #[cfg(any(Py_3_14, Py_GIL_DISABLED))]
    if let Some((before, code)) = FOUND.with(py, |found| {
        let found = found.as_ref()?;
        Some((found.task.clone_ref(py), found.code))
    }) && before.bind(py).upgrade().is_some_and(|before| before.is(&task))
    {
        return Some(code);
    }
    let coroutine = capi::attribute_of(&task, intern!(py, "_coro"))?;
    let code =
        lives::code_of(&coroutine).map_or(code_places::NOWHERE, |code| code_places::of_code(&code));
    let found = Found {
        #[cfg(not(any(Py_3_14, Py_GIL_DISABLED)))]
        thread: capi::this_thread(py),
        task: capi::ok(py, capi::new_weak_reference(py, &task))?.hold(),
        code,
    };
    let before = FOUND.with(py, |last| last.replace(found));
    drop(before);
    Some(code)
}

/// The current task of this thread.
#[cfg(any(Py_3_14, Py_GIL_DISABLED))]
fn task_of_this_thread(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    current_task(&running_loop(py)?)
}

/// The current task of this thread. asyncio's own loops know their thread. To ask for the running
/// loop takes much longer up to CPython 3.11, as that asks the system for the process each time.
#[cfg(not(any(Py_3_14, Py_GIL_DISABLED)))]
fn task_of_this_thread(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let tasks = names::CURRENT_TASKS.get_once_imported(py)?.cast_exact::<PyDict>().ok()?;
    let mut all_known = true;
    for (running, task) in tasks {
        match capi::attribute_of(&running, intern!(py, "_thread_id")) {
            Some(thread) if thread.is_exact_instance_of::<PyInt>() => {
                if thread.extract().is_ok_and(|thread: usize| thread == capi::this_thread(py)) {
                    return Some(task);
                }
            }
            _ => all_known = false,
        }
    }
    if all_known { None } else { current_task(&running_loop(py)?) }
}
