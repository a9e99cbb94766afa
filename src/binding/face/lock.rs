//! `DeferredLock`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{self, error::Result, stack};
use crate::binding::model::primitive::{DeferredLock, Primitive};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl DeferredLock {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        Self::unlocked()
    }

    /// Whether the lock is held.
    #[getter]
    pub(crate) fn locked(slf: &Bound<'_, Self>) -> bool {
        slf.as_super().get().with(slf.py(), |state| state.locked)
    }

    #[setter]
    fn set_locked(slf: &Bound<'_, Self>, locked: &Bound<'_, PyAny>) -> PyResult<()> {
        let locked = stack::truth(locked)?;
        slf.as_super().get().with(slf.py(), |state| state.locked = locked);
        Ok(())
    }

    #[deleter]
    fn delete_locked(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }
}

impl DeferredLock {
    /// A new one.
    pub(crate) fn unlocked() -> PyClassInitializer<Self> {
        PyClassInitializer::from(Primitive::new_state()).add_subclass(Self)
    }
}
