//! Native steps of broadcasts and their subscriptions in `deferrous.concurrency`: see `events`.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::{self, error::Result, interned::intern, none, stack, yes};
use crate::binding::face::items::{
    _end_getting, empty_into, take_first, take_returned, wait_for_item,
};
use crate::binding::face::place::{_give_first, first_waiting, next_in};
use crate::binding::face::returned::come_back;
use crate::binding::face::waiting::{add_to, answer_waiting, fail_each, line_of, report};
use crate::binding::model::{deferred::Deferred, place::Place};

/// The number of items in a subscription.
fn held_by(reader: &Bound<'_, PyAny>) -> Result<usize> {
    let py = reader.py();
    let items = reader.getattr(intern!(py, "_items"))?.len()?;
    Ok(items + reader.getattr(intern!(py, "_returned"))?.len()?)
}

/// Whether a subscription would be full with this many more items.
fn is_short_of_full(reader: &Bound<'_, PyAny>, by: usize) -> Result<bool> {
    let py = reader.py();
    let most = reader.getattr(intern!(py, "_maxsize"))?;
    let held = capi::new_int(py, (held_by(reader)? + by) as u64)?;
    Ok(most.eq(held)?)
}

/// The current subscriptions. (PyO3's `keys` of a dict would panic without memory, in the middle of
/// a step.)
fn readers_of<'py>(broadcast: &Bound<'py, PyAny>) -> Result<Bound<'py, PyList>> {
    let py = broadcast.py();
    let readers = capi::new_list(py)?;
    let all = broadcast.getattr(intern!(py, "_readers"))?;
    readers.call_method1(intern!(py, "extend"), (all,))?;
    Ok(readers)
}

/// Give an item to a subscription.
fn give_to<'py>(reader: &Bound<'py, PyAny>, item: &Bound<'py, PyAny>) -> Result<()> {
    let py = reader.py();
    let broadcast = reader.getattr(intern!(py, "_broadcast"))?;
    if broadcast.is_none() {
        return Ok(());
    }
    let getting = line_of(reader, intern!(py, "_getting"))?;
    if _give_first(&getting, item.clone())? {
        return Ok(());
    }
    reader.getattr(intern!(py, "_items"))?.call_method1(intern!(py, "append"), (item,))?;
    if is_short_of_full(reader, 0)? {
        add_to(&broadcast, intern!(py, "_full"), 1)?;
    }
    Ok(())
}

/// Give an item to several subscriptions.
fn give_to_all<'py>(
    broadcast: &Bound<'py, PyAny>,
    readers: Bound<'py, PyList>,
    item: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = broadcast.py();
    let delivering = intern!(py, "_delivering");
    broadcast.setattr(delivering, yes(py))?;
    let mut raised = Ok(());
    for reader in readers {
        if let Err(error) = give_to(&reader, item) {
            raised = Err(error);
        }
    }
    broadcast.setattr(delivering, capi::new_bool(py, false))?;
    raised
}

/// Send the items of waiting senders, while there is room.
fn send_waiting(broadcast: &Bound<'_, PyAny>) -> Result<()> {
    let py = broadcast.py();
    let sending = line_of(broadcast, intern!(py, "_sending"))?;
    let mut raised = Ok(());
    while let Some(item) = next_in(&sending)? {
        let is = |name| -> Result<bool> { Ok(stack::truth(&broadcast.getattr(name)?)?) };
        if is(intern!(py, "_full"))? || is(intern!(py, "_delivering"))? {
            break;
        }
        // This comes first: without memory, the item stays in the line.
        let readers = readers_of(broadcast)?;
        let Some(sender) = first_waiting(&sending)? else { break };
        if let Err(error) = answer_waiting(sender, give_to_all(broadcast, readers, &item)) {
            raised = Err(error);
        }
    }
    raised
}

/// Send an item to all subscriptions, and then the items of waiting senders.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _send_to_all<'py>(
    broadcast: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
) -> Result<()> {
    let sent = readers_of(broadcast).and_then(|readers| give_to_all(broadcast, readers, item));
    sent.and(send_waiting(broadcast))
}

/// Take the next item of a subscription, or wait for it. Returns a Deferred for the item.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _read<'py>(
    reader: &Bound<'py, PyAny>,
    iterating: bool,
) -> Result<Bound<'py, Deferred>> {
    let py = reader.py();
    let items = reader.getattr(intern!(py, "_items"))?;
    let taken = match take_returned(reader)? {
        Some(taken) => taken,
        None if items.len()? > 0 => take_first(&items)?,
        None => {
            let is_over = reader.getattr(intern!(py, "_broadcast"))?.is_none();
            return wait_for_item(reader, is_over, iterating);
        }
    };
    let make_room = || -> Result<()> {
        let broadcast = reader.getattr(intern!(py, "_broadcast"))?;
        if !broadcast.is_none() && is_short_of_full(reader, 1)? {
            add_to(&broadcast, intern!(py, "_full"), -1)?;
            return send_waiting(&broadcast);
        }
        Ok(())
    };
    report(reader, make_room());
    Ok(taken)
}

/// The `_not_taken` of a subscription: take back an item whose receiver was cancelled before it got
/// the item. The next waiter gets it, or it is stored again.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _not_read<'py>(
    place: &Bound<'py, Place>,
    item: Bound<'py, PyAny>,
    number: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = place.py();
    let is_back = come_back(place, item, number)?;
    let Some(reader) = place.get().owner(py).filter(|_| is_back) else { return Ok(()) };
    let broadcast = reader.getattr(intern!(py, "_broadcast"))?;
    if !broadcast.is_none() && is_short_of_full(&reader, 0)? {
        add_to(&broadcast, intern!(py, "_full"), 1)?;
    }
    Ok(())
}

/// Close a subscription, and drop its items. Its waiters get an error of this class, or `async for`
/// ends.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _close_subscription<'py>(
    reader: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = reader.py();
    let broadcast = reader.getattr(intern!(py, "_broadcast"))?;
    if !broadcast.is_none() {
        let others = broadcast.getattr(intern!(py, "_readers"))?;
        let pop = intern!(py, "pop");
        others.call_method1(pop, capi::new_tuple(py, [reader.clone(), none(py)])?)?;
        let most = reader.getattr(intern!(py, "_maxsize"))?;
        if most.gt(0)? && most.le(capi::new_int(py, held_by(reader)? as u64)?)? {
            add_to(&broadcast, intern!(py, "_full"), -1)?;
        }
    }
    reader.setattr(intern!(py, "_broadcast"), none(py))?;
    // Kept to the end, so that their finalizers run after everything else.
    let dropped = capi::new_list(py)?;
    empty_into(&reader.getattr(intern!(py, "_items"))?, &dropped)?;
    empty_into(&reader.getattr(intern!(py, "_returned"))?, &dropped)?;
    let ended = _end_getting(reader, error);
    let sent = if broadcast.is_none() { Ok(()) } else { send_waiting(&broadcast) };
    ended.and(sent)
}

/// Close a broadcast and its subscriptions, and tell all waiters.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _close_broadcast<'py>(
    broadcast: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = broadcast.py();
    let readers = readers_of(broadcast)?;
    broadcast.setattr(intern!(py, "_readers"), capi::new_dict(py)?)?;
    broadcast.setattr(intern!(py, "_closed"), yes(py))?;
    broadcast.setattr(intern!(py, "_full"), 0)?;
    // All are closed before any waiter is told, as a callback may use another subscription.
    for reader in &readers {
        reader.setattr(intern!(py, "_broadcast"), none(py))?;
    }
    let mut raised = Ok(());
    for reader in readers {
        if let Err(error) = _end_getting(&reader, error) {
            raised = Err(error);
        }
    }
    let failed = fail_each(&line_of(broadcast, intern!(py, "_sending"))?, |_| error.call0());
    raised.and(failed)
}
