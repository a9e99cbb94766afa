//! Whether anybody wants to know which objects are alive or what happens to them, and how to find
//! the current greenlet and the current task for that.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::prelude::*;

use super::code_places::NOWHERE;
use super::ticks;

/// A set of flags: [`TRACK`] and [`TRACE`].
static WATCHED_BY: AtomicU8 = AtomicU8::new(0);

/// Somebody wants the list of living objects: see [`lives`](super::lives).
pub(crate) const TRACK: u8 = 1;

/// Somebody wants events, too: see [`trace_ring`](super::trace_ring).
pub(crate) const TRACE: u8 = 2;

/// Whether anybody wants anything.
#[inline(always)]
pub(crate) fn watching() -> bool {
    WATCHED_BY.load(Ordering::Relaxed) != 0
}

/// Whether anybody wants this.
#[inline(always)]
pub(crate) fn watching_for(what: u8) -> bool {
    WATCHED_BY.load(Ordering::Relaxed) & what != 0
}

/// Set or clear a flag. Returns whether any was set before.
pub(crate) fn want(what: u8, wanted: bool) -> bool {
    ticks::begin();
    let before = if wanted {
        WATCHED_BY.fetch_or(what, Ordering::Relaxed)
    } else {
        WATCHED_BY.fetch_and(!what, Ordering::Relaxed)
    };
    before != 0
}

/// Finds the current greenlet. (The names of other libraries are known only in rooms above.)
static CURRENT_GREENLET: OnceLock<fn(Python<'_>) -> Option<usize>> = OnceLock::new();

/// Set the function that finds the current greenlet.
pub(crate) fn know_greenlets(current: fn(Python<'_>) -> Option<usize>) {
    let _ = CURRENT_GREENLET.set(current);
}

pub(super) fn current_greenlet(py: Python<'_>) -> usize {
    CURRENT_GREENLET.get().and_then(|current| current(py)).unwrap_or(0)
}

/// A function that finds the code of asyncio's current task.
static CURRENT_TASK: OnceLock<fn(Python<'_>) -> u32> = OnceLock::new();

/// Set the function that finds the place of the code of asyncio's current task.
pub(crate) fn know_tasks(code_of_current: fn(Python<'_>) -> u32) {
    let _ = CURRENT_TASK.set(code_of_current);
}

pub(super) fn code_of_current_task(py: Python<'_>) -> u32 {
    CURRENT_TASK.get().map_or(NOWHERE, |code_of| code_of(py))
}
