//! Runs the chains of Deferreds of closures.

use std::alloc::{self, Layout};
use std::cell::RefCell;
use std::rc::Rc;

use super::node::{Callback, Inner, Local, Node, Ref};
use super::{Deferred, Outcome};
use crate::core::{Chain, Link, Slot, Turn};

/// An outcome in the form that callbacks and users see.
pub(super) fn published<V: Clone, F: Clone>(outcome: &Inner<V, F>) -> Outcome<V, F> {
    match outcome {
        Slot::Empty => Slot::Empty,
        Slot::Taken => Slot::Taken,
        Slot::Value(value) => Slot::Value(value.clone()),
        Slot::Failure(failure) => Slot::Failure(failure.clone()),
        Slot::Deferred(other) => other.handle().map_or(Slot::Taken, Slot::Deferred),
    }
}

/// What a turn asks for, without borrowing the chain.
enum Step<V: 'static, F: 'static> {
    Call(Callback<V, F>, Option<Callback<V, F>>, Outcome<V, F>),
    Pass(Outcome<V, F>),
    Skip,
    Continue(Ref<V, F>, Inner<V, F>),
    Rest,
}

/// The trampoline: run this chain, then the ones that wait for it, and return to the links that it
/// has left.
pub(super) fn run<V: Clone, F: Clone>(first: Rc<Node<V, F>>) {
    let mut current = first;
    // Those that gave their outcome away, and have to be checked again.
    let mut suppliers = Vec::new();
    // Awaited ones that are in use as outcomes, and kept alive only by the work here.
    let mut travelling = Vec::new();
    loop {
        let entered = current.chain.borrow_mut().enter();
        match entered {
            Err(_) => return,
            Ok(None) => {}
            Ok(Some(awaited)) => {
                current.hold_awaited();
                drop(awaited);
            }
        }
        match turns(&current, &mut travelling) {
            Some(waiting) => suppliers.push(std::mem::replace(&mut current, waiting)),
            None => match suppliers.pop() {
                Some(supplier) => current = supplier,
                None => return,
            },
        }
    }
}

/// Take turns until the chain rests, waits, or has given its outcome to the chain that is returned.
fn turns<V: Clone, F: Clone>(
    current: &Rc<Node<V, F>>,
    travelling: &mut Vec<Deferred<V, F>>,
) -> Option<Rc<Node<V, F>>> {
    loop {
        match step(current) {
            Step::Rest => return None,
            Step::Skip => {}
            Step::Pass(outcome) => {
                if settle(current, outcome) {
                    return None;
                }
            }
            Step::Call(callback, spare, outcome) => {
                let guard = KeepOutcome(current);
                let answer = callback(outcome);
                std::mem::forget(guard);
                let waits = settle(current, answer);
                drop(spare);
                if waits {
                    return None;
                }
            }
            Step::Continue(waiting, mut outcome) => {
                let Some(waiting) = waiting.node() else {
                    continue;
                };
                if let Slot::Deferred(other) = &outcome {
                    travelling.extend(other.handle());
                }
                if Rc::ptr_eq(&waiting, current) {
                    // It waited for itself: it does not get back what it gives away.
                    outcome = Slot::Taken;
                }
                let before = waiting.chain.borrow_mut().receive(outcome);
                current.hold_awaited();
                waiting.hold_awaited();
                drop(before);
                return Some(waiting);
            }
        }
    }
}

/// Take one turn. Values are dropped after the borrow has ended.
fn step<V: Clone, F: Clone>(current: &Node<V, F>) -> Step<V, F> {
    let passed_by;
    let mut chain = current.chain.borrow_mut();
    match chain.turn() {
        Turn::Call { callback, spare, outcome } => Step::Call(callback, spare, published(outcome)),
        Turn::Continue(waiting, outcome) => Step::Continue(waiting, outcome),
        Turn::Pass(link, outcome) => {
            passed_by = link;
            let outcome = published(&outcome);
            drop((chain, passed_by));
            Step::Pass(outcome)
        }
        Turn::Skip(link) => {
            passed_by = link;
            drop((chain, passed_by));
            Step::Skip
        }
        Turn::Deliver(waiter, ..) => match waiter {},
        Turn::Rest | Turn::Busy => Step::Rest,
    }
}

/// Settle the chain with a callback's answer. True if the chain now waits for another one.
fn settle<V, F>(current: &Rc<Node<V, F>>, answer: Outcome<V, F>) -> bool {
    let other = match answer {
        Slot::Deferred(other) => other,
        answer => {
            let inner = match answer {
                Slot::Value(value) => Slot::Value(value),
                Slot::Failure(failure) => Slot::Failure(failure),
                Slot::Empty | Slot::Taken | Slot::Deferred(_) => Slot::Taken,
            };
            let before = current.chain.borrow_mut().settle(inner);
            if matches!(before, Slot::Deferred(_)) {
                current.hold_awaited();
            }
            return false;
        }
    };
    let awaited = || Ref::Awaited(Rc::downgrade(&other.life));
    // Keep all replaced values until the end: dropping them can run any code.
    let _before = current.chain.borrow_mut().settle(Slot::Deferred(awaited()));
    let stolen = other.chain().borrow_mut().steal();
    let waits = stolen.is_none();
    let _replaced = match stolen {
        Some(outcome) => (Some(current.chain.borrow_mut().replace_outcome(outcome)), None),
        None => {
            let chained_before = current.chain.borrow_mut().wait(awaited());
            let link = Link::Continue(Ref::Waiting(Rc::clone(current)));
            append(other.chain(), link);
            (None, chained_before)
        }
    };
    current.hold_awaited();
    waits
}

/// Add a link. If there is no memory, abort, as all Rust collections do.
pub(super) fn append<V, F>(chain: &RefCell<Chain<Local<V, F>>>, link: Link<Local<V, F>>) {
    if chain.borrow_mut().add(link).is_err() {
        out_of_memory();
    }
}

#[cold]
pub(super) fn out_of_memory() -> ! {
    alloc::handle_alloc_error(Layout::new::<usize>())
}

/// Exists while a callback runs: if it panics, its Deferred keeps the outcome that it was called
/// with.
struct KeepOutcome<'a, V: 'static, F: 'static>(&'a Node<V, F>);

impl<V, F> Drop for KeepOutcome<'_, V, F> {
    fn drop(&mut self) {
        let mut chain = self.0.chain.borrow_mut();
        let outcome = chain.replace_outcome(Slot::Taken);
        let _taken = chain.settle(outcome);
    }
}
