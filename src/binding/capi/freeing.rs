//! `tp_dealloc` of our classes.

use pyo3::prelude::*;

use super::classes::{Class, Native};
use super::dying::{self, Dead, Plain};
use super::kinds::Kind;
use super::lives;
use super::pools::{Piece, Recycled};
use super::slots::{Slot, fill};
use super::watching;
use super::{panics, stack};

/// Free the objects of a class with our `tp_dealloc`.
pub(crate) fn bury<T: Native>(py: Python<'_>) {
    bury_by::<T>(py, dying::dealloc::<T>);
}

/// Free the objects of a class with our `tp_dealloc`, and reuse their memory.
pub(crate) fn recycle<T: Recycled>(py: Python<'_>) {
    bury_by::<T>(py, dealloc::<T>);
}

/// Set `tp_dealloc`.
fn bury_by<T: Native>(py: Python<'_>, dealloc: extern "C" fn(Dead<'_, T>)) {
    if Class::know::<T>(py) {
        fill(py, Kind::of::<T>(py), Slot::Dealloc(dealloc));
    }
}

/// For the `drop` of our values that own Python objects.
pub(crate) fn dropping<T: Recycled>(value: &T) {
    // SAFETY: a value of ours is only ever part of a Python object, which the interpreter frees on
    // an attached thread, or on its way to be made one, on such a thread, too.
    value.dispose(unsafe { Python::assume_attached() });
}

/// `tp_dealloc`: does what PyO3's does, but faster for plain instances of the class itself.
extern "C" fn dealloc<T: Recycled>(dead: Dead<'_, T>) {
    match dead.plain() {
        Ok(plain) => {
            let (py, value) = plain.value();
            if !T::dies_quietly(plain.state()) || value.holds_more() {
                dealloc_heavy(Err(plain.into_dead()));
            } else if T::is_light(plain.state(), py) {
                free_plain(py, plain.into_memory(None::<fn(&T)>));
                dying::finish();
            } else {
                dealloc_heavy(Ok(plain));
            }
        }
        Err(dead) => dealloc_heavy(Err(dead)),
    }
}

/// The part of [`dealloc`] for objects whose death can cause others, and for all that are not
/// plain.
#[inline(never)]
fn dealloc_heavy<T: Recycled>(dead: Result<Plain<'_, T>, Dead<'_, T>>) {
    let quiet = match &dead {
        Ok(_) => true,
        Err(dead) => T::dies_quietly(dead.state()),
    };
    let has_room = if quiet { stack::has_room() } else { stack::has_room_to_report() };
    match dead {
        dead if !has_room => return dying::put_by(dead.map_or_else(|it| it, Plain::into_dead)),
        Ok(plain) => {
            let (py, _) = plain.value();
            let dispose = |value: &T| panics::reporting(py, || value.dispose(py));
            free_plain(py, plain.into_memory(Some(dispose)));
        }
        Err(dead) => dead.free(),
    }
    dying::finish();
}

/// Free the memory of a plain instance of the class itself.
#[inline(always)]
fn free_plain<T: Recycled>(py: Python<'_>, (piece, is_finalized): (Piece<T>, bool)) {
    let left = if is_finalized { Some(piece) } else { T::pool().keep(py, piece) };
    if let Some(piece) = left {
        free_watched(py, piece, is_finalized);
    }
}

/// Free memory that the pool does not take, perhaps because the class is watched.
#[inline(never)]
fn free_watched<T: Recycled>(py: Python<'_>, piece: Piece<T>, is_finalized: bool) {
    let mut left = Some(piece);
    // The first object that dies in a thread.
    #[cfg(Py_GIL_DISABLED)]
    if !is_finalized && dying::is_told_of_end() {
        left = left.and_then(|piece| T::pool().keep(py, piece));
    }
    if T::WATCHED && watching::watching() {
        if let Some(piece) = &left {
            lives::died(py, piece.as_ptr());
        }
        if !is_finalized {
            left = left.and_then(|piece| T::pool_while_watched().keep(py, piece));
        }
    }
    if let Some(piece) = left {
        piece.free();
    }
}
