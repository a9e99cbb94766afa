//! The classes of locks and semaphores.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{Held, cell::Shared};
use crate::binding::model::{
    fifo::Fifo,
    line::{if_busy, kept, line},
};

/// Something to be acquired and released.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    name = "_ConcurrencyPrimitive",
    module = "deferrous",
    subclass,
    frozen,
    weakref,
    dict,
    generic
)]
pub(crate) struct Primitive {
    pub(crate) state: Shared<PrimitiveState>,
}

#[derive(Default)]
pub(crate) struct PrimitiveState {
    /// Those that wait to acquire it. Made when first needed.
    pub(crate) waiting: Option<Held<Fifo>>,
    pub(crate) locked: bool,
    pub(crate) tokens: i64,
    pub(crate) limit: i64,
}

impl Primitive {
    pub(crate) fn new_state() -> Self {
        Self { state: Shared::new(PrimitiveState::default()) }
    }

    pub(crate) fn with<R>(
        &self,
        py: Python<'_>,
        transition: impl FnOnce(&mut PrimitiveState) -> R,
    ) -> R {
        self.state.with(py, transition)
    }

    pub(crate) fn line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line(py, |made| self.with(py, |state| kept(py, &mut state.waiting, made)))
    }

    /// The line, if anybody waits in it.
    #[inline(always)]
    pub(crate) fn busy_line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Fifo>> {
        self.with(py, |state| if_busy(py, &state.waiting).cloned())
    }
}

/// A lock that is acquired with a Deferred and held by one at a time.
///
/// Those who wait get it in the order in which they asked. Coroutines can
/// use `async with`.
///
/// Cancelling the Deferred of `acquire()` gives up the place in the line, or does nothing if
/// the lock has been acquired.
///
/// Differs from Twisted: to wait and to give up waiting take constant time, however many wait.
///
/// ```python
/// from deferrous import DeferredLock
///
/// lock = DeferredLock()
/// lock.run(print, "one at a time")
/// ```
///
/// This prints `one at a time`.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    module = "deferrous",
    extends = Primitive,
    subclass,
    frozen
)]
pub(crate) struct DeferredLock;

/// A semaphore that is acquired with a Deferred and held by a limited number at a time.
///
/// Those who wait get it in the order in which they asked. Coroutines can
/// use `async with`.
///
/// Arguments:
///
/// - `tokens`: how many may hold it at a time.
///
/// Errors:
///
/// - ValueError: `tokens` is less than 1.
///
/// Cancelling the Deferred of `acquire()` gives up the place in the line, or does nothing if a
/// token has been acquired.
///
/// Differs from Twisted: to wait and to give up waiting take constant time, however many wait.
///
/// ```python
/// from deferrous import DeferredSemaphore
///
/// semaphore = DeferredSemaphore(2)
/// semaphore.acquire()
/// print(semaphore.tokens)
/// ```
///
/// This prints 1.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    module = "deferrous",
    extends = Primitive,
    subclass,
    frozen
)]
pub(crate) struct DeferredSemaphore;

/// A call that needs something to be acquired.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_Locked", module = "deferrous", frozen)]
pub(crate) struct Locked {
    pub(crate) primitive: Held<Primitive>,
    pub(crate) function: Held<PyAny>,
    pub(crate) args: Held<PyTuple>,
    pub(crate) kwargs: Option<Held<PyDict>>,
}
