//! The arguments of a call as CPython passes them: an array, and a tuple with the names of the last
//! ones.

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Something of ours that the interpreter calls with an array of arguments.
pub(super) trait Entry<'py>: 'static {
    /// What it is called with before the arguments: an object or a class.
    type On<'a>
    where
        'py: 'a;
    /// Whether the count of the arguments may carry a vectorcall's flag.
    const HAS_FLAG: bool;

    /// Call it. Returns a new reference, or null with an exception in flight.
    fn enter<'a>(on: Self::On<'a>, arguments: Arguments<'a, 'py>) -> *mut ffi::PyObject
    where
        'py: 'a;
}

/// The C function for an [`Entry`].
///
/// # Safety
///
/// `array` must hold `count` arguments, followed by one for each of `names`, which are distinct
/// strings. It may be null if there are none. All must stay alive during the call.
pub(super) unsafe extern "C" fn enter<'a, 'py: 'a, E: Entry<'py>>(
    on: E::On<'a>,
    array: *const *mut ffi::PyObject,
    count: usize,
    names: Option<Borrowed<'a, 'py, PyTuple>>,
) -> *mut ffi::PyObject {
    let by_position =
        if E::HAS_FLAG { count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET } else { count };
    let count = by_position + names.map_or(0, |names| names.len());
    let all = if count == 0 {
        &[]
    } else {
        // SAFETY: the caller's promise. A reference is one pointer, as in the array.
        unsafe { std::slice::from_raw_parts(array.cast(), count) }
    };
    E::enter(on, Arguments { all, names })
}

/// The arguments of a call.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a, 'py> {
    /// The positional arguments, followed by the keyword arguments.
    pub(super) all: &'a [Bound<'py, PyAny>],
    /// The names of the keyword arguments: distinct strings, at most as many as `all` has entries.
    pub(super) names: Option<Borrowed<'a, 'py, PyTuple>>,
}

impl<'a, 'py> Arguments<'a, 'py> {
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
