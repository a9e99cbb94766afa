//! The state of a Deferred of closures: its ownership and its end.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::{Rc, Weak};

use super::{Deferred, Outcome};
use crate::core::{Chain, Kinds, Slot};

pub(super) type Callback<V, F> = Box<dyn FnOnce(Outcome<V, F>) -> Outcome<V, F>>;

pub(super) type Canceller<V, F> = Rc<dyn Fn(&Deferred<V, F>)>;

pub(super) type Report<F> = Box<dyn FnOnce(F)>;

/// The types that this driver chooses.
pub(super) struct Local<V: 'static, F: 'static>(Infallible, V, F);

impl<V, F> Kinds for Local<V, F> {
    type Value = V;
    type Failure = F;
    type Callback = Callback<V, F>;
    type Deferred = Ref<V, F>;
    type Waiter = Infallible;
    type Canceller = Canceller<V, F>;
    type Flag = bool;
    type Runner = ();
}

pub(super) type Inner<V, F> = crate::core::Outcome<Local<V, F>>;

/// How one Deferred refers to another.
///
/// The awaited Deferred owns the state of those that wait for it, since it has to run them. Those
/// that wait own a handle to the awaited one, since cancelling them cancels it. They hold it
/// through their own handle ([`Life::awaited`]): otherwise both would own each other forever.
pub(super) enum Ref<V: 'static, F: 'static> {
    /// The awaited one, in place of an outcome.
    Awaited(Weak<Life<V, F>>),
    /// A waiting one, in a `Link::Continue`.
    Waiting(Rc<Node<V, F>>),
}

impl<V, F> Ref<V, F> {
    pub(super) fn handle(&self) -> Option<Deferred<V, F>> {
        let life = match self {
            Self::Awaited(life) => life,
            Self::Waiting(node) => &node.life,
        };
        life.upgrade().map(|life| Deferred { life })
    }

    pub(super) fn node(self) -> Option<Rc<Node<V, F>>> {
        match self {
            Self::Awaited(life) => life.upgrade().map(|life| Rc::clone(&life.node)),
            Self::Waiting(node) => Some(node),
        }
    }
}

/// Shared by all handles to a Deferred. It ends when nobody can act on the Deferred any more.
pub(super) struct Life<V: 'static, F: 'static> {
    pub(super) node: Rc<Node<V, F>>,
    /// The Deferred that is in place of the outcome, and the one that this is chained to. Usually
    /// they are the same.
    pub(super) awaited: Cell<[Option<Deferred<V, F>>; 2]>,
}

/// The state of a Deferred. It ends when nothing can run it any more.
pub(super) struct Node<V: 'static, F: 'static> {
    pub(super) chain: RefCell<Chain<Local<V, F>>>,
    pub(super) on_unhandled: Cell<Option<Report<F>>>,
    pub(super) life: Weak<Life<V, F>>,
}

impl<V, F> Node<V, F> {
    /// Let the handle own exactly what the state refers to now.
    pub(super) fn hold_awaited(&self) {
        let Some(life) = self.life.upgrade() else {
            return;
        };
        let awaited = {
            let chain = self.chain.borrow();
            let in_place = match chain.outcome() {
                Slot::Deferred(other) => other.handle(),
                _ => None,
            };
            [in_place, chain.chained_to().and_then(Ref::handle)]
        };
        drop(life.awaited.replace(awaited));
    }
}

impl<V, F> Drop for Life<V, F> {
    fn drop(&mut self) {
        discard((self.awaited.take(), Rc::clone(&self.node)));
    }
}

impl<V, F> Drop for Node<V, F> {
    fn drop(&mut self) {
        let mut chain = std::mem::take(self.chain.get_mut());
        if chain.unhandled() {
            let outcome = chain.replace_outcome(Slot::Taken);
            if let (Some(report), Slot::Failure(failure)) = (self.on_unhandled.take(), outcome) {
                report(failure);
            }
        }
        discard(chain);
    }
}

thread_local! {
    static DISCARDING: Cell<bool> = const { Cell::new(false) };
    static DISCARDED: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Drop something without recursion, however deep it nests: anything dropped meanwhile is queued.
pub(super) fn discard<T: 'static>(thing: T) {
    if DISCARDING.replace(true) {
        // When the thread has ended, there is no queue, and it is dropped here.
        let _ = DISCARDED.try_with(|queue| queue.borrow_mut().push(Box::new(thing)));
        return;
    }
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            DISCARDING.set(false);
        }
    }
    let _done = Done;
    drop(thing);
    while let Ok(Some(next)) = DISCARDED.try_with(|queue| queue.borrow_mut().pop()) {
        drop(next);
    }
}
