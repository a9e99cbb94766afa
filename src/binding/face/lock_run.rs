//! `run`, of locks and semaphores: calls that hold them.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{
    self, Hold, error::Result, interned::intern, overrides::overrides, stack::Nested,
};
use crate::binding::face::{
    acquiring::{acquire, release_anyhow},
    locked_calls::release_surely,
    place::let_go,
};
use crate::binding::judge::classify::as_deferred;
use crate::binding::model::{
    deferred::Deferred,
    fifo::Fifo,
    outcome::{Link, or_no_memory},
    primitive::{LockRun, Primitive},
    traverse::Traverse,
    waiter::Waiter,
};
use crate::binding::run::engine;
use crate::binding::waits::{
    handing_over::overrides_ours,
    lock_run::{RUN, call, is_refusal},
};

/// The body of `run`.
#[inline(always)]
pub(super) fn run<'py>(
    primitive: &Bound<'py, Primitive>,
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let _nested = Nested::enter(primitive.py())?;
    let (lock_run, acquired) = acquire_for(primitive, function, args, kwargs)?;
    // From here on the function may be called, and may call `run` again.
    let add_callback = intern!(primitive.py(), "addCallback");
    match as_deferred(&acquired) {
        Some(deferred) if !overrides::<Deferred>(deferred, add_callback) => {
            add_call(primitive, deferred, &lock_run)?;
            Ok(acquired)
        }
        _ => add_by_method(primitive, &acquired, lock_run),
    }
}

/// Make the object for a call that needs the lock, and acquire it. Also returns what `acquire()`
/// returned.
#[inline(never)]
fn acquire_for<'py>(
    primitive: &Bound<'py, Primitive>,
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<(Bound<'py, LockRun>, Bound<'py, PyAny>)> {
    let py = primitive.py();
    let lock_run = LockRun {
        primitive: primitive.clone().hold(),
        function: function.hold(),
        args: args.hold(),
        kwargs: kwargs.map(Hold::hold),
    };
    let lock_run = Bound::new(py, lock_run)?;
    let acquired = if overrides_ours(primitive, intern!(py, "acquire")) {
        primitive.call_method0(intern!(py, "acquire"))?
    } else {
        acquire(primitive)?.into_any()
    };
    Ok((lock_run, acquired))
}

/// Call the function, and add a callback that releases. `called` is set to what the function returned.
fn call_by_hand<'py>(
    lock_run: &Bound<'py, LockRun>,
    called: &mut Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = lock_run.py();
    let release = lock_run.get().primitive.bind(py).getattr(intern!(py, "_releaseAndReturn"))?;
    let (result, work) = call(lock_run)?;
    *called = Some(result.clone());
    work.map_or(Ok(()), |work| engine::run(py, work))?;
    result.call_method1(intern!(py, "addBoth"), (release,))
}

/// Make the call wait for the result of an overridden `acquire()`.
#[cold]
fn add_by_method<'py>(
    primitive: &Bound<'py, Primitive>,
    acquired: &Bound<'py, PyAny>,
    lock_run: Bound<'py, LockRun>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = acquired.py();
    match acquired.call_method1(intern!(py, "addCallback"), (lock_run,)) {
        Ok(chained) => Ok(chained),
        Err(error) => {
            Err(let_go(acquired, error.into(), || release_surely(primitive.as_any())).into())
        }
    }
}

/// Make the call wait for the Deferred of `acquire()`, or make it now.
#[inline(always)]
fn add_call<'py>(
    primitive: &Bound<'py, Primitive>,
    acquired: &Bound<'py, Deferred>,
    lock_run: &Bound<'py, LockRun>,
) -> Result<()> {
    let py = primitive.py();
    let link = Link::Deliver(Waiter::new(lock_run), RUN);
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
    // Nobody else has that Deferred, so a link that is left is the call's.
    if acquired.get().chain(py, |chain| !chain.links().is_empty()) {
        give_up_call(primitive, acquired);
    }
    Err(refused)
}

/// A call could not be added to the Deferred of `acquire()`, or could not be made. Nothing would
/// release afterwards. So release now, or give up the place in line.
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

#[pymethods(crate = "crate::binding::capi::guarded")]
impl LockRun {
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
