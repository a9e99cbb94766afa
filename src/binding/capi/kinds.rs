//! Type objects and their slots.

#[cfg(Py_3_13)]
use std::ffi::c_char;
use std::marker::PhantomData;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyClass, PyTypeInfo};

/// A type object that is alive for this lifetime.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a>(*mut ffi::PyTypeObject, PhantomData<&'a ()>);

impl<'a> Kind<'a> {
    /// The type object of a class of ours or PyO3's.
    #[inline(always)]
    pub(super) fn of<T: PyTypeInfo>(py: Python<'a>) -> Self {
        Self(T::type_object_raw(py), PhantomData)
    }

    /// The type object at an address.
    ///
    /// # Safety
    ///
    /// It must be alive for this lifetime.
    pub(super) unsafe fn at(place: *mut ffi::PyTypeObject) -> Self {
        Self(place, PhantomData)
    }

    /// The current content of its slots.
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

    /// Its address.
    #[inline(always)]
    pub(super) fn as_ptr(self) -> *mut ffi::PyTypeObject {
        self.0
    }
}

impl Kind<'static> {
    /// The type object of a class of ours, which PyO3 keeps forever.
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

/// The slots of a type object that we use.
pub(super) struct Slots {
    /// The version of the type: it changes when the type or a base is changed. 0 for none.
    pub(super) version: u32,
    /// `tp_getattro`
    pub(super) getattro: Option<ffi::getattrofunc>,
    /// `__init__`
    pub(super) init: Option<ffi::initproc>,
    /// `__new__`
    pub(super) new: Option<ffi::newfunc>,
    /// `tp_finalize`
    pub(super) finalize: Option<ffi::destructor>,
    /// `tp_dealloc`
    pub(super) dealloc: Option<ffi::destructor>,
    /// `tp_traverse`
    pub(super) traverse: Option<ffi::traverseproc>,
    /// `tp_clear`
    pub(super) clear: Option<ffi::inquiry>,
    /// The offsets of the instance dict and of the first weak reference.
    pub(super) dict_offset: ffi::Py_ssize_t,
    pub(super) weak_offset: ffi::Py_ssize_t,
    /// The size of an instance, without its variable part.
    #[cfg_attr(Py_GIL_DISABLED, allow(dead_code, reason = "no attribute is a slot there"))]
    pub(super) size: ffi::Py_ssize_t,
    /// The name, as C text.
    #[cfg(Py_3_13)]
    pub(super) name: *const c_char,
}
