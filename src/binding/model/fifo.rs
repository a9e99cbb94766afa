//! The class of `waiting` and `pending`: a list that is fast at both ends.

#[cfg(Py_GIL_DISABLED)]
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

#[cfg(Py_GIL_DISABLED)]
use pyo3::exceptions::PyIndexError;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList};

#[cfg(Py_GIL_DISABLED)]
use crate::binding::capi::interned::intern;
use crate::binding::capi::{
    self, Held, Hold,
    cell::{SEVERAL_THREADS, Shared},
    error::{Raise, Result},
};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::gate::Gate;
#[cfg(not(Py_GIL_DISABLED))]
use crate::binding::model::line_items::all_items;
use crate::binding::model::{
    deferred::Deferred,
    line_items::{Items, Taken, is_plain_deferred},
    marks::Marks,
};

/// How a [`Fifo`] keeps its items.
pub(crate) enum State {
    /// In a queue.
    Line(Items),
    /// In a list, because a program uses it as one.
    List {
        list: Held<PyList>,
        /// How often it has been used as a queue since then.
        uses: usize,
        marks: Marks,
    },
}

impl State {
    /// Whether there are items. A list may have some.
    #[inline(always)]
    pub(super) fn may_have_items(&self) -> bool {
        !matches!(self, Self::Line(items) if items.items.is_empty())
    }
}

/// A mutable sequence for waiting Deferreds and queued items, used like a list.
///
/// Removing the first item, or a cancelled Deferred, takes constant time. For everything else, the
/// items are moved to a list, so that it behaves exactly like one.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    name = "_Fifo",
    module = "deferrous",
    frozen,
    sequence,
    weakref,
    generic
)]
pub(crate) struct Fifo {
    pub(crate) state: Shared<State>,
    /// The gate of the object that this line belongs to.
    #[cfg(Py_GIL_DISABLED)]
    pub(super) gate: OnceLock<Arc<Gate>>,
    /// Whether it has items, or is a list. It can be read without the lock.
    #[cfg(Py_GIL_DISABLED)]
    busy: AtomicBool,
}

impl Fifo {
    /// An empty line.
    pub(crate) fn empty(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        Ok(capi::new_exact(py, || Self::new_of(State::Line(Items::default())))?)
    }

    /// A line in this state.
    pub(crate) fn new_of(state: State) -> Self {
        Self {
            #[cfg(Py_GIL_DISABLED)]
            gate: OnceLock::new(),
            #[cfg(Py_GIL_DISABLED)]
            busy: AtomicBool::new(state.may_have_items()),
            state: Shared::new(state),
        }
    }

    /// Make one transition of the state.
    #[inline(always)]
    pub(crate) fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut State) -> R) -> R {
        #[cfg(not(Py_GIL_DISABLED))]
        return self.state.with(py, transition);
        #[cfg(Py_GIL_DISABLED)]
        self.state.with(py, |state| {
            let result = transition(state);
            self.busy.store(state.may_have_items(), Ordering::Release);
            result
        })
    }

    /// Whether it may have items. Takes no lock.
    #[cfg(Py_GIL_DISABLED)]
    #[inline(always)]
    pub(crate) fn may_have_items(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Append an item. Runs no Python code.
    ///
    /// # Errors
    ///
    /// `MemoryError`
    #[inline(always)]
    pub(crate) fn push_back(&self, item: Bound<'_, PyAny>) -> Result<()> {
        let py = item.py();
        match self.push_in_line(py, item.hold()) {
            Ok(()) => Ok(()),
            Err(item) => self.push_to_list(item.into_bound(py)),
        }
    }

    /// Append an item. It is returned if the line is a list, or if there is no memory.
    #[inline(always)]
    pub(crate) fn push_in_line(
        &self,
        py: Python<'_>,
        item: Held<PyAny>,
    ) -> Result<(), Held<PyAny>> {
        self.with(py, |state| match state {
            State::Line(items) => items.push_back(py, item),
            State::List { .. } => Err(item),
        })
    }

    #[cold]
    pub(crate) fn push_to_list(&self, item: Bound<'_, PyAny>) -> Result<()> {
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

    /// Remove the first item. Runs no Python code.
    #[inline(always)]
    pub(crate) fn pop_front<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyAny>>> {
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
    pub(crate) fn pop_front_of_list<'py>(
        &self,
        py: Python<'py>,
    ) -> Result<Option<Bound<'py, PyAny>>> {
        self.be_a_line_again(py);
        let Some(list) = self.kept_list(py) else { return self.pop_front(py) };
        if list.is_empty() {
            return Ok(None);
        }
        self.follow_in(&list);
        // A single method call, which is atomic.
        #[cfg(Py_GIL_DISABLED)]
        let first = match list.call_method1(intern!(py, "pop"), (0,)) {
            Err(error) if error.is_instance_of::<PyIndexError>(py) => return Ok(None),
            popped => popped?,
        };
        #[cfg(not(Py_GIL_DISABLED))]
        let first = list.get_item(0)?;
        #[cfg(not(Py_GIL_DISABLED))]
        list.del_item(0)?;
        self.with_marks(py, |marks| marks.remove(0));
        self.note_items(&list);
        Ok(Some(first))
    }

    /// Move all items to another line, replacing its content. Runs no Python code, except when that
    /// content is dropped.
    pub(crate) fn take_all(slf: &Bound<'_, Self>, to: &Bound<'_, Self>) {
        let py = slf.py();
        let empty = State::Line(Items::default());
        let all = slf.get().with(py, |state| std::mem::replace(state, empty));
        let before = to.get().with(py, |state| std::mem::replace(state, all));
        drop(before);
    }

    /// Insert before an index, or at the end. Runs no Python code.
    ///
    /// # Errors
    ///
    /// `MemoryError`
    pub(crate) fn insert_at(
        slf: &Bound<'_, Self>,
        index: usize,
        item: Bound<'_, PyAny>,
    ) -> Result<()> {
        let (py, item) = (slf.py(), item.hold());
        let refused = slf.get().with(py, |state| match state {
            State::Line(items) if index == 0 => items.push_front(item).err(),
            _ => Some(item),
        });
        let insert = |item: Held<_>| Self::insert_marked(slf, |_| index, None, item.into_bound(py));
        refused.map_or(Ok(()), insert)
    }

    /// Insert an item that was given back at the front, but behind those that were handed over
    /// before it and given back, too. Runs no Python code.
    ///
    /// # Errors
    ///
    /// `MemoryError`
    pub(crate) fn put_back(
        slf: &Bound<'_, Self>,
        number: u64,
        item: Bound<'_, PyAny>,
    ) -> Result<()> {
        Self::insert_marked(slf, |marks| marks.place_for(number), Some(number), item)
    }

    pub(crate) fn insert_marked(
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

    pub(crate) fn with_marks<R>(
        &self,
        py: Python<'_>,
        transition: impl FnOnce(&mut Marks) -> R,
    ) -> Option<R> {
        self.with(py, |state| match state {
            State::Line(_) => None,
            State::List { marks, .. } => Some(transition(marks)),
        })
    }

    /// Change the list through one of its methods, which may run any code. Updates the marks.
    pub(crate) fn change<'py, R>(
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

    /// Remove the item at an index, if that can be found without Python code.
    pub(crate) fn take_at<'py>(
        slf: &Bound<'py, Self>,
        asked: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (this, py) = (slf.get(), slf.py());
        let list = Self::list(slf)?;
        let index = exact_index(asked).and_then(|index| {
            let index =
                if index < 0 { list.len().checked_add_signed(index)? } else { index as usize };
            (index < list.len()).then_some(index)
        });
        let Some(index) = index else { return Ok(None) };
        this.follow_in(&list);
        // A single method call, which is atomic: another thread may remove items.
        #[cfg(Py_GIL_DISABLED)]
        let item = list.call_method1(intern!(py, "pop"), (asked,))?;
        #[cfg(not(Py_GIL_DISABLED))]
        let (item, ()) = (list.get_item(index)?, list.del_item(index)?);
        this.with_marks(py, |marks| marks.remove(index));
        this.note_items(&list);
        Ok(Some(item))
    }

    pub(crate) fn follow_in(&self, list: &Bound<'_, PyList>) {
        let py = list.py();
        // Reading a list may lock it, which a step must not do.
        #[cfg(Py_GIL_DISABLED)]
        let mut all = self.items_if_marked(list);
        #[cfg(Py_GIL_DISABLED)]
        let mut all_items = |_: &Bound<'_, PyList>| all.take();
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

    /// The numbers match the content of the list now.
    pub(crate) fn note_items(&self, list: &Bound<'_, PyList>) {
        #[cfg(Py_GIL_DISABLED)]
        let mut all = self.items_if_marked(list);
        #[cfg(Py_GIL_DISABLED)]
        let mut all_items = |_: &Bound<'_, PyList>| all.take();
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
    pub(crate) fn get<'py>(slf: &Bound<'py, Self>, index: usize) -> Option<Bound<'py, PyAny>> {
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

    /// The number of items.
    #[inline(always)]
    pub(crate) fn len(&self, py: Python<'_>) -> usize {
        self.with(py, |state| match state {
            State::Line(items) => items.len(),
            State::List { list, .. } => list.bind(py).len(),
        })
    }

    pub(crate) fn kept_list<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyList>> {
        self.with(py, |state| match state {
            State::Line(_) => None,
            State::List { list, .. } => Some(list.bind(py).clone()),
        })
    }

    /// Move the items to a list, and return it.
    pub(crate) fn list<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let (this, py) = (slf.get(), slf.py());
        // A method of a list may call Python code, which may call this again.
        capi::stack::check(py)?;
        if let Some(list) = this.kept_list(py) {
            return Ok(list);
        }
        // This may start a collection, and so run any code.
        let list = py.get_type::<PyList>().call0()?.cast_into::<PyList>()?;
        if let Some(list) = this.kept_list(py) {
            return Ok(list);
        }
        #[cfg(Py_GIL_DISABLED)]
        return this.become_list(list);
        #[cfg(not(Py_GIL_DISABLED))]
        Self::fill(slf, list)
    }

    #[cfg(not(Py_GIL_DISABLED))]
    fn fill<'py>(slf: &Bound<'py, Self>, list: Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
        let (this, py) = (slf.get(), slf.py());
        // No Python code runs from here on: all objects have other owners.
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

    /// Move the items from the list back to the queue, if it has been used as a queue for a while,
    /// and nobody else uses the list: no iterator, and no method that has called Python.
    pub(crate) fn be_a_line_again(&self, py: Python<'_>) {
        /// How often the first item may be removed from a list, which moves all others.
        const PATIENCE: usize = 16;
        // Another thread might change the list meanwhile.
        if SEVERAL_THREADS {
            return;
        }
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

    /// Drop Deferreds at the front that a program has fired itself. Without the GIL, this takes a
    /// turn.
    ///
    /// # Errors
    ///
    /// `MemoryError`
    pub(crate) fn skip_fired(slf: &Bound<'_, Self>) -> Result<()> {
        let py = slf.py();
        while let Some(first) = Self::get(slf, 0)
            && let Ok(deferred) = first.cast::<Deferred>()
            && deferred.get().chain(py, |chain| chain.called())
        {
            // If this waiter has given up in another thread meanwhile, it is no longer the first.
            if !(SEVERAL_THREADS && Self::take_deferred(slf, &first)) {
                slf.get().pop_front(py)?;
            }
        }
        Ok(())
    }

    /// Remove a Deferred, if it is certain which is the first item that is equal to it.
    pub(crate) fn take_deferred(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> bool {
        let py = slf.py();
        if !is_plain_deferred(value) {
            return false;
        }
        #[cfg(Py_GIL_DISABLED)]
        slf.get().know_class_of(value);
        let taken = slf.get().with(py, |state| match state {
            State::Line(items) => items.take(py, value.as_ptr()),
            State::List { .. } => Taken::Unclear,
        });
        matches!(taken, Taken::This(_))
    }
}

/// An index that is exactly an int.
pub(crate) fn exact_index(index: &Bound<'_, PyAny>) -> Option<isize> {
    index.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// The other operand as a list, if it is a `Fifo`.
pub(crate) fn listed<'py>(other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match other.cast_exact::<Fifo>() {
        Ok(other) => Ok(Fifo::list(other)?.into_any()),
        Err(_) => Ok(other.clone()),
    }
}
