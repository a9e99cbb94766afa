//! Native steps of `map` and `stream`: take items, and call a function for each.
//!
//! A feed is a map or a stream. Each step is one function, so that a signal's exception cannot tear
//! it apart: see `ending`.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyString, PyTuple};
use smallvec::SmallVec;

use crate::binding::capi::{
    self,
    again::interruption,
    error::{Error, Result},
    interned::intern,
    none,
    owed::call_surely,
    yes,
};
use crate::binding::face::ending::{_end_all, is_failure};
use crate::binding::face::functions::maybe_deferred_quickly;
use crate::binding::face::groups::begun;
use crate::binding::face::waiting::{add_later, failure_of, is};
use crate::binding::judge::{creating, debug::debugging_by_default};
use crate::binding::model::{fifo::exact_index, names::END_WITH};

/// How many items in a row a feed takes before it checks for a signal.
const PATIENCE: u64 = 100;

/// Mark a feed as broken by an error of its iterator.
fn break_off<'py>(feed: &Bound<'py, PyAny>, error: Error) -> Result<()> {
    let py = feed.py();
    feed.setattr(intern!(py, "_exhausted"), yes(py))?;
    feed.setattr(intern!(py, "_broken"), failure_of(py, error)?)?;
    Ok(())
}

/// Break a feed off if a signal has come. If the items and the function are native and endless,
/// nothing else would stop it.
fn break_off_if_interrupted(feed: &Bound<'_, PyAny>, in_a_row: u64) -> Result<bool> {
    if !in_a_row.is_multiple_of(PATIENCE) {
        return Ok(false);
    }
    let Some(raised) = interruption(feed.py()) else { return Ok(false) };
    break_off(feed, raised.into())?;
    Ok(true)
}

/// The attributes of a feed that do not change while it runs, for calling its function.
struct Calls<'a, 'py> {
    feed: &'a Bound<'py, PyAny>,
    /// A list with the item that was taken, until the function is called for it.
    taken: Bound<'py, PyAny>,
    function: Bound<'py, PyAny>,
    /// The Deferreds of the calls that run.
    running: Bound<'py, PyDict>,
    /// A place for each call, in the order of the items.
    places: Bound<'py, PyAny>,
    /// Makes the key of a call, which is its place, too. If it is None, the key is a number.
    new: Bound<'py, PyAny>,
    /// The function that cancels a call.
    otherwise: &'a Bound<'py, PyAny>,
}

impl<'a, 'py> Calls<'a, 'py> {
    fn of(feed: &'a Bound<'py, PyAny>, otherwise: &'a Bound<'py, PyAny>) -> Result<Self> {
        let py = feed.py();
        Ok(Self {
            feed,
            taken: feed.getattr(intern!(py, "_taken"))?,
            function: feed.getattr(intern!(py, "_function"))?,
            running: feed.getattr(intern!(py, "_running"))?.cast_into()?,
            places: feed.getattr(intern!(py, "_places"))?,
            new: feed.getattr(intern!(py, "_new_place"))?,
            otherwise,
        })
    }

    fn is(&self, name: &Bound<'py, PyString>) -> Result<bool> {
        is(self.feed, name)
    }

    /// Whether the iterator has failed, and this has not been handled yet.
    fn is_broken(&self) -> Result<bool> {
        Ok(!self.feed.getattr(intern!(self.feed.py(), "_broken"))?.is_none())
    }

    /// Whether another call may run.
    fn has_room(&self) -> Result<bool> {
        let py = self.feed.py();
        let many = if self.new.is_none() {
            self.running.len()
        } else {
            // Results that were given back take room, too.
            self.places.len()? + self.feed.getattr(intern!(py, "_returned"))?.len()?
        };
        let limit = self.feed.getattr(intern!(py, "_limit"))?;
        match exact_index(&limit) {
            Some(limit) => Ok((many as isize) < limit),
            None => Ok(limit.gt(many)?),
        }
    }

    /// Make a place for a call. Returns the key of the call, and the callback for its end.
    fn prepare(&self) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let py = self.feed.py();
        let (call, place) = if self.new.is_none() {
            (capi::new_int(py, self.places.len()? as u64)?.into_any(), none(py))
        } else {
            let call = self.new.call0()?;
            (call.clone(), call)
        };
        let ended = self.feed.getattr(intern!(py, "_call_ended"))?;
        match self.places.cast_exact::<PyList>() {
            Ok(places) => places.append(place)?,
            Err(_) => drop(self.places.call_method1(intern!(py, "append"), (place,))?),
        }
        Ok((call, ended))
    }

    /// Call the function for an item, and record the call in `running` and `places`.
    fn begin(&self, item: Bound<'py, PyAny>) -> Result<()> {
        let py = self.feed.py();
        let (call, ended) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                // There is no call for the item yet: put it back.
                let append = self.taken.get_type().getattr(intern!(py, "append"))?;
                drop(call_surely(&append, &[self.taken.clone(), item]));
                return Err(error);
            }
        };
        let deferred = match maybe_deferred_quickly(&self.function, &[item], None) {
            Ok(deferred) => deferred,
            Err(error) => {
                // There is no Deferred for the call, for instance without memory: the call has
                // failed.
                return end_with(&ended, error, Some(&call));
            }
        };
        let noted = self.running.set_item(&call, &deferred);
        let done = end_if_stopped(self.feed, &deferred, self.otherwise);
        if let Err(error) = noted {
            drop(capi::ok(py, deferred.call_method0(intern!(py, "cancel"))));
            end_with(&ended, error.into(), Some(&call))?;
            return done;
        }
        if let Err(error) = deferred.call_method1(intern!(py, "addBoth"), (&ended, &call)) {
            add_or_tell(&deferred, &ended, Some(&call), error.into())?;
        }
        done
    }

    /// Begin calls while there are items and room. If this ends early, the attributes of the feed
    /// say what is to be done.
    fn begin_all(&self, iterator: &Bound<'py, PyAny>) -> Result<()> {
        let py = self.feed.py();
        let stopped = intern!(py, "_stopped");
        if self.taken.len()? > 0 {
            if self.is(stopped)? {
                return Ok(());
            }
            self.begin(self.taken.call_method0(intern!(py, "pop"))?)?;
        }
        let mut in_a_row = 0;
        while !self.is(intern!(py, "_exhausted"))? && self.has_room()? {
            in_a_row += 1;
            if break_off_if_interrupted(self.feed, in_a_row)? {
                break;
            }
            match iterator.cast::<PyIterator>()?.clone().next() {
                Some(Ok(item)) if self.is(stopped)? => {
                    // The iterator could not be closed, as it was running. It is closed later.
                    self.feed.setattr(intern!(py, "_iterator"), iterator)?;
                    self.taken.call_method1(intern!(py, "append"), (item,))?;
                    break;
                }
                Some(Ok(item)) => self.begin(item)?,
                Some(Err(error)) => {
                    break_off(self.feed, error.into())?;
                    break;
                }
                None => self.feed.setattr(intern!(py, "_exhausted"), yes(py))?,
            }
        }
        Ok(())
    }
}

/// Take items of a feed and call its function for each, while there is room. Ends early if the
/// iterator fails, or if the feed is stopped. `otherwise` is the function that cancels a call.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _begin_calls<'py>(
    feed: &Bound<'py, PyAny>,
    iterator: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    Calls::of(feed, otherwise)?.begin_all(iterator)
}

/// Call the function of a feed for the item that was taken before.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _begin_call<'py>(
    feed: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    let calls = Calls::of(feed, otherwise)?;
    calls.begin(calls.taken.call_method0(intern!(feed.py(), "pop"))?)
}

/// A call of a map has ended: if with a value, put that into its place, and begin the next calls.
/// Returns false if the caller has more to do, or if this call is not running.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_call<'py>(
    feed: &Bound<'py, PyAny>,
    result: Bound<'py, PyAny>,
    call: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<bool> {
    let py = feed.py();
    if is_failure(&result)? {
        return Ok(false);
    }
    let calls = Calls::of(feed, otherwise)?;
    if !calls.running.contains(call)? {
        return Ok(false);
    }
    calls.places.set_item(call, result)?;
    calls.running.del_item(call)?;
    let feeding = intern!(py, "_feeding");
    if calls.is(feeding)? {
        // Further up the stack, calls are being begun.
        return Ok(true);
    }
    let iterator = feed.getattr(intern!(py, "_iterator"))?;
    if calls.is(intern!(py, "_is_async"))? || iterator.is_none() {
        return Ok(false);
    }
    feed.setattr(feeding, yes(py))?;
    let begun = calls.begin_all(&iterator);
    feed.setattr(feeding, capi::new_bool(py, false))?;
    begun?;
    Ok(!calls.running.is_empty() && calls.taken.len()? == 0 && !calls.is_broken()?)
}

/// A callback could not be added to a Deferred. It is added when there is memory for it, or told now that the
/// Deferred has failed: waiters would wait forever otherwise.
#[cold]
fn add_or_tell<'py>(
    deferred: &Bound<'py, PyAny>,
    callback: &Bound<'py, PyAny>,
    argument: Option<&Bound<'py, PyAny>>,
    error: Error,
) -> Result<()> {
    let all = several([Some(deferred), Some(callback), argument]);
    let Err(error) = add_later(&all, error) else { return Ok(()) };
    drop(capi::ok(deferred.py(), deferred.call_method0(intern!(deferred.py(), "cancel"))));
    end_with(callback, error, argument)
}

fn several<'py>(all: [Option<&Bound<'py, PyAny>>; 3]) -> SmallVec<[Bound<'py, PyAny>; 3]> {
    all.into_iter().flatten().cloned().collect()
}

/// Tell a callback that what it waits for has failed: when there is memory for it, at the latest.
#[cold]
fn end_with<'py>(
    callback: &Bound<'py, PyAny>,
    error: Error,
    argument: Option<&Bound<'py, PyAny>>,
) -> Result<()> {
    let py = callback.py();
    let error = error.into_raised(py).into_any();
    call_surely(END_WITH.get(py)?, &several([Some(callback), Some(&error), argument]))?;
    Ok(())
}

/// Call a callback with the failure of an exception, and an argument.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (callback, error, *rest))]
pub(crate) fn _end_with<'py>(
    callback: &Bound<'py, PyAny>,
    error: Bound<'py, PyBaseException>,
    rest: &Bound<'py, PyTuple>,
) -> Result<Bound<'py, PyAny>> {
    let py = error.py();
    let failure = creating::from_raised(error, debugging_by_default(py)?)?;
    Ok(match rest.len() {
        0 => callback.call1((failure,))?,
        _ => callback.call1((failure, rest.get_item(0)?))?,
    })
}

/// Cancel a new call if the feed was stopped meanwhile, by its function or its iterator.
fn end_if_stopped<'py>(
    feed: &Bound<'py, PyAny>,
    deferred: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = feed.py();
    if !is(feed, intern!(py, "_stopped"))? {
        return Ok(());
    }
    let one = capi::new_tuple(py, [deferred.clone()])?.into_any();
    _end_all(&one, &none(py), otherwise)
}

/// Ask for the next item of an asynchronous iterator. `begin` makes a Deferred of that. `in_a_row` says
/// how many items came at once.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _begin_fetch<'py>(
    feed: &Bound<'py, PyAny>,
    iterator: &Bound<'py, PyAny>,
    begin: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
    in_a_row: u64,
) -> Result<()> {
    let py = feed.py();
    if break_off_if_interrupted(feed, in_a_row)? {
        return Ok(());
    }
    let fetched = feed.getattr(intern!(py, "_fetched"))?;
    let asked = iterator.call_method0(intern!(py, "__anext__")).map_err(Error::from);
    let fetching = match asked.and_then(|asked| begun(asked, begin)) {
        Ok(fetching) => fetching,
        Err(error) => return break_off(feed, error),
    };
    feed.setattr(intern!(py, "_fetching"), &fetching)?;
    if is(feed, intern!(py, "_stopped"))? {
        // Stopping the feed could not close the iterator, as it was running. It is closed later.
        feed.setattr(intern!(py, "_iterator"), iterator)?;
    }
    let done = end_if_stopped(feed, &fetching, otherwise);
    if let Err(error) = fetching.call_method1(intern!(py, "addBoth"), (&fetched, &fetching)) {
        add_or_tell(&fetching, &fetched, Some(&fetching), error.into())?;
    }
    done
}

/// Close the iterator of a feed, if it has such a method. So a generator runs its `finally`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _begin_close<'py>(
    feed: &Bound<'py, PyAny>,
    iterator: &Bound<'py, PyAny>,
    begin: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = feed.py();
    let is_async = is(feed, intern!(py, "_is_async"))?;
    let name = if is_async { intern!(py, "aclose") } else { intern!(py, "close") };
    let then = feed.getattr(intern!(py, "_items_closed"))?;
    let Some(close) = iterator.getattr_opt(name)? else { return Ok(()) };
    let closed = close.call0().map_err(Error::from);
    if !is_async {
        return closed.map(drop).or_else(|error| break_off(feed, error));
    }
    match closed.and_then(|closing| begun(closing, begin)) {
        Ok(closing) => {
            feed.setattr(intern!(py, "_closing"), &closing)?;
            match closing.call_method1(intern!(py, "addBoth"), (&then,)) {
                Ok(_) => Ok(()),
                Err(error) => add_or_tell(&closing, &then, None, error.into()),
            }
        }
        Err(error) => break_off(feed, error),
    }
}

/// Store the item that an asynchronous iterator has given. Does nothing if this is repeated, even
/// if the next item has been asked for since: `asked` is the Deferred of the item.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _take_fetched<'py>(
    feed: &Bound<'py, PyAny>,
    item: Bound<'py, PyAny>,
    asked: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = feed.py();
    let fetching = intern!(py, "_fetching");
    if feed.getattr(fetching)?.is(asked) {
        let taken = feed.getattr(intern!(py, "_taken"))?;
        feed.setattr(fetching, none(py))?;
        taken.call_method1(intern!(py, "append"), (item,))?;
    }
    Ok(())
}
