//! Python's own objects, made where memory may have run out. PyO3's functions for that panic then.

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::super::error::{Error, Result};
use super::exceptions::take_raised;
use crate::core::refusable;

/// What there is to raise where memory has run out. Python keeps one for that.
#[cold]
pub(in crate::binding) fn no_memory(py: Python<'_>) -> Error {
    // SAFETY: attached; it puts the exception in flight.
    unsafe { ffi::PyErr_NoMemory() };
    take_raised(py).into()
}

/// The object that a C function has made.
///
/// # Safety
///
/// A new reference to an object, or null with an exception in flight.
#[inline(always)]
pub(super) unsafe fn made(py: Python<'_>, object: *mut ffi::PyObject) -> Result<Bound<'_, PyAny>> {
    // SAFETY: the caller's promise.
    match unsafe { Bound::from_owned_ptr_or_opt(py, object) } {
        Some(object) => Ok(object),
        None => Err(take_raised(py).into()),
    }
}

/// `{}`
pub(in crate::binding) fn new_dict(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    // SAFETY: attached; a new dict or null.
    unsafe { Ok(made(py, ffi::PyDict_New())?.cast_into_unchecked()) }
}

/// `[]`
pub(in crate::binding) fn new_list(py: Python<'_>) -> Result<Bound<'_, PyList>> {
    // SAFETY: attached; a new list or null.
    unsafe { Ok(made(py, ffi::PyList_New(0))?.cast_into_unchecked()) }
}

/// `list(items)`
pub(in crate::binding) fn list_of<'py>(items: &Bound<'py, PyAny>) -> Result<Bound<'py, PyList>> {
    // SAFETY: attached; an object, alive. A new list comes, or null with an exception in flight.
    unsafe { Ok(made(items.py(), ffi::PySequence_List(items.as_ptr()))?.cast_into_unchecked()) }
}

/// `[item] * count`
pub(in crate::binding) fn list_of_same<'py>(
    item: &Bound<'py, PyAny>,
    count: usize,
) -> Result<Bound<'py, PyList>> {
    let one = new_list(item.py())?;
    one.append(item)?;
    let count = ffi::Py_ssize_t::try_from(count)?;
    // SAFETY: attached; a list, alive. A new list comes, or null.
    unsafe {
        let list = ffi::PySequence_Repeat(one.as_ptr(), count);
        Ok(made(item.py(), list)?.cast_into_unchecked())
    }
}

/// A tuple of these.
pub(in crate::binding) fn new_tuple<'py, const N: usize>(
    py: Python<'py>,
    items: [Bound<'py, PyAny>; N],
) -> Result<Bound<'py, PyTuple>> {
    // SAFETY: the new tuple has so many places, and each is filled, with a reference that the
    // tuple takes over, before anyone else sees it.
    unsafe {
        let tuple = made(py, ffi::PyTuple_New(N as ffi::Py_ssize_t))?;
        for (i, item) in (0..).zip(items) {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i, item.into_ptr());
        }
        Ok(tuple.cast_into_unchecked())
    }
}

/// `items[start:]`
pub(in crate::binding) fn slice_from<'py>(
    items: &Bound<'py, PyTuple>,
    start: usize,
) -> Result<Bound<'py, PyTuple>> {
    let start = ffi::Py_ssize_t::try_from(start)?;
    // SAFETY: attached; a tuple, alive. A new reference to a tuple comes, or null.
    unsafe {
        let slice = ffi::PyTuple_GetSlice(items.as_ptr(), start, ffi::Py_ssize_t::MAX);
        Ok(made(items.py(), slice)?.cast_into_unchecked())
    }
}

/// A tuple of these.
pub(in crate::binding) fn tuple_from<'py>(
    py: Python<'py>,
    items: &[Borrowed<'_, 'py, PyAny>],
) -> Result<Bound<'py, PyTuple>> {
    // SAFETY: as for `new_tuple`.
    unsafe {
        let tuple = made(py, ffi::PyTuple_New(items.len() as ffi::Py_ssize_t))?;
        for (i, item) in (0..).zip(items) {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i, (**item).clone().into_ptr());
        }
        Ok(tuple.cast_into_unchecked())
    }
}

/// Do something with the items of a tuple, as a call has its arguments.
pub(in crate::binding) fn with_items<'py, R>(
    items: &Bound<'py, PyTuple>,
    work: impl FnOnce(&[Borrowed<'_, 'py, PyAny>]) -> R,
) -> R {
    let items = items.as_slice();
    // SAFETY: references of either kind are one pointer; the tuple holds the objects for as long
    // as the slice is used.
    work(unsafe { std::slice::from_raw_parts(items.as_ptr().cast(), items.len()) })
}

/// Add something at the end.
pub(in crate::binding) fn push<T>(py: Python<'_>, items: &mut Vec<T>, item: T) -> Result<()> {
    if items.len() == items.capacity() && refusable(|| items.try_reserve(1)).is_err() {
        drop(item);
        return Err(no_memory(py));
    }
    items.push(item);
    Ok(())
}

/// An int, which may be below zero.
pub(super) fn new_signed_int(py: Python<'_>, number: i64) -> Result<Bound<'_, PyAny>> {
    // SAFETY: attached; a new reference, or null with an exception in flight.
    unsafe { made(py, ffi::PyLong_FromLongLong(number)) }
}

/// A number as Python has it.
pub(in crate::binding) fn new_int(py: Python<'_>, number: u64) -> Result<Bound<'_, PyAny>> {
    // SAFETY: attached; a new int or null.
    unsafe { made(py, ffi::PyLong_FromUnsignedLongLong(number)) }
}

/// Several texts in one.
pub(in crate::binding) fn joined<'py, const N: usize>(
    py: Python<'py>,
    parts: [Text<'_, 'py>; N],
) -> Result<Bound<'py, PyString>> {
    let mut whole = new_str(py, "")?.into_any();
    for part in parts {
        whole = match part {
            Text::Ours(text) => whole.add(new_str(py, text)?)?,
            Text::Python(text) => whole.add(text)?,
        };
    }
    Ok(whole.cast_into()?)
}

/// A part of a text.
pub(in crate::binding) enum Text<'a, 'py> {
    /// Of our own.
    Ours(&'a str),
    /// That Python has.
    Python(Bound<'py, PyString>),
}

/// Where an object is, as texts show it.
pub(in crate::binding) fn address<'py>(object: &Bound<'py, PyAny>) -> Result<Bound<'py, PyString>> {
    // SAFETY: attached; the format takes one pointer. A new text comes, or null.
    unsafe {
        let text = ffi::PyUnicode_FromFormat(c"%p".as_ptr(), object.as_ptr());
        Ok(made(object.py(), text)?.cast_into_unchecked())
    }
}

/// A text as Python has it.
pub(in crate::binding) fn new_str<'py>(
    py: Python<'py>,
    text: &str,
) -> Result<Bound<'py, PyString>> {
    Ok(PyString::from_bytes(py, text.as_bytes())?)
}
