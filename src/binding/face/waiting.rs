//! Shared by the native steps of `deferrous.concurrency`: attributes of its objects, and telling
//! waiters.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::binding::capi::{
    self,
    error::{Error, Result},
    interned::intern,
    none,
    overrides::overrides,
    owed::owe,
    stack,
};
use crate::binding::face::behind::{behind, wait_again};
use crate::binding::face::place::{_give_first, fire_waiting, is_fired, next_in};
use crate::binding::judge::{creating, debug::debugging_by_default};
use crate::binding::model::{deferred::Deferred, fifo::Fifo};

/// An attribute of an object, such as its count.
///
/// A subclass may have a `__getattribute__` and a `__setattr__` of its own. Without the GIL they
/// are not called: this may run behind the object's gate, and they could use the object, or wait
/// for another thread that does.
pub(crate) fn attribute<'py>(
    owner: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    #[cfg(Py_GIL_DISABLED)]
    return Ok(capi::usual_attribute(owner.py(), owner, name)?);
    #[cfg(not(Py_GIL_DISABLED))]
    owner.getattr(name)
}

/// Set an attribute of an object, in the same way.
pub(crate) fn set_attribute<'py>(
    owner: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    value: impl IntoPyObjectExt<'py>,
) -> PyResult<()> {
    #[cfg(Py_GIL_DISABLED)]
    {
        let value = value.into_bound_py_any(owner.py())?;
        capi::set_usual_attribute(owner.py(), owner, name, &value)?;
        Ok(())
    }
    #[cfg(not(Py_GIL_DISABLED))]
    owner.setattr(name, value)
}

/// An attribute of an object that is a line.
pub(crate) fn line_of<'py>(
    owner: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> Result<Bound<'py, Fifo>> {
    Ok(attribute(owner, name)?.cast_into::<Fifo>()?)
}

/// Whether an attribute is true.
pub(crate) fn is(owner: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> Result<bool> {
    Ok(stack::truth(&attribute(owner, name)?)?)
}

/// Add to an attribute that is a number.
pub(crate) fn add_to<'py>(
    owner: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    number: i64,
) -> Result<()> {
    Ok(set_attribute(owner, name, attribute(owner, name)?.add(number)?)?)
}

/// Report an error that concerns others than the caller. The caller still gets its result.
pub(crate) fn report(owner: &Bound<'_, PyAny>, done: Result<()>) {
    if let Err(error) = done {
        PyErr::from(error).write_unraisable(owner.py(), Some(owner));
    }
}

/// Convert an error into a failure.
pub(crate) fn failure_of(py: Python<'_>, error: Error) -> Result<Bound<'_, PyAny>> {
    creating::from_raised(error.into_raised(py), debugging_by_default(py)?)
}

/// Fire a Deferred that was removed from a line: with None, or with the failure of what went wrong.
/// Does nothing if it has been fired meanwhile.
pub(crate) fn answer_waiting<'py>(waiting: Bound<'py, PyAny>, done: Result<()>) -> Result<()> {
    let py = waiting.py();
    let result = match done {
        Ok(()) => none(py),
        // If that fails, too, the new error is the result, if a failure can be made of it.
        Err(error) => failure_of(py, error).or_else(|error| failure_of(py, error))?,
    };
    if is_fired(&waiting)? {
        return Ok(());
    }
    fire_waiting(waiting, result)
}

/// Fail all waiters in a line, each with an error for what it asked for. If an error cannot be
/// made, the remaining waiters stay in the line.
pub(crate) fn fail_each<'py>(
    line: &Bound<'py, Fifo>,
    error: impl Fn(Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> Result<()> {
    let mut raised = Ok(());
    while let Some(asked) = next_in(line)? {
        let failure = creating::from_exception(error(asked)?)?;
        if let Err(error) = _give_first(line, failure) {
            raised = Err(error);
        }
    }
    raised
}

/// Fire all that are waiting in a line, or none if something fails before. Those that join
/// meanwhile stay.
///
/// An error that is not an `Exception`, such as KeyboardInterrupt, is raised after all have been
/// fired.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _fire_all<'py>(line: &Bound<'py, Fifo>, result: Bound<'py, PyAny>) -> Result<()> {
    fire_each(line, |_| Ok(result.clone()))
}

/// [`_fire_all`], each with a result of its own. All results are made before any is fired.
pub(crate) fn fire_each<'py>(
    line: &Bound<'py, Fifo>,
    result: impl Fn(u64) -> Result<Bound<'py, PyAny>>,
) -> Result<()> {
    fire_each_after(line, || Ok(()), result)
}

/// [`fire_each`], after a step. No other thread can act, and nobody can join, between the step and
/// the removal of the waiters from the line.
pub(crate) fn fire_each_after<'py>(
    line: &Bound<'py, Fifo>,
    step: impl Fn() -> PyResult<()>,
    result: impl Fn(u64) -> Result<Bound<'py, PyAny>>,
) -> Result<()> {
    let py = line.py();
    let all = Fifo::empty(py)?;
    let results = capi::new_list(py)?;
    loop {
        // A collection may run meanwhile, and others may join.
        while results.len() < line.get().len(py) {
            results.append(result(results.len() as u64)?)?;
        }
        let (taken, _) = behind(line, |_| {
            if results.len() < line.get().len(py) {
                return Ok(false);
            }
            step()?;
            Fifo::take_all(line, &all);
            Ok(true)
        });
        if taken? {
            break;
        }
    }
    let mut raised = Ok(());
    for result in results {
        match _give_first(&all, result) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => raised = Err(error),
        }
    }
    raised
}

/// Fail all waiters that were taken out of a line. Those that could not be told are put back.
pub(crate) fn tell_all<'py>(
    line: &Bound<'py, Fifo>,
    taken: &Bound<'py, Fifo>,
    error: impl Fn(Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> Result<()> {
    let told = fail_each(taken, error);
    if told.is_err() && taken.get().len(line.py()) > 0 {
        wait_again(line, taken)?;
    }
    told
}

/// Look something up, which may run a program's code, such as the methods of a key. If a signal's
/// exception, such as KeyboardInterrupt, interrupts it, look again, and keep the exception in
/// `interrupted`: it is raised when everything is done.
pub(crate) fn again_if_interrupted<R>(
    py: Python<'_>,
    interrupted: &mut Result<()>,
    look: impl Fn() -> PyResult<R>,
) -> Result<R> {
    match look().map_err(Error::from) {
        Err(error) if !error.is_instance_of::<PyException>(py) => {
            *interrupted = Err(error);
            Ok(look()?)
        }
        looked => looked,
    }
}

/// Whether callbacks are added to a Deferred by our own method. A program's may raise a MemoryError each time.
pub(crate) fn takes_callbacks(deferred: &Bound<'_, PyAny>) -> bool {
    let py = deferred.py();
    deferred.cast::<Deferred>().is_ok_and(|it| {
        [intern!(py, "addBoth"), intern!(py, "addCallbacks")]
            .iter()
            .all(|name| !overrides::<Deferred>(it, name))
    })
}

/// `addBoth` was refused, with these arguments, the first of which is the Deferred. If there was no memory
/// for it, the callback is added when there is some.
///
/// # Errors
///
/// The error, if it is another one, or a program's own.
#[cold]
pub(crate) fn add_later(all: &[Bound<'_, PyAny>], error: Error) -> Result<()> {
    let Some(deferred) = all.first() else { return Err(error) };
    let py = deferred.py();
    if !error.is_instance_of::<PyMemoryError>(py) || !takes_callbacks(deferred) {
        return Err(error);
    }
    let add = py.get_type::<Deferred>().getattr(intern!(py, "addBoth"))?;
    owe(&add, all, error);
    Ok(())
}

/// The index at which a number belongs in a sorted list.
pub(crate) fn place_among<'py>(
    numbers: &Bound<'py, PyList>,
    number: &Bound<'py, PyAny>,
    of: impl Fn(Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<usize> {
    let (mut low, mut high) = (0, numbers.len());
    while low < high {
        let middle = (low + high) / 2;
        if of(numbers.get_item(middle)?)?.gt(number)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}
