//! Tasks that are requested while their generators run for the first time.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::binding::capi::{
    Held, Hold,
    cell::each_thread,
    error::{Raise, Result},
};
use crate::binding::model::{
    deferred::Deferred,
    outcome::Chain,
    task::{State, Task},
};
use crate::binding::waits::{driving::all_driven, firing::make, task::new_task_for};
use crate::core::refusable;

each_thread! {
    /// The requested tasks, of all threads, or of each. Usually there are none; [`ANY_EARLY`] makes
    /// that cheap to check.
    static EARLY: EachThread<Vec<Held<Task>>> = Vec::new();
}

/// Whether there may be any, in any thread.
static ANY_EARLY: AtomicBool = AtomicBool::new(false);

/// Return the task of a running generator and the Deferred that it will fire. A generator that has
/// not waited yet gets a new task. None if the generator is not running.
pub(crate) fn task_of_driven<'py>(
    generator: &Bound<'py, PyAny>,
) -> Result<Option<(Bound<'py, Task>, Bound<'py, Deferred>)>> {
    let py = generator.py();
    for driven in all_driven(py)?.into_iter().rev() {
        if let Ok(task) = driven.cast::<Task>() {
            let found = task.get().with(py, |state| {
                let it = state.generator.as_ref()?;
                if it.as_ptr() != generator.as_ptr() {
                    return None;
                }
                Some(state.deferred.as_ref()?.bind(py).clone())
            });
            if let Some(deferred) = found {
                return Ok(Some((task.clone(), deferred)));
            }
        } else if driven.is(generator) {
            return early_task(generator).map(Some);
        }
    }
    Ok(None)
}

/// Find or make the task of a generator that runs for the first time.
pub(crate) fn early_task<'py>(
    generator: &Bound<'py, PyAny>,
) -> Result<(Bound<'py, Task>, Bound<'py, Deferred>)> {
    let py = generator.py();
    if let Some(task) = early(generator, |all, place| all[place].bind(py).clone()) {
        let deferred =
            task.get().with(py, |state| state.deferred.as_ref().map(|it| it.clone_ref(py)));
        if let Some(deferred) = deferred {
            return Ok((task, deferred.into_bound(py)));
        }
    }
    let deferred = make(py, Chain::default)?;
    let task = new_task_for(generator.clone(), None, &deferred)?;
    let held = task.clone().hold();
    let added = EARLY.with(py, |all| {
        if refusable(|| all.try_reserve(1)).is_err() {
            return Err(held);
        }
        all.push(held);
        ANY_EARLY.store(true, Ordering::Relaxed);
        Ok(())
    });
    match added {
        Ok(()) => Ok((task, deferred)),
        Err(_unused) => Err(PyMemoryError::bare_error(py)),
    }
}

/// Call a function with the index of a generator's task in [`EARLY`], if it is there.
fn early<R>(
    generator: &Bound<'_, PyAny>,
    then: impl FnOnce(&mut Vec<Held<Task>>, usize) -> R,
) -> Option<R> {
    let py = generator.py();
    EARLY.with(py, |all| {
        let is_it = |task: &Held<Task>| {
            let generator_of = |state: &mut State| state.generator.as_ref().map(Held::as_ptr);
            task.bind(py).get().with(py, generator_of) == Some(generator.as_ptr())
        };
        let place = all.iter().rposition(is_it)?;
        Some(then(all, place))
    })
}

/// Take the task that was requested while a generator ran for the first time, if any, and set its
/// context. Returns its Deferred, too.
#[inline(always)]
pub(crate) fn take<'py>(
    generator: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
) -> Option<(Bound<'py, Task>, Bound<'py, Deferred>)> {
    if ANY_EARLY.load(Ordering::Relaxed) { take_early(generator, context) } else { None }
}

#[cold]
fn take_early<'py>(
    generator: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
) -> Option<(Bound<'py, Task>, Bound<'py, Deferred>)> {
    let py = generator.py();
    let task = early(generator, |all, place| {
        let task = all.remove(place);
        // Without the GIL, other threads may have some.
        if cfg!(not(Py_GIL_DISABLED)) {
            ANY_EARLY.store(!all.is_empty(), Ordering::Relaxed);
        }
        task
    })?;
    let task = task.into_bound(py);
    let context = context.clone().hold();
    let deferred = task.get().with(py, |state| {
        state.context = Some(context);
        state.deferred.as_ref().map(|it| it.bind(py).clone())
    })?;
    Some((task, deferred))
}
