//! Atomic steps of queues, for builds without the GIL: see `turns`.

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::binding::capi::{
    Hold,
    error::{Raise, Result},
};
use crate::binding::judge::classify::classify_asking;
use crate::binding::model::{
    deferred::Deferred,
    fifo::Fifo,
    queue::{DeferredQueue, QueueOverflow, QueueState, QueueUnderflow},
};
use crate::binding::waits::{
    limits::has_room,
    turns::{
        First, Step, Turn, fire_first, fire_first_in_turn, is_list, is_this, unasked, work_of,
    },
    work::Work,
};

/// A limit as a number; `usize::MAX` if there is no limit. None if the limit is not an int.
fn number(limit: Option<&Bound<'_, PyAny>>) -> Option<usize> {
    match limit {
        None => Some(usize::MAX),
        Some(limit) => {
            let limit: i64 = limit.cast_exact::<PyInt>().ok()?.extract().ok()?;
            Some(usize::try_from(limit).unwrap_or(0))
        }
    }
}

/// How many items may be in a line, and whether that is the limit itself. A limit that is not an
/// int is only compared with the current length: if there is room, the answer is one more, and
/// false.
fn bound(line: &Bound<'_, Fifo>, limit: Option<&Bound<'_, PyAny>>) -> Result<(usize, bool)> {
    if let Some(number) = number(limit) {
        return Ok((number, true));
    }
    let now = line.get().len(line.py());
    match limit {
        Some(limit) if !has_room(line, limit)? => Ok((0, true)),
        _ => Ok((now + 1, false)),
    }
}

/// The result of a step if there is no room: refused, or to be tried again if the limit was only
/// compared with another number.
fn full<T>(is_known: bool) -> Step<T> {
    if is_known { Step::Refused } else { Step::Again }
}

/// Whether a queue still has these lines.
fn are_these<'py>(
    py: Python<'py>,
    state: &QueueState,
    waiting: &Bound<'py, Fifo>,
    pending: &Bound<'py, Fifo>,
) -> bool {
    is_this(py, &state.waiting, waiting) && is_this(py, &state.pending, pending)
}

/// Put an object into a queue, or give it to the first waiter.
///
/// # Errors
///
/// `QueueOverflow`; what firing the waiter raises.
pub(crate) fn put<'py>(
    queue: &Bound<'py, DeferredQueue>,
    object: &Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    let py = queue.py();
    let mut asked = unasked(object);
    loop {
        let (waiting, pending) = (queue.get().waiting_line(py)?, queue.get().pending_line(py)?);
        // If there is a waiter, the limit does not matter.
        let (limit, is_known) = match waiting.get().len(py) {
            0 => bound(&pending, queue.get().capacity(py).as_ref())?,
            _ => (0, false),
        };
        let item = object.clone().hold();
        let is_same = |state: &QueueState| are_these(py, state, &waiting, &pending);
        let (mut step, item) = queue.get().with(py, |state| {
            if state.turn.is_taken() {
                return (Step::Turn, Some(item));
            }
            if !is_same(state) {
                return (Step::Again, Some(item));
            }
            match fire_first(&waiting, asked.as_ref()) {
                First::InList => (Step::Turn, Some(item)),
                First::Unasked => (Step::Unasked, Some(item)),
                First::Nobody if pending.get().len(py) >= limit => (full(is_known), Some(item)),
                First::Nobody if is_list(&pending) => (Step::Turn, Some(item)),
                First::Nobody => match pending.get().push_in_line(py, item) {
                    Ok(()) => (Step::Done(First::Nobody), None),
                    Err(item) if is_list(&pending) => (Step::Turn, Some(item)),
                    Err(item) => (Step::NoMemory(item), None),
                },
                first => (Step::Done(first), Some(item)),
            }
        });
        if let (Step::Turn, Some(item)) = (&step, item) {
            let _turn = Turn::take(py, queue.get());
            step = if !queue.get().with(py, |state| is_same(state)) {
                Step::Again
            } else {
                match fire_first_in_turn(&waiting, asked.as_ref())? {
                    First::Unasked => Step::Unasked,
                    First::Nobody if pending.get().len(py) >= limit => full(is_known),
                    First::Nobody => {
                        pending.get().push_back(item.into_bound(py))?;
                        Step::Done(First::Nobody)
                    }
                    first => Step::Done(first),
                }
            };
        }
        match step {
            Step::Done(first) => return work_of(first, object, asked),
            Step::Refused => return Err(QueueOverflow::bare_error(py)),
            Step::Unasked => asked = Some(classify_asking(object.clone())),
            Step::NoMemory(_) => return Err(PyMemoryError::bare_error(py)),
            Step::Again | Step::Turn => {}
        }
    }
}

/// Take the next object of a queue, or else put a new Deferred into the line of its waiters.
///
/// # Errors
///
/// `QueueUnderflow`
pub(crate) fn get<'py>(
    queue: &Bound<'py, DeferredQueue>,
    deferred: &Bound<'py, Deferred>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let py = queue.py();
    loop {
        let (waiting, pending) = (queue.get().waiting_line(py)?, queue.get().pending_line(py)?);
        let room = queue.get().room(py);
        let (limit, is_known) = match pending.get().len(py) {
            0 => bound(&waiting, room.as_ref())?,
            _ => (0, false),
        };
        let is_same = |state: &QueueState| are_these(py, state, &waiting, &pending);
        let item = deferred.as_any().clone().hold();
        let (mut step, item) = queue.get().with(py, |state| {
            if state.turn.is_taken() {
                return (Step::Turn, Some(item));
            }
            if !is_same(state) {
                return (Step::Again, Some(item));
            }
            match pending.get().pop_from_line(py) {
                Ok(Some(object)) => (Step::Done(Some(object)), Some(item)),
                Err(()) => (Step::Turn, Some(item)),
                Ok(None) if waiting.get().len(py) >= limit => (full(is_known), Some(item)),
                Ok(None) if is_list(&waiting) => (Step::Turn, Some(item)),
                Ok(None) => match waiting.get().push_in_line(py, item) {
                    Ok(()) => (Step::Done(None), None),
                    Err(item) if is_list(&waiting) => (Step::Turn, Some(item)),
                    Err(item) => (Step::NoMemory(item), None),
                },
            }
        });
        if let (Step::Turn, Some(item)) = (&step, item) {
            let _turn = Turn::take(py, queue.get());
            step = if !queue.get().with(py, |state| is_same(state)) {
                Step::Again
            } else {
                match pending.get().pop_front(py)? {
                    Some(object) => Step::Done(Some(object)),
                    None if waiting.get().len(py) >= limit => full(is_known),
                    None => {
                        waiting.get().push_back(item.into_bound(py))?;
                        Step::Done(None)
                    }
                }
            };
        }
        match step {
            Step::Done(object) => return Ok(object),
            Step::Refused => return Err(QueueUnderflow::bare_error(py)),
            Step::NoMemory(_) => return Err(PyMemoryError::bare_error(py)),
            _ => {}
        }
    }
}

/// Take an object back: give it to the first waiter, or put it at the front of the queue.
///
/// # Errors
///
/// `MemoryError`; what firing the waiter raises.
pub(crate) fn take_back<'py>(
    queue: &Bound<'py, DeferredQueue>,
    object: &Bound<'py, PyAny>,
    number: u64,
) -> Result<Option<Work<'py>>> {
    let py = queue.py();
    let mut asked = unasked(object);
    loop {
        let (waiting, pending) = (queue.get().waiting_line(py)?, queue.get().pending_line(py)?);
        let first = {
            let _turn = Turn::take(py, queue.get());
            Fifo::skip_fired(&waiting)?;
            let first = fire_first_in_turn(&waiting, asked.as_ref())?;
            if let First::Nobody = first {
                Fifo::put_back(&pending, number, object.clone())?;
            }
            first
        };
        match first {
            First::Unasked => asked = Some(classify_asking(object.clone())),
            first => return work_of(first, object, asked),
        }
    }
}
