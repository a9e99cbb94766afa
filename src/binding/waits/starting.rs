//! Starts generators and coroutines.

use pyo3::create_exception;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold, Text,
    error::{Raise, Result},
};
use crate::binding::judge::{debug::debugging_by_default, ordinary::is_ordinary};
use crate::binding::model::{
    deferred::{Deferred, new_deferred},
    outcome::{Chain, Outcome},
};
use crate::binding::waits::{
    driving::advance_here,
    early,
    task::{prepare, task_for, try_to_wait},
    work::{Stopped, Work},
    yielded::is_coroutine_or_generator,
};

create_exception!(
    deferrous,
    NotACoroutineError,
    PyTypeError,
    "A coroutine was expected, and something else was given."
);

/// The Deferred for the result of a generator, and the work that follows, if any.
pub(crate) type Started<'py> = (Bound<'py, Deferred>, Option<Work<'py>>);

/// A generator that has run up to the first Deferred without a result, or the first object that has
/// to be classified.
pub(crate) struct Begun<'py> {
    generator: Bound<'py, PyAny>,
    context: Bound<'py, PyAny>,
    stopped: Result<Stopped<'py>>,
}

/// Run a generator or coroutine until then. To be completed by [`complete`].
///
/// Generators start others, so this uses as little stack as possible. The Deferred and the task are
/// made only when they are needed. A generator that ends at once needs no task.
#[inline(always)]
pub(crate) fn begin<'py>(generator: Bound<'py, PyAny>) -> Result<Begun<'py>> {
    let context = capi::copy_context(generator.py())?;
    let stopped = advance_here(&generator, &generator, &context, Outcome::Taken);
    Ok(Begun { generator, context, stopped })
}

/// Make what a generator that has begun still needs.
#[inline(always)]
pub(crate) fn complete<'py>(begun: Begun<'py>) -> Result<Started<'py>> {
    let Begun { generator, context, stopped } = begun;
    let py = generator.py();
    if let Some((task, deferred)) = early::take(&generator, &context) {
        return Ok((deferred, Some(Work::HandleStop(task, stopped?))));
    }
    let stopped = stopped?;
    if let Stopped::Returned(result) = &stopped
        && is_ordinary(result)
        && !debugging_by_default(py)?
    {
        let fired = || Chain::fired(Outcome::Value(result.clone().hold()));
        return Ok((new_deferred(py, fired)?, None));
    }
    let deferred = new_deferred(py, Chain::default)?;
    let task = task_for(generator, context, &deferred)?;
    match stopped {
        Stopped::Before(other) if matches!(try_to_wait(&task, &other), Ok(true)) => {
            Ok((deferred, None))
        }
        stopped => Ok((deferred, Some(Work::HandleStop(task, stopped)))),
    }
}

/// [`begin`] and [`complete`].
pub(crate) fn start<'py>(generator: Bound<'py, PyAny>) -> Result<Started<'py>> {
    if debugging_by_default(generator.py())? {
        return prepared(generator);
    }
    complete(begin(generator)?)
}

/// Replaces [`begin`] and [`complete`] in debug mode: the task and the Deferred are made first.
#[cold]
pub(crate) fn prepared<'py>(generator: Bound<'py, PyAny>) -> Result<Started<'py>> {
    let (task, deferred) = prepare(generator)?;
    Ok((deferred, Some(Work::Resume(task, Outcome::Taken))))
}

/// Check that an object is a coroutine or a generator.
///
/// # Errors
///
/// `NotACoroutineError`
pub(crate) fn need_coroutine(coro: &Bound<'_, PyAny>) -> Result<()> {
    if is_coroutine_or_generator(coro)? {
        return Ok(());
    }
    let text = [Text::Python(coro.repr()?), Text::Ours(" is not a coroutine")];
    Err(NotACoroutineError::error_saying(capi::joined(coro.py(), text)))
}
