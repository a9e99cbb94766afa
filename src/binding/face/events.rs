//! Native steps of events, barriers and conditions in `deferrous.concurrency`, with the GIL and without.
//!
//! Python raises a signal's exception, such as KeyboardInterrupt, between two lines of Python code.
//! If these steps were written in Python, such an exception could leave a waiter without its result.
//! In native code, it can be raised only where a program's own code is called, such as a callback.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    again::insist,
    error::{Error, Result},
    interned::intern,
    none,
    owed::owe,
    yes,
};
use crate::binding::face::behind::{behind, take_all, take_unfired};
use crate::binding::face::locked_calls::{is_in_vain, release_surely};
use crate::binding::face::place::{fire_waiting, let_go};
use crate::binding::face::waiting::{
    attribute, failure_of, fire_each, fire_each_after, is, line_of, set_attribute, tell_all,
};
use crate::binding::model::{
    deferred::Deferred,
    fifo::{Fifo, exact_index},
    names::REACQUIRE,
    outcome::Outcome,
};
use crate::binding::waits::made;

/// Set an event: `_is_set` becomes true, and all waiters get True.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _happen<'py>(event: &Bound<'py, PyAny>, line: &Bound<'py, Fifo>) -> Result<()> {
    let py = line.py();
    let happens = || set_attribute(event, intern!(py, "_is_set"), yes(py));
    fire_each_after(line, happens, |_| Ok(yes(py)))
}

/// Fire all waiters in a line with numbers from 0 on. Returns a Deferred with the next number, for
/// the caller, which does not wait.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _number_all<'py>(line: &Bound<'py, Fifo>) -> Result<Bound<'py, Deferred>> {
    let py = line.py();
    let last = made::of_result(capi::new_int(py, line.get().len(py) as u64)?.into_any())?;
    fire_each(line, |number| capi::new_int(py, number).map(Bound::into_any))?;
    Ok(last)
}

/// Break a barrier, permanently or not: all waiters fail with an error of this class and message.
/// Those that could not be told stay in the line.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _break<'py>(
    barrier: &Bound<'py, PyAny>,
    for_good: bool,
    error: &Bound<'py, PyAny>,
    text: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = barrier.py();
    let waiting = line_of(barrier, intern!(py, "_waiting"))?;
    let all = Fifo::empty(py)?;
    let (all, _) = behind(&waiting, |_| {
        set_attribute(barrier, intern!(py, "_broken"), capi::new_bool(py, for_good))?;
        Ok(take_all(&waiting, all))
    });
    tell_all(&waiting, &all?, |_| error.call1((text,)))
}

/// Release a lock and wait for a condition: `waiter` is in the line before the lock is released.
/// Returns `waiter`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _release_and_wait<'py>(
    lock: &Bound<'py, PyAny>,
    waiting: &Bound<'py, Fifo>,
    waiter: Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = lock.py();
    waiting.get().push_back(waiter.clone())?;
    if let Err(error) = lock.call_method0(intern!(py, "release")) {
        if !is(&waiter, intern!(py, "notified"))? {
            // Nobody will wake it.
            Fifo::remove(waiting, &waiter)?;
        }
        return Err(error.into());
    }
    Ok(waiter)
}

/// Wake up to this many waiters of a condition: each acquires the lock.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _notify<'py>(
    condition: &Bound<'py, PyAny>,
    waiting: &Bound<'py, Fifo>,
    number: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = condition.py();
    let notified = intern!(py, "notified");
    let mut so_many = 0;
    let mut raised = Ok(());
    while waiting.get().len(py) > 0
        && !is_as_many(so_many, number)?
        && let Some(waiter) = take_unfired(waiting, |it| Ok(set_attribute(it, notified, yes(py))?))?
    {
        so_many += 1;
        let Err(error) = reacquire(condition, &waiter) else { continue };
        if !error.is_instance_of::<PyException>(py) || is_in_vain(&acquire_of(condition)?, &error) {
            // Such as KeyboardInterrupt, or there was no memory: the caller gets it, and this waiter keeps
            // waiting.
            let (waits, _) = behind(waiting, |_| {
                set_attribute(&waiter, notified, capi::new_bool(py, false))?;
                Fifo::insert_at(waiting, 0, waiter)
            });
            return waits.and(Err(error));
        }
        if let Err(error) = end_without_lock(&waiter, failure_of(py, error)?) {
            raised = Err(error);
        }
    }
    raised
}

/// Whether a number, which may be of any comparable type, has been reached. For ints this calls no
/// Python code, which could fail at the recursion limit.
pub(crate) fn is_as_many(so_many: u64, number: &Bound<'_, PyAny>) -> Result<bool> {
    if let Some(number) = exact_index(number) {
        return Ok(number <= 0 || so_many >= number as u64);
    }
    Ok(capi::new_int(number.py(), so_many)?.ge(number)?)
}

/// Let a woken waiter acquire the lock again.
pub(crate) fn reacquire<'py>(
    condition: &Bound<'py, PyAny>,
    waiter: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = condition.py();
    let lock = condition.getattr(intern!(py, "_lock"))?;
    let then = condition.getattr(intern!(py, "_acquired_for"))?;
    let otherwise = condition.getattr(intern!(py, "_not_acquired_for"))?;
    let args = capi::new_tuple(py, [condition.clone(), waiter.clone()])?.into_any();
    let others = capi::new_tuple(py, [waiter.clone()])?.into_any();
    let no_kwargs = none(py);
    let all = [then, otherwise, args, no_kwargs.clone(), others, no_kwargs];
    // All that may be refused comes first.
    let all = capi::new_tuple(py, all)?;
    let acquired = lock.call_method0(intern!(py, "acquire"))?;
    match acquired.call_method1(intern!(py, "addCallbacks"), all) {
        Ok(_) => Ok(()),
        Err(error) => Err(let_go(&acquired, error.into(), || release_surely(&lock))),
    }
}

/// The method by which the lock of a condition is acquired.
#[cold]
fn acquire_of<'py>(condition: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    let py = condition.py();
    let lock = condition.getattr(intern!(py, "_lock"))?;
    Ok(lock.get_type().getattr(intern!(py, "acquire"))?)
}

/// End a waiter that was woken or cancelled and cannot get the lock.
pub(crate) fn end_without_lock<'py>(
    waiter: &Bound<'py, PyAny>,
    failure: Bound<'py, PyAny>,
) -> Result<()> {
    let py = waiter.py();
    if is(waiter, intern!(py, "paused"))? {
        waiter.call_method0(intern!(py, "unpause"))?;
    } else if !is(waiter, intern!(py, "abandoned"))? && !is(waiter, intern!(py, "called"))? {
        return fire_waiting(waiter.clone(), failure);
    }
    Ok(())
}

/// The errback of the Deferred for the lock: it has not been acquired.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _not_acquired_for<'py>(
    failure: Bound<'py, PyAny>,
    waiter: &Bound<'py, PyAny>,
) -> Result<()> {
    end_without_lock(waiter, failure)
}

/// The callback of the Deferred for the lock, acquired for a waiter that was woken or cancelled.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _acquired_for<'py>(
    _lock: &Bound<'py, PyAny>,
    condition: &Bound<'py, PyAny>,
    waiter: Bound<'py, PyAny>,
) -> Result<()> {
    let py = condition.py();
    let waiting = line_of(condition, intern!(py, "_waiting"))?;
    let deferred = waiter.cast::<Deferred>()?;
    let (found, later) = behind(&waiting, |later| {
        let is_abandoned = is(&waiter, intern!(py, "abandoned"))?;
        let (is_paused, is_fired) =
            deferred.get().chain(py, |chain| (chain.paused() != 0, chain.called()));
        if is_abandoned || is_paused || is_fired {
            return Ok((is_abandoned, is_paused, false));
        }
        set_attribute(&waiter, intern!(py, "has_lock"), yes(py))?;
        Ok((false, false, later.fire(waiter.clone(), &yes(py))))
    });
    let (is_abandoned, is_paused, goes_on) = found?;
    let mut raised = later.do_it();
    if goes_on {
        return raised;
    }
    if (is_abandoned || is_paused) && is(&waiter, intern!(py, "notified"))? {
        // It was closed or cancelled meanwhile.
        raised = _notify(condition, &waiting, &capi::new_int(py, 1)?);
    }
    if is_abandoned || !is_paused {
        // Its coroutine is gone, or a program has fired it.
        let lock = attribute(condition, intern!(py, "_lock"))?;
        let released = lock.call_method0(intern!(py, "release")).map_err(Error::from);
        raised = raised.and(released.map(drop));
    }
    if is_paused {
        waiter.call_method0(intern!(py, "unpause"))?;
    }
    raised
}

/// The canceller of a waiter: it fails at once, but that becomes visible only when it has the lock.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _cancel_waiting<'py>(
    waiter: &Bound<'py, PyAny>,
    condition: &Bound<'py, PyAny>,
    failure: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = waiter.py();
    let waiting = line_of(condition, intern!(py, "_waiting"))?;
    let deferred = waiter.cast::<Deferred>()?;
    let outcome = Outcome::Failure(failure.clone().hold());
    let (waited, later) = behind(&waiting, |later| {
        // Whoever has fired it has seen to the rest.
        if !later.fire_by(deferred.clone(), |chain| chain.fire_paused(outcome))
            || is(waiter, intern!(py, "notified"))?
        {
            return Ok(false);
        }
        Fifo::remove(&waiting, waiter)?;
        Ok(true)
    });
    let done = later.do_it();
    if waited? && let Err(error) = insist(py, || _reacquire(condition, waiter, failure)) {
        let all = [condition.clone(), waiter.clone(), failure.clone()];
        return Err(owe(REACQUIRE.get(py)?, &all, error));
    }
    done
}

/// Let a waiter that was cancelled acquire the lock.
///
/// # Errors
///
/// A MemoryError, if this can be done again; or what has ended the waiter without the lock.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _reacquire<'py>(
    condition: &Bound<'py, PyAny>,
    waiter: &Bound<'py, PyAny>,
    failure: &Bound<'py, PyAny>,
) -> Result<()> {
    let done = reacquire(condition, waiter);
    if let Err(error) = &done
        && !is_in_vain(&acquire_of(condition)?, error)
    {
        end_without_lock(waiter, failure.clone())?;
    }
    done
}

/// The coroutine that waits for a condition is closed: leave the line. If the waiter was woken already,
/// another one is woken instead. Otherwise it gets the lock if that is free, because its block releases
/// the lock. Returns whether it has the lock, or had it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _stop_waiting<'py>(waiter: &Bound<'py, PyAny>) -> Result<bool> {
    let py = waiter.py();
    let condition = attribute(waiter, intern!(py, "condition"))?;
    let waiting = line_of(&condition, intern!(py, "_waiting"))?;
    let lock = attribute(&condition, intern!(py, "_lock"))?;
    let deferred = waiter.cast::<Deferred>()?;
    // Whether another one has to be woken, and whether this one was in the line.
    let (found, _) = behind(&waiting, |_| {
        let (called, is_done) = deferred
            .get()
            .chain(py, |chain| (chain.called(), chain.called() && chain.paused() == 0));
        if is_done {
            return Ok((is(waiter, intern!(py, "has_lock"))?, None));
        }
        set_attribute(waiter, intern!(py, "abandoned"), yes(py))?;
        let waits = !called && !is(waiter, intern!(py, "notified"))?;
        if waits {
            Fifo::remove(&waiting, waiter)?;
        }
        Ok((false, Some(waits)))
    });
    let (wakes_another, waited) = found?;
    if wakes_another {
        _notify(&condition, &waiting, &capi::new_int(py, 1)?)?;
    }
    let Some(waited) = waited else { return Ok(true) };
    Ok(waited && acquire_if_free(&lock)?)
}

/// Acquire a lock, unless somebody holds it.
fn acquire_if_free(lock: &Bound<'_, PyAny>) -> Result<bool> {
    let py = lock.py();
    if is(lock, intern!(py, "locked"))? {
        return Ok(false);
    }
    let acquired = lock.call_method0(intern!(py, "acquire"))?;
    let deferred = acquired.cast::<Deferred>()?;
    let has_it = || deferred.get().chain(py, |chain| chain.called());
    if has_it() {
        return Ok(true);
    }
    // Another thread was first. It may hand the lock over before this one has left the line.
    acquired.call_method0(intern!(py, "cancel"))?;
    Ok(deferred.get().chain(py, |chain| {
        chain.mark_handled();
        !matches!(chain.outcome(), Outcome::Failure(_))
    }))
}
