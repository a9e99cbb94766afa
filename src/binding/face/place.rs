//! Lines of waiting Deferreds, for `deferrous.concurrency`.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    again::insist,
    depth,
    error::{Error, Result},
    interned::intern,
    owed::call_method_surely,
    stack,
};
use crate::binding::model::{
    deferred::Deferred,
    fifo::{Fifo, exact_index},
    outcome::Chain,
    place::{Place, new_place},
    traverse::Traverse,
};
use crate::binding::run::engine;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::turns;
use crate::binding::waits::{
    firing::{fire_one, make},
    handing_over::leave,
    lock_run::is_refusal,
    nesting::hand_over,
    work::Work,
};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Place {
    /// The owner of the line, or None.
    #[getter(owner)]
    fn get_owner<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        slf.get().owner(slf.py())
    }

    /// Set by the owner.
    #[getter(what)]
    fn get_what<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        slf.get().what(slf.py())
    }

    /// Remove a cancelled Deferred from the line.
    fn __call__<'py>(slf: &Bound<'py, Self>, deferred: &Bound<'py, PyAny>) -> Result<()> {
        stack::check(slf.py())?;
        leave(slf, deferred)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(state) = self.state.during_gc() else { return Ok(()) };
        state.line.traverse(visit)?;
        state.owner.traverse(visit)?;
        state.what.traverse(visit)
    }
}

/// Make a Deferred that waits at the end of a line. `owner` and `what` are for its `_Place`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _wait_in<'py>(
    line: &Bound<'py, Fifo>,
    owner: Option<Bound<'py, PyAny>>,
    what: Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let py = line.py();
    let place = new_place(line, owner, what)?.into_any();
    let deferred = make(py, || Chain::new(Some(place.hold())))?;
    line.get().push_back(deferred.as_any().clone())?;
    Ok(deferred)
}

/// Whether a program has fired a waiting Deferred itself.
pub(crate) fn is_fired(waiting: &Bound<'_, PyAny>) -> Result<bool> {
    if let Some(deferred) = capi::as_exact::<Deferred>(waiting) {
        return Ok(deferred.get().chain(waiting.py(), |chain| chain.called()));
    }
    Ok(stack::truth(&waiting.getattr(intern!(waiting.py(), "called"))?)?)
}

/// Undo an acquisition after a callback could not be added to its Deferred: release, or give up the
/// place in line. Returns the error.
pub(crate) fn let_go<'py>(
    acquired: &Bound<'py, PyAny>,
    error: Error,
    release: impl FnOnce() -> Result<()>,
) -> Error {
    let py = acquired.py();
    if is_refusal(py, &error) {
        depth::with_more(py, || {
            let done = match capi::ok(py, is_fired(acquired)) {
                Some(true) => release(),
                _ => call_method_surely(acquired, intern!(py, "cancel")).map(drop),
            };
            let _ = capi::ok(py, done);
        });
    }
    error
}

/// Remove the first Deferred that still waits, and return it, or None.
pub(crate) fn first_waiting<'py>(line: &Bound<'py, Fifo>) -> Result<Option<Bound<'py, PyAny>>> {
    while let Some(first) = line.get().pop_front(line.py())? {
        if !is_fired(&first)? {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

/// What the first Deferred that still waits asks for. It stays in the line.
pub(crate) fn next_in<'py>(line: &Bound<'py, Fifo>) -> Result<Option<Bound<'py, PyAny>>> {
    let py = line.py();
    while let Some(first) = Fifo::get(line, 0) {
        if is_fired(&first)? {
            line.get().pop_front(py)?;
            continue;
        }
        let place = match capi::as_exact::<Deferred>(&first) {
            Some(deferred) => {
                deferred.get().chain(py, |chain| chain.canceller().map(|it| it.bind(py).clone()))
            }
            None => Some(first.getattr(intern!(py, "_canceller"))?),
        };
        // `concurrency.cancel` replaces the canceller for a moment.
        if let Some(place) = place.and_then(|place| place.cast_into::<Place>().ok()) {
            return Ok(place.get().what(py));
        }
        return Ok(Some(first.getattr(intern!(py, "_canceller"))?.getattr(intern!(py, "what"))?));
    }
    Ok(None)
}

/// Fire the first Deferred that still waits in a line. Returns whether there was one.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _give_first<'py>(line: &Bound<'py, Fifo>, result: Bound<'py, PyAny>) -> Result<bool> {
    // In one step, as the first may give up in another thread.
    #[cfg(Py_GIL_DISABLED)]
    if let Some(work) = turns::give_first(line, &result)? {
        if let Some(work) = work {
            hand_over(line.py(), work, engine::run_within)?;
        }
        return Ok(true);
    }
    match first_waiting(line)? {
        None => Ok(false),
        Some(first) => fire_waiting(first, result).map(|()| true),
    }
}

/// Fire a Deferred that was waiting in a line.
pub(crate) fn fire_waiting<'py>(
    waiting: Bound<'py, PyAny>,
    result: Bound<'py, PyAny>,
) -> Result<()> {
    let py = waiting.py();
    match fire_one(waiting, result)? {
        Some(work) => hand_over(py, work, engine::run_within),
        None => Ok(()),
    }
}

/// Fire a Deferred with a result, as a lock or queue does. If too many hand-overs are nested, its
/// callbacks run a little later. In any case it has its result when this returns, so that it cannot be
/// cancelled any more.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _hand_over<'py>(
    deferred: Bound<'py, PyAny>,
    result: Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferred.py();
    let work = match fire_one(deferred, result)? {
        // If the result cannot be classified, whoever fires the first Deferred with it gets the error.
        Some(Work::RunAndRaise(fired, _)) => fired.map(Work::Run),
        work => work,
    };
    match work {
        Some(work) => hand_over(py, work, engine::run_within),
        None => Ok(()),
    }
}

/// Add to the `_value` of an owner, and hand it on to the waiters in its line as far as it goes:
/// each takes what it asks for. Either all of this happens, or nothing. If it were written in
/// Python, an exception in the middle, for instance at the recursion limit, could leave a waiter
/// without the amount, and nobody would have it.
/// has.
///
/// # Errors
///
/// The error that `bound` makes, if the value would exceed its limit.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (owner, line, number, bound=None))]
pub(crate) fn _give_back<'py>(
    owner: &Bound<'py, PyAny>,
    line: &Bound<'py, Fifo>,
    number: &Bound<'py, PyAny>,
    bound: Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
) -> Result<()> {
    let py = line.py();
    stack::check(py)?;
    let value = owner.getattr(intern!(py, "_value"))?;
    let free = insist(py, || Ok(value.add(number)?))?;
    if let Some((most, error)) = bound
        && free.gt(most)?
    {
        return Err(PyErr::from_value(error.call0()?).into());
    }
    serve(owner, line, free)
}

/// The `_left` of an owner with a `_value`: whoever has left the line may have kept others waiting.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _serve_rest<'py>(
    place: &Bound<'py, Place>,
    _deferred: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = place.py();
    match (place.get().owner(py), place.get().line(py)) {
        (Some(owner), Some(line)) => serve(&owner, &line, owner.getattr(intern!(py, "_value"))?),
        _ => Ok(()),
    }
}

/// Whether a number is at most another. For ints this calls no Python code, which could fail at the
/// recursion limit.
fn is_no_more(number: &Bound<'_, PyAny>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
    match (exact_index(number), exact_index(other)) {
        (Some(number), Some(other)) => Ok(number <= other),
        _ => number.le(other),
    }
}

/// The free amount after the next waiter in a line has taken its share. None if the waiter asks for
/// more, or nobody waits.
fn rest_after_next<'py>(
    line: &Bound<'py, Fifo>,
    free: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    match next_in(line)? {
        Some(asked) if is_no_more(&asked, free)? => {
            insist(line.py(), || Ok(free.sub(&asked)?)).map(Some)
        }
        _ => Ok(None),
    }
}

/// Hand the free amount on to the waiters in a line, as far as it goes. The rest becomes the
/// owner's `_value`.
fn serve<'py>(
    owner: &Bound<'py, PyAny>,
    line: &Bound<'py, Fifo>,
    mut free: Bound<'py, PyAny>,
) -> Result<()> {
    let py = line.py();
    let (value, mut raised) = (intern!(py, "_value"), Ok(()));
    loop {
        match rest_after_next(line, &free) {
            Ok(Some(rest)) => owner.setattr(value, rest)?,
            Ok(None) => break,
            Err(error) => {
                // The next waiter waits until more is released. The free amount must not be lost.
                raised = Err(error);
                break;
            }
        }
        // Its callbacks may acquire and release.
        if let Err(error) = _give_first(line, capi::yes(py)) {
            raised = Err(error);
        }
        free = owner.getattr(value)?;
    }
    owner.setattr(value, free)?;
    raised
}
