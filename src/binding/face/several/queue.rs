//! The parts of a queue, and steps on them behind the gate.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::heap;
use super::shared::{first_in, is, limit_of, line, number, place_among};
use crate::binding::capi::{error::Result, interned::intern, none};
use crate::binding::face::behind::{Later, behind};
use crate::binding::face::waiting::{answer_waiting, attribute, report, set_attribute};
use crate::binding::model::fifo::Fifo;
use crate::binding::waits::made;

/// The order in which a queue of ours gives its items.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Way {
    /// The first one first.
    First,
    /// The last one first.
    Last,
    /// The smallest one first.
    Heap,
}

/// The parts of a queue of ours. They are never replaced.
pub(super) struct Queue<'py> {
    pub(super) it: Bound<'py, PyAny>,
    pub(super) items: Bound<'py, PyAny>,
    pub(super) getting: Bound<'py, Fifo>,
    pub(super) putting: Bound<'py, Fifo>,
    pub(super) joining: Bound<'py, Fifo>,
    way: Way,
    most: Option<usize>,
}

impl<'py> Queue<'py> {
    pub(super) fn of(it: &Bound<'py, PyAny>) -> Result<Self> {
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

    pub(super) fn is_full(&self) -> Result<bool> {
        Ok(match self.most {
            Some(most) => self.items.len()? >= most,
            None => false,
        })
    }

    pub(super) fn is_over(&self) -> Result<bool> {
        is(&self.it, intern!(self.py(), "_is_shut_down"))
    }

    fn count(&self, more: i64) -> Result<()> {
        let unfinished = intern!(self.py(), "_unfinished");
        Ok(set_attribute(&self.it, unfinished, number(&self.it, unfinished)? + more)?)
    }

    /// Give an item to the first waiter, or store it. False, and nothing is changed, if its place
    /// in the heap is out of date.
    pub(super) fn take_in(
        &self,
        item: &Bound<'py, PyAny>,
        place: Option<&heap::Place<'py>>,
        later: &mut Later<'py>,
    ) -> Result<bool> {
        if !later.give(&self.getting, item)? {
            if !self.is_still(place)? {
                return Ok(false);
            }
            match place {
                Some(place) => place.push(self.items.cast::<PyList>()?, item)?,
                None => drop(self.items.call_method1(intern!(self.py(), "append"), (item,))?),
            }
        }
        self.count(1).map(|()| true)
    }

    /// The current place of a new item in the heap. None if the queue is not a heap.
    pub(super) fn place_for(&self, item: &Bound<'py, PyAny>) -> Result<Option<heap::Place<'py>>> {
        if self.way != Way::Heap {
            return Ok(None);
        }
        heap::Place::of(&self.getting, self.items.cast::<PyList>()?, item).map(Some)
    }

    /// Whether a place that was found is still right. A heap needs one.
    pub(super) fn is_still(&self, place: Option<&heap::Place<'py>>) -> Result<bool> {
        match place {
            Some(place) => place.is_still(self.items.cast::<PyList>()?),
            None => Ok(self.way != Way::Heap),
        }
    }

    /// Let in waiting putters as far as there is room. A putter whose item cannot be put gets the
    /// error.
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
                // Such as KeyboardInterrupt: it is not meant for the putter, which stays in line.
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
                // Somebody else may have put an item meanwhile.
                if !is_first || self.is_full()? || !self.take_in(&item, place.as_ref(), later)? {
                    return Ok(());
                }
                // If a program has fired the putter's Deferred itself, the item is put all the
                // same.
                later.give(&self.putting, &none(py)).map(drop)
            });
            done = done.and(later.do_it());
            put?;
        }
    }

    /// Remove a putter, if it is the first in line.
    fn take_putter(&self, putter: &Bound<'py, PyAny>) -> Result<bool> {
        let is_first = Fifo::get(&self.putting, 0).is_some_and(|it| it.is(putter));
        if is_first {
            drop(self.putting.get().pop_front(self.py())?);
        }
        Ok(is_first)
    }

    /// Put an item back where it was taken from, or give it to a new waiter.
    fn put_again(&self, item: &Bound<'py, PyAny>) -> Result<()> {
        loop {
            let place = self.place_for_any(item)?;
            let (done, later) = behind(&self.getting, |later| {
                if later.give(&self.getting, item)? {
                    return Ok(true);
                }
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
            later.do_it()?;
            if done? {
                return Ok(());
            }
        }
    }

    /// [`Queue::place_for`], but at the end if a comparison raises: the order may then be wrong,
    /// but no item is lost.
    pub(super) fn place_for_any(
        &self,
        item: &Bound<'py, PyAny>,
    ) -> Result<Option<heap::Place<'py>>> {
        self.place_for(item)
            .or_else(|_| self.place_for(item))
            .or_else(|_| heap::Place::at_end(&self.items).map(Some))
    }

    /// How to remove the smallest item now. None if the queue is not a heap, or is empty.
    pub(super) fn removal(&self) -> Result<Option<heap::Removal<'py>>> {
        if self.way != Way::Heap {
            return Ok(None);
        }
        heap::Removal::of(&self.getting, self.items.cast::<PyList>()?)
    }

    /// Whether the next item can still be removed like that.
    pub(super) fn is_still_least(&self, removal: Option<&heap::Removal<'py>>) -> Result<bool> {
        match removal {
            Some(removal) => removal.is_still(self.items.cast::<PyList>()?),
            None => Ok(self.way != Way::Heap),
        }
    }

    /// Remove the next item. There must be one.
    pub(super) fn take(&self, removal: Option<&heap::Removal<'py>>) -> Result<Bound<'py, PyAny>> {
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

    /// Let in waiting putters after an item was taken out. Returns that item, or a Deferred for it.
    pub(super) fn give_taken(
        &self,
        item: Bound<'py, PyAny>,
        as_deferred: bool,
    ) -> Result<Bound<'py, PyAny>> {
        let py = self.py();
        if self.putting.get().len(py) > 0 {
            match self.let_in() {
                Err(error) if !error.is_instance_of::<PyException>(py) => {
                    // The caller gets the error, and no item.
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

    /// Mark this many items as done. Returns whether all are done now.
    pub(super) fn finish(&self, many: i64) -> Result<bool> {
        let unfinished = intern!(self.py(), "_unfinished");
        let left = (number(&self.it, unfinished)? - many).max(0);
        set_attribute(&self.it, unfinished, left)?;
        Ok(left == 0)
    }

    /// Put an item back at the front, behind those that were given out before it and put back, too.
    pub(super) fn put_in_front(
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
