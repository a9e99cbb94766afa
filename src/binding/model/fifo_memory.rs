//! Reuses the memory of dead [`Fifo`]s.

use pyo3::prelude::*;

use crate::binding::capi::{self, Pool, Pooled, Recycled, cell::Shared};
use crate::binding::model::{
    fifo::{Fifo, State},
    line_items::Items,
};

/// Each lock has one, and each queue has two.
impl Recycled for Fifo {
    type State = State;

    #[inline(always)]
    fn state(&self) -> &Shared<State> {
        &self.state
    }

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Fifo> = Pool::new(Pooled::Fifo);
        &POOL
    }

    fn dies_quietly(_state: &State) -> bool {
        true
    }

    /// Whether it has a gate.
    #[cfg(Py_GIL_DISABLED)]
    #[inline(always)]
    fn holds_more(&self) -> bool {
        self.known_gate().is_some()
    }

    #[inline]
    fn is_light(state: &State, _py: Python<'_>) -> bool {
        !state.may_have_items()
    }

    #[inline(always)]
    fn dispose_of_light(state: &mut State, _py: Python<'_>) {
        drop(std::mem::replace(state, State::Line(Items::default())));
    }

    #[inline(always)]
    fn dispose(&self, py: Python<'_>) {
        let empty = State::Line(Items::default());
        drop(self.with(py, |state| std::mem::replace(state, empty)));
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        capi::dropping(self);
    }
}
