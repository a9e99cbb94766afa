//! The object that `await deferred` iterates.

use pyo3::prelude::*;

use crate::binding::capi::{Held, Hold, cell::Shared, error::Result, new_exact};
use crate::binding::model::{deferred::Deferred, outcome::Outcome};
use crate::core::Boxed;

/// Yields its Deferred until that has a result, then returns or raises the result.
///
/// To an asyncio task, which waits for nothing but futures, it yields a future instead, and to
/// Twisted's own driver one of Twisted's own Deferreds.
#[pyclass(name = "_DeferredIterator", module = "deferrous", frozen, weakref)]
pub(crate) struct Awaiting {
    pub(crate) state: Shared<State>,
}

pub(crate) enum State {
    /// It waits for this, or has not begun to.
    For(Held<Deferred>),
    /// The driver waits for something else in its place.
    Through(Boxed<StandIn>),
    /// The driver does not wait any more, but the Deferred may still come to something.
    Left(Left),
    /// It has returned, raised or been closed.
    Done,
}

/// What a driver waits for that cannot wait for a Deferred.
pub(crate) struct StandIn {
    pub(crate) deferred: Held<Deferred>,
    /// What is yielded to the driver.
    pub(crate) object: Held<PyAny>,
    /// Wakes the driver, when the Deferred's outcome is here.
    pub(crate) wake: Held<PyAny>,
    pub(crate) arrived: Option<Outcome>,
    /// What hands over to the Deferred, if it waits for that and nothing else, and the number of
    /// that hand-over. Where the driver does not come for it, it goes back.
    pub(crate) source: Option<Held<PyAny>>,
    pub(crate) number: u64,
}

/// What is to be done when a Deferred comes to something that nobody waits for any more.
pub(crate) struct Left {
    /// The Deferred was cancelled. A failure of that is of no interest.
    pub(crate) cancelled: bool,
    /// The Deferred, and what hands over to it.
    pub(crate) source: Option<Boxed<(Held<Deferred>, Held<PyAny>)>>,
}

/// Make one that waits for this.
#[inline(always)]
pub(crate) fn new_awaiting<'py>(
    py: Python<'py>,
    deferred: Bound<'py, Deferred>,
) -> Result<Bound<'py, Awaiting>> {
    new_exact(py, || Awaiting { state: Shared::new(State::For(deferred.hold())) })
}
