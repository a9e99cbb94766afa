//! Which Deferreds there are, since when, and where each was made: for `track` and `pending`.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use crate::binding::capi::{self, Recycled, error::Result, lives, places};
use crate::binding::model::deferred::Deferred;
use crate::binding::waits::nesting;

type Object<'py> = Bound<'py, PyAny>;

fn number(py: Python<'_>, number: u64) -> Result<Object<'_>> {
    capi::new_int(py, number)
}

/// Note where and when Deferreds are made, from now on, or no longer.
#[pyfunction]
#[pyo3(name = "_track")]
pub(crate) fn track(py: Python<'_>, on: bool, own_files: Bound<'_, PyString>) {
    lives::know_greenlets(nesting::current_greenlet);
    places::know_own_files(own_files);
    lives::want(lives::TRACK, on);
    <Deferred as Recycled>::pool().close(py, lives::watching());
    if !on {
        lives::forget_all(py);
    }
}

/// Note those that have been there before.
#[pyfunction]
#[pyo3(name = "_track_earlier")]
pub(crate) fn track_earlier(deferreds: &Bound<'_, PyList>) {
    for each in deferreds {
        if let Ok(deferred) = each.cast::<Deferred>() {
            lives::note_earlier(deferred);
        }
    }
}

/// Whether it is noted where Deferreds are made.
#[pyfunction]
#[pyo3(name = "_tracking")]
pub(crate) fn tracking() -> bool {
    lives::watching_for(lives::TRACK)
}

/// The time now, in nanoseconds, and how many Deferreds are not known for want of memory, and the
/// Deferreds, each with its number, when it was made, the number of the place where, the number of
/// what ran then, and the number of that one's code. What is not known is 0.
#[pyfunction]
#[pyo3(name = "_tracked")]
pub(crate) fn tracked(py: Python<'_>) -> Result<Bound<'_, PyTuple>> {
    let (lives, missed) = lives::all::<Deferred>(py)?;
    let now = lives::now();
    let list = capi::new_list(py)?;
    for (deferred, life) in lives {
        list.append(entry(deferred, life)?)?;
    }
    capi::new_tuple(py, [number(py, now)?, number(py, missed)?, list.into_any()])
}

fn entry<'py>(deferred: Bound<'py, Deferred>, life: lives::Life) -> Result<Bound<'py, PyTuple>> {
    let py = deferred.py();
    capi::new_tuple(
        py,
        [
            deferred.into_any(),
            number(py, life.number.into())?,
            number(py, life.made)?,
            number(py, life.place.into())?,
            number(py, life.run.into())?,
            number(py, life.run_code.into())?,
        ],
    )
}

/// The time now, and the same of one Deferred. None if nothing is known of it.
#[pyfunction]
#[pyo3(name = "_tracked_one")]
pub(crate) fn tracked_one<'py>(
    deferred: &Bound<'py, Deferred>,
) -> Result<Option<Bound<'py, PyTuple>>> {
    let py = deferred.py();
    match lives::life_of(deferred) {
        None => Ok(None),
        Some(life) => {
            let known = entry(deferred.clone(), life)?.into_any();
            Ok(Some(capi::new_tuple(py, [number(py, lives::now())?, known])?))
        }
    }
}

/// The Deferred that is at an address, if it has this number.
#[pyfunction]
#[pyo3(name = "_tracked_at")]
pub(crate) fn tracked_at(
    py: Python<'_>,
    address: usize,
    number: u32,
) -> Option<Bound<'_, Deferred>> {
    lives::object_at(py, address, number)
}

/// The number that a generator or coroutine has as what runs. 0 if it is not known.
#[pyfunction]
#[pyo3(name = "_run_of")]
pub(crate) fn run_of(generator: &Object<'_>) -> u32 {
    lives::number_of_run(generator).unwrap_or(0)
}

/// The code object of a place, and the line, or 0 for the code as such. None for the number 0.
#[pyfunction]
#[pyo3(name = "_place")]
pub(crate) fn place(py: Python<'_>, number: u32) -> Option<(Object<'_>, i32)> {
    places::code_and_line(py, number)
}
