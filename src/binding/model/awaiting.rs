//! The iterator behind `await deferred`.

use pyo3::prelude::*;

use crate::binding::capi::{Held, Hold, cell::Shared, error::Result, new_exact};
use crate::binding::model::{deferred::Deferred, outcome::Outcome};
use crate::core::Boxed;

/// Yields its Deferred until that has a result, then returns or raises the result.
///
/// An asyncio task waits for futures only, so it gets a future instead. Twisted's own driver gets
/// one of Twisted's Deferreds.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    name = "_DeferredIterator",
    module = "deferrous",
    frozen,
    weakref
)]
pub(crate) struct Awaiting {
    pub(crate) state: Shared<State>,
}

impl Awaiting {
    /// Set what it waits for. Returns what that was before.
    #[inline]
    pub(crate) fn replace(&self, py: Python<'_>, state: State) -> State {
        self.state.with(py, |current| std::mem::replace(current, state))
    }
}

pub(crate) enum State {
    /// It waits for this Deferred, or has not started.
    For(Held<Deferred>),
    /// The driver waits for a stand-in, such as a future.
    Through(Boxed<StandIn>),
    /// The driver no longer waits, but the Deferred may still fire.
    Left(Left),
    /// It has returned, raised or been closed.
    Done,
}

/// What a driver waits for if it cannot wait for a Deferred.
pub(crate) struct StandIn {
    pub(crate) deferred: Held<Deferred>,
    /// The object that is yielded to the driver.
    pub(crate) object: Held<PyAny>,
    /// What wakes the driver when the Deferred has its outcome.
    pub(crate) waker: Waker,
    /// The thread that waits.
    pub(crate) thread: usize,
    pub(crate) arrived: Option<Outcome>,
    /// The lock, semaphore or queue that hands over to the Deferred, if any, and the number of the
    /// hand-over. If the driver never takes it, it is given back.
    pub(crate) source: Option<Held<PyAny>>,
    pub(crate) number: u64,
}

/// What wakes the driver.
pub(crate) enum Waker {
    /// This function.
    Function(Held<PyAny>),
    /// The result of the object, which is a future of this loop.
    Loop(Held<PyAny>),
}

/// What to do with an outcome that nobody waits for any more.
pub(crate) struct Left {
    /// The Deferred was cancelled. Ignore the failure.
    pub(crate) cancelled: bool,
    /// Give back what was handed over to this Deferred.
    pub(crate) source: Option<Boxed<(Held<Deferred>, Held<PyAny>)>>,
}

/// Make an iterator for a Deferred.
#[inline(always)]
pub(crate) fn new_awaiting<'py>(
    py: Python<'py>,
    deferred: Bound<'py, Deferred>,
) -> Result<Bound<'py, Awaiting>> {
    new_exact(py, || Awaiting { state: Shared::new(State::For(deferred.hold())) })
}
