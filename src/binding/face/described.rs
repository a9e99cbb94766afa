//! The links of a Deferred in the form in which Twisted shows its callbacks.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::binding::capi::{
    self, Hold, Text,
    error::{Raise, Result},
    interned::intern,
};
use crate::binding::judge::classify;
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    list::DeferredList,
    names,
    outcome::{self, Link},
    waiter::FIRE,
};
use crate::core::{NoMemory, refusable};

/// The links as pairs of (callable, args, kwargs).
///
/// A waiter that is not a callback in Twisted either is shown as the argument of the function
/// `waiting`.
pub(crate) fn describe_links<'py>(deferred: &Bound<'py, Deferred>) -> Result<Bound<'py, PyList>> {
    let py = deferred.py();
    let empty = || PyTuple::empty(py);
    let half = |callback: Option<Callback>, name| match callback {
        Some(callback) => callback.describe(py),
        None => match names::public(py, name)? {
            Some(callable) => describe(callable, empty()),
            None => describe(py.None().into_bound(py), empty()),
        },
    };
    let described = capi::new_list(py)?;
    for link in linked(deferred)? {
        let (on_value, on_failure) = match link {
            Linked::Pair(callback, errback) => {
                (half(callback, intern!(py, "passthru"))?, half(errback, intern!(py, "_failthru"))?)
            }
            Linked::Waiter(deferred, FIRE) => {
                let half = |name| describe(deferred.getattr(name)?, empty());
                (half(intern!(py, "callback"))?, half(intern!(py, "errback"))?)
            }
            Linked::Waiter(waiter, place) if waiter.is_instance_of::<DeferredList>() => {
                let collect = waiter.getattr(intern!(py, "_cbDeferred"))?;
                let half = |success| {
                    let success = capi::new_bool(py, success);
                    let place = capi::new_int(py, place.into())?;
                    describe(collect.clone(), capi::new_tuple(py, [place, success])?)
                };
                (half(true)?, half(false)?)
            }
            Linked::Waiter(waiter, _) => {
                let waiting = names::WAITING.get(py)?.clone();
                let half = describe(waiting, capi::new_tuple(py, [waiter])?)?;
                (half.clone(), half)
            }
        };
        described.append(capi::new_tuple(py, [on_value.into_any(), on_failure.into_any()])?)?;
    }
    Ok(described)
}

/// A link.
enum Linked<'py> {
    Pair(Option<Callback>, Option<Callback>),
    Waiter(Bound<'py, PyAny>, u32),
}

/// The links of a Deferred, with new references.
fn linked<'py>(deferred: &Bound<'py, Deferred>) -> Result<Vec<Linked<'py>>> {
    let py = deferred.py();
    let mut links = Vec::new();
    let kept = deferred.get().chain(py, |chain| {
        if refusable(|| links.try_reserve_exact(chain.links().len())).is_err() {
            return Err(NoMemory(()));
        }
        links.extend(chain.links().iter().map(|link| match link {
            Link::OnValue(callback) => Linked::Pair(Some(callback.share(py)), None),
            Link::OnFailure(callback) => Linked::Pair(None, Some(callback.share(py))),
            Link::Either(callback) => {
                Linked::Pair(Some(callback.share(py)), Some(callback.share(py)))
            }
            Link::Both(pair) => Linked::Pair(Some(pair.0.share(py)), Some(pair.1.share(py))),
            Link::Continue(other) => Linked::Waiter(other.bind(py).as_any().clone(), 0),
            Link::Deliver(waiter, place) => Linked::Waiter(waiter.object(py).clone(), *place),
        }));
        Ok(())
    });
    outcome::or_no_memory(py, kept)?;
    Ok(links)
}

fn describe<'py>(
    callable: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
) -> Result<Bound<'py, PyTuple>> {
    let py = args.py();
    capi::new_tuple(py, [callable, args.into_any(), capi::new_dict(py)?.into_any()])
}

/// Convert a description made by [`describe_links`] back into a link.
///
/// # Errors
///
/// `TypeError` if it is something else, or if the waiter is not a Deferred: there can be no second
/// link for such a waiter.
pub(crate) fn link_described(pair: &Bound<'_, PyAny>) -> Result<Link> {
    type Half<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);
    let py = pair.py();
    let (on_value, on_failure): (Half<'_>, Half<'_>) = pair.extract()?;
    if on_value.0.is(names::WAITING.get(py)?) {
        let (waiter,): (Bound<'_, PyAny>,) = on_value.1.extract()?;
        if let Some(other) = classify::as_deferred(&waiter) {
            return Ok(Link::Continue(other.clone().hold()));
        }
        return Err(PyTypeError::error_saying(capi::joined(
            py,
            [
                Text::Ours("cannot copy a Deferred that a "),
                Text::Python(waiter.get_type().name()?),
                Text::Ours(" waits for"),
            ],
        )));
    }
    let [on_value, on_failure] = [on_value, on_failure].map(|(callable, args, kwargs)| {
        Callback::with_spread_arguments(callable, args, Some(kwargs))
    });
    outcome::link_of_both(py, (on_value?, on_failure?))
}
