//! Exceptions: raised, being handled, and what hangs on them.

use std::ptr;

#[cfg(not(Py_3_12))]
use pyo3::exceptions::PyMemoryError;
use pyo3::exceptions::{PyBaseException, PySystemError};
#[cfg(Py_3_11)]
use pyo3::exceptions::{PyBaseExceptionGroup, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
#[cfg(not(Py_3_12))]
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::super::error::{Error, Raise, Result};
use super::super::interned::intern;
use super::super::outcome::Raised;
use super::held::{Held, Hold};
use super::inspect::{is_of_heap_type, is_ordinary};
use super::making::{made, new_tuple};

/// The exception in flight, which there must be, taken out of flight.
pub(in crate::binding) fn take_raised(py: Python<'_>) -> Raised<'_> {
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
                complete(&mut kind, &mut value);
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
        None => PySystemError::error(py, "an error without an exception").into_raised(py),
    }
}

/// Make the exception of what was fetched, where only its class and what it is to be made of are
/// there.
///
/// `PyErr_NormalizeException` ends the process where that runs out of memory again and again. There
/// are no more than 16 exceptions for that which need none, and programs may keep them. So they are
/// left to CPython itself, which normalizes, too.
///
/// # Safety
///
/// Attached, with no exception in flight; a class of exceptions, and an object or null, both owned.
#[cfg(not(Py_3_12))]
unsafe fn complete(kind: &mut *mut ffi::PyObject, value: &mut *mut ffi::PyObject) {
    // SAFETY: the caller's promise. What is replaced is let go of, and what replaces it is owned:
    // new references, or what is fetched. An exception is one whose class says so.
    unsafe {
        for _ in 0..8 {
            if *kind == ffi::PyExc_MemoryError && (*value).is_null() {
                *value = new_memory_error();
            }
            if !(*value).is_null() && ffi::PyExceptionInstance_Check(*value) != 0 {
                return;
            }
            let made = if (*value).is_null() || *value == ffi::Py_None() {
                ffi::PyObject_CallNoArgs(*kind)
            } else if ffi::PyTuple_Check(*value) != 0 {
                ffi::PyObject_Call(*kind, *value, ptr::null_mut())
            } else {
                ffi::PyObject_CallFunctionObjArgs(*kind, *value, ptr::null_mut::<ffi::PyObject>())
            };
            if !made.is_null() {
                // If it is no exception, CPython says so.
                if ffi::PyExceptionInstance_Check(made) != 0 {
                    ffi::Py_XDECREF(std::mem::replace(value, made));
                } else {
                    ffi::Py_DECREF(made);
                }
                return;
            }
            let before = (*kind, *value);
            let mut traceback = ptr::null_mut();
            ffi::PyErr_Fetch(kind, value, &mut traceback);
            ffi::Py_DECREF(before.0);
            ffi::Py_XDECREF(before.1);
            ffi::Py_XDECREF(traceback);
        }
    }
}

/// A `MemoryError` that was made before it was needed.
#[cfg(not(Py_3_12))]
static SPARE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Make a `MemoryError` for when there is no memory for one.
#[cfg(not(Py_3_12))]
pub(super) fn spare_one(py: Python<'_>) -> PyResult<()> {
    let spare = py.get_type::<PyMemoryError>().call0()?;
    let _ = SPARE.set(py, spare.unbind());
    Ok(())
}

/// A `MemoryError`, none of those that CPython keeps: a new one, or, where there is no memory for
/// that, the spare one, as good as new. Null if there is none yet.
///
/// # Safety
///
/// Attached.
#[cfg(not(Py_3_12))]
unsafe fn new_memory_error() -> *mut ffi::PyObject {
    // SAFETY: attached. `BaseException` has `tp_new`, which makes an instance of the subclass it is
    // given, with an empty tuple of arguments. The spare one is an exception.
    unsafe {
        let py = Python::assume_attached();
        let kind = ffi::PyExc_MemoryError.cast::<ffi::PyTypeObject>();
        if let Some(new) = (*ffi::PyExc_BaseException.cast::<ffi::PyTypeObject>()).tp_new {
            let made = new(kind, PyTuple::empty(py).as_ptr(), ptr::null_mut());
            if !made.is_null() {
                return made;
            }
            ffi::PyErr_Clear();
        }
        let Some(spare) = SPARE.get(py) else { return ptr::null_mut() };
        let spare = spare.clone_ref(py).into_ptr();
        ffi::PyException_SetTraceback(spare, ffi::Py_None());
        ffi::PyException_SetCause(spare, ptr::null_mut());
        ffi::PyException_SetContext(spare, ptr::null_mut());
        spare
    }
}

/// Put an exception in flight.
pub(super) fn restore(exception: Raised<'_>) {
    #[cfg(Py_3_12)]
    // SAFETY: attached; an exception, which the function takes over.
    unsafe {
        ffi::PyErr_SetRaisedException(exception.into_ptr());
    }
    #[cfg(not(Py_3_12))]
    {
        let kind = exception.get_type();
        let traceback = traceback_of(&exception).map_or(ptr::null_mut(), Bound::into_ptr);
        // SAFETY: attached; an exception, its class and its traceback or null, all taken over.
        unsafe { ffi::PyErr_Restore(kind.into_ptr(), exception.into_ptr(), traceback) }
    }
}

/// Put the exception in flight that says what an iterator has returned.
pub(super) fn stop_iteration(value: Bound<'_, PyAny>) {
    let py = value.py();
    let mut argument = value;
    // A tuple would be taken for the exception's arguments, and an exception for itself.
    if argument.is_instance_of::<PyTuple>() || argument.is_instance_of::<PyBaseException>() {
        match new_tuple(py, [argument]) {
            Ok(arguments) => argument = arguments.into_any(),
            Err(error) => return restore(error.into_raised(py)),
        }
    }
    // SAFETY: attached; a class of exceptions and an object, alive.
    unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, argument.as_ptr()) }
}

/// The exception that says what an iterator has returned.
pub(in crate::binding) fn stopped_with(value: Bound<'_, PyAny>) -> Error {
    let py = value.py();
    stop_iteration(value);
    take_raised(py).into()
}

/// A new exception of a class, as a `raise` statement here would raise it; or what making it has
/// raised.
#[cold]
pub(in crate::binding) fn new_raised<'py>(
    py: Python<'py>,
    kind: *mut ffi::PyTypeObject,
    text: Option<&str>,
) -> Raised<'py> {
    let text = match text.map(|text| PyString::from_bytes(py, text.as_bytes())) {
        None => None,
        Some(Ok(text)) => Some(text),
        Some(Err(error)) => return exception_of(error).into_bound(py),
    };
    new_raised_with(py, kind, text.as_ref())
}

/// As [`new_raised`], with a text of Python's.
#[cold]
pub(in crate::binding) fn new_raised_with<'py>(
    py: Python<'py>,
    kind: *mut ffi::PyTypeObject,
    text: Option<&Bound<'py, PyString>>,
) -> Raised<'py> {
    let argument = text.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: attached; a class, which the function itself makes sure is one of exceptions, and
    // its argument or null.
    unsafe { ffi::PyErr_SetObject(kind.cast(), argument) };
    take_raised(py)
}

/// The exception that a PyO3 error holds, or is to make.
///
/// What it is made of PyO3 lets go of in its own way: at once only where it has attached the
/// thread itself, as is done here. (So does `PyErr::into_value` with what is made.)
#[cold]
pub(in crate::binding) fn exception_of(error: PyErr) -> Held<PyBaseException> {
    // SAFETY: whoever has an error is attached, and so can be so once more, whatever state the
    // interpreter is in; a thread that is attached need not wait for that.
    unsafe {
        Python::attach_unchecked(|py| {
            error.restore(py);
            take_raised(py).hold()
        })
    }
}

/// An exception as PyO3 has its errors. To be returned to it, and not to be dropped.
pub(in crate::binding) fn as_pyo3_has_it(exception: Held<PyBaseException>) -> PyErr {
    // SAFETY: whoever has an exception is attached.
    let py = unsafe { Python::assume_attached() };
    PyErr::from_value(exception.into_bound(py).into_any())
}

/// For `map_err`: an error as the exception that it holds.
pub(in crate::binding) fn into_raised<'py, E: Into<Error>>(
    py: Python<'py>,
) -> impl FnOnce(E) -> Raised<'py> {
    move |error| error.into().into_raised(py)
}

/// What is there, or None where an error was raised, which is of no interest.
pub(in crate::binding) fn ok<T, E: Into<Error>>(py: Python<'_>, result: Result<T, E>) -> Option<T> {
    result.map_err(into_raised(py)).ok()
}

/// As `raise ... from ...`: what an exception came of.
pub(in crate::binding) fn set_cause(error: &Error, cause: Raised<'_>) {
    // SAFETY: attached, as the reference says; two exceptions. The function takes one over.
    unsafe { ffi::PyException_SetCause(error.value(cause.py()).as_ptr(), cause.into_ptr()) }
}

/// What was being handled when an exception was raised.
pub(in crate::binding) fn set_context(error: &Error, context: Raised<'_>) {
    // SAFETY: as for `set_cause`.
    unsafe { ffi::PyException_SetContext(error.value(context.py()).as_ptr(), context.into_ptr()) }
}

/// The exception that is being handled, as `sys.exc_info()` has it.
pub(in crate::binding) fn handled(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
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
pub(in crate::binding) fn raise(exception: Raised<'_>) -> Error {
    let py = exception.py();
    // SAFETY: attached; an exception and its class. Both are borrowed.
    unsafe { ffi::PyErr_SetObject(exception.get_type_ptr().cast(), exception.as_ptr()) };
    take_raised(py).into()
}

/// Run something as if in an `except` that handles this exception.
pub(in crate::binding) fn while_handling<R>(exception: &Raised<'_>, work: impl FnOnce() -> R) -> R {
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
pub(in crate::binding) fn begin_handling<'py>(
    exception: &Raised<'py>,
) -> Option<Bound<'py, PyAny>> {
    let py = exception.py();
    let before = handled(py);
    set_handled(py, None);
    let further_up = handled(py);
    set_handled(py, Some(exception.as_any()));
    before.filter(|before| further_up.is_none_or(|further_up| !further_up.is(before)))
}

/// Say that what was being handled before is being handled again.
pub(in crate::binding) fn end_handling(py: Python<'_>, before: Option<Bound<'_, PyAny>>) {
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
        let traceback = exception.and_then(|it| ok(py, it.getattr(intern!(py, "__traceback__"))));
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
pub(in crate::binding) fn with_error_saved<R>(_py: Python<'_>, work: impl FnOnce() -> R) -> R {
    #[cfg(Py_3_12)]
    // SAFETY: attached; a new reference or null comes out, and is given back as it is.
    unsafe {
        let saved = ffi::PyErr_GetRaisedException();
        let result = work();
        ffi::PyErr_SetRaisedException(saved);
        result
    }
    #[cfg(not(Py_3_12))]
    with_error_saved_in_parts(work)
}

/// The same, where the class, the exception and the traceback are apart.
#[cfg(not(Py_3_12))]
fn with_error_saved_in_parts<R>(work: impl FnOnce() -> R) -> R {
    let (mut kind, mut value, mut traceback) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: attached; the three out-pointers are valid. New references or nulls come out, and
    // are given back as they are.
    unsafe {
        ffi::PyErr_Fetch(&mut kind, &mut value, &mut traceback);
        let result = work();
        ffi::PyErr_Restore(kind, value, traceback);
        result
    }
}

/// Whether an exception has no instance dict, and so no attributes of its own.
#[inline]
pub(in crate::binding) fn has_no_exception_dict(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: every exception has a dict slot within it, at this offset; it may be null.
    unsafe {
        let offset = (*ffi::PyExc_BaseException.cast::<ffi::PyTypeObject>()).tp_dictoffset;
        (*object.as_ptr().byte_offset(offset).cast::<*mut ffi::PyObject>()).is_null()
    }
}

/// The instance dict of an exception, made where there was none.
pub(in crate::binding) fn exception_dict<'py>(
    object: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyDict>> {
    // SAFETY: an object with a dict slot, which every exception has; a new reference, or null
    // with an exception in flight.
    unsafe {
        let dict = ffi::PyObject_GenericGetDict(object.as_ptr(), ptr::null_mut());
        Ok(made(object.py(), dict)?.cast_into_unchecked())
    }
}

/// Replace the instance dict of an exception.
pub(in crate::binding) fn set_exception_dict(
    object: &Bound<'_, PyAny>,
    dict: &Bound<'_, PyAny>,
) -> Result<()> {
    // SAFETY: an object with a dict slot. The function itself refuses what is not a dict.
    let status =
        unsafe { ffi::PyObject_GenericSetDict(object.as_ptr(), dict.as_ptr(), ptr::null_mut()) };
    if status < 0 { Err(take_raised(object.py()).into()) } else { Ok(()) }
}

/// The traceback of an exception, whatever its class has under that name.
pub(in crate::binding) fn traceback_of<'py>(exception: &Raised<'py>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: an exception; a new reference or null.
    unsafe {
        let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
        Bound::from_owned_ptr_or_opt(exception.py(), traceback)
    }
}

/// Whether [`traceback_of`] is what the exception itself gives as its `__traceback__`.
#[inline]
pub(in crate::binding) fn has_plain_traceback(exception: &Raised<'_>) -> bool {
    !is_of_heap_type(exception) && is_ordinary(exception)
}

/// Set the traceback of an exception, `None` for none.
pub(in crate::binding) fn set_traceback(
    exception: &Raised<'_>,
    traceback: &Bound<'_, PyAny>,
) -> Result<()> {
    // SAFETY: an exception. The function itself refuses what is neither a traceback nor `None`.
    let status = unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) };
    if status < 0 { Err(take_raised(exception.py()).into()) } else { Ok(()) }
}

/// Give a group of exceptions that the collector has taken apart what CPython needs to show it.
///
/// Its message and its exceptions are null then, which no Python code can mend. A group that is
/// made for it gives it its own.
#[cfg(Py_3_11)]
pub(in crate::binding) fn refill_group(group: &Bound<'_, PyBaseExceptionGroup>) -> PyResult<()> {
    let py = group.py();
    let lost = PyRuntimeError::new_err("what was in it").into_value(py);
    let spare = py.get_type::<PyBaseExceptionGroup>().call1(("taken apart", [lost]))?;
    let names = [intern!(py, "message"), intern!(py, "exceptions")];
    // SAFETY: attached, and all are alive. A group is an exception with two pointers behind it, as
    // is seen in the one just made before anything is written: where these are its message and its
    // exceptions, they are so in each. What is null is replaced by what the spare one owned.
    unsafe {
        let size = (*ffi::PyExc_BaseException.cast::<ffi::PyTypeObject>()).tp_basicsize;
        let fields = |object: &Bound<'_, PyAny>| {
            object.as_ptr().byte_offset(size).cast::<*mut ffi::PyObject>()
        };
        for (i, name) in names.into_iter().enumerate() {
            let value = spare.getattr(name)?;
            let (from, to) = (fields(&spare).add(i), fields(group).add(i));
            if *from == value.as_ptr() && (*to).is_null() {
                ptr::swap(from, to);
            }
        }
    }
    Ok(())
}
