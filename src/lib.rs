//! Deferreds with a Rust core.
//!
//! A Deferred encodes an order of execution apart from the order of lines in the source. This
//! crate holds one in two layers:
//!
//! * [`core`]: the Deferred itself, a state machine in safe Rust that knows no Python, no event
//!   loop and no thread. It never calls a callback: it says what to do next and is told how that
//!   went.
//! * `binding` (feature `python`): the same Deferred as Python sees it, a drop-in replacement for
//!   Twisted's. It is built as the extension module `deferrous._deferrous`.
//!
//! `cargo test --no-default-features` builds and proves the core alone.

pub mod core;

#[cfg(feature = "python")]
mod binding;
