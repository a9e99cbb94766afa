//! Makes objects of our classes: memory for them, and the value in it.

use std::marker::PhantomData;
use std::ptr;

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyTuple, PyType};

use super::classes::{Native, Plain, Subclass};
use super::conversions::FromC;
use super::error::Result;
use super::in_flight::{new_exception, take_raised};
use super::kinds::Kind;
use super::lives;
use super::pools::{Pool, Recycled};
use super::watching;

/// Make an object of this very class: one allocation at most, no instance dict. `value` makes what
/// is in it, and runs no Python code; it is called when there is a place for that, so as to write
/// there at once.
///
/// PyO3 would go through `object.__new__`, which gives each instance a dict on CPython 3.11 and
/// 3.12.
#[inline(always)]
pub(crate) fn new_exact<'py, T: Recycled>(
    py: Python<'py>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    match T::pool().take(py) {
        Some(piece) => Ok(piece.fill(py, value)),
        None => new_without_pool(py, value),
    }
}

/// As [`new_exact`], where no memory is kept in the pool, perhaps because the class is watched.
#[inline(always)]
fn new_without_pool<'py, T: Recycled>(
    py: Python<'py>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    if T::WATCHED
        && watching::watching()
        && let Some(piece) = Pool::take(T::pool_while_watched(), py)
    {
        let object = piece.fill(py, value);
        note(&object);
        return Ok(object);
    }
    new_object(Subclass::itself(py), value)
}

/// Make an object of a class or a subclass of it, as [`new_exact`] does, in new memory.
#[inline(always)]
pub(super) fn new_object<'py, T: Recycled>(
    class: Subclass<'_, 'py, T>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    let object = Blank::allocate(class)?.fill(value);
    note(&object);
    Ok(object)
}

/// As [`new_exact`], of a class that is derived from another of ours, in new memory.
pub(crate) fn new_exact_derived<'py, T>(
    py: Python<'py>,
    base: impl FnOnce() -> T::BaseType,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>>
where
    T: Native + PyClass<Frozen = True> + Sync,
    T::BaseType: PyClass<Frozen = True> + Sync,
{
    let (base_part, own_part) = Blank::allocate(Subclass::<T>::itself(py))?.parts();
    base_part.fill(base);
    Ok(own_part.fill(value))
}

/// As [`new_object`], of a class that is derived from another of ours.
pub(super) fn new_derived<'py, T>(
    class: Subclass<'_, 'py, T>,
    base: impl FnOnce() -> T::BaseType,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>>
where
    T: PyClass<Frozen = True> + Sync,
    T::BaseType: Recycled,
{
    let (base_part, own_part) = Blank::allocate(class)?.parts();
    let base = base_part.fill(base);
    let object = own_part.fill(value);
    note(&base);
    Ok(object)
}

/// Note that an object of a class that is watched has been made, if that is wanted.
#[inline(always)]
fn note<T: Recycled>(object: &Bound<'_, T>) {
    if T::WATCHED && watching::watching() {
        let value = object.get();
        lives::born(object.as_any(), value, value.kind_of_outcome(object.py()));
    }
}

/// What is part of an exception object, where all zeros are a valid state that owns nothing:
/// `BaseException.__new__` leaves it so.
///
/// # Safety
///
/// That is so.
pub(crate) unsafe trait ZeroIsEmpty {}

/// Make an exception of this class with this value: what `__new__` and `__init__` do together. None
/// if the class does not come after `T`: a program can have it be anything.
pub(crate) fn new_exception_of<'py, T>(
    class: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
    value: T,
) -> Option<Result<Bound<'py, T>>>
where
    T: Plain + ZeroIsEmpty + PyClass<Frozen = True> + Sync,
{
    let blank = Blank::of_exceptions(Subclass::<T>::of(class)?, args);
    Some(blank.map(|blank| blank.fill(|| value)))
}

/// A new object, of which that part is yet to be written which is `T`'s alone, and not its base's.
/// It is zeroed, which owns nothing. No Python code and no collection runs until it is written.
struct Blank<'py, T>(Bound<'py, PyAny>, PhantomData<T>);

impl<'py, T> Blank<'py, T> {
    /// One of a class or a subclass, which the collector sees already.
    #[inline(always)]
    fn allocate(class: Subclass<'_, 'py, T>) -> Result<Self> {
        Ok(Self(allocate(class.py(), Kind::from(class.as_type()))?, PhantomData))
    }

    /// One that `BaseException.__new__` makes.
    fn of_exceptions(class: Subclass<'_, 'py, T>, args: &Bound<'py, PyTuple>) -> Result<Self>
    where
        T: ZeroIsEmpty,
    {
        match new_exception(class.as_type(), args) {
            Some(exception) => Ok(Self(exception.into_any(), PhantomData)),
            None => Err(take_raised(class.py()).into()),
        }
    }

    /// What is the base's, where that is to be written, too, and what is its own.
    fn parts(self) -> (Blank<'py, T::BaseType>, Self)
    where
        T: PyClass,
    {
        (Blank(self.0.clone(), PhantomData), self)
    }

    /// Write it.
    #[inline(always)]
    fn fill(self, value: impl FnOnce() -> T) -> Bound<'py, T>
    where
        T: PyClass<Frozen = True> + Sync,
    {
        // SAFETY: an object of `T`. The place that `get` refers to is in bounds and aligned by
        // PyO3's layout, and what is there owns nothing; nothing reads it before it is written.
        unsafe {
            let object = self.0.cast_into_unchecked::<T>();
            ptr::from_ref(object.get()).cast_mut().write(value());
            object
        }
    }
}

/// An object of a type, in zeroed memory, which the collector sees already: its dict and weak
/// references are null, as PyO3 has them at first.
#[inline(never)]
fn allocate<'py>(py: Python<'py>, kind: Kind<'_>) -> Result<Bound<'py, PyAny>> {
    // SAFETY: attached; a type object, alive. Every type has `tp_alloc`, and `object` has `tp_new`:
    // of a class that says that methods are missing, that says which; if it did not, it would make
    // the object. A new reference comes, or null with an exception in flight.
    unsafe {
        let kind = kind.as_ptr();
        let object = if ffi::PyType_HasFeature(kind, ffi::Py_TPFLAGS_IS_ABSTRACT) == 0 {
            let alloc = (*kind).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
            alloc(kind, 0)
        } else {
            let no_arguments = PyTuple::empty(py);
            match ffi::PyBaseObject_Type.tp_new {
                Some(object_new) => object_new(kind, no_arguments.as_ptr(), ptr::null_mut()),
                None => ffi::PyType_GenericAlloc(kind, 0),
            }
        };
        FromC::from_c(py, object)
    }
}
