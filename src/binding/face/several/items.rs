//! Queues.

use pyo3::exceptions::{PyException, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::behind::{
    behind, first_in, is, limit_of, line, number, place_among, take_all, tell_all, tell_getters,
};
use super::events::new_waiting;
use super::heap;
use crate::binding::capi::{self, depth, error::Result, interned::intern, none, yes};
use crate::binding::face::items::empty_into;
use crate::binding::face::place::fire_each;
use crate::binding::face::waiting::{answer_waiting, attribute, report, set_attribute};
use crate::binding::model::{deferred::Deferred, fifo::Fifo};
use crate::binding::waits::made;

/// How a queue of ours keeps its items.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// The first is taken.
    First,
    /// The last is.
    Last,
    /// The smallest is.
    Heap,
}

/// A queue of ours: what it consists of. None of it is ever replaced.
struct Queue<'py> {
    it: Bound<'py, PyAny>,
    items: Bound<'py, PyAny>,
    getting: Bound<'py, Fifo>,
    putting: Bound<'py, Fifo>,
    joining: Bound<'py, Fifo>,
    way: Way,
    most: Option<usize>,
}

/// What becomes of who asks a queue for something.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// It is done.
    Done,
    /// It has to wait, and does so now.
    Waits,
    /// There is no room, or no item.
    Refused,
    /// The queue is shut down.
    Over,
}

impl<'py> Queue<'py> {
    fn of(it: &Bound<'py, PyAny>) -> Result<Self> {
        let py = it.py();
        let way = attribute(it, intern!(py, "_way"))?.cast_into::<PyString>()?;
        let way = match way.to_str()? {
            "popleft" => Way::First,
            "pop" => Way::Last,
            _ => Way::Heap,
        };
        Ok(Self {
            it: it.clone(),
            items: attribute(it, intern!(py, "_queue"))?,
            getting: line(it, intern!(py, "_getting"))?,
            putting: line(it, intern!(py, "_putting"))?,
            joining: line(it, intern!(py, "_joining"))?,
            way,
            most: limit_of(&attribute(it, intern!(py, "_maxsize"))?)?,
        })
    }

    fn py(&self) -> Python<'py> {
        self.it.py()
    }

    fn is_full(&self) -> Result<bool> {
        Ok(match self.most {
            Some(most) => self.items.len()? >= most,
            None => false,
        })
    }

    fn is_over(&self) -> Result<bool> {
        is(&self.it, intern!(self.py(), "_is_shut_down"))
    }

    fn count(&self, more: i64) -> Result<()> {
        let unfinished = intern!(self.py(), "_unfinished");
        Ok(set_attribute(&self.it, unfinished, number(&self.it, unfinished)? + more)?)
    }

    /// Put an item in. What it is compared with is known.
    fn insert(&self, item: &Bound<'py, PyAny>, place: Option<&heap::Place<'py>>) -> Result<()> {
        match place {
            Some(place) => place.push(self.items.cast::<PyList>()?, item)?,
            None => drop(self.items.call_method1(intern!(self.py(), "append"), (item,))?),
        }
        self.count(1)
    }

    /// Where an item comes to in a heap, as that is now. None if the queue is no heap.
    fn place_for(&self, item: &Bound<'py, PyAny>) -> Result<Option<heap::Place<'py>>> {
        if self.way != Way::Heap {
            return Ok(None);
        }
        heap::Place::of(&self.getting, self.items.cast::<PyList>()?, item).map(Some)
    }

    /// Whether a place that was found is still that. A heap needs one.
    fn is_still(&self, place: Option<&heap::Place<'py>>) -> Result<bool> {
        match place {
            Some(place) => place.is_still(self.items.cast::<PyList>()?),
            None => Ok(self.way != Way::Heap),
        }
    }

    /// Let in those that wait to put theirs, as far as there is room. Who put what cannot be taken in
    /// is told.
    fn let_in(&self) -> Result<()> {
        let py = self.py();
        let mut done = Ok(());
        loop {
            let (found, later) = behind(&self.getting, |later| {
                if self.is_full()? { Ok(None) } else { first_in(&self.putting, later) }
            });
            drop(later);
            let Some((putter, item)) = found? else { return done };
            let place = match self.place_for(&item) {
                Ok(place) => place,
                // As KeyboardInterrupt: it is not for the one that waits, who stays.
                Err(error) if !error.is_instance_of::<PyException>(py) => return Err(error),
                Err(error) => {
                    if let (Ok(true), _) = behind(&self.getting, |_| self.take_putter(&putter)) {
                        done = done.and(answer_waiting(putter, Err(error)));
                    }
                    continue;
                }
            };
            let (put, later) = behind(&self.getting, |later| {
                let is_first = Fifo::get(&self.putting, 0).is_some_and(|it| it.is(&putter));
                if !is_first || self.is_full()? || !self.is_still(place.as_ref())? {
                    return Ok(());
                }
                self.insert(&item, place.as_ref())?;
                // If it was fired by hand, the item is in all the same.
                later.give(&self.putting, &none(py)).map(drop)
            });
            done = done.and(later.do_it());
            put?;
        }
    }

    /// Take this one out of the line of those that put, if it is the first.
    fn take_putter(&self, putter: &Bound<'py, PyAny>) -> Result<bool> {
        let is_first = Fifo::get(&self.putting, 0).is_some_and(|it| it.is(putter));
        if is_first {
            drop(self.putting.get().pop_front(self.py())?);
        }
        Ok(is_first)
    }

    /// Put an item where it was taken from.
    fn put_again(&self, item: &Bound<'py, PyAny>) -> Result<()> {
        loop {
            let place = self.place_for_any(item)?;
            let (done, later) = behind(&self.getting, |_| {
                if !self.is_still(place.as_ref())? {
                    return Ok(false);
                }
                match (place.as_ref(), self.way) {
                    (Some(place), _) => place.push(self.items.cast::<PyList>()?, item)?,
                    (None, Way::First) => {
                        self.items.call_method1(intern!(self.py(), "insert"), (0, item))?;
                    }
                    _ => drop(self.items.call_method1(intern!(self.py(), "append"), (item,))?),
                }
                Ok(true)
            });
            drop(later);
            if done? {
                return Ok(());
            }
        }
    }

    /// As [`Queue::place_for`], also if a comparison raises something: then it is the last, so that no
    /// item is lost, but the order.
    fn place_for_any(&self, item: &Bound<'py, PyAny>) -> Result<Option<heap::Place<'py>>> {
        self.place_for(item)
            .or_else(|_| self.place_for(item))
            .or_else(|_| heap::Place::at_end(&self.items).map(Some))
    }

    /// How the smallest item is taken out, as things are now. None if the queue is no heap.
    fn removal(&self) -> Result<Option<heap::Removal<'py>>> {
        if self.way != Way::Heap {
            return Ok(None);
        }
        heap::Removal::of(&self.getting, self.items.cast::<PyList>()?)
    }

    /// Whether the next item can be taken out like that.
    fn is_still_least(&self, removal: Option<&heap::Removal<'py>>) -> Result<bool> {
        match removal {
            Some(removal) => removal.is_still(self.items.cast::<PyList>()?),
            None => Ok(self.way != Way::Heap),
        }
    }

    /// Take the next item out. There is one.
    fn take(&self, removal: Option<&heap::Removal<'py>>) -> Result<Bound<'py, PyAny>> {
        let py = self.py();
        if let Some(removal) = removal {
            return removal.pop(self.items.cast::<PyList>()?);
        }
        let way = if self.way == Way::First { intern!(py, "popleft") } else { intern!(py, "pop") };
        let item = self.items.call_method0(way)?;
        let numbers = attribute(&self.it, intern!(py, "_numbers"))?;
        let numbers = numbers.cast::<PyList>()?;
        if !numbers.is_empty() {
            numbers.del_item(0)?;
        }
        Ok(item)
    }

    /// Let those in that wait to put an item, as one was taken out. Returns that one, or a Deferred for
    /// it.
    fn give_taken(&self, item: Bound<'py, PyAny>, as_deferred: bool) -> Result<Bound<'py, PyAny>> {
        let py = self.py();
        if self.putting.get().len(py) > 0 {
            match self.let_in() {
                Err(error) if !error.is_instance_of::<PyException>(py) => {
                    // It is the caller's, to whom nothing has been given then.
                    report(&self.it, self.put_again(&item));
                    return Err(error);
                }
                done => report(&self.it, done),
            }
        }
        if !as_deferred {
            return Ok(item);
        }
        match made::of_result(item.clone()) {
            Ok(made) => Ok(made.into_any()),
            Err(error) => {
                report(&self.it, self.put_again(&item));
                Err(error)
            }
        }
    }

    /// Say that so many items are done with, or all. Returns whether that is all.
    fn finish(&self, many: i64) -> Result<bool> {
        let unfinished = intern!(self.py(), "_unfinished");
        let left = (number(&self.it, unfinished)? - many).max(0);
        set_attribute(&self.it, unfinished, left)?;
        Ok(left == 0)
    }

    /// Put an item in front again, behind others that were given before it, and came back, too.
    fn put_in_front(
        &self,
        item: &Bound<'py, PyAny>,
        given: &Bound<'py, PyAny>,
        place: Option<&heap::Place<'py>>,
    ) -> Result<()> {
        let py = self.py();
        if let Some(place) = place {
            return place.push(self.items.cast::<PyList>()?, item);
        }
        let numbers = attribute(&self.it, intern!(py, "_numbers"))?;
        let numbers = numbers.cast::<PyList>()?;
        let at = place_among(numbers, given, Ok)?;
        numbers.insert(at, given)?;
        let at = if self.way == Way::First { at } else { self.items.len()? - at };
        self.items.call_method1(intern!(py, "insert"), (at, item))?;
        Ok(())
    }
}

/// `Queue.put` and `put_nowait` of a queue of ours. Who `waits` gets a Deferred in any case.
///
/// # Errors
///
/// What `full` and `over` make, for who does not wait.
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
            if later.give(&queue.getting, item)? {
                return queue.count(1).map(|()| Some(Asked::Done));
            }
            if !queue.is_still(place.as_ref())? {
                return Ok(None);
            }
            queue.insert(item, place.as_ref()).map(|()| Some(Asked::Done))
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

/// `Queue.get` and `__anext__` of a queue of ours, and `get_nowait` if `waits` is None. Else it says
/// whether this is `__anext__`.
///
/// # Errors
///
/// What `empty` and `over` make, for who does not wait.
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
        (Asked::Over, _, Some(_)) if waits == Some(true) => {
            let error = py.get_type::<PyStopAsyncIteration>().call0()?;
            Ok(made::of_failure(py, Some(error))?.into_any())
        }
        (Asked::Over, _, Some(_)) => Ok(made::of_failure(py, Some(over.call0()?))?.into_any()),
        (Asked::Over, _, None) => Err(PyErr::from_value(over.call0()?).into()),
        _ => Err(PyErr::from_value(empty.call0()?).into()),
    }
}

/// `Queue.task_done`. False if there have been more of these than items.
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

/// `Queue.shutdown`, which may be `at_once`. All that wait are told: with an error of this class, or
/// that `async for` ends.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _queue_shut_down<'py>(
    queue: &Bound<'py, PyAny>,
    at_once: bool,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = queue.py();
    depth::check_ahead(py)?;
    let queue = Queue::of(queue)?;
    // The finalizers of what was in it run when all is done.
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

/// The `_not_taken` of queues of ours: an item comes back that was given to somebody who did not come
/// for it. The next gets it, or it stands in front again.
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
