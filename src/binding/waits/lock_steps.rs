//! Atomic steps of locks and semaphores, for builds without the GIL: see `turns`.

use std::mem::{replace, swap};

use pyo3::exceptions::{PyAssertionError, PyMemoryError};
use pyo3::prelude::*;

use crate::binding::capi::{
    Hold,
    error::{Raise, Result},
    shown::{Count, Switch},
};
use crate::binding::judge::classify::classify_asking;
use crate::binding::model::{
    deferred::Deferred,
    fifo::Fifo,
    line::ours,
    primitive::{DeferredLock, Primitive, PrimitiveState},
};
use crate::binding::waits::{
    limits::too_many_tokens,
    turns::{
        Asked, First, Step, Turn, fire_first, fire_first_in_turn, is_list, is_this, unasked,
        work_of,
    },
    work::Work,
};
use crate::core::Flag;

/// Objects that are made before a step of a lock or semaphore, as it cannot make them itself.
struct Prepared {
    /// Of a semaphore: its tokens, its limit, and the new number for programs to see.
    tokens: Option<(i64, i64, Count)>,
    /// Of a lock: the previous value, to be dropped after the step.
    locked: Option<Switch>,
}

impl Prepared {
    /// Prepare for adding this number of tokens: 1 or -1.
    fn new(primitive: &Bound<'_, Primitive>, change: i64) -> Result<Self> {
        let py = primitive.py();
        let mut tokens = None;
        if !primitive.is_instance_of::<DeferredLock>() {
            let number = primitive.get().number(py, |state| &mut state.tokens)?;
            // Acquiring does not depend on the limit.
            let limit = match change {
                1.. => primitive.get().number(py, |state| &mut state.limit)?,
                _ => 0,
            };
            tokens = Some((number, limit, Count::new(py, number.saturating_add(change))?));
        }
        Ok(Self { tokens, locked: None })
    }

    /// Whether somebody holds it.
    fn is_held(&self, py: Python<'_>, state: &PrimitiveState) -> Step<bool> {
        match &self.tokens {
            None => Step::Done(state.locked.is_on()),
            Some((tokens, limit, _)) => {
                let unchanged = state.tokens.number(py) == Some(*tokens)
                    && state.limit.number(py) == Some(*limit);
                if unchanged { Step::Done(tokens < limit) } else { Step::Again }
            }
        }
    }

    /// Whether it can be acquired.
    fn is_free(&self, py: Python<'_>, state: &PrimitiveState) -> Step<bool> {
        match &self.tokens {
            None => Step::Done(!state.locked.is_on()),
            Some((tokens, ..)) if state.tokens.number(py) == Some(*tokens) => {
                Step::Done(*tokens > 0)
            }
            Some(_) => Step::Again,
        }
    }

    /// Store that it has been acquired or released.
    fn put(&mut self, state: &mut PrimitiveState, locked: bool) {
        match &mut self.tokens {
            None => self.locked = Some(replace(&mut state.locked, Switch::new(locked))),
            Some((_, _, count)) => swap(count, &mut state.tokens),
        }
    }
}

/// Fire the first waiter, where nothing has to be prepared for that. None if nothing has happened.
#[inline(always)]
fn release_at_once<'py>(
    primitive: &Bound<'py, Primitive>,
    asked: Option<&Asked>,
) -> Option<First<'py>> {
    let py = primitive.py();
    let is_lock = primitive.is_instance_of::<DeferredLock>();
    primitive.get().with(py, |state| {
        let is_held = if is_lock {
            state.locked.is_true()
        } else {
            matches!((state.tokens.quick(), state.limit.quick()), (Some(now), Some(all)) if now < all)
        };
        if !is_held || state.turn.is_taken() {
            return None;
        }
        match fire_first(ours(py, &state.waiting)?, asked) {
            First::Nobody | First::Unasked | First::InList => None,
            first => Some(first),
        }
    })
}

/// Release a lock or semaphore.
///
/// # Errors
///
/// `AssertionError` if it is not held; what firing the next Deferred raises.
pub(crate) fn release<'py>(primitive: &Bound<'py, Primitive>) -> Result<Option<Work<'py>>> {
    let asked = unasked(primitive.as_any());
    match release_at_once(primitive, asked.as_ref()) {
        Some(first) => work_of(first, primitive.as_any(), asked),
        None => release_prepared(primitive, asked),
    }
}

/// [`release`], with what is to be handed over, if it has been asked what that is.
#[inline(never)]
fn release_prepared<'py>(
    primitive: &Bound<'py, Primitive>,
    mut asked: Option<Asked>,
) -> Result<Option<Work<'py>>> {
    let py = primitive.py();
    loop {
        let line = primitive.get().line(py)?;
        let mut prepared = Prepared::new(primitive, 1)?;
        let mut step = primitive.get().with(py, |state| {
            if state.turn.is_taken() {
                return Step::Turn;
            }
            if !is_this(py, &state.waiting, &line) {
                return Step::Again;
            }
            match prepared.is_held(py, state) {
                Step::Done(true) => {}
                Step::Done(false) => return Step::Refused,
                _ => return Step::Again,
            }
            match fire_first(&line, asked.as_ref()) {
                First::InList => return Step::Turn,
                First::Unasked => return Step::Unasked,
                First::Nobody => prepared.put(state, false),
                first => return Step::Done(first),
            }
            Step::Done(First::Nobody)
        });
        if let Step::Turn = step {
            let _turn = Turn::take(py, primitive.get());
            step = match primitive.get().with(py, |state| prepared.is_held(py, state)) {
                Step::Done(true) => match fire_first_in_turn(&line, asked.as_ref())? {
                    First::Unasked => Step::Unasked,
                    First::Nobody => primitive.get().with(py, |state| {
                        let Step::Done(true) = prepared.is_held(py, state) else {
                            return Step::Again;
                        };
                        if !is_this(py, &state.waiting, &line) {
                            return Step::Again;
                        }
                        prepared.put(state, false);
                        Step::Done(First::Nobody)
                    }),
                    first => Step::Done(first),
                },
                Step::Done(false) => Step::Refused,
                _ => Step::Again,
            };
        }
        match step {
            Step::Done(first) => return work_of(first, primitive.as_any(), asked),
            Step::Refused if primitive.is_instance_of::<DeferredLock>() => {
                return Err(PyAssertionError::error(py, "Tried to release an unlocked lock"));
            }
            Step::Refused => return Err(too_many_tokens(py)),
            Step::Unasked => asked = Some(classify_asking(primitive.as_any().clone())),
            Step::Again | Step::Turn | Step::NoMemory(_) => {}
        }
    }
}

/// Acquire a semaphore whose number is not one of the small ones. Returns whether it was free, and
/// whether its number makes sense.
///
/// # Errors
///
/// What its number raises when it is asked for.
pub(crate) fn take_token(primitive: &Bound<'_, Primitive>) -> Result<(bool, bool)> {
    let py = primitive.py();
    loop {
        let mut prepared = Prepared::new(primitive, -1)?;
        let step = primitive.get().with(py, |state| {
            let step = prepared.is_free(py, state);
            if let Step::Done(true) = step {
                prepared.put(state, true);
            }
            step
        });
        if let Step::Done(free) = step {
            let sound = prepared.tokens.as_ref().is_none_or(|(tokens, ..)| *tokens >= 0);
            return Ok((free, sound));
        }
    }
}

/// Acquire a lock or semaphore, or else put a new Deferred into its line. True if acquired.
///
/// # Errors
///
/// `MemoryError`; what the number of a semaphore raises when it is asked for.
pub(crate) fn acquire<'py>(
    primitive: &Bound<'py, Primitive>,
    deferred: &Bound<'py, Deferred>,
) -> Result<bool> {
    let py = primitive.py();
    let is_lock = primitive.is_instance_of::<DeferredLock>();
    let item = deferred.as_any().clone().hold();
    match primitive.get().wait_at_once(py, is_lock, item) {
        Ok(()) => Ok(false),
        Err(_item) => acquire_prepared(primitive, deferred),
    }
}

#[inline(never)]
fn acquire_prepared<'py>(
    primitive: &Bound<'py, Primitive>,
    deferred: &Bound<'py, Deferred>,
) -> Result<bool> {
    let py = primitive.py();
    loop {
        let line = primitive.get().line(py)?;
        let mut prepared = Prepared::new(primitive, -1)?;
        let item = deferred.as_any().clone().hold();
        // Done(true) if acquired.
        let mut look = |state: &mut PrimitiveState| {
            if !is_this(py, &state.waiting, &line) {
                return Step::Again;
            }
            let step = prepared.is_free(py, state);
            if let Step::Done(true) = step {
                prepared.put(state, true);
            }
            step
        };
        let (mut step, item) = primitive.get().with(py, |state| {
            if state.turn.is_taken() {
                return (Step::Turn, Some(item));
            }
            match look(state) {
                Step::Done(false) if is_list(&line) => (Step::Turn, Some(item)),
                Step::Done(false) => match line.get().push_in_line(py, item) {
                    Ok(()) => (Step::Done(false), None),
                    // A program has made it a list since.
                    Err(item) if is_list(&line) => (Step::Turn, Some(item)),
                    Err(item) => (Step::NoMemory(item), None),
                },
                step => (step, Some(item)),
            }
        });
        if let (Step::Turn, Some(item)) = (&step, item) {
            let _turn = Turn::take(py, primitive.get());
            step = primitive.get().with(py, look);
            if let Step::Done(false) = step {
                line.get().push_back(item.into_bound(py))?;
            }
        }
        match step {
            Step::Done(acquired) => return Ok(acquired),
            Step::NoMemory(_) => return Err(PyMemoryError::bare_error(py)),
            _ => {}
        }
    }
}

/// Drop Deferreds at the front of the line of a lock or semaphore that a program has fired itself.
///
/// # Errors
///
/// `MemoryError`
pub(crate) fn skip_fired(primitive: &Bound<'_, Primitive>) -> Result<()> {
    let line = primitive.get().line(primitive.py())?;
    let _turn = Turn::take(primitive.py(), primitive.get());
    Fifo::skip_fired(&line)
}
