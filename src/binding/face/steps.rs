//! What the steps of `deferrous.concurrency` that are written in Python are made of: see `again`.
//!
//! A signal's exception comes between two lines of Python, and between none of these.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::binding::capi::{
    self, Held, Hold, again::MOST, error::Result, interned::intern, none, stack, yes,
};
use crate::binding::face::primitive::_hand_over;
use crate::binding::face::whole::is;
use crate::binding::judge::creating;
use crate::binding::model::deferred::{CancelledError, Deferred};
use crate::binding::run::engine;
use crate::binding::waits::nesting::current_greenlet;
use crate::core::refusable;

/// So many steps are nested in each other. Each takes some calls of Python.
const DEEPEST: u32 = 10;

/// Something to be done that may cancel others.
enum Step {
    Call { work: Held<PyAny>, args: Held<PyTuple> },
    End { deferred: Held<PyAny>, reason: Held<PyAny>, otherwise: Held<PyAny> },
}

/// The steps that are nested on one stack.
struct Nest {
    /// The address of the greenlet; 0 without greenlets.
    greenlet: usize,
    depth: u32,
    /// What is left to the outermost.
    later: Vec<Step>,
}

thread_local! {
    /// Usually empty where nothing is running. What is there can only be dropped while attached.
    static NESTS: ManuallyDrop<RefCell<Vec<Nest>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Do something with what is nested on the stack of a greenlet, if anything is.
fn with_nest<R>(greenlet: usize, look: impl FnOnce(&mut Nest) -> R) -> Option<R> {
    NESTS.with(|all| all.borrow_mut().iter_mut().rfind(|it| it.greenlet == greenlet).map(look))
}

impl Step {
    fn work_off(self, py: Python<'_>) -> Result<()> {
        match self {
            Step::Call { work, args } => {
                work.bind(py).call1(args.bind(py))?;
                Ok(())
            }
            Step::End { deferred, reason, otherwise } => {
                end(deferred.bind(py), reason.bind(py), otherwise.bind(py))
            }
        }
    }
}

/// Do a step, or have the outermost of those on the same stack do it a little later.
fn in_turn(py: Python<'_>, step: Step) -> Result<()> {
    let Some(greenlet) = current_greenlet(py) else { return step.work_off(py) };
    let mut step = Some(step);
    let nested = with_nest(greenlet, |nest| {
        if nest.depth < DEEPEST {
            nest.depth += 1;
        } else if refusable(|| nest.later.try_reserve(1)).is_ok() {
            nest.later.extend(step.take());
        }
    });
    let Some(step) = step else { return Ok(()) };
    if nested.is_some() {
        let done = step.work_off(py);
        with_nest(greenlet, |nest| nest.depth = nest.depth.saturating_sub(1));
        return done;
    }
    let made = NESTS.with(|all| {
        let mut all = all.borrow_mut();
        let room = refusable(|| all.try_reserve(1)).is_ok();
        if room {
            all.push(Nest { greenlet, depth: 0, later: Vec::new() });
        }
        room
    });
    let mut done = step.work_off(py);
    if !made {
        return done;
    }
    let mut rest = Vec::new();
    loop {
        // What is nested in the last comes next.
        let mut later = with_nest(greenlet, |nest| std::mem::take(&mut nest.later));
        let later = later.get_or_insert_default();
        if refusable(|| rest.try_reserve(later.len())).is_err() {
            // Without memory they come in their own order.
            for step in later.drain(..) {
                done = done.and(step.work_off(py));
            }
            continue;
        }
        rest.extend(later.drain(..).rev());
        let Some(next) = rest.pop() else { break };
        let another = next.work_off(py);
        done = done.and(another);
    }
    let over = NESTS.with(|all| {
        let mut all = all.borrow_mut();
        let over =
            all.iter().rposition(|it| it.greenlet == greenlet).map(|place| all.remove(place));
        if all.is_empty() {
            // The thread frees nothing of it when it ends.
            all.shrink_to_fit();
        }
        over
    });
    drop(over);
    done
}

/// Do something that cancels others, which may do so in turn, and so on.
///
/// Thousands of groups in groups would nest more calls than the interpreter allows. So what is
/// nested deep is done a little later, by the outermost of those on the same stack.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (work, *args))]
pub(crate) fn _in_turn<'py>(work: Bound<'py, PyAny>, args: Bound<'py, PyTuple>) -> Result<()> {
    let py = work.py();
    in_turn(py, Step::Call { work: work.hold(), args: args.hold() })
}

/// Cancel Deferreds that have to end, each for a reason or None. `otherwise` does that with one that
/// may have a canceller of a program's.
///
/// What is raised by one keeps none of the others, and is raised when all are cancelled.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_all<'py>(
    deferreds: &Bound<'py, PyAny>,
    reason: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferreds.py();
    let all = capi::new_list(py)?;
    all.call_method1(intern!(py, "extend"), (deferreds,))?;
    let mut done = Ok(());
    for deferred in all.iter() {
        let step = Step::End {
            deferred: deferred.hold(),
            reason: reason.clone().hold(),
            otherwise: otherwise.clone().hold(),
        };
        if let Err(error) = in_turn(py, step) {
            done = Err(error);
        }
    }
    done
}

/// As [`_end_all`], of one, here and now.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_one<'py>(
    deferred: &Bound<'py, PyAny>,
    reason: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    end(deferred, reason, otherwise)
}

/// Cancel a Deferred that has to end.
fn end<'py>(
    deferred: &Bound<'py, PyAny>,
    reason: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferred.py();
    if reason.is_none()
        && let Some(plain) = capi::as_exact::<Deferred>(deferred)
        && plain.get().chain(py, |chain| !chain.called() && chain.canceller().is_none())
    {
        // There is nobody who could raise anything.
        return engine::cancel(plain);
    }
    // Whether it has been cancelled: if not, a signal's exception has come before that, or several.
    let begun = capi::new_dict(py)?;
    let mut done = Ok(());
    for _ in 0..MOST {
        match otherwise.call1((deferred, reason, &begun)) {
            Ok(_) => break,
            Err(error) if done.is_ok() => done = Err(error.into()),
            Err(_) => {}
        }
        if !begun.is_empty() {
            break;
        }
    }
    done
}

/// Say that something is done, and do it, unless that has been said: an attribute of the owner has
/// this name, or a dict such an item.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (owner, name, work, *args))]
pub(crate) fn _once<'py>(
    owner: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    work: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> Result<()> {
    let py = owner.py();
    if let Ok(marks) = owner.cast_exact::<PyDict>() {
        if marks.contains(name)? {
            return Ok(());
        }
        marks.set_item(name, yes(py))?;
    } else {
        if is(owner, name)? {
            return Ok(());
        }
        owner.setattr(name, yes(py))?;
    }
    work.call1(args)?;
    Ok(())
}

/// Do something while an attribute of the owner says so. Returns whether that is done now: it is not
/// done within itself.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _within<'py>(
    owner: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    work: &Bound<'py, PyAny>,
) -> Result<bool> {
    let before = owner.getattr(name)?;
    if stack::truth(&before)? {
        return Ok(false);
    }
    owner.setattr(name, yes(owner.py()))?;
    let done = work.call0();
    owner.setattr(name, before)?;
    done?;
    Ok(true)
}

/// Forget for which other one a Deferred is there.
fn forget_part(outer: &Bound<'_, PyAny>) -> Result<()> {
    let py = outer.py();
    let attributes = outer.getattr(intern!(py, "__dict__"))?;
    attributes.call_method1(intern!(py, "pop"), (intern!(py, "_part_of"), py.None()))?;
    Ok(())
}

/// Whether a result is a failure. One that cannot be asked is none.
pub(crate) fn is_failure(result: &Bound<'_, PyAny>) -> Result<bool> {
    match creating::is_failure(result) {
        Err(error) if error.is_instance_of::<PyException>(result.py()) => Ok(false),
        is => is,
    }
}

/// A callback: fire another Deferred with the result, too. A failure is that one's then.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _pass_on<'py>(
    result: Bound<'py, PyAny>,
    outer: Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = result.py();
    forget_part(&outer)?;
    if is(&outer, intern!(py, "called"))? {
        return Ok(result);
    }
    _hand_over(outer, result.clone())?;
    Ok(if is_failure(&result)? { none(py) } else { result })
}

/// What a canceller does: the Deferred fails here and now, for a reason or None, but nobody sees that
/// yet.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _delay<'py>(outer: &Bound<'py, PyAny>, reason: &Bound<'py, PyAny>) -> Result<()> {
    let py = outer.py();
    let failure = if reason.is_none() {
        creating::of_new::<CancelledError>(py)?
    } else {
        creating::from_exception(py.get_type::<CancelledError>().call1((reason,))?)?
    };
    outer.call_method0(intern!(py, "pause"))?;
    outer.call_method1(intern!(py, "errback"), (failure,))?;
    Ok(())
}

/// A callback: what was delayed until now ends, or another Deferred gets the result.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_delayed<'py>(
    result: Bound<'py, PyAny>,
    outer: Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = result.py();
    if !is(&outer, intern!(py, "paused"))? {
        return _pass_on(result, outer);
    }
    forget_part(&outer)?;
    let work = outer.getattr(intern!(py, "unpause"))?;
    in_turn(py, Step::Call { work: work.hold(), args: PyTuple::empty(py).hold() })?;
    Ok(result)
}
