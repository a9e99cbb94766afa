//! The lists of locks and queues, as Python sees them: mutable sequences.

use pyo3::PyTraverseError;
#[cfg(Py_GIL_DISABLED)]
use pyo3::exceptions::PyValueError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySlice, PyString, PyTuple};

#[cfg(Py_GIL_DISABLED)]
use crate::binding::capi::error::Raise;
use crate::binding::capi::{self, Hold, error::Result, interned::intern};
use crate::binding::model::{
    fifo::{Fifo, State, exact_index, listed},
    line_items::Items,
    marks::Marks,
    traverse::Traverse,
};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Fifo {
    #[new]
    #[pyo3(signature = (iterable=None, /))]
    fn new(py: Python<'_>, iterable: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let state = match iterable {
            None => State::Line(Items::default()),
            Some(iterable) => {
                capi::stack::check(py)?;
                let list = py.get_type::<PyList>().call1((iterable,))?.cast_into::<PyList>()?;
                State::List { list: list.hold(), uses: 0, marks: Marks::default() }
            }
        };
        Ok(Self::new_of(state))
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

    /// Append an object.
    fn append<'py>(slf: &Bound<'py, Self>, object: Bound<'py, PyAny>) -> Result<()> {
        slf.get().push_back(object)
    }

    /// Append several objects.
    fn extend<'py>(slf: &Bound<'py, Self>, iterable: &Bound<'py, PyAny>) -> PyResult<()> {
        let list = Self::list(slf)?;
        list.call_method1(intern!(slf.py(), "extend"), (listed(iterable)?,)).map(drop)
    }

    fn __iadd__<'py>(slf: &Bound<'py, Self>, iterable: &Bound<'py, PyAny>) -> PyResult<()> {
        Self::extend(slf, iterable)
    }

    /// Insert an object before an index.
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

    /// Remove and return the item at an index, by default the last one.
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

    /// Remove the first item that is equal to `value`.
    ///
    /// Raises ValueError if there is none.
    pub(crate) fn remove<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> Result<()> {
        if Self::take_deferred(slf, value) {
            return Ok(());
        }
        // If it is not there, because another thread has removed it, the line need not become a
        // list.
        #[cfg(Py_GIL_DISABLED)]
        if slf.get().lacks(value) {
            return Err(PyValueError::error(slf.py(), "list.remove(x): x not in list"));
        }
        let remove = intern!(slf.py(), "remove");
        Ok(Self::change(slf, |list| list.call_method1(remove, (value,))).map(drop)?)
    }

    /// Remove all items.
    fn clear<'py>(slf: &Bound<'py, Self>) -> PyResult<()> {
        Self::change(slf, |list| list.call_method0(intern!(slf.py(), "clear"))).map(drop)
    }

    /// Return the index of the first item that is equal to `value`.
    ///
    /// Raises ValueError if there is none.
    #[pyo3(signature = (*args))]
    fn index<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.call_method1(intern!(slf.py(), "index"), args)
    }

    /// Return the number of items that are equal to `value`.
    fn count<'py>(
        slf: &Bound<'py, Self>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.call_method1(intern!(slf.py(), "count"), (value,))
    }

    /// Reverse the order of the items.
    fn reverse(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::change(slf, |list| list.cast::<PyList>()?.reverse())
    }

    /// Sort the items, as `list.sort` does.
    #[pyo3(signature = (**kwargs))]
    fn sort<'py>(slf: &Bound<'py, Self>, kwargs: Option<&Bound<'py, PyDict>>) -> PyResult<()> {
        let sort = intern!(slf.py(), "sort");
        Self::change(slf, |list| list.call_method(sort, (), kwargs)).map(drop)
    }

    /// Return a list with the same items.
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::list(slf)?.call_method0(intern!(slf.py(), "copy"))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyTuple>> {
        let py = slf.py();
        // The items are passed one by one, because one of them may be this object itself.
        let items = Self::__iter__(slf)?;
        let [class, none] = [slf.get_type().into_any(), py.None().into_bound(py)];
        capi::new_tuple(py, [class, PyTuple::empty(py).into_any(), none, items])
    }

    #[classattr]
    #[pyo3(name = "__hash__")]
    fn hash() -> Option<Py<PyAny>> {
        None
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.state.during_gc() {
            State::Line(items) => {
                #[cfg(Py_GIL_DISABLED)]
                items.known.traverse(visit)?;
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

/// The list of a line, for the state of an object. The line keeps its items there from now on.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_list_of", signature = (line, /))]
pub(crate) fn list_of<'py>(line: &Bound<'py, Fifo>) -> PyResult<Bound<'py, PyList>> {
    Fifo::list(line)
}

/// A line that keeps its items in this list. The lines of a lock and of its shallow copy have the
/// same one.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_line_of", signature = (list, /))]
pub(crate) fn line_of<'py>(list: Bound<'py, PyList>) -> Result<Bound<'py, Fifo>> {
    let py = list.py();
    let state = State::List { list: list.hold(), uses: 0, marks: Marks::default() };
    capi::new_exact(py, || Fifo::new_of(state))
}
