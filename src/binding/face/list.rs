//! `DeferredList` and `gatherResults`.
//!
//! The list is a waiter in the chain of each Deferred, with its index. An outcome runs no Python
//! code and allocates nothing but its entry in the result.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyTuple};

use crate::binding::capi::{
    self, Hold, Text,
    error::{Raise, Result},
    interned::intern,
    overrides::overrides,
    shown::Switch,
    stack::{self, Nested},
};
use crate::binding::judge::{classify::as_deferred, debug::debugging, foreign, report};
use crate::binding::model::{
    callback::Callback,
    cancels::Cancels,
    deferred::Deferred,
    list::{DeferredList, ListState},
    names,
    outcome::{Chain, Link},
    traverse::Traverse,
    waiter::{self, Waiter},
};
use crate::binding::run::engine;
use crate::binding::waits::{list::begin_collect, work::Work};

#[pymethods(crate = "crate::binding::capi::guarded")]
#[allow(non_snake_case)]
impl DeferredList {
    #[new]
    #[pyo3(
        signature = (*_args, **_kwargs),
        text_signature = "(deferredList, fireOnOneCallback=False, fireOnOneErrback=False, consumeErrors=False)"
    )]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Deferred::of(Chain::new(None))).add_subclass(Self::empty())
    }

    #[pyo3(signature = (deferredList, fireOnOneCallback=false, fireOnOneErrback=false, consumeErrors=false))]
    fn __init__<'py>(
        slf: &Bound<'py, Self>,
        deferredList: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = stack::truth)] fireOnOneCallback: bool,
        #[pyo3(from_py_with = stack::truth)] fireOnOneErrback: bool,
        #[pyo3(from_py_with = stack::truth)] consumeErrors: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        let _nested = Nested::enter(py)?;
        let deferreds = all_of(deferredList)?;
        let count = deferreds.len();
        if !places_fit(count) {
            return Err(PyOverflowError::error(py, "too many Deferreds in one DeferredList").into());
        }
        let results = capi::list_of_same(py.None().bind(py), count)?;
        let state = ListState {
            deferreds: Some(deferreds.clone().hold()),
            results: Some(results.into_any().hold()),
            finished: 0,
            fire_on_one_callback: Switch::new(fireOnOneCallback),
            fire_on_one_errback: Switch::new(fireOnOneErrback),
            consume_errors: Switch::new(consumeErrors),
            cancels: Cancels::default(),
        };
        let before = slf.get().with(py, |current| std::mem::replace(current, state));
        drop(before);
        if debugging(slf.as_super())? {
            report::remember_creator(slf.as_super())?;
        }
        if count == 0 && !fireOnOneCallback {
            slf.call_method1(intern!(py, "callback"), (capi::new_list(py)?,))?;
        }
        let collects_plainly = !overrides::<DeferredList>(slf, intern!(py, "_cbDeferred"));
        for (place, deferred) in items_of(&deferreds)?.iter().enumerate() {
            let add_callbacks = intern!(py, "addCallbacks");
            match as_deferred(&deferred) {
                Some(deferred)
                    if collects_plainly && !overrides::<Deferred>(deferred, add_callbacks) =>
                {
                    // `places_fit` has checked the count.
                    let link = Link::Deliver(Waiter::new(slf), place as u32);
                    engine::add(deferred, link)?;
                }
                _ => {
                    let collect = slf.getattr(intern!(py, "_cbDeferred"))?;
                    let named = capi::new_dict(py)?;
                    let half = |success| {
                        let success = capi::new_bool(py, success);
                        capi::new_tuple(py, [capi::new_int(py, place as u64)?, success])
                    };
                    named.set_item(intern!(py, "callbackArgs"), half(true)?)?;
                    named.set_item(intern!(py, "errbackArgs"), half(false)?)?;
                    deferred.call_method(add_callbacks, (&collect, &collect), Some(&named))?;
                }
            }
        }
        Ok(())
    }

    /// Take the outcome of the Deferred at an index. Returns what its next callback gets.
    fn _cbDeferred<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
        #[pyo3(from_py_with = stack::number)] index: usize,
        succeeded: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let (fired, consumed) = begin_collect(slf, &result, index, &succeeded)?;
        if let Some(fired) = fired {
            engine::run(py, fired)?;
        }
        Ok(if consumed { py.None().into_bound(py) } else { result })
    }

    /// Cancel all the Deferreds that are waited for.
    ///
    /// If the list has fired and waits for a Deferred that a callback returned, that one is
    /// cancelled instead.
    ///
    /// Errors: none. What the cancellers raise is logged.
    ///
    /// ```python
    /// from deferrous import Deferred, DeferredList
    ///
    /// one, other = Deferred(), Deferred()
    /// outcomes = DeferredList([one, other], consumeErrors=True)
    /// outcomes.addCallback(lambda pairs: print([success for success, _ in pairs]))
    /// outcomes.cancel()
    /// ```
    ///
    /// This prints `[False, False]`.
    fn cancel(slf: &Bound<'_, Self>) -> Result<()> {
        engine::run(slf.py(), Work::CancelList(slf.clone()))
    }

    /// The Deferreds that are waited for.
    #[getter]
    pub(crate) fn _deferredList<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyList>> {
        slf.get().deferreds(slf.py())
    }

    #[setter]
    fn set__deferredList(slf: &Bound<'_, Self>, deferreds: Bound<'_, PyList>) {
        let deferreds = deferreds.hold();
        let before = slf.get().with(slf.py(), |state| state.deferreds.replace(deferreds));
        drop(before);
    }

    #[deleter]
    fn delete__deferredList(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    /// How many of the Deferreds have fired.
    #[getter]
    pub(crate) fn finishedCount(slf: &Bound<'_, Self>) -> usize {
        slf.get().with(slf.py(), |state| state.finished)
    }

    #[setter]
    fn set_finishedCount(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = stack::number)] count: usize,
    ) {
        slf.get().with(slf.py(), |state| state.finished = count);
    }

    #[deleter]
    fn delete_finishedCount(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.during_gc();
        state.deferreds.traverse(visit)?;
        state.results.traverse(visit)?;
        let flags =
            [&state.fire_on_one_callback, &state.fire_on_one_errback, &state.consume_errors];
        flags
            .into_iter()
            .filter_map(|flag| flag.other())
            .try_for_each(|other| visit.call(other.as_unbound()))
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let state = slf.get().with(slf.py(), std::mem::take);
        drop(state);
    }
}

/// The items of a list, for a loop. Without the GIL, a list is locked for each item.
#[cfg(Py_GIL_DISABLED)]
fn items_of<'py>(list: &Bound<'py, PyList>) -> Result<Bound<'py, PyTuple>> {
    capi::tuple_of_list(list)
}

#[cfg(not(Py_GIL_DISABLED))]
#[inline(always)]
fn items_of<'a, 'py>(list: &'a Bound<'py, PyList>) -> Result<&'a Bound<'py, PyList>> {
    Ok(list)
}

/// List the Deferreds to gather.
///
/// # Errors
///
/// `TypeError` for a single Deferred: iterating it would not end. `AttributeError`, as in Twisted,
/// if an item is not a Deferred. This happens before anything is waited for.
pub(crate) fn all_of<'py>(deferreds: &Bound<'py, PyAny>) -> Result<Bound<'py, PyList>> {
    let py = deferreds.py();
    let is_one = match deferreds.cast::<Deferred>() {
        Ok(deferred) => !overrides::<Deferred>(deferred, intern!(py, "__iter__")),
        Err(_) => foreign::is_deferred(deferreds),
    };
    if is_one {
        return Err(PyTypeError::error(
            py,
            "an iterable of Deferreds is needed, not a single Deferred",
        ));
    }
    let all = capi::list_of(deferreds.py(), deferreds)?;
    for (place, deferred) in items_of(&all)?.iter().enumerate() {
        if as_deferred(&deferred).is_none() && !deferred.hasattr(intern!(py, "addCallbacks"))? {
            let hint =
                if capi::is_coroutine(&deferred) { " (use ensureDeferred on it)" } else { "" };
            let text = [
                Text::Ours("'"),
                Text::Python(deferred.get_type().name()?),
                Text::Ours(
                    "' object has no attribute 'addCallbacks': an iterable of Deferreds is \
                     needed, and item ",
                ),
                Text::Python(capi::new_int(py, place as u64)?.str()?),
                Text::Ours(" is none"),
                Text::Ours(hint),
            ];
            return Err(PyAttributeError::error_saying(capi::joined(py, text)));
        }
    }
    Ok(all)
}

/// Whether `count` fits a u32 index, which is how links number the items of a list.
pub(crate) fn places_fit(count: usize) -> bool {
    u32::try_from(count).is_ok_and(|count| count < waiter::FIRE)
}

/// Wait for several Deferreds, and return a Deferred for the list of their results.
///
/// Arguments:
///
/// - `deferredList`: an iterable of Deferreds.
/// - `consumeErrors`: whether failures are taken from the given Deferreds: their later
///   callbacks then get None, and the failures are not reported as unhandled.
///
/// Returns a Deferred for the results, in the order of `deferredList`. It fails with a
/// FirstError as soon as one of them fails. If there are none, it fires at once with an empty
/// list.
///
/// Errors:
///
/// - TypeError: `deferredList` is not iterable, or is a single Deferred.
/// - AttributeError: an item is not a Deferred.
///
/// Cancelling the Deferred cancels all the given ones.
///
/// Differs from Twisted: if an item is not a Deferred, no callback is added to the others.
///
/// ```python
/// from deferrous import Deferred, gatherResults
///
/// pages = [Deferred(), Deferred()]
/// gatherResults(pages).addCallback(print)
/// pages[1].callback("two")
/// pages[0].callback("one")
/// ```
///
/// This prints `['one', 'two']`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "gatherResults", signature = (deferredList, consumeErrors=None), text_signature = "(deferredList, consumeErrors=False)")]
#[allow(non_snake_case)]
pub(crate) fn gather_results<'py>(
    deferredList: &Bound<'py, PyAny>,
    consumeErrors: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = deferredList.py();
    let _nested = Nested::enter(py)?;
    let flags = capi::new_dict(py)?;
    flags.set_item(intern!(py, "fireOnOneErrback"), true)?;
    if let Some(flag) = consumeErrors {
        flags.set_item(intern!(py, "consumeErrors"), flag)?;
    }
    let arguments = capi::new_tuple(py, [deferredList.clone()])?;
    let list = capi::call_any_way(py, &py.get_type::<DeferredList>(), &arguments, Some(&flags))?;
    let parse = pyo3::wrap_pyfunction!(parse_results, py)?;
    let deferred = list.cast_into::<Deferred>()?;
    engine::add(&deferred, Link::OnValue(Callback::plain(parse.into_any())?))?;
    Ok(deferred.into_any())
}

/// Keep the results of a list of pairs `(success, result)`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(name = "_parseDeferredListResult", signature = (results, _fire_on_one_errback=false, /))]
pub(crate) fn parse_results<'py>(
    results: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = stack::truth)] _fire_on_one_errback: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = results.py();
    let pairs = || -> Result<Option<Bound<'py, PyList>>> {
        let Ok(pairs) = results.cast_exact::<PyList>() else { return Ok(None) };
        #[cfg(not(Py_GIL_DISABLED))]
        let parsed = capi::new_list(py)?;
        // Without the GIL, a list is locked for each item. So it is made of all of them.
        #[cfg(Py_GIL_DISABLED)]
        let mut parsed = Vec::new();
        for pair in items_of(pairs)?.iter() {
            let Ok(pair) = pair.cast_exact::<PyTuple>() else { return Ok(None) };
            match pair.as_slice() {
                [success, result] if success.is(&*PyBool::new(py, true)) => {
                    #[cfg(not(Py_GIL_DISABLED))]
                    parsed.append(result)?;
                    #[cfg(Py_GIL_DISABLED)]
                    capi::push(py, &mut parsed, result.clone())?;
                }
                _ => return Ok(None),
            }
        }
        #[cfg(Py_GIL_DISABLED)]
        let parsed = capi::list_of(py, &capi::tuple_of(py, [], &parsed)?.into_any())?;
        Ok(Some(parsed))
    };
    match pairs()? {
        Some(parsed) => Ok(parsed.into_any()),
        // Somebody else has fired it: let Python raise the right error.
        None => names::PARSE_RESULTS.get(py)?.call1((results,)),
    }
}
