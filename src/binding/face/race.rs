//! `race`.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyOverflowError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    cell::Shared,
    error::{Raise, Result},
    interned::intern,
    overrides::overrides,
    stack::Nested,
};
use crate::binding::face::list::{all_of, places_fit};
use crate::binding::judge::classify::{as_deferred, classify};
use crate::binding::model::{
    deferred::Deferred,
    outcome::{Chain, Link},
    race::{Race, RaceState},
    traverse::Traverse,
    waiter::Waiter,
};
use crate::binding::run::engine;
use crate::binding::waits::{firing::make, race::one_of, work::Work};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Race {
    /// Called as the canceller of its Deferred, or as a callback of a Deferred that insists on one.
    #[pyo3(signature = (result, place=None))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
        place: Option<usize>,
    ) -> Result<()> {
        let work = match place {
            None => Work::CancelRace(slf.clone()),
            Some(place) => Work::Race(slf.clone(), place, classify(&result)?),
        };
        engine::run(slf.py(), work)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.during_gc();
        for deferred in &state.deferreds {
            deferred.traverse(visit)?;
        }
        for (_, failure) in &state.failures {
            failure.traverse(visit)?;
        }
        if let Some((_, output)) = &state.winner {
            output.traverse(visit)?;
        }
        state.result.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let state = slf.get().with(slf.py(), std::mem::take);
        drop(state);
    }
}

/// Wait for the first of several Deferreds to succeed, and cancel the others.
///
/// Arguments:
///
/// - `ds`: an iterable of Deferreds.
///
/// Returns a Deferred for the first result, as a pair `(index, result)`. If all fail, it fails
/// with a FailureGroup. If there are none, it never fires.
///
/// Errors:
///
/// - TypeError: `ds` is not iterable, or is a single Deferred.
/// - AttributeError: an item is not a Deferred.
///
/// Cancelling the Deferred cancels all the given ones.
///
/// Differs from Twisted: takes any iterable, not only sequences.
///
/// ```python
/// from deferrous import Deferred, race
///
/// slow, fast = Deferred(), Deferred()
/// race([slow, fast]).addCallback(print)
/// fast.callback("here")
/// ```
///
/// This prints `(1, 'here')`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn race<'py>(ds: &Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = ds.py();
    let _nested = Nested::enter(py)?;
    let deferreds = all_of(ds)?;
    let count = deferreds.len();
    if !places_fit(count) {
        return Err(PyOverflowError::error(py, "too many Deferreds in one race"));
    }
    let mut held = Vec::new();
    for deferred in deferreds.iter() {
        capi::push(py, &mut held, deferred.hold())?;
    }
    drop(deferreds);
    let result = make(py, Chain::default)?;
    let state =
        RaceState { deferreds: held, result: Some(result.clone().hold()), ..RaceState::default() };
    let race = Bound::new(py, Race { state: Shared::new(state) })?;
    let canceller = race.as_any().clone().hold();
    let before = result.get().chain(py, |chain| chain.replace_canceller(Some(canceller)));
    drop(before);
    for place in 0..count {
        let Some(deferred) = one_of(&race, place) else { break };
        let add_callbacks = intern!(py, "addCallbacks");
        match as_deferred(&deferred) {
            Some(deferred) if !overrides::<Deferred>(deferred, add_callbacks) => {
                // `places_fit` has checked the count.
                engine::add(deferred, Link::Deliver(Waiter::new(&race), place as u32))?;
            }
            _ => {
                let named = capi::new_dict(py)?;
                let place = capi::new_tuple(py, [capi::new_int(py, place as u64)?])?;
                named.set_item(intern!(py, "callbackArgs"), &place)?;
                named.set_item(intern!(py, "errbackArgs"), &place)?;
                deferred.call_method(add_callbacks, (&race, &race), Some(&named))?;
            }
        }
    }
    Ok(result)
}
