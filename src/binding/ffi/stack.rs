//! What is left of the machine's stack.
//!
//! A callback that fires a Deferred whose callback fires another, and so on, nests calls of ours
//! and of Python. CPython's limit counts only its own, and a program can set it as high as it
//! likes. So whoever nests looks at the stack itself.

use std::cell::Cell;
use std::hint;
#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
#[cfg(target_os = "linux")]
use std::ptr;

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

/// So deep a main thread goes until it is asked again how large its stack may be: the system looks
/// at the limit each time the stack grows, and a program can lower it.
const UNASKED: usize = 64 << 10;

thread_local! {
    static BOUNDS: Bounds = Bounds::find();
}

/// What is known of a thread's stack. It grows downwards.
struct Bounds {
    /// Where it is to be looked at more closely: where there is no more room, if not before.
    look: Cell<usize>,
    /// Where there is no more room.
    floor: Cell<usize>,
    /// So far above that there is no more room for a report: half of what there is when a thread
    /// first asks, or so much as one can take.
    for_a_report: usize,
    /// Of a main thread, where its stack begins, and how large it could be then.
    main: Option<(usize, usize)>,
}

impl Bounds {
    /// A quarter of what is left when a thread first asks is kept for what is called, within
    /// bounds.
    #[cold]
    fn find() -> Self {
        let here = address();
        let floor = match remaining() {
            Some(left) => here.saturating_sub(left - (margin(left) + RESERVED).min(left)),
            None => 0,
        };
        let for_a_report =
            if floor == 0 { 0 } else { (here.saturating_sub(floor) / 2).min(FOR_A_REPORT) };
        let main = if floor == 0 { None } else { main_stack() };
        let look = if main.is_some() { floor.max(here.saturating_sub(UNASKED)) } else { floor };
        Self { look: Cell::new(look), floor: Cell::new(floor), for_a_report, main }
    }

    /// How many bytes there are above the floor.
    #[inline(always)]
    fn room(&self) -> usize {
        let here = address();
        if here > self.look.get() { here.saturating_sub(self.floor.get()) } else { self.ask(here) }
    }

    /// The same, after a closer look.
    #[cold]
    fn ask(&self, here: usize) -> usize {
        if let Some((begin, size)) = self.main
            && here > self.floor.get()
        {
            let size = size_limit().unwrap_or(size).min(size);
            let floor = begin.saturating_sub(size) + (margin(size) + RESERVED).min(size);
            self.floor.set(floor.max(self.floor.get()));
            self.look.set(self.floor.get().max(here.saturating_sub(UNASKED)));
        }
        here.saturating_sub(self.floor.get())
    }
}

/// So much of a stack is kept for what is called.
fn margin(size: usize) -> usize {
    (size / 4).clamp(LEAST_MARGIN, MOST_MARGIN)
}

/// How large the stack of the main thread may be now.
#[cfg(target_os = "linux")]
fn size_limit() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place to write the answer to.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    if status == 0 { usize::try_from(limit.rlim_cur).ok() } else { None }
}

#[cfg(not(target_os = "linux"))]
fn size_limit() -> Option<usize> {
    None
}

/// Where the stack of this thread begins and how large it can be, if it is the main thread.
#[cfg(target_os = "linux")]
fn main_stack() -> Option<(usize, usize)> {
    // SAFETY: what describes the thread is made, written by the call, read and destroyed.
    unsafe {
        if libc::syscall(libc::SYS_gettid) != libc::c_long::from(libc::getpid()) {
            return None;
        }
        let mut about = MaybeUninit::uninit();
        if libc::pthread_getattr_np(libc::pthread_self(), about.as_mut_ptr()) != 0 {
            return None;
        }
        let (mut end, mut size) = (ptr::null_mut(), 0);
        let status = libc::pthread_attr_getstack(about.as_ptr(), &raw mut end, &raw mut size);
        libc::pthread_attr_destroy(about.as_mut_ptr());
        (status == 0).then(|| (end as usize + size, size))
    }
}

/// On other systems the limit at the beginning stays.
#[cfg(not(target_os = "linux"))]
fn main_stack() -> Option<(usize, usize)> {
    None
}

/// How many bytes are left of this thread's stack, if that can be known.
#[inline(never)]
pub(in crate::binding) fn remaining() -> Option<usize> {
    // Where a thread runs, something is left. If not, it runs on another stack than its own.
    stacker::remaining_stack().filter(|left| *left != 0)
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
    let room = BOUNDS.try_with(Bounds::room).unwrap_or(usize::MAX);
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
    let enough = BOUNDS.try_with(|bounds| bounds.room() > bounds.for_a_report).unwrap_or(true);
    enough || is_elsewhere()
}

/// For what does not call Python itself, but may be called again and again by what it is part of.
///
/// # Errors
///
/// `RecursionError` where little is left of the stack.
pub(in crate::binding) fn check(py: Python<'_>) -> Result<()> {
    if has_room() { Ok(()) } else { Err(too_deep(py)) }
}

/// Whether an object is true: its class may say so.
///
/// # Errors
///
/// What it raises, and as [`check`].
pub(in crate::binding) fn truth(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    check(object.py())?;
    object.is_truthy()
}

/// The number that an object stands for: its class may say so.
///
/// # Errors
///
/// What it raises, and as [`check`].
pub(in crate::binding) fn number<T>(object: &Bound<'_, PyAny>) -> PyResult<T>
where
    T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>,
{
    check(object.py())?;
    object.extract()
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
