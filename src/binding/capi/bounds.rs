//! Where the machine's stacks end.

use std::cell::Cell;
use std::hint;
#[cfg(target_os = "linux")]
use std::{mem, ptr};

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

/// So often the stack of a main thread is looked at as it grows.
const STEP: usize = 64 << 10;

thread_local! {
    static BOUNDS: Bounds = Bounds::find();
}

/// The limits of a thread's stack, which grows downwards.
struct Bounds {
    /// Where it is to be looked at more closely: where there is no more room, if not before.
    look: Cell<usize>,
    /// Where there is no more room.
    floor: Cell<usize>,
    /// So far above that there is no more room for a report: half of what there is when a thread
    /// first asks, or so much as one can take.
    for_a_report: usize,
    /// Of a main thread, if the system tells what there is of its stack.
    growing: Option<Growing>,
}

/// What there is of a main thread's stack. The system makes more of it when that is first used, and
/// ends the process if it cannot: if the process may have no more memory, if the limit of its stack
/// has been lowered, or if there is something else. So it is asked to do so before.
struct Growing {
    /// The stack is there down to here.
    there: Cell<usize>,
    /// Where there is no more room, however much of it the system makes.
    last_floor: usize,
    /// So much is below a floor, for what is called.
    margin: usize,
}

impl Bounds {
    /// A quarter of what is left when a thread first asks is kept for what is called, within
    /// bounds.
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
            // Where it says no from the beginning, it does not know: under valgrind, for one.
            .filter(|growing| growing.grow(here, for_a_report).is_some());
        let look = if growing.is_some() { here } else { floor };
        Self { look: Cell::new(look), floor: Cell::new(floor), for_a_report, growing }
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
        if let Some(growing) = &self.growing
            && here > growing.last_floor
        {
            if let Some(look) = growing.grow(here, self.for_a_report) {
                self.floor.set(growing.last_floor);
                self.look.set(look);
            } else {
                let floor = growing.there.get() + growing.margin;
                self.floor.set(floor.max(growing.last_floor));
                // It is asked again each time that it matters: there may be more memory then.
                self.look.set(self.floor.get() + self.for_a_report);
            }
        }
        here.saturating_sub(self.floor.get())
    }
}

impl Growing {
    /// Have the system make so much more of the stack that there is room for a report one step
    /// further down, too. Returns where that is, if it can be done.
    fn grow(&self, here: usize, for_a_report: usize) -> Option<usize> {
        let next = here.saturating_sub(STEP).max(self.last_floor);
        let enough = next.saturating_sub(for_a_report).max(self.last_floor) - self.margin;
        // What asks is on the stack.
        let there = self.there.get().min(here);
        let can_be = enough >= there || grow_stack(enough);
        self.there.set(if can_be { enough.min(there) } else { there });
        can_be.then_some(next)
    }
}

/// Have the system do what it does when an address is used for the first time: if that is below the
/// stack of the main thread, and the stack can grow so far, it does. Returns whether there is
/// memory at the address then, as far as the system tells.
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

/// On other systems all of a stack is there from the beginning.
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

/// How many bytes are left of this thread's stack, if that can be known.
#[inline(never)]
pub(crate) fn remaining() -> Option<usize> {
    // Where a thread runs, something is left. If not, it runs on another stack than its own.
    stacker::remaining_stack().filter(|left| *left != 0)
}

/// About where the stack has grown to.
#[inline(always)]
pub(crate) fn address() -> usize {
    let here = 0u8;
    (&raw const *hint::black_box(&here)) as usize
}

/// To be called early, while the stack can grow: have as much of it as a report takes be there.
pub(in crate::binding) fn prepare() {
    has_room_to_report();
}

/// How many bytes there are for calls of Python, until there is no more room.
#[inline(always)]
pub(crate) fn room() -> usize {
    // At the end of a thread its variables may be gone. Little is nested then.
    let room = BOUNDS.try_with(Bounds::room).unwrap_or(usize::MAX);
    if room == 0 && is_elsewhere() { usize::MAX } else { room }
}

/// Whether there is enough left of the stack to call Python once more.
#[inline(always)]
pub(crate) fn has_room() -> bool {
    room() != 0
}

/// Whether there is enough left of the stack to make the text of a failure and log it.
#[inline(never)]
pub(crate) fn has_room_to_report() -> bool {
    let enough = BOUNDS.try_with(|bounds| bounds.room() > bounds.for_a_report).unwrap_or(true);
    enough || is_elsewhere()
}

/// Whether this runs on another stack than the thread's own, so that nothing is known of it.
#[cold]
fn is_elsewhere() -> bool {
    remaining().is_none()
}
