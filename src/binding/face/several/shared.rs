//! Shared by the steps of this folder: reading attributes of an object, and giving values to its
//! waiters.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::binding::capi::{self, error::Result, interned::intern};
use crate::binding::face::behind::{Later, behind};
use crate::binding::face::waiting::{attribute, set_attribute};
use crate::binding::model::{deferred::Deferred, fifo::Fifo, gate, place::Place};
use crate::core::refusable;

/// As with the GIL: finds the lines of an object, and places in its lists of numbers.
pub(super) use crate::binding::face::waiting::{line_of as line, place_among};

impl<'py> Later<'py> {
    /// Fire the first waiter in a line with a value. False if nobody waits.
    pub(super) fn give(
        &mut self,
        line: &Bound<'py, Fifo>,
        value: &Bound<'py, PyAny>,
    ) -> Result<bool> {
        // Reserved first, so that what is taken out of the line cannot get lost.
        if refusable(|| self.left.try_reserve(2)).is_err() {
            return Err(capi::no_memory(line.py()));
        }
        while let Some(first) = line.get().pop_front(line.py())? {
            if self.fire(first, value) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The first waiter in a line, and what it asks for. It stays in the line.
pub(super) fn first_in<'py>(
    line: &Bound<'py, Fifo>,
    later: &mut Later<'py>,
) -> Result<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    let py = line.py();
    while let Some(first) = Fifo::get(line, 0) {
        let Ok(deferred) = first.cast::<Deferred>() else { break };
        let canceller = deferred.get().chain(py, |chain| {
            let canceller = chain.canceller().map(|it| it.bind(py).clone());
            (!chain.called()).then_some(canceller)
        });
        let Some(canceller) = canceller else {
            if let Some(fired) = line.get().pop_front(py)? {
                later.drop(fired);
            }
            continue;
        };
        return Ok(what_behind(canceller)?.map(|what| (first, what)));
    }
    Ok(None)
}

/// What a waiter asks for, from its canceller: its place in the line. `concurrency.cancel` puts
/// another canceller in front of the place for a moment.
fn what_behind<'py>(canceller: Option<Bound<'py, PyAny>>) -> Result<Option<Bound<'py, PyAny>>> {
    let mut canceller = canceller;
    for _ in 0..8 {
        let Some(it) = canceller else { break };
        if let Some(place) = capi::as_exact::<Place>(&it) {
            return Ok(place.get().what(it.py()));
        }
        canceller = capi::attribute_of(&it, intern!(it.py(), "canceller"));
    }
    Ok(None)
}

/// An attribute that holds an int.
pub(super) fn number(owner: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> Result<i64> {
    Ok(attribute(owner, name)?.extract()?)
}

/// An attribute that holds True or False.
pub(super) fn is(owner: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> Result<bool> {
    Ok(attribute(owner, name)?.extract()?)
}

/// The number that a limit stands for. None if there is no limit. Not to be called behind the gate:
/// the limit may be an object of the program.
pub(super) fn limit_of(limit: &Bound<'_, PyAny>) -> Result<Option<usize>> {
    let Ok(number) = limit.extract::<f64>() else { return Ok(None) };
    if number <= 0.0 || number >= i64::MAX as f64 {
        return Ok(None);
    }
    Ok(Some(limit.extract::<i64>().map_or_else(|_| number.ceil() as usize, |exact| exact as usize)))
}

/// Add to an int attribute of a line's owner. False, and nothing is changed, if the sum would be
/// negative.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _count<'py>(
    owner: &Bound<'py, PyAny>,
    line: &Bound<'py, Fifo>,
    name: &Bound<'py, PyString>,
    more: i64,
) -> Result<bool> {
    let (counted, _) = behind(line, |_| {
        let sum = number(owner, name)? + more;
        if sum >= 0 {
            set_attribute(owner, name, sum)?;
        }
        Ok(sum >= 0)
    });
    counted
}

/// Let other lines of the same object share the gate of this one.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (line, *others))]
pub(crate) fn _share_gate(line: &Bound<'_, Fifo>, others: &Bound<'_, PyTuple>) -> Result<()> {
    for other in others {
        line.get().share_gate(other.cast::<Fifo>()?.get());
    }
    Ok(())
}

/// Note that this process was forked: no other thread is behind one of its gates.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _is_forked() {
    gate::is_forked();
}

/// Whether this thread is behind a gate, where it is to run no Python code.
#[cfg(debug_assertions)]
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _is_behind_gate() -> bool {
    gate::is_behind()
}

/// Have the interpreter call [`_is_forked`] in each child process.
pub(crate) fn watch_forks(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let Some(register) = py.import("os")?.getattr_opt("register_at_fork")? else {
        // This system has no fork.
        return Ok(());
    };
    let kwargs = PyDict::new(py);
    kwargs.set_item("after_in_child", module.getattr("_is_forked")?)?;
    register.call((), Some(&kwargs)).map(drop)
}
