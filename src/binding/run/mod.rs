//! The engine: does what the core and the waiters say is to be done next.
//!
//! All that can follow from firing, cancelling or resuming is work on one stack, so that nothing
//! recurses: not a Deferred chained to a Deferred, not a generator that ends and so resumes the
//! one that waits for it, not the cancelling of one that waits for one that waits. Only a
//! callback that itself fires a Deferred gets an engine of its own, as it must: to Python, what
//! it calls is done when the call returns.
//!
//! Uses `waits` and what is below. [`engine`] is the way in.

mod deliver;
pub(crate) mod engine;
mod links;
