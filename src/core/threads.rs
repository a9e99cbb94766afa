//! Transitions for chains that several threads drive. With one thread, each can be two separate
//! steps.
//!
//! See [`Runner`](super::Runner).

use super::answers::{Fired, Stolen};
use super::chain::Chain;
use super::error::{AlreadyCalled, NoMemory};
use super::kinds::{Kinds, Outcome};
use super::link::Link;

impl<K: Kinds + ?Sized> Chain<K> {
    /// Take the outcome, as [`Chain::steal`] does; if there is none, add this link of a Deferred
    /// that waits for this one.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the link.
    pub fn steal_or_add(&mut self, link: Link<K>) -> Result<Option<Stolen<K>>, NoMemory<Link<K>>> {
        match self.steal() {
            Some(outcome) => Ok(Some((outcome, link))),
            None => self.add(link).map(|()| None),
        }
    }

    /// Add a link, unless the chain [is runnable](Chain::is_runnable): then the link is returned.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the link.
    pub fn add_unless_runnable(
        &mut self,
        link: Link<K>,
    ) -> Result<Option<Link<K>>, NoMemory<Link<K>>> {
        if self.is_runnable() { Ok(Some(link)) } else { self.add(link).map(|()| None) }
    }

    /// Pause a chain and fire it, unless it has been fired.
    ///
    /// # Errors
    ///
    /// As [`Chain::fire`].
    pub fn fire_paused(
        &mut self,
        outcome: Outcome<K>,
    ) -> Result<Fired<K>, AlreadyCalled<Outcome<K>>> {
        if self.called() {
            return Err(AlreadyCalled(outcome));
        }
        self.pause();
        self.fire(outcome)
    }

    /// Fire a chain that is being cancelled, in one transition with
    /// [`swallow_next_fire`](Chain::swallow_next_fire) if no canceller was `asked`. If it has fired
    /// meanwhile, the outcome is discarded.
    ///
    /// # Errors
    ///
    /// As [`Chain::fire`].
    pub fn fire_cancelled(
        &mut self,
        outcome: Outcome<K>,
        asked: bool,
    ) -> Result<Fired<K>, AlreadyCalled<Outcome<K>>> {
        if self.called() {
            return Ok(Fired::Swallowed(outcome));
        }
        self.swallow |= !asked;
        self.fire(outcome)
    }
}
