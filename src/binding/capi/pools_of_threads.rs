//! The memory that [`pools`](super::pools) keep, for builds without the GIL: each thread has its own.
//!
//! A thread that ends is not attached any more, so it cannot free what it has kept. It leaves that to
//! the next thread that finds nothing in its own pool.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi::PyObject;

use crate::core::refusable;

/// How many pools there are: one for each of [`Pooled`](super::pools::Pooled).
const POOLS: usize = 7;

/// How many pieces of memory each thread keeps in each pool. None in debug builds, as with the GIL.
const KEPT: usize = if cfg!(debug_assertions) { 0 } else { 64 };

/// The pieces of one pool, in one thread.
struct Kept {
    count: Cell<usize>,
    places: [Cell<*mut PyObject>; KEPT],
}

/// All of a thread.
struct Here {
    pools: [Kept; POOLS],
    /// Whether the thread will [leave] to others what it keeps.
    is_open: Cell<bool>,
}

thread_local! {
    static HERE: Here = const {
        Here {
            pools: [const {
                Kept { count: Cell::new(0), places: [const { Cell::new(ptr::null_mut()) }; KEPT] }
            }; POOLS],
            is_open: Cell::new(false),
        }
    };
}

/// Take a piece out of a pool.
#[inline(always)]
pub(super) fn take(pool: usize) -> Option<NonNull<PyObject>> {
    HERE.with(|here| {
        let kept = &here.pools[pool];
        match kept.count.get().checked_sub(1) {
            Some(count) => {
                kept.count.set(count);
                NonNull::new(kept.places[count].get())
            }
            None => take_left(pool),
        }
    })
}

/// Keep a piece in a pool. False if that is full, or not [open].
#[inline(always)]
pub(super) fn keep(pool: usize, piece: NonNull<PyObject>) -> bool {
    HERE.with(|here| {
        if !here.is_open.get() {
            return false;
        }
        let kept = &here.pools[pool];
        let count = kept.count.get();
        let Some(place) = kept.places.get(count) else { return false };
        place.set(piece.as_ptr());
        kept.count.set(count + 1);
        true
    })
}

/// Let this thread keep memory: it is told when it ends.
pub(super) fn open() {
    HERE.with(|here| here.is_open.set(true));
}

/// The addresses of what threads have left that have ended.
static LEFT: [Mutex<Vec<usize>>; POOLS] = [const { Mutex::new(Vec::new()) }; POOLS];

/// How many these are, in all pools.
static LEFT_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Take a piece that a thread has left.
#[cold]
fn take_left(pool: usize) -> Option<NonNull<PyObject>> {
    if LEFT_COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    // It is not waited for: in a child process, who has it may not be there.
    let address = LEFT[pool].try_lock().ok()?.pop()?;
    LEFT_COUNT.fetch_sub(1, Ordering::Relaxed);
    NonNull::new(ptr::with_exposed_provenance_mut(address))
}

/// Leave all that this thread has kept to others, as it ends. What there is no room for is lost.
pub(super) fn leave() {
    HERE.with(|here| {
        here.is_open.set(false);
        for (kept, left) in here.pools.iter().zip(&LEFT) {
            let count = kept.count.replace(0);
            let Ok(mut left) = left.try_lock() else { continue };
            if refusable(|| left.try_reserve(count)).is_ok() {
                let pieces = kept.places.iter().take(count);
                left.extend(pieces.map(|piece| piece.get().expose_provenance()));
                LEFT_COUNT.fetch_add(count, Ordering::Relaxed);
            }
        }
    });
}
