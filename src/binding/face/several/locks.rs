//! Semaphores, locks for reading and writing, and locks by key.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList};

use super::behind::{behind, first_in, line};
use super::events::new_waiting;
use crate::binding::capi::{
    self, Text,
    error::{Raise, Result},
    interned::intern,
    yes,
};
use crate::binding::face::under_way::again_if_interrupted;
use crate::binding::model::{deferred::Deferred, fifo::Fifo, place::Place};
use crate::binding::waits::made;

/// Whether something is a number of Python's own, with which one can reckon behind a gate.
fn is_plain(number: &Bound<'_, PyAny>) -> bool {
    number.is_exact_instance_of::<PyInt>() || number.is_exact_instance_of::<PyFloat>()
}

/// A number of Python's own for one that a program has made.
fn plain<'py>(number: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    if is_plain(number) {
        return Ok(number.clone());
    }
    let py = number.py();
    let kind = if number.hasattr(intern!(py, "__index__"))? {
        py.get_type::<PyInt>()
    } else {
        py.get_type::<PyFloat>()
    };
    Ok(kind.call1((number,))?)
}

/// `_InTurn._take`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _locks_take<'py>(
    owner: &Bound<'py, PyAny>,
    number: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let py = owner.py();
    let number = plain(number)?;
    let value = intern!(py, "_value");
    let waiting = line(owner, intern!(py, "_waiting"))?;
    let taken = made::of_result(yes(py))?;
    let deferred = new_waiting(&waiting, Some(owner.clone()), number.clone())?;
    let (is_taken, _) = behind(&waiting, |_| {
        let free = owner.getattr(value)?;
        if waiting.get().len(py) > 0 || free.lt(&number)? {
            waiting.get().push_back(deferred.as_any().clone())?;
            return Ok(false);
        }
        owner.setattr(value, free.sub(&number)?)?;
        Ok(true)
    });
    Ok(if is_taken? { taken } else { deferred })
}

/// Give so much back, and hand it on.
///
/// Of a lock for reading and writing, who has read gives nothing back where nobody reads.
///
/// # Errors
///
/// What `error` makes, and nothing is done, if that would be more than `most`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (owner, number, most=None, error=None, reads=false))]
pub(crate) fn _locks_give_back<'py>(
    owner: &Bound<'py, PyAny>,
    number: &Bound<'py, PyAny>,
    most: Option<Bound<'py, PyAny>>,
    error: Option<Bound<'py, PyAny>>,
    reads: bool,
) -> Result<()> {
    let py = owner.py();
    let number = plain(number)?;
    let value = intern!(py, "_value");
    let waiting = line(owner, intern!(py, "_waiting"))?;
    let (given, _) = behind(&waiting, |_| {
        let free = owner.getattr(value)?;
        let sum = free.add(&number)?;
        let too_many = most.as_ref().is_some_and(|most| sum.gt(most).unwrap_or(false));
        if too_many || (reads && free.eq(0)?) {
            return Ok(false);
        }
        owner.setattr(value, sum)?;
        Ok(true)
    });
    match error {
        Some(error) if !given? => Err(PyErr::from_value(error.call0()?).into()),
        _ => serve(owner, &waiting),
    }
}

/// Hand on what is free to those that wait in a line, one by one, as far as it goes.
fn serve<'py>(owner: &Bound<'py, PyAny>, waiting: &Bound<'py, Fifo>) -> Result<()> {
    let py = owner.py();
    let value = intern!(py, "_value");
    let mut done = Ok(());
    loop {
        let (served, later) = behind(waiting, |later| {
            let Some((_, asked)) = first_in(waiting, later)? else { return Ok(false) };
            let free = owner.getattr(value)?;
            if free.lt(&asked)? || !later.give(waiting, &yes(py))? {
                return Ok(false);
            }
            owner.setattr(value, free.sub(asked)?)?;
            Ok(true)
        });
        // Its callbacks may acquire and release.
        done = done.and(later.do_it());
        if !served? {
            return done;
        }
    }
}

/// The `_left` of those that have a `_value`: who has left the line may have kept others waiting.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _locks_left<'py>(
    place: &Bound<'py, Place>,
    _deferred: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = place.py();
    match (place.get().owner(py), place.get().line(py)) {
        (Some(owner), Some(waiting)) => serve(&owner, &waiting),
        _ => Ok(()),
    }
}

/// `Semaphore.locked`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _semaphore_locked<'py>(owner: &Bound<'py, PyAny>) -> Result<bool> {
    let py = owner.py();
    let waiting = line(owner, intern!(py, "_waiting"))?;
    let (locked, _) = behind(&waiting, |_| {
        Ok(owner.getattr(intern!(py, "_value"))?.eq(0)? || waiting.get().len(py) > 0)
    });
    locked
}

/// Who holds a key, as how many, and who waits for it.
type Holders<'py> = (Bound<'py, PyList>, Bound<'py, Fifo>);

fn keys_of<'py>(lock: &Bound<'py, PyAny>) -> Result<Bound<'py, PyDict>> {
    Ok(lock.getattr(intern!(lock.py(), "_keys"))?.cast_into::<PyDict>()?)
}

/// `KeyedLock._acquire`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _keyed_acquire<'py>(
    lock: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let py = lock.py();
    let keys = keys_of(lock)?;
    let limit: i64 = lock.getattr(intern!(py, "_limit"))?.extract()?;
    let gate = line(lock, intern!(py, "_turn"))?;
    let acquired = made::of_result(yes(py))?;
    let new: Holders<'py> = (capi::new_list(py)?, Fifo::empty(py)?);
    new.0.append(1)?;
    gate.get().share_gate(new.1.get());
    let new = new.into_pyobject(py)?;
    loop {
        // Who will wait knows in which line.
        let waiting = match keys.get_item(key)? {
            Some(holders) => holders.extract::<Holders<'py>>()?.1,
            None => new.get_item(1)?.cast_into::<Fifo>()?,
        };
        let deferred = new_waiting(&waiting, Some(lock.clone()), key.clone())?;
        let (is_acquired, _) = behind(&gate, |_| {
            let Some(holders) = keys.get_item(key)? else {
                keys.set_item(key, &new)?;
                return Ok(Some(true));
            };
            let (held, now) = holders.extract::<Holders<'py>>()?;
            let many: i64 = held.get_item(0)?.extract()?;
            if many < limit {
                held.set_item(0, many + 1)?;
                return Ok(Some(true));
            }
            if !now.is(&waiting) {
                return Ok(None);
            }
            waiting.get().push_back(deferred.as_any().clone())?;
            Ok(Some(false))
        });
        match is_acquired? {
            Some(true) => return Ok(acquired),
            Some(false) => return Ok(deferred),
            None => {}
        }
    }
}

/// `KeyedLock._release`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _keyed_release<'py>(lock: &Bound<'py, PyAny>, key: &Bound<'py, PyAny>) -> Result<()> {
    let py = lock.py();
    let keys = keys_of(lock)?;
    let gate = line(lock, intern!(py, "_turn"))?;
    let mut interrupted = Ok(());
    let (released, later) = behind(&gate, |later| {
        let holders = again_if_interrupted(py, &mut interrupted, || keys.get_item(key))?;
        let Some(holders) = holders else { return Ok(false) };
        let (held, waiting) = holders.extract::<Holders<'py>>()?;
        // What is taken out of the dict may be the last that holds the key.
        later.drop(holders);
        if later.give(&waiting, &yes(py))? {
            return Ok(true);
        }
        let many: i64 = held.get_item(0)?.extract()?;
        if many > 1 {
            held.set_item(0, many - 1)?;
        } else {
            again_if_interrupted(py, &mut interrupted, || keys.del_item(key))?;
        }
        Ok(true)
    });
    let done = later.do_it();
    if !released? {
        let text = [Text::Ours("nobody holds "), Text::Python(key.repr()?)];
        return Err(PyRuntimeError::error_saying(capi::joined(py, text)));
    }
    done.and(interrupted)
}
