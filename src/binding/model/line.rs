//! The attributes `waiting` and `pending` of locks and queues, which programs may replace.

use pyo3::prelude::*;

use crate::binding::capi::{self, Held, Hold, cell::Shared};
use crate::binding::model::fifo::Fifo;

/// The value of such an attribute: a [`Fifo`], or the object that a program has put there, which is
/// converted to a `Fifo` when it is needed. None if it was deleted.
pub(crate) type Line = Option<Held<PyAny>>;

/// A new, empty line.
pub(crate) fn new_line(py: Python<'_>) -> PyResult<Line> {
    Ok(Some(Fifo::empty(py)?.into_any().hold()))
}

/// The line, unless a program has replaced it.
#[inline(always)]
pub(crate) fn ours<'a, 'py>(py: Python<'py>, line: &'a Line) -> Option<&'a Bound<'py, Fifo>> {
    capi::as_exact::<Fifo>(line.as_ref()?.bind(py))
}

/// The line in a state. The object of a program is converted first.
///
/// # Errors
///
/// Errors of the conversion.
#[inline(always)]
pub(crate) fn line_in<'py, S>(
    py: Python<'py>,
    state: &Shared<S>,
    line: impl Fn(&mut S) -> &mut Line,
) -> PyResult<Bound<'py, Fifo>> {
    match state.with(py, |state| ours(py, line(state)).cloned()) {
        Some(line) => Ok(line),
        None => made_ours(py, &|look| state.with(py, |state| look(line(state)))),
    }
}

/// [`line_in`], but None if the line is empty.
///
/// # Errors
///
/// Errors of the conversion.
#[inline(always)]
pub(crate) fn busy_line_in<'py, S>(
    py: Python<'py>,
    state: &Shared<S>,
    line: impl Fn(&mut S) -> &mut Line,
) -> PyResult<Option<Bound<'py, Fifo>>> {
    match state.with(py, |state| if_busy(py, line(state)).map(|it| it.cloned())) {
        Ok(line) => Ok(line),
        Err(_) => Ok(Some(line_in(py, state, line)?).filter(|line| line.get().len(py) > 0)),
    }
}

/// The line, or None if it is empty. `Err` if a program has replaced it: [`line_in`] converts it.
#[inline(always)]
pub(crate) fn if_busy<'a, 'py>(
    py: Python<'py>,
    line: &'a Line,
) -> Result<Option<&'a Bound<'py, Fifo>>, NotOurs> {
    let line = ours(py, line).ok_or(NotOurs)?;
    // If it is empty, not even the line is locked.
    #[cfg(Py_GIL_DISABLED)]
    if !line.get().may_have_items() {
        return Ok(None);
    }
    Ok((line.get().len(py) > 0).then_some(line))
}

/// A program has put something else there.
pub(crate) struct NotOurs;

/// Calls a function with the attribute.
type Reach<'a> = dyn Fn(&mut dyn FnMut(&mut Line)) + 'a;

/// The line in an attribute, after converting what a program has put there.
#[inline(never)]
fn made_ours<'py>(py: Python<'py>, place: &Reach<'_>) -> PyResult<Bound<'py, Fifo>> {
    loop {
        let mut object = None;
        place(&mut |line| object = line.as_ref().map(|it| it.bind(py).clone()));
        // This may run any code, which may put something else there.
        let made = match &object {
            Some(object) => as_line(object)?,
            None => Fifo::empty(py)?,
        };
        let mut new = Some(made.clone().into_any().hold());
        place(&mut |line| {
            let now = line.as_ref().map(Held::as_ptr);
            if now == object.as_ref().map(Bound::as_ptr) {
                std::mem::swap(line, &mut new);
            }
        });
        drop(new);
        let mut is_there = false;
        place(&mut |line| is_there = line.as_ref().is_some_and(|it| it.as_ptr() == made.as_ptr()));
        if is_there {
            return Ok(made);
        }
    }
}

/// Convert the object of a program.
fn as_line<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Fifo>> {
    match object.cast_exact::<Fifo>() {
        Ok(line) => Ok(line.clone()),
        Err(_) => Ok(object.py().get_type::<Fifo>().call1((object,))?.cast_into()?),
    }
}
