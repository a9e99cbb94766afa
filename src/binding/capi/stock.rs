//! Memory of CPython's that is set aside for something that must not fail.
//!
//! PyO3 makes its class of panics when it first looks at an error. Where CPython has no memory for
//! that class, PyO3 looks at the error that says so, needs that class, and waits for itself for
//! ever. So the memory is asked for before, when it can be refused. It is a piece for each
//! allocation there may be, so that CPython can free each of them later as one of its own.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use pyo3::ffi::{
    PyInterpreterState_Head, PyInterpreterState_Next, PyMem_Free, PyMem_GetAllocator, PyMem_Malloc,
    PyMem_SetAllocator, PyMemAllocatorDomain, PyMemAllocatorEx,
};
use pyo3::prelude::*;

/// How many pieces there are, most of them small. To make a class takes some twenty of them; the
/// large ones are for its own object, and for the dict in which its base has its subclasses.
const PIECES: usize = 48;
const SMALL: (usize, usize) = (40, 512);
const LARGE: usize = 8192;

/// An allocator of CPython's that has something set aside.
struct Stock {
    domain: PyMemAllocatorDomain,
    /// Who is asked first.
    before: PyMemAllocatorEx,
    /// Null once given out.
    pieces: [Cell<*mut c_void>; PIECES],
}

fn size_of_piece(number: usize) -> usize {
    if number < SMALL.0 { SMALL.1 } else { LARGE }
}

impl Stock {
    /// Set memory aside, and be asked for memory from now on. Returns nothing where there is none.
    fn begin(domain: PyMemAllocatorDomain) -> Option<NonNull<Self>> {
        // SAFETY: attached, as all that is here. The allocator is written before it is read, and
        // its functions take what it has for them. So is what lies in the new memory, which is
        // large enough, and aligned for any object: it is not looked at before.
        unsafe {
            let mut before = std::mem::zeroed::<PyMemAllocatorEx>();
            PyMem_GetAllocator(domain, &raw mut before);
            let it = NonNull::new(PyMem_Malloc(size_of::<Self>()).cast::<Self>())?;
            let none = [const { Cell::new(ptr::null_mut()) }; PIECES];
            it.write(Self { domain, before, pieces: none });
            if !it.as_ref().fill() {
                it.as_ref().empty();
                PyMem_Free(it.as_ptr().cast());
                return None;
            }
            let mut with_it = PyMemAllocatorEx {
                ctx: it.as_ptr().cast(),
                malloc: Some(malloc),
                calloc: Some(calloc),
                realloc: Some(realloc),
                free: Some(free),
            };
            PyMem_SetAllocator(domain, &raw mut with_it);
            Some(it)
        }
    }

    /// With zeros, as `calloc` needs them.
    fn fill(&self) -> bool {
        self.pieces.iter().enumerate().all(|(number, piece)| {
            piece.set(self.zeros(1, size_of_piece(number)));
            !piece.get().is_null()
        })
    }

    fn empty(&self) {
        for piece in &self.pieces {
            let memory = piece.replace(ptr::null_mut());
            if let (false, Some(free)) = (memory.is_null(), self.before.free) {
                free(self.before.ctx, memory);
            }
        }
    }

    fn zeros(&self, count: usize, each: usize) -> *mut c_void {
        let calloc = self.before.calloc;
        calloc.map_or(ptr::null_mut(), |calloc| calloc(self.before.ctx, count, each))
    }

    #[cold]
    fn take(&self, size: usize) -> *mut c_void {
        let mut pieces = self.pieces.iter().enumerate();
        let found =
            pieces.find(|(number, piece)| size_of_piece(*number) >= size && !piece.get().is_null());
        found.map_or(ptr::null_mut(), |(_, piece)| piece.replace(ptr::null_mut()))
    }

    /// Give back what is left, and be asked no more.
    fn end(it: NonNull<Self>) {
        // SAFETY: attached. It is as `begin` made it, and the allocator is written before it is
        // read. Where this is not the one that is asked, another has come in between, and asks this
        // one: so it stays for ever, with nothing set aside.
        unsafe {
            it.as_ref().empty();
            let domain = it.as_ref().domain;
            let mut now = std::mem::zeroed::<PyMemAllocatorEx>();
            PyMem_GetAllocator(domain, &raw mut now);
            if now.ctx == it.as_ptr().cast() {
                let mut before = it.as_ref().before;
                PyMem_SetAllocator(domain, &raw mut before);
                PyMem_Free(it.as_ptr().cast());
            }
        }
    }
}

/// What CPython's allocators have for each of their functions.
fn stock<'a>(ctx: *mut c_void) -> &'a Stock {
    // SAFETY: only `begin` gives these functions to CPython, with what it made, which lives for as
    // long as CPython knows of them. CPython calls them attached.
    unsafe { &*ctx.cast::<Stock>() }
}

extern "C" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
    let before = &stock(ctx).before;
    let memory = before.malloc.map_or(ptr::null_mut(), |malloc| malloc(before.ctx, size));
    if memory.is_null() { stock(ctx).take(size) } else { memory }
}

extern "C" fn calloc(ctx: *mut c_void, count: usize, each: usize) -> *mut c_void {
    let memory = stock(ctx).zeros(count, each);
    if memory.is_null() { stock(ctx).take(count.saturating_mul(each)) } else { memory }
}

/// How large something was, nobody knows here: what is to grow gets nothing.
extern "C" fn realloc(ctx: *mut c_void, memory: *mut c_void, size: usize) -> *mut c_void {
    if memory.is_null() {
        return malloc(ctx, size);
    }
    let before = &stock(ctx).before;
    before.realloc.map_or(ptr::null_mut(), |realloc| realloc(before.ctx, memory, size))
}

extern "C" fn free(ctx: *mut c_void, memory: *mut c_void) {
    let before = &stock(ctx).before;
    if let Some(free) = before.free {
        free(before.ctx, memory);
    }
}

/// What ends it, even if there is a panic.
struct Ended(NonNull<Stock>);

impl Drop for Ended {
    fn drop(&mut self) {
        Stock::end(self.0);
    }
}

/// Whether whoever asks for memory does so with this thread's GIL.
fn is_alone(_py: Python<'_>) -> bool {
    // SAFETY: attached; both only read the list of interpreters, which has one at least.
    let other = unsafe { PyInterpreterState_Next(PyInterpreterState_Head()) };
    !cfg!(Py_GIL_DISABLED) && other.is_null()
}

/// Do something for which there is memory. Returns nothing, and has not begun, if there is none.
///
/// Where others may ask for memory at the same time, with a GIL of their own or with none, nothing
/// is set aside.
pub(super) fn with_memory_aside<T>(py: Python<'_>, work: impl FnOnce() -> T) -> Option<T> {
    use PyMemAllocatorDomain::{PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    if !is_alone(py) {
        return Some(work());
    }
    let _objects = Ended(Stock::begin(PYMEM_DOMAIN_OBJ)?);
    let _others = Ended(Stock::begin(PYMEM_DOMAIN_MEM)?);
    Some(work())
}
