//! How many more calls of Python's functions the interpreter allows, and a few more for ours.
//!
//! CPython counts the calls that are nested in a thread, and refuses one too many. So a callback of
//! ours that is written in Python could be refused before it has begun, or half-way, and whoever
//! waits for what it does would wait for ever. The count is in the public part of the state of a
//! thread, at a place that differs from version to version. It is found by looking: which number
//! changes by one with each call? Where there is not exactly one, all of this does nothing.

use std::cell::Cell;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use pyo3::exceptions::{PyException, PyMemoryError, PyRecursionError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::again::again;
use super::answers::Called;
use super::conversions::FromC;
use super::error::{Error, Raise, Result};
use super::interned::intern;
use super::{bounds, panics};

/// So much of the state of a thread is looked at. It is larger in each version of CPython.
const WORDS: usize = 40;
/// Calls of ours are expected to nest no deeper.
const NEEDED: i32 = 60;
/// So many more calls are allowed to one of ours, where fewer than [`NEEDED`] are left.
const MORE: i32 = 100;
/// Ours may call a program's functions, which may call ours. So often that is allowed.
const MOST_LIFTS: u32 = 8;
/// So much of the machine's stack has to be left for them: before CPython 3.11 each takes some.
const STACK_FOR_THEM: usize = 64 << 10;
/// What checks before it begins looks ahead for so many calls.
const AHEAD: i32 = 12;
/// From CPython 3.11 on, the count is of what is left. Before, it is of what is nested.
const EACH: i32 = if cfg!(Py_3_11) { -1 } else { 1 };

/// Where the count is, in words from the start of the state, and one more. 0 if that is not known.
static PLACE: AtomicUsize = AtomicUsize::new(0);

/// What runs when a function of Python's is called: the interpreter.
static INTERPRETED: OnceLock<ffi::vectorcallfunc> = OnceLock::new();
/// What runs when a native function is called, which before CPython 3.12 is counted, too.
static NATIVE: OnceLock<ffi::vectorcallfunc> = OnceLock::new();

thread_local! {
    /// How many calls of ours are running that were given more.
    static LIFTS: Cell<u32> = const { Cell::new(0) };
}

/// The words at the start of the state of this thread.
#[pyfunction(crate = "crate::binding::capi::guarded")]
fn words(py: Python<'_>) -> Vec<i32> {
    (0..).map_while(|place| Some(word(py, place)?.load(Ordering::Relaxed))).collect()
}

/// A word of the state of this thread, if it is one of those that are looked at.
#[inline(always)]
fn word(_py: Python<'_>, place: usize) -> Option<&AtomicI32> {
    if place >= WORDS {
        return None;
    }
    // SAFETY: attached, so there is a state, which stays while the thread is. It is aligned for
    // pointers, and larger than what is looked at. Whoever else writes to it, writes to whole words.
    Some(unsafe { AtomicI32::from_ptr(ffi::PyThreadState_Get().cast::<i32>().add(place)) })
}

/// Find the count. Where it cannot be found, because of what traces the calls, for one, it is not
/// known.
///
/// # Errors
///
/// What ends an import in any case, and the next one finds it: a signal's exception, `MemoryError`,
/// and `RecursionError` of an import that is nested too deep.
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

/// Look for the count, by calls that are nested so and so deep.
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
        // What is left stands before the limit of the thread.
        let is_before_limit = !cfg!(Py_3_11) || seen[0].get(place + 1) == Some(&limit);
        seen.iter().zip(depths).all(as_expected)
            && is_before_limit
            && (0..=limit).contains(&seen[0][place])
    };
    let mut found = (0..WORDS).filter(|place| counts(*place));
    if let (Some(place), None) = (found.next(), found.next()) {
        PLACE.store(place + 1, Ordering::Relaxed);
    }
    Ok(())
}

/// The count of this thread.
#[inline(always)]
fn count(py: Python<'_>) -> Option<&AtomicI32> {
    word(py, PLACE.load(Ordering::Relaxed).checked_sub(1)?)
}

/// How many more calls are allowed, if that is known.
#[inline(always)]
fn left(py: Python<'_>) -> Option<i32> {
    let count = count(py)?.load(Ordering::Relaxed);
    Some(if cfg!(Py_3_11) { count } else { super::safe::recursion_limit(py).wrapping_sub(count) })
}

/// Whether it is known how many more calls are allowed.
pub(crate) fn is_known() -> bool {
    PLACE.load(Ordering::Relaxed) != 0
}

/// Whether the next call of a function of Python's will be refused, where that and calls of native
/// functions are one count.
#[cold]
pub(crate) fn is_at_limit(py: Python<'_>) -> bool {
    cfg!(not(Py_3_12)) && left(py).is_some_and(|left| left <= 0)
}

/// To be called before anything is changed by what calls Python's functions in the midst of its
/// work. If one of these were refused, some would have been told, and others would wait for ever.
///
/// # Errors
///
/// `RecursionError` where a few nested calls would raise it.
#[inline(always)]
pub(crate) fn check_ahead(py: Python<'_>) -> Result<()> {
    match left(py) {
        Some(left) if left < AHEAD => {
            Err(PyRecursionError::error(py, "maximum recursion depth exceeded"))
        }
        _ => Ok(()),
    }
}

/// Allows more calls, as long as it exists.
pub(crate) struct Lift<'py>(Python<'py>);

impl<'py> Lift<'py> {
    pub(crate) fn begin(py: Python<'py>) -> Self {
        LIFTS.with(|lifts| lifts.set(lifts.get() + 1));
        shift(py, -EACH * MORE);
        Self(py)
    }
}

impl Drop for Lift<'_> {
    fn drop(&mut self) {
        shift(self.0, EACH * MORE);
        LIFTS.with(|lifts| lifts.set(lifts.get().saturating_sub(1)));
    }
}

fn shift(py: Python<'_>, by: i32) {
    if let Some(count) = count(py) {
        count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

/// How a function of ours is called where few more calls are allowed.
pub(crate) trait Short {
    /// Make the call, with a [`Lift`].
    ///
    /// # Errors
    ///
    /// What is raised in the place of what the call comes to.
    fn call<'py>(py: Python<'py>, call: &mut dyn FnMut(Python<'py>)) -> Result<()>;
}

/// Have a function of Python's, or a native one of ours, be allowed more calls, where few are left,
/// whenever native code calls it. It stays what it is. If it is to be `WHOLE`, it is called again
/// where a signal's exception has come into it: see [`again`].
///
/// # Errors
///
/// `TypeError` if it is neither.
pub(crate) fn never_refuse<S: Short, const WHOLE: bool>(function: &Bound<'_, PyAny>) -> Result<()> {
    let kind = function.get_type_ptr();
    // SAFETY: of the very types whose layouts are read, alive. `enter` keeps the contract of what
    // runs for a function.
    unsafe {
        if kind == &raw mut ffi::PyCFunction_Type && is_ours(function)? {
            let object = function.as_ptr().cast::<ffi::PyCFunctionObject>();
            if runs(&NATIVE, (*object).vectorcall) {
                (*object).vectorcall = Some(enter::<S, true, WHOLE>);
            }
            return Ok(());
        }
        if kind != &raw mut ffi::PyFunction_Type {
            return Err(PyTypeError::error(function.py(), "not a function"));
        }
        let object = function.as_ptr().cast::<ffi::PyFunctionObject>();
        if runs(&INTERPRETED, (*object).vectorcall) {
            // Public from 3.12 on. There is nothing else to be done before.
            #[cfg(Py_3_12)]
            super::wrapper::PyFunction_SetVectorcall(object, enter::<S, false, WHOLE>);
            #[cfg(not(Py_3_12))]
            {
                (*object).vectorcall = Some(enter::<S, false, WHOLE>);
            }
        }
    }
    Ok(())
}

/// Whether a native function is of our module.
fn is_ours(function: &Bound<'_, PyAny>) -> Result<bool> {
    let module = function.getattr(intern!(function.py(), "__module__"))?;
    Ok(module.cast::<PyString>().is_ok_and(|it| it.to_string_lossy().starts_with("deferrous")))
}

/// Whether this is what runs for all functions of a kind, as the first one has told.
fn runs(all: &OnceLock<ffi::vectorcallfunc>, one: Option<ffi::vectorcallfunc>) -> bool {
    one.is_some_and(|one| ptr::fn_addr_eq(*all.get_or_init(|| one), one))
}

/// What runs when one of them is called.
unsafe extern "C" fn enter<S: Short, const IS_NATIVE: bool, const WHOLE: bool>(
    function: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this attached, with a function that `never_refuse` has seen, so
    // that what ran for it before is known, and with a vectorcall's arguments, which are alive until
    // it returns. They are passed on as they are.
    unsafe {
        let Some(run) = (if IS_NATIVE { &NATIVE } else { &INTERPRETED }).get() else {
            return ptr::null_mut();
        };
        let py = Python::assume_attached();
        let call = || run(function, args, nargsf, kwnames);
        let answer = || FromC::from_c(py, call());
        let is_short = is_short(py);
        let called = if is_short { ptr::null_mut() } else { call() };
        if !is_short && (!WHOLE || !called.is_null()) {
            return called;
        }
        panics::answering(py, || {
            let called =
                if is_short { call_short::<S>(py, &answer) } else { FromC::from_c(py, called) };
            let done = match called {
                Err(raised) if WHOLE => again(raised, || call_short::<S>(py, &answer)),
                called => called,
            };
            Ok::<Bound<'_, PyAny>, Error>(done?)
        })
    }
}

/// Make a call where few more are allowed.
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
    left(py).is_some_and(|left| left < NEEDED) && may_lift()
}

#[cold]
fn may_lift() -> bool {
    LIFTS.with(Cell::get) < MOST_LIFTS && bounds::room() > STACK_FOR_THEM
}
