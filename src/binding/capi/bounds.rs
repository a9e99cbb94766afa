//! The bounds of native thread stacks.

use std::cell::Cell;
use std::hint;
#[cfg(target_os = "linux")]
use std::{mem, ptr};

/// The least space to keep free for the functions we call: extension modules, and making an error.
const LEAST_MARGIN: usize = 16 << 10;
/// The most space to keep free for them.
const MOST_MARGIN: usize = 64 << 10;
/// How much more space to keep free for formatting and logging a failure, at most. Before CPython
/// 3.11 each call of a Python function takes half a KiB; each call of a special method still does.
const FOR_A_REPORT: usize = 192 << 10;
/// The end of the stack that CPython reserves for itself where it checks the stack, and in which it
/// refuses Python calls: two margins of 16 KiB, and the guard page.
const RESERVED: usize = if cfg!(Py_3_14) { 36 << 10 } else { 0 };

/// The interval at which the growth of a main thread's stack is checked.
const STEP: usize = 64 << 10;

thread_local! {
    static BOUNDS: Bounds = Bounds::find();
}

/// The limits of a thread's stack, which grows downwards.
struct Bounds {
    /// Below this address, look more closely. At or above the floor.
    look: Cell<usize>,
    /// The floor: below this address there is no more room.
    floor: Cell<usize>,
    /// How far above the floor the room for a report ends: half of the stack that was left when the
    /// thread first asked, but no more than a report can use.
    for_a_report: usize,
    /// How much lower the floor is now: see [`lower`].
    lowered: Cell<usize>,
    /// How much lower it can be.
    most: usize,
    /// Only for a main thread, and if the system tells how much of its stack exists.
    growing: Option<Growing>,
}

/// How much of a main thread's stack exists. The system extends the stack when it is first touched,
/// and kills the process if it cannot: out of memory, after the stack limit was lowered, or because
/// something else is mapped there. So we ask it to extend the stack beforehand.
struct Growing {
    /// The lowest address that the stack is known to reach.
    there: Cell<usize>,
    /// The floor when the stack has its full size.
    last_floor: usize,
    /// The space below the floor, kept for the functions we call.
    margin: usize,
}

impl Bounds {
    /// Measure this thread's stack. A quarter of what is left is kept for the functions we call,
    /// within bounds.
    #[cold]
    fn find() -> Self {
        let here = address();
        let (floor, margin) = match remaining() {
            Some(left) => {
                let margin = ((left / 4).clamp(LEAST_MARGIN, MOST_MARGIN) + RESERVED).min(left);
                (here.saturating_sub(left - margin), margin)
            }
            None => (0, 0),
        };
        let for_a_report =
            if floor == 0 { 0 } else { (here.saturating_sub(floor) / 2).min(FOR_A_REPORT) };
        let growing = (floor != 0 && is_main_thread())
            .then(|| Growing { there: Cell::new(here), last_floor: floor, margin })
            // If the system refuses from the beginning, it does not know, for instance under
            // valgrind.
            .filter(|growing| growing.grow(here, for_a_report).is_some());
        let look = if growing.is_some() { here } else { floor };
        // Half of what is kept is enough for the functions that our own steps call.
        let most = margin.saturating_sub(RESERVED + LEAST_MARGIN) / 2;
        let (look, floor, lowered) = (Cell::new(look), Cell::new(floor), Cell::new(0));
        Self { look, floor, for_a_report, lowered, most, growing }
    }

    /// The number of bytes above the floor.
    #[inline(always)]
    fn room(&self) -> usize {
        let here = address();
        if here > self.look.get() { here.saturating_sub(self.floor.get()) } else { self.ask(here) }
    }

    /// [`Bounds::room`], after checking how far the stack can grow.
    #[cold]
    fn ask(&self, here: usize) -> usize {
        if let Some(growing) = &self.growing
            && here > growing.last_floor
        {
            if let Some(look) = growing.grow(here, self.for_a_report) {
                self.floor.set(growing.last_floor);
                self.look.set(look);
            } else {
                let floor = growing.there.get() + growing.margin;
                self.floor.set(floor.max(growing.last_floor));
                // It is asked again whenever that matters: there may be more memory by then.
                self.look.set(self.floor.get() + self.for_a_report);
            }
        }
        here.saturating_sub(self.floor.get().saturating_sub(self.lowered.get()))
    }
}

impl Growing {
    /// Ask the system to extend the stack so far that there would still be room for a report one
    /// step further down. Returns the address of that step, or None if it refuses.
    fn grow(&self, here: usize, for_a_report: usize) -> Option<usize> {
        let next = here.saturating_sub(STEP).max(self.last_floor);
        let enough = next.saturating_sub(for_a_report).max(self.last_floor) - self.margin;
        // This function runs on the stack, so it reaches down to `here` at least.
        let there = self.there.get().min(here);
        let can_be = enough >= there || grow_stack(enough);
        self.there.set(if can_be { enough.min(there) } else { there });
        can_be.then_some(next)
    }
}

/// Let the system do what it does when an address is first touched: if the address is below the
/// main thread's stack, and the stack can grow that far, the stack grows. Returns whether the
/// address is mapped afterwards, as far as the system tells.
#[cfg(target_os = "linux")]
fn grow_stack(address: usize) -> bool {
    const NO_SUCH_OPERATION: libc::c_long = -1;
    const SET_OF_SIGNALS: usize = 8;
    // SAFETY: the kernel reads a set of signals from there, or finds that it cannot. Then it finds
    // that it does not know what is to be done with it. So nothing is changed, whatever is there,
    // but for the number of the last error, which is this thread's, and is put back.
    unsafe {
        let last_error = libc::__errno_location();
        let before = *last_error;
        let status = libc::syscall(
            libc::SYS_rt_sigprocmask,
            NO_SUCH_OPERATION,
            address & !(SET_OF_SIGNALS - 1),
            ptr::null::<u8>(),
            SET_OF_SIGNALS,
        );
        let error = mem::replace(&mut *last_error, before);
        status == 0 || error != libc::EFAULT
    }
}

/// On other systems the whole stack exists from the beginning.
#[cfg(not(target_os = "linux"))]
fn grow_stack(_address: usize) -> bool {
    true
}

#[cfg(target_os = "linux")]
fn is_main_thread() -> bool {
    // SAFETY: numbers of the thread and of the process.
    unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) }
}

#[cfg(not(target_os = "linux"))]
fn is_main_thread() -> bool {
    false
}

/// The number of bytes left on this thread's stack, if known.
#[inline(never)]
pub(crate) fn remaining() -> Option<usize> {
    // Where a thread runs, something is left. If not, it runs on another stack than its own.
    stacker::remaining_stack().filter(|left| *left != 0)
}

/// The approximate address of the top of the stack.
#[inline(always)]
pub(crate) fn address() -> usize {
    let here = 0u8;
    (&raw const *hint::black_box(&here)) as usize
}

/// Extend the stack by the room for a report. To be called early, while it can still grow.
pub(in crate::binding) fn prepare() {
    has_room_to_report();
}

/// The number of bytes left for Python calls.
#[inline(always)]
pub(crate) fn room() -> usize {
    // At the end of a thread its variables may be gone. Little is nested then.
    let room = BOUNDS.try_with(Bounds::room).unwrap_or(usize::MAX);
    if room == 0 && is_elsewhere() { usize::MAX } else { room }
}

/// Whether there is enough stack left for another call into Python.
#[inline(always)]
pub(crate) fn has_room() -> bool {
    room() != 0
}

/// Whether there is enough stack left to format and log a failure.
#[inline(never)]
pub(crate) fn has_room_to_report() -> bool {
    let enough = BOUNDS.try_with(|bounds| bounds.room() > bounds.for_a_report).unwrap_or(true);
    enough || is_elsewhere()
}

/// Let a step of ours use some of the reserved space, or no longer. `room` is computed as before.
pub(super) fn lower(is_lowered: bool) {
    let _ = BOUNDS.try_with(|bounds| {
        bounds.lowered.set(if is_lowered { bounds.most } else { 0 });
    });
}

/// Whether this code runs on a stack that is not the thread's own, such as a greenlet's. Then
/// nothing is known about its size.
#[cold]
fn is_elsewhere() -> bool {
    remaining().is_none()
}
