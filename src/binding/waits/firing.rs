//! Makes and fires Deferreds, without running their callbacks.

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold, Text,
    cell::SEVERAL_THREADS,
    error::{Error, Raise, Result},
    interned::intern,
    overrides::overrides,
};
use crate::binding::judge::{
    classify::{as_deferred, classify_asking},
    creating,
    debug::{debugging, debugging_by_default, is_known_not_to_debug},
    foreign,
    ordinary::{is_known_ordinary, is_ordinary},
    report,
};
use crate::binding::model::{
    deferred::{AlreadyCalledError, CancelledError, Deferred, Objects, new_deferred},
    observe,
    outcome::{Chain, Outcome, frees_nothing},
};
use crate::binding::waits::work::{Answer, Waits, Work};
use crate::core::{AlreadyCalled, Fired};

/// Fire a Deferred with any object. Returns the work that follows, if any. An object whose
/// `__class__` raises is a plain value, and the error is raised after the callbacks have run.
#[inline(always)]
pub(crate) fn begin_fire_with<'py>(
    deferred: &Bound<'py, Deferred>,
    result: Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    if is_known_ordinary(&result) {
        let fired = begin_fire(deferred, Outcome::Value(result.hold()))?;
        return Ok(fired.then(|| Work::Run(deferred.clone())));
    }
    begin_fire_with_another(deferred, result)
}

/// As [`begin_fire_with`], for an object that has to be classified.
#[inline(never)]
fn begin_fire_with_another<'py>(
    deferred: &Bound<'py, Deferred>,
    result: Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    let (outcome, error) = classify_asking(result);
    let fired = begin_fire(deferred, outcome)?.then(|| deferred.clone());
    Ok(Work::run_and(fired, error))
}

/// Fire a Deferred. True if its chain has to be run.
///
/// # Errors
///
/// `AlreadyCalledError`
#[inline(always)]
pub(crate) fn begin_fire(deferred: &Bound<'_, Deferred>, outcome: Outcome) -> Result<bool> {
    begin_fire_by(deferred, outcome, |chain, outcome| chain.fire(outcome))
}

/// [`begin_fire`], after a check that it has not fired. Without the GIL, another thread may have
/// fired it meanwhile: then nothing happens.
///
/// # Errors
///
/// As [`begin_fire`].
#[inline(always)]
pub(crate) fn begin_fire_unless_fired(
    deferred: &Bound<'_, Deferred>,
    outcome: Outcome,
) -> Result<bool> {
    if SEVERAL_THREADS {
        let fire = |chain: &mut Chain, outcome| chain.fire_cancelled(outcome, true);
        return begin_fire_by(deferred, outcome, fire);
    }
    begin_fire(deferred, outcome)
}

#[inline(always)]
fn begin_fire_by(
    deferred: &Bound<'_, Deferred>,
    outcome: Outcome,
    fire: impl FnOnce(&mut Chain, Outcome) -> Result<Fired<Objects>, AlreadyCalled<Outcome>>,
) -> Result<bool> {
    let py = deferred.py();
    let debugging = debugging(deferred)?;
    if debugging && !deferred.get().chain(py, |chain| chain.called()) {
        report::remember_invoker(deferred)?;
    }
    observe::fired(deferred, &outcome);
    let (fired, runs) = deferred.get().chain(py, |chain| {
        let fired = fire(chain, outcome);
        (fired, SEVERAL_THREADS.then(|| chain.has_something_to_do()))
    });
    follow_fire(deferred, fired, runs, debugging, || {})
}

/// What a step that has fired a Deferred returns, or that could not: this, and whether a run would
/// have any effect.
#[cfg(Py_GIL_DISABLED)]
pub(super) type FiredAndRuns = (Result<Fired<Objects>, AlreadyCalled<Outcome>>, bool);

/// Fire a chain, in a step of others. [`after_firing`] does the rest.
#[cfg(Py_GIL_DISABLED)]
#[inline(always)]
pub(super) fn fire_and_look(chain: &mut Chain, outcome: Outcome) -> FiredAndRuns {
    let fired = chain.fire(outcome);
    (fired, chain.has_something_to_do())
}

/// [`after_fire`], after [`fire_and_look`].
///
/// # Errors
///
/// `AlreadyCalledError`
#[cfg(Py_GIL_DISABLED)]
pub(super) fn after_firing(
    deferred: &Bound<'_, Deferred>,
    (fired, runs): FiredAndRuns,
) -> Result<bool> {
    after_step(deferred, fired, Some(runs))
}

/// The rest of firing a Deferred in another step. True if its chain has to be run.
///
/// # Errors
///
/// `AlreadyCalledError`
pub(crate) fn after_fire(
    deferred: &Bound<'_, Deferred>,
    fired: Result<Fired<Objects>, AlreadyCalled<Outcome>>,
) -> Result<bool> {
    after_step(deferred, fired, None)
}

#[inline(always)]
fn after_step(
    deferred: &Bound<'_, Deferred>,
    fired: Result<Fired<Objects>, AlreadyCalled<Outcome>>,
    runs: Option<bool>,
) -> Result<bool> {
    let debugging = debugging(deferred)?;
    if debugging && matches!(fired, Ok(Fired::Accepted(..))) {
        report::remember_invoker(deferred)?;
    }
    follow_fire(deferred, fired, runs, debugging, || observe::was_fired(deferred))
}

/// What follows the step that has fired a Deferred, or not. `observe` is called if it has. `runs` says
/// whether a run would have any effect, if that step has looked. True if its chain has to be run.
#[inline(always)]
fn follow_fire(
    deferred: &Bound<'_, Deferred>,
    fired: Result<Fired<Objects>, AlreadyCalled<Outcome>>,
    runs: Option<bool>,
    debugging: bool,
    observe: impl FnOnce(),
) -> Result<bool> {
    let py = deferred.py();
    match fired {
        Ok(Fired::Accepted(canceller, replaced)) => {
            if let Outcome::Failure(failure) = &replaced {
                // A program has reset `called`.
                report::keep_replaced(deferred, failure.bind(py))?;
            }
            observe();
            // What is dropped may change that.
            let runs = runs.filter(|_| {
                frees_nothing(py, &replaced) && canceller.as_ref().is_none_or(|it| it.is_shared(py))
            });
            drop((canceller, replaced));
            let runs = runs
                .unwrap_or_else(|| deferred.get().chain(py, |chain| chain.has_something_to_do()));
            Ok(runs || capi::has_instance_dict(deferred))
        }
        Ok(Fired::Swallowed(outcome)) => {
            drop(outcome);
            Ok(false)
        }
        Err(AlreadyCalled(outcome)) => fire_again(deferred, outcome, debugging),
    }
}

/// Whether firing it can take the fast path: nobody watches it.
#[inline(always)]
pub(crate) fn is_quick(deferred: &Bound<'_, Deferred>) -> bool {
    is_known_not_to_debug(deferred) && !observe::tracing()
}

/// Fast path of [`begin_fire`]: true if the chain has to be run, or the outcome if there is more to
/// do than to store it.
#[cfg(not(Py_GIL_DISABLED))]
#[inline(always)]
pub(crate) fn fire_quickly(
    deferred: &Bound<'_, Deferred>,
    outcome: Outcome,
) -> Result<bool, Outcome> {
    if is_quick(deferred) {
        deferred.get().chain(deferred.py(), |chain| chain.fire_fresh(outcome))
    } else {
        Err(outcome)
    }
}

/// Handle a Deferred that could not be fired: it has fired already, or a program has set `called`
/// to an object other than `False` that is false; that is replaced now.
#[cold]
#[inline(never)]
fn fire_again(deferred: &Bound<'_, Deferred>, outcome: Outcome, debugging: bool) -> Result<bool> {
    let py = deferred.py();
    let replaced = deferred
        .get()
        .chain(py, |chain| (!chain.called()).then(|| chain.set_called(false).into_other(py)));
    if replaced.is_some() {
        drop(replaced);
        return begin_fire(deferred, outcome);
    }
    drop(outcome);
    Err(already_called(deferred, debugging)?)
}

#[cold]
fn already_called(deferred: &Bound<'_, Deferred>, debugging: bool) -> Result<Error> {
    let py = deferred.py();
    if debugging {
        let text = report::debug_tracebacks(deferred)?;
        let text = [Text::Ours("\n"), Text::Python(text.str()?)];
        return Ok(AlreadyCalledError::error_saying(capi::joined(py, text)));
    }
    // A note, because programs expect the error to have no text and no arguments.
    let error = AlreadyCalledError::bare_error(py);
    let notes = capi::new_list(py)?;
    notes.append(intern!(py, "With setDebugging(True), this says where it was fired before."))?;
    error.value(py).setattr(intern!(py, "__notes__"), notes)?;
    Ok(error)
}

impl Waits for Deferred {
    /// `chainDeferred`: fire this one with the outcome of the other.
    fn deliver<'py>(deferred: Bound<'py, Self>, _: u32, outcome: Outcome) -> Result<Answer<'py>> {
        Ok(if begin_fire(&deferred, outcome)? {
            Answer::After(Work::Run(deferred), Outcome::Taken)
        } else {
            Answer::Now(Outcome::Taken)
        })
    }
}

/// Fire a Deferred with this. Returns it if its callbacks have to be run.
pub(crate) fn fire_one<'py>(
    first: Bound<'py, PyAny>,
    result: Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    let py = first.py();
    let callback = intern!(py, "callback");
    let deferred = match capi::as_exact::<Deferred>(&first) {
        None => as_deferred(&first),
        exact => exact,
    };
    match deferred {
        Some(deferred) if !overrides::<Deferred>(deferred, callback) => {
            begin_fire_with(deferred, result)
        }
        _ => Ok(Some(Work::HandOver(first, result))),
    }
}

/// Fail a Deferred with CancelledError, through its `errback` if that is overridden. True if its
/// chain has to be run. If there was no canceller to be `asked`, its next outcome is discarded.
pub(crate) fn fail_cancelled(deferred: &Bound<'_, Deferred>, asked: bool) -> Result<bool> {
    fail_cancelled_by(deferred, asked, cancellation(deferred.py())?)
}

/// The failure of what was cancelled.
pub(crate) fn cancellation(py: Python<'_>) -> Result<Bound<'_, PyAny>> {
    creating::of_new::<CancelledError>(py)
}

/// [`fail_cancelled`] with a failure that was made before.
pub(crate) fn fail_cancelled_by<'py>(
    deferred: &Bound<'py, Deferred>,
    asked: bool,
    reason: Bound<'py, PyAny>,
) -> Result<bool> {
    let py = deferred.py();
    let errback = intern!(py, "errback");
    if overrides::<Deferred>(deferred, errback) {
        if !asked {
            deferred.get().chain(py, |chain| chain.swallow_next_fire());
        }
        deferred.call_method1(errback, (reason,))?;
        return Ok(false);
    }
    begin_fire_by(deferred, Outcome::Failure(reason.hold()), |chain, outcome| {
        if SEVERAL_THREADS {
            // It may have been fired meanwhile. Then there is nothing to discard.
            return chain.fire_cancelled(outcome, asked);
        }
        if !asked {
            chain.swallow_next_fire();
        }
        chain.fire(outcome)
    })
}

/// Convert the argument of `errback` and `fail` into an outcome.
pub(crate) fn reason_of<'py>(
    py: Python<'py>,
    fail: Option<Bound<'py, PyAny>>,
    capture_vars: impl FnOnce() -> Result<bool>,
) -> Result<Outcome> {
    let reason = match fail {
        Some(fail) if is_ordinary(&fail) => creating::from_exception(fail)?,
        Some(fail) if creating::is_failure(&fail)? => fail,
        Some(fail) => match foreign::adopt_failure(&fail)? {
            Some(failure) => failure,
            None => creating::from_exception(fail)?,
        },
        None => match capi::handled(py) {
            Some(handled) => creating::from_raised(handled, capture_vars()?)?,
            None => return Err(creating::NoCurrentExceptionError::bare_error(py)),
        },
    };
    Ok(Outcome::Failure(reason.hold()))
}

/// Make a Deferred. In debug mode it remembers the stack in which it was made.
#[inline(always)]
pub(crate) fn make(py: Python<'_>, chain: impl FnOnce() -> Chain) -> Result<Bound<'_, Deferred>> {
    let deferred = new_deferred(py, chain)?;
    if debugging_by_default(py)? {
        report::remember_creator(&deferred)?;
    }
    Ok(deferred)
}

/// Make a Deferred that has been fired with a value or a failure.
#[inline]
pub(crate) fn fired(py: Python<'_>, outcome: Outcome) -> Result<Bound<'_, Deferred>> {
    if debugging_by_default(py)? {
        let deferred = make(py, Chain::default)?;
        begin_fire(&deferred, outcome)?;
        come_to_rest(&deferred)?;
        return Ok(deferred);
    }
    let failed = matches!(outcome, Outcome::Failure(_));
    let deferred = new_deferred(py, || Chain::fired(outcome))?;
    if failed {
        report::rests_on_failure(&deferred)?;
    }
    Ok(deferred)
}

/// Run a chain without links.
fn come_to_rest(deferred: &Bound<'_, Deferred>) -> Result<()> {
    let on_failure = deferred.get().chain(deferred.py(), |chain| {
        chain.turn();
        chain.unhandled()
    });
    if on_failure { report::rests_on_failure(deferred) } else { report::forget(deferred) }
}
