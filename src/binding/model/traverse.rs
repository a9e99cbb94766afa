//! Support for the garbage collector.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;

use crate::binding::capi::{Held, error::Result};
use crate::binding::model::outcome::{Chain, Link, Outcome};

/// Implemented by what holds references that the garbage collector has to visit.
pub(crate) trait Traverse {
    /// Visit each reference.
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError>;
}

impl<T> Traverse for Held<T> {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.as_py())
    }
}

impl<T: Traverse> Traverse for Option<T> {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.as_ref().map_or(Ok(()), |some| some.traverse(visit))
    }
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
