//! Frees our objects without recursion.
//!
//! If a million Deferreds hold each other as results, freeing the first would nest a million calls.
//! So an object that dies while the stack is low is queued. (The stack is also low if the object
//! has a failure to report, and there is no room for that.) The next deallocation of ours that
//! finishes with enough stack frees the queue; usually it is one further up the same stack.
//!
//! There is no counter and no owner of the queue. So nothing is left in a wrong state if a
//! finalizer switches to another greenlet and never returns.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::hint;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::PyClass;
use pyo3::ffi;

use super::memory::Class;
use super::stack;
use crate::core::refusable;

/// A class of ours.
pub(crate) trait Native: PyClass {
    /// Whether an object that dies may have a failure to report, which takes more of the stack. (Of
    /// one with a `dealloc` of its own, that is asked of each object.)
    const REPORTS: bool = false;

    /// What is known of it.
    fn class() -> &'static Class;
}

/// All classes of ours. None before the module is made: then there are no objects.
static CLASSES: OnceLock<&'static [fn() -> &'static Class]> = OnceLock::new();

/// Say which classes there are.
pub(crate) fn know_classes(all: &'static [fn() -> &'static Class]) {
    let _ = CLASSES.set(all);
}

/// How many queued objects there are, in all threads.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Those that threads have left which have ended, or which cannot leave a [`Will`].
static LEFT: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// The dead objects of this thread that wait, linked by [`link`].
    static DEAD: Cell<*mut ffi::PyObject> = const { Cell::new(ptr::null_mut()) };
    /// Hands them on when the thread ends.
    static WILL: Will = const { Will };
    /// Whether it will do so: it has been asked for, and has not done so yet.
    static HAS_WILL: Cell<bool> = const { Cell::new(false) };
}

/// A dead object of a class or a subclass, as `tp_dealloc` of that class gets it, on an attached
/// thread: to be freed once.
#[repr(transparent)]
pub(super) struct Dead<T>(NonNull<ffi::PyObject>, PhantomData<T>);

impl<T: Native> Dead<T> {
    /// Where it is.
    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Free it, whatever has happened to it.
    pub(super) fn free(self) {
        // SAFETY: it is, once, of this class.
        unsafe { T::class().free(self.as_ptr()) }
    }
}

/// `tp_dealloc` of a class whose objects have nothing special about their deaths.
pub(super) extern "C" fn dealloc<T: Native>(dead: Dead<T>) {
    if !has_room_to_die::<T>() {
        return put_by(dead);
    }
    dead.free();
    finish();
}

/// Whether there is enough stack for the death of an object of a class without a `dealloc` of its
/// own.
#[inline(always)]
fn has_room_to_die<T: Native>() -> bool {
    if T::REPORTS { stack::has_room_to_report() } else { stack::has_room() }
}

/// Called at the end of each deallocation: free the queued objects.
#[inline(always)]
pub(super) fn finish() {
    if WAITING.load(Ordering::Relaxed) != 0 {
        free_waiting();
    }
}

#[cold]
fn free_waiting() {
    // Each of them may have a failure to report.
    while stack::has_room_to_report() {
        let Some(object) = next_waiting() else { return };
        WAITING.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: attached, as the callers are. The object was put by when it was to be freed by
        // the first class of ours among its bases; a dead object is freed once, as it was taken
        // out of the only list that it was in.
        unsafe {
            if let Some(class) = class_of(object) {
                class.free(object);
            }
        }
    }
}

/// Take one from the queue of this thread.
fn next_waiting() -> Option<*mut ffi::PyObject> {
    let mut first = DEAD.get();
    if first.is_null() {
        first = LEFT.swap(ptr::null_mut(), Ordering::AcqRel);
        if first.is_null() {
            return None;
        }
    }
    // SAFETY: what is in a list was linked by `put_by` or `Will`, and is nobody else's.
    unsafe {
        DEAD.set(linked_to(first));
        link(first, ptr::null_mut());
    }
    Some(first)
}

/// Queue a dead object until there is more stack.
#[cold]
pub(super) fn put_by<T: Native>(dead: Dead<T>) {
    let object = dead.as_ptr();
    // SAFETY: a dead object of a class whose objects the collector knows, as all of ours are.
    // It is untracked, so that the words of its header are free to be used. It keeps its dict and
    // the weak references to it, which all give None now, as it keeps its count of 0.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        if has_will() {
            link(object, DEAD.get());
            DEAD.set(object);
        } else {
            leave(object, object);
        }
    }
    WAITING.fetch_add(1, Ordering::Relaxed);
}

/// Whether what this thread puts by is handed on when it ends. Not if it is past that.
fn has_will() -> bool {
    /// More than it takes to remember a will, and enough that memory which is given back is there
    /// for whoever asks next.
    const SOME_MEMORY: usize = 4 << 10;
    if !HAS_WILL.get() {
        // Where there is no memory to remember it, the C library ends the process.
        let mut memory = Vec::<u8>::new();
        let there_is = refusable(|| memory.try_reserve_exact(SOME_MEMORY)).is_ok();
        // It is asked for in earnest.
        drop(hint::black_box(memory));
        HAS_WILL.set(there_is && WILL.try_with(|_| ()).is_ok());
    }
    HAS_WILL.get()
}

/// Leave dead objects, linked from the first to the last, to whoever frees some next.
///
/// # Safety
///
/// As for [`link`], for each of them.
unsafe fn leave(first: *mut ffi::PyObject, last: *mut ffi::PyObject) {
    let mut others = LEFT.load(Ordering::Acquire);
    loop {
        // SAFETY: the caller's promise.
        unsafe { link(last, others) };
        match LEFT.compare_exchange(others, first, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => break,
            Err(others_now) => others = others_now,
        }
    }
    // SAFETY: no thread state is needed to ask for a call, as long as there is an interpreter.
    unsafe {
        if ffi::Py_IsInitialized() != 0 {
            ffi::Py_AddPendingCall(Some(free_left), ptr::null_mut());
        }
    }
}

/// The class of ours that is to free an object: the first among its class and its bases.
///
/// # Safety
///
/// An object, attached.
unsafe fn class_of(object: *mut ffi::PyObject) -> Option<&'static Class> {
    // SAFETY: types and their bases are alive as long as the object.
    unsafe {
        let mut kind = ffi::Py_TYPE(object);
        while !kind.is_null() {
            let all = CLASSES.get().copied().unwrap_or_default();
            if let Some(class) = all.iter().map(|class| class()).find(|it| it.kind() == kind) {
                return Some(class);
            }
            kind = (*kind).tp_base;
        }
        None
    }
}

/// The word by which dead objects are linked: as in CPython's own lists of the kind, that of the
/// collector's header which refers to the object before. Two bits of it are marks that have to
/// stay: whether its finalizer has run, for one.
///
/// # Safety
///
/// A dead object of a class whose objects the collector knows.
#[cfg(not(Py_GIL_DISABLED))]
unsafe fn word(object: *mut ffi::PyObject) -> *mut usize {
    // SAFETY: by the caller's promise the object has such a header: two words in front of it.
    unsafe { object.cast::<usize>().sub(1) }
}

/// The word by which dead objects are linked, as in CPython's own lists of the kind: whose the
/// object is, which is of no interest when it is dead.
///
/// # Safety
///
/// A dead object of a class whose objects the collector knows.
#[cfg(Py_GIL_DISABLED)]
unsafe fn word(object: *mut ffi::PyObject) -> *mut usize {
    // SAFETY: by the caller's promise, an object.
    unsafe { (&raw mut (*object).ob_tid).cast() }
}

const MARKS: usize = 3;

/// Link a dead object to the next.
///
/// # Safety
///
/// It is of a class whose objects the collector knows, untracked, and nobody else's.
unsafe fn link(object: *mut ffi::PyObject, next: *mut ffi::PyObject) {
    // SAFETY: the caller's promise. Objects are aligned to more than the marks take.
    unsafe {
        let word = word(object);
        *word = (*word & MARKS) | next.expose_provenance();
    }
}

/// Which dead object this one is linked to, or null.
///
/// # Safety
///
/// It was linked by [`link`].
unsafe fn linked_to(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    unsafe { ptr::with_exposed_provenance_mut(*word(object) & !MARKS) }
}

/// What hands on the dead of a thread that ends.
struct Will;

impl Drop for Will {
    fn drop(&mut self) {
        HAS_WILL.set(false);
        let first = DEAD.replace(ptr::null_mut());
        if first.is_null() {
            return;
        }
        // SAFETY: the list is this thread's, and nobody sees what is in it.
        unsafe {
            let mut last = first;
            while let Some(next) = NonNull::new(linked_to(last)) {
                last = next.as_ptr();
            }
            leave(first, last);
        }
    }
}

/// In the main thread, soon: free what threads have left.
extern "C" fn free_left(_: *mut c_void) -> c_int {
    finish();
    0
}
