//! Which event loops have been told that there is work for them, and have not begun with it yet.

use pyo3::prelude::*;

use super::cell::Shared;
use super::error::Result;
use super::making::no_memory;
use crate::core::refusable;

struct Told {
    /// The number of the last one that was told.
    last: u64,
    /// The number and the address of each: what it was told holds it.
    all: Vec<(u64, usize)>,
}

static TOLD: Shared<Told> = Shared::new(Told { last: 0, all: Vec::new() });

/// Note that a loop is being told. Returns the number of that; none if it has been told already.
///
/// # Errors
///
/// `MemoryError`
pub(super) fn note(runner: &Bound<'_, PyAny>) -> Result<Option<u64>> {
    let address = runner.as_ptr() as usize;
    let noted = TOLD.with(runner.py(), |told| {
        if told.all.iter().any(|each| each.1 == address) {
            return Ok(None);
        }
        refusable(|| told.all.try_reserve(1)).map_err(drop)?;
        told.last += 1;
        told.all.push((told.last, address));
        Ok(Some(told.last))
    });
    noted.map_err(|()| no_memory(runner.py()))
}

/// The loop that was told with this number begins, or never will. False if it has already.
pub(super) fn forget(py: Python<'_>, number: u64) -> bool {
    TOLD.with(py, |told| {
        let before = told.all.len();
        told.all.retain(|each| each.0 != number);
        told.all.len() < before
    })
}
