//! Letting go: of long structures without recursion, and of cycles.
//!
//! PyO3's classes have no trashcan: a million Deferreds, each the result of the next, would be
//! freed by a million nested calls. So what a dying object holds is freed in place only to a
//! certain depth, and put in a queue beyond it.

use std::cell::{Cell, RefCell};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;

use super::ffi::Held;
use super::generator::TaskRemains;
use super::outcome::{Chain, Link, Outcome};

/// Something with references to show to the garbage collector.
pub(super) trait Traverse {
    /// Show each.
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError>;
}

impl<T> Traverse for Held<T> {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.as_py())
    }
}

impl<T: Traverse> Traverse for Option<T> {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.as_ref().map_or(Ok(()), |some| some.traverse(visit))
    }
}

impl Traverse for Outcome {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Outcome::Empty | Outcome::Taken => Ok(()),
            Outcome::Value(object) | Outcome::Failure(object) => object.traverse(visit),
            Outcome::Deferred(deferred) => deferred.traverse(visit),
        }
    }
}

impl Traverse for Link {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Link::OnValue(callback) | Link::OnFailure(callback) | Link::Either(callback) => {
                callback.traverse(visit)
            }
            Link::Both(pair) => {
                pair.0.traverse(visit)?;
                pair.1.traverse(visit)
            }
            Link::Continue(deferred) => deferred.traverse(visit),
            Link::Deliver(waiter, _) => waiter.traverse(visit),
        }
    }
}

impl Traverse for Chain {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.outcome().traverse(visit)?;
        for link in self.links().iter() {
            link.traverse(visit)?;
        }
        if let Some(canceller) = self.canceller() {
            canceller.traverse(visit)?;
        }
        self.chained_to().map_or(Ok(()), |other| other.traverse(visit))
    }
}

/// What a dying object leaves.
#[allow(dead_code, reason = "held to be dropped")]
pub(super) enum Remains {
    /// A Deferred's.
    Chain(Chain),
    /// A running generator's.
    Task(TaskRemains),
}

/// How deep objects may free each other before the rest has to queue.
const DEPTH: u32 = 50;

thread_local! {
    static NESTED: Cell<u32> = const { Cell::new(0) };
    static QUEUE: RefCell<Vec<Remains>> = const { RefCell::new(Vec::new()) };
}

/// Drop what a dying object leaves, now or when those above it are done.
pub(super) fn let_go(remains: Remains) {
    let nested = NESTED.get();
    if nested >= DEPTH {
        QUEUE.with_borrow_mut(|queue| queue.push(remains));
        return;
    }
    NESTED.set(nested + 1);
    drop(remains);
    if nested == 0 {
        // The outermost works off what the others left; that may add more.
        while let Some(next) = QUEUE.with_borrow_mut(Vec::pop) {
            drop(next);
        }
    }
    NESTED.set(nested);
}
