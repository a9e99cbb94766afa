//! The links of a chain, and their queue.

use std::collections::VecDeque;

use super::boxed::Boxed;
use super::chain::Kinds;
use super::error::NoMemory;
use super::refusable::refusable;

/// Which outcomes a callback is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Values.
    Value,
    /// Failures.
    Failure,
    /// Both.
    Either,
}

impl On {
    /// The link for such a callback.
    #[inline(always)]
    pub fn link<K: Kinds + ?Sized>(self, callback: K::Callback) -> Link<K> {
        match self {
            Self::Value => Link::OnValue(callback),
            Self::Failure => Link::OnFailure(callback),
            Self::Either => Link::Either(callback),
        }
    }
}

/// One entry of a chain.
///
/// A link that does not fit the outcome (a [`Link::OnValue`] when the outcome is a failure) lets
/// it pass unchanged.
pub enum Link<K: Kinds + ?Sized> {
    /// Call this with a value.
    OnValue(K::Callback),
    /// Call this with a failure.
    OnFailure(K::Callback),
    /// Call this with either.
    Either(K::Callback),
    /// Call the first with a value, the second with a failure.
    Both(Boxed<(K::Callback, K::Callback)>),
    /// Give the outcome to a Deferred that is chained to this one. It is taken from here.
    Continue(K::Deferred),
    /// Deliver the outcome to a waiter, with a number that tells its links apart. The waiter
    /// decides on the new outcome.
    Deliver(K::Waiter, u32),
}

/// A queue of links with room for the first one in place.
///
/// Most Deferreds hold one link at a time; those never allocate.
pub struct Links<K: Kinds + ?Sized> {
    /// The first link. If empty, the first link is in `rest`.
    first: Option<Link<K>>,
    /// The following links. Never allocated while empty.
    rest: Option<Boxed<Rest<K>>>,
}

/// How many more links one allocation has room for.
const NEAR: usize = 4;

/// The links after the first.
struct Rest<K: Kinds + ?Sized> {
    /// The next ones, between `begin` and `end`.
    near: [Option<Link<K>>; NEAR],
    begin: u8,
    end: u8,
    /// Those after them.
    far: VecDeque<Link<K>>,
}

impl<K: Kinds + ?Sized> Default for Rest<K> {
    fn default() -> Self {
        Self { near: [const { None }; NEAR], begin: 0, end: 0, far: VecDeque::new() }
    }
}

impl<K: Kinds + ?Sized> Rest<K> {
    fn len(&self) -> usize {
        usize::from(self.end - self.begin) + self.far.len()
    }

    fn is_empty(&self) -> bool {
        self.begin == self.end && self.far.is_empty()
    }

    fn push_back(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        match self.near.get_mut(usize::from(self.end)) {
            // Once links are far, those that follow are, too.
            Some(place) if self.far.is_empty() => {
                *place = Some(link);
                self.end += 1;
            }
            _ if refusable(|| self.far.try_reserve(1)).is_err() => return Err(NoMemory(link)),
            _ => self.far.push_back(link),
        }
        Ok(())
    }

    fn push_front(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        if self.begin == 0 {
            // No room: all become far.
            if refusable(|| self.far.try_reserve(NEAR + 1)).is_err() {
                return Err(NoMemory(link));
            }
            while let Some(last) = self.pop_near_back() {
                self.far.push_front(last);
            }
            self.far.push_front(link);
            self.end = NEAR as u8;
            self.begin = self.end;
        } else {
            self.begin -= 1;
            self.near[usize::from(self.begin)] = Some(link);
        }
        Ok(())
    }

    fn pop_front(&mut self) -> Option<Link<K>> {
        if self.begin == self.end {
            return self.far.pop_front();
        }
        let link = self.near[usize::from(self.begin)].take();
        self.begin += 1;
        link
    }

    fn pop_near_back(&mut self) -> Option<Link<K>> {
        if self.begin == self.end {
            return None;
        }
        self.end -= 1;
        self.near[usize::from(self.end)].take()
    }

    fn pop_back(&mut self) -> Option<Link<K>> {
        self.far.pop_back().or_else(|| self.pop_near_back())
    }

    fn iter(&self) -> impl Iterator<Item = &Link<K>> {
        self.near.iter().flatten().chain(&self.far)
    }
}

impl<K: Kinds + ?Sized> Default for Links<K> {
    #[inline(always)]
    fn default() -> Self {
        Self { first: None, rest: None }
    }
}

/// Drops from the last to the first, like a Python list.
impl<K: Kinds + ?Sized> Drop for Links<K> {
    fn drop(&mut self) {
        if let Some(rest) = &mut self.rest {
            while rest.pop_back().is_some() {}
        }
    }
}

impl<K: Kinds + ?Sized> Links<K> {
    /// Whether no link is left.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    /// How many links are left.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// Add a link at the end.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the link.
    #[inline(always)]
    pub fn push_back(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        if self.is_empty() {
            self.first = Some(link);
            Ok(())
        } else {
            self.push_behind(link)
        }
    }

    #[inline(never)]
    fn push_behind(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        match &mut self.rest {
            Some(rest) => rest.push_back(link),
            None => self.begin_rest(link),
        }
    }

    /// Add a link before all others.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the link.
    pub fn push_front(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        let Some(second) = self.first.take() else {
            self.first = Some(link);
            return Ok(());
        };
        let pushed = match &mut self.rest {
            Some(rest) => rest.push_front(second),
            None => self.begin_rest(second),
        };
        match pushed {
            Ok(()) => {
                self.first = Some(link);
                Ok(())
            }
            Err(NoMemory(second)) => {
                self.first = Some(second);
                Err(NoMemory(link))
            }
        }
    }

    fn begin_rest(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        match Boxed::new(Rest::default()) {
            Ok(mut rest) => {
                rest.push_back(link)?;
                self.rest = Some(rest);
                Ok(())
            }
            Err(NoMemory(_)) => Err(NoMemory(link)),
        }
    }

    /// Take the first link.
    #[inline(always)]
    pub fn pop_front(&mut self) -> Option<Link<K>> {
        match self.first.take() {
            None => self.pop_front_of_rest(),
            first => first,
        }
    }

    #[inline(always)]
    fn pop_front_of_rest(&mut self) -> Option<Link<K>> {
        let rest = self.rest.as_mut()?;
        let link = rest.pop_front();
        if rest.is_empty() {
            self.rest = None;
        }
        link
    }

    /// The first link, if it is in place. If not, there may be others all the same.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<&Link<K>> {
        self.first.as_ref()
    }

    /// Put the first link in place.
    #[inline(always)]
    pub(super) fn move_to_first(&mut self) {
        if self.first.is_none() {
            self.first = self.pop_front_of_rest();
        }
    }

    /// The links in order.
    pub fn iter(&self) -> impl Iterator<Item = &Link<K>> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }
}
