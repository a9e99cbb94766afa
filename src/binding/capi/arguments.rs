//! The arguments of a call, as CPython hands them over: in an array, with the names of its last
//! ones in a tuple.

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The arguments of a call.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a, 'py> {
    /// Those by position, then those by keyword.
    pub(super) all: &'a [Bound<'py, PyAny>],
    /// The names of the latter, each a different string. There are not more of them.
    pub(super) names: Option<Borrowed<'a, 'py, PyTuple>>,
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

    /// All of them.
    pub(super) fn all(self) -> &'a [Bound<'py, PyAny>] {
        self.all
    }

    /// The names of the last of them.
    pub(super) fn names(self) -> Option<Borrowed<'a, 'py, PyTuple>> {
        self.names
    }
}
