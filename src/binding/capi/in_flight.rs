//! Exceptions in flight: taken out of flight, put into it, and made to be raised.
//!
//! What is in here raises nothing itself, and so is what all that can raise is built on.

use std::ptr;

use pyo3::PyTypeInfo;
#[cfg(not(Py_3_12))]
use pyo3::exceptions::PyMemoryError;
use pyo3::exceptions::{PyBaseException, PySystemError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
#[cfg(not(Py_3_12))]
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

#[cfg(not(Py_3_12))]
use super::conversions::Null;
use super::conversions::safe;
use super::held::{Held, Hold};
use super::kinds::Kind;
use super::raised::{Error, Raised, Result};

safe! {
    /// Have a class raise an exception: an instance of it, or one that is to be made of an object.
    /// What is no class of exceptions is refused, by an exception.
    fn raise_of<'py>(class: Kind<'_>, of: Option<&Bound<'_, PyAny>>)
        = ffi::PyErr_SetObject: (class, of);
    /// Have a `MemoryError` in flight. Python keeps some for that.
    fn raise_no_memory<'py>() = ffi::PyErr_NoMemory: ();
    /// As `raise ... from ...`: what an exception came of.
    fn set_cause_of<'py>(exception: &Raised<'_>, cause: Option<Raised<'_>>)
        = ffi::PyException_SetCause: (exception, cause);
    /// What was being handled when an exception was raised.
    fn set_context_of<'py>(exception: &Raised<'_>, context: Option<Raised<'_>>)
        = ffi::PyException_SetContext: (exception, context);
    /// The traceback of an exception, whatever its class has under that name.
    fn get_traceback<'py>(exception: &Raised<'_>) -> Option<Bound<'py, PyAny>>
        = ffi::PyException_GetTraceback: (exception);
}

#[cfg(not(Py_3_12))]
safe! {
    /// Set the traceback of an exception: what is seen to be one, or None for none. (What is neither is
    /// refused, by an exception.)
    fn put_traceback<'py>(exception: &Raised<'_>, traceback: &Bound<'_, PyAny>)
        = ffi::PyException_SetTraceback: (exception, traceback);
    /// Take what is in flight out of flight: puts its class, the exception or what that is to be
    /// made of, and its traceback in place.
    fn fetch<'py>(
        kind: &mut Option<Bound<'py, PyAny>>,
        value: &mut Option<Bound<'py, PyAny>>,
        traceback: &mut Option<Bound<'py, PyAny>>
    ) = ffi::PyErr_Fetch: (kind, value, traceback);
    /// Put in flight what has been taken out of flight. What is no traceback is left out.
    fn put_parts_in_flight<'py>(
        kind: Option<Bound<'_, PyAny>>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>
    ) = ffi::PyErr_Restore: (kind, value, traceback);
    /// Make the exception, or another where that fails. What is no class of exceptions is left.
    fn normalize<'py>(
        kind: &mut Option<Bound<'py, PyAny>>,
        value: &mut Option<Bound<'py, PyAny>>,
        traceback: &mut Option<Bound<'py, PyAny>>
    ) = ffi::PyErr_NormalizeException: (kind, value, traceback);
    /// `callable(*args)`. What that raises stays in flight.
    fn call_or_raise<'py>(
        callable: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>
    ) -> Option<Bound<'py, PyAny>> = ffi::PyObject_Call: (callable, args, Null);
    /// `callable(*arguments)`. What that raises stays in flight.
    fn call_many_or_raise<'py>(
        callable: &Bound<'_, PyAny>,
        arguments: &[Bound<'_, PyAny>]
    ) -> Option<Bound<'py, PyAny>>
        = ffi::PyObject_Vectorcall: (callable, arguments, arguments.len(), Null);
}

#[cfg(Py_3_12)]
safe! {
    /// The exception in flight, taken out of flight.
    fn take_in_flight<'py>() -> Option<Raised<'py>> = ffi::PyErr_GetRaisedException: ();
    /// Put an exception in flight, or none.
    fn put_in_flight<'py>(exception: Option<Raised<'_>>)
        = ffi::PyErr_SetRaisedException: (exception);
}

/// As [`take_raised`], for calls: what it takes of the stack is not part of their frames.
#[cold]
#[inline(never)]
pub(super) fn raised_by_call(py: Python<'_>) -> Raised<'_> {
    take_raised(py)
}

/// Take the exception that is set. There must be one.
pub(crate) fn take_raised(py: Python<'_>) -> Raised<'_> {
    #[cfg(Py_3_12)]
    let raised = take_in_flight(py);
    #[cfg(not(Py_3_12))]
    let raised = InFlight::take(py).into_whole();
    match raised {
        Some(raised) => raised,
        None => new_raised::<PySystemError>(py, Some("an error without an exception")),
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
        fetch(py, &mut kind, &mut value, &mut traceback);
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
        put_parts_in_flight(self.py, self.kind, self.value, self.traceback);
    }

    /// The exception, made where there is only what it is to be made of.
    fn into_whole(mut self) -> Option<Raised<'py>> {
        if !self.value.as_ref().is_some_and(|value| value.is_instance_of::<PyBaseException>()) {
            self.complete();
        }
        let Self { py, mut kind, mut value, mut traceback } = self;
        normalize(py, &mut kind, &mut value, &mut traceback);
        let exception = value?.cast_into::<PyBaseException>().ok()?;
        if let Some(traceback) = traceback {
            put_traceback(py, &exception, &traceback);
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
                    Ok(arguments) => call_or_raise(py, kind, arguments),
                    Err(_) => call_many_or_raise(py, kind, std::slice::from_ref(value)),
                },
                _ => call_many_or_raise(py, kind, &[]),
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
    put_traceback(py, &spare, py.None().bind(py));
    set_cause_of(py, &spare, None);
    set_context_of(py, &spare, None);
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
    raise_of(py, Kind::of::<PyTypeError>(py), None);
    None
}

/// Set an exception as the one being raised.
pub(super) fn restore(exception: Raised<'_>) {
    #[cfg(Py_3_12)]
    put_in_flight(exception.py(), Some(exception));
    #[cfg(not(Py_3_12))]
    InFlight::of(exception).put();
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
    raise_of(py, Kind::of::<T>(py), text.map(Bound::as_any));
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
pub(crate) fn as_pyo3_has_it(error: Error) -> PyErr {
    // SAFETY: whoever has an exception is attached.
    let py = unsafe { Python::assume_attached() };
    PyErr::from_value(error.into_raised(py).into_any())
}

/// For `map_err`: an error as the exception that it holds.
pub(crate) fn into_raised<'py, E: Into<Error>>(py: Python<'py>) -> impl FnOnce(E) -> Raised<'py> {
    move |error| error.into().into_raised(py)
}

/// What is there, or None where an error was raised, which is of no interest.
pub(crate) fn ok<T, E: Into<Error>>(py: Python<'_>, result: Result<T, E>) -> Option<T> {
    result.map_err(into_raised(py)).ok()
}

/// Run something that may use exceptions for its own ends while one may be in flight.
pub(crate) fn with_error_saved<R>(py: Python<'_>, work: impl FnOnce() -> R) -> R {
    #[cfg(Py_3_12)]
    {
        let saved = take_in_flight(py);
        let result = work();
        put_in_flight(py, saved);
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
    get_traceback(exception.py(), exception)
}
