//! A lock of one byte, for builds of the interpreter that can run without the GIL.
//!
//! It is held during a transition: a few dozen instructions that run no Python code, free no Python
//! object and call nothing that can detach the thread. So a thread that waits for it waits for one
//! that is running, or that the system will run again soon. It stays attached, because the holder
//! never needs the waiter:
//!
//! * A collection stops all threads where they run Python code or detach. A holder does neither
//!   before it releases the lock. So the collector never sees a half-done transition, and never waits
//!   for a thread that waits for a stopped one.
//! * The same is true of `fork`, which stops them in the same way: no lock is held in the child.
//!
//! `PyMutex` would be as small. But a thread that waits for it detaches, and if this is its second
//! lock, it could be stopped within a transition.
//!
//! A transition that needs two objects takes the locks from the outside in: a lock, semaphore or
//! queue, then its line, then a Deferred. No transition holds the locks of two Deferreds.

#[cfg(loom)]
use loom::{
    hint,
    sync::atomic::{AtomicU8, Ordering},
    thread,
};
#[cfg(not(loom))]
use std::{
    hint,
    sync::atomic::{AtomicU8, Ordering},
    thread,
};

/// The lock.
pub(super) struct ByteLock(AtomicU8);

const FREE: u8 = 0;
const HELD: u8 = 1;

/// How often a thread looks again before it yields the processor. Loom tries each time.
const SPINS: u32 = if cfg!(loom) { 0 } else { 64 };

impl ByteLock {
    /// An unlocked lock.
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self(AtomicU8::new(FREE))
    }

    /// The same, for `tests/core_loom.rs`.
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(FREE))
    }

    /// Wait for the lock, and hold it.
    #[inline(always)]
    pub(super) fn acquire(&self) -> Locked<'_> {
        if self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait();
        }
        #[cfg(all(debug_assertions, not(loom)))]
        held::begin(self);
        Locked(self)
    }

    #[cold]
    fn wait(&self) {
        #[cfg(all(debug_assertions, not(loom)))]
        held::check(self);
        let mut spins = 0;
        loop {
            while self.0.load(Ordering::Relaxed) != FREE {
                if spins < SPINS {
                    spins += 1;
                    hint::spin_loop();
                } else {
                    thread::yield_now();
                }
            }
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            if self.0.compare_exchange_weak(FREE, HELD, success, failure).is_ok() {
                return;
            }
        }
    }
}

/// Holds the lock. Dropping it releases the lock, even when a transition panics.
pub(super) struct Locked<'a>(&'a ByteLock);

impl Drop for Locked<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(all(debug_assertions, not(loom)))]
        held::end(self.0);
        self.0.0.store(FREE, Ordering::Release);
    }
}

/// The locks that a thread holds, to detect a transition that ran Python code and would wait for
/// itself.
#[cfg(all(debug_assertions, not(loom)))]
mod held {
    use std::cell::Cell;
    use std::ptr;

    use super::ByteLock;

    const MOST: usize = 4;

    thread_local! {
        static HELD: Cell<[*const ByteLock; MOST]> = const { Cell::new([ptr::null(); MOST]) };
    }

    pub(super) fn check(lock: &ByteLock) {
        assert!(!HELD.get().contains(&ptr::from_ref(lock)), "a transition ran Python code");
    }

    pub(super) fn begin(lock: &ByteLock) {
        let mut all = HELD.get();
        let place = all.iter_mut().find(|it| it.is_null()).expect("few locks are held at once");
        *place = lock;
        HELD.set(all);
    }

    pub(super) fn end(lock: &ByteLock) {
        let all = HELD.get().map(|it| if ptr::eq(it, lock) { ptr::null() } else { it });
        HELD.set(all);
    }
}
