//! Helpers for outcomes and links of Python objects.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::binding::capi::{self, error::Result};
use crate::binding::model::callback::Callback;
pub(crate) use crate::binding::model::deferred::{Chain, Link, Links, Outcome};
use crate::binding::model::traverse::Traverse;
use crate::core::{Boxed, NoMemory};

/// A new reference to the same outcome.
#[inline]
pub(crate) fn share(py: Python<'_>, outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Empty => Outcome::Empty,
        Outcome::Taken => Outcome::Taken,
        Outcome::Value(value) => Outcome::Value(value.clone_ref(py)),
        Outcome::Failure(failure) => Outcome::Failure(failure.clone_ref(py)),
        Outcome::Deferred(deferred) => Outcome::Deferred(deferred.clone_ref(py)),
    }
}

/// Whether dropping an outcome frees no object that can run code as it dies.
#[inline(always)]
pub(crate) fn frees_nothing(py: Python<'_>, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Empty | Outcome::Taken => true,
        Outcome::Value(object) => capi::is_leaf(object.bind(py)) || object.is_shared(py),
        Outcome::Failure(failure) => failure.is_shared(py),
        Outcome::Deferred(other) => other.is_shared(py),
    }
}

/// Convert an outcome to the object that a callback gets. An outcome that was taken becomes `None`.
#[inline]
pub(crate) fn into_object(py: Python<'_>, outcome: Outcome) -> Bound<'_, PyAny> {
    match outcome {
        Outcome::Empty | Outcome::Taken => py.None().into_bound(py),
        Outcome::Value(object) | Outcome::Failure(object) => object.into_bound(py),
        Outcome::Deferred(deferred) => deferred.into_bound(py).into_any(),
    }
}

/// Convert the result of a transition that had to store something. What it had no memory for is
/// dropped here, after the transition.
#[inline(always)]
pub(crate) fn or_no_memory<T, L>(py: Python<'_>, kept: Result<T, NoMemory<L>>) -> Result<T> {
    kept.map_err(|NoMemory(refused)| {
        drop(refused);
        capi::no_memory(py)
    })
}

/// A link with a callback and an errback.
pub(crate) fn link_of_both(py: Python<'_>, pair: (Callback, Callback)) -> Result<Link> {
    Ok(Link::Both(or_no_memory(py, Boxed::new(pair))?))
}

impl Traverse for Outcome {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Outcome::Empty | Outcome::Taken => Ok(()),
            Outcome::Value(object) | Outcome::Failure(object) => object.traverse(visit),
            Outcome::Deferred(deferred) => deferred.traverse(visit),
        }
    }
}

impl Traverse for Link {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Link::OnValue(callback) | Link::OnFailure(callback) | Link::Either(callback) => {
                callback.traverse(visit)
            }
            Link::Both(pair) => {
                pair.0.traverse(visit)?;
                pair.1.traverse(visit)
            }
            Link::Continue(deferred) => deferred.traverse(visit),
            Link::Deliver(waiter, _) => waiter.traverse(visit),
        }
    }
}

impl Traverse for Chain {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.outcome().traverse(visit)?;
        for link in self.links().iter() {
            link.traverse(visit)?;
        }
        if let Some(canceller) = self.canceller() {
            canceller.traverse(visit)?;
        }
        if let Some(other) = self.chained_to() {
            other.traverse(visit)?;
        }
        self.flag().other().map_or(Ok(()), |other| visit.call(other.as_unbound()))
    }
}
