//! Tasks: each runs a generator or coroutine from one Deferred to the next.

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::binding::capi::{
    self, Held, Hold,
    cell::SEVERAL_THREADS,
    error::{Raised, Result},
    interned::intern,
    overrides::overrides,
    owed::owe,
};
use crate::binding::judge::{
    classify::{self, as_deferred, classify},
    debug::debugging,
};
use crate::binding::model::{
    deferred::Deferred,
    names,
    outcome::{self, Chain, Link, Outcome},
    task::{State, Task, TaskCallback, new_task},
    waiter::Waiter,
};
#[cfg(not(Py_GIL_DISABLED))]
use crate::binding::waits::firing;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::task_steps;
use crate::binding::waits::{
    driving::{advance, interrupted_at_times, take_if_there},
    firing::make,
    task_cancelling::{CANCEL, deliver_cancelled},
    work::{Answer, Later, Next, Stack, Stopped, Waits, Work, make_room},
    yielded::{Yielded, is_within_await, kind_of, looks_again},
};

/// The number of a task's link in the chain of the Deferred that it waits for.
const RESUME: u32 = 0;

/// Resume a task that was added as a callback.
pub(crate) fn answer_callback<'py>(
    callback: &Bound<'py, TaskCallback>,
    result: &Bound<'py, PyAny>,
) -> Result<Answer<'py>> {
    let task = callback.get().task.bind(callback.py()).clone();
    Task::deliver(task, RESUME, classify(result)?)
}

/// Make the task and the Deferred for a generator that has not started.
pub(crate) fn prepare<'py>(
    generator: Bound<'py, PyAny>,
) -> Result<(Bound<'py, Task>, Bound<'py, Deferred>)> {
    let py = generator.py();
    let context = capi::copy_context(py)?;
    let deferred = make(py, Chain::default)?;
    Ok((task_for(generator, context, &deferred)?, deferred))
}

/// Make the task that runs a generator, and make it the canceller of the generator's Deferred.
pub(crate) fn task_for<'py>(
    generator: Bound<'py, PyAny>,
    context: Bound<'py, PyAny>,
    deferred: &Bound<'py, Deferred>,
) -> Result<Bound<'py, Task>> {
    new_task_for(generator, Some(context), deferred)
}

/// As [`task_for`], but the context may be set later.
#[inline(always)]
pub(crate) fn new_task_for<'py>(
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
    let task = new_task(py, state)?;
    let canceller = task.as_any().clone().hold();
    let before = deferred.get().chain(py, |chain| chain.replace_canceller(Some(canceller)));
    drop(before);
    Ok(task)
}

/// Resume the generator of a task with an outcome.
pub(crate) fn resume<'py>(
    task: Bound<'py, Task>,
    mut outcome: Outcome,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    if let Some(failure) = interrupted_at_times(task.py()) {
        outcome = failure;
    }
    match go_on(&task, outcome)? {
        Some(stopped) => handle_stop(task, stopped, stack),
        None => Ok(Next::Done),
    }
}

/// Resume the generator of a task with an outcome. None if the generator has ended, or the garbage
/// collector has cleared the task.
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

/// Act on how a generator stopped: wait for what it yielded, or fire its Deferred.
#[inline(always)]
pub(crate) fn handle_stop<'py>(
    task: Bound<'py, Task>,
    stopped: Stopped<'py>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = task.py();
    let object = match stopped {
        Stopped::Before(deferred) => return suspend_on(task, deferred, stack),
        Stopped::At(object) => object,
        Stopped::Returned(object) => return Ok(run_next(finish(&task, classify(&object))?)),
        Stopped::Raised(raised) => return ended_by(&task, raised, stack),
    };
    if let Some(deferred) = as_deferred(&object) {
        return wait(task, deferred.clone(), stack);
    }
    // Ask for its class only once. A `__class__` that resumes generators of its own could otherwise
    // go on forever.
    let asked = classify::claimed_class(&object)
        .and_then(|claimed| Ok((kind_of(&object, claimed.as_ref())?, claimed)))
        .map(Some)
        .or_else(|error| classify::unless_interrupted(py, error, || None));
    let (kind, claimed) = match asked {
        Ok(Some(asked)) => asked,
        Ok(None) => return Ok(Next::Do(Work::Resume(task, Outcome::Value(object.hold())))),
        Err(error) => {
            let outcome = classify::failure_of(capi::into_raised(py)(error), false)?;
            return Ok(Next::Do(Work::Resume(task, outcome)));
        }
    };
    let outcome = match kind {
        Yielded::Coroutine => {
            let (inner, deferred) = prepare(object)?;
            if let Err(error) = make_room(py, stack) {
                let outcome = classify::failure_of(error.into_raised(py), false)?;
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
        Yielded::Value => match classify::classify_as(&object, claimed.as_ref()) {
            Ok(outcome) => outcome,
            Err(error) => classify::failure_of(capi::into_raised(py)(error), false)?,
        },
    };
    Ok(Next::Do(Work::Resume(task, outcome)))
}

/// Make a task wait for a Deferred, or resume it at once if the outcome is there.
pub(crate) fn wait<'py>(
    task: Bound<'py, Task>,
    deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    if let Some(outcome) = take_if_there(&deferred)? {
        return Ok(Next::Do(Work::Resume(task, outcome)));
    }
    // It may be resumed within the run of the Deferred, and wait for the same one again, without
    // end.
    if SEVERAL_THREADS && let Some(failure) = interrupted_at_times(task.py()) {
        return Ok(Next::Do(Work::Resume(task, failure)));
    }
    suspend_on(task, deferred, stack)
}

/// Make a task wait for a Deferred whose outcome cannot be taken yet.
#[inline(always)]
fn suspend_on<'py>(
    task: Bound<'py, Task>,
    deferred: Bound<'py, Deferred>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = task.py();
    let add_both = intern!(py, "addBoth");
    if overrides::<Deferred>(&deferred, add_both) {
        let looks_again = looks_again(&task, &deferred);
        if SEVERAL_THREADS {
            // Another thread may resume it as soon as the callback is there.
            set_waiting_on(&task, deferred.clone());
        }
        task.get().with(py, |state| state.runs_inline = !looks_again);
        let callback = TaskCallback { task: task.clone().hold() };
        let added = deferred.call_method1(add_both, (callback,));
        if let Err(error) = added {
            task.get().with(py, |state| state.runs_inline = false);
            return Err(error.into());
        }
        if looks_again {
            return Ok(Next::Done);
        }
        return take_inline_result(task, deferred);
    }
    let mut resumed_within = false;
    let joined = match try_to_wait(&task, &deferred) {
        Ok(true) => return Ok(Next::Done),
        Ok(false) => make_room(py, stack).and_then(|()| {
            resumed_within = !task.get().is_to_cancel_next(py) && looks_again(&task, &deferred);
            if SEVERAL_THREADS && !resumed_within {
                // Another thread may deliver the outcome as soon as the waiter is there.
                task.get().with(py, |state| state.runs_inline = true);
            }
            add_waiter(&task, &deferred)
        }),
        Err(error) => Err(error),
    };
    if let Err(error) = joined {
        if SEVERAL_THREADS {
            task.get().with(py, |state| state.runs_inline = false);
        }
        // Nothing would ever resume the generator, so it gets this error.
        let outcome = classify::failure_of(error.into_raised(py), false)?;
        return Ok(Next::Do(Work::Resume(task, outcome)));
    }
    if resumed_within {
        return Ok(Next::Do(Work::Run(deferred)));
    }
    let pending = !deferred.get().chain(py, |chain| chain.is_runnable());
    let cancel = task.get().with(py, |state| {
        state.runs_inline = true;
        pending && std::mem::take(&mut state.cancel_next)
    });
    stack.push(Later::TakeInlineResult(task, deferred.clone()));
    Ok(Next::Do(if cancel { Work::Cancel(deferred) } else { Work::Run(deferred) }))
}

/// Add a task to the chain of the Deferred that it waits for. False, and nothing done, if the
/// Deferred would have to be run or cancelled afterwards.
///
/// # Errors
///
/// `MemoryError`
#[inline(always)]
pub(crate) fn try_to_wait<'py>(
    task: &Bound<'py, Task>,
    deferred: &Bound<'py, Deferred>,
) -> Result<bool> {
    #[cfg(Py_GIL_DISABLED)]
    {
        // When the waiter is there, another thread may resume the task.
        set_waiting_on(task, deferred.clone());
        task_steps::try_to_wait(task, deferred, Link::Deliver(Waiter::new(task), RESUME))
    }
    #[cfg(not(Py_GIL_DISABLED))]
    {
        if deferred.get().chain(task.py(), |chain| chain.is_runnable())
            || task.get().is_to_cancel_next(task.py())
        {
            return Ok(false);
        }
        add_waiter(task, deferred)?;
        set_waiting_on(task, deferred.clone());
        Ok(true)
    }
}

/// Add a link that resumes the task with the Deferred's outcome.
#[inline(always)]
fn add_waiter<'py>(task: &Bound<'py, Task>, deferred: &Bound<'py, Deferred>) -> Result<()> {
    let waiter = Waiter::new(task);
    let added = deferred.get().chain(task.py(), |chain| chain.add(Link::Deliver(waiter, RESUME)));
    outcome::or_no_memory(task.py(), added)
}

#[inline(always)]
fn set_waiting_on(task: &Bound<'_, Task>, deferred: Bound<'_, Deferred>) {
    let deferred = deferred.hold();
    let before = task.get().with(task.py(), |state| state.waiting_on.replace(deferred));
    drop(before);
}

/// After the yielded Deferred has been run: resume the task if that delivered an outcome.
pub(crate) fn take_inline_result<'py>(
    task: Bound<'py, Task>,
    deferred: Bound<'py, Deferred>,
) -> Result<Next<'py>> {
    let inline_result = task.get().with(task.py(), |state| {
        state.runs_inline = false;
        state.inline_result.take()
    });
    match inline_result {
        Some(outcome) => Ok(Next::Do(Work::Resume(task, outcome))),
        None => {
            // Without the GIL, the task has done that already, and may wait for another by now.
            if !SEVERAL_THREADS {
                set_waiting_on(&task, deferred);
            }
            Ok(Next::Done)
        }
    }
}

/// The yielded Deferred could not be run to its end. The task waits for it as for one that has not
/// fired.
pub(crate) fn give_up_inline_result<'py>(task: &Bound<'py, Task>, deferred: Bound<'py, Deferred>) {
    task.get().with(task.py(), |state| state.runs_inline = false);
    if !SEVERAL_THREADS {
        set_waiting_on(task, deferred);
    }
}

/// Keep an outcome for a task whose yielded Deferred is being run. Otherwise, return it.
#[inline(always)]
fn keep_inline_result(task: &Bound<'_, Task>, outcome: Outcome) -> Option<Outcome> {
    let (outcome, before) = task.get().with(task.py(), |state| {
        if state.runs_inline {
            (None, state.inline_result.replace(outcome))
        } else {
            (Some(outcome), None)
        }
    });
    drop(before);
    outcome
}

impl Waits for Task {
    /// Resume a task with the outcome of the Deferred that it waits for.
    #[inline(always)]
    fn deliver<'py>(task: Bound<'py, Task>, place: u32, outcome: Outcome) -> Result<Answer<'py>> {
        if place == CANCEL {
            return deliver_cancelled(&task, outcome);
        }
        let Some(outcome) = keep_inline_result(&task, outcome) else {
            return Ok(Answer::Now(Outcome::Taken));
        };
        match go_on(&task, outcome)? {
            Some(Stopped::Before(deferred)) if is_turned_away(&task, &deferred) => {
                wait_in_front(&task, &deferred)
            }
            // The usual case: the generator waits for its next Deferred.
            Some(Stopped::Before(deferred))
                if matches!(try_to_wait(&task, &deferred), Ok(true)) =>
            {
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
                Ok(Answer::After(Work::HandleStop(task, stopped), Outcome::Taken))
            }
            None => Ok(Answer::Now(Outcome::Taken)),
        }
    }
}

/// Whether a task yields a Deferred again just after it was given its outcome: a callback of the
/// Deferred has paused it, so the coroutine cannot take the result yet.
#[inline(always)]
fn is_turned_away<'py>(task: &Bound<'py, Task>, deferred: &Bound<'py, Deferred>) -> bool {
    let is_same = |it: &Held<Deferred>| it.as_ptr() == deferred.as_ptr();
    task.get().with(task.py(), |state| state.waiting_on.as_ref().is_some_and(is_same))
        && is_halted(deferred)
        && is_within_await(task)
}

#[cold]
fn is_halted(deferred: &Bound<'_, Deferred>) -> bool {
    let py = deferred.py();
    deferred.get().chain(py, |chain| chain.called() && chain.running() && chain.paused() != 0)
}

/// Put a task at the front of the chain, to wait until the paused Deferred continues. If a callback
/// of that Deferred resumed the task, the run reaches the task's link next and ends there.
#[cold]
fn wait_in_front<'py>(
    task: &Bound<'py, Task>,
    deferred: &Bound<'py, Deferred>,
) -> Result<Answer<'py>> {
    let py = task.py();
    let waiter = Waiter::new(task);
    let added = deferred.get().chain(py, |chain| chain.add_front(Link::Deliver(waiter, RESUME)));
    outcome::or_no_memory(py, added)?;
    Ok(Answer::After(Work::Halt(deferred.clone()), Outcome::Taken))
}

/// Fail the Deferred of a generator that raised an exception. If there is no memory for that
/// Failure, fail it with the MemoryError, or with that one when there is memory for it; otherwise it would
/// never fire.
#[cold]
fn ended_by<'py>(
    task: &Bound<'py, Task>,
    raised: Raised<'py>,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = task.py();
    match end_by(task, raised, stack) {
        Err(error) if error.is_instance_of::<PyMemoryError>(py) => {
            let raised = error.into_raised(py);
            let finished = finish(task, Err(raised.clone().into()));
            let finished = finished.map_err(|refused| {
                let all = [task.as_any().clone(), raised.into_any()];
                names::END_TASK.get(py).map_or_else(|error| error, |end| owe(end, &all, refused))
            });
            Ok(run_next(finished?))
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
        Some(deferred) => debugging(deferred.bind(py))?,
        None => false,
    };
    // As with Twisted, callbacks see the exception in `sys.exc_info()`, and what they raise has it
    // as its context. (Not if there is no memory for the entry on the stack.)
    if make_room(py, stack).is_ok() {
        stack.push(Later::Handled(capi::begin_handling(&raised)));
    }
    let reason = classify::failure_of(raised, capture_vars)?;
    Ok(run_next(finish(task, Ok(reason))?))
}

/// Fire the Deferred of a task that has ended. Returns it if its callbacks have to be run.
pub(crate) fn finish<'py>(
    task: &Bound<'py, Task>,
    outcome: Result<Outcome>,
) -> Result<Option<Bound<'py, Deferred>>> {
    let py = task.py();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => classify::failure_of(capi::into_raised(py)(error), false)?,
    };
    #[cfg(Py_GIL_DISABLED)]
    return task_steps::finish(task, outcome);
    #[cfg(not(Py_GIL_DISABLED))]
    {
        // The other fields stay: if the Deferred was cancelled while paused, that is still to come.
        let (generator, context, deferred) = task.get().with(py, |state| {
            let deferred = state.deferred.as_ref().map(|it| it.bind(py).clone());
            (state.generator.take(), state.context.take(), deferred)
        });
        drop((generator, context));
        match deferred {
            Some(deferred) if firing::begin_fire(&deferred, outcome)? => Ok(Some(deferred)),
            _ => Ok(None),
        }
    }
}

fn run_next(deferred: Option<Bound<'_, Deferred>>) -> Next<'_> {
    deferred.map_or(Next::Done, |deferred| Next::Do(Work::Run(deferred)))
}
