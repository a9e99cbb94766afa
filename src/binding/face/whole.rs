//! Building blocks for steps of `deferrous.concurrency` that are written in Python and must stay whole: see
//! `capi/again.rs`.
//!
//! Python raises a signal's exception, such as KeyboardInterrupt, between two lines of Python code.
//! So what must not be torn apart is one function here.

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};

use crate::binding::capi::{
    self,
    depth::{self, Short},
    error::Result,
    interned::intern,
    stack, yes,
};
use crate::binding::face::waiting::is;
use crate::binding::model::names;
use crate::binding::run::engine;
use crate::binding::waits::{aside, nesting};

/// Do something once: set a flag, and call the function. Does nothing if the flag is set. The flag
/// is an attribute of the owner, or an item if the owner is a dict.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (owner, name, work, *args))]
pub(crate) fn _once<'py>(
    owner: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    work: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> Result<()> {
    let py = owner.py();
    if let Ok(marks) = owner.cast_exact::<PyDict>() {
        if marks.contains(name)? {
            return Ok(());
        }
        #[cfg(not(Py_GIL_DISABLED))]
        marks.set_item(name, yes(py))?;
        // Of several threads, the one whose mark is stored was first.
        #[cfg(Py_GIL_DISABLED)]
        {
            let mark = capi::new_list(py)?;
            if !marks.call_method1(intern!(py, "setdefault"), (name, &mark))?.is(&mark) {
                return Ok(());
            }
        }
    } else {
        if is(owner, name)? {
            return Ok(());
        }
        owner.setattr(name, yes(py))?;
    }
    work.call1(args)?;
    Ok(())
}

/// Call a function while an attribute of the owner is true, unless it is true already, because the
/// function is running. Returns whether it was called.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _within<'py>(
    owner: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    work: &Bound<'py, PyAny>,
) -> Result<bool> {
    let before = owner.getattr(name)?;
    if stack::truth(&before)? {
        return Ok(false);
    }
    owner.setattr(name, yes(owner.py()))?;
    let done = work.call0();
    owner.setattr(name, before)?;
    done?;
    Ok(true)
}

/// How our functions are called at the recursion limit.
struct AtTheLimit;

impl Short for AtTheLimit {
    fn call<'py>(py: Python<'py>, call: &mut dyn FnMut(Python<'py>)) -> Result<()> {
        nesting::short(py, call, engine::run_within)
    }
}

/// Let one of our functions never fail at the recursion limit when native code calls it: as a
/// callback, a canceller, or a clock's function. Returns it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _never_refused<'py>(function: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    depth::never_refuse::<AtTheLimit, false, false>(&function)?;
    Ok(function)
}

/// [`_never_refused`] for a step that detects what it has done already: if a signal's exception
/// interrupts it, it is repeated, and the exception is raised afterwards. Returns it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _whole<'py>(function: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    depth::never_refuse::<AtTheLimit, true, false>(&function)?;
    Ok(function)
}

/// [`_whole`] for a step that is called as a callback, a canceller or by a clock: if there was no memory
/// for it, it is done again when there is some, see `capi/owed.rs`. Returns it.
///
/// A native function is not repeated for a signal's exception.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _owed<'py>(function: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    if function.is_instance_of::<PyCFunction>() {
        depth::never_refuse::<AtTheLimit, false, true>(&function)?;
    } else {
        depth::never_refuse::<AtTheLimit, true, true>(&function)?;
    }
    Ok(function)
}

/// The event loop that runs in this thread: asyncio's, or else Twisted's reactor, if that runs.
pub(crate) fn running_here(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    aside::running_loop(py).or_else(|| {
        let reactor = names::REACTOR.get_once_imported(py)?;
        let runs = capi::ok(py, reactor.getattr(intern!(py, "running")))?;
        capi::ok(py, stack::truth(&runs))?.then(|| reactor.clone())
    })
}

/// [`_owed`] for a step that calls a program's own methods, whose exceptions are its result.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _owed_once<'py>(function: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    depth::never_refuse::<AtTheLimit, false, true>(&function)?;
    Ok(function)
}

/// Have that one call a function with arguments, which stand in one tuple.
pub(crate) fn call_in_turn(runner: &Bound<'_, PyAny>, work: Bound<'_, PyTuple>) -> PyResult<()> {
    let py = runner.py();
    let by_reactor = intern!(py, "callFromThread");
    let name = match runner.hasattr(by_reactor)? {
        true => by_reactor,
        false => intern!(py, "call_soon_threadsafe"),
    };
    runner.call_method1(name, work)?;
    Ok(())
}

/// Whether it is known how many more calls the interpreter allows.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _knows_depth() -> bool {
    depth::is_known()
}

/// Raise RecursionError if a few nested calls would.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _check_depth(py: Python<'_>) -> Result<()> {
    depth::check_ahead(py)
}
