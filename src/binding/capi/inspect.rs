//! Inspects objects, classes and the interpreter.

use std::ffi::CStr;
use std::ptr;

#[cfg(Py_3_13)]
use pyo3::Borrowed;
use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::prelude::*;
#[cfg(Py_3_13)]
use pyo3::types::PyTuple;
use pyo3::types::{PyDict, PyFunction, PyString, PyType};

#[cfg(Py_3_13)]
use super::error::Result;
use super::held::Held;
#[cfg(Py_3_13)]
use super::held::Hold;
use super::in_flight::{ok, take_raised};
use super::interned::intern;
use super::kinds::Kind;
#[cfg(Py_3_13)]
use super::making::push;
use super::safe;

/// Whether an object is of one of the most common types of plain results.
#[inline(never)]
pub(crate) fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    let kind = object.get_type_ptr().cast_const();
    object.is_none()
        || ptr::eq(kind, &raw const ffi::PyLong_Type)
        || ptr::eq(kind, &raw const ffi::PyUnicode_Type)
        || ptr::eq(kind, &raw const ffi::PyBool_Type)
        || ptr::eq(kind, &raw const ffi::PyTuple_Type)
        || ptr::eq(kind, &raw const ffi::PyList_Type)
        || ptr::eq(kind, &raw const ffi::PyDict_Type)
        || ptr::eq(kind, &raw const ffi::PyBytes_Type)
        || ptr::eq(kind, &raw const ffi::PyFloat_Type)
}

/// Facts about an object's type.
pub(super) struct TypeOf {
    /// The version of the type: it changes when the type or a base is changed. 0 for none.
    pub(super) version: u32,
    /// Whether it is a heap type, as a `class` statement makes.
    is_of_heap: bool,
    /// Whether its objects are tracked by the collector, so that they may hold others.
    is_collected: bool,
}

/// Look at an object's type.
#[inline(always)]
pub(super) fn type_of(object: &Bound<'_, PyAny>) -> TypeOf {
    let kind = object.get_type_ptr();
    // SAFETY: an object's type is alive as long as it is the object's, and no code runs here that
    // could give it another.
    unsafe {
        TypeOf {
            version: (*kind).tp_version_tag,
            is_of_heap: ffi::PyType_HasFeature(kind, ffi::Py_TPFLAGS_HEAPTYPE) != 0,
            is_collected: ffi::PyType_HasFeature(kind, ffi::Py_TPFLAGS_HAVE_GC) != 0,
        }
    }
}

/// Whether a class uses the standard attribute look-up, `object.__getattribute__`.
pub(crate) fn has_generic_getattr(kind: &Bound<'_, PyType>) -> bool {
    Kind::from(kind).slots(kind.py()).getattro.is_some_and(|getattro| {
        getattro as usize == ffi::PyObject_GenericGetAttr as *const () as usize
    })
}

/// The address of what a class or its bases have under a name: for comparisons only.
pub(crate) fn lookup(kind: &Bound<'_, PyType>, name: &Bound<'_, PyString>) -> usize {
    safe::address_in_class(kind.py(), Kind::from(kind), name)
}

/// What a class or its bases have under a name.
fn found_in_class<'py>(
    kind: &Bound<'py, PyType>,
    name: &Bound<'_, PyString>,
) -> Option<Bound<'py, PyAny>> {
    let found = safe::in_class(kind.py(), Kind::from(kind), name);
    #[cfg(not(Py_GIL_DISABLED))]
    let found = found.0;
    found
}

/// What a class or its bases have under a name, if it is a Python function.
pub(super) fn python_function_of<'py>(
    kind: &Bound<'py, PyType>,
    name: &Bound<'py, PyString>,
) -> Option<Bound<'py, PyAny>> {
    let found = found_in_class(kind, name)?;
    found.is_exact_instance_of::<PyFunction>().then_some(found)
}

/// Whether a class defines its own equality.
pub(crate) fn compares_specially(kind: &Bound<'_, PyType>) -> bool {
    let py = kind.py();
    let eq = intern!(py, "__eq__");
    lookup(kind, eq) != lookup(&py.get_type::<PyAny>(), eq)
}

/// Whether an object's type is not tracked by the collector, so that it holds no other objects.
#[inline]
pub(crate) fn is_leaf(object: &Bound<'_, PyAny>) -> bool {
    !type_of(object).is_collected
}

/// Whether an object's type is a heap type, as a `class` statement makes.
#[inline]
pub(crate) fn is_of_heap_type(object: &Bound<'_, PyAny>) -> bool {
    type_of(object).is_of_heap
}

/// The first class with this name in a class's MRO.
pub(crate) fn base_named<'py>(kind: &Bound<'py, PyType>, name: &str) -> Option<Bound<'py, PyType>> {
    let mro = kind.mro();
    let found = mro.iter_borrowed().find(|base| {
        // SAFETY: what stands in an MRO is a type object; its name is a C string.
        let base_name = unsafe {
            let base = base.as_ptr().cast::<ffi::PyTypeObject>();
            CStr::from_ptr((*base).tp_name)
        };
        base_name.to_bytes() == name.as_bytes()
    })?;
    found.cast::<PyType>().ok().map(|base| base.to_owned())
}

/// An attribute of an object, if no code of the object's class has to run for that.
pub(crate) fn attribute_of<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> Option<Bound<'py, PyAny>> {
    let py = object.py();
    if let Some(found) = found_in_class(&object.get_type(), name)
        && !is_of_interpreter(&found)
    {
        return None;
    }
    ok(py, safe::usual_attribute(py, object, name))
}

/// Whether an attribute of a class is a native descriptor.
fn is_of_interpreter(found: &Bound<'_, PyAny>) -> bool {
    let kind = found.get_type_ptr().cast_const();
    ptr::eq(kind, &raw const ffi::PyGetSetDescr_Type)
        || ptr::eq(kind, &raw const ffi::PyMemberDescr_Type)
}

/// Whether this is the main interpreter.
pub(crate) fn in_main_interpreter(_py: Python<'_>) -> bool {
    // SAFETY: attached, so there is a current interpreter.
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) == 0 }
}

/// Whether a class is another one or derives from it, going by the MRO and not by metaclasses.
#[inline]
pub(crate) fn is_subtype(class: &Bound<'_, PyType>, of: &Bound<'_, PyType>) -> bool {
    class.is(of) || safe::comes_after(class.py(), Kind::from(class), Kind::from(of))
}

/// Whether a class derives from `Exception`, going by the MRO.
#[inline]
pub(crate) fn is_exception_class(class: &Bound<'_, PyType>) -> bool {
    let py = class.py();
    safe::comes_after(py, Kind::from(class), Kind::of::<PyException>(py))
}

/// Whether a dict has exactly this object under a key, or has no such key.
pub(crate) fn holds_or_lacks(
    dict: &Bound<'_, PyDict>,
    key: &Bound<'_, PyString>,
    object: &Bound<'_, PyAny>,
) -> bool {
    let found = safe::address_in_dict(dict.py(), dict, key);
    if found == 0 {
        // Discard the exception, if there is one.
        drop(take_raised(dict.py()));
    }
    found == 0 || found == object.as_ptr() as usize
}

/// Whether a dict has this key. None if it is not a dict, or if asking raises.
#[inline(always)]
pub(crate) fn is_key_of(dict: &Bound<'_, PyAny>, key: &Bound<'_, PyString>) -> Option<bool> {
    let dict = dict.cast_exact::<PyDict>().ok()?;
    safe::has_key(dict.py(), dict, key).ok().map(|found| found == 1)
}

/// Whether an object is a native coroutine, as `async def` makes.
#[inline(always)]
pub(crate) fn is_coroutine(object: &Bound<'_, PyAny>) -> bool {
    safe::is_exact_coroutine(object.py(), object)
}

/// Whether an object is a generator.
#[inline(always)]
pub(crate) fn is_generator(object: &Bound<'_, PyAny>) -> bool {
    safe::is_exact_generator(object.py(), object)
}

/// Whether the metaclass of a class is `type`.
#[inline(always)]
pub(crate) fn has_plain_metaclass(class: &Bound<'_, PyType>) -> bool {
    is_plain_class(class)
}

/// Whether an object is a class whose metaclass is `type`.
#[inline(always)]
pub(crate) fn is_plain_class(object: &Bound<'_, PyAny>) -> bool {
    ptr::eq(object.get_type_ptr(), &raw const ffi::PyType_Type)
}

/// The names of a class and of its bases, to detect a change of a `__name__`.
///
/// The strings are held, so that no other can get the address of one of these.
#[cfg(Py_3_13)]
pub(crate) struct BareNames(Vec<(usize, Held<PyAny>)>);

#[cfg(Py_3_13)]
impl BareNames {
    /// The names of a class.
    pub(crate) fn of(class: &Bound<'_, PyType>) -> Result<Self> {
        let py = class.py();
        let mut names = Vec::new();
        for base in class.mro().iter_borrowed() {
            let name = base.getattr(intern!(py, "__name__"))?.hold();
            push(py, &mut names, (text_of_name(&*base.cast::<PyType>()?), name))?;
        }
        Ok(Self(names))
    }

    /// Whether the class, whose MRO must be unchanged, still has these names.
    #[inline(always)]
    pub(crate) fn are_those_of(&self, class: &Bound<'_, PyType>) -> bool {
        // SAFETY: a class, alive, and ready, as it has been looked at. So it has an MRO, a tuple of
        // classes.
        unsafe {
            let mro = Borrowed::from_ptr(class.py(), (*class.as_type_ptr()).tp_mro);
            let mro = mro.cast_unchecked::<PyTuple>();
            let text_of = |base: Borrowed<'_, '_, PyAny>| text_of_name(&base.cast_unchecked());
            mro.iter_borrowed().zip(&self.0).all(|(base, (text, _))| text_of(base) == *text)
        }
    }
}

/// The address of the string that was last set as a class's `__name__`.
#[cfg(Py_3_13)]
#[inline(always)]
fn text_of_name(class: &Bound<'_, PyType>) -> usize {
    Kind::from(class).slots(class.py()).name as usize
}

impl<T> Held<T> {
    /// Whether there are other references to the object.
    #[inline]
    pub(crate) fn is_shared(&self, py: Python<'_>) -> bool {
        safe::references(py, self.bind(py).as_any()) > 1
    }
}
