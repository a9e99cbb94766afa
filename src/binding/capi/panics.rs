//! Bugs of our own. Each must come out as an exception, and none may end the process.
//!
//! A panic cannot pass through the interpreter's frames. PyO3 catches those in what its macros
//! make; what we put into slots ourselves catches its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::calls::{Sent, returning};
use super::error::{Error, Raise, Result};
use super::exceptions::{restore, with_error_saved};
use super::making::{Text, joined};
use super::safe;

/// Do something that Python waits for. A panic is an error.
#[inline(always)]
pub(super) fn catching<T>(py: Python<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => Err(bug(py, panic)),
    }
}

/// Resume something. A panic is what it raises.
#[inline(always)]
pub(super) fn catching_sent<'py>(py: Python<'py>, resume: impl FnOnce() -> Sent<'py>) -> Sent<'py> {
    match catch_unwind(AssertUnwindSafe(resume)) {
        Ok(sent) => sent,
        Err(panic) => Sent::Raised(bug(py, panic).into_raised(py)),
    }
}

/// Do something that a C function is to return.
#[inline(always)]
pub(super) fn answering<'py, T>(
    py: Python<'py>,
    work: impl FnOnce() -> Result<Bound<'py, T>>,
) -> *mut ffi::PyObject {
    returning(py, catching(py, work))
}

/// Do something that cannot fail as far as Python is concerned. A panic is reported as what a
/// finalizer raises.
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

/// Not PyO3's `PanicException`, which panics anew when it comes back to Rust.
#[cold]
fn bug(py: Python<'_>, panic: Box<dyn Any + Send>) -> Error {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic",
    };
    PySystemError::error_saying(joined(py, [Text::Ours("deferrous has a bug: "), Text::Ours(text)]))
}
