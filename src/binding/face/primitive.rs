//! The methods that locks and semaphores share.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{error::Result, interned::intern, new_bool, stack::Nested};
use crate::binding::face::{
    acquiring::{acquire, release_at_end, release_to_next},
    functions::succeed,
    lock_run,
};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::primitive::DeferredLock;
use crate::binding::model::{
    deferred::Deferred, fifo::Fifo, line::new_line, names, primitive::Primitive, traverse::Traverse,
};
#[cfg(not(Py_GIL_DISABLED))]
use crate::binding::waits::handing_over::begin_release_of;
use crate::core::Flag;

#[pymethods(crate = "crate::binding::capi::guarded")]
#[allow(non_snake_case)]
impl Primitive {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Result<Self> {
        Self::new_state(py, None)
    }

    fn __init__(slf: &Bound<'_, Self>) -> Result<()> {
        forget_waiting(slf)
    }

    /// Return a Deferred that fires with this object when it has been acquired.
    ///
    /// Cancelling the Deferred while it waits gives up the place in the line.
    ///
    /// ```python
    /// from deferrous import DeferredLock
    ///
    /// lock = DeferredLock()
    /// lock.acquire().addCallback(lambda lock: print(lock.locked))
    /// ```
    ///
    /// This prints `True`.
    pub(crate) fn acquire<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, Deferred>> {
        acquire(slf)
    }

    /// Release this. The first that waits acquires it at once.
    ///
    /// Errors:
    ///
    /// - AssertionError: it is not held.
    ///
    /// Differs from Twisted: callbacks that acquire and release it in turn may be as many as you
    /// like; Twisted raises RecursionError at some depth.
    ///
    /// ```python
    /// from deferrous import DeferredLock
    ///
    /// lock = DeferredLock()
    /// lock.acquire()
    /// lock.acquire().addCallback(lambda lock: print("the second has it"))
    /// lock.release()
    /// ```
    ///
    /// This prints `the second has it`.
    pub(crate) fn release(slf: &Bound<'_, Self>) -> Result<()> {
        #[cfg(Py_GIL_DISABLED)]
        return match slf.get().release_at_once(slf.py(), slf.is_instance_of::<DeferredLock>()) {
            true => Ok(()),
            false => release_to_next(slf, None),
        };
        #[cfg(not(Py_GIL_DISABLED))]
        match slf.get().busy_line(slf.py())? {
            // No callback runs.
            None => begin_release_of(slf, None).map(drop),
            line => release_to_next(slf, line),
        }
    }

    /// Acquire this, call a function, and release it when the function is done.
    ///
    /// Arguments:
    ///
    /// - `f`: the function. It is called with `args` and `kwargs`. If it returns a Deferred or
    ///   a coroutine, this is released when that has its outcome.
    ///
    /// Returns a Deferred for the outcome of the function.
    ///
    /// Cancelling the Deferred while it waits gives up the place in the line; afterwards, it
    /// cancels what the function waits for.
    ///
    /// ```python
    /// from deferrous import DeferredSemaphore
    ///
    /// semaphore = DeferredSemaphore(2)
    /// semaphore.run(sum, [40, 2]).addCallback(print)
    /// ```
    ///
    /// This prints 42.
    #[pyo3(signature = (f, *args, **kwargs))]
    pub(crate) fn run<'py>(
        slf: &Bound<'py, Self>,
        f: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        lock_run::run(slf, f, args, kwargs)
    }

    fn _releaseAndReturn<'py>(
        slf: &Bound<'py, Self>,
        r: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _nested = Nested::enter(slf.py())?;
        slf.call_method0(intern!(slf.py(), "release"))?;
        Ok(r)
    }

    /// Remove a cancelled Deferred from the waiters.
    fn _cancelAcquire<'py>(slf: &Bound<'py, Self>, d: &Bound<'py, PyAny>) -> Result<()> {
        Fifo::remove(&slf.get().line(slf.py())?, d)
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let _nested = Nested::enter(slf.py())?;
        slf.call_method0(intern!(slf.py(), "acquire"))
    }

    #[pyo3(signature = (_exc_type, _exc_value, _traceback, /))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _exc_type: &Bound<'py, PyAny>,
        _exc_value: &Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, Deferred>> {
        let left = succeed(new_bool(slf.py(), false));
        release_at_end(slf)?;
        left
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::REDUCE.get(slf.py())?.call1((slf,))
    }

    /// Return all of the state, for `copy` and `pickle`.
    fn __getstate__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::GET_STATE.get(slf.py())?.call1((slf,))
    }

    fn __setstate__(slf: &Bound<'_, Self>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        names::SET_STATE.get(slf.py())?.call1((slf, state)).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.during_gc();
        state.waiting.traverse(visit)?;
        let others = [state.locked.other(), state.tokens.other(), state.limit.other()];
        others.into_iter().flatten().try_for_each(|other| visit.call(other.as_unbound()))
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let before = slf.get().with(py, |state| {
            let is_on = state.locked.is_on();
            let locked = state.locked.set(is_on);
            (state.waiting.take(), locked, state.tokens.hide(), state.limit.hide())
        });
        let (waiting, locked, tokens, limit) = before;
        drop((waiting, locked.into_other(py), tokens, limit));
    }
}

/// Drop all waiters.
pub(crate) fn forget_waiting(primitive: &Bound<'_, Primitive>) -> Result<()> {
    let py = primitive.py();
    let line = new_line(py)?;
    let before = primitive.get().with(py, |state| std::mem::replace(&mut state.waiting, line));
    drop(before);
    Ok(())
}
