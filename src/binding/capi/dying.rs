//! Frees our objects without recursion.
//!
//! If a million Deferreds hold each other as results, freeing the first would nest a million calls.
//! So an object that dies while little stack is left is queued. (The same happens if the object has
//! a failure to report and there is too little stack for that.) The next deallocation of ours that
//! finishes with enough stack frees the queue; usually that is one further up the same stack.
//!
//! There is no counter of nested calls and nobody owns the queue. So a finalizer that switches to
//! another greenlet and never returns leaves nothing in a wrong state.

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
#[cfg(Py_GIL_DISABLED)]
use super::pools_of_threads;
use super::stack;
use super::watching;
use crate::core::refusable;

/// All our classes. Empty before the module is initialized: there are no objects then.
static CLASSES: OnceLock<&'static [fn() -> &'static Class]> = OnceLock::new();

/// Set the list of our classes.
pub(crate) fn know_classes(all: &'static [fn() -> &'static Class]) {
    let _ = CLASSES.set(all);
}

/// What else a thread does as it ends, when it is not attached any more.
#[cfg(Py_GIL_DISABLED)]
static AT_END: OnceLock<fn()> = OnceLock::new();

/// Set what else each thread does as it ends, if it [is told](is_told_of_end) of that.
#[cfg(Py_GIL_DISABLED)]
pub(crate) fn at_end_of_threads(end: fn()) {
    let _ = AT_END.set(end);
}

/// Have this thread do it. False if it cannot be told, or is ending already.
#[cfg(Py_GIL_DISABLED)]
#[cold]
pub(crate) fn is_told_of_end() -> bool {
    has_will()
}

/// The number of queued objects in all threads.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The head of the list of objects left by threads that have ended or that cannot register a
/// [`Will`]: a [`Waiting`] or null.
static LEFT: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// The head of this thread's queue.
    static DEAD: Cell<Option<Waiting>> = const { Cell::new(None) };
    /// Hands the queue on when the thread ends.
    static WILL: Will = const { Will };
    /// Whether `WILL` is registered and has not run yet.
    static HAS_WILL: Cell<bool> = const { Cell::new(false) };
}

/// A dead object of a class or a subclass, as the class's `tp_dealloc` gets it on an attached
/// thread. It must be freed once, and gets no new references.
#[repr(transparent)]
pub(super) struct Dead<'a, T>(Borrowed<'a, 'a, T>);

impl<'a, T: Native> Dead<'a, T> {
    /// Check whether it is an instance of the class itself, without an instance dict or weak
    /// references.
    #[inline(always)]
    pub(super) fn plain(self) -> Result<Plain<'a, T>, Self> {
        let is_plain = is_exact::<T>(self.0.as_any()) && has_nothing_beside(&*self.0);
        if is_plain { Ok(Plain(self)) } else { Err(self) }
    }

    /// Free it in the general way.
    pub(super) fn free(self) {
        Corpse { object: self.0.as_ptr(), class: T::class() }.free();
    }

    /// Remove it from the collector's lists. It keeps its dict and its weak references; these give
    /// None, as its reference count stays 0.
    #[inline(always)]
    fn untrack(&self) {
        // SAFETY: attached; an object of a class whose objects the collector knows, as all of ours
        // are.
        unsafe { ffi::PyObject_GC_UnTrack(self.0.as_ptr().cast()) }
    }
}

impl<'a, T: Recycled> Dead<'a, T> {
    /// Its value.
    #[inline(always)]
    pub(super) fn value(&self) -> (Python<'a>, &T) {
        (self.0.py(), self.0.get())
    }

    /// What it holds. It is not locked for that, as nobody else can reach a dead object.
    #[inline(always)]
    pub(super) fn state(&self) -> &T::State {
        self.0.get().state().during_gc()
    }
}

/// A dead instance of the class itself, without an instance dict and weak references.
pub(super) struct Plain<'a, T>(Dead<'a, T>);

impl<'a, T: Recycled> Plain<'a, T> {
    pub(super) fn into_dead(self) -> Dead<'a, T> {
        self.0
    }

    /// Its value.
    #[inline(always)]
    pub(super) fn value(&self) -> (Python<'a>, &T) {
        self.0.value()
    }

    /// What it holds.
    #[inline(always)]
    pub(super) fn state(&self) -> &T::State {
        self.0.state()
    }

    /// Dispose of its value and return its memory. Also returns whether its finalizer has run: then
    /// the memory carries a mark that would keep the finalizer of the next object from running.
    /// Without a function that disposes of it, it is a light one.
    #[inline(always)]
    pub(super) fn into_memory(self, dispose: Option<impl FnOnce(&T)>) -> (Piece<T>, bool) {
        // No collection may see it any longer. Disposing of the value may run any code, but nobody
        // can reach the object.
        self.0.untrack();
        let (py, value) = self.value();
        let is_light = dispose.is_none();
        if let Some(dispose) = dispose {
            dispose(value);
        }
        let state = value.state().as_ptr();
        let object = self.0.0.as_ptr();
        // SAFETY: attached. The object is of the class itself, untracked, nobody else's, without a
        // dict and weak references, so its state is reached from here only; and its value has been
        // disposed of, so a piece is what it leaves. It gives up its hold on its type. (Without the
        // GIL, the piece keeps that for the next object.)
        unsafe {
            if is_light {
                T::dispose_of_light(&mut *state, py);
            }
            #[cfg(not(Py_GIL_DISABLED))]
            ffi::Py_DECREF(T::class().kind().cast());
            let is_finalized = ffi::PyObject_GC_IsFinalized(object) != 0;
            (Piece::left(NonNull::new_unchecked(object)), is_finalized)
        }
    }
}

/// A dead object on an attached thread, to be freed once, by the `tp_dealloc` of this class of
/// ours: the first one of ours in its MRO.
struct Corpse {
    object: *mut ffi::PyObject,
    class: &'static Class,
}

impl Corpse {
    /// Free it, and remove it from the list of living objects.
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

/// `tp_dealloc` of the classes that need nothing special.
pub(super) extern "C" fn dealloc<T: Native>(dead: Dead<'_, T>) {
    if !has_room_to_die::<T>() {
        return put_by(dead);
    }
    dead.free();
    finish();
}

/// Whether there is enough stack left to free an object of a class without its own `dealloc`.
#[inline(always)]
fn has_room_to_die<T: Native>() -> bool {
    if T::REPORTS { stack::has_room_to_report() } else { stack::has_room() }
}

/// Free the queued objects. Called at the end of each deallocation.
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

/// Remove the first object from this thread's queue.
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

/// Whether this thread's queue will be handed on when the thread ends. False if it is ending
/// already.
fn has_will() -> bool {
    /// More than registering a thread-local destructor takes. It is freed at once, so it is there
    /// for whoever allocates next.
    const SOME_MEMORY: usize = 4 << 10;
    if !HAS_WILL.get() {
        // If there were no memory to register it, the C library would end the process.
        let mut memory = Vec::<u8>::new();
        let there_is = refusable(|| memory.try_reserve_exact(SOME_MEMORY)).is_ok();
        // Keeps the optimizer from removing the allocation.
        drop(hint::black_box(memory));
        HAS_WILL.set(there_is && WILL.try_with(|_| ()).is_ok());
        #[cfg(Py_GIL_DISABLED)]
        if HAS_WILL.get() {
            pools_of_threads::open();
        }
    }
    HAS_WILL.get()
}

/// A dead object in a queue: of a class that the collector tracks, untracked itself, in one list
/// only, and owned by nobody else. Made by [`put_by`].
struct Waiting(NonNull<ffi::PyObject>);

impl Waiting {
    /// The word that links dead objects. As in CPython's trashcan, it is the one in the collector's
    /// header that points to the previous object; if the GIL may be off, it is the one that names
    /// the owning thread. The former has two bits that are flags and must be kept, such as whether
    /// the finalizer has run.
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

    /// Link it to the next object.
    fn link(&self, next: Option<Self>) {
        self.link_to(next.map_or(ptr::null_mut(), |next| next.0.as_ptr()));
    }

    /// Link it to the next one, a [`Waiting`] or null. Objects are aligned, so the flag bits are
    /// free.
    fn link_to(&self, next: *mut ffi::PyObject) {
        self.word().set((self.word().get() & MARKS) | next.expose_provenance());
    }

    /// The next object. That stays in the list: use this only to find the end, or to remove the
    /// first.
    fn next(&self) -> Option<Self> {
        let next = ptr::with_exposed_provenance_mut(self.word().get() & !MARKS);
        NonNull::new(next).map(Self)
    }

    /// Free it. It must have been removed from its list, and the thread must be attached.
    fn free(self) {
        if let Some(class) = self.class() {
            Corpse { object: self.0.as_ptr(), class }.free();
        }
    }

    /// Our class that has to free it: the first of ours in its MRO.
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

/// Leave a list of dead objects to whichever thread frees some next.
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

/// Hands on the queue of a thread that ends.
struct Will;

impl Drop for Will {
    fn drop(&mut self) {
        HAS_WILL.set(false);
        if let Some(first) = DEAD.take() {
            leave(first);
        }
        #[cfg(Py_GIL_DISABLED)]
        pools_of_threads::leave();
        #[cfg(Py_GIL_DISABLED)]
        AT_END.get().inspect(|end| end());
    }
}

/// Called in the main thread, soon after: free what other threads have left.
extern "C" fn free_left(_: *mut c_void) -> c_int {
    finish();
    0
}
