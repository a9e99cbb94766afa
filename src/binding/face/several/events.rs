//! Steps of events, barriers and conditions.

use pyo3::prelude::*;

use super::shared::{is, line, number};
use crate::binding::capi::{self, Hold, error::Result, interned::intern, yes};
use crate::binding::face::behind::{behind, take_all};
use crate::binding::face::waiting::fire_each;
use crate::binding::model::{deferred::Deferred, fifo::Fifo, outcome::Chain, place::new_place};
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
