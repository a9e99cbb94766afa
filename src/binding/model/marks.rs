//! Records which items at the front of a queue were given back, and in which order.

use std::collections::VecDeque;

use pyo3::prelude::*;

use crate::binding::capi::Held;
use crate::core::refusable;

/// The items at the front that were handed over and given back.
///
/// Each has the number of its hand-over. Positions are marked, not objects: the same object may be
/// in the queue twice.
#[derive(Default)]
pub(crate) struct Marks {
    /// The numbers of the first items. The last is never None.
    pub(crate) numbers: VecDeque<Option<u64>>,
    /// How many methods of the list are in progress. Most call Python code, which can change it.
    pub(crate) under_way: usize,
    /// During a method, the items as they were when the numbers were last correct.
    pub(crate) items: Vec<Held<PyAny>>,
}

impl Marks {
    /// The index at which to insert an item with this number.
    pub(crate) fn place_for(&self, number: u64) -> usize {
        let is = |order: fn(&u64, &u64) -> bool| {
            move |other: &Option<u64>| other.as_ref().is_some_and(|other| order(other, &number))
        };
        self.numbers.iter().position(is(u64::gt)).unwrap_or_else(|| {
            self.numbers.iter().rposition(is(u64::lt)).map_or(0, |place| place + 1)
        })
    }

    /// Update after an item was inserted at this index. If there is no memory, all marks are
    /// dropped.
    pub(crate) fn insert(&mut self, index: usize, number: Option<u64>) {
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

    /// Update after the item at this index was removed.
    pub(crate) fn remove(&mut self, index: usize) {
        self.numbers.remove(index);
        self.trim();
    }

    pub(crate) fn trim(&mut self) {
        while let Some(None) = self.numbers.back() {
            self.numbers.pop_back();
        }
    }

    /// Move the numbers to the current positions of their items. Returns the previous items, to be
    /// dropped.
    pub(crate) fn follow(&mut self, now: Vec<Held<PyAny>>) -> Vec<Held<PyAny>> {
        let before = std::mem::replace(&mut self.items, now);
        let now = &self.items;
        if self.numbers.is_empty() {
            return before;
        }
        let same = |a: &Held<PyAny>, b: &Held<PyAny>| a.as_ptr() == b.as_ptr();
        // Of several identical items, the first was removed.
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
