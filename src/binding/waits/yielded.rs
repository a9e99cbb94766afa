//! Classifies what a generator yields, if that is not a Deferred.

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::binding::capi::{self, error::Result, stack};
use crate::binding::judge::classify;
use crate::binding::model::names;

/// What a generator may yield besides Deferreds.
pub(crate) enum Yielded {
    /// A value, which comes straight back.
    Value,
    /// A coroutine or generator, to be run.
    Coroutine,
    /// An asyncio future that is awaited.
    Future,
    /// A Deferred of Twisted's.
    Twisted,
}

pub(crate) fn kind_of(
    object: &Bound<'_, PyAny>,
    claimed: Option<&Bound<'_, PyType>>,
) -> PyResult<Yielded> {
    let py = object.py();
    if capi::is_coroutine(object) || capi::is_generator(object) {
        return Ok(Yielded::Coroutine);
    }
    if capi::is_plain(object) {
        return Ok(Yielded::Value);
    }
    stack::check(py)?;
    Ok(match names::KIND_OF.get(py)?.call1((object, claimed))?.extract::<u8>()? {
        1 => Yielded::Coroutine,
        2 => Yielded::Future,
        3 => Yielded::Twisted,
        _ => Yielded::Value,
    })
}

pub(crate) fn is_coroutine_or_generator(object: &Bound<'_, PyAny>) -> Result<bool> {
    let claimed = classify::claimed_class(object)?;
    Ok(matches!(kind_of(object, claimed.as_ref())?, Yielded::Coroutine))
}
