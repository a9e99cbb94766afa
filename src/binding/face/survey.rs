//! Lists all objects of some classes, for a thread that inspects the program.
//!
//! No Python code runs meanwhile, so no other thread does. Nothing is freed here either: objects
//! that the program has dropped should die in one of its own threads.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};

use crate::binding::capi::{self, Hold, error::Result};

/// Return the instances of these classes among all objects, up to so many, and how many there are.
/// Needs the result of `gc.get_objects`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_all_of")]
pub(crate) fn all_of<'py>(
    get_objects: &Bound<'py, PyAny>,
    classes: &Bound<'py, PyTuple>,
    most: usize,
) -> Result<(Bound<'py, PyList>, usize)> {
    let py = get_objects.py();
    let mut wanted = Vec::new();
    for class in classes.iter() {
        capi::push(py, &mut wanted, class.cast_into::<PyType>()?)?;
    }
    let found = capi::new_list(py)?;
    let mut count = 0;
    let objects = get_objects.call0()?.cast_into::<PyList>()?;
    for object in objects.iter() {
        let class = object.get_type();
        if wanted.iter().any(|each| capi::is_subtype(&class, each)) {
            count += 1;
            if count <= most {
                found.append(object)?;
            }
        }
    }
    Ok((found, count))
}

/// Empty a list, and return those items that have no other reference. So none of them dies here.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_take_last")]
pub(crate) fn take_last<'py>(list: &Bound<'py, PyList>) -> Result<Bound<'py, PyList>> {
    let py = list.py();
    let last = capi::new_list(py)?;
    while !list.is_empty() {
        let at = list.len() - 1;
        let object = list.get_item(at)?.hold();
        list.del_item(at)?;
        if !object.is_shared(py) {
            last.append(object.into_bound(py))?;
        }
    }
    Ok(last)
}
