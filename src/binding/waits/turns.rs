//! Locks, semaphores and queues without the GIL: what they have and who waits for it are looked at,
//! and changed, in one step, and whoever is first in line is fired in that step, too.
//!
//! So nothing is handed over twice, and nobody waits for what is there. Somebody who waits either
//! gives up before, and is not found in the line, or is fired and cannot give up any more.
//!
//! The locks are taken in this order: of the lock, semaphore or queue, of its line, of a Deferred.
//!
//! A line that a program has made a list, as `queue.waiting[0] = ...` does, can only be changed by
//! calling methods of that list, which may detach the thread. One thread at a time does that, in a
//! [`Turn`]: all other steps of the same lock, semaphore or queue wait until it ends. No code of a
//! program runs in a turn. (What programs do with the list themselves is not part of any turn. Each
//! of its methods is a step of its own, as for all lists.)

use std::thread;

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Held, Hold,
    error::{Error, Result},
};
use crate::binding::judge::{classify::classify_asking, ordinary::is_ordinary};
use crate::binding::model::{
    deferred::{Deferred, Objects},
    fifo::{Fifo, State},
    line,
    outcome::{Outcome, share},
    primitive::Primitive,
    queue::DeferredQueue,
};
use crate::binding::waits::{
    firing::{self, fire_one},
    work::Work,
};
use crate::core::{AlreadyCalled, Fired};

/// What has lines, and turns at them.
pub(crate) trait Lined {
    /// Say that a turn is under way, or that none is. Returns what was said before.
    fn set_turn(&self, py: Python<'_>, on: bool) -> bool;
}

impl Lined for Primitive {
    fn set_turn(&self, py: Python<'_>, on: bool) -> bool {
        self.with(py, |state| std::mem::replace(&mut state.turn, on))
    }
}

impl Lined for DeferredQueue {
    fn set_turn(&self, py: Python<'_>, on: bool) -> bool {
        self.with(py, |state| std::mem::replace(&mut state.turn, on))
    }
}

/// One thread's turn at the lists of a lock, semaphore or queue. It ends where this is dropped.
pub(super) struct Turn<'a, 'py, L: Lined>(Python<'py>, &'a L);

impl<'a, 'py, L: Lined> Turn<'a, 'py, L> {
    pub(super) fn take(py: Python<'py>, of: &'a L) -> Self {
        while of.set_turn(py, true) {
            let_others_run(py);
        }
        Self(py, of)
    }
}

impl<L: Lined> Drop for Turn<'_, '_, L> {
    fn drop(&mut self) {
        self.1.set_turn(self.0, false);
    }
}

/// Wait a moment for another thread's turn to end. It may need the interpreter for that.
fn let_others_run(py: Python<'_>) {
    py.detach(thread::yield_now);
}

/// Wait until no turn is under way: what is taken out of a list by one has been fired then.
pub(crate) fn after_turns<L: Lined>(py: Python<'_>, of: &L) {
    drop(Turn::take(py, of));
}

/// What is handed over, and what its `__class__` raised.
pub(super) type Asked = (Outcome, Option<Error>);

/// The same, if the object need not be asked what it is.
pub(super) fn unasked(object: &Bound<'_, PyAny>) -> Option<Asked> {
    is_ordinary(object).then(|| (Outcome::Value(object.clone().hold()), None))
}

/// What became of the first in a line.
pub(super) enum First<'py> {
    /// It has been fired.
    Fired(Bound<'py, Deferred>, Result<Fired<Objects>, AlreadyCalled<Outcome>>),
    /// It is no longer in the line, and has to be asked how it is fired.
    Other(Bound<'py, PyAny>),
    /// Nobody waits.
    Nobody,
    /// The object has to be asked first what it is.
    Unasked,
    /// The line is a list: that takes a turn.
    InList,
}

/// Fire the first in a line.
pub(super) fn fire_first<'py>(line: &Bound<'py, Fifo>, asked: Option<&Asked>) -> First<'py> {
    let py = line.py();
    line.get().with(py, |state| match state {
        State::Line(items) if items.len() == 0 => First::Nobody,
        State::List { list, .. } if list.bind(py).len() == 0 => First::Nobody,
        _ if asked.is_none() => First::Unasked,
        State::Line(items) => match items.pop_front() {
            Some(item) => fire_this(item.into_bound(py), asked),
            None => First::Nobody,
        },
        State::List { .. } => First::InList,
    })
}

fn fire_this<'py>(first: Bound<'py, PyAny>, asked: Option<&Asked>) -> First<'py> {
    let py = first.py();
    let Some((outcome, _)) = asked else { return First::Other(first) };
    let outcome = share(py, outcome);
    match capi::into_exact::<Deferred>(first) {
        Ok(deferred) => {
            let fired = deferred.get().chain(py, |chain| chain.fire(outcome));
            First::Fired(deferred, fired)
        }
        Err(other) => First::Other(other),
    }
}

/// The same, in a turn.
pub(super) fn fire_first_in_turn<'py>(
    line: &Bound<'py, Fifo>,
    asked: Option<&Asked>,
) -> Result<First<'py>> {
    Ok(match fire_first(line, asked) {
        First::InList => match line.get().pop_front_of_list(line.py())? {
            Some(first) => fire_this(first, asked),
            None => First::Nobody,
        },
        first => first,
    })
}

/// The work that follows, of the first in a line.
pub(super) fn work_of<'py>(
    first: First<'py>,
    object: &Bound<'py, PyAny>,
    asked: Option<Asked>,
) -> Result<Option<Work<'py>>> {
    match first {
        First::Fired(deferred, fired) => {
            let runs = firing::after_fire(&deferred, fired)?;
            Ok(Work::run_and(runs.then_some(deferred), asked.and_then(|(_, error)| error)))
        }
        First::Other(other) => fire_one(other, object.clone()),
        First::Nobody | First::Unasked | First::InList => Ok(None),
    }
}

/// Fire the first in a line that has not been fired by hand. None if there is none, or it has to be
/// asked how it is fired, or the line is a list.
///
/// # Errors
///
/// What firing it raises.
pub(crate) fn give_first<'py>(
    line: &Bound<'py, Fifo>,
    object: &Bound<'py, PyAny>,
) -> Result<Option<Option<Work<'py>>>> {
    let py = line.py();
    let mut asked = unasked(object);
    loop {
        let first = line.get().with(py, |state| {
            let State::Line(items) = state else { return First::InList };
            let Some(item) = items.get(0) else { return First::Nobody };
            if !capi::is_exact::<Deferred>(item.bind(py)) {
                return First::InList;
            }
            if asked.is_none() {
                return First::Unasked;
            }
            match items.pop_front() {
                Some(item) => fire_this(item.into_bound(py), asked.as_ref()),
                None => First::Nobody,
            }
        });
        match first {
            // What cannot be fired any more has not given up: it would not be in the line.
            First::Fired(_, Err(AlreadyCalled(_))) => {}
            First::Unasked => asked = Some(classify_asking(object.clone())),
            First::Nobody | First::InList | First::Other(_) => return Ok(None),
            fired => return work_of(fired, object, asked).map(Some),
        }
    }
}

/// What a step came to.
pub(super) enum Step<T> {
    /// This.
    Done(T),
    /// It cannot be done: too many are held or released, or there is no room.
    Refused,
    /// It has to be tried again, because what it was prepared for has changed.
    Again,
    /// An object has to be asked first what it is.
    Unasked,
    /// There is no memory.
    NoMemory(#[allow(dead_code, reason = "held to be dropped")] Held<PyAny>),
    /// A turn has to be taken.
    Turn,
}

pub(super) fn is_this(py: Python<'_>, line: &line::Line, this: &Bound<'_, Fifo>) -> bool {
    line::ours(py, line).is_some_and(|line| line.is(this))
}

pub(super) fn is_list(line: &Bound<'_, Fifo>) -> bool {
    line.get().with(line.py(), |state| matches!(state, State::List { .. }))
}
