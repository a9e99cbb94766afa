//! Type objects: which there are, and what stands in them.

#[cfg(Py_3_13)]
use std::ffi::c_char;
use std::marker::PhantomData;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyClass, PyTypeInfo};

/// A type object that is alive for so long.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a>(*mut ffi::PyTypeObject, PhantomData<&'a ()>);

impl<'a> Kind<'a> {
    /// That of a class of ours, or of PyO3's.
    #[inline(always)]
    pub(super) fn of<T: PyTypeInfo>(py: Python<'a>) -> Self {
        Self(T::type_object_raw(py), PhantomData)
    }

    /// That which stands there.
    ///
    /// # Safety
    ///
    /// It is alive for so long.
    pub(super) unsafe fn at(place: *mut ffi::PyTypeObject) -> Self {
        Self(place, PhantomData)
    }

    /// What stands in it now.
    #[inline(always)]
    pub(super) fn slots(self, _py: Python<'_>) -> Slots {
        // SAFETY: a type object, alive.
        unsafe {
            Slots {
                version: (*self.0).tp_version_tag,
                getattro: (*self.0).tp_getattro,
                init: (*self.0).tp_init,
                new: (*self.0).tp_new,
                finalize: (*self.0).tp_finalize,
                dealloc: (*self.0).tp_dealloc,
                traverse: (*self.0).tp_traverse,
                clear: (*self.0).tp_clear,
                dict_offset: (*self.0).tp_dictoffset,
                weak_offset: (*self.0).tp_weaklistoffset,
                size: (*self.0).tp_basicsize,
                #[cfg(Py_3_13)]
                name: (*self.0).tp_name,
            }
        }
    }

    /// Where it is.
    #[inline(always)]
    pub(super) fn as_ptr(self) -> *mut ffi::PyTypeObject {
        self.0
    }
}

impl Kind<'static> {
    /// That of a class of ours, which PyO3 keeps for good.
    pub(super) fn of_ours<T: PyClass>(py: Python<'_>) -> Self {
        Self(T::type_object_raw(py), PhantomData)
    }
}

// SAFETY: it says where a type object is. What stands there is read on attached threads alone.
unsafe impl Send for Kind<'_> {}

impl<'a> From<&'a Bound<'_, PyType>> for Kind<'a> {
    #[inline(always)]
    fn from(class: &'a Bound<'_, PyType>) -> Self {
        Self(class.as_type_ptr(), PhantomData)
    }
}

/// What stands in a type object, as far as it is of interest.
pub(super) struct Slots {
    /// Another after each change of the type or one of its bases, and 0 for none.
    pub(super) version: u32,
    /// What looks attributes up.
    pub(super) getattro: Option<ffi::getattrofunc>,
    /// `__init__`
    pub(super) init: Option<ffi::initproc>,
    /// `__new__`
    pub(super) new: Option<ffi::newfunc>,
    /// What is called before the collector takes a cycle apart.
    pub(super) finalize: Option<ffi::destructor>,
    /// What frees an object.
    pub(super) dealloc: Option<ffi::destructor>,
    /// What shows the collector what an object holds.
    pub(super) traverse: Option<ffi::traverseproc>,
    /// What has an object let go of that.
    pub(super) clear: Option<ffi::inquiry>,
    /// Where an object has its dict, and the first weak reference to it.
    pub(super) dict_offset: ffi::Py_ssize_t,
    pub(super) weak_offset: ffi::Py_ssize_t,
    /// How large its objects are, up to what differs from one to the next.
    #[cfg_attr(Py_GIL_DISABLED, allow(dead_code, reason = "no attribute is a slot there"))]
    pub(super) size: ffi::Py_ssize_t,
    /// The text of the name.
    #[cfg(Py_3_13)]
    pub(super) name: *const c_char,
}
