//! Allocates objects of our classes and writes their values.

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

/// Make an object of exactly class `T`, with at most one allocation and no instance dict. `value`
/// builds the value in place, after the memory is there. It must not run Python code.
///
/// PyO3 would call `object.__new__`, which gives each instance a dict on CPython 3.11 and 3.12.
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

/// [`new_exact`] when the pool has nothing to offer, for instance because the class is watched.
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

/// Like [`new_exact`], for a class or a subclass of it, always in new memory.
#[inline(always)]
pub(super) fn new_object<'py, T: Recycled>(
    class: Subclass<'_, 'py, T>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    let object = Blank::allocate(class)?.fill(value);
    note(&object);
    Ok(object)
}

/// Like [`new_exact`], for a class that derives from another class of ours, always in new memory.
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

/// Like [`new_object`], for a class that derives from another class of ours.
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

/// Record the birth of an object of a watched class, if anybody is watching.
#[inline(always)]
fn note<T: Recycled>(object: &Bound<'_, T>) {
    if T::WATCHED && watching::watching() {
        let value = object.get();
        lives::born(object.as_any(), value, value.kind_of_outcome(object.py()));
    }
}

/// The fields that a class of ours adds to an exception object.
///
/// # Safety
///
/// All zeros must be a valid state that owns nothing: that is what `BaseException.__new__` leaves.
pub(crate) unsafe trait ZeroIsEmpty {}

/// Make an exception of this class with this value, as `__new__` and `__init__` do together.
/// Returns None if the class does not derive from `T`: a program can pass any class.
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

/// A new object whose `T` fields have not been written yet; those of its base may have been. They
/// are zeroed and own nothing. No Python code and no collection may run until they are written.
struct Blank<'py, T>(Bound<'py, PyAny>, PhantomData<T>);

impl<'py, T> Blank<'py, T> {
    /// Allocate an object of a class or a subclass. The collector tracks it already.
    #[inline(always)]
    fn allocate(class: Subclass<'_, 'py, T>) -> Result<Self> {
        Ok(Self(allocate(class.py(), Kind::from(class.as_type()))?, PhantomData))
    }

    /// Allocate an exception through `BaseException.__new__`.
    fn of_exceptions(class: Subclass<'_, 'py, T>, args: &Bound<'py, PyTuple>) -> Result<Self>
    where
        T: ZeroIsEmpty,
    {
        match new_exception(class.as_type(), args) {
            Some(exception) => Ok(Self(exception.into_any(), PhantomData)),
            None => Err(take_raised(class.py()).into()),
        }
    }

    /// Split into the fields of the base, if those have to be written too, and its own.
    fn parts(self) -> (Blank<'py, T::BaseType>, Self)
    where
        T: PyClass,
    {
        (Blank(self.0.clone(), PhantomData), self)
    }

    /// Write the value.
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

/// Allocate a zeroed object of a type. The collector tracks it already. Its dict and its list of
/// weak references are null, as PyO3 has them at first.
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
