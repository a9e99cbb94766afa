//! Handing over a lock, a token or an item to the one that waits for it.
//!
//! As with Twisted, whoever releases runs the next one at once, and goes on when that is done. If
//! that one releases, too, and so on, thousands would be nested, more than the interpreter allows.
//! So what comes so deep that Twisted's would fail is put off: the hand-over in which it happens,
//! further up on the same stack, does it when it has come to its own end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use pyo3::prelude::*;

use super::deferred::Deferred;
use super::error::Result;
use super::ffi::{self, Held, Hold, stack};
use super::names;
use super::run::{self, Work};

/// How deep hand-overs are nested at most.
const DEEPEST: u32 = 100;
/// At these depths it is looked at how many frames of Python each takes.
const FIRST_LOOK: u32 = 3;
const SECOND_LOOK: u32 = 5;
/// How many more frames each would take with Twisted, at least.
const FRAMES_OF_TWISTED: usize = 7;
/// How many frames are left for what is called at the deepest.
const RESERVE: usize = 64;

/// What one hand-over has to do at its end.
struct Collecting {
    /// The greenlet that it is part of, by its address; 0 if there are none. Greenlets take turns
    /// on a thread, so the hand-over that began last may be on another one's stack.
    greenlet: usize,
    postponed: VecDeque<Held<Deferred>>,
}

thread_local! {
    /// How many are under way on this thread, in all greenlets.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// At which depth to stop, as it was found at the second look.
    static ENOUGH: Cell<u32> = const { Cell::new(DEEPEST) };
    /// How many frames there were at the first look.
    static FRAMES: Cell<usize> = const { Cell::new(0) };
    /// Where on the stack the last of them began.
    static BEGAN: Cell<usize> = const { Cell::new(0) };
    /// Those that others can leave something to. Empty where nothing is under way; what greenlets
    /// that are never resumed have left cannot be dropped without being attached.
    static COLLECTING: ManuallyDrop<RefCell<Vec<Collecting>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// One level. Held while it is under way.
struct Level {
    began_before: usize,
}

impl Level {
    fn begin() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self { began_before: BEGAN.replace(stack::address()) }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        BEGAN.set(self.began_before);
    }
}

/// Whether the stack has room for a few more like the last one.
fn has_plenty() -> bool {
    let taken = BEGAN.get().saturating_sub(stack::address());
    stack::room() > taken.saturating_mul(3)
}

/// Do what is to be done when something has been handed over, now or soon.
///
/// # Errors
///
/// As [`run::run`].
pub(super) fn hand_over<'py>(py: Python<'py>, work: Work<'py>) -> Result<()> {
    let depth = DEPTH.get();
    match depth {
        0 => ENOUGH.set(DEEPEST),
        FIRST_LOOK | SECOND_LOOK => look(py, depth),
        _ => {}
    }
    if (depth >= ENOUGH.get() || (depth != 0 && !has_plenty()))
        && let Some(greenlet) = current_greenlet(py)
    {
        return match work {
            Work::Run(deferred) => match postpone(greenlet, deferred) {
                None => Ok(()),
                Some(deferred) => collect(py, greenlet, Work::Run(deferred)),
            },
            work => collect(py, greenlet, work),
        };
    }
    let _level = Level::begin();
    run::run_within(py, work)
}

/// The greenlet that this is part of, by its address, or 0. None if that cannot be found out.
fn current_greenlet(py: Python<'_>) -> Option<usize> {
    match names::CURRENT_GREENLET.get_if_imported(py) {
        None => Some(0),
        Some(current) => Some(ffi::ok(py, current.call0())?.as_ptr() as usize),
    }
}

/// Leave a Deferred to the hand-over in which this happens. It comes back if there is none that
/// collects.
fn postpone(greenlet: usize, deferred: Bound<'_, Deferred>) -> Option<Bound<'_, Deferred>> {
    COLLECTING.with(|all| {
        let mut all = all.borrow_mut();
        let Some(it) = all.iter_mut().rfind(|it| it.greenlet == greenlet) else {
            return Some(deferred);
        };
        if it.postponed.try_reserve(1).is_err() {
            return Some(deferred);
        }
        it.postponed.push_back(deferred.hold());
        None
    })
}

/// Do this, and all that others leave to be done meanwhile.
///
/// # Errors
///
/// The first error. What is left is done all the same.
fn collect<'py>(py: Python<'py>, greenlet: usize, work: Work<'py>) -> Result<()> {
    let _level = Level::begin();
    COLLECTING.with(|all| {
        all.borrow_mut().push(Collecting { greenlet, postponed: VecDeque::new() });
    });
    let mut result = run::run_within(py, work);
    while let Some(deferred) = next(greenlet) {
        let done = run::run_within(py, Work::Run(deferred.into_bound(py)));
        if result.is_ok() {
            result = done;
        }
    }
    result
}

/// What has been left to be done. If nothing is, this is over.
fn next(greenlet: usize) -> Option<Held<Deferred>> {
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

/// Count the frames of Python, and find out how many hand-overs there is room for.
#[cold]
fn look(py: Python<'_>, depth: u32) {
    let counted =
        || -> PyResult<(usize, usize)> { names::COUNT_FRAMES.get(py)?.call0()?.extract() };
    let Some((frames, limit)) = ffi::ok(py, counted()) else {
        // There is not even room for that.
        return ENOUGH.set(depth);
    };
    if depth == FIRST_LOOK {
        return FRAMES.set(frames);
    }
    let each = frames.saturating_sub(FRAMES.get()) / (SECOND_LOOK - FIRST_LOOK) as usize;
    let taken = frames + FRAMES_OF_TWISTED * depth as usize + RESERVE;
    let more = limit.saturating_sub(taken) / (each + FRAMES_OF_TWISTED);
    ENOUGH
        .set(u32::try_from(more).map_or(DEEPEST, |more| (depth + more.min(DEEPEST)).min(DEEPEST)));
}
