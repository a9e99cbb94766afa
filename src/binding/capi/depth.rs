//! How many more Python calls the interpreter allows, and a few more for our functions.
//!
//! CPython counts the nested calls of a thread, and raises RecursionError when there are too many.
//! So a callback of ours that is written in Python could fail before it has begun or in the middle,
//! and whoever waits for its effect would wait forever. The counter is in the public part of the
//! thread state, at an offset that differs between versions. It is found by observation: which
//! number changes by one with each call? If there is not exactly one, all of this does nothing.
//!
//! The machine's stack may end before that, as in a thread with a small one. So these functions may
//! use some of what is kept of it for the functions that we call.

use std::cell::Cell;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use pyo3::Borrowed;
use pyo3::exceptions::{PyException, PyMemoryError, PyRecursionError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::again::{again, insist};
use super::answers::Called;
use super::arguments;
use super::conversions::FromC;
use super::error::{Error, Raise, Result};
use super::interned::intern;
use super::{bounds, owed, panics};

/// How much of the thread state is examined. It is larger in every version of CPython.
const WORDS: usize = 40;
/// The most calls that our functions are expected to nest.
const NEEDED: i32 = 60;
/// How many more calls one of our functions gets, if fewer than [`NEEDED`] are left.
const MORE: i32 = 100;
/// How often that may be nested: our functions may call a program's, which may call ours.
const MOST_LIFTS: u32 = 8;
/// How much stack must be left for these calls: before CPython 3.11 each uses some.
const STACK_FOR_THEM: usize = 64 << 10;
/// How many calls a check beforehand requires.
const AHEAD: i32 = 12;
/// How much stack a check beforehand requires. Before CPython 3.11 each call uses some.
const STACK_AHEAD: usize = if cfg!(Py_3_11) { 4 << 10 } else { 8 << 10 };
/// How much stack our functions are expected to use until they come to such a check.
pub(crate) const STACK_NEEDED: usize = 3 * STACK_AHEAD;
/// From CPython 3.11 on, the counter holds the calls that are left; before, those that are nested.
const EACH: i32 = if cfg!(Py_3_11) { -1 } else { 1 };

/// The index of the counter in the thread state, in words, plus one. 0 if it is not known.
static PLACE: AtomicUsize = AtomicUsize::new(0);
/// Whether native calls have a counter of their own.
const COUNTS_NATIVE_CALLS: bool = cfg!(all(Py_3_12, not(Py_3_14)));
/// Where that is: the next but one. It holds the calls that are left.
const NATIVE_CALLS: usize = 2;

/// The default vectorcall of Python functions: the interpreter.
static INTERPRETED: OnceLock<ffi::vectorcallfunc> = OnceLock::new();
/// The vectorcall of native functions, which are counted, too, before CPython 3.12.
static NATIVE: OnceLock<ffi::vectorcallfunc> = OnceLock::new();

thread_local! {
    /// How many of our calls with more room are running.
    static LIFTS: Cell<u32> = const { Cell::new(0) };
}

/// The first words of this thread's state.
#[pyfunction(crate = "crate::binding::capi::guarded")]
fn words(py: Python<'_>) -> Vec<i32> {
    (0..).map_while(|place| Some(word(py, place)?.load(Ordering::Relaxed))).collect()
}

/// A word of this thread's state, if it is among the examined ones.
#[inline(always)]
fn word(_py: Python<'_>, place: usize) -> Option<&AtomicI32> {
    if place >= WORDS {
        return None;
    }
    // SAFETY: attached, so there is a state, which stays while the thread is. It is aligned for
    // pointers, and larger than what is looked at. Whoever else writes to it, writes to whole words.
    Some(unsafe { AtomicI32::from_ptr(ffi::PyThreadState_Get().cast::<i32>().add(place)) })
}

/// Find the counter. If that is not possible, for instance while calls are traced, it is not known.
///
/// # Errors
///
/// Only errors that end an import in any case, and the next import finds it: a signal's exception,
/// `MemoryError`, and the `RecursionError` of an import that is nested too deeply.
pub(crate) fn find(py: Python<'_>) -> PyResult<()> {
    match look(py) {
        Err(error)
            if error.is_instance_of::<PyException>(py)
                && !error.is_instance_of::<PyRecursionError>(py)
                && !error.is_instance_of::<PyMemoryError>(py) =>
        {
            Ok(())
        }
        looked => looked,
    }
}

/// Look for the counter, by calls that are nested to known depths.
fn look(py: Python<'_>) -> PyResult<()> {
    let names = PyDict::new(py);
    py.run(
        c"def nest(calls, look):\n    return nest(calls - 1, look) if calls else look()\n",
        Some(&names),
        None,
    )?;
    let nest = names.get_item("nest")?;
    let look = wrap_pyfunction!(words, py)?;
    let depths = [0, 1, 2, 5, 11];
    let mut seen: Vec<Vec<i32>> = Vec::new();
    for depth in depths {
        let Some(nest) = &nest else { return Ok(()) };
        seen.push(nest.call1((depth, &look))?.extract()?);
    }
    names.clear();
    let limit = super::safe::recursion_limit(py);
    let counts = |place: usize| {
        let as_expected = |(words, depth): (&Vec<i32>, i32)| {
            words[place].wrapping_sub(seen[0][place]) == EACH * depth
        };
        // The number of calls left comes before the thread's limit.
        let is_before_limit = !cfg!(Py_3_11) || seen[0].get(place + 1) == Some(&limit);
        seen.iter().zip(depths).all(as_expected)
            && is_before_limit
            && (0..=limit).contains(&seen[0][place])
    };
    let mut found = (0..WORDS).filter(|place| counts(*place));
    if let (Some(place), None) = (found.next(), found.next())
        && (!COUNTS_NATIVE_CALLS || is_count_of_native_calls(py, place + NATIVE_CALLS)?)
    {
        PLACE.store(place + 1, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether a word of the thread state is the number of native calls left.
fn is_count_of_native_calls(py: Python<'_>, place: usize) -> PyResult<bool> {
    let read = || word(py, place).map(|word| word.load(Ordering::Relaxed));
    let before = read();
    if super::safe::enter_recursion(py, c" while importing deferrous") {
        return Err(super::in_flight::take_raised(py).into());
    }
    let within = read();
    super::safe::leave_recursion(py);
    Ok(before.is_some_and(|left| left > 0 && within == Some(left - 1) && read() == before))
}

/// The counter of this thread.
#[inline(always)]
fn count(py: Python<'_>) -> Option<&AtomicI32> {
    word(py, PLACE.load(Ordering::Relaxed).checked_sub(1)?)
}

/// The counter of this thread's native calls, if they have one of their own.
#[inline(always)]
fn native_count(py: Python<'_>) -> Option<&AtomicI32> {
    let place = PLACE.load(Ordering::Relaxed).checked_sub(1)?;
    if COUNTS_NATIVE_CALLS { word(py, place + NATIVE_CALLS) } else { None }
}

/// The number of calls left, if known: Python calls or native ones, whichever are fewer.
#[inline(always)]
fn left(py: Python<'_>) -> Option<i32> {
    let count = count(py)?.load(Ordering::Relaxed);
    let left =
        if cfg!(Py_3_11) { count } else { super::safe::recursion_limit(py).wrapping_sub(count) };
    Some(match native_count(py) {
        Some(native) => left.min(native.load(Ordering::Relaxed)),
        None => left,
    })
}

/// Whether the number of calls left is known.
pub(crate) fn is_known() -> bool {
    PLACE.load(Ordering::Relaxed) != 0
}

/// Whether the next native call that is counted will be refused.
#[cold]
pub(crate) fn is_at_limit(py: Python<'_>) -> bool {
    match native_count(py) {
        Some(native) => native.load(Ordering::Relaxed) <= 0,
        // They share a counter with Python calls.
        None => cfg!(not(Py_3_12)) && left(py).is_some_and(|left| left <= 0),
    }
}

/// Check beforehand, before a function that calls Python functions in the middle of its work
/// changes anything. If one of these failed, some waiters would have been told, and others would
/// wait forever.
///
/// # Errors
///
/// `RecursionError` if a few nested calls would raise it, or if there is too little of the machine's
/// stack for them.
#[inline(always)]
pub(crate) fn check_ahead(py: Python<'_>) -> Result<()> {
    match left(py) {
        Some(left) if left < AHEAD => {
            Err(PyRecursionError::error(py, "maximum recursion depth exceeded"))
        }
        _ if bounds::room() >= STACK_AHEAD => Ok(()),
        _ => check_little_stack(py),
    }
}

/// A step that has begun may use all of the stack that there is.
#[cold]
fn check_little_stack(py: Python<'_>) -> Result<()> {
    let is_enough = LIFTS.with(Cell::get) > 0 && bounds::has_room();
    if is_enough { Ok(()) } else { Err(too_deep(py)) }
}

/// The error where the stack is used up.
#[cold]
pub(super) fn too_deep(py: Python<'_>) -> Error {
    PyRecursionError::error(py, "maximum recursion depth exceeded: the stack is used up")
}

/// Allows more calls while it exists.
pub(crate) struct Lift<'py>(Python<'py>);

impl<'py> Lift<'py> {
    pub(crate) fn begin(py: Python<'py>) -> Self {
        LIFTS.with(|lifts| lifts.set(lifts.get() + 1));
        bounds::lower(true);
        shift(py, -EACH * MORE);
        Self(py)
    }
}

impl Drop for Lift<'_> {
    fn drop(&mut self) {
        shift(self.0, EACH * MORE);
        let is_last = LIFTS.with(|lifts| {
            lifts.set(lifts.get().saturating_sub(1));
            lifts.get() == 0
        });
        if is_last {
            bounds::lower(false);
        }
    }
}

/// Do what must not be refused, with more room if there is little.
pub(crate) fn with_more<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    let _lift = is_short(py).then(|| Lift::begin(py));
    work()
}

fn shift(py: Python<'_>, by: i32) {
    for count in [count(py), native_count(py)].into_iter().flatten() {
        count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

/// How one of our functions is called when few calls are left.
pub(crate) trait Short {
    /// Make the call, with a [`Lift`].
    ///
    /// # Errors
    ///
    /// Replaces the result of the call.
    fn call<'py>(py: Python<'py>, call: &mut dyn FnMut(Python<'py>)) -> Result<()>;
}

/// Give a Python function, or a native one of ours, more calls if few are left when native code
/// calls it. The function object stays the same. If it is `WHOLE`, it is repeated when a signal's
/// exception has interrupted it: see [`again`]. If it is `OWED`, it is called again when there was no
/// memory for it: see [`owed`].
///
/// # Errors
///
/// `TypeError` if it is neither.
pub(crate) fn never_refuse<S: Short, const WHOLE: bool, const OWED: bool>(
    function: &Bound<'_, PyAny>,
) -> Result<()> {
    let kind = function.get_type_ptr();
    // SAFETY: of the very types whose layouts are read, alive. `enter` keeps the contract of what
    // runs for a function.
    unsafe {
        if kind == &raw mut ffi::PyCFunction_Type && is_ours(function)? {
            let object = function.as_ptr().cast::<ffi::PyCFunctionObject>();
            if runs(&NATIVE, (*object).vectorcall) {
                (*object).vectorcall = Some(enter::<S, true, WHOLE, OWED>);
            }
            return Ok(());
        }
        if kind != &raw mut ffi::PyFunction_Type {
            return Err(PyTypeError::error(function.py(), "not a function"));
        }
        let object = function.as_ptr().cast::<ffi::PyFunctionObject>();
        if runs(&INTERPRETED, (*object).vectorcall) {
            // Public from 3.12 on. Before, setting the field is all there is to do.
            #[cfg(Py_3_12)]
            super::wrapper::PyFunction_SetVectorcall(object, enter::<S, false, WHOLE, OWED>);
            #[cfg(not(Py_3_12))]
            {
                (*object).vectorcall = Some(enter::<S, false, WHOLE, OWED>);
            }
        }
    }
    Ok(())
}

/// Whether a native function is from our module.
fn is_ours(function: &Bound<'_, PyAny>) -> Result<bool> {
    let module = function.getattr(intern!(function.py(), "__module__"))?;
    Ok(module.cast::<PyString>().is_ok_and(|it| it.to_string_lossy().starts_with("deferrous")))
}

/// Whether this is the vectorcall of all functions of a kind, as remembered from the first one.
fn runs(all: &OnceLock<ffi::vectorcallfunc>, one: Option<ffi::vectorcallfunc>) -> bool {
    one.is_some_and(|one| ptr::fn_addr_eq(*all.get_or_init(|| one), one))
}

/// The vectorcall of these functions.
unsafe extern "C" fn enter<S: Short, const IS_NATIVE: bool, const WHOLE: bool, const OWED: bool>(
    function: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this attached, with a function that `never_refuse` has seen, so
    // that what ran for it before is known, and with a vectorcall's arguments, which are alive until
    // it returns. They are passed on as they are; the names are a tuple, or null.
    unsafe {
        let Some(run) = (if IS_NATIVE { &NATIVE } else { &INTERPRETED }).get() else {
            return ptr::null_mut();
        };
        let py = Python::assume_attached();
        let call = || run(function, args, nargsf, kwnames);
        let answer = || FromC::from_c(py, call());
        let is_short = is_short(py);
        let called = if is_short { ptr::null_mut() } else { call() };
        if !is_short && (!(WHOLE || OWED) || !called.is_null()) {
            return called;
        }
        let names = Borrowed::from_ptr_or_opt(py, kwnames).map(|names| names.cast_unchecked());
        panics::answering(py, || {
            let mut done =
                if is_short { call_short::<S>(py, &answer) } else { FromC::from_c(py, called) };
            let is_owed = |done: &Called<'_>| {
                OWED && done.as_ref().is_err_and(|it| it.is_instance_of::<PyMemoryError>())
            };
            if is_owed(&done) {
                let called = insist(py, || Ok(call_short::<S>(py, &answer)?));
                done = called.map_err(|error| error.into_raised(py));
            }
            if WHOLE
                && !is_owed(&done)
                && let Err(raised) = done
            {
                done = again(raised, || call_short::<S>(py, &answer));
            }
            if OWED && let Err(raised) = &done {
                let function = Borrowed::from_ptr(py, function);
                arguments::enter::<owed::Failed>((&function, raised), args, nargsf, names);
            }
            Ok::<Bound<'_, PyAny>, Error>(done?)
        })
    }
}

/// Make a call when few are left.
#[cold]
fn call_short<'py, S: Short>(py: Python<'py>, call: &dyn Fn() -> Called<'py>) -> Called<'py> {
    let mut called = None;
    let done = S::call(py, &mut |_| called = Some(call()));
    match (done, called) {
        (Err(error), _) => Err(error.into_raised(py)),
        (Ok(()), Some(called)) => called,
        (Ok(()), None) => Err(PyTypeError::error(py, "not called").into_raised(py)),
    }
}

#[inline(always)]
fn is_short(py: Python<'_>) -> bool {
    (left(py).is_some_and(|left| left < NEEDED) || bounds::room() < STACK_NEEDED) && may_lift()
}

#[cold]
fn may_lift() -> bool {
    let most = if bounds::room() > STACK_FOR_THEM { MOST_LIFTS } else { 1 };
    LIFTS.with(Cell::get) < most
}
