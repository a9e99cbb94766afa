//! Locks, semaphores and queues.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyAssertionError, PyException, PyNotImplementedError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyTraverseError, create_exception};

use super::cell::Shared;
use super::deferred::{self, Deferred};
use super::error::{Raise, Result};
use super::ffi::stack::{self, Nested};
use super::ffi::{self, Held, Hold};
use super::fifo::Fifo;
use super::functions::{fired, make, maybe_deferred, succeed};
use super::gc::Traverse;
use super::hand_over::{self, hand_over};
use super::interned::intern;
use super::names;
use super::outcome::{self, Chain, Link, Outcome, as_deferred, classify};
use super::overrides::overrides;
use super::run::{self, Answer, Waiter, Work};

create_exception!(
    deferrous,
    QueueOverflow,
    PyException,
    "Something was put into a DeferredQueue that has as much as it may."
);
create_exception!(
    deferrous,
    QueueUnderflow,
    PyException,
    "Something was asked of a DeferredQueue that has as many waiting as it may."
);

// ---------------------------------------------------------------------------------------------
// What locks and semaphores have in common

/// Something to be acquired and released.
#[pyclass(
    name = "_ConcurrencyPrimitive",
    module = "deferrous",
    subclass,
    frozen,
    weakref,
    dict,
    generic
)]
pub(super) struct Primitive {
    state: Shared<PrimitiveState>,
}

#[derive(Default)]
struct PrimitiveState {
    /// Those that wait to acquire it. Made when first needed.
    waiting: Option<Held<Fifo>>,
    locked: bool,
    tokens: i64,
    limit: i64,
}

impl Primitive {
    fn new_state() -> Self {
        Self { state: Shared::new(PrimitiveState::default()) }
    }

    fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut PrimitiveState) -> R) -> R {
        self.state.with(py, transition)
    }

    fn line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line(py, |made| self.with(py, |state| kept(py, &mut state.waiting, made)))
    }

    /// The line, if anybody waits in it.
    #[inline(always)]
    fn busy_line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Fifo>> {
        self.with(py, |state| if_busy(py, &state.waiting).cloned())
    }
}

/// A line that somebody waits in.
#[inline(always)]
fn if_busy<'a, 'py>(py: Python<'py>, line: &'a Option<Held<Fifo>>) -> Option<&'a Bound<'py, Fifo>> {
    let line = line.as_ref()?.bind(py);
    (line.get().len(py) > 0).then_some(line)
}

/// The list in a slot. `kept` gives what is there, after putting in what it is given.
#[inline(always)]
fn line<'py>(
    py: Python<'py>,
    kept: impl Fn(Option<Held<Fifo>>) -> Option<Bound<'py, Fifo>>,
) -> PyResult<Bound<'py, Fifo>> {
    match kept(None) {
        Some(line) => Ok(line),
        None => new_line(py, kept),
    }
}

#[inline(never)]
fn new_line<'py>(
    py: Python<'py>,
    kept: impl Fn(Option<Held<Fifo>>) -> Option<Bound<'py, Fifo>>,
) -> PyResult<Bound<'py, Fifo>> {
    // Making one may begin a collection, and so run any code: it may have put one there by now.
    let made = Fifo::empty(py)?;
    Ok(kept(Some(made.clone().hold())).unwrap_or(made))
}

fn kept<'py>(
    py: Python<'py>,
    slot: &mut Option<Held<Fifo>>,
    made: Option<Held<Fifo>>,
) -> Option<Bound<'py, Fifo>> {
    match (&*slot, made) {
        (None, Some(made)) => Some(slot.insert(made).bind(py).clone()),
        // One that is not needed is new, and runs no code when it dies.
        (line, _unneeded) => line.as_ref().map(|line| line.bind(py).clone()),
    }
}

/// What a program assigns to `waiting` or `pending`, as a list of ours.
fn as_line<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Fifo>> {
    match object.cast_exact::<Fifo>() {
        Ok(line) => Ok(line.clone()),
        Err(_) => Ok(object.py().get_type::<Fifo>().call1((object,))?.cast_into()?),
    }
}

/// Fire the one that has waited longest, with this. What is to be run then, if anything.
fn fire_first<'py>(
    line: &Bound<'py, Fifo>,
    result: Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    match line.get().pop_front(line.py())? {
        Some(first) => fire_one(first, result),
        None => Ok(None),
    }
}

/// Fire a Deferred with a result, as a lock or a queue does that hands it over: at once, or, where
/// so many hand-overs are nested that this would not end well, soon. In any case it has its result
/// then, so that it cannot be cancelled any more.
#[pyfunction]
pub(super) fn _hand_over<'py>(
    deferred: Bound<'py, PyAny>,
    result: Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferred.py();
    fire_one(deferred, result)?.map_or(Ok(()), |work| hand_over(py, work))
}

/// Fire a Deferred with this. What is to be run then, if anything.
fn fire_one<'py>(first: Bound<'py, PyAny>, result: Bound<'py, PyAny>) -> Result<Option<Work<'py>>> {
    let py = first.py();
    let callback = intern!(py, "callback");
    let deferred = match ffi::as_exact::<Deferred>(&first) {
        None => as_deferred(&first),
        exact => exact,
    };
    match deferred {
        Some(deferred) if !overrides::<Deferred>(deferred, callback) => {
            let (outcome, error) = if ffi::is_known_ordinary(&result) {
                (Outcome::Value(result.hold()), None)
            } else {
                outcome::classify_asking(result)
            };
            let fired = deferred::begin_fire(deferred, outcome)?;
            let work = fired.then(|| Work::Run(deferred.clone()));
            match error {
                None => Ok(work),
                // It has its result all the same.
                Some(error) => {
                    work.map_or(Ok(()), |work| run::run(py, work))?;
                    Err(error)
                }
            }
        }
        _ => {
            hand_over::fire(first, result)?;
            Ok(None)
        }
    }
}

/// Whether an object that is the canceller of a Deferred is so because that waits for it, and not
/// because it can be called.
fn is_waited_for(canceller: &Bound<'_, PyAny>) -> bool {
    (canceller.is_instance_of::<Primitive>() || canceller.is_instance_of::<DeferredQueue>())
        && !canceller.is_callable()
}

/// The canceller of a Deferred that waits for one of ours: have it leave the line. False if the
/// canceller is something else.
pub(super) fn give_up<'py>(
    canceller: &Bound<'py, PyAny>,
    deferred: &Bound<'py, Deferred>,
) -> PyResult<bool> {
    let py = canceller.py();
    if !is_waited_for(canceller) {
        return Ok(false);
    }
    let line = if let Ok(primitive) = canceller.cast::<Primitive>() {
        primitive.get().line(py)?
    } else if let Ok(queue) = canceller.cast::<DeferredQueue>() {
        queue.get().waiting_line(py)?
    } else {
        return Ok(false);
    };
    Fifo::remove(&line, deferred.as_any())?;
    Ok(true)
}

// ---------------------------------------------------------------------------------------------
// What was handed over to one that does not come for it

/// The lock, semaphore or queue for which a Deferred waits and nothing else: what it comes to is
/// what that hands over. None if a callback stands between, as what that makes of it is its own
/// affair.
pub(super) fn source_of<'py>(deferred: &Bound<'py, Deferred>) -> Option<Bound<'py, PyAny>> {
    /// Through so many Deferreds that wait for each other.
    const DEPTH: usize = 100;
    let py = deferred.py();
    let mut current = deferred.clone();
    for _ in 0..DEPTH {
        let plain = |link: &Link| match link {
            Link::OnFailure(_) => true,
            Link::Continue(_) => !current.is(deferred),
            Link::Deliver(waiter, _) => waiter.is_awaiting(py),
            _ => false,
        };
        let (is_plain, called, canceller, next) = current.get().chain(py, |chain| {
            (
                chain.links().iter().all(plain),
                chain.called(),
                chain.canceller().map(|it| it.bind(py).clone()),
                chain.chained_to().map(|it| it.bind(py).clone()),
            )
        });
        if !is_plain {
            return None;
        }
        if !called {
            return source_behind(canceller?);
        }
        current = next?;
    }
    None
}

/// What a Deferred with this canceller waits for.
fn source_behind(canceller: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    if is_waited_for(&canceller) {
        return Some(canceller);
    }
    if takes_back(&canceller) {
        return Some(canceller);
    }
    // One that is a method: of a class with a `_cancelAcquire` of its own, or that can be called.
    let py = canceller.py();
    let kind = ffi::ok(py, canceller.get_type().name())?;
    let is_method = kind == "method" || kind == "builtin_function_or_method";
    if !is_method || ffi::is_of_heap_type(&canceller) {
        return None;
    }
    let name = ffi::ok(py, canceller.getattr(intern!(py, "__name__")))?;
    let owner = ffi::ok(py, canceller.getattr(intern!(py, "__self__")))?;
    let name = name.cast::<PyString>().ok()?;
    let waits = (name == "_cancelAcquire" && owner.is_instance_of::<Primitive>())
        || (name == "_cancelGet" && owner.is_instance_of::<DeferredQueue>());
    waits.then_some(owner)
}

/// Whether an object says itself what is to be done with what was handed over for it.
fn takes_back(object: &Bound<'_, PyAny>) -> bool {
    ffi::lookup(&object.get_type(), intern!(object.py(), "_take_back")) != 0
}

/// A number for each time that something is handed over to somebody who may not come for it.
pub(super) fn number_of_hand_over() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// Take back what was handed over by a lock, a semaphore or a queue: the next gets it. What is to
/// be run then, if anything.
///
/// An object of a queue that nobody waits for stands in front again; of several, in the order in
/// which they were handed over.
pub(super) fn take_back<'py>(
    source: &Bound<'py, PyAny>,
    object: Bound<'py, PyAny>,
    number: u64,
) -> Result<Option<Work<'py>>> {
    let py = source.py();
    if let Ok(primitive) = source.cast::<Primitive>() {
        // Somebody has fired the Deferred by hand.
        if !object.is(primitive) {
            return Ok(None);
        }
        skip_fired(&primitive.get().line(py)?)?;
        if overrides_ours(primitive, intern!(py, "release")) {
            primitive.call_method0(intern!(py, "release"))?;
            return Ok(None);
        }
        return begin_release(primitive);
    }
    let Ok(queue) = source.cast::<DeferredQueue>() else {
        if takes_back(source) {
            source.call_method1(intern!(py, "_take_back"), (object, number))?;
        }
        return Ok(None);
    };
    let (waiting, pending) = (queue.get().waiting_line(py)?, queue.get().pending_line(py)?);
    skip_fired(&waiting)?;
    if waiting.get().len(py) > 0 {
        return fire_first(&waiting, object);
    }
    Fifo::put_back(&pending, number, object)?;
    Ok(None)
}

/// Take those out of the front of a line that somebody has fired by hand: they cannot be given
/// anything.
fn skip_fired(line: &Bound<'_, Fifo>) -> Result<()> {
    let py = line.py();
    while let Some(first) = Fifo::get(line, 0)
        && let Ok(deferred) = first.cast::<Deferred>()
        && deferred.get().chain(py, |chain| chain.called())
    {
        line.get().pop_front(py)?;
    }
    Ok(())
}

#[pymethods]
#[allow(non_snake_case)]
impl Primitive {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new_state()
    }

    fn __init__(slf: &Bound<'_, Self>) {
        let before = slf.get().with(slf.py(), |state| state.waiting.take());
        drop(before);
    }

    /// The Deferreds of those that wait to acquire this, first come, first served.
    ///
    /// A sequence that is used like a list, where Twisted's is one. Can be set to any iterable.
    #[getter]
    pub(super) fn waiting<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Fifo>> {
        slf.get().line(slf.py())
    }

    #[setter]
    fn set_waiting<'py>(slf: &Bound<'py, Self>, waiting: &Bound<'py, PyAny>) -> PyResult<()> {
        let line = as_line(waiting)?.hold();
        let before = slf.get().with(slf.py(), |state| state.waiting.replace(line));
        drop(before);
        Ok(())
    }

    /// Return a Deferred that fires with this when it has been acquired.
    ///
    /// Cancelling it gives up waiting.
    pub(super) fn acquire<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, Deferred>> {
        acquire(slf)
    }

    /// Release this. If somebody waits, the one that came first acquires it.
    ///
    /// Raises AssertionError if it is not held.
    pub(super) fn release(slf: &Bound<'_, Self>) -> Result<()> {
        match slf.get().busy_line(slf.py()) {
            // Nothing else is run.
            None => begin_release_of(slf, None).map(drop),
            line => release_to_next(slf, line),
        }
    }

    /// Acquire this, call a function with the other arguments, and release it.
    ///
    /// If the function returns a Deferred or a coroutine, it is released when that is done.
    /// Returns a Deferred for what the function comes to.
    #[pyo3(signature = (f, *args, **kwargs))]
    pub(super) fn run<'py>(
        slf: &Bound<'py, Self>,
        f: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let _nested = Nested::enter(py)?;
        let locked = Locked {
            primitive: slf.clone().hold(),
            function: f.hold(),
            args: args.hold(),
            kwargs: kwargs.map(Hold::hold),
        };
        let locked = Bound::new(py, locked)?;
        let acquired = if overrides_ours(slf, intern!(py, "acquire")) {
            slf.call_method0(intern!(py, "acquire"))?
        } else {
            acquire(slf)?.into_any()
        };
        let add_callback = intern!(py, "addCallback");
        match as_deferred(&acquired) {
            Some(deferred) if !overrides::<Deferred>(deferred, add_callback) => {
                deferred::add(deferred, Link::Deliver(Waiter::new(&locked), RUN))?;
                Ok(acquired)
            }
            _ => acquired.call_method1(add_callback, (locked,)),
        }
    }

    fn _releaseAndReturn<'py>(
        slf: &Bound<'py, Self>,
        r: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _nested = Nested::enter(slf.py())?;
        slf.call_method0(intern!(slf.py(), "release"))?;
        Ok(r)
    }

    /// Take a Deferred that was cancelled out of those that wait.
    fn _cancelAcquire<'py>(slf: &Bound<'py, Self>, d: &Bound<'py, PyAny>) -> Result<()> {
        Fifo::remove(&slf.get().line(slf.py())?, d)
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let _nested = Nested::enter(slf.py())?;
        slf.call_method0(intern!(slf.py(), "acquire"))
    }

    #[pyo3(signature = (_exc_type, _exc_value, _traceback, /))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _exc_type: &Bound<'py, PyAny>,
        _exc_value: &Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, Deferred>> {
        let py = slf.py();
        let _nested = Nested::enter(py)?;
        slf.call_method0(intern!(py, "release"))?;
        succeed(pyo3::types::PyBool::new(py, false).to_owned().into_any())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::REDUCE.get(slf.py())?.call1((slf,))
    }

    /// Return all of the state, for `copy` and `pickle`.
    fn __getstate__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::GET_STATE.get(slf.py())?.call1((slf,))
    }

    fn __setstate__(slf: &Bound<'_, Self>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        names::SET_STATE.get(slf.py())?.call1((slf, state)).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.during_gc().waiting.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let before = slf.get().with(slf.py(), |state| state.waiting.take());
        drop(before);
    }
}

/// What `acquire` does.
///
/// All that may run other code, as a collection does, comes first; then, at once, it is acquired or
/// waited for.
fn acquire<'py>(primitive: &Bound<'py, Primitive>) -> Result<Bound<'py, Deferred>> {
    let py = primitive.py();
    let is_lock = primitive.is_instance_of::<DeferredLock>();
    if !is_lock && !primitive.is_instance_of::<DeferredSemaphore>() {
        return Err(PyNotImplementedError::error(py, "acquire"));
    }
    if let Some(acquired) = try_acquire(primitive, is_lock)? {
        return Ok(acquired);
    }
    let ours = primitive.is_exact_instance_of::<DeferredLock>()
        || primitive.is_exact_instance_of::<DeferredSemaphore>();
    let cancel = intern!(py, "_cancelAcquire");
    let canceller =
        if (!ours && overrides::<Primitive>(primitive, cancel)) || primitive.is_callable() {
            primitive.getattr(cancel)?
        } else {
            primitive.as_any().clone()
        };
    let line = primitive.get().line(py)?;
    let deferred = make(py, || Chain::new(Some(canceller.hold())))?;
    if let Some(acquired) = try_acquire(primitive, is_lock)? {
        // It was released meanwhile.
        return Ok(acquired);
    }
    let line = match primitive.get().with(py, |state| kept(py, &mut state.waiting, None)) {
        Some(line) => line,
        None => line,
    };
    line.get().push_back(deferred.as_any().clone())?;
    Ok(deferred)
}

/// Acquire it, unless it is held.
#[inline(always)]
fn try_acquire<'py>(
    primitive: &Bound<'py, Primitive>,
    is_lock: bool,
) -> Result<Option<Bound<'py, Deferred>>> {
    let py = primitive.py();
    let (free, sound) = primitive.get().with(py, |state| {
        if is_lock {
            (!std::mem::replace(&mut state.locked, true), true)
        } else if state.tokens > 0 {
            state.tokens -= 1;
            (true, true)
        } else {
            (false, state.tokens == 0)
        }
    });
    if !sound {
        return Err(PyAssertionError::error(
            py,
            "Internal inconsistency??  tokens should never be negative",
        ));
    }
    if !free {
        return Ok(None);
    }
    match fired(py, Outcome::Value(primitive.as_any().clone().hold())) {
        Ok(deferred) => Ok(Some(deferred)),
        Err(error) => {
            // There was no memory for a Deferred: nobody has acquired it.
            if let Some(work) = begin_release(primitive)? {
                run::run(py, work)?;
            }
            Err(error)
        }
    }
}

/// What `release` does where somebody waits.
#[inline(never)]
fn release_to_next<'py>(
    primitive: &Bound<'py, Primitive>,
    line: Option<Bound<'py, Fifo>>,
) -> Result<()> {
    let _nested = Nested::enter(primitive.py())?;
    match begin_release_of(primitive, line)? {
        Some(work) => hand_over(primitive.py(), work),
        None => Ok(()),
    }
}

/// What `release` does, but for running the one that has acquired it then.
pub(super) fn begin_release<'py>(primitive: &Bound<'py, Primitive>) -> Result<Option<Work<'py>>> {
    begin_release_of(primitive, primitive.get().busy_line(primitive.py()))
}

/// The same, of what this line waits for, if anybody does.
#[inline(always)]
fn begin_release_of<'py>(
    primitive: &Bound<'py, Primitive>,
    line: Option<Bound<'py, Fifo>>,
) -> Result<Option<Work<'py>>> {
    let py = primitive.py();
    let waits = line.is_some();
    if primitive.is_instance_of::<DeferredLock>() {
        let was_locked = primitive.get().with(py, |state| {
            let was_locked = state.locked;
            state.locked = was_locked && waits;
            was_locked
        });
        if !was_locked {
            return Err(PyAssertionError::error(py, "Tried to release an unlocked lock"));
        }
    } else if primitive.is_instance_of::<DeferredSemaphore>() {
        let acquired = primitive.get().with(py, |state| {
            let acquired = state.tokens < state.limit;
            if acquired && !waits {
                state.tokens += 1;
            }
            acquired
        });
        if !acquired {
            return Err(PyAssertionError::error(
                py,
                "Someone released me too many times: too many tokens!",
            ));
        }
    } else {
        return Err(PyNotImplementedError::error(py, "release"));
    }
    match line {
        Some(line) => fire_first(&line, primitive.as_any().clone()),
        None => Ok(None),
    }
}

// ---------------------------------------------------------------------------------------------
// `run`

/// The place of a call in the chain of the Deferred that fires when it may run.
pub(super) const RUN: u32 = 0;
/// Its place in the chain of the Deferred for what it comes to.
const RELEASE: u32 = 1;

/// A call that needs something to be acquired.
#[pyclass(name = "_Locked", module = "deferrous", frozen)]
pub(super) struct Locked {
    primitive: Held<Primitive>,
    function: Held<PyAny>,
    args: Held<PyTuple>,
    kwargs: Option<Held<PyDict>>,
}

impl Locked {
    fn call<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let kwargs = self.kwargs.as_ref().map(|kwargs| kwargs.bind(py));
        maybe_deferred(self.function.bind(py), self.args.bind(py), kwargs)
    }
}

#[pymethods]
impl Locked {
    /// As a callback.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        _acquired: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let release = slf.get().primitive.bind(py).getattr(intern!(py, "_releaseAndReturn"))?;
        slf.get().call(py)?.call_method1(intern!(py, "addBoth"), (release,))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.primitive.traverse(visit)?;
        self.function.traverse(visit)?;
        self.args.traverse(visit)?;
        self.kwargs.traverse(visit)
    }
}

/// A Deferred has an outcome for a call that needed something to be acquired, or for the releasing
/// of it, as part of its run.
pub(super) fn deliver<'py>(
    locked: Bound<'py, Locked>,
    place: u32,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    let py = locked.py();
    let primitive = locked.get().primitive.bind(py);
    if place == RELEASE {
        if overrides_ours(primitive, intern!(py, "release")) {
            primitive.call_method0(intern!(py, "release"))?;
            return Ok(Answer::Now(outcome));
        }
        return Ok(match begin_release(primitive)? {
            Some(work) => Answer::After(work, outcome),
            None => Answer::Now(outcome),
        });
    }
    if matches!(outcome, Outcome::Failure(_)) {
        return Ok(Answer::Now(outcome));
    }
    drop(outcome);
    let result = locked.get().call(py)?;
    let deferred = match as_deferred(&result) {
        Some(deferred) if !overrides::<Deferred>(deferred, intern!(py, "addBoth")) => {
            deferred.clone()
        }
        _ => {
            let release = primitive.getattr(intern!(py, "_releaseAndReturn"))?;
            let chained = result.call_method1(intern!(py, "addBoth"), (release,))?;
            return Ok(Answer::Now(classify(&chained)?));
        }
    };
    let waiter = Waiter::new(&locked);
    let added = deferred
        .get()
        .chain(py, |chain| chain.add(Link::Deliver(waiter, RELEASE)).map(|()| chain.is_runnable()));
    let runnable = deferred::or_no_memory(py, added)?;
    let outcome = Outcome::Deferred(deferred.clone().hold());
    Ok(if runnable { Answer::After(Work::Run(deferred), outcome) } else { Answer::Now(outcome) })
}

/// Whether a lock's or semaphore's `release` is ours.
pub(super) fn releases_plainly(primitive: &Bound<'_, Primitive>) -> bool {
    !overrides_ours(primitive, intern!(primitive.py(), "release"))
}

/// Whether a lock or semaphore has another method under this name than ours have.
fn overrides_ours(primitive: &Bound<'_, Primitive>, method: &Bound<'_, PyString>) -> bool {
    if primitive.is_instance_of::<DeferredLock>() {
        overrides::<DeferredLock>(primitive, method)
    } else if primitive.is_instance_of::<DeferredSemaphore>() {
        overrides::<DeferredSemaphore>(primitive, method)
    } else {
        overrides::<Primitive>(primitive, method)
    }
}

// ---------------------------------------------------------------------------------------------
// The classes

/// A lock: held by one at a time, acquired in the order of asking.
///
/// Waiting for it, and giving up waiting, cost the same however many wait.
#[pyclass(module = "deferrous", extends = Primitive, subclass, frozen)]
pub(super) struct DeferredLock;

#[pymethods]
impl DeferredLock {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Primitive::new_state()).add_subclass(Self)
    }

    /// Whether it is held.
    #[getter]
    pub(super) fn locked(slf: &Bound<'_, Self>) -> bool {
        slf.as_super().get().with(slf.py(), |state| state.locked)
    }

    #[setter]
    fn set_locked(slf: &Bound<'_, Self>, locked: &Bound<'_, PyAny>) -> PyResult<()> {
        let locked = stack::truth(locked)?;
        slf.as_super().get().with(slf.py(), |state| state.locked = locked);
        Ok(())
    }
}

/// A semaphore: held by so many at a time, acquired in the order of asking.
///
/// Takes the number of tokens, at least 1; raises ValueError for less. Waiting for one, and giving
/// up waiting, cost the same however many wait.
#[pyclass(module = "deferrous", extends = Primitive, subclass, frozen)]
pub(super) struct DeferredSemaphore;

#[pymethods]
impl DeferredSemaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(tokens)")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Primitive::new_state()).add_subclass(Self)
    }

    fn __init__(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = stack::number)] tokens: i64,
    ) -> Result<()> {
        Primitive::__init__(slf.as_super());
        if tokens < 1 {
            return Err(PyValueError::error(slf.py(), "DeferredSemaphore requires tokens >= 1"));
        }
        slf.as_super().get().with(slf.py(), |state| {
            state.tokens = tokens;
            state.limit = tokens;
        });
        Ok(())
    }

    /// How many more may acquire it.
    #[getter]
    pub(super) fn tokens(slf: &Bound<'_, Self>) -> i64 {
        slf.as_super().get().with(slf.py(), |state| state.tokens)
    }

    #[setter]
    fn set_tokens(slf: &Bound<'_, Self>, #[pyo3(from_py_with = stack::number)] tokens: i64) {
        slf.as_super().get().with(slf.py(), |state| state.tokens = tokens);
    }

    /// How many may hold it at a time.
    #[getter]
    pub(super) fn limit(slf: &Bound<'_, Self>) -> i64 {
        slf.as_super().get().with(slf.py(), |state| state.limit)
    }

    #[setter]
    fn set_limit(slf: &Bound<'_, Self>, #[pyo3(from_py_with = stack::number)] limit: i64) {
        slf.as_super().get().with(slf.py(), |state| state.limit = limit);
    }
}

/// A queue whose `get` returns a Deferred.
///
/// `size` is how many objects it holds at most, and `backlog` how many may wait for one at most;
/// None for any number. To put, to get and to give up waiting cost the same however much it holds.
#[pyclass(module = "deferrous", subclass, frozen, weakref, dict, generic)]
pub(super) struct DeferredQueue {
    state: Shared<QueueState>,
}

#[derive(Default)]
struct QueueState {
    waiting: Option<Held<Fifo>>,
    pending: Option<Held<Fifo>>,
    size: Option<Held<PyAny>>,
    backlog: Option<Held<PyAny>>,
}

impl DeferredQueue {
    fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut QueueState) -> R) -> R {
        self.state.with(py, transition)
    }

    fn waiting_line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line(py, |made| self.with(py, |state| kept(py, &mut state.waiting, made)))
    }

    /// Those who wait, if anybody does.
    #[inline(always)]
    fn busy_line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Fifo>> {
        self.with(py, |state| if_busy(py, &state.waiting).cloned())
    }

    fn pending_line<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Fifo>> {
        line(py, |made| self.with(py, |state| kept(py, &mut state.pending, made)))
    }

    /// What it holds, if another object can be added with nothing to be asked: nobody waits, and
    /// there is room for any number.
    #[inline(always)]
    fn free_line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Fifo>> {
        self.with(py, |state| match (&state.pending, &state.size, if_busy(py, &state.waiting)) {
            (Some(pending), None, None) => Some(pending.bind(py).clone()),
            _ => None,
        })
    }
}

/// What `put` does where somebody waits, or it has to be asked whether there is room.
#[inline(never)]
fn put_where_asked<'py>(
    queue: &Bound<'py, DeferredQueue>,
    object: Bound<'py, PyAny>,
) -> Result<()> {
    let _nested = Nested::enter(queue.py())?;
    match begin_put(queue, object)? {
        Some(work) => hand_over(queue.py(), work),
        None => Ok(()),
    }
}

/// What `put` does, but for running the one that has got the object.
#[inline(always)]
pub(super) fn begin_put<'py>(
    queue: &Bound<'py, DeferredQueue>,
    object: Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    let py = queue.py();
    // To ask whether there is room may run other code, after which somebody may wait.
    for asked in [false, true] {
        if let Some(waiting) = queue.get().busy_line(py) {
            return fire_first(&waiting, object);
        }
        let Some(size) = DeferredQueue::size(queue) else { break };
        if !asked && !has_room(&queue.get().pending_line(py)?, &size)? {
            return Err(QueueOverflow::bare_error(py));
        }
    }
    queue.get().pending_line(py)?.get().push_back(object)?;
    Ok(None)
}

/// Whether a line may become longer.
fn has_room(line: &Bound<'_, Fifo>, limit: &Bound<'_, PyAny>) -> Result<bool> {
    let py = line.py();
    stack::check(py)?;
    Ok(ffi::new_int(py, line.get().len(py) as u64)?.lt(limit)?)
}

/// A Deferred for what a queue has at its front, if it has anything.
#[inline(always)]
fn take_pending<'py>(queue: &Bound<'py, DeferredQueue>) -> Result<Option<Bound<'py, Deferred>>> {
    let py = queue.py();
    let pending = queue.get().with(py, |state| if_busy(py, &state.pending).cloned());
    let Some(pending) = pending else { return Ok(None) };
    let Some(object) = pending.get().pop_front(py)? else { return Ok(None) };
    match succeed(object.clone()) {
        Ok(deferred) => Ok(Some(deferred)),
        Err(error) => {
            // There was no memory for a Deferred.
            Fifo::insert_at(&pending, 0, object)?;
            Err(error)
        }
    }
}

#[pymethods]
#[allow(non_snake_case)]
impl DeferredQueue {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(size=None, backlog=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { state: Shared::new(QueueState::default()) }
    }

    #[pyo3(signature = (size=None, backlog=None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        size: Option<Bound<'_, PyAny>>,
        backlog: Option<Bound<'_, PyAny>>,
    ) {
        let (size, backlog) = (size.map(Hold::hold), backlog.map(Hold::hold));
        let state = QueueState { size, backlog, ..QueueState::default() };
        let before = slf.get().with(slf.py(), |current| std::mem::replace(current, state));
        drop(before);
    }

    /// Add an object. If somebody waits, the one that came first gets it.
    ///
    /// Raises QueueOverflow if there is no room.
    pub(super) fn put<'py>(slf: &Bound<'py, Self>, obj: Bound<'py, PyAny>) -> Result<()> {
        match slf.get().free_line(slf.py()) {
            Some(pending) => Ok(pending.get().push_back(obj)?),
            None => put_where_asked(slf, obj),
        }
    }

    /// Return a Deferred for the next object. Cancelling it gives up waiting.
    ///
    /// Raises QueueUnderflow if too many wait already.
    pub(super) fn get<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, Deferred>> {
        let py = slf.py();
        if let Some(deferred) = take_pending(slf)? {
            return Ok(deferred);
        }
        let waiting = slf.get().waiting_line(py)?;
        if let Some(backlog) = Self::backlog(slf)
            && !has_room(&waiting, &backlog)?
        {
            return Err(QueueUnderflow::bare_error(py));
        }
        let cancel = intern!(py, "_cancelGet");
        let canceller = if overrides::<Self>(slf, cancel) || slf.is_callable() {
            slf.getattr(cancel)?
        } else {
            slf.as_any().clone()
        };
        let deferred = make(py, || Chain::new(Some(canceller.hold())))?;
        // All of that may have run other code, after which something may be there.
        if let Some(deferred) = take_pending(slf)? {
            return Ok(deferred);
        }
        slf.get().waiting_line(py)?.get().push_back(deferred.as_any().clone())?;
        Ok(deferred)
    }

    /// Take a Deferred that was cancelled out of those that wait.
    fn _cancelGet<'py>(slf: &Bound<'py, Self>, d: &Bound<'py, PyAny>) -> Result<()> {
        Fifo::remove(&slf.get().waiting_line(slf.py())?, d)
    }

    /// The Deferreds of those that wait for an object, first come, first served.
    ///
    /// A sequence that is used like a list, where Twisted's is one. Can be set to any iterable.
    #[getter]
    pub(super) fn waiting<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Fifo>> {
        slf.get().waiting_line(slf.py())
    }

    #[setter]
    fn set_waiting<'py>(slf: &Bound<'py, Self>, waiting: &Bound<'py, PyAny>) -> PyResult<()> {
        let line = as_line(waiting)?.hold();
        let before = slf.get().with(slf.py(), |state| state.waiting.replace(line));
        drop(before);
        Ok(())
    }

    /// The objects that nobody has got yet.
    ///
    /// A sequence that is used like a list, where Twisted's is one. Can be set to any iterable.
    #[getter]
    pub(super) fn pending<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Fifo>> {
        slf.get().pending_line(slf.py())
    }

    #[setter]
    fn set_pending<'py>(slf: &Bound<'py, Self>, pending: &Bound<'py, PyAny>) -> PyResult<()> {
        let line = as_line(pending)?.hold();
        let before = slf.get().with(slf.py(), |state| state.pending.replace(line));
        drop(before);
        Ok(())
    }

    /// How many objects it holds at most, or None.
    #[getter]
    pub(super) fn size<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().with(py, |state| state.size.as_ref().map(|size| size.bind(py).clone()))
    }

    #[setter]
    fn set_size(slf: &Bound<'_, Self>, size: Option<Bound<'_, PyAny>>) {
        let size = size.map(Hold::hold);
        let before = slf.get().with(slf.py(), |state| std::mem::replace(&mut state.size, size));
        drop(before);
    }

    /// How many may wait for an object at most, or None.
    #[getter]
    pub(super) fn backlog<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().with(py, |state| state.backlog.as_ref().map(|backlog| backlog.bind(py).clone()))
    }

    #[setter]
    fn set_backlog(slf: &Bound<'_, Self>, backlog: Option<Bound<'_, PyAny>>) {
        let backlog = backlog.map(Hold::hold);
        let before =
            slf.get().with(slf.py(), |state| std::mem::replace(&mut state.backlog, backlog));
        drop(before);
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::REDUCE.get(slf.py())?.call1((slf,))
    }

    /// Return all of the state, for `copy` and `pickle`.
    fn __getstate__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        names::GET_STATE.get(slf.py())?.call1((slf,))
    }

    fn __setstate__(slf: &Bound<'_, Self>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        names::SET_STATE.get(slf.py())?.call1((slf, state)).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.during_gc();
        state.waiting.traverse(visit)?;
        state.pending.traverse(visit)?;
        state.size.traverse(visit)?;
        state.backlog.traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let state = slf.get().with(slf.py(), std::mem::take);
        drop(state);
    }
}
