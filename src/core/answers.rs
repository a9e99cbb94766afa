//! The answers of a chain to its driver: what to do next, and how a step ended.

use super::kinds::{Kinds, Outcome};
use super::link::Link;

/// What to do next with a chain. The answer to a call or a delivery is given by
/// [`Chain::settle`](super::Chain::settle).
pub enum Turn<'a, K: Kinds + ?Sized> {
    /// Call this with the outcome, which stays visible meanwhile.
    Call {
        /// What to call.
        callback: K::Callback,
        /// The other half of a [`Link::Both`], to be dropped.
        spare: Option<K::Callback>,
        /// What to call it with.
        outcome: &'a Outcome<K>,
    },
    /// Deliver the outcome to this waiter. It stays visible until the waiter's answer is settled.
    Deliver(K::Waiter, u32, &'a Outcome<K>),
    /// Give the outcome to this chained Deferred by [`Chain::receive`](super::Chain::receive), then run that one.
    Continue(K::Deferred, Outcome<K>),
    /// This link does not apply to the outcome. Take the next turn.
    Skip(Link<K>),
    /// This link does not apply, and the outcome is a Deferred: settle with it, to wait for it.
    Pass(Link<K>, Outcome<K>),
    /// Another thread is working on the outcome. It takes the turns that follow.
    Busy,
    /// Nothing is left to do.
    Rest,
}

/// The result of [`Chain::fire`](super::Chain::fire), with everything that the driver should drop.
#[must_use]
pub enum Fired<K: Kinds + ?Sized> {
    /// The outcome is accepted. The canceller is no longer needed, nor is an outcome that was set
    /// by hand before.
    Accepted(Option<K::Canceller>, Outcome<K>),
    /// The Deferred was cancelled without a canceller, so its late outcome is discarded, once.
    Swallowed(Outcome<K>),
}

/// The result of `Chain::steal_or_add`, where there was an outcome: that, and the link.
pub type Stolen<K> = (Outcome<K>, Link<K>);

/// What to do to cancel a Deferred.
pub enum Cancel<'a, K: Kinds + ?Sized> {
    /// Call this canceller. If the Deferred has not fired after that, fail it.
    Ask(&'a K::Canceller),
    /// There is no canceller: call [`Chain::swallow_next_fire`](super::Chain::swallow_next_fire) and fail the Deferred.
    Fail,
    /// It waits for this Deferred: cancel that one instead.
    Forward(&'a K::Deferred),
    /// It has its outcome already.
    Nothing,
}

/// A chain is paused, so no run can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused;
