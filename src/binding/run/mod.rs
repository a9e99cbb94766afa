//! The engine: a loop that performs what the core and the waiters ask for.
//!
//! Firing, cancelling and resuming all become work on one explicit stack, so no length of chains
//! and no depth of generators makes it recurse. One case needs a nested loop: a callback that
//! itself fires a Deferred, because that call must be complete when it returns to Python.
//!
//! May use `waits` and the rooms below. `face` uses it, through [`engine`] and [`at_once`].

pub(crate) mod at_once;
mod deliver;
pub(crate) mod engine;
mod links;
mod pending;
mod settling;
