//! A place in a line.

use pyo3::prelude::*;

use crate::binding::capi::{Held, Hold, Pool, Recycled, cell::Shared, error::Result, new_exact};
use crate::binding::model::fifo::Fifo;

/// A place in a line: the canceller of a Deferred that waits in it.
///
/// Cancelling the Deferred takes it out of the line, in constant time. The owner of the line, if
/// there is one, is told by its `_left`, where it has that. A task of asyncio that is cancelled
/// after it was given something, and before it runs, does not come for that: then the owner's
/// `_not_taken` is called.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_Place", module = "deferrous", frozen)]
pub(crate) struct Place {
    /// None once it dies.
    pub(crate) state: Shared<Option<State>>,
}

pub(crate) struct State {
    pub(crate) line: Held<Fifo>,
    pub(crate) owner: Option<Held<PyAny>>,
    /// What the owner wants to know of it.
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

    /// Whose line it is.
    pub(crate) fn owner<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.look(py, |it| it.owner.as_ref().map(|owner| owner.bind(py).clone()))?
    }

    /// Whether the line is somebody's.
    pub(crate) fn has_owner(&self, py: Python<'_>) -> bool {
        self.look(py, |it| it.owner.is_some()) == Some(true)
    }

    /// What the owner wants to know of it.
    pub(crate) fn what<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.look(py, |it| it.what.bind(py).clone())
    }
}

/// Each that waits has one.
impl Recycled for Place {
    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Place> = Pool::new();
        &POOL
    }

    fn dies_quietly(&self, _py: Python<'_>) -> bool {
        true
    }

    /// Most often somebody has all of it besides.
    #[inline]
    fn is_light(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| {
            state.as_ref().is_none_or(|it| {
                it.line.is_shared(py)
                    && it.what.is_shared(py)
                    && it.owner.as_ref().is_none_or(|owner| owner.is_shared(py))
            })
        })
    }

    #[inline(always)]
    fn dispose_of_light(&self, py: Python<'_>) {
        self.dispose(py);
    }

    #[inline(always)]
    fn dispose(&self, py: Python<'_>) {
        drop(self.state.with(py, Option::take));
    }
}

/// Make one.
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
