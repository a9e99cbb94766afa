//! Atomic hand-overs by locks, semaphores and queues, for builds without the GIL.
//!
//! One step checks what is available, takes the first waiter out of the line, and fires it. So
//! nothing is handed over twice, and nobody waits for what is available. A waiter that is cancelled
//! at the same time either leaves the line before the step, or is fired and can no longer be
//! cancelled.
//!
//! Mutexes are taken in this order: of the lock, semaphore or queue; of its line; of a Deferred.
//!
//! A program may turn a line into a list, as `queue.waiting[0] = ...` does. Such a line is changed
//! by methods of the list, which may detach the thread. So only one thread at a time does that, in
//! a [`Turn`]: all other steps of the same lock, semaphore or queue wait until the turn ends. No
//! code of a program runs in a turn. (A program's own calls of the list's methods take no turn.
//! Each is atomic, as for all lists.)

use std::thread;

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Held, Hold,
    error::{Error, Result},
};
use crate::binding::judge::{classify::classify_asking, ordinary::is_ordinary};
use crate::binding::model::{
    deferred::Deferred,
    fifo::{Fifo, State},
    gate::Taken,
    line,
    outcome::{Outcome, share},
    primitive::Primitive,
    queue::DeferredQueue,
};
use crate::binding::waits::{
    firing::{FiredAndRuns, after_firing, fire_and_look, fire_one},
    work::Work,
};
use crate::core::AlreadyCalled;

/// A lock, semaphore or queue: it has lines, and one thread at a time can take a turn.
pub(crate) trait Lined {
    /// Set whether a thread has a turn. Returns the previous value.
    fn set_turn(&self, py: Python<'_>, on: bool) -> bool;
}

impl Lined for Primitive {
    fn set_turn(&self, py: Python<'_>, on: bool) -> bool {
        let turn = Taken::if_so(on);
        self.with(py, |state| std::mem::replace(&mut state.turn, turn)).is_taken()
    }
}

impl Lined for DeferredQueue {
    fn set_turn(&self, py: Python<'_>, on: bool) -> bool {
        let turn = Taken::if_so(on);
        self.with(py, |state| std::mem::replace(&mut state.turn, turn)).is_taken()
    }
}

/// One thread's turn at the lists of a lock, semaphore or queue. Dropping it ends the turn.
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

/// Let other threads run, as one of them has the turn. It may need the interpreter to end it.
fn let_others_run(py: Python<'_>) {
    py.detach(thread::yield_now);
}

/// Wait until no thread has a turn. Then every waiter that was taken out of a list has been fired.
pub(crate) fn after_turns<L: Lined>(py: Python<'_>, of: &L) {
    drop(Turn::take(py, of));
}

/// An outcome to hand over, and the error if its `__class__` raised one.
pub(super) type Asked = (Outcome, Option<Error>);

/// The outcome of an object, if its class is one that needs no Python code to classify.
pub(super) fn unasked(object: &Bound<'_, PyAny>) -> Option<Asked> {
    is_ordinary(object).then(|| (Outcome::Value(object.clone().hold()), None))
}

/// What happened to the first waiter in a line.
pub(super) enum First<'py> {
    /// It has been fired.
    Fired(Bound<'py, Deferred>, FiredAndRuns),
    /// It has been taken out of the line, and is to be fired by calling its methods.
    Other(Bound<'py, PyAny>),
    /// There is none.
    Nobody,
    /// It is still in the line: the object must be classified first, which may run Python code.
    Unasked,
    /// It is still in the line, which is a list: that takes a turn.
    InList,
}

/// Fire the first waiter in a line.
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
            let fired = deferred.get().chain(py, |chain| fire_and_look(chain, outcome));
            First::Fired(deferred, fired)
        }
        Err(other) => First::Other(other),
    }
}

/// The same, for a thread that has the turn.
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

/// The work that remains after [`fire_first`].
pub(super) fn work_of<'py>(
    first: First<'py>,
    object: &Bound<'py, PyAny>,
    asked: Option<Asked>,
) -> Result<Option<Work<'py>>> {
    match first {
        First::Fired(deferred, fired) => {
            let runs = after_firing(&deferred, fired)?;
            Ok(Work::run_and(runs.then_some(deferred), asked.and_then(|(_, error)| error)))
        }
        First::Other(other) => fire_one(other, object.clone()),
        First::Nobody | First::Unasked | First::InList => Ok(None),
    }
}

/// Fire the first waiter in a line that a program has not fired itself. None if there is no waiter,
/// or if it is to be fired by calling its methods. A line that is a list takes several steps.
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
            // A program has fired it. It was not cancelled, or it would not be in the line.
            First::Fired(_, (Err(AlreadyCalled(_)), _)) => {}
            First::Unasked => asked = Some(classify_asking(object.clone())),
            First::InList
                if Fifo::get(line, 0).is_some_and(|it| capi::is_exact::<Deferred>(&it)) =>
            {
                if asked.is_none() {
                    asked = Some(classify_asking(object.clone()));
                }
                match line.get().pop_front(py)?.map(|first| fire_this(first, asked.as_ref())) {
                    None | Some(First::Fired(_, (Err(AlreadyCalled(_)), _))) => {}
                    Some(fired) => return work_of(fired, object, asked).map(Some),
                }
            }
            First::Nobody | First::InList | First::Other(_) => return Ok(None),
            fired => return work_of(fired, object, asked).map(Some),
        }
    }
}

/// The result of a step.
pub(super) enum Step<T> {
    /// It is done, with this result.
    Done(T),
    /// It is not allowed: nothing is held, too much was released, or there is no room.
    Refused,
    /// Try again: the state has changed since the step was prepared.
    Again,
    /// Try again when the object has been classified, which may run Python code.
    Unasked,
    /// There is no memory.
    NoMemory(#[allow(dead_code, reason = "held to be dropped")] Held<PyAny>),
    /// Try again in a turn.
    Turn,
}

pub(super) fn is_this(py: Python<'_>, line: &line::Line, this: &Bound<'_, Fifo>) -> bool {
    line::ours(py, line).is_some_and(|line| line.is(this))
}

pub(super) fn is_list(line: &Bound<'_, Fifo>) -> bool {
    line.get().with(line.py(), |state| matches!(state, State::List { .. }))
}
