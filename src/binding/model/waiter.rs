//! Waiters: objects in a chain that are not callbacks.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::binding::capi::{Held, Hold, error::Result};
use crate::binding::model::traverse::Traverse;

/// An object that waits in a chain without being a callback.
///
/// An instance of one of our classes that implement `Waits`. It is one word, to keep links small.
pub(crate) struct Waiter(Held<PyAny>);

/// The link number that means: fire this Deferred with the outcome.
pub(crate) const FIRE: u32 = u32::MAX;

impl Waiter {
    /// Wait with this object.
    #[inline]
    pub(crate) fn new<T>(waiter: &Bound<'_, T>) -> Self {
        Self(waiter.as_any().clone().hold())
    }

    /// The object that waits.
    #[inline(always)]
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.bind(py)
    }

    /// Convert into the object.
    #[inline(always)]
    pub(crate) fn into_object(self, py: Python<'_>) -> Bound<'_, PyAny> {
        self.0.into_bound(py)
    }
}

impl Traverse for Waiter {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.traverse(visit)
    }
}
