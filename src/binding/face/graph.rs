//! Describes our objects as plain data, for the graph of what waits for what.
//!
//! Nothing here changes anything or runs Python code: no attributes are looked up, and comparisons
//! are by identity.

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyTuple};

use crate::binding::capi::{self, error::Result};
use crate::binding::model::{
    awaiting::{Awaiting, State as AwaitingState},
    callback::Callback,
    deferred::Deferred,
    fifo::{Fifo, State as FifoState},
    line::ours,
    list::DeferredList,
    outcome::{self, Link, Outcome},
    place::Place,
    primitive::{DeferredSemaphore, LockRun, Primitive},
    queue::DeferredQueue,
    race::Race,
    task::{Task, TaskCallback},
    timeout::Timeout,
    waiter::FIRE,
};
use crate::core::{Flag, NoMemory, refusable};

type Object<'py> = Bound<'py, PyAny>;

fn text<'py>(py: Python<'py>, text: &str) -> Result<Object<'py>> {
    Ok(capi::new_str(py, text)?.into_any())
}

fn number(py: Python<'_>, number: usize) -> Result<Object<'_>> {
    capi::new_int(py, number as u64)
}

fn or_none<'py>(py: Python<'py>, object: Option<Object<'py>>) -> Object<'py> {
    object.unwrap_or_else(|| py.None().into_bound(py))
}

/// A link, copied so that the chain is not borrowed while tuples are made.
enum Station<'py> {
    Call(Option<Object<'py>>, Option<Object<'py>>),
    Continue(Object<'py>),
    Deliver(Object<'py>, u32),
}

impl<'py> Station<'py> {
    fn of(py: Python<'py>, link: &Link) -> Self {
        let callable = |callback: &Callback| callback.callable(py).ok();
        match link {
            Link::OnValue(callback) => Self::Call(callable(callback), None),
            Link::OnFailure(callback) => Self::Call(None, callable(callback)),
            Link::Either(callback) => Self::Call(callable(callback), callable(callback)),
            Link::Both(pair) => Self::Call(callable(&pair.0), callable(&pair.1)),
            Link::Continue(other) => Self::Continue(other.bind(py).as_any().clone()),
            Link::Deliver(waiter, place) => Self::Deliver(waiter.object(py).clone(), *place),
        }
    }

    /// Its kind, as a word, and its contents.
    fn into_tuple(self, py: Python<'py>) -> Result<Bound<'py, PyTuple>> {
        let parts = match self {
            Self::Call(on_value, on_failure) => {
                [text(py, "call")?, or_none(py, on_value), or_none(py, on_failure)]
            }
            Self::Continue(other) => [text(py, "deferred")?, other, number(py, 0)?],
            Self::Deliver(other, FIRE) => [text(py, "deferred")?, other, number(py, 0)?],
            Self::Deliver(waiter, place) => {
                [text(py, "waiter")?, waiter, number(py, place as usize)?]
            }
        };
        capi::new_tuple(py, parts)
    }
}

/// Return the state of a Deferred: the kind of its outcome, as a word; the outcome; whether it has
/// fired; the number of pauses; whether its callbacks are running; what it is chained to; its
/// canceller; its links; how many of them are callbacks; and how many are waiters.
///
/// A link is a word with a pair of callables, or a word with a waiter and its place. The number of
/// each kind is limited.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_state_of")]
pub(crate) fn state_of<'py>(
    deferred: &Bound<'py, Deferred>,
    most: usize,
) -> Result<Bound<'py, PyTuple>> {
    let py = deferred.py();
    let mut stations = Vec::new();
    let kept = deferred.get().chain(py, |chain| {
        let is_call = |link: &&Link| !matches!(link, Link::Continue(_) | Link::Deliver(..));
        let count = chain.links().len();
        let calls = chain.links().iter().filter(is_call).count();
        let waiters = count - calls;
        let room = calls.min(most) + waiters.min(most);
        if refusable(|| stations.try_reserve_exact(room)).is_err() {
            return Err(NoMemory(()));
        }
        let (mut calls_left, mut waiters_left) = (most, most);
        let shown = chain.links().iter().filter(|link| {
            let left = if is_call(link) { &mut calls_left } else { &mut waiters_left };
            let shown = *left > 0;
            *left = left.saturating_sub(1);
            shown
        });
        stations.extend(shown.map(|link| Station::of(py, link)));
        let outcome = match chain.outcome() {
            Outcome::Empty => ("none", None),
            Outcome::Taken => ("taken", None),
            Outcome::Value(value) => ("value", Some(value.bind(py).clone())),
            Outcome::Failure(failure) => ("failure", Some(failure.bind(py).clone())),
            Outcome::Deferred(other) => ("deferred", Some(other.bind(py).as_any().clone())),
        };
        let chained_to = chain.chained_to().map(|other| other.bind(py).as_any().clone());
        let canceller = chain.canceller().map(|canceller| canceller.bind(py).clone());
        let flags = (chain.called(), chain.paused(), chain.running());
        Ok((outcome, flags, chained_to, canceller, (calls, waiters)))
    });
    let (outcome, flags, chained_to, canceller, counts) = outcome::or_no_memory(py, kept)?;
    let links = capi::new_list(py)?;
    for station in stations {
        links.append(station.into_tuple(py)?)?;
    }
    capi::new_tuple(
        py,
        [
            text(py, outcome.0)?,
            or_none(py, outcome.1),
            capi::new_bool(py, flags.0),
            capi::new_signed_int(py, flags.1.into())?,
            capi::new_bool(py, flags.2),
            or_none(py, chained_to),
            or_none(py, canceller),
            links.into_any(),
            number(py, counts.0)?,
            number(py, counts.1)?,
        ],
    )
}

/// The callables of the first links of a Deferred, up to so many links.
pub(crate) fn callables_of<'py>(
    deferred: &Bound<'py, Deferred>,
    most: usize,
) -> Result<Vec<Object<'py>>> {
    let py = deferred.py();
    let mut found = Vec::new();
    let kept = deferred.get().chain(py, |chain| {
        let is_call = |link: &&Link| !matches!(link, Link::Continue(_) | Link::Deliver(..));
        let count = chain.links().iter().filter(is_call).take(most).count();
        // A link has up to two.
        if refusable(|| found.try_reserve_exact(2 * count)).is_err() {
            return Err(NoMemory(()));
        }
        for link in chain.links().iter().filter(is_call).take(most) {
            if let Station::Call(on_value, on_failure) = Station::of(py, link) {
                found.extend(on_value.into_iter().chain(on_failure));
            }
        }
        Ok(())
    });
    outcome::or_no_memory(py, kept)?;
    Ok(found)
}

/// Whether a Deferred has no outcome that its next callback could get now.
fn is_pending(object: &Object<'_>) -> bool {
    match object.cast::<Deferred>() {
        Ok(deferred) => deferred.get().chain(object.py(), |chain| {
            !chain.called() || chain.paused() != 0 || chain.chained_to().is_some()
        }),
        Err(_) => false,
    }
}

/// Describe a list, or a race (as the canceller of its Deferred): up to so many of the missing
/// members, how many are missing, how many there are, whether one is enough, and the Deferred that
/// they are for. None for any other object.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_members_of")]
pub(crate) fn members_of<'py>(
    collector: &Object<'py>,
    most: usize,
) -> Result<Option<Bound<'py, PyTuple>>> {
    let py = collector.py();
    let missing = capi::new_list(py)?;
    let (mut count, total, any, result);
    count = 0;
    if let Ok(list) = collector.cast::<DeferredList>() {
        let members = list.get().deferreds(py)?;
        total = members.len();
        for index in 0..total {
            // It may have changed: appending can start a collection, in which other threads run.
            let Ok(member) = members.get_item(index) else { break };
            if is_pending(&member) {
                count += 1;
                if count <= most {
                    missing.append(member)?;
                }
            }
        }
        any = list.get().with(py, |state| state.fire_on_one_callback.is_on());
        result = Some(collector.clone());
    } else if let Ok(race) = collector.cast_exact::<Race>() {
        total = race.get().with(py, |state| state.deferreds.len());
        for index in 0..total {
            let member = race
                .get()
                .with(py, |state| state.deferreds.get(index).map(|each| each.bind(py).clone()));
            let Some(member) = member else { break };
            if is_pending(&member) {
                count += 1;
                if count <= most {
                    missing.append(member)?;
                }
            }
        }
        any = true;
        result = race
            .get()
            .with(py, |state| state.result.as_ref().map(|it| it.bind(py).as_any().clone()));
    } else {
        return Ok(None);
    }
    Ok(Some(capi::new_tuple(
        py,
        [
            missing.into_any(),
            number(py, count)?,
            number(py, total)?,
            capi::new_bool(py, any),
            or_none(py, result),
        ],
    )?))
}

/// The kind of an object, as a word, and three of the things it holds.
type Parts<'py> = [Object<'py>; 4];

fn parts_of_task<'py>(task: &Bound<'py, Task>) -> Result<Parts<'py>> {
    let py = task.py();
    let (generator, deferred, waiting_on) = task.get().with(py, |state| {
        (
            state.generator.as_ref().map(|it| it.bind(py).clone()),
            state.deferred.as_ref().map(|it| it.bind(py).as_any().clone()),
            state.waiting_on.as_ref().map(|it| it.bind(py).as_any().clone()),
        )
    });
    let [generator, deferred, waiting_on] =
        [generator, deferred, waiting_on].map(|it| or_none(py, it));
    Ok([text(py, "task")?, generator, deferred, waiting_on])
}

fn parts_of_primitive<'py>(primitive: &Bound<'py, Primitive>) -> Result<Parts<'py>> {
    let py = primitive.py();
    let (line, locked, tokens, limit) = primitive.get().with(py, |state| {
        let line = state.waiting.as_ref().map(|it| it.bind(py).clone());
        (line, state.locked.is_on(), state.tokens.get(py), state.limit.get(py))
    });
    if !primitive.is_instance_of::<DeferredSemaphore>() {
        let locked = capi::new_bool(py, locked);
        return Ok([text(py, "lock")?, or_none(py, line), locked, py.None().into_bound(py)]);
    }
    let number = |count: Result<Bound<'py, PyAny>, i64>| match count {
        Ok(object) if object.is_exact_instance_of::<PyInt>() => Ok(object),
        Ok(_) => capi::new_signed_int(py, 0),
        Err(number) => capi::new_signed_int(py, number),
    };
    Ok([text(py, "semaphore")?, or_none(py, line), number(tokens)?, number(limit)?])
}

/// Describe one of our other objects: its kind, as a word, and three of the things it holds. None
/// for any other object.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_parts_of")]
pub(crate) fn parts_of<'py>(object: &Object<'py>) -> Result<Option<Bound<'py, PyTuple>>> {
    let py = object.py();
    let none = || py.None().into_bound(py);
    let parts = if let Ok(task) = object.cast_exact::<Task>() {
        parts_of_task(task)?
    } else if let Ok(callback) = object.cast_exact::<TaskCallback>() {
        let task = callback.get().task.bind(py).as_any().clone();
        [text(py, "task callback")?, task, none(), none()]
    } else if let Ok(awaiting) = object.cast_exact::<Awaiting>() {
        let (deferred, through) = awaiting.get().state.with(py, |state| match state {
            AwaitingState::For(deferred) => (Some(deferred.bind(py).as_any().clone()), None),
            AwaitingState::Through(stand_in) => (
                Some(stand_in.deferred.bind(py).as_any().clone()),
                Some(stand_in.object.bind(py).clone()),
            ),
            AwaitingState::Left(_) | AwaitingState::Done => (None, None),
        });
        [text(py, "awaiting")?, or_none(py, deferred), or_none(py, through), none()]
    } else if let Ok(timeout) = object.cast_exact::<Timeout>() {
        let timeout = timeout.get();
        let deferred = timeout.deferred.bind(py).as_any().clone();
        [text(py, "timeout")?, deferred, timeout.seconds.bind(py).clone(), none()]
    } else if let Ok(call) = object.cast_exact::<LockRun>() {
        let call = call.get();
        let primitive = call.primitive.bind(py).as_any().clone();
        [text(py, "locked")?, primitive, call.function.bind(py).clone(), none()]
    } else if let Ok(primitive) = object.cast::<Primitive>() {
        parts_of_primitive(primitive)?
    } else if let Ok(place) = object.cast_exact::<Place>() {
        let place = place.get();
        let line = place.line(py).map(Bound::into_any);
        let [line, owner, what] = [line, place.owner(py), place.what(py)].map(|it| or_none(py, it));
        [text(py, "place")?, line, owner, what]
    } else if let Ok(queue) = object.cast::<DeferredQueue>() {
        let (line, pending) = queue.get().with(py, |state| {
            let held = ours(py, &state.pending).cloned();
            (state.waiting.as_ref().map(|it| it.bind(py).clone()), held)
        });
        let pending = pending.map_or(0, |pending| pending.get().len(py));
        [text(py, "queue")?, or_none(py, line), number(py, pending)?, none()]
    } else {
        return Ok(None);
    };
    Ok(Some(capi::new_tuple(py, parts)?))
}

/// Return the index of an object in a line, or None; and the length of the line.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_place_in")]
pub(crate) fn place_in<'py>(
    line: &Bound<'py, Fifo>,
    object: &Object<'py>,
) -> (Option<usize>, usize) {
    let (py, wanted) = (line.py(), object.as_ptr());
    let list = match line.get().with(py, |state| match state {
        FifoState::Line(items) => {
            let mut present = items.items.iter().flatten();
            Ok((present.position(|each| each.as_ptr() == wanted), items.len()))
        }
        FifoState::List { list, .. } => Err(list.bind(py).clone()),
    }) {
        Ok(found) => return found,
        Err(list) => list,
    };
    let list: Bound<'py, PyList> = list;
    (list.iter().position(|each| each.as_ptr() == wanted), list.len())
}

/// The only Deferred that this one waits for; with `up`, the only one that waits for this one.
fn next<'py>(deferred: &Bound<'py, Deferred>, up: bool) -> Option<Bound<'py, Deferred>> {
    enum Found<'py> {
        Deferred(Bound<'py, Deferred>),
        Perhaps(Object<'py>),
    }
    let py = deferred.py();
    let found = deferred.get().chain(py, |chain| {
        if up {
            if chain.links().len() != 1 {
                return None;
            }
            return match chain.links().iter().next()? {
                Link::Continue(other) => Some(Found::Deferred(other.bind(py).clone())),
                Link::Deliver(waiter, _) => Some(Found::Perhaps(waiter.object(py).clone())),
                _ => None,
            };
        }
        if let Some(other) = chain.chained_to() {
            return Some(Found::Deferred(other.bind(py).clone()));
        }
        if chain.called() {
            return None;
        }
        chain.canceller().map(|canceller| Found::Perhaps(canceller.bind(py).clone()))
    })?;
    let task = match found {
        Found::Deferred(other) => return Some(other),
        Found::Perhaps(object) => object.cast_into_exact::<Task>().ok()?,
    };
    task.get().with(py, |state| {
        let other = if up { &state.deferred } else { &state.waiting_on };
        other.as_ref().map(|it| it.bind(py).clone())
    })
}

/// Follow a path of Deferreds, each of which waits for the next and nothing else; with `up`,
/// backwards.
///
/// Returns the last ones, up to so many, and how many come before them. None if the path is a
/// circle, or too long to be of interest.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_follow")]
pub(crate) fn follow<'py>(
    deferred: &Bound<'py, Deferred>,
    up: bool,
    most: usize,
) -> Result<Option<(Bound<'py, PyList>, usize)>> {
    const LIMIT: usize = 100_000_000;
    let py = deferred.py();
    // First find the end, and then repeat the last part of the path. A circle is found when the
    // path returns to a mark, which is set after 1, 2, 4, ... steps.
    let (mut current, mut mark) = (deferred.clone(), deferred.clone());
    let (mut steps, mut next_mark) = (0_usize, 1_usize);
    while let Some(following) = next(&current, up) {
        if following.as_ptr() == mark.as_ptr() || steps >= LIMIT {
            return Ok(None);
        }
        steps += 1;
        if steps == next_mark {
            (mark, next_mark) = (following.clone(), next_mark * 2);
        }
        current = following;
    }
    let before = (steps + 1).saturating_sub(most);
    current = deferred.clone();
    for _ in 0..before {
        let Some(following) = next(&current, up) else { break };
        current = following;
    }
    let last = capi::new_list(py)?;
    for _ in 0..most {
        last.append(&current)?;
        let Some(following) = next(&current, up) else { break };
        current = following;
    }
    Ok(Some((last, before)))
}
