//! Decides whether an object is a value, a failure or a Deferred.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyAttributeError, PyException, PyMemoryError, PyRecursionError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::binding::capi::{
    self, Hold,
    error::{Error, Raised, Result},
    interned::intern,
    stack::Nested,
};
use crate::binding::judge::{
    creating, foreign,
    ordinary::{is_known_ordinary, is_ordinary},
};
use crate::binding::model::{
    deferred::{self, Deferred},
    names,
    outcome::Outcome,
};

/// Classify an object as an outcome. If its `__class__` raises an exception, it is a value, so that
/// it is not lost.
///
/// # Errors
///
/// What `__class__` raises, if that is not an `Exception`, such as `KeyboardInterrupt`.
pub(crate) fn classify(object: &Bound<'_, PyAny>) -> Result<Outcome> {
    look_at(object).or_else(|error| {
        unless_interrupted(object.py(), error, || Outcome::Value(object.clone().hold()))
    })
}

/// What to use instead of an object whose `__class__` has raised an exception. Some errors are
/// returned nevertheless: those that are not an `Exception`, such as `KeyboardInterrupt`, and those
/// about stack or memory, because the object may exhaust them again each time it is asked.
pub(crate) fn unless_interrupted<T>(
    py: Python<'_>,
    error: Error,
    instead: impl FnOnce() -> T,
) -> Result<T> {
    let goes_up = !error.is_instance_of::<PyException>(py)
        || error.is_instance_of::<PyRecursionError>(py)
        || error.is_instance_of::<PyMemoryError>(py);
    if goes_up { Err(error) } else { Ok(instead()) }
}

/// Classify an object that a Deferred is fired with. If its `__class__` raises, it is a value, and
/// the error is returned as well.
pub(crate) fn classify_asking(object: Bound<'_, PyAny>) -> (Outcome, Option<Error>) {
    match look_at(&object) {
        Ok(outcome) => (outcome, None),
        Err(error) => (Outcome::Value(object.hold()), Some(error)),
    }
}

#[inline]
fn look_at(object: &Bound<'_, PyAny>) -> Result<Outcome> {
    if is_known_ordinary(object) {
        return Ok(Outcome::Value(object.clone().hold()));
    }
    if let Some(deferred) = capi::as_exact::<Deferred>(object) {
        return Ok(Outcome::Deferred(deferred.clone().hold()));
    }
    if is_ordinary(object) {
        Ok(Outcome::Value(object.clone().hold()))
    } else if let Some(deferred) = as_deferred(object) {
        Ok(Outcome::Deferred(deferred.clone().hold()))
    } else if creating::is_failure(object)? {
        Ok(Outcome::Failure(object.clone().hold()))
    } else if let Some(failure) = foreign::adopt_failure(object)? {
        Ok(Outcome::Failure(failure.hold()))
    } else {
        Ok(Outcome::Value(object.clone().hold()))
    }
}

/// The `__class__` of an object, if that may differ from its type.
///
/// # Errors
///
/// What `__class__` raises, to be passed to [`unless_interrupted`].
pub(crate) fn claimed_class<'py>(object: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyType>>> {
    if is_ordinary(object) {
        return Ok(None);
    }
    let py = object.py();
    let _nested = Nested::enter(py)?;
    match object.getattr(intern!(py, "__class__")) {
        Ok(class) => Ok(class.cast_into().ok()),
        Err(error) => {
            let error = Error::from(error);
            if error.is_instance_of::<PyAttributeError>(py) { Ok(None) } else { Err(error) }
        }
    }
}

/// Classify an object that is not a Deferred, with its `__class__` known.
///
/// # Errors
///
/// If `Failure` cannot be looked up, or a Failure of Twisted's cannot be converted.
pub(crate) fn classify_as(
    object: &Bound<'_, PyAny>,
    claimed: Option<&Bound<'_, PyType>>,
) -> Result<Outcome> {
    let class = names::failure_class(object.py())?;
    if capi::is_subtype(&object.get_type(), class)
        || claimed.is_some_and(|claimed| capi::is_subtype(claimed, class))
    {
        return Ok(Outcome::Failure(object.clone().hold()));
    }
    Ok(match foreign::adopt_failure(object)? {
        Some(failure) => Outcome::Failure(failure.hold()),
        None => Outcome::Value(object.clone().hold()),
    })
}

/// Classify what a callback has returned. A Deferred of Twisted's is converted, so that it is
/// waited for.
///
/// # Errors
///
/// As [`classify`].
#[inline]
pub(crate) fn classify_returned(object: &Bound<'_, PyAny>) -> Result<Outcome> {
    if !capi::is_exact::<Deferred>(object)
        && !is_ordinary(object)
        && let Some(deferred) = foreign::adopt(object)?
    {
        return Ok(Outcome::Deferred(deferred.hold()));
    }
    classify(object)
}

/// The object as a Deferred, if it is an instance of a class that `_DEFERRED_SUBCLASSES` lists at
/// this moment.
#[inline]
pub(crate) fn as_deferred<'a, 'py>(
    object: &'a Bound<'py, PyAny>,
) -> Option<&'a Bound<'py, Deferred>> {
    match capi::as_exact::<Deferred>(object) {
        Some(deferred) => Some(deferred),
        None => object.cast::<Deferred>().ok().filter(|deferred| {
            capi::ok(deferred.py(), is_listed(&deferred.get_type())) == Some(true)
        }),
    }
}

/// Where classes were last found in the list, by their addresses. Each look at a place checks what
/// is there now, so that it need not be up to date.
static PLACES: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];

/// Whether `_DEFERRED_SUBCLASSES` lists a class.
///
/// Programs may have many, and each is asked about whenever one of its objects is a result. So the
/// list is not searched each time.
fn is_listed(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let list = deferred::subclasses(class.py())?;
    // Type objects are larger than this.
    let place = &PLACES[(class.as_ptr() as usize >> 9) % PLACES.len()];
    let known = place.load(Ordering::Relaxed);
    if known < list.len() && list.get_item(known).is_ok_and(|there| there.is(class)) {
        return Ok(true);
    }
    if !list.contains(class)? {
        return Ok(false);
    }
    if let Some(found) = list.iter().position(|there| there.is(class)) {
        place.store(found, Ordering::Relaxed);
    }
    Ok(true)
}

/// Convert an exception that was raised into a failure.
///
/// # Errors
///
/// If memory has run out, or a program has replaced `Failure.__init__` by something that raises.
pub(crate) fn failure_of(raised: Raised<'_>, capture_vars: bool) -> Result<Outcome> {
    Ok(Outcome::Failure(creating::from_raised(raised, capture_vars)?.hold()))
}
