//! A ring buffer of the latest events, for `trace`.
//!
//! An event is a few numbers. Names are looked up when somebody asks; nothing is kept alive.

use std::cell::Cell;
use std::mem;

use pyo3::prelude::*;

use super::cell::Shared;
use super::code_places::Table;
use super::error::Result;
use super::making::no_memory;
use super::safe;
use super::ticks;
use super::watching::{self, TRACE};
use crate::core::refusable;

/// The kinds of events. The numbers are repeated in `_trace.py`.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum EventKind {
    /// The subject was made, at place `detail`, by run `other`.
    Made = 1,
    /// It was fired. `detail` is the kind of the outcome.
    Fired = 2,
    /// One of its callbacks starts; `detail` is the callback's place.
    Begins = 3,
    /// The callback has ended. `detail` tells the outcomes before and after.
    Ends = 4,
    /// The subject, a run, was started. `detail` is its code.
    Started = 5,
    /// It was resumed. `other` is the object that it will fire; `detail` is its code and the kind
    /// of outcome.
    Resumed = 6,
    /// It waits for `other`, which is 0 if unknown.
    Suspended = 7,
    /// It ended, by an exception if `detail` is 1. `other` is the object that it fires.
    Ended = 8,
    /// The subject is being cancelled.
    Cancelled = 9,
    /// A failure of it was handled by whoever waited for it.
    Handled = 10,
    /// It died with an unhandled failure.
    Unhandled = 11,
    /// It waits for `other`, which a callback returned.
    Chained = 12,
}

/// An event.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    /// When, in [`ticks`].
    pub(crate) time: u64,
    pub(crate) subject: usize,
    pub(crate) other: usize,
    pub(crate) detail: u32,
    /// The number of the thread or greenlet.
    pub(crate) strand: u16,
    pub(crate) kind: u8,
}

/// A thread by CPython's identifier, and a greenlet of it by its address, or 0.
type Strand = (usize, usize);

/// Stands for all threads and greenlets beyond the number that can be told apart.
const OTHERS: u16 = u16::MAX;

struct Ring {
    events: Vec<Event>,
    /// The index of the oldest event, once the ring is full.
    oldest: usize,
    /// The capacity.
    capacity: usize,
    /// The number of events so far.
    total: u64,
    /// The number of users that want events.
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
    /// The greenlet that this thread ran last, and the number of the pair. 0 if there is none yet.
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

    /// Rotate the ring so that the oldest event comes first.
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

/// Whether events are recorded.
#[inline(always)]
pub(crate) fn tracing() -> bool {
    watching::watching_for(TRACE)
}

/// Record an event.
#[cold]
pub(crate) fn record(py: Python<'_>, kind: EventKind, subject: usize, other: usize, detail: u32) {
    if !tracing() {
        return;
    }
    let strand = strand(py);
    let time = ticks::now();
    RING.with(py, |ring| {
        ring.push(Event { time, subject, other, detail, strand, kind: kind as u8 });
    });
}

/// Record that something was made and, unless `fired` is 0, fired at the same moment, with one look
/// at the clock.
#[cold]
pub(super) fn record_made(py: Python<'_>, subject: usize, other: usize, place: u32, fired: u32) {
    let strand = strand(py);
    let time = ticks::now();
    let event = |kind, other, detail| Event { time, subject, other, detail, strand, kind };
    RING.with(py, |ring| {
        ring.push(event(EventKind::Made as u8, other, place));
        if fired != 0 {
            ring.push(event(EventKind::Fired as u8, 0, fired));
        }
    });
}

/// The number of the current thread and greenlet.
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

/// Start recording, with this capacity. Returns the number of events so far.
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

/// Stop recording for one user. If it is the last, forget all events.
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

/// The events after the first `total`, oldest first, and how many of them were lost.
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

/// The threads and greenlets that had events, with their numbers.
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
