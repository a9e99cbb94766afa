//! Objects that are never freed, for builds without the GIL.
//!
//! Threads that count references to the same object take turns at that. Our classes, their methods and
//! our functions are as old as the module, and the module is never freed. So nobody needs to count the
//! references to them: CPython does not count those to an object that is immortal, as its own classes are.

use std::sync::atomic::Ordering;

use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyMappingProxy, PyModule, PyType};

use super::error::Result;
use super::interned::intern;

unsafe extern "C" {
    fn _Py_SetImmortal(object: *mut PyObject);
}

/// Make a class immortal, and its native methods and attributes.
///
/// # Errors
///
/// `MemoryError`
pub(crate) fn keep_class(class: &Bound<'_, PyType>) -> Result<()> {
    if !keep_for_ever(class.as_any()) {
        // The module is made anew, and a program may have changed the class.
        return Ok(());
    }
    let members = class.getattr(intern!(class.py(), "__dict__"))?.cast_into::<PyMappingProxy>()?;
    for member in members.values()?.iter() {
        if is_native(&member) {
            keep_for_ever(&member);
        }
    }
    Ok(())
}

/// Make the classes and functions in a module immortal.
///
/// # Errors
///
/// As [`keep_class`].
pub(crate) fn keep_all_of(module: &Bound<'_, PyModule>) -> Result<()> {
    for object in module.dict().values().iter() {
        if let Ok(class) = object.cast_exact::<PyType>() {
            keep_class(class)?;
        } else if is_native(&object) {
            keep_for_ever(&object);
        }
    }
    Ok(())
}

/// Whether an object is a native function, method or attribute.
fn is_native(object: &Bound<'_, PyAny>) -> bool {
    use pyo3::ffi::{
        PyClassMethodDescr_Type, PyGetSetDescr_Type, PyMemberDescr_Type, PyMethodDescr_Type,
        PyWrapperDescr_Type,
    };
    let kind = object.get_type_ptr();
    let kinds = [
        &raw mut PyMethodDescr_Type,
        &raw mut PyClassMethodDescr_Type,
        &raw mut PyGetSetDescr_Type,
        &raw mut PyMemberDescr_Type,
        &raw mut PyWrapperDescr_Type,
    ];
    kinds.contains(&kind) || object.is_exact_instance_of::<PyCFunction>()
}

/// Make an object immortal. False if it is already. The collector forgets it: what it holds counts as
/// held from outside.
fn keep_for_ever(object: &Bound<'_, PyAny>) -> bool {
    let object = object.as_ptr();
    // SAFETY: attached, and an object that is alive. The module is being imported, so no other thread
    // has the object yet, and none counts references to it at the same time.
    unsafe {
        let is_mortal = (*object).ob_ref_local.load(Ordering::Relaxed) != u32::MAX;
        _Py_SetImmortal(object);
        is_mortal
    }
}
