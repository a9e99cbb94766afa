//! Raises, handles and inspects exceptions.

#[cfg(Py_3_11)]
use std::ptr;

use pyo3::exceptions::{PyBaseException, PyStopIteration};
#[cfg(Py_3_11)]
use pyo3::exceptions::{PyBaseExceptionGroup, PyRuntimeError};
#[cfg(Py_3_11)]
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::error::{Error, Raised, Result};
#[cfg(not(Py_3_11))]
use super::in_flight::ok;
use super::in_flight::{raise_of, restore, set_cause_of, set_context_of, take_raised};
use super::interned::intern;
use super::kinds::Kind;
use super::making::tuple_of;
use super::safe;

/// Put the exception in flight that says what an iterator has returned.
pub(super) fn stop_iteration(value: Bound<'_, PyAny>) {
    let py = value.py();
    let mut argument = value;
    // A tuple would be taken for the exception's arguments, and an exception for itself.
    if argument.is_instance_of::<PyTuple>() || argument.is_instance_of::<PyBaseException>() {
        match tuple_of(py, [argument], &[]) {
            Ok(arguments) => argument = arguments.into_any(),
            Err(error) => return restore(error.into_raised(py)),
        }
    }
    raise_of(py, Kind::of::<PyStopIteration>(py), Some(&argument));
}

/// The exception that says what an iterator has returned.
pub(crate) fn stopped_with(value: Bound<'_, PyAny>) -> Error {
    let py = value.py();
    stop_iteration(value);
    take_raised(py).into()
}

/// As `raise ... from ...`: what an exception came of.
pub(crate) fn set_cause(error: &Error, cause: Raised<'_>) {
    let py = cause.py();
    set_cause_of(py, error.value(py), Some(cause));
}

/// What was being handled when an exception was raised.
pub(crate) fn set_context(error: &Error, context: Raised<'_>) {
    let py = context.py();
    set_context_of(py, error.value(py), Some(context));
}

/// The exception that is being handled, as `sys.exc_info()` has it.
pub(crate) fn handled(py: Python<'_>) -> Option<Raised<'_>> {
    #[cfg(Py_3_11)]
    let handled = safe::get_handled(py);
    #[cfg(not(Py_3_11))]
    let handled = {
        let (mut kind, mut value, mut traceback) = (None, None, None);
        safe::get_handled_parts(py, &mut kind, &mut value, &mut traceback);
        value
    };
    handled?.cast_into().ok()
}

/// An exception as a `raise` statement here would raise it: with the exception that is being
/// handled for its context.
pub(crate) fn raise(exception: Raised<'_>) -> Error {
    let (py, class) = (exception.py(), exception.get_type());
    raise_of(py, Kind::from(&class), Some(&exception));
    take_raised(py).into()
}

/// Run something as if in an `except` that handles this exception.
pub(crate) fn while_handling<R>(exception: &Raised<'_>, work: impl FnOnce() -> R) -> R {
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
pub(crate) fn begin_handling<'py>(exception: &Raised<'py>) -> Option<Raised<'py>> {
    let py = exception.py();
    let before = handled(py);
    set_handled(py, None);
    let further_up = handled(py);
    set_handled(py, Some(exception));
    before.filter(|before| further_up.is_none_or(|further_up| !further_up.is(before)))
}

/// Say that what was being handled before is being handled again.
pub(crate) fn end_handling(py: Python<'_>, before: Option<Raised<'_>>) {
    set_handled(py, before.as_ref());
}

/// Say which exception is being handled, if any.
fn set_handled(py: Python<'_>, exception: Option<&Raised<'_>>) {
    #[cfg(Py_3_11)]
    safe::put_handled(py, exception);
    #[cfg(not(Py_3_11))]
    {
        let traceback = exception.and_then(|it| ok(py, it.getattr(intern!(py, "__traceback__"))));
        let kind = exception.map(|it| it.get_type());
        safe::put_handled_parts(py, kind, exception.cloned(), traceback);
    }
}

/// Set the traceback of an exception, `None` for none.
pub(crate) fn set_traceback(exception: &Raised<'_>, traceback: &Bound<'_, PyAny>) -> Result<()> {
    safe::put_traceback(exception.py(), exception, traceback)?;
    Ok(())
}

/// Give a group of exceptions that the collector has taken apart what CPython needs to show it.
///
/// Its message and its exceptions are null then, which no Python code can mend. A group that is
/// made for it gives it its own.
#[cfg(Py_3_11)]
pub(crate) fn refill_group(group: &Bound<'_, PyBaseExceptionGroup>) -> PyResult<()> {
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
