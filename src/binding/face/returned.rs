//! Takes items back whose receivers were cancelled before they got them: see `events`.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::{self, error::Result, interned::intern, stack};
use crate::binding::face::items::{_finish, put_at_all};
use crate::binding::face::place::_give_first;
use crate::binding::face::waiting::{is, place_among};
use crate::binding::model::place::Place;

/// The `_not_taken` of queues and the like: take back an item whose receiver was cancelled before
/// it got the item. The next waiter gets it, or it is the first item again.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _not_taken<'py>(
    place: &Bound<'py, Place>,
    item: Bound<'py, PyAny>,
    number: &Bound<'py, PyAny>,
) -> Result<()> {
    come_back(place, item, number).map(drop)
}

/// The same. Returns whether the item was put back.
pub(crate) fn come_back<'py>(
    place: &Bound<'py, Place>,
    item: Bound<'py, PyAny>,
    number: &Bound<'py, PyAny>,
) -> Result<bool> {
    let py = place.py();
    let (Some(owner), Some(getting)) = (place.get().owner(py), place.get().line(py)) else {
        return Ok(false);
    };
    if _give_first(&getting, item.clone())? {
        return Ok(false);
    }
    let Some(numbers) = owner.getattr_opt(intern!(py, "_numbers"))? else {
        let returned = owner.getattr(intern!(py, "_returned"))?;
        let returned = returned.cast::<PyList>()?;
        let at = place_among(returned, number, |it| it.get_item(0))?;
        returned.insert(at, capi::new_tuple(py, [number.clone(), item])?)?;
        return Ok(true);
    };
    if is(&owner, intern!(py, "_is_shut_at_once"))? {
        let unfinished = owner.getattr(intern!(py, "_unfinished"))?;
        return _finish(&owner, unfinished.extract::<i64>()?.min(1)).map(|()| false);
    }
    let numbers = numbers.cast::<PyList>()?;
    let at = place_among(numbers, number, Ok)?;
    numbers.insert(at, number)?;
    put_in_front(&owner, numbers, at, item).map(|()| true)
}

/// Put an item back at the front, behind this many others that were put back.
fn put_in_front<'py>(
    queue: &Bound<'py, PyAny>,
    numbers: &Bound<'py, PyList>,
    at: usize,
    item: Bound<'py, PyAny>,
) -> Result<()> {
    let py = queue.py();
    let insert = intern!(py, "insert");
    let way = queue.getattr(intern!(py, "_way"))?;
    let items = queue.getattr(intern!(py, "_queue"))?;
    if way.is_none() {
        // A class of the program, with an order of its own.
        queue.call_method1(intern!(py, "_insert"), (at, item))?;
    } else if way.eq(intern!(py, "popleft"))? {
        items.call_method1(insert, (at, item))?;
    } else if stack::truth(&way)? {
        items.call_method1(insert, (items.len()? - at, item))?;
    } else {
        // The order of its items determines the place.
        numbers.call_method0(intern!(py, "clear"))?;
        put_at_all(queue, &items, item)?;
    }
    Ok(())
}
