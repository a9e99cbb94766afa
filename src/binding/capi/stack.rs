//! Checks how much of the machine's stack is left, where calls nest.
//!
//! A callback that fires a Deferred whose callback fires another, and so on, nests native calls and
//! Python calls. Python's recursion limit counts only the latter, and a program can set it to any
//! number. So each of our calls that can nest checks the stack itself.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

pub(in crate::binding) use super::bounds::prepare;
pub(crate) use super::bounds::{address, has_room, has_room_to_report, room};
use super::cell::each_thread;
use super::depth;
use super::error::Result;
use super::in_flight::take_raised;
use super::safe;

/// Check the stack, for code that does not call Python itself, but may be part of a recursion.
///
/// # Errors
///
/// `RecursionError` if little is left of the stack.
pub(crate) fn check(py: Python<'_>) -> Result<()> {
    if has_room() { Ok(()) } else { Err(depth::too_deep(py)) }
}

/// [`check`], out of line, so that it takes no stack in the caller's frame.
///
/// # Errors
///
/// As [`check`].
#[inline(never)]
pub(crate) fn check_apart(py: Python<'_>) -> Result<()> {
    check(py)
}

/// The truth value of an object, which its class may define. That of a bool is never refused.
///
/// # Errors
///
/// What it raises, and as [`check`].
pub(crate) fn truth(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(plain) = object.cast_exact::<PyBool>() {
        return Ok(plain.is_true());
    }
    check(object.py())?;
    object.is_truthy()
}

/// The number in an object, which its class may define. That of a plain int is never refused.
///
/// # Errors
///
/// What it raises, and as [`check`].
pub(crate) fn number<T>(object: &Bound<'_, PyAny>) -> PyResult<T>
where
    T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>,
{
    if !object.is_exact_instance_of::<PyInt>() {
        check(object.py())?;
    }
    object.extract()
}

each_thread! {
    /// How many of our calls that may call Python are running: in all threads and greenlets or,
    /// without the GIL, in all greenlets of a thread.
    static UNDER_WAY: EachThread<usize> = 0;
}

/// Exists while one of our calls runs that may call Python, and so nest.
#[must_use]
pub(crate) struct Nested<'py> {
    py: Python<'py>,
    counted: bool,
}

impl<'py> Nested<'py> {
    /// Begin a call.
    ///
    /// # Errors
    ///
    /// `RecursionError` if little stack is left, or if the recursion limit has been reached. The
    /// outermost call is never refused.
    #[inline(always)]
    pub(crate) fn enter(py: Python<'py>) -> Result<Self> {
        let counted = UNDER_WAY.with(py, |count| *count) != 0;
        if counted {
            enter_another(py)?;
        }
        UNDER_WAY.with(py, |count| *count = count.wrapping_add(1));
        Ok(Self { py, counted })
    }

    /// [`enter`](Self::enter), for running a Deferred that has been fired already. At the recursion
    /// limit this succeeds, and the callbacks are refused one by one, except those that never are.
    ///
    /// # Errors
    ///
    /// As [`enter`](Self::enter).
    #[inline(always)]
    pub(crate) fn enter_to_run(py: Python<'py>) -> Result<Self> {
        let is_first = UNDER_WAY.with(py, |count| *count) == 0;
        let counted = !is_first && enter_another_to_run(py)?;
        UNDER_WAY.with(py, |count| *count = count.wrapping_add(1));
        Ok(Self { py, counted })
    }
}

/// Check for code that is about to call something and must not be refused in the middle.
///
/// # Errors
///
/// `RecursionError` if little stack is left, or if the recursion limit has been reached.
pub(crate) fn check_call(py: Python<'_>) -> Result<()> {
    enter_another(py)?;
    safe::leave_recursion(py);
    Ok(())
}

/// Count a call that is not the outermost. [`Nested`] undoes that when dropped.
#[inline(never)]
fn enter_another(py: Python<'_>) -> Result<()> {
    check(py)?;
    if safe::enter_recursion(py, c" while calling a Python object") {
        return Err(take_raised(py).into());
    }
    Ok(())
}

/// [`enter_another`] that returns false at the recursion limit, where the call is not counted.
#[inline(never)]
fn enter_another_to_run(py: Python<'_>) -> Result<bool> {
    match enter_another(py) {
        Err(_) if depth::is_at_limit(py) && has_room() => Ok(false),
        entered => entered.map(|()| true),
    }
}

impl Drop for Nested<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Each undoes what it has added.
        UNDER_WAY.with(self.py, |count| *count = count.wrapping_sub(1));
        if self.counted {
            // It was counted in `enter_another`.
            safe::leave_recursion(self.py);
        }
    }
}
