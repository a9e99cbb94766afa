//! Repeats steps of ours that are written in Python, when a signal's exception has interrupted
//! them, or there was no memory for a moment.
//!
//! The interpreter raises such an exception between any two lines. A step that detects what it has
//! done already is repeated until it is complete. Then the exception (KeyboardInterrupt, or another
//! that is not an `Exception`) is put back, and raised when the interpreter next checks for
//! signals, as if the signal had come that much later.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::{
    PyBaseException, PyException, PyMemoryError, PyRecursionError, PyValueError,
};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::answers::Called;
use super::cell::Shared;
use super::conversions::{Nothing, ToC, safe};
use super::error::{Error, Result};
use super::held::{Held, Hold};
use super::in_flight::{ok, restore};
use super::interned::intern;
use super::raised::Raised;
use super::safe::this_thread;
use crate::core::refusable;

/// How often a step is repeated. After that, it is repeated once more, without signals: what is
/// raised then does not come from a signal.
pub(crate) const MOST: u32 = 50;

/// How often a step is repeated that had no memory. There may be some by now.
const WITHOUT_MEMORY: u32 = 3;

/// Do something that must not be left out, and that changes nothing if it raises. If there was no
/// memory for it, try again.
pub(crate) fn insist<T>(py: Python<'_>, work: impl Fn() -> Result<T>) -> Result<T> {
    let mut done = work();
    for _ in 0..WITHOUT_MEMORY {
        match &done {
            Err(error) if error.is_instance_of::<PyMemoryError>(py) => done = work(),
            _ => break,
        }
    }
    done
}

/// Repeat a step that has raised this.
///
/// # Errors
///
/// Exceptions that do not come from a signal: `MemoryError`, even if the step is complete,
/// `RecursionError`, and what is raised every time. Also exceptions that are not put back although
/// the step is complete: any other `Exception`, which is most likely an error in a program's own
/// method and would be confusing elsewhere; and those that cannot be put back, as in another thread
/// than the main one.
#[cold]
pub(super) fn again<'py>(
    raised: Raised<'py>,
    mut step: impl FnMut() -> Called<'py>,
) -> Called<'py> {
    let mut last = raised.clone();
    let kept_back = KeptBack::new(&raised);
    let mut refusals = 0;
    // What a signal has raised while the step was repeated for another reason.
    let mut signal: Option<Raised<'py>> = None;
    for attempt in 0..=MOST {
        if last.is_instance_of::<PyRecursionError>() {
            break;
        }
        if last.is_instance_of::<PyMemoryError>() {
            refusals += 1;
            if refusals > WITHOUT_MEMORY {
                break;
            }
        }
        let done = if attempt < MOST { step() } else { undisturbed(raised.py(), &mut step) };
        match done {
            Ok(_) if raised.is_instance_of::<PyException>() => {
                put_back_too(signal, &raised);
                return Err(raised);
            }
            // An endless loop in the step was ended by this exception.
            Ok(result) if kept_back.was_taken() => return Ok(result),
            Ok(result) => return put_back(raised).map(|()| result),
            Err(another) => {
                if signal.is_none()
                    && raised.is_instance_of::<PyException>()
                    && !another.is_instance_of::<PyException>()
                {
                    signal = Some(another.clone());
                }
                keep_beside(&raised, &another);
                last = another;
            }
        }
    }
    if last.is_instance_of::<PyException>() {
        put_back_too(signal, &last);
    }
    lose_neither(raised, &last);
    Err(last)
}

/// Put back what a signal has raised, if anything. What is raised now no longer shows it as its
/// context.
fn put_back_too<'py>(signal: Option<Raised<'py>>, raised: &Raised<'py>) {
    let Some(signal) = signal else { return };
    let py = signal.py();
    let name = intern!(py, "__context__");
    if put_back(signal.clone()).is_ok()
        && ok(py, raised.getattr(name)).is_some_and(|context| context.is(&signal))
    {
        let _ = ok(py, raised.setattr(name, py.None()));
    }
}

/// The exceptions of steps that are being repeated.
static KEPT_BACK: Shared<Vec<Held<PyBaseException>>> = Shared::new(Vec::new());

/// Keeps an exception in [`KEPT_BACK`] while it lives.
struct KeptBack<'py>(Option<Raised<'py>>);

impl<'py> KeptBack<'py> {
    fn new(raised: &Raised<'py>) -> Self {
        let py = raised.py();
        if raised.is_instance_of::<PyException>() || !is_main_thread(py) {
            return Self(None);
        }
        let kept = KEPT_BACK.with(py, |all| {
            let has_room = refusable(|| all.try_reserve(1)).is_ok();
            if has_room {
                all.push(raised.clone().hold());
            }
            has_room
        });
        Self(kept.then(|| raised.clone()))
    }

    fn place(&self) -> Option<usize> {
        let raised = self.0.as_ref()?;
        KEPT_BACK.with(raised.py(), |all| all.iter().rposition(|it| it.as_ptr() == raised.as_ptr()))
    }

    fn was_taken(&self) -> bool {
        self.0.is_some() && self.place().is_none()
    }
}

impl Drop for KeptBack<'_> {
    fn drop(&mut self) {
        if let (Some(raised), Some(place)) = (&self.0, self.place()) {
            drop(KEPT_BACK.with(raised.py(), |all| all.remove(place)));
        }
    }
}

/// What a signal has raised, or raises now. A loop that may be endless, and in which only steps of
/// ours run, has to ask now and then: each of these steps would put the exception back, and the
/// loop would never end.
pub(crate) fn interruption(py: Python<'_>) -> Option<Raised<'_>> {
    let there = PUT_BACK.with(py, |all| !all.is_empty());
    if (there || KEPT_BACK.with(py, |all| !all.is_empty())) && is_main_thread(py) {
        let taken = take_first(py).or_else(|| KEPT_BACK.with(py, Vec::pop));
        return Some(taken?.into_bound(py));
    }
    py.check_signals().err().map(|error| Error::from(error).into_raised(py))
}

/// Take the first exception that was put back.
fn take_first(py: Python<'_>) -> Option<Held<PyBaseException>> {
    PUT_BACK.with(py, |all| if all.is_empty() { None } else { Some(all.remove(0)) })
}

/// How often a native operation is tried that checks for signals first.
const TRIES: u32 = 1_000;

/// Do a step that no signal interrupts. Meanwhile, the program's signal handlers are replaced by
/// one that notes the signals. Afterwards the handlers are called, and what they raise is put back.
///
/// If they cannot be replaced, as in another thread than the main one, the step is done without
/// that.
#[cold]
pub(crate) fn undisturbed<'py, R>(py: Python<'py>, step: impl FnOnce() -> R) -> R {
    let mut handlers = Handlers::default();
    // If that fails midway, some are replaced, and no harm is done.
    let _ = ok(py, handlers.replace(py));
    // Exceptions that an inner step puts back must not be raised either.
    HELD.fetch_add(1, Ordering::Relaxed);
    let result = step();
    if HELD.fetch_sub(1, Ordering::Relaxed) == 1 {
        for _ in 0..PUT_BACK.with(py, |all| all.len()) {
            call_later(py, Soon(raise_next));
        }
    }
    handlers.put_back(py);
    result
}

/// How many steps are being done undisturbed, one within the other. Meanwhile nothing that was put
/// back is raised.
static HELD: AtomicU32 = AtomicU32::new(0);

/// The handlers that were replaced.
#[derive(Default)]
struct Handlers<'py> {
    /// The handler of each signal.
    replaced: Option<Bound<'py, PyDict>>,
    /// The signals that have come, each with the frame in which it did.
    came: Option<Bound<'py, PyDict>>,
    /// The handler that replaces them.
    note: Option<Bound<'py, PyAny>>,
}

impl<'py> Handlers<'py> {
    fn replace(&mut self, py: Python<'py>) -> PyResult<()> {
        let (replaced, came) = (super::new_dict(py)?, super::new_dict(py)?);
        let note = came.getattr("setdefault")?;
        let signals = py.import("_signal")?;
        let last: c_int = signals.getattr("NSIG")?.extract()?;
        let get = signals.getattr("getsignal")?;
        self.replaced = Some(replaced.clone());
        self.came = Some(came);
        self.note = Some(note.clone());
        for number in 1..last {
            let Some(handler) = ok(py, get.call1((number,))) else { continue };
            if handler.is_callable() {
                replaced.set_item(number, &handler)?;
                if let Err(error) = set_handler(&signals, number, &note) {
                    replaced.del_item(number)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn put_back(self, py: Python<'py>) {
        let (Some(replaced), Some(came)) = (self.replaced, self.came) else { return };
        let Some(signals) = ok(py, py.import("_signal")) else { return };
        for (number, handler) in replaced.iter() {
            let Some(number) = ok(py, number.extract()) else { continue };
            let now = ok(py, signals.call_method1("getsignal", (number,)));
            if let (Some(now), Some(note)) = (&now, &self.note)
                && !now.is(note)
            {
                // The step has set another one.
                continue;
            }
            let _ = ok(py, set_handler(&signals, number, &handler));
        }
        for (number, frame) in came.iter() {
            let Some(handler) = ok(py, replaced.get_item(&number)).flatten() else { continue };
            if let Err(error) = handler.call1((number, frame)) {
                drop(put_back(Error::from(error).into_raised(py)));
            }
        }
    }
}

/// `signal.signal(number, handler)`, which checks for signals first. What their handlers raise is
/// put back.
fn set_handler(
    signals: &Bound<'_, PyModule>,
    number: c_int,
    handler: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = signals.py();
    let mut first: Option<Raised<'_>> = None;
    let mut done = Ok(());
    for _ in 0..TRIES {
        match signals.call_method1("signal", (number, handler)) {
            Ok(_) => {
                done = Ok(());
                break;
            }
            Err(error) if error.is_instance_of::<PyValueError>(py) => {
                // Not in this thread.
                done = Err(error);
                break;
            }
            Err(error) => {
                let raised = Error::from(error).into_raised(py);
                match &first {
                    Some(first) => keep_beside(first, &raised),
                    None => first = Some(raised.clone()),
                }
                done = Err(Error::from(raised).into());
            }
        }
    }
    if let Some(first) = first {
        drop(put_back(first));
    }
    done
}

/// Combine two signals' exceptions of different classes that have interrupted the same step: one is
/// raised, and shows the other as its `__context__`. If it has a context already, the other is not
/// shown.
fn keep_beside(raised: &Raised<'_>, another: &Raised<'_>) {
    let py = raised.py();
    let name = intern!(py, "__context__");
    if raised.get_type().is(another.get_type()) {
        return;
    }
    let is_free = |error: &Raised<'_>| {
        ok(py, error.getattr(name)).is_some_and(|context| context.is_none() || context.is(raised))
    };
    if is_free(raised) && is_free(another) {
        // Neither shows the other already, so that there is no circle.
        let kept = another.setattr(name, py.None()).and_then(|()| raised.setattr(name, another));
        let _ = ok(py, kept);
    }
}

/// A signal's exception has interrupted a step, which could not be completed because of another one,
/// such as `MemoryError`. That is raised; the signal's is put back, or shown as its `__context__`.
fn lose_neither(raised: Raised<'_>, last: &Raised<'_>) {
    let py = raised.py();
    if raised.get_type().is(last.get_type()) {
        return;
    }
    let is_left = match raised.is_instance_of::<PyException>() {
        true => Some(raised),
        false => put_back(raised).err(),
    };
    let Some(raised) = is_left else { return };
    let name = intern!(py, "__context__");
    if ok(py, raised.getattr(name)).is_some_and(|context| context.is(last)) {
        let _ = ok(py, raised.setattr(name, py.None()));
    }
    if ok(py, last.getattr(name)).is_some_and(|context| context.is_none()) {
        let _ = ok(py, last.setattr(name, raised));
    }
}

safe! {
    /// Have the main thread call this function soon, without an argument. Not 0 if its queue is
    /// full.
    fn call_later<'py>(what: Soon) -> c_int = ffi::Py_AddPendingCall: (what, Nothing);
}

/// Exceptions that were put back and not raised yet, in order.
static PUT_BACK: Shared<Vec<Held<PyBaseException>>> = Shared::new(Vec::new());

/// Have an exception raised when the interpreter next checks for signals.
///
/// # Errors
///
/// The exception itself, if that is not possible.
pub(crate) fn put_back(raised: Raised<'_>) -> Result<(), Raised<'_>> {
    let py = raised.py();
    if !is_main_thread(py) {
        return Err(raised);
    }
    // As with signals, one that comes again before the first has been raised is merged with it.
    let kind = raised.get_type_ptr();
    if PUT_BACK.with(py, |all| all.iter().any(|kept| kept.bind(py).get_type_ptr() == kind)) {
        return Ok(());
    }
    let kept = PUT_BACK.with(py, |all| {
        let has_room = refusable(|| all.try_reserve(1)).is_ok();
        if has_room {
            all.push(raised.clone().hold());
        }
        has_room
    });
    if kept && call_later(py, Soon(raise_next)) == 0 {
        return Ok(());
    }
    if kept {
        // Nothing has run meanwhile, so the last one is this one.
        drop(PUT_BACK.with(py, Vec::pop));
    }
    Err(raised)
}

/// What the interpreter calls soon.
pub(crate) struct Soon(pub(super) Pending);

/// Called attached. Returns -1 with an exception in flight, or 0.
type Pending = extern "C" fn(*mut c_void) -> c_int;

impl ToC<Option<Pending>> for Soon {
    fn to_c(self) -> Option<Pending> {
        Some(self.0)
    }
}

/// Called once for each exception that was put back: raise the first of them. Nothing in here panics.
extern "C" fn raise_next(_: *mut c_void) -> c_int {
    if HELD.load(Ordering::Relaxed) > 0 {
        return 0;
    }
    let raised = Python::try_attach(|py| take_first(py).map(|next| restore(next.into_bound(py))));
    if raised.flatten().is_some() { -1 } else { 0 }
}

/// Whether this is the thread that handles signals. If Python code ran here, a pending exception
/// could be raised in it and be lost. So the attributes behind `main_thread` and `ident` are read,
/// and no functions are called.
pub(super) fn is_main_thread(py: Python<'_>) -> bool {
    let ask = || -> PyResult<bool> {
        let main = py.import("threading")?.getattr("_main_thread")?;
        Ok(main.getattr("_ident")?.extract::<usize>()? == this_thread(py))
    };
    ok(py, ask()).unwrap_or(false)
}
