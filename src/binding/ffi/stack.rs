//! What is left of the machine's stack.
//!
//! A callback that fires a Deferred whose callback fires another, and so on, nests calls of ours
//! and of Python. CPython's limit counts only its own, and a program can set it as high as it
//! likes. So whoever nests looks at the stack itself.

use std::hint;

use pyo3::exceptions::PyRecursionError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::super::cell::Shared;
use super::super::error::{Error, Raise, Result};
use super::exceptions::take_raised;

/// The least that is left for what is called: extension modules, and the making of an error.
const LEAST_MARGIN: usize = 16 << 10;
/// The most that is left for it.
const MOST_MARGIN: usize = 64 << 10;
/// The most that is left, besides, for making the text of a failure and logging it: before CPython
/// 3.11 each call of a Python function takes half a KiB, and each of a special method still does.
const FOR_A_REPORT: usize = 192 << 10;
/// What CPython keeps for itself at the end of a stack, and refuses calls of Python in, where it
/// looks at the stack: two margins of 16 KiB, and the page that guards it.
const RESERVED: usize = if cfg!(Py_3_14) { 36 << 10 } else { 0 };

thread_local! {
    /// Where on this thread's stack there is no more room. It grows downwards.
    static FLOOR: usize = floor();
    /// Where there is no more room for a report: where half is left of what there is room for when a
    /// thread first asks, or so much as one can take.
    static REPORT_FLOOR: usize = FLOOR.with(|floor| {
        let room = address().saturating_sub(*floor);
        if *floor == 0 { 0 } else { floor + (room / 2).min(FOR_A_REPORT) }
    });
}

/// How many bytes are left of this thread's stack, if that can be known.
#[inline(never)]
pub(in crate::binding) fn remaining() -> Option<usize> {
    // Where a thread runs, something is left. If not, it runs on another stack than its own.
    stacker::remaining_stack().filter(|left| *left != 0)
}

/// A quarter of what is left when a thread first asks is kept for what is called, within bounds.
#[cold]
fn floor() -> usize {
    match remaining() {
        Some(left) => {
            let margin = ((left / 4).clamp(LEAST_MARGIN, MOST_MARGIN) + RESERVED).min(left);
            address().saturating_sub(left - margin)
        }
        None => 0,
    }
}

/// About where the stack has grown to.
#[inline(always)]
pub(in crate::binding) fn address() -> usize {
    let here = 0u8;
    (&raw const *hint::black_box(&here)) as usize
}

/// How many bytes there are for calls of Python, until there is no more room.
#[inline(always)]
pub(in crate::binding) fn room() -> usize {
    // At the end of a thread its variables may be gone. Little is nested then.
    let room = FLOOR.try_with(|floor| address().saturating_sub(*floor)).unwrap_or(usize::MAX);
    if room == 0 && is_elsewhere() { usize::MAX } else { room }
}

/// Whether there is enough left of the stack to call Python once more.
#[inline(always)]
pub(in crate::binding) fn has_room() -> bool {
    room() != 0
}

/// Whether there is enough left of the stack to make the text of a failure and log it.
#[inline(never)]
pub(in crate::binding) fn has_room_to_report() -> bool {
    let floor = REPORT_FLOOR.try_with(|floor| *floor).unwrap_or(0);
    address() > floor || is_elsewhere()
}

/// For what does not call Python itself, but may be called again and again by what it is part of.
///
/// # Errors
///
/// `RecursionError` where little is left of the stack.
pub(in crate::binding) fn check(py: Python<'_>) -> Result<()> {
    if has_room() { Ok(()) } else { Err(too_deep(py)) }
}

/// Whether this runs on another stack than the thread's own, so that nothing is known of it.
#[cold]
fn is_elsewhere() -> bool {
    remaining().is_none()
}

/// How many calls of ours that may call Python are under way, in all threads and greenlets.
static UNDER_WAY: Shared<usize> = Shared::new(0);

/// A call of ours that may call Python, and so one of ours again. Held while it is under way.
#[must_use]
pub(in crate::binding) struct Nested<'py> {
    py: Python<'py>,
    counted: bool,
}

impl<'py> Nested<'py> {
    /// Begin one.
    ///
    /// # Errors
    ///
    /// `RecursionError` where little is left of the stack, or as many calls are nested as the
    /// interpreter allows. The first of them is never refused.
    #[inline(always)]
    pub(in crate::binding) fn enter(py: Python<'py>) -> Result<Self> {
        let counted = UNDER_WAY.with(py, |count| *count) != 0;
        if counted {
            enter_another(py)?;
        }
        UNDER_WAY.with(py, |count| *count = count.wrapping_add(1));
        Ok(Self { py, counted })
    }
}

/// Enter a call that is not the first. It is left in the `drop` of [`Nested`].
#[inline(never)]
fn enter_another(py: Python<'_>) -> Result<()> {
    check(py)?;
    // SAFETY: attached, and the text is a C string.
    if unsafe { ffi::Py_EnterRecursiveCall(c" while calling a Python object".as_ptr()) } != 0 {
        return Err(take_raised(py).into());
    }
    Ok(())
}

#[cold]
fn too_deep(py: Python<'_>) -> Error {
    PyRecursionError::error(py, "maximum recursion depth exceeded: the stack is used up")
}

impl Drop for Nested<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Each takes back what it has added.
        UNDER_WAY.with(self.py, |count| *count = count.wrapping_sub(1));
        if self.counted {
            // SAFETY: attached, and it was entered in `enter_another`.
            unsafe { ffi::Py_LeaveRecursiveCall() }
        }
    }
}
