//! Events, barriers and conditions.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::behind::{After, Later, behind, is, line, number, put_back, take_all};
use crate::binding::capi::{self, Hold, depth, error::Result, interned::intern, yes};
use crate::binding::face::events::{end_without_lock, is_as_many, reacquire};
use crate::binding::face::place::fire_each;
use crate::binding::face::steps::cancelled_for;
use crate::binding::face::waiting::{attribute, fail_each, failure_of, set_attribute};
use crate::binding::model::{
    deferred::Deferred,
    fifo::Fifo,
    outcome::{Chain, Outcome},
    place::new_place,
};
use crate::binding::waits::{firing::make, made};

/// A Deferred that is to wait in a line, and does not yet.
pub(super) fn new_waiting<'py>(
    line: &Bound<'py, Fifo>,
    owner: Option<Bound<'py, PyAny>>,
    what: Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let place = new_place(line, owner, what)?.into_any();
    make(line.py(), || Chain::new(Some(place.hold())))
}

/// `Event.wait`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _event_wait<'py>(event: &Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = event.py();
    let is_set = intern!(py, "_is_set");
    if !is(event, is_set)? {
        let waiting = line(event, intern!(py, "_waiting"))?;
        let deferred = new_waiting(&waiting, None, event.clone())?;
        let (waits, _) = behind(&waiting, |_| {
            if is(event, is_set)? {
                return Ok(false);
            }
            waiting.get().push_back(deferred.as_any().clone()).map(|()| true)
        });
        if waits? {
            return Ok(deferred);
        }
    }
    made::of_result(yes(py))
}

/// `Event.set`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _event_set<'py>(event: &Bound<'py, PyAny>) -> Result<()> {
    let py = event.py();
    let waiting = line(event, intern!(py, "_waiting"))?;
    if waiting.get().len(py) > 0 {
        depth::check_ahead(py)?;
    }
    let all = Fifo::empty(py)?;
    let (all, _) = behind(&waiting, |_| {
        set_attribute(event, intern!(py, "_is_set"), yes(py))?;
        Ok(take_all(&waiting, all))
    });
    fire_each(&all?, |_| Ok(yes(py)))
}

/// `Barrier.wait`. It fails with an error of this class and text if it is broken.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _barrier_wait<'py>(
    barrier: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
    text: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    enum Found<'py> {
        Broken,
        Waits,
        Last(Bound<'py, Fifo>),
    }
    let py = barrier.py();
    let waiting = line(barrier, intern!(py, "_waiting"))?;
    let parties = number(barrier, intern!(py, "_parties"))?;
    let deferred = new_waiting(&waiting, None, barrier.clone())?;
    // First, as it may be refused: it has the highest number.
    let last = made::of_result(capi::new_int(py, (parties - 1) as u64)?.into_any())?;
    let all = Fifo::empty(py)?;
    let (found, _) = behind(&waiting, |_| {
        if is(barrier, intern!(py, "_broken"))? {
            return Ok(Found::Broken);
        }
        if waiting.get().len(py) as i64 + 1 == parties {
            return Ok(Found::Last(take_all(&waiting, all)));
        }
        waiting.get().push_back(deferred.as_any().clone())?;
        Ok(Found::Waits)
    });
    Ok(match found? {
        Found::Broken => made::of_failure(py, Some(error.call1((text,))?))?,
        Found::Waits => deferred,
        Found::Last(all) => {
            fire_each(&all, |number| capi::new_int(py, number).map(Bound::into_any))?;
            last
        }
    })
}

/// What `Barrier.reset` and `abort` do: break it, for good or not. All that wait fail with an error of
/// this class and text.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _barrier_break<'py>(
    barrier: &Bound<'py, PyAny>,
    for_good: bool,
    error: &Bound<'py, PyAny>,
    text: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = barrier.py();
    let waiting = line(barrier, intern!(py, "_waiting"))?;
    let all = Fifo::empty(py)?;
    let (all, _) = behind(&waiting, |_| {
        set_attribute(barrier, intern!(py, "_broken"), capi::new_bool(py, for_good))?;
        Ok(take_all(&waiting, all))
    });
    let all = all?;
    let told = fail_each(&all, |_| error.call1((text,)));
    // Who could not be told stays.
    if told.is_err() {
        put_back(&waiting, &all)?;
    }
    told
}

/// What one that waits for a condition, and is not done, has come to.
enum Woken {
    /// It has the lock, and goes on.
    GoesOn,
    /// Its coroutine has been closed.
    Abandoned,
    /// It has been cancelled, or paused by hand.
    Paused,
    /// It has been fired by hand.
    Fired,
}

/// The callback of the lock that one has acquired that was woken, or was cancelled as it waited.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _condition_acquired_for<'py>(
    _lock: &Bound<'py, PyAny>,
    condition: &Bound<'py, PyAny>,
    woken: Bound<'py, PyAny>,
) -> Result<()> {
    let py = condition.py();
    let waiting = line(condition, intern!(py, "_waiting"))?;
    let deferred = woken.cast::<Deferred>()?;
    let (found, later) = behind(&waiting, |later| {
        if is(&woken, intern!(py, "abandoned"))? {
            return Ok(Woken::Abandoned);
        }
        if deferred.get().chain(py, |chain| chain.paused()) != 0 {
            return Ok(Woken::Paused);
        }
        set_attribute(&woken, intern!(py, "woken"), yes(py))?;
        Ok(if later.fire(woken.clone(), &yes(py)) { Woken::GoesOn } else { Woken::Fired })
    });
    let found = found?;
    let mut done = later.do_it();
    let lock = attribute(condition, intern!(py, "_lock"))?;
    if let Woken::Abandoned | Woken::Paused = found
        && is(&woken, intern!(py, "notified"))?
    {
        // It was closed or cancelled meanwhile.
        done = wake(condition, &waiting, &capi::new_int(py, 1)?);
    }
    if let Woken::Abandoned | Woken::Fired = found {
        // Its coroutine is gone, or somebody has fired it by hand.
        lock.call_method0(intern!(py, "release"))?;
    }
    if let Woken::Paused = found {
        woken.call_method0(intern!(py, "unpause"))?;
    }
    done
}

/// What `Condition.notify` does: wake up to so many.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _condition_wake<'py>(
    condition: &Bound<'py, PyAny>,
    n: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = condition.py();
    let waiting = line(condition, intern!(py, "_waiting"))?;
    if waiting.get().len(py) > 0 {
        depth::check_ahead(py)?;
    }
    wake(condition, &waiting, n)
}

/// Wake up to so many that wait for a condition: each acquires the lock.
fn wake<'py>(
    condition: &Bound<'py, PyAny>,
    waiting: &Bound<'py, Fifo>,
    n: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = condition.py();
    let mut done = Ok(());
    let mut so_many = 0;
    while waiting.get().len(py) > 0 && !is_as_many(so_many, n)? {
        so_many += 1;
        let (first, later) = behind(waiting, |later| {
            while let Some(first) = waiting.get().pop_front(py)? {
                let deferred = first.cast::<Deferred>()?;
                if !deferred.get().chain(py, |chain| chain.called()) {
                    set_attribute(&first, intern!(py, "notified"), yes(py))?;
                    return Ok(Some(first));
                }
                later.drop(first);
            }
            Ok(None)
        });
        drop(later);
        let Some(woken) = first? else { break };
        let Err(error) = reacquire(condition, &woken) else { continue };
        if !error.is_instance_of::<PyException>(py) {
            // As KeyboardInterrupt: it is the caller's. This one waits on.
            let (waits, _) = behind(waiting, |_| {
                set_attribute(&woken, intern!(py, "notified"), capi::new_bool(py, false))?;
                Fifo::insert_at(waiting, 0, woken)
            });
            return waits.and(Err(error));
        }
        done = done.and(end_without_lock(&woken, failure_of(py, error)?));
    }
    done
}

/// The canceller of one that waits for a condition: it fails at once, but nobody sees that before it
/// has the lock.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (condition, woken, reason=None))]
pub(crate) fn _condition_leave<'py>(
    condition: &Bound<'py, PyAny>,
    woken: &Bound<'py, PyAny>,
    reason: Option<Bound<'py, PyAny>>,
) -> Result<()> {
    let py = condition.py();
    depth::check_ahead(py)?;
    let waiting = line(condition, intern!(py, "_waiting"))?;
    let deferred = woken.cast::<Deferred>()?;
    let cancelled = cancelled_for(py, reason.as_ref())?;
    let failure = Outcome::Failure(cancelled.clone().hold());
    let (waited, later) = behind(&waiting, |later: &mut Later<'py>| {
        let fired = deferred.get().chain(py, |chain| {
            if chain.called() {
                return Err(failure);
            }
            chain.pause();
            chain.fire(failure).map_err(|refused| refused.0)
        });
        match fired {
            Ok(fired) => later.push(After::Run(deferred.clone(), fired)),
            // Whoever has fired it has seen to the rest.
            Err(_failure) => return Ok(false),
        }
        if is(woken, intern!(py, "notified"))? {
            return Ok(false);
        }
        Fifo::remove(&waiting, woken)?;
        Ok(true)
    });
    let done = later.do_it();
    if waited? && let Err(error) = reacquire(condition, woken) {
        end_without_lock(woken, cancelled)?;
        return Err(error);
    }
    done
}

/// `_Woken._give_up`: the coroutine of one that waits for a condition is closed. If it was woken,
/// another is woken instead. If not, it gets the lock if that is free, as its block releases it.
/// Returns whether it has got the lock, or had it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _woken_give_up<'py>(woken: &Bound<'py, PyAny>) -> Result<bool> {
    let py = woken.py();
    let condition = attribute(woken, intern!(py, "condition"))?;
    let waiting = line(&condition, intern!(py, "_waiting"))?;
    let lock = attribute(&condition, intern!(py, "_lock"))?;
    let deferred = woken.cast::<Deferred>()?;
    // True if another is to be woken in its place, and whether it stood in the line.
    let (found, _) = behind(&waiting, |_| {
        let (called, is_done) = deferred
            .get()
            .chain(py, |chain| (chain.called(), chain.called() && chain.paused() == 0));
        if is_done {
            return Ok((is(woken, intern!(py, "woken"))?, None));
        }
        set_attribute(woken, intern!(py, "abandoned"), yes(py))?;
        let waits = !called && !is(woken, intern!(py, "notified"))?;
        if waits {
            Fifo::remove(&waiting, woken)?;
        }
        Ok((false, Some(waits)))
    });
    let (wakes_another, waited) = found?;
    if wakes_another {
        wake(&condition, &waiting, &capi::new_int(py, 1)?)?;
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
    // Another thread was first. It may hand the lock over before this has left the line.
    acquired.call_method0(intern!(py, "cancel"))?;
    Ok(deferred.get().chain(py, |chain| {
        chain.mark_handled();
        !matches!(chain.outcome(), Outcome::Failure(_))
    }))
}
