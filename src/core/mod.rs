//! The Deferred without Python: what can stand in a chain, and how a chain moves.
//!
//! The centre is [`Chain`], a state machine in the *sans-I/O* style. It holds an outcome and a
//! queue of [`Link`]s, and each of its methods is one short, complete transition. It never calls a
//! callback itself: its driver does. So no transition is half done while foreign code runs, and
//! re-entrant use needs no special care.
//!
//! [`local`] is a driver for a single thread and closures: a Deferred for Rust programs.
//!
//! ```
//! use deferrous::core::local::Deferred;
//!
//! let doors: Deferred<String, String> = Deferred::new();
//! doors
//!     .on_value(|doors| Ok(format!("launched through {doors} doors")))
//!     .on_failure(|reason| Err(format!("not launched: {reason}")));
//! assert_eq!(doors.outcome(), None);
//!
//! doors.fire(Ok("open".to_owned())).unwrap();
//! assert_eq!(doors.outcome(), Some(Ok("launched through open doors".to_owned())));
//! ```
//!
//! Other drivers choose their types with [`Kinds`] and ask the chain for its [turns](Chain::turn):
//!
//! ```
//! use std::convert::Infallible;
//! use deferrous::core::{Chain, Kinds, Link, Slot, Turn};
//!
//! struct Numbers;
//!
//! impl Kinds for Numbers {
//!     type Value = u32;
//!     type Failure = String;
//!     type Callback = fn(u32) -> u32;
//!     type Deferred = Infallible;
//!     type Waiter = Infallible;
//!     type Canceller = Infallible;
//!     type Flag = bool;
//!     type Runner = ();
//! }
//!
//! let mut chain = Chain::<Numbers>::default();
//! let double: fn(u32) -> u32 = |n| n * 2;
//! chain.add(Link::OnFailure(double)).unwrap();
//! chain.add(Link::OnValue(double)).unwrap();
//! assert!(chain.fire(Slot::Value(21)).is_ok());
//!
//! assert!(chain.is_runnable() && chain.enter().is_ok());
//! loop {
//!     match chain.turn() {
//!         Turn::Call { callback, outcome: &Slot::Value(value), .. } => {
//!             let _before = chain.settle(Slot::Value(callback(value)));
//!         }
//!         Turn::Skip(_) => {}
//!         _ => break,
//!     }
//! }
//! assert_eq!(chain.outcome(), &Slot::Value(42));
//! ```

#![forbid(unsafe_code)]

mod answers;
mod boxed;
mod chain;
mod compat;
mod error;
mod kinds;
mod link;
pub mod local;
mod refusable;
mod threads;

pub use answers::{Cancel, Fired, Paused, Stolen, Turn};
pub use boxed::Boxed;
pub use chain::Chain;
pub use error::{AlreadyCalled, Cancelled, NoMemory};
pub use kinds::{Flag, Kinds, Outcome, Runner, Slot};
pub use link::{Link, Links, On};
#[cfg(feature = "python")]
pub(crate) use refusable::is_refusable;
pub use refusable::refusable;
