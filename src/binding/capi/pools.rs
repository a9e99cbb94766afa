//! Memory of dead objects, kept for those to come.
//!
//! Most Deferreds live for less than one Python call. So the memory of a few hundred is kept for
//! reuse, as CPython does for lists, dicts and frames.

use std::marker::PhantomData;
use std::mem;
use std::ptr::{self, NonNull};

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use super::cell::Shared;
use super::classes::Native;

/// How many pieces of memory are kept for each class: none where memory is watched over. There, one
/// that is used after it was freed would pass for the next that it has become. Nor where several
/// threads run at once: the interpreter's allocator keeps memory for each thread, and the collector
/// finds objects by looking through that.
const KEPT: usize = if cfg!(any(debug_assertions, Py_GIL_DISABLED)) { 0 } else { 256 };

/// Memory that an object of this very class has left, header included: its value has been disposed
/// of, it has no dict and no weak references, and the collector does not see it.
pub(super) struct Piece<T>(NonNull<ffi::PyObject>, PhantomData<T>);

impl<T: Recycled> Piece<T> {
    /// What a dead object leaves.
    ///
    /// # Safety
    ///
    /// It is as the type says, and nobody else's.
    #[inline(always)]
    pub(super) unsafe fn left(object: NonNull<ffi::PyObject>) -> Self {
        Self(object, PhantomData)
    }

    /// Where it is.
    pub(super) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Make an object of it. `value` runs no Python code.
    #[inline(always)]
    pub(super) fn fill(self, py: Python<'_>, value: impl FnOnce() -> T) -> Bound<'_, T> {
        // SAFETY: memory of an object of this very class, whose slots for a dict and weak
        // references are null, and whose value needs no drop: it is written before anything reads
        // it. The collector sees it from then on.
        unsafe {
            let object = ffi::PyObject_Init(self.as_ptr(), T::class().kind());
            let object = Bound::from_owned_ptr(py, object).cast_into_unchecked::<T>();
            ptr::from_ref(object.get()).cast_mut().write(value());
            ffi::PyObject_GC_Track(object.as_ptr().cast());
            object
        }
    }

    /// Give it back.
    pub(super) fn free(self) {
        // SAFETY: memory of an object that the collector knows, without a value, and untracked.
        unsafe { ffi::PyObject_GC_Del(self.as_ptr().cast()) }
    }
}

/// Memory of objects of one class.
pub(crate) struct Pool<T>(Shared<Kept<T>>);

struct Kept<T> {
    count: usize,
    /// Of these, so many are pieces.
    places: [Option<NonNull<ffi::PyObject>>; KEPT],
    of: PhantomData<T>,
}

// SAFETY: the pieces belong to nobody else, and are no thread's in particular.
unsafe impl<T> Send for Kept<T> {}

impl<T: Recycled> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self(Shared::new(Kept { count: 0, places: [None; KEPT], of: PhantomData }))
    }

    #[inline]
    pub(super) fn take(&self, py: Python<'_>) -> Option<Piece<T>> {
        if KEPT == 0 {
            return None;
        }
        let piece = self.0.with(py, |kept| {
            kept.count = kept.count.checked_sub(1)?;
            kept.places.get(kept.count).copied()?
        })?;
        Some(Piece(piece, PhantomData))
    }

    /// Let go of all memory, and keep none from now on; or keep some again.
    pub(crate) fn close(&self, py: Python<'_>, closed: bool) {
        /// A count of pieces above all that there can be. [`Pool::take`] finds none there, and
        /// makes it one less each time, which nobody lives to see come to an end.
        const CLOSED: usize = usize::MAX / 2;
        let (count, places) = self.0.with(py, |kept| {
            let count = mem::replace(&mut kept.count, if closed { CLOSED } else { 0 });
            (if count > KEPT { 0 } else { count }, kept.places)
        });
        for piece in places.into_iter().take(count).flatten() {
            Piece::<T>(piece, PhantomData).free();
        }
    }

    /// Keep a piece of memory. It is returned if the pool is full.
    #[inline]
    pub(super) fn keep(&self, py: Python<'_>, piece: Piece<T>) -> Option<Piece<T>> {
        if KEPT == 0 {
            return Some(piece);
        }
        self.0.with(py, |kept| match kept.places.get_mut(kept.count) {
            Some(place) => {
                *place = Some(piece.0);
                kept.count += 1;
                None
            }
            None => Some(piece),
        })
    }
}

/// A class of ours whose objects come and go quickly.
pub(crate) trait Recycled: Native + PyClass<Frozen = True> + Sync {
    /// Whether a list of those that are alive can be asked for: see [`lives`](super::lives).
    const WATCHED: bool = false;

    /// What it has been fired with, as a number, if it is watched; 0 for nothing.
    fn kind_of_outcome(&self, _py: Python<'_>) -> u32 {
        0
    }

    /// Memory that is kept for it.
    fn pool() -> &'static Pool<Self>;

    /// Memory that is kept while it is watched: the other pool is closed then, so that those that
    /// are made and freed come by where that is noted.
    fn pool_while_watched() -> &'static Pool<Self> {
        Self::pool()
    }

    /// Whether [`Recycled::dispose`] cannot do more than let references go.
    fn dies_quietly(&self, py: Python<'_>) -> bool;

    /// Whether nothing of ours can die of it, nor anything that leads there.
    fn is_light(&self, py: Python<'_>) -> bool;

    /// Let go of what a light one can hold.
    fn dispose_of_light(&self, py: Python<'_>);

    /// Let go of all that this holds. What is left needs no drop.
    fn dispose(&self, py: Python<'_>);
}
