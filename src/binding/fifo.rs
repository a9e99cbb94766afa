//! A list that is cheap at both ends: what waits for a lock, and what a queue holds.

use std::collections::{HashMap, VecDeque};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyValueError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::cell::Shared;
use super::error::{Raise, Result};
use super::ffi::{Held, Hold};
use super::gc::Traverse;

/// What is in a list, with gaps where something was taken out of the middle.
#[derive(Default)]
struct Items {
    items: VecDeque<Option<Held<PyAny>>>,
    /// How many places have left at the front, ever.
    offset: usize,
    /// How many of the items are gaps.
    gaps: usize,
    /// Where each object is, counted from the very first place: made when something is first
    /// taken out by what it is, kept until the list is empty.
    places: Option<HashMap<usize, usize>>,
}

impl Items {
    fn len(&self) -> usize {
        self.items.len() - self.gaps
    }

    fn push_back(&mut self, item: Held<PyAny>) {
        if let Some(places) = &mut self.places {
            places.insert(item.as_ptr() as usize, self.offset + self.items.len());
        }
        self.items.push_back(Some(item));
    }

    fn pop_front(&mut self) -> Option<Held<PyAny>> {
        while let Some(item) = self.items.pop_front() {
            self.offset += 1;
            match item {
                Some(item) => {
                    if let Some(places) = &mut self.places {
                        places.remove(&(item.as_ptr() as usize));
                    }
                    self.forget_places_if_empty();
                    return Some(item);
                }
                None => self.gaps -= 1,
            }
        }
        None
    }

    /// Take this very object out, in constant time on the average.
    fn take(&mut self, item: *mut pyo3::ffi::PyObject) -> Option<Held<PyAny>> {
        let (items, offset) = (&self.items, self.offset);
        let places = self.places.get_or_insert_with(|| {
            // From the back, so that of two places of one object the first stays.
            let placed = items.iter().enumerate().rev();
            placed
                .filter_map(|(i, it)| Some((it.as_ref()?.as_ptr() as usize, offset + i)))
                .collect()
        });
        let place = places.remove(&(item as usize))?;
        let taken = self.items.get_mut(place.checked_sub(self.offset)?)?.take()?;
        self.gaps += 1;
        if self.gaps * 2 > self.items.len() + 16 {
            self.close_gaps();
        }
        self.forget_places_if_empty();
        Some(taken)
    }

    fn forget_places_if_empty(&mut self) {
        if self.len() == 0 {
            self.places = None;
        }
    }

    fn close_gaps(&mut self) {
        if self.gaps > 0 {
            self.items.retain(Option::is_some);
            self.gaps = 0;
            // The places have moved.
            self.places = None;
        }
    }
}

/// A mutable sequence, used like a list. Taking from its front, and taking out a Deferred that was
/// cancelled, cost the same however long it is.
#[pyclass(name = "_Fifo", module = "deferrous", frozen, sequence, weakref, generic)]
pub(super) struct Fifo {
    items: Shared<Items>,
}

impl Fifo {
    /// An empty one.
    pub(super) fn empty(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        Bound::new(py, Self { items: Shared::new(Items::default()) })
    }

    fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut Items) -> R) -> R {
        self.items.with(py, transition)
    }

    /// Add at the end.
    pub(super) fn push_back(&self, item: Bound<'_, PyAny>) {
        let py = item.py();
        let item = item.hold();
        self.with(py, |items| items.push_back(item));
    }

    /// Take from the front.
    pub(super) fn pop_front<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.with(py, Items::pop_front).map(|item| item.into_bound(py))
    }

    /// Take out this very object. False if it is not there.
    pub(super) fn take(&self, item: &Bound<'_, PyAny>) -> bool {
        let taken = self.with(item.py(), |items| items.take(item.as_ptr()));
        taken.is_some()
    }

    /// How many there are.
    pub(super) fn len(&self, py: Python<'_>) -> usize {
        self.with(py, |items| items.len())
    }

    /// As a list of its own.
    fn to_list<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let items: Vec<_> = slf.get().with(py, |items| {
            items.items.iter().flatten().map(|item| item.bind(py).clone()).collect()
        });
        PyList::new(py, items)
    }

    /// Be what a list is.
    fn set_list(slf: &Bound<'_, Self>, list: &Bound<'_, PyList>) {
        let items = list.iter().map(|item| Some(item.hold())).collect();
        let items = Items { items, ..Items::default() };
        let before = slf.get().with(slf.py(), |current| std::mem::replace(current, items));
        drop(before);
    }

    /// Have a list do something, and be what it is then.
    fn through_list<'py>(
        slf: &Bound<'py, Self>,
        method: &str,
        args: impl pyo3::call::PyCallArgs<'py>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let list = Self::to_list(slf)?;
        let result = list.call_method(method, args, kwargs)?;
        Self::set_list(slf, &list);
        Ok(result)
    }

    /// Have a list look at something.
    fn as_list<'py>(
        slf: &Bound<'py, Self>,
        method: &str,
        args: impl pyo3::call::PyCallArgs<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::to_list(slf)?.call_method1(method, args)
    }
}

/// The other operand as a list, if it is one of us.
fn listed<'py>(other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match other.cast_exact::<Fifo>() {
        Ok(other) => Ok(Fifo::to_list(other)?.into_any()),
        Err(_) => Ok(other.clone()),
    }
}

#[pymethods]
impl Fifo {
    #[new]
    #[pyo3(signature = (iterable=None, /))]
    fn new(iterable: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let mut items = Items::default();
        if let Some(iterable) = iterable {
            for item in iterable.try_iter()? {
                items.push_back(item?.hold());
            }
        }
        Ok(Self { items: Shared::new(items) })
    }

    fn __len__(slf: &Bound<'_, Self>) -> usize {
        slf.get().len(slf.py())
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Ok(index) = index.extract::<isize>() {
            let item = slf.get().with(py, |items| {
                items.close_gaps();
                let index = if index < 0 {
                    items.items.len().checked_sub(index.unsigned_abs())?
                } else {
                    index.unsigned_abs()
                };
                items.items.get(index)?.as_ref().map(|item| item.bind(py).clone())
            });
            if let Some(item) = item {
                return Ok(item);
            }
        }
        Self::as_list(slf, "__getitem__", (index,))
    }

    fn __setitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        Self::through_list(slf, "__setitem__", (index, value), None).map(drop)
    }

    fn __delitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<()> {
        Self::through_list(slf, "__delitem__", (index,), None).map(drop)
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Ok(Self::to_list(slf)?.try_iter()?.into_any())
    }

    fn __reversed__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::as_list(slf, "__reversed__", ())
    }

    fn __contains__<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<bool> {
        Self::to_list(slf)?.contains(value)
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
        Self::to_list(slf)?.rich_compare(other, op)
    }

    fn __add__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::as_list(slf, "__add__", (listed(other)?,))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        Ok(Self::to_list(slf)?.repr()?.to_string())
    }

    /// Add at the end.
    fn append<'py>(slf: &Bound<'py, Self>, object: Bound<'py, PyAny>) {
        slf.get().push_back(object);
    }

    /// Add several at the end.
    fn extend<'py>(slf: &Bound<'py, Self>, iterable: &Bound<'py, PyAny>) -> PyResult<()> {
        for item in listed(iterable)?.try_iter()? {
            slf.get().push_back(item?);
        }
        Ok(())
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
        Self::through_list(slf, "insert", (index, object), None).map(drop)
    }

    /// Take out the one at this index, by default the last, and return it.
    ///
    /// Raises IndexError if there is none.
    #[pyo3(signature = (index=None, /))]
    fn pop<'py>(
        slf: &Bound<'py, Self>,
        index: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match index {
            Some(index) if index.extract::<isize>().is_ok_and(|index| index == 0) => {
                if let Some(item) = slf.get().pop_front(slf.py()) {
                    return Ok(item);
                }
                Self::through_list(slf, "pop", (index,), None)
            }
            Some(index) => Self::through_list(slf, "pop", (index,), None),
            None => Self::through_list(slf, "pop", (), None),
        }
    }

    /// Take out the first that is equal to this.
    ///
    /// Raises ValueError if there is none.
    pub(super) fn remove<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Result<()> {
        if slf.get().take(value) {
            return Ok(());
        }
        let list = Self::to_list(slf)?;
        if !list.contains(value)? {
            return Err(PyValueError::error(slf.py(), "list.remove(x): x not in list"));
        }
        Ok(Self::through_list(slf, "remove", (value,), None).map(drop)?)
    }

    /// Take out all.
    fn clear(slf: &Bound<'_, Self>) {
        Self::set_list(slf, &PyList::empty(slf.py()));
    }

    /// The index of the first that is equal to this.
    ///
    /// Raises ValueError if there is none.
    #[pyo3(signature = (*args))]
    fn index<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::as_list(slf, "index", args)
    }

    /// How many are equal to this.
    fn count<'py>(
        slf: &Bound<'py, Self>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::as_list(slf, "count", (value,))
    }

    /// Reverse the order.
    fn reverse(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::through_list(slf, "reverse", (), None).map(drop)
    }

    /// Sort, as `list.sort` does.
    #[pyo3(signature = (**kwargs))]
    fn sort<'py>(slf: &Bound<'py, Self>, kwargs: Option<&Bound<'py, PyDict>>) -> PyResult<()> {
        Self::through_list(slf, "sort", (), kwargs).map(drop)
    }

    /// A list of the same.
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        Self::to_list(slf)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        (slf.get_type(), (Self::to_list(slf)?,)).into_pyobject(slf.py())
    }

    #[classattr]
    #[pyo3(name = "__hash__")]
    fn hash() -> Option<Py<PyAny>> {
        None
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for item in self.items.during_gc().items.iter().flatten() {
            item.traverse(visit)?;
        }
        Ok(())
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let items = slf.get().with(slf.py(), std::mem::take);
        drop(items);
    }
}
