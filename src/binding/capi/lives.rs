//! Which objects of a watched class are alive, when and where each was made, and what ran then.
//!
//! Off, this costs nothing that can be measured: while it is on, there is no memory for reuse, so
//! objects are made and freed by the way that is otherwise the rarer one, and only that looks here.
//!
//! An object is known by its address until it is freed, so it is not kept alive. It takes 32 bytes
//! in a table that is at least half full.

use std::cell::RefCell;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use super::alive::{lent, made_known};
use super::cell::Shared;
use super::classes::Native;
use super::error::Result;
use super::events;
use super::in_flight::ok;
use super::inspect::{is_coroutine, is_generator};
use super::interned::intern;
use super::making::no_memory;
use super::places::{self, NOWHERE, Table};
use super::ticks;
use super::watching::{TRACE, TRACK, current_greenlet, watching_for};
use crate::core::refusable;

/// What is known of one object.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    /// Where it is. 0 in a free slot.
    address: usize,
    /// When it was made, as [`ticks::now`] says. 0 if it was there before.
    pub(crate) made: u64,
    /// Where it was made.
    pub(crate) place: u32,
    /// The number of the run in which it was made: see [`Run`]. 0 for none.
    pub(crate) run: u32,
    /// The code of what ran.
    pub(crate) run_code: u32,
    /// So many were made before it, and it.
    pub(crate) number: u32,
}

const FREE: Life = Life { address: 0, made: 0, place: 0, run: 0, run_code: 0, number: 0 };

const _: () = assert!(size_of::<usize>() < 8 || size_of::<Life>() == 32);

/// All that live. Those that collide are in the slots that follow.
struct Lives {
    slots: Vec<Life>,
    count: usize,
    made: u32,
    /// How many there was no memory for.
    missed: u64,
    /// The one that was made last, while it is in no slot. Most die before the next is made, and so
    /// never need one.
    newest: Life,
}

static LIVES: Shared<Lives> =
    Shared::new(Lives { slots: Vec::new(), count: 0, made: 0, missed: 0, newest: FREE });

impl Lives {
    /// So many slots at first.
    const FEW: usize = 64;

    /// The slot in which an address belongs. There are slots.
    fn home(&self, address: usize) -> usize {
        let hash = (address as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // The product is less than the number of slots, 64 bits higher.
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 < self.slots.len() { place + 1 } else { 0 }
    }

    /// Where an address is, or where it would be put.
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

    /// Note one that has just been made, or was found.
    #[inline]
    fn insert(&mut self, life: Life) {
        self.settle();
        self.made = self.made.wrapping_add(1);
        self.newest = Life { number: self.made, ..life };
    }

    /// Put the one that was made last into a slot. Whoever looks through the slots does this first.
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
        // Those behind it that may not be reached over a hole move up.
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

/// An object of a watched class has been made. It is complete: a collection may begin here, where
/// CPython 3.11 and older make an object for a frame.
///
/// It may have been fired with something already, of which `fired` is the kind, or 0.
#[cold]
pub(super) fn born<T>(object: &Bound<'_, PyAny>, value: &T, fired: u32) {
    let py = object.py();
    let place = places::here(py);
    let (run, run_code) = current_run(py).map_or((0, NOWHERE), |run| (run.number, run.code));
    let address = object.as_ptr() as usize;
    if watching_for(TRACK) {
        made_known(object);
        let life = Life { address, made: ticks::now(), place, run, run_code, number: 0 };
        LIVES.with(py, |lives| lives.insert(life));
    }
    if watching_for(TRACE) {
        VALUE_AT.store(ptr::from_ref(value) as usize - address, Ordering::Relaxed);
        events::record_made(py, address, run as usize, place, fired);
    }
}

/// How far from its address an object of the watched class has its value. 0 before one was made.
static VALUE_AT: AtomicUsize = AtomicUsize::new(0);

/// The address of the object whose value this is. 0 if none was made while events were wanted.
pub(crate) fn address_of<T>(value: &T) -> usize {
    match VALUE_AT.load(Ordering::Relaxed) {
        0 => 0,
        at => ptr::from_ref(value) as usize - at,
    }
}

/// An object of a class of ours, which may be a watched one, is being freed, or emptied by the
/// collector.
#[cold]
pub(super) fn died(py: Python<'_>, object: *mut ffi::PyObject) {
    LIVES.with(py, |lives| lives.remove(object as usize));
}

/// Note objects that have been there before.
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

/// Objects with what is known of each, and how many others there was no memory for.
pub(crate) type Known<'py, T> = (Vec<(Bound<'py, T>, Life)>, u64);

/// All that live, of the class that is watched.
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

/// What is known of an object. None if it was not noted.
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

/// The object at an address, if it is still the one that was made as this number.
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

/// A reference to the object of a slot, unless it is free or the object is being freed.
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

/// One generator or coroutine that is being resumed.
#[derive(Clone, Copy)]
struct Run {
    greenlet: usize,
    generator: usize,
    /// The same for each time that the generator is resumed, and no other's.
    number: u32,
    /// Its code.
    code: u32,
}

thread_local! {
    /// What is being resumed in this thread, oldest first, in all its greenlets.
    static RUNS: RefCell<Vec<Run>> = const { RefCell::new(Vec::new()) };
}

/// The numbers of generators that have not ended, by their addresses.
#[derive(Default)]
struct Numbers {
    known: Table<usize, u32>,
    /// The last one given.
    last: u32,
    /// The one that was started last, and its number, while it is not in the table. Most end before
    /// the next is started.
    newest: Option<(usize, u32)>,
}

impl Numbers {
    fn get(&self, address: usize) -> Option<u32> {
        match self.newest {
            Some((newest, number)) if newest == address => Some(number),
            _ => self.known.get(&address).copied(),
        }
    }

    /// Give a number to one. None if there is no memory for that.
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
        // One that was freed before it had ended may have been there.
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

/// The number of a generator that has been resumed while that was watched, and has not ended.
pub(crate) fn number_of_run(generator: &Bound<'_, PyAny>) -> Option<u32> {
    let address = generator.as_ptr() as usize;
    NUMBERS.with(generator.py(), |numbers| numbers.as_ref()?.get(address))
}

/// Keeps a generator noted as running.
pub(crate) struct Running {
    run: Run,
    /// Whether it has not run before, as far as is known.
    pub(crate) starts: bool,
}

impl Running {
    /// A generator is about to be resumed, or started. None if there is no memory to note that.
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
        let code = code_of(generator).map_or(NOWHERE, |code| places::of_code(&code));
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

    /// It has ended, so that its address may be another's.
    pub(crate) fn ended(&self, py: Python<'_>) {
        let address = self.run.generator;
        NUMBERS.with(py, |numbers| numbers.as_mut().map(|numbers| numbers.forget(address)));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Greenlets need not end in the order in which they began.
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

/// The code of a generator or coroutine of the interpreter's.
fn code_of<'py>(generator: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
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
