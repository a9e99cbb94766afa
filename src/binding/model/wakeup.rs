//! The call by which the loop of an asyncio task wakes the task.

use pyo3::prelude::*;

use crate::binding::capi::{
    Held, Hold, Pool, Pooled, Recycled, cell::Shared, error::Result, new_exact,
};

/// The call of a future's callback in its context. It is in the queue of one of asyncio's loops, in
/// place of an `asyncio.Handle`, and has the attributes that the loop and debuggers use.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_Wakeup", module = "deferrous", frozen)]
pub(crate) struct Wakeup {
    pub(crate) state: Shared<State>,
}

pub(crate) enum State {
    /// It has run, or is being freed.
    Done,
    Cancelled,
    Waiting(Call),
}

/// What is called, with what, and in which context.
pub(crate) struct Call {
    pub(crate) callback: Held<PyAny>,
    pub(crate) future: Held<PyAny>,
    pub(crate) context: Held<PyAny>,
}

impl Wakeup {
    /// Look at the call, if it has not been made.
    pub(crate) fn look<R>(&self, py: Python<'_>, look: impl FnOnce(&Call) -> R) -> Option<R> {
        self.state.with(py, |state| match state {
            State::Waiting(call) => Some(look(call)),
            State::Done | State::Cancelled => None,
        })
    }

    /// Take the call, to make it.
    #[inline(always)]
    pub(crate) fn take(&self, py: Python<'_>) -> Option<Call> {
        self.state.with(py, |state| match std::mem::replace(state, State::Done) {
            State::Waiting(call) => Some(call),
            State::Done => None,
            State::Cancelled => {
                *state = State::Cancelled;
                None
            }
        })
    }
}

/// There is one for each task that is woken.
impl Recycled for Wakeup {
    type State = State;

    #[inline(always)]
    fn state(&self) -> &Shared<State> {
        &self.state
    }

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Wakeup> = Pool::new(Pooled::Wakeup);
        &POOL
    }

    #[inline]
    fn dies_quietly(_state: &State) -> bool {
        true
    }

    #[inline]
    fn is_light(state: &State, _py: Python<'_>) -> bool {
        !matches!(state, State::Waiting(_))
    }

    #[inline(always)]
    fn dispose_of_light(state: &mut State, _py: Python<'_>) {
        drop(std::mem::replace(state, State::Done));
    }

    #[inline(always)]
    fn dispose(&self, py: Python<'_>) {
        drop(self.take(py));
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        crate::binding::capi::dropping(self);
    }
}

/// Make one.
#[inline(always)]
pub(crate) fn new_wakeup<'py>(
    callback: Bound<'py, PyAny>,
    future: Bound<'py, PyAny>,
    context: Bound<'py, PyAny>,
) -> Result<Bound<'py, Wakeup>> {
    new_exact(callback.py(), || {
        let (callback, future, context) = (callback.hold(), future.hold(), context.hold());
        Wakeup { state: Shared::new(State::Waiting(Call { callback, future, context })) }
    })
}
