//! The classes of locks and semaphores.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyTuple};

use crate::binding::capi::{
    Held,
    cell::Shared,
    error::Result,
    shown::{Count, Switch},
    stack,
};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::gate::Taken;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::line::ours;
use crate::binding::model::{
    fifo::Fifo,
    line::{Line, busy_line_in, line_in, new_line},
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

/// Programs see all of it, and may replace any part.
pub(crate) struct PrimitiveState {
    /// Those that wait to acquire it.
    pub(crate) waiting: Line,
    pub(crate) locked: Switch,
    pub(crate) tokens: Count,
    pub(crate) limit: Count,
    /// Whether a thread has a turn at a list: see `waits/turns.rs`.
    #[cfg(Py_GIL_DISABLED)]
    pub(crate) turn: Taken,
}

impl PrimitiveState {
    /// The state of one that nobody holds. `limit` is the number of tokens of a semaphore.
    pub(crate) fn new(py: Python<'_>, limit: Option<i64>) -> Result<Self> {
        let count = || limit.map_or_else(|| Ok(Count::none()), |limit| Count::new(py, limit));
        Ok(Self {
            waiting: new_line(py)?,
            locked: Switch::new(false),
            tokens: count()?,
            limit: count()?,
            #[cfg(Py_GIL_DISABLED)]
            turn: Taken::default(),
        })
    }
}

impl Primitive {
    pub(crate) fn new_state(py: Python<'_>, limit: Option<i64>) -> Result<Self> {
        Ok(Self { state: Shared::new(PrimitiveState::new(py, limit)?) })
    }

    pub(crate) fn with<R>(
        &self,
        py: Python<'_>,
        transition: impl FnOnce(&mut PrimitiveState) -> R,
    ) -> R {
        self.state.with(py, transition)
    }

    pub(crate) fn line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line_in(py, &self.state, |state| &mut state.waiting)
    }

    /// The line, if anybody waits in it.
    #[inline(always)]
    pub(crate) fn busy_line<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, Fifo>>> {
        Ok(busy_line_in(py, &self.state, |state| &mut state.waiting)?)
    }

    /// Release it, if nobody waits and a program has replaced nothing. False if nothing has
    /// changed.
    ///
    /// New waiters join under the same lock, so none is forgotten.
    #[cfg(Py_GIL_DISABLED)]
    #[inline(always)]
    pub(crate) fn release_at_once(&self, py: Python<'_>, is_lock: bool) -> bool {
        self.with(py, |state| {
            let is_free = ours(py, &state.waiting).is_some_and(|it| !it.get().may_have_items());
            if !is_free || state.turn.is_taken() {
                return false;
            }
            if is_lock {
                let is_held = state.locked.is_true();
                if is_held {
                    let _true = state.locked.set(false);
                }
                return is_held;
            }
            match (state.tokens.quick(), state.limit.quick()) {
                (Some(tokens), Some(limit)) if tokens < limit => {
                    state.tokens.set_quickly(tokens + 1)
                }
                _ => false,
            }
        })
    }

    /// Have a Deferred wait in the line, if somebody holds this, and it shows nothing that a program
    /// has put there. It is returned if nothing has happened.
    #[cfg(Py_GIL_DISABLED)]
    #[inline(always)]
    pub(crate) fn wait_at_once(
        &self,
        py: Python<'_>,
        is_lock: bool,
        deferred: Held<PyAny>,
    ) -> std::result::Result<(), Held<PyAny>> {
        self.with(py, |state| {
            let is_held =
                if is_lock { state.locked.is_true() } else { state.tokens.quick() == Some(0) };
            match ours(py, &state.waiting) {
                Some(line) if is_held && !state.turn.is_taken() => {
                    line.get().push_in_line(py, deferred)
                }
                _ => Err(deferred),
            }
        })
    }

    /// The number in one of the counts. Afterwards the count holds an int.
    #[cold]
    pub(crate) fn number(
        &self,
        py: Python<'_>,
        count: impl Fn(&mut PrimitiveState) -> &mut Count,
    ) -> Result<i64> {
        loop {
            let object = match self.with(py, |state| count(state).get(py)) {
                Ok(object) => object,
                Err(number) => return Ok(number),
            };
            let number = stack::number(&object)?;
            if object.is_instance_of::<PyInt>() {
                return Ok(number);
            }
            // The number came from Python code, which may have set the count as well.
            let mut new = Count::new(py, number)?;
            self.with(py, |state| {
                if count(state).get(py).is_ok_and(|now| now.is(&object)) {
                    std::mem::swap(count(state), &mut new);
                }
            });
        }
    }

    /// Show another number.
    #[cold]
    pub(crate) fn set_number(
        &self,
        py: Python<'_>,
        count: impl Fn(&mut PrimitiveState) -> &mut Count,
        number: i64,
    ) -> Result<()> {
        let new = Count::new(py, number)?;
        let before = self.with(py, |state| std::mem::replace(count(state), new));
        drop(before);
        Ok(())
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
/// Threads: on a free-threaded Python, any thread may use it. It is handed over exactly once.
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
/// Threads: on a free-threaded Python, any thread may use it. A token is handed over once.
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

/// A call of `lock.run` or `semaphore.run`: it waits until it can acquire, and releases afterwards.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_LockRun", module = "deferrous", frozen)]
pub(crate) struct LockRun {
    pub(crate) primitive: Held<Primitive>,
    pub(crate) function: Held<PyAny>,
    pub(crate) args: Held<PyTuple>,
    pub(crate) kwargs: Option<Held<PyDict>>,
}
