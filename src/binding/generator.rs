//! `inlineCallbacks` and coroutines: running a generator from one Deferred to the next.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{
    PyAssertionError, PyException, PyMemoryError, PyStopIteration, PyTypeError,
};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, create_exception};

use super::aside;
use super::cell::Shared;
use super::deferred::{self, Deferred};
use super::error::{Error, Raise, Result};
use super::failure;
use super::ffi::stack::{self, Nested};
use super::ffi::{self, Held, Hold, Pool, Recycled, Sent, Text};
use super::foreign;
use super::functions::make;
use super::gc::Traverse;
use super::interned::intern;
use super::names;
use super::outcome::{self, Chain, Link, Outcome, Raised, as_deferred, classify, into_object};
use super::overrides::overrides;
use super::report;
use super::run::{self, Answer, Later, Next, Stack, Waiter, Work, make_room};
use crate::core::refusable;

create_exception!(
    deferrous,
    NotACoroutineError,
    PyTypeError,
    "Something that is no coroutine was given where one is needed."
);
create_exception!(
    deferrous,
    _InternalInlineCallbacksCancelledError,
    PyException,
    "What the Deferred of a generator comes to while the generator is being cancelled."
);

/// A task's place in the chain of the Deferred that it waits for.
const RESUME: u32 = 0;
/// A task's place in the chain of its own Deferred, where that is being cancelled.
const CANCEL: u32 = 1;

/// A generator or coroutine that is being run.
///
/// Stands as a waiter in the chain of the Deferred that it waits for, and as the canceller of the
/// Deferred that it will fire.
#[pyclass(name = "_Task", module = "deferrous", frozen)]
pub(super) struct Task {
    state: Shared<State>,
}

#[derive(Default)]
struct State {
    /// None when it has ended.
    generator: Option<Held<PyAny>>,
    /// The context that it runs in.
    context: Option<Held<PyAny>>,
    /// What to fire when it ends. None only in a task that is being taken apart.
    deferred: Option<Held<Deferred>>,
    /// What it waited for last.
    waiting_on: Option<Held<Deferred>>,
    /// Whether it looks on while the Deferred that it has yielded is run.
    looking: bool,
    /// What that Deferred came to.
    seen: Option<Outcome>,
    /// Whether what it waits for next is to be cancelled.
    cancel_next: bool,
}

impl State {
    /// Whether nothing dies with it: it has ended, and others hold the two Deferreds, too.
    fn is_light(&self, py: Python<'_>) -> bool {
        let (Some(deferred), Some(waiting_on)) = (&self.deferred, &self.waiting_on) else {
            return false;
        };
        self.generator.is_none()
            && self.context.is_none()
            && self.seen.is_none()
            && deferred.as_ptr() != waiting_on.as_ptr()
            && deferred.is_shared(py)
            && waiting_on.is_shared(py)
    }

    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.generator.traverse(visit)?;
        self.context.traverse(visit)?;
        self.deferred.traverse(visit)?;
        self.waiting_on.traverse(visit)?;
        self.seen.as_ref().map_or(Ok(()), |seen| seen.traverse(visit))
    }
}

/// Whether any task has ever been told to cancel what it waits for next. Until then nothing has to
/// look at that.
static ANY_CANCEL_NEXT: AtomicBool = AtomicBool::new(false);

impl Task {
    /// Whether what it waits for next is to be cancelled.
    #[inline(always)]
    fn is_to_cancel_next(&self, py: Python<'_>) -> bool {
        ANY_CANCEL_NEXT.load(Ordering::Relaxed) && self.with(py, |state| state.cancel_next)
    }

    fn with<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, transition)
    }
}

impl Recycled for Task {
    fn pool() -> &'static Pool {
        static POOL: Pool = Pool::new();
        &POOL
    }

    fn dies_quietly(&self, _py: Python<'_>) -> bool {
        true
    }

    fn is_light(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.is_light(py))
    }

    fn dispose_of_light(&self, py: Python<'_>) {
        self.dispose(py);
    }

    fn dispose(&self, py: Python<'_>) {
        drop(self.with(py, std::mem::take));
    }
}

#[pymethods]
impl Task {
    /// As the canceller of its Deferred.
    fn __call__<'py>(slf: &Bound<'py, Self>, deferred: Bound<'py, Deferred>) -> Result<()> {
        let _nested = Nested::enter(slf.py())?;
        if begin_cancel(slf, &deferred)? {
            run::run_within(slf.py(), Work::Run(deferred))
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
        self.with(py, |state| state.generator.as_ref().map(|it| it.bind(py).clone()))
    }

    /// Whether its generator is being resumed.
    #[getter]
    fn _running(slf: &Bound<'_, Self>) -> bool {
        let py = slf.py();
        let generator = slf.get().with(py, |state| state.generator.as_ref().map(Held::as_ptr));
        let is_it =
            |each: &Held<PyAny>| each.as_ptr() == slf.as_ptr() || Some(each.as_ptr()) == generator;
        DRIVEN.with(py, |all| all.iter().any(is_it))
    }

    /// Say whether what it waits for next is to be cancelled. Returns what was said before.
    fn _cancel_next(&self, py: Python<'_>, cancel: bool) -> bool {
        ANY_CANCEL_NEXT.fetch_or(cancel, Ordering::Relaxed);
        self.with(py, |state| std::mem::replace(&mut state.cancel_next, cancel))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.during_gc().traverse(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let state = slf.get().with(slf.py(), std::mem::take);
        drop(state);
    }
}

/// A task as a callback, for Deferreds that insist on being given one.
#[pyclass(name = "_TaskCallback", module = "deferrous", frozen)]
pub(super) struct TaskCallback {
    task: Held<Task>,
}

#[pymethods]
impl TaskCallback {
    /// Resume the task. A result that it does not take yet comes back, for its next turn.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        result: Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        let _nested = Nested::enter(py)?;
        match answer_callback(slf, &result)? {
            Answer::After(Work::Halt(_), _) => return Ok(result),
            Answer::After(work, _) => run::run_within(py, work)?,
            Answer::Now(_) => {}
        }
        Ok(py.None().into_bound(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.task.traverse(visit)
    }
}

/// Let the task have a result.
pub(super) fn answer_callback<'py>(
    callback: &Bound<'py, TaskCallback>,
    result: &Bound<'py, PyAny>,
) -> Result<Answer<'py>> {
    let task = callback.get().task.bind(callback.py()).clone();
    deliver(task, RESUME, classify(result)?)
}

/// Run a generator or coroutine up to the first Deferred that has no result.
///
/// Returns the Deferred for what it will return or raise. That and the task are made only when
/// they are needed: of a generator that ends at once nobody can see them before.
#[pyfunction]
#[pyo3(name = "_cancellableInlineCallbacks")]
pub(super) fn start<'py>(generator: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let _nested = Nested::enter(generator.py())?;
    start_within(generator)
}

/// As [`start`], within a call that is known to nest.
pub(super) fn start_within<'py>(generator: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = generator.py();
    if ffi::debugging_by_default(py)? {
        return start_prepared(generator);
    }
    let context = ffi::copy_context(py)?;
    let stopped = advance(&generator, &generator, &context, Outcome::Taken);
    if ANY_EARLY.load(Ordering::Relaxed)
        && let Some((task, deferred)) = take_early(&generator, &context)
    {
        run::run_within(py, Work::TakeUp(task, stopped?))?;
        return Ok(deferred);
    }
    let stopped = stopped?;
    if let Stopped::Returned(result) = &stopped
        && ffi::is_ordinary(result)
        && !ffi::debugging_by_default(py)?
    {
        return ffi::new_deferred(py, || Chain::fired(Outcome::Value(result.clone().hold())));
    }
    let deferred = ffi::new_deferred(py, Chain::default)?;
    let task = task_for(generator, context, &deferred)?;
    match stopped {
        Stopped::Before(other) if matches!(attach(&task, &other), Ok(true)) => {}
        stopped => run::run_within(py, Work::TakeUp(task, stopped))?,
    }
    Ok(deferred)
}

/// As [`start_within`], with the task and the Deferred made first.
#[cold]
fn start_prepared<'py>(generator: Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = generator.py();
    let (task, deferred) = prepare(generator)?;
    run::run_within(py, Work::Resume(task, Outcome::Taken))?;
    Ok(deferred)
}

/// Call the function that `inlineCallbacks` decorates, with a tuple and a dict of arguments, and
/// run the generator that it returns.
#[pyfunction]
#[pyo3(name = "_runInlineCallbacks")]
pub(super) fn start_called<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyAny>,
    kwargs: &Bound<'py, PyAny>,
) -> Result<Bound<'py, Deferred>> {
    let py = function.py();
    // What is called, and the generator that it makes, CPython counts itself.
    stack::check(py)?;
    let kwargs = kwargs.cast::<PyDict>()?;
    let kwargs = if kwargs.is_empty() { None } else { Some(kwargs) };
    let generator = match ffi::call_any_way(function, args.cast::<PyTuple>()?, kwargs) {
        Ok(generator) => generator,
        Err(raised) => return Err(without_generator(function, raised.into())),
    };
    if !ffi::is_generator(&generator) {
        look_for_generator(function, &generator)?;
    }
    start_within(generator)
}

/// What the function that `inlineCallbacks` decorates has raised.
#[cold]
fn without_generator(function: &Bound<'_, PyAny>, error: Error) -> Error {
    let py = function.py();
    match names::DEF_GEN_RETURN.get(py) {
        Ok(class) if error.value(py).is_instance(class).unwrap_or(false) => {
            // With that as its context, as Twisted's.
            let text = Text::Ours("caught returnValue being used in a non-generator");
            let instead = no_generator(function, text, None, "");
            ffi::set_context(&instead, error.into_raised(py));
            instead
        }
        Ok(_) => error,
        Err(error) => error,
    }
}

/// See whether this is a generator of another kind.
///
/// # Errors
///
/// `TypeError` if it is none.
#[cold]
fn look_for_generator(function: &Bound<'_, PyAny>, generator: &Bound<'_, PyAny>) -> Result<()> {
    let py = function.py();
    if generator.is_instance(names::GENERATOR_TYPE.get(py)?)?
        || generator.is_instance(names::GENERATOR_ABC.get(py)?)?
    {
        return Ok(());
    }
    let hint = if ffi::is_coroutine(generator) {
        "; use ensureDeferred on what a function with `async def` returns"
    } else {
        ""
    };
    Err(no_generator(function, Text::Ours(" got "), Some(generator.repr()?), hint))
}

/// That a function gives no generator.
#[cold]
fn no_generator<'py>(
    function: &Bound<'py, PyAny>,
    instead: Text<'_, 'py>,
    what: Option<Bound<'py, PyString>>,
    hint: &'static str,
) -> Error {
    let text = || {
        let what = what.map_or(Text::Ours(""), Text::Python);
        ffi::joined(
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

/// Make the task and the Deferred for a generator that has not begun.
fn prepare<'py>(generator: Bound<'py, PyAny>) -> Result<(Bound<'py, Task>, Bound<'py, Deferred>)> {
    let py = generator.py();
    let context = ffi::copy_context(py)?;
    let deferred = make(py, Chain::default)?;
    Ok((task_for(generator, context, &deferred)?, deferred))
}

/// Make the task that runs a generator for a Deferred, and can be cancelled by it.
fn task_for<'py>(
    generator: Bound<'py, PyAny>,
    context: Bound<'py, PyAny>,
    deferred: &Bound<'py, Deferred>,
) -> Result<Bound<'py, Task>> {
    new_task_for(generator, Some(context), deferred)
}

/// As [`task_for`], where the context may not be known yet.
#[inline(always)]
fn new_task_for<'py>(
    generator: Bound<'py, PyAny>,
    context: Option<Bound<'py, PyAny>>,
    deferred: &Bound<'py, Deferred>,
) -> Result<Bound<'py, Task>> {
    let py = generator.py();
    let state = || State {
        generator: Some(generator.hold()),
        context: context.map(Hold::hold),
        deferred: Some(deferred.clone().hold()),
        ..State::default()
    };
    let task = ffi::new_task(py, || Task { state: Shared::new(state()) })?;
    let canceller = task.as_any().clone().hold();
    let before = deferred.get().chain(py, |chain| chain.replace_canceller(Some(canceller)));
    drop(before);
    Ok(task)
}

/// Run something that is to be a coroutine or generator.
///
/// # Errors
///
/// `NotACoroutineError`
pub(super) fn from_coroutine(coro: Bound<'_, PyAny>) -> Result<Bound<'_, Deferred>> {
    if is_coroutine_or_generator(&coro)? {
        return start(coro);
    }
    let text = [Text::Python(coro.repr()?), Text::Ours(" is not a coroutine")];
    Err(NotACoroutineError::error_saying(ffi::joined(coro.py(), text)))
}

/// Run a coroutine that awaits Deferreds, and return a Deferred for what it returns or raises.
///
/// A generator that yields Deferreds will do as well, and a Deferred is returned as it is. Raises
/// NotACoroutineError for anything else. Cancelling the Deferred cancels what is awaited.
///
/// Beyond Twisted's, the coroutine may also await futures and coroutines of asyncio, while a loop
/// is running.
#[pyfunction]
#[pyo3(name = "ensureDeferred")]
pub(super) fn ensure_deferred<'py>(coro: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    if as_deferred(&coro).is_some() {
        return Ok(coro);
    }
    if let Some(deferred) = foreign::adopt(&coro)? {
        return Ok(deferred.into_any());
    }
    let py = coro.py();
    match from_coroutine(coro.clone()) {
        Err(before) if before.is_instance_of::<NotACoroutineError>(py) => {
            Err(neither(&coro, before))
        }
        started => Ok(started?.into_any()),
    }
}

/// The error of [`ensure_deferred`], with that of [`from_coroutine`] for its context.
#[cold]
fn neither(coro: &Bound<'_, PyAny>, before: Error) -> Error {
    let repr = match coro.repr() {
        Ok(repr) => repr,
        Err(error) => return error.into(),
    };
    let text = [Text::Python(repr), Text::Ours(" is not a coroutine or a Deferred")];
    let error = NotACoroutineError::error_saying(ffi::joined(coro.py(), text));
    ffi::set_context(&error, before.into_raised(coro.py()));
    error
}

/// What a generator may yield besides Deferreds.
enum Yielded {
    /// A value, which comes straight back.
    Value,
    /// A coroutine or generator, to be run.
    Coroutine,
    /// An asyncio future that is awaited.
    Future,
    /// A Deferred of Twisted's.
    Twisted,
}

fn kind_of(object: &Bound<'_, PyAny>, claimed: Option<&Bound<'_, PyType>>) -> PyResult<Yielded> {
    let py = object.py();
    if ffi::is_coroutine(object) || ffi::is_generator(object) {
        return Ok(Yielded::Coroutine);
    }
    if ffi::is_plain(object) {
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

fn is_coroutine_or_generator(object: &Bound<'_, PyAny>) -> Result<bool> {
    let claimed = outcome::claimed_class(object)?;
    Ok(matches!(kind_of(object, claimed.as_ref())?, Yielded::Coroutine))
}

/// What we are resuming, in all threads and greenlets, in the order in which we began to: tasks, and
/// generators that have none yet. They need not be nested: each may stand on another stack than the
/// one before.
///
/// A thread may end while greenlets of it still stand in such a call. What stands here for them
/// stays, as nobody can let go of it then.
static DRIVEN: Shared<Vec<Held<PyAny>>> = Shared::new(Vec::new());

/// A task, or a generator without one, that is being resumed.
struct Driving<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'a, 'py> Driving<'a, 'py> {
    #[inline(always)]
    fn begin(resumed: &'a Bound<'py, PyAny>) -> Self {
        let driven = resumed.clone().hold();
        let refused = DRIVEN.with(resumed.py(), |all| {
            // Where there is no memory to remember it, it is resumed all the same.
            if all.len() == all.capacity() && refusable(|| all.try_reserve(1)).is_err() {
                return Some(driven);
            }
            all.push(driven);
            None
        });
        drop(refused);
        Self(resumed)
    }
}

impl Drop for Driving<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        let this = self.0.as_ptr();
        let driven = DRIVEN.with(self.0.py(), |all| {
            // Most often it is the last that we have begun with.
            match all.last() {
                Some(last) if last.as_ptr() == this => all.pop(),
                _ => take_out(all, this),
            }
        });
        drop(driven);
    }
}

/// Take out of what is being resumed what is not the last.
#[cold]
fn take_out(all: &mut Vec<Held<PyAny>>, resumed: *mut pyo3::ffi::PyObject) -> Option<Held<PyAny>> {
    let place = all.iter().rposition(|each| each.as_ptr() == resumed)?;
    Some(all.remove(place))
}

/// The generators that we are resuming, as [`DRIVEN`] has them.
#[pyfunction]
#[pyo3(name = "_driven")]
pub(super) fn driven(py: Python<'_>) -> Result<Bound<'_, PyList>> {
    let copied = DRIVEN.with(py, |all| {
        let mut copied = Vec::new();
        refusable(|| copied.try_reserve(all.len())).ok()?;
        copied.extend(all.iter().map(|each| each.bind(py).clone()));
        Some(copied)
    });
    let listed = ffi::new_list(py)?;
    for generator in copied.ok_or_else(|| ffi::no_memory(py))?.into_iter().filter_map(generator_of)
    {
        listed.append(generator)?;
    }
    Ok(listed)
}

/// The generator of a task; a generator itself. None of a task that has ended.
fn generator_of(driven: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    let py = driven.py();
    match driven.cast::<Task>() {
        Ok(task) => task.get().with(py, |state| Some(state.generator.as_ref()?.bind(py).clone())),
        Err(_) => Some(driven),
    }
}

/// The tasks that somebody has asked for while their generators, in all threads, ran for the first
/// time. Most often there are none, and looking at that costs next to nothing.
static EARLY: Shared<Vec<Held<Task>>> = Shared::new(Vec::new());
static ANY_EARLY: AtomicBool = AtomicBool::new(false);

/// Return the task of a generator that is being resumed, and the Deferred that it is to fire. Where
/// it has none yet, because it has not waited for anything, it gets one. None if it is not being
/// resumed.
#[pyfunction]
#[pyo3(name = "_task_for")]
pub(super) fn task_of_driven<'py>(
    generator: &Bound<'py, PyAny>,
) -> Result<Option<(Bound<'py, Task>, Bound<'py, Deferred>)>> {
    let py = generator.py();
    let all: Vec<_> = DRIVEN.with(py, |all| all.iter().map(|each| each.bind(py).clone()).collect());
    for driven in all.into_iter().rev() {
        if let Ok(task) = driven.cast::<Task>() {
            let found = task.get().with(py, |state| {
                let it = state.generator.as_ref()?;
                if it.as_ptr() != generator.as_ptr() {
                    return None;
                }
                Some(state.deferred.as_ref()?.bind(py).clone())
            });
            if let Some(deferred) = found {
                return Ok(Some((task.clone(), deferred)));
            }
        } else if driven.is(generator) {
            return early_task(generator).map(Some);
        }
    }
    Ok(None)
}

/// The task of a generator that runs for the first time.
fn early_task<'py>(
    generator: &Bound<'py, PyAny>,
) -> Result<(Bound<'py, Task>, Bound<'py, Deferred>)> {
    let py = generator.py();
    if let Some(task) = early(generator, |all, place| all[place].bind(py).clone()) {
        let deferred =
            task.get().with(py, |state| state.deferred.as_ref().map(|it| it.clone_ref(py)));
        if let Some(deferred) = deferred {
            return Ok((task, deferred.into_bound(py)));
        }
    }
    let deferred = make(py, Chain::default)?;
    let task = new_task_for(generator.clone(), None, &deferred)?;
    let held = task.clone().hold();
    let added = EARLY.with(py, |all| {
        if refusable(|| all.try_reserve(1)).is_err() {
            return Err(held);
        }
        all.push(held);
        ANY_EARLY.store(true, Ordering::Relaxed);
        Ok(())
    });
    match added {
        Ok(()) => Ok((task, deferred)),
        Err(_unused) => Err(PyMemoryError::bare_error(py)),
    }
}

/// What a function makes of the place among the early tasks of that of a generator.
fn early<R>(
    generator: &Bound<'_, PyAny>,
    then: impl FnOnce(&mut Vec<Held<Task>>, usize) -> R,
) -> Option<R> {
    let py = generator.py();
    EARLY.with(py, |all| {
        let is_it = |task: &Held<Task>| {
            let generator_of = |state: &mut State| state.generator.as_ref().map(Held::as_ptr);
            task.bind(py).get().with(py, generator_of) == Some(generator.as_ptr())
        };
        let place = all.iter().rposition(is_it)?;
        Some(then(all, place))
    })
}

/// The task that a generator has got while it ran for the first time, if any. It is to run in this
/// context from now on.
#[cold]
fn take_early<'py>(
    generator: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
) -> Option<(Bound<'py, Task>, Bound<'py, Deferred>)> {
    let py = generator.py();
    let task = early(generator, |all, place| {
        let task = all.remove(place);
        ANY_EARLY.store(!all.is_empty(), Ordering::Relaxed);
        task
    })?;
    let task = task.into_bound(py);
    let context = context.clone().hold();
    let deferred = task.get().with(py, |state| {
        state.context = Some(context);
        state.deferred.as_ref().map(|it| it.bind(py).clone())
    })?;
    Some((task, deferred))
}

/// Where a generator has stopped.
pub(super) enum Stopped<'py> {
    /// It has yielded this Deferred, of the class itself, which has no outcome to be taken.
    Before(Bound<'py, Deferred>),
    /// It has yielded this, which has to be looked at more closely.
    At(Bound<'py, PyAny>),
    /// It returned this.
    Returned(Bound<'py, PyAny>),
    /// It raised this.
    Raised(Raised<'py>),
}

/// Resume a generator in its context, as often as what it yields is there at once. `driven` is its
/// task, or the generator itself if it has none.
fn advance<'py>(
    driven: &Bound<'py, PyAny>,
    generator: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    outcome: Outcome,
) -> Result<Stopped<'py>> {
    let py = generator.py();
    let mut outcome = outcome;
    let aside = aside::step_aside(py);
    let driving = Driving::begin(driven);
    let stopped = ffi::in_context(context, || {
        loop {
            let sent = match outcome {
                Outcome::Failure(reason) => throw(generator, reason.into_bound(py)),
                outcome => ffi::send(generator, &into_object(py, outcome)),
            };
            let object = match sent {
                Sent::Yielded(object) => object,
                Sent::Returned(object) => return Ok(Stopped::Returned(object)),
                Sent::Raised(raised) => return Ok(Stopped::Raised(raised)),
            };
            outcome = match ffi::into_exact::<Deferred>(object) {
                Ok(deferred) => match take_if_there(&deferred)? {
                    Some(outcome) => outcome,
                    None => return Ok(Stopped::Before(deferred)),
                },
                Err(object) => {
                    if !ffi::is_plain(&object) {
                        return Ok(Stopped::At(object));
                    }
                    Outcome::Value(object.hold())
                }
            };
        }
    });
    drop((driving, aside));
    stopped.unwrap_or_else(|raised| Ok(Stopped::Raised(raised)))
}

/// What the driver of a coroutine that has come to await a Deferred can wait for, and what wakes
/// it then, if the driver is somebody else than us.
#[inline(always)]
pub(super) fn stand_in<'py>(deferred: &Bound<'py, Deferred>) -> Result<Option<StandIn<'py>>> {
    // Twisted imports asyncio, too: without that there is neither.
    match names::RUNNING_LOOP.get_once_imported(deferred.py()) {
        None => Ok(None),
        Some(running) => stand_in_where(running, deferred),
    }
}

/// What is waited for, and what wakes the driver.
type StandIn<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

#[inline(never)]
fn stand_in_where<'py>(
    running: &Bound<'py, PyAny>,
    deferred: &Bound<'py, Deferred>,
) -> Result<Option<StandIn<'py>>> {
    let py = deferred.py();
    let in_loop = !running.call0()?.is_none();
    let with_twisted = match names::TWISTED.get_if_imported(py) {
        Some(class) => !class.is(py.get_type::<Deferred>()),
        None => false,
    };
    if !in_loop && !with_twisted {
        return Ok(None);
    }
    Ok(names::STAND_IN.get(py)?.call1((driven(py)?, deferred))?.extract()?)
}

/// Resume the generator of a task with an outcome.
pub(super) fn resume<'py>(
    task: Bound<'py, Task>,
    outcome: Outcome,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    match go_on(&task, outcome)? {
        Some(stopped) => take_up(task, stopped, stack),
        None => Ok(Next::Done),
    }
}

/// Resume the generator of a task with an outcome. None if there is nothing to be resumed: it has
/// ended, or the collector has taken the task apart.
#[inline(always)]
fn go_on<'py>(task: &Bound<'py, Task>, outcome: Outcome) -> Result<Option<Stopped<'py>>> {
    let py = task.py();
    let (generator, context) = task.get().with(py, |state| {
        (
            state.generator.as_ref().map(|it| it.bind(py).clone()),
            state.context.as_ref().map(|it| it.bind(py).clone()),
        )
    });
    match (generator, context) {
        (Some(generator), Some(context)) => {
            advance(task.as_any(), &generator, &context, outcome).map(Some)
        }
        _ => Ok(None),
    }
}

/// See to it that the task is resumed, or its Deferred fired.
#[inline(always)]
pub(super) fn take_up<'py>(
    task: Bound<'py, Task>,
    stopped: Stopped<'py>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = task.py();
    let object = match stopped {
        Stopped::Before(deferred) => return wait_for(task, deferred, stack),
        Stopped::At(object) => object,
        Stopped::Returned(object) => return Ok(run_next(finish(&task, classify(&object))?)),
        Stopped::Raised(raised) => return ended_by(&task, raised, stack),
    };
    if let Some(deferred) = as_deferred(&object) {
        return wait(task, deferred.clone(), stack);
    }
    // Asked once: what asks it again and again, each time within what it does to answer, takes for
    // ever.
    let asked = outcome::claimed_class(&object)
        .and_then(|claimed| Ok((kind_of(&object, claimed.as_ref())?, claimed)))
        .map(Some)
        .or_else(|error| outcome::unless_interrupted(py, error, || None));
    let (kind, claimed) = match asked {
        Ok(Some(asked)) => asked,
        Ok(None) => return Ok(Next::Do(Work::Resume(task, Outcome::Value(object.hold())))),
        Err(error) => {
            let outcome = outcome::failed(ffi::into_raised(py)(error), false)?;
            return Ok(Next::Do(Work::Resume(task, outcome)));
        }
    };
    let outcome = match kind {
        Yielded::Coroutine => {
            let (inner, deferred) = prepare(object)?;
            if let Err(error) = make_room(py, stack) {
                let outcome = outcome::failed(error.into_raised(py), false)?;
                return Ok(Next::Do(Work::Resume(task, outcome)));
            }
            stack.push(Later::Wait(task, deferred));
            return Ok(Next::Do(Work::Resume(inner, Outcome::Taken)));
        }
        Yielded::Future => {
            let done = names::WAIT_FOR_FUTURE.get(py)?.call1((object,))?;
            return wait(task, done.cast_into()?, stack);
        }
        Yielded::Twisted => {
            let adopted = names::ADOPT.get(py)?.call1((object,))?;
            return wait(task, adopted.cast_into()?, stack);
        }
        Yielded::Value => match outcome::classify_as(&object, claimed.as_ref()) {
            Ok(outcome) => outcome,
            Err(error) => outcome::failed(ffi::into_raised(py)(error), false)?,
        },
    };
    Ok(Next::Do(Work::Resume(task, outcome)))
}

/// Throw a failure into a generator.
#[inline(never)]
fn throw<'py>(generator: &Bound<'py, PyAny>, reason: Bound<'py, PyAny>) -> Sent<'py> {
    let py = generator.py();
    let thrown = || -> Result<Bound<'py, PyAny>, Raised<'py>> {
        let class = names::failure_class(py).map_err(ffi::into_raised(py))?;
        if reason.get_type_ptr() != class.as_type_ptr() {
            let throw = intern!(py, "throwExceptionIntoGenerator");
            return ffi::call_method_one(&reason, throw, generator);
        }
        let exception = failure::to_raise(&reason).map_err(ffi::into_raised(py))?;
        ffi::call_method_one(generator, intern!(py, "throw"), &exception)
    };
    match thrown() {
        Ok(object) => Sent::Yielded(object),
        Err(raised) if raised.is_instance_of::<PyStopIteration>() => {
            match raised.getattr(intern!(py, "value")) {
                Ok(value) => Sent::Returned(value),
                Err(error) => Sent::Raised(ffi::into_raised(py)(error)),
            }
        }
        Err(raised) => Sent::Raised(raised),
    }
}

/// The outcome of a Deferred that has one and nothing to do with it. The Deferred's is None then,
/// as after a callback that returned None.
#[inline(always)]
fn take_if_there(deferred: &Bound<'_, Deferred>) -> Result<Option<Outcome>> {
    let py = deferred.py();
    if !ffi::is_exact::<Deferred>(deferred) {
        return Ok(None);
    }
    let taken = deferred.get().chain(py, |chain| {
        if !chain.is_at_rest() {
            return None;
        }
        chain.mark_handled();
        let chained_to = chain.replace_chained_to(None);
        Some((chained_to, chain.replace_outcome(Outcome::Taken)))
    });
    match taken {
        None => Ok(None),
        Some((chained_to, outcome)) => {
            drop(chained_to);
            report::forget(deferred)?;
            Ok(Some(outcome))
        }
    }
}

/// Have a task wait for a Deferred.
pub(super) fn wait<'py>(
    task: Bound<'py, Task>,
    deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    if let Some(outcome) = take_if_there(&deferred)? {
        return Ok(Next::Do(Work::Resume(task, outcome)));
    }
    wait_for(task, deferred, stack)
}

/// Have a task wait for a Deferred that has no outcome to be taken.
#[inline(always)]
fn wait_for<'py>(
    task: Bound<'py, Task>,
    deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = task.py();
    let add_both = intern!(py, "addBoth");
    if overrides::<Deferred>(&deferred, add_both) {
        task.get().with(py, |state| state.looking = true);
        let callback = TaskCallback { task: task.clone().hold() };
        let added = deferred.call_method1(add_both, (callback,));
        if let Err(error) = added {
            task.get().with(py, |state| state.looking = false);
            return Err(error.into());
        }
        return look(task, deferred);
    }
    let joined = match attach(&task, &deferred) {
        Ok(true) => return Ok(Next::Done),
        Ok(false) => make_room(py, stack).and_then(|()| join_chain(&task, &deferred)),
        Err(error) => Err(error),
    };
    if let Err(error) = joined {
        // Nobody would ever resume the generator: it gets this instead of a result.
        let outcome = outcome::failed(error.into_raised(py), false)?;
        return Ok(Next::Do(Work::Resume(task, outcome)));
    }
    let pending = !deferred.get().chain(py, |chain| chain.is_runnable());
    let cancel = task.get().with(py, |state| {
        state.looking = true;
        pending && std::mem::take(&mut state.cancel_next)
    });
    stack.push(Later::Look(task, deferred.clone()));
    Ok(Next::Do(if cancel { Work::Cancel(deferred) } else { Work::Run(deferred) }))
}

/// Put a task into the chain of a Deferred that it is to wait for. False if that would have to be
/// run or cancelled then.
///
/// # Errors
///
/// `MemoryError`
#[inline(always)]
fn attach<'py>(task: &Bound<'py, Task>, deferred: &Bound<'py, Deferred>) -> Result<bool> {
    if deferred.get().chain(task.py(), |chain| chain.is_runnable())
        || task.get().is_to_cancel_next(task.py())
    {
        return Ok(false);
    }
    join_chain(task, deferred)?;
    set_waiting_on(task, deferred.clone());
    Ok(true)
}

/// Resumes the task with the Deferred's result, when its turn in the chain comes.
#[inline(always)]
fn join_chain<'py>(task: &Bound<'py, Task>, deferred: &Bound<'py, Deferred>) -> Result<()> {
    let waiter = Waiter::new(task);
    let added = deferred.get().chain(task.py(), |chain| chain.add(Link::Deliver(waiter, RESUME)));
    deferred::or_no_memory(task.py(), added)
}

#[inline(always)]
fn set_waiting_on(task: &Bound<'_, Task>, deferred: Bound<'_, Deferred>) {
    let deferred = deferred.hold();
    let before = task.get().with(task.py(), |state| state.waiting_on.replace(deferred));
    drop(before);
}

/// The Deferred that a task has yielded was run. Go on if that gave it what it waits for.
pub(super) fn look<'py>(
    task: Bound<'py, Task>,
    deferred: Bound<'py, Deferred>,
) -> Result<Next<'py>> {
    let seen = task.get().with(task.py(), |state| {
        state.looking = false;
        state.seen.take()
    });
    match seen {
        Some(outcome) => Ok(Next::Do(Work::Resume(task, outcome))),
        None => {
            set_waiting_on(&task, deferred);
            Ok(Next::Done)
        }
    }
}

/// The Deferred that a task has yielded could not be run to its end, and may be later. The task
/// waits for it as for one that had no outcome.
pub(super) fn stop_looking<'py>(task: &Bound<'py, Task>, deferred: Bound<'py, Deferred>) {
    task.get().with(task.py(), |state| state.looking = false);
    set_waiting_on(task, deferred);
}

/// Let a task have an outcome if it looks on, or return it.
#[inline(always)]
fn see(task: &Bound<'_, Task>, outcome: Outcome) -> Option<Outcome> {
    let (outcome, before) = task.get().with(task.py(), |state| {
        if state.looking { (None, state.seen.replace(outcome)) } else { (Some(outcome), None) }
    });
    drop(before);
    outcome
}

/// A Deferred has an outcome for a task, as part of its run.
#[inline(always)]
pub(super) fn deliver<'py>(
    task: Bound<'py, Task>,
    place: u32,
    outcome: Outcome,
) -> Result<Answer<'py>> {
    if place == CANCEL {
        return deliver_cancelled(&task, outcome);
    }
    let Some(outcome) = see(&task, outcome) else { return Ok(Answer::Now(Outcome::Taken)) };
    match go_on(&task, outcome)? {
        Some(Stopped::Before(deferred)) if is_turned_away(&task, &deferred) => {
            wait_in_front(&task, &deferred)
        }
        // Most often it waits for the next.
        Some(Stopped::Before(deferred)) if matches!(attach(&task, &deferred), Ok(true)) => {
            Ok(Answer::Now(Outcome::Taken))
        }
        Some(Stopped::Returned(object)) => Ok(match finish(&task, classify(&object))? {
            Some(deferred) => Answer::After(Work::Run(deferred), Outcome::Taken),
            None => Answer::Now(Outcome::Taken),
        }),
        Some(stopped) => {
            if let Stopped::At(object) = &stopped
                && let Some(deferred) = as_deferred(object)
                && is_turned_away(&task, deferred)
            {
                return wait_in_front(&task, deferred);
            }
            Ok(Answer::After(Work::TakeUp(task, stopped), Outcome::Taken))
        }
        None => Ok(Answer::Now(Outcome::Taken)),
    }
}

/// Whether a task that was given the outcome of a Deferred waits for the same one again, because
/// a callback of that has paused it: a coroutine does not take its result then.
#[inline(always)]
fn is_turned_away<'py>(task: &Bound<'py, Task>, deferred: &Bound<'py, Deferred>) -> bool {
    let is_same = |it: &Held<Deferred>| it.as_ptr() == deferred.as_ptr();
    task.get().with(task.py(), |state| state.waiting_on.as_ref().is_some_and(is_same))
        && is_halted(deferred)
}

#[cold]
fn is_halted(deferred: &Bound<'_, Deferred>) -> bool {
    let py = deferred.py();
    deferred.get().chain(py, |chain| chain.called() && chain.running() && chain.paused() != 0)
}

/// Have a task wait, before all others, until a Deferred goes on. Where this is not part of its run
/// itself, but of a callback's, the run comes to the task next, and ends there.
#[cold]
fn wait_in_front<'py>(
    task: &Bound<'py, Task>,
    deferred: &Bound<'py, Deferred>,
) -> Result<Answer<'py>> {
    let py = task.py();
    let waiter = Waiter::new(task);
    let added = deferred.get().chain(py, |chain| chain.add_front(Link::Deliver(waiter, RESUME)));
    deferred::or_no_memory(py, added)?;
    Ok(Answer::After(Work::Halt(deferred.clone()), Outcome::Taken))
}

/// A Deferred that was cancelled has an outcome for its own task.
#[cold]
fn deliver_cancelled<'py>(task: &Bound<'py, Task>, outcome: Outcome) -> Result<Answer<'py>> {
    let Outcome::Failure(reason) = outcome else { return Ok(Answer::Now(outcome)) };
    // Something else has come here if somebody has set `called` back by hand. That is raised
    // again then.
    let py = task.py();
    let ours = py.get_type::<_InternalInlineCallbacksCancelledError>();
    reason.bind(py).call_method1(intern!(py, "trap"), (ours,))?;
    cancel(task)
}

/// The generator of a task has raised. Where there is no memory to make something of that, the task
/// ends with that error: nobody would ever fire its Deferred.
#[cold]
fn ended_by<'py>(
    task: &Bound<'py, Task>,
    raised: Raised<'py>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = task.py();
    match end_by(task, raised, stack) {
        Err(error) if error.is_instance_of::<PyMemoryError>(py) => {
            Ok(run_next(finish(task, Err(error))?))
        }
        ended => ended,
    }
}

fn end_by<'py>(
    task: &Bound<'py, Task>,
    raised: Raised<'py>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = task.py();
    if raised.is_instance(names::DEF_GEN_RETURN.get(py)?)? {
        let traceback = raised.getattr(intern!(py, "__traceback__"))?;
        let warned = names::WARN_RETURN_VALUE.get(py)?.call1((traceback,));
        let value = raised.getattr(intern!(py, "value"))?;
        drop(raised);
        warned?;
        return Ok(run_next(finish(task, classify(&value))?));
    }
    let deferred = task.get().with(py, |state| state.deferred.as_ref().map(|it| it.clone_ref(py)));
    let capture_vars = match deferred {
        Some(deferred) => ffi::debugging(deferred.bind(py))?,
        None => false,
    };
    // As with Twisted, the exception is being handled while it is handed on: callbacks see it in
    // `sys.exc_info()`, and what they raise has it for its context.
    // Where there is no memory for that, they do not.
    if make_room(py, stack).is_ok() {
        stack.push(Later::Handled(ffi::begin_handling(&raised)));
    }
    let reason = outcome::failed(raised, capture_vars)?;
    Ok(run_next(finish(task, Ok(reason))?))
}

/// Fire the Deferred of a task that has ended. It is returned if it has to be run then.
fn finish<'py>(
    task: &Bound<'py, Task>,
    outcome: Result<Outcome>,
) -> Result<Option<Bound<'py, Deferred>>> {
    let py = task.py();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => outcome::failed(ffi::into_raised(py)(error), false)?,
    };
    // The rest stays: if it has been cancelled, but for a pause, that is still to come.
    let (generator, context, deferred) = task.get().with(py, |state| {
        let deferred = state.deferred.as_ref().map(|it| it.bind(py).clone());
        (state.generator.take(), state.context.take(), deferred)
    });
    drop((generator, context));
    match deferred {
        Some(deferred) if deferred::begin_fire(&deferred, outcome)? => Ok(Some(deferred)),
        _ => Ok(None),
    }
}

fn run_next(deferred: Option<Bound<'_, Deferred>>) -> Next<'_> {
    deferred.map_or(Next::Done, |deferred| Next::Do(Work::Run(deferred)))
}

/// Fire a task's Deferred as cancelled, with the cancelling of the task in front of its chain.
/// True if the Deferred has to be run then.
fn begin_cancel<'py>(task: &Bound<'py, Task>, deferred: &Bound<'py, Deferred>) -> Result<bool> {
    let py = task.py();
    let reason = failure::of_new::<_InternalInlineCallbacksCancelledError>(py)?;
    let waiter = Waiter::new(task);
    let added = deferred.get().chain(py, |chain| chain.add_front(Link::Deliver(waiter, CANCEL)));
    deferred::or_no_memory(py, added)?;
    deferred::begin_fire(deferred, Outcome::Failure(reason.hold()))
}

/// Ask a task to end, as the canceller of its Deferred.
pub(super) fn ask_to_cancel<'py>(
    task: &Bound<'py, Task>,
    deferred: Bound<'py, Deferred>,
) -> Result<Next<'py>> {
    if begin_cancel(task, &deferred)? {
        return Ok(Next::Do(Work::Run(deferred)));
    }
    Ok(Next::Done)
}

/// Cancel what a task waits for, as part of the run of the Deferred that was cancelled. What the
/// generator makes of that goes to a new Deferred, for which the old one then waits.
fn cancel<'py>(task: &Bound<'py, Task>) -> Result<Answer<'py>> {
    let py = task.py();
    let deferred = make(py, || Chain::new(Some(task.as_any().clone().hold())))?;
    let next = deferred.clone().hold();
    let (before, waiting_on) = task.get().with(py, |state| {
        let waiting_on = state.waiting_on.as_ref().map(|it| it.bind(py).clone());
        (state.deferred.replace(next), waiting_on)
    });
    drop(before);
    match waiting_on {
        Some(waiting_on) => {
            Ok(Answer::After(Work::Cancel(waiting_on), Outcome::Deferred(deferred.hold())))
        }
        // A generator that cancels itself before it has waited for anything.
        None => Err(PyAssertionError::bare_error(py)),
    }
}
