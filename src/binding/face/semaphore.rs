//! `DeferredSemaphore`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{
    self,
    cell::Shared,
    error::{Raise, Result},
    stack,
};
use crate::binding::face::primitive::forget_waiting;
use crate::binding::model::primitive::{DeferredSemaphore, Primitive, PrimitiveState};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl DeferredSemaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(tokens)")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Primitive::new_state()).add_subclass(Self)
    }

    fn __init__(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = stack::number)] tokens: i64,
    ) -> Result<()> {
        forget_waiting(slf.as_super());
        if tokens < 1 {
            return Err(PyValueError::error(slf.py(), "DeferredSemaphore requires tokens >= 1"));
        }
        slf.as_super().get().with(slf.py(), |state| {
            state.tokens = tokens;
            state.limit = tokens;
        });
        Ok(())
    }

    /// How many tokens are left: how many more can acquire this.
    #[getter]
    pub(crate) fn tokens(slf: &Bound<'_, Self>) -> i64 {
        slf.as_super().get().with(slf.py(), |state| state.tokens)
    }

    #[setter]
    fn set_tokens(slf: &Bound<'_, Self>, #[pyo3(from_py_with = stack::number)] tokens: i64) {
        slf.as_super().get().with(slf.py(), |state| state.tokens = tokens);
    }

    #[deleter]
    fn delete_tokens(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    /// How many can hold this at a time.
    #[getter]
    pub(crate) fn limit(slf: &Bound<'_, Self>) -> i64 {
        slf.as_super().get().with(slf.py(), |state| state.limit)
    }

    #[setter]
    fn set_limit(slf: &Bound<'_, Self>, #[pyo3(from_py_with = stack::number)] limit: i64) {
        slf.as_super().get().with(slf.py(), |state| state.limit = limit);
    }

    #[deleter]
    fn delete_limit(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }
}

impl DeferredSemaphore {
    /// A new one.
    pub(crate) fn with_tokens(tokens: i64) -> PyClassInitializer<Self> {
        let state = PrimitiveState { tokens, limit: tokens, ..PrimitiveState::default() };
        PyClassInitializer::from(Primitive { state: Shared::new(state) }).add_subclass(Self)
    }
}
