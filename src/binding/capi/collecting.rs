//! Slots for the garbage collector, `tp_traverse` and `tp_clear`, where PyO3's do not fit.

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

/// Fix `tp_clear` of a class that has an instance dict and derives from `object`, and of those
/// subclasses of ours that share PyO3's `tp_clear` with it. Their `tp_dealloc` must be set already.
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

/// `tp_clear`: like PyO3's, but drops the instance dict, as CPython does. PyO3 empties the dict,
/// even if a program has given the same dict to another object, which lives on.
extern "C" fn clear<T: Native>(object: Borrowed<'_, '_, T>) -> c_int {
    if watching::watching() {
        lives::died(object.py(), object.as_ptr());
    }
    let dict = take_dict(&*object);
    let status = clear_one_by_one(object);
    drop(dict);
    status
}

/// Let the collector call both the class's own functions and those of its base `B`, whatever
/// classes there are between the two.
///
/// PyO3 calls those of the current base. A program can insert a Python class that derives from ours
/// there; that one calls the first class that is not written in Python, which is this one again.
///
/// The slots of `B` must have their final content.
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

/// `tp_clear`: call the original ones of the class and its base.
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

/// `tp_traverse`: call PyO3's, which visits the fields of this class only, as it does not recognise
/// this function in the slots of any base. Then call the base's.
///
/// # Safety
///
/// The function must accept this argument and any object.
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
