//! Steps of semaphores, and of locks for reading and writing.

use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::events::new_waiting;
use super::shared::{first_in, line};
use crate::binding::capi::{error::Result, interned::intern, yes};
use crate::binding::face::behind::behind;
use crate::binding::face::waiting::{attribute, set_attribute};
use crate::binding::model::{deferred::Deferred, fifo::Fifo, place::Place};
use crate::binding::waits::made;

/// Whether a number is exactly an int or a float: then arithmetic runs no code of the program.
fn is_plain(number: &Bound<'_, PyAny>) -> bool {
    number.is_exact_instance_of::<PyInt>() || number.is_exact_instance_of::<PyFloat>()
}

/// An exact int or float for any number.
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
        let free = attribute(owner, value)?;
        if waiting.get().len(py) > 0 || free.lt(&number)? {
            waiting.get().push_back(deferred.as_any().clone())?;
            return Ok(false);
        }
        set_attribute(owner, value, free.sub(&number)?)?;
        Ok(true)
    });
    Ok(if is_taken? { taken } else { deferred })
}

/// Add to the free amount, and hand it on to the waiters.
///
/// With `reads`, nothing happens if nobody holds the lock.
///
/// # Errors
///
/// What `error` makes, if the sum would exceed `most`. Then nothing is changed.
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
        let free = attribute(owner, value)?;
        let sum = free.add(&number)?;
        let too_many = most.as_ref().is_some_and(|most| sum.gt(most).unwrap_or(false));
        if too_many || (reads && free.eq(0)?) {
            return Ok(false);
        }
        set_attribute(owner, value, sum)?;
        Ok(true)
    });
    match error {
        Some(error) if !given? => Err(PyErr::from_value(error.call0()?).into()),
        _ => serve(owner, &waiting),
    }
}

/// Hand the free amount on to the waiters in a line, one by one, as far as it goes.
fn serve<'py>(owner: &Bound<'py, PyAny>, waiting: &Bound<'py, Fifo>) -> Result<()> {
    let py = owner.py();
    let value = intern!(py, "_value");
    let mut done = Ok(());
    loop {
        let (served, later) = behind(waiting, |later| {
            let Some((_, asked)) = first_in(waiting, later)? else { return Ok(false) };
            let free = attribute(owner, value)?;
            if free.lt(&asked)? || !later.give(waiting, &yes(py))? {
                return Ok(false);
            }
            set_attribute(owner, value, free.sub(asked)?)?;
            Ok(true)
        });
        // Its callbacks may acquire and release.
        done = done.and(later.do_it());
        if !served? {
            return done;
        }
    }
}

/// The `_left` of an owner with a `_value`: whoever has left the line may have kept others waiting.
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
        Ok(attribute(owner, intern!(py, "_value"))?.eq(0)? || waiting.get().len(py) > 0)
    });
    locked
}
