//! Atomic steps of a line, for builds without the GIL.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::{self, Held, Hold};
use crate::binding::model::{
    deferred::Deferred,
    fifo::{Fifo, State},
    gate::Gate,
    line_items::{all_items, is_plain_deferred},
    marks::Marks,
};

impl Fifo {
    /// The gate of the object that this line belongs to.
    pub(crate) fn gate(&self) -> &Gate {
        self.gate.get_or_init(Arc::default)
    }

    /// The gate, if it has been made.
    pub(crate) fn known_gate(&self) -> Option<&Gate> {
        self.gate.get().map(|gate| &**gate)
    }

    /// Let another line of the same object share this gate. Does nothing if that line has one.
    pub(crate) fn share_gate(&self, other: &Self) {
        let gate = self.gate.get_or_init(Arc::default);
        other.gate.set(gate.clone()).ok();
    }

    /// Note that objects of the class of this Deferred compare by identity.
    pub(crate) fn know_class_of(&self, deferred: &Bound<'_, PyAny>) {
        if capi::is_exact::<Deferred>(deferred) {
            return;
        }
        let kind = deferred.get_type().into_any().hold();
        let before = self.with(deferred.py(), |state| match state {
            State::Line(items) => items.known.replace(kind),
            State::List { .. } => Some(kind),
        });
        drop(before);
    }

    /// Whether certainly nothing in the line equals this. Runs no Python code.
    pub(crate) fn lacks(&self, value: &Bound<'_, PyAny>) -> bool {
        let py = value.py();
        is_plain_deferred(value)
            && self.with(py, |state| match state {
                State::Line(items) => matches!(items.place_of(py, value.as_ptr()), Ok(None)),
                State::List { .. } => false,
            })
    }

    /// Take the first item, if there is one. An error if the line is a list that is not empty.
    pub(crate) fn pop_from_line<'py>(
        &self,
        py: Python<'py>,
    ) -> Result<Option<Bound<'py, PyAny>>, ()> {
        self.with(py, |state| match state {
            State::Line(items) => Ok(items.pop_front().map(|item| item.into_bound(py))),
            State::List { list, .. } if list.bind(py).len() == 0 => Ok(None),
            State::List { .. } => Err(()),
        })
    }

    /// Turn the line into a list with the same items, in one step.
    pub(super) fn become_list<'py>(&self, new: Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
        let py = new.py();
        loop {
            let room = self.len(py);
            while new.len() < room {
                new.append(py.None())?;
            }
            new.del_slice(room, new.len())?;
            let done = self.with(py, |state| {
                let items = match state {
                    State::List { list, .. } => return Some(Err(list.bind(py).clone())),
                    State::Line(items) if items.len() != new.len() => return None,
                    State::Line(items) => std::mem::take(items),
                };
                // Nobody else has the list yet, so this never waits for another thread.
                for (index, item) in items.items.iter().flatten().enumerate() {
                    new.set_item(index, item.bind(py)).ok();
                }
                let (list, marks) = (new.clone().hold(), Marks::default());
                *state = State::List { list, uses: 0, marks };
                Some(Ok(items))
            });
            match done {
                Some(Ok(_items)) => return Ok(new),
                Some(Err(list)) => return Ok(list),
                None => {}
            }
        }
    }

    /// The content of a list, if there are marks for its items.
    pub(super) fn items_if_marked(&self, list: &Bound<'_, PyList>) -> Option<Vec<Held<PyAny>>> {
        let is_marked = |marks: &mut Marks| marks.under_way > 0 && !marks.numbers.is_empty();
        if self.with_marks(list.py(), is_marked)? { all_items(list) } else { None }
    }
}
