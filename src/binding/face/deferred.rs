//! The methods of `Deferred`.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyAttributeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};

use crate::binding::capi::{
    self, Hold, Text,
    error::{Raise, Result},
    interned::intern,
    overrides::overrides,
    slots::{inherit_construction, inherit_finalizer},
    stack::{self, Nested},
};
use crate::binding::face::{described, generators, timeout};
use crate::binding::judge::{
    classify::{as_deferred, classify},
    debug::debugging,
    report,
};
use crate::binding::model::{
    awaiting::{Awaiting, new_awaiting},
    callback::{Callback, link_of_both},
    deferred::{Deferred, subclasses},
    names,
    outcome::{Chain, Link, Links, Outcome, into_object, or_no_memory, share},
    traverse::Traverse,
    waiter::{self, Waiter},
};
use crate::binding::run::engine::{self, add, fire, fire_with};
use crate::binding::waits::{firing::reason_of, work::Work};

#[pymethods]
#[allow(non_snake_case)]
impl Deferred {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(canceller=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::of(Chain::new(None))
    }

    #[pyo3(signature = (canceller=None))]
    pub(crate) fn __init__(
        slf: &Bound<'_, Self>,
        canceller: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        stack::check(py)?;
        let canceller = canceller.map(Hold::hold);
        let before =
            slf.get().chain(py, |chain| (chain.take_links(), chain.replace_canceller(canceller)));
        drop(before);
        if debugging(slf)? {
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
        inherit_construction::<Self>(cls);
        inherit_finalizer::<Self>(cls)?;
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
                    add(&slf, Link::Deliver(Waiter::new(other), waiter::FIRE))?;
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
        fire(slf, reason_of(slf.py(), fail, || debugging(slf))?)
    }

    /// Hold back callbacks until `unpause()` has been called as often.
    fn pause(slf: &Bound<'_, Self>) {
        slf.get().chain(slf.py(), Chain::pause);
    }

    /// Take back one `pause()`. The last one runs the callbacks that were held back.
    fn unpause(slf: &Bound<'_, Self>) -> Result<()> {
        if slf.get().chain(slf.py(), Chain::unpause) {
            return engine::run_deferred(slf);
        }
        Ok(())
    }

    /// Cut short what this Deferred waits for.
    ///
    /// If it waits for another Deferred, that one is cancelled. If it has a result, nothing
    /// happens. What its canceller raises is raised here.
    pub(crate) fn cancel(slf: &Bound<'_, Self>) -> Result<()> {
        engine::run(slf.py(), Work::CancelHere(slf.clone()))
    }

    /// Whether `callback` or `errback` has been called.
    #[getter]
    pub(crate) fn called(slf: &Bound<'_, Self>) -> bool {
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
    pub(crate) fn paused(slf: &Bound<'_, Self>) -> i32 {
        slf.get().chain(slf.py(), |chain| chain.paused())
    }

    #[setter]
    fn set_paused(slf: &Bound<'_, Self>, #[pyo3(from_py_with = stack::number)] paused: i32) {
        slf.get().chain(slf.py(), |chain| chain.set_paused(paused));
    }

    /// What the Deferred has come to so far; no such attribute before it is fired.
    #[getter]
    pub(crate) fn result<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().chain(py, |chain| share(py, chain.outcome())) {
            Outcome::Empty => {
                let class = Text::Python(slf.get_type().name()?);
                let text =
                    [Text::Ours("'"), class, Text::Ours("' object has no attribute 'result'")];
                Err(PyAttributeError::error_saying(capi::joined(py, text)))
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
        described::describe_links(slf)
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
        described::describe_links(slf)
    }

    #[setter]
    fn set__callbacks(slf: &Bound<'_, Self>, callbacks: &Bound<'_, PyAny>) -> PyResult<()> {
        stack::check(slf.py())?;
        let mut links = Links::default();
        for pair in callbacks.try_iter()? {
            or_no_memory(slf.py(), links.push_back(described::link_described(&pair?)?))?;
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
                (" waiting on Deferred at ", Text::Python(capi::shown_address(other.as_any())?))
            }
            (None, Outcome::Empty) => ("", Text::Ours("")),
            (None, outcome) => {
                (" current result: ", Text::Python(into_object(py, outcome).repr()?))
            }
        };
        let (class, address) = (slf.get_type().name()?, capi::shown_address(slf.as_any())?);
        let [class, address] = [Text::Python(class), Text::Python(address)];
        let [begin, at, state, end] = ["<", " at ", state, ">"].map(Text::Ours);
        capi::joined(py, [begin, class, at, address, state, what, end])
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyString>> {
        Self::__str__(slf)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Result<Bound<'_, Awaiting>> {
        new_awaiting(slf.py(), slf)
    }

    fn __await__(slf: Bound<'_, Self>) -> Result<Bound<'_, Awaiting>> {
        new_awaiting(slf.py(), slf)
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
        generators::from_coroutine(coro)
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
        return Callback::with_arguments(callable.py(), &callable, args.as_slice(), None);
    };
    let names = PyTuple::new(callable.py(), kwargs.keys())?;
    let all = args.as_sequence().concat(kwargs.values().as_sequence())?;
    let all = all.to_tuple()?;
    Callback::with_arguments(callable.py(), &callable, all.as_slice(), Some(&names))
}
