//! The state machine of one Deferred. It performs no calls: a driver does, and reports back.

use super::answers::{Cancel, Fired, Paused, Turn};
use super::error::{AlreadyCalled, NoMemory};
use super::kinds::{Flag, Kinds, Outcome, Runner, Slot};
use super::link::{Link, Links, On};

/// The state of one Deferred.
///
/// The fields are dropped in this order, which is that of Twisted's attributes.
pub struct Chain<K: Kinds + ?Sized> {
    pub(super) links: Links<K>,
    canceller: Option<K::Canceller>,
    outcome: Outcome<K>,
    pub(super) chained_to: Option<K::Deferred>,
    pub(super) paused: i32,
    pub(super) called: K::Flag,
    running: Option<K::Runner>,
    pub(super) swallow: bool,
    watch: Watch,
}

/// Whether a chain has ended with a failure that has to be reported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Not yet.
    Never,
    /// It has, but the failure has been handled.
    Over,
    /// It has, and nobody has handled the failure.
    On,
}

impl<K: Kinds + ?Sized> Default for Chain<K> {
    #[inline(always)]
    fn default() -> Self {
        Self::new(None)
    }
}

/// No method drops a value of the driver's types. Whatever a transition removes is returned, and
/// the driver drops it after the transition: dropping a Python object can run any code.
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
            called: K::Flag::new(false),
            running: None,
            swallow: false,
            watch: Watch::Never,
        }
    }

    /// A chain that has fired with this outcome.
    pub fn fired(outcome: Outcome<K>) -> Self {
        Self {
            called: K::Flag::new(true),
            watch: if matches!(outcome, Slot::Failure(_)) { Watch::On } else { Watch::Never },
            outcome,
            ..Self::new(None)
        }
    }

    /// Fire the chain: set its outcome, once.
    ///
    /// # Errors
    ///
    /// [`AlreadyCalled`] with the refused outcome, if the chain has fired already, or its flag is
    /// not [clear](Flag::is_clear).
    pub fn fire(&mut self, outcome: Outcome<K>) -> Result<Fired<K>, AlreadyCalled<Outcome<K>>> {
        if !self.called.is_clear() {
            if self.swallow && self.called() {
                self.swallow = false;
                return Ok(Fired::Swallowed(outcome));
            }
            return Err(AlreadyCalled(outcome));
        }
        let replaced = self.set_fired(outcome);
        Ok(Fired::Accepted(self.canceller.take(), replaced))
    }

    /// Fast path of [`Chain::fire`], where nothing is replaced: the chain has neither fired nor a
    /// canceller, nor an outcome that was set by hand. True if a run would have any effect.
    ///
    /// # Errors
    /// The outcome, if the chain is in another state.
    #[inline(always)]
    pub fn fire_fresh(&mut self, outcome: Outcome<K>) -> Result<bool, Outcome<K>> {
        if !self.called.is_clear()
            || self.canceller.is_some()
            || !matches!(self.outcome, Slot::Empty)
        {
            return Err(outcome);
        }
        self.called = K::Flag::new(true);
        self.outcome = outcome;
        Ok(self.has_something_to_do())
    }

    /// Mark the chain as fired with this outcome, without watching for an unhandled failure.
    /// Returns the previous outcome.
    #[must_use]
    pub fn set_fired(&mut self, outcome: Outcome<K>) -> Outcome<K> {
        self.called = K::Flag::new(true);
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

    /// Whether to start a run: the chain has fired and is not running.
    ///
    /// It may still be paused, as [`Chain::enter`] then says.
    pub fn is_runnable(&self) -> bool {
        self.called() && !self.running()
    }

    /// Whether the chain is at rest: fired, not running, not paused, and without links.
    pub fn is_at_rest(&self) -> bool {
        self.called() && !self.running() && self.paused == 0 && self.links.is_empty()
    }

    /// Whether the chain holds nothing except possibly its outcome.
    pub fn is_bare(&self) -> bool {
        self.links.is_empty() && self.canceller.is_none() && self.chained_to.is_none()
    }

    /// Whether a run would have any effect.
    pub fn has_something_to_do(&self) -> bool {
        !self.links.is_empty()
            || !matches!(self.outcome, Slot::Value(_))
            || self.chained_to.is_some()
            || self.watch != Watch::Never
    }

    /// Start a run, or resume it after a chained Deferred has run.
    ///
    /// This is the only moment at which a pause takes effect: a callback that pauses its own
    /// Deferred does not stop the current run. Returns what the chain was chained to.
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
    ///
    /// If there are several threads, this also [stops running](Chain::stop_running), as the one
    /// before has been settled. With one, the driver does that itself.
    #[inline(always)]
    pub fn turn(&mut self) -> Turn<'_, K> {
        if self.is_busy() {
            return Turn::Busy;
        }
        if K::Runner::SEVERAL {
            self.stop_running();
        }
        let Some(link) = self.links.pop_front() else {
            self.rest();
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
                    if K::Runner::SEVERAL {
                        self.start_running();
                    }
                    let outcome = std::mem::replace(&mut self.outcome, Slot::Taken);
                    return Turn::Pass(link, outcome);
                }
                return Turn::Skip(link);
            }
            Link::Continue(waiting) => return Turn::Continue(waiting, self.take_outcome()),
            Link::Deliver(waiter, place) => {
                self.start_running();
                return Turn::Deliver(waiter, place, &self.outcome);
            }
        };
        self.start_running();
        Turn::Call { callback, spare, outcome: &self.outcome }
    }

    /// Whether the next turn is most likely a [`Turn::Call`] that leaves no other callback to drop,
    /// and `is_wanted` accepts its callback.
    #[inline(always)]
    pub fn is_about_to_call(&self, is_wanted: impl FnOnce(&K::Callback) -> bool) -> bool {
        let failed = matches!(self.outcome, Slot::Failure(_));
        self.links.first().is_some_and(|link| link.is_called(failed, is_wanted))
    }

    /// Fast path of [`Chain::turn`]: the callback and the outcome of a [`Turn::Call`], if that is
    /// the next turn, there is no other callback to drop, and `is_wanted` accepts the callback.
    #[inline(always)]
    pub fn turn_to_call(
        &mut self,
        is_wanted: impl FnOnce(&K::Callback) -> bool,
    ) -> Option<(K::Callback, &Outcome<K>)> {
        if self.is_busy() {
            return None;
        }
        let failed = matches!(self.outcome, Slot::Failure(_));
        match self.links.pop_front_if(|link| link.is_called(failed, is_wanted)) {
            Some(Link::Either(callback) | Link::OnValue(callback) | Link::OnFailure(callback)) => {
                self.start_running();
                Some((callback, &self.outcome))
            }
            _ => None,
        }
    }

    /// Fast path of [`Chain::turn`]: end the run if that is [`Turn::Rest`]. Returns whether the
    /// chain has then ended with a failure that nobody has handled. None if there are links.
    #[inline(always)]
    pub fn turn_to_rest(&mut self) -> Option<bool> {
        if self.is_busy() || !self.links.is_empty() {
            return None;
        }
        self.rest();
        Some(self.unhandled())
    }

    /// No link is left.
    #[inline(always)]
    fn rest(&mut self) {
        if K::Runner::SEVERAL {
            self.stop_running();
        }
        self.mark_handled();
        if matches!(self.outcome, Slot::Failure(_)) {
            self.watch = Watch::On;
        }
    }

    /// Fast path: the outcome, if a callback that is added now would be called at once. The chain
    /// then counts as running, as after [`Turn::Call`], and the callback needs no link.
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
        self.start_running();
        Some(&self.outcome)
    }

    /// Report how a call or delivery ended. Returns the previous outcome.
    ///
    /// If the new outcome is another Deferred, the driver continues with [`Chain::steal`] on that
    /// one, and with [`Chain::replace_outcome`] or [`Chain::wait`] on this one.
    #[must_use]
    pub fn settle(&mut self, outcome: Outcome<K>) -> Outcome<K> {
        self.stop_running();
        self.replace_outcome(outcome)
    }

    /// The second half of [`Chain::settle`], for a driver that calls [`Chain::replace_outcome`]
    /// first and drops the old outcome while the chain still counts as running.
    pub fn stop_running(&mut self) {
        self.running = None;
    }

    #[inline(always)]
    fn start_running(&mut self) {
        self.running = Some(K::Runner::here());
    }

    /// Whether a run has to stop: another thread is working on the outcome, or since the run began
    /// the outcome has become another Deferred, which this chain waits for. (With one thread, a run
    /// ends by itself then.)
    #[inline(always)]
    fn is_busy(&self) -> bool {
        self.is_run_elsewhere()
            || K::Runner::SEVERAL
                && self.chained_to.is_some()
                && matches!(self.outcome, Slot::Deferred(_))
    }

    /// Whether another thread is working on the outcome.
    #[inline(always)]
    fn is_run_elsewhere(&self) -> bool {
        K::Runner::SEVERAL && self.running.is_some_and(|it| it != K::Runner::here())
    }

    /// Take the outcome for a Deferred that would otherwise wait for this one. None if there is no
    /// outcome yet.
    pub fn steal(&mut self) -> Option<Outcome<K>> {
        if self.is_busy()
            || self.paused != 0
            || matches!(self.outcome, Slot::Empty | Slot::Deferred(_))
        {
            return None;
        }
        Some(self.take_outcome())
    }

    /// Fast path: take the outcome if the chain is at rest, so that a waiter needs no link. Returns
    /// what the chain was chained to, as well.
    #[inline(always)]
    pub fn take_at_rest(&mut self) -> Option<(Outcome<K>, Option<K::Deferred>)> {
        if !self.is_at_rest() {
            return None;
        }
        Some((self.take_outcome(), self.chained_to.take()))
    }

    /// The outcome for an observer, if the chain has fired and is not paused. A failure counts as
    /// handled afterwards.
    #[inline(always)]
    pub fn look_at_outcome(&mut self) -> Option<&Outcome<K>> {
        if self.is_run_elsewhere() || !self.called() || self.paused != 0 {
            return None;
        }
        self.mark_handled();
        Some(&self.outcome)
    }

    /// The unhandled failure at the end of the chain, if any. The caller becomes responsible for
    /// it.
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

    /// Wait for another Deferred. The driver adds a [`Link::Continue`] for this one to the other's
    /// chain. Returns what this chain was chained to before.
    #[must_use]
    pub fn wait(&mut self, other: K::Deferred) -> Option<K::Deferred> {
        self.pause();
        self.mark_handled();
        self.chained_to.replace(other)
    }

    /// Accept the outcome of the Deferred that this one waits for. Returns the previous outcome.
    #[must_use]
    pub fn receive(&mut self, outcome: Outcome<K>) -> Outcome<K> {
        self.paused = self.paused.saturating_sub(1);
        self.replace_outcome(outcome)
    }

    /// Undo [`Chain::wait`], because the other chain could not take the link, and set this outcome.
    /// Returns the previous outcome, and what this was chained to.
    #[must_use]
    pub fn wait_no_more(&mut self, outcome: Outcome<K>) -> (Outcome<K>, Option<K::Deferred>) {
        self.paused = self.paused.saturating_sub(1);
        (self.replace_outcome(outcome), self.chained_to.take())
    }

    /// Pause the chain until [`Chain::unpause`] has been called as often.
    pub fn pause(&mut self) {
        self.paused = self.paused.saturating_add(1);
    }

    /// Undo one [`Chain::pause`]. True if the chain has to be run now.
    ///
    /// As with Twisted, one call too many makes the count negative, which is a pause as well.
    pub fn unpause(&mut self) -> bool {
        self.paused = self.paused.saturating_sub(1);
        self.paused == 0 && self.is_runnable()
    }

    /// What to do to cancel the chain now.
    pub fn cancel(&self) -> Cancel<'_, K> {
        match (&self.canceller, &self.outcome) {
            (Some(canceller), _) if !self.called() => Cancel::Ask(canceller),
            _ if !self.called() => Cancel::Fail,
            (_, Slot::Deferred(other)) => Cancel::Forward(other),
            _ => Cancel::Nothing,
        }
    }

    /// Discard the next outcome instead of refusing it. An operation without a canceller cannot be
    /// stopped, and will still deliver its result.
    pub fn swallow_next_fire(&mut self) {
        self.swallow = true;
    }

    /// Mark the failure at the end as handled outside the chain.
    pub fn mark_handled(&mut self) {
        if self.watch == Watch::On {
            self.watch = Watch::Over;
        }
    }

    /// Set the outcome, in any state. Returns the previous one.
    #[must_use]
    pub fn replace_outcome(&mut self, outcome: Outcome<K>) -> Outcome<K> {
        std::mem::replace(&mut self.outcome, outcome)
    }

    /// Set the canceller. Returns the previous one.
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
    #[inline(always)]
    pub fn called(&self) -> bool {
        self.called.is_on()
    }

    /// The flag that tells whether the chain has fired.
    #[inline(always)]
    pub fn flag(&self) -> &K::Flag {
        &self.called
    }

    /// Whether a callback or waiter is working on the outcome now.
    #[inline(always)]
    pub fn running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether the chain has ended with a failure that nobody has handled.
    pub fn unhandled(&self) -> bool {
        self.watch == Watch::On
    }

    fn take_outcome(&mut self) -> Outcome<K> {
        self.mark_handled();
        std::mem::replace(&mut self.outcome, Slot::Taken)
    }
}
