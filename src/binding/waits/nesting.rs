//! How deep locks and queues nest when they hand over.
//!
//! As with Twisted, whoever releases runs the next one at once, and goes on when that is done. If
//! that one releases, too, and so on, thousands would be nested, more than the interpreter allows.
//! So what comes so deep that Twisted's would fail is put off: the hand-over in which it happens,
//! further up on the same stack, does it when it has come to its own end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use pyo3::prelude::*;

use crate::binding::capi::{self, Held, Hold, error::Result, interned::intern, stack};
use crate::binding::model::{deferred::Deferred, names};
use crate::binding::waits::work::Work;
use crate::core::refusable;

/// How deep hand-overs are nested at most.
const DEEPEST: u32 = 100;

/// At these depths it is looked at how many frames of Python each takes.
const FIRST_LOOK: u32 = 3;

const SECOND_LOOK: u32 = 5;

/// How many more frames each would take with Twisted, at least.
const FRAMES_OF_TWISTED: usize = 7;

/// How many frames are left for what is called at the deepest.
const RESERVE: usize = 64;
/// With less than this left of the stack, it is not known whether there is room for a second one.
const ROOM_FOR_TWO: usize = 16 << 10;

/// What one hand-over has to do at its end.
struct Collecting {
    /// The greenlet that it is part of, by its address; 0 if there are none. Greenlets take turns
    /// on a thread, so the hand-over that began last may be on another one's stack.
    greenlet: usize,
    postponed: VecDeque<Postponed>,
}

/// What can be done later.
enum Postponed {
    /// Run one that has what was handed over.
    Run(Held<Deferred>),
    /// Hand this over to one whose `callback` is its own.
    Fire { waiter: Held<PyAny>, object: Held<PyAny> },
}

/// What does a piece of work, within a call that is known to nest.
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

/// The hand-overs of a thread, in all greenlets.
struct HandOvers {
    /// How many are under way.
    depth: Cell<u32>,
    /// At which depth to stop, as it was found at the second look.
    enough: Cell<u32>,
    /// How many frames there were at the first look.
    frames: Cell<usize>,
    /// Where on the stack the last of them began.
    began: Cell<usize>,
}

thread_local! {
    static HAND_OVERS: HandOvers = const {
        HandOvers {
            depth: Cell::new(0),
            enough: Cell::new(DEEPEST),
            frames: Cell::new(0),
            began: Cell::new(0),
        }
    };
    /// Those that others can leave something to. Empty where nothing is under way; what greenlets
    /// that are never resumed have left cannot be dropped without being attached.
    static COLLECTING: ManuallyDrop<RefCell<Vec<Collecting>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// One level. Held while it is under way.
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
    /// Whether the stack has room for a few more like the last one.
    fn have_plenty(&self) -> bool {
        let taken = self.began.get().saturating_sub(stack::address());
        stack::room() > taken.saturating_mul(3)
    }

    /// Of which greenlet this is part, if what comes now is to be put off, and can be.
    #[inline(always)]
    fn to_put_off(&self, py: Python<'_>) -> Option<usize> {
        if self.depth.get() == 0 {
            self.enough.set(DEEPEST);
            // On a very small stack, even the first collects what comes within it.
            return if stack::room() < ROOM_FOR_TWO { current_greenlet(py) } else { None };
        }
        if self.are_many(py) { current_greenlet(py) } else { None }
    }

    /// Whether so many are nested that what comes now is to be put off.
    #[inline(never)]
    fn are_many(&self, py: Python<'_>) -> bool {
        let depth = self.depth.get();
        if let FIRST_LOOK | SECOND_LOOK = depth {
            self.look(py, depth);
        }
        depth >= self.enough.get() || !self.have_plenty()
    }
}

/// Do what is to be done when something has been handed over, now or soon.
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

/// Hand an object over to one whose `callback` is its own, now or soon.
///
/// # Errors
///
/// What that raises, if it is called now.
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

/// Have it done by the hand-over in which this happens, if there is one that collects.
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

/// Leave something to the hand-over in which this happens. If there is none that collects, do it now,
/// and collect.
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

/// The greenlet that this is part of, by its address, or 0. None if that cannot be found out.
#[inline(never)]
fn current_greenlet(py: Python<'_>) -> Option<usize> {
    match names::CURRENT_GREENLET.get_if_imported(py) {
        None => Some(0),
        Some(current) => Some(capi::ok(py, current.call0())?.as_ptr() as usize),
    }
}

/// Leave something to the hand-over in which this happens. It comes back if there is none that
/// collects.
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

/// Do this, and all that others leave to be done meanwhile. Where there is no memory for that, nobody
/// leaves anything here.
///
/// # Errors
///
/// The first error. What is left is done all the same.
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

/// What has been left to be done. If nothing is, this is over.
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
    /// Count the frames of Python, and find out how many hand-overs there is room for.
    #[cold]
    fn look(&self, py: Python<'_>, depth: u32) {
        let counted =
            || -> PyResult<(usize, usize)> { names::COUNT_FRAMES.get(py)?.call0()?.extract() };
        let Some((frames, limit)) = capi::ok(py, counted()) else {
            // There is not even room for that.
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
