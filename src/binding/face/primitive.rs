//! Shared by locks and semaphores: `acquire`, `release`, `run`.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAssertionError, PyNotImplementedError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{
    self, Hold,
    error::{Raise, Result},
    interned::intern,
    new_bool,
    overrides::overrides,
    stack::Nested,
};
use crate::binding::face::{functions::succeed, place::let_go};
use crate::binding::judge::classify::as_deferred;
use crate::binding::model::{
    deferred::Deferred,
    fifo::Fifo,
    line::{self, new_line},
    names,
    outcome::{Chain, Link, Outcome, or_no_memory},
    primitive::{DeferredLock, DeferredSemaphore, Locked, Primitive},
    traverse::Traverse,
    waiter::Waiter,
};
use crate::binding::run::engine;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::{firing::begin_fire, steps};
use crate::binding::waits::{
    firing::{fire_one, fired, make},
    handing_over::{begin_release, begin_release_of, overrides_ours},
    locked::{self, RUN, is_refusal, release_by_work},
    nesting::hand_over,
    work::Work,
};
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
        // The function may be called from here, and may get back here.
        let add_callback = intern!(slf.py(), "addCallback");
        match as_deferred(&acquired) {
            Some(deferred) if !overrides::<Deferred>(deferred, add_callback) => {
                add_call(slf, deferred, &locked)?;
                Ok(acquired)
            }
            _ => add_by_method(slf, &acquired, locked),
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

    /// Remove a cancelled Deferred from those that wait.
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
        succeed(new_bool(py, false))
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

/// Drop all that wait.
pub(crate) fn forget_waiting(primitive: &Bound<'_, Primitive>) -> Result<()> {
    let py = primitive.py();
    let line = new_line(py)?;
    let before = primitive.get().with(py, |state| std::mem::replace(&mut state.waiting, line));
    drop(before);
    Ok(())
}

/// Make a call that needs the lock, and acquire it. Returns what `acquire()` returns.
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

/// Make a call as a callback, and have it release after that. `called` is what it has begun.
fn call_by_hand<'py>(
    locked: &Bound<'py, Locked>,
    called: &mut Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = locked.py();
    let release = locked.get().primitive.bind(py).getattr(intern!(py, "_releaseAndReturn"))?;
    let (result, work) = locked::call(locked)?;
    *called = Some(result.clone());
    work.map_or(Ok(()), |work| engine::run(py, work))?;
    result.call_method1(intern!(py, "addBoth"), (release,))
}

/// Let a call wait for the result of an overridden `acquire()`.
#[cold]
fn add_by_method<'py>(
    primitive: &Bound<'py, Primitive>,
    acquired: &Bound<'py, PyAny>,
    locked: Bound<'py, Locked>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = acquired.py();
    match acquired.call_method1(intern!(py, "addCallback"), (locked,)) {
        Ok(chained) => Ok(chained),
        Err(error) => {
            let release = || primitive.call_method0(intern!(py, "release"));
            Err(let_go(acquired, error.into(), release).into())
        }
    }
}

/// Have a call wait for what `acquire()` has returned, or make it now.
#[inline(always)]
fn add_call<'py>(
    primitive: &Bound<'py, Primitive>,
    acquired: &Bound<'py, Deferred>,
    locked: &Bound<'py, Locked>,
) -> Result<()> {
    let py = primitive.py();
    let link = Link::Deliver(Waiter::new(locked), RUN);
    let added = acquired.get().chain(py, |chain| chain.add(link).map(|()| chain.is_runnable()));
    let refused = match or_no_memory(py, added) {
        Ok(false) => return Ok(()),
        Ok(true) => match engine::run_deferred(acquired) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        },
        Err(error) => {
            give_up_call(primitive, acquired);
            return Err(error);
        }
    };
    // Nobody else has that Deferred, so what is still in it is the call.
    if acquired.get().chain(py, |chain| !chain.links().is_empty()) {
        give_up_call(primitive, acquired);
    }
    Err(refused)
}

/// A call was not added to what `acquire()` has returned, or not made: nobody will release after it.
/// So it is released now, or its place in line given up.
#[cold]
fn give_up_call<'py>(primitive: &Bound<'py, Primitive>, acquired: &Bound<'py, Deferred>) {
    let py = primitive.py();
    let done = if acquired.get().chain(py, |chain| chain.called()) {
        release_anyhow(primitive)
    } else {
        let line = primitive.get().line(py).map_err(Into::into);
        line.and_then(|line| Fifo::remove(&line, acquired.as_any()))
    };
    let _ = capi::ok(py, done);
}

/// Release, also where no more calls are allowed.
#[cold]
fn release_anyhow(primitive: &Bound<'_, Primitive>) -> Result<()> {
    match release_by_work(primitive)? {
        Some(work) => hand_over(primitive.py(), work, engine::run_within),
        None => Ok(()),
    }
}

/// The body of `acquire`.
///
/// Everything that may run other code, such as a collection, comes first. Then the lock is acquired
/// or waited for in one step.
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
    if primitive.get().with(py, |state| line::ours(py, &state.waiting).is_none()) {
        // A program has replaced it.
        primitive.get().line(py)?;
    }
    let deferred = make(py, || Chain::new(Some(canceller.hold())))?;
    let again = if cfg!(Py_GIL_DISABLED) { None } else { try_acquire(primitive, is_lock)? };
    if let Some(acquired) = again {
        // It was released meanwhile.
        return Ok(acquired);
    }
    #[cfg(Py_GIL_DISABLED)]
    if steps::acquire(primitive, &deferred)? {
        // It was released meanwhile, by another thread.
        begin_fire(&deferred, Outcome::Value(primitive.as_any().clone().hold()))?;
    }
    #[cfg(not(Py_GIL_DISABLED))]
    primitive.get().line(py)?.get().push_back(deferred.as_any().clone())?;
    Ok(deferred)
}

/// Acquire it, unless it is held.
#[inline(always)]
fn try_acquire<'py>(
    primitive: &Bound<'py, Primitive>,
    is_lock: bool,
) -> Result<Option<Bound<'py, Deferred>>> {
    let py = primitive.py();
    let quick = primitive.get().with(py, |state| {
        if is_lock {
            let is_free = state.locked.is_clear();
            if !is_free {
                return state.locked.is_plain().then_some((false, true));
            }
            let _false = state.locked.set(true);
            return Some((true, true));
        }
        let tokens = state.tokens.quick()?;
        let is_free = tokens > 0;
        (!is_free || state.tokens.set_quickly(tokens - 1)).then_some((is_free, true))
    });
    let (free, sound) = match quick {
        Some(answer) => answer,
        None => acquire_asked(primitive, is_lock)?,
    };
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
            // There was no memory for a Deferred, so nobody has acquired it.
            if let Some(work) = begin_release(primitive)? {
                engine::run(py, work)?;
            }
            Err(error)
        }
    }
}

/// The rest of [`try_acquire`], if a program has replaced our bool or small int. Returns whether it
/// was free, and whether its number makes sense.
#[inline(never)]
fn acquire_asked(primitive: &Bound<'_, Primitive>, is_lock: bool) -> Result<(bool, bool)> {
    let py = primitive.py();
    if is_lock {
        let before = primitive
            .get()
            .with(py, |state| (!state.locked.is_on()).then(|| state.locked.set(true)));
        let is_free = before.is_some();
        drop(before.and_then(|before| before.into_other(py)));
        return Ok((is_free, true));
    }
    #[cfg(Py_GIL_DISABLED)]
    return steps::take_token(primitive);
    #[cfg(not(Py_GIL_DISABLED))]
    {
        let tokens = primitive.get().number(py, |state| &mut state.tokens)?;
        if tokens > 0 {
            primitive.get().set_number(py, |state| &mut state.tokens, tokens - 1)?;
        }
        Ok((tokens > 0, tokens >= 0))
    }
}

/// The rest of `release`, if somebody waits.
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
    /// Called as a callback.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        _acquired: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let primitive = slf.get().primitive.bind(py);
        let mut called = None;
        let error = match call_by_hand(slf, &mut called) {
            Ok(chained) => return Ok(chained),
            Err(error) => error.into(),
        };
        if is_refusal(py, &error) {
            if let Some(called) = called {
                drop(capi::ok(py, called.call_method0(intern!(py, "cancel"))));
            }
            let _ = capi::ok(py, release_anyhow(primitive));
        }
        Err(error.into())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.primitive.traverse(visit)?;
        self.function.traverse(visit)?;
        self.args.traverse(visit)?;
        self.kwargs.traverse(visit)
    }
}

/// Fire a Deferred with a result, as a lock or queue does: at once or, if too many hand-overs are
/// nested, a little later. In either case it has its result when this returns, so that it cannot be
/// cancelled any more.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _hand_over<'py>(
    deferred: Bound<'py, PyAny>,
    result: Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferred.py();
    let work = match fire_one(deferred, result)? {
        // If the result cannot be classified, the one who fires the first Deferred with it gets the
        // error.
        Some(Work::RunAndRaise(fired, _)) => fired.map(Work::Run),
        work => work,
    };
    match work {
        Some(work) => hand_over(py, work, engine::run_within),
        None => Ok(()),
    }
}
