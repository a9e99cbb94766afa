//! What `map` and `stream` do between two lines of Python: they take items, and call a function for
//! each. See `steps`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyString};

use crate::binding::capi::{
    self,
    error::{Error, Result},
    interned::intern,
    none, yes,
};
use crate::binding::face::functions::maybe_deferred_quickly;
use crate::binding::face::steps::{_end_all, is_failure};
use crate::binding::face::under_way::begun;
use crate::binding::face::whole::{failure_of, is};
use crate::binding::model::fifo::exact_index;

/// The items of a feed have failed.
fn break_off<'py>(feed: &Bound<'py, PyAny>, error: Error) -> Result<()> {
    let py = feed.py();
    feed.setattr(intern!(py, "_exhausted"), yes(py))?;
    feed.setattr(intern!(py, "_broken"), failure_of(py, error)?)?;
    Ok(())
}

/// What a feed has from its beginning to its end, for calls of its function.
struct Calls<'a, 'py> {
    feed: &'a Bound<'py, PyAny>,
    /// The item that was taken, until the function is called for it.
    taken: Bound<'py, PyAny>,
    function: Bound<'py, PyAny>,
    /// What is under way.
    running: Bound<'py, PyDict>,
    /// What there is for each call, in the order of the items.
    places: Bound<'py, PyAny>,
    /// Makes what a call goes by, which is in its place, too. Without it, that is a number.
    new: Bound<'py, PyAny>,
    /// For a call that is to end.
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

    /// Whether the items have failed, and that is still to be dealt with.
    fn is_broken(&self) -> Result<bool> {
        Ok(!self.feed.getattr(intern!(self.feed.py(), "_broken"))?.is_none())
    }

    /// Whether another call may run.
    fn has_room(&self) -> Result<bool> {
        let py = self.feed.py();
        let many = if self.new.is_none() {
            self.running.len()
        } else {
            // What nobody has come for takes room, too.
            self.places.len()? + self.feed.getattr(intern!(py, "_returned"))?.len()?
        };
        let limit = self.feed.getattr(intern!(py, "_limit"))?;
        match exact_index(&limit) {
            Some(limit) => Ok((many as isize) < limit),
            None => Ok(limit.gt(many)?),
        }
    }

    /// Make a place for a call. Returns what the call goes by, and what is told of its end.
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

    /// Call the function for an item: the call is among those that run, and what it stands for in
    /// its place.
    fn begin(&self, item: Bound<'py, PyAny>) -> Result<()> {
        let py = self.feed.py();
        let (call, ended) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                // It is taken, and no call stands for it yet.
                self.taken.call_method1(intern!(py, "append"), (item,))?;
                return Err(error);
            }
        };
        let deferred = maybe_deferred_quickly(&self.function, &[item], None)?;
        self.running.set_item(&call, &deferred)?;
        let done = end_if_stopped(self.feed, &deferred, self.otherwise);
        let added = deferred.call_method1(intern!(py, "addBoth"), (&ended, &call));
        or_tell(&deferred, added, |failure| ended.call1((failure, &call)))?;
        done
    }

    /// Begin calls as long as there are items, and room, and nothing else is to be done. What is left
    /// in that case is in the attributes of the feed.
    fn begin_all(&self, iterator: &Bound<'py, PyAny>) -> Result<()> {
        let py = self.feed.py();
        let stopped = intern!(py, "_stopped");
        if self.taken.len()? > 0 {
            if self.is(stopped)? {
                return Ok(());
            }
            self.begin(self.taken.call_method0(intern!(py, "pop"))?)?;
        }
        while !self.is(intern!(py, "_exhausted"))? && self.has_room()? {
            match iterator.cast::<PyIterator>()?.clone().next() {
                Some(Ok(item)) if self.is(stopped)? => {
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

/// Take items of a feed, and call its function for each, as long as there is room and nothing else is
/// to be done: the items have failed, or it has been stopped after it took one. `otherwise` is for a
/// call that is to end.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _begin_calls<'py>(
    feed: &Bound<'py, PyAny>,
    iterator: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    Calls::of(feed, otherwise)?.begin_all(iterator)
}

/// Call the function of a feed for the item that was taken.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _begin_call<'py>(
    feed: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    let calls = Calls::of(feed, otherwise)?;
    calls.begin(calls.taken.call_method0(intern!(feed.py(), "pop"))?)
}

/// A call of a map has ended with a value: put that into its place, and begin the next calls. Returns
/// false if there is more to do, or if this is none of the calls that run.
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
        // Another call goes on in a moment.
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

/// If no callback could be added to a Deferred, as without memory, nobody would be told of its end,
/// and what waits for that would wait for ever. So this is how it has ended.
fn or_tell<'py>(
    deferred: &Bound<'py, PyAny>,
    added: PyResult<Bound<'py, PyAny>>,
    tell: impl FnOnce(Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> Result<()> {
    let py = deferred.py();
    let Err(error) = added else { return Ok(()) };
    drop(capi::ok(py, deferred.call_method0(intern!(py, "cancel"))));
    tell(failure_of(py, error.into())?)?;
    Ok(())
}

/// The function, or the items, may have stopped the feed.
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

/// Ask for the next item of an asynchronous iterator. `begin` makes a Deferred of that.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _begin_fetch<'py>(
    feed: &Bound<'py, PyAny>,
    iterator: &Bound<'py, PyAny>,
    begin: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = feed.py();
    let fetched = feed.getattr(intern!(py, "_fetched"))?;
    let asked = iterator.call_method0(intern!(py, "__anext__")).map_err(Error::from);
    let fetching = match asked.and_then(|asked| begun(asked, begin)) {
        Ok(fetching) => fetching,
        Err(error) => return break_off(feed, error),
    };
    feed.setattr(intern!(py, "_fetching"), &fetching)?;
    if is(feed, intern!(py, "_stopped"))? {
        // It could not be closed then.
        feed.setattr(intern!(py, "_iterator"), iterator)?;
    }
    let done = end_if_stopped(feed, &fetching, otherwise);
    let added = fetching.call_method1(intern!(py, "addBoth"), (&fetched, &fetching));
    or_tell(&fetching, added, |failure| fetched.call1((failure, &fetching)))?;
    done
}

/// Close the items of a feed, if they can be: a generator's `finally` runs now.
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
            let added = closing.call_method1(intern!(py, "addBoth"), (&then,));
            or_tell(&closing, added, |failure| then.call1((failure,)))
        }
        Err(error) => break_off(feed, error),
    }
}

/// The item that was asked for, of this Deferred, is there: it is not asked for any more, and taken,
/// once. The next one may have been asked for since.
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
