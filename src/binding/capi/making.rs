//! Makes Python objects, with an error if memory has run out. (PyO3's functions panic then.)

use crate::core::refusable;
use std::mem::ManuallyDrop;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyString, PyTuple};

use super::conversions::FromC;
use super::in_flight::{ok, raise_no_memory, take_raised};
use super::raised::{Error, Result};
use super::safe;

/// A `MemoryError`. Python keeps some instances in reserve.
#[cold]
pub(crate) fn no_memory(py: Python<'_>) -> Error {
    raise_no_memory(py);
    take_raised(py).into()
}

/// `None`
#[inline(always)]
pub(crate) fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

/// `True` or `False`
#[inline(always)]
pub(crate) fn new_bool(py: Python<'_>, truth: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, truth).to_owned().into_any()
}

/// `True`
pub(crate) fn yes(py: Python<'_>) -> Bound<'_, PyAny> {
    new_bool(py, true)
}

/// `[item] * count`
pub(crate) fn list_of_same<'py>(
    item: &Bound<'py, PyAny>,
    count: usize,
) -> Result<Bound<'py, PyList>> {
    let py = item.py();
    let one = safe::new_list(py)?;
    one.append(item)?;
    Ok(safe::repeated(py, &one, isize::try_from(count)?)?.cast_into()?)
}

/// `(*first, *rest)`
#[inline(always)]
pub(crate) fn tuple_of<'py, const N: usize>(
    py: Python<'py>,
    first: [Bound<'py, PyAny>; N],
    rest: &[Bound<'py, PyAny>],
) -> Result<Bound<'py, PyTuple>> {
    // SAFETY: attached; a slice is never so long that this overflows. The new tuple has so many
    // places, and each is filled, with a reference that the tuple takes over, before anyone else
    // sees it.
    unsafe {
        let tuple = ffi::PyTuple_New((N + rest.len()) as ffi::Py_ssize_t);
        let tuple: Bound<'py, PyTuple> = Result::<_, Error>::from_c(py, tuple)?;
        for (place, item) in (0..).zip(&*ManuallyDrop::new(first)) {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), place, item.as_ptr());
        }
        for (place, item) in (N as ffi::Py_ssize_t..).zip(rest) {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), place, item.clone().into_ptr());
        }
        Ok(tuple)
    }
}

/// `(*items,)`
#[inline(always)]
pub(crate) fn new_tuple<'py, const N: usize>(
    py: Python<'py>,
    items: [Bound<'py, PyAny>; N],
) -> Result<Bound<'py, PyTuple>> {
    tuple_of(py, items, &[])
}

/// `dict(zip(names, values))`
#[cold]
pub(crate) fn dict_of<'py>(
    names: &Bound<'py, PyTuple>,
    values: &[Bound<'py, PyAny>],
) -> Result<Bound<'py, PyDict>> {
    let named = safe::new_dict(names.py())?;
    for (name, value) in names.iter_borrowed().zip(values) {
        named.set_item(name, value)?;
    }
    Ok(named)
}

/// `items[start:]`
pub(crate) fn slice_from<'py>(
    items: &Bound<'py, PyTuple>,
    start: usize,
) -> Result<Bound<'py, PyTuple>> {
    safe::slice_of(items.py(), items, isize::try_from(start)?, isize::MAX)
}

/// `tuple(items)`
pub(crate) fn tuple_of_list<'py>(items: &Bound<'py, PyList>) -> Result<Bound<'py, PyTuple>> {
    safe::tuple_of_list(items.py(), items)
}

/// Append an item.
pub(crate) fn push<T>(py: Python<'_>, items: &mut Vec<T>, item: T) -> Result<()> {
    if items.len() == items.capacity() && refusable(|| items.try_reserve(1)).is_err() {
        drop(item);
        return Err(no_memory(py));
    }
    items.push(item);
    Ok(())
}

/// Concatenate strings.
pub(crate) fn joined<'py, const N: usize>(
    py: Python<'py>,
    parts: [Text<'_, 'py>; N],
) -> Result<Bound<'py, PyString>> {
    if let Some(whole) = joined_at_once(py, &parts) {
        return whole;
    }
    let mut whole = new_str(py, "")?.into_any();
    for part in parts {
        whole = match part {
            Text::Ours(text) => whole.add(new_str(py, text)?)?,
            Text::Python(text) => whole.add(text)?,
            Text::Address(address) => {
                whole.add(PyString::from_bytes(py, digits_of(address, &mut [0; MOST]))?)?
            }
        };
    }
    Ok(whole.cast_into()?)
}

/// [`joined`] for short texts, which most are: each is copied once. None if they are long, or if it
/// fails.
fn joined_at_once<'py>(
    py: Python<'py>,
    parts: &[Text<'_, 'py>],
) -> Option<Result<Bound<'py, PyString>>> {
    /// How long the result may be, in bytes of UTF-8.
    const ROOM: usize = 256;
    let mut room = [0; ROOM];
    let mut digits = [0; MOST];
    let mut length = 0;
    for part in parts {
        let text = match part {
            Text::Ours(text) => text.as_bytes(),
            // CPython caches the UTF-8 form of a non-ASCII string for as long as the string lives.
            Text::Python(text) if text.len().is_ok_and(|length| length <= ROOM) => {
                ok(py, text.to_str())?.as_bytes()
            }
            Text::Address(address) => digits_of(*address, &mut digits),
            Text::Python(_) => return None,
        };
        let end = length + text.len();
        room.get_mut(length..end)?.copy_from_slice(text);
        length = end;
    }
    Some(Ok(ok(py, PyString::from_bytes(py, &room[..length]))?))
}

/// A part of a message.
pub(crate) enum Text<'a, 'py> {
    /// Text of our own.
    Ours(&'a str),
    /// A Python string.
    Python(Bound<'py, PyString>),
    /// An address, as in a `repr`.
    Address(usize),
}

/// The most that an address takes: "0x", and two digits for each byte.
const MOST: usize = 2 + 2 * size_of::<usize>();

/// An address, as in a `repr`.
fn digits_of(address: usize, text: &mut [u8; MOST]) -> &[u8] {
    let (mut begin, mut rest) = (MOST, address);
    while begin > 2 {
        begin -= 1;
        text[begin] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    begin -= 2;
    text[begin..begin + 2].copy_from_slice(b"0x");
    &text[begin..]
}

/// Make a Python string.
pub(crate) fn new_str<'py>(py: Python<'py>, text: &str) -> Result<Bound<'py, PyString>> {
    Ok(PyString::from_bytes(py, text.as_bytes())?)
}
