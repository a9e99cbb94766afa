//! `inlineCallbacks` and `ensureDeferred`.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyBaseException, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

#[cfg(Py_3_12)]
use crate::binding::capi::wrapper::{self, Wrap};
use crate::binding::capi::{
    self, Hold, Text,
    error::{Error, Raise, Raised, Result},
    stack::{self, Nested},
};
use crate::binding::judge::{classify::as_deferred, debug::debugging_by_default, foreign};
use crate::binding::model::{
    deferred::Deferred,
    names,
    task::{Task, TaskCallback},
    traverse::Traverse,
};
use crate::binding::run::engine;
use crate::binding::waits::{
    aside,
    driving::{self, Now},
    early,
    starting::{self, NotACoroutineError},
    task::{self, answer_callback},
    task_cancelling::begin_cancel,
    work::{Answer, Work},
};

#[pymethods(crate = "crate::binding::capi::guarded")]
impl Task {
    /// Called as the canceller of its Deferred.
    fn __call__<'py>(slf: &Bound<'py, Self>, deferred: Bound<'py, Deferred>) -> Result<()> {
        let _nested = Nested::enter(slf.py())?;
        if begin_cancel(slf, &deferred)? {
            engine::run_within(slf.py(), Work::Run(deferred))
        } else {
            Ok(())
        }
    }

    /// What it waited for last.
    #[getter]
    fn _waiting_on<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Deferred>> {
        self.with(py, |state| state.waiting_on.as_ref().map(|it| it.bind(py).clone()))
    }

    /// The generator or coroutine. None when it has ended.
    #[getter]
    fn _generator<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.generator(py)
    }

    /// Whether its generator is being resumed.
    #[getter]
    fn _running(slf: &Bound<'_, Self>) -> Result<bool> {
        let py = slf.py();
        let generator = slf.get().with(py, |state| state.generator.as_ref().map(|it| it.as_ptr()));
        let is_it = |each: &Bound<'_, PyAny>| {
            each.as_ptr() == slf.as_ptr() || Some(each.as_ptr()) == generator
        };
        Ok(driving::all_driven(py)?.iter().any(is_it))
    }

    /// Set whether to cancel what it waits for next. Returns the previous value.
    fn _cancel_next(&self, py: Python<'_>, cancel: bool) -> bool {
        self.set_cancel_next(py, cancel)
    }

    /// The blocks of `deferrous.concurrency` that it is in and that have cancelled it.
    #[getter]
    fn _cancelled_by<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.with(py, |state| state.cancelled_by.as_ref().map(|it| it.bind(py).clone()))
    }

    #[setter(_cancelled_by)]
    fn set_cancelled_by(&self, py: Python<'_>, blocks: Option<Bound<'_, PyAny>>) {
        let blocks = blocks.map(Hold::hold);
        let before = self.with(py, |state| std::mem::replace(&mut state.cancelled_by, blocks));
        drop(before);
    }

    #[deleter(_cancelled_by)]
    fn delete_cancelled_by(&self, py: Python<'_>) -> Result<()> {
        capi::no_deleter(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.during_gc().traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let state = slf.get().with(slf.py(), std::mem::take);
        drop(state);
    }
}

#[pymethods(crate = "crate::binding::capi::guarded")]
impl TaskCallback {
    /// Resume the task. A result that it does not take yet is returned, for the next turn.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        let _nested = Nested::enter(py)?;
        match answer_callback(slf, &result)? {
            Answer::After(Work::Halt(_), _) => return Ok(result),
            Answer::After(work, _) => engine::run_within(py, work)?,
            Answer::Now(_) => {}
        }
        Ok(py.None().into_bound(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.task.traverse(visit)
    }
}

/// Run a generator or coroutine up to the first Deferred without a result.
///
/// Returns the Deferred for the generator's own result. That and the task are made only when
/// needed; a generator that ends at once needs no task.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_cancellableInlineCallbacks")]
pub(crate) fn start<'py>(generator: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let _nested = Nested::enter(generator.py())?;
    start_within(generator)
}

/// As [`start`], for callers that have checked the stack already.
#[inline(never)]
pub(crate) fn start_within<'py>(generator: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    if debugging_by_default(generator.py())? {
        return started(starting::prepared(generator)?);
    }
    started_after(starting::begin(generator)?)
}

/// The rest of [`start_within`], so that its frame is not on the stack while the generator runs.
#[inline(never)]
fn started_after<'py>(begun: starting::Begun<'py>) -> Result<Bound<'py, Deferred>> {
    started(starting::complete(begun)?)
}

/// Do the work that follows.
#[inline(always)]
fn started<'py>((deferred, work): starting::Started<'py>) -> Result<Bound<'py, Deferred>> {
    if let Some(work) = work {
        engine::run_within(deferred.py(), work)?;
    }
    Ok(deferred)
}

/// Run a coroutine or generator.
///
/// # Errors
///
/// `NotACoroutineError`
pub(crate) fn from_coroutine(coro: Bound<'_, PyAny>) -> Result<Bound<'_, Deferred>> {
    starting::need_coroutine(&coro)?;
    start(coro)
}

/// Call the function that `inlineCallbacks` decorates, with a tuple and a dict of arguments, and
/// run the generator that it returns.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_runInlineCallbacks")]
pub(crate) fn start_called<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyAny>,
    kwargs: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let py = function.py();
    // CPython itself counts the depth of this call and of the generator.
    stack::check_apart(py)?;
    let kwargs = kwargs.cast::<PyDict>()?;
    let kwargs = if kwargs.is_empty() { None } else { Some(kwargs) };
    start_made(function, capi::call_any_way(py, function, args.cast::<PyTuple>()?, kwargs))
}

/// The functions that `inlineCallbacks` makes, if they can run natively.
#[cfg(Py_3_12)]
struct InlineCallbacks;

#[cfg(Py_3_12)]
impl Wrap for InlineCallbacks {
    #[inline(always)]
    fn answer<'py>(
        wrapped: &Bound<'py, PyAny>,
        called: Result<Bound<'py, PyAny>, Raised<'py>>,
    ) -> Result<Bound<'py, PyAny>> {
        start_made(wrapped, called).map(Bound::into_any)
    }

    #[inline(always)]
    fn begin(py: Python<'_>) -> Result<()> {
        stack::check_apart(py)
    }
}

/// Let a function that `inlineCallbacks` has made run natively, if the Python version allows it:
/// from 3.12 on.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_runNatively")]
pub(crate) fn run_natively(function: &Bound<'_, PyAny>) -> Result<()> {
    #[cfg(Py_3_12)]
    wrapper::run_natively::<InlineCallbacks>(function)?;
    #[cfg(not(Py_3_12))]
    let _ = function;
    Ok(())
}

/// Run the generator that a decorated function has returned.
#[inline(always)]
fn start_made<'py>(
    function: &Bound<'py, PyAny>,
    called: Result<Bound<'py, PyAny>, Raised<'py>>,
) -> Result<Bound<'py, Deferred>> {
    match called {
        Ok(generator) if capi::is_generator(&generator) => start_within(generator),
        Ok(generator) => start_within(look_for_generator(function, generator)?),
        Err(raised) => Err(without_generator(function, raised.into())),
    }
}

/// The error for a decorated function that raised instead of returning a generator.
#[cold]
fn without_generator(function: &Bound<'_, PyAny>, error: Error) -> Error {
    let py = function.py();
    match names::DEF_GEN_RETURN.get(py) {
        Ok(class) if error.value(py).is_instance(class).unwrap_or(false) => {
            // As in Twisted, the original error is its context.
            let text = Text::Ours("caught returnValue being used in a non-generator");
            let instead = no_generator(function, text, None, "");
            capi::set_context(&instead, error.into_raised(py));
            instead
        }
        Ok(_) => error,
        Err(error) => error,
    }
}

/// Accept a generator of another implementation, such as Cython's.
///
/// # Errors
///
/// `TypeError` if it is not a generator.
#[cold]
fn look_for_generator<'py>(
    function: &Bound<'py, PyAny>,
    generator: Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = function.py();
    if generator.is_instance(names::GENERATOR_TYPE.get(py)?)?
        || generator.is_instance(names::GENERATOR_ABC.get(py)?)?
    {
        return Ok(generator);
    }
    let hint = if capi::is_coroutine(&generator) {
        "; use ensureDeferred on what a function with `async def` returns"
    } else {
        ""
    };
    Err(no_generator(function, Text::Ours(" got "), Some(generator.repr()?), hint))
}

/// The TypeError for a decorated function that does not return a generator.
#[cold]
fn no_generator<'py>(
    function: &Bound<'py, PyAny>,
    instead: Text<'_, 'py>,
    what: Option<Bound<'py, PyString>>,
    hint: &'static str,
) -> Error {
    let text = || {
        let what = what.map_or(Text::Ours(""), Text::Python);
        capi::joined(
            function.py(),
            [
                Text::Ours("inlineCallbacks requires "),
                Text::Python(function.repr()?),
                Text::Ours(" to produce a generator; instead"),
                instead,
                what,
                Text::Ours(hint),
            ],
        )
    };
    PyTypeError::error_saying(text())
}

/// Run a coroutine, and return a Deferred for its result.
///
/// Arguments:
///
/// - `coro`: a coroutine that awaits Deferreds, or a generator that yields them. A Deferred is
///   returned as it is.
///
/// Returns a Deferred that fires with what the coroutine returns, or fails with what it raises.
///
/// Errors:
///
/// - NotACoroutineError: `coro` is none of these.
///
/// Cancelling the Deferred cancels the Deferred that the coroutine waits for. Unless that fires
/// otherwise, CancelledError is raised at the `await`.
///
/// Differs from Twisted: the coroutine may also await futures and coroutines of asyncio, while
/// a loop is running.
///
/// ```python
/// from deferrous import ensureDeferred, succeed
///
///
/// async def double(number):
///     return 2 * await number
///
///
/// ensureDeferred(double(succeed(21))).addCallback(print)
/// ```
///
/// This prints 42.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "ensureDeferred")]
pub(crate) fn ensure_deferred<'py>(coro: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    if capi::is_coroutine(&coro) {
        start(coro).map(Bound::into_any)
    } else if capi::is_exact::<Deferred>(&coro) {
        Ok(coro)
    } else {
        ensure_of(coro)
    }
}

/// [`ensure_deferred`] for an object that is not a native coroutine.
#[inline(never)]
fn ensure_of<'py>(coro: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    if as_deferred(&coro).is_some() {
        return Ok(coro);
    }
    if let Some(deferred) = foreign::adopt(&coro)? {
        return Ok(deferred.into_any());
    }
    match starting::need_coroutine(&coro) {
        Ok(()) => start(coro).map(Bound::into_any),
        Err(before) => Err(neither(&coro, before)),
    }
}

/// The error of [`ensure_deferred`], whose context is that of [`starting::need_coroutine`].
#[cold]
fn neither(coro: &Bound<'_, PyAny>, before: Error) -> Error {
    if !before.is_instance_of::<NotACoroutineError>(coro.py()) {
        return before;
    }
    let repr = match coro.repr() {
        Ok(repr) => repr,
        Err(error) => return error.into(),
    };
    let text = [Text::Python(repr), Text::Ours(" is not a coroutine or a Deferred")];
    let error = NotACoroutineError::error_saying(capi::joined(coro.py(), text));
    capi::set_context(&error, before.into_raised(coro.py()));
    error
}

/// The generators that are being resumed.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_driven")]
pub(crate) fn driven(py: Python<'_>) -> Result<Bound<'_, PyList>> {
    driving::driven(py)
}

/// Fail the Deferred of a task with an exception: for one that has ended when there was no memory.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_task<'py>(
    task: &Bound<'py, Task>,
    error: Bound<'py, PyBaseException>,
) -> Result<()> {
    match task::finish(task, Err(error.into()))? {
        Some(deferred) => engine::run_deferred(&deferred),
        None => Ok(()),
    }
}

/// The asyncio loop that runs in this thread.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_running_loop")]
pub(crate) fn running_loop(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    aside::running_loop(py)
}

/// The task that runs now, ours or asyncio's. None also if that takes a longer look.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_running_task")]
pub(crate) fn running_task(py: Python<'_>) -> Result<Option<Bound<'_, PyAny>>> {
    Ok(match driving::running(py)? {
        Some(Now::Task(task)) => Some(task),
        Some(Now::Generator(generator)) => Some(early::early_task(&generator)?.0.into_any()),
        None => None,
    })
}

/// Return the task of a running generator and the Deferred that it will fire. A generator that has
/// not waited yet gets a new task. None if the generator is not running.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_task_for")]
pub(crate) fn task_of_driven<'py>(
    generator: &Bound<'py, PyAny>,
) -> Result<Option<(Bound<'py, Task>, Bound<'py, Deferred>)>> {
    early::task_of_driven(generator)
}
