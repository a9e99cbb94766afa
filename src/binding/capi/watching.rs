//! Whether anybody wants to know which objects are alive, or what happens to them; and which
//! greenlet runs, for those who do.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::prelude::*;

use super::ticks;

/// What is wanted: see [`TRACK`] and [`TRACE`].
static WATCHED_BY: AtomicU8 = AtomicU8::new(0);

/// A list of what is alive is wanted: see [`lives`](super::lives).
pub(crate) const TRACK: u8 = 1;

/// What happens to them is wanted, too: see [`events`](super::events).
pub(crate) const TRACE: u8 = 2;

/// Whether anything is wanted.
#[inline(always)]
pub(crate) fn watching() -> bool {
    WATCHED_BY.load(Ordering::Relaxed) != 0
}

/// Whether this is wanted.
#[inline(always)]
pub(crate) fn watching_for(what: u8) -> bool {
    WATCHED_BY.load(Ordering::Relaxed) & what != 0
}

/// Say whether something is wanted. Returns whether anything was wanted before.
pub(crate) fn want(what: u8, wanted: bool) -> bool {
    ticks::begin();
    let before = if wanted {
        WATCHED_BY.fetch_or(what, Ordering::Relaxed)
    } else {
        WATCHED_BY.fetch_and(!what, Ordering::Relaxed)
    };
    before != 0
}

/// How to find out which greenlet runs. (Room for names of others is further up.)
static CURRENT_GREENLET: OnceLock<fn(Python<'_>) -> Option<usize>> = OnceLock::new();

/// Say how to find out which greenlet runs.
pub(crate) fn know_greenlets(current: fn(Python<'_>) -> Option<usize>) {
    let _ = CURRENT_GREENLET.set(current);
}

pub(super) fn current_greenlet(py: Python<'_>) -> usize {
    CURRENT_GREENLET.get().and_then(|current| current(py)).unwrap_or(0)
}
