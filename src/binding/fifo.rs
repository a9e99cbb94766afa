//! A list that is cheap at both ends: what waits for a lock, and what a queue holds.

use std::collections::{HashMap, VecDeque};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyMemoryError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PySlice, PyString, PyTuple};

use super::cell::Shared;
use super::deferred::Deferred;
use super::error::{Raise, Result};
use super::ffi::{self, Held, Hold};
use super::gc::Traverse;
use super::interned::intern;
use crate::core::refusable;

/// What is in a line, with gaps where something was taken out of the middle. The first and the last
/// are never gaps.
#[derive(Default)]
struct Items {
    items: VecDeque<Option<Held<PyAny>>>,
    /// How many places have left at the front, ever.
    offset: usize,
    /// How many of the items are gaps.
    gaps: usize,
    /// Where each Deferred is, counted from the very first place: made when there are many and one
    /// is taken out, kept until the line is empty. There only while all items are Deferreds, and no
    /// two the same.
    places: Option<HashMap<usize, usize>>,
}

/// What came of taking out a Deferred.
enum Taken {
    /// It was the first that is equal to itself.
    #[allow(dead_code, reason = "held to be dropped")]
    This(Held<PyAny>),
    /// It is not there.
    Missing,
    /// Something that is no Deferred stands there as well, and may call itself equal to it.
    Unclear,
}

/// Up to this many are looked through, one after the other.
const NEAR: usize = 32;

impl Items {
    fn len(&self) -> usize {
        self.items.len() - self.gaps
    }

    /// Add at the end. Given back if there is no memory for it.
    #[inline(always)]
    fn push_back(&mut self, py: Python<'_>, item: Held<PyAny>) -> Result<(), Held<PyAny>> {
        if self.items.len() == self.items.capacity()
            && refusable(|| self.items.try_reserve(1)).is_err()
        {
            return Err(item);
        }
        if self.places.is_some() {
            self.note(py, &item);
        }
        self.items.push_back(Some(item));
        Ok(())
    }

    /// Remember where an item will be that is about to be added at the end.
    #[cold]
    fn note(&mut self, py: Python<'_>, item: &Held<PyAny>) {
        let Some(places) = &mut self.places else { return };
        let place = self.offset.wrapping_add(self.items.len());
        if !is_deferred(py, item)
            || (places.len() == places.capacity() && refusable(|| places.try_reserve(1)).is_err())
            || places.insert(item.as_ptr() as usize, place).is_some()
        {
            self.places = None;
        }
    }

    #[inline(always)]
    fn pop_front(&mut self) -> Option<Held<PyAny>> {
        let item = self.items.pop_front()?;
        self.offset = self.offset.wrapping_add(1);
        if self.gaps > 0 || self.places.is_some() {
            self.after_pop(item.as_ref());
        }
        item
    }

    #[cold]
    fn after_pop(&mut self, item: Option<&Held<PyAny>>) {
        if let (Some(places), Some(item)) = (&mut self.places, item) {
            places.remove(&(item.as_ptr() as usize));
        }
        self.trim();
    }

    /// Have no gaps at the ends, and no places where there is nothing.
    fn trim(&mut self) {
        while let Some(None) = self.items.front() {
            self.items.pop_front();
            self.offset = self.offset.wrapping_add(1);
            self.gaps -= 1;
        }
        while let Some(None) = self.items.back() {
            self.items.pop_back();
            self.gaps -= 1;
        }
        if self.items.is_empty() {
            self.places = None;
        }
    }

    /// Take out this very Deferred, in constant time on the average.
    fn take(&mut self, py: Python<'_>, item: *mut pyo3::ffi::PyObject) -> Taken {
        let place = match self.place_of(py, item) {
            Ok(Some(place)) => place,
            Ok(None) => return Taken::Missing,
            Err(Strange) => return Taken::Unclear,
        };
        let Some(taken) = self.items.get_mut(place).and_then(Option::take) else {
            return Taken::Missing;
        };
        if let Some(places) = &mut self.places {
            places.remove(&(item as usize));
        }
        self.gaps += 1;
        self.trim();
        if self.gaps * 2 > self.items.len() + 16 {
            self.close_gaps();
        }
        Taken::This(taken)
    }

    /// The index of a Deferred among the items.
    fn place_of(
        &mut self,
        py: Python<'_>,
        item: *mut pyo3::ffi::PyObject,
    ) -> Result<Option<usize>, Strange> {
        if self.places.is_none() {
            for (index, each) in self.items.iter().enumerate().take(NEAR) {
                match each {
                    Some(each) if each.as_ptr() == item => return Ok(Some(index)),
                    Some(each) if !is_deferred(py, each) => return Err(Strange),
                    _ => {}
                }
            }
            if self.items.len() <= NEAR {
                return Ok(None);
            }
            self.places = Some(self.all_places(py)?);
        }
        let place = self.places.as_ref().and_then(|places| places.get(&(item as usize)));
        Ok(place.map(|place| place.wrapping_sub(self.offset)))
    }

    fn all_places(&self, py: Python<'_>) -> Result<HashMap<usize, usize>, Strange> {
        let mut places = HashMap::new();
        refusable(|| places.try_reserve(self.len())).map_err(|_| Strange)?;
        for (index, item) in self.items.iter().enumerate() {
            let Some(item) = item else { continue };
            let place = self.offset.wrapping_add(index);
            if !is_deferred(py, item) || places.insert(item.as_ptr() as usize, place).is_some() {
                return Err(Strange);
            }
        }
        Ok(places)
    }

    fn close_gaps(&mut self) {
        if self.gaps > 0 {
            self.items.retain(Option::is_some);
            self.gaps = 0;
            // The places have moved.
            self.places = None;
        }
    }

    /// The item at an index, if it can be told without looking through all.
    fn get(&self, index: isize) -> Option<&Held<PyAny>> {
        match index {
            0 => self.items.front()?.as_ref(),
            -1 => self.items.back()?.as_ref(),
            _ if self.gaps > 0 => None,
            1.. => self.items.get(index.unsigned_abs())?.as_ref(),
            _ => self.items.get(self.items.len().checked_sub(index.unsigned_abs())?)?.as_ref(),
        }
    }
}

/// Not all items are different Deferreds.
struct Strange;

fn is_deferred(py: Python<'_>, item: &Held<PyAny>) -> bool {
    ffi::is_exact::<Deferred>(item.bind(py))
}

/// How a [`Fifo`] keeps its items.
enum State {
    /// As those need it that wait.
    Line(Items),
    /// In a list, because a program uses it as one, and what a list does is best done by a list.
    List {
        list: Held<PyList>,
        /// How often it has been used as a line since.
        uses: usize,
        marks: Marks,
    },
}

/// Which of the items in front have been taken back from those to whom they had been handed over.
///
/// Each has the number of its hand-over. It is the place that is marked, not the object: the same
/// object may stand there twice.
#[derive(Default)]
struct Marks {
    /// Those of the first items. The last is never None.
    numbers: VecDeque<Option<u64>>,
    /// How many methods of the list are under way. Most call Python, and so change it at any time.
    under_way: usize,
    /// While one is, the items as they were when the numbers were true of them.
    items: Vec<Held<PyAny>>,
}

impl Marks {
    /// Where something with this number belongs.
    fn place_for(&self, number: u64) -> usize {
        let is = |order: fn(&u64, &u64) -> bool| {
            move |other: &Option<u64>| other.as_ref().is_some_and(|other| order(other, &number))
        };
        self.numbers.iter().position(is(u64::gt)).unwrap_or_else(|| {
            self.numbers.iter().rposition(is(u64::lt)).map_or(0, |place| place + 1)
        })
    }

    /// Something has been put in at this index. Where there is no memory to tell, all are forgotten.
    fn insert(&mut self, index: usize, number: Option<u64>) {
        if number.is_none() && index >= self.numbers.len() {
            return;
        }
        let more = index.saturating_sub(self.numbers.len()) + 1;
        if refusable(|| self.numbers.try_reserve(more)).is_err() {
            return self.numbers.clear();
        }
        while self.numbers.len() < index {
            self.numbers.push_back(None);
        }
        self.numbers.insert(index, number);
    }

    /// What was at this index has been taken out.
    fn remove(&mut self, index: usize) {
        self.numbers.remove(index);
        self.trim();
    }

    fn trim(&mut self) {
        while let Some(None) = self.numbers.back() {
            self.numbers.pop_back();
        }
    }

    /// Move the numbers to where their items are now. What the items were is returned, to be
    /// dropped.
    fn follow(&mut self, now: Vec<Held<PyAny>>) -> Vec<Held<PyAny>> {
        let before = std::mem::replace(&mut self.items, now);
        let now = &self.items;
        if self.numbers.is_empty() {
            return before;
        }
        let same = |a: &Held<PyAny>, b: &Held<PyAny>| a.as_ptr() == b.as_ptr();
        // What was taken out of several that are the same was the first of them.
        let ends = before.iter().rev().zip(now.iter().rev()).take_while(|(a, b)| same(a, b));
        let behind = ends.count();
        let (old, new) = (before.len() - behind, now.len() - behind);
        let starts = before[..old].iter().zip(&now[..new]).take_while(|(a, b)| same(a, b));
        let front = starts.count();
        let mut moved = VecDeque::new();
        if refusable(|| moved.try_reserve(now.len())).is_err() {
            self.numbers.clear();
            return before;
        }
        moved.resize(now.len(), None);
        for (index, number) in self.numbers.iter().enumerate().filter(|(_, it)| it.is_some()) {
            let place = if index < front {
                Some(index)
            } else if index >= old {
                Some(index - old + new).filter(|place| *place < now.len())
            } else {
                (front..new)
                    .find(|place| moved[*place].is_none() && same(&before[index], &now[*place]))
            };
            if let Some(place) = place {
                moved[place] = *number;
            }
        }
        self.numbers = moved;
        self.trim();
        before
    }
}

/// A mutable sequence, used like a list. Taking from its front, and taking out a Deferred that was
/// cancelled, cost the same however long it is.
///
/// All else is done by a list, into which the items are put for that; so it does what a list does,
/// whatever happens meanwhile.
#[pyclass(name = "_Fifo", module = "deferrous", frozen, sequence, weakref, generic)]
pub(super) struct Fifo {
    state: Shared<State>,
}

impl Fifo {
    /// An empty one.
    pub(super) fn empty(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        Bound::new(py, Self { state: Shared::new(State::Line(Items::default())) })
    }

    fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, transition)
    }

    /// Add at the end. No code of Python's runs.
    ///
    /// # Errors
    ///
    /// `MemoryError`
    #[inline(always)]
    pub(super) fn push_back(&self, item: Bound<'_, PyAny>) -> Result<()> {
        let py = item.py();
        let item = item.hold();
        let left = self.with(py, |state| match state {
            State::Line(items) => items.push_back(py, item),
            State::List { .. } => Err(item),
        });
        match left {
            Ok(()) => Ok(()),
            Err(item) => self.push_to_list(item.into_bound(py)),
        }
    }

    #[cold]
    fn push_to_list(&self, item: Bound<'_, PyAny>) -> Result<()> {
        match self.kept_list(item.py()) {
            Some(list) => {
                self.follow_in(&list);
                list.append(item)?;
                self.note_items(&list);
                Ok(())
            }
            None => Err(PyMemoryError::bare_error(item.py())),
        }
    }

    /// Take from the front. No code of Python's runs.
    #[inline(always)]
    pub(super) fn pop_front<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyAny>>> {
        let taken = self.with(py, |state| match state {
            State::Line(items) => Some(items.pop_front()),
            State::List { .. } => None,
        });
        match taken {
            Some(item) => Ok(item.map(|item| item.into_bound(py))),
            None => self.pop_front_of_list(py),
        }
    }

    #[cold]
    fn pop_front_of_list<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyAny>>> {
        self.be_a_line_again(py);
        let Some(list) = self.kept_list(py) else { return self.pop_front(py) };
        if list.is_empty() {
            return Ok(None);
        }
        self.follow_in(&list);
        let first = list.get_item(0)?;
        list.del_item(0)?;
        self.with_marks(py, |marks| marks.remove(0));
        self.note_items(&list);
        Ok(Some(first))
    }

    /// Put in before the one at an index, or at the end. No code of Python's runs.
    ///
    /// # Errors
    ///
    /// `MemoryError`
    pub(super) fn insert_at(
        slf: &Bound<'_, Self>,
        index: usize,
        item: Bound<'_, PyAny>,
    ) -> Result<()> {
        let py = slf.py();
        if index == 0 && slf.get().len(py) == 0 {
            return slf.get().push_back(item);
        }
        Self::insert_marked(slf, |_| index, None, item)
    }

    /// Put in what was taken back: in front of all, but behind what was handed over before it and
    /// has been taken back, too. No code of Python's runs.
    ///
    /// # Errors
    ///
    /// `MemoryError`
    pub(super) fn put_back(
        slf: &Bound<'_, Self>,
        number: u64,
        item: Bound<'_, PyAny>,
    ) -> Result<()> {
        Self::insert_marked(slf, |marks| marks.place_for(number), Some(number), item)
    }

    fn insert_marked(
        slf: &Bound<'_, Self>,
        place: impl Fn(&Marks) -> usize,
        number: Option<u64>,
        item: Bound<'_, PyAny>,
    ) -> Result<()> {
        let (this, py) = (slf.get(), slf.py());
        let list = Self::list(slf)?;
        this.follow_in(&list);
        let index = this.with_marks(py, |marks| place(marks)).unwrap_or(0).min(list.len());
        list.insert(index, item)?;
        this.with_marks(py, |marks| marks.insert(index, number));
        this.note_items(&list);
        Ok(())
    }

    fn with_marks<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut Marks) -> R) -> Option<R> {
        self.with(py, |state| match state {
            State::Line(_) => None,
            State::List { marks, .. } => Some(transition(marks)),
        })
    }

    /// Have a method of the list change it, which may run any code. The marks follow.
    fn change<'py, R>(
        slf: &Bound<'py, Self>,
        method: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<R>,
    ) -> PyResult<R> {
        let (this, py) = (slf.get(), slf.py());
        let list = Self::list(slf)?;
        this.follow_in(&list);
        this.with_marks(py, |marks| marks.under_way += 1);
        this.note_items(&list);
        let result = method(list.as_any());
        this.follow_in(&list);
        let items = this.with_marks(py, |marks| {
            marks.under_way = marks.under_way.saturating_sub(1);
            if marks.under_way == 0 { std::mem::take(&mut marks.items) } else { Vec::new() }
        });
        drop(items);
        result
    }

    /// Take out the one at an index that is an int, if it can be told which that is. No code of
    /// Python's runs.
    fn take_at<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (this, py) = (slf.get(), slf.py());
        let list = Self::list(slf)?;
        let index = exact_index(index).and_then(|index| {
            let index =
                if index < 0 { list.len().checked_add_signed(index)? } else { index as usize };
            (index < list.len()).then_some(index)
        });
        let Some(index) = index else { return Ok(None) };
        this.follow_in(&list);
        let item = list.get_item(index)?;
        list.del_item(index)?;
        this.with_marks(py, |marks| marks.remove(index));
        this.note_items(&list);
        Ok(Some(item))
    }

    fn follow_in(&self, list: &Bound<'_, PyList>) {
        let py = list.py();
        let before = self.with_marks(py, |marks| {
            if marks.under_way == 0 || marks.numbers.is_empty() {
                return Vec::new();
            }
            match all_items(list) {
                Some(now) => marks.follow(now),
                None => {
                    marks.numbers.clear();
                    std::mem::take(&mut marks.items)
                }
            }
        });
        drop(before);
    }

    /// The numbers are true of what is in the list now.
    fn note_items(&self, list: &Bound<'_, PyList>) {
        let before = self.with_marks(list.py(), |marks| {
            if marks.under_way == 0 || marks.numbers.is_empty() {
                return Vec::new();
            }
            let now = all_items(list).unwrap_or_else(|| {
                marks.numbers.clear();
                Vec::new()
            });
            std::mem::replace(&mut marks.items, now)
        });
        drop(before);
    }

    /// The item at an index, if there is one.
    pub(super) fn get<'py>(slf: &Bound<'py, Self>, index: usize) -> Option<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Some(list) = slf.get().kept_list(py) {
            return list.get_item(index).ok();
        }
        slf.get().with(py, |state| match state {
            State::Line(items) => {
                let mut present = items.items.iter().flatten();
                present.nth(index).map(|item| item.bind(py).clone())
            }
            State::List { .. } => None,
        })
    }

    /// How many there are.
    #[inline(always)]
    pub(super) fn len(&self, py: Python<'_>) -> usize {
        self.with(py, |state| match state {
            State::Line(items) => items.len(),
            State::List { list, .. } => list.bind(py).len(),
        })
    }

    fn kept_list<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyList>> {
        self.with(py, |state| match state {
            State::Line(_) => None,
            State::List { list, .. } => Some(list.bind(py).clone()),
        })
    }

    /// The list that the items are in from now on.
    fn list<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let (this, py) = (slf.get(), slf.py());
        // What a list does may call Python, and that this again.
        ffi::stack::check(py)?;
        if let Some(list) = this.kept_list(py) {
            return Ok(list);
        }
        // That may begin a collection, and so run any code.
        let list = py.get_type::<PyList>().call0()?.cast_into::<PyList>()?;
        if let Some(list) = this.kept_list(py) {
            return Ok(list);
        }
        // From here on, no code of Python's runs: the objects have holders.
        let item_at = |index| {
            this.with(py, |state| match state {
                State::Line(items) => {
                    let item = items.items.get(index)?;
                    Some(item.as_ref().map(|item| item.bind(py).clone()))
                }
                State::List { .. } => None,
            })
        };
        for index in 0.. {
            match item_at(index) {
                Some(Some(item)) => list.append(item)?,
                Some(None) => {}
                None => break,
            }
        }
        let state = State::List { list: list.clone().hold(), uses: 0, marks: Marks::default() };
        let before = this.with(py, |current| std::mem::replace(current, state));
        drop(before);
        Ok(list)
    }

    /// Take the items out of the list again, if it has been used as a line for a while, and nobody
    /// else uses it: no iterator, and no method that has called Python.
    fn be_a_line_again(&self, py: Python<'_>) {
        /// So often the front may be taken from a list, which moves all others.
        const PATIENCE: usize = 16;
        let list = self.with(py, |state| match state {
            State::List { list, uses, marks } => {
                *uses += 1;
                let plain = marks.numbers.is_empty() && marks.under_way == 0;
                (*uses >= PATIENCE && plain && !list.is_shared(py)).then(|| list.bind(py).clone())
            }
            State::Line(_) => None,
        });
        let Some(list) = list else { return };
        let mut items = Items::default();
        for item in &list {
            if items.push_back(py, item.hold()).is_err() {
                return;
            }
        }
        let before = self.with(py, |current| std::mem::replace(current, State::Line(items)));
        drop((before, list));
    }

    /// Take out a Deferred, if it is certain which is the first that is equal to it.
    fn take_deferred(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> bool {
        let py = slf.py();
        if !ffi::is_exact::<Deferred>(value) || ffi::compares_specially(&value.get_type()) {
            return false;
        }
        let taken = slf.get().with(py, |state| match state {
            State::Line(items) => items.take(py, value.as_ptr()),
            State::List { .. } => Taken::Unclear,
        });
        matches!(taken, Taken::This(_))
    }
}

/// What is in a list. None if there is no memory for that.
fn all_items(list: &Bound<'_, PyList>) -> Option<Vec<Held<PyAny>>> {
    let mut items = Vec::new();
    refusable(|| items.try_reserve(list.len())).ok()?;
    items.extend(list.iter().map(Hold::hold));
    Some(items)
}

/// An index that is an int, and nothing that has to be asked for one.
fn exact_index(index: &Bound<'_, PyAny>) -> Option<isize> {
    index.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// The other operand as a list, if it is one of us.
fn listed<'py>(other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match other.cast_exact::<Fifo>() {
        Ok(other) => Ok(Fifo::list(other)?.into_any()),
        Err(_) => Ok(other.clone()),
    }
}

#[pymethods]
impl Fifo {
    #[new]
    #[pyo3(signature = (iterable=None, /))]
    fn new(py: Python<'_>, iterable: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let state = match iterable {
            None => State::Line(Items::default()),
            Some(iterable) => {
                ffi::stack::check(py)?;
                let list = py.get_type::<PyList>().call1((iterable,))?.cast_into::<PyList>()?;
                State::List { list: list.hold(), uses: 0, marks: Marks::default() }
            }
        };
        Ok(Self { state: Shared::new(state) })
    }

    fn __len__(slf: &Bound<'_, Self>) -> usize {
        slf.get().len(slf.py())
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Some(index) = exact_index(index) {
            let item = slf.get().with(py, |state| match state {
                State::Line(items) => items.get(index).map(|item| item.bind(py).clone()),
                State::List { .. } => None,
            });
            if let Some(item) = item {
                return Ok(item);
            }
        }
        Self::list(slf)?.as_any().get_item(index)
    }

    fn __setitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if index.is_instance_of::<PySlice>() {
            return Self::change(slf, |list| list.set_item(index, listed(value)?));
        }
        Self::change(slf, |list| list.set_item(index, value))
    }

    fn __delitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<()> {
        match Self::take_at(slf, index)? {
            Some(_) => Ok(()),
            None => Self::change(slf, |list| list.del_item(index)),
        }
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Ok(Self::list(slf)?.try_iter()?.into_any())
    }

    fn __reversed__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.call_method0(intern!(slf.py(), "__reversed__"))
    }

    fn __contains__<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<bool> {
        Self::list(slf)?.contains(value)
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        op: pyo3::pyclass::CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let other = listed(other)?;
        if !other.is_instance_of::<PyList>() {
            return Ok(slf.py().NotImplemented().into_bound(slf.py()));
        }
        Self::list(slf)?.rich_compare(other, op)
    }

    fn __add__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.add(listed(other)?)
    }

    fn __radd__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        other.add(Self::list(slf)?)
    }

    fn __mul__<'py>(
        slf: &Bound<'py, Self>,
        times: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.mul(times)
    }

    fn __rmul__<'py>(
        slf: &Bound<'py, Self>,
        times: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        times.mul(Self::list(slf)?)
    }

    fn __imul__<'py>(slf: &Bound<'py, Self>, times: &Bound<'py, PyAny>) -> PyResult<()> {
        let imul = intern!(slf.py(), "__imul__");
        Self::change(slf, |list| list.call_method1(imul, (times,))).map(drop)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyString>> {
        Self::list(slf)?.repr()
    }

    /// Add at the end.
    fn append<'py>(slf: &Bound<'py, Self>, object: Bound<'py, PyAny>) -> Result<()> {
        slf.get().push_back(object)
    }

    /// Add several at the end.
    fn extend<'py>(slf: &Bound<'py, Self>, iterable: &Bound<'py, PyAny>) -> PyResult<()> {
        let list = Self::list(slf)?;
        list.call_method1(intern!(slf.py(), "extend"), (listed(iterable)?,)).map(drop)
    }

    fn __iadd__<'py>(slf: &Bound<'py, Self>, iterable: &Bound<'py, PyAny>) -> PyResult<()> {
        Self::extend(slf, iterable)
    }

    /// Add before the one at this index.
    fn insert<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if let Some(index) = exact_index(index) {
            let length = Self::list(slf)?.len();
            let index = if index < 0 {
                length.saturating_add_signed(index)
            } else {
                length.min(index as usize)
            };
            return Ok(Self::insert_marked(slf, |_| index, None, object.clone())?);
        }
        let insert = intern!(slf.py(), "insert");
        Self::change(slf, |list| list.call_method1(insert, (index, object))).map(drop)
    }

    /// Take out the one at this index, by default the last, and return it.
    ///
    /// Raises IndexError if there is none.
    #[pyo3(signature = (index=None, /))]
    fn pop<'py>(
        slf: &Bound<'py, Self>,
        index: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let pop = intern!(py, "pop");
        let last;
        let index = match index {
            Some(index) => index,
            None => {
                last = (-1isize).into_pyobject(py)?.into_any();
                &last
            }
        };
        if exact_index(index) == Some(0)
            && let Some(item) = slf.get().pop_front(py)?
        {
            return Ok(item);
        }
        match Self::take_at(slf, index)? {
            Some(item) => Ok(item),
            None => Self::change(slf, |list| list.call_method1(pop, (index,))),
        }
    }

    /// Take out the first that is equal to this.
    ///
    /// Raises ValueError if there is none.
    pub(super) fn remove<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Result<()> {
        if Self::take_deferred(slf, value) {
            return Ok(());
        }
        let remove = intern!(slf.py(), "remove");
        Ok(Self::change(slf, |list| list.call_method1(remove, (value,))).map(drop)?)
    }

    /// Take out all.
    fn clear<'py>(slf: &Bound<'py, Self>) -> PyResult<()> {
        Self::change(slf, |list| list.call_method0(intern!(slf.py(), "clear"))).map(drop)
    }

    /// The index of the first that is equal to this.
    ///
    /// Raises ValueError if there is none.
    #[pyo3(signature = (*args))]
    fn index<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.call_method1(intern!(slf.py(), "index"), args)
    }

    /// How many are equal to this.
    fn count<'py>(
        slf: &Bound<'py, Self>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.call_method1(intern!(slf.py(), "count"), (value,))
    }

    /// Reverse the order.
    fn reverse(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::change(slf, |list| list.cast::<PyList>()?.reverse())
    }

    /// Sort, as `list.sort` does.
    #[pyo3(signature = (**kwargs))]
    fn sort<'py>(slf: &Bound<'py, Self>, kwargs: Option<&Bound<'py, PyDict>>) -> PyResult<()> {
        let sort = intern!(slf.py(), "sort");
        Self::change(slf, |list| list.call_method(sort, (), kwargs)).map(drop)
    }

    /// A list of the same.
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.call_method0(intern!(slf.py(), "copy"))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyTuple>> {
        let py = slf.py();
        // The items by themselves, as one of them may be this.
        let items = Self::__iter__(slf)?;
        let [class, none] = [slf.get_type().into_any(), py.None().into_bound(py)];
        ffi::new_tuple(py, [class, PyTuple::empty(py).into_any(), none, items])
    }

    #[classattr]
    #[pyo3(name = "__hash__")]
    fn hash() -> Option<Py<PyAny>> {
        None
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.state.during_gc() {
            State::Line(items) => {
                for item in items.items.iter().flatten() {
                    item.traverse(visit)?;
                }
                Ok(())
            }
            State::List { list, marks, .. } => {
                for item in &marks.items {
                    item.traverse(visit)?;
                }
                list.traverse(visit)
            }
        }
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let empty = State::Line(Items::default());
        let before = slf.get().with(slf.py(), |state| std::mem::replace(state, empty));
        drop(before);
    }
}
