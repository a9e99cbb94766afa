//! Slots for `iter()`, `await` and their iterators, where PyO3 has none or a much slower one.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;

use super::again::interruption;
use super::calls::Sent;
use super::classes::Native;
use super::error::{Raised, Result};
use super::exceptions::stop_iteration;
use super::in_flight::restore;
use super::kinds::Kind;
use super::panics;
use super::slots::{Slot, fill};

/// A class that supports `await` and `iter()`.
pub(crate) trait Iterate: Native {
    /// Return the iterator of `iter()` and `yield from`.
    fn iterate<'py>(object: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>>;
    /// Return the iterator of `await`.
    fn awaited<'py>(object: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>>;
}

/// `tp_iter`
extern "C" fn iterate<T: Iterate>(object: Borrowed<'_, '_, T>) -> *mut ffi::PyObject {
    panics::answering(object.py(), || T::iterate(&object))
}

/// `am_await`
extern "C" fn awaited<T: Iterate>(object: Borrowed<'_, '_, T>) -> *mut ffi::PyObject {
    panics::answering(object.py(), || T::awaited(&object))
}

/// An iterator that drives a coroutine.
pub(crate) trait Step: Native {
    /// Resume it.
    fn step<'py>(object: &Bound<'py, Self>) -> Sent<'py>;
}

/// `am_send`
extern "C" fn send<T: Step>(
    object: Borrowed<'_, '_, T>,
    _value: *mut ffi::PyObject,
    result: &mut MaybeUninit<*mut ffi::PyObject>,
) -> ffi::PySendResult {
    match panics::catching_sent(object.py(), || T::step(&object)) {
        Sent::Yielded(object) => {
            result.write(object.into_ptr());
            ffi::PySendResult::PYGEN_NEXT
        }
        Sent::Returned(object) => {
            result.write(object.into_ptr());
            ffi::PySendResult::PYGEN_RETURN
        }
        Sent::Raised(raised) => {
            result.write(ptr::null_mut());
            restore(raised);
            ffi::PySendResult::PYGEN_ERROR
        }
    }
}

/// `tp_iternext`. CPython 3.12 to 3.14 resume with None this way, and older ones under a tracer.
extern "C" fn next<T: Step>(object: Borrowed<'_, '_, T>) -> *mut ffi::PyObject {
    match panics::catching_sent(object.py(), || T::step(&object)) {
        Sent::Yielded(object) => match interrupted(object.py()) {
            None => return object.into_ptr(),
            Some(raised) => restore(raised),
        },
        // Null without an exception means that it returned None.
        Sent::Returned(object) if object.is_none() => {}
        Sent::Returned(object) => stop_iteration(object),
        Sent::Raised(raised) => restore(raised),
    }
    ptr::null_mut()
}

/// What a signal raises, after so many steps. A pending Deferred yields without end: for a loop of
/// native code, such as `x in deferred`, nothing else would look for signals.
#[inline(always)]
fn interrupted(py: Python<'_>) -> Option<Raised<'_>> {
    const PATIENCE: u32 = 1 << 10;
    let steps = STEPS.get().wrapping_add(1);
    STEPS.set(steps);
    if steps.is_multiple_of(PATIENCE) { interruption(py) } else { None }
}

thread_local! {
    static STEPS: Cell<u32> = const { Cell::new(0) };
}

/// Set the slots for `__iter__` and `__await__`.
pub(crate) fn fill_iterate<T: Iterate>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::Iterate(iterate::<T>));
    fill(py, Kind::of::<T>(py), Slot::Await(awaited::<T>));
}

/// Set the slots for `send` and `__next__`.
pub(crate) fn fill_step<T: Step>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::Send(send::<T>));
    fill(py, Kind::of::<T>(py), Slot::Next(next::<T>));
}
