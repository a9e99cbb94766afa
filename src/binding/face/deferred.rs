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
use crate::binding::face::adding::{add_both, callback_with};
use crate::binding::face::{described, generators, timeout};
use crate::binding::judge::deprecation::Deprecated;
use crate::binding::judge::{
    classify::{as_deferred, classify},
    debug::debugging,
    report,
};
use crate::binding::model::{
    awaiting::{Awaiting, new_awaiting},
    deferred::{Deferred, subclasses},
    names,
    outcome::{Chain, Link, Links, Outcome, into_object, or_no_memory, share},
    traverse::Traverse,
    waiter::{self, Waiter},
};
use crate::binding::run::engine::{self, add, fire_quickly, fire_with};
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

    #[doc = include_str!("deferred/addCallback.md")]
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

    #[doc = include_str!("deferred/addErrback.md")]
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

    #[doc = include_str!("deferred/addBoth.md")]
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

    #[doc = include_str!("deferred/addCallbacks.md")]
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

    #[doc = include_str!("deferred/chainDeferred.md")]
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

    #[doc = include_str!("deferred/addTimeout.md")]
    #[pyo3(signature = (timeout, clock=None, onTimeoutCancel=None))]
    fn addTimeout<'py>(
        slf: &Bound<'py, Self>,
        timeout: Bound<'py, PyAny>,
        clock: Option<Bound<'py, PyAny>>,
        onTimeoutCancel: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        timeout::add(slf, timeout, clock, onTimeoutCancel)
    }

    #[doc = include_str!("deferred/callback.md")]
    fn callback(slf: &Bound<'_, Self>, result: Bound<'_, PyAny>) -> Result<()> {
        fire_with(slf, result)
    }

    #[doc = include_str!("deferred/errback.md")]
    #[pyo3(signature = (fail=None))]
    pub(crate) fn errback<'py>(
        slf: &Bound<'py, Self>,
        fail: Option<Bound<'py, PyAny>>,
    ) -> Result<()> {
        fire_quickly(slf, reason_of(slf.py(), fail, || debugging(slf))?)
    }

    #[doc = include_str!("deferred/pause.md")]
    fn pause(slf: &Bound<'_, Self>) {
        slf.get().chain(slf.py(), Chain::pause);
    }

    #[doc = include_str!("deferred/unpause.md")]
    pub(crate) fn unpause(slf: &Bound<'_, Self>) -> Result<()> {
        if slf.get().chain(slf.py(), Chain::unpause) {
            return engine::run_deferred(slf);
        }
        Ok(())
    }

    #[doc = include_str!("deferred/cancel.md")]
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
    pub(crate) fn set_result(slf: &Bound<'_, Self>, result: &Bound<'_, PyAny>) -> Result<()> {
        stack::check(slf.py())?;
        let outcome = classify(result)?;
        report::keep_unhandled(slf)?;
        let before = slf.get().chain(slf.py(), |chain| chain.replace_outcome(outcome));
        drop(before);
        Ok(())
    }

    #[deleter]
    pub(crate) fn delete_result(slf: &Bound<'_, Self>) -> Result<()> {
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
        // From now on its `_debugInfo`, which is part of the state, is responsible for the failure.
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
                (" waiting on Deferred at ", Text::Address(other.as_ptr() as usize))
            }
            (None, Outcome::Empty) => ("", Text::Ours("")),
            (None, outcome) => {
                (" current result: ", Text::Python(into_object(py, outcome).repr()?))
            }
        };
        let class = Text::Python(slf.get_type().name()?);
        let address = Text::Address(slf.as_ptr() as usize);
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

    #[doc = include_str!("deferred/fromCoroutine.md")]
    #[classmethod]
    fn fromCoroutine<'py>(
        _cls: &Bound<'py, PyType>,
        coro: Bound<'py, PyAny>,
    ) -> Result<Bound<'py, Self>> {
        generators::from_coroutine(coro)
    }

    #[doc = include_str!("deferred/asFuture.md")]
    fn asFuture<'py>(
        slf: &Bound<'py, Self>,
        r#loop: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        stack::check(slf.py())?;
        names::AS_FUTURE.get(slf.py())?.call1((slf, r#loop))
    }

    #[doc = include_str!("deferred/fromFuture.md")]
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
        // A subclass with its own `__del__` does not have our finalizer.
        report::finalize(slf);
        // If it could not report yet, it keeps its failure.
        let mut chain = slf.get().chain(slf.py(), |chain| {
            if chain.unhandled() { Chain::default() } else { std::mem::take(chain) }
        });
        let called = chain.set_called(false).into_other(slf.py());
        drop((chain, called));
    }
}

/// Keep `called` and `paused` working in a new subclass if it, or a mixin, declares them with false
/// defaults. Programs written for Twisted do that.
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
