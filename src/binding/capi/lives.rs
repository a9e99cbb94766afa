//! Tracks the living objects of a watched class: when and where each was made, and by which run.
//!
//! If tracking is off, it costs nothing measurable. While it is on, no memory is reused, so objects
//! are made and freed through the less common functions, and only those check for tracking.
//!
//! An object is identified by its address until it is freed, so it is not kept alive. It takes 32
//! bytes in a table that is at least half full.

use std::cell::RefCell;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use super::alive::{lent, made_known};
use super::cell::Shared;
use super::classes::Native;
use super::code_places::{self, NOWHERE, Table};
use super::error::Result;
use super::in_flight::ok;
use super::inspect::{is_coroutine, is_generator};
use super::interned::intern;
use super::making::no_memory;
use super::ticks;
use super::trace_ring;
use super::watching::{TRACE, TRACK, code_of_current_task, current_greenlet, watching_for};
use crate::core::refusable;

/// The facts about one object.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    /// Its address. 0 in a free slot.
    address: usize,
    /// When it was made, by [`ticks::rough`], and later than the one before. 0 if it existed before
    /// tracking.
    pub(crate) made: u64,
    /// The place where it was made.
    pub(crate) place: u32,
    /// The number of the run that made it: see [`Run`]. 0 for none.
    pub(crate) run: u32,
    /// The place of that run's code.
    pub(crate) run_code: u32,
    /// The position in the order of creation.
    pub(crate) number: u32,
}

const FREE: Life = Life { address: 0, made: 0, place: 0, run: 0, run_code: 0, number: 0 };

const _: () = assert!(size_of::<usize>() < 8 || size_of::<Life>() == 32);

/// A hash table of all living objects, with linear probing.
struct Lives {
    slots: Vec<Life>,
    count: usize,
    made: u32,
    /// The latest time that was given out.
    last: u64,
    /// The number of objects that there was no memory for.
    missed: u64,
    /// The latest object, while it has no slot. Most die before the next one is made, and never
    /// need a slot.
    newest: Life,
}

static LIVES: Shared<Lives> =
    Shared::new(Lives { slots: Vec::new(), count: 0, made: 0, last: 0, missed: 0, newest: FREE });

impl Lives {
    /// The initial number of slots.
    const FEW: usize = 64;

    /// The preferred slot of an address. There must be slots.
    fn home(&self, address: usize) -> usize {
        let hash = (address as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // The product is less than the number of slots times 2^64.
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 < self.slots.len() { place + 1 } else { 0 }
    }

    /// The slot of an address, or where it would be inserted.
    fn find(&self, address: usize) -> usize {
        let mut place = self.home(address);
        while self.slots[place].address != address && self.slots[place].address != 0 {
            place = self.after(place);
        }
        place
    }

    /// Make room for one more. False if there is no memory.
    fn make_room(&mut self) -> bool {
        if self.count < self.slots.len() / 8 * 7 {
            return true;
        }
        let mut slots = Vec::new();
        let wanted = (self.slots.len() + self.slots.len() / 2).max(Self::FEW);
        if refusable(|| slots.try_reserve_exact(wanted)).is_err() {
            return false;
        }
        slots.resize(wanted, FREE);
        for life in mem::replace(&mut self.slots, slots) {
            if life.address != 0 {
                let place = self.find(life.address);
                self.slots[place] = life;
            }
        }
        true
    }

    /// The time. It is later than the one before, even if the clock is not.
    #[inline]
    fn now(&mut self) -> u64 {
        self.last = ticks::rough().max(self.last + 1);
        self.last
    }

    /// Record an object that has just been made or found.
    #[inline]
    fn insert(&mut self, life: Life) {
        self.settle();
        self.made = self.made.wrapping_add(1);
        self.newest = Life { number: self.made, ..life };
    }

    /// Give the latest object a slot. Do this before going through the slots.
    #[inline]
    fn settle(&mut self) {
        if self.newest.address != 0 {
            self.put_newest();
        }
    }

    #[inline(never)]
    fn put_newest(&mut self) {
        let life = mem::replace(&mut self.newest, FREE);
        if !self.make_room() {
            self.missed += 1;
            return;
        }
        let place = self.find(life.address);
        if self.slots[place].address == 0 {
            self.count += 1;
        }
        self.slots[place] = life;
    }

    #[inline]
    fn remove(&mut self, address: usize) {
        if self.newest.address == address {
            self.newest = FREE;
        } else if !self.slots.is_empty() {
            self.empty_slot_of(address);
        }
    }

    #[inline(never)]
    fn empty_slot_of(&mut self, address: usize) {
        let mut hole = self.find(address);
        if self.slots[hole].address == 0 {
            return;
        }
        self.count -= 1;
        // Move up the following ones that could not be reached across a hole.
        let mut place = hole;
        loop {
            place = self.after(place);
            let life = self.slots[place];
            if life.address == 0 {
                break;
            }
            let home = self.home(life.address);
            let is_between = if hole <= place {
                hole < home && home <= place
            } else {
                hole < home || home <= place
            };
            if !is_between {
                self.slots[hole] = life;
                hole = place;
            }
        }
        self.slots[hole] = FREE;
    }
}

/// Record a new object of a watched class. It must be complete: a collection may start here, when
/// CPython 3.11 and older make an object for a frame.
///
/// `fired` is the kind of outcome that it has already, or 0.
#[cold]
pub(super) fn born<T>(object: &Bound<'_, PyAny>, value: &T, fired: u32) {
    let py = object.py();
    let place = code_places::here(py);
    let (run, code) = current_run(py).map_or((0, NOWHERE), |run| (run.number, run.code));
    let address = object.as_ptr() as usize;
    if watching_for(TRACK) {
        made_known(object);
        let run_code = if run == 0 { code_of_current_task(py) } else { code };
        LIVES.with(py, |lives| {
            let made = lives.now();
            lives.insert(Life { address, made, place, run, run_code, number: 0 });
        });
    }
    if watching_for(TRACE) {
        VALUE_AT.store(ptr::from_ref(value) as usize - address, Ordering::Relaxed);
        trace_ring::record_made(py, address, run as usize, place, fired);
    }
}

/// The offset of the value in an object of the watched class. 0 before one was made.
static VALUE_AT: AtomicUsize = AtomicUsize::new(0);

/// The address of the object with this value. 0 if none was made while events were recorded.
pub(crate) fn address_of<T>(value: &T) -> usize {
    match VALUE_AT.load(Ordering::Relaxed) {
        0 => 0,
        at => ptr::from_ref(value) as usize - at,
    }
}

/// Remove an object of one of our classes, watched or not: it is being freed, or cleared by the
/// collector.
#[cold]
pub(super) fn died(py: Python<'_>, object: *mut ffi::PyObject) {
    LIVES.with(py, |lives| lives.remove(object as usize));
}

/// Record objects that were made before tracking.
pub(crate) fn note_earlier<T: Native>(object: &Bound<'_, T>) {
    let address = object.as_ptr() as usize;
    made_known(object);
    LIVES.with(object.py(), |lives| {
        lives.settle();
        let is_new = lives.slots.is_empty() || lives.slots[lives.find(address)].address == 0;
        if is_new {
            lives.insert(Life { address, ..FREE });
        }
    });
}

/// Forget all of them.
pub(crate) fn forget_all(py: Python<'_>) {
    let before = LIVES.with(py, |lives| {
        (lives.count, lives.missed) = (0, 0);
        lives.newest = FREE;
        mem::take(&mut lives.slots)
    });
    drop(before);
}

/// Objects with the facts about each, and the number of those that there was no memory for.
pub(crate) type Known<'py, T> = (Vec<(Bound<'py, T>, Life)>, u64);

/// The time, by the same clock as that of the objects.
pub(crate) fn now(py: Python<'_>) -> u64 {
    LIVES.with(py, Lives::now)
}

/// All living objects of the watched class.
///
/// # Errors
///
/// `MemoryError`
pub(crate) fn all<T: Native>(py: Python<'_>) -> Result<Known<'_, T>> {
    let found = LIVES.with(py, |lives| {
        lives.settle();
        let mut found = Vec::new();
        refusable(|| found.try_reserve_exact(lives.count)).ok()?;
        found.extend(lives.slots.iter().filter_map(|life| Some((alive(py, life)?, *life))));
        Some((found, lives.missed))
    });
    found.ok_or_else(|| no_memory(py))
}

/// The facts about an object. None if it was not recorded.
pub(crate) fn life_of<T: Native>(object: &Bound<'_, T>) -> Option<Life> {
    let address = object.as_ptr() as usize;
    LIVES.with(object.py(), |lives| {
        lives.settle();
        if lives.slots.is_empty() {
            return None;
        }
        let life = lives.slots[lives.find(address)];
        (life.address != 0).then_some(life)
    })
}

/// The object at an address, if it still is the one with this number.
pub(crate) fn object_at<T: Native>(
    py: Python<'_>,
    address: usize,
    number: u32,
) -> Option<Bound<'_, T>> {
    LIVES.with(py, |lives| {
        lives.settle();
        if lives.slots.is_empty() || address == 0 {
            return None;
        }
        let life = lives.slots[lives.find(address)];
        if life.address == 0 || life.number != number { None } else { alive(py, &life) }
    })
}

/// A reference to the object in a slot, unless the slot is free or the object is being freed.
fn alive<'py, T: Native>(py: Python<'py>, life: &Life) -> Option<Bound<'py, T>> {
    let object = ptr::with_exposed_provenance_mut::<ffi::PyObject>(life.address);
    // SAFETY: what is in the table has not been freed: `died` takes it out before that. It is an
    // object of `T`, the one class that is watched. One with a count of 0 is on its way out, and is
    // left alone.
    unsafe {
        if object.is_null() || ffi::Py_REFCNT(object) <= 0 {
            return None;
        }
        Some(lent(py, object)?.cast_into_unchecked::<T>())
    }
}

/// A generator or coroutine that is being resumed.
#[derive(Clone, Copy)]
struct Run {
    greenlet: usize,
    generator: usize,
    /// The number of the generator, the same each time that it is resumed.
    number: u32,
    /// The place of its code.
    code: u32,
}

thread_local! {
    /// What this thread is resuming, in all its greenlets, oldest first.
    static RUNS: RefCell<Vec<Run>> = const { RefCell::new(Vec::new()) };
}

/// The numbers of generators that have not ended, by address.
#[derive(Default)]
struct Numbers {
    known: Table<usize, u32>,
    /// The latest number.
    last: u32,
    /// The latest generator and its number, while it is not in the table. Most end before the next
    /// one starts.
    newest: Option<(usize, u32)>,
}

impl Numbers {
    fn get(&self, address: usize) -> Option<u32> {
        match self.newest {
            Some((newest, number)) if newest == address => Some(number),
            _ => self.known.get(&address).copied(),
        }
    }

    /// Number a generator. None if there is no memory.
    fn give(&mut self, address: usize) -> Option<u32> {
        if let Some((before, number)) = self.newest
            && before != address
        {
            let known = &mut self.known;
            refusable(|| known.try_reserve(1)).ok()?;
            known.insert(before, number);
        }
        self.last = self.last.wrapping_add(1).max(1);
        self.newest = Some((address, self.last));
        Some(self.last)
    }

    fn forget(&mut self, address: usize) {
        if self.newest.is_some_and(|(newest, _)| newest == address) {
            self.newest = None;
        }
        // It may belong to one that was freed before it had ended.
        if !self.known.is_empty() {
            self.known.remove(&address);
        }
    }
}

static NUMBERS: Shared<Option<Numbers>> = Shared::new(None);

fn current_run(py: Python<'_>) -> Option<Run> {
    let any = RUNS.try_with(|runs| runs.try_borrow().is_ok_and(|it| !it.is_empty()));
    if !any.unwrap_or(false) {
        return None;
    }
    let greenlet = current_greenlet(py);
    let find = |runs: &RefCell<Vec<Run>>| {
        runs.try_borrow().ok()?.iter().rfind(|it| it.greenlet == greenlet).copied()
    };
    RUNS.try_with(find).ok().flatten()
}

/// The number of a generator that was resumed while this was watched, and has not ended.
pub(crate) fn number_of_run(generator: &Bound<'_, PyAny>) -> Option<u32> {
    let address = generator.as_ptr() as usize;
    NUMBERS.with(generator.py(), |numbers| numbers.as_ref()?.get(address))
}

/// Keeps a generator recorded as running.
pub(crate) struct Running {
    run: Run,
    /// Whether it runs for the first time, as far as is known.
    pub(crate) starts: bool,
}

impl Running {
    /// A generator is about to be started or resumed. None if there is no memory to record that.
    pub(crate) fn begin(generator: &Bound<'_, PyAny>, starts: bool) -> Option<Self> {
        let py = generator.py();
        let address = generator.as_ptr() as usize;
        let number = NUMBERS.with(py, |numbers| {
            let numbers = numbers.get_or_insert_default();
            match numbers.get(address) {
                Some(number) if !starts => Some(number),
                _ => numbers.give(address),
            }
        })?;
        let code = code_of(generator).map_or(NOWHERE, |code| code_places::of_code(&code));
        let run = Run { greenlet: current_greenlet(py), generator: address, number, code };
        let noted = RUNS.try_with(|runs| {
            let mut runs = runs.try_borrow_mut().ok()?;
            refusable(|| runs.try_reserve(1)).ok()?;
            runs.push(run);
            Some(())
        });
        noted.ok().flatten().map(|()| Self { run, starts })
    }

    /// The number of the run.
    pub(crate) fn number(&self) -> usize {
        self.run.number as usize
    }

    /// The place of its code.
    pub(crate) fn code(&self) -> u32 {
        self.run.code
    }

    /// It has ended, and its address may be reused.
    pub(crate) fn ended(&self, py: Python<'_>) {
        let address = self.run.generator;
        NUMBERS.with(py, |numbers| numbers.as_mut().map(|numbers| numbers.forget(address)));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Greenlets need not end in the order in which they started.
        let _ = RUNS.try_with(|runs| {
            let mut runs = runs.try_borrow_mut().ok()?;
            let is_it =
                |it: &Run| (it.greenlet, it.generator) == (self.run.greenlet, self.run.generator);
            let place = runs.iter().rposition(is_it)?;
            runs.remove(place);
            Some(())
        });
    }
}

/// The code object of a native generator or coroutine.
pub(crate) fn code_of<'py>(generator: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = generator.py();
    let name = if is_generator(generator) {
        intern!(py, "gi_code")
    } else if is_coroutine(generator) {
        intern!(py, "cr_code")
    } else {
        return None;
    };
    ok(py, generator.getattr(name))
}
