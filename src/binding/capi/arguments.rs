//! The arguments of a call, as CPython hands them over: in an array, with the names of its last
//! ones in a tuple.

use crate::core::refusable;
use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use super::conversions::Called;
use super::error::Result;
use super::making::{no_memory, tuple_of};
use super::safe;

/// The arguments of a call.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a, 'py> {
    /// Those by position, then those by keyword.
    all: &'a [Bound<'py, PyAny>],
    /// The names of the latter, each a different string. There are not more of them.
    names: Option<Borrowed<'a, 'py, PyTuple>>,
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// What a C function gets.
    ///
    /// # Safety
    ///
    /// An array of so many arguments by position, which may be null if there are none, then one for
    /// each of the names, which are different strings. All are alive for so long.
    #[inline(always)]
    pub(super) unsafe fn from_c(
        array: *const *mut ffi::PyObject,
        by_position: usize,
        names: Option<Borrowed<'a, 'py, PyTuple>>,
    ) -> Self {
        let count = by_position + names.map_or(0, |names| names.len());
        let all = if count == 0 {
            &[]
        } else {
            // SAFETY: the caller's promise. A reference is one pointer, as in the array.
            unsafe { std::slice::from_raw_parts(array.cast(), count) }
        };
        Self { all, names }
    }

    /// These, of which the last go by these names. None if there are more names.
    #[inline(always)]
    pub(super) fn new(
        all: &'a [Bound<'py, PyAny>],
        names: Option<&'a Bound<'py, PyTuple>>,
    ) -> Option<Self> {
        let names = names.map(Bound::as_borrowed);
        (names.map_or(0, |names| names.len()) <= all.len()).then_some(Self { all, names })
    }

    /// All of them, if none is by keyword.
    #[inline(always)]
    pub(super) fn by_position_alone(self) -> Option<&'a [Bound<'py, PyAny>]> {
        if self.names.is_none() { Some(self.all) } else { None }
    }

    /// How many are by position.
    pub(super) fn count_by_position(self) -> usize {
        self.all.len() - self.names.map_or(0, |names| names.len())
    }

    /// Those by position.
    pub(super) fn by_position(self) -> &'a [Bound<'py, PyAny>] {
        &self.all[..self.count_by_position()]
    }

    /// Those by keyword, in a dict of their own.
    #[cold]
    pub(super) fn by_keyword(self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let named = safe::new_dict(py)?;
        if let Some(names) = self.names {
            let values = &self.all[self.count_by_position()..];
            for (name, value) in names.iter_borrowed().zip(values) {
                named.set_item(name, value)?;
            }
        }
        Ok(named)
    }

    /// Those by position, as a tuple.
    pub(super) fn as_tuple(self, py: Python<'py>) -> Result<Bound<'py, PyTuple>> {
        tuple_of(py, [], self.by_position())
    }

    /// All of them.
    pub(super) fn all(self) -> &'a [Bound<'py, PyAny>] {
        self.all
    }

    /// The names of the last of them.
    pub(super) fn names(self) -> Option<Borrowed<'a, 'py, PyTuple>> {
        self.names
    }

    /// `callable(*self)`
    pub(super) fn give(self, callable: &Bound<'py, PyAny>) -> Called<'py> {
        safe::call_with_names(callable.py(), callable, self)
    }

    /// `callable(first, *self)`
    pub(super) fn give_after(
        self,
        callable: &Bound<'py, PyAny>,
        first: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>> {
        let mut all = SmallVec::<[_; 8]>::new();
        if refusable(|| all.try_reserve(self.all.len() + 1)).is_err() {
            return Err(no_memory(callable.py()));
        }
        all.push(first.clone());
        all.extend(self.all.iter().cloned());
        Ok(Arguments { all: &all, names: self.names }.give(callable)?)
    }
}
