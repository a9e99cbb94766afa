//! Bugs of our own. Each must come out as an exception, and none may end the process.
//!
//! A panic cannot pass through the interpreter's frames. PyO3 catches those in what its macros
//! make; what we put into slots ourselves catches its own.

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

/// Do something that Python waits for. A panic is an error.
#[inline(always)]
pub(crate) fn catching<T>(py: Python<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
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

/// How PyO3 panics where Python cannot make an object for it, such as the text of an error about
/// arguments: for want of memory, as all that it makes so is small and simple.
const NO_MEMORY: &str = "PyObject pointer is null";

/// What is in the text where it expects something, and is told of such an error: when the module is
/// made.
const SAYS_SO: &str = "PyErr { type: <class 'MemoryError'>";

/// The same, where there is no memory for the text of the class either.
const SAYS_NOTHING: &str = "PyErr { type: <unprintable object>";

/// How Rust panics where Python has no memory for the name of a class, which is part of such a text.
const NO_NAME: &str = "a formatting trait implementation returned an error";

fn is_no_memory(panic: &(dyn Any + Send)) -> bool {
    let is = |text: &str| {
        text == NO_MEMORY
            || text.contains(SAYS_SO)
            || text.contains(SAYS_NOTHING)
            || text.starts_with(NO_NAME)
    };
    // PyO3 passes a panic on with a text of its own.
    panic.downcast_ref::<&str>().is_some_and(|text| is(text))
        || panic.downcast_ref::<String>().is_some_and(|text| is(text))
}

/// Write nothing where PyO3 panics for want of memory, which becomes an exception. To be done
/// before the module is made. (Each library has a Rust of its own, so that this is for no other.)
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

/// Not PyO3's `PanicException`, which panics anew when it comes back to Rust.
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
