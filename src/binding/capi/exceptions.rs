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

/// Raise the `StopIteration` that carries the result of an iterator.
pub(super) fn stop_iteration(value: Bound<'_, PyAny>) {
    let py = value.py();
    let mut argument = value;
    // A tuple would be taken for the exception's arguments, and an exception for the instance
    // itself.
    if argument.is_instance_of::<PyTuple>() || argument.is_instance_of::<PyBaseException>() {
        match tuple_of(py, [argument], &[]) {
            Ok(arguments) => argument = arguments.into_any(),
            Err(error) => return restore(error.into_raised(py)),
        }
    }
    raise_of(py, Kind::of::<PyStopIteration>(py), Some(&argument));
}

/// The `StopIteration` that carries the result of an iterator.
pub(crate) fn stopped_with(value: Bound<'_, PyAny>) -> Error {
    let py = value.py();
    stop_iteration(value);
    take_raised(py).into()
}

/// Set `__cause__`, as `raise ... from ...` does.
pub(crate) fn set_cause(error: &Error, cause: Raised<'_>) {
    let py = cause.py();
    set_cause_of(py, error.value(py), Some(cause));
}

/// Set `__context__`: what was being handled when the exception was raised.
pub(crate) fn set_context(error: &Error, context: Raised<'_>) {
    let py = context.py();
    set_context_of(py, error.value(py), Some(context));
}

/// The exception being handled, as in `sys.exc_info()`.
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

/// Prepare an exception as a `raise` statement would here: its context is the exception being
/// handled.
pub(crate) fn raise(exception: Raised<'_>) -> Error {
    let (py, class) = (exception.py(), exception.get_type());
    raise_of(py, Kind::from(&class), Some(&exception));
    take_raised(py).into()
}

/// Run something as if in an `except` block that handles this exception.
pub(crate) fn while_handling<R>(exception: &Raised<'_>, work: impl FnOnce() -> R) -> R {
    let py = exception.py();
    let before = begin_handling(exception);
    let result = work();
    end_handling(py, before);
    result
}

/// Set the exception being handled. Returns what to pass to [`end_handling`].
///
/// Each generator has a place of its own for the exception it handles. If that is empty, the
/// interpreter looks further up the stack. It tells only which exception it finds, not where. So
/// the previous one needs to be restored only if, without it, another would be found.
pub(crate) fn begin_handling<'py>(exception: &Raised<'py>) -> Option<Raised<'py>> {
    let py = exception.py();
    let before = handled(py);
    set_handled(py, None);
    let further_up = handled(py);
    set_handled(py, Some(exception));
    before.filter(|before| further_up.is_none_or(|further_up| !further_up.is(before)))
}

/// Restore the exception that was being handled before.
pub(crate) fn end_handling(py: Python<'_>, before: Option<Raised<'_>>) {
    set_handled(py, before.as_ref());
}

/// Set or clear the exception being handled.
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

/// Restore an exception group that the collector has cleared.
///
/// Its message and its exceptions are null then, which Python code cannot repair, and showing the
/// group would crash. It gets those of a new group.
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
