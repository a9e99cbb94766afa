//! Which thread this is, for builds without the GIL.

/// An address that is unique as long as the thread lives: that of its control block, by which the
/// interpreter knows it as well. To ask for a thread-local variable of ours takes five times as long.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64"))]
#[inline(always)]
pub(super) fn here() -> usize {
    let here;
    // SAFETY: on this system the first word of the control block is its own address, and `fs` is its
    // segment. It is only read, and never changes while the thread lives.
    unsafe {
        std::arch::asm!(
            "mov {}, qword ptr fs:[0]",
            out(reg) here,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    here
}

/// An address that is unique as long as the thread lives.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64")))]
#[inline(always)]
pub(super) fn here() -> usize {
    thread_local! {
        static HERE: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}
