//! Detects cycles: cancelling a list or race that leads back to itself.

/// The nested cancellations of one list or race that are in progress.
#[derive(Default)]
pub(crate) struct Cancels {
    pub(crate) depth: u32,
    /// Whether it was reached too often. Then it is not tried again.
    pub(crate) in_ring: bool,
}

impl Cancels {
    /// More than cancellers that cancel the list or race themselves can explain.
    const LIMIT: u32 = 100;

    /// Start a cancellation. False if the list or race waits for itself.
    pub(crate) fn begin(&mut self) -> bool {
        if self.depth >= Self::LIMIT {
            self.in_ring = true;
        }
        if self.in_ring {
            return false;
        }
        self.depth += 1;
        true
    }

    /// End a cancellation.
    pub(crate) fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.in_ring &= self.depth > 0;
    }
}
