//! Who asks for memory can be told that there is none, or cannot.

use std::cell::Cell;

thread_local! {
    static ASKS: Cell<bool> = const { Cell::new(false) };
}

/// Ask for memory by a call to which "there is none" is an answer, such as `Vec::try_reserve`.
///
/// What does not come through here is taken by the allocator of the extension module for something
/// that knows no such answer. For that it keeps a little in reserve.
#[inline]
pub fn refusable<R>(ask: impl FnOnce() -> R) -> R {
    ASKS.set(true);
    let answer = ask();
    ASKS.set(false);
    answer
}

/// Whether what asks for memory on this thread can be refused.
#[cfg(feature = "python")]
pub(crate) fn is_refusable() -> bool {
    ASKS.get()
}
