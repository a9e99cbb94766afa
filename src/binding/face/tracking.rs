//! For `track`, `pending` and `trace`: which Deferreds there are, and when and where they were
//! made.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use crate::binding::capi::{
    self, Recycled, code_places,
    error::Result,
    lives,
    ticks::{self, Scale},
    trace_ring, watching,
};
use crate::binding::model::deferred::Deferred;
use crate::binding::waits::{aside, nesting};

type Object<'py> = Bound<'py, PyAny>;

fn number(py: Python<'_>, number: u64) -> Result<Object<'_>> {
    capi::new_int(py, number)
}

/// Start or stop recording where and when Deferreds are made.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_track")]
pub(crate) fn track(py: Python<'_>, on: bool, own_files: Bound<'_, PyString>) {
    watching::know_greenlets(nesting::current_greenlet);
    watching::know_tasks(aside::code_of_current_task);
    code_places::know_own_files(own_files);
    watching::want(watching::TRACK, on);
    choose_pool(py);
    if !on {
        lives::forget_all(py);
    }
}

/// Use the right memory pool: see [`Recycled`].
fn choose_pool(py: Python<'_>) {
    let watching = watching::watching();
    Deferred::pool().close(py, watching);
    Deferred::pool_while_watched().close(py, !watching);
}

/// Record Deferreds that were made before.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_track_earlier")]
pub(crate) fn track_earlier(deferreds: &Bound<'_, PyList>) {
    // The list was made by Python code, and tracking may have been turned off meanwhile.
    if !watching::watching_for(watching::TRACK) {
        return;
    }
    for each in deferreds {
        if let Ok(deferred) = each.cast::<Deferred>() {
            lives::note_earlier(deferred);
        }
    }
}

/// Whether tracking is on.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_tracking")]
pub(crate) fn tracking() -> bool {
    watching::watching_for(watching::TRACK)
}

/// The time now, in nanoseconds; how many Deferreds were not recorded for lack of memory; and the
/// Deferreds, each with its number, when it was made, the number of the place, the number of the
/// run, and the number of the run's code. 0 means unknown.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_tracked")]
pub(crate) fn tracked(py: Python<'_>) -> Result<Bound<'_, PyTuple>> {
    let (lives, missed) = lives::all::<Deferred>(py)?;
    let now = lives::now(py);
    let scale = Scale::now();
    let list = capi::new_list(py)?;
    for (deferred, life) in lives {
        list.append(entry(deferred, life, &scale)?)?;
    }
    capi::new_tuple(py, [number(py, scale.rough(now))?, number(py, missed)?, list.into_any()])
}

fn entry<'py>(
    deferred: Bound<'py, Deferred>,
    life: lives::Life,
    scale: &Scale,
) -> Result<Bound<'py, PyTuple>> {
    let py = deferred.py();
    capi::new_tuple(
        py,
        [
            deferred.into_any(),
            number(py, life.number.into())?,
            number(py, scale.rough(life.made))?,
            number(py, life.place.into())?,
            number(py, life.run.into())?,
            number(py, life.run_code.into())?,
        ],
    )
}

/// The time now, and the same about one Deferred. None if it was not recorded.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_tracked_one")]
pub(crate) fn tracked_one<'py>(
    deferred: &Bound<'py, Deferred>,
) -> Result<Option<Bound<'py, PyTuple>>> {
    let py = deferred.py();
    match lives::life_of(deferred) {
        None => Ok(None),
        Some(life) => {
            let (now, scale) = (lives::now(py), Scale::now());
            let known = entry(deferred.clone(), life, &scale)?.into_any();
            Ok(Some(capi::new_tuple(py, [number(py, scale.rough(now))?, known])?))
        }
    }
}

/// The Deferred at an address, if it has this number.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_tracked_at")]
pub(crate) fn tracked_at(
    py: Python<'_>,
    address: usize,
    number: u32,
) -> Option<Bound<'_, Deferred>> {
    lives::object_at(py, address, number)
}

/// The number of a generator or coroutine as a run, or 0.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_run_of")]
pub(crate) fn run_of(generator: &Object<'_>) -> u32 {
    lives::number_of_run(generator).unwrap_or(0)
}

/// The code object of a place, and the line, or 0 for the code as a whole. None for the number 0.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_place")]
pub(crate) fn place(py: Python<'_>, number: u32) -> Option<(Object<'_>, i32)> {
    code_places::code_and_line(py, number)
}

/// Start recording events, with this capacity. Returns the number of events so far.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_trace_begin")]
pub(crate) fn trace_begin(py: Python<'_>, capacity: usize, own_files: Bound<'_, PyString>) -> u64 {
    watching::know_greenlets(nesting::current_greenlet);
    code_places::know_own_files(own_files);
    let total = trace_ring::begin(py, capacity);
    choose_pool(py);
    total
}

/// Stop recording events for one user.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_trace_end")]
pub(crate) fn trace_end(py: Python<'_>) {
    trace_ring::end(py);
    choose_pool(py);
}

/// The events after the first `total`, and how many of them were lost. Each has the time in
/// nanoseconds, its kind, the thread or greenlet, the subject, the other object, and a detail.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_trace_since")]
pub(crate) fn trace_since(py: Python<'_>, total: u64) -> Result<Bound<'_, PyTuple>> {
    let (events, lost) = trace_ring::since(py, total)?;
    let scale = Scale::now();
    let list = capi::new_list(py)?;
    for event in events {
        list.append(capi::new_tuple(
            py,
            [
                number(py, scale.nanoseconds(event.time))?,
                number(py, event.kind.into())?,
                number(py, event.strand.into())?,
                number(py, event.subject as u64)?,
                number(py, event.other as u64)?,
                number(py, event.detail.into())?,
            ],
        )?)?;
    }
    capi::new_tuple(py, [list.into_any(), number(py, lost)?])
}

/// The threads and greenlets that had events: the number of each, the thread's identifier, and the
/// greenlet's address or 0.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_trace_strands")]
pub(crate) fn trace_strands(py: Python<'_>) -> Result<Bound<'_, PyList>> {
    let list = capi::new_list(py)?;
    for (strand, (thread, greenlet)) in trace_ring::strands(py)? {
        list.append(capi::new_tuple(
            py,
            [number(py, strand.into())?, number(py, thread as u64)?, number(py, greenlet as u64)?],
        )?)?;
    }
    Ok(list)
}

/// The time now, in nanoseconds.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_now")]
pub(crate) fn now() -> u64 {
    ticks::begin();
    let now = ticks::now();
    Scale::now().nanoseconds(now)
}
