//! State that the interpreter shows by itself.
//!
//! From CPython 3.11 on, code that reads an attribute again and again learns where it is, if it is
//! in a slot, as `__slots__` makes them. That takes half as long as the quickest getter.
//!
//! The interpreter reads and writes a slot between two transitions, holding the GIL. On a
//! free-threaded build nothing would keep another thread from doing so during one: there, such an
//! attribute has to be a getter and a setter.

use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{Borrowed, PyTypeInfo, ffi};

use super::conversions::FromC;
use super::kinds::Kind;
use crate::core::Flag;

/// A place that holds `True` or `False`; or what a program has put there instead, or nothing, if it
/// has deleted that.
///
/// It owns no reference to `True` or `False`, which are never freed. It owns one to anything else,
/// which is to be taken out before the end.
#[repr(transparent)]
pub(crate) struct Truth(AtomicPtr<ffi::PyObject>);

impl Flag for Truth {
    #[inline(always)]
    fn new(on: bool) -> Self {
        Self(AtomicPtr::new(object_for(on)))
    }

    #[inline(always)]
    fn is_on(&self) -> bool {
        let object = self.0.load(Ordering::Relaxed);
        object == object_for(true) || object != object_for(false) && self.other_is_on()
    }

    #[inline(always)]
    fn is_clear(&self) -> bool {
        self.0.load(Ordering::Relaxed) == object_for(false)
    }
}

impl Truth {
    /// What a program has put here that is no bool.
    #[inline(always)]
    pub(crate) fn other(&self) -> Option<Borrowed<'_, '_, PyAny>> {
        let object = self.0.load(Ordering::Relaxed);
        if object == object_for(false) || object == object_for(true) {
            return None;
        }
        // SAFETY: null or a reference that this owns. A transition is not under way when somebody
        // else writes here. The thread is attached, as for all state of ours.
        unsafe { Borrowed::from_ptr_or_opt(Python::assume_attached(), object) }
    }

    /// Whether it counts as true. This must not run Python code, so that instances of classes
    /// that could answer in Python do.
    #[cold]
    fn other_is_on(&self) -> bool {
        let Some(other) = self.other() else { return false };
        let answers = other.is_none()
            || other.is_exact_instance_of::<PyInt>()
            || other.is_exact_instance_of::<PyFloat>()
            || other.is_exact_instance_of::<PyString>()
            || other.is_exact_instance_of::<PyTuple>()
            || other.is_exact_instance_of::<PyList>()
            || other.is_exact_instance_of::<PyDict>();
        !answers || other.is_truthy().unwrap_or(true)
    }

    /// The same, to be let go of.
    pub(crate) fn into_other(self, py: Python<'_>) -> Option<Bound<'_, PyAny>> {
        self.other()?;
        // SAFETY: a reference that this owns and gives up, as it is not used again.
        unsafe { Bound::from_owned_ptr_or_opt(py, self.0.into_inner()) }
    }
}

#[inline(always)]
fn object_for(on: bool) -> *mut ffi::PyObject {
    // SAFETY: that is where they are, whether or not an interpreter runs.
    unsafe { if on { ffi::Py_True() } else { ffi::Py_False() } }
}

/// An attribute that is a slot.
pub(crate) trait Slot {
    /// The class.
    type Of: PyTypeInfo;
    /// The name in Python.
    const NAME: &'static CStr;
    /// What there is to say about it.
    const DOC: &'static CStr;

    /// Where it is in an object: in all objects of the class at the same place.
    fn place(of: &Bound<'_, Self::Of>) -> *const Truth;
}

/// Add such an attribute to a class of which this is an object.
///
/// # Errors
///
/// `SystemError` if it is not in the object.
pub(crate) fn put_slot<S: Slot>(sample: &Bound<'_, S::Of>) -> PyResult<()> {
    let py = sample.py();
    let class = py.get_type::<S::Of>();
    let kind = class.as_type_ptr();
    let offset = (S::place(sample) as usize).checked_sub(sample.as_ptr() as usize);
    let size = Kind::from(&class).slots(py).size as usize;
    let Some(offset) = offset.filter(|it| it.saturating_add(size_of::<Truth>()) <= size) else {
        return Err(PySystemError::new_err("a slot is in another object"));
    };
    let member = ffi::PyMemberDef {
        name: S::NAME.as_ptr(),
        type_code: ffi::Py_T_OBJECT_EX,
        offset: offset as ffi::Py_ssize_t,
        flags: 0,
        doc: S::DOC.as_ptr(),
    };
    keep_bools(py);
    // SAFETY: attached. The member is alive for good, and so are its texts. Each object of the class
    // has at this place, within its bounds, what a slot is to hold: null or a reference, where those
    // to the two bools need not be counted.
    let descriptor: PyResult<Bound<'_, PyAny>> =
        unsafe { FromC::from_c(py, ffi::PyDescr_NewMember(kind, Box::leak(Box::new(member)))) };
    let descriptor = descriptor?;
    class.setattr(descriptor.getattr("__name__")?.cast::<PyString>()?, &descriptor)
}

/// See to it that `True` and `False` are never freed, though there are references that nobody has
/// counted: from CPython 3.12 on that is so. Before, they get more than a program can let go of.
fn keep_bools(_py: Python<'_>) {
    #[cfg(not(Py_3_12))]
    for on in [false, true] {
        // SAFETY: an object that is always alive, on an attached thread.
        unsafe { (*object_for(on)).ob_refcnt |= ffi::Py_ssize_t::MAX / 4 + 1 };
    }
}
