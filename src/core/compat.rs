//! A chain's state, set by hand.
//!
//! Twisted's Deferred has its state in attributes, which programs read, copy and now and then set.
//! What that needs is here. Everything else makes whole transitions.

use super::chain::Chain;
use super::kinds::{Flag, Kinds};
use super::link::Links;

impl<K: Kinds + ?Sized> Chain<K> {
    /// Whether the next outcome is discarded.
    pub fn swallows_next_fire(&self) -> bool {
        self.swallow
    }

    /// Set by hand whether the next outcome is discarded.
    pub fn set_swallows_next_fire(&mut self, swallow: bool) {
        self.swallow = swallow;
    }

    /// Set by hand whether the chain has fired. Returns what said so before.
    #[must_use]
    pub fn set_called(&mut self, called: bool) -> K::Flag {
        self.replace_flag(K::Flag::new(called))
    }

    /// Put this in the place of what says whether the chain has fired, which is returned.
    #[must_use]
    pub fn replace_flag(&mut self, flag: K::Flag) -> K::Flag {
        std::mem::replace(&mut self.called, flag)
    }

    /// Set the count of pauses by hand.
    pub fn set_paused(&mut self, paused: i32) {
        self.paused = paused;
    }

    /// Say by hand what the chain is chained to. Returns what it was.
    #[must_use]
    pub fn replace_chained_to(&mut self, other: Option<K::Deferred>) -> Option<K::Deferred> {
        std::mem::replace(&mut self.chained_to, other)
    }

    /// Take all links out.
    #[must_use]
    pub fn take_links(&mut self) -> Links<K> {
        self.replace_links(Links::default())
    }

    /// Put these links in the place of all others, which are returned.
    #[must_use]
    pub fn replace_links(&mut self, links: Links<K>) -> Links<K> {
        std::mem::replace(&mut self.links, links)
    }
}
