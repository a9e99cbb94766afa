//! What can go wrong in a chain's own rules.

use thiserror::Error;

/// A Deferred was fired a second time.
///
/// The outcome that was refused comes back with it, so that nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the Deferred has already been called")]
pub struct AlreadyCalled<O>(pub O);

/// A Deferred was cancelled, and its canceller, if it has one, said nothing more precise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("the Deferred was cancelled")]
pub struct Cancelled;
