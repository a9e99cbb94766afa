//! Steps for which there was no memory. They are done again when there is some.
//!
//! If a callback of ours raises an exception, or a function that a clock calls, nobody calls it again, and
//! those that wait for its effect would wait forever. So the call is kept here, which needs no memory. The
//! interpreter is asked to call us soon, and again as long as there is still no memory.
//!
//! If an event loop was running in the thread, the step is done there, in a turn of the loop. Otherwise it is
//! done in the main thread, between two lines of the program. The interpreter calls us only in the main thread,
//! and not while that is blocked. So if the step is for another thread, the loop is told at once, if there is
//! memory for that. If a loop stops before, the step waits until it runs again; if it is closed, the step is done
//! in the main thread. After a fork, both processes have the steps, and do them: each has its own copies of all
//! that waits.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyString, PyTuple};
use smallvec::SmallVec;

use super::again::{Soon, call_later, insist, is_main_thread, put_back};
use super::answers::Called;
use super::arguments::{Arguments, Entry};
use super::cell::Shared;
use super::error::{Error, Result};
use super::held::{Held, Hold};
use super::in_flight::{ok, restore};
use super::raised::Raised;
use super::{panics, safe, told};
use crate::core::refusable;

/// How many steps are kept for which no memory is needed.
const AT_LEAST: usize = 64;

/// How often a step may fail although there was memory before it. After that it is reported, and not kept:
/// it would fail for ever.
const MOST: u32 = 1_000;

/// For how long the interpreter is asked again and again while there is no memory. (When it ends, CPython
/// 3.13 and newer call us until we do not ask any more.) After that it is asked with the next step.
const PATIENCE: Duration = Duration::from_secs(10);

/// A call that is to be made.
struct Owed {
    function: Held<PyAny>,
    /// The positional arguments, followed by those with names.
    arguments: SmallVec<[Held<PyAny>; 6]>,
    names: Option<Held<PyTuple>>,
    /// The event loop in which it is to be made.
    runner: Option<Held<PyAny>>,
    /// Whether it does the same if it is made once or twice.
    once: bool,
    /// How often it was made in vain.
    tries: u32,
    /// How often the event loop could not be told.
    untold: u32,
}

/// The calls that are to be made, in order.
static OWED: Shared<VecDeque<Owed>> = Shared::new(VecDeque::new());

/// Since when there has been no memory whenever the interpreter called.
static IN_VAIN: Shared<Option<Instant>> = Shared::new(None);

/// Whether the interpreter has been asked, and has not called yet: we take one place of its queue.
static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// What is known of event loops, in rooms above.
pub(crate) struct Turns {
    /// The one that runs in this thread.
    pub(crate) running: fn(Python<'_>) -> Option<Bound<'_, PyAny>>,
    /// Have it call a function with arguments, in a turn of its own. They stand in one tuple. From any
    /// thread.
    pub(crate) call: fn(&Bound<'_, PyAny>, Bound<'_, PyTuple>) -> PyResult<()>,
}

static TURNS: OnceLock<Turns> = OnceLock::new();

/// Say what is known of event loops, and get the memory for the first steps.
pub(crate) fn prepare(py: Python<'_>, turns: Turns) {
    let _ = TURNS.set(turns);
    // Where there is none now, there may be some when it is needed.
    let _ = OWED.with(py, |all| refusable(|| all.try_reserve(AT_LEAST)));
}

impl Owed {
    /// None if there is no memory for many arguments.
    fn new(function: &Bound<'_, PyAny>, arguments: Arguments<'_, '_>, once: bool) -> Option<Self> {
        let py = function.py();
        let mut all = SmallVec::new();
        refusable(|| all.try_reserve(arguments.all().len())).ok()?;
        all.extend(arguments.all().iter().map(|it| it.clone().hold()));
        Some(Self {
            function: function.clone().hold(),
            arguments: all,
            names: arguments.names().map(|names| names.to_owned().hold()),
            runner: TURNS.get().and_then(|turns| (turns.running)(py)).map(Bound::hold),
            once,
            tries: 0,
            untold: 0,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.function.as_ptr() == other.function.as_ptr()
            && self.names.as_ref().map(Held::as_ptr) == other.names.as_ref().map(Held::as_ptr)
            && self.arguments.len() == other.arguments.len()
            && self.arguments.iter().zip(&other.arguments).all(|(a, b)| a.as_ptr() == b.as_ptr())
    }

    fn runner<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.runner.as_ref().map(|it| it.bind(py).clone())
    }

    fn is_of(&self, runner: &Bound<'_, PyAny>) -> bool {
        self.runner.as_ref().is_some_and(|it| it.as_ptr() == runner.as_ptr())
    }

    /// Keep it. If it is to be done once, one that is kept already is enough.
    ///
    /// # Errors
    ///
    /// This one, if there is no memory for it.
    fn keep(self, py: Python<'_>) -> std::result::Result<(), Self> {
        let mut this = Some(self);
        let kept = OWED.with(py, |all| {
            let Some(one) = &this else { return true };
            let mut last = all.iter_mut().rev().take(AT_LEAST);
            if one.once
                && let Some(same) = last.find(|each| each.is_same(one))
            {
                same.tries = same.tries.max(one.tries);
                return true;
            }
            let has_room = refusable(|| all.try_reserve(1)).is_ok();
            if has_room {
                all.extend(this.take());
            }
            has_room
        });
        // What is dropped here may run code.
        if kept { Ok(()) } else { this.map_or(Ok(()), Err) }
    }

    /// Make the call. If a string is to be called, it is the name of a method of the first argument.
    fn call<'py>(&self, py: Python<'py>) -> Called<'py> {
        let arguments: SmallVec<[_; 6]> =
            self.arguments.iter().map(|it| it.bind(py).clone()).collect();
        let function = self.function.bind(py);
        if let (Ok(name), [object]) = (function.cast::<PyString>(), &arguments[..]) {
            let called = object.call_method0(name);
            return called.map_err(|error| Error::from(error).into_raised(py));
        }
        match Arguments::new(&arguments, self.names.as_ref().map(|it| it.bind(py))) {
            Some(arguments) => arguments.give(function),
            // There were as many names as arguments before.
            None => Ok(py.None().into_bound(py)),
        }
    }

    /// Keep the same no more.
    fn forget(&self, py: Python<'_>) {
        let same = OWED.with(py, |all| {
            let place = all.iter().rposition(|each| self.once && each.is_same(self));
            place.and_then(|place| all.remove(place))
        });
        drop(same);
    }

    /// Make the call, and see what comes of it.
    fn settle(mut self, py: Python<'_>) {
        let Err(raised) = self.call(py) else { return };
        if is_of_memory(&raised) && self.tries < MOST {
            self.tries += u32::from(has_memory(py));
            let runner = self.runner(py);
            // One of ours has kept itself: then it is that one.
            match self.keep(py) {
                Ok(()) => return have_it_done(py, runner.as_ref()),
                Err(owed) => self = owed,
            }
        }
        self.forget(py);
        let left = if raised.is_instance_of::<PyException>() {
            Err(raised)
        } else {
            // Such as KeyboardInterrupt.
            put_back(raised)
        };
        if let Err(raised) = left {
            report(raised);
        }
    }
}

fn is_of_memory(raised: &Raised<'_>) -> bool {
    raised.is_instance_of::<PyMemoryError>()
}

/// Have a call made later if it has raised this for want of memory. Whether it will be made.
#[cold]
fn keep(
    function: &Bound<'_, PyAny>,
    arguments: Arguments<'_, '_>,
    raised: &Raised<'_>,
    once: bool,
) -> bool {
    let py = function.py();
    if !is_of_memory(raised) {
        return false;
    }
    let Some(owed) = Owed::new(function, arguments, once) else { return false };
    let runner = owed.runner(py);
    let is_kept = owed.keep(py).is_ok();
    IN_VAIN.with(py, |since| *since = None);
    have_it_done(py, runner.as_ref());
    is_kept
}

/// Have what is kept done soon: for this event loop, or for none.
fn have_it_done(py: Python<'_>, runner: Option<&Bound<'_, PyAny>>) {
    if let Some(runner) = runner
        && !is_main_thread(py)
        && ok(py, tell(runner)).is_some()
    {
        return;
    }
    ask(py);
}

/// Call something that nobody else would: again at once if there was no memory for it, or later. It must have
/// changed nothing if it raises a MemoryError.
#[cold]
pub(crate) fn call_surely<'py>(
    function: &Bound<'py, PyAny>,
    arguments: &[Bound<'py, PyAny>],
) -> Result<Bound<'py, PyAny>> {
    let given = Arguments { all: arguments, names: None };
    let called = insist(function.py(), || Ok(given.give(function)?));
    called.map_err(|error| owe(function, arguments, error))
}

/// [`call_surely`] for a method without arguments.
#[cold]
pub(crate) fn call_method_surely<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> Result<Bound<'py, PyAny>> {
    let called = insist(object.py(), || Ok(object.call_method0(name)?));
    called.map_err(|error| owe(name.as_any(), std::slice::from_ref(object), error))
}

/// Have a call made later that could not be made for want of memory, if this says so. Returns the error.
#[cold]
pub(crate) fn owe<'py>(
    function: &Bound<'py, PyAny>,
    arguments: &[Bound<'py, PyAny>],
    error: Error,
) -> Error {
    let raised = error.into_raised(function.py());
    keep(function, Arguments { all: arguments, names: None }, &raised, false);
    raised.into()
}

/// [`owe`] for what a program would do itself if it were told of the error, and which must not be done twice.
/// If the call will be made, there is no error.
#[cold]
pub(crate) fn promise<'py>(
    function: &Bound<'py, PyAny>,
    arguments: &[Bound<'py, PyAny>],
    error: Error,
) -> Result<()> {
    let raised = error.into_raised(function.py());
    match keep(function, Arguments { all: arguments, names: None }, &raised, false) {
        true => Ok(()),
        false => Err(raised.into()),
    }
}

/// A function of ours that has been called, and has raised something. It does the same as once if it is done
/// twice, so it is kept once.
pub(super) struct Failed;

impl<'py> Entry<'py> for Failed {
    type On<'a>
        = (&'a Bound<'py, PyAny>, &'a Raised<'py>)
    where
        'py: 'a;
    const HAS_FLAG: bool = true;

    fn enter<'a>(
        (function, raised): Self::On<'a>,
        arguments: Arguments<'a, 'py>,
    ) -> *mut ffi::PyObject
    where
        'py: 'a,
    {
        keep(function, arguments, raised, true);
        std::ptr::null_mut()
    }
}

/// Ask the interpreter to call [`begin`]. If its queue is full, it is asked again with the next step.
fn ask(py: Python<'_>) {
    if !IS_ASKED.swap(true, Ordering::Relaxed) && call_later(py, Soon(begin)) != 0 {
        IS_ASKED.store(false, Ordering::Relaxed);
    }
}

/// Called in the main thread, soon after.
extern "C" fn begin(_: *mut c_void) -> c_int {
    Python::try_attach(|py| {
        IS_ASKED.store(false, Ordering::Relaxed);
        if let Err(error) = panics::catching(py, || {
            begin_here(py);
            Ok(())
        }) {
            report(error.into_raised(py));
        }
    });
    0
}

fn begin_here(py: Python<'_>) {
    if OWED.with(py, |all| all.is_empty()) {
        return;
    }
    if !has_memory(py) {
        let since = IN_VAIN.with(py, |since| *since.get_or_insert_with(Instant::now));
        if since.elapsed() < PATIENCE {
            ask(py);
        }
        return;
    }
    IN_VAIN.with(py, |since| *since = None);
    match is_in_our_code(py) {
        true => ask(py),
        false => set_off(py),
    }
}

fn report(raised: Raised<'_>) {
    let py = raised.py();
    restore(raised);
    safe::report_unraisable(py);
}

/// Whether there is some memory: more than what is kept for reuse.
fn has_memory(py: Python<'_>) -> bool {
    const SOME: isize = 1_000;
    let ask = || -> Result<()> {
        let list = safe::new_list(py)?;
        list.append(py.None())?;
        safe::repeated(py, &list, SOME)?;
        Ok(())
    };
    ok(py, ask()).is_some()
}

/// Whether a function of ours that is written in Python runs just now, and may be in the midst of
/// something.
fn is_in_our_code(py: Python<'_>) -> bool {
    let Some(frame) = safe::innermost_frame(py).0 else { return false };
    let ask = || -> PyResult<bool> {
        let names = frame.getattr("f_globals")?;
        let module = names.get_item("__name__")?.cast_into::<PyString>()?;
        let name = module.to_str()?;
        Ok(name == "deferrous" || name.starts_with("deferrous."))
    };
    ok(py, ask()).unwrap_or(false)
}

/// Have an event loop do what is to be done in it. If it never does, because it is closed, the interpreter is
/// asked.
fn tell(runner: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = runner.py();
    let Some(turns) = TURNS.get() else { return Ok(()) };
    let Some(number) = told::note(runner)? else { return Ok(()) };
    let ask_it = || {
        let work = wrap_pyfunction!(work_off, py)?;
        // If it is dropped before the function has been called, the loop will not call it any more.
        let dropped = PyCapsule::new_with_value_and_destructor(
            py,
            number,
            c"deferrous._told",
            |number, _| {
                Python::try_attach(|py| {
                    if told::forget(py, number) {
                        ask(py);
                    }
                });
            },
        )?;
        (turns.call)(runner, (work, runner, number, dropped).into_pyobject(py)?)
    };
    let asked = ask_it();
    if asked.is_err() {
        told::forget(py, number);
    }
    asked
}

/// Make the calls that are to be made here by now, and tell the event loops of the others.
fn set_off(py: Python<'_>) {
    make(py, |owed| owed.runner.is_none());
    let mut seen: SmallVec<[Bound<'_, PyAny>; 4]> = SmallVec::new();
    while let Some(runner) = OWED.with(py, |all| {
        let runners = all.iter().filter_map(|owed| owed.runner.as_ref());
        let mut others = runners.filter(|it| seen.iter().all(|each| each.as_ptr() != it.as_ptr()));
        others.next().map(|it| it.bind(py).clone())
    }) {
        match tell(&runner) {
            Ok(()) => {}
            Err(error) if !error.is_instance_of::<PyException>(py) => {
                // Such as KeyboardInterrupt.
                if let Err(raised) = put_back(Error::from(error).into_raised(py)) {
                    report(raised);
                }
                ask(py);
            }
            Err(error) if error.is_instance_of::<PyMemoryError>(py) && is_patient(&runner) => {
                ask(py);
            }
            // It has been closed, or is no such loop.
            Err(_) => make(py, |owed| owed.is_of(&runner)),
        }
        if refusable(|| seen.try_reserve(1)).is_err() {
            return ask(py);
        }
        seen.push(runner);
    }
}

/// Note that there was no memory to tell a loop. Whether it is to be told again.
fn is_patient(runner: &Bound<'_, PyAny>) -> bool {
    OWED.with(runner.py(), |all| {
        let mut of_it = all.iter_mut().filter(|owed| owed.is_of(runner));
        of_it.next().is_none_or(|first| {
            first.untold += 1;
            first.untold < MOST
        })
    })
}

/// Called by an event loop: make the calls that are to be made in it by now.
#[pyfunction(crate = "crate::binding::capi::guarded")]
fn work_off(runner: &Bound<'_, PyAny>, number: u64, _dropped: &Bound<'_, PyAny>) {
    let py = runner.py();
    told::forget(py, number);
    make(py, |owed| owed.is_of(runner));
}

/// Make those of the calls that are kept by now for which this is true. Each is kept until its turn: a loop in
/// another thread may be looking for its own.
fn make(py: Python<'_>, is_here: impl Fn(&Owed) -> bool) {
    let number = OWED.with(py, |all| all.iter().filter(|owed| is_here(owed)).count());
    for _ in 0..number {
        let next = OWED.with(py, |all| {
            let place = all.iter().position(&is_here)?;
            all.remove(place)
        });
        match next {
            Some(owed) => owed.settle(py),
            // Another one that was made in here has taken it.
            None => break,
        }
    }
}
