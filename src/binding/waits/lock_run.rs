//! `lock.run` and `semaphore.run`.

use pyo3::exceptions::{PyMemoryError, PyRecursionError};
use pyo3::prelude::*;

use crate::binding::capi::{
    self, Hold,
    error::{Error, Raised, Result},
    interned::intern,
    overrides::overrides,
    stack::Nested,
};
use crate::binding::judge::{
    classify::{as_deferred, classify},
    creating,
    debug::debugging_by_default,
};
use crate::binding::model::{
    deferred::Deferred,
    outcome::{self, Link, Outcome},
    primitive::{LockRun, Primitive},
    waiter::Waiter,
};
use crate::binding::waits::{
    handing_over::{begin_release, overrides_ours},
    made, starting,
    work::{Answer, Waits, Work},
};

/// The number of a call's link in the chain of the Deferred of `acquire()`.
pub(crate) const RUN: u32 = 0;

/// The number of its link in the chain of the Deferred for its result.
const RELEASE: u32 = 1;

/// Call the function. Returns the Deferred for its result, and the work that follows, if any.
pub(crate) fn call<'py>(
    lock_run: &Bound<'py, LockRun>,
) -> Result<(Bound<'py, PyAny>, Option<Work<'py>>)> {
    let (this, py) = (lock_run.get(), lock_run.py());
    let _nested = Nested::enter(py)?;
    let kwargs = this.kwargs.as_ref().map(|kwargs| kwargs.bind(py));
    let called = capi::call_any_way(py, this.function.bind(py), this.args.bind(py), kwargs);
    deferred_of(this.function.bind(py), called)
}

/// The Deferred for a function's result, and the work that follows, if any.
#[inline(never)]
fn deferred_of<'py>(
    function: &Bound<'py, PyAny>,
    called: Result<Bound<'py, PyAny>, Raised<'py>>,
) -> Result<(Bound<'py, PyAny>, Option<Work<'py>>)> {
    match called {
        Err(raised) => Ok((made::of_call_that_raised(raised, function)?.into_any(), None)),
        Ok(result) if capi::is_coroutine(&result) => {
            let (deferred, work) = starting::start(result)?;
            Ok((deferred.into_any(), work))
        }
        Ok(result) => Ok((made::of_returned(result)?, None)),
    }
}

impl Waits for LockRun {
    /// Call the function after acquiring, or release after the function is done.
    fn deliver<'py>(
        lock_run: Bound<'py, LockRun>,
        place: u32,
        outcome: Outcome,
    ) -> Result<Answer<'py>> {
        if place == RELEASE {
            return release(&lock_run, outcome);
        }
        if matches!(outcome, Outcome::Failure(_)) {
            return Ok(Answer::Now(outcome));
        }
        drop(outcome);
        match call(&lock_run) {
            Ok((result, work)) => release_after(&lock_run, result, work),
            Err(error) => release_for(&lock_run, error),
        }
    }
}

/// Whether an error means that nothing was done, because there was no memory or no call left. Any
/// other exception is the program's own and is raised as with Twisted: the code that raised it may
/// have done its work.
pub(crate) fn is_refusal(py: Python<'_>, error: &Error) -> bool {
    error.is_instance_of::<PyMemoryError>(py) || error.is_instance_of::<PyRecursionError>(py)
}

/// Release at once, because nothing else would. The link fails with the error.
#[cold]
fn release_for<'py>(lock_run: &Bound<'py, LockRun>, error: Error) -> Result<Answer<'py>> {
    let py = lock_run.py();
    if !is_refusal(py, &error) {
        return Err(error);
    }
    let primitive = lock_run.get().primitive.bind(py);
    match capi::ok(py, release_by_work(primitive)).flatten() {
        None => Err(error),
        Some(Work::Run(next)) => {
            Ok(Answer::After(Work::RunAndRaise(Some(next), error), Outcome::Empty))
        }
        Some(work) => {
            let debugging = debugging_by_default(py)?;
            let failure = creating::from_raised(error.into_raised(py), debugging)?;
            Ok(Answer::After(work, Outcome::Failure(failure.hold())))
        }
    }
}

/// Release after the function is done, with this result.
#[inline(never)]
fn release<'py>(lock_run: &Bound<'py, LockRun>, outcome: Outcome) -> Result<Answer<'py>> {
    let primitive = lock_run.get().primitive.bind(lock_run.py());
    Ok(match release_by_work(primitive)? {
        Some(work) => Answer::After(work, outcome),
        None => Answer::Now(outcome),
    })
}

/// Release. Returns the work for the next waiter, if any.
#[inline(always)]
pub(crate) fn release_by_work<'py>(primitive: &Bound<'py, Primitive>) -> Result<Option<Work<'py>>> {
    let py = primitive.py();
    if overrides_ours(primitive, intern!(py, "release")) {
        primitive.call_method0(intern!(py, "release"))?;
        return Ok(None);
    }
    begin_release(primitive)
}

/// Release the lock after what the function has returned has fired.
#[inline(never)]
fn release_after<'py>(
    lock_run: &Bound<'py, LockRun>,
    result: Bound<'py, PyAny>,
    work: Option<Work<'py>>,
) -> Result<Answer<'py>> {
    let py = lock_run.py();
    let has_begun = work.is_none();
    let refused = |error: Error| {
        if has_begun && is_refusal(py, &error) {
            drop(capi::ok(py, result.call_method0(intern!(py, "cancel"))));
        }
        release_for(lock_run, error)
    };
    let deferred = match as_deferred(&result) {
        Some(deferred) if !overrides::<Deferred>(deferred, intern!(py, "addBoth")) => {
            deferred.clone()
        }
        _ => {
            let primitive = lock_run.get().primitive.bind(py);
            let release = primitive.getattr(intern!(py, "_releaseAndReturn"));
            let add = |release| result.call_method1(intern!(py, "addBoth"), (release,));
            return match release.and_then(add) {
                Ok(chained) => Ok(Answer::Now(classify(&chained)?)),
                Err(error) => refused(error.into()),
            };
        }
    };
    let waiter = Waiter::new(lock_run);
    let added = deferred
        .get()
        .chain(py, |chain| chain.add(Link::Deliver(waiter, RELEASE)).map(|()| chain.is_runnable()));
    let runnable = match outcome::or_no_memory(py, added) {
        Ok(runnable) => runnable,
        Err(error) => {
            drop(work);
            return refused(error);
        }
    };
    let outcome = Outcome::Deferred(deferred.clone().hold());
    Ok(match work.or_else(|| runnable.then(|| Work::Run(deferred))) {
        Some(work) => Answer::After(work, outcome),
        None => Answer::Now(outcome),
    })
}
