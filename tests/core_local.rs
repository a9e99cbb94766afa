//! `core::local`, by its rules and at its limits.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use deferrous::core::{AlreadyCalled, Cancelled, Slot};

#[test]
fn errors_say_what_happened() {
    assert_eq!(AlreadyCalled(1).to_string(), "the Deferred has already been called");
    assert_eq!(Cancelled.to_string(), "the Deferred was cancelled");
}

// core::local

#[derive(Debug, Clone, PartialEq)]
enum Fault {
    Cancelled,
    Told(&'static str),
}

impl From<Cancelled> for Fault {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

type Deferred<V> = deferrous::core::local::Deferred<V, Fault>;

const MILLION: usize = 1_000_000;

/// Counts how often it was dropped.
struct Dropped(Rc<Cell<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// A Deferred that waits for `other` and adds one to what it gets.
fn one_more(other: Deferred<usize>) -> Deferred<usize> {
    let deferred = Deferred::fired(Ok(0));
    deferred.on_value(|_| other).on_value(|n| Ok(n + 1));
    deferred
}

/// The two ends of a million Deferreds that wait for each other.
fn waiting_chain() -> (Deferred<usize>, Deferred<usize>) {
    let start = Deferred::new();
    let end = (0..MILLION).fold(start.clone(), |last, _| one_more(last));
    (start, end)
}

#[test]
fn a_canceller_may_fire() {
    let deferred = Deferred::<u8>::with_canceller(|asked| {
        asked.fire(Err(Fault::Told("stopped"))).unwrap();
    });
    deferred.cancel();
    assert_eq!(deferred.outcome(), Some(Err(Fault::Told("stopped"))));
    assert!(deferred.fire(Ok(1)).is_err(), "the operation knew, so nothing is let go");
    deferred.cancel();
    assert_eq!(deferred.outcome(), Some(Err(Fault::Told("stopped"))));
}

#[test]
fn a_late_outcome_is_let_go_once_where_nobody_could_be_told() {
    let deferred = Deferred::new();
    deferred.cancel();
    assert_eq!(deferred.outcome(), Some(Err(Fault::Cancelled)));
    assert_eq!(deferred.fire(Ok(1)), Ok(()));
    assert_eq!(deferred.fire(Ok(2)), Err(AlreadyCalled(Ok(2))));
}

#[test]
fn a_canceller_that_does_not_fire_leaves_it_to_us() {
    let asked = Rc::new(Cell::new(0));
    let deferred = Deferred::<u8>::with_canceller({
        let asked = Rc::clone(&asked);
        move |_| asked.set(asked.get() + 1)
    });
    deferred.cancel();
    assert_eq!(deferred.outcome(), Some(Err(Fault::Cancelled)));
    assert!(deferred.fire(Ok(1)).is_err());
    deferred.cancel();
    assert_eq!(asked.get(), 1);
}

#[test]
fn cancelling_goes_on_to_the_awaited() {
    let asked = Rc::new(Cell::new(0));
    let waiting = Deferred::fired(Ok(0));
    // Nobody else has a handle on the awaited.
    waiting.on_value({
        let asked = Rc::clone(&asked);
        |_| one_more(Deferred::with_canceller(move |_| asked.set(asked.get() + 1)))
    });
    waiting.cancel();
    assert_eq!(asked.get(), 1);
    assert_eq!(waiting.outcome(), Some(Err(Fault::Cancelled)));
}

#[test]
fn the_canceller_goes_when_the_deferred_fires() {
    let count = Rc::new(Cell::new(0));
    let inside = Dropped(Rc::clone(&count));
    let deferred = Deferred::with_canceller(move |_| drop(Rc::clone(&inside.0)));
    deferred.fire(Ok(1)).unwrap();
    assert_eq!(count.get(), 1);
}

/// One that is paused with another for its outcome does not wait for that yet, and keeps it.
#[test]
fn cancelling_goes_on_to_what_a_paused_one_would_wait_for() {
    let inner = Deferred::with_canceller(|inner| inner.fire(Ok(5)).unwrap());
    let outer = Deferred::new();
    let (given, own) = (inner.clone(), outer.clone());
    outer.then(move |_| {
        own.pause();
        Slot::Deferred(given)
    });
    outer.fire(Ok(1)).unwrap();
    drop(inner);
    outer.unpause();
    outer.cancel();
    assert!(matches!(outer.slot(), Slot::Value(5)));
}

#[test]
fn waiting_for_oneself_ends_nowhere_but_ends() {
    let deferred = Deferred::new();
    let own = deferred.clone();
    deferred.on_value(move |_| own);
    deferred.fire(Ok(1)).unwrap();
    assert_eq!(deferred.chained_to(), Some(deferred.clone()));
    assert_eq!(deferred.paused(), 1);
    deferred.cancel();

    let (one, two) = (Deferred::<u8>::new(), Deferred::new());
    let (to_one, to_two) = (one.clone(), two.clone());
    one.on_value(move |_| to_two);
    two.on_value(move |_| to_one);
    one.fire(Ok(1)).unwrap();
    two.fire(Ok(2)).unwrap();
    // From outside, too, however far away.
    let mut outside = one;
    for _ in 0..9 {
        let next = Deferred::fired(Ok(3));
        next.on_value(move |_| outside);
        next.cancel();
        assert_eq!(next.outcome(), None);
        outside = next;
    }
}

#[test]
fn whoever_gives_to_itself_has_nothing() {
    let deferred = Deferred::<u8>::new();
    let own = deferred.clone();
    deferred.on_value(move |_| own);
    deferred.fire(Ok(1)).unwrap();
    deferred.unpause();
    assert_eq!(deferred.slot(), deferrous::core::Slot::Taken);
    assert_eq!((deferred.paused(), deferred.links()), (-1, 0));
}

#[test]
fn pausing_oneself_does_not_stop_the_run() {
    let deferred = Deferred::<u8>::new();
    let own = deferred.clone();
    deferred.on_value(move |n| {
        own.pause();
        Ok(n + 1)
    });
    deferred.on_value(|n| Ok(n * 2));
    deferred.fire(Ok(1)).unwrap();
    assert_eq!(deferred.outcome(), Some(Ok(4)));
    deferred.on_value(|n| Ok(n + 100));
    assert_eq!(deferred.outcome(), Some(Ok(4)), "it holds back what is added later");
    deferred.unpause();
    assert_eq!(deferred.outcome(), Some(Ok(104)));
}

#[test]
fn a_paused_receiver_ends_the_run_of_its_supplier() {
    let supplier = Deferred::<usize>::new();
    let receiver = one_more(supplier.clone());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = |name| {
        let seen = Rc::clone(&seen);
        move |outcome| {
            seen.borrow_mut().push(name);
            outcome
        }
    };
    supplier.then(log("supplier"));
    receiver.then(log("receiver"));
    receiver.pause();
    supplier.fire(Ok(1)).unwrap();
    assert_eq!((receiver.outcome(), receiver.paused()), (Some(Ok(1)), 1));
    assert_eq!((supplier.outcome(), supplier.links()), (None, 1));
    receiver.unpause();
    assert_eq!(*seen.borrow(), ["receiver"]);
    supplier.then(log("added"));
    assert_eq!(*seen.borrow(), ["receiver", "supplier", "added"]);
}

#[test]
fn only_then_sees_that_the_outcome_was_taken() {
    let supplier = Deferred::<usize>::new();
    let receiver = one_more(supplier.clone());
    supplier
        .on_value(|_| -> Result<usize, Fault> { unreachable!() })
        .on_either(|_| -> Result<usize, Fault> { unreachable!() })
        .then(|outcome| if outcome == deferrous::core::Slot::Taken { Ok(7) } else { Ok(8) });
    supplier.fire(Ok(1)).unwrap();
    assert_eq!((supplier.outcome(), receiver.outcome()), (Some(Ok(7)), Some(Ok(2))));
}

#[test]
fn a_panic_goes_through_and_leaves_the_deferred_usable() {
    let deferred = Deferred::<u8>::new();
    deferred.on_value(|_| -> Result<u8, Fault> { panic!("on purpose") }).on_value(|n| Ok(n + 1));
    assert!(catch_unwind(AssertUnwindSafe(|| deferred.fire(Ok(1)))).is_err());
    assert!(!deferred.running());
    assert_eq!((deferred.outcome(), deferred.links()), (Some(Ok(1)), 1));
    deferred.on_value(|n| Ok(n * 10));
    assert_eq!(deferred.outcome(), Some(Ok(20)));
}

#[test]
fn a_lost_failure_is_reported_once_and_by_its_last_holder() {
    let lost = Rc::new(RefCell::new(Vec::new()));
    let watch = |name: &'static str, deferred: &Deferred<usize>| {
        let lost = Rc::clone(&lost);
        deferred.on_unhandled(move |failure| lost.borrow_mut().push((name, failure)));
    };
    let supplier = Deferred::new();
    let receiver = one_more(supplier.clone());
    watch("supplier", &supplier);
    watch("receiver", &receiver);
    supplier.fire(Err(Fault::Told("bad"))).unwrap();
    drop(supplier);
    assert_eq!(*lost.borrow(), []);
    drop(receiver);
    assert_eq!(*lost.borrow(), [("receiver", Fault::Told("bad"))]);

    let handled = Deferred::fired(Err(Fault::Told("seen")));
    watch("handled", &handled);
    handled.mark_handled();
    drop(handled);
    let fine = Deferred::fired(Ok(1));
    watch("fine", &fine);
    drop(fine);
    assert_eq!(lost.borrow().len(), 1);
}

#[test]
fn debug_shows_the_outcome() {
    let deferred = Deferred::<u8>::new();
    let shown = |deferred: &Deferred<u8>| {
        let text = format!("{deferred:?}");
        text.replace(&format!("{:?}", deferred.as_ptr()), "here")
    };
    assert_eq!(shown(&deferred), "Deferred { at: here, .. }");
    deferred.fire(Ok(1)).unwrap();
    assert_eq!(shown(&deferred), "Deferred { at: here, value: 1, .. }");
    let failed = Deferred::fired(Err(Fault::Cancelled));
    assert_eq!(shown(&failed), "Deferred { at: here, failure: Cancelled, .. }");
}

// Limits. A test's thread has 2 MiB of stack.

#[test]
fn a_million_waiting_ones_fire() {
    let (start, end) = waiting_chain();
    start.fire(Ok(1)).unwrap();
    assert_eq!(end.outcome(), Some(Ok(MILLION + 1)));
}

#[test]
fn a_million_waiting_ones_are_cancelled_from_the_far_end() {
    let (start, end) = waiting_chain();
    drop(start);
    end.cancel();
    assert_eq!(end.outcome(), Some(Err(Fault::Cancelled)));
}

#[test]
fn a_million_waiting_ones_go_when_nobody_can_fire_them() {
    let count = Rc::new(Cell::new(0));
    for start_first in [false, true] {
        count.set(0);
        let (mut first, mut second) = (Deferred::new(), Deferred::new());
        if start_first {
            std::mem::swap(&mut first, &mut second);
        }
        let start = if start_first { first.clone() } else { second.clone() };
        let end = (0..MILLION).fold(start, |last, _| {
            let inside = Dropped(Rc::clone(&count));
            let next = one_more(last);
            next.on_value(move |n| {
                drop(inside);
                Ok(n)
            });
            next
        });
        assert_eq!(count.get(), 0);
        if start_first {
            drop((first, second));
            assert_eq!(count.get(), 0, "the end can still cancel");
            drop(end);
        } else {
            drop(end);
            assert_eq!(count.get(), 0, "the start can still fire");
            drop((first, second));
        }
        assert_eq!(count.get(), MILLION);
    }
}

#[test]
fn a_million_fired_ones_that_hand_on_are_stolen_from() {
    let end = (0..MILLION).fold(Deferred::fired(Ok(0)), |last, _| one_more(last));
    assert_eq!(end.outcome(), Some(Ok(MILLION)));
}

#[test]
fn a_million_that_each_own_the_next_are_dropped() {
    // By a callback that is never called.
    let count = Rc::new(Cell::new(0));
    let outer = (0..MILLION).fold(Deferred::<u8>::new(), |inner, _| {
        let deferred = Deferred::new();
        let inside = Dropped(Rc::clone(&count));
        deferred.on_value(move |_| {
            drop(inside);
            inner
        });
        deferred
    });
    drop(outer);
    assert_eq!(count.get(), MILLION);
}

#[test]
fn a_million_that_are_each_the_result_of_the_next_are_dropped() {
    #[derive(Clone)]
    struct Nested {
        _inside: Rc<Dropped>,
        _next: Option<deferrous::core::local::Deferred<Nested, ()>>,
    }
    let count = Rc::new(Cell::new(0));
    let mut next = None;
    for _ in 0..MILLION {
        let inside = Rc::new(Dropped(Rc::clone(&count)));
        let fired = Ok(Nested { _inside: inside, _next: next });
        next = Some(deferrous::core::local::Deferred::fired(fired));
    }
    drop(next);
    assert_eq!(count.get(), MILLION);
}

#[test]
fn a_million_links_run() {
    let deferred = Deferred::new();
    for _ in 0..MILLION {
        deferred.on_value(|n: usize| Ok(n + 1));
    }
    deferred.fire(Ok(0)).unwrap();
    assert_eq!(deferred.outcome(), Some(Ok(MILLION)));
}

#[test]
fn dropping_at_the_end_of_a_thread_is_quiet() {
    thread_local! {
        static KEPT: RefCell<Option<Deferred<usize>>> = const { RefCell::new(None) };
    }
    std::thread::spawn(|| {
        let start = Deferred::new();
        let end = (0..100).fold(start, |last, _| one_more(last));
        KEPT.with(|kept| *kept.borrow_mut() = Some(end));
    })
    .join()
    .unwrap();
}
