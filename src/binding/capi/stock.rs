//! Memory set aside from CPython's allocators, for an operation that must not fail.
//!
//! PyO3 makes its `PanicException` class when it first inspects an error. If CPython has no memory
//! for the class, PyO3 inspects that error, for which it needs the class, and waits for itself
//! forever. So we allocate the memory beforehand, when failure can still be reported: one piece for
//! each allocation that may follow, so that CPython can free each of them later as its own.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::transmute;
use std::ptr::{self, NonNull};

use pyo3::ffi::{
    PyInterpreterState_Head, PyInterpreterState_Next, PyMem_Free, PyMem_GetAllocator, PyMem_Malloc,
    PyMem_SetAllocator, PyMemAllocatorDomain, PyMemAllocatorEx,
};
use pyo3::prelude::*;

/// The number of pieces. Most are small: a class takes some twenty allocations. The large ones are
/// for the type object, and for the dict in which its base keeps its subclasses.
const PIECES: usize = 48;
const SMALL: (usize, usize) = (40, 512);
const LARGE: usize = 8192;

/// One of CPython's allocators, with pieces set aside.
struct Stock {
    domain: PyMemAllocatorDomain,
    /// The original allocator. It is asked first.
    before: PyMemAllocatorEx,
    /// The pieces. Null once given out.
    pieces: [Cell<*mut c_void>; PIECES],
}

fn size_of_piece(number: usize) -> usize {
    if number < SMALL.0 { SMALL.1 } else { LARGE }
}

impl Stock {
    /// Set memory aside, and install this allocator. None if there is no memory.
    fn begin(domain: PyMemAllocatorDomain) -> Option<NonNull<Self>> {
        // SAFETY: attached, as all that is here. The allocator is written before it is read, and
        // its functions take what it has for them: a reference is one pointer, to what lives for as
        // long as CPython knows of them. What lies in the new memory is written before it is read,
        // too. It is large enough, and aligned for any object.
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
                malloc: Some(transmute::<Allocate, CAllocate>(malloc)),
                calloc: Some(transmute::<AllocateZeros, CAllocateZeros>(calloc)),
                realloc: Some(transmute::<Reallocate, CReallocate>(realloc)),
                free: Some(transmute::<Free, CFree>(free)),
            };
            PyMem_SetAllocator(domain, &raw mut with_it);
            Some(it)
        }
    }

    /// Allocate the pieces. They are zeroed, as `calloc` requires.
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

    /// Free the remaining pieces, and restore the original allocator.
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

// The functions that CPython calls, with this allocator as their context.
type Allocate = extern "C" fn(&Stock, usize) -> *mut c_void;
type AllocateZeros = extern "C" fn(&Stock, usize, usize) -> *mut c_void;
type Reallocate = extern "C" fn(&Stock, *mut c_void, usize) -> *mut c_void;
type Free = extern "C" fn(&Stock, *mut c_void);

// As CPython knows them.
type CAllocate = extern "C" fn(*mut c_void, usize) -> *mut c_void;
type CAllocateZeros = extern "C" fn(*mut c_void, usize, usize) -> *mut c_void;
type CReallocate = extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void;
type CFree = extern "C" fn(*mut c_void, *mut c_void);

extern "C" fn malloc(stock: &Stock, size: usize) -> *mut c_void {
    let before = &stock.before;
    let memory = before.malloc.map_or(ptr::null_mut(), |malloc| malloc(before.ctx, size));
    if memory.is_null() { stock.take(size) } else { memory }
}

extern "C" fn calloc(stock: &Stock, count: usize, each: usize) -> *mut c_void {
    let memory = stock.zeros(count, each);
    if memory.is_null() { stock.take(count.saturating_mul(each)) } else { memory }
}

/// The old size is unknown here, so growing a piece is refused.
extern "C" fn realloc(stock: &Stock, memory: *mut c_void, size: usize) -> *mut c_void {
    if memory.is_null() {
        return malloc(stock, size);
    }
    let before = &stock.before;
    before.realloc.map_or(ptr::null_mut(), |realloc| realloc(before.ctx, memory, size))
}

extern "C" fn free(stock: &Stock, memory: *mut c_void) {
    let before = &stock.before;
    if let Some(free) = before.free {
        free(before.ctx, memory);
    }
}

/// Restores the original allocator when dropped, even during a panic.
struct Ended(NonNull<Stock>);

impl Drop for Ended {
    fn drop(&mut self) {
        Stock::end(self.0);
    }
}

/// Whether all allocations come from threads that hold this thread's GIL.
fn is_alone(_py: Python<'_>) -> bool {
    // SAFETY: attached; both only read the list of interpreters, which has one at least.
    let other = unsafe { PyInterpreterState_Next(PyInterpreterState_Head()) };
    !cfg!(Py_GIL_DISABLED) && other.is_null()
}

/// Run something with memory set aside for it. Returns None, without running it, if there is none.
///
/// If others may allocate at the same time, with a GIL of their own or with none, nothing is set
/// aside.
pub(super) fn with_memory_aside<T>(py: Python<'_>, work: impl FnOnce() -> T) -> Option<T> {
    use PyMemAllocatorDomain::{PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    if !is_alone(py) {
        return Some(work());
    }
    let _objects = Ended(Stock::begin(PYMEM_DOMAIN_OBJ)?);
    let _others = Ended(Stock::begin(PYMEM_DOMAIN_MEM)?);
    Some(work())
}
