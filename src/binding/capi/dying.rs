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
#[cfg(Py_GIL_DISABLED)]
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::Python;

use super::beside::has_nothing_beside;
use super::classes::{Class, Native, is_exact};
use super::lives;
use super::pools::{Piece, Recycled};
use super::stack;
use super::watching;
use crate::core::refusable;

/// All classes of ours. None before the module is made: then there are no objects.
static CLASSES: OnceLock<&'static [fn() -> &'static Class]> = OnceLock::new();

/// Say which classes there are.
pub(crate) fn know_classes(all: &'static [fn() -> &'static Class]) {
    let _ = CLASSES.set(all);
}

/// How many queued objects there are, in all threads.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The first of those that threads have left which have ended, or which cannot leave a [`Will`]: a
/// [`Waiting`], or null.
static LEFT: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// The first of the dead objects of this thread that wait.
    static DEAD: Cell<Option<Waiting>> = const { Cell::new(None) };
    /// Hands them on when the thread ends.
    static WILL: Will = const { Will };
    /// Whether it will do so: it has been asked for, and has not done so yet.
    static HAS_WILL: Cell<bool> = const { Cell::new(false) };
}

/// A dead object of a class or a subclass, as `tp_dealloc` of that class gets it, on an attached
/// thread: to be freed once. It gets no new references.
#[repr(transparent)]
pub(super) struct Dead<'a, T>(Borrowed<'a, 'a, T>);

impl<'a, T: Native> Dead<'a, T> {
    /// Whether it is of the class itself, and nothing special has happened to it.
    #[inline(always)]
    pub(super) fn plain(self) -> Result<Plain<'a, T>, Self> {
        let is_plain = is_exact::<T>(self.0.as_any()) && has_nothing_beside(&*self.0);
        if is_plain { Ok(Plain(self)) } else { Err(self) }
    }

    /// Free it, whatever has happened to it.
    pub(super) fn free(self) {
        Corpse { object: self.0.as_ptr(), class: T::class() }.free();
    }

    /// Take it from the collector. It keeps its dict and the weak references to it, which all give
    /// None now, as it keeps its count of 0.
    #[inline(always)]
    fn untrack(&self) {
        // SAFETY: attached; an object of a class whose objects the collector knows, as all of ours
        // are.
        unsafe { ffi::PyObject_GC_UnTrack(self.0.as_ptr().cast()) }
    }
}

impl<'a, T: Recycled> Dead<'a, T> {
    /// What is in it.
    #[inline(always)]
    pub(super) fn value(&self) -> (Python<'a>, &T) {
        (self.0.py(), self.0.get())
    }
}

/// One of the class itself, with no dict and no weak references.
pub(super) struct Plain<'a, T>(Dead<'a, T>);

impl<'a, T: Recycled> Plain<'a, T> {
    pub(super) fn into_dead(self) -> Dead<'a, T> {
        self.0
    }

    /// What is in it.
    #[inline(always)]
    pub(super) fn value(&self) -> (Python<'a>, &T) {
        self.0.value()
    }

    /// Its memory, once it has let go of its value. Also whether its finalizer has run: then it
    /// carries a mark that would keep the finalizer of the next one from running.
    #[inline(always)]
    pub(super) fn into_memory(self, dispose: impl FnOnce(&T)) -> (Piece<T>, bool) {
        // No collection may see it any longer. Disposing of the value may run any code, but nobody
        // can reach the object.
        self.0.untrack();
        dispose(self.value().1);
        let object = self.0.0.as_ptr();
        // SAFETY: attached. The object is of the class itself, untracked, nobody else's, without a
        // dict and weak references, and its value has been disposed of: so a piece is what it
        // leaves. It gives up its hold on its type.
        unsafe {
            ffi::Py_DECREF(T::class().kind().cast());
            let is_finalized = ffi::PyObject_GC_IsFinalized(object) != 0;
            (Piece::left(NonNull::new_unchecked(object)), is_finalized)
        }
    }
}

/// A dead object, on an attached thread, to be freed once: by what frees this class of ours, the
/// first one among its class and its bases.
struct Corpse {
    object: *mut ffi::PyObject,
    class: &'static Class,
}

impl Corpse {
    /// Free it. It is no longer one of those that are alive.
    fn free(self) {
        let Some(destructor) = self.class.destructor() else { return };
        // SAFETY: as the type says: attached; a dead object of a class that this is the destructor
        // of, freed once, as it is given up here.
        unsafe {
            if watching::watching() {
                lives::died(Python::assume_attached(), self.object);
            }
            destructor(self.object);
        }
    }
}

/// `tp_dealloc` of a class whose objects have nothing special about their deaths.
pub(super) extern "C" fn dealloc<T: Native>(dead: Dead<'_, T>) {
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
        let Some(waiting) = next_waiting() else { return };
        WAITING.fetch_sub(1, Ordering::Relaxed);
        waiting.free();
    }
}

/// Take one from the queue of this thread.
fn next_waiting() -> Option<Waiting> {
    let left = || NonNull::new(LEFT.swap(ptr::null_mut(), Ordering::AcqRel)).map(Waiting);
    let first = DEAD.take().or_else(left)?;
    DEAD.set(first.next());
    first.link(None);
    Some(first)
}

/// Queue a dead object until there is more stack.
#[cold]
pub(super) fn put_by<T: Native>(dead: Dead<'_, T>) {
    dead.untrack();
    let Some(waiting) = NonNull::new(dead.0.as_ptr()).map(Waiting) else { return };
    if has_will() {
        waiting.link(DEAD.take());
        DEAD.set(Some(waiting));
    } else {
        waiting.link(None);
        leave(waiting);
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

/// A dead object that waits to be freed: of a class whose objects the collector knows, untracked,
/// in one list, and nobody else's. [`put_by`] makes them.
struct Waiting(NonNull<ffi::PyObject>);

impl Waiting {
    /// The word by which dead objects are linked: as in CPython's own lists of the kind, that of
    /// the collector's header which refers to the object before, or, where the GIL may be off, that
    /// which says whose the object is. The first has two bits that are marks, which have to stay:
    /// whether its finalizer has run, for one.
    fn word(&self) -> &Cell<usize> {
        let object = self.0.as_ptr();
        #[cfg(not(Py_GIL_DISABLED))]
        let word = object.cast::<usize>().wrapping_sub(1);
        #[cfg(Py_GIL_DISABLED)]
        let word = object.wrapping_byte_add(offset_of!(ffi::PyObject, ob_tid)).cast::<usize>();
        // SAFETY: an object that the collector knows has a header of two words in front of it. The
        // object is dead, untracked and nobody else's, so nobody else reads or writes the word.
        unsafe { &*word.cast_const().cast::<Cell<usize>>() }
    }

    /// Link it to the next.
    fn link(&self, next: Option<Self>) {
        self.link_to(next.map_or(ptr::null_mut(), |next| next.0.as_ptr()));
    }

    /// Link it to the next, a [`Waiting`] or null. Objects are aligned to more than the marks take.
    fn link_to(&self, next: *mut ffi::PyObject) {
        self.word().set((self.word().get() & MARKS) | next.expose_provenance());
    }

    /// The one that it is linked to. That stays in the list: this is for finding its end, or for
    /// taking the first out.
    fn next(&self) -> Option<Self> {
        let next = ptr::with_exposed_provenance_mut(self.word().get() & !MARKS);
        NonNull::new(next).map(Self)
    }

    /// Free it. It has been taken out of its list, the only one that it was in, on an attached
    /// thread, as the callers are.
    fn free(self) {
        if let Some(class) = self.class() {
            Corpse { object: self.0.as_ptr(), class }.free();
        }
    }

    /// The class of ours that is to free it: the first among its class and its bases.
    fn class(&self) -> Option<&'static Class> {
        let all = CLASSES.get().copied().unwrap_or_default();
        // SAFETY: types and their bases are alive as long as the object.
        unsafe {
            let mut kind = ffi::Py_TYPE(self.0.as_ptr());
            while !kind.is_null() {
                if let Some(class) = all.iter().map(|class| class()).find(|it| it.kind() == kind) {
                    return Some(class);
                }
                kind = (*kind).tp_base;
            }
            None
        }
    }
}

const MARKS: usize = 3;

/// Leave a dead object, and those that it is linked to, to whoever frees some next.
fn leave(first: Waiting) {
    let mut last = Waiting(first.0);
    while let Some(next) = last.next() {
        last = next;
    }
    let mut others = LEFT.load(Ordering::Acquire);
    loop {
        last.link_to(others);
        let (new, success, failure) = (first.0.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
        match LEFT.compare_exchange(others, new, success, failure) {
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

/// What hands on the dead of a thread that ends.
struct Will;

impl Drop for Will {
    fn drop(&mut self) {
        HAS_WILL.set(false);
        if let Some(first) = DEAD.take() {
            leave(first);
        }
    }
}

/// In the main thread, soon: free what threads have left.
extern "C" fn free_left(_: *mut c_void) -> c_int {
    finish();
    0
}
