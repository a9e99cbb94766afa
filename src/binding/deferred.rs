//! The class `Deferred`.

use pyo3::exceptions::{PyAttributeError, PyException};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyList, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, create_exception};

use super::awaiting::Awaiting;
use super::callback::Callback;
use super::cell::Shared;
use super::error::{Error, Raise, Result};
use super::failure;
use super::ffi::stack::{self, Nested};
use super::ffi::{self, Hold, Pool, Recycled, Text};
use super::foreign;
use super::gc::Traverse;
use super::generator;
use super::interned::intern;
use super::names;
use super::outcome::{
    Chain, Link, Links, Outcome, as_deferred, classify, classify_asking, into_object, share,
};
use super::overrides::overrides;
use super::report;
use super::run::{self, Answer, Waiter, Work};
use super::timeout;
use crate::core::{AlreadyCalled, Boxed, Fired, NoMemory};

create_exception!(
    deferrous,
    AlreadyCalledError,
    PyException,
    "A Deferred that had been fired before was fired again."
);
create_exception!(
    deferrous,
    CancelledError,
    PyException,
    "The operation that a Deferred stood for was cancelled."
);
create_exception!(
    deferrous,
    TimeoutError,
    PyException,
    "The operation that a Deferred stood for took too long."
);

/// A result that is not there yet.
///
/// Callbacks and errbacks that are added to a Deferred are called in the order in which they were
/// added, once it is fired: the first with the result, each other with what the one before
/// returned. A callback gets results; an errback gets a Failure, made of the exception that was
/// raised before it. Where one returns another Deferred, the next gets that one's result, when it
/// is there.
///
/// Takes a canceller: a function that `cancel()` calls with the Deferred, to cut short what the
/// Deferred waits for. It may fire the Deferred; if it does not, `cancel()` fails it with
/// CancelledError. Without a canceller, one call of `callback` or `errback` after `cancel()` is
/// ignored.
///
/// `await` gives its result, in coroutines that Deferreds or asyncio's tasks drive; with Twisted's,
/// it does so in the former only.
///
/// Deferreds that wait for each other, to any depth, run without recursion. Twisted's do where
/// callbacks return them, and end in a RecursionError elsewhere.
#[pyclass(module = "deferrous", subclass, frozen, weakref, dict, generic)]
pub(super) struct Deferred {
    chain: Shared<Chain>,
}

impl Deferred {
    /// With this state.
    #[inline]
    pub(super) fn of(chain: Chain) -> Self {
        Self { chain: Shared::new(chain) }
    }

    /// Make one transition of the state.
    #[inline(always)]
    pub(super) fn chain<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut Chain) -> R) -> R {
        self.chain.with(py, transition)
    }
}

impl Recycled for Deferred {
    fn pool() -> &'static Pool {
        static POOL: Pool = Pool::new();
        &POOL
    }

    #[inline]
    fn dies_quietly(&self, py: Python<'_>) -> bool {
        self.chain(py, |chain| !chain.unhandled())
    }

    #[inline(always)]
    fn is_light(&self, py: Python<'_>) -> bool {
        self.chain(py, |chain| {
            chain.is_bare()
                && match chain.outcome() {
                    Outcome::Empty | Outcome::Taken => true,
                    Outcome::Value(object) => ffi::is_leaf(object.bind(py)) || object.is_shared(py),
                    Outcome::Failure(failure) => failure.is_shared(py),
                    Outcome::Deferred(other) => other.is_shared(py),
                }
        })
    }

    #[inline(always)]
    fn dispose_of_light(&self, py: Python<'_>) {
        drop(self.chain(py, |chain| chain.replace_outcome(Outcome::Empty)));
    }

    /// Let go of what this holds, and report a failure that nobody handled.
    fn dispose(&self, py: Python<'_>) {
        let chain = self.chain(py, std::mem::take);
        let failure = match chain.outcome() {
            Outcome::Failure(failure) if chain.unhandled() => Some(failure.bind(py).clone()),
            _ => None,
        };
        // What it holds goes first, and is reported first.
        drop(chain);
        if let Some(failure) = failure {
            report::unhandled(failure);
        }
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        ffi::dropping(|py| self.dispose(py));
    }
}

/// Add a link, and run the chain if it can be run.
#[inline(always)]
pub(super) fn add<'py>(deferred: &Bound<'py, Deferred>, link: Link) -> Result<()> {
    let py = deferred.py();
    let added = deferred.get().chain(py, |chain| chain.add(link).map(|()| chain.is_runnable()));
    if or_no_memory(py, added)? { run::run_deferred(deferred) } else { Ok(()) }
}

/// What a transition answers that has to keep something. What it had no room for is let go of
/// here, when the transition is over.
#[inline(always)]
pub(super) fn or_no_memory<T, L>(py: Python<'_>, kept: Result<T, NoMemory<L>>) -> Result<T> {
    kept.map_err(|NoMemory(refused)| {
        drop(refused);
        ffi::no_memory(py)
    })
}

/// A link with a callback and an errback.
pub(super) fn link_of_both(py: Python<'_>, pair: (Callback, Callback)) -> Result<Link> {
    Ok(Link::Both(or_no_memory(py, Boxed::new(pair))?))
}

/// Fire a Deferred with what becomes of `outcome`, and run it.
#[inline(always)]
pub(super) fn fire(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<()> {
    if begin_fire(deferred, outcome)? {
        return run::run_deferred(deferred);
    }
    Ok(())
}

/// Fire a Deferred with an object, and run it.
#[inline(always)]
pub(super) fn fire_with<'py>(
    deferred: &Bound<'py, Deferred>,
    result: Bound<'py, PyAny>,
) -> Result<()> {
    if ffi::is_known_ordinary(&result) {
        return fire(deferred, Outcome::Value(result.hold()));
    }
    if begin_fire_with(deferred, result)? { run::run_deferred(deferred) } else { Ok(()) }
}

/// Fire a Deferred with an object. True if it has to be run then.
pub(super) fn begin_fire_with<'py>(
    deferred: &Bound<'py, Deferred>,
    result: Bound<'py, PyAny>,
) -> Result<bool> {
    let (outcome, error) = classify_asking(result);
    let fired = begin_fire(deferred, outcome)?;
    let Some(error) = error else { return Ok(fired) };
    // An object that raises when asked what it is: it is the result all the same.
    if fired {
        run::run_deferred(deferred)?;
    }
    Err(error)
}

/// Fire a Deferred. True if it has to be run then.
///
/// # Errors
///
/// `AlreadyCalledError`
#[inline(always)]
pub(super) fn begin_fire(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<bool> {
    let py = deferred.py();
    let debugging = ffi::debugging(deferred)?;
    if debugging && !deferred.get().chain(py, |chain| chain.called()) {
        report::remember_invoker(deferred)?;
    }
    match deferred.get().chain(py, |chain| chain.fire(outcome)) {
        Ok(Fired::Accepted(canceller, replaced)) => {
            if let Outcome::Failure(failure) = &replaced {
                // Somebody has set `called` back by hand.
                report::keep_replaced(deferred, failure.bind(py))?;
            }
            drop((canceller, replaced));
            Ok(deferred.get().chain(py, |chain| chain.has_something_to_do())
                || ffi::has_instance_dict(deferred))
        }
        Ok(Fired::Swallowed(outcome)) => {
            drop(outcome);
            Ok(false)
        }
        Err(AlreadyCalled(outcome)) => {
            drop(outcome);
            Err(already_called(deferred, debugging)?)
        }
    }
}

#[cold]
fn already_called(deferred: &Bound<'_, Deferred>, debugging: bool) -> Result<Error> {
    let py = deferred.py();
    if debugging {
        let text = report::debug_tracebacks(deferred)?;
        let text = [Text::Ours("\n"), Text::Python(text.str()?)];
        return Ok(AlreadyCalledError::error_saying(ffi::joined(py, text)));
    }
    // A note, because programs know the error by having no text and no arguments.
    let error = AlreadyCalledError::bare_error(py);
    let notes = ffi::new_list(py)?;
    notes.append(intern!(py, "With setDebugging(True), this says where it was fired before."))?;
    error.value(py).setattr(intern!(py, "__notes__"), notes)?;
    Ok(error)
}

/// A Deferred has an outcome to fire another with, as part of its run. It has none itself then.
pub(super) fn deliver(deferred: Bound<'_, Deferred>, outcome: Outcome) -> Result<Answer<'_>> {
    Ok(if begin_fire(&deferred, outcome)? {
        Answer::After(Work::Run(deferred), Outcome::Taken)
    } else {
        Answer::Now(Outcome::Taken)
    })
}

/// Fail a Deferred as cancelled, by its `errback`. True if it has to be run then.
pub(super) fn fail_cancelled(deferred: &Bound<'_, Deferred>) -> Result<bool> {
    let py = deferred.py();
    let reason = failure::of_new::<CancelledError>(py)?;
    let errback = intern!(py, "errback");
    if overrides::<Deferred>(deferred, errback) {
        deferred.call_method1(errback, (reason,))?;
        return Ok(false);
    }
    begin_fire(deferred, Outcome::Failure(reason.hold()))
}

/// What the argument of `errback` and `fail` stands for.
pub(super) fn reason_of<'py>(
    py: Python<'py>,
    fail: Option<Bound<'py, PyAny>>,
    capture_vars: impl FnOnce() -> Result<bool>,
) -> Result<Outcome> {
    let reason = match fail {
        Some(fail) if ffi::is_ordinary(&fail) => failure::from_exception(fail)?,
        Some(fail) if failure::is_failure(&fail)? => fail,
        Some(fail) => match foreign::adopt_failure(&fail)? {
            Some(failure) => failure,
            None => failure::from_exception(fail)?,
        },
        None => match ffi::handled(py) {
            Some(handled) => failure::from_raised(handled.cast_into()?, capture_vars()?)?,
            None => return Err(failure::NoCurrentExceptionError::bare_error(py)),
        },
    };
    Ok(Outcome::Failure(reason.hold()))
}

/// The list of all classes of Deferreds, in the order of their definition.
pub(super) fn subclasses<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyList>> {
    // Made with the module, and never locked.
    static LIST: PyOnceLock<Py<PyList>> = PyOnceLock::new();
    loop {
        match LIST.get(py) {
            Some(list) => return Ok(list.bind(py)),
            None => {
                let list = ffi::new_list(py)?;
                list.append(py.get_type::<Deferred>())?;
                ffi::keep(&LIST, list);
            }
        }
    }
}

#[pymethods]
#[allow(non_snake_case)]
impl Deferred {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(canceller=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::of(Chain::new(None))
    }

    #[pyo3(signature = (canceller=None))]
    pub(super) fn __init__(
        slf: &Bound<'_, Self>,
        canceller: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        stack::check(py)?;
        let canceller = canceller.map(Hold::hold);
        let before =
            slf.get().chain(py, |chain| (chain.take_links(), chain.replace_canceller(canceller)));
        drop(before);
        if ffi::debugging(slf)? {
            report::remember_creator(slf)?;
        }
        Ok(())
    }

    /// Whether new Deferreds remember the stacks in which they are made and fired.
    #[classattr]
    fn debug() -> bool {
        false
    }

    #[classattr]
    fn _debugInfo() -> Option<Py<PyAny>> {
        None
    }

    #[classmethod]
    #[pyo3(signature = (**_kwargs))]
    fn __init_subclass__(
        cls: &Bound<'_, PyType>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        stack::check(cls.py())?;
        ffi::inherit_finalizer(cls);
        subclasses(cls.py())?.append(cls)
    }

    /// Add a callback: a function to be called with the result, followed by the other arguments.
    ///
    /// A failure passes it by. Returns this Deferred.
    #[pyo3(signature = (callback, *args, **kwargs))]
    fn addCallback<'py>(
        slf: Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        add(&slf, Link::OnValue(callback_with(callback, args, kwargs)?))?;
        Ok(slf)
    }

    /// Add an errback: a function to be called with a Failure, followed by the other arguments.
    ///
    /// A result passes it by. Returns this Deferred.
    #[pyo3(signature = (errback, *args, **kwargs))]
    fn addErrback<'py>(
        slf: Bound<'py, Self>,
        errback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        add(&slf, Link::OnFailure(callback_with(errback, args, kwargs)?))?;
        Ok(slf)
    }

    /// Add a function to be called with the result or the Failure, followed by the other
    /// arguments.
    ///
    /// Returns this Deferred.
    #[pyo3(signature = (callback, *args, **kwargs))]
    fn addBoth<'py>(
        slf: Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        add(&slf, Link::Either(callback_with(callback, args, kwargs)?))?;
        Ok(slf)
    }

    /// Add a callback and an errback, of which one is called.
    ///
    /// An exception that the callback raises is not for this errback, but for the next. Without
    /// an errback, a failure passes by. Each gets its own arguments after the result or Failure;
    /// None stands for no arguments. Returns this Deferred.
    #[pyo3(
        signature = (callback, errback=None, callbackArgs=None, callbackKeywords=None, errbackArgs=None, errbackKeywords=None),
        text_signature = "($self, callback, errback=None, callbackArgs=(), callbackKeywords={}, errbackArgs=(), errbackKeywords={})"
    )]
    fn addCallbacks<'py>(
        slf: Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        errback: Option<Bound<'py, PyAny>>,
        callbackArgs: Option<Bound<'py, PyAny>>,
        callbackKeywords: Option<Bound<'py, PyAny>>,
        errbackArgs: Option<Bound<'py, PyAny>>,
        errbackKeywords: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let arguments = [(callbackArgs, callbackKeywords), (errbackArgs, errbackKeywords)];
        add_both(&slf, callback, errback, arguments)?;
        Ok(slf)
    }

    /// Fire another Deferred, `d`, with what becomes of this one. Returns this Deferred.
    ///
    /// This one's callbacks after that get None. If `d` was fired before, they get a failure with
    /// AlreadyCalledError.
    fn chainDeferred<'py>(
        slf: Bound<'py, Self>,
        d: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        stack::check(py)?;
        let [callback, errback] = [intern!(py, "callback"), intern!(py, "errback")];
        let add_callbacks = intern!(py, "addCallbacks");
        match as_deferred(&d) {
            Some(other) => {
                let waits_for = slf.clone().hold();
                let before =
                    other.get().chain(py, |chain| chain.replace_chained_to(Some(waits_for)));
                drop(before);
                let plain =
                    !overrides::<Self>(other, callback) && !overrides::<Self>(other, errback);
                if plain && !overrides::<Self>(&slf, add_callbacks) {
                    add(&slf, Link::Deliver(Waiter::new(other), run::FIRE))?;
                    return Ok(slf.into_any());
                }
            }
            None => d.setattr(intern!(py, "_chainedTo"), &slf)?,
        }
        let _nested = Nested::enter(py)?;
        slf.call_method1(add_callbacks, (d.getattr(callback)?, d.getattr(errback)?))
    }

    /// Cancel this Deferred if it has no result `timeout` seconds from now.
    ///
    /// `clock` is an asyncio loop, or anything with a `callLater`: a reactor, a
    /// `deferrous.testing.Clock`. By default it is the asyncio loop that runs, else the reactor of
    /// Twisted, if one is installed. If the time runs out, what the Deferred comes to then is
    /// passed to `onTimeoutCancel` together with `timeout`, and replaced by what that returns; by
    /// default, a CancelledError is replaced by a TimeoutError. The time covers the callbacks that
    /// were added before, and none added later. Returns this Deferred.
    ///
    /// Raises RuntimeError if no clock is given and there is none by default, AttributeError if
    /// what is given is none.
    #[pyo3(signature = (timeout, clock=None, onTimeoutCancel=None))]
    fn addTimeout<'py>(
        slf: &Bound<'py, Self>,
        timeout: Bound<'py, PyAny>,
        clock: Option<Bound<'py, PyAny>>,
        onTimeoutCancel: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        timeout::add(slf, timeout, clock, onTimeoutCancel)
    }

    /// Fire with this result.
    ///
    /// With a Failure, it does what `errback` does.
    ///
    /// Raises AlreadyCalledError if the Deferred was fired before.
    fn callback(slf: &Bound<'_, Self>, result: Bound<'_, PyAny>) -> Result<()> {
        fire_with(slf, result)
    }

    /// Fire with this failure: a Failure, an exception to make one of, or, if left out, the
    /// exception that is being handled.
    ///
    /// Raises AlreadyCalledError if the Deferred was fired before, NoCurrentExceptionError if
    /// nothing is given and no exception is being handled.
    #[pyo3(signature = (fail=None))]
    fn errback<'py>(slf: &Bound<'py, Self>, fail: Option<Bound<'py, PyAny>>) -> Result<()> {
        fire(slf, reason_of(slf.py(), fail, || ffi::debugging(slf))?)
    }

    /// Hold back callbacks until `unpause()` has been called as often.
    fn pause(slf: &Bound<'_, Self>) {
        slf.get().chain(slf.py(), Chain::pause);
    }

    /// Take back one `pause()`. The last one runs the callbacks that were held back.
    fn unpause(slf: &Bound<'_, Self>) -> Result<()> {
        if slf.get().chain(slf.py(), Chain::unpause) {
            return run::run_deferred(slf);
        }
        Ok(())
    }

    /// Cut short what this Deferred waits for.
    ///
    /// If it waits for another Deferred, that one is cancelled. If it has a result, nothing
    /// happens. What its canceller raises is raised here.
    pub(super) fn cancel(slf: &Bound<'_, Self>) -> Result<()> {
        run::run(slf.py(), Work::CancelHere(slf.clone()))
    }

    /// Whether `callback` or `errback` has been called.
    #[getter]
    pub(super) fn called(slf: &Bound<'_, Self>) -> bool {
        slf.get().chain(slf.py(), |chain| chain.called())
    }

    #[setter]
    fn set_called(slf: &Bound<'_, Self>, called: &Bound<'_, PyAny>) -> PyResult<()> {
        let called = stack::truth(called)?;
        slf.get().chain(slf.py(), |chain| chain.set_called(called));
        Ok(())
    }

    /// How many pauses are in force. One of them is for a Deferred that this one waits for.
    #[getter]
    pub(super) fn paused(slf: &Bound<'_, Self>) -> i32 {
        slf.get().chain(slf.py(), |chain| chain.paused())
    }

    #[setter]
    fn set_paused(slf: &Bound<'_, Self>, #[pyo3(from_py_with = stack::number)] paused: i32) {
        slf.get().chain(slf.py(), |chain| chain.set_paused(paused));
    }

    /// What the Deferred has come to so far; no such attribute before it is fired.
    #[getter]
    pub(super) fn result<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().chain(py, |chain| share(py, chain.outcome())) {
            Outcome::Empty => {
                let class = Text::Python(slf.get_type().name()?);
                let text =
                    [Text::Ours("'"), class, Text::Ours("' object has no attribute 'result'")];
                Err(PyAttributeError::error_saying(ffi::joined(py, text)))
            }
            outcome => Ok(into_object(py, outcome)),
        }
    }

    #[setter]
    fn set_result<'py>(slf: &Bound<'py, Self>, result: Bound<'py, PyAny>) -> PyResult<()> {
        stack::check(slf.py())?;
        let outcome = classify(&result)?;
        report::keep_unhandled(slf)?;
        let before = slf.get().chain(slf.py(), |chain| chain.replace_outcome(outcome));
        drop(before);
        Ok(())
    }

    #[deleter]
    fn delete_result(slf: &Bound<'_, Self>) -> Result<()> {
        report::keep_unhandled(slf)?;
        let before = slf.get().chain(slf.py(), |chain| chain.replace_outcome(Outcome::Empty));
        if matches!(before, Outcome::Empty) {
            return Err(PyAttributeError::error(slf.py(), "result"));
        }
        Ok(())
    }

    /// The callbacks that have not been called yet, as pairs of (callable, args, kwargs).
    ///
    /// Deprecated. A list of its own: to change it changes nothing, unlike Twisted's.
    #[getter]
    fn callbacks<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyList>> {
        let py = slf.py();
        stack::check(py)?;
        names::WARN_PROPERTY.get(py)?.call1((
            py.get_type::<Self>(),
            intern!(py, "callbacks"),
            (25, 5, 0),
        ))?;
        run::describe_links(slf)
    }

    #[getter]
    fn _canceller<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().chain(py, |chain| chain.canceller().map(|it| it.bind(py).clone()))
    }

    #[setter]
    fn set__canceller(slf: &Bound<'_, Self>, canceller: Option<Bound<'_, PyAny>>) {
        let canceller = canceller.map(Hold::hold);
        let before = slf.get().chain(slf.py(), |chain| chain.replace_canceller(canceller));
        drop(before);
    }

    /// The links, as `callbacks` shows them.
    #[getter]
    fn _callbacks<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyList>> {
        run::describe_links(slf)
    }

    #[setter]
    fn set__callbacks(slf: &Bound<'_, Self>, callbacks: &Bound<'_, PyAny>) -> PyResult<()> {
        stack::check(slf.py())?;
        let mut links = Links::default();
        for pair in callbacks.try_iter()? {
            or_no_memory(slf.py(), links.push_back(run::link_described(&pair?)?))?;
        }
        let before = slf.get().chain(slf.py(), |chain| chain.replace_links(links));
        drop(before);
        Ok(())
    }

    /// Whether the next call of `callback` or `errback` is ignored, though it has fired.
    #[getter]
    fn _suppressAlreadyCalled(slf: &Bound<'_, Self>) -> bool {
        slf.get().chain(slf.py(), |chain| chain.swallows_next_fire())
    }

    #[setter]
    fn set__suppressAlreadyCalled(slf: &Bound<'_, Self>, on: &Bound<'_, PyAny>) -> PyResult<()> {
        let on = stack::truth(on)?;
        slf.get().chain(slf.py(), |chain| chain.set_swallows_next_fire(on));
        Ok(())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        stack::check(slf.py())?;
        names::REDUCE.get(slf.py())?.call1((slf,))
    }

    /// Return all of the state, for `copy` and `pickle`.
    fn __getstate__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        stack::check(slf.py())?;
        // From now on its `_debugInfo`, which is part of the state, answers for a failure.
        report::keep_unhandled(slf)?;
        names::GET_STATE.get(slf.py())?.call1((slf,))
    }

    fn __setstate__(slf: &Bound<'_, Self>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        stack::check(slf.py())?;
        names::SET_STATE.get(slf.py())?.call1((slf, state)).map(drop)
    }

    #[getter]
    fn _chainedTo<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, Self>> {
        let py = slf.py();
        slf.get().chain(py, |chain| chain.chained_to().map(|it| it.bind(py).clone()))
    }

    #[setter]
    fn set__chainedTo(slf: &Bound<'_, Self>, other: Option<Bound<'_, Self>>) {
        let other = other.map(Hold::hold);
        let before = slf.get().chain(slf.py(), |chain| chain.replace_chained_to(other));
        drop(before);
    }

    fn __str__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyString>> {
        let py = slf.py();
        stack::check(py)?;
        let (chained_to, outcome) = slf.get().chain(py, |chain| {
            (chain.chained_to().map(|it| it.bind(py).clone()), share(py, chain.outcome()))
        });
        let (state, what) = match (chained_to, outcome) {
            (Some(other), _) => {
                (" waiting on Deferred at ", Text::Python(ffi::address(other.as_any())?))
            }
            (None, Outcome::Empty) => ("", Text::Ours("")),
            (None, outcome) => {
                (" current result: ", Text::Python(into_object(py, outcome).repr()?))
            }
        };
        let (class, address) = (slf.get_type().name()?, ffi::address(slf.as_any())?);
        let [class, address] = [Text::Python(class), Text::Python(address)];
        let [begin, at, state, end] = ["<", " at ", state, ">"].map(Text::Ours);
        ffi::joined(py, [begin, class, at, address, state, what, end])
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyString>> {
        Self::__str__(slf)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Result<Bound<'_, Awaiting>> {
        ffi::new_awaiting(slf.py(), slf)
    }

    fn __await__(slf: Bound<'_, Self>) -> Result<Bound<'_, Awaiting>> {
        ffi::new_awaiting(slf.py(), slf)
    }

    /// Run a coroutine that awaits Deferreds, and return a Deferred for what it returns or raises.
    ///
    /// A generator that yields Deferreds will do as well. Raises NotACoroutineError for anything
    /// else.
    #[classmethod]
    fn fromCoroutine<'py>(
        _cls: &Bound<'py, PyType>,
        coro: Bound<'py, PyAny>,
    ) -> Result<Bound<'py, Self>> {
        generator::from_coroutine(coro)
    }

    /// Return an asyncio future of this loop that gets what this Deferred comes to: its result, or
    /// the exception of its failure.
    ///
    /// This Deferred then has None for its result. Cancelling the future cancels it.
    fn asFuture<'py>(
        slf: &Bound<'py, Self>,
        r#loop: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        stack::check(slf.py())?;
        names::AS_FUTURE.get(slf.py())?.call1((slf, r#loop))
    }

    /// Return a Deferred for what a future comes to.
    ///
    /// Beyond Twisted's, takes futures of `concurrent.futures` as well, and others that call back
    /// in any thread. Those are delivered in the thread of `scheduler`: an asyncio event loop, a
    /// Twisted reactor, or a function that calls its argument there. By default it is the asyncio
    /// loop that runs in this thread, or else Twisted's reactor if there is one; raises
    /// RuntimeError if there is none. Cancelling the Deferred cancels the future.
    #[classmethod]
    #[pyo3(signature = (future, scheduler=None))]
    fn fromFuture<'py>(
        cls: &Bound<'py, PyType>,
        future: Bound<'py, PyAny>,
        scheduler: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        stack::check(cls.py())?;
        names::FROM_FUTURE.get(cls.py())?.call1((cls, future, scheduler))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.chain.during_gc().traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        // A subclass with a `__del__` of its own has no finalizer of ours.
        report::finalize(slf);
        // One that could not report yet keeps its failure.
        let chain = slf.get().chain(slf.py(), |chain| {
            if chain.unhandled() { Chain::default() } else { std::mem::take(chain) }
        });
        drop(chain);
    }
}

/// The arguments of a callback, as they are given to `addCallbacks`: positional ones, and those by
/// keyword.
type Given<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// Add a callback and an errback, each with its arguments.
pub(super) fn add_both<'py>(
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
        // The pass-through is called with them, and takes none.
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

fn callback_with<'py>(
    callable: Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Callback> {
    let Some(kwargs) = kwargs.filter(|kwargs| !kwargs.is_empty()) else {
        if args.is_empty() {
            return Callback::plain(callable);
        }
        return ffi::with_items(args, |args| {
            Callback::with_arguments(callable.py(), callable.as_borrowed(), args, None)
        });
    };
    let names = PyTuple::new(callable.py(), kwargs.keys())?;
    let all = args.as_sequence().concat(kwargs.values().as_sequence())?;
    let all = all.to_tuple()?;
    ffi::with_items(&all, |all| {
        Callback::with_arguments(callable.py(), callable.as_borrowed(), all, Some(&names))
    })
}

/// Say whether Deferreds are to remember the stacks in which they are made and fired.
///
/// These are then in the texts of AlreadyCalledErrors, and in reports of errors that nobody
/// handled.
#[pyfunction]
#[pyo3(name = "setDebugging")]
pub(super) fn set_debugging(on: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = on.py();
    py.get_type::<Deferred>().setattr(intern!(py, "debug"), PyBool::new(py, stack::truth(on)?))
}

/// Return whether Deferreds remember the stacks in which they are made and fired.
#[pyfunction]
#[pyo3(name = "getDebugging")]
pub(super) fn get_debugging(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.get_type::<Deferred>().getattr(intern!(py, "debug"))
}

const _: () = {
    // One word more would put each Deferred into the allocator's next size class.
    assert!(cfg!(debug_assertions) || size_of::<Deferred>() <= size_of::<[usize; 8]>());
};
