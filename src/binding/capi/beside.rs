//! What an object has beside its value: its dict, and weak references to it.

use std::marker::PhantomData;
use std::ptr;

use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{Borrowed, PyTypeInfo};

use super::classes::Native;
use super::error::{Raised, Result};
use super::inspect::is_key_of;
use super::kinds::Kind;
use super::safe;

/// Where the objects of a class, and of those after it, have a slot for a reference to another
/// object. Nowhere if that is not above 0.
struct Offset<T>(ffi::Py_ssize_t, PhantomData<T>);

impl<T: Native> Offset<T> {
    /// That of the dict.
    #[inline(always)]
    fn of_dict() -> Self {
        Self(T::class().dict_offset(), PhantomData)
    }

    /// That of the first weak reference.
    #[inline(always)]
    fn of_weak() -> Self {
        Self(T::class().weak_offset(), PhantomData)
    }
}

impl<T: PyTypeInfo> Offset<T> {
    /// That of the dict, of a class that is not ours.
    #[inline(always)]
    fn of_foreign_dict(py: Python<'_>) -> Self {
        Self(Kind::of::<T>(py).slots(py).dict_offset, PhantomData)
    }
}

impl<T> Offset<T> {
    /// What is in the slot of an object.
    #[inline(always)]
    fn look<'a, 'py>(self, object: &'a Bound<'py, T>) -> Option<Borrowed<'a, 'py, PyAny>> {
        if self.0 <= 0 {
            return None;
        }
        // SAFETY: an object of `T`, which has a slot there, for a reference or null. No code runs
        // here that could replace it.
        unsafe {
            let slot = object.as_ptr().byte_offset(self.0).cast::<*mut ffi::PyObject>();
            Borrowed::from_ptr_or_opt(object.py(), *slot)
        }
    }

    /// Take out what the slot of an object owns.
    fn take<'py>(self, object: &Bound<'py, T>) -> Option<Bound<'py, PyAny>> {
        if self.0 <= 0 {
            return None;
        }
        // SAFETY: as in `look`. The slot is emptied before anything else runs.
        unsafe {
            let slot = object.as_ptr().byte_offset(self.0).cast::<*mut ffi::PyObject>();
            Bound::from_owned_ptr_or_opt(object.py(), slot.replace(ptr::null_mut()))
        }
    }
}

/// Whether an object has a dict: whether an attribute has ever been set on this very object, where
/// that makes it.
#[inline(always)]
pub(crate) fn has_instance_dict<T: Native>(object: &Bound<'_, T>) -> bool {
    Offset::of_dict().look(object).is_some()
}

/// Whether an object has no dict, or none with this key.
#[inline(always)]
pub(crate) fn dict_lacks<T: Native>(object: &Bound<'_, T>, key: &Bound<'_, PyString>) -> bool {
    Offset::of_dict().look(object).is_none_or(|dict| is_key_of(&dict, key) == Some(false))
}

/// Whether an object has neither a dict nor weak references to it.
#[inline(always)]
pub(super) fn has_nothing_beside<T: Native>(object: &Bound<'_, T>) -> bool {
    Offset::of_dict().look(object).is_none() && Offset::of_weak().look(object).is_none()
}

/// Take the dict from an object.
pub(super) fn take_dict<'py, T: Native>(object: &Bound<'py, T>) -> Option<Bound<'py, PyAny>> {
    Offset::of_dict().take(object)
}

/// Whether an exception has no instance dict, and so no attributes of its own.
#[inline]
pub(crate) fn has_no_exception_dict(exception: &Raised<'_>) -> bool {
    Offset::<PyBaseException>::of_foreign_dict(exception.py()).look(exception).is_none()
}

/// The instance dict of an exception, made where there was none.
pub(crate) fn exception_dict<'py>(exception: &Bound<'py, PyAny>) -> Result<Bound<'py, PyDict>> {
    let there = Offset::<PyBaseException>::of_foreign_dict(exception.py());
    match exception.cast::<PyBaseException>().map(|exception| there.look(exception)) {
        Ok(Some(dict)) => Ok(dict.to_owned().cast_into()?),
        _ => safe::dict_of(exception.py(), exception),
    }
}

/// Have an object have its instance dict.
///
/// # Errors
///
/// `MemoryError`
#[inline]
pub(crate) fn make_dict(object: &Bound<'_, PyAny>) -> Result<()> {
    safe::dict_of(object.py(), object).map(drop)
}

/// Replace the instance dict of an exception.
pub(crate) fn set_exception_dict(
    exception: &Bound<'_, PyAny>,
    dict: &Bound<'_, PyAny>,
) -> Result<()> {
    safe::put_dict(exception.py(), exception, dict)?;
    Ok(())
}
