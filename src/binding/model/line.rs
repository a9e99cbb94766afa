//! The lists of locks and queues, made when first needed.

use pyo3::prelude::*;

use crate::binding::capi::{Held, Hold};
use crate::binding::model::fifo::Fifo;

/// A line that somebody waits in.
#[inline(always)]
pub(crate) fn if_busy<'a, 'py>(
    py: Python<'py>,
    line: &'a Option<Held<Fifo>>,
) -> Option<&'a Bound<'py, Fifo>> {
    let line = line.as_ref()?.bind(py);
    (line.get().len(py) > 0).then_some(line)
}

/// The list in a slot. `kept` gives what is there, after putting in what it is given.
#[inline(always)]
pub(crate) fn line<'py>(
    py: Python<'py>,
    kept: impl Fn(Option<Held<Fifo>>) -> Option<Bound<'py, Fifo>>,
) -> PyResult<Bound<'py, Fifo>> {
    match kept(None) {
        Some(line) => Ok(line),
        None => new_line(py, kept),
    }
}

#[inline(never)]
pub(crate) fn new_line<'py>(
    py: Python<'py>,
    kept: impl Fn(Option<Held<Fifo>>) -> Option<Bound<'py, Fifo>>,
) -> PyResult<Bound<'py, Fifo>> {
    // Making one may begin a collection, and so run any code: it may have put one there by now.
    let made = Fifo::empty(py)?;
    Ok(kept(Some(made.clone().hold())).unwrap_or(made))
}

pub(crate) fn kept<'py>(
    py: Python<'py>,
    slot: &mut Option<Held<Fifo>>,
    made: Option<Held<Fifo>>,
) -> Option<Bound<'py, Fifo>> {
    match (&*slot, made) {
        (None, Some(made)) => Some(slot.insert(made).bind(py).clone()),
        // One that is not needed is new, and runs no code when it dies.
        (line, _unneeded) => line.as_ref().map(|line| line.bind(py).clone()),
    }
}

/// What a program assigns to `waiting` or `pending`, as a list of ours.
pub(crate) fn as_line<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Fifo>> {
    match object.cast_exact::<Fifo>() {
        Ok(line) => Ok(line.clone()),
        Err(_) => Ok(object.py().get_type::<Fifo>().call1((object,))?.cast_into()?),
    }
}
