//! Our own classes: cached facts about them, and exact type checks.

use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicPtr, AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::{Borrowed, PyClass};

use super::error::Result;
use super::inspect::is_subtype;
use super::kinds::Kind;

/// A class of ours.
pub(crate) trait Native: PyClass {
    /// Whether a dying object may have a failure to report, which takes more stack. (Classes with a
    /// `dealloc` of their own decide that for each object.)
    const REPORTS: bool = false;

    /// The cached facts.
    fn class() -> &'static Class;
}

/// Cached facts about a class.
pub(crate) struct Class {
    /// The address of the type object, for comparisons. PyO3 knows it as well, but checks each time
    /// whether the type has been made.
    kind: AtomicPtr<ffi::PyTypeObject>,
    /// The type object.
    object: PyOnceLock<Py<PyType>>,
    /// The offsets of the instance dict and of the weak references in its objects.
    dict_offset: AtomicIsize,
    weak_offset: AtomicIsize,
    /// PyO3's `tp_dealloc`, which can free any of its objects.
    pyo3_dealloc: OnceLock<ffi::destructor>,
    /// The original `tp_traverse` of the class and of its base, each for its own fields.
    pub(super) traverses: OnceLock<[ffi::traverseproc; 2]>,
    /// The original `tp_clear` of the class and of its base.
    pub(super) clears: OnceLock<[Option<ffi::inquiry>; 2]>,
}

impl Class {
    pub(crate) const fn new() -> Self {
        Self {
            kind: AtomicPtr::new(ptr::null_mut()),
            object: PyOnceLock::new(),
            dict_offset: AtomicIsize::new(0),
            weak_offset: AtomicIsize::new(0),
            pyo3_dealloc: OnceLock::new(),
            traverses: OnceLock::new(),
            clears: OnceLock::new(),
        }
    }

    /// Cache the facts, before any slot is changed. Returns whether this was the first time.
    pub(super) fn know<T: Native>(py: Python<'_>) -> bool {
        let (class, kind) = (T::class(), Kind::of::<T>(py));
        let slots = kind.slots(py);
        class.dict_offset.store(slots.dict_offset, Ordering::Relaxed);
        class.weak_offset.store(slots.weak_offset, Ordering::Relaxed);
        class.kind.store(kind.as_ptr(), Ordering::Relaxed);
        let _ = class.object.set(py, py.get_type::<T>().unbind());
        slots.dealloc.is_some_and(|dealloc| class.pyo3_dealloc.set(dealloc).is_ok())
    }

    /// The address of the type object. Null until the module has been initialized.
    #[inline(always)]
    pub(super) fn kind(&self) -> *mut ffi::PyTypeObject {
        self.kind.load(Ordering::Relaxed)
    }

    /// The offset of the instance dict in its objects, or 0.
    #[inline(always)]
    pub(super) fn dict_offset(&self) -> ffi::Py_ssize_t {
        self.dict_offset.load(Ordering::Relaxed)
    }

    /// The offset of the first weak reference in its objects, or 0.
    #[inline(always)]
    pub(super) fn weak_offset(&self) -> ffi::Py_ssize_t {
        self.weak_offset.load(Ordering::Relaxed)
    }

    /// The function that frees an object of this class, or the part of a subclass's object that
    /// belongs to this class. It must be called once, for a dead object, on an attached thread.
    pub(super) fn destructor(&self) -> Option<ffi::destructor> {
        self.pyo3_dealloc.get().copied()
    }
}

/// A class of ours or a subclass, as `tp_new` gets it.
#[repr(transparent)]
pub(super) struct Subclass<'a, 'py, T>(Borrowed<'a, 'py, PyType>, PhantomData<T>);

impl<T> Clone for Subclass<'_, '_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Subclass<'_, '_, T> {}

impl<'a, 'py, T> Subclass<'a, 'py, T> {
    pub(super) fn py(&self) -> Python<'py> {
        self.0.py()
    }

    /// The class as a type object.
    pub(super) fn as_type(&self) -> &Bound<'py, PyType> {
        &self.0
    }

    /// The class of ours itself.
    #[inline(always)]
    pub(super) fn itself(py: Python<'py>) -> Self
    where
        T: Native,
    {
        let class = T::class().object.get_or_init(py, || py.get_type::<T>().unbind());
        Self(class.bind_borrowed(py), PhantomData)
    }

    /// Check that a class derives from `T`: a program can pass any class.
    pub(super) fn of(class: &'a Bound<'py, PyType>) -> Option<Self>
    where
        T: Plain,
    {
        let is_one = T::is_plain(class) || is_subtype(class, &class.py().get_type::<T>());
        is_one.then(|| Self(class.as_borrowed(), PhantomData))
    }
}

/// A class that can tell whether its `__init__` has been replaced.
pub(crate) trait Plain: Native {
    /// The original `tp_init` slot.
    fn init() -> &'static InitSlot;

    /// Whether a class, which must derive from `Self`, still has the original `__init__`.
    #[inline(always)]
    fn is_plain(class: &Bound<'_, PyType>) -> bool {
        Self::init().is_in(class)
    }
}

/// The content of a type's `tp_init` slot when the module was initialized. It is only ever
/// compared, never called.
pub(crate) struct InitSlot(AtomicUsize);

impl InitSlot {
    /// Not known yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn read(py: Python<'_>, kind: Kind<'_>) -> usize {
        kind.slots(py).init.map_or(0, |init| init as usize)
    }

    /// Remember the current content.
    pub(crate) fn remember<T: Plain>(&self, py: Python<'_>) {
        let there = Self::read(py, Kind::of::<T>(py));
        // Once: where the module is made anew, a program may have replaced it.
        let _ = self.0.compare_exchange(0, there, Ordering::Relaxed, Ordering::Relaxed);
    }

    #[inline(always)]
    fn is_in(&self, class: &Bound<'_, PyType>) -> bool {
        self.0.load(Ordering::Relaxed) == Self::read(class.py(), Kind::from(class))
    }
}

/// Whether an object's type is exactly this class.
#[inline(always)]
pub(crate) fn is_exact<T: Native>(object: &Bound<'_, PyAny>) -> bool {
    ptr::eq(object.get_type_ptr(), T::class().kind())
}

/// Cast an object whose type is exactly this class.
#[inline(always)]
pub(crate) fn as_exact<'a, 'py, T: Native>(
    object: &'a Bound<'py, PyAny>,
) -> Option<&'a Bound<'py, T>> {
    // SAFETY: the type is that of `T`.
    is_exact::<T>(object).then(|| unsafe { object.cast_unchecked::<T>() })
}

/// Cast an object whose type is exactly this class, or return it.
#[inline(always)]
pub(crate) fn into_exact<T: Native>(
    object: Bound<'_, PyAny>,
) -> Result<Bound<'_, T>, Bound<'_, PyAny>> {
    if is_exact::<T>(&object) {
        // SAFETY: the type is that of `T`.
        Ok(unsafe { object.cast_into_unchecked::<T>() })
    } else {
        Err(object)
    }
}
