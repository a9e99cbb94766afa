//! The arguments of a call as CPython passes them: an array, and a tuple with the names of the last
//! ones.

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The arguments of a call.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a, 'py> {
    /// The positional arguments, followed by the keyword arguments.
    pub(super) all: &'a [Bound<'py, PyAny>],
    /// The names of the keyword arguments: distinct strings, at most as many as `all` has entries.
    pub(super) names: Option<Borrowed<'a, 'py, PyTuple>>,
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// Wrap what a C function gets.
    ///
    /// # Safety
    ///
    /// `array` must hold `by_position` arguments, followed by one for each of `names`, which are
    /// distinct strings. It may be null if there are none. All must stay alive for these lifetimes.
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

    /// Wrap arguments whose last ones have these names. None if there are more names than
    /// arguments.
    #[inline(always)]
    pub(super) fn new(
        all: &'a [Bound<'py, PyAny>],
        names: Option<&'a Bound<'py, PyTuple>>,
    ) -> Option<Self> {
        let names = names.map(Bound::as_borrowed);
        (names.map_or(0, |names| names.len()) <= all.len()).then_some(Self { all, names })
    }

    /// The number of positional arguments.
    pub(super) fn count_by_position(self) -> usize {
        self.all.len() - self.names.map_or(0, |names| names.len())
    }

    /// The positional arguments.
    pub(super) fn by_position(self) -> &'a [Bound<'py, PyAny>] {
        &self.all[..self.count_by_position()]
    }

    /// All arguments.
    pub(super) fn all(self) -> &'a [Bound<'py, PyAny>] {
        self.all
    }

    /// The names of the keyword arguments.
    pub(super) fn names(self) -> Option<Borrowed<'a, 'py, PyTuple>> {
        self.names
    }
}
