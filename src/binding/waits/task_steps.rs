//! Steps of generators and coroutines that must be atomic without the GIL: waiting, ending, and
//! waiting no more.

use pyo3::prelude::*;

use crate::binding::capi::{Hold, error::Result};
use crate::binding::model::{
    awaiting::{Awaiting, Left, State},
    deferred::Deferred,
    outcome::{self, Link, Links, Outcome},
    task::Task,
    waiter::Waiter,
};
use crate::binding::waits::firing;
use crate::core::Boxed;

/// Add the link of a task to the chain of the Deferred that it waits for. The same step checks
/// whether the Deferred has to be run or cancelled first, because another thread may fire it. Then
/// the answer is false, and nothing is added.
///
/// # Errors
///
/// `MemoryError`
pub(super) fn try_to_wait<'py>(
    task: &Bound<'py, Task>,
    deferred: &Bound<'py, Deferred>,
    link: Link,
) -> Result<bool> {
    let py = task.py();
    if task.get().is_to_cancel_next(py) {
        return Ok(false);
    }
    let added = deferred.get().chain(py, |chain| chain.add_unless_runnable(link));
    let refused = outcome::or_no_memory(py, added)?;
    Ok(refused.is_none())
}

/// Fire the Deferred of a task that has ended. This is one step, because another thread may cancel
/// the Deferred: then the outcome is kept for the new Deferred that will replace it. Returns the
/// Deferred if its callbacks have to be run.
pub(super) fn finish<'py>(
    task: &Bound<'py, Task>,
    outcome: Outcome,
) -> Result<Option<Bound<'py, Deferred>>> {
    let py = task.py();
    let (generator, context) =
        task.get().with(py, |state| (state.generator.take(), state.context.take()));
    drop((generator, context));
    let fired = task.get().with(py, |state| {
        let Some(deferred) = state.deferred.as_ref().map(|it| it.bind(py).clone()) else {
            return Err(Some(outcome));
        };
        let fired = deferred.get().chain(py, |chain| {
            // If it was cancelled while paused, that is still to come.
            if state.is_cancelled && chain.paused() == 0 {
                return Err(state.ended.replace(outcome));
            }
            Ok(chain.fire(outcome))
        });
        fired.map(|fired| (deferred, fired))
    });
    match fired {
        Ok((deferred, fired)) => Ok(firing::after_fire(&deferred, fired)?.then_some(deferred)),
        Err(_outcome) => Ok(None),
    }
}

/// Stop waiting. The same step decides who gives back what is handed over, because another thread
/// may be handing over now. Returns the state before.
pub(crate) fn leave(awaiting: &Bound<'_, Awaiting>) -> Result<State> {
    let py = awaiting.py();
    let source = awaiting.get().state.with(py, |state| match state {
        State::Through(it) if it.arrived.is_none() => {
            it.source.as_ref().map(|source| (it.deferred.clone_ref(py), source.clone_ref(py)))
        }
        _ => None,
    });
    let source = match source {
        Some(pair) => Some(outcome::or_no_memory(py, Boxed::new(pair))?),
        None => None,
    };
    let mut left = Some(Left { cancelled: false, source });
    let before = awaiting.get().state.with(py, |state| {
        let next = match state {
            State::Through(it) if it.arrived.is_none() && it.source.is_some() => left.take(),
            // It waits in place of a closed task, and may have to give something back.
            State::Left(_) => return State::Done,
            _ => None,
        };
        std::mem::replace(state, next.map_or(State::Done, State::Left))
    });
    drop(left);
    Ok(before)
}

/// Let the iterator behind an `await` wait in place of a task that is closed there and is the only
/// waiter of a Deferred: it will give back what another thread hands over. The same step checks
/// whether the Deferred has fired. Then the answer is false, and nothing changes.
///
/// # Errors
///
/// `MemoryError`
pub(super) fn stand_in_line_instead<'py>(
    awaiting: &Bound<'py, Awaiting>,
    deferred: &Bound<'py, Deferred>,
    task: &Bound<'py, Task>,
    source: Bound<'py, PyAny>,
) -> Result<bool> {
    let py = task.py();
    let mut links = Links::default();
    let link = Link::Deliver(Waiter::new(awaiting), 0);
    outcome::or_no_memory(py, links.push_back(link))?;
    let pair = (deferred.clone().hold(), source.hold());
    let source = Some(outcome::or_no_memory(py, Boxed::new(pair))?);
    // The failure is ignored: it only says that we have cancelled the Deferred.
    let left = State::Left(Left { cancelled: true, source });
    let mut before = awaiting.get().replace(py, left);
    let mut links = Some(links);
    let replaced = deferred.get().chain(py, |chain| {
        let is_task_alone = {
            let mut links = chain.links().iter();
            match (links.next(), links.next()) {
                (Some(Link::Deliver(waiter, _)), None) => waiter.object(py).is(task),
                _ => false,
            }
        };
        if chain.called() || !is_task_alone {
            return None;
        }
        links.take().map(|links| chain.replace_links(links))
    });
    if replaced.is_none() {
        before = awaiting.get().replace(py, before);
    }
    drop(before);
    Ok(replaced.is_some())
}
