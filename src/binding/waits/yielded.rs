//! Classifies what a generator yields if that is not a Deferred, and detects the Deferreds of an
//! `await`.

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::binding::capi::{self, cell::SEVERAL_THREADS, error::Result, interned::intern, stack};
use crate::binding::judge::classify;
use crate::binding::model::{deferred::Deferred, names, task::Task};
use crate::binding::waits::driving::is_awaited;

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

/// Whether a Deferred was yielded by an `await`, which ignores what it is sent and looks at the
/// Deferred again. If another thread fires it, the task has to be resumed within the run of the
/// Deferred, while the outcome is still there.
#[inline(always)]
pub(super) fn looks_again<'py>(task: &Bound<'py, Task>, deferred: &Bound<'py, Deferred>) -> bool {
    SEVERAL_THREADS && (is_awaited(deferred) || is_within_await(task))
}

/// Whether the Deferred was yielded by an `await` or `yield from`, not by a `yield` in a generator.
/// As with Twisted, a generator that yields a paused Deferred itself gets the result.
#[cold]
pub(super) fn is_within_await(task: &Bound<'_, Task>) -> bool {
    let py = task.py();
    let Some(mut inner) = task.get().generator(py) else { return false };
    loop {
        let name = if capi::is_generator(&inner) {
            intern!(py, "gi_yieldfrom")
        } else if capi::is_coroutine(&inner) {
            intern!(py, "cr_await")
        } else {
            return true;
        };
        match inner.getattr(name) {
            Ok(next) if next.is_none() => return false,
            Ok(next) => inner = next,
            // If there is no memory to find out, this is the safe answer.
            Err(_) => return true,
        }
    }
}
