//! Native steps of `deferrous.concurrency`: calls that are made with a lock, and locks by key.
//!
//! Each is one function, so that a signal's exception cannot tear it apart: see `whole`.

use pyo3::exceptions::{PyException, PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFunction, PyList, PyString, PyTuple};
use smallvec::SmallVec;

use crate::binding::capi::{
    self, Text,
    again::insist,
    depth,
    error::{Error, Raise, Result},
    interned::intern,
    owed::{call_surely, promise},
    stack::Nested,
    yes,
};
use crate::binding::face::functions::{maybe_deferred, succeed};
use crate::binding::face::place::{_give_first, let_go};
use crate::binding::face::waiting::again_if_interrupted;
use crate::binding::model::{deferred::Deferred, fifo::Fifo};
use crate::binding::waits::lock_run::is_refusal;

/// Acquire a lock, and add a callback with these arguments. Returns what `addCallback` returns. If
/// the callback cannot be added, `release` is called, or the place in line is given up: nothing
/// else would do that.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (lock, release, *callback))]
pub(crate) fn _acquire_for<'py>(
    lock: &Bound<'py, PyAny>,
    release: &Bound<'py, PyAny>,
    callback: &Bound<'py, PyTuple>,
) -> Result<Bound<'py, PyAny>> {
    let py = lock.py();
    let _nested = Nested::enter(py)?;
    let acquired = lock.call_method0(intern!(py, "acquire"))?;
    match acquired.call_method1(intern!(py, "addCallback"), callback) {
        Ok(chained) => Ok(chained),
        Err(error) => {
            Err(let_go(&acquired, error.into(), || call_release(release, &PyTuple::empty(py))))
        }
    }
}

/// The callback of an acquired lock: make the call, and release the lock after it. `method` is only
/// for the graph, which looks for holders of locks.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _run_locked<'py>(
    _acquired: &Bound<'py, PyAny>,
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    done: &Bound<'py, PyAny>,
    release: (Bound<'py, PyAny>, Bound<'py, PyTuple>),
    method: Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = function.py();
    let (release, release_args) = release;
    let (called, error) = match maybe_deferred(function, args, Some(kwargs)) {
        Err(error) => (None, error),
        Ok(called) => {
            let all = (done, &release, &release_args, method);
            match called.call_method1(intern!(py, "addBoth"), all) {
                Ok(chained) => return Ok(chained),
                Err(error) => (Some(called), error.into()),
            }
        }
    };
    let is_left = called.is_none() && error.is_instance_of::<PyException>(py);
    if is_left || is_refusal(py, &error) {
        depth::with_more(py, || {
            if let Some(called) = called {
                drop(capi::ok(py, called.call_method0(intern!(py, "cancel"))));
            }
            let _ = capi::ok(py, call_release(&release, &release_args));
        });
    }
    Err(error)
}

/// The callback at the end of that call: release the lock.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _release_after<'py>(
    result: Bound<'py, PyAny>,
    release: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    _method: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    call_release(release, args)?;
    Ok(result)
}

/// Call what releases something that nobody else would release: when there is memory for it, at the latest.
#[inline(always)]
fn call_release<'py>(release: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>) -> Result<()> {
    let Err(error) = release.call1(args) else { return Ok(()) };
    release_again(release, args, error.into())
}

/// What releases something has raised this. If there was no memory for it, call it again, or have it called
/// when there is some.
///
/// # Errors
///
/// The error, if it is another one, or a program's own: that may have released it. Or the last one.
#[cold]
fn release_again<'py>(
    release: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    error: Error,
) -> Result<()> {
    if !is_in_vain(release, &error) {
        return Err(error);
    }
    let args: SmallVec<[_; 4]> = args.iter().collect();
    call_surely(release, &args)?;
    Ok(())
}

/// Release a lock that nobody else would release: when there is memory for it, at the latest. That is no error: a
/// program that was told of one might release it itself, and the next holder's would be released later.
pub(super) fn release_surely(lock: &Bound<'_, PyAny>) -> Result<()> {
    let done = lock.call_method0(intern!(lock.py(), "release"));
    done.map(drop).or_else(|error| release_method_again(lock, error.into()))
}

#[cold]
fn release_method_again(lock: &Bound<'_, PyAny>, error: Error) -> Result<()> {
    let name = intern!(lock.py(), "release");
    if !is_in_vain(&lock.get_type().getattr(name)?, &error) {
        return Err(error);
    }
    let released = insist(lock.py(), || Ok(lock.call_method0(name).map(drop)?));
    released.or_else(|error| promise(name.as_any(), std::slice::from_ref(lock), error))
}

/// Whether a method has changed nothing, because it is ours and there was no memory. One of a program's own may
/// have done its work when it raises a MemoryError. So it is not called again.
pub(super) fn is_in_vain(method: &Bound<'_, PyAny>, error: &Error) -> bool {
    let py = method.py();
    if !error.is_instance_of::<PyMemoryError>(py) {
        return false;
    }
    let module = capi::ok(py, method.getattr(intern!(py, "__module__")));
    match module.as_ref().map(|module| module.cast::<PyString>()) {
        Some(Ok(name)) => {
            name.to_str().is_ok_and(|name| name == "deferrous" || name.starts_with("deferrous."))
        }
        // Native methods have none.
        Some(Err(_)) | None => !method.is_instance_of::<PyFunction>(),
    }
}

/// Leave a block that holds a lock. The lock is released even where few calls or little stack are left:
/// nobody else would do that. Returns what `__aexit__` does.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _leave<'py>(lock: &Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = lock.py();
    let left = succeed(capi::none(py));
    let released = depth::with_more(py, || lock.call_method0(intern!(py, "release")));
    if let Err(error) = released {
        depth::with_more(py, || release_method_again(lock, error.into()))?;
    }
    left
}

/// Release the lock of a key: the next waiter gets it, or the key is removed.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _release_key<'py>(keys: &Bound<'py, PyDict>, key: &Bound<'py, PyAny>) -> Result<()> {
    let py = keys.py();
    let mut interrupted = Ok(());
    let Some(state) = again_if_interrupted(py, &mut interrupted, || keys.get_item(key))? else {
        let text = [Text::Ours("nobody holds "), Text::Python(key.repr()?)];
        return Err(PyRuntimeError::error_saying(capi::joined(py, text)));
    };
    let (held, waiting): (Bound<'py, PyList>, Bound<'py, Fifo>) = state.extract()?;
    if waiting.get().len(py) > 0 && _give_first(&waiting, yes(py))? {
        return interrupted;
    }
    let number = held.get_item(0)?;
    if number.gt(1)? {
        held.set_item(0, number.sub(1)?)?;
    } else {
        // This calls methods of the key.
        again_if_interrupted(py, &mut interrupted, || keys.del_item(key))?;
    }
    interrupted
}
