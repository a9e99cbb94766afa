//! The state machine of one Deferred.

use super::error::{AlreadyCalled, NoMemory};
use super::link::{Link, Links, On};

/// What a chain is made of: the types that a driver chooses.
pub trait Kinds {
    /// A result.
    type Value;
    /// The reason why there is none.
    type Failure;
    /// Something the driver can call with an outcome.
    type Callback;
    /// A handle on another Deferred.
    type Deferred;
    /// Something that waits for an outcome and is not a callback.
    type Waiter;
    /// What can cut short the operation that a Deferred stands for.
    type Canceller;
}

/// How something ended, decided once: with a value, with a failure, or with another Deferred whose
/// outcome is to be waited for.
pub type Outcome<K> = Slot<<K as Kinds>::Value, <K as Kinds>::Failure, <K as Kinds>::Deferred>;

/// Where a chain keeps its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot<V, F, D> {
    /// There has been no outcome yet.
    Empty,
    /// There was one, and a Deferred chained to this one took it.
    Taken,
    /// A result.
    Value(V),
    /// A failure.
    Failure(F),
    /// Another Deferred: the one this chain waits for, or one that was passed as a plain value.
    Deferred(D),
}

/// The state of one Deferred.
///
/// What it holds is let go of in the order of the fields, which is that of Twisted's attributes.
pub struct Chain<K: Kinds + ?Sized> {
    pub(super) links: Links<K>,
    canceller: Option<K::Canceller>,
    outcome: Outcome<K>,
    pub(super) chained_to: Option<K::Deferred>,
    pub(super) paused: i32,
    pub(super) called: bool,
    running: bool,
    pub(super) swallow: bool,
    watch: Watch,
}

/// Whether a chain has come to rest on a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Not yet.
    Never,
    /// It has, but the failure has been taken care of.
    Over,
    /// It has, and nobody has taken care of the failure.
    On,
}

/// What to do next with a chain. The answer to a call or a delivery is given by
/// [`Chain::settle`].
pub enum Turn<'a, K: Kinds + ?Sized> {
    /// Call this with the outcome, which stays visible meanwhile.
    Call {
        /// What to call.
        callback: K::Callback,
        /// The other half of a [`Link::Both`], of no more use.
        spare: Option<K::Callback>,
        /// What to call it with.
        outcome: &'a Outcome<K>,
    },
    /// Let this waiter have the outcome, which stays visible until the waiter's answer is settled.
    Deliver(K::Waiter, u32, &'a Outcome<K>),
    /// Give the outcome to this chained Deferred by [`Chain::receive`], then run that one.
    Continue(K::Deferred, Outcome<K>),
    /// This link lets the outcome pass. Take the next turn.
    Skip(Link<K>),
    /// The outcome is itself a Deferred and met this link, which lets it pass: settle with it.
    Pass(Link<K>, Outcome<K>),
    /// Nothing is left to do.
    Rest,
}

/// How a fire was taken. Whatever the chain let go of is here for the driver to drop.
#[must_use]
pub enum Fired<K: Kinds + ?Sized> {
    /// The Deferred has its outcome. Its canceller is of no more use, nor is an outcome that
    /// somebody put in by hand before.
    Accepted(Option<K::Canceller>, Outcome<K>),
    /// The Deferred was cancelled without a canceller, so its late outcome is discarded, once.
    Swallowed(Outcome<K>),
}

/// What cancelling a Deferred comes to.
pub enum Cancel<'a, K: Kinds + ?Sized> {
    /// Ask its canceller; if the Deferred has not fired after that, fail it.
    Ask(&'a K::Canceller),
    /// Nobody can be asked: [`Chain::swallow_next_fire`] and fail it.
    Fail,
    /// It waits for this one: cancel that instead.
    Forward(&'a K::Deferred),
    /// It has its outcome.
    Nothing,
}

/// A chain is paused, so no run can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused;

impl<K: Kinds + ?Sized> Default for Chain<K> {
    #[inline(always)]
    fn default() -> Self {
        Self::new(None)
    }
}

/// No method drops anything that came from outside: what a transition replaces or lets go of is
/// returned, so that the driver can drop it when the transition is complete. (Dropping a Python
/// object can run any code.)
impl<K: Kinds + ?Sized> Chain<K> {
    /// A chain that has not fired.
    #[inline(always)]
    pub fn new(canceller: Option<K::Canceller>) -> Self {
        Self {
            outcome: Slot::Empty,
            links: Links::default(),
            canceller,
            chained_to: None,
            paused: 0,
            called: false,
            running: false,
            swallow: false,
            watch: Watch::Never,
        }
    }

    /// A chain that has fired with this outcome.
    pub fn fired(outcome: Outcome<K>) -> Self {
        Self {
            called: true,
            watch: if matches!(outcome, Slot::Failure(_)) { Watch::On } else { Watch::Never },
            outcome,
            ..Self::new(None)
        }
    }

    /// Take the outcome that this Deferred was made for.
    ///
    /// # Errors
    ///
    /// [`AlreadyCalled`] with the refused outcome, if it had fired before.
    pub fn fire(&mut self, outcome: Outcome<K>) -> Result<Fired<K>, AlreadyCalled<Outcome<K>>> {
        if self.called {
            if self.swallow {
                self.swallow = false;
                return Ok(Fired::Swallowed(outcome));
            }
            return Err(AlreadyCalled(outcome));
        }
        self.called = true;
        let replaced = std::mem::replace(&mut self.outcome, outcome);
        Ok(Fired::Accepted(self.canceller.take(), replaced))
    }

    /// Have fired with this outcome, without more ado: nobody watches over a failure. Returns the
    /// outcome before.
    #[must_use]
    pub fn set_fired(&mut self, outcome: Outcome<K>) -> Outcome<K> {
        self.called = true;
        self.replace_outcome(outcome)
    }

    /// Add a link at the end of the chain.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the link.
    #[inline(always)]
    pub fn add(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        self.links.push_back(link)
    }

    /// Add a link before all others.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] with the link.
    pub fn add_front(&mut self, link: Link<K>) -> Result<(), NoMemory<Link<K>>> {
        self.links.push_front(link)
    }

    /// Whether a run has to be begun: the chain has fired and no run is under way.
    ///
    /// It may still be paused, as [`Chain::enter`] then says.
    pub fn is_runnable(&self) -> bool {
        self.called && !self.running
    }

    /// Whether the outcome could be handed out at once, with no link or pause in the way.
    pub fn is_at_rest(&self) -> bool {
        self.called && !self.running && self.paused == 0 && self.links.is_empty()
    }

    /// Whether it holds nothing but its outcome, if that.
    pub fn is_bare(&self) -> bool {
        self.links.is_empty() && self.canceller.is_none() && self.chained_to.is_none()
    }

    /// Whether a run would come to more than finding a value and no links.
    pub fn has_something_to_do(&self) -> bool {
        !self.links.is_empty()
            || !matches!(self.outcome, Slot::Value(_))
            || self.chained_to.is_some()
            || self.watch != Watch::Never
    }

    /// Begin a run, or come back to it after a chained Deferred had its turn.
    ///
    /// This is the only moment at which a pause takes effect: a callback that pauses its own
    /// Deferred does not stop the run it is part of. What the chain had been chained to is
    /// returned.
    ///
    /// # Errors
    ///
    /// [`Paused`], and the run is over.
    pub fn enter(&mut self) -> Result<Option<K::Deferred>, Paused> {
        if self.paused != 0 {
            return Err(Paused);
        }
        Ok(self.chained_to.take())
    }

    /// The next step of a run.
    pub fn turn(&mut self) -> Turn<'_, K> {
        let Some(link) = self.links.pop_front() else {
            self.mark_handled();
            if matches!(self.outcome, Slot::Failure(_)) {
                self.watch = Watch::On;
            }
            return Turn::Rest;
        };
        let failed = matches!(self.outcome, Slot::Failure(_));
        let (callback, spare) = match link {
            Link::Either(callback) => (callback, None),
            Link::OnValue(callback) if !failed => (callback, None),
            Link::OnFailure(callback) if failed => (callback, None),
            Link::Both(pair) => {
                let (on_value, on_failure) = pair.into_inner();
                if failed { (on_failure, Some(on_value)) } else { (on_value, Some(on_failure)) }
            }
            Link::OnValue(_) | Link::OnFailure(_) => {
                if matches!(self.outcome, Slot::Deferred(_)) {
                    let outcome = std::mem::replace(&mut self.outcome, Slot::Taken);
                    return Turn::Pass(link, outcome);
                }
                return Turn::Skip(link);
            }
            Link::Continue(waiting) => return Turn::Continue(waiting, self.take_outcome()),
            Link::Deliver(waiter, place) => {
                self.running = true;
                return Turn::Deliver(waiter, place, &self.outcome);
            }
        };
        self.running = true;
        Turn::Call { callback, spare, outcome: &self.outcome }
    }

    /// The outcome, for a callback that is to be called with it at once. That is so where its link
    /// would be the only one and nothing holds the run back. The chain counts as running then, as
    /// after [`Turn::Call`]; the callback needs no link.
    #[inline(always)]
    pub fn call_at_once(&mut self, on: On) -> Option<&Outcome<K>> {
        let fits = match &self.outcome {
            Slot::Value(_) => on != On::Failure,
            Slot::Failure(_) => on != On::Value,
            Slot::Empty | Slot::Taken | Slot::Deferred(_) => false,
        };
        if !fits || !self.is_at_rest() || self.chained_to.is_some() {
            return None;
        }
        self.running = true;
        Some(&self.outcome)
    }

    /// How a call or a delivery ended. Returns the outcome before it.
    ///
    /// Where that is another Deferred, the driver goes on with [`Chain::steal`] on that one and
    /// [`Chain::replace_outcome`] or [`Chain::wait`] on this one.
    #[must_use]
    pub fn settle(&mut self, outcome: Outcome<K>) -> Outcome<K> {
        self.stop_running();
        self.replace_outcome(outcome)
    }

    /// The second half of [`Chain::settle`], for a driver that first calls
    /// [`Chain::replace_outcome`] and lets the old outcome go while the chain counts as running.
    pub fn stop_running(&mut self) {
        self.running = false;
    }

    /// Take the outcome, for a Deferred that is to be chained to this one, if it is there. From
    /// then on this one has none.
    pub fn steal(&mut self) -> Option<Outcome<K>> {
        if self.paused != 0 || matches!(self.outcome, Slot::Empty | Slot::Deferred(_)) {
            return None;
        }
        Some(self.take_outcome())
    }

    /// Take the outcome, for a waiter that need not stand in the chain: there is one, and nothing
    /// else to do with it. What the chain had been chained to comes with it.
    #[inline(always)]
    pub fn take_at_rest(&mut self) -> Option<(Outcome<K>, Option<K::Deferred>)> {
        if !self.is_at_rest() {
            return None;
        }
        Some((self.take_outcome(), self.chained_to.take()))
    }

    /// The outcome, for somebody who looks at it from outside, if it is there and nothing holds it
    /// back. A failure counts as taken care of.
    #[inline(always)]
    pub fn look_at_outcome(&mut self) -> Option<&Outcome<K>> {
        if !self.called || self.paused != 0 {
            return None;
        }
        self.mark_handled();
        Some(&self.outcome)
    }

    /// The failure that the chain rests on and that nobody has taken care of. From now on the
    /// caller does.
    pub fn take_over_failure(&mut self) -> Option<&K::Failure> {
        if !self.unhandled() {
            return None;
        }
        self.mark_handled();
        match &self.outcome {
            Slot::Failure(failure) => Some(failure),
            _ => None,
        }
    }

    /// Be chained to another Deferred, which will find this one by a [`Link::Continue`]. Returns
    /// what the chain had been chained to.
    #[must_use]
    pub fn wait(&mut self, other: K::Deferred) -> Option<K::Deferred> {
        self.pause();
        self.mark_handled();
        self.chained_to.replace(other)
    }

    /// The outcome of the Deferred that this one is chained to. Returns the one before.
    #[must_use]
    pub fn receive(&mut self, outcome: Outcome<K>) -> Outcome<K> {
        self.paused = self.paused.saturating_sub(1);
        self.replace_outcome(outcome)
    }

    /// Give up waiting for what [`Chain::wait`] chained this to, where that cannot be told so, and
    /// have this outcome. Returns the one before, and what this was chained to.
    #[must_use]
    pub fn wait_no_more(&mut self, outcome: Outcome<K>) -> (Outcome<K>, Option<K::Deferred>) {
        self.paused = self.paused.saturating_sub(1);
        (self.replace_outcome(outcome), self.chained_to.take())
    }

    /// Hold back the links until as many calls of [`Chain::unpause`].
    pub fn pause(&mut self) {
        self.paused = self.paused.saturating_add(1);
    }

    /// Take back one [`Chain::pause`]. True if the chain has to be run now.
    ///
    /// As with Twisted, one call too many makes the count negative, which is a pause as well.
    pub fn unpause(&mut self) -> bool {
        self.paused = self.paused.saturating_sub(1);
        self.paused == 0 && self.is_runnable()
    }

    /// What cancelling comes to at this moment.
    pub fn cancel(&self) -> Cancel<'_, K> {
        match (&self.canceller, &self.outcome) {
            (Some(canceller), _) if !self.called => Cancel::Ask(canceller),
            _ if !self.called => Cancel::Fail,
            (_, Slot::Deferred(other)) => Cancel::Forward(other),
            _ => Cancel::Nothing,
        }
    }

    /// Discard the next outcome instead of refusing it: the one that an operation which could not
    /// be told of its cancelling will come with.
    pub fn swallow_next_fire(&mut self) {
        self.swallow = true;
    }

    /// The failure at the end was taken care of outside the chain.
    pub fn mark_handled(&mut self) {
        if self.watch == Watch::On {
            self.watch = Watch::Over;
        }
    }

    /// Put an outcome in, whatever the state. Returns the one before.
    #[must_use]
    pub fn replace_outcome(&mut self, outcome: Outcome<K>) -> Outcome<K> {
        std::mem::replace(&mut self.outcome, outcome)
    }

    /// Set what can cut the operation short. Returns the canceller before.
    #[must_use]
    pub fn replace_canceller(&mut self, canceller: Option<K::Canceller>) -> Option<K::Canceller> {
        std::mem::replace(&mut self.canceller, canceller)
    }

    /// The outcome as it stands.
    pub fn outcome(&self) -> &Outcome<K> {
        &self.outcome
    }

    /// The links that are left.
    pub fn links(&self) -> &Links<K> {
        &self.links
    }

    /// The canceller, until the chain fires.
    pub fn canceller(&self) -> Option<&K::Canceller> {
        self.canceller.as_ref()
    }

    /// The Deferred this one waits for.
    pub fn chained_to(&self) -> Option<&K::Deferred> {
        self.chained_to.as_ref()
    }

    /// How many pauses are in force.
    pub fn paused(&self) -> i32 {
        self.paused
    }

    /// Whether the chain has fired.
    pub fn called(&self) -> bool {
        self.called
    }

    /// Whether a callback or waiter has the outcome now.
    pub fn running(&self) -> bool {
        self.running
    }

    /// Whether the chain rests on a failure that nobody has taken.
    pub fn unhandled(&self) -> bool {
        self.watch == Watch::On
    }

    fn take_outcome(&mut self) -> Outcome<K> {
        self.mark_handled();
        std::mem::replace(&mut self.outcome, Slot::Taken)
    }
}
