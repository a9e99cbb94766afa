//! Raises, handles and inspects exceptions.

use std::ptr;

use pyo3::PyTypeInfo;
#[cfg(not(Py_3_12))]
use pyo3::exceptions::PyMemoryError;
use pyo3::exceptions::{PyBaseException, PyStopIteration, PySystemError, PyTypeError};
#[cfg(Py_3_11)]
use pyo3::exceptions::{PyBaseExceptionGroup, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
#[cfg(not(Py_3_12))]
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use super::error::{Error, Raise, Raised, Result};
use super::held::{Held, Hold};
use super::interned::intern;
use super::kinds::Kind;
use super::making::tuple_of;
use super::safe;

/// As [`take_raised`], for calls: what it takes of the stack is not part of their frames.
#[cold]
#[inline(never)]
pub(super) fn raised_by_call(py: Python<'_>) -> Raised<'_> {
    take_raised(py)
}

/// Take the exception that is set. There must be one.
pub(crate) fn take_raised(py: Python<'_>) -> Raised<'_> {
    #[cfg(Py_3_12)]
    let raised = safe::take_in_flight(py);
    #[cfg(not(Py_3_12))]
    let raised = InFlight::take(py).into_whole();
    match raised {
        Some(raised) => raised,
        None => PySystemError::error(py, "an error without an exception").into_raised(py),
    }
}

/// What is in flight, if anything, as it is: up to CPython 3.11 there can be a class and what its
/// exception is to be made of.
#[cfg(not(Py_3_12))]
struct InFlight<'py> {
    py: Python<'py>,
    /// A class of exceptions, if anything is in flight.
    kind: Option<Bound<'py, PyAny>>,
    value: Option<Bound<'py, PyAny>>,
    traceback: Option<Bound<'py, PyAny>>,
}

#[cfg(not(Py_3_12))]
impl<'py> InFlight<'py> {
    /// Take it out of flight.
    fn take(py: Python<'py>) -> Self {
        let (mut kind, mut value, mut traceback) = (None, None, None);
        safe::fetch(py, &mut kind, &mut value, &mut traceback);
        Self { py, kind, value, traceback }
    }

    /// What is to be put in flight for an exception to be.
    fn of(exception: Raised<'py>) -> Self {
        Self {
            py: exception.py(),
            kind: Some(exception.get_type().into_any()),
            traceback: traceback_of(&exception),
            value: Some(exception.into_any()),
        }
    }

    /// Put it in flight.
    fn put(self) {
        safe::restore(self.py, self.kind, self.value, self.traceback);
    }

    /// The exception, made where there is only what it is to be made of.
    fn into_whole(mut self) -> Option<Raised<'py>> {
        if !self.value.as_ref().is_some_and(|value| value.is_instance_of::<PyBaseException>()) {
            self.complete();
        }
        let Self { py, mut kind, mut value, mut traceback } = self;
        safe::normalize(py, &mut kind, &mut value, &mut traceback);
        let exception = value?.cast_into::<PyBaseException>().ok()?;
        if let Some(traceback) = traceback {
            let _ = safe::put_traceback(py, &exception, &traceback);
        }
        Some(exception)
    }

    /// Make the exception where only its class and what it is to be made of are there.
    ///
    /// `PyErr_NormalizeException` ends the process where that runs out of memory again and again.
    /// There are no more than 16 exceptions for that which need none, and programs may keep them.
    /// So they are left to CPython itself, which normalizes, too.
    #[cold]
    fn complete(&mut self) {
        let py = self.py;
        for _ in 0..8 {
            let Some(kind) = &self.kind else { return };
            if self.value.is_none() && kind.is(py.get_type::<PyMemoryError>()) {
                self.value = new_memory_error(py).map(Bound::into_any);
            }
            let made = match &self.value {
                Some(value) if value.is_instance_of::<PyBaseException>() => return,
                Some(value) if !value.is_none() => match value.cast::<PyTuple>() {
                    Ok(arguments) => safe::call_or_raise(py, kind, arguments),
                    Err(_) => safe::call_many_or_raise(py, kind, std::slice::from_ref(value)),
                },
                _ => safe::call_many_or_raise(py, kind, &[]),
            };
            if let Some(made) = made {
                // If it is no exception, CPython says so.
                if made.is_instance_of::<PyBaseException>() {
                    self.value = Some(made);
                }
                return;
            }
            let Self { kind, value, .. } = Self::take(py);
            (self.kind, self.value) = (kind, value);
        }
    }
}

/// A `MemoryError` that was made before it was needed.
#[cfg(not(Py_3_12))]
static SPARE: PyOnceLock<Py<PyBaseException>> = PyOnceLock::new();

/// Make a `MemoryError` for when there is no memory for one.
#[cfg(not(Py_3_12))]
pub(crate) fn spare_one(py: Python<'_>) -> PyResult<()> {
    let spare = py.get_type::<PyMemoryError>().call0()?.cast_into()?;
    let _ = SPARE.set(py, spare.unbind());
    Ok(())
}

/// A `MemoryError`, none of those that CPython keeps: a new one, or, where there is no memory for
/// that, the spare one, as good as new. None if there is none yet.
#[cfg(not(Py_3_12))]
fn new_memory_error(py: Python<'_>) -> Option<Raised<'_>> {
    let new = new_exception(&py.get_type::<PyMemoryError>(), &PyTuple::empty(py));
    if new.is_some() {
        return new;
    }
    drop(InFlight::take(py));
    let spare = SPARE.get(py)?.bind(py).clone();
    let _ = safe::put_traceback(py, &spare, py.None().bind(py));
    safe::set_cause_of(py, &spare, None);
    safe::set_context_of(py, &spare, None);
    Some(spare)
}

/// `BaseException.__new__(class, *args)`, of a class of exceptions. Where that fails, the exception
/// is in flight.
#[inline]
pub(super) fn new_exception<'py>(
    class: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
) -> Option<Raised<'py>> {
    let (py, kind) = (class.py(), class.as_type_ptr());
    // SAFETY: attached; type objects, alive. `BaseException` has `tp_new`. It allocates an instance
    // of the class it is given, which is seen to be one of exceptions, and keeps the tuple.
    unsafe {
        if ffi::PyType_FastSubclass(kind, ffi::Py_TPFLAGS_BASE_EXC_SUBCLASS) != 0
            && let Some(new) = (*Kind::of::<PyBaseException>(py).as_ptr()).tp_new
        {
            let object = new(kind, args.as_ptr(), ptr::null_mut());
            return Some(Bound::from_owned_ptr_or_opt(py, object)?.cast_into_unchecked());
        }
    }
    safe::raise_of(py, Kind::of::<PyTypeError>(py), None);
    None
}

/// Set an exception as the one being raised.
pub(super) fn restore(exception: Raised<'_>) {
    #[cfg(Py_3_12)]
    safe::put_in_flight(exception.py(), Some(exception));
    #[cfg(not(Py_3_12))]
    InFlight::of(exception).put();
}

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
    safe::raise_of(py, Kind::of::<PyStopIteration>(py), Some(&argument));
}

/// The exception that says what an iterator has returned.
pub(crate) fn stopped_with(value: Bound<'_, PyAny>) -> Error {
    let py = value.py();
    stop_iteration(value);
    take_raised(py).into()
}

/// A new exception of a class, as a `raise` statement here would raise it; or what making it has
/// raised.
#[cold]
pub(crate) fn new_raised<'py, T: PyTypeInfo>(py: Python<'py>, text: Option<&str>) -> Raised<'py> {
    match text.map(|text| PyString::from_bytes(py, text.as_bytes())) {
        None => new_raised_with::<T>(py, None),
        Some(Ok(text)) => new_raised_with::<T>(py, Some(&text)),
        Some(Err(error)) => exception_of(error).into_bound(py),
    }
}

/// As [`new_raised`], with a text of Python's.
#[cold]
pub(crate) fn new_raised_with<'py, T: PyTypeInfo>(
    py: Python<'py>,
    text: Option<&Bound<'py, PyString>>,
) -> Raised<'py> {
    safe::raise_of(py, Kind::of::<T>(py), text.map(Bound::as_any));
    take_raised(py)
}

/// The exception that a PyO3 error holds, or is to make.
///
/// What it is made of PyO3 lets go of in its own way: at once only where it has attached the
/// thread itself, as is done here. (So does `PyErr::into_value` with what is made.)
#[cold]
pub(crate) fn exception_of(error: PyErr) -> Held<PyBaseException> {
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
pub(crate) fn as_pyo3_has_it(exception: Held<PyBaseException>) -> PyErr {
    // SAFETY: whoever has an exception is attached.
    let py = unsafe { Python::assume_attached() };
    PyErr::from_value(exception.into_bound(py).into_any())
}

/// For `map_err`: an error as the exception that it holds.
pub(crate) fn into_raised<'py, E: Into<Error>>(py: Python<'py>) -> impl FnOnce(E) -> Raised<'py> {
    move |error| error.into().into_raised(py)
}

/// What is there, or None where an error was raised, which is of no interest.
pub(crate) fn ok<T, E: Into<Error>>(py: Python<'_>, result: Result<T, E>) -> Option<T> {
    result.map_err(into_raised(py)).ok()
}

/// As `raise ... from ...`: what an exception came of.
pub(crate) fn set_cause(error: &Error, cause: Raised<'_>) {
    let py = cause.py();
    safe::set_cause_of(py, error.value(py), Some(cause));
}

/// What was being handled when an exception was raised.
pub(crate) fn set_context(error: &Error, context: Raised<'_>) {
    let py = context.py();
    safe::set_context_of(py, error.value(py), Some(context));
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
    safe::raise_of(py, Kind::from(&class), Some(&exception));
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

/// Run something that may use exceptions for its own ends while one may be in flight.
pub(crate) fn with_error_saved<R>(py: Python<'_>, work: impl FnOnce() -> R) -> R {
    #[cfg(Py_3_12)]
    {
        let saved = safe::take_in_flight(py);
        let result = work();
        safe::put_in_flight(py, saved);
        result
    }
    #[cfg(not(Py_3_12))]
    {
        let saved = InFlight::take(py);
        let result = work();
        saved.put();
        result
    }
}

/// The traceback of an exception, whatever its class has under that name.
pub(crate) fn traceback_of<'py>(exception: &Raised<'py>) -> Option<Bound<'py, PyAny>> {
    safe::get_traceback(exception.py(), exception)
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
