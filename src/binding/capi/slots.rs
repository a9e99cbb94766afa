//! Type slots for making, finalizing, iterating and awaiting objects, where PyO3's macros fill none
//! or a much slower one.

use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, transmute};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyBaseException, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyTuple, PyType};
use pyo3::{Borrowed, PyClass};

use super::arguments::Arguments;
use super::calls::{Sent, call_first_named};
use super::conversions::FromC;
use super::dying::Native;
use super::error::{Raise, Result};
use super::exceptions::{new_exception, restore, stop_iteration, take_raised};
use super::inspect::{is_subtype, python_function_of};
use super::interned::intern;
use super::kinds::Kind;
use super::making::{Text, joined};
use super::memory::{Recycled, Subclass, new_base, new_object, note};
use super::panics;
use super::safe;

/// A class whose `__new__` ignores its arguments.
pub(crate) trait Fresh {
    /// What a new object is.
    fn fresh() -> Self;
}

/// `tp_new`
extern "C" fn new<T: Fresh + Recycled>(
    class: Subclass<'_, '_, T>,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    panics::answering(class.py(), || new_object(class, T::fresh))
}

/// `tp_new`, of a class that is derived from another of ours.
extern "C" fn new_derived<T>(
    class: Subclass<'_, '_, T>,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: Fresh + PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync,
    T::BaseType: Fresh + Recycled,
{
    panics::answering(class.py(), || {
        let object = new_base(class.of_base(), T::BaseType::fresh)?;
        // SAFETY: of a subclass of `T`. The part of the object that is `T`'s own is zeroed memory,
        // written before anything reads it, as for the base's part.
        unsafe {
            let whole = object.as_any().cast_unchecked::<T>();
            ptr::from_ref(whole.get()).cast_mut().write(T::fresh());
        }
        note(&object);
        Ok(object)
    })
}

/// A class of which it is known whether a program has replaced its `__init__`.
pub(crate) trait Plain: Native {
    /// What stood in its slot at first.
    fn init() -> &'static InitSlot;

    /// Whether nobody has replaced `__init__`, as this class has it. Such a class comes after
    /// `Self`.
    #[inline(always)]
    fn is_plain(class: &Bound<'_, PyType>) -> bool {
        Self::init().is_in(class)
    }
}

/// What stood in the `tp_init` slot of a type when the module was made: to be recognised and not to
/// be called.
pub(crate) struct InitSlot(AtomicUsize);

impl InitSlot {
    /// Not known yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn read(py: Python<'_>, kind: Kind<'_>) -> usize {
        kind.slots(py).init.map_or(0, |init| init as usize)
    }

    /// Remember what stands there now.
    pub(crate) fn remember<T: Plain>(&self, py: Python<'_>) {
        let there = Self::read(py, Kind::of::<T>(py));
        // Once: where the module is made anew, a program may have replaced it.
        let _ = self.0.compare_exchange(0, there, Ordering::Relaxed, Ordering::Relaxed);
    }

    #[inline(always)]
    fn is_in(&self, class: &Bound<'_, PyType>) -> bool {
        self.0.load(Ordering::Relaxed) == Self::read(class.py(), Kind::from(class))
    }
}

/// A class that is called without the detour by `__new__` and `__init__`.
pub(crate) trait Construct: Plain {
    /// Make an object. None if that is to be done in the usual way, as where `class` is not plain.
    fn construct<'py>(
        class: &Bound<'py, PyType>,
        arguments: &[Bound<'py, PyAny>],
    ) -> Option<Result<Bound<'py, PyAny>>>;
}

/// `tp_vectorcall`, of the class `C` itself: it is not inherited.
///
/// # Safety
///
/// The arguments are as [`Arguments::from_c`] says.
unsafe extern "C" fn construct<'py, C: Construct>(
    class: Borrowed<'_, 'py, PyType>,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: Option<Borrowed<'_, 'py, PyTuple>>,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    let arguments =
        unsafe { Arguments::from_c(args, ffi::PyVectorcall_NARGS(nargsf) as usize, names) };
    panics::answering(class.py(), || {
        let made = arguments.by_position_alone().and_then(|args| C::construct(&class, args));
        match made {
            Some(made) => made,
            None => call_type_slowly(&class, arguments),
        }
    })
}

/// Call a type as if it had no vectorcall.
#[cold]
fn call_type_slowly<'py>(
    class: &Bound<'py, PyType>,
    arguments: Arguments<'_, 'py>,
) -> Result<Bound<'py, PyAny>> {
    let (py, class) = (class.py(), class.as_ptr());
    let (positional, named) = (arguments.as_tuple(py)?, arguments.by_keyword(py)?);
    // SAFETY: attached; an object, and so its type, alive. `tp_call` takes a tuple and a dict; a
    // new reference comes, or null with an exception in flight.
    unsafe {
        let Some(call) = (*ffi::Py_TYPE(class)).tp_call else {
            return Err(PyTypeError::error(py, "the class cannot be called"));
        };
        FromC::from_c(py, call(class, positional.as_ptr(), named.as_ptr()))
    }
}

/// A class whose subclasses are called without a tuple of arguments, too.
pub(crate) trait ConstructSub: Construct + Fresh + Recycled {
    /// What an object is that is made with these arguments, where `__init__` is ours. None if that
    /// is to have them.
    fn of_arguments(arguments: &[Bound<'_, PyAny>]) -> Option<Self>;

    /// What is to be done with it then.
    ///
    /// # Errors
    ///
    /// What is raised instead.
    fn made(object: &Bound<'_, Self>) -> Result<()>;
}

/// `tp_vectorcall` of a subclass: what `type.__call__` does.
///
/// # Safety
///
/// The arguments are as [`Arguments::from_c`] says.
unsafe extern "C" fn construct_sub<'py, C: ConstructSub>(
    class: Subclass<'_, 'py, C>,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: Option<Borrowed<'_, 'py, PyTuple>>,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    let arguments =
        unsafe { Arguments::from_c(args, ffi::PyVectorcall_NARGS(nargsf) as usize, names) };
    panics::answering(class.py(), || match make_sub(class, arguments)? {
        Some(made) => Ok(made.into_any()),
        None => call_type_slowly(class.as_type(), arguments),
    })
}

#[inline(always)]
fn make_sub<'py, C: ConstructSub>(
    class: Subclass<'_, 'py, C>,
    arguments: Arguments<'_, 'py>,
) -> Result<Option<Bound<'py, C>>> {
    let (py, kind) = (class.py(), class.as_type());
    if !has_new_of::<C>(kind) {
        return Ok(None);
    }
    if C::is_plain(kind) {
        let value = arguments.by_position_alone().and_then(C::of_arguments);
        let Some(value) = value else { return Ok(None) };
        let object = new_object(class, || value)?;
        C::made(&object)?;
        return Ok(Some(object));
    }
    // It is held during the call, as that may change the class.
    let Some(init) = python_function_of(kind, intern!(py, "__init__")) else { return Ok(None) };
    let object = new_object(class, C::fresh)?;
    let answer =
        call_first_named(&init, object.as_any(), arguments.all(), arguments.names().as_deref())?;
    if !answer.is_none() {
        let kind = Text::Python(answer.get_type().name()?);
        let text = [Text::Ours("__init__() should return None, not '"), kind, Text::Ours("'")];
        return Err(PyTypeError::error_saying(joined(py, text)));
    }
    Ok(Some(object))
}

/// Whether the `__new__` of a class is that of `T`.
fn has_new_of<T: Fresh + Recycled>(class: &Bound<'_, PyType>) -> bool {
    let ours = new::<T> as New<'_, '_, T> as usize;
    Kind::from(class).slots(class.py()).new.is_some_and(|there| there as usize == ours)
}

/// Let a new subclass of `C` be called in this way.
pub(crate) fn inherit_construction<C: ConstructSub>(class: &Bound<'_, PyType>) {
    if has_new_of::<C>(class) {
        fill(class.py(), Kind::from(class), Slot::<C>::VectorcallOf(construct_sub::<C>));
    }
}

/// A class with an `__init__` that can be called without PyO3's handling of arguments.
pub(crate) trait Initialize: Native {
    /// Where PyO3's form is kept.
    fn slow() -> &'static OnceLock<ffi::initproc>;

    /// Initialize an object. None if PyO3's form is to do it.
    fn initialize<'py>(
        object: &Bound<'py, Self>,
        arguments: &Bound<'py, PyTuple>,
    ) -> Option<Result<()>>;
}

/// `tp_init`, as `super().__init__()` calls it.
extern "C" fn initialize<'py, T: Initialize>(
    object: Borrowed<'_, 'py, T>,
    arguments: Borrowed<'_, 'py, PyTuple>,
    named: Option<Borrowed<'_, 'py, PyDict>>,
) -> c_int {
    let py = object.py();
    let done = match named {
        None => panics::catching(py, || T::initialize(&object, &arguments).transpose()),
        Some(_) => Ok(None),
    };
    match done {
        Ok(Some(())) => 0,
        Ok(None) => {
            let named = named.map_or(ptr::null_mut(), |named| named.as_ptr());
            // SAFETY: attached; what it is to get: an object of the class, a tuple, a dict or null.
            T::slow()
                .get()
                .map_or(-1, |init| unsafe { init(object.as_ptr(), arguments.as_ptr(), named) })
        }
        Err(error) => {
            restore(error.into_raised(py));
            -1
        }
    }
}

/// Put that in the place of PyO3's, in the slot and in what shows it in the class.
///
/// # Errors
///
/// `TypeError` if the class does not show the slot.
pub(crate) fn fill_init<T: Initialize>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<T>();
    let shown = class.getattr("__dict__")?.get_item("__init__")?;
    // SAFETY: a type of ours, complete, and not yet visible to any other code. What shows a slot is
    // of the very type whose layout is read, and calls what it holds as it would the slot: with an
    // object of the class, a tuple, and a dict or null; a borrowed reference is one pointer.
    unsafe {
        if shown.get_type_ptr() != &raw mut ffi::PyWrapperDescr_Type {
            return Err(PyTypeError::new_err("__init__ shows no slot"));
        }
        let init = transmute::<Init<'_, '_, T>, ffi::initproc>(initialize::<T>);
        if let Some(slow) = (*class.as_type_ptr()).tp_init
            && T::slow().set(slow).is_ok()
        {
            (*class.as_type_ptr()).tp_init = Some(init);
            let shown = shown.as_ptr().cast::<ffi::PyWrapperDescrObject>();
            (*shown).d_wrapped = init as *mut c_void;
        }
    }
    Ok(())
}

/// What is part of an exception object, where all zeros are a valid state that owns nothing:
/// `BaseException.__new__` leaves it so.
///
/// # Safety
///
/// That is so.
pub(crate) unsafe trait ZeroIsEmpty {}

/// Make an exception of this class with this value: what `__new__` and `__init__` do together. None
/// if the class does not come after `T`: a program can have it be anything.
pub(crate) fn new_exception_of<'py, T>(
    class: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
    value: T,
) -> Option<Result<Bound<'py, T>>>
where
    T: Plain + ZeroIsEmpty + PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync,
{
    let py = class.py();
    if !T::is_plain(class) && !is_subtype(class, &py.get_type::<T>()) {
        return None;
    }
    let Some(exception) = new_exception(class, args) else {
        return Some(Err(take_raised(py).into()));
    };
    // SAFETY: the class comes after `T`, as was seen. The part of the object that is `T`'s is
    // zeroed memory, a valid state that owns nothing, so it may be overwritten.
    unsafe {
        let object = exception.into_any().cast_into_unchecked::<T>();
        ptr::from_ref(object.get()).cast_mut().write(value);
        Some(Ok(object))
    }
}

/// A class whose objects are asked before the collector takes a cycle apart that they are part of.
pub(crate) trait Finalize: Native {
    /// Ask one.
    fn finalize(object: &Bound<'_, Self>);
}

/// `tp_finalize`
extern "C" fn finalize<T: Finalize>(object: Borrowed<'_, '_, T>) {
    panics::reporting(object.py(), || T::finalize(&object));
}

/// What a class with a `__del__` of Python's has for a finalizer: CPython's own function that looks
/// it up and calls it, the same for all classes.
static CALL_DEL: OnceLock<ffi::destructor> = OnceLock::new();

/// The finalizer of subclasses that have a `__del__` as well.
extern "C" fn finalize_and_del<T: Finalize>(object: Borrowed<'_, '_, T>) {
    finalize(object);
    if let Some(call_del) = CALL_DEL.get() {
        // SAFETY: attached; an object, alive. The function stood in the slot of its class, as
        // `inherit_finalizer` has seen, and does with any object what it is for.
        unsafe { call_del(object.as_ptr()) }
    }
}

/// Give a new subclass of `T` its finalizer.
///
/// CPython lets a class inherit it only together with a `__del__`, which `T` has not. What a class
/// has from a base that is written in C stays: it may be for objects of that alone.
///
/// # Errors
///
/// `TypeError` if it is no subclass.
pub(crate) fn inherit_finalizer<T: Finalize>(class: &Bound<'_, PyType>) -> Result<()> {
    let py = class.py();
    if !is_subtype(class, &py.get_type::<T>()) {
        return Err(PyTypeError::error(py, "not a subclass"));
    }
    let finalize = match (Kind::from(class).slots(py).finalize, CALL_DEL.get()) {
        (None, _) => finalize::<T>,
        (Some(there), Some(&call_del)) if ptr::fn_addr_eq(there, call_del) => finalize_and_del::<T>,
        _ => return Ok(()),
    };
    fill(py, Kind::from(class), Slot::<T>::Finalize(finalize));
    Ok(())
}

/// A class that `await` and `iter()` can be used on.
pub(crate) trait Iterate: Native {
    /// What they iterate.
    fn iterate<'py>(object: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>>;
}

/// `tp_iter` and `am_await`
extern "C" fn iterate<T: Iterate>(object: Borrowed<'_, '_, T>) -> *mut ffi::PyObject {
    panics::answering(object.py(), || T::iterate(&object))
}

/// A class whose objects are iterated by a coroutine's driver.
pub(crate) trait Step: Native {
    /// Go on.
    fn step<'py>(object: &Bound<'py, Self>) -> Sent<'py>;
}

/// `am_send`
extern "C" fn send<T: Step>(
    object: Borrowed<'_, '_, T>,
    _value: *mut ffi::PyObject,
    result: &mut MaybeUninit<*mut ffi::PyObject>,
) -> ffi::PySendResult {
    match panics::catching_sent(object.py(), || T::step(&object)) {
        Sent::Yielded(object) => {
            result.write(object.into_ptr());
            ffi::PySendResult::PYGEN_NEXT
        }
        Sent::Returned(object) => {
            result.write(object.into_ptr());
            ffi::PySendResult::PYGEN_RETURN
        }
        Sent::Raised(raised) => {
            result.write(ptr::null_mut());
            restore(raised);
            ffi::PySendResult::PYGEN_ERROR
        }
    }
}

/// `tp_iternext`, by which CPython itself resumes with None, from 3.12 on.
extern "C" fn next<T: Step>(object: Borrowed<'_, '_, T>) -> *mut ffi::PyObject {
    match panics::catching_sent(object.py(), || T::step(&object)) {
        Sent::Yielded(object) => return object.into_ptr(),
        // Without an exception, that says as much.
        Sent::Returned(object) if object.is_none() => {}
        Sent::Returned(object) => stop_iteration(object),
        Sent::Raised(raised) => restore(raised),
    }
    ptr::null_mut()
}

/// The slots of a type for whose objects these functions are, or for its subclasses.
type New<'a, 'py, T> = extern "C" fn(
    Subclass<'a, 'py, T>,
    *mut ffi::PyObject,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;
type Vectorcall<'a, 'py> = unsafe extern "C" fn(
    Borrowed<'a, 'py, PyType>,
    *const *mut ffi::PyObject,
    usize,
    Option<Borrowed<'a, 'py, PyTuple>>,
) -> *mut ffi::PyObject;
type VectorcallOf<'a, 'py, T> = unsafe extern "C" fn(
    Subclass<'a, 'py, T>,
    *const *mut ffi::PyObject,
    usize,
    Option<Borrowed<'a, 'py, PyTuple>>,
) -> *mut ffi::PyObject;
type Init<'a, 'py, T> = extern "C" fn(
    Borrowed<'a, 'py, T>,
    Borrowed<'a, 'py, PyTuple>,
    Option<Borrowed<'a, 'py, PyDict>>,
) -> c_int;
type Finalizer<'a, T> = extern "C" fn(Borrowed<'a, 'a, T>);
type Unary<'a, T> = extern "C" fn(Borrowed<'a, 'a, T>) -> *mut ffi::PyObject;
type SendTo<'a, T> = extern "C" fn(
    Borrowed<'a, 'a, T>,
    *mut ffi::PyObject,
    &'a mut MaybeUninit<*mut ffi::PyObject>,
) -> ffi::PySendResult;

/// What can be put into a slot of a class that is `T` or comes after it.
enum Slot<T: 'static> {
    New(New<'static, 'static, T>),
    Vectorcall(Vectorcall<'static, 'static>),
    VectorcallOf(VectorcallOf<'static, 'static, T>),
    Finalize(Finalizer<'static, T>),
    Iterate(Unary<'static, T>),
    Send(SendTo<'static, T>),
    Next(Unary<'static, T>),
}

/// Fill a slot of a class. Nothing is done where that does not come after `T`.
fn fill<T: Native>(py: Python<'_>, class: Kind<'_>, slot: Slot<T>) {
    if !safe::comes_after(py, class, Kind::of::<T>(py)) {
        return;
    }
    let kind = class.as_ptr();
    // SAFETY: a type object, alive, and no code of Python's runs meanwhile. The interpreter calls
    // what is put there attached, and as the slot's function says: with an object of the class or a
    // subclass, and so of `T`, or with such a class, and with what else its type says, where a
    // borrowed reference is one pointer, and null is none. A vectorcall's is not inherited by
    // subclasses. A heap type has a place of its own for its asynchronous slots.
    // `PyType_Modified` tells the interpreter's caches.
    unsafe {
        match slot {
            Slot::New(new) => {
                (*kind).tp_new = Some(transmute::<New<'_, '_, T>, ffi::newfunc>(new));
            }
            Slot::Vectorcall(call) => {
                let call = transmute::<Vectorcall<'_, '_>, ffi::vectorcallfunc>(call);
                (*kind).tp_vectorcall = Some(call);
            }
            Slot::VectorcallOf(call) => {
                let call = transmute::<VectorcallOf<'_, '_, T>, ffi::vectorcallfunc>(call);
                (*kind).tp_vectorcall = Some(call);
            }
            Slot::Finalize(finalize) => {
                let finalize = transmute::<Finalizer<'_, T>, ffi::destructor>(finalize);
                (*kind).tp_finalize = Some(finalize);
            }
            Slot::Iterate(iterate) => {
                let iterate = transmute::<Unary<'_, T>, ffi::unaryfunc>(iterate);
                (*kind).tp_iter = Some(iterate);
                if let Some(slots) = (*kind).tp_as_async.as_mut() {
                    slots.am_await = Some(iterate);
                }
            }
            Slot::Send(send) => {
                if let Some(slots) = (*kind).tp_as_async.as_mut() {
                    slots.am_send = Some(transmute::<SendTo<'_, T>, ffi::sendfunc>(send));
                }
            }
            Slot::Next(next) => {
                (*kind).tp_iternext = Some(transmute::<Unary<'_, T>, ffi::unaryfunc>(next));
            }
        }
        ffi::PyType_Modified(kind);
    }
}

/// Fill the slot of `__new__`.
pub(crate) fn fill_new<T: Fresh + Recycled>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::New(new::<T>));
}

/// Fill the slot of `__new__` of a class that is derived from another of ours.
pub(crate) fn fill_new_derived<T>(py: Python<'_>)
where
    T: Fresh + Native + PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync,
    T::BaseType: Fresh + Recycled,
{
    fill(py, Kind::of::<T>(py), Slot::New(new_derived::<T>));
}

/// Let a class of exceptions have the `__new__` of `BaseException`: pickles of Twisted's failures
/// call that, which refuses classes that have another.
pub(crate) fn inherit_new_of_exceptions<T: Plain + ZeroIsEmpty>(py: Python<'_>) {
    let (class, base) = (Kind::of::<T>(py), Kind::of::<PyBaseException>(py));
    if safe::comes_after(py, class, base) {
        // SAFETY: a type of ours, complete and alive for good. What is put there is for classes of
        // exceptions, and what it leaves of `T` is a valid state.
        unsafe {
            (*class.as_ptr()).tp_new = base.slots(py).new;
            ffi::PyType_Modified(class.as_ptr());
        }
    }
}

/// Have a class called without detour. Nothing is done where it does not come after `C`.
pub(crate) fn construct_quickly<C: Construct>(class: &Bound<'_, PyType>) {
    fill(class.py(), Kind::from(class), Slot::<C>::Vectorcall(construct::<C>));
}

/// Fill the slot of the finalizer.
pub(crate) fn fill_finalizer<T: Finalize>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::Finalize(finalize::<T>));
}

/// Find out what calls `__del__`. To be done before `inherit_finalizer`.
///
/// # Errors
///
/// What making a class raises.
pub(crate) fn find_call_of_del(py: Python<'_>) -> PyResult<()> {
    let dict = [("__del__", py.None())].into_py_dict(py)?;
    let with_del = py.get_type::<PyType>().call1(("_WithDel", PyTuple::empty(py), dict))?;
    if let Some(call_del) = Kind::from(&with_del.cast_into::<PyType>()?).slots(py).finalize {
        let _ = CALL_DEL.set(call_del);
    }
    Ok(())
}

/// Fill the slots of `__iter__` and `__await__`.
pub(crate) fn fill_iterate<T: Iterate>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::Iterate(iterate::<T>));
}

/// Fill the slots of `send` and `__next__`.
pub(crate) fn fill_step<T: Step>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::Send(send::<T>));
    fill(py, Kind::of::<T>(py), Slot::Next(next::<T>));
}
