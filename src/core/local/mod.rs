//! Deferreds of closures, for Rust programs and one thread.
//!
//! A [`Deferred`] is an outcome that will arrive later. Closures are added to it and called in that
//! order; each gets what the one before returned. Whatever does the waiting (an event loop, a
//! channel, a test) fires the Deferred once.
//!
//! ```
//! use deferrous::core::local::Deferred;
//!
//! let page: Deferred<String, String> = Deferred::new();
//! page.on_value(|text| text.strip_prefix("<h1>").map(str::to_owned).ok_or(text))
//!     .on_failure(|text| Ok(format!("no title in {text:?}")));
//!
//! page.fire(Ok("<h1>Deferred".to_owned()))?;
//! assert_eq!(page.outcome(), Some(Ok("Deferred".to_owned())));
//! # Ok::<(), deferrous::core::AlreadyCalled<Result<String, String>>>(())
//! ```
//!
//! # Waiting for another one
//!
//! A callback can return a Deferred. The links after it then wait for its outcome:
//!
//! ```
//! use deferrous::core::local::Deferred;
//!
//! let answer: Deferred<u32, String> = Deferred::new();
//! let request = Deferred::fired(Ok(1));
//! let sent = answer.clone();
//! request.on_value(move |_| sent).on_value(|n| Ok(n + 1));
//! assert_eq!(request.outcome(), None);
//! assert_eq!(request.chained_to(), Some(answer.clone()));
//!
//! answer.fire(Ok(41)).unwrap();
//! assert_eq!(request.outcome(), Some(Ok(42)));
//! assert_eq!(answer.outcome(), None, "an outcome is in one place only");
//! ```
//!
//! Waiting, firing, cancelling and dropping use no stack: a million Deferreds can wait for each
//! other.
//!
//! # Cancelling
//!
//! [`Deferred::cancel`] calls the canceller of the Deferred. The failure type implements
//! `From<Cancelled>` for Deferreds that are cancelled:
//!
//! ```
//! use deferrous::core::{Cancelled, local::Deferred};
//!
//! #[derive(Debug, Clone, PartialEq)]
//! enum Fault {
//!     Cancelled,
//! }
//!
//! impl From<Cancelled> for Fault {
//!     fn from(_: Cancelled) -> Self {
//!         Self::Cancelled
//!     }
//! }
//!
//! let slow: Deferred<u32, Fault> = Deferred::new();
//! slow.cancel();
//! assert_eq!(slow.outcome(), Some(Err(Fault::Cancelled)));
//!
//! // The operation could not be stopped, so its late outcome is ignored, once.
//! assert!(slow.fire(Ok(1)).is_ok());
//! assert!(slow.fire(Ok(2)).is_err());
//! ```
//!
//! # Rules
//!
//! They are Twisted's. Some of them are surprising:
//!
//! * A callback that pauses its own Deferred does not stop the run that it is part of.
//! * A Deferred that is still paused when the one it waits for fires takes the outcome and ends
//!   the run, also for the links which the other one still has. Those stay until the next
//!   addition or unpause there.
//! * An [`unpause`](Deferred::unpause) too many counts as a pause.
//! * A Deferred that waits for itself, or for one that waits for it, never goes on. (Cancelling
//!   it does nothing here; Twisted exceeds Python's recursion limit.)
//!
//! Two rules differ because this is Rust. When another Deferred has taken the outcome, Twisted
//! calls back with `None`. There is no such `V`, so only callbacks added by [`Deferred::then`] are
//! called, and the others are skipped. And a panic is not a failure: it propagates to whoever
//! fired. The Deferred keeps the outcome that the panicking callback got, and the links after it.
//!
//! # Ownership
//!
//! A `Deferred` is a handle, and its clones refer to the same one. A waiting Deferred and the
//! awaited one keep each other alive until there is no handle to any of them, so a chain that
//! nobody can fire any more is freed. A closure that owns a handle to the Deferred it was added to
//! forms a cycle, as with any [`Rc`], until it has been called; so do Deferreds that wait for each
//! other in a circle.

mod drive;
mod node;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use super::{AlreadyCalled, Boxed, Cancel, Cancelled, Chain, Fired, Link, Slot};
use drive::{append, out_of_memory, published, run};
use node::{Callback, Canceller, Life, Local, Node, Ref};

/// What a callback gets and returns: a value, a failure, or another Deferred to wait for.
///
/// A `Result<V, F>` and a [`Deferred`] convert into it, so most closures end with one of those.
pub type Outcome<V, F> = Slot<V, F, Deferred<V, F>>;

/// A handle on an outcome that may not be there yet. See the [module](self).
pub struct Deferred<V: 'static, F: 'static> {
    life: Rc<Life<V, F>>,
}

impl<V, F, D> From<Result<V, F>> for Slot<V, F, D> {
    fn from(result: Result<V, F>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(failure) => Self::Failure(failure),
        }
    }
}

impl<V, F> From<Deferred<V, F>> for Outcome<V, F> {
    fn from(deferred: Deferred<V, F>) -> Self {
        Self::Deferred(deferred)
    }
}

impl<V: Clone, F: Clone> Default for Deferred<V, F> {
    fn default() -> Self {
        Self::new()
    }
}

/// Values and failures are cloned for each callback, because the outcome stays visible while a
/// callback runs. (`Clone` must not use the Deferred itself.) Put values that are expensive to
/// clone into an [`Rc`].
impl<V: Clone, F: Clone> Deferred<V, F> {
    /// A Deferred that has not fired.
    #[must_use]
    pub fn new() -> Self {
        Self::from_chain(Chain::new(None))
    }

    /// A Deferred with a function that cancels its operation.
    ///
    /// The canceller may fire the Deferred. If it does not, the Deferred fails with [`Cancelled`].
    #[must_use]
    pub fn with_canceller(canceller: impl Fn(&Self) + 'static) -> Self {
        let canceller: Canceller<V, F> = Rc::new(canceller);
        Self::from_chain(Chain::new(Some(canceller)))
    }

    /// A Deferred that has fired already.
    #[must_use]
    pub fn fired(outcome: Result<V, F>) -> Self {
        Self::from_chain(Chain::fired(outcome.into()))
    }

    /// Set the outcome and run the links.
    ///
    /// # Errors
    ///
    /// [`AlreadyCalled`] with the refused outcome, if the Deferred had fired before. After a
    /// cancellation without a canceller, one such outcome is accepted and discarded.
    pub fn fire(&self, outcome: Result<V, F>) -> Result<(), AlreadyCalled<Result<V, F>>> {
        let fired = self.chain().borrow_mut().fire(outcome.into());
        match fired {
            Ok(Fired::Accepted(canceller, replaced)) => {
                drop((canceller, replaced));
                self.run();
                Ok(())
            }
            Ok(Fired::Swallowed(_)) => Ok(()),
            Err(AlreadyCalled(Slot::Value(value))) => Err(AlreadyCalled(Ok(value))),
            Err(AlreadyCalled(Slot::Failure(failure))) => Err(AlreadyCalled(Err(failure))),
            Err(_) => unreachable!("what comes back is what was given"),
        }
    }

    /// Call this with a value, and skip it for a failure.
    pub fn on_value<R>(&self, callback: impl FnOnce(V) -> R + 'static) -> &Self
    where
        R: Into<Outcome<V, F>>,
    {
        self.add(Link::OnValue(for_value(callback)))
    }

    /// Call this with a failure, and skip it for a value.
    pub fn on_failure<R>(&self, callback: impl FnOnce(F) -> R + 'static) -> &Self
    where
        R: Into<Outcome<V, F>>,
    {
        self.add(Link::OnFailure(for_failure(callback)))
    }

    /// Call the first with a value, or the second with a failure. The second is not called for what
    /// the first returns.
    pub fn on_both<R, S>(
        &self,
        on_value: impl FnOnce(V) -> R + 'static,
        on_failure: impl FnOnce(F) -> S + 'static,
    ) -> &Self
    where
        R: Into<Outcome<V, F>>,
        S: Into<Outcome<V, F>>,
    {
        let pair = Boxed::new((for_value(on_value), for_failure(on_failure)));
        self.add(Link::Both(pair.unwrap_or_else(|_| out_of_memory())))
    }

    /// Call this with a value or a failure.
    pub fn on_either<R>(&self, callback: impl FnOnce(Result<V, F>) -> R + 'static) -> &Self
    where
        R: Into<Outcome<V, F>>,
    {
        self.then(move |outcome| match outcome {
            Slot::Value(value) => callback(Ok(value)).into(),
            Slot::Failure(failure) => callback(Err(failure)).into(),
            neither => neither,
        })
    }

    /// Call this in any case: even if another Deferred took the outcome ([`Slot::Taken`]), or if
    /// the links were made to run while the Deferred waits for another ([`Slot::Deferred`]).
    pub fn then<R>(&self, callback: impl FnOnce(Outcome<V, F>) -> R + 'static) -> &Self
    where
        R: Into<Outcome<V, F>>,
    {
        let callback: Callback<V, F> = Box::new(move |outcome| callback(outcome).into());
        self.add(Link::Either(callback))
    }

    /// Hold back the links until [`Deferred::unpause`] has been called as often.
    pub fn pause(&self) {
        self.chain().borrow_mut().pause();
    }

    /// Undo one [`Deferred::pause`], and run the links if it was the last.
    pub fn unpause(&self) {
        if self.chain().borrow_mut().unpause() {
            run(Rc::clone(&self.life.node));
        }
    }

    /// Call the canceller, or fail at once if there is none. If the Deferred waits for another,
    /// cancel that one. If it has its outcome, do nothing.
    pub fn cancel(&self)
    where
        F: From<Cancelled>,
    {
        let mut target = self.clone();
        // To detect a cycle: a mark that is moved up after 1, 2, 4 and so on steps.
        let mut mark = self.clone();
        let (mut steps, mut limit) = (0_u64, 1_u64);
        loop {
            let chain = target.chain().borrow();
            let canceller = match chain.cancel() {
                Cancel::Ask(canceller) => Some(Rc::clone(canceller)),
                Cancel::Fail => None,
                Cancel::Nothing => return,
                Cancel::Forward(other) => {
                    let Some(other) = other.handle() else { return };
                    drop(chain);
                    if other == mark {
                        return;
                    }
                    target = other;
                    steps += 1;
                    if steps == limit {
                        mark = target.clone();
                        limit *= 2;
                        steps = 0;
                    }
                    continue;
                }
            };
            drop(chain);
            match canceller {
                Some(canceller) => canceller(&target),
                None => target.chain().borrow_mut().swallow_next_fire(),
            }
            if !target.called() {
                // It has not fired, so it cannot refuse.
                let _ = target.fire(Err(Cancelled.into()));
            }
            return;
        }
    }

    /// The outcome, if it is here: not before the Deferred has fired, while it waits for another,
    /// or after another took it.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<V, F>> {
        match self.slot() {
            Slot::Value(value) => Some(Ok(value)),
            Slot::Failure(failure) => Some(Err(failure)),
            Slot::Empty | Slot::Taken | Slot::Deferred(_) => None,
        }
    }

    /// The outcome in raw form.
    #[must_use]
    pub fn slot(&self) -> Outcome<V, F> {
        published(self.chain().borrow().outcome())
    }

    fn add(&self, link: Link<Local<V, F>>) -> &Self {
        append(self.chain(), link);
        self.run();
        self
    }

    fn run(&self) {
        let runnable = self.chain().borrow().is_runnable();
        if runnable {
            run(Rc::clone(&self.life.node));
        }
    }
}

impl<V, F> Deferred<V, F> {
    /// Whether the Deferred has fired.
    #[must_use]
    pub fn called(&self) -> bool {
        self.chain().borrow().called()
    }

    /// The number of pauses. Waiting for another Deferred counts as one.
    #[must_use]
    pub fn paused(&self) -> i32 {
        self.chain().borrow().paused()
    }

    /// Whether a callback is working on the outcome now.
    #[must_use]
    pub fn running(&self) -> bool {
        self.chain().borrow().running()
    }

    /// The number of links that are left.
    #[must_use]
    pub fn links(&self) -> usize {
        self.chain().borrow().links().len()
    }

    /// The Deferred that this one waits for.
    #[must_use]
    pub fn chained_to(&self) -> Option<Self> {
        self.chain().borrow().chained_to().and_then(Ref::handle)
    }

    /// Whether the chain has ended with a failure that no link handled.
    #[must_use]
    pub fn unhandled(&self) -> bool {
        self.chain().borrow().unhandled()
    }

    /// Mark the failure at the end as handled, so that it is not reported.
    pub fn mark_handled(&self) {
        self.chain().borrow_mut().mark_handled();
    }

    /// Call this if the Deferred is freed with a failure that no link handled. It replaces the
    /// previous function.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use deferrous::core::local::Deferred;
    ///
    /// let log = Rc::new(RefCell::new(Vec::new()));
    /// let lost: Deferred<(), &str> = Deferred::fired(Err("refused"));
    /// lost.on_unhandled({
    ///     let log = Rc::clone(&log);
    ///     move |failure| log.borrow_mut().push(failure)
    /// });
    /// drop(lost);
    /// assert_eq!(*log.borrow(), ["refused"]);
    /// ```
    pub fn on_unhandled(&self, report: impl FnOnce(F) + 'static) -> &Self {
        self.life.node.on_unhandled.set(Some(Box::new(report)));
        self
    }

    /// An address that distinguishes this Deferred from all others that are alive.
    #[must_use]
    pub fn as_ptr(&self) -> *const () {
        Rc::as_ptr(&self.life).cast()
    }

    fn from_chain(chain: Chain<Local<V, F>>) -> Self {
        Self {
            life: Rc::new_cyclic(|life| Life {
                node: Rc::new(Node {
                    chain: RefCell::new(chain),
                    on_unhandled: Cell::new(None),
                    life: Weak::clone(life),
                }),
                awaited: Cell::default(),
            }),
        }
    }

    fn chain(&self) -> &RefCell<Chain<Local<V, F>>> {
        &self.life.node.chain
    }
}

impl<V, F> Clone for Deferred<V, F> {
    fn clone(&self) -> Self {
        Self { life: Rc::clone(&self.life) }
    }
}

/// Two handles are equal if they refer to the same Deferred.
impl<V, F> PartialEq for Deferred<V, F> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.life, &other.life)
    }
}

impl<V, F> Eq for Deferred<V, F> {}

impl<V: fmt::Debug, F: fmt::Debug> fmt::Debug for Deferred<V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Deferred");
        shown.field("at", &self.as_ptr());
        if let Ok(chain) = self.chain().try_borrow() {
            match chain.outcome() {
                Slot::Empty => {}
                Slot::Taken => drop(shown.field("outcome", &format_args!("taken"))),
                Slot::Value(value) => drop(shown.field("value", value)),
                Slot::Failure(failure) => drop(shown.field("failure", failure)),
                Slot::Deferred(other) => {
                    let other = other.handle().map(|other| other.as_ptr());
                    shown.field("waiting_for", &other);
                }
            }
        }
        shown.finish_non_exhaustive()
    }
}

fn for_value<V, F, R>(callback: impl FnOnce(V) -> R + 'static) -> Callback<V, F>
where
    R: Into<Outcome<V, F>>,
{
    Box::new(move |outcome| match outcome {
        Slot::Value(value) => callback(value).into(),
        other => other,
    })
}

fn for_failure<V, F, R>(callback: impl FnOnce(F) -> R + 'static) -> Callback<V, F>
where
    R: Into<Outcome<V, F>>,
{
    Box::new(move |outcome| match outcome {
        Slot::Failure(failure) => callback(failure).into(),
        other => other,
    })
}
