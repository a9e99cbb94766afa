//! Threads that the interpreter ends while frames of ours stand on their stacks.
//!
//! Up to CPython 3.13 a daemon thread that wants to go on while the interpreter shuts down is ended
//! there and then, by `pthread_exit`. The GNU C library does that by unwinding the stack, as if by
//! an exception that nobody can catch. Rust's frames refuse it: the process is aborted. Others
//! would let go of references, without holding the interpreter.
//!
//! CPython 3.14 has such threads wait for good instead. So we do that for those that have frames
//! of ours on their stacks. The unwinder is told, when the interpreter begins to shut down, of a
//! function that is to be asked about all our frames, in the way in which compilers that make
//! code at run time tell it of theirs. What it is told takes precedence over what stands in the
//! file. A thread that comes to it never gets further.
//!
//! Where there is no such unwinding (other C libraries, other systems, newer CPythons), there is
//! nothing to do.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;
use std::{panic, ptr, thread};

/// The unwinder's answers and flags, as the C++ ABI for exceptions has them.
const UA_FORCE_UNWIND: c_int = 8;
const URC_FATAL_PHASE1_ERROR: c_int = 3;

/// The stack pointer and the return address, as the platform's DWARF numbers them.
#[cfg(target_arch = "x86_64")]
const REGISTERS: (u8, u8) = (7, 16);
#[cfg(target_arch = "aarch64")]
const REGISTERS: (u8, u8) = (31, 30);

unsafe extern "C" {
    /// Tell the unwinder of frames. They are read when an address is looked for, as long as they
    /// are registered. In libgcc, which Rust's own unwinding comes from on this platform.
    fn __register_frame(frames: *mut c_void);
    /// Have the unwinder forget them.
    fn __deregister_frame(frames: *mut c_void);
}

/// What the unwinder was told of, if it was.
static TOLD: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// What the unwinder asks about each frame of ours: a personality routine.
unsafe extern "C" fn stay(
    _version: c_int,
    actions: c_int,
    _class: u64,
    _exception: *mut c_void,
    _context: *mut c_void,
) -> c_int {
    if actions & UA_FORCE_UNWIND == 0 {
        // No thread is being ended: somebody has thrown an exception of C++ through our frames,
        // which would have been the end in any case.
        return URC_FATAL_PHASE1_ERROR;
    }
    // Nothing of ours is touched. The thread holds neither the interpreter nor a lock of ours.
    loop {
        thread::sleep(Duration::from_secs(u64::from(u32::MAX)));
    }
}

/// Have threads that are ended from now on, with frames of ours on their stacks, wait instead.
pub(crate) fn keep_threads() {
    if !TOLD.load(Ordering::Relaxed).is_null() {
        return;
    }
    let mut frames: Vec<u8> = Vec::new();
    for (start, length) in own_code() {
        describe(start, length, &mut frames);
    }
    if frames.is_empty() {
        return;
    }
    frames.extend([0; 4]);
    let frames = Box::leak(frames.into_boxed_slice()).as_mut_ptr().cast();
    // SAFETY: complete descriptions, with a terminator after the last, in memory that stays.
    unsafe { __register_frame(frames) };
    TOLD.store(frames, Ordering::Relaxed);
    // A panic needs the frames as they are.
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let frames = TOLD.swap(ptr::null_mut(), Ordering::Relaxed);
        if !frames.is_null() {
            // SAFETY: registered above, and forgotten once.
            unsafe { __deregister_frame(frames) };
        }
        before(info);
    }));
}

/// Where the code of this library is: the first address and the length of each part.
fn own_code() -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    // SAFETY: the function is called for each library that is loaded, with what `look` expects,
    // and with the pointer, which is valid until the call ends.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut found).cast()) };
    found
}

/// Take down the code of a library, if it is this one. Not 0 if it is.
unsafe extern "C" fn look(
    library: *mut libc::dl_phdr_info,
    _size: usize,
    found: *mut c_void,
) -> c_int {
    // SAFETY: as `dl_iterate_phdr` says, and as `own_code` calls it: a library whose program
    // headers are so many, and a vector that nobody else uses.
    let (base, headers, found) = unsafe {
        let library = &*library;
        let headers =
            std::slice::from_raw_parts(library.dlpi_phdr, usize::from(library.dlpi_phnum));
        (library.dlpi_addr as usize, headers, &mut *found.cast::<Vec<(usize, usize)>>())
    };
    let code: Vec<_> = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0)
        .map(|header| (base.wrapping_add(header.p_vaddr as usize), header.p_memsz as usize))
        .collect();
    let here = stay as *const () as usize;
    if code.iter().any(|&(start, length)| here.wrapping_sub(start) < length) {
        found.extend(code);
        1
    } else {
        0
    }
}

/// Describe code to the unwinder, as in a section `.eh_frame`: [`stay`] is to be asked about it,
/// and it is the outermost on its stack (so that who only looks at stacks ends there).
fn describe(start: usize, length: usize, frames: &mut Vec<u8>) {
    const WORD: usize = size_of::<usize>();
    let (stack_pointer, return_address) = REGISTERS;
    let begin = frames.len();
    // What is common: a number that says so, version 1, and that a personality routine follows.
    entry(frames, |common| {
        common.extend([0, 0, 0, 0, 1]);
        common.extend(b"zP\0");
        // The alignment of code, of data (-8), and where the return address is.
        common.extend([1, 0x78, return_address]);
        // So many bytes, of an address as it is, which is this one.
        common.extend([WORD as u8 + 1, 0]);
        common.extend((stay as *const () as usize).to_ne_bytes());
        // The frame is reckoned from the stack pointer, and nobody has called it.
        common.extend([0x0c, stack_pointer, WORD as u8, 0x07, return_address]);
    });
    // The code: how far back what is common stands, where it is, and nothing further.
    let back = (frames.len() + 4 - begin) as u32;
    entry(frames, |code| {
        code.extend(back.to_ne_bytes());
        code.extend(start.to_ne_bytes());
        code.extend(length.to_ne_bytes());
        code.push(0);
    });
}

/// Add an entry, with its length in front, filled up to whole words with what means nothing.
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
