//! Pools of memory that dead objects have left.
//!
//! Most Deferreds live for less than one Python call. So the memory of a few hundred is kept for
//! reuse, as CPython does for lists, dicts and frames. Without the GIL, each thread keeps some.

use std::marker::PhantomData;
#[cfg(not(Py_GIL_DISABLED))]
use std::mem;
use std::ptr::{self, NonNull};

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use super::cell::Shared;
use super::classes::Native;
#[cfg(Py_GIL_DISABLED)]
use super::{pools_of_threads as of_threads, watching::watching};

/// How many pieces of memory to keep for each class. None in debug builds, where tools that check
/// memory would not notice the use of a freed object.
#[cfg(not(Py_GIL_DISABLED))]
const KEPT: usize = if cfg!(debug_assertions) { 0 } else { 256 };

#[cfg(Py_GIL_DISABLED)]
unsafe extern "C" {
    /// The second half of `PyObject_Init`, which sets all of the header but the type.
    fn _Py_NewReference(object: *mut ffi::PyObject);
}

/// The memory of a dead object of exactly this class, header included. The value has been disposed
/// of; there is no instance dict and no weak reference; the collector does not track it.
pub(super) struct Piece<T>(NonNull<ffi::PyObject>, PhantomData<T>);

impl<T: Recycled> Piece<T> {
    /// Take what a dead object leaves.
    ///
    /// # Safety
    ///
    /// It must be as this type requires, and owned by nobody else.
    #[inline(always)]
    pub(super) unsafe fn left(object: NonNull<ffi::PyObject>) -> Self {
        Self(object, PhantomData)
    }

    /// Its address.
    pub(super) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Make an object in it. `value` must not run Python code.
    #[inline(always)]
    pub(super) fn fill(self, py: Python<'_>, value: impl FnOnce() -> T) -> Bound<'_, T> {
        // SAFETY: memory of an object of this very class, whose slots for a dict and weak
        // references are null, and whose value needs no drop: it is written before anything reads
        // it. The collector sees it from then on. (Without the GIL, it still has its type.)
        unsafe {
            #[cfg(not(Py_GIL_DISABLED))]
            let object = ffi::PyObject_Init(self.as_ptr(), T::class().kind());
            #[cfg(Py_GIL_DISABLED)]
            let object = self.as_ptr();
            #[cfg(Py_GIL_DISABLED)]
            _Py_NewReference(object);
            let object = Bound::from_owned_ptr(py, object).cast_into_unchecked::<T>();
            ptr::from_ref(object.get()).cast_mut().write(value());
            ffi::PyObject_GC_Track(object.as_ptr().cast());
            object
        }
    }

    /// Free it.
    pub(super) fn free(self) {
        // SAFETY: memory of an object that the collector knows, without a value, and untracked.
        unsafe { ffi::PyObject_GC_Del(self.as_ptr().cast()) }
    }
}

/// The classes that have pools. Each is named by its own [`Recycled::pool`] only: what is in a pool
/// is memory of objects of that class.
#[derive(Clone, Copy)]
pub(crate) enum Pooled {
    Deferred,
    Task,
    Awaiting,
    Place,
    Fifo,
    Queue,
    Wakeup,
}

/// A pool for the objects of one class.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) struct Pool<T>(Shared<Kept<T>>);

/// A pool for the objects of one class, in each thread.
#[cfg(Py_GIL_DISABLED)]
pub(crate) struct Pool<T>(Pooled, PhantomData<fn(T)>);

#[cfg(not(Py_GIL_DISABLED))]
struct Kept<T> {
    count: usize,
    /// How many of these hold a piece.
    places: [Option<NonNull<ffi::PyObject>>; KEPT],
    of: PhantomData<T>,
}

// SAFETY: the pieces belong to nobody else, and are no thread's in particular.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl<T> Send for Kept<T> {}

#[cfg(not(Py_GIL_DISABLED))]
impl<T: Recycled> Pool<T> {
    /// An empty one, for this class.
    pub(crate) const fn new(_of: Pooled) -> Self {
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

    /// Free all memory and keep none from now on; or start keeping some again.
    pub(crate) fn close(&self, py: Python<'_>, closed: bool) {
        /// More than any number of pieces. [`Pool::take`] then finds none, and decrements the count
        /// each time, which will not reach zero in anybody's lifetime.
        const CLOSED: usize = usize::MAX / 2;
        let (count, places) = self.0.with(py, |kept| {
            let count = mem::replace(&mut kept.count, if closed { CLOSED } else { 0 });
            (if count > KEPT { 0 } else { count }, kept.places)
        });
        for piece in places.into_iter().take(count).flatten() {
            Piece::<T>(piece, PhantomData).free();
        }
    }

    /// Keep a piece of memory. Returns it if the pool is full.
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

#[cfg(Py_GIL_DISABLED)]
impl<T: Recycled> Pool<T> {
    /// An empty one, for this class.
    pub(crate) const fn new(of: Pooled) -> Self {
        Self(of, PhantomData)
    }

    #[inline(always)]
    pub(super) fn take(&self, _py: Python<'_>) -> Option<Piece<T>> {
        if T::WATCHED && watching() {
            return None;
        }
        of_threads::take(self.0 as usize).map(|piece| Piece(piece, PhantomData))
    }

    /// While the class is watched, no pool is used. What is in one stays there.
    pub(crate) fn close(&self, _py: Python<'_>, _closed: bool) {}

    /// Keep a piece of memory. Returns it if the pool is full.
    #[inline(always)]
    pub(super) fn keep(&self, _py: Python<'_>, piece: Piece<T>) -> Option<Piece<T>> {
        let is_closed = T::WATCHED && watching();
        if !is_closed && of_threads::keep(self.0 as usize, piece.0) { None } else { Some(piece) }
    }
}

/// A class of ours with many short-lived objects.
pub(crate) trait Recycled: Native + PyClass<Frozen = True> + Sync {
    /// Whether its living objects can be listed: see [`lives`](super::lives).
    const WATCHED: bool = false;

    /// If it is watched, the kind of its outcome as a number, or 0 for none.
    fn kind_of_outcome(&self, _py: Python<'_>) -> u32 {
        0
    }

    /// What it holds.
    type State;

    /// What it holds.
    fn state(&self) -> &Shared<Self::State>;

    /// Its pool.
    fn pool() -> &'static Pool<Self>;

    /// Its pool while it is watched. The other one is closed then, so that creation and death take
    /// the paths on which they are recorded.
    fn pool_while_watched() -> &'static Pool<Self> {
        Self::pool()
    }

    /// Whether [`Recycled::dispose`] does nothing but drop references.
    fn dies_quietly(state: &Self::State) -> bool;

    /// Whether it holds something that [`Recycled::dispose`] does not drop: then it is freed in the
    /// general way.
    #[inline(always)]
    fn holds_more(&self) -> bool {
        false
    }

    /// Whether dropping it frees no other object of ours, directly or indirectly.
    fn is_light(state: &Self::State, py: Python<'_>) -> bool;

    /// Drop all that a light object can hold.
    fn dispose_of_light(state: &mut Self::State, py: Python<'_>);

    /// Drop all that this holds. What is left needs no drop.
    fn dispose(&self, py: Python<'_>);
}
