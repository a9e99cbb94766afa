//! A small reserve of memory for allocations that cannot report failure.
//!
//! Where we copy a program's data, an allocation may be refused. PyO3's may not: the messages of
//! errors about arguments, for instance, and the boxes of lazy errors. If the system had no memory
//! for them, Rust would end the process. They are small and short-lived, so a small reserve is
//! enough for them: the error gets made, and Python itself finds out whether it has memory for an
//! exception. A larger one, such as a message that contains a very long name, still ends the
//! process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::core::is_refusable;

/// The size in bytes.
const SIZE: usize = 1 << 14;
/// [`Reserve::state`] counts the pieces in use in units of this; the lower bits hold the end of the
/// last piece.
const PIECE: usize = 1 << 16;

/// Gives out one piece after the other, and starts again when none is in use.
#[repr(align(16))]
struct Reserve {
    memory: UnsafeCell<[u8; SIZE]>,
    /// The number of pieces in use, and where the last one ends, in one word.
    state: AtomicUsize,
}

// SAFETY: `memory` is never looked at here, only given out: no two pieces that are in use overlap,
// as each is taken by one change of `state` that begins where all others end.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve =
    Reserve { memory: UnsafeCell::new([0; SIZE]), state: AtomicUsize::new(0) };

impl Reserve {
    fn begin(&self) -> *mut u8 {
        self.memory.get().cast()
    }

    #[inline(always)]
    fn has(&self, piece: *mut u8) -> bool {
        (piece as usize).wrapping_sub(self.begin() as usize) < SIZE
    }

    #[cold]
    fn take(&self, layout: Layout) -> *mut u8 {
        if is_refusable() || layout.size() > SIZE || layout.align() > align_of::<Self>() {
            return ptr::null_mut();
        }
        let mut begin = 0;
        let taken = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            begin = (state % PIECE).next_multiple_of(layout.align());
            let end = begin + layout.size();
            (end <= SIZE).then(|| state - state % PIECE + PIECE + end)
        });
        // Within `memory`, or at its end, as it was found above.
        taken.map_or(ptr::null_mut(), |_| self.begin().wrapping_add(begin))
    }

    #[cold]
    fn give_back(&self) {
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            Some(if state / PIECE == 1 { 0 } else { state - PIECE })
        });
    }
}

/// The system's allocator, with the reserve as a fallback.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: what comes from the system goes back to it. What comes from the reserve is of the size
// and the alignment that were asked for, overlaps nothing that is in use, and is told apart by its
// address. Nothing here unwinds.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() { RESERVE.take(layout) } else { memory }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if RESERVE.has(memory) {
            return RESERVE.give_back();
        }
        // SAFETY: the caller's promise; the memory is the system's.
        unsafe { System.dealloc(memory, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise; what is not of the reserve is the system's. Where that
        // cannot make it larger, it has left it as it was.
        unsafe {
            let of_reserve = RESERVE.has(memory);
            let larger =
                if of_reserve { ptr::null_mut() } else { System.realloc(memory, layout, size) };
            if larger.is_null() { self.moved(memory, layout, size) } else { larger }
        }
    }
}

impl Allocator {
    /// Move an allocation to a larger one.
    ///
    /// # Safety
    ///
    /// As for `realloc`.
    #[cold]
    unsafe fn moved(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the size is none that the caller may not ask for, nor the alignment. Both pieces
        // have as many bytes as are copied, and the new one overlaps nothing that is in use.
        unsafe {
            let larger = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !larger.is_null() {
                ptr::copy_nonoverlapping(memory, larger, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            larger
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn gives_out_what_does_not_overlap_and_begins_anew() {
        let reserve = Reserve { memory: UnsafeCell::new([0; SIZE]), state: AtomicUsize::new(0) };
        let first = reserve.take(bytes(3, 1));
        let second = reserve.take(bytes(8, 8));
        assert_eq!(second as usize - first as usize, 8);
        assert!(reserve.has(first) && reserve.has(second));
        assert!(reserve.take(bytes(SIZE, 1)).is_null());
        reserve.give_back();
        assert_eq!(reserve.take(bytes(1, 1)) as usize - first as usize, 16);
        reserve.give_back();
        reserve.give_back();
        assert_eq!(reserve.take(bytes(SIZE, 16)), first);
        assert!(reserve.take(bytes(1, 1)).is_null());
    }

    #[test]
    fn refuses_who_can_be_refused() {
        let reserve = Reserve { memory: UnsafeCell::new([0; SIZE]), state: AtomicUsize::new(0) };
        assert!(crate::core::refusable(|| reserve.take(bytes(1, 1))).is_null());
        assert!(!reserve.take(bytes(1, 1)).is_null());
    }
}
