//! `copy` and `pickle` of failures, for those that run no code of a program.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};

use crate::binding::capi::{self, error::Result, interned::intern};
use crate::binding::judge::asked::Asked;
use crate::binding::model::{failure::FailureBase, names};

/// The parts that a failure is rebuilt from.
struct Parts<'py> {
    /// Its attributes, except the names of its classes and its frames.
    attributes: Bound<'py, PyDict>,
    parents: Bound<'py, PyAny>,
    frames: Bound<'py, PyAny>,
}

/// None if Python has to do it.
fn parts<'py>(failure: &Bound<'py, FailureBase>) -> Result<Option<Parts<'py>>> {
    let py = failure.py();
    if !Asked::Text.is_plainly_asked(failure) {
        return Ok(None);
    }
    let keeps_variables = failure.getattr(intern!(py, "captureVars"))?;
    if !keeps_variables.cast_exact::<PyBool>().is_ok_and(|keeps| !keeps.is_true()) {
        return Ok(None);
    }
    let parents = failure.getattr(intern!(py, "parents"))?;
    let frames = failure.getattr(intern!(py, "frames"))?;
    let attributes = failure.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?.copy()?;
    for name in [intern!(py, "_parents"), intern!(py, "_frames")] {
        if attributes.contains(name)? {
            attributes.del_item(name)?;
        }
    }
    for name in [intern!(py, "parents"), intern!(py, "frames"), intern!(py, "stack")] {
        if attributes.contains(name)? {
            return Ok(None);
        }
    }
    Ok(Some(Parts { attributes, parents, frames }))
}

fn set<'py>(
    state: &Bound<'py, PyDict>,
    items: [(&Bound<'py, PyString>, &Bound<'py, PyAny>); 2],
) -> Result<()> {
    for (name, value) in items {
        state.set_item(name, value)?;
    }
    Ok(())
}

/// Remove the traceback from the state of a failure.
fn without_traceback(state: &Bound<'_, PyDict>) -> Result<()> {
    let py = state.py();
    let (none, one) = (py.None().into_bound(py), capi::new_int(py, 1)?);
    set(state, [(intern!(py, "tb"), &none), (intern!(py, "pickled"), &one)])
}

/// What `Failure.__getstate__` returns, or None if Python has to do it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (failure, /))]
pub(crate) fn plain_state<'py>(
    failure: &Bound<'py, FailureBase>,
) -> Result<Option<Bound<'py, PyDict>>> {
    let py = failure.py();
    let Some(Parts { attributes, parents, frames }) = parts(failure)? else { return Ok(None) };
    let nothing = capi::new_list(py)?.into_any();
    attributes.set_item(intern!(py, "parents"), parents)?;
    set(&attributes, [(intern!(py, "stack"), &nothing), (intern!(py, "frames"), &frames)])?;
    without_traceback(&attributes)?;
    Ok(Some(attributes))
}

/// The instance dict of a copy, or None if Python has to do it.
pub(crate) fn copied<'py>(failure: &Bound<'py, FailureBase>) -> Result<Option<Bound<'py, PyDict>>> {
    let py = failure.py();
    let class = failure.get_type();
    if !Asked::Copy.is_plainly_asked(failure) || names::COPYREG_TABLE.get(py)?.contains(class)? {
        return Ok(None);
    }
    let Some(Parts { attributes, parents, frames }) = parts(failure)? else { return Ok(None) };
    without_traceback(&attributes)?;
    set(&attributes, [(intern!(py, "_parents"), &parents), (intern!(py, "_frames"), &frames)])?;
    Ok(Some(attributes))
}
