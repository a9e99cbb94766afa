//! What a logger of the module `logging` does with a report, found out before there is a record.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use crate::binding::capi::{self, error::Result, interned::intern, stack, versions::KnownTypes};

/// The class of loggers, if its methods are as `logging` defines them.
static PLAIN: KnownTypes<2> = KnownTypes::new();

/// Whether anything takes what a logger is given: false if all of its handlers are
/// `NullHandler`s. None if the logger may behave in another way than those of `logging`.
///
/// `steps` are the names and functions of the methods that it uses. If there is no handler at all,
/// `logging` prints to standard error, so that counts as true.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (logger, class_, steps, null_handler, /))]
pub(crate) fn takes_reports<'py>(
    logger: Bound<'py, PyAny>,
    class_: &Bound<'py, PyType>,
    steps: (Bound<'py, PyTuple>, Bound<'py, PyTuple>),
    null_handler: &Bound<'py, PyType>,
) -> Result<Option<bool>> {
    let py = logger.py();
    stack::check(py)?;
    let (names, functions) = steps;
    if !is_plain(&logger, class_, &names, &functions)? {
        return Ok(None);
    }
    if stack::truth(&logger.getattr(intern!(py, "filters"))?)? {
        return Ok(Some(true));
    }
    let (mut found, mut current) = (false, logger);
    loop {
        let Ok(handlers) = current.getattr(intern!(py, "handlers"))?.cast_into_exact::<PyList>()
        else {
            return Ok(Some(true));
        };
        for handler in handlers {
            if !handler.get_type().is(null_handler) {
                return Ok(Some(true));
            }
            found = true;
        }
        if !stack::truth(&current.getattr(intern!(py, "propagate"))?)? {
            break;
        }
        current = current.getattr(intern!(py, "parent"))?;
        if current.is_none() {
            break;
        }
    }
    Ok(Some(!found))
}

/// Whether the logger is of this very class, and neither has other methods.
fn is_plain<'py>(
    logger: &Bound<'py, PyAny>,
    class: &Bound<'py, PyType>,
    names: &Bound<'py, PyTuple>,
    functions: &Bound<'py, PyTuple>,
) -> Result<bool> {
    if !logger.get_type().is(class) {
        return Ok(false);
    }
    if !PLAIN.have(class) {
        let is_so = || {
            names.iter_borrowed().zip(functions.iter_borrowed()).all(|(name, function)| {
                name.cast()
                    .is_ok_and(|name| capi::lookup(class, &name) == function.as_ptr() as usize)
            })
        };
        if !is_so() {
            return Ok(false);
        }
        PLAIN.remember(class, false, is_so);
    }
    let own = logger.getattr(intern!(logger.py(), "__dict__"))?;
    let Ok(own) = own.cast_exact::<PyDict>() else { return Ok(false) };
    for name in names.iter_borrowed() {
        if own.contains(name)? {
            return Ok(false);
        }
    }
    Ok(true)
}
