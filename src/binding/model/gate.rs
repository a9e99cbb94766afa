//! A gate: a lock for several steps on one object, held by one thread at a time. Only on free-threaded
//! builds.
//!
//! To all threads that enter a gate, the steps of another thread behind it look like a single one.
//!
//! No Python code runs behind a gate: no method, no callback, no finalizer, and no garbage
//! collection, which begins only between two instructions of Python code. So a thread behind a gate
//! never waits for one that waits for the gate, and there is no deadlock. It may have to wait for
//! one of the interpreter's own locks, such as a dict's. Then it detaches and can be stopped there,
//! unlike within the transition of a [`Shared`](super::super::capi::cell::Shared). The collector
//! needs no gate. But if another thread forks meanwhile, the gate is shut in the child, and no
//! thread there will open it. So a gate records in which process it was shut.

use std::hint;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use pyo3::prelude::*;

/// The number of this process: one more than that of the process it was forked from.
static PROCESS: AtomicU32 = AtomicU32::new(1);

/// How often a thread looks again before it yields the processor.
const SPINS: u32 = 32;

/// Note that this process was forked.
pub(crate) fn is_forked() {
    PROCESS.fetch_add(1, Ordering::Relaxed);
}

/// Whether some thread holds something. A thread that only exists in the parent process does not
/// count.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Taken(u32);

impl Taken {
    /// Held by a thread of this process.
    pub(crate) fn now() -> Self {
        Self(PROCESS.load(Ordering::Relaxed))
    }

    /// Held by a thread of this process, or by none.
    pub(crate) fn if_so(is_taken: bool) -> Self {
        if is_taken { Self::now() } else { Self::default() }
    }

    /// Whether a thread of this process holds it.
    pub(crate) fn is_taken(self) -> bool {
        self == Self::now()
    }
}

#[cfg(debug_assertions)]
thread_local! {
    /// How many gates this thread is behind, for the proof that no Python code runs there.
    static BEHIND: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Whether this thread is behind a gate.
#[cfg(debug_assertions)]
pub(crate) fn is_behind() -> bool {
    BEHIND.get() > 0
}

#[derive(Default)]
pub(crate) struct Gate(AtomicU32);

/// Keeps this thread behind a gate while it lives.
pub(crate) struct Behind<'a>(&'a Gate);

impl Gate {
    /// Wait until no other thread is behind the gate, and enter. A thread must not do this while it
    /// is behind the gate already.
    pub(crate) fn enter(&self, py: Python<'_>) -> Behind<'_> {
        let Taken(this) = Taken::now();
        let mut spins = 0;
        let mut open = 0;
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        while let Err(by) = self.0.compare_exchange_weak(open, this, success, failure) {
            // It may have been shut in the process that this one was forked from.
            open = if by == this { 0 } else { by };
            if by != this {
                continue;
            }
            if spins < SPINS {
                spins += 1;
                hint::spin_loop();
            } else {
                // The thread behind the gate may need the interpreter, and a collection needs all
                // threads.
                py.detach(thread::yield_now);
            }
        }
        #[cfg(debug_assertions)]
        BEHIND.set(BEHIND.get() + 1);
        Behind(self)
    }
}

impl Drop for Behind<'_> {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        BEHIND.set(BEHIND.get() - 1);
        self.0.0.store(0, Ordering::Release);
    }
}
