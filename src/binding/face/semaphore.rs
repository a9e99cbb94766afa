//! `DeferredSemaphore`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{
    error::{Raise, Result},
    stack,
};
use crate::binding::face::primitive::forget_waiting;
use crate::binding::model::primitive::{DeferredSemaphore, Primitive};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl DeferredSemaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(tokens)")]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Result<PyClassInitializer<Self>> {
        Self::with_tokens(py, 0)
    }

    fn __init__(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = stack::number)] tokens: i64,
    ) -> Result<()> {
        forget_waiting(slf.as_super())?;
        if tokens < 1 {
            return Err(PyValueError::error(slf.py(), "DeferredSemaphore requires tokens >= 1"));
        }
        let (py, primitive) = (slf.py(), slf.as_super().get());
        primitive.set_number(py, |state| &mut state.tokens, tokens)?;
        primitive.set_number(py, |state| &mut state.limit, tokens)
    }
}

impl DeferredSemaphore {
    /// Make one.
    pub(crate) fn with_tokens(py: Python<'_>, tokens: i64) -> Result<PyClassInitializer<Self>> {
        Ok(PyClassInitializer::from(Primitive::new_state(py, Some(tokens))?).add_subclass(Self))
    }
}
