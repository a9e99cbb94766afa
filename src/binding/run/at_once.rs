//! Callbacks that are called as they are added, because the Deferred has fired and is idle.

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    error::{Raised, Result},
    stack::Nested,
};
use crate::binding::judge::ordinary::is_known_ordinary;
use crate::binding::model::{
    deferred::Deferred,
    observe,
    outcome::{Outcome, into_object, share},
};
use crate::binding::run::engine::{end, go_on, new_stack};
use crate::binding::run::links::{complete_and_rest, links, rest};
use crate::binding::run::settling::{answer_of, complete_link, failure_of_call, put_off};
use crate::binding::waits::{
    native,
    work::{Answer, Next, Stack},
};
use crate::core::On;

/// Fast path of `addCallback` and the like: call the callback now if the Deferred has fired and is
/// idle. Returns false if the callback has to be added to the chain instead.
///
/// # Errors
///
/// As [`run`](super::engine::run).
#[inline(never)]
pub(crate) fn call_at_once<'py>(
    deferred: &Bound<'py, Deferred>,
    on: On,
    callable: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Result<bool> {
    let py = deferred.py();
    // If the stack is too deep, the callback is added to the chain, as in Twisted.
    let Ok(_nested) = Nested::enter(py) else { return Ok(false) };
    let argument = deferred.get().chain(py, |chain| {
        chain.call_at_once(on).map(|outcome| into_object(py, share(py, outcome)))
    });
    let Some(argument) = argument else { return Ok(false) };
    if !capi::is_of_python(callable) || observe::tracing() {
        return call_another_at_once(deferred, callable, argument, args);
    }
    let called = capi::call_first(callable, &argument, args);
    drop(argument);
    let rests = match called {
        Ok(result) if is_known_ordinary(&result) => {
            complete_and_rest(deferred, Outcome::Value(result.hold()))
        }
        called => return answer_at_once(deferred, callable, called),
    };
    // The callback seldom leaves more to do.
    match rests {
        Some(on_failure) => rest(deferred, on_failure)?,
        None => go_on(deferred)?,
    }
    Ok(true)
}

/// The rest of [`call_at_once`], after the callback has returned.
#[inline(never)]
fn answer_at_once<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: &Bound<'py, PyAny>,
    called: Result<Bound<'py, PyAny>, Raised<'py>>,
) -> Result<bool> {
    let outcome = answer_of(deferred, called, || Ok(callable.clone()))?;
    let next = complete_link(deferred, outcome)?;
    continue_run(deferred, next, &mut new_stack())
}

/// The rest of [`call_at_once`], for a callable that is not a Python function.
#[inline(never)]
fn call_another_at_once<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: &Bound<'py, PyAny>,
    argument: Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Result<bool> {
    let mut stack = new_stack();
    let next = call_first_of_others(deferred, callable, argument, args, &mut stack)?;
    continue_run(deferred, next, &mut stack)
}

/// Do the next step, or run the remaining links.
#[inline(always)]
fn continue_run<'py>(
    deferred: &Bound<'py, Deferred>,
    next: Option<Next<'py>>,
    stack: &mut Stack<'py>,
) -> Result<bool> {
    let next = match next {
        Some(next) => Ok(next),
        None => links(deferred.clone(), stack),
    };
    end(deferred.py(), next, stack)?;
    Ok(true)
}

/// Call a callback that may be one of our methods, or that is being watched. Returns the next step,
/// if one comes before the remaining links.
#[inline(never)]
fn call_first_of_others<'py>(
    deferred: &Bound<'py, Deferred>,
    callable: &Bound<'py, PyAny>,
    argument: Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    stack: &mut Stack<'py>,
) -> Result<Option<Next<'py>>> {
    let begun = observe::begins(deferred, || Some(callable.clone()));
    let Some(answer) = native::answer(callable, &argument, args) else {
        let called = capi::call_first(callable, &argument, args);
        drop(argument);
        let outcome = answer_of(deferred, called, || Ok(callable.clone()));
        observe::callback_ends(deferred, begun, outcome.as_ref().ok());
        return complete_link(deferred, outcome?);
    };
    drop(argument);
    if let Ok(Answer::Now(outcome) | Answer::After(_, outcome)) = &answer {
        observe::callback_ends(deferred, begun, Some(outcome));
    } else {
        observe::callback_ends(deferred, begun, None);
    }
    let outcome = match answer {
        Ok(Answer::Now(outcome)) => outcome,
        Ok(Answer::After(work, outcome)) => match put_off(deferred, work, outcome, stack) {
            Ok(work) => return Ok(Some(Next::Do(work))),
            Err(outcome) => outcome?,
        },
        Err(error) => {
            failure_of_call(deferred, error.into_raised(deferred.py()), Ok(callable.clone()))?
        }
    };
    complete_link(deferred, outcome)
}
