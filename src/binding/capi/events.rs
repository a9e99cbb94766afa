//! What happened, in the order in which it did: a ring that holds the last so many events.
//!
//! An event is a few numbers. Names are looked for when somebody asks; nothing is kept alive.

use std::cell::Cell;
use std::mem;

use pyo3::prelude::*;

use super::cell::Shared;
use super::error::Result;
use super::making::no_memory;
use super::places::Table;
use super::safe;
use super::ticks;
use super::watching::{self, TRACE};
use crate::core::refusable;

/// What happened. The numbers are those that `_trace.py` has.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The subject was made, at the place that `detail` is, by the run that `other` is.
    Made = 1,
    /// It was fired. `detail` says with what.
    Fired = 2,
    /// One of its callbacks begins, at the place that `detail` is.
    Begins = 3,
    /// It has ended. `detail` says what the chain had before and has now.
    Ends = 4,
    /// The run that the subject is has been started. `detail` is its code.
    Started = 5,
    /// It is resumed. `other` is the object that it is to fire; `detail` is its code, and with what.
    Resumed = 6,
    /// It waits for `other`, or for what nobody knows.
    Suspended = 7,
    /// It has ended, by an exception if `detail` is 1. `other` is what it is to fire.
    Ended = 8,
    /// The subject is being cancelled.
    Cancelled = 9,
    /// A failure of it was handled by whoever waited for it.
    Handled = 10,
    /// It has died with a failure that nobody has handled.
    Unhandled = 11,
    /// It waits for `other`, which a callback has returned.
    Chained = 12,
}

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    /// As [`ticks::now`] says.
    pub(crate) time: u64,
    pub(crate) subject: usize,
    pub(crate) other: usize,
    pub(crate) detail: u32,
    /// The number of the thread or greenlet.
    pub(crate) strand: u16,
    pub(crate) kind: u8,
}

/// A thread by the number that CPython has for it, and a greenlet of it by its address, or 0.
type Strand = (usize, usize);

/// The number for all that there are too many of.
const OTHERS: u16 = u16::MAX;

struct Ring {
    events: Vec<Event>,
    /// Where the oldest is, if it is full.
    oldest: usize,
    /// How many there may be.
    capacity: usize,
    /// How many there have been.
    total: u64,
    /// How many want them.
    users: usize,
    strands: Option<Table<Strand, u16>>,
}

static RING: Shared<Ring> = Shared::new(Ring {
    events: Vec::new(),
    oldest: 0,
    capacity: 0,
    total: 0,
    users: 0,
    strands: None,
});

thread_local! {
    /// The greenlet that this thread ran last, and the number of the two. 0 if there is none yet.
    static STRAND: Cell<(usize, u16)> = const { Cell::new((0, 0)) };
}

impl Ring {
    fn push(&mut self, event: Event) {
        self.total += 1;
        if self.events.len() < self.capacity {
            if self.events.len() < self.events.capacity()
                || refusable(|| self.events.try_reserve(1)).is_ok()
            {
                self.events.push(event);
                return;
            }
            // There is no memory for more.
            self.capacity = self.events.len();
        }
        if let Some(place) = self.events.get_mut(self.oldest) {
            *place = event;
            self.oldest = if self.oldest + 1 < self.capacity { self.oldest + 1 } else { 0 };
        }
    }

    /// Put the oldest first.
    fn arrange(&mut self) {
        self.events.rotate_left(self.oldest);
        self.oldest = 0;
    }

    fn number_of(&mut self, strand: Strand) -> u16 {
        let strands = self.strands.get_or_insert_with(Table::default);
        if let Some(number) = strands.get(&strand) {
            return *number;
        }
        match u16::try_from(strands.len() + 1) {
            Ok(number) if number < OTHERS && refusable(|| strands.try_reserve(1)).is_ok() => {
                strands.insert(strand, number);
                number
            }
            _ => OTHERS,
        }
    }
}

/// Whether events are wanted.
#[inline(always)]
pub(crate) fn tracing() -> bool {
    watching::watching_for(TRACE)
}

/// Note that something has happened.
#[cold]
pub(crate) fn record(py: Python<'_>, kind: Kind, subject: usize, other: usize, detail: u32) {
    if !tracing() {
        return;
    }
    let strand = strand(py);
    let time = ticks::now();
    RING.with(py, |ring| {
        ring.push(Event { time, subject, other, detail, strand, kind: kind as u8 });
    });
}

/// Note that something was made and, where `fired` is not 0, fired in the same moment: the time is
/// asked for once.
#[cold]
pub(super) fn record_made(py: Python<'_>, subject: usize, other: usize, place: u32, fired: u32) {
    let strand = strand(py);
    let time = ticks::now();
    let event = |kind, other, detail| Event { time, subject, other, detail, strand, kind };
    RING.with(py, |ring| {
        ring.push(event(Kind::Made as u8, other, place));
        if fired != 0 {
            ring.push(event(Kind::Fired as u8, 0, fired));
        }
    });
}

/// The number of the thread and greenlet.
fn strand(py: Python<'_>) -> u16 {
    let greenlet = watching::current_greenlet(py);
    let (last, number) = STRAND.get();
    if number != 0 && last == greenlet {
        return number;
    }
    let thread = safe::this_thread(py);
    let number = RING.with(py, |ring| ring.number_of((thread, greenlet)));
    STRAND.set((greenlet, number));
    number
}

/// Have events noted, so many at most. Returns how many there have been so far.
pub(crate) fn begin(py: Python<'_>, capacity: usize) -> u64 {
    let total = RING.with(py, |ring| {
        ring.arrange();
        ring.users += 1;
        ring.capacity = ring.capacity.max(capacity);
        ring.total
    });
    watching::want(TRACE, true);
    total
}

/// One does not want them any longer. Where nobody does, they are forgotten.
pub(crate) fn end(py: Python<'_>) {
    let before = RING.with(py, |ring| {
        ring.users = ring.users.saturating_sub(1);
        if ring.users != 0 {
            return None;
        }
        watching::want(TRACE, false);
        (ring.capacity, ring.oldest) = (0, 0);
        Some(mem::take(&mut ring.events))
    });
    drop(before);
}

/// The events since there had been so many, the oldest first, and how many of them are lost.
///
/// # Errors
///
/// `MemoryError`
pub(crate) fn since(py: Python<'_>, total: u64) -> Result<(Vec<Event>, u64)> {
    let copied = RING.with(py, |ring| {
        ring.arrange();
        let wanted = ring.total.saturating_sub(total);
        let there = usize::try_from(wanted).unwrap_or(usize::MAX).min(ring.events.len());
        let mut copied = Vec::new();
        refusable(|| copied.try_reserve_exact(there)).ok()?;
        copied.extend_from_slice(&ring.events[ring.events.len() - there..]);
        Some((copied, wanted - there as u64))
    });
    copied.ok_or_else(|| no_memory(py))
}

/// The threads and greenlets that have had events, with their numbers.
///
/// # Errors
///
/// `MemoryError`
pub(crate) fn strands(py: Python<'_>) -> Result<Vec<(u16, Strand)>> {
    let copied = RING.with(py, |ring| {
        let mut copied = Vec::new();
        if let Some(strands) = &ring.strands {
            refusable(|| copied.try_reserve_exact(strands.len())).ok()?;
            copied.extend(strands.iter().map(|(strand, number)| (*number, *strand)));
        }
        Some(copied)
    });
    copied.ok_or_else(|| no_memory(py))
}
