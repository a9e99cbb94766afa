//! Locks by key.
//!
//! Looking up a key may run code of the program, so it is done outside of the gate. Other threads
//! may change the dict in between. The number of holders tells whether the entry that was found is
//! still in use.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::events::new_waiting;
use super::shared::line;
use crate::binding::capi::{
    self, Text,
    error::{Raise, Result},
    interned::intern,
    yes,
};
use crate::binding::face::behind::{behind, take_unfired};
use crate::binding::face::waiting::{again_if_interrupted, answer_waiting, attribute};
use crate::binding::model::{deferred::Deferred, fifo::Fifo};
use crate::binding::waits::made;

/// In place of the number of holders: the last holder has left, and the entry is being removed from
/// the dict. New callers wait.
const LEAVING: i64 = -2;
/// The entry has been removed.
const GONE: i64 = -1;

/// A lock by key.
struct Keyed<'py> {
    keys: Bound<'py, PyDict>,
    limit: i64,
    gate: Bound<'py, Fifo>,
}

/// The entry of a key: how many hold the key, and who waits for it.
struct Holders<'py> {
    held: Bound<'py, PyList>,
    waiting: Bound<'py, Fifo>,
}

impl<'py> Holders<'py> {
    fn of(state: &Bound<'py, PyAny>) -> Result<Self> {
        let (held, waiting) = state.extract()?;
        Ok(Self { held, waiting })
    }

    fn count(&self) -> Result<i64> {
        Ok(self.held.get_item(0)?.extract()?)
    }

    fn set(&self, count: i64) -> Result<()> {
        Ok(self.held.set_item(0, count)?)
    }

    /// Let a caller hold the key, if `takes_it` says so; or put it in line. None if this entry has
    /// been removed.
    fn admit(
        &self,
        limit: i64,
        who: &Bound<'py, PyAny>,
        takes_it: impl FnOnce() -> bool,
    ) -> Result<Option<bool>> {
        let count = self.count()?;
        if count == GONE {
            return Ok(None);
        }
        if (0..limit).contains(&count) {
            if takes_it() {
                self.set(count + 1)?;
            }
            return Ok(Some(true));
        }
        self.waiting.get().push_back(who.clone())?;
        Ok(Some(false))
    }
}

impl<'py> Keyed<'py> {
    fn of(lock: &Bound<'py, PyAny>) -> Result<Self> {
        let py = lock.py();
        Ok(Self {
            keys: attribute(lock, intern!(py, "_keys"))?.cast_into::<PyDict>()?,
            limit: attribute(lock, intern!(py, "_limit"))?.extract()?,
            gate: line(lock, intern!(py, "_turn"))?,
        })
    }

    /// A new entry for the dict.
    fn new_state(&self, count: i64) -> Result<Bound<'py, PyAny>> {
        let py = self.gate.py();
        let (held, waiting) = (capi::new_list(py)?, Fifo::empty(py)?);
        held.append(count)?;
        self.gate.get().share_gate(waiting.get());
        Ok((held, waiting).into_pyobject(py)?.into_any())
    }

    /// The entry of a key. If there is none, `new` is inserted.
    fn found_or(
        &self,
        key: &Bound<'py, PyAny>,
        new: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.keys.get_item(key)? {
            Some(found) => Ok(found),
            None => self.keys.call_method1(intern!(key.py(), "setdefault"), (key, new)),
        }
    }

    /// Remove an entry that nobody holds from the dict. Callers that came meanwhile start again.
    fn remove_entry(
        &self,
        holders: &Holders<'py>,
        key: &Bound<'py, PyAny>,
        interrupted: &mut Result<()>,
    ) -> Result<()> {
        let py = key.py();
        let mut done = again_if_interrupted(py, interrupted, || self.keys.del_item(key));
        let is_out = done.is_ok();
        let (told, later) = behind(&self.gate, |later| {
            let mut count = 0;
            // If a method of the key raised, the entry stays.
            while !is_out && count < self.limit && later.give(&holders.waiting, &yes(py))? {
                count += 1;
            }
            holders.set(if is_out { GONE } else { count })
        });
        done = done.and(later.do_it()).and(told);
        if !is_out {
            return done;
        }
        loop {
            let Some(first) = take_unfired(&holders.waiting, |_| Ok(()))? else { return done };
            done = done.and(self.come_again(first, key, interrupted));
        }
    }

    /// Let a caller that was in line of a removed entry hold the key, or wait again.
    fn come_again(
        &self,
        first: Bound<'py, PyAny>,
        key: &Bound<'py, PyAny>,
        interrupted: &mut Result<()>,
    ) -> Result<()> {
        let py = key.py();
        loop {
            // A new entry each time: the previous one may have been in the dict, and removed.
            let found = self
                .new_state(0)
                .and_then(|new| again_if_interrupted(py, interrupted, || self.found_or(key, &new)));
            let found = match found {
                Ok(found) => found,
                Err(error) => return answer_waiting(first, Err(error)),
            };
            let holders = Holders::of(&found)?;
            let (came, later) = behind(&self.gate, |later| {
                let came =
                    holders.admit(self.limit, &first, || later.fire(first.clone(), &yes(py)))?;
                // The caller may have given up, so that nobody holds the key.
                let is_left = came.is_some() && holders.count()? == 0;
                if is_left {
                    holders.set(LEAVING)?;
                }
                Ok((came, is_left))
            });
            let done = later.do_it();
            match came? {
                (None, _) => {}
                (Some(_), false) => return done,
                (Some(_), true) => return done.and(self.remove_entry(&holders, key, interrupted)),
            }
        }
    }
}

/// `KeyedLock._acquire`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _keyed_acquire<'py>(
    lock: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let keyed = Keyed::of(lock)?;
    let acquired = made::of_result(yes(lock.py()))?;
    let new = keyed.new_state(1)?;
    loop {
        let found = keyed.found_or(key, &new)?;
        if found.is(&new) {
            return Ok(acquired);
        }
        let holders = Holders::of(&found)?;
        let waiting = new_waiting(&holders.waiting, Some(lock.clone()), key.clone())?;
        let (came, _) =
            behind(&keyed.gate, |_| holders.admit(keyed.limit, waiting.as_any(), || true));
        match came? {
            Some(true) => return Ok(acquired),
            Some(false) => return Ok(waiting),
            None => {}
        }
    }
}

/// `KeyedLock._release`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _keyed_release<'py>(lock: &Bound<'py, PyAny>, key: &Bound<'py, PyAny>) -> Result<()> {
    let py = lock.py();
    let keyed = Keyed::of(lock)?;
    let mut interrupted = Ok(());
    let found = again_if_interrupted(py, &mut interrupted, || keyed.keys.get_item(key))?;
    let holders = found.as_ref().map(Holders::of).transpose()?;
    let (released, later) = behind(&keyed.gate, |later| {
        let Some(holders) = &holders else { return Ok(None) };
        let count = holders.count()?;
        if count < 1 {
            return Ok(None);
        }
        if later.give(&holders.waiting, &yes(py))? {
            return Ok(Some(false));
        }
        holders.set(if count > 1 { count - 1 } else { LEAVING })?;
        Ok(Some(count == 1))
    });
    let mut done = later.do_it();
    match (released?, holders) {
        (Some(true), Some(holders)) => {
            done = done.and(keyed.remove_entry(&holders, key, &mut interrupted));
        }
        (Some(_), _) => {}
        (None, _) => {
            let text = [Text::Ours("nobody holds "), Text::Python(key.repr()?)];
            return Err(PyRuntimeError::error_saying(capi::joined(py, text)));
        }
    }
    done.and(interrupted)
}
