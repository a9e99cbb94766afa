//! The parts of an object outside its value: its instance dict and its weak references.

use std::marker::PhantomData;

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::classes::Native;
use super::error::{Raised, Result};
use super::held::Held;
use super::inspect::is_key_of;
use super::kinds::Kind;
use super::safe;

/// The offset of a slot for an object reference in all instances of a class and its subclasses.
/// There is no such slot if it is 0 or negative.
struct Offset<T>(ffi::Py_ssize_t, PhantomData<T>);

impl<T: Native> Offset<T> {
    /// The slot of the instance dict.
    #[inline(always)]
    fn of_dict() -> Self {
        Self(T::class().dict_offset(), PhantomData)
    }

    /// The slot of the first weak reference.
    #[inline(always)]
    fn of_weak() -> Self {
        Self(T::class().weak_offset(), PhantomData)
    }
}

impl<T: PyTypeInfo> Offset<T> {
    /// The slot of the instance dict, for a class that is not ours.
    #[inline(always)]
    fn of_foreign_dict(py: Python<'_>) -> Self {
        Self(Kind::of::<T>(py).slots(py).dict_offset, PhantomData)
    }
}

impl<T> Offset<T> {
    /// Run a step, which must not run Python code, on what is in the slot.
    #[inline(always)]
    fn with<R>(self, object: &Bound<'_, T>, step: impl FnOnce(&mut Option<Held<PyAny>>) -> R) -> R {
        if self.0 <= 0 {
            return step(&mut None);
        }
        // SAFETY: an object of `T`, which has a slot there, for a reference or null. Nobody else
        // looks at the slot before the step ends. Only a dict is taken out, which the slot owns.
        step(unsafe { &mut *object.as_ptr().byte_offset(self.0).cast::<Option<Held<PyAny>>>() })
    }

    /// Whether the slot is empty in this object.
    #[inline(always)]
    fn holds_nothing(self, object: &Bound<'_, T>) -> bool {
        self.with(object, |held| held.is_none())
    }

    /// What is in the slot.
    #[inline(always)]
    fn get<'py>(self, object: &Bound<'py, T>) -> Option<Bound<'py, PyAny>> {
        self.with(object, |held| held.as_ref().map(|held| held.bind(object.py()).clone()))
    }
}

/// Whether an object has an instance dict. Classes of ours make one only when an attribute is first
/// set.
#[inline(always)]
pub(crate) fn has_instance_dict<T: Native>(object: &Bound<'_, T>) -> bool {
    !Offset::of_dict().holds_nothing(object)
}

/// Whether an object has no instance dict, or one without this key.
#[inline(always)]
pub(crate) fn dict_lacks<T: Native>(object: &Bound<'_, T>, key: &Bound<'_, PyString>) -> bool {
    // Looking for the key may run code of other keys, which may take the dict away.
    Offset::of_dict().get(object).is_none_or(|dict| is_key_of(&dict, key) == Some(false))
}

/// Whether an object has neither an instance dict nor weak references.
#[inline(always)]
pub(super) fn has_nothing_beside<T: Native>(object: &Bound<'_, T>) -> bool {
    Offset::of_dict().holds_nothing(object) && Offset::of_weak().holds_nothing(object)
}

/// Take the instance dict away from an object.
pub(super) fn take_dict<'py, T: Native>(object: &Bound<'py, T>) -> Option<Bound<'py, PyAny>> {
    let dict = Offset::of_dict().with(object, Option::take);
    dict.map(|dict| dict.into_bound(object.py()))
}

/// Whether an exception has no instance dict, and so no attributes of its own.
#[inline]
pub(crate) fn has_no_exception_dict(exception: &Raised<'_>) -> bool {
    Offset::<PyBaseException>::of_foreign_dict(exception.py()).holds_nothing(exception)
}

/// The instance dict of an exception. It is made if there is none.
pub(crate) fn exception_dict<'py>(exception: &Bound<'py, PyAny>) -> Result<Bound<'py, PyDict>> {
    let there = Offset::<PyBaseException>::of_foreign_dict(exception.py());
    match exception.cast::<PyBaseException>().map(|exception| there.get(exception)) {
        Ok(Some(dict)) => Ok(dict.cast_into()?),
        _ => safe::dict_of(exception.py(), exception),
    }
}

/// Make the instance dict of an object, if there is none yet.
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
