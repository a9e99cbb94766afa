//! The heap of a `PriorityQueue`.
//!
//! Comparing items runs code of the program, so it is done outside of the gate. Each item is read
//! behind the gate and remembered. When the place of a new item is known, all remembered items must
//! still be in their places. Otherwise another thread has changed the heap, and the search starts
//! again; so one of several threads always makes progress. If a comparison raises, nothing has
//! changed.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::error::Result;
use crate::binding::face::behind::behind;
use crate::binding::model::fifo::Fifo;

/// The part of a heap that was read: the number of items, and some of them.
struct Seen<'py> {
    count: usize,
    items: Vec<(usize, Bound<'py, PyAny>)>,
}

impl<'py> Seen<'py> {
    fn new(count: usize) -> Self {
        Self { count, items: Vec::new() }
    }

    /// Read an item behind the gate. None if the heap has changed.
    fn look(
        &mut self,
        gate: &Bound<'py, Fifo>,
        heap: &Bound<'py, PyList>,
        index: usize,
    ) -> Result<Option<Bound<'py, PyAny>>> {
        let (item, _) = behind(gate, |_| {
            if heap.len() != self.count {
                return Ok(None);
            }
            Ok(Some(heap.get_item(index)?))
        });
        let item = item?;
        if let Some(item) = &item {
            self.items.push((index, item.clone()));
        }
        Ok(item)
    }

    /// Whether the heap still agrees with all of this. To be called behind the gate.
    fn is_still(&self, heap: &Bound<'py, PyList>) -> Result<bool> {
        if heap.len() != self.count {
            return Ok(false);
        }
        for (index, item) in &self.items {
            if !heap.get_item(*index)?.is(item) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The place of a new item in a heap.
pub(super) struct Place<'py> {
    seen: Seen<'py>,
    index: usize,
}

impl<'py> Place<'py> {
    /// Find the place.
    ///
    /// # Errors
    ///
    /// What a comparison raises.
    pub(super) fn of(
        gate: &Bound<'py, Fifo>,
        heap: &Bound<'py, PyList>,
        item: &Bound<'py, PyAny>,
    ) -> Result<Self> {
        'anew: loop {
            let mut seen = Seen::new(heap.len());
            let mut index = seen.count;
            while index > 0 {
                let above = (index - 1) / 2;
                let Some(parent) = seen.look(gate, heap, above)? else { continue 'anew };
                if !item.lt(&parent)? {
                    break;
                }
                index = above;
            }
            return Ok(Self { seen, index });
        }
    }

    /// The end of the heap, without comparing.
    pub(super) fn at_end(heap: &Bound<'py, PyAny>) -> Result<Self> {
        let count = heap.len()?;
        Ok(Self { seen: Seen::new(count), index: count })
    }

    /// Whether this is still the right place. To be called behind the gate.
    pub(super) fn is_still(&self, heap: &Bound<'py, PyList>) -> Result<bool> {
        self.seen.is_still(heap)
    }

    /// Put an item there, after [`Place::is_still`]. To be called behind the gate.
    pub(super) fn push(&self, heap: &Bound<'py, PyList>, item: &Bound<'py, PyAny>) -> Result<()> {
        heap.append(item)?;
        let mut index = self.seen.count;
        while index > self.index {
            let above = (index - 1) / 2;
            heap.set_item(index, heap.get_item(above)?)?;
            index = above;
        }
        Ok(heap.set_item(index, item)?)
    }
}

/// How to remove the smallest item of a heap.
pub(super) struct Removal<'py> {
    seen: Seen<'py>,
    /// The indices from the first on: each one gets the item of the next.
    path: Vec<usize>,
}

impl<'py> Removal<'py> {
    /// Find out which items move. None if the heap is empty.
    ///
    /// # Errors
    ///
    /// What a comparison raises.
    pub(super) fn of(gate: &Bound<'py, Fifo>, heap: &Bound<'py, PyList>) -> Result<Option<Self>> {
        'anew: loop {
            let count = heap.len();
            if count == 0 {
                return Ok(None);
            }
            let (mut seen, mut path) = (Seen::new(count), vec![0]);
            // As in `heapq`, the last item goes to the place of the smallest, and moves down from
            // there.
            let left = count - 1;
            let Some(last) = seen.look(gate, heap, left)? else { continue };
            if seen.look(gate, heap, 0)?.is_none() {
                continue;
            }
            let mut moved = Vec::new();
            let mut index = 0;
            while 2 * index + 1 < left {
                let mut child = 2 * index + 1;
                let Some(mut item) = seen.look(gate, heap, child)? else { continue 'anew };
                if child + 1 < left {
                    let Some(right) = seen.look(gate, heap, child + 1)? else { continue 'anew };
                    if !item.lt(&right)? {
                        (child, item) = (child + 1, right);
                    }
                }
                path.push(child);
                moved.push(item);
                index = child;
            }
            while let Some(above) = moved.pop() {
                if !last.lt(&above)? {
                    break;
                }
                path.pop();
            }
            return Ok(Some(Self { seen, path }));
        }
    }

    /// Whether the heap has not changed since. To be called behind the gate.
    pub(super) fn is_still(&self, heap: &Bound<'py, PyList>) -> Result<bool> {
        self.seen.is_still(heap)
    }

    /// Remove the smallest item, after [`Removal::is_still`]. To be called behind the gate.
    pub(super) fn pop(&self, heap: &Bound<'py, PyList>) -> Result<Bound<'py, PyAny>> {
        let left = self.seen.count - 1;
        let (first, last) = (heap.get_item(0)?, heap.get_item(left)?);
        heap.del_item(left)?;
        if left > 0 {
            for pair in self.path.windows(2) {
                heap.set_item(pair[0], heap.get_item(pair[1])?)?;
            }
            let end = self.path.last().copied().unwrap_or(0);
            heap.set_item(end, last)?;
        }
        Ok(first)
    }
}
