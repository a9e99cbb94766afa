//! Keeps threads from being ended by the interpreter while our frames are on their stacks.
//!
//! Up to CPython 3.13, a daemon thread that wants the GIL during interpreter shutdown is ended on the
//! spot by `pthread_exit`. The GNU C library implements that by unwinding the stack with a special
//! exception. Rust does not allow it to pass through most frames and aborts the process; through
//! others it would run destructors that drop references without the GIL.
//!
//! From CPython 3.14 on, such threads wait forever instead. We do the same for threads with our
//! frames on their stacks. When the interpreter begins to shut down, we register unwind information
//! for our code, as JIT compilers do for theirs. It takes precedence over the information in the
//! file, and names a function that is called for each of our frames: it never returns.
//!
//! If there is no such unwinding (other C libraries, other systems, newer versions of CPython),
//! there is nothing to do.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;
use std::{panic, ptr, thread};

/// Return codes and flags of the unwinder, from the C++ exception handling ABI.
const UA_FORCE_UNWIND: c_int = 8;
const URC_FATAL_PHASE1_ERROR: c_int = 3;

/// The DWARF register numbers of the stack pointer and the return address.
#[cfg(target_arch = "x86_64")]
const REGISTERS: (u8, u8) = (7, 16);
#[cfg(target_arch = "aarch64")]
const REGISTERS: (u8, u8) = (31, 30);

unsafe extern "C" {
    /// Register unwind information. It is read for each look-up of an address while it is
    /// registered. From libgcc, which Rust uses for unwinding on this platform.
    fn __register_frame(frames: *mut c_void);
    /// Undo that.
    fn __deregister_frame(frames: *mut c_void);

    /// Where this library begins: from the linker. It is no function, only a name of the address.
    fn __ehdr_start();
    /// Where its code ends, likewise.
    fn etext();
}

/// The registered unwind information, or null.
static TOLD: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// The personality routine: the unwinder calls it for each of our frames.
unsafe extern "C" fn stay(
    _version: c_int,
    actions: c_int,
    _class: u64,
    _exception: *mut c_void,
    _context: *mut c_void,
) -> c_int {
    if actions & UA_FORCE_UNWIND == 0 {
        // No thread is being ended: somebody has thrown a C++ exception through our frames, which
        // would have ended the process in any case.
        return URC_FATAL_PHASE1_ERROR;
    }
    // The thread holds neither the GIL nor a lock of ours.
    loop {
        thread::sleep(Duration::from_secs(u64::from(u32::MAX)));
    }
}

/// From now on, let threads that are ended with our frames on their stacks wait forever instead.
pub(crate) fn keep_threads() {
    if !TOLD.load(Ordering::Relaxed).is_null() {
        return;
    }
    let Some((start, length)) = own_code() else { return };
    let mut frames: Vec<u8> = Vec::new();
    describe(start, length, &mut frames);
    frames.extend([0; 4]);
    let frames = Box::leak(frames.into_boxed_slice()).as_mut_ptr().cast();
    // SAFETY: complete descriptions, with a terminator after the last, in memory that stays.
    unsafe { __register_frame(frames) };
    TOLD.store(frames, Ordering::Relaxed);
    // A panic needs the original unwind information.
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let frames = TOLD.swap(ptr::null_mut(), Ordering::Relaxed);
        if !frames.is_null() {
            // SAFETY: registered above, and deregistered once.
            unsafe { __deregister_frame(frames) };
        }
        before(info);
    }));
}

/// The address and the length of this library up to the end of its code. None if that is not where
/// it should be.
fn own_code() -> Option<(usize, usize)> {
    let start = __ehdr_start as *const () as usize;
    let length = (etext as *const () as usize).checked_sub(start)?;
    let here = stay as *const () as usize;
    (here.wrapping_sub(start) < length).then_some((start, length))
}

/// Append unwind information for a code segment, in the format of the section `.eh_frame`. Its
/// personality routine is [`stay`], and it has no caller, so that stack walks end there.
fn describe(start: usize, length: usize, frames: &mut Vec<u8>) {
    const WORD: usize = size_of::<usize>();
    let (stack_pointer, return_address) = REGISTERS;
    let begin = frames.len();
    // The common information entry: id 0, version 1, augmentation "zP" for a personality routine.
    entry(frames, |common| {
        common.extend([0, 0, 0, 0, 1]);
        common.extend(b"zP\0");
        // Code alignment, data alignment (-8), and the register of the return address.
        common.extend([1, 0x78, return_address]);
        // The length of the augmentation data, the encoding (absolute), and the address.
        common.extend([WORD as u8 + 1, 0]);
        common.extend((stay as *const () as usize).to_ne_bytes());
        // The frame address is relative to the stack pointer, and the return address is undefined.
        common.extend([0x0c, stack_pointer, WORD as u8, 0x07, return_address]);
    });
    // The frame description entry: the distance to the common entry, the code, no augmentation.
    let back = (frames.len() + 4 - begin) as u32;
    entry(frames, |code| {
        code.extend(back.to_ne_bytes());
        code.extend(start.to_ne_bytes());
        code.extend(length.to_ne_bytes());
        code.push(0);
    });
}

/// Append an entry with its length in front, padded to a multiple of the word size with no-ops.
fn entry(frames: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = frames.len();
    frames.extend([0; 4]);
    write(frames);
    while !frames.len().is_multiple_of(size_of::<usize>()) {
        frames.push(0);
    }
    let length = (frames.len() - begin - 4) as u32;
    frames[begin..begin + 4].copy_from_slice(&length.to_ne_bytes());
}
