//! Detects that cancelling a list or race leads back to itself.

/// The cancellings of one collector that are under way, each as part of the one before.
#[derive(Default)]
pub(crate) struct Cancels {
    pub(crate) depth: u32,
    /// Whether one of them has come back to the collector too often. Then none tries that again.
    pub(crate) in_ring: bool,
}

impl Cancels {
    /// More than a canceller of a Deferred in it that cancels the collector can account for.
    const LIMIT: u32 = 100;

    /// Start one. False if the collector waits for itself.
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

    /// End one.
    pub(crate) fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.in_ring &= self.depth > 0;
    }
}
