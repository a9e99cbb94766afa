//! Classes of ours: what is known of each, and whether a class or an object is of one.

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
    /// Whether an object that dies may have a failure to report, which takes more of the stack. (Of
    /// one with a `dealloc` of its own, that is asked of each object.)
    const REPORTS: bool = false;

    /// What is known of it.
    fn class() -> &'static Class;
}

/// What is known of a class.
pub(crate) struct Class {
    /// Where the type object is, to be compared. PyO3 knows it, too, but asks each time whether it
    /// has been made.
    kind: AtomicPtr<ffi::PyTypeObject>,
    /// The type object.
    object: PyOnceLock<Py<PyType>>,
    /// Where its objects have the slots for their dict and for weak references.
    dict_offset: AtomicIsize,
    weak_offset: AtomicIsize,
    /// What frees its objects, whatever has happened to them: what PyO3 had in the slot.
    pyo3_dealloc: OnceLock<ffi::destructor>,
    /// What shows the collector the part of its objects that is its, and what the other, which is
    /// the base's: what had been in their slots.
    pub(super) traverses: OnceLock<[ffi::traverseproc; 2]>,
    /// What takes its objects out of a ring, one after the other: what had been in the slots of the
    /// class and of its base.
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

    /// Remember what there is to be known, before anything is changed. Returns whether nothing has
    /// been changed yet.
    pub(super) fn know<T: Native>(py: Python<'_>) -> bool {
        let (class, kind) = (T::class(), Kind::of::<T>(py));
        let slots = kind.slots(py);
        class.dict_offset.store(slots.dict_offset, Ordering::Relaxed);
        class.weak_offset.store(slots.weak_offset, Ordering::Relaxed);
        class.kind.store(kind.as_ptr(), Ordering::Relaxed);
        let _ = class.object.set(py, py.get_type::<T>().unbind());
        slots.dealloc.is_some_and(|dealloc| class.pyo3_dealloc.set(dealloc).is_ok())
    }

    /// Where the type object is. Null until the module is made.
    #[inline(always)]
    pub(super) fn kind(&self) -> *mut ffi::PyTypeObject {
        self.kind.load(Ordering::Relaxed)
    }

    /// Where its objects have their dict. 0 for nowhere.
    #[inline(always)]
    pub(super) fn dict_offset(&self) -> ffi::Py_ssize_t {
        self.dict_offset.load(Ordering::Relaxed)
    }

    /// Where its objects have the first weak reference to them. 0 for nowhere.
    #[inline(always)]
    pub(super) fn weak_offset(&self) -> ffi::Py_ssize_t {
        self.weak_offset.load(Ordering::Relaxed)
    }

    /// What frees an object of the class, or that part of an object of a subclass which is its: to
    /// be called once for a dead one, attached.
    pub(super) fn destructor(&self) -> Option<ffi::destructor> {
        self.pyo3_dealloc.get().copied()
    }
}

/// A class of ours or one that comes after it, as `tp_new` gets it.
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

    /// As a type.
    pub(super) fn as_type(&self) -> &Bound<'py, PyType> {
        &self.0
    }

    /// The class itself.
    #[inline(always)]
    pub(super) fn itself(py: Python<'py>) -> Self
    where
        T: Native,
    {
        let class = T::class().object.get_or_init(py, || py.get_type::<T>().unbind());
        Self(class.bind_borrowed(py), PhantomData)
    }

    /// A class, if it is one that comes after `T`: a program can have it be anything.
    pub(super) fn of(class: &'a Bound<'py, PyType>) -> Option<Self>
    where
        T: Plain,
    {
        let is_one = T::is_plain(class) || is_subtype(class, &class.py().get_type::<T>());
        is_one.then(|| Self(class.as_borrowed(), PhantomData))
    }
}

/// A class of which it is known whether a program has replaced its `__init__`.
pub(crate) trait Plain: Native {
    /// What stood in its slot at first.
    fn init() -> &'static InitSlot;

    /// Whether nobody has replaced `__init__`, as this class has it. Such a class comes after
    /// `Self`.
    #[inline(always)]
    fn is_plain(class: &Bound<'_, PyType>) -> bool {
        Self::init().is_in(class)
    }
}

/// What stood in the `tp_init` slot of a type when the module was made: to be recognised and not to
/// be called.
pub(crate) struct InitSlot(AtomicUsize);

impl InitSlot {
    /// Not known yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn read(py: Python<'_>, kind: Kind<'_>) -> usize {
        kind.slots(py).init.map_or(0, |init| init as usize)
    }

    /// Remember what stands there now.
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

/// An object as one of this very class.
#[inline(always)]
pub(crate) fn as_exact<'a, 'py, T: Native>(
    object: &'a Bound<'py, PyAny>,
) -> Option<&'a Bound<'py, T>> {
    // SAFETY: the type is that of `T`.
    is_exact::<T>(object).then(|| unsafe { object.cast_unchecked::<T>() })
}

/// An object as one of this very class, or itself if it is none.
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
