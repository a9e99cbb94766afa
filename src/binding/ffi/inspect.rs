//! Questions about objects, classes and the interpreter.

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(Py_3_13)]
use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
#[cfg(any(not(Py_3_11), Py_3_13))]
use pyo3::types::PyTuple;
use pyo3::types::{PyDict, PyString, PyType};

use super::super::cell::Shared;
use super::super::deferred::Deferred;
use super::super::error::{Error, Result};
use super::super::failure::FailureBase;
use super::super::interned::intern;
use super::super::overrides::overrides;
use super::dying::Native;
use super::exceptions::{ok, take_raised};
#[cfg(Py_3_13)]
use super::held::{Held, Hold};
#[cfg(Py_3_13)]
use super::making::push;
#[cfg(not(Py_3_11))]
use super::making::{new_dict, new_str};
use super::memory::is_exact;
use super::stack::Nested;

/// Whether an object is of one of the types that most results are of, and so is nothing special.
#[inline(never)]
pub(in crate::binding) fn is_plain(object: &Bound<'_, PyAny>) -> bool {
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

/// Types whose objects are neither Deferreds nor Failures: where each is, and the version of it that
/// was looked at, in the place that the version's lowest bits say.
///
/// A type has another version when it or any of its bases has been changed.
static ORDINARY: Shared<[(usize, u32); 1024]> = Shared::new([(0, 0); 1024]);

/// The other types, likewise: objects of theirs are to be looked at more closely each time.
static SPECIAL: Shared<[(usize, u32); 256]> = Shared::new([(0, 0); 256]);

/// Whether an object is known to be ordinary, as [`is_ordinary`] has found of another of its type.
#[inline(always)]
pub(in crate::binding) fn is_known_ordinary(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: an object's type is alive as long as the object.
    let version = unsafe { version_of(object.get_type_ptr()) };
    let this = (object.get_type_ptr() as usize, version);
    versions_hold(object.py())
        && ORDINARY.with(object.py(), |known| known[version as usize % known.len()]) == this
}

/// The version of a type: another after each change of it, and 0 for none.
///
/// # Safety
///
/// The type is alive.
#[inline(always)]
unsafe fn version_of(kind: *mut ffi::PyTypeObject) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { (*kind).tp_version_tag }
}

/// The version of a class: another after each change of it or of a base of it. None if it has none,
/// or if it cannot be relied upon.
#[inline(always)]
pub(in crate::binding) fn version(class: &Bound<'_, PyType>) -> Option<u32> {
    // SAFETY: a class, alive.
    let version = unsafe { version_of(class.as_type_ptr()) };
    (version != 0 && versions_hold(class.py())).then_some(version)
}

/// Whether a class's own class is `type`.
#[inline(always)]
pub(in crate::binding) fn has_plain_metaclass(class: &Bound<'_, PyType>) -> bool {
    ptr::eq(class.get_type_ptr(), &raw const ffi::PyType_Type)
}

/// Whether an object is a class whose own class is `type`.
#[inline(always)]
pub(in crate::binding) fn is_plain_class(object: &Bound<'_, PyAny>) -> bool {
    ptr::eq(object.get_type_ptr(), &raw const ffi::PyType_Type)
}

/// The names of a class and of its bases, by which changes of their `__name__` are noticed.
///
/// The strings are held, so that another name cannot be where one of these was.
#[cfg(Py_3_13)]
pub(in crate::binding) struct BareNames(Vec<(usize, Held<PyAny>)>);

#[cfg(Py_3_13)]
impl BareNames {
    /// Those of a class.
    pub(in crate::binding) fn of(class: &Bound<'_, PyType>) -> Result<Self> {
        let py = class.py();
        let mut names = Vec::new();
        for base in class.mro().iter_borrowed() {
            let name = base.getattr(intern!(py, "__name__"))?.hold();
            push(py, &mut names, (text_of_name(&*base.cast::<PyType>()?), name))?;
        }
        Ok(Self(names))
    }

    /// Whether they are still those of the class, whose MRO is the same.
    #[inline(always)]
    pub(in crate::binding) fn are_those_of(&self, class: &Bound<'_, PyType>) -> bool {
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

/// Where the text of a class's name is: in the string that was last set as its `__name__`.
#[cfg(Py_3_13)]
#[inline(always)]
fn text_of_name(class: &Bound<'_, PyType>) -> usize {
    // SAFETY: a class, alive.
    unsafe { (*class.as_type_ptr()).tp_name as usize }
}

/// Whether the versions of types that were written down still mean the same.
#[cfg(Py_3_11)]
#[inline(always)]
fn versions_hold(_py: Python<'_>) -> bool {
    true
}

/// A class that nobody changes, and its version when the versions were first written down.
#[cfg(not(Py_3_11))]
static MARK: Shared<(Option<Py<PyType>>, u32)> = Shared::new((None, 0));

/// Whether the versions of types that were written down still mean the same.
///
/// CPython 3.10 begins anew when a program clears its cache of types. It takes the versions of all
/// types away then, also that of a class which nobody ever changes.
#[cfg(not(Py_3_11))]
#[inline(always)]
fn versions_hold(py: Python<'_>) -> bool {
    // SAFETY: a class, alive.
    let hold = MARK.with(py, |(class, version)| match class {
        Some(class) => *version != 0 && unsafe { version_of(class.as_ptr().cast()) } == *version,
        None => false,
    });
    hold || begin_versions_anew(py)
}

/// Forget all that was written down. False if versions cannot be relied upon.
#[cfg(not(Py_3_11))]
#[cold]
fn begin_versions_anew(py: Python<'_>) -> bool {
    ORDINARY.with(py, |known| known.fill((0, 0)));
    WITHOUT_DEBUG.with(py, |known| known.fill((0, 0)));
    SPECIAL.with(py, |known| known.fill((0, 0)));
    NOT_DEBUGGING.store(0, Ordering::Relaxed);
    let kept = MARK.with(py, |(class, _)| class.as_ref().map(|class| class.bind(py).clone()));
    let class = match kept {
        Some(class) => class,
        None => {
            let (Some(name), Some(dict)) = (ok(py, new_str(py, "_Mark")), ok(py, new_dict(py)))
            else {
                return false;
            };
            let made = py.get_type::<PyType>().call1((name, PyTuple::empty(py), dict));
            let Some(made) = ok(py, made).and_then(|made| made.cast_into::<PyType>().ok()) else {
                return false;
            };
            made
        }
    };
    // That gives it a version, if there are any.
    lookup(&class, intern!(py, "__class__"));
    // SAFETY: a class, alive.
    let version = unsafe { version_of(class.as_type_ptr()) };
    let class = class.unbind();
    let before = MARK.with(py, |mark| std::mem::replace(mark, (Some(class), version)));
    drop(before.0.map(|before| before.into_bound(py)));
    version != 0
}

/// Whether an object is no Deferred and no Failure, ours or Twisted's, nor can pass for one by
/// having a `__class__` of its own. False means that a closer look is needed.
#[inline(always)]
pub(in crate::binding) fn is_ordinary(object: &Bound<'_, PyAny>) -> bool {
    is_known_ordinary(object) || !(is_known_special(object) || !is_ordinary_anew(object))
}

/// Whether an object is known not to be ordinary.
#[inline]
fn is_known_special(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: an object's type is alive as long as the object.
    let version = unsafe { version_of(object.get_type_ptr()) };
    let this = (object.get_type_ptr() as usize, version);
    version != 0
        && versions_hold(object.py())
        && SPECIAL.with(object.py(), |known| known[version as usize % known.len()]) == this
}

#[cold]
fn is_ordinary_anew(object: &Bound<'_, PyAny>) -> bool {
    let py = object.py();
    let kind = object.get_type();
    let plain = is_plain(object);
    let of_object = |name| {
        let base = py.get_type::<PyAny>();
        lookup(&kind, name) == lookup(&base, name)
    };
    let ordinary = of_object(intern!(py, "__class__"))
        && (plain
            || (has_generic_getattr(&kind)
                || (is_of_heap_type(object) && of_object(intern!(py, "__getattribute__"))))
                && base_named(&kind, "Deferred").is_none()
                && base_named(&kind, "Failure").is_none()
                && !object.is_instance_of::<Deferred>()
                && !object.is_instance_of::<FailureBase>());
    // SAFETY: a type, alive. The lookups have given it a version, if there are any left.
    let version = unsafe { version_of(kind.as_type_ptr()) };
    if ordinary && version != 0 && versions_hold(py) {
        ORDINARY.with(py, |all| {
            let place = &mut all[version as usize % all.len()];
            // The plain ones are known without, and do not drive others out.
            if !plain || *place == (0, 0) {
                *place = (kind.as_type_ptr() as usize, version);
            }
        });
    } else if version != 0 && versions_hold(py) {
        let this = (kind.as_type_ptr() as usize, version);
        SPECIAL.with(py, |all| all[version as usize % all.len()] = this);
    }
    ordinary
}

fn has_generic_getattr(kind: &Bound<'_, PyType>) -> bool {
    // SAFETY: a type object, alive.
    let getattro = unsafe { (*kind.as_type_ptr()).tp_getattro };
    getattro.is_some_and(|getattro| {
        getattro as usize == ffi::PyObject_GenericGetAttr as *const () as usize
    })
}

unsafe extern "C" {
    /// A borrowed reference to what a type or its bases have under a name, or null, without an
    /// exception. Private, but exported by every CPython for the likes of Cython.
    fn _PyType_Lookup(kind: *mut ffi::PyTypeObject, name: *mut ffi::PyObject)
    -> *mut ffi::PyObject;
}

/// What a class or its bases have under a name, to be compared and not to be used.
pub(in crate::binding) fn lookup(kind: &Bound<'_, PyType>, name: &Bound<'_, PyString>) -> usize {
    // SAFETY: a type object and a string, alive. The result is borrowed, or null.
    unsafe { _PyType_Lookup(kind.as_type_ptr(), name.as_ptr()) as usize }
}

/// Whether the objects of a class are equal to others than themselves, as far as the class says.
pub(in crate::binding) fn compares_specially(kind: &Bound<'_, PyType>) -> bool {
    let py = kind.py();
    let eq = intern!(py, "__eq__");
    lookup(kind, eq) != lookup(&py.get_type::<PyAny>(), eq)
}

/// Whether an object is of a type that holds no others, as far as the collector knows.
#[inline]
pub(in crate::binding) fn is_leaf(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: an object's type is alive as long as the object.
    unsafe { ffi::PyType_HasFeature(object.get_type_ptr(), ffi::Py_TPFLAGS_HAVE_GC) == 0 }
}

/// Whether an object's type was made by a `class` statement, or like one.
#[inline]
pub(in crate::binding) fn is_of_heap_type(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: an object's type is alive as long as the object.
    unsafe { ffi::PyType_HasFeature(object.get_type_ptr(), ffi::Py_TPFLAGS_HEAPTYPE) != 0 }
}

/// The first class with this name among a class and its bases.
pub(in crate::binding) fn base_named<'py>(
    kind: &Bound<'py, PyType>,
    name: &str,
) -> Option<Bound<'py, PyType>> {
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

/// Whether this is the interpreter that the process began with.
pub(in crate::binding) fn in_main_interpreter(_py: Python<'_>) -> bool {
    // SAFETY: attached, so there is a current interpreter.
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) == 0 }
}

/// Whether one thread at a time runs Python in this process.
pub(in crate::binding) fn has_gil(py: Python<'_>) -> bool {
    let on = || py.import("sys")?.call_method0("_is_gil_enabled")?.is_truthy();
    // Interpreters that do not know the question have one.
    !cfg!(Py_GIL_DISABLED) || ok(py, on()) == Some(true)
}

/// The version of the type `Deferred` at which its `debug` was last seen to be false, or 0.
///
/// The interpreter changes a type's version with each assignment to one of its attributes, to 0 at
/// first.
static NOT_DEBUGGING: AtomicU32 = AtomicU32::new(0);

/// `deferred.debug`
#[inline(always)]
pub(in crate::binding) fn debugging(deferred: &Bound<'_, Deferred>) -> Result<bool> {
    if is_exact::<Deferred>(deferred) && !has_instance_dict(deferred) {
        debugging_by_default(deferred.py())
    } else {
        debugging_of_another(deferred).into()
    }
}

/// `Deferred.debug`
#[inline(always)]
pub(in crate::binding) fn debugging_by_default(py: Python<'_>) -> Result<bool> {
    // SAFETY: the type is alive for good.
    let version = unsafe { version_of(Deferred::class().kind()) };
    if version != 0 && version == NOT_DEBUGGING.load(Ordering::Relaxed) && versions_hold(py) {
        return Ok(false);
    }
    debugging_anew(py).into()
}

/// A `Result<bool>` that is returned in registers, and so costs nothing where it is not needed.
enum Looked {
    No,
    Yes,
    Raised(Error),
}

impl From<Result<bool>> for Looked {
    fn from(result: Result<bool>) -> Self {
        match result {
            Ok(false) => Self::No,
            Ok(true) => Self::Yes,
            Err(error) => Self::Raised(error),
        }
    }
}

impl From<Looked> for Result<bool> {
    #[inline(always)]
    fn from(looked: Looked) -> Self {
        match looked {
            Looked::No => Ok(false),
            Looked::Yes => Ok(true),
            Looked::Raised(error) => Err(error),
        }
    }
}

#[cold]
fn debugging_anew(py: Python<'_>) -> Looked {
    let class = py.get_type::<Deferred>();
    let debug = look_debug_up(&class);
    // SAFETY: a type, alive. The lookup may have given it a version.
    let version = unsafe { version_of(class.as_type_ptr()) };
    NOT_DEBUGGING.store(if matches!(debug, Looked::No) { version } else { 0 }, Ordering::Relaxed);
    debug
}

#[cold]
fn look_debug_up(object: &Bound<'_, PyAny>) -> Looked {
    let look =
        || -> Result<bool> { Ok(object.getattr(intern!(object.py(), "debug"))?.is_truthy()?) };
    look().into()
}

/// Subclasses that have no `debug` of their own, nor another way of finding it: where each is, and
/// the version of it that was looked at.
static WITHOUT_DEBUG: Shared<[(usize, u32); 16]> = Shared::new([(0, 0); 16]);

/// Whether the `debug` of a Deferred, of which there is one by default, is its class's and no other.
#[inline(always)]
fn has_debug_by_default(deferred: &Bound<'_, Deferred>) -> bool {
    let py = deferred.py();
    let class = deferred.get_type();
    let Some(version) = version(&class) else { return false };
    let this = (class.as_ptr() as usize, version);
    let place = version as usize % 16;
    let is_known = WITHOUT_DEBUG.with(py, |known| known[place]) == this;
    (is_known || learn_whether_has_debug_by_default(&class, place))
        // SAFETY: a Deferred.
        && unsafe { Deferred::class().dict_lacks(deferred.as_any(), intern!(py, "debug")) }
}

#[cold]
fn learn_whether_has_debug_by_default(class: &Bound<'_, PyType>, place: usize) -> bool {
    let py = class.py();
    let base = py.get_type::<Deferred>();
    let is_ours = |name| lookup(class, name) == lookup(&base, name);
    let is_default = is_ours(intern!(py, "debug")) && is_ours(intern!(py, "__getattribute__"));
    if is_default && let Some(version) = version(class) {
        WITHOUT_DEBUG.with(py, |known| known[place] = (class.as_ptr() as usize, version));
    }
    is_default
}

#[inline(never)]
fn debugging_of_another(deferred: &Bound<'_, Deferred>) -> Looked {
    if has_debug_by_default(deferred) {
        return debugging_by_default(deferred.py()).into();
    }
    if overrides::<Deferred>(deferred, intern!(deferred.py(), "debug")) {
        // It may be a property, and do anything.
        match Nested::enter(deferred.py()) {
            Ok(_nested) => return look_debug_up(deferred),
            Err(error) => return Looked::Raised(error),
        }
    }
    look_debug_up(deferred)
}

/// Whether an attribute has ever been set on this very Deferred.
#[inline(always)]
pub(in crate::binding) fn has_instance_dict(deferred: &Bound<'_, Deferred>) -> bool {
    // SAFETY: a Deferred.
    unsafe { Deferred::class().has_dict(deferred.as_ptr()) }
}

/// Whether a class is another or comes after it in its MRO, whatever their metaclasses say.
#[inline]
pub(in crate::binding) fn is_subtype(class: &Bound<'_, PyType>, of: &Bound<'_, PyType>) -> bool {
    // SAFETY: two type objects, alive.
    class.is(of) || unsafe { ffi::PyType_IsSubtype(class.as_type_ptr(), of.as_type_ptr()) != 0 }
}

/// Whether a class is one of exceptions that are `Exception`s, as far as its MRO says.
#[inline]
pub(in crate::binding) fn is_exception_class(class: &Bound<'_, PyType>) -> bool {
    // SAFETY: a type object, alive, and another.
    unsafe { ffi::PyType_IsSubtype(class.as_type_ptr(), ffi::PyExc_Exception.cast()) != 0 }
}

/// Whether a dict has this very object under a key, or has no such key.
pub(in crate::binding) fn holds_or_lacks(
    dict: &Bound<'_, PyDict>,
    key: &Bound<'_, PyString>,
    object: &Bound<'_, PyAny>,
) -> bool {
    // SAFETY: a dict and a string, alive. The result is borrowed, and only compared, or null, with
    // an exception in flight or not.
    let found = unsafe { ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr()) };
    if found.is_null() {
        drop(take_raised(dict.py()));
    }
    found.is_null() || found == object.as_ptr()
}

/// Whether a dict has this key. None if it is no dict, or the answer is an exception.
#[inline(always)]
pub(in crate::binding) fn is_key_of(
    dict: &Bound<'_, PyAny>,
    key: &Bound<'_, PyString>,
) -> Option<bool> {
    let dict = dict.cast_exact::<PyDict>().ok()?;
    // SAFETY: a dict and a string, alive.
    match unsafe { ffi::PyDict_Contains(dict.as_ptr(), key.as_ptr()) } {
        -1 => {
            drop(take_raised(dict.py()));
            None
        }
        found => Some(found == 1),
    }
}

/// Whether an object is what a function with `async def` makes.
#[inline(always)]
pub(in crate::binding) fn is_coroutine(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: an object, alive.
    unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) != 0 }
}

/// Whether an object is a generator.
#[inline(always)]
pub(in crate::binding) fn is_generator(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: an object, alive.
    unsafe { ffi::PyGen_CheckExact(object.as_ptr()) != 0 }
}
