//! `DeferredLock`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::error::Result;
use crate::binding::model::primitive::{DeferredLock, Primitive};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl DeferredLock {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Result<PyClassInitializer<Self>> {
        Self::unlocked(py)
    }
}

impl DeferredLock {
    /// Make one.
    pub(crate) fn unlocked(py: Python<'_>) -> Result<PyClassInitializer<Self>> {
        Ok(PyClassInitializer::from(Primitive::new_state(py, None)?).add_subclass(Self))
    }
}
