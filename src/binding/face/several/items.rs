//! Steps of queues.

use pyo3::prelude::*;

use super::events::new_waiting;
use super::queue::Queue;
use super::shared::{is, line, number};
use crate::binding::capi::{self, depth, error::Result, interned::intern, none, yes};
use crate::binding::face::behind::{behind, take_all};
use crate::binding::face::items::{self, empty_into, tell_getters};
use crate::binding::face::waiting::{attribute, fire_each, set_attribute, tell_all};
use crate::binding::model::{deferred::Deferred, fifo::Fifo};
use crate::binding::waits::made;

/// The result of asking a queue for room or for an item.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// It is done.
    Done,
    /// The caller is in line now.
    Waits,
    /// There is no room, or no item.
    Refused,
    /// The queue is shut down.
    Over,
}

/// `Queue.put` and `put_nowait` of a queue of ours. With `waits`, the result is a Deferred in any
/// case.
///
/// # Errors
///
/// Without `waits`, what `full` and `over` make.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _queue_put<'py>(
    queue: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
    waits: bool,
    full: &Bound<'py, PyAny>,
    over: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = queue.py();
    let queue = Queue::of(queue)?;
    let made = if waits {
        Some((made::of_result(none(py))?, new_waiting(&queue.putting, None, item.clone())?))
    } else {
        None
    };
    let mut place = None;
    let asked = loop {
        let (asked, later) = behind(&queue.getting, |later| {
            if queue.is_over()? {
                return Ok(Some(Asked::Over));
            }
            if queue.is_full()? {
                let Some((_, waiting)) = &made else { return Ok(Some(Asked::Refused)) };
                queue.putting.get().push_back(waiting.as_any().clone())?;
                return Ok(Some(Asked::Waits));
            }
            Ok(queue.take_in(item, place.as_ref(), later)?.then_some(Asked::Done))
        });
        later.do_it()?;
        match asked? {
            Some(asked) => break asked,
            None => place = queue.place_for(item)?,
        }
    };
    match (asked, made) {
        (Asked::Done, made) => Ok(made.map_or_else(|| none(py), |(done, _)| done.into_any())),
        (Asked::Waits, Some((_, waiting))) => Ok(waiting.into_any()),
        (Asked::Over, Some(_)) => Ok(made::of_failure(py, Some(over.call0()?))?.into_any()),
        (Asked::Over, None) => Err(PyErr::from_value(over.call0()?).into()),
        _ => Err(PyErr::from_value(full.call0()?).into()),
    }
}

/// `Queue.get`, `__anext__` and `get_nowait` of a queue of ours. `waits` is None for `get_nowait`;
/// otherwise it tells whether this is `__anext__`.
///
/// # Errors
///
/// For `get_nowait`, what `empty` and `over` make.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _queue_get<'py>(
    queue: &Bound<'py, PyAny>,
    waits: Option<bool>,
    empty: &Bound<'py, PyAny>,
    over: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = queue.py();
    let queue = Queue::of(queue)?;
    if queue.putting.get().len(py) > 0 {
        depth::check_ahead(py)?;
    }
    let owner = queue.it.clone();
    let wait = |what| new_waiting(&queue.getting, Some(owner), capi::new_bool(py, what));
    let waiting = waits.map(wait).transpose()?;
    let (asked, item) = loop {
        let removal = queue.removal()?;
        let (asked, later) = behind(&queue.getting, |_| {
            if queue.items.len()? > 0 {
                if !queue.is_still_least(removal.as_ref())? {
                    return Ok(None);
                }
                return Ok(Some((Asked::Done, Some(queue.take(removal.as_ref())?))));
            }
            if queue.is_over()? {
                return Ok(Some((Asked::Over, None)));
            }
            let Some(waiting) = &waiting else { return Ok(Some((Asked::Refused, None))) };
            queue.getting.get().push_back(waiting.as_any().clone())?;
            Ok(Some((Asked::Waits, None)))
        });
        drop(later);
        if let Some(asked) = asked? {
            break asked;
        }
    };
    match (asked, item, waiting) {
        (_, Some(item), waiting) => queue.give_taken(item, waiting.is_some()),
        (Asked::Waits, _, Some(waiting)) => Ok(waiting.into_any()),
        (Asked::Over, _, Some(_)) => {
            let error = items::over(over, waits == Some(true))?;
            Ok(made::of_failure(py, Some(error))?.into_any())
        }
        (Asked::Over, _, None) => Err(PyErr::from_value(over.call0()?).into()),
        _ => Err(PyErr::from_value(empty.call0()?).into()),
    }
}

/// `Queue.task_done`. False if it was called more often than items were put.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _queue_task_done<'py>(queue: &Bound<'py, PyAny>) -> Result<bool> {
    let py = queue.py();
    let unfinished = intern!(py, "_unfinished");
    let getting = line(queue, intern!(py, "_getting"))?;
    let joining = line(queue, intern!(py, "_joining"))?;
    if joining.get().len(py) > 0 {
        depth::check_ahead(py)?;
    }
    let all = Fifo::empty(py)?;
    let (ended, _) = behind(&getting, |_| {
        let left = number(queue, unfinished)? - 1;
        if left < 0 {
            return Ok(None);
        }
        set_attribute(queue, unfinished, left)?;
        Ok(Some(if left == 0 { take_all(&joining, all) } else { all }))
    });
    let Some(ended) = ended? else { return Ok(false) };
    fire_each(&ended, |_| Ok(none(py)))?;
    Ok(true)
}

/// `Queue.join`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _queue_join<'py>(queue: &Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = queue.py();
    let getting = line(queue, intern!(py, "_getting"))?;
    let joining = line(queue, intern!(py, "_joining"))?;
    let done = made::of_result(none(py))?;
    let deferred = new_waiting(&joining, None, queue.clone())?;
    let (waits, _) = behind(&getting, |_| {
        if number(queue, intern!(py, "_unfinished"))? == 0 {
            return Ok(false);
        }
        joining.get().push_back(deferred.as_any().clone()).map(|()| true)
    });
    Ok(if waits? { deferred } else { done })
}

/// `Queue.shutdown`. If `at_once`, the items are dropped. All waiters get an error of this class,
/// or `async for` ends.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _queue_shut_down<'py>(
    queue: &Bound<'py, PyAny>,
    at_once: bool,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = queue.py();
    depth::check_ahead(py)?;
    let queue = Queue::of(queue)?;
    // The items' finalizers run after everything else.
    let dropped = capi::new_list(py)?;
    let (getting, putting, joining) = (Fifo::empty(py)?, Fifo::empty(py)?, Fifo::empty(py)?);
    let (taken, _) = behind(&queue.getting, |_| {
        set_attribute(&queue.it, intern!(py, "_is_shut_down"), yes(py))?;
        if at_once {
            set_attribute(&queue.it, intern!(py, "_is_shut_at_once"), yes(py))?;
            attribute(&queue.it, intern!(py, "_numbers"))?.call_method0(intern!(py, "clear"))?;
            empty_into(&queue.items, &dropped)?;
            if queue.finish(dropped.len() as i64)? {
                Fifo::take_all(&queue.joining, &joining);
            }
        }
        Fifo::take_all(&queue.getting, &getting);
        Fifo::take_all(&queue.putting, &putting);
        Ok(())
    });
    taken?;
    let mut done = fire_each(&joining, |_| Ok(none(py)));
    done = done.and(tell_getters(&queue.getting, &getting, error));
    done.and(tell_all(&queue.putting, &putting, |_| error.call0()))
}

/// The `_not_taken` of queues of ours: take back an item whose receiver was cancelled before it got
/// the item. The next waiter gets it, or it is the first item again.
pub(super) fn come_back<'py>(
    queue: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
    given: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = queue.py();
    let queue = Queue::of(queue)?;
    let joining = Fifo::empty(py)?;
    loop {
        let place = queue.place_for_any(item)?;
        let (done, later) = behind(&queue.getting, |later| {
            if later.give(&queue.getting, item)? {
                return Ok(true);
            }
            if is(&queue.it, intern!(py, "_is_shut_at_once"))? {
                if queue.finish(1)? {
                    Fifo::take_all(&queue.joining, &joining);
                }
                return Ok(true);
            }
            if !queue.is_still(place.as_ref())? {
                return Ok(false);
            }
            queue.put_in_front(item, given, place.as_ref()).map(|()| true)
        });
        later.do_it()?;
        if done? {
            return fire_each(&joining, |_| Ok(none(py)));
        }
    }
}
