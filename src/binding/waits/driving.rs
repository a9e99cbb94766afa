//! Resumes generators and coroutines, and records which ones are running.

#[cfg(Py_GIL_DISABLED)]
use std::{cell::Cell, ptr};

use pyo3::exceptions::PyStopIteration;
#[cfg(Py_GIL_DISABLED)]
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::{
    self, Held, Hold, Sent,
    again::{interruption, put_back},
    cell::each_thread,
    code_places,
    error::{Raised, Result},
    interned::intern,
    lives::Running,
    watching,
};
use crate::binding::judge::{
    asked::has_of_its_own,
    attributes,
    classify::{self, as_deferred},
    report,
};
use crate::binding::model::{
    awaiting::Waker,
    deferred::Deferred,
    failure::FailureBase,
    names, observe,
    outcome::{Outcome, into_object},
    task::Task,
};
use crate::binding::waits::{aside, loops, work::Stopped};
use crate::core::refusable;

each_thread! {
    /// What is being resumed, in all threads and greenlets, oldest first: tasks, and generators
    /// without a task. They need not be nested, because greenlets switch between stacks. (Without
    /// the GIL: only what this thread resumes; callers ask about their own stack.)
    ///
    /// If a thread ends while one of its greenlets is inside such a call, its entry stays forever:
    /// there is no way to know that the call will not return.
    static DRIVEN: EachThread<Vec<Held<PyAny>>> = Vec::new();
}

#[cfg(Py_GIL_DISABLED)]
thread_local! {
    /// The Deferred that an `await` has yielded since this thread resumed a generator. Only compared.
    static AWAITED: Cell<*const PyObject> = const { Cell::new(ptr::null()) };
}

/// Note that an `await` yields a Deferred that has no outcome.
///
/// Without the GIL, another thread may fire it before the driver sees it. The driver must not take
/// the outcome then: an `await` ignores what it is sent, and looks at the Deferred itself.
#[cfg(Py_GIL_DISABLED)]
pub(crate) fn note_awaited(deferred: &Bound<'_, Deferred>) {
    AWAITED.set(deferred.as_ptr());
}

/// Whether it was an `await` that has yielded a Deferred, as far as the driver has to know.
#[inline(always)]
pub(super) fn is_awaited(deferred: &Bound<'_, Deferred>) -> bool {
    #[cfg(Py_GIL_DISABLED)]
    return AWAITED.get().cast_mut() == deferred.as_ptr();
    #[cfg(not(Py_GIL_DISABLED))]
    {
        let _ = deferred;
        false
    }
}

/// A thread ends, and resumes no more.
#[cfg(Py_GIL_DISABLED)]
pub(crate) fn thread_ends() {
    DRIVEN.free_if_empty();
}

/// Keeps an entry in [`DRIVEN`] while it lives.
struct Driving<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'a, 'py> Driving<'a, 'py> {
    #[inline(always)]
    fn begin(resumed: &'a Bound<'py, PyAny>) -> Self {
        let driven = resumed.clone().hold();
        let refused = DRIVEN.with(resumed.py(), |all| {
            // If there is no memory for the entry, the generator is resumed all the same.
            if all.len() == all.capacity() && !make_room(all) {
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
            // Usually it is the last.
            match all.last() {
                Some(last) if last.as_ptr() == this => all.pop(),
                _ => take_out(all, this),
            }
        });
        drop(driven);
    }
}

/// Make room for one more entry. False if there is no memory.
#[cfg_attr(not(Py_GIL_DISABLED), inline(always))]
#[cfg_attr(Py_GIL_DISABLED, cold, inline(never))]
fn make_room(all: &mut Vec<Held<PyAny>>) -> bool {
    #[cfg(Py_GIL_DISABLED)]
    capi::is_told_of_end();
    refusable(|| all.try_reserve(1)).is_ok()
}

/// Remove an entry that is not the last.
#[cold]
fn take_out(all: &mut Vec<Held<PyAny>>, resumed: *mut pyo3::ffi::PyObject) -> Option<Held<PyAny>> {
    let place = all.iter().rposition(|each| each.as_ptr() == resumed)?;
    Some(all.remove(place))
}

/// Everything that is being resumed: tasks, and generators without one.
///
/// # Errors
///
/// `MemoryError`
pub(crate) fn all_driven(py: Python<'_>) -> Result<Vec<Bound<'_, PyAny>>> {
    let copied = DRIVEN.with(py, |all| {
        let mut copied = Vec::new();
        refusable(|| copied.try_reserve(all.len())).ok()?;
        copied.extend(all.iter().map(|each| each.bind(py).clone()));
        Some(copied)
    });
    copied.ok_or_else(|| capi::no_memory(py))
}

/// The generators that are being resumed.
///
/// # Errors
///
/// `MemoryError`
pub(crate) fn driven(py: Python<'_>) -> Result<Bound<'_, PyList>> {
    let listed = capi::new_list(py)?;
    for generator in all_driven(py)?.into_iter().filter_map(generator_of) {
        listed.append(generator)?;
    }
    Ok(listed)
}

/// What is running: asyncio's task, or what we resumed last.
pub(crate) enum Now<'py> {
    /// A task, asyncio's or ours.
    Task(Bound<'py, PyAny>),
    /// A generator of ours that has no task.
    Generator(Bound<'py, PyAny>),
}

/// What is running, if that is unambiguous: not if both asyncio and we are running something, or if
/// a greenlet has switched to another stack.
///
/// # Errors
///
/// What a generator raises when its frame is looked up.
pub(crate) fn running<'py>(py: Python<'py>) -> Result<Option<Now<'py>>> {
    let theirs = aside::running_loop(py).and_then(|running| aside::current_task(&running));
    let last = DRIVEN.with(py, |all| all.last().map(|last| last.bind(py).clone()));
    let Some(last) = last else { return Ok(theirs.map(Now::Task)) };
    let (None, Some(generator)) = (theirs, generator_of(last.clone())) else { return Ok(None) };
    // Without greenlets and other threads there is one stack, and what was resumed last is on it.
    // Without the GIL, what other threads resume is not in the list.
    let is_here = names::CURRENT_GREENLET.get_once_imported(py).is_none()
        && (cfg!(Py_GIL_DISABLED) || code_places::is_only_thread(py));
    if !is_here {
        let at = match generator.getattr_opt(intern!(py, "cr_frame"))? {
            Some(frame) => frame,
            None => generator.getattr(intern!(py, "gi_frame"))?,
        };
        if !code_places::is_on_stack(&at) {
            return Ok(None);
        }
    }
    Ok(Some(match last.cast_into::<Task>() {
        Ok(task) => Now::Task(task.into_any()),
        Err(_) => Now::Generator(generator),
    }))
}

/// The generator of an entry. None for a task that has ended.
fn generator_of(driven: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    let py = driven.py();
    match driven.cast::<Task>() {
        Ok(task) => task.get().generator(py),
        Err(_) => Some(driven),
    }
}

/// [`advance_here`], out of line.
#[inline(never)]
pub(crate) fn advance<'py>(
    driven: &Bound<'py, PyAny>,
    generator: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    outcome: Outcome,
) -> Result<Stopped<'py>> {
    advance_here(driven, generator, context, outcome)
}

/// Resume a generator in its context, and again as long as what it yields has an outcome already.
/// `driven` is its task, or the generator itself if it has none.
#[inline(always)]
pub(crate) fn advance_here<'py>(
    driven: &Bound<'py, PyAny>,
    generator: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    outcome: Outcome,
) -> Result<Stopped<'py>> {
    if watching::watching() {
        return advance_watched(driven, generator, context, outcome);
    }
    advance_as::<false>(driven, generator, context, outcome)
}

/// [`advance_here`], recording what runs, so that this is known for new Deferreds.
#[cold]
#[inline(never)]
fn advance_watched<'py>(
    driven: &Bound<'py, PyAny>,
    generator: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    outcome: Outcome,
) -> Result<Stopped<'py>> {
    // A result that another waiter has taken looks like a start here. Then the generator counts as
    // a new one, and its Deferreds as nobody's.
    let starts = matches!(outcome, Outcome::Taken);
    let running = Running::begin(generator, starts);
    if let Some(running) = &running {
        observe::resumed(driven, running, &outcome);
    }
    let stopped = advance_as::<true>(driven, generator, context, outcome);
    if let Some(running) = running {
        let py = generator.py();
        match &stopped {
            Ok(Stopped::Before(deferred)) => observe::suspended(py, &running, Some(deferred)),
            Ok(Stopped::At(object)) => observe::suspended(py, &running, as_deferred(object)),
            Ok(Stopped::Returned(_)) => observe::ended(driven, &running, false),
            Err(_) | Ok(Stopped::Raised(_)) => observe::ended(driven, &running, true),
        }
        if !matches!(stopped, Ok(Stopped::Before(_) | Stopped::At(_))) {
            running.ended(py);
        }
    }
    stopped
}

/// As [`advance_here`].
#[inline(always)]
fn advance_as<'py, const WATCHED: bool>(
    driven: &Bound<'py, PyAny>,
    generator: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    outcome: Outcome,
) -> Result<Stopped<'py>> {
    let py = generator.py();
    let aside = aside::step_aside(py);
    let driving = Driving::begin(driven);
    let entered = capi::enter_context(py, context);
    let stopped = match entered {
        Ok(_) => {
            let stopped = go_on::<WATCHED>(generator, outcome);
            // The generator must have left every context that it entered.
            match capi::exit_context(py, context) {
                Ok(_) => stopped,
                Err(raised) => Ok(Stopped::Raised(raised)),
            }
        }
        // The context is in use further up the stack.
        Err(raised) => Ok(Stopped::Raised(raised)),
    };
    drop((driving, aside));
    stopped
}

/// Resume a generator, and again as long as what it yields has an outcome already.
#[inline(always)]
fn go_on<'py, const WATCHED: bool>(
    generator: &Bound<'py, PyAny>,
    mut outcome: Outcome,
) -> Result<Stopped<'py>> {
    let py = generator.py();
    let mut in_a_row = 0_u32;
    loop {
        #[cfg(Py_GIL_DISABLED)]
        AWAITED.set(ptr::null());
        let sent = match outcome {
            Outcome::Failure(reason) => throw(generator, reason.into_bound(py)),
            outcome => capi::send(generator, &into_object(py, outcome)),
        };
        let object = match sent {
            Sent::Yielded(object) => object,
            Sent::Returned(object) => return Ok(Stopped::Returned(object)),
            Sent::Raised(raised) => return Ok(Stopped::Raised(raised)),
        };
        outcome = match capi::into_exact::<Deferred>(object) {
            Ok(deferred) => match take_if_there(&deferred)? {
                Some(outcome) => {
                    if WATCHED {
                        observe::taken(&deferred, &outcome);
                    }
                    outcome
                }
                None => return Ok(Stopped::Before(deferred)),
            },
            Err(object) => {
                if !capi::is_plain(&object) {
                    return Ok(Stopped::At(object));
                }
                Outcome::Value(object.hold())
            }
        };
        in_a_row = in_a_row.wrapping_add(1);
        if in_a_row.is_multiple_of(PATIENCE)
            && let Some(failure) = interrupted(py)
        {
            outcome = failure;
        }
    }
}

/// After so many outcomes in a row, a signal's exception is raised in the generator. If it is in a
/// `yield from` of native code without end, nothing else would do that.
const PATIENCE: u32 = 1 << 10;

#[cold]
#[inline(never)]
fn interrupted(py: Python<'_>) -> Option<Outcome> {
    let raised = interruption(py)?;
    match classify::failure_of(raised.clone(), false) {
        Ok(failure) => Some(failure),
        Err(_) => {
            // There is no memory for that. It is raised somewhere else.
            drop(put_back(raised));
            None
        }
    }
}

/// [`interrupted`], asked now and then, for a generator that is resumed at once.
#[inline(always)]
pub(crate) fn interrupted_at_times(py: Python<'_>) -> Option<Outcome> {
    each_thread! {
        static RESUMED: EachThread<u32> = 0;
    }
    let resumed = RESUMED.with(py, |resumed| {
        *resumed = resumed.wrapping_add(1);
        *resumed
    });
    if resumed.is_multiple_of(PATIENCE) { interrupted(py) } else { None }
}

/// Throw a failure into a generator, which may throw it into another one.
#[inline(never)]
fn throw<'py>(generator: &Bound<'py, PyAny>, reason: Bound<'py, PyAny>) -> Sent<'py> {
    let py = generator.py();
    let thrown = match exception_of(&reason) {
        Ok(Some(exception)) => capi::call_method_one(generator, intern!(py, "throw"), &exception),
        Ok(None) => {
            let throw = intern!(py, "throwExceptionIntoGenerator");
            capi::call_method_one(&reason, throw, generator)
        }
        Err(raised) => Err(raised),
    };
    match thrown {
        Ok(object) => Sent::Yielded(object),
        Err(raised) => ended_by(raised),
    }
}

/// The exception to raise for a failure. None if the failure raises it itself, because its class or
/// instance overrides that.
#[inline(never)]
fn exception_of<'py>(reason: &Bound<'py, PyAny>) -> Result<Option<Raised<'py>>, Raised<'py>> {
    let py = reason.py();
    let class = names::failure_class(py).map_err(capi::into_raised(py))?;
    let throw = intern!(py, "throwExceptionIntoGenerator");
    if reason.get_type_ptr() != class.as_type_ptr()
        || reason.cast::<FailureBase>().is_ok_and(|reason| has_of_its_own(reason, &[throw]))
    {
        return Ok(None);
    }
    let exception = attributes::to_raise(reason).map_err(capi::into_raised(py))?;
    Ok(Some(exception))
}

/// What an exception means that a generator has raised.
#[inline(never)]
fn ended_by(raised: Raised<'_>) -> Sent<'_> {
    let py = raised.py();
    if !raised.is_instance_of::<PyStopIteration>() {
        return Sent::Raised(raised);
    }
    match raised.getattr(intern!(py, "value")) {
        Ok(value) => Sent::Returned(value),
        Err(error) => Sent::Raised(capi::into_raised(py)(error)),
    }
}

/// Take the outcome of a fired, idle Deferred. Its `result` is None afterwards, as after a callback
/// that returned None.
#[inline(always)]
pub(crate) fn take_if_there(deferred: &Bound<'_, Deferred>) -> Result<Option<Outcome>> {
    let py = deferred.py();
    if !capi::is_exact::<Deferred>(deferred) {
        return Ok(None);
    }
    if is_awaited(deferred) {
        // Another thread has fired it meanwhile. The `await` looks at it again.
        return Ok(None);
    }
    match deferred.get().chain(py, |chain| chain.take_at_rest()) {
        None => Ok(None),
        Some((outcome, chained_to)) => {
            drop(chained_to);
            report::forget(deferred)?;
            Ok(Some(outcome))
        }
    }
}

/// If somebody else drives the coroutine that awaits a Deferred, such as asyncio: an object that
/// its driver can wait for, and what wakes the driver.
#[inline(always)]
pub(crate) fn stand_in<'py>(deferred: &Bound<'py, Deferred>) -> Result<Option<StandIn<'py>>> {
    // Twisted imports asyncio. If that is not imported, there is no other driver.
    match names::RUNNING_LOOP.get_once_imported(deferred.py()) {
        None => Ok(None),
        Some(running) => stand_in_where(running, deferred),
    }
}

/// The object that the driver waits for, and what wakes the driver.
type StandIn<'py> = (Bound<'py, PyAny>, Waker);

#[inline(never)]
fn stand_in_where<'py>(
    running: &Bound<'py, PyAny>,
    deferred: &Bound<'py, Deferred>,
) -> Result<Option<StandIn<'py>>> {
    let py = deferred.py();
    let running_loop = running.call0()?;
    let with_twisted = match names::TWISTED.get_once_imported(py) {
        Some(class) => !class.is(py.get_type::<Deferred>()),
        None => false,
    };
    if running_loop.is_none() && !with_twisted {
        return Ok(None);
    }
    // Only an asyncio task can be the driver. This is the usual case, and happens for each wait.
    if !with_twisted
        && DRIVEN.with(py, |all| all.is_empty())
        && names::CURRENT_GREENLET.get_once_imported(py).is_none()
        && aside::current_task(&running_loop).is_some()
    {
        return Ok(Some((loops::new_future(&running_loop)?, Waker::Loop(running_loop.hold()))));
    }
    let found: Option<(_, Option<Bound<'py, PyAny>>)> =
        names::STAND_IN.get(py)?.call1((driven(py)?, deferred))?.extract()?;
    Ok(found.map(|(object, wake)| match wake {
        Some(function) => (object, Waker::Function(function.hold())),
        None => (object, Waker::Loop(running_loop.hold())),
    }))
}
