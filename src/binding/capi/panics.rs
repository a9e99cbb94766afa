//! Turns panics, which are our own bugs, into exceptions.
//!
//! A panic must not unwind through the interpreter's frames. PyO3 catches panics in what its macros
//! make. The functions that we put into slots ourselves use these helpers.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use pyo3::exceptions::{PyMemoryError, PySystemError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::calls::{Sent, returning};
use super::error::{Error, Raise, Result};
use super::in_flight::{restore, with_error_saved};
use super::making::{Text, joined};
use super::safe;

/// Run something for Python. A panic becomes an error.
#[inline(always)]
pub(crate) fn catching<T>(py: Python<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => Err(bug(py, panic)),
    }
}

/// Run a step of an iterator. A panic becomes what it raises.
#[inline(always)]
pub(super) fn catching_sent<'py>(py: Python<'py>, resume: impl FnOnce() -> Sent<'py>) -> Sent<'py> {
    match catch_unwind(AssertUnwindSafe(resume)) {
        Ok(sent) => sent,
        Err(panic) => Sent::Raised(bug(py, panic).into_raised(py)),
    }
}

/// Run something and convert its result to what a C function returns.
#[inline(always)]
pub(super) fn answering<'py, T>(
    py: Python<'py>,
    work: impl FnOnce() -> Result<Bound<'py, T>>,
) -> *mut ffi::PyObject {
    returning(py, catching(py, work))
}

/// Run something that has no way to report errors to Python. A panic is reported as unraisable.
#[inline(always)]
pub(super) fn reporting(py: Python<'_>, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        report(py, panic);
    }
}

#[cold]
fn report(py: Python<'_>, panic: Box<dyn Any + Send>) {
    with_error_saved(py, || {
        restore(bug(py, panic).into_raised(py));
        safe::report_unraisable(py);
    });
}

/// PyO3's panic when Python cannot make an object, such as the message of an error about arguments.
/// The objects are small and simple, so the cause can only be a lack of memory.
const NO_MEMORY: &str = "PyObject pointer is null";

/// Part of the panic message when PyO3 unwraps a `MemoryError`, as it may while the module is being
/// initialized.
const SAYS_SO: &str = "PyErr { type: <class 'MemoryError'>";

/// The same, if there is no memory for the name of the exception class either.
const SAYS_NOTHING: &str = "PyErr { type: <unprintable object>";

/// Rust's panic if Python has no memory for the name of a class in such a message.
const NO_NAME: &str = "a formatting trait implementation returned an error";

fn is_no_memory(panic: &(dyn Any + Send)) -> bool {
    let is = |text: &str| {
        text == NO_MEMORY
            || text.contains(SAYS_SO)
            || text.contains(SAYS_NOTHING)
            || text.starts_with(NO_NAME)
    };
    // PyO3 resumes a panic with a message of its own.
    panic.downcast_ref::<&str>().is_some_and(|text| is(text))
        || panic.downcast_ref::<String>().is_some_and(|text| is(text))
}

/// Keep Rust from printing a message for panics that become a `MemoryError`. Call this before the
/// module is initialized. (Each extension library has its own copy of Rust's runtime, so others are
/// not affected.)
pub(super) fn keep_quiet_without_memory() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let write = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            if !is_no_memory(information.payload()) {
                write(information);
            }
        }));
    });
}

/// Not PyO3's `PanicException`: that resumes the panic when it gets back to Rust.
#[cold]
fn bug(py: Python<'_>, panic: Box<dyn Any + Send>) -> Error {
    if is_no_memory(&*panic) {
        return PyMemoryError::bare_error(py);
    }
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic",
    };
    PySystemError::error_saying(joined(py, [Text::Ours("deferrous has a bug: "), Text::Ours(text)]))
}
