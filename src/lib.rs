//! Deferreds: results that arrive later, with a chain of callbacks.
//!
//! A Deferred needs no event loop and no thread. Code that waits for something fires it when that
//! has arrived, and the callbacks run in the order in which they were added.
//!
//! ```
//! use deferrous::core::local::Deferred;
//!
//! let page: Deferred<String, String> = Deferred::new();
//! page.on_value(|text| text.parse::<u32>().map(|n| (n + 1).to_string()).map_err(|_| text))
//!     .on_failure(|text| Ok(format!("no number in {text:?}")));
//!
//! page.fire(Ok("41".to_owned()))?;
//! assert_eq!(page.outcome(), Some(Ok("42".to_owned())));
//! # Ok::<(), deferrous::core::AlreadyCalled<Result<String, String>>>(())
//! ```
//!
//! There are three layers:
//!
//! * [`core`]: a Deferred as a state machine in safe Rust. It never calls a callback: it says what
//!   to do next and is told how that went. Drivers of any kind can be built on it.
//! * [`core::local`]: one such driver, for Rust programs: Deferreds of closures, for one thread.
//!   Begin here.
//! * `binding` (feature `python`): the other one, a drop-in replacement for Twisted's Deferreds in
//!   Python. It is built as the extension module `deferrous._deferrous`.
//!
//! `cargo test --no-default-features` builds and proves the core and its Rust driver alone.

pub mod core;

#[cfg(feature = "python")]
mod binding;
