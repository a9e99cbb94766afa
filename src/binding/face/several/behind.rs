//! Steps behind the gate of an object, and what they leave to be done when that has been left.

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::binding::capi::{self, Hold, error::Result, interned::intern, stack};
use crate::binding::face::waiting::{attribute, fail_each, set_attribute};
use crate::binding::model::{
    deferred::{Deferred, Objects},
    fifo::Fifo,
    gate,
    outcome::Outcome,
    place::Place,
};
use crate::binding::run::engine;
use crate::binding::waits::{firing, nesting::hand_over, work::Work};
use crate::core::{AlreadyCalled, Fired, refusable};

/// The lines and the lists of numbers that objects have are found in the same way as with the GIL.
pub(super) use crate::binding::face::waiting::{line_of as line, place_among};

/// What is done when the gate has been left.
#[derive(Default)]
pub(super) struct Later<'py>(Vec<After<'py>>);

pub(super) enum After<'py> {
    /// Run the callbacks of one that was fired.
    Run(Bound<'py, Deferred>, Fired<Objects>),
    /// Fire one whose `callback` is not ours, with this.
    HandOver(Bound<'py, PyAny>, Bound<'py, PyAny>),
    /// Let go of this.
    Drop(#[allow(dead_code, reason = "held to be dropped")] Bound<'py, PyAny>),
}

impl<'py> Later<'py> {
    pub(super) fn push(&mut self, after: After<'py>) {
        self.0.push(after);
    }

    /// Let go of something that nobody else may have.
    pub(super) fn drop(&mut self, object: Bound<'py, PyAny>) {
        self.push(After::Drop(object));
    }

    /// Fire the first that waits in a line with a value. False if nobody does.
    pub(super) fn give(
        &mut self,
        line: &Bound<'py, Fifo>,
        value: &Bound<'py, PyAny>,
    ) -> Result<bool> {
        // What is taken out of the line can be kept then.
        if refusable(|| self.0.try_reserve(2)).is_err() {
            return Err(capi::no_memory(line.py()));
        }
        while let Some(first) = line.get().pop_front(line.py())? {
            if self.fire(first, value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fire one that has been taken out of a line with a value. False if a program has fired it.
    pub(super) fn fire(&mut self, waiting: Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> bool {
        let py = waiting.py();
        let outcome = Outcome::Value(value.clone().hold());
        let deferred = match waiting.cast_into::<Deferred>() {
            Ok(deferred) => deferred,
            Err(other) => {
                self.push(After::HandOver(other.into_inner(), value.clone()));
                return true;
            }
        };
        match deferred.get().chain(py, |chain| chain.fire(outcome)) {
            Ok(fired) => {
                self.push(After::Run(deferred, fired));
                true
            }
            Err(AlreadyCalled(_)) => {
                self.drop(deferred.into_any());
                false
            }
        }
    }

    /// Do it.
    ///
    /// # Errors
    ///
    /// The first error. The rest is done all the same.
    pub(super) fn do_it(self) -> Result<()> {
        let mut done = Ok(());
        for after in self.0 {
            let another = after.do_it();
            done = done.and(another);
        }
        done
    }
}

impl After<'_> {
    pub(super) fn do_it(self) -> Result<()> {
        match self {
            After::Run(deferred, fired) => {
                if firing::after_fire(&deferred, Ok(fired))? {
                    return hand_over(deferred.py(), Work::Run(deferred), engine::run_within);
                }
            }
            After::HandOver(waiting, value) => {
                let py = waiting.py();
                return hand_over(py, Work::HandOver(waiting, value), engine::run_within);
            }
            After::Drop(_) => {}
        }
        Ok(())
    }
}

/// Do several steps behind the gate of a line. Returns what they come to, and what is left to do.
pub(super) fn behind<'py, R>(
    line: &Bound<'py, Fifo>,
    steps: impl FnOnce(&mut Later<'py>) -> Result<R>,
) -> (Result<R>, Later<'py>) {
    let mut later = Later::default();
    let result = {
        let _behind = line.get().gate().enter(line.py());
        steps(&mut later)
    };
    (result, later)
}

/// The first that waits in a line, which stays there, and what it asks for.
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

/// What somebody asks for that waits in a line. `concurrency.cancel` puts another canceller in front
/// of the place for a moment.
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

/// An attribute that is a number of ours.
pub(super) fn number(owner: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> Result<i64> {
    Ok(attribute(owner, name)?.extract()?)
}

/// An attribute that is True or False.
pub(super) fn is(owner: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> Result<bool> {
    Ok(attribute(owner, name)?.extract()?)
}

/// How many a limit allows. None if it is without end. Not to be asked behind the gate: it may be an
/// object of a program's.
pub(super) fn limit_of(limit: &Bound<'_, PyAny>) -> Result<Option<usize>> {
    let Ok(number) = limit.extract::<f64>() else { return Ok(None) };
    if number <= 0.0 || number >= i64::MAX as f64 {
        return Ok(None);
    }
    Ok(Some(limit.extract::<i64>().map_or_else(|_| number.ceil() as usize, |exact| exact as usize)))
}

/// Add to a number that is an attribute of the owner of a line. False, and nothing done, if it would be
/// less than nothing.
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

/// Have other lines, of the same object, one gate with this one.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (line, *others))]
pub(crate) fn _share_gate(line: &Bound<'_, Fifo>, others: &Bound<'_, PyTuple>) -> Result<()> {
    for other in others {
        line.get().share_gate(other.cast::<Fifo>()?.get());
    }
    Ok(())
}

/// Say that this process has been forked: no other thread is behind a gate of it.
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

/// Have that be said wherever the interpreter forks this process.
pub(crate) fn watch_forks(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let Some(register) = py.import("os")?.getattr_opt("register_at_fork")? else {
        // There is no fork here.
        return Ok(());
    };
    let kwargs = PyDict::new(py);
    kwargs.set_item("after_in_child", module.getattr("_is_forked")?)?;
    register.call((), Some(&kwargs)).map(drop)
}

/// Move all that wait in a line to another, which is nobody's, and returned.
pub(super) fn take_all<'py>(line: &Bound<'py, Fifo>, empty: Bound<'py, Fifo>) -> Bound<'py, Fifo> {
    Fifo::take_all(line, &empty);
    empty
}

/// Put those back into a line that could not be told what they wait for. They are in front.
pub(super) fn put_back<'py>(line: &Bound<'py, Fifo>, left: &Bound<'py, Fifo>) -> Result<()> {
    let (result, later) = behind(line, |_| {
        let came = Fifo::empty(line.py())?;
        Fifo::take_all(line, &came);
        for each in [left, &came] {
            while let Some(first) = each.get().pop_front(line.py())? {
                line.get().push_back(first)?;
            }
        }
        Ok(())
    });
    drop(later);
    result
}

/// Tell those that wait for an item that none will come: `async for` ends, others fail with an error
/// of this class.
pub(super) fn tell_getters<'py>(
    line: &Bound<'py, Fifo>,
    taken: &Bound<'py, Fifo>,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    tell_all(line, taken, |iterating| {
        if stack::truth(&iterating)? {
            iterating.py().get_type::<PyStopAsyncIteration>().call0()
        } else {
            error.call0()
        }
    })
}

/// Have all fail that were taken out of a line. Who could not be told is put back.
pub(super) fn tell_all<'py>(
    line: &Bound<'py, Fifo>,
    taken: &Bound<'py, Fifo>,
    error: impl Fn(Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> Result<()> {
    let told = fail_each(taken, error);
    if told.is_err() && taken.get().len(line.py()) > 0 {
        put_back(line, taken)?;
    }
    told
}
