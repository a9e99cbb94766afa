//! Fast check for ordinary results, which are certainly neither Deferred nor Failure.

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::binding::capi::{
    base_named, error::Raised, has_generic_getattr, interned::intern, is_of_heap_type, is_plain,
    lookup, versions::KnownTypes,
};
use crate::binding::model::{deferred::Deferred, failure::FailureBase};

/// Types whose objects are all ordinary.
static ORDINARY: KnownTypes<1024> = KnownTypes::new();

/// Types whose objects have to be classified each time.
static SPECIAL: KnownTypes<256> = KnownTypes::new();

/// Whether an object is known to be ordinary, from an earlier [`is_ordinary`] of the same type.
#[inline(always)]
pub(crate) fn is_known_ordinary(object: &Bound<'_, PyAny>) -> bool {
    ORDINARY.have_type_of(object)
}

/// Whether an object is certainly not a Deferred or Failure, neither ours nor Twisted's, and cannot
/// pass for one through its `__class__`. If false, the object has to be classified.
#[inline(always)]
pub(crate) fn is_ordinary(object: &Bound<'_, PyAny>) -> bool {
    is_known_ordinary(object) || (!is_known_special(object) && is_ordinary_anew(object))
}

/// Whether an object is known not to be ordinary.
#[inline]
fn is_known_special(object: &Bound<'_, PyAny>) -> bool {
    SPECIAL.have_type_of(object)
}

#[cold]
fn is_ordinary_anew(object: &Bound<'_, PyAny>) -> bool {
    let kind = object.get_type();
    let plain = is_plain(object);
    let is_so = || {
        has_of_object(&kind, intern!(object.py(), "__class__"))
            && (plain || cannot_pass_for_ours(object, &kind))
    };
    let ordinary = is_so();
    if ordinary {
        // Built-in types are known without this.
        ORDINARY.remember(&kind, plain, is_so);
    } else {
        SPECIAL.remember(&kind, false, || !is_so());
    }
    ordinary
}

/// Whether a class inherits this attribute from `object`.
fn has_of_object(kind: &Bound<'_, PyType>, name: &Bound<'_, pyo3::types::PyString>) -> bool {
    lookup(kind, name) == lookup(&kind.py().get_type::<PyAny>(), name)
}

fn cannot_pass_for_ours(object: &Bound<'_, PyAny>, kind: &Bound<'_, PyType>) -> bool {
    let getattribute = intern!(object.py(), "__getattribute__");
    (has_generic_getattr(kind) || (is_of_heap_type(object) && has_of_object(kind, getattribute)))
        && base_named(kind, "Deferred").is_none()
        && base_named(kind, "Failure").is_none()
        && !object.is_instance_of::<Deferred>()
        && !object.is_instance_of::<FailureBase>()
}

/// Whether the class of an exception does not override `__traceback__`.
#[inline]
pub(crate) fn has_plain_traceback(exception: &Raised<'_>) -> bool {
    !is_of_heap_type(exception) && is_ordinary(exception)
}
