//! Repeats steps of ours that are written in Python, when a signal's exception has interrupted
//! them.
//!
//! The interpreter raises such an exception between any two lines. A step that detects what it has
//! done already is repeated until it is complete. Then the exception (KeyboardInterrupt, or another
//! that is not an `Exception`) is put back, and raised when the interpreter next checks for
//! signals, as if the signal had come that much later.

use std::ffi::{c_int, c_void};

use pyo3::exceptions::{PyBaseException, PyException, PyMemoryError, PyRecursionError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::answers::Called;
use super::cell::Shared;
use super::conversions::{Nothing, ToC, safe};
use super::held::{Held, Hold};
use super::in_flight::{ok, restore};
use super::interned::intern;
use super::raised::Raised;
use super::safe::this_thread;
use crate::core::refusable;

/// How often a step is repeated. An exception that comes this often is not a signal's.
pub(crate) const MOST: u32 = 50;

/// Repeat a step that has raised this.
///
/// # Errors
///
/// Exceptions that do not come from a signal: `MemoryError`, `RecursionError`, and what is raised
/// every time. Also exceptions that are not put back although the step is complete: any other
/// `Exception`, which is most likely an error in a program's own method and would be confusing
/// elsewhere; and those that cannot be put back, as in another thread than the main one.
#[cold]
pub(super) fn again<'py>(
    raised: Raised<'py>,
    mut step: impl FnMut() -> Called<'py>,
) -> Called<'py> {
    let mut last = raised.clone();
    for _ in 0..MOST {
        if last.is_instance_of::<PyMemoryError>() || last.is_instance_of::<PyRecursionError>() {
            break;
        }
        match step() {
            Ok(_) if raised.is_instance_of::<PyException>() => return Err(raised),
            Ok(result) => return put_back(raised).map(|()| result),
            Err(another) => {
                keep_beside(&raised, &another);
                last = another;
            }
        }
    }
    Err(last)
}

/// Keep what has come into a step after this, where it is of another class: one of them is raised, and
/// shows the other as its `__context__`. If that is taken, the other is not shown.
fn keep_beside(raised: &Raised<'_>, another: &Raised<'_>) {
    let py = raised.py();
    let name = intern!(py, "__context__");
    if raised.get_type().is(another.get_type()) {
        return;
    }
    let is_free = |error: &Raised<'_>| {
        ok(py, error.getattr(name)).is_some_and(|context| context.is_none() || context.is(raised))
    };
    if is_free(raised) && is_free(another) {
        // Neither shows the other already, so that there is no circle.
        let kept = another.setattr(name, py.None()).and_then(|()| raised.setattr(name, another));
        let _ = ok(py, kept);
    }
}

safe! {
    /// Have the main thread call this function soon, without an argument. Not 0 if its queue is
    /// full.
    fn call_later<'py>(what: RaisePutBack) -> c_int = ffi::Py_AddPendingCall: (what, Nothing);
}

/// Exceptions that were put back and not raised yet, in order.
static PUT_BACK: Shared<Vec<Held<PyBaseException>>> = Shared::new(Vec::new());

/// Have an exception raised when the interpreter next checks for signals.
///
/// # Errors
///
/// The exception itself, if that is not possible.
fn put_back(raised: Raised<'_>) -> Result<(), Raised<'_>> {
    let py = raised.py();
    if !is_main_thread(py) {
        return Err(raised);
    }
    let kept = PUT_BACK.with(py, |all| {
        let has_room = refusable(|| all.try_reserve(1)).is_ok();
        if has_room {
            all.push(raised.clone().hold());
        }
        has_room
    });
    if kept && call_later(py, RaisePutBack) == 0 {
        return Ok(());
    }
    if kept {
        // Nothing has run meanwhile, so the last one is this one.
        drop(PUT_BACK.with(py, Vec::pop));
    }
    Err(raised)
}

/// Called by the interpreter, once for each exception that was put back.
pub(crate) struct RaisePutBack;

/// The same as a C function.
type Pending = extern "C" fn(*mut c_void) -> c_int;

impl ToC<Option<Pending>> for RaisePutBack {
    fn to_c(self) -> Option<Pending> {
        Some(raise_next)
    }
}

/// Raise the first exception that was put back; returns -1 then. Nothing in here panics.
extern "C" fn raise_next(_: *mut c_void) -> c_int {
    let raised = Python::try_attach(|py| {
        let next = PUT_BACK.with(py, |all| if all.is_empty() { None } else { Some(all.remove(0)) });
        next.map(|next| restore(next.into_bound(py)))
    });
    if raised.flatten().is_some() { -1 } else { 0 }
}

/// Whether this is the thread that handles signals. This runs no code of Python's, where an exception
/// that waits to be raised would be raised, and lost: so it looks at what `main_thread` and `ident`
/// return, and does not call them.
fn is_main_thread(py: Python<'_>) -> bool {
    let ask = || -> PyResult<bool> {
        let main = py.import("threading")?.getattr("_main_thread")?;
        Ok(main.getattr("_ident")?.extract::<usize>()? == this_thread(py))
    };
    ok(py, ask()).unwrap_or(false)
}
