//! The bodies of `acquire` and `release`, of locks and semaphores.

use pyo3::exceptions::{PyAssertionError, PyNotImplementedError};
use pyo3::prelude::*;

use crate::binding::capi::{
    Hold,
    again::insist,
    cell::SEVERAL_THREADS,
    depth,
    error::{Raise, Result},
    interned::intern,
    overrides::overrides,
    owed::promise,
    stack::Nested,
};
use crate::binding::model::{
    deferred::Deferred,
    fifo::Fifo,
    line,
    outcome::{Chain, Outcome},
    primitive::{DeferredLock, DeferredSemaphore, Primitive},
};
use crate::binding::run::engine;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::{firing::begin_fire, lock_steps};
use crate::binding::waits::{
    firing::{fired, make},
    handing_over::{begin_release, begin_release_of, overrides_ours},
    lock_run::release_by_work,
    nesting::hand_over,
};
use crate::core::Flag;

/// The body of `acquire`.
///
/// Everything that may run other code, such as a collection, comes first. Then the lock is acquired
/// or waited for in one step.
pub(super) fn acquire<'py>(primitive: &Bound<'py, Primitive>) -> Result<Bound<'py, Deferred>> {
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
    if !SEVERAL_THREADS && primitive.get().with(py, |it| line::ours(py, &it.waiting).is_none()) {
        // A program has replaced the line.
        primitive.get().line(py)?;
    }
    let deferred = make(py, || Chain::new(Some(canceller.hold())))?;
    if !SEVERAL_THREADS && let Some(acquired) = try_acquire(primitive, is_lock)? {
        // It was released meanwhile.
        return Ok(acquired);
    }
    #[cfg(Py_GIL_DISABLED)]
    if lock_steps::acquire(primitive, &deferred)? {
        // It was released meanwhile, by another thread.
        begin_fire(&deferred, Outcome::Value(primitive.as_any().clone().hold()))?;
    }
    #[cfg(not(Py_GIL_DISABLED))]
    primitive.get().line(py)?.get().push_back(deferred.as_any().clone())?;
    Ok(deferred)
}

/// Acquire, unless it is held.
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
    return lock_steps::take_token(primitive);
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
pub(super) fn release_to_next<'py>(
    primitive: &Bound<'py, Primitive>,
    line: Option<Bound<'py, Fifo>>,
) -> Result<()> {
    let _nested = Nested::enter(primitive.py())?;
    match begin_release_of(primitive, line)? {
        Some(work) => hand_over(primitive.py(), work, engine::run_within),
        None => Ok(()),
    }
}

/// Release, even if no more calls are allowed.
#[cold]
pub(super) fn release_anyhow(primitive: &Bound<'_, Primitive>) -> Result<()> {
    match release_by_work(primitive)? {
        Some(work) => hand_over(primitive.py(), work, engine::run_within),
        None => Ok(()),
    }
}

/// Release at the end of a block, even if no more calls are allowed: nobody else would.
pub(super) fn release_at_end(primitive: &Bound<'_, Primitive>) -> Result<()> {
    let py = primitive.py();
    let release = intern!(py, "release");
    depth::with_more(py, || {
        if overrides_ours(primitive, release) {
            primitive.call_method0(release)?;
            return Ok(());
        }
        match insist(py, || release_by_work(primitive)) {
            Ok(Some(work)) => hand_over(py, work, engine::run_within),
            Ok(None) => Ok(()),
            // It is released when there is memory for it.
            Err(error) => promise(release.as_any(), &[primitive.as_any().clone()], error),
        }
    })
}
