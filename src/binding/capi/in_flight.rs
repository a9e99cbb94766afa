//! Exceptions in flight: taking them, setting them, and making exceptions to raise.
//!
//! Nothing in this file raises an exception itself, so everything that can raise may use it.

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
    /// Raise an instance of a class, or one that is made of a value. CPython raises another
    /// exception if the class is not an exception class.
    fn raise_of<'py>(class: Kind<'_>, of: Option<&Bound<'_, PyAny>>)
        = ffi::PyErr_SetObject: (class, of);
    /// Raise a `MemoryError`. Python keeps some instances for that.
    fn raise_no_memory<'py>() = ffi::PyErr_NoMemory: ();
    /// Set `__cause__`, as `raise ... from ...` does.
    fn set_cause_of<'py>(exception: &Raised<'_>, cause: Option<Raised<'_>>)
        = ffi::PyException_SetCause: (exception, cause);
    /// Set `__context__`: what was being handled when the exception was raised.
    fn set_context_of<'py>(exception: &Raised<'_>, context: Option<Raised<'_>>)
        = ffi::PyException_SetContext: (exception, context);
    /// The traceback of an exception, even if its class defines another `__traceback__`.
    fn get_traceback<'py>(exception: &Raised<'_>) -> Option<Bound<'py, PyAny>>
        = ffi::PyException_GetTraceback: (exception);
}

#[cfg(not(Py_3_12))]
safe! {
    /// Set the traceback of an exception; None for none. CPython refuses anything else.
    fn put_traceback<'py>(exception: &Raised<'_>, traceback: &Bound<'_, PyAny>)
        = ffi::PyException_SetTraceback: (exception, traceback);
    /// Take the exception in flight, as three parts: its class, the exception or a value to make it
    /// of, and its traceback.
    fn fetch<'py>(
        kind: &mut Option<Bound<'py, PyAny>>,
        value: &mut Option<Bound<'py, PyAny>>,
        traceback: &mut Option<Bound<'py, PyAny>>
    ) = ffi::PyErr_Fetch: (kind, value, traceback);
    /// Set the exception in flight from its parts. A traceback of another type is ignored.
    fn put_parts_in_flight<'py>(
        kind: Option<Bound<'_, PyAny>>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>
    ) = ffi::PyErr_Restore: (kind, value, traceback);
    /// Make the exception from its parts, or another one if that fails. Does nothing if the class
    /// is not an exception class.
    fn normalize<'py>(
        kind: &mut Option<Bound<'py, PyAny>>,
        value: &mut Option<Bound<'py, PyAny>>,
        traceback: &mut Option<Bound<'py, PyAny>>
    ) = ffi::PyErr_NormalizeException: (kind, value, traceback);
    /// `callable(*args)`. What it raises stays in flight.
    fn call_or_raise<'py>(
        callable: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>
    ) -> Option<Bound<'py, PyAny>> = ffi::PyObject_Call: (callable, args, Null);
    /// `callable(*arguments)`. What it raises stays in flight.
    fn call_many_or_raise<'py>(
        callable: &Bound<'_, PyAny>,
        arguments: &[Bound<'_, PyAny>]
    ) -> Option<Bound<'py, PyAny>>
        = ffi::PyObject_Vectorcall: (callable, arguments, arguments.len(), Null);
}

#[cfg(Py_3_12)]
safe! {
    /// Take the exception in flight.
    fn take_in_flight<'py>() -> Option<Raised<'py>> = ffi::PyErr_GetRaisedException: ();
    /// Set the exception in flight, or none.
    fn put_in_flight<'py>(exception: Option<Raised<'_>>)
        = ffi::PyErr_SetRaisedException: (exception);
}

/// [`take_raised`], out of line, so that it takes no stack in the frames of calls.
#[cold]
#[inline(never)]
pub(super) fn raised_by_call(py: Python<'_>) -> Raised<'_> {
    take_raised(py)
}

/// Take the exception in flight. There must be one.
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

/// The exception in flight, if any, in its raw form: up to CPython 3.11 there can be just a class
/// and a value to make the exception of.
#[cfg(not(Py_3_12))]
struct InFlight<'py> {
    py: Python<'py>,
    /// The exception class, if anything is in flight.
    kind: Option<Bound<'py, PyAny>>,
    value: Option<Bound<'py, PyAny>>,
    traceback: Option<Bound<'py, PyAny>>,
}

#[cfg(not(Py_3_12))]
impl<'py> InFlight<'py> {
    /// Take it.
    fn take(py: Python<'py>) -> Self {
        let (mut kind, mut value, mut traceback) = (None, None, None);
        fetch(py, &mut kind, &mut value, &mut traceback);
        Self { py, kind, value, traceback }
    }

    /// The parts of a complete exception.
    fn of(exception: Raised<'py>) -> Self {
        Self {
            py: exception.py(),
            kind: Some(exception.get_type().into_any()),
            traceback: traceback_of(&exception),
            value: Some(exception.into_any()),
        }
    }

    /// Set it.
    fn put(self) {
        put_parts_in_flight(self.py, self.kind, self.value, self.traceback);
    }

    /// The complete exception. It is made if there are only a class and a value so far.
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

    /// Make the exception if there are only a class and a value so far.
    ///
    /// `PyErr_NormalizeException` ends the process if it runs out of memory again and again.
    /// CPython has 16 `MemoryError` instances that need no memory, and programs may keep them all.
    /// So those are left to CPython itself, which also normalizes.
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
                // If it is not an exception, CPython will say so.
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

/// A `MemoryError` that was made in advance.
#[cfg(not(Py_3_12))]
static SPARE: PyOnceLock<Py<PyBaseException>> = PyOnceLock::new();

/// Make a `MemoryError` in advance, for when there is no memory for one.
#[cfg(not(Py_3_12))]
pub(crate) fn spare_one(py: Python<'_>) -> PyResult<()> {
    let spare = py.get_type::<PyMemoryError>().call0()?.cast_into()?;
    let _ = SPARE.set(py, spare.unbind());
    Ok(())
}

/// A `MemoryError` that is not one of CPython's reserve: a new one or, if there is no memory for
/// that, the one made in advance, reset. None if there is none yet.
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

/// `BaseException.__new__(class, *args)`, for an exception class. If it fails, the exception is
/// left in flight.
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

/// Set an exception in flight.
pub(super) fn restore(exception: Raised<'_>) {
    #[cfg(Py_3_12)]
    put_in_flight(exception.py(), Some(exception));
    #[cfg(not(Py_3_12))]
    InFlight::of(exception).put();
}

/// A new exception, prepared as by a `raise` statement here; or the error of making it.
#[cold]
pub(crate) fn new_raised<'py, T: PyTypeInfo>(py: Python<'py>, text: Option<&str>) -> Raised<'py> {
    match text.map(|text| PyString::from_bytes(py, text.as_bytes())) {
        None => new_raised_with::<T>(py, None),
        Some(Ok(text)) => new_raised_with::<T>(py, Some(&text)),
        Some(Err(error)) => exception_of(error).into_bound(py),
    }
}

/// [`new_raised`] with a Python string.
#[cold]
pub(crate) fn new_raised_with<'py, T: PyTypeInfo>(
    py: Python<'py>,
    text: Option<&Bound<'py, PyString>>,
) -> Raised<'py> {
    raise_of(py, Kind::of::<T>(py), text.map(Bound::as_any));
    take_raised(py)
}

/// The exception in a PyO3 error, which may still have to make it.
///
/// PyO3 drops the parts of a lazy error at once only if it has attached the thread itself, so this
/// attaches. (The same is true of `PyErr::into_value`.)
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

/// Convert into PyO3's error type. To be returned to PyO3, not to be dropped.
pub(crate) fn as_pyo3_has_it(error: Error) -> PyErr {
    // SAFETY: whoever has an exception is attached.
    let py = unsafe { Python::assume_attached() };
    PyErr::from_value(error.into_raised(py).into_any())
}

/// For `map_err`: convert an error into its exception.
pub(crate) fn into_raised<'py, E: Into<Error>>(py: Python<'py>) -> impl FnOnce(E) -> Raised<'py> {
    move |error| error.into().into_raised(py)
}

/// Ignore an error: the value, or None.
pub(crate) fn ok<T, E: Into<Error>>(py: Python<'_>, result: Result<T, E>) -> Option<T> {
    result.map_err(into_raised(py)).ok()
}

/// Run something that may use the exception in flight, with the current one saved and restored.
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

/// The traceback of an exception, even if its class defines another `__traceback__`.
pub(crate) fn traceback_of<'py>(exception: &Raised<'py>) -> Option<Bound<'py, PyAny>> {
    get_traceback(exception.py(), exception)
}
