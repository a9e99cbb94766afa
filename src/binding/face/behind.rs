//! Steps that must look atomic to other threads, written once for builds with and without the GIL.
//!
//! With the GIL, native steps are atomic in any case, and there is no gate. Without it, they run
//! behind the [gate](crate::binding::model::gate) of an object, where no Python code may run.
//! Callbacks and finalizers run after the gate has been left.

#[cfg(not(Py_GIL_DISABLED))]
use std::marker::PhantomData;

use pyo3::prelude::*;

#[cfg(not(Py_GIL_DISABLED))]
use crate::binding::capi::error::Error;
use crate::binding::capi::{Hold, error::Result};
use crate::binding::model::{
    deferred::{Deferred, Objects},
    fifo::Fifo,
    outcome::{Chain, Outcome},
};
use crate::binding::run::engine;
use crate::binding::waits::{firing, nesting::hand_over, work::Work};
use crate::core::{AlreadyCalled, Fired};

/// Work that runs Python code, and so comes after the steps behind a gate.
pub(crate) enum After<'py> {
    /// Run the callbacks of a Deferred that was fired.
    Run(Bound<'py, Deferred>, Fired<Objects>),
    /// Fire a waiter whose `callback` is not ours, with this value.
    HandOver(Bound<'py, PyAny>, Bound<'py, PyAny>),
    /// Drop this.
    Drop(#[allow(dead_code, reason = "held to be dropped")] Bound<'py, PyAny>),
}

impl After<'_> {
    fn do_it(self) -> Result<()> {
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

/// The work for after the gate has been left. If there is no gate, the work is done at once, and
/// this is the first error that it raised.
#[derive(Default)]
pub(crate) struct Later<'py> {
    #[cfg(Py_GIL_DISABLED)]
    pub(super) left: Vec<After<'py>>,
    #[cfg(not(Py_GIL_DISABLED))]
    raised: Option<Error>,
    #[cfg(not(Py_GIL_DISABLED))]
    holds: PhantomData<After<'py>>,
}

impl<'py> Later<'py> {
    #[cfg(Py_GIL_DISABLED)]
    fn push(&mut self, after: After<'py>) {
        self.left.push(after);
    }

    #[cfg(not(Py_GIL_DISABLED))]
    fn push(&mut self, after: After<'py>) {
        if let Err(error) = after.do_it() {
            self.raised.get_or_insert(error);
        }
    }

    /// Do the work.
    ///
    /// # Errors
    ///
    /// The first error. The rest is done all the same.
    #[cfg(Py_GIL_DISABLED)]
    pub(super) fn do_it(self) -> Result<()> {
        let mut done = Ok(());
        for after in self.left {
            let another = after.do_it();
            done = done.and(another);
        }
        done
    }

    #[cfg(not(Py_GIL_DISABLED))]
    pub(super) fn do_it(self) -> Result<()> {
        self.raised.map_or(Ok(()), Err)
    }

    /// Drop an object to which there may be no other reference.
    pub(super) fn drop(&mut self, object: Bound<'py, PyAny>) {
        self.push(After::Drop(object));
    }

    /// Fire a waiter that was taken out of a line, with a value. False if a program has fired it.
    pub(super) fn fire(&mut self, waiting: Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> bool {
        let outcome = Outcome::Value(value.clone().hold());
        match waiting.cast_into::<Deferred>() {
            Ok(deferred) => self.fire_by(deferred, |chain| chain.fire(outcome)),
            Err(other) => {
                self.push(After::HandOver(other.into_inner(), value.clone()));
                true
            }
        }
    }

    /// Fire a Deferred by this transition. False if it has been fired.
    pub(super) fn fire_by(
        &mut self,
        deferred: Bound<'py, Deferred>,
        fire: impl FnOnce(&mut Chain) -> std::result::Result<Fired<Objects>, AlreadyCalled<Outcome>>,
    ) -> bool {
        match deferred.get().chain(deferred.py(), fire) {
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
}

/// Do several steps behind the gate of a line. Returns their result, and the work for later.
#[inline(always)]
pub(super) fn behind<'py, R>(
    line: &Bound<'py, Fifo>,
    steps: impl FnOnce(&mut Later<'py>) -> Result<R>,
) -> (Result<R>, Later<'py>) {
    let mut later = Later::default();
    let result = {
        #[cfg(Py_GIL_DISABLED)]
        let _behind = line.get().gate().enter(line.py());
        #[cfg(not(Py_GIL_DISABLED))]
        let _ = line;
        steps(&mut later)
    };
    (result, later)
}

/// Move all waiters of a line to an empty one, which is returned.
pub(super) fn take_all<'py>(line: &Bound<'py, Fifo>, empty: Bound<'py, Fifo>) -> Bound<'py, Fifo> {
    Fifo::take_all(line, &empty);
    empty
}

/// Take the first waiter out of a line that no program has fired, and do this with it in the same step.
pub(super) fn take_unfired<'py>(
    line: &Bound<'py, Fifo>,
    then: impl FnOnce(&Bound<'py, PyAny>) -> Result<()>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let py = line.py();
    let (first, later) = behind(line, |later| {
        while let Some(first) = line.get().pop_front(py)? {
            if !first.cast::<Deferred>()?.get().chain(py, |chain| chain.called()) {
                then(&first)?;
                return Ok(Some(first));
            }
            later.drop(first);
        }
        Ok(None)
    });
    drop(later);
    first
}

/// Put waiters back at the front of a line, because they could not be told. Needs no memory, unless
/// others have joined.
pub(super) fn wait_again<'py>(line: &Bound<'py, Fifo>, left: &Bound<'py, Fifo>) -> Result<()> {
    let (result, later) = behind(line, |_| {
        while let Some(came) = line.get().pop_front(line.py())? {
            left.get().push_back(came)?;
        }
        Fifo::take_all(left, line);
        Ok(())
    });
    drop(later);
    result
}
