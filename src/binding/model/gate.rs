//! A gate: one thread at a time is behind it. For builds of the interpreter that can do without the GIL.
//!
//! Several native steps that are taken behind a gate look like one to all that enter it, too.
//!
//! No Python code runs behind a gate: no method, no callback, no finalizer; and no collection, which
//! begins only between two instructions of Python code. So a thread behind a gate never waits for one
//! that waits for the gate, and there is no deadlock. It may have to wait for a lock of the interpreter's
//! own, such as a dict's. Then it detaches, and can be stopped there, unlike within the transition of a
//! [`Shared`](super::super::capi::cell::Shared). The collector needs no gate. But if another thread forks
//! meanwhile, the gate is shut in the child, and nobody there will open it. So a gate has the number of
//! the process that it was shut in.

use std::hint;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use pyo3::prelude::*;

/// The number of this process, counted in forks.
static PROCESS: AtomicU32 = AtomicU32::new(1);

/// So often a thread looks again before it lets another have the processor.
const SPINS: u32 = 32;

/// Say that this process has been forked from another.
pub(crate) fn is_forked() {
    PROCESS.fetch_add(1, Ordering::Relaxed);
}

/// Something that one thread at a time has. Those that a fork has left behind have it no more.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Taken(u32);

impl Taken {
    /// By a thread of this process.
    pub(crate) fn now() -> Self {
        Self(PROCESS.load(Ordering::Relaxed))
    }

    /// By a thread of this process, or by none.
    pub(crate) fn if_so(is_taken: bool) -> Self {
        if is_taken { Self::now() } else { Self::default() }
    }

    /// Whether some thread of this process has it.
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

/// A thread is behind a gate until this is dropped.
pub(crate) struct Behind<'a>(&'a Gate);

impl Gate {
    /// Wait until no other thread is behind it, and enter. Not to be called by one that is.
    pub(crate) fn enter(&self, py: Python<'_>) -> Behind<'_> {
        let Taken(this) = Taken::now();
        let mut spins = 0;
        let mut open = 0;
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        while let Err(by) = self.0.compare_exchange_weak(open, this, success, failure) {
            // It may have been shut before this process was there.
            open = if by == this { 0 } else { by };
            if by != this {
                continue;
            }
            if spins < SPINS {
                spins += 1;
                hint::spin_loop();
            } else {
                // Who is behind it may need the interpreter, and a collection all threads.
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
