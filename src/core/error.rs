//! The errors of a chain.

use std::fmt;

use thiserror::Error;

/// A Deferred was fired a second time.
///
/// Contains the refused outcome, so that it is not lost.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the Deferred has already been called")]
pub struct AlreadyCalled<O>(pub O);

/// There was no memory to store a value.
///
/// Contains the refused value, so that it is not lost. Nothing has changed.
#[derive(Error)]
#[error("out of memory")]
pub struct NoMemory<T>(pub T);

impl<T> fmt::Debug for NoMemory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoMemory")
    }
}

/// A Deferred was cancelled, and no canceller gave a more precise reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("the Deferred was cancelled")]
pub struct Cancelled;
