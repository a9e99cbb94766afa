//! Lists all objects of some classes, for a thread that inspects the program.
//!
//! No Python code runs meanwhile, so no other thread does. Nothing is freed here either: objects
//! that the program has dropped should die in one of its own threads.

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyFunction, PyList, PyString, PyTuple, PyType};

use crate::binding::capi::{self, Hold, error::Result, interned::intern};
use crate::binding::face::graph;
use crate::binding::model::{deferred::Deferred, names};

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
    // Often an object has the same class as the one before it.
    let mut last = (0, false);
    for object in objects.iter() {
        let class = object.get_type();
        if last.0 != class.as_ptr() as usize {
            let is_wanted = wanted.iter().any(|each| capi::is_subtype(&class, each));
            last = (class.as_ptr() as usize, is_wanted);
        }
        if last.1 {
            count += 1;
            if count <= most {
                found.append(object)?;
            }
        }
    }
    Ok((found, count))
}

/// Return the Deferreds among these objects, up to so many, that have a callback which may fire one
/// of the wanted objects: a method of one, or a partial object or a function from our own files,
/// which may refer to one.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_may_fire")]
pub(crate) fn may_fire<'py>(
    objects: &Bound<'py, PyList>,
    wanted: &Bound<'py, PyList>,
    own_files: &Bound<'py, PyString>,
    most: usize,
) -> Result<Bound<'py, PyList>> {
    /// The most callbacks of each that are checked.
    const CALLBACKS: usize = 200;
    let own_files = own_files.to_str()?;
    let found = capi::new_list(objects.py())?;
    for object in objects.iter() {
        let Ok(deferred) = object.cast::<Deferred>() else { continue };
        let mut may = false;
        for callable in graph::callables_of(deferred, CALLBACKS)? {
            may = may || may_be_of(&callable, wanted, own_files);
        }
        if may && found.len() < most {
            found.append(object)?;
        }
    }
    Ok(found)
}

/// Whether a callable is a method of one of these, or a partial object or a function from our own
/// files. This runs no code of the program's.
fn may_be_of(callable: &Bound<'_, PyAny>, these: &Bound<'_, PyList>, own_files: &str) -> bool {
    let py = callable.py();
    if callable.is_exact_instance_of::<PyFunction>() {
        let Some(code) = capi::ok(py, callable.getattr(intern!(py, "__code__"))) else {
            return false;
        };
        let file = capi::ok(py, code.getattr(intern!(py, "co_filename")));
        return file.is_some_and(|file| {
            let file = file.cast_exact::<PyString>().ok().and_then(|it| it.to_str().ok());
            file.is_some_and(|file| file.starts_with(own_files))
        });
    }
    if callable.is_instance_of::<PyCFunction>() || capi::is_of_python(callable) {
        let owner = capi::ok(py, callable.getattr(intern!(py, "__self__")));
        return owner.is_some_and(|owner| these.iter().any(|each| each.is(&owner)));
    }
    capi::ok(py, names::PARTIAL.get(py)).is_some_and(|partial| callable.get_type().is(partial))
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
