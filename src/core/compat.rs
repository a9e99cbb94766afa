//! Setters for the state of a chain.
//!
//! Twisted's Deferred keeps its state in attributes, which programs read, copy and sometimes set.
//! These methods exist for that. Everything else uses whole transitions.

use super::chain::Chain;
use super::kinds::{Flag, Kinds};
use super::link::Links;

impl<K: Kinds + ?Sized> Chain<K> {
    /// Whether the next outcome is discarded.
    pub fn swallows_next_fire(&self) -> bool {
        self.swallow
    }

    /// Set whether the next outcome is discarded.
    pub fn set_swallows_next_fire(&mut self, swallow: bool) {
        self.swallow = swallow;
    }

    /// Set whether the chain has fired. Returns the previous flag.
    #[must_use]
    pub fn set_called(&mut self, called: bool) -> K::Flag {
        self.replace_flag(K::Flag::new(called))
    }

    /// Replace the flag that tells whether the chain has fired. Returns the previous one.
    #[must_use]
    pub fn replace_flag(&mut self, flag: K::Flag) -> K::Flag {
        std::mem::replace(&mut self.called, flag)
    }

    /// Set the number of pauses.
    pub fn set_paused(&mut self, paused: i32) {
        self.paused = paused;
    }

    /// Set the Deferred that this one is chained to. Returns the previous one.
    #[must_use]
    pub fn replace_chained_to(&mut self, other: Option<K::Deferred>) -> Option<K::Deferred> {
        std::mem::replace(&mut self.chained_to, other)
    }

    /// Remove all links and return them.
    #[must_use]
    pub fn take_links(&mut self) -> Links<K> {
        self.replace_links(Links::default())
    }

    /// Replace all links. Returns the previous ones.
    #[must_use]
    pub fn replace_links(&mut self, links: Links<K>) -> Links<K> {
        std::mem::replace(&mut self.links, links)
    }
}
