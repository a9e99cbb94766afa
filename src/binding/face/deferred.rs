//! The methods of `Deferred`.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyAttributeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyString, PyTuple, PyType};

use crate::binding::capi::{
    self, Hold, Text,
    constructing::inherit_construction,
    error::{Raise, Result},
    finalizing::inherit_finalizer,
    interned::intern,
    overrides::overrides,
    stack::{self, Nested},
};
use crate::binding::face::{described, generators, timeout};
use crate::binding::judge::deprecation::Deprecated;
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
use crate::binding::waits::firing::reason_of;

#[pymethods(crate = "crate::binding::capi::guarded")]
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
        keep_state(cls)?;
        subclasses(cls.py())?.append(cls)
    }

    /// Add a callback: a function for the result.
    ///
    /// Arguments:
    ///
    /// - `callback`: it is called with the result, then `args` and `kwargs`. A Failure skips
    ///   it.
    ///
    /// Returns this Deferred, so that calls can be chained. If the Deferred has fired already,
    /// the callback runs before this returns.
    ///
    /// Errors: what the callback raises is not raised here; it becomes a Failure for the next
    /// errback.
    ///
    /// ```python
    /// from deferrous import succeed
    ///
    /// d = succeed(20)
    /// d.addCallback(lambda number, more: number + more, 22)
    /// d.addCallback(print)
    /// ```
    ///
    /// This prints 42.
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

    /// Add an errback: a function for the failure.
    ///
    /// Arguments:
    ///
    /// - `errback`: it is called with the Failure, then `args` and `kwargs`. A result skips it.
    ///   What it returns is the result for the next callback; to stay failed, it returns the
    ///   Failure or raises an exception.
    ///
    /// Returns this Deferred.
    ///
    /// Errors: what the errback raises is not raised here; it becomes a Failure for the next
    /// errback.
    ///
    /// ```python
    /// from deferrous import fail
    ///
    /// d = fail(KeyError("name"))
    /// d.addErrback(lambda failure: f"handled {failure.type.__name__}")
    /// d.addCallback(print)
    /// ```
    ///
    /// This prints `handled KeyError`.
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

    /// Add one function for both the result and the failure.
    ///
    /// Arguments:
    ///
    /// - `callback`: it is called with the result or the Failure, then `args` and `kwargs`.
    ///   Return what it was given to leave the outcome as it is.
    ///
    /// Returns this Deferred.
    ///
    /// Errors: what the function raises is not raised here; it becomes a Failure for the next
    /// errback.
    ///
    /// ```python
    /// from deferrous import succeed
    ///
    ///
    /// def clean_up(outcome):
    ///     print("closed")
    ///     return outcome
    ///
    ///
    /// succeed("page").addBoth(clean_up).addCallback(print)
    /// ```
    ///
    /// This prints `closed` and `page`.
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

    /// Add a callback and an errback as one step: exactly one of them is called.
    ///
    /// Arguments:
    ///
    /// - `callback`: it is called with a result.
    /// - `errback`: it is called with a Failure. Without one, a Failure is passed on.
    /// - `callbackArgs`, `callbackKeywords`: more arguments for the callback.
    /// - `errbackArgs`, `errbackKeywords`: more arguments for the errback.
    ///
    /// Returns this Deferred.
    ///
    /// Errors: what either raises is not raised here. It goes to the next errback, never to the
    /// errback of the same call.
    ///
    /// ```python
    /// from deferrous import fail
    ///
    /// d = fail(ValueError("no number"))
    /// d.addCallbacks(lambda number: number + 1, lambda failure: 0)
    /// d.addCallback(print)
    /// ```
    ///
    /// This prints 0.
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

    /// Fire another Deferred with the outcome of this one.
    ///
    /// Arguments:
    ///
    /// - `d`: the Deferred to fire. Nobody else should fire it.
    ///
    /// Returns this Deferred. Its later callbacks get None.
    ///
    /// Errors: if `d` has been fired already, the next errback of this Deferred gets an
    /// AlreadyCalledError.
    ///
    /// Cancelling `d` does not cancel this Deferred. To have both, return this Deferred from a
    /// callback of `d` instead.
    ///
    /// ```python
    /// from deferrous import Deferred
    ///
    /// first, second = Deferred(), Deferred()
    /// first.chainDeferred(second)
    /// second.addCallback(print)
    /// first.callback("done")
    /// ```
    ///
    /// This prints `done`.
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

    /// Cancel this Deferred if it has no result in time.
    ///
    /// Arguments:
    ///
    /// - `timeout`: the time in seconds.
    /// - `clock`: a reactor, an asyncio loop, a `deferrous.testing.Clock`, or anything else
    ///   with a `callLater`. By default, the running asyncio loop, or else Twisted's reactor.
    /// - `onTimeoutCancel`: a function that is called with the outcome after the time has run
    ///   out, and with `timeout`. What it returns replaces that outcome. By default, a
    ///   CancelledError is replaced by a TimeoutError.
    ///
    /// Returns this Deferred. The limit covers callbacks that were added before this call, not
    /// later ones.
    ///
    /// Errors:
    ///
    /// - RuntimeError: there is no clock, neither given nor by default.
    /// - AttributeError: `clock` is not a clock.
    ///
    /// Cancelling the Deferred before the time is up stops the clock.
    ///
    /// Differs from Twisted: `clock` is optional and may be an asyncio loop. A canceller that
    /// raises is reported, and the Deferred fails with TimeoutError nevertheless.
    ///
    /// ```python
    /// from deferrous import Deferred
    /// from deferrous.testing import Clock
    ///
    /// clock = Clock()
    /// d = Deferred().addTimeout(5, clock)
    /// d.addErrback(lambda failure: print(failure.type.__name__))
    /// clock.advance(5)
    /// ```
    ///
    /// This prints `TimeoutError`.
    #[pyo3(signature = (timeout, clock=None, onTimeoutCancel=None))]
    fn addTimeout<'py>(
        slf: &Bound<'py, Self>,
        timeout: Bound<'py, PyAny>,
        clock: Option<Bound<'py, PyAny>>,
        onTimeoutCancel: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        timeout::add(slf, timeout, clock, onTimeoutCancel)
    }

    /// Fire this Deferred with a result, and run its callbacks.
    ///
    /// Arguments:
    ///
    /// - `result`: what the first callback gets. A Failure is taken as a failure, as by
    ///   `errback`.
    ///
    /// Errors:
    ///
    /// - AlreadyCalledError: the Deferred has been fired already.
    ///
    /// After `cancel()` of a Deferred without a canceller, the first call is ignored.
    ///
    /// ```python
    /// from deferrous import Deferred
    ///
    /// d = Deferred()
    /// d.addCallback(print)
    /// d.callback("hello")
    /// ```
    ///
    /// This prints `hello`.
    fn callback(slf: &Bound<'_, Self>, result: Bound<'_, PyAny>) -> Result<()> {
        fire_with(slf, result)
    }

    /// Fire this Deferred with a failure, and run its errbacks.
    ///
    /// Arguments:
    ///
    /// - `fail`: a Failure or an exception. By default, the exception that is being handled.
    ///
    /// Errors:
    ///
    /// - AlreadyCalledError: the Deferred has been fired already.
    /// - NoCurrentExceptionError: nothing is given, and no exception is being handled.
    ///
    /// After `cancel()` of a Deferred without a canceller, the first call is ignored.
    ///
    /// ```python
    /// from deferrous import Deferred
    ///
    /// d = Deferred()
    /// d.addErrback(lambda failure: print(failure.value))
    /// d.errback(ValueError("no such page"))
    /// ```
    ///
    /// This prints `no such page`.
    #[pyo3(signature = (fail=None))]
    pub(crate) fn errback<'py>(
        slf: &Bound<'py, Self>,
        fail: Option<Bound<'py, PyAny>>,
    ) -> Result<()> {
        fire(slf, reason_of(slf.py(), fail, || debugging(slf))?)
    }

    /// Hold back callbacks until `unpause()` has been called as often as this.
    ///
    /// ```python
    /// from deferrous import succeed
    ///
    /// d = succeed("late")
    /// d.pause()
    /// d.addCallback(print)
    /// print("early")
    /// d.unpause()
    /// ```
    ///
    /// This prints `early` and `late`.
    fn pause(slf: &Bound<'_, Self>) {
        slf.get().chain(slf.py(), Chain::pause);
    }

    /// Undo one `pause()`. The last one runs the callbacks that were held back.
    ///
    /// ```python
    /// from deferrous import succeed
    ///
    /// d = succeed("result")
    /// d.pause()
    /// d.addCallback(print)
    /// d.unpause()
    /// ```
    ///
    /// This prints `result`.
    pub(crate) fn unpause(slf: &Bound<'_, Self>) -> Result<()> {
        if slf.get().chain(slf.py(), Chain::unpause) {
            return engine::run_deferred(slf);
        }
        Ok(())
    }

    /// Ask for the operation behind this Deferred to stop.
    ///
    /// If the Deferred has not fired, its canceller is called; if that does not fire it, it
    /// fails with CancelledError. If it waits for another Deferred, that one is cancelled
    /// instead. If it has its result, nothing happens.
    ///
    /// Errors:
    ///
    /// - What the canceller raises.
    /// - RecursionError: the Deferred waits for itself, by way of others.
    ///
    /// Differs from Twisted: Deferreds that wait for each other are cancelled to any depth.
    ///
    /// ```python
    /// from deferrous import Deferred
    ///
    /// d = Deferred(canceller=lambda d: print("stopping"))
    /// d.addErrback(lambda failure: print(failure.type.__name__))
    /// d.cancel()
    /// ```
    ///
    /// This prints `stopping` and `CancelledError`.
    pub(crate) fn cancel(slf: &Bound<'_, Self>) -> Result<()> {
        engine::cancel(slf)
    }

    #[deleter]
    fn delete_called(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    /// How many times this Deferred is paused. Waiting for another Deferred counts as one.
    #[getter]
    pub(crate) fn paused(slf: &Bound<'_, Self>) -> i32 {
        slf.get().chain(slf.py(), |chain| chain.paused())
    }

    #[setter]
    fn set_paused(slf: &Bound<'_, Self>, #[pyo3(from_py_with = stack::number)] paused: i32) {
        slf.get().chain(slf.py(), |chain| chain.set_paused(paused));
    }

    #[deleter]
    fn delete_paused(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    /// The current result or Failure. There is no such attribute before the Deferred has fired.
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

    /// The callbacks that have not been called yet, as pairs of `(callable, args, kwargs)`.
    /// Deprecated.
    ///
    /// Differs from Twisted: each time this is a new list; changing it changes nothing.
    #[getter]
    pub(crate) fn callbacks<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyList>> {
        let py = slf.py();
        stack::check(py)?;
        static CALLBACKS: Deprecated = Deprecated::new("callbacks", "25.5.0");
        CALLBACKS.warn(&py.get_type::<Self>())?;
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

    #[deleter]
    fn delete__canceller(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    /// The links, as `callbacks` shows them.
    #[getter]
    pub(crate) fn _callbacks<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyList>> {
        described::describe_links(slf)
    }

    #[setter]
    fn set__callbacks(slf: &Bound<'_, Self>, callbacks: &Bound<'_, PyAny>) -> PyResult<()> {
        stack::check(slf.py())?;
        let links = capi::catching(slf.py(), || {
            let mut links = Links::default();
            for pair in callbacks.try_iter()? {
                or_no_memory(slf.py(), links.push_back(described::link_described(&pair?)?))?;
            }
            Ok(links)
        })?;
        let before = slf.get().chain(slf.py(), |chain| chain.replace_links(links));
        drop(before);
        Ok(())
    }

    #[deleter]
    fn delete__callbacks(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
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

    #[deleter]
    fn delete__suppressAlreadyCalled(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
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

    #[deleter]
    fn delete__chainedTo(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
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

    /// Run a coroutine, and return a Deferred for its result.
    ///
    /// Arguments:
    ///
    /// - `coro`: a coroutine that awaits Deferreds, or a generator that yields them.
    ///
    /// Returns a Deferred that fires with what the coroutine returns, or fails with what it
    /// raises.
    ///
    /// Errors:
    ///
    /// - NotACoroutineError: `coro` is neither.
    ///
    /// Cancelling the Deferred cancels the Deferred that the coroutine waits for. Unless that
    /// fires otherwise, CancelledError is raised at the `await`.
    ///
    /// ```python
    /// from deferrous import Deferred, succeed
    ///
    ///
    /// async def double(number):
    ///     return 2 * await number
    ///
    ///
    /// Deferred.fromCoroutine(double(succeed(21))).addCallback(print)
    /// ```
    ///
    /// This prints 42.
    #[classmethod]
    fn fromCoroutine<'py>(
        _cls: &Bound<'py, PyType>,
        coro: Bound<'py, PyAny>,
    ) -> Result<Bound<'py, Self>> {
        generators::from_coroutine(coro)
    }

    /// Return an asyncio future for the outcome of this Deferred.
    ///
    /// Arguments:
    ///
    /// - `loop`: the event loop of the future.
    ///
    /// Returns a future that gets the result, or the exception of the Failure. This Deferred's
    /// later callbacks get None.
    ///
    /// Cancelling the future cancels this Deferred.
    ///
    /// Differs from Twisted: a StopIteration becomes the cause of a RuntimeError. If the loop
    /// runs in another thread, the future is set there.
    ///
    /// ```python
    /// import asyncio
    /// from deferrous import succeed
    ///
    ///
    /// async def main():
    ///     print(await succeed(42).asFuture(asyncio.get_running_loop()))
    ///
    ///
    /// asyncio.run(main())
    /// ```
    ///
    /// This prints 42.
    fn asFuture<'py>(
        slf: &Bound<'py, Self>,
        r#loop: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        stack::check(slf.py())?;
        names::AS_FUTURE.get(slf.py())?.call1((slf, r#loop))
    }

    /// Return a Deferred for the outcome of a future.
    ///
    /// Arguments:
    ///
    /// - `future`: a future of asyncio or `concurrent.futures`, or another that calls back in
    ///   any thread.
    /// - `scheduler`: where callbacks run, if the future is not asyncio's: an asyncio loop, a
    ///   Twisted reactor, or a function that calls its argument in the right thread. By
    ///   default, the asyncio loop that runs in this thread, or else Twisted's reactor.
    ///
    /// Errors:
    ///
    /// - RuntimeError: a scheduler is needed, and there is none.
    /// - AttributeError: `future` is not a future.
    /// - TypeError: `scheduler` cannot be one.
    ///
    /// Cancelling the Deferred cancels the future.
    ///
    /// Differs from Twisted: takes futures other than asyncio's, and a scheduler.
    ///
    /// ```python
    /// import asyncio
    /// from deferrous import Deferred
    ///
    ///
    /// async def main():
    ///     future = asyncio.get_running_loop().create_future()
    ///     d = Deferred.fromFuture(future)
    ///     future.set_result(42)
    ///     print(await d)
    ///
    ///
    /// asyncio.run(main())
    /// ```
    ///
    /// This prints 42.
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
        let mut chain = slf.get().chain(slf.py(), |chain| {
            if chain.unhandled() { Chain::default() } else { std::mem::take(chain) }
        });
        let called = chain.set_called(false).into_other(slf.py());
        drop((chain, called));
    }
}

/// Have `called` and `paused` of a new subclass be seen where it, or a mixin, declares them as false
/// at first, as programs do that were written for Twisted, where these are defaults.
fn keep_state(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    for name in [intern!(py, "called"), intern!(py, "paused")] {
        let declared = class.getattr(name)?;
        let is_default = declared.is_none()
            || (declared.is_exact_instance_of::<PyBool>()
                || declared.is_exact_instance_of::<PyInt>())
                && !declared.is_truthy()?;
        if is_default {
            class.setattr(name, py.get_type::<Deferred>().getattr(name)?)?;
        }
    }
    Ok(())
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
