//! Support for the garbage collector.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;

use crate::binding::capi::{Held, error::Result};

/// Implemented by types that hold references, which the garbage collector has to visit.
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
