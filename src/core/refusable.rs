//! Marks allocations that can fail without aborting the process.

use std::cell::Cell;

thread_local! {
    static ASKS: Cell<bool> = const { Cell::new(false) };
}

/// Allocate memory through a call that can report failure, such as `Vec::try_reserve`.
///
/// The allocator of the extension module treats all other allocations as ones that must not fail,
/// and keeps some memory in reserve for them.
#[inline]
pub fn refusable<R>(ask: impl FnOnce() -> R) -> R {
    ASKS.set(true);
    let answer = ask();
    ASKS.set(false);
    answer
}

/// Whether the current allocation on this thread may fail.
#[cfg(feature = "python")]
pub(crate) fn is_refusable() -> bool {
    ASKS.get()
}
