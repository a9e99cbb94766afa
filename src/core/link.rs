//! The links of a chain, and their queue.

use std::collections::VecDeque;

use super::boxed::Boxed;
use super::error::NoMemory;
use super::kinds::Kinds;
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

impl<K: Kinds + ?Sized> Link<K> {
    /// Whether this is a single callback that applies to this outcome, leaves no other callback to
    /// drop, and is accepted by `is_wanted`.
    #[inline(always)]
    pub(super) fn is_called(
        &self,
        failed: bool,
        is_wanted: impl FnOnce(&K::Callback) -> bool,
    ) -> bool {
        match self {
            Self::Either(callback) => is_wanted(callback),
            Self::OnValue(callback) => !failed && is_wanted(callback),
            Self::OnFailure(callback) => failed && is_wanted(callback),
            _ => false,
        }
    }
}

/// A queue of links with room for one in place.
///
/// Most Deferreds hold one link at a time; those never allocate.
pub struct Links<K: Kinds + ?Sized>(Queue<K>);

/// One link is stored inline. Several are stored on the heap, until none is left. So the queue
/// takes two words, and one comparison tells whether it is empty.
enum Queue<K: Kinds + ?Sized> {
    Empty,
    One(Link<K>),
    /// Never empty.
    More(Boxed<Rest<K>>),
}

/// How many links one allocation has room for.
const NEAR: usize = 5;

/// The links, if there are several.
struct Rest<K: Kinds + ?Sized> {
    /// The next links, between `begin` and `end`.
    near: [Option<Link<K>>; NEAR],
    begin: u8,
    end: u8,
    /// The links after those.
    far: VecDeque<Link<K>>,
}

impl<K: Kinds + ?Sized> Rest<K> {
    fn of(first: Link<K>, second: Link<K>) -> Self {
        let mut near = [const { None }; NEAR];
        near[0] = Some(first);
        near[1] = Some(second);
        Self { near, begin: 0, end: 2, far: VecDeque::new() }
    }

    fn len(&self) -> usize {
        usize::from(self.end - self.begin) + self.far.len()
    }

    fn is_empty(&self) -> bool {
        self.begin == self.end && self.far.is_empty()
    }

    fn push_back(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        match self.near.get_mut(usize::from(self.end)) {
            // Links are in `far` only if there was no room at the end of `near`. As long as any is
            // there, new ones must follow it.
            Some(place) => {
                debug_assert!(self.far.is_empty());
                *place = Some(link);
                self.end += 1;
            }
            // A refusable allocation takes some time, so it is avoided if there is room.
            _ if self.far.len() == self.far.capacity()
                && refusable(|| self.far.try_reserve(1)).is_err() =>
            {
                return Err(NoMemory(link));
            }
            _ => self.far.push_back(link),
        }
        Ok(())
    }

    fn push_front(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        if self.begin == 0 {
            // There is no room: move all to `far`.
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

    fn first(&self) -> Option<&Link<K>> {
        if self.begin == self.end {
            return self.far.front();
        }
        self.near[usize::from(self.begin)].as_ref()
    }

    #[inline(always)]
    fn pop_front_if(&mut self, is_wanted: impl FnOnce(&Link<K>) -> bool) -> Option<Link<K>> {
        if self.begin == self.end {
            return if is_wanted(self.far.front()?) { self.far.pop_front() } else { None };
        }
        let place = &mut self.near[usize::from(self.begin)];
        if !is_wanted(place.as_ref()?) {
            return None;
        }
        self.begin += 1;
        place.take()
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
        Self(Queue::Empty)
    }
}

/// Drops from the last to the first, as Python lists do.
impl<K: Kinds + ?Sized> Drop for Links<K> {
    fn drop(&mut self) {
        if let Queue::More(rest) = &mut self.0 {
            while rest.pop_back().is_some() {}
        }
    }
}

impl<K: Kinds + ?Sized> Links<K> {
    /// Whether no link is left.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Queue::Empty)
    }

    /// How many links are left.
    pub fn len(&self) -> usize {
        match &self.0 {
            Queue::Empty => 0,
            Queue::One(_) => 1,
            Queue::More(rest) => rest.len(),
        }
    }

    /// Add a link at the end.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the link.
    #[inline(always)]
    pub fn push_back(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        if self.is_empty() {
            self.0 = Queue::One(link);
            Ok(())
        } else {
            self.push_behind(link)
        }
    }

    #[inline(never)]
    fn push_behind(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        if let Queue::More(rest) = &mut self.0 {
            return rest.push_back(link);
        }
        match self.take_one() {
            None => self.0 = Queue::One(link),
            Some(first) => match Boxed::new(Rest::of(first, link)) {
                Ok(rest) => self.0 = Queue::More(rest),
                Err(NoMemory(mut two)) => {
                    let refused = two.pop_back();
                    self.0 = two.pop_front().map_or(Queue::Empty, Queue::One);
                    return refused.map_or(Ok(()), |link| Err(NoMemory(link)));
                }
            },
        }
        Ok(())
    }

    /// Remove the inline link, if there is one.
    #[inline(always)]
    fn take_one(&mut self) -> Option<Link<K>> {
        if !matches!(self.0, Queue::One(_)) {
            return None;
        }
        match std::mem::replace(&mut self.0, Queue::Empty) {
            Queue::One(link) => Some(link),
            Queue::Empty | Queue::More(_) => None,
        }
    }

    /// Add a link before all others.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the link.
    pub fn push_front(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        if let Queue::More(rest) = &mut self.0 {
            return rest.push_front(link);
        }
        match self.take_one() {
            None => self.0 = Queue::One(link),
            Some(second) => match Boxed::new(Rest::of(link, second)) {
                Ok(rest) => self.0 = Queue::More(rest),
                Err(NoMemory(mut two)) => {
                    let refused = two.pop_front();
                    self.0 = two.pop_front().map_or(Queue::Empty, Queue::One);
                    return refused.map_or(Ok(()), |link| Err(NoMemory(link)));
                }
            },
        }
        Ok(())
    }

    /// Take the first link.
    #[inline(always)]
    pub fn pop_front(&mut self) -> Option<Link<K>> {
        let Queue::More(rest) = &mut self.0 else { return self.take_one() };
        let link = rest.pop_front();
        if rest.is_empty() {
            self.0 = Queue::Empty;
        }
        link
    }

    /// Take the first link, if it is wanted.
    #[inline(always)]
    pub(super) fn pop_front_if(
        &mut self,
        is_wanted: impl FnOnce(&Link<K>) -> bool,
    ) -> Option<Link<K>> {
        match &mut self.0 {
            Queue::Empty => None,
            Queue::One(link) => {
                if is_wanted(link) {
                    self.take_one()
                } else {
                    None
                }
            }
            Queue::More(rest) => {
                let link = rest.pop_front_if(is_wanted);
                if rest.is_empty() {
                    self.0 = Queue::Empty;
                }
                link
            }
        }
    }

    /// The first link.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<&Link<K>> {
        match &self.0 {
            Queue::Empty => None,
            Queue::One(link) => Some(link),
            Queue::More(rest) => rest.first(),
        }
    }

    /// The links in order.
    pub fn iter(&self) -> impl Iterator<Item = &Link<K>> {
        let (one, more) = match &self.0 {
            Queue::Empty => (None, None),
            Queue::One(link) => (Some(link), None),
            Queue::More(rest) => (None, Some(rest)),
        };
        one.into_iter().chain(more.into_iter().flat_map(|rest| rest.iter()))
    }
}
