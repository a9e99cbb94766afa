//! Steps of events, barriers and conditions.

use pyo3::prelude::*;

use super::behind::{is, line, number};
use crate::binding::capi::{self, Hold, error::Result, interned::intern, yes};
use crate::binding::face::behind::{behind, take_all};
use crate::binding::face::events::_notify;
use crate::binding::face::waiting::{attribute, fire_each, set_attribute};
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
    // Another thread was first. It may hand the lock over before this has left the line.
    acquired.call_method0(intern!(py, "cancel"))?;
    Ok(deferred.get().chain(py, |chain| {
        chain.mark_handled();
        !matches!(chain.outcome(), Outcome::Failure(_))
    }))
}
