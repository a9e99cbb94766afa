//! What locks and semaphores have in common: `acquire`, `release`, `run`.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAssertionError, PyNotImplementedError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{
    self, Hold,
    error::{Raise, Result},
    interned::intern,
    overrides::overrides,
    stack::Nested,
};
use crate::binding::face::functions::succeed;
use crate::binding::judge::classify::as_deferred;
use crate::binding::model::{
    deferred::Deferred,
    fifo::Fifo,
    line::{as_line, kept},
    names,
    outcome::{Chain, Link, Outcome},
    primitive::{DeferredLock, DeferredSemaphore, Locked, Primitive},
    traverse::Traverse,
    waiter::Waiter,
};
use crate::binding::run::engine;
use crate::binding::waits::{
    firing::{fired, make},
    handing_over::{self, begin_release, begin_release_of, overrides_ours},
    locked::{self, RUN},
    nesting::hand_over,
    work::Work,
};

#[pymethods(crate = "crate::binding::capi::guarded")]
#[allow(non_snake_case)]
impl Primitive {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new_state()
    }

    fn __init__(slf: &Bound<'_, Self>) {
        forget_waiting(slf);
    }

    /// The Deferreds that wait to acquire this, in the order of asking. Can be set to any
    /// iterable.
    ///
    /// Differs from Twisted: it behaves like a list, but is not one.
    #[getter]
    pub(crate) fn waiting<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Fifo>> {
        slf.get().line(slf.py())
    }

    #[setter]
    fn set_waiting<'py>(slf: &Bound<'py, Self>, waiting: &Bound<'py, PyAny>) -> PyResult<()> {
        let line = as_line(waiting)?.hold();
        let before = slf.get().with(slf.py(), |state| state.waiting.replace(line));
        drop(before);
        Ok(())
    }

    #[deleter]
    fn delete_waiting(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
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
        match slf.get().busy_line(slf.py()) {
            // Nothing else is run.
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
        let _nested = Nested::enter(slf.py())?;
        let (locked, acquired) = acquire_for(slf, f, args, kwargs)?;
        // The function may be called from here, and may come here again.
        let add_callback = intern!(slf.py(), "addCallback");
        match as_deferred(&acquired) {
            Some(deferred) if !overrides::<Deferred>(deferred, add_callback) => {
                engine::add(deferred, Link::Deliver(Waiter::new(&locked), RUN))?;
                Ok(acquired)
            }
            _ => add_by_method(&acquired, locked),
        }
    }

    fn _releaseAndReturn<'py>(
        slf: &Bound<'py, Self>,
        r: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _nested = Nested::enter(slf.py())?;
        slf.call_method0(intern!(slf.py(), "release"))?;
        Ok(r)
    }

    /// Take a Deferred that was cancelled out of those that wait.
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
        let py = slf.py();
        let _nested = Nested::enter(py)?;
        slf.call_method0(intern!(py, "release"))?;
        succeed(pyo3::types::PyBool::new(py, false).to_owned().into_any())
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
        self.state.during_gc().waiting.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        forget_waiting(slf);
    }
}

/// Let go of those that wait.
pub(crate) fn forget_waiting(primitive: &Bound<'_, Primitive>) {
    let before = primitive.get().with(primitive.py(), |state| state.waiting.take());
    drop(before);
}

/// Make a call that is to hold a primitive, and acquire that. Returns what `acquire()` does.
#[inline(never)]
fn acquire_for<'py>(
    primitive: &Bound<'py, Primitive>,
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<(Bound<'py, Locked>, Bound<'py, PyAny>)> {
    let py = primitive.py();
    let locked = Locked {
        primitive: primitive.clone().hold(),
        function: function.hold(),
        args: args.hold(),
        kwargs: kwargs.map(Hold::hold),
    };
    let locked = Bound::new(py, locked)?;
    let acquired = if overrides_ours(primitive, intern!(py, "acquire")) {
        primitive.call_method0(intern!(py, "acquire"))?
    } else {
        acquire(primitive)?.into_any()
    };
    Ok((locked, acquired))
}

/// Have a call wait for what `acquire()` of a class has returned that has one of its own.
#[cold]
fn add_by_method<'py>(
    acquired: &Bound<'py, PyAny>,
    locked: Bound<'py, Locked>,
) -> PyResult<Bound<'py, PyAny>> {
    acquired.call_method1(intern!(acquired.py(), "addCallback"), (locked,))
}

/// What `acquire` does.
///
/// All that may run other code, as a collection does, comes first; then, at once, it is acquired or
/// waited for.
fn acquire<'py>(primitive: &Bound<'py, Primitive>) -> Result<Bound<'py, Deferred>> {
    let py = primitive.py();
    let is_lock = primitive.is_instance_of::<DeferredLock>();
    if !is_lock && !primitive.is_instance_of::<DeferredSemaphore>() {
        return Err(PyNotImplementedError::error(py, "acquire"));
    }
    if let Some(acquired) = try_acquire(primitive, is_lock)? {
        return Ok(acquired);
    }
    let ours = primitive.is_exact_instance_of::<DeferredLock>()
        || primitive.is_exact_instance_of::<DeferredSemaphore>();
    let cancel = intern!(py, "_cancelAcquire");
    let canceller =
        if (!ours && overrides::<Primitive>(primitive, cancel)) || primitive.is_callable() {
            primitive.getattr(cancel)?
        } else {
            primitive.as_any().clone()
        };
    let line = primitive.get().line(py)?;
    let deferred = make(py, || Chain::new(Some(canceller.hold())))?;
    if let Some(acquired) = try_acquire(primitive, is_lock)? {
        // It was released meanwhile.
        return Ok(acquired);
    }
    let line = match primitive.get().with(py, |state| kept(py, &mut state.waiting, None)) {
        Some(line) => line,
        None => line,
    };
    line.get().push_back(deferred.as_any().clone())?;
    Ok(deferred)
}

/// Acquire it, unless it is held.
#[inline(always)]
fn try_acquire<'py>(
    primitive: &Bound<'py, Primitive>,
    is_lock: bool,
) -> Result<Option<Bound<'py, Deferred>>> {
    let py = primitive.py();
    let (free, sound) = primitive.get().with(py, |state| {
        if is_lock {
            (!std::mem::replace(&mut state.locked, true), true)
        } else if state.tokens > 0 {
            state.tokens -= 1;
            (true, true)
        } else {
            (false, state.tokens == 0)
        }
    });
    if !sound {
        return Err(PyAssertionError::error(
            py,
            "Internal inconsistency??  tokens should never be negative",
        ));
    }
    if !free {
        return Ok(None);
    }
    match fired(py, Outcome::Value(primitive.as_any().clone().hold())) {
        Ok(deferred) => Ok(Some(deferred)),
        Err(error) => {
            // There was no memory for a Deferred: nobody has acquired it.
            if let Some(work) = begin_release(primitive)? {
                engine::run(py, work)?;
            }
            Err(error)
        }
    }
}

/// What `release` does where somebody waits.
#[inline(never)]
fn release_to_next<'py>(
    primitive: &Bound<'py, Primitive>,
    line: Option<Bound<'py, Fifo>>,
) -> Result<()> {
    let _nested = Nested::enter(primitive.py())?;
    match begin_release_of(primitive, line)? {
        Some(work) => hand_over(primitive.py(), work, engine::run_within),
        None => Ok(()),
    }
}

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Locked {
    /// As a callback.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        _acquired: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let release = slf.get().primitive.bind(py).getattr(intern!(py, "_releaseAndReturn"))?;
        let (result, work) = locked::call(slf)?;
        work.map_or(Ok(()), |work| engine::run(py, work))?;
        result.call_method1(intern!(py, "addBoth"), (release,))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.primitive.traverse(visit)?;
        self.function.traverse(visit)?;
        self.args.traverse(visit)?;
        self.kwargs.traverse(visit)
    }
}

/// Fire a Deferred with a result, as a lock or a queue does that hands it over: at once, or, where
/// so many hand-overs are nested that this would not end well, soon. In any case it has its result
/// then, so that it cannot be cancelled any more.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _hand_over<'py>(
    deferred: Bound<'py, PyAny>,
    result: Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferred.py();
    let work = match handing_over::fire_one(deferred, result)? {
        // Whoever fires the first Deferred with a result that cannot be asked what it is, is told.
        Some(Work::RunAndRaise(fired, _)) => fired.map(Work::Run),
        work => work,
    };
    match work {
        Some(work) => hand_over(py, work, engine::run_within),
        None => Ok(()),
    }
}
