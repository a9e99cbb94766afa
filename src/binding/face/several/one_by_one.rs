//! Requests to groups, maps and streams: one thread at a time carries them out.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::binding::capi::{self, Held, Hold, cell::Shared, error::Result, interned::intern, none};
use crate::binding::face::{ending::is_failure, place::_hand_over};
use crate::binding::model::{deferred::AlreadyCalledError, gate::Taken, traverse::Traverse};
use crate::binding::waits::made;
use crate::core::refusable;

/// The requests to one object. They call functions of the program.
///
/// A thread that comes while another one carries out a request does not wait. It leaves its request
/// to that thread, which carries it out next. So no lock is held while these functions run.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_Steps", module = "deferrous", frozen)]
pub(crate) struct Steps {
    state: Shared<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Step>,
    /// Whether a thread is carrying out requests, and which one.
    busy: Taken,
    by: usize,
}

struct Step {
    work: Held<PyAny>,
    args: Held<PyTuple>,
}

impl Step {
    fn call(&self, py: Python<'_>) -> Result<()> {
        self.work.bind(py).call1(self.args.bind(py))?;
        Ok(())
    }
}

/// Who carries out a request.
enum Whose {
    /// This thread, at once, within another request.
    Ours(Step),
    /// This thread, together with the requests that come meanwhile.
    All,
    Anothers,
    NoMemory(#[allow(dead_code, reason = "held to be dropped")] Step),
}

impl State {
    fn accept(&mut self, step: Step, this: usize) -> Whose {
        let is_busy = self.busy.is_taken();
        if is_busy && self.by == this {
            return Whose::Ours(step);
        }
        if refusable(|| self.waiting.try_reserve(1)).is_err() {
            return Whose::NoMemory(step);
        }
        self.waiting.push_back(step);
        if is_busy {
            return Whose::Anothers;
        }
        self.busy = Taken::now();
        self.by = this;
        Whose::All
    }

    /// The next request. If there is none, the thread stops.
    fn next(&mut self) -> Option<Step> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.busy = Taken::default();
        }
        next
    }
}

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Steps {
    #[new]
    fn new() -> Self {
        Self { state: Shared::new(State::default()) }
    }

    /// Call a function: now, or as soon as another thread has finished its own calls.
    ///
    /// If it raises, the thread that calls it gets the error, after all other requests.
    #[pyo3(name = "do", signature = (work, *args))]
    fn do_step<'py>(
        slf: &Bound<'py, Self>,
        work: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> Result<()> {
        let py = slf.py();
        let (this, state) = (capi::this_thread(py), &slf.get().state);
        let step = Step { work: work.hold(), args: args.hold() };
        match state.with(py, |state| state.accept(step, this)) {
            Whose::Ours(step) => return step.call(py),
            Whose::Anothers => return Ok(()),
            Whose::NoMemory(_) => return Err(capi::no_memory(py)),
            Whose::All => {}
        }
        let mut done = Ok(());
        while let Some(step) = state.with(py, State::next) {
            let another = step.call(py);
            done = done.and(another);
        }
        done
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for step in &self.state.during_gc().waiting {
            step.work.traverse(visit)?;
            step.args.traverse(visit)?;
        }
        Ok(())
    }
}

/// How `_give_done` passes on a result: if the waiter has given up in another thread meanwhile, the
/// result goes back to its owner, for the next waiter.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _hand_on<'py>(
    result: Bound<'py, PyAny>,
    waiter: Bound<'py, PyAny>,
    owner: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = owner.py();
    let failed = is_failure(&result)?;
    match _hand_over(waiter, result.clone()) {
        Err(error) if error.is_instance_of::<AlreadyCalledError>(py) => {
            let again = if failed {
                made::of_failure(py, Some(result.clone()))?
            } else {
                made::of_result(result.clone())?
            };
            owner.call_method1(intern!(py, "_come_back"), (again,))?;
        }
        handed_over => handed_over?,
    }
    Ok(if failed { none(py) } else { result })
}
