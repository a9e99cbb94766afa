//! The time, asked for so often that a call of the system's for it would be most of the cost.
//!
//! Where the processor counts, its count is noted, and turned into nanoseconds when somebody wants
//! to see it: by how far it and the system's clock have come since both were first looked at.

use std::sync::OnceLock;
use std::time::Instant;

/// The system's clock, and the count, when both were first looked at.
static START: OnceLock<(Instant, u64)> = OnceLock::new();

/// The count now.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: every processor of this kind has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The count now: nanoseconds, where there is no quicker one.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn now() -> u64 {
    let (start, _) = START.get_or_init(|| (Instant::now(), 1));
    start.elapsed().as_nanos() as u64 + 1
}

/// Look at both clocks, if that has not been done.
pub(crate) fn begin() {
    START.get_or_init(|| (Instant::now(), now()));
}

/// Turns counts into nanoseconds since the start.
pub(crate) struct Scale {
    start: u64,
    factor: f64,
}

impl Scale {
    /// As both clocks are now.
    pub(crate) fn now() -> Self {
        let (begin, start) = *START.get_or_init(|| (Instant::now(), now()));
        let (passed, counted) = (begin.elapsed().as_nanos(), now().saturating_sub(start));
        let factor = if counted == 0 { 1.0 } else { passed as f64 / counted as f64 };
        Self { start, factor }
    }

    /// Nanoseconds since the start, and one more. 0 of 0, which stands for no time.
    pub(crate) fn nanoseconds(&self, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        (count.saturating_sub(self.start) as f64 * self.factor) as u64 + 1
    }
}
