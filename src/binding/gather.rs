//! Many Deferreds into one: `DeferredList`, `gatherResults`, `race`.
//!
//! Each Deferred that is waited for has its collector as a waiter in its chain, with a place. No
//! Python code runs and nothing is allocated for it but its entry in the result.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyRecursionError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyTuple};

use super::callback::Callback;
use super::cell::Shared;
use super::deferred::{self, Deferred};
use super::error::{Error, Raise, Result};
use super::failure;
use super::ffi::stack::{self, Nested};
use super::ffi::{self, Held, Hold, Text};
use super::foreign;
use super::functions::make;
use super::gc::Traverse;
use super::interned::intern;
use super::names;
use super::outcome::{Chain, Link, Outcome, as_deferred, classify, into_object, share};
use super::overrides::overrides;
use super::report;
use super::run::{self, Answer, Later, Next, Stack, Waiter, Work, make_room};
use crate::core::{NoMemory, refusable};

/// The results of several Deferreds.
///
/// Takes the Deferreds, and flags. By default, it fires when all have fired, with a list of pairs
/// `(success, result)` in the order of the Deferreds. With `fireOnOneCallback`, it fires with the
/// first result and its place, `(result, index)`. With `fireOnOneErrback`, it fails with the first
/// failure, as a FirstError. Without Deferreds, it fires at once with an empty list, but never with
/// `fireOnOneCallback`. With `consumeErrors`, a failure is None to the callbacks that are
/// added to its own Deferred later, and is not reported as unhandled.
#[pyclass(module = "deferrous", extends = Deferred, subclass, frozen)]
pub(super) struct DeferredList {
    state: Shared<ListState>,
}

#[derive(Default)]
struct ListState {
    deferreds: Option<Held<PyList>>,
    results: Option<Held<PyList>>,
    finished: usize,
    fire_on_one_callback: bool,
    fire_on_one_errback: bool,
    consume_errors: bool,
    cancels: Cancels,
}

impl DeferredList {
    /// With nothing to wait for.
    pub(super) fn empty() -> Self {
        Self { state: Shared::new(ListState::default()) }
    }

    fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut ListState) -> R) -> R {
        self.state.with(py, transition)
    }

    fn deferreds<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        self.with(py, |state| state.deferreds.as_ref().map(|list| list.bind(py).clone()))
            .map_or_else(|| ffi::new_list(py), Ok)
    }

    fn results<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        self.with(py, |state| state.results.as_ref().map(|list| list.bind(py).clone()))
            .map_or_else(|| ffi::new_list(py), Ok)
    }
}

#[pymethods]
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
        let results = ffi::list_of_same(py.None().bind(py), count)?;
        let state = ListState {
            deferreds: Some(deferreds.clone().hold()),
            results: Some(results.hold()),
            finished: 0,
            fire_on_one_callback: fireOnOneCallback,
            fire_on_one_errback: fireOnOneErrback,
            consume_errors: consumeErrors,
            cancels: Cancels::default(),
        };
        let before = slf.get().with(py, |current| std::mem::replace(current, state));
        drop(before);
        if ffi::debugging(slf.as_super())? {
            report::remember_creator(slf.as_super())?;
        }
        if count == 0 && !fireOnOneCallback {
            slf.call_method1(intern!(py, "callback"), (ffi::new_list(py)?,))?;
        }
        let collects_plainly = !overrides::<DeferredList>(slf, intern!(py, "_cbDeferred"));
        for (place, deferred) in deferreds.iter().enumerate() {
            let add_callbacks = intern!(py, "addCallbacks");
            match as_deferred(&deferred) {
                Some(deferred)
                    if collects_plainly && !overrides::<Deferred>(deferred, add_callbacks) =>
                {
                    // It was seen above that the place fits.
                    let link = Link::Deliver(Waiter::new(slf), place as u32);
                    deferred::add(deferred, link)?;
                }
                _ => {
                    let collect = slf.getattr(intern!(py, "_cbDeferred"))?;
                    let named = ffi::new_dict(py)?;
                    let half = |success| {
                        let success = PyBool::new(py, success).to_owned().into_any();
                        ffi::new_tuple(py, [ffi::new_int(py, place as u64)?, success])
                    };
                    named.set_item(intern!(py, "callbackArgs"), half(true)?)?;
                    named.set_item(intern!(py, "errbackArgs"), half(false)?)?;
                    deferred.call_method(add_callbacks, (&collect, &collect), Some(&named))?;
                }
            }
        }
        Ok(())
    }

    /// Take in what the Deferred at a place came to. Returns what its next callback gets.
    fn _cbDeferred<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
        #[pyo3(from_py_with = stack::number)] index: usize,
        succeeded: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let (fired, consumed) = begin_collect(slf, &result, index, &succeeded)?;
        if let Some(fired) = fired {
            run::run(py, fired)?;
        }
        Ok(if consumed { py.None().into_bound(py) } else { result })
    }

    /// Cancel all the Deferreds that are waited for. If this one has fired and waits for a Deferred
    /// that a callback returned, that one is cancelled.
    ///
    /// What the cancellers of the former raise is logged.
    fn cancel(slf: &Bound<'_, Self>) -> Result<()> {
        run::run(slf.py(), Work::CancelList(slf.clone()))
    }

    /// The Deferreds that are waited for.
    #[getter]
    fn _deferredList<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyList>> {
        slf.get().deferreds(slf.py())
    }

    #[setter]
    fn set__deferredList(slf: &Bound<'_, Self>, deferreds: Bound<'_, PyList>) {
        let deferreds = deferreds.hold();
        let before = slf.get().with(slf.py(), |state| state.deferreds.replace(deferreds));
        drop(before);
    }

    /// The results so far: for each Deferred a pair `(success, result)`, or None.
    #[getter]
    pub(super) fn resultList<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyList>> {
        slf.get().results(slf.py())
    }

    #[setter]
    fn set_resultList(slf: &Bound<'_, Self>, results: Bound<'_, PyList>) {
        let results = results.hold();
        let before = slf.get().with(slf.py(), |state| state.results.replace(results));
        drop(before);
    }

    /// How many of the Deferreds have fired.
    #[getter]
    pub(super) fn finishedCount(slf: &Bound<'_, Self>) -> usize {
        slf.get().with(slf.py(), |state| state.finished)
    }

    #[setter]
    fn set_finishedCount(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = stack::number)] count: usize,
    ) {
        slf.get().with(slf.py(), |state| state.finished = count);
    }

    /// Whether the first result is enough.
    #[getter]
    pub(super) fn fireOnOneCallback(slf: &Bound<'_, Self>) -> bool {
        slf.get().with(slf.py(), |state| state.fire_on_one_callback)
    }

    #[setter]
    fn set_fireOnOneCallback(slf: &Bound<'_, Self>, flag: &Bound<'_, PyAny>) -> PyResult<()> {
        let flag = stack::truth(flag)?;
        slf.get().with(slf.py(), |state| state.fire_on_one_callback = flag);
        Ok(())
    }

    /// Whether the first failure is enough.
    #[getter]
    pub(super) fn fireOnOneErrback(slf: &Bound<'_, Self>) -> bool {
        slf.get().with(slf.py(), |state| state.fire_on_one_errback)
    }

    #[setter]
    fn set_fireOnOneErrback(slf: &Bound<'_, Self>, flag: &Bound<'_, PyAny>) -> PyResult<()> {
        let flag = stack::truth(flag)?;
        slf.get().with(slf.py(), |state| state.fire_on_one_errback = flag);
        Ok(())
    }

    /// Whether failures end here.
    #[getter]
    pub(super) fn consumeErrors(slf: &Bound<'_, Self>) -> bool {
        slf.get().with(slf.py(), |state| state.consume_errors)
    }

    #[setter]
    fn set_consumeErrors(slf: &Bound<'_, Self>, flag: &Bound<'_, PyAny>) -> PyResult<()> {
        let flag = stack::truth(flag)?;
        slf.get().with(slf.py(), |state| state.consume_errors = flag);
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.during_gc();
        state.deferreds.traverse(visit)?;
        state.results.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let state = slf.get().with(slf.py(), std::mem::take);
        drop(state);
    }
}

/// The cancellings of one collector that are under way, each as part of the one before.
#[derive(Default)]
struct Cancels {
    depth: u32,
    /// Whether one of them has come back to the collector too often. Then none tries that again.
    in_ring: bool,
}

impl Cancels {
    /// More than a canceller of a Deferred in it that cancels the collector can account for.
    const LIMIT: u32 = 100;

    /// Begin one. False where the collector waits for itself.
    fn begin(&mut self) -> bool {
        if self.depth >= Self::LIMIT {
            self.in_ring = true;
        }
        if self.in_ring {
            return false;
        }
        self.depth += 1;
        true
    }

    /// End one.
    fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.in_ring &= self.depth > 0;
    }
}

const WAITS_FOR_ITSELF: &str = "the Deferred waits for itself";

/// What Twisted raises there, too.
#[cold]
pub(super) fn waits_for_itself(py: Python<'_>) -> Error {
    PyRecursionError::error(py, WAITS_FOR_ITSELF)
}

/// Whether an error is that, and not one of a program's own.
fn is_of_ring(py: Python<'_>, error: &Error) -> bool {
    error.is_instance_of::<PyRecursionError>(py)
        && error.value(py).str().is_ok_and(|text| text == WAITS_FOR_ITSELF)
}

/// All that are to be gathered.
///
/// # Errors
///
/// `TypeError` for a single Deferred, which iterates itself without end. `AttributeError`, as with
/// Twisted, where something is none; before any is waited for, so that nothing is half done.
fn all_of<'py>(deferreds: &Bound<'py, PyAny>) -> Result<Bound<'py, PyList>> {
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
    let all = ffi::list_of(deferreds)?;
    for (place, deferred) in all.iter().enumerate() {
        if as_deferred(&deferred).is_none() && !deferred.hasattr(intern!(py, "addCallbacks"))? {
            let hint =
                if ffi::is_coroutine(&deferred) { " (use ensureDeferred on it)" } else { "" };
            let text = [
                Text::Ours("'"),
                Text::Python(deferred.get_type().name()?),
                Text::Ours(
                    "' object has no attribute 'addCallbacks': an iterable of Deferreds is \
                     needed, and item ",
                ),
                Text::Python(ffi::new_int(py, place as u64)?.str()?),
                Text::Ours(" is none"),
                Text::Ours(hint),
            ];
            return Err(PyAttributeError::error_saying(ffi::joined(py, text)));
        }
    }
    Ok(all)
}

/// Whether each of so many can be given a place.
fn places_fit(count: usize) -> bool {
    u32::try_from(count).is_ok_and(|count| count < run::FIRE)
}

/// What `_cbDeferred` does, but for running the list. What is to be run, if anything, and whether
/// this is the end of a failure.
pub(super) fn begin_collect<'py>(
    list: &Bound<'py, DeferredList>,
    result: &Bound<'py, PyAny>,
    place: usize,
    succeeded: &Bound<'py, PyAny>,
) -> Result<(Option<Work<'py>>, bool)> {
    let success = stack::truth(succeeded)?;
    let ours = if success { None } else { foreign::adopt_failure(result)? };
    let fired = collect(list, place, success, ours.as_ref().unwrap_or(result))?;
    let consumed = !success && list.get().with(list.py(), |state| state.consume_errors);
    Ok((fired, consumed))
}

/// Take in what the Deferred at a place came to. What is to be run then, if anything.
fn collect<'py>(
    list: &Bound<'py, DeferredList>,
    place: usize,
    success: bool,
    result: &Bound<'py, PyAny>,
) -> PyResult<Option<Work<'py>>> {
    let py = list.py();
    let results = list.get().results(py)?;
    let succeeded = PyBool::new(py, success).to_owned().into_any();
    results.set_item(place, ffi::new_tuple(py, [succeeded, result.clone()])?)?;
    let (finished, on_callback, on_errback) = list.get().with(py, |state| {
        state.finished = state.finished.saturating_add(1);
        (state.finished, state.fire_on_one_callback, state.fire_on_one_errback)
    });
    let deferred = list.as_super();
    if deferred.get().chain(py, |chain| chain.called()) {
        return Ok(None);
    }
    let (method, outcome) = if success && on_callback {
        let pair = ffi::new_tuple(py, [result.clone(), ffi::new_int(py, place as u64)?])?;
        (intern!(py, "callback"), Outcome::Value(pair.into_any().hold()))
    } else if !success && on_errback {
        let place = ffi::new_int(py, place as u64)?;
        let first = names::FIRST_ERROR.get(py)?.call1((result, place))?;
        let reason = failure::from_exception(first)?;
        (intern!(py, "errback"), Outcome::Failure(reason.hold()))
    } else if finished == results.len() {
        (intern!(py, "callback"), Outcome::Value(results.into_any().hold()))
    } else {
        return Ok(None);
    };
    if overrides::<Deferred>(deferred, method) {
        deferred.call_method1(method, (into_object(py, outcome),))?;
        return Ok(None);
    }
    Ok(deferred::begin_fire(deferred, outcome)?.then(|| Work::Run(deferred.clone())))
}

/// A Deferred has an outcome for a list, as part of its run.
pub(super) fn deliver<'py>(
    list: Bound<'py, DeferredList>,
    place: u32,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    let py = list.py();
    let success = !matches!(outcome, Outcome::Failure(_));
    let passed_on = if !success && list.get().with(py, |state| state.consume_errors) {
        Outcome::Taken
    } else {
        share(py, &outcome)
    };
    let result = into_object(py, outcome);
    Ok(match collect(&list, place as usize, success, &result)? {
        Some(fired) => Answer::After(fired, passed_on),
        None => Answer::Now(passed_on),
    })
}

/// Whether a list's `cancel` is ours.
pub(super) fn cancels_plainly(list: &Bound<'_, DeferredList>) -> bool {
    !overrides::<DeferredList>(list, intern!(list.py(), "cancel"))
}

/// Whether cancelling this does what it does to a Deferred that has fired.
pub(super) fn has_fired_plainly(deferred: &Bound<'_, Deferred>) -> bool {
    deferred.get().chain(deferred.py(), |chain| chain.called())
        && deferred.cast::<DeferredList>().is_ok_and(cancels_plainly)
}

/// Cancel what a list waits for, from a place on.
pub(super) fn cancel_list<'py>(
    list: Bound<'py, DeferredList>,
    place: usize,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = list.py();
    make_room(py, stack)?;
    if place == 0 {
        if list.as_super().get().chain(py, |chain| chain.called()) {
            // Unlike Twisted's, one that has fired passes it on, as any other Deferred does.
            return run::cancel_waited_for(list.as_super());
        }
        if !list.get().with(py, |state| state.cancels.begin()) {
            return Err(waits_for_itself(py));
        }
    }
    let deferreds = list.get().deferreds(py)?;
    let (in_ring, outermost) =
        list.get().with(py, |state| (state.cancels.in_ring, state.cancels.depth <= 1));
    let mut place = place;
    if in_ring {
        // What can be cancelled without going round again is, once.
        place = if outermost { next_unfired(&deferreds, place) } else { deferreds.len() };
    }
    if place >= deferreds.len() {
        list.get().with(py, |state| state.cancels.end());
        return Ok(Next::Done);
    }
    let deferred = deferreds.get_item(place)?;
    stack.push(Later::CancelList(list, place + 1));
    cancel_one(deferred)
}

/// The next place of something that does not wait for another Deferred.
#[cold]
fn next_unfired(deferreds: &Bound<'_, PyList>, place: usize) -> usize {
    let py = deferreds.py();
    let is_unfired = |place: &usize| match deferreds.get_item(*place) {
        Ok(it) => as_deferred(&it).is_none_or(|it| !it.get().chain(py, |chain| chain.called())),
        Err(_) => true,
    };
    (place..deferreds.len()).find(is_unfired).unwrap_or(deferreds.len())
}

fn cancel_one(object: Bound<'_, PyAny>) -> Result<Next<'_>> {
    match as_deferred(&object) {
        Some(deferred) => Ok(Next::Do(Work::Cancel(deferred.clone()))),
        None => {
            object.call_method0(intern!(object.py(), "cancel"))?;
            Ok(Next::Done)
        }
    }
}

/// A canceller has raised, and nobody can be told.
#[cold]
pub(super) fn report_canceller(py: Python<'_>, error: Error) -> Result<()> {
    let reason = failure::from_raised(error.into_raised(py), false)?;
    names::LOG_FAILURE
        .get(py)?
        .call1((reason, intern!(py, "Exception raised from user supplied canceller")))?;
    Ok(())
}

/// The `cancel` of the Deferred at a place in a list has raised. The others are cancelled all the
/// same; a timeout fails it then.
#[cold]
pub(super) fn canceller_raised<'py>(
    list: &Bound<'py, DeferredList>,
    place: usize,
    error: Error,
) -> Result<()> {
    let py = list.py();
    if is_of_ring(py, &error) {
        list.get().with(py, |state| state.cancels.in_ring = true);
    }
    let reason = failure::from_raised(error.into_raised(py), false)?;
    let raised = match list.get().deferreds(py)?.get_item(place) {
        Ok(deferred) => deferred,
        // A program has shortened the list meanwhile.
        Err(_) => py.None().into_bound(py),
    };
    names::CANCELLER_RAISED.get(py)?.call1((reason, raised))?;
    Ok(())
}

/// That could not be told, which ends the cancelling.
pub(super) fn stop_cancelling_list(list: &Bound<'_, DeferredList>) {
    list.get().with(list.py(), |state| state.cancels.end());
}

/// Return a Deferred for the list of the results of these Deferreds.
///
/// It fails with the first failure of any of them, as a FirstError. With `consumeErrors`, a
/// failure is None to the callbacks that are added to its own Deferred later, and is not reported
/// as unhandled. Cancelling it cancels all of them. Without Deferreds, it fires at once with an
/// empty list.
#[pyfunction]
#[pyo3(name = "gatherResults", signature = (deferredList, consumeErrors=None), text_signature = "(deferredList, consumeErrors=False)")]
#[allow(non_snake_case)]
pub(super) fn gather_results<'py>(
    deferredList: &Bound<'py, PyAny>,
    consumeErrors: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = deferredList.py();
    let _nested = Nested::enter(py)?;
    let flags = ffi::new_dict(py)?;
    flags.set_item(intern!(py, "fireOnOneErrback"), true)?;
    if let Some(flag) = consumeErrors {
        flags.set_item(intern!(py, "consumeErrors"), flag)?;
    }
    let arguments = ffi::new_tuple(py, [deferredList.clone()])?;
    let list = ffi::call_any_way(&py.get_type::<DeferredList>(), &arguments, Some(&flags))?;
    let parse = pyo3::wrap_pyfunction!(parse_results, py)?;
    let deferred = list.cast_into::<Deferred>()?;
    deferred::add(&deferred, Link::OnValue(Callback::plain(parse.into_any())?))?;
    Ok(deferred.into_any())
}

/// The results alone of a list of pairs `(success, result)`.
#[pyfunction]
#[pyo3(name = "_parseDeferredListResult", signature = (results, _fire_on_one_errback=false, /))]
pub(super) fn parse_results<'py>(
    results: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = stack::truth)] _fire_on_one_errback: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = results.py();
    let pairs = || -> Result<Option<Bound<'py, PyList>>> {
        let Ok(pairs) = results.cast_exact::<PyList>() else { return Ok(None) };
        let parsed = ffi::new_list(py)?;
        for pair in pairs.iter() {
            let Ok(pair) = pair.cast_exact::<PyTuple>() else { return Ok(None) };
            match pair.as_slice() {
                [success, result] if success.is(&*PyBool::new(py, true)) => {
                    parsed.append(result)?;
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(parsed))
    };
    match pairs()? {
        Some(parsed) => Ok(parsed.into_any()),
        // Somebody else has fired it: Python knows what to raise.
        None => names::PARSE_RESULTS.get(py)?.call1((results,)),
    }
}

/// What `race` waits with.
#[pyclass(name = "_Race", module = "deferrous", frozen)]
pub(super) struct Race {
    state: Shared<RaceState>,
}

#[derive(Default)]
struct RaceState {
    deferreds: Vec<Held<PyAny>>,
    winner: Option<(usize, Held<PyAny>)>,
    failures: Vec<(usize, Held<PyAny>)>,
    /// What to fire. It holds this race as its canceller until then.
    result: Option<Held<Deferred>>,
    cancels: Cancels,
}

impl Race {
    fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut RaceState) -> R) -> R {
        self.state.with(py, transition)
    }
}

#[pymethods]
impl Race {
    /// As the canceller of its Deferred, or as a callback of a Deferred that insists on one.
    #[pyo3(signature = (result, place=None))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
        place: Option<usize>,
    ) -> Result<()> {
        let work = match place {
            None => Work::CancelRace(slf.clone()),
            Some(place) => Work::Race(slf.clone(), place, classify(&result)?),
        };
        run::run(slf.py(), work)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.during_gc();
        for deferred in &state.deferreds {
            deferred.traverse(visit)?;
        }
        for (_, failure) in &state.failures {
            failure.traverse(visit)?;
        }
        if let Some((_, output)) = &state.winner {
            output.traverse(visit)?;
        }
        state.result.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let state = slf.get().with(slf.py(), std::mem::take);
        drop(state);
    }
}

/// Return a Deferred for the first result that any of these Deferreds comes to, as a pair
/// `(index, result)`. The others are cancelled then.
///
/// If all of them fail, it fails with a FailureGroup. Cancelling it cancels all of them. Without
/// Deferreds, it never fires.
///
/// Takes any iterable; Twisted's takes sequences only.
#[pyfunction]
pub(super) fn race<'py>(ds: &Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = ds.py();
    let _nested = Nested::enter(py)?;
    let deferreds = all_of(ds)?;
    let count = deferreds.len();
    if !places_fit(count) {
        return Err(PyOverflowError::error(py, "too many Deferreds in one race"));
    }
    let mut held = Vec::new();
    for deferred in deferreds.iter() {
        ffi::push(py, &mut held, deferred.hold())?;
    }
    drop(deferreds);
    let result = make(py, Chain::default)?;
    let state =
        RaceState { deferreds: held, result: Some(result.clone().hold()), ..RaceState::default() };
    let race = Bound::new(py, Race { state: Shared::new(state) })?;
    let canceller = race.as_any().clone().hold();
    let before = result.get().chain(py, |chain| chain.replace_canceller(Some(canceller)));
    drop(before);
    for place in 0..count {
        let Some(deferred) = one_of(&race, place) else { break };
        let add_callbacks = intern!(py, "addCallbacks");
        match as_deferred(&deferred) {
            Some(deferred) if !overrides::<Deferred>(deferred, add_callbacks) => {
                // It was seen above that the place fits.
                deferred::add(deferred, Link::Deliver(Waiter::new(&race), place as u32))?;
            }
            _ => {
                let named = ffi::new_dict(py)?;
                let place = ffi::new_tuple(py, [ffi::new_int(py, place as u64)?])?;
                named.set_item(intern!(py, "callbackArgs"), &place)?;
                named.set_item(intern!(py, "errbackArgs"), &place)?;
                deferred.call_method(add_callbacks, (&race, &race), Some(&named))?;
            }
        }
    }
    Ok(result)
}

/// The one at this place among those that take part in a race.
fn one_of<'py>(race: &Bound<'py, Race>, place: usize) -> Option<Bound<'py, PyAny>> {
    let py = race.py();
    race.get().with(py, |state| state.deferreds.get(place).map(|it| it.bind(py).clone()))
}

/// One of those that take part in a race has come to something.
pub(super) fn arrive<'py>(
    race: Bound<'py, Race>,
    place: usize,
    outcome: Outcome,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = race.py();
    if let Outcome::Failure(failure) = outcome {
        let kept = race.get().with(py, |state| {
            if refusable(|| state.failures.try_reserve(1)).is_err() {
                return Err(NoMemory(failure));
            }
            state.failures.push((place, failure));
            let all = state.failures.len() >= state.deferreds.len();
            if all {
                state.failures.sort_unstable_by_key(|(place, _)| *place);
            }
            Ok(all)
        });
        if !deferred::or_no_memory(py, kept)? {
            return Ok(Next::Done);
        }
        let failures = ffi::new_list(py)?;
        while let Some(failure) = race.get().with(py, |state| {
            state.failures.get(failures.len()).map(|(_, failure)| failure.bind(py).clone())
        }) {
            failures.append(failure)?;
        }
        let group = names::FAILURE_GROUP.get(py)?.call1((failures,))?;
        let reason = failure::from_exception(group)?;
        return fire(&race, Outcome::Failure(reason.hold()));
    }
    let output = into_object(py, outcome).hold();
    let late = race.get().with(py, |state| match state.winner {
        Some(_) => Some(output),
        None => {
            state.winner = Some((place, output));
            None
        }
    });
    match late {
        Some(output) => {
            drop(output);
            Ok(Next::Done)
        }
        None => cancel_losers(race, 0, stack),
    }
}

fn fire<'py>(race: &Bound<'py, Race>, outcome: Outcome) -> Result<Next<'py>> {
    let py = race.py();
    match race.get().with(py, |state| state.result.as_ref().map(|it| it.bind(py).clone())) {
        Some(result) if deferred::begin_fire(&result, outcome)? => Ok(Next::Do(Work::Run(result))),
        _ => Ok(Next::Done),
    }
}

/// Cancel those that lost a race, from a place on; then tell who won.
pub(super) fn cancel_losers<'py>(
    race: Bound<'py, Race>,
    place: usize,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = race.py();
    let (loser, winner) = race.get().with(py, |state| {
        let Some((won, output)) = &state.winner else { return (None, None) };
        // Whoever calls a race by hand can have a place win that is nobody's.
        let winner = state.deferreds.get(*won).map(Held::as_ptr);
        let mut others = state.deferreds.iter().enumerate().skip(place);
        let loser = others
            .find(|(_, deferred)| Some(deferred.as_ptr()) != winner)
            .map(|(i, deferred)| (i, deferred.bind(py).clone()));
        (loser, Some((*won, output.bind(py).clone())))
    });
    // Where there is no memory to come back, they are not cancelled.
    let loser = loser.filter(|_| make_room(py, stack).is_ok());
    match (loser, winner) {
        (Some((i, deferred)), _) => {
            stack.push(Later::CancelLosers(race, i + 1));
            cancel_one(deferred)
        }
        (None, Some(winner)) => {
            let (place, output) = winner;
            let pair = ffi::new_tuple(py, [ffi::new_int(py, place as u64)?, output])?;
            fire(&race, Outcome::Value(pair.into_any().hold()))
        }
        (None, None) => Ok(Next::Done),
    }
}

/// A canceller of one that takes part in a race has raised, which ends the cancelling.
pub(super) fn stop_cancelling(race: &Bound<'_, Race>) {
    race.get().with(race.py(), |state| state.cancels.end());
}

/// Cancel all that take part in a race, from a place on.
pub(super) fn cancel_race<'py>(
    race: Bound<'py, Race>,
    place: usize,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = race.py();
    make_room(py, stack)?;
    if place == 0 && !race.get().with(py, |state| state.cancels.begin()) {
        return Err(waits_for_itself(py));
    }
    let Some(deferred) = one_of(&race, place) else {
        race.get().with(py, |state| state.cancels.end());
        return Ok(Next::Done);
    };
    stack.push(Later::CancelRace(race, place + 1));
    cancel_one(deferred)
}
