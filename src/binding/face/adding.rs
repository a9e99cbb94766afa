//! Converts the arguments of `addCallbacks` and the like to callbacks.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::binding::capi::{error::Result, interned::intern};
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    names,
    outcome::{Link, link_of_both},
};
use crate::binding::run::engine::add;

/// The extra arguments of a callback as passed to `addCallbacks`: positional ones and keyword ones.
type Given<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// Add a callback and an errback, each with its arguments.
pub(crate) fn add_both<'py>(
    slf: &Bound<'py, Deferred>,
    callback: Bound<'py, PyAny>,
    errback: Option<Bound<'py, PyAny>>,
    [for_callback, for_errback]: [Given<'py>; 2],
) -> Result<()> {
    let py = slf.py();
    let one = |callable, given: Given<'py>| match given {
        (None, None) => Callback::plain(callable),
        (args, kwargs) => {
            let args = args.unwrap_or_else(|| PyTuple::empty(py).into_any());
            Callback::with_spread_arguments(callable, args, kwargs)
        }
    };
    let callback = one(callback, for_callback)?;
    let errback = match errback {
        // The callback that does nothing gets the extra arguments, but accepts none.
        None if for_errback.0.is_some() || for_errback.1.is_some() => {
            let failthru = names::public(py, intern!(py, "_failthru"))?;
            Some(failthru.map_or_else(|| names::FAILTHRU.get(py).cloned(), Ok)?)
        }
        errback => errback,
    };
    let link = match errback {
        None => Link::OnValue(callback),
        Some(errback) => link_of_both(py, (callback, one(errback, for_errback)?))?,
    };
    add(slf, link)
}

/// A callable to add, with its extra arguments.
pub(crate) fn callback_with<'py>(
    callable: Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Callback> {
    let Some(kwargs) = kwargs.filter(|kwargs| !kwargs.is_empty()) else {
        if args.is_empty() {
            return Callback::plain(callable);
        }
        return Callback::with_arguments(callable.py(), &callable, args.as_slice(), None);
    };
    let names = PyTuple::new(callable.py(), kwargs.keys())?;
    let all = args.as_sequence().concat(kwargs.values().as_sequence())?;
    let all = all.to_tuple()?;
    Callback::with_arguments(callable.py(), &callable, all.as_slice(), Some(&names))
}
