//! Attributes that the interpreter reads and writes by itself.
//!
//! From CPython 3.11 on, code that reads an attribute repeatedly caches its location, if it is in a
//! slot as made by `__slots__`. That takes half the time of the fastest getter.
//!
//! The interpreter accesses a slot between two transitions, holding the GIL. Without the GIL,
//! nothing would keep another thread from accessing it during a transition. There, such an
//! attribute has a getter and a setter, and each is a transition.

use std::ffi::CStr;
#[cfg(Py_GIL_DISABLED)]
use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(Py_GIL_DISABLED)]
use pyo3::exceptions::PyAttributeError;
#[cfg(not(Py_GIL_DISABLED))]
use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{Borrowed, PyTypeInfo, ffi};

use super::conversions::FromC;
use super::error::Result;
use super::held::{Held, Hold};
#[cfg(not(Py_GIL_DISABLED))]
use super::kinds::Kind;
use super::safe;
#[cfg(Py_GIL_DISABLED)]
use super::{error::Raise, in_flight::restore, making::Text, making::joined, panics};
use crate::core::Flag;

/// A type that the interpreter may read and write directly.
///
/// # Safety
///
/// It must be one word: null or a reference. It must own that reference, unless the object is never
/// freed.
pub(crate) unsafe trait Shown {}

// SAFETY: a pointer, as below.
unsafe impl Shown for Truth {}

// SAFETY: one pointer, null for None, as all of its layers are transparent; and it is owned.
unsafe impl Shown for Option<Held<PyAny>> {}

// SAFETY: a pointer, as below.
unsafe impl Shown for Figure {}

/// What a slot is in memory: null or an object that is alive, in the state of a Python object, which
/// is looked at by threads that are attached only. Whether the place owns a reference to it is for
/// those to say that have one.
#[repr(transparent)]
struct Place(AtomicPtr<ffi::PyObject>);

impl Place {
    const fn new(object: *mut ffi::PyObject) -> Self {
        Self(AtomicPtr::new(object))
    }

    #[inline(always)]
    fn address(&self) -> *mut ffi::PyObject {
        self.0.load(Ordering::Relaxed)
    }

    /// The object in the place.
    #[inline(always)]
    fn seen(&self) -> Option<Borrowed<'_, '_, PyAny>> {
        // SAFETY: null or an object that is alive, on an attached thread, as the type says. A
        // transition is not under way when somebody else writes here.
        unsafe { Borrowed::from_ptr_or_opt(Python::assume_attached(), self.address()) }
    }

    /// The object in the place, which must own a reference to it.
    #[inline(always)]
    fn into_owned(self) -> Option<Held<PyAny>> {
        // SAFETY: as in `seen`; the reference is given up, as the place is not used again.
        let object =
            unsafe { Bound::from_owned_ptr_or_opt(Python::assume_attached(), self.0.into_inner()) };
        object.map(Hold::hold)
    }
}

/// A place for `True` or `False`. A program may have put something else there, or deleted it.
///
/// It owns no reference to `True` or `False`, which are never freed. It owns a reference to
/// anything else, which must be taken out before the end.
#[repr(transparent)]
pub(crate) struct Truth(Place);

impl Flag for Truth {
    #[inline(always)]
    fn new(on: bool) -> Self {
        Self(Place::new(object_for(on)))
    }

    #[inline(always)]
    fn is_on(&self) -> bool {
        let object = self.0.address();
        object == object_for(true) || object != object_for(false) && self.other_is_on()
    }

    #[inline(always)]
    fn is_clear(&self) -> bool {
        self.0.address() == object_for(false)
    }
}

impl Truth {
    /// Whether it is `True` itself.
    #[inline(always)]
    pub(crate) fn is_true(&self) -> bool {
        self.0.address() == object_for(true)
    }

    /// Whether it is `True`, or `False`.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        let object = self.0.address();
        object == object_for(true) || object == object_for(false)
    }

    /// An object other than a bool that a program has put here.
    #[inline(always)]
    pub(crate) fn other(&self) -> Option<Borrowed<'_, '_, PyAny>> {
        let object = self.0.address();
        if object == object_for(false) || object == object_for(true) {
            return None;
        }
        self.0.seen()
    }

    /// Whether it counts as true. This must not run Python code, so any object whose class could
    /// decide that in Python counts as true.
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

    /// An object other than a bool, to be dropped.
    pub(crate) fn into_other(self, py: Python<'_>) -> Option<Bound<'_, PyAny>> {
        self.other()?;
        self.0.into_owned().map(|other| other.into_bound(py))
    }
}

/// A [`Truth`] in the state of a Python object, dropped together with that.
pub(crate) struct Switch(Truth);

impl Switch {
    pub(crate) fn new(on: bool) -> Self {
        Self(Truth::new(on))
    }

    /// Replace the value.
    #[inline(always)]
    #[must_use]
    pub(crate) fn set(&mut self, on: bool) -> Truth {
        std::mem::replace(&mut self.0, Truth::new(on))
    }
}

impl Default for Switch {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Deref for Switch {
    type Target = Truth;

    fn deref(&self) -> &Truth {
        &self.0
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if self.other().is_some() {
            drop(self.set(false).0.into_owned());
        }
    }
}

#[inline(always)]
fn object_for(on: bool) -> *mut ffi::PyObject {
    // SAFETY: that is where they are, whether or not an interpreter runs.
    unsafe { if on { ffi::Py_True() } else { ffi::Py_False() } }
}

/// An attribute in a slot.
pub(crate) trait Slot {
    /// The class.
    type Of: PyTypeInfo;
    /// The name in Python.
    const NAME: &'static CStr;
    /// The docstring.
    const DOC: &'static CStr;

    /// The type of the place.
    type In: Shown;

    /// Run a transition of its owner, with the address of the place. All objects of the class have
    /// it at the same offset. The place may be written to during the transition.
    fn at<R>(of: &Bound<'_, Self::Of>, step: impl FnOnce(*mut Self::In) -> R) -> R;
}

/// Add such an attribute to the class of this object.
///
/// # Errors
///
/// `SystemError` if the place is not within the object.
pub(crate) fn put_slot<S: Slot>(sample: &Bound<'_, S::Of>) -> PyResult<()> {
    let descriptor = descriptor::<S>(sample)?;
    let class = sample.py().get_type::<S::Of>();
    class.setattr(descriptor.getattr("__name__")?.cast::<PyString>()?, &descriptor)
}

#[cfg(not(Py_GIL_DISABLED))]
fn descriptor<'py, S: Slot>(sample: &Bound<'py, S::Of>) -> PyResult<Bound<'py, PyAny>> {
    let py = sample.py();
    let class = py.get_type::<S::Of>();
    let place = S::at(sample, |place| place as usize);
    let offset = place.checked_sub(sample.as_ptr() as usize);
    let size = Kind::from(&class).slots(py).size as usize;
    let Some(offset) = offset.filter(|it| it.saturating_add(size_of::<S::In>()) <= size) else {
        return Err(PySystemError::new_err("a slot is in another object"));
    };
    let member = ffi::PyMemberDef {
        name: S::NAME.as_ptr(),
        type_code: ffi::Py_T_OBJECT_EX,
        offset: offset as ffi::Py_ssize_t,
        flags: 0,
        doc: S::DOC.as_ptr(),
    };
    let (kind, member) = (class.as_type_ptr(), Box::leak(Box::new(member)));
    // SAFETY: attached. The member is alive for good, and so are its texts. Each object of the class
    // has at this place, within its bounds, what a slot is to hold: null or a reference, where those
    // to what is never freed need not be counted.
    unsafe { FromC::from_c(py, ffi::PyDescr_NewMember(kind, member)) }
}

#[cfg(Py_GIL_DISABLED)]
fn descriptor<'py, S: Slot>(sample: &Bound<'py, S::Of>) -> PyResult<Bound<'py, PyAny>> {
    type Get<'a, 'py, T> = extern "C" fn(Borrowed<'a, 'py, T>, *mut c_void) -> *mut ffi::PyObject;
    type Set<'a, 'py, T> =
        extern "C" fn(Borrowed<'a, 'py, T>, Option<Borrowed<'a, 'py, PyAny>>, *mut c_void) -> c_int;
    let py = sample.py();
    let kind = py.get_type::<S::Of>().as_type_ptr();
    // SAFETY: attached. The definition is alive for good, and so are its texts. The descriptor
    // calls both functions with objects of the class only, and the setter with what is to be set, or
    // null: a borrowed reference is one pointer.
    unsafe {
        let definition = ffi::PyGetSetDef {
            name: S::NAME.as_ptr(),
            get: Some(std::mem::transmute::<Get<'_, '_, S::Of>, ffi::getter>(get::<S>)),
            set: Some(std::mem::transmute::<Set<'_, '_, S::Of>, ffi::setter>(set::<S>)),
            doc: S::DOC.as_ptr(),
            closure: ptr::null_mut(),
        };
        FromC::from_c(py, ffi::PyDescr_NewGetSet(kind, Box::leak(Box::new(definition))))
    }
}

/// Run a transition of the owner with what is in the slot.
#[cfg(Py_GIL_DISABLED)]
fn in_slot<S: Slot, R>(
    of: &Bound<'_, S::Of>,
    step: impl FnOnce(&mut Option<Held<PyAny>>) -> R,
) -> R {
    S::at(of, |place| {
        // SAFETY: one word, null or a reference, which nobody else looks at before the transition
        // ends. What is never freed is not counted, so that it is owned as well as anything else.
        step(unsafe { &mut *place.cast::<Option<Held<PyAny>>>() })
    })
}

/// The getter that the interpreter calls.
#[cfg(Py_GIL_DISABLED)]
extern "C" fn get<S: Slot>(
    of: Borrowed<'_, '_, S::Of>,
    _closure: *mut c_void,
) -> *mut ffi::PyObject {
    let py = of.py();
    panics::answering(py, || {
        let object = in_slot::<S, _>(&of, |object| object.as_ref().map(|it| it.bind(py).clone()));
        object.ok_or_else(|| {
            PyAttributeError::error_saying(
                of.as_any().get_type().name().map_err(Into::into).and_then(|class| {
                    let name = S::NAME.to_str().unwrap_or_default();
                    joined(
                        py,
                        [
                            Text::Ours("'"),
                            Text::Python(class),
                            Text::Ours("' object has no attribute '"),
                            Text::Ours(name),
                            Text::Ours("'"),
                        ],
                    )
                }),
            )
        })
    })
}

/// The setter that the interpreter calls. Deleting sets it to null.
#[cfg(Py_GIL_DISABLED)]
extern "C" fn set<'a, 'py, S: Slot>(
    of: Borrowed<'a, 'py, S::Of>,
    object: Option<Borrowed<'a, 'py, PyAny>>,
    _closure: *mut c_void,
) -> c_int {
    let py = of.py();
    let object = object.map(Borrowed::to_owned);
    let deletes = object.is_none();
    let before = in_slot::<S, _>(&of, |place| std::mem::replace(place, object.map(Hold::hold)));
    if before.is_none() && deletes {
        let name = S::NAME.to_str().unwrap_or_default();
        restore(PyAttributeError::error(py, name).into_raised(py));
        return -1;
    }
    drop(before);
    0
}

/// The small ints, whose references are not counted: CPython has one object for each of them.
static SMALL: [AtomicPtr<ffi::PyObject>; 257] = [const { AtomicPtr::new(ptr::null_mut()) }; 257];

/// The object for a small int.
#[inline(always)]
fn small(number: i64) -> Option<*mut ffi::PyObject> {
    // As unsigned numbers, negative ones are too large as well.
    Some(SMALL.get(number as usize)?.load(Ordering::Relaxed))
}

/// Make sure that `True`, `False` and the small ints are never freed, despite uncounted references.
/// From CPython 3.12 on they are immortal. Before, they get more references than a program can
/// drop. Called once, before there is any slot.
pub(crate) fn keep_constants(py: Python<'_>) -> Result<()> {
    keep_one(py, object_for(false));
    keep_one(py, object_for(true));
    for (number, place) in SMALL.iter().enumerate() {
        let object = safe::new_int(py, number as u64)?.into_ptr();
        keep_one(py, object);
        place.store(object, Ordering::Relaxed);
    }
    Ok(())
}

fn keep_one(_py: Python<'_>, _object: *mut ffi::PyObject) {
    #[cfg(not(Py_3_12))]
    // SAFETY: an object that is alive, and that nobody else changes, on an attached thread.
    unsafe {
        (*_object).ob_refcnt |= ffi::Py_ssize_t::MAX / 4 + 1;
    }
}

/// An int that programs can see, replace by anything, or delete.
pub(crate) struct Count {
    /// The number when it was last set here.
    number: i64,
    shown: Figure,
}

/// The place where programs see it. It owns no reference to a small int, but one to anything else.
#[repr(transparent)]
pub(crate) struct Figure(Place);

impl Count {
    /// Make it show this number.
    ///
    /// # Errors
    ///
    /// `MemoryError`
    pub(crate) fn new(py: Python<'_>, number: i64) -> Result<Self> {
        let object = match small(number) {
            Some(object) => object,
            None => safe::new_signed_int(py, number)?.into_ptr(),
        };
        Ok(Self { number, shown: Figure(Place::new(object)) })
    }

    /// Make it show nothing yet.
    pub(crate) fn none() -> Self {
        Self { number: 0, shown: Figure(Place::new(ptr::null_mut())) }
    }

    /// The number, if it is a small int that no program has replaced.
    #[inline(always)]
    pub(crate) fn quick(&self) -> Option<i64> {
        (small(self.number)? == self.shown.0.address()).then_some(self.number)
    }

    /// Replace a number that [`Count::quick`] has returned. False if the new one is not a small
    /// int.
    #[inline(always)]
    pub(crate) fn set_quickly(&mut self, number: i64) -> bool {
        let Some(object) = small(number) else { return false };
        self.number = number;
        self.shown.0.0.store(object, Ordering::Relaxed);
        true
    }

    /// The object that programs see, whose number is still to be found out; or the number, if it
    /// was deleted.
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>, i64> {
        let seen = self.shown.0.seen().map(|object| object.to_owned().hold().into_bound(py));
        seen.ok_or(self.number)
    }

    /// The number, if programs see an int. Runs no Python code.
    #[cfg(Py_GIL_DISABLED)]
    pub(crate) fn number(&self, py: Python<'_>) -> Option<i64> {
        let object = match self.get(py) {
            Ok(object) => object,
            Err(number) => return Some(number),
        };
        let mut overflow = 0;
        let number = safe::number_of(py, object.cast::<PyInt>().ok()?, &mut overflow);
        (overflow == 0).then_some(number)
    }

    /// The object that programs see, if it can be freed.
    pub(crate) fn other(&self) -> Option<Borrowed<'_, '_, PyAny>> {
        self.shown.other()
    }

    /// Where it is shown.
    pub(crate) fn place(&self) -> *const Figure {
        &raw const self.shown
    }

    /// Take the object that programs see. The number stays.
    pub(crate) fn hide(&mut self) -> Figure {
        std::mem::replace(&mut self.shown, Figure(Place::new(ptr::null_mut())))
    }
}

impl Figure {
    /// An object other than a small int that a program has put here.
    fn other(&self) -> Option<Borrowed<'_, '_, PyAny>> {
        let object = self.0.seen()?;
        if let Ok(int) = object.cast_exact::<PyInt>() {
            let mut overflow = 0;
            let number = safe::number_of(int.py(), &int, &mut overflow);
            if overflow == 0 && small(number) == Some(object.as_ptr()) {
                return None;
            }
        }
        Some(object)
    }
}

/// Drops what it owns. Like [`Held`], it must be part of the state of a Python object.
impl Drop for Figure {
    fn drop(&mut self) {
        if self.other().is_some() {
            drop(std::mem::replace(&mut self.0, Place::new(ptr::null_mut())).into_owned());
        }
    }
}
