//! Native steps that end Deferreds of `deferrous.concurrency`: cancel all tasks of a group, or pass an
//! outcome on to the Deferred that a program waits for.
//!
//! Each function is one step, so that a signal's exception cannot tear it apart: see `whole`.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::binding::capi::{
    self, Held, Hold,
    again::{MOST, insist, undisturbed},
    error::{Error, Result},
    interned::intern,
    none,
    owed::owe,
    yes,
};
use crate::binding::face::place::_hand_over;
use crate::binding::face::waiting::is;
use crate::binding::judge::creating;
use crate::binding::model::deferred::{CancelledError, Deferred};
use crate::binding::model::names::{END_ALL, END_ONE, Imported};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::{deferred::AlreadyCalledError, outcome::Outcome};
use crate::binding::run::engine;
use crate::binding::waits::nesting::current_greenlet;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::{firing, nesting::hand_over, work::Work};
use crate::core::refusable;

/// How deep steps may nest. Each level takes a few Python calls.
const DEEPEST: u32 = 10;

/// Work that may cancel Deferreds.
enum Step {
    Call { work: Held<PyAny>, args: Held<PyTuple> },
    End { deferred: Held<PyAny>, reason: Held<PyAny>, otherwise: Held<PyAny> },
}

/// The steps that are running on one stack, one inside the other.
struct Nest {
    /// The address of the greenlet; 0 without greenlets.
    greenlet: usize,
    depth: u32,
    /// Steps that the outermost one will do.
    later: Vec<Step>,
}

thread_local! {
    /// Usually empty if nothing is running. Its content may be dropped only while attached.
    static NESTS: ManuallyDrop<RefCell<Vec<Nest>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Access the steps on the stack of a greenlet, if there are any.
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

/// Do a step; or, if too many are nested, let the outermost one on the same stack do it later.
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
        // The steps that the last one has put off come next.
        let mut later = with_nest(greenlet, |nest| std::mem::take(&mut nest.later));
        let later = later.get_or_insert_default();
        if refusable(|| rest.try_reserve(later.len())).is_err() {
            // There is no memory for the right order.
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
            // It is not dropped when the thread ends.
            all.shrink_to_fit();
        }
        over
    });
    drop(over);
    done
}

/// Call a function that cancels Deferreds, which may cancel others, and so on.
///
/// Thousands of nested groups would nest more calls than the interpreter allows. So calls that are
/// nested deeply are put off: the outermost one on the same stack makes them.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (work, *args))]
pub(crate) fn _in_turn<'py>(work: Bound<'py, PyAny>, args: Bound<'py, PyTuple>) -> Result<()> {
    let py = work.py();
    in_turn(py, Step::Call { work: work.hold(), args: args.hold() })
}

/// Cancel several Deferreds, each with a reason or None. `otherwise` is the function that cancels
/// those that may have a canceller of the program.
///
/// If cancelling one raises, the others are cancelled nevertheless, and the error is raised at the
/// end.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_all<'py>(
    deferreds: &Bound<'py, PyAny>,
    reason: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferreds.py();
    let all = match insist(py, || capi::list_of(py, deferreds)) {
        Ok(all) => all,
        Err(error) => return owe_ending(&END_ALL, deferreds, reason, otherwise, error),
    };
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

/// [`_end_all`] for one Deferred, and without putting it off.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_one<'py>(
    deferred: &Bound<'py, PyAny>,
    reason: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
) -> Result<()> {
    end(deferred, reason, otherwise)
}

/// Cancel a Deferred.
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
        // Without a canceller, only memory can be wanting.
        return insist(py, || engine::cancel(plain))
            .or_else(|error| owe_ending(&END_ONE, deferred, reason, otherwise, error));
    }
    // `otherwise` notes here how far it has come. If a signal's exception interrupts it, it goes on.
    let begun = match insist(py, || capi::new_dict(py)) {
        Ok(begun) => begun,
        Err(error) => return owe_ending(&END_ONE, deferred, reason, otherwise, error),
    };
    let mut done = Ok(());
    for attempt in 0..=MOST {
        let cancel = || otherwise.call1((deferred, reason, &begun));
        // The last attempt is made without signals, which seem to come in quick succession.
        match if attempt < MOST { cancel() } else { undisturbed(py, cancel) } {
            Ok(_) => return done,
            Err(error) if done.is_ok() => done = Err(error.into()),
            Err(_) => {}
        }
        if begun.contains(intern!(py, "is_over"))? {
            return done;
        }
    }
    done.map_err(|error| {
        owe(otherwise, &[deferred.clone(), reason.clone(), begun.into_any()], error)
    })
}

/// Have [`_end_all`] or [`_end_one`] called when there is memory for it. Returns the error.
#[cold]
fn owe_ending<'py>(
    end: &Imported<PyAny>,
    what: &Bound<'py, PyAny>,
    reason: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
    error: Error,
) -> Result<()> {
    Err(owe(end.get(what.py())?, &[what.clone(), reason.clone(), otherwise.clone()], error))
}

/// Delete the reference from a Deferred to the one that it is a part of.
fn forget_part(outer: &Bound<'_, PyAny>) -> Result<()> {
    let py = outer.py();
    let attributes = outer.getattr(intern!(py, "__dict__"))?;
    attributes.call_method1(intern!(py, "pop"), (intern!(py, "_part_of"), py.None()))?;
    Ok(())
}

/// Whether a result is a failure. False if its class raises when asked.
pub(crate) fn is_failure(result: &Bound<'_, PyAny>) -> Result<bool> {
    match creating::is_failure(result) {
        Err(error) if error.is_instance_of::<PyException>(result.py()) => Ok(false),
        is => is,
    }
}

/// A callback: fire another Deferred with the same result. That one then has to handle a failure.
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
    match _hand_over(outer, result.clone()) {
        // Another thread has fired it meanwhile.
        #[cfg(Py_GIL_DISABLED)]
        Err(error) if error.is_instance_of::<AlreadyCalledError>(py) => return Ok(result),
        handed_over => handed_over?,
    }
    Ok(if is_failure(&result)? { none(py) } else { result })
}

/// The failure of what was cancelled for a reason, if there is one.
pub(crate) fn cancelled_for<'py>(
    py: Python<'py>,
    reason: Option<&Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>> {
    match reason.filter(|reason| !reason.is_none()) {
        None => creating::of_new::<CancelledError>(py),
        Some(reason) => creating::from_exception(py.get_type::<CancelledError>().call1((reason,))?),
    }
}

/// The body of a canceller: the Deferred fails at once, with a reason or None, but its callbacks do
/// not run yet. Returns false if another thread has fired the Deferred.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _delay<'py>(outer: &Bound<'py, PyAny>, reason: &Bound<'py, PyAny>) -> Result<bool> {
    let py = outer.py();
    let failure = insist(py, || cancelled_for(py, Some(reason)))?;
    #[cfg(Py_GIL_DISABLED)]
    if let Ok(outer) = outer.cast::<Deferred>() {
        return delay_at_once(outer, failure);
    }
    // Done once. It is marked as done when nothing more can be refused.
    let (marks, mark) = (outer.getattr(intern!(py, "__dict__"))?, intern!(py, "_is_delayed"));
    if marks.contains(mark)? {
        return Ok(true);
    }
    marks.set_item(mark, yes(py))?;
    outer.call_method0(intern!(py, "pause"))?;
    let fired = insist(py, || Ok(outer.call_method1(intern!(py, "errback"), (&failure,))?));
    if let Err(error) = fired {
        if !is(outer, intern!(py, "called"))? {
            marks.del_item(mark)?;
            outer.call_method0(intern!(py, "unpause"))?;
        }
        return Err(error);
    }
    Ok(true)
}

/// [`_delay`] in one step.
#[cfg(Py_GIL_DISABLED)]
fn delay_at_once<'py>(outer: &Bound<'py, Deferred>, failure: Bound<'py, PyAny>) -> Result<bool> {
    let py = outer.py();
    let failure = Outcome::Failure(failure.hold());
    let Ok(fired) = outer.get().chain(py, |chain| chain.fire_paused(failure)) else {
        return Ok(false);
    };
    // A step that is repeated after a signal's exception could not find this out any more.
    outer.getattr(intern!(py, "__dict__"))?.set_item(intern!(py, "_was_delayed"), yes(py))?;
    if firing::after_fire(outer, Ok(fired))? {
        // Something has unpaused it already.
        hand_over(py, Work::Run(outer.clone()), engine::run_within)?;
    }
    Ok(true)
}

/// A callback: let the callbacks of a Deferred run that [`_delay`] has paused. If the Deferred has
/// not been delayed, fire it with the result.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_delayed<'py>(
    result: Bound<'py, PyAny>,
    outer: Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = result.py();
    #[cfg(Py_GIL_DISABLED)]
    if !is(&outer, intern!(py, "called"))? {
        match _hand_over(outer.clone(), result.clone()) {
            // Another thread has cancelled it meanwhile.
            Err(error) if error.is_instance_of::<AlreadyCalledError>(py) => {}
            handed_over => {
                forget_part(&outer)?;
                handed_over?;
                return Ok(if is_failure(&result)? { none(py) } else { result });
            }
        }
    }
    if !is(&outer, intern!(py, "paused"))? {
        return _pass_on(result, outer);
    }
    forget_part(&outer)?;
    let work = outer.getattr(intern!(py, "unpause"))?;
    in_turn(py, Step::Call { work: work.hold(), args: PyTuple::empty(py).hold() })?;
    Ok(result)
}
