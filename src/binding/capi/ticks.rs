//! A clock that is cheap enough to read for every event.
//!
//! Where the processor has a cycle counter, that is recorded. It is converted to nanoseconds only
//! when somebody looks, by how far the counter and the system's clock have advanced since the
//! start.

use std::sync::OnceLock;
use std::time::Instant;

/// The system's clock and the counter at the start.
static START: OnceLock<(Instant, u64)> = OnceLock::new();

/// The current count.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: every processor of this kind has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The current count: in nanoseconds, as there is no counter.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn now() -> u64 {
    let (start, _) = START.get_or_init(|| (Instant::now(), 1));
    start.elapsed().as_nanos() as u64 + 1
}

/// A time that may be some milliseconds old. It takes a quarter of the time of [`now`] to get.
/// [`Scale::rough`] converts it to nanoseconds.
#[cfg(target_os = "linux")]
#[inline(always)]
pub(crate) fn rough() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is valid. It is written, or left as it is if there were no such clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 + 1
}

/// The same time as [`now`]: there is no quicker one here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn rough() -> u64 {
    now()
}

/// Read both clocks for the first time, if that has not happened.
pub(crate) fn begin() {
    START.get_or_init(|| (Instant::now(), now()));
}

/// Converts counts to nanoseconds since the start.
pub(crate) struct Scale {
    start: u64,
    factor: f64,
}

impl Scale {
    /// Calibrate by both clocks as they are now.
    pub(crate) fn now() -> Self {
        let (begin, start) = *START.get_or_init(|| (Instant::now(), now()));
        let (passed, counted) = (begin.elapsed().as_nanos(), now().saturating_sub(start));
        let factor = if counted == 0 { 1.0 } else { passed as f64 / counted as f64 };
        Self { start, factor }
    }

    /// The nanoseconds of a time by [`rough`]. 0 for 0, which means unknown.
    pub(crate) fn rough(&self, count: u64) -> u64 {
        if cfg!(target_os = "linux") { count } else { self.nanoseconds(count) }
    }

    /// Nanoseconds since the start, plus one. 0 for 0, which means unknown.
    pub(crate) fn nanoseconds(&self, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        (count.saturating_sub(self.start) as f64 * self.factor) as u64 + 1
    }
}
