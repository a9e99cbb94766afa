//! The queue behind `waiting` and `pending`: fast at both ends, and for removing a Deferred from
//! the middle.

use std::collections::{HashMap, VecDeque};

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::{self, Held, Hold, error::Result};
use crate::binding::model::deferred::Deferred;
use crate::core::refusable;

/// The items, with gaps where some were removed from the middle. The first and the last are never
/// gaps.
#[derive(Default)]
pub(crate) struct Items {
    pub(crate) items: VecDeque<Option<Held<PyAny>>>,
    /// How many positions have been removed at the front so far.
    pub(crate) offset: usize,
    /// How many of the items are gaps.
    pub(crate) gaps: usize,
    /// The position of each Deferred, counted from the first ever. Made when one is removed from a
    /// long queue, and kept until the queue is empty. None unless all items are distinct Deferreds.
    pub(crate) places: Option<HashMap<usize, usize>>,
    /// A subclass of Deferred whose objects are known to compare by identity.
    #[cfg(Py_GIL_DISABLED)]
    pub(crate) known: Option<Held<PyAny>>,
}

/// The result of removing a Deferred.
pub(crate) enum Taken {
    /// It was the first that is equal to itself.
    #[allow(dead_code, reason = "held to be dropped")]
    This(Held<PyAny>),
    /// It is not there.
    Missing,
    /// There are other objects as well, which may claim to be equal to it.
    Unclear,
}

/// Up to this length, the queue is searched linearly.
const NEAR: usize = 32;

impl Items {
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.gaps
    }

    /// Append an item. It is returned if there is no memory for it.
    #[inline(always)]
    pub(crate) fn push_back(
        &mut self,
        py: Python<'_>,
        item: Held<PyAny>,
    ) -> Result<(), Held<PyAny>> {
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

    /// Put an item in front. It is returned if there is no memory for it: there is if one was taken out.
    pub(crate) fn push_front(&mut self, item: Held<PyAny>) -> Result<(), Held<PyAny>> {
        if refusable(|| self.items.try_reserve(1)).is_err() {
            return Err(item);
        }
        self.places = None;
        self.offset = self.offset.wrapping_sub(1);
        self.items.push_front(Some(item));
        Ok(())
    }

    /// Record the position of an item that is about to be appended.
    #[cold]
    pub(crate) fn note(&mut self, py: Python<'_>, item: &Held<PyAny>) {
        let is_deferred = self.is_deferred(py, item);
        let Some(places) = &mut self.places else { return };
        let place = self.offset.wrapping_add(self.items.len());
        if !is_deferred
            || (places.len() == places.capacity() && refusable(|| places.try_reserve(1)).is_err())
            || places.insert(item.as_ptr() as usize, place).is_some()
        {
            self.places = None;
        }
    }

    #[inline(always)]
    pub(crate) fn pop_front(&mut self) -> Option<Held<PyAny>> {
        let item = self.items.pop_front()?;
        self.offset = self.offset.wrapping_add(1);
        if self.gaps > 0 || self.places.is_some() {
            self.after_pop(item.as_ref());
        }
        item
    }

    #[cold]
    pub(crate) fn after_pop(&mut self, item: Option<&Held<PyAny>>) {
        if let (Some(places), Some(item)) = (&mut self.places, item) {
            places.remove(&(item.as_ptr() as usize));
        }
        self.trim();
    }

    /// Remove gaps at the ends, and positions of a queue that is empty.
    pub(crate) fn trim(&mut self) {
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

    /// Remove this Deferred, in constant time on average.
    pub(crate) fn take(&mut self, py: Python<'_>, item: *mut pyo3::ffi::PyObject) -> Taken {
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

    /// The index of a Deferred.
    pub(crate) fn place_of(
        &mut self,
        py: Python<'_>,
        item: *mut pyo3::ffi::PyObject,
    ) -> Result<Option<usize>, Strange> {
        if self.places.is_none() {
            for (index, each) in self.items.iter().enumerate().take(NEAR) {
                match each {
                    Some(each) if each.as_ptr() == item => return Ok(Some(index)),
                    Some(each) if !self.is_deferred(py, each) => return Err(Strange),
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

    pub(crate) fn all_places(&self, py: Python<'_>) -> Result<HashMap<usize, usize>, Strange> {
        let mut places = HashMap::new();
        refusable(|| places.try_reserve(self.len())).map_err(|_| Strange)?;
        for (index, item) in self.items.iter().enumerate() {
            let Some(item) = item else { continue };
            let place = self.offset.wrapping_add(index);
            if !self.is_deferred(py, item) || places.insert(item.as_ptr() as usize, place).is_some()
            {
                return Err(Strange);
            }
        }
        Ok(places)
    }

    /// Whether this is a Deferred that compares by identity.
    #[cfg(not(Py_GIL_DISABLED))]
    fn is_deferred(&self, py: Python<'_>, item: &Held<PyAny>) -> bool {
        let item = item.bind(py);
        capi::is_exact::<Deferred>(item) || is_plain_deferred(item)
    }

    /// The same. To find out whether a class defines its own equality, all classes may have to be
    /// locked, so this is not part of a transition. It is known for one subclass; if there are
    /// others, a Python list does the search.
    #[cfg(Py_GIL_DISABLED)]
    fn is_deferred(&self, py: Python<'_>, item: &Held<PyAny>) -> bool {
        let item = item.bind(py);
        let is_known = |known: &Held<PyAny>| known.as_ptr() == item.get_type_ptr().cast();
        capi::is_exact::<Deferred>(item) || self.known.as_ref().is_some_and(is_known)
    }

    pub(crate) fn close_gaps(&mut self) {
        if self.gaps > 0 {
            self.items.retain(Option::is_some);
            self.gaps = 0;
            // The positions have moved.
            self.places = None;
        }
    }

    /// The item at an index, if it can be found without a search.
    pub(crate) fn get(&self, index: isize) -> Option<&Held<PyAny>> {
        match index {
            0 => self.items.front()?.as_ref(),
            -1 => self.items.back()?.as_ref(),
            _ if self.gaps > 0 => None,
            1.. => self.items.get(index.unsigned_abs())?.as_ref(),
            _ => self.items.get(self.items.len().checked_sub(index.unsigned_abs())?)?.as_ref(),
        }
    }
}

/// Not all items are distinct Deferreds.
pub(crate) struct Strange;

/// Whether an object is a Deferred, of a subclass or not, that compares by identity.
pub(crate) fn is_plain_deferred(item: &Bound<'_, PyAny>) -> bool {
    item.is_instance_of::<Deferred>() && !capi::compares_specially(&item.get_type())
}

/// The content of a list. None if there is no memory for it.
pub(crate) fn all_items(list: &Bound<'_, PyList>) -> Option<Vec<Held<PyAny>>> {
    let mut items = Vec::new();
    refusable(|| items.try_reserve(list.len())).ok()?;
    items.extend(list.iter().map(Hold::hold));
    Some(items)
}
