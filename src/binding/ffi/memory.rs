//! The classes of short-lived objects: their memory, kept for the next, and their type, at hand.
//!
//! Most Deferreds live for less than a call of Python. As CPython does for its own lists, dicts
//! and frames, what a few hundred of them leave is not given back to the allocator.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::{Borrowed, PyClass};

use super::super::cell::Shared;
use super::super::error::Result;

/// How many pieces of memory are kept for each class.
const KEPT: usize = 256;

/// What is kept of a class.
pub(in crate::binding) struct Class {
    /// The type object. PyO3 knows it, too, but asks each time whether it has been made.
    kind: AtomicPtr<ffi::PyTypeObject>,
    /// Where its objects have the slots for their dict and for weak references.
    dict_offset: AtomicIsize,
    weak_offset: AtomicIsize,
    /// Memory of objects, header included, with nothing in it.
    kept: Shared<Kept>,
    /// What frees objects that are not as most are.
    pyo3_dealloc: OnceLock<ffi::destructor>,
}

struct Kept {
    count: usize,
    pieces: [*mut ffi::PyObject; KEPT],
}

// SAFETY: the pieces belong to nobody else, and are no thread's in particular.
unsafe impl Send for Kept {}

impl Class {
    pub(in crate::binding) const fn new() -> Self {
        let kept = Kept { count: 0, pieces: [ptr::null_mut(); KEPT] };
        Self {
            kind: AtomicPtr::new(ptr::null_mut()),
            dict_offset: AtomicIsize::new(0),
            weak_offset: AtomicIsize::new(0),
            kept: Shared::new(kept),
            pyo3_dealloc: OnceLock::new(),
        }
    }

    /// The type object. Null until the module is made.
    #[inline(always)]
    pub(super) fn kind(&self) -> *mut ffi::PyTypeObject {
        self.kind.load(Ordering::Relaxed)
    }

    /// Whether an object of the class, or of a subclass, has a dict.
    ///
    /// # Safety
    ///
    /// The object is one.
    #[inline(always)]
    pub(super) unsafe fn has_dict(&self, object: *mut ffi::PyObject) -> bool {
        // SAFETY: the caller's promise.
        unsafe { !is_unused(object, self.dict_offset.load(Ordering::Relaxed)) }
    }

    #[inline]
    fn take(&self, py: Python<'_>) -> Option<*mut ffi::PyObject> {
        self.kept.with(py, |kept| {
            kept.count = kept.count.checked_sub(1)?;
            kept.pieces.get(kept.count).copied()
        })
    }

    /// False if there is no room for it.
    #[inline]
    fn keep(&self, py: Python<'_>, piece: *mut ffi::PyObject) -> bool {
        self.kept.with(py, |kept| match kept.pieces.get_mut(kept.count) {
            Some(place) => {
                *place = piece;
                kept.count += 1;
                true
            }
            None => false,
        })
    }
}

/// A class of ours whose objects come and go quickly.
pub(in crate::binding) trait Recycled: PyClass<Frozen = True> + Sync {
    /// What is kept of it.
    fn class() -> &'static Class;

    /// Whether [`Recycled::dispose`] cannot do more than let references go.
    fn dies_quietly(&self, py: Python<'_>) -> bool;

    /// Let go of all that this holds. What is left needs no drop.
    fn dispose(&self, py: Python<'_>);
}

/// Whether an object is of this very class.
#[inline(always)]
pub(in crate::binding) fn is_exact<T: Recycled>(object: &Bound<'_, PyAny>) -> bool {
    ptr::eq(object.get_type_ptr(), T::class().kind())
}

/// An object as one of this very class.
#[inline(always)]
pub(in crate::binding) fn as_exact<'a, 'py, T: Recycled>(
    object: &'a Bound<'py, PyAny>,
) -> Option<&'a Bound<'py, T>> {
    // SAFETY: the type is that of `T`.
    is_exact::<T>(object).then(|| unsafe { object.cast_unchecked::<T>() })
}

/// An object as one of this very class, or itself if it is none.
#[inline(always)]
pub(in crate::binding) fn into_exact<T: Recycled>(
    object: Bound<'_, PyAny>,
) -> Result<Bound<'_, T>, Bound<'_, PyAny>> {
    if is_exact::<T>(&object) {
        // SAFETY: the type is that of `T`.
        Ok(unsafe { object.cast_into_unchecked::<T>() })
    } else {
        Err(object)
    }
}

/// Make an object of this very class: one allocation at most, no instance dict. `value` makes what
/// is in it, and runs no Python code; it is called when there is a place for that, so as to write
/// there at once.
///
/// PyO3 would go through `object.__new__`, which gives each instance a dict on CPython 3.11 and
/// 3.12.
#[inline(always)]
pub(super) fn new_exact<'py, T: Recycled>(
    py: Python<'py>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    let class = T::class();
    let Some(memory) = class.take(py) else {
        // SAFETY: the type of `T`.
        return unsafe { new_object(py, class.kind(), value) };
    };
    // SAFETY: memory that an object of this very type has left: its slots for a dict and weak
    // references are null, as `dealloc` has seen, and its value was dropped, so it is written
    // before anything reads it. The collector sees it from then on.
    unsafe {
        let object = Bound::from_owned_ptr(py, ffi::PyObject_Init(memory, class.kind()));
        let object = object.cast_into_unchecked::<T>();
        ptr::from_ref(object.get()).cast_mut().write(value());
        ffi::PyObject_GC_Track(object.as_ptr().cast());
        Ok(object)
    }
}

/// Make an object of a class or a subclass of it, as [`new_exact`] does, in new memory.
///
/// # Safety
///
/// `kind` is the type of `T` or a subclass of it.
#[inline(always)]
pub(super) unsafe fn new_object<'py, T: Recycled>(
    py: Python<'py>,
    kind: *mut ffi::PyTypeObject,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    // SAFETY: by the caller's promise the object is one of `T`. The place that `get` refers to is
    // in bounds and aligned by PyO3's layout; the memory there is zeroed, and written before
    // anything reads it: no Python code and no collection runs between the allocation and this
    // write. The dict and weak reference slots beside it are null, as PyO3 has them at first.
    unsafe {
        let object = allocate(py, kind)?.cast_into_unchecked::<T>();
        ptr::from_ref(object.get()).cast_mut().write(value());
        Ok(object)
    }
}

/// An object of a type, in zeroed memory, which the collector sees already.
///
/// # Safety
///
/// `kind` is a type object, alive.
#[inline(never)]
unsafe fn allocate(py: Python<'_>, kind: *mut ffi::PyTypeObject) -> Result<Bound<'_, PyAny>> {
    // SAFETY: every type has `tp_alloc`, which returns a new object, or null with an exception in
    // flight.
    unsafe {
        let alloc = (*kind).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
        Ok(Bound::from_owned_ptr_or_err(py, alloc(kind, 0))?)
    }
}

/// Have objects of a class freed by [`dealloc`].
///
/// # Safety
///
/// The type is complete, and no object of it has been made.
pub(super) unsafe fn recycle<T: Recycled>(py: Python<'_>) {
    let (kind, class) = (T::type_object_raw(py), T::class());
    // SAFETY: the caller's promise; every type of PyO3's has `tp_dealloc`.
    unsafe {
        if let Some(pyo3_dealloc) = (*kind).tp_dealloc
            && class.pyo3_dealloc.set(pyo3_dealloc).is_ok()
        {
            (*kind).tp_dealloc = Some(dealloc::<T>);
        }
        class.dict_offset.store((*kind).tp_dictoffset, Ordering::Relaxed);
        class.weak_offset.store((*kind).tp_weaklistoffset, Ordering::Relaxed);
        class.kind.store(kind, Ordering::Relaxed);
    }
}

/// `tp_dealloc`: what PyO3's does, but quicker for objects of the class itself that nothing
/// special has happened to.
unsafe extern "C" fn dealloc<T: Recycled>(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls `tp_dealloc` attached, with an object of the type or of a
    // subclass that nobody refers to any more.
    unsafe {
        let py = Python::assume_attached();
        let class = T::class();
        let kind = class.kind();
        let value = object_value::<T>(object);
        let plain = ffi::Py_TYPE(object) == kind
            && is_unused(object, class.dict_offset.load(Ordering::Relaxed))
            && is_unused(object, class.weak_offset.load(Ordering::Relaxed))
            && (*value).dies_quietly(py);
        if !plain {
            if let Some(pyo3_dealloc) = class.pyo3_dealloc.get() {
                pyo3_dealloc(object);
            }
            return;
        }
        // No collection may see the object from here on. Disposing of the value may run any code,
        // but nobody can reach the object.
        ffi::PyObject_GC_UnTrack(object.cast());
        (*value).dispose(py);
        // One that the collector has asked for its last words carries a mark that would keep the
        // next one from being asked.
        if ffi::PyObject_GC_IsFinalized(object) != 0 || !class.keep(py, object) {
            ffi::PyObject_GC_Del(object.cast());
        }
        // The object's hold on its type.
        ffi::Py_DECREF(kind.cast());
    }
}

/// Where an object has its value.
///
/// # Safety
///
/// An object of `T`, attached.
unsafe fn object_value<T: Recycled>(object: *mut ffi::PyObject) -> *mut T {
    // SAFETY: the caller's promise. The reference is borrowed, and given up before the object dies.
    unsafe {
        let py = Python::assume_attached();
        let object = Borrowed::from_ptr(py, object).cast_unchecked::<T>();
        ptr::from_ref(object.get()).cast_mut()
    }
}

/// Whether a slot of an object holds nothing, or there is no such slot.
///
/// # Safety
///
/// An object whose type has this offset for a slot, or 0 for none.
#[inline]
unsafe fn is_unused(object: *mut ffi::PyObject, offset: ffi::Py_ssize_t) -> bool {
    // SAFETY: the caller's promise.
    unsafe { offset == 0 || (*object.byte_offset(offset).cast::<*mut ffi::PyObject>()).is_null() }
}
