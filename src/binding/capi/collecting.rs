//! What the collector calls of our classes, where PyO3's does not do: `tp_traverse`, `tp_clear`.

use std::ffi::{c_int, c_void};
use std::iter;
use std::ptr;

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::beside::take_dict;
use super::classes::Native;
use super::kinds::Kind;
use super::lives;
use super::safe;
use super::slots::{Slot, fill};
use super::watching;

/// See to the rings that objects of a class stand in, a class with a dict of its own whose base is
/// `object`, and of those subclasses of ours that PyO3 has clear their objects in the same way.
/// Its deaths have been seen to.
pub(crate) fn keep_dicts<T: Native>(py: Python<'_>, subclasses: &[Bound<'_, PyType>]) {
    let of = Kind::of::<T>(py);
    let kinds: Vec<_> = iter::once(of).chain(subclasses.iter().map(Kind::from)).collect();
    if T::class().dict_offset() <= 0 {
        return;
    }
    let Some(pyo3_clear) = of.slots(py).clear else { return };
    if T::class().clears.set([Some(pyo3_clear), None]).is_ok() {
        for kind in kinds {
            if kind.slots(py).clear.is_some_and(|there| ptr::fn_addr_eq(there, pyo3_clear)) {
                fill(py, kind, Slot::<T>::Clear(clear::<T>));
            }
        }
    }
}

/// `tp_clear`: as PyO3's, but lets go of the dict, as CPython does. PyO3's empties it, also where a
/// program has made it the dict of another object, which lives on.
extern "C" fn clear<T: Native>(object: Borrowed<'_, '_, T>) -> c_int {
    if watching::watching() {
        lives::died(object.py(), object.as_ptr());
    }
    let dict = take_dict(&*object);
    let status = clear_one_by_one(object);
    drop(dict);
    status
}

/// Have the objects of a class show the collector what is in them, and let go of it, by its own
/// functions and those of its base, whatever is between the two.
///
/// PyO3's asks the class that is the base now. A program can put one of its own there, whose base
/// is ours: that does its part by asking the first class that is not written in Python, which is
/// this again.
///
/// The slots of `B`, the base of `T`, are as they are to be.
pub(crate) fn rely_on_base<T: Native, B: Native>(py: Python<'_>) {
    let (kind, base) = (Kind::of::<T>(py), Kind::of::<B>(py));
    if !safe::comes_after(py, kind, base) {
        return;
    }
    let (own, base) = (kind.slots(py), base.slots(py));
    if let (Some(own), Some(base)) = (own.traverse, base.traverse)
        && T::class().traverses.set([own, base]).is_ok()
    {
        fill(py, kind, Slot::<T>::Traverse(traverse::<T>));
    }
    if let (Some(own), Some(base)) = (own.clear, base.clear)
        && !ptr::fn_addr_eq(own, base)
        && T::class().clears.set([Some(base), Some(own)]).is_ok()
    {
        fill(py, kind, Slot::<T>::Clear(clear_one_by_one::<T>));
    }
}

/// `tp_clear`: what had been in the slots of the class and its base.
extern "C" fn clear_one_by_one<T: Native>(object: Borrowed<'_, '_, T>) -> c_int {
    let mut status = 0;
    for clear in T::class().clears.get().into_iter().flatten().flatten() {
        if status == 0 {
            // SAFETY: attached, and an object of `T`, and so of its base: in whose slots this was
            // found, to be called so.
            status = unsafe { clear(object.as_ptr()) };
        }
    }
    status
}

/// `tp_traverse`: PyO3's shows what is of the class itself, and asks no base, as it is not found in
/// the slot of any class. Then the base's.
///
/// # Safety
///
/// The function can be called with the argument, and any object.
unsafe extern "C" fn traverse<T: Native>(
    object: Borrowed<'_, '_, T>,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    let mut status = 0;
    for traverse in T::class().traverses.get().into_iter().flatten() {
        if status == 0 {
            // SAFETY: as in `clear_one_by_one`; the collector's arguments are passed on.
            status = unsafe { traverse(object.as_ptr(), visit, argument) };
        }
    }
    status
}
