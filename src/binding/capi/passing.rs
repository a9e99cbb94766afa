//! Passes the arguments of a call on: as a tuple and a dict, or to another callable.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use super::answers::Called;
use super::arguments::Arguments;
use super::making::{dict_of, no_memory, tuple_of};
use super::raised::Result;
use super::safe;
use crate::core::refusable;

impl<'py> Arguments<'_, 'py> {
    /// The keyword arguments in a new dict.
    #[cold]
    pub(super) fn by_keyword(self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        match self.names {
            Some(names) => dict_of(&names, &self.all[self.count_by_position()..]),
            None => Ok(safe::new_dict(py)?),
        }
    }

    /// The positional arguments as a tuple.
    pub(super) fn as_tuple(self, py: Python<'py>) -> Result<Bound<'py, PyTuple>> {
        tuple_of(py, [], self.by_position())
    }

    /// `callable(*self)`
    pub(super) fn give(self, callable: &Bound<'py, PyAny>) -> Called<'py> {
        safe::call_with_names(callable.py(), callable, self)
    }

    /// `callable(first, *self)`
    pub(super) fn give_after(
        self,
        callable: &Bound<'py, PyAny>,
        first: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>> {
        let mut all = SmallVec::<[_; 8]>::new();
        if refusable(|| all.try_reserve(self.all.len() + 1)).is_err() {
            return Err(no_memory(callable.py()));
        }
        all.push(first.clone());
        all.extend(self.all.iter().cloned());
        Ok(Arguments { all: &all, names: self.names }.give(callable)?)
    }
}
