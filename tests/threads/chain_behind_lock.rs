//! A chain behind the lock that the binding has for it where there is no GIL.

#[cfg(not(loom))]
use std::cell::UnsafeCell;

use deferrous::core::Chain;
#[cfg(loom)]
use loom::cell::UnsafeCell;

use crate::byte_lock::ByteLock;
use crate::threads::{CURRENT, Guarded, Log, Threaded};

/// As the binding's `Shared`.
pub struct ChainBehindLock {
    lock: ByteLock,
    chain: UnsafeCell<(Chain<Threaded>, Log)>,
}

impl Default for ChainBehindLock {
    fn default() -> Self {
        Self { lock: ByteLock::new(), chain: UnsafeCell::new(Default::default()) }
    }
}

impl ChainBehindLock {
    #[cfg(loom)]
    fn within<R>(&self, look: impl FnOnce(*mut (Chain<Threaded>, Log)) -> R) -> R {
        self.chain.with_mut(look)
    }

    #[cfg(not(loom))]
    fn within<R>(&self, look: impl FnOnce(*mut (Chain<Threaded>, Log)) -> R) -> R {
        look(self.chain.get())
    }
}

impl Guarded for ChainBehindLock {
    fn with<R>(&self, transition: impl FnOnce(&mut Chain<Threaded>, &mut Log) -> R) -> R {
        let here = CURRENT.get();
        let _locked = self.lock.acquire();
        // Loom's threads are all on one of the system's.
        CURRENT.set(here);
        self.within(|it| {
            // SAFETY: the lock is held, so no other thread is in here. Loom panics if one is.
            let (chain, log) = unsafe { &mut *it };
            transition(chain, log)
        })
    }
}

// SAFETY: the chain is reached only by who has the lock. What is in it are numbers.
unsafe impl Sync for ChainBehindLock {}
// SAFETY: as above.
unsafe impl Send for ChainBehindLock {}
