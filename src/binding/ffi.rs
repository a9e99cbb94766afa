//! The only file that speaks CPython's C API directly.
//!
//! Everything here is small: a call PyO3 has no (or a much slower) safe form of, or a slot of a
//! type that its macros do not fill.

use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use pyo3::exceptions::{PyBaseException, PySystemError, PyTypeError};
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyTypeInfo, intern};

use super::awaiting::Awaiting;
use super::callback::Callback;
use super::deferred::{self, Deferred};
use super::failure::{FailureBase, State};
use super::gather::DeferredList;
use super::outcome::{Chain, Link, Raised};
use super::report;

// ---------------------------------------------------------------------------------------------
// References

/// A reference that the state of one of our Python objects holds.
///
/// It is `Py` but for its drop. `Py` asks first whether the thread is attached, and puts off the
/// drop if PyO3 did not attach it, as in the functions that we put into slots ourselves.
pub(super) struct Held<T>(ManuallyDrop<Py<T>>);

impl<T> Drop for Held<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference is taken once, here. The thread is attached: these stand only in
        // the state of Python objects, which is touched through `Shared` or freed by the
        // interpreter, and in local variables of functions that were called by it.
        unsafe {
            drop(ManuallyDrop::take(&mut self.0).into_bound(Python::assume_attached()));
        }
    }
}

impl<T> Held<T> {
    /// The object.
    #[inline]
    pub(super) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, T> {
        self.0.bind(py)
    }

    /// One more reference.
    #[inline]
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(ManuallyDrop::new(self.0.clone_ref(py)))
    }

    /// The reference itself.
    #[inline]
    pub(super) fn into_bound<'py>(self, py: Python<'py>) -> Bound<'py, T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the reference is taken once, here, as `this` is not dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }.into_bound(py)
    }

    /// As PyO3 has it.
    #[inline]
    pub(super) fn as_py(&self) -> &Py<T> {
        &self.0
    }

    /// Where the object is.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }
}

/// What can be held.
pub(super) trait Hold {
    /// The class of the object.
    type Class;
    /// Hold this.
    fn hold(self) -> Held<Self::Class>;
}

impl<T> Hold for Bound<'_, T> {
    type Class = T;
    #[inline]
    fn hold(self) -> Held<T> {
        Held(ManuallyDrop::new(self.unbind()))
    }
}

// ---------------------------------------------------------------------------------------------
// Exceptions

/// The exception in flight, which there must be, taken out of flight.
pub(super) fn take_raised(py: Python<'_>) -> Raised<'_> {
    #[cfg(Py_3_12)]
    // SAFETY: attached; the function returns a new reference to an exception, or null.
    let raised = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyErr_GetRaisedException()) };
    #[cfg(not(Py_3_12))]
    let raised = {
        let (mut kind, mut value, mut traceback) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: attached; the three out-pointers are valid. What comes out are new references
        // or null; after normalising, `value` is an exception instance if there was any error.
        unsafe {
            ffi::PyErr_Fetch(&mut kind, &mut value, &mut traceback);
            if kind.is_null() {
                None
            } else {
                ffi::PyErr_NormalizeException(&mut kind, &mut value, &mut traceback);
                if !traceback.is_null() {
                    ffi::PyException_SetTraceback(value, traceback);
                }
                drop(Bound::from_owned_ptr_or_opt(py, kind));
                drop(Bound::from_owned_ptr_or_opt(py, traceback));
                Bound::from_owned_ptr_or_opt(py, value)
            }
        }
    };
    match raised {
        // SAFETY: the interpreter has nothing but exception instances in flight.
        Some(raised) => unsafe { raised.cast_into_unchecked::<PyBaseException>() },
        None => into_raised(py)(PySystemError::new_err("an error without an exception")),
    }
}

/// For `map_err`: a PyO3 error as the exception that it holds.
pub(super) fn into_raised<'py>(py: Python<'py>) -> impl FnOnce(PyErr) -> Raised<'py> {
    move |error| error.into_value(py).into_bound(py)
}

/// The exception that is being handled, as `sys.exc_info()` has it.
pub(super) fn handled(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    #[cfg(Py_3_11)]
    // SAFETY: attached; a new reference or null.
    let handled = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyErr_GetHandledException()) };
    #[cfg(not(Py_3_11))]
    let handled = {
        let (mut kind, mut value, mut traceback) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: attached; the three out-pointers are valid; new references or null come out.
        unsafe {
            ffi::PyErr_GetExcInfo(&mut kind, &mut value, &mut traceback);
            drop(Bound::from_owned_ptr_or_opt(py, kind));
            drop(Bound::from_owned_ptr_or_opt(py, traceback));
            Bound::from_owned_ptr_or_opt(py, value)
        }
    };
    handled.filter(|handled| !handled.is_none())
}

/// An exception as a `raise` statement here would raise it: with the exception that is being
/// handled for its context.
pub(super) fn raise(exception: Raised<'_>) -> PyErr {
    let py = exception.py();
    // SAFETY: attached; an exception and its class. Both are borrowed.
    unsafe { ffi::PyErr_SetObject(exception.get_type_ptr().cast(), exception.as_ptr()) };
    PyErr::from_value(take_raised(py).into_any())
}

/// Run something as if in an `except` that handles this exception.
pub(super) fn while_handling<R>(exception: &Raised<'_>, work: impl FnOnce() -> R) -> R {
    let py = exception.py();
    let before = begin_handling(exception);
    let result = work();
    end_handling(py, before);
    result
}

/// Say that this exception is being handled. Returns what is to be given to [`end_handling`].
///
/// Each generator has a place of its own for what it handles; where that is empty, the interpreter
/// looks further up. It tells only what it finds, not where. So what was found is to be put back
/// only if there is something else to be found without it.
pub(super) fn begin_handling<'py>(exception: &Raised<'py>) -> Option<Bound<'py, PyAny>> {
    let py = exception.py();
    let before = handled(py);
    set_handled(py, None);
    let further_up = handled(py);
    set_handled(py, Some(exception.as_any()));
    before.filter(|before| further_up.is_none_or(|further_up| !further_up.is(before)))
}

/// Say that what was being handled before is being handled again.
pub(super) fn end_handling(py: Python<'_>, before: Option<Bound<'_, PyAny>>) {
    set_handled(py, before.as_ref());
}

/// Say which exception is being handled, if any.
fn set_handled(py: Python<'_>, exception: Option<&Bound<'_, PyAny>>) {
    #[cfg(Py_3_11)]
    // SAFETY: attached; an exception or null, of which the interpreter takes a reference itself.
    unsafe {
        let _ = py;
        ffi::PyErr_SetHandledException(exception.map_or(ptr::null_mut(), Bound::as_ptr));
    }
    #[cfg(not(Py_3_11))]
    {
        let traceback = exception.and_then(|it| it.getattr(intern!(py, "__traceback__")).ok());
        let kind = exception.map(|it| it.get_type().into_any());
        let pointer = |object: Option<Bound<'_, PyAny>>| {
            object.map_or(ptr::null_mut(), |object| object.into_ptr())
        };
        // SAFETY: attached; the function takes over the three references, or nulls.
        unsafe {
            ffi::PyErr_SetExcInfo(pointer(kind), pointer(exception.cloned()), pointer(traceback));
        }
    }
}

/// Run something that may use exceptions for its own ends while one may be in flight.
pub(super) fn with_error_saved<R>(py: Python<'_>, work: impl FnOnce() -> R) -> R {
    let saved = PyErr::take(py);
    let result = work();
    if let Some(saved) = saved {
        saved.restore(py);
    }
    result
}

// ---------------------------------------------------------------------------------------------
// Interpreters

/// Whether this is the interpreter that the process began with.
pub(super) fn in_main_interpreter(_py: Python<'_>) -> bool {
    // SAFETY: attached, so there is a current interpreter.
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) == 0 }
}

// ---------------------------------------------------------------------------------------------
// Calls

/// Make a result of what a C function returned.
///
/// # Safety
///
/// `object` is a new reference, or null with an exception in flight.
#[inline]
unsafe fn returned(
    py: Python<'_>,
    object: *mut ffi::PyObject,
) -> Result<Bound<'_, PyAny>, Raised<'_>> {
    // SAFETY: the caller's promise.
    match unsafe { Bound::from_owned_ptr_or_opt(py, object) } {
        Some(object) => Ok(object),
        None => Err(take_raised(py)),
    }
}

/// `callable(argument)`
#[inline]
pub(super) fn call_one<'py>(
    callable: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    let mut stack = [ptr::null_mut(), argument.as_ptr()];
    // SAFETY: the stack has one argument after the slot that the flag allows a bound method to
    // use for its `self`; both objects outlive the call.
    unsafe {
        returned(
            callable.py(),
            ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                stack.as_mut_ptr().add(1),
                1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                ptr::null_mut(),
            ),
        )
    }
}

/// `object.method(argument)`
#[inline]
pub(super) fn call_method_one<'py>(
    object: &Bound<'py, PyAny>,
    method: &Bound<'py, PyString>,
    argument: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    let stack = [object.as_ptr(), argument.as_ptr()];
    // SAFETY: the stack has the object and one argument; all three objects outlive the call.
    unsafe {
        returned(
            object.py(),
            ffi::PyObject_VectorcallMethod(
                method.as_ptr(),
                stack.as_ptr(),
                stack.len(),
                ptr::null_mut(),
            ),
        )
    }
}

/// `callable(first, *args, **kwargs)`, where `parts` is a tuple of anything, the callable and the
/// arguments.
pub(super) fn call_spread<'py>(
    parts: &Bound<'py, PyTuple>,
    first: &Bound<'py, PyAny>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    const ON_STACK: usize = 8;
    let mut few = [ptr::null_mut(); ON_STACK];
    let mut many = Vec::new();
    // As many as the parts: `first` instead of the callable, and a slot to spare before it.
    let count = parts.len().saturating_sub(1);
    let stack = if count < ON_STACK {
        &mut few[..]
    } else {
        many.resize(count + 1, ptr::null_mut());
        &mut many[..]
    };
    let mut items = parts.iter_borrowed().skip(1);
    let Some(callable) = items.next() else {
        return Err(into_raised(parts.py())(PySystemError::new_err("no callable")));
    };
    stack[1] = first.as_ptr();
    for (slot, argument) in stack[2..].iter_mut().zip(items) {
        *slot = argument.as_ptr();
    }
    let kwargs = kwargs.map_or(ptr::null_mut(), |kwargs| kwargs.as_ptr());
    // SAFETY: `count` arguments stand after the first slot, which the flag leaves to the callee.
    // They are alive during the call: `first` by its caller, the others by the tuple, which holds
    // them, and the callable, whatever the call does.
    unsafe {
        returned(
            parts.py(),
            ffi::PyObject_VectorcallDict(
                callable.as_ptr(),
                stack.as_mut_ptr().add(1),
                count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                kwargs,
            ),
        )
    }
}

/// A tuple of these.
#[inline]
pub(super) fn tuple_of<'py>(
    first: &Bound<'py, PyAny>,
    rest: &[Borrowed<'_, '_, PyAny>],
) -> PyResult<Bound<'py, PyTuple>> {
    let py = first.py();
    // SAFETY: the new tuple has so many places, and each is filled, with a reference of its own,
    // before anyone else sees the tuple.
    unsafe {
        let length = (rest.len() + 1) as ffi::Py_ssize_t;
        let tuple = Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(length))?;
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 0, first.clone().into_ptr());
        for (i, item) in (1..).zip(rest) {
            ffi::Py_INCREF(item.as_ptr());
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i, item.as_ptr());
        }
        Ok(tuple.cast_into_unchecked())
    }
}

/// An item of a tuple of ours that is known to have it.
#[inline]
pub(super) fn tuple_item<'a, 'py>(
    tuple: &'a Bound<'py, PyTuple>,
    index: usize,
) -> Borrowed<'a, 'py, PyAny> {
    debug_assert!(index < tuple.len());
    // SAFETY: the callers are in `callback.rs`, which makes these tuples and sees to their length.
    unsafe { tuple.get_borrowed_item_unchecked(index) }
}

// ---------------------------------------------------------------------------------------------
// Generators, coroutines, contexts

/// How a generator came back.
pub(super) enum Sent<'py> {
    /// It yielded this.
    Yielded(Bound<'py, PyAny>),
    /// It returned this.
    Returned(Bound<'py, PyAny>),
    /// It raised this.
    Raised(Raised<'py>),
}

/// `generator.send(value)`, without a `StopIteration` where it returns.
#[inline]
pub(super) fn send<'py>(generator: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> Sent<'py> {
    let py = generator.py();
    let mut result = ptr::null_mut();
    // SAFETY: both objects are alive and the out-pointer is valid. On the first two answers the
    // result is a new reference, on the third an exception is in flight.
    unsafe {
        match ffi::PyIter_Send(generator.as_ptr(), value.as_ptr(), &mut result) {
            ffi::PySendResult::PYGEN_NEXT => Sent::Yielded(Bound::from_owned_ptr(py, result)),
            ffi::PySendResult::PYGEN_RETURN => Sent::Returned(Bound::from_owned_ptr(py, result)),
            ffi::PySendResult::PYGEN_ERROR => Sent::Raised(take_raised(py)),
        }
    }
}

/// A copy of the current context.
pub(super) fn copy_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: attached; a new reference, or null with an exception in flight.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}

/// Run something in a context that [`copy_context`] made.
///
/// # Errors
///
/// `RuntimeError` if the context is in use further up.
#[inline]
pub(super) fn in_context<'py, R>(
    context: &Bound<'py, PyAny>,
    work: impl FnOnce() -> R,
) -> Result<R, Raised<'py>> {
    let py = context.py();
    // SAFETY: `context` is a context object.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(take_raised(py));
    }
    let result = work();
    // SAFETY: it was entered above, and what `work` entered it has left again.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return Err(take_raised(py));
    }
    Ok(result)
}

/// Whether an object is of one of the types that most results are of, and so is nothing special.
#[inline]
pub(super) fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    let kind = object.get_type_ptr().cast_const();
    object.is_none()
        || [
            &raw const ffi::PyLong_Type,
            &raw const ffi::PyUnicode_Type,
            &raw const ffi::PyBool_Type,
            &raw const ffi::PyTuple_Type,
            &raw const ffi::PyList_Type,
            &raw const ffi::PyDict_Type,
            &raw const ffi::PyBytes_Type,
            &raw const ffi::PyFloat_Type,
        ]
        .contains(&kind)
}

/// Whether an object's type was made by a `class` statement, or like one.
#[inline]
pub(super) fn is_of_heap_type(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: an object's type is alive as long as the object.
    unsafe { ffi::PyType_HasFeature(object.get_type_ptr(), ffi::Py_TPFLAGS_HEAPTYPE) != 0 }
}

/// The first class with this name among a class and its bases.
pub(super) fn base_named<'py>(kind: &Bound<'py, PyType>, name: &str) -> Option<Bound<'py, PyType>> {
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

/// The object at an address that somebody further up this thread's stack holds, if not null.
///
/// The only such address is `generator::DRIVEN`.
pub(super) fn borrowed(py: Python<'_>, object: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: null, or the address of an object that `generator::drive` borrows for as long as
    // it stands in `DRIVEN`.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, object) }
}

// ---------------------------------------------------------------------------------------------
// Objects of our own types

/// Make a Deferred: one allocation, no instance dict.
///
/// PyO3 would go through `object.__new__`, which gives each instance a dict on CPython 3.11 and
/// 3.12.
#[inline]
pub(super) fn new_deferred(py: Python<'_>, chain: Chain) -> PyResult<Bound<'_, Deferred>> {
    // SAFETY: `Deferred` is the type that the function is for.
    unsafe { new_deferred_of(Deferred::type_object_raw(py), py, chain) }
}

/// # Safety
///
/// `kind` is `Deferred` or a subclass of it.
#[inline]
unsafe fn new_deferred_of<'py>(
    kind: *mut ffi::PyTypeObject,
    py: Python<'py>,
    chain: Chain,
) -> PyResult<Bound<'py, Deferred>> {
    // SAFETY: every type has `tp_alloc`. It returns zeroed memory of the type's size with its
    // header set, or null with an exception in flight.
    let object = unsafe {
        let alloc = (*kind).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
        Bound::from_owned_ptr_or_err(py, alloc(kind, 0))?
    };
    // SAFETY: an object of this type, by the caller's promise. The place that `get` refers to is
    // in bounds and aligned by PyO3's layout; the memory there is written before anything reads
    // it: no Python code and no collection runs between the allocation and this write. The dict
    // and weak reference slots beside it are null, as PyO3 has them at first.
    unsafe {
        let deferred = object.cast_into_unchecked::<Deferred>();
        ptr::from_ref(deferred.get()).cast_mut().write(Deferred::of(chain));
        Ok(deferred)
    }
}

/// `Deferred.__new__`: whatever the arguments, a Deferred that has not fired.
unsafe extern "C" fn deferred_new(
    kind: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls `tp_new` attached, with a subtype of the type it stands in.
    unsafe {
        let py = Python::assume_attached();
        match new_deferred_of(kind, py, Chain::new(None)) {
            Ok(deferred) => deferred.into_ptr(),
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        }
    }
}

/// `DeferredList.__new__`: whatever the arguments, a list of nothing that has not fired.
unsafe extern "C" fn deferred_list_new(
    kind: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls `tp_new` attached, with a subtype of the type it stands in,
    // which is a subclass of `Deferred`. The part of the object that is `DeferredList`'s own is
    // zeroed memory, written before anything reads it, as for `Deferred`'s part.
    unsafe {
        let py = Python::assume_attached();
        match new_deferred_of(kind, py, Chain::new(None)) {
            Ok(deferred) => {
                let list = deferred.into_any().cast_into_unchecked::<DeferredList>();
                ptr::from_ref(list.get()).cast_mut().write(DeferredList::empty());
                list.into_ptr()
            }
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        }
    }
}

/// `Deferred(canceller=None)` without the detour by `__new__` and `__init__`.
unsafe extern "C" fn deferred_vectorcall(
    kind: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this attached, with the type it stands in (it is not
    // inherited), `PyVectorcall_NARGS(nargsf)` positional arguments and one more for each name in
    // `kwnames`, all alive during the call.
    unsafe {
        let py = Python::assume_attached();
        let nargs = ffi::PyVectorcall_NARGS(nargsf);
        let plain = DEFERRED_INIT.is_in(kind.cast());
        if !plain || !kwnames.is_null() || nargs > 1 {
            return deferred_call_slowly(py, kind, args, nargs, kwnames);
        }
        let canceller = if nargs == 1 && *args != ffi::Py_None() {
            Some(Bound::from_borrowed_ptr(py, *args).hold())
        } else {
            None
        };
        let made = new_deferred_of(kind.cast(), py, Chain::new(canceller)).and_then(|deferred| {
            if debugging(&deferred)? {
                report::remember_creator(&deferred)?;
            }
            Ok(deferred)
        });
        match made {
            Ok(deferred) => deferred.into_ptr(),
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        }
    }
}

/// What `type.__call__` does where a type has no vectorcall.
///
/// # Safety
///
/// The arguments are a vectorcall's.
unsafe fn deferred_call_slowly(
    py: Python<'_>,
    kind: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let call = || -> PyResult<Bound<'_, PyAny>> {
        // SAFETY: the caller's promise: `nargs` arguments, then one for each name.
        let (kind, positional, named) = unsafe {
            let positional = std::slice::from_raw_parts(args, usize::try_from(nargs)?);
            let positional: Vec<_> =
                positional.iter().map(|&arg| Bound::from_borrowed_ptr(py, arg)).collect();
            let named = PyDict::new(py);
            if let Some(names) = Bound::from_borrowed_ptr_or_opt(py, kwnames) {
                for (i, name) in names.cast_into_unchecked::<PyTuple>().iter().enumerate() {
                    let value = *args.add(positional.len() + i);
                    named.set_item(name, Bound::from_borrowed_ptr(py, value))?;
                }
            }
            (Bound::from_borrowed_ptr(py, kind), positional, named)
        };
        let object = kind.call_method1(intern!(py, "__new__"), (&kind,))?;
        let mut arguments = vec![object.clone()];
        arguments.extend(positional);
        kind.getattr(intern!(py, "__init__"))?.call(PyTuple::new(py, arguments)?, Some(&named))?;
        Ok(object)
    };
    match call() {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

/// The finalizer of Deferreds: what the collector calls before it takes a cycle apart.
///
/// (A Deferred that dies by its last reference reports from `Drop`.)
unsafe extern "C" fn deferred_finalize(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls `tp_finalize` attached, with an instance of the type it
    // stands in or of a subtype.
    unsafe {
        let py = Python::assume_attached();
        let deferred = Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Deferred>();
        report::finalize(&deferred);
    }
}

/// Make a failure of this class with this state: what `__new__` and `__init__` do together.
pub(super) fn new_failure<'py>(
    kind: &Bound<'py, PyType>,
    state: State,
) -> PyResult<Bound<'py, FailureBase>> {
    let py = kind.py();
    debug_assert!(kind.is_subclass_of::<FailureBase>().unwrap_or(false));
    // SAFETY: `BaseException` has `tp_new`; it allocates an instance of the subtype it is given,
    // and keeps the tuple. The only caller passes `deferrous.failure.Failure`, a subclass of
    // `FailureBase`. The part of the object that is `FailureBase`'s is zeroed memory, which is a
    // valid state that owns nothing, so it may be overwritten.
    unsafe {
        let Some(new) = (*ffi::PyExc_BaseException.cast::<ffi::PyTypeObject>()).tp_new else {
            return Err(PyTypeError::new_err("cannot create 'BaseException' instances"));
        };
        let object = new(kind.as_type_ptr(), PyTuple::empty(py).as_ptr(), ptr::null_mut());
        let failure =
            Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<FailureBase>();
        ptr::from_ref(failure.get()).cast_mut().write(FailureBase::of(state));
        Ok(failure)
    }
}

/// Whether making failures of this class by [`new_failure`] is what calling it would do.
///
/// Not where a program has replaced `Failure.__init__`, as `startDebugMode` does.
pub(super) fn makes_failures_plainly(kind: &Bound<'_, PyType>) -> bool {
    // SAFETY: a type object, alive.
    unsafe { FAILURE_INIT.is_in(kind.as_type_ptr()) }
}

/// The instance dict of an exception, made where there was none.
pub(super) fn exception_dict<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    // SAFETY: an object with a dict slot, which every exception has; a new reference, or null
    // with an exception in flight.
    unsafe {
        let dict = ffi::PyObject_GenericGetDict(object.as_ptr(), ptr::null_mut());
        Ok(Bound::from_owned_ptr_or_err(object.py(), dict)?.cast_into_unchecked())
    }
}

/// Replace the instance dict of an exception.
pub(super) fn set_exception_dict(
    object: &Bound<'_, PyAny>,
    dict: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: an object with a dict slot. The function itself refuses what is not a dict.
    let status =
        unsafe { ffi::PyObject_GenericSetDict(object.as_ptr(), dict.as_ptr(), ptr::null_mut()) };
    if status < 0 { Err(PyErr::fetch(object.py())) } else { Ok(()) }
}

/// The traceback of an exception, whatever its class has under that name.
pub(super) fn traceback_of<'py>(exception: &Raised<'py>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: an exception; a new reference or null.
    unsafe {
        let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
        Bound::from_owned_ptr_or_opt(exception.py(), traceback)
    }
}

/// Set the traceback of an exception, `None` for none.
pub(super) fn set_traceback(exception: &Raised<'_>, traceback: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: an exception. The function itself refuses what is neither a traceback nor `None`.
    let status = unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) };
    if status < 0 { Err(PyErr::fetch(exception.py())) } else { Ok(()) }
}

/// What a class with a `__del__` has for a finalizer: CPython's own function that calls it.
static CALL_DEL: AtomicUsize = AtomicUsize::new(0);

/// The finalizer of subclasses that have a `__del__` as well.
unsafe extern "C" fn finalize_and_del(object: *mut ffi::PyObject) {
    // SAFETY: as for `deferred_finalize`. `CALL_DEL` was set before this stood in any slot, to a
    // function that stood in one.
    unsafe {
        deferred_finalize(object);
        let call_del =
            std::mem::transmute::<usize, Option<ffi::destructor>>(CALL_DEL.load(Ordering::Relaxed));
        if let Some(call_del) = call_del {
            call_del(object);
        }
    }
}

/// Give a new subclass of `Deferred` its finalizer.
///
/// CPython lets a class inherit it only together with a `__del__`, which `Deferred` has not.
pub(super) fn inherit_finalizer(class: &Bound<'_, PyType>) {
    let ours = deferred_finalize as unsafe extern "C" fn(*mut ffi::PyObject) as usize;
    let both = finalize_and_del as unsafe extern "C" fn(*mut ffi::PyObject) as usize;
    // SAFETY: a type object, alive, which is being made: it has no instances yet. What its slot
    // holds, if anything, is CPython's function that looks `__del__` up and calls it, the same for
    // all classes.
    unsafe {
        let kind = class.as_type_ptr();
        match (*kind).tp_finalize {
            None => (*kind).tp_finalize = Some(deferred_finalize),
            Some(other) if other as usize != ours && other as usize != both => {
                CALL_DEL.store(other as usize, Ordering::Relaxed);
                (*kind).tp_finalize = Some(finalize_and_del);
            }
            Some(_) => {}
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Debug mode

/// `Deferred.debug`, as long as the type has not been changed since it was last looked up.
static DEBUG: AtomicBool = AtomicBool::new(false);
/// The type's version when it was looked up. Versions start at 1.
static DEBUG_VERSION: AtomicU32 = AtomicU32::new(0);

/// `deferred.debug`
#[inline]
pub(super) fn debugging(deferred: &Bound<'_, Deferred>) -> PyResult<bool> {
    let kind = Deferred::type_object_raw(deferred.py());
    // SAFETY: the type is alive for good. The interpreter changes the version with each
    // assignment to an attribute of the type, to 0 at first.
    let version = unsafe { (*kind).tp_version_tag };
    let plain = deferred.get_type_ptr() == kind && !has_instance_dict(deferred);
    if plain && version != 0 && version == DEBUG_VERSION.load(Ordering::Relaxed) {
        return Ok(DEBUG.load(Ordering::Relaxed));
    }
    let debug = deferred.getattr(intern!(deferred.py(), "debug"))?.is_truthy()?;
    if plain {
        DEBUG.store(debug, Ordering::Relaxed);
        // SAFETY: as above. The lookup may have given the type a version.
        DEBUG_VERSION.store(unsafe { (*kind).tp_version_tag }, Ordering::Relaxed);
    }
    Ok(debug)
}

/// Whether an attribute has ever been set on this very Deferred.
pub(super) fn has_instance_dict(deferred: &Bound<'_, Deferred>) -> bool {
    // SAFETY: PyO3 gave the type a dict slot at this offset, within the object. It holds a
    // pointer to a dict, or null.
    unsafe {
        let offset = (*Deferred::type_object_raw(deferred.py())).tp_dictoffset;
        !(*deferred.as_ptr().byte_offset(offset).cast::<*mut ffi::PyObject>()).is_null()
    }
}

// ---------------------------------------------------------------------------------------------
// Methods without PyO3's handling of arguments

type Fast = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    ffi::Py_ssize_t,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// A method of `Deferred` in two forms: for calls with positional arguments alone, and PyO3's for
/// any others.
struct FastMethod {
    name: &'static CStr,
    fast: Fast,
    slow: PyOnceLock<Py<PyAny>>,
}

static FAST_METHODS: [FastMethod; 4] = [
    FastMethod { name: c"addCallback", fast: add_callback, slow: PyOnceLock::new() },
    FastMethod { name: c"addErrback", fast: add_errback, slow: PyOnceLock::new() },
    FastMethod { name: c"addBoth", fast: add_both, slow: PyOnceLock::new() },
    FastMethod { name: c"callback", fast: callback, slow: PyOnceLock::new() },
];

/// Enter from the interpreter: make its return value of a result, and an exception of a panic.
fn enter<'py>(
    py: Python<'py>,
    work: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    let result = std::panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(PanicException::new_err("deferrous has a bug")));
    match result {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

/// Call a method in PyO3's form.
///
/// # Safety
///
/// The arguments are those of a call by `METH_FASTCALL | METH_KEYWORDS`.
#[cold]
unsafe fn call_slowly<'py>(
    py: Python<'py>,
    method: &FastMethod,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(slow) = method.slow.get(py) else {
        return Err(PySystemError::new_err("the module is not complete"));
    };
    // SAFETY: the caller's promise: so many arguments, then one for each name.
    unsafe {
        let mut stack = vec![slf];
        let named = Bound::from_borrowed_ptr_or_opt(py, kwnames)
            .map_or(0, |names| names.cast_into_unchecked::<PyTuple>().len());
        stack.extend((0..usize::try_from(nargs)? + named).map(|i| *args.add(i)));
        let nargs = usize::try_from(nargs)? + 1;
        let result = ffi::PyObject_Vectorcall(slow.as_ptr(), stack.as_ptr(), nargs, kwnames);
        Bound::from_owned_ptr_or_err(py, result)
    }
}

/// Do what the methods that add a callback do.
///
/// # Safety
///
/// As for `call_slowly`, with a Deferred.
#[inline]
unsafe fn add_link(
    method: &FastMethod,
    link: impl FnOnce(Callback) -> Link,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls methods attached. The caller's promise: `nargs` arguments,
    // borrowed for the length of the call, and a Deferred.
    unsafe {
        let py = Python::assume_attached();
        enter(py, || {
            if nargs == 0 || !kwnames.is_null() {
                return call_slowly(py, method, slf, args, nargs, kwnames);
            }
            let deferred = Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<Deferred>();
            let callback = if nargs == 1 {
                Callback::plain(Bound::from_borrowed_ptr(py, *args))?
            } else {
                // A borrowed reference is one pointer, as in the array.
                let args = args.cast::<Borrowed<'_, '_, PyAny>>();
                let args = std::slice::from_raw_parts(args, usize::try_from(nargs)?);
                Callback::with_arguments(py, args, None)?
            };
            deferred::add(&deferred, link(callback))?;
            Ok(deferred.into_any())
        })
    }
}

/// `Deferred.addCallback`
unsafe extern "C" fn add_callback(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called as the method of `Deferred` that it is, which has checked `slf`.
    unsafe { add_link(&FAST_METHODS[0], Link::OnValue, slf, args, nargs, kwnames) }
}

/// `Deferred.addErrback`
unsafe extern "C" fn add_errback(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as for `add_callback`.
    unsafe { add_link(&FAST_METHODS[1], Link::OnFailure, slf, args, nargs, kwnames) }
}

/// `Deferred.addBoth`
unsafe extern "C" fn add_both(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as for `add_callback`.
    unsafe { add_link(&FAST_METHODS[2], Link::Either, slf, args, nargs, kwnames) }
}

/// `Deferred.callback`
unsafe extern "C" fn callback(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as for `add_callback`.
    unsafe {
        let py = Python::assume_attached();
        enter(py, || {
            if nargs != 1 || !kwnames.is_null() {
                return call_slowly(py, &FAST_METHODS[3], slf, args, nargs, kwnames);
            }
            let deferred = Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<Deferred>();
            deferred::fire_with(&deferred, Bound::from_borrowed_ptr(py, *args))?;
            Ok(py.None().into_bound(py))
        })
    }
}

/// Put the fast methods in the place of PyO3's, with the same signatures and texts.
fn put_fast_methods(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<Deferred>();
    for method in &FAST_METHODS {
        let name = PyString::from_bytes(py, method.name.to_bytes())?;
        let slow = class.getattr(&name)?;
        // SAFETY: what PyO3 has put there is a method descriptor, whose definition is alive for
        // good. The new definition is leaked, so it is, too. Its function has the form that its
        // flags say.
        let descriptor = unsafe {
            let before = (*slow.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method;
            let definition = Box::leak(Box::new(ffi::PyMethodDef {
                ml_name: method.name.as_ptr(),
                ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method.fast },
                ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
                ml_doc: (*before).ml_doc,
            }));
            let made = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
            Bound::from_owned_ptr_or_err(py, made)?
        };
        let _ = method.slow.set(py, slow.unbind());
        class.setattr(name, descriptor)?;
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// Slots that PyO3's macros do not fill

/// What stood in the `tp_init` slots of our types when the module was made.
static DEFERRED_INIT: InitSlot = InitSlot(AtomicUsize::new(0));
static FAILURE_INIT: InitSlot = InitSlot(AtomicUsize::new(0));

/// A slot's content, to be recognised and not to be called.
struct InitSlot(AtomicUsize);

impl InitSlot {
    /// # Safety
    ///
    /// `kind` is a type object, alive.
    unsafe fn read(kind: *mut ffi::PyTypeObject) -> usize {
        // SAFETY: the caller's promise.
        unsafe { (*kind).tp_init }.map_or(0, |init| init as usize)
    }

    /// # Safety
    ///
    /// As for `read`.
    unsafe fn remember(&self, kind: *mut ffi::PyTypeObject) {
        // SAFETY: the caller's promise.
        self.0.store(unsafe { Self::read(kind) }, Ordering::Relaxed);
    }

    /// Whether nobody has replaced `__init__` since.
    ///
    /// # Safety
    ///
    /// As for `read`.
    unsafe fn is_in(&self, kind: *mut ffi::PyTypeObject) -> bool {
        // SAFETY: the caller's promise.
        self.0.load(Ordering::Relaxed) == unsafe { Self::read(kind) }
    }
}

static mut AWAITING_ASYNC: ffi::PyAsyncMethods = ffi::PyAsyncMethods {
    am_await: None,
    am_aiter: None,
    am_anext: None,
    am_send: Some(awaiting_send),
};

/// `Awaiting.send`, as the interpreter itself calls it.
unsafe extern "C" fn awaiting_send(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: called attached, with an instance of `Awaiting`, which has no subclasses, and a
    // valid place for the result.
    unsafe {
        let py = Python::assume_attached();
        let awaiting = Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Awaiting>();
        match Awaiting::step(&awaiting) {
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
                PyErr::from_value(raised.into_any()).restore(py);
                ffi::PySendResult::PYGEN_ERROR
            }
        }
    }
}

/// Fill the slots. Called once, when the module is made, before anyone can have subclassed.
pub(super) fn fill_slots(py: Python<'_>) -> PyResult<()> {
    let deferred = Deferred::type_object_raw(py);
    let list = DeferredList::type_object_raw(py);
    let failure = FailureBase::type_object_raw(py);
    let awaiting = Awaiting::type_object_raw(py);
    // SAFETY: the four are heap types of ours, complete, alive for good and not yet visible to
    // any other code. The functions have the signatures and keep the contracts of their slots;
    // `AWAITING_ASYNC` is never written. `PyType_Modified` tells the interpreter's caches.
    unsafe {
        DEFERRED_INIT.remember(deferred);
        FAILURE_INIT.remember(failure);
        (*deferred).tp_new = Some(deferred_new);
        (*deferred).tp_vectorcall = Some(deferred_vectorcall);
        (*deferred).tp_finalize = Some(deferred_finalize);
        (*list).tp_new = Some(deferred_list_new);
        (*list).tp_finalize = Some(deferred_finalize);
        // Ours would do no more, and pickles of Twisted's failures call `BaseException.__new__`,
        // which refuses classes that have another.
        (*failure).tp_new = (*ffi::PyExc_BaseException.cast::<ffi::PyTypeObject>()).tp_new;
        (*awaiting).tp_as_async = &raw mut AWAITING_ASYNC;
        ffi::PyType_Modified(deferred);
        ffi::PyType_Modified(list);
        ffi::PyType_Modified(failure);
        ffi::PyType_Modified(awaiting);
    }
    put_fast_methods(py)
}
