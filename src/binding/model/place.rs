//! A place in a line of waiting Deferreds.

use pyo3::prelude::*;

use crate::binding::capi::{
    Held, Hold, Pool, Pooled, Recycled, cell::Shared, error::Result, new_exact,
};
use crate::binding::model::fifo::Fifo;

/// A place in a line: the canceller of a Deferred that waits in it.
///
/// Cancelling the Deferred removes it from the line, in constant time, and calls the `_left` method
/// of the line's owner, if it has one. If an asyncio task is cancelled after it was given something
/// and before it runs, it does not take that: then the owner's `_not_taken` is called.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_Place", module = "deferrous", frozen)]
pub(crate) struct Place {
    /// None during deallocation.
    pub(crate) state: Shared<Option<State>>,
}

pub(crate) struct State {
    pub(crate) line: Held<Fifo>,
    pub(crate) owner: Option<Held<PyAny>>,
    /// Set by the owner.
    pub(crate) what: Held<PyAny>,
}

impl Place {
    fn look<'py, R>(&self, py: Python<'py>, look: impl FnOnce(&State) -> R) -> Option<R> {
        self.state.with(py, |state| state.as_ref().map(look))
    }

    /// The line.
    pub(crate) fn line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Fifo>> {
        self.look(py, |it| it.line.bind(py).clone())
    }

    /// The owner of the line.
    pub(crate) fn owner<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.look(py, |it| it.owner.as_ref().map(|owner| owner.bind(py).clone()))?
    }

    /// Whether the line has an owner.
    pub(crate) fn has_owner(&self, py: Python<'_>) -> bool {
        self.look(py, |it| it.owner.is_some()) == Some(true)
    }

    /// What the owner has set.
    pub(crate) fn what<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.look(py, |it| it.what.bind(py).clone())
    }
}

/// There is one for each waiting Deferred.
impl Recycled for Place {
    type State = Option<State>;

    #[inline(always)]
    fn state(&self) -> &Shared<Option<State>> {
        &self.state
    }

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Place> = Pool::new(Pooled::Place);
        &POOL
    }

    fn dies_quietly(_state: &Option<State>) -> bool {
        true
    }

    /// Usually everything it refers to has other owners.
    #[inline]
    fn is_light(state: &Option<State>, py: Python<'_>) -> bool {
        state.as_ref().is_none_or(|it| {
            it.line.is_shared(py)
                && it.what.is_shared(py)
                && it.owner.as_ref().is_none_or(|owner| owner.is_shared(py))
        })
    }

    #[inline(always)]
    fn dispose_of_light(state: &mut Option<State>, _py: Python<'_>) {
        drop(state.take());
    }

    #[inline(always)]
    fn dispose(&self, py: Python<'_>) {
        drop(self.state.with(py, Option::take));
    }
}

/// Make a place.
#[inline(always)]
pub(crate) fn new_place<'py>(
    line: &Bound<'py, Fifo>,
    owner: Option<Bound<'py, PyAny>>,
    what: Bound<'py, PyAny>,
) -> Result<Bound<'py, Place>> {
    new_exact(line.py(), || {
        let line = line.clone().hold();
        let state = State { line, owner: owner.map(Hold::hold), what: what.hold() };
        Place { state: Shared::new(Some(state)) }
    })
}
