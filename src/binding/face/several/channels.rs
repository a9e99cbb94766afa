//! Steps of channels and broadcasts.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::events::new_waiting;
use super::items::come_back as come_back_to_queue;
use super::shared::{first_in, is, limit_of, line, number, place_among};
use crate::binding::capi::{
    self, depth,
    error::{Error, Result},
    interned::intern,
    none, yes,
};
use crate::binding::face::behind::{Later, behind, take_all};
use crate::binding::face::items::{empty_into, over, tell_getters};
use crate::binding::face::waiting::{attribute, report, set_attribute, tell_all};
use crate::binding::model::{deferred::Deferred, fifo::Fifo};
use crate::binding::waits::made;

/// Take the first item that was given back. These come before all others.
fn take_returned<'py>(owner: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>> {
    let returned = attribute(owner, intern!(owner.py(), "_returned"))?;
    let returned = returned.cast::<PyList>()?;
    if returned.is_empty() {
        return Ok(None);
    }
    let item = returned.get_item(0)?.get_item(1)?;
    returned.del_item(0)?;
    Ok(Some(item))
}

/// Give the items that were given back to waiters, while there are both.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _give_returned<'py>(owner: &Bound<'py, PyAny>) -> Result<()> {
    let py = owner.py();
    let getting = line(owner, intern!(py, "_getting"))?;
    let returned = attribute(owner, intern!(py, "_returned"))?.cast_into::<PyList>()?;
    let mut done = Ok(());
    loop {
        let (given, later) = behind(&getting, |later| {
            if returned.is_empty() || !later.give(&getting, &returned.get_item(0)?.get_item(1)?)? {
                return Ok(false);
            }
            returned.del_item(0)?;
            Ok(true)
        });
        done = done.and(later.do_it());
        if !given? {
            return done;
        }
    }
}

/// `Channel.send`. If the channel is closed, the Deferred fails with an error of this class.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _channel_send<'py>(
    channel: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let py = channel.py();
    let getting = line(channel, intern!(py, "_getting"))?;
    let putting = line(channel, intern!(py, "_putting"))?;
    let buffer = attribute(channel, intern!(py, "_buffer"))?;
    let most = limit_of(&attribute(channel, intern!(py, "_capacity"))?)?;
    let is_endless = most.is_none() && attribute(channel, intern!(py, "_capacity"))?.gt(0)?;
    let (sent, waiting) = (made::of_result(none(py))?, new_waiting(&putting, None, item.clone())?);
    // The Deferred to return; None if the channel is closed.
    let (done, later) = behind(&getting, |later| {
        if is(channel, intern!(py, "_closed"))? {
            return Ok(None);
        }
        if later.give(&getting, item)? {
            return Ok(Some(sent));
        }
        if is_endless || buffer.len()? < most.unwrap_or(0) {
            buffer.call_method1(intern!(py, "append"), (item,))?;
            return Ok(Some(sent));
        }
        putting.get().push_back(waiting.as_any().clone())?;
        Ok(Some(waiting))
    });
    later.do_it()?;
    match done? {
        Some(deferred) => Ok(deferred),
        None => made::of_failure(py, Some(error.call0()?)),
    }
}

/// Take the item of the first waiting sender, and tell the sender.
fn take_from_sender<'py>(
    sending: &Bound<'py, Fifo>,
    later: &mut Later<'py>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let Some((_, item)) = first_in(sending, later)? else { return Ok(None) };
    later.give(sending, &none(sending.py()))?;
    Ok(Some(item))
}

/// `Channel.receive` and `__anext__`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _channel_receive<'py>(
    channel: &Bound<'py, PyAny>,
    iterating: bool,
) -> Result<Bound<'py, Deferred>> {
    let py = channel.py();
    let getting = line(channel, intern!(py, "_getting"))?;
    let putting = line(channel, intern!(py, "_putting"))?;
    let buffer = attribute(channel, intern!(py, "_buffer"))?;
    let what = capi::new_bool(py, iterating);
    let waiting = new_waiting(&getting, Some(channel.clone()), what)?;
    let (got, later) = behind(&getting, |later| {
        if let Some(item) = take_returned(channel)? {
            return Ok(Got::Item(item));
        }
        if buffer.len()? > 0 {
            let item = buffer.call_method0(intern!(py, "popleft"))?;
            if let Some(next) = take_from_sender(&putting, later)? {
                buffer.call_method1(intern!(py, "append"), (next,))?;
            }
            return Ok(Got::Item(item));
        }
        if let Some(item) = take_from_sender(&putting, later)? {
            return Ok(Got::Item(item));
        }
        if is(channel, intern!(py, "_closed"))? {
            return Ok(Got::Over);
        }
        getting.get().push_back(waiting.as_any().clone())?;
        Ok(Got::Waits)
    });
    let got = got?.deferred(channel, waiting, iterating);
    report(channel, later.do_it());
    got
}

/// The answer to somebody who asks for an item.
enum Got<'py> {
    Item(Bound<'py, PyAny>),
    Waits,
    Over,
}

impl<'py> Got<'py> {
    fn deferred(
        self,
        owner: &Bound<'py, PyAny>,
        waiting: Bound<'py, Deferred>,
        iterating: bool,
    ) -> Result<Bound<'py, Deferred>> {
        match self {
            Got::Item(item) => made::of_result(item),
            Got::Waits => Ok(waiting),
            Got::Over => {
                let error = attribute(owner, intern!(owner.py(), "_over"))?;
                made::of_failure(owner.py(), Some(over(&error, iterating)?))
            }
        }
    }
}

/// The `_not_taken` of channels and subscriptions: take back an item whose receiver was cancelled
/// before it got the item. The next waiter gets it, or it is the first item again.
fn come_back<'py>(
    owner: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
    given: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = owner.py();
    let getting = line(owner, intern!(py, "_getting"))?;
    let entry = capi::new_tuple(py, [given.clone(), item.clone()])?;
    let (done, later) = behind(&getting, |later| {
        if later.give(&getting, item)? {
            return Ok(());
        }
        let returned = attribute(owner, intern!(py, "_returned"))?;
        let returned = returned.cast::<PyList>()?;
        let at = place_among(returned, given, |it| it.get_item(0))?;
        returned.insert(at, entry)?;
        match capi::attribute_of(owner, intern!(py, "_broadcast")) {
            Some(broadcast) if !broadcast.is_none() && has_come_to_be_full(owner)? => {
                count_full(&broadcast, 1)
            }
            _ => Ok(()),
        }
    });
    later.do_it()?;
    done
}

/// Whether a subscription is exactly full.
fn has_come_to_be_full(reader: &Bound<'_, PyAny>) -> Result<bool> {
    let most = limit_of(&attribute(reader, intern!(reader.py(), "_maxsize"))?)?;
    Ok(most == Some(held_by(reader)?))
}

fn held_by(reader: &Bound<'_, PyAny>) -> Result<usize> {
    let py = reader.py();
    let items = attribute(reader, intern!(py, "_items"))?.len()?;
    Ok(items + attribute(reader, intern!(py, "_returned"))?.len()?)
}

/// Change the number of full subscriptions.
fn count_full(broadcast: &Bound<'_, PyAny>, more: i64) -> Result<()> {
    let full = intern!(broadcast.py(), "_full");
    Ok(set_attribute(broadcast, full, number(broadcast, full)? + more)?)
}

/// Give an item to all subscriptions.
fn give_to_all<'py>(
    broadcast: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
    later: &mut Later<'py>,
) -> Result<()> {
    let py = broadcast.py();
    for reader in readers_of(broadcast)? {
        if later.give(&line(&reader, intern!(py, "_getting"))?, item)? {
            continue;
        }
        attribute(&reader, intern!(py, "_items"))?.call_method1(intern!(py, "append"), (item,))?;
        if has_come_to_be_full(&reader)? {
            count_full(broadcast, 1)?;
        }
    }
    Ok(())
}

fn readers_of<'py>(broadcast: &Bound<'py, PyAny>) -> Result<Bound<'py, PyList>> {
    let py = broadcast.py();
    let readers = capi::new_list(py)?;
    let all = attribute(broadcast, intern!(py, "_readers"))?;
    readers.call_method1(intern!(py, "extend"), (all,))?;
    Ok(readers)
}

/// Send the items of waiting senders, while there is room.
fn send_waiting<'py>(broadcast: &Bound<'py, PyAny>, later: &mut Later<'py>) -> Result<()> {
    let py = broadcast.py();
    let sending = line(broadcast, intern!(py, "_sending"))?;
    while number(broadcast, intern!(py, "_full"))? == 0
        && let Some(item) = take_from_sender(&sending, later)?
    {
        give_to_all(broadcast, &item, later)?;
    }
    Ok(())
}

/// `Broadcast.subscribe`. Returns false if the broadcast is closed.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _broadcast_subscribe<'py>(
    broadcast: &Bound<'py, PyAny>,
    reader: &Bound<'py, PyAny>,
) -> Result<bool> {
    let py = broadcast.py();
    let (done, _) = behind(&line(broadcast, intern!(py, "_sending"))?, |_| {
        if is(broadcast, intern!(py, "_closed"))? {
            return Ok(false);
        }
        let readers = attribute(broadcast, intern!(py, "_readers"))?;
        readers.cast::<PyDict>()?.set_item(reader, py.None())?;
        Ok(true)
    });
    done
}

/// `Broadcast.send`. If the broadcast is closed, the Deferred fails with an error of this class.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _broadcast_send<'py>(
    broadcast: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let py = broadcast.py();
    let sending = line(broadcast, intern!(py, "_sending"))?;
    let (sent, waiting) = (made::of_result(none(py))?, new_waiting(&sending, None, item.clone())?);
    depth::check_ahead(py)?;
    let (done, later) = behind(&sending, |later| {
        if is(broadcast, intern!(py, "_closed"))? {
            return Ok(None);
        }
        if number(broadcast, intern!(py, "_full"))? > 0 || first_in(&sending, later)?.is_some() {
            sending.get().push_back(waiting.as_any().clone())?;
            return Ok(Some(waiting));
        }
        give_to_all(broadcast, item, later)?;
        Ok(Some(sent))
    });
    later.do_it()?;
    match done? {
        Some(deferred) => Ok(deferred),
        None => made::of_failure(py, Some(error.call0()?)),
    }
}

/// `Subscription.get` and `__anext__`
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _subscription_next<'py>(
    reader: &Bound<'py, PyAny>,
    iterating: bool,
) -> Result<Bound<'py, Deferred>> {
    let py = reader.py();
    let getting = line(reader, intern!(py, "_getting"))?;
    let items = attribute(reader, intern!(py, "_items"))?;
    if limit_of(&attribute(reader, intern!(py, "_maxsize"))?)?.is_some() {
        // There may be room for the item of a waiting sender.
        depth::check_ahead(py)?;
    }
    let what = capi::new_bool(py, iterating);
    let waiting = new_waiting(&getting, Some(reader.clone()), what)?;
    let (got, later) = behind(&getting, |later| {
        let broadcast = attribute(reader, intern!(py, "_broadcast"))?;
        let was_full = has_come_to_be_full(reader)?;
        let item = match take_returned(reader)? {
            Some(item) => item,
            None if items.len()? > 0 => items.call_method0(intern!(py, "popleft"))?,
            None if broadcast.is_none() => return Ok(Got::Over),
            None => {
                getting.get().push_back(waiting.as_any().clone())?;
                return Ok(Got::Waits);
            }
        };
        if was_full && !broadcast.is_none() {
            count_full(&broadcast, -1)?;
            send_waiting(&broadcast, later)?;
        }
        Ok(Got::Item(item))
    });
    let got = got?.deferred(reader, waiting, iterating);
    report(reader, later.do_it());
    got
}

/// `Subscription.close`: drop its items. Its waiters get an error of this class, or `async for`
/// ends.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _subscription_close<'py>(
    reader: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = reader.py();
    depth::check_ahead(py)?;
    let getting = line(reader, intern!(py, "_getting"))?;
    // The items' finalizers run after everything else.
    let dropped = capi::new_list(py)?;
    let getters = Fifo::empty(py)?;
    let (closed, later) = behind(&getting, |later| {
        let broadcast = attribute(reader, intern!(py, "_broadcast"))?;
        let was_full = match limit_of(&attribute(reader, intern!(py, "_maxsize"))?)? {
            Some(most) => held_by(reader)? >= most,
            None => false,
        };
        set_attribute(reader, intern!(py, "_broadcast"), none(py))?;
        empty_into(&attribute(reader, intern!(py, "_items"))?, &dropped)?;
        empty_into(&attribute(reader, intern!(py, "_returned"))?, &dropped)?;
        let getters = take_all(&getting, getters);
        if !broadcast.is_none() {
            let readers = attribute(&broadcast, intern!(py, "_readers"))?;
            readers.call_method1(intern!(py, "pop"), (reader, none(py)))?;
            if was_full {
                count_full(&broadcast, -1)?;
            }
            send_waiting(&broadcast, later)?;
            later.drop(broadcast);
        }
        Ok(getters)
    });
    let getters = match closed {
        Ok(getters) => getters,
        Err(error) => return later.do_it().and(Err(error)),
    };
    let told = tell_getters(&getting, &getters, error);
    told.and(later.do_it())
}

/// `Broadcast.close`: close its subscriptions, and tell all waiters.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _broadcast_close<'py>(
    broadcast: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = broadcast.py();
    depth::check_ahead(py)?;
    let sending = line(broadcast, intern!(py, "_sending"))?;
    let (senders, none_left) = (Fifo::empty(py)?, capi::new_dict(py)?);
    let (closed, later) = behind(&sending, |later| {
        let readers = readers_of(broadcast)?;
        later.drop(attribute(broadcast, intern!(py, "_readers"))?);
        set_attribute(broadcast, intern!(py, "_readers"), none_left)?;
        set_attribute(broadcast, intern!(py, "_closed"), yes(py))?;
        set_attribute(broadcast, intern!(py, "_full"), 0)?;
        // All are closed before any waiter is told.
        let mut waiting = Vec::new();
        for reader in readers.iter() {
            set_attribute(&reader, intern!(py, "_broadcast"), none(py))?;
            let getting = line(&reader, intern!(py, "_getting"))?;
            let getters = take_all(&getting, Fifo::empty(py)?);
            waiting.push((getting, getters));
        }
        later.drop(readers.into_any());
        Ok((waiting, take_all(&sending, senders)))
    });
    let (waiting, senders) = closed?;
    let mut done: std::result::Result<(), Error> = Ok(());
    for (getting, getters) in waiting {
        done = done.and(tell_getters(&getting, &getters, error));
    }
    done = done.and(tell_all(&sending, &senders, |_| error.call0()));
    done.and(later.do_it())
}

/// The `_not_taken` of queues, channels and subscriptions: take back an item whose receiver was
/// cancelled before it got the item. The next waiter gets it, or it is the first item again.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _come_back<'py>(
    owner: &Bound<'py, PyAny>,
    item: &Bound<'py, PyAny>,
    given: &Bound<'py, PyAny>,
) -> Result<()> {
    match capi::attribute_of(owner, intern!(owner.py(), "_numbers")) {
        Some(_) => come_back_to_queue(owner, item, given),
        None => come_back(owner, item, given),
    }
}
