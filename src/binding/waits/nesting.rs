//! Limits how deep the hand-overs of locks, semaphores and queues nest.
//!
//! As in Twisted, `release()` runs the callbacks of the next waiter before it returns. If those
//! release in turn, and so on, thousands of calls would be nested, more than the interpreter
//! allows. So where Twisted would fail, a hand-over is deferred: an outer hand-over on the same
//! stack performs it at its end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use pyo3::prelude::*;

use crate::binding::capi::{
    self, Held, Hold,
    depth::{Lift, STACK_NEEDED},
    error::Result,
    interned::intern,
    stack,
};
use crate::binding::model::{deferred::Deferred, names};
use crate::binding::waits::work::Work;
use crate::core::refusable;

/// The maximum depth of nested hand-overs.
const DEEPEST: u32 = 100;

/// At these depths, the frames of Python that each level takes are counted.
const FIRST_LOOK: u32 = 3;

const SECOND_LOOK: u32 = 5;

/// How many more frames a level takes with Twisted, at least.
const FRAMES_OF_TWISTED: usize = 7;

/// How many frames are reserved for the callbacks at the deepest level.
const RESERVE: usize = 64;
/// With less stack than this, there may be no room for a second level.
const ROOM_FOR_TWO: usize = 16 << 10;

/// The deferred work of one hand-over, which it performs at its end.
struct Collecting {
    /// The address of the greenlet that it runs in; 0 without greenlets. The hand-over that started
    /// last may be on another greenlet's stack.
    greenlet: usize,
    postponed: VecDeque<Postponed>,
}

/// Work that can be deferred.
enum Postponed {
    /// Run a Deferred that has been fired with what was handed over.
    Run(Held<Deferred>),
    /// Hand this object over to a waiter with a `callback` method that is not ours.
    Fire { waiter: Held<PyAny>, object: Held<PyAny> },
}

/// A function that performs work, called with the stack checked.
pub(crate) trait Run: Copy + for<'py> Fn(Python<'py>, Work<'py>) -> Result<()> {}

impl<T: Copy + for<'py> Fn(Python<'py>, Work<'py>) -> Result<()>> Run for T {}

impl Postponed {
    fn work_off(self, py: Python<'_>, run: impl Run) -> Result<()> {
        match self {
            Postponed::Run(deferred) => run(py, Work::Run(deferred.into_bound(py))),
            Postponed::Fire { waiter, object } => {
                let callback = intern!(py, "callback");
                waiter.bind(py).call_method1(callback, (object.into_bound(py),))?;
                Ok(())
            }
        }
    }
}

/// The hand-overs of one thread, in all its greenlets.
struct HandOvers {
    /// How many are running.
    depth: Cell<u32>,
    /// The depth at which to defer, as computed at the second count.
    enough: Cell<u32>,
    /// How many frames there were at the first count.
    frames: Cell<usize>,
    /// The position on the machine's stack where the last of them started.
    began: Cell<usize>,
    /// How many calls of ours are running at the recursion limit: see [`short`].
    short: Cell<u32>,
}

thread_local! {
    static HAND_OVERS: HandOvers = const {
        HandOvers {
            depth: Cell::new(0),
            enough: Cell::new(DEEPEST),
            frames: Cell::new(0),
            began: Cell::new(0),
            short: Cell::new(0),
        }
    };
    /// Hand-overs that accept deferred work. Usually empty when none is running; a greenlet that is
    /// never resumed may leave entries, which can only be dropped while attached to the
    /// interpreter.
    static COLLECTING: ManuallyDrop<RefCell<Vec<Collecting>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// One level of nesting. Exists while the hand-over runs.
struct Level<'a> {
    of: &'a HandOvers,
    began_before: usize,
}

impl<'a> Level<'a> {
    #[inline(always)]
    fn begin(of: &'a HandOvers) -> Self {
        of.depth.set(of.depth.get() + 1);
        Self { of, began_before: of.began.replace(stack::address()) }
    }
}

impl Drop for Level<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.of.depth.set(self.of.depth.get().saturating_sub(1));
        self.of.began.set(self.began_before);
    }
}

impl HandOvers {
    /// Whether the stack has room for a few more like the last one, and for what checks that
    /// beforehand.
    fn have_plenty(&self) -> bool {
        let taken = self.began.get().saturating_sub(stack::address());
        stack::room() > taken.saturating_mul(3).max(STACK_NEEDED)
    }

    /// The current greenlet, if the next hand-over has to be deferred and can be.
    #[inline(always)]
    fn to_put_off(&self, py: Python<'_>) -> Option<usize> {
        if self.depth.get() == 0 {
            self.enough.set(DEEPEST);
            // On a very small stack, even the first level defers.
            return if stack::room() < ROOM_FOR_TWO { current_greenlet(py) } else { None };
        }
        if self.are_many(py) { current_greenlet(py) } else { None }
    }

    /// Whether the nesting is so deep that the next hand-over has to be deferred.
    #[inline(never)]
    fn are_many(&self, py: Python<'_>) -> bool {
        if self.short.get() > 0 {
            return true;
        }
        let depth = self.depth.get();
        if let FIRST_LOOK | SECOND_LOOK = depth {
            self.look(py, depth);
        }
        depth >= self.enough.get() || !self.have_plenty()
    }
}

/// Run a Deferred that something has been handed over to, now or later.
///
/// # Errors
///
/// What the work raises.
#[inline(always)]
pub(crate) fn hand_over<'py>(py: Python<'py>, work: Work<'py>, run: impl Run) -> Result<()> {
    if let Work::HandOver(waiter, object) = work {
        return fire(waiter, object, run);
    }
    HAND_OVERS.with(|all| {
        if let Some(greenlet) = all.to_put_off(py) {
            return put_off(all, py, greenlet, work, run);
        }
        let _level = Level::begin(all);
        run(py, work)
    })
}

/// Hand an object over to a waiter with a `callback` method that is not ours, now or later.
///
/// # Errors
///
/// What that method raises, if it is called now.
#[inline(never)]
pub(crate) fn fire<'py>(
    waiter: Bound<'py, PyAny>,
    object: Bound<'py, PyAny>,
    run: impl Run,
) -> Result<()> {
    let py = waiter.py();
    HAND_OVERS.with(|all| {
        let fire = Postponed::Fire { waiter: waiter.hold(), object: object.hold() };
        if let Some(greenlet) = all.to_put_off(py) {
            return put_off_or_collect(all, py, greenlet, fire, run);
        }
        let _level = Level::begin(all);
        fire.work_off(py, run)
    })
}

/// Defer work to the outer hand-over, if that accepts work.
#[inline(never)]
fn put_off<'py>(
    all: &HandOvers,
    py: Python<'py>,
    greenlet: usize,
    work: Work<'py>,
    run: impl Run,
) -> Result<()> {
    match work {
        Work::Run(deferred) => {
            put_off_or_collect(all, py, greenlet, Postponed::Run(deferred.hold()), run)
        }
        work => collect(all, py, greenlet, || run(py, work), run),
    }
}

/// Defer work to the outer hand-over. If there is none that accepts work, perform it now, and
/// accept work from inner ones meanwhile.
fn put_off_or_collect(
    all: &HandOvers,
    py: Python<'_>,
    greenlet: usize,
    what: Postponed,
    run: impl Run,
) -> Result<()> {
    match postpone(greenlet, what) {
        None => Ok(()),
        Some(what) => collect(all, py, greenlet, || what.work_off(py, run), run),
    }
}

/// The address of the current greenlet, or 0. None if that cannot be determined.
///
/// Events are traced even while objects die with an exception in flight. Then nothing may be called
/// with that exception set: it would be lost, or the interpreter would end the process.
#[inline(never)]
pub(crate) fn current_greenlet(py: Python<'_>) -> Option<usize> {
    match names::CURRENT_GREENLET.get_once_imported(py) {
        None => Some(0),
        Some(current) => capi::with_error_saved(py, || {
            capi::ok(py, current.call0()).map(|greenlet| greenlet.as_ptr() as usize)
        }),
    }
}

/// Defer work to the outer hand-over. Returns the work if there is none that accepts it.
fn postpone(greenlet: usize, what: Postponed) -> Option<Postponed> {
    COLLECTING.with(|all| {
        let mut all = all.borrow_mut();
        let Some(it) = all.iter_mut().rfind(|it| it.greenlet == greenlet) else {
            return Some(what);
        };
        if refusable(|| it.postponed.try_reserve(1)).is_err() {
            return Some(what);
        }
        it.postponed.push_back(what);
        None
    })
}

/// Perform work, then everything that inner hand-overs have deferred meanwhile. Without memory to
/// collect deferred work, none is accepted.
///
/// # Errors
///
/// The first error. The remaining work is performed all the same.
fn collect(
    hand_overs: &HandOvers,
    py: Python<'_>,
    greenlet: usize,
    work: impl FnOnce() -> Result<()>,
    run: impl Run,
) -> Result<()> {
    let _level = Level::begin(hand_overs);
    let collecting = COLLECTING.with(|all| {
        let mut all = all.borrow_mut();
        refusable(|| all.try_reserve(1)).ok()?;
        all.push(Collecting { greenlet, postponed: VecDeque::new() });
        Some(())
    });
    let mut result = work();
    if collecting.is_none() {
        return result;
    }
    while let Some(postponed) = next(greenlet) {
        let done = postponed.work_off(py, run);
        if result.is_ok() {
            result = done;
        }
    }
    result
}

/// Call one of our functions at the recursion limit, with more calls than that allows. What it
/// hands over is deferred until it has returned, so that a program's callbacks run within the
/// limit.
///
/// # Errors
///
/// What deferred work raises.
pub(crate) fn short<'py>(
    py: Python<'py>,
    call: &mut dyn FnMut(Python<'py>),
    run: impl Run,
) -> Result<()> {
    let mut call = |all: &HandOvers| {
        let _lift = Lift::begin(py);
        all.short.set(all.short.get() + 1);
        call(py);
        all.short.set(all.short.get().saturating_sub(1));
        Ok(())
    };
    let greenlet = {
        let _lift = Lift::begin(py);
        current_greenlet(py)
    };
    HAND_OVERS.with(|all| {
        if all.depth.get() == 0 {
            all.enough.set(DEEPEST);
        }
        match greenlet {
            // An outer one will do it, so that these do not nest.
            Some(greenlet) if !accepts(greenlet) => collect(all, py, greenlet, || call(all), run),
            _ => {
                let _level = Level::begin(all);
                call(all)
            }
        }
    })
}

/// Whether an outer hand-over accepts deferred work.
fn accepts(greenlet: usize) -> bool {
    COLLECTING.with(|all| all.borrow().iter().any(|it| it.greenlet == greenlet))
}

/// The next deferred work. None if there is no more; then no more is accepted.
fn next(greenlet: usize) -> Option<Postponed> {
    COLLECTING.with(|all| {
        let mut all = all.borrow_mut();
        let place = all.iter().rposition(|it| it.greenlet == greenlet)?;
        let next = all[place].postponed.pop_front();
        if next.is_none() {
            all.remove(place);
        }
        next
    })
}

impl HandOvers {
    /// Count the frames of Python, and compute how many levels there is room for.
    #[cold]
    fn look(&self, py: Python<'_>, depth: u32) {
        let counted =
            || -> PyResult<(usize, usize)> { names::COUNT_FRAMES.get(py)?.call0()?.extract() };
        let Some((frames, limit)) = capi::ok(py, counted()) else {
            // There is not even room to count.
            return self.enough.set(depth);
        };
        if depth == FIRST_LOOK {
            return self.frames.set(frames);
        }
        let each = frames.saturating_sub(self.frames.get()) / (SECOND_LOOK - FIRST_LOOK) as usize;
        let taken = frames + FRAMES_OF_TWISTED * depth as usize + RESERVE;
        let more = limit.saturating_sub(taken) / (each + FRAMES_OF_TWISTED);
        self.enough.set(
            u32::try_from(more).map_or(DEEPEST, |more| (depth + more.min(DEEPEST)).min(DEEPEST)),
        );
    }
}
