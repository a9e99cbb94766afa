//! The chain, one transition at a time; then `core::local`, by its rules and at its limits.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use deferrous::core::{AlreadyCalled, Cancelled};

mod chain {
    use std::collections::VecDeque;

    use deferrous::core::{
        AlreadyCalled, Boxed, Cancel, Chain, Fired, Kinds, Link, Links, On, Paused, Slot, Turn,
    };
    use proptest::prelude::*;

    /// All by name or number, so that what comes back can be compared.
    struct Names;

    impl Kinds for Names {
        type Value = i32;
        type Failure = &'static str;
        type Callback = &'static str;
        type Deferred = char;
        type Waiter = &'static str;
        type Canceller = &'static str;
        type Flag = bool;
        type Runner = ();
    }

    type Outcome = Slot<i32, &'static str, char>;

    const FAILURE: Outcome = Slot::Failure("bad");

    fn fired(outcome: Outcome) -> Chain<Names> {
        Chain::fired(outcome)
    }

    /// A turn in words.
    fn told(turn: Turn<'_, Names>) -> String {
        match turn {
            Turn::Call { callback, spare, outcome } => match spare {
                Some(spare) => format!("call {callback} with {outcome:?}, not {spare}"),
                None => format!("call {callback} with {outcome:?}"),
            },
            Turn::Deliver(waiter, place, outcome) => {
                format!("deliver {outcome:?} to {waiter} at {place}")
            }
            Turn::Continue(other, outcome) => format!("continue {other} with {outcome:?}"),
            Turn::Skip(link) => format!("skip {}", linked(&link)),
            Turn::Pass(link, outcome) => format!("pass {outcome:?} by {}", linked(&link)),
            Turn::Busy => "busy".to_owned(),
            Turn::Rest => "rest".to_owned(),
        }
    }

    fn linked(link: &Link<Names>) -> String {
        match link {
            Link::OnValue(callback) => format!("on value {callback}"),
            Link::OnFailure(callback) => format!("on failure {callback}"),
            Link::Either(callback) => format!("either {callback}"),
            Link::Both(pair) => format!("both {} {}", pair.0, pair.1),
            Link::Continue(other) => format!("continue {other}"),
            Link::Deliver(waiter, place) => format!("deliver {waiter} {place}"),
        }
    }

    fn turn_of(link: Link<Names>, outcome: Outcome) -> (String, Chain<Names>) {
        let mut chain = fired(outcome);
        chain.add(link).unwrap();
        let turn = told(chain.turn());
        (turn, chain)
    }

    #[test]
    fn a_new_chain_is_empty() {
        let chain = Chain::<Names>::new(Some("stop"));
        assert!(!chain.called() && !chain.running() && !chain.unhandled());
        assert!(!chain.is_runnable() && !chain.is_at_rest());
        assert_eq!(chain.paused(), 0);
        assert_eq!(chain.outcome(), &Slot::Empty);
        assert_eq!(chain.canceller(), Some(&"stop"));
        assert_eq!(chain.chained_to(), None);
        assert!(chain.links().is_empty());
        assert_eq!(Chain::<Names>::default().canceller(), None);
    }

    #[test]
    fn a_fired_chain_is_at_rest() {
        let chain = fired(Slot::Value(1));
        assert!(chain.called() && chain.is_runnable() && chain.is_at_rest());
        assert!(!chain.unhandled());
        assert_eq!(chain.outcome(), &Slot::Value(1));
        assert!(fired(FAILURE).unhandled());
    }

    #[test]
    fn firing_gives_the_canceller_back() {
        let mut chain = Chain::<Names>::new(Some("stop"));
        match chain.fire(Slot::Value(1)) {
            Ok(Fired::Accepted(Some("stop"), Slot::Empty)) => {}
            _ => panic!("accepted"),
        }
        assert!(chain.called());
        assert_eq!(chain.outcome(), &Slot::Value(1));
        assert_eq!(chain.canceller(), None);
    }

    #[test]
    fn firing_gives_back_what_was_there_by_hand() {
        let mut chain = Chain::<Names>::default();
        assert_eq!(chain.replace_outcome(Slot::Value(1)), Slot::Empty);
        assert!(!chain.called());
        match chain.fire(Slot::Value(2)) {
            Ok(Fired::Accepted(None, Slot::Value(1))) => {}
            _ => panic!("accepted"),
        }
    }

    #[test]
    fn firing_twice_is_refused() {
        let mut chain = fired(Slot::Value(1));
        assert_eq!(chain.fire(Slot::Value(2)).err(), Some(AlreadyCalled(Slot::Value(2))));
        assert_eq!(chain.outcome(), &Slot::Value(1));
    }

    #[test]
    fn one_late_fire_is_swallowed() {
        let mut chain = Chain::<Names>::default();
        chain.swallow_next_fire();
        assert!(matches!(chain.fire(FAILURE), Ok(Fired::Accepted(None, Slot::Empty))));
        assert!(matches!(chain.fire(Slot::Value(1)), Ok(Fired::Swallowed(Slot::Value(1)))));
        assert_eq!(chain.fire(Slot::Value(2)).err(), Some(AlreadyCalled(Slot::Value(2))));
        assert_eq!(chain.outcome(), &FAILURE);
    }

    #[test]
    fn firing_alone_marks_nothing_unhandled() {
        let mut chain = Chain::<Names>::default();
        assert!(chain.fire(FAILURE).is_ok());
        assert!(!chain.unhandled());
        assert_eq!(told(chain.turn()), "rest");
        assert!(chain.unhandled());
        chain.mark_handled();
        assert!(!chain.unhandled());
        assert_eq!(chain.outcome(), &FAILURE);

        let mut chain = fired(FAILURE);
        assert_eq!(chain.replace_outcome(Slot::Value(1)), FAILURE);
        assert_eq!(told(chain.turn()), "rest");
        assert!(!chain.unhandled(), "a run that ends well clears the mark");
    }

    #[test]
    fn each_link_meets_each_outcome() {
        let (value, other) = (Slot::Value(1), Slot::Deferred('b'));
        let both = || Link::Both(Boxed::new(("f", "g")).unwrap());
        for (link, outcome, expected) in [
            (Link::OnValue("f"), value.clone(), "call f with Value(1)"),
            (Link::OnValue("f"), FAILURE, "skip on value f"),
            (Link::OnValue("f"), Slot::Taken, "call f with Taken"),
            (Link::OnValue("f"), other.clone(), "call f with Deferred('b')"),
            (Link::OnFailure("f"), value.clone(), "skip on failure f"),
            (Link::OnFailure("f"), FAILURE, "call f with Failure(\"bad\")"),
            (Link::OnFailure("f"), Slot::Taken, "skip on failure f"),
            (Link::OnFailure("f"), other.clone(), "pass Deferred('b') by on failure f"),
            (Link::Either("f"), value.clone(), "call f with Value(1)"),
            (Link::Either("f"), FAILURE, "call f with Failure(\"bad\")"),
            (Link::Either("f"), Slot::Taken, "call f with Taken"),
            (Link::Either("f"), other.clone(), "call f with Deferred('b')"),
            (both(), value.clone(), "call f with Value(1), not g"),
            (both(), FAILURE, "call g with Failure(\"bad\"), not f"),
            (both(), Slot::Taken, "call f with Taken, not g"),
            (both(), other.clone(), "call f with Deferred('b'), not g"),
            (Link::Deliver("w", 7), value.clone(), "deliver Value(1) to w at 7"),
            (Link::Deliver("w", 7), FAILURE, "deliver Failure(\"bad\") to w at 7"),
            (Link::Continue('c'), value, "continue c with Value(1)"),
            (Link::Continue('c'), FAILURE, "continue c with Failure(\"bad\")"),
            (Link::Continue('c'), other, "continue c with Deferred('b')"),
        ] {
            let (turn, chain) = turn_of(link, outcome.clone());
            assert_eq!(turn, expected);
            assert!(chain.links().is_empty());
            let calls = turn.starts_with("call") || turn.starts_with("deliver");
            assert_eq!(chain.running(), calls, "{turn}");
            let moved = turn.starts_with("continue") || turn.starts_with("pass");
            assert_eq!(chain.outcome() == &Slot::Taken, moved || outcome == Slot::Taken, "{turn}");
        }
    }

    #[test]
    fn a_call_is_settled() {
        let (_, mut chain) = turn_of(Link::OnValue("f"), Slot::Value(1));
        assert!(!chain.is_runnable() && !chain.is_at_rest());
        assert_eq!(chain.settle(FAILURE), Slot::Value(1));
        assert!(chain.is_runnable() && !chain.running());
        assert_eq!(chain.outcome(), &FAILURE);
        assert_eq!(told(chain.turn()), "rest");
        assert!(chain.unhandled());
    }

    #[test]
    fn a_call_can_be_settled_in_two_halves() {
        let (_, mut chain) = turn_of(Link::Deliver("w", 0), Slot::Value(1));
        assert_eq!(chain.replace_outcome(Slot::Value(2)), Slot::Value(1));
        assert!(chain.running());
        chain.stop_running();
        assert!(!chain.running());
        assert_eq!(chain.outcome(), &Slot::Value(2));
    }

    #[test]
    fn a_run_needs_no_pause_in_force() {
        let mut chain = fired(Slot::Value(1));
        assert_eq!(chain.replace_chained_to(Some('b')), None);
        chain.pause();
        assert!(chain.is_runnable() && !chain.is_at_rest());
        assert_eq!(chain.enter(), Err(Paused));
        assert_eq!(chain.chained_to(), Some(&'b'));
        assert!(chain.unpause());
        assert_eq!(chain.enter(), Ok(Some('b')));
        assert_eq!(chain.enter(), Ok(None));
        chain.set_paused(-1);
        assert_eq!(chain.enter(), Err(Paused));
    }

    #[test]
    fn what_would_be_called_at_once_needs_no_link() {
        let mut chain = fired(Slot::Value(1));
        assert_eq!(chain.call_at_once(On::Failure), None);
        assert_eq!(chain.call_at_once(On::Value), Some(&Slot::Value(1)));
        assert!(chain.running());
        assert_eq!(chain.call_at_once(On::Value), None, "a callback has the outcome");
        assert_eq!(chain.settle(FAILURE), Slot::Value(1));
        assert_eq!(chain.call_at_once(On::Value), None);
        assert_eq!(chain.call_at_once(On::Either), Some(&FAILURE));
        assert_eq!(chain.settle(FAILURE), FAILURE);
        assert_eq!(chain.call_at_once(On::Failure), Some(&FAILURE));
    }

    #[test]
    fn what_has_to_wait_is_not_called_at_once() {
        let at_once = |change: fn(&mut Chain<Names>)| {
            let mut chain = fired(Slot::Value(1));
            change(&mut chain);
            chain.call_at_once(On::Either).is_some()
        };
        assert!(at_once(|_| {}));
        assert!(!at_once(|chain| {
            let _before = chain.set_called(false);
        }));
        assert!(!at_once(Chain::pause));
        assert!(!at_once(|chain| chain.add(Link::OnFailure("before")).unwrap()));
        assert!(!at_once(|chain| assert_eq!(chain.replace_chained_to(Some('b')), None)));
        for outcome in [Slot::Empty, Slot::Taken, Slot::Deferred('b')] {
            assert_eq!(fired(outcome).call_at_once(On::Either), None);
        }
    }

    #[test]
    fn a_kind_of_callback_has_its_kind_of_link() {
        let link = |on: On| linked(&on.link("call"));
        assert_eq!(link(On::Value), "on value call");
        assert_eq!(link(On::Failure), "on failure call");
        assert_eq!(link(On::Either), "either call");
    }

    #[test]
    fn unpausing_tells_when_to_run() {
        let mut chain = Chain::<Names>::default();
        chain.pause();
        assert!(!chain.unpause(), "not fired");
        let _before = chain.set_called(true);
        chain.pause();
        chain.pause();
        assert!(!chain.unpause(), "one pause is left");
        assert!(chain.unpause());
        assert!(!chain.unpause(), "one too many");
        assert_eq!(chain.paused(), -1);
        chain.pause();
        assert_eq!(chain.paused(), 0);

        let (_, mut running) = turn_of(Link::Either("f"), Slot::Value(1));
        running.pause();
        assert!(!running.unpause(), "a run is under way");
    }

    #[test]
    fn pauses_do_not_overflow() {
        let mut chain = fired(Slot::Value(1));
        chain.set_paused(i32::MAX);
        chain.pause();
        assert_eq!(chain.paused(), i32::MAX);
        chain.set_paused(i32::MIN);
        assert!(!chain.unpause());
        let _before = chain.receive(Slot::Taken);
        assert_eq!(chain.paused(), i32::MIN);
    }

    #[test]
    fn an_outcome_is_taken_from_a_chain_at_rest_only() {
        let taken = |change: fn(&mut Chain<Names>)| {
            let mut chain = fired(FAILURE);
            change(&mut chain);
            chain.take_at_rest().is_some()
        };
        assert!(taken(|_| {}));
        assert!(!taken(|chain| {
            let _before = chain.set_called(false);
        }));
        assert!(!taken(Chain::pause));
        assert!(!taken(|chain| chain.add(Link::OnValue("before")).unwrap()));

        let mut chain = fired(FAILURE);
        assert_eq!(chain.replace_chained_to(Some('b')), None);
        assert!(chain.unhandled());
        assert_eq!(chain.take_at_rest(), Some((FAILURE, Some('b'))));
        assert_eq!((chain.outcome(), chain.chained_to()), (&Slot::Taken, None));
        assert!(!chain.unhandled());
        assert_eq!(chain.take_at_rest(), Some((Slot::Taken, None)), "as a None");
    }

    #[test]
    fn an_outcome_that_is_looked_at_stays_and_counts_as_handled() {
        let mut chain = Chain::<Names>::default();
        assert_eq!(chain.look_at_outcome(), None, "not there yet");
        let mut chain = fired(FAILURE);
        chain.pause();
        assert_eq!(chain.look_at_outcome(), None, "held back");
        assert!(chain.unhandled());
        assert!(chain.unpause());
        chain.add(Link::OnValue("next")).unwrap();
        assert_eq!(chain.look_at_outcome(), Some(&FAILURE));
        assert!(!chain.unhandled());
        assert_eq!(chain.outcome(), &FAILURE);
    }

    #[test]
    fn a_failure_is_taken_over_once() {
        let mut chain = fired(FAILURE);
        assert_eq!(chain.take_over_failure(), Some(&"bad"));
        assert!(!chain.unhandled());
        assert_eq!(chain.take_over_failure(), None);
        assert_eq!(fired(Slot::Value(1)).take_over_failure(), None);
    }

    #[test]
    fn what_is_set_as_fired_is_not_watched_over() {
        let mut chain = Chain::<Names>::default();
        assert_eq!(chain.set_fired(FAILURE), Slot::Empty);
        assert!(chain.called() && !chain.unhandled());
        assert_eq!(chain.outcome(), &FAILURE);
    }

    #[test]
    fn one_that_gives_up_waiting_has_another_outcome_and_one_pause_less() {
        let mut chain = fired(Slot::Deferred('b'));
        assert_eq!(chain.wait('b'), None);
        assert_eq!(chain.wait_no_more(FAILURE), (Slot::Deferred('b'), Some('b')));
        assert_eq!((chain.outcome(), chain.paused()), (&FAILURE, 0));
        assert_eq!(chain.chained_to(), None);
    }

    #[test]
    fn an_outcome_is_stolen_once_it_is_there() {
        let mut chain = Chain::<Names>::default();
        assert_eq!(chain.steal(), None, "not there yet");
        assert_eq!(chain.outcome(), &Slot::Empty);

        let mut chain = fired(FAILURE);
        chain.pause();
        assert_eq!(chain.steal(), None, "paused");
        assert!(chain.unhandled());
        chain.unpause();
        assert_eq!(chain.steal(), Some(FAILURE));
        assert!(!chain.unhandled());
        assert_eq!(chain.steal(), Some(Slot::Taken));
        chain.set_paused(-1);
        assert_eq!(chain.steal(), None, "unpaused once too often");

        let mut chain = fired(Slot::Deferred('b'));
        assert_eq!(chain.steal(), None, "waits itself");
        assert_eq!(chain.outcome(), &Slot::Deferred('b'));
    }

    #[test]
    fn waiting_is_a_pause_until_the_outcome_arrives() {
        let mut chain = fired(FAILURE);
        assert_eq!(chain.settle(Slot::Deferred('b')), FAILURE);
        assert_eq!(chain.wait('b'), None);
        assert_eq!((chain.paused(), chain.chained_to()), (1, Some(&'b')));
        assert!(!chain.unhandled());
        assert_eq!(chain.receive(Slot::Value(2)), Slot::Deferred('b'));
        assert_eq!((chain.paused(), chain.chained_to()), (0, Some(&'b')));
        assert_eq!(chain.enter(), Ok(Some('b')));
        assert_eq!(chain.wait('c'), None);
        assert_eq!(chain.wait('d'), Some('c'));
        assert_eq!(chain.paused(), 2);
    }

    #[test]
    fn a_failure_that_is_handed_on_is_no_longer_unhandled_here() {
        let mut chain = fired(FAILURE);
        chain.add(Link::Continue('b')).unwrap();
        assert!(!chain.is_at_rest());
        assert_eq!(told(chain.turn()), "continue b with Failure(\"bad\")");
        assert!(!chain.unhandled());
        assert_eq!(told(chain.turn()), "rest");
        assert!(!chain.unhandled());
    }

    #[test]
    fn what_cancelling_comes_to() {
        let mut chain = Chain::<Names>::default();
        assert!(matches!(chain.cancel(), Cancel::Fail));
        assert_eq!(chain.replace_canceller(Some("stop")), None);
        assert!(matches!(chain.cancel(), Cancel::Ask(&"stop")));
        let _before = chain.replace_outcome(Slot::Deferred('b'));
        assert!(matches!(chain.cancel(), Cancel::Ask(_)), "it has not fired");
        let _before = chain.set_called(true);
        assert!(matches!(chain.cancel(), Cancel::Forward(&'b')), "a stale canceller");
        for there in [Slot::Value(1), FAILURE, Slot::Taken] {
            let _before = chain.replace_outcome(there);
            assert!(matches!(chain.cancel(), Cancel::Nothing));
        }
        assert_eq!(chain.replace_canceller(None), Some("stop"));
        assert!(matches!(chain.cancel(), Cancel::Nothing));
    }

    #[test]
    fn links_keep_their_order() {
        let mut chain = fired(Slot::Value(1));
        for callback in ["c", "d", "e"] {
            chain.add(Link::OnValue(callback)).unwrap();
        }
        chain.add_front(Link::OnValue("b")).unwrap();
        chain.add_front(Link::OnFailure("a")).unwrap();
        let seen: Vec<_> = chain.links().iter().map(linked).collect();
        assert_eq!(seen.join(", "), "on failure a, on value b, on value c, on value d, on value e");
        assert_eq!(chain.links().len(), 5);

        assert_eq!(told(chain.turn()), "skip on failure a");
        assert_eq!(told(chain.turn()), "call b with Value(1)");
        // The front is empty now, and what is added still comes last or first.
        chain.add(Link::OnValue("f")).unwrap();
        chain.add_front(Link::OnValue("z")).unwrap();
        for callback in ["z", "c", "d", "e", "f"] {
            assert_eq!(told(chain.turn()), format!("call {callback} with Value(1)"));
        }
        assert_eq!(told(chain.turn()), "rest");
        assert!(chain.links().is_empty());
    }

    #[test]
    fn links_can_be_taken_out() {
        let mut chain = fired(Slot::Value(1));
        chain.add(Link::OnValue("f")).unwrap();
        chain.add(Link::OnValue("g")).unwrap();
        let mut links = chain.take_links();
        assert!(chain.links().is_empty() && chain.is_at_rest());
        assert_eq!(links.len(), 2);
        assert!(matches!(links.pop_front(), Some(Link::OnValue("f"))));
        assert_eq!((links.len(), links.is_empty()), (1, false));
        assert!(matches!(links.pop_front(), Some(Link::OnValue("g"))));
        assert_eq!((links.len(), links.is_empty()), (0, true));
        assert!(links.pop_front().is_none());

        let mut links = Links::<Names>::default();
        links.push_front(Link::OnValue("f")).unwrap();
        assert_eq!(links.iter().count(), 1);
        assert!(matches!(links.pop_front(), Some(Link::OnValue("f"))));
    }

    proptest! {
        /// Whatever is pushed and popped, in whatever order: at each moment what a `VecDeque` has.
        #[test]
        fn links_are_a_queue(ops in proptest::collection::vec(0u8..5, 0..60)) {
            let names = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX";
            let mut links = Links::<Names>::default();
            let mut model = VecDeque::new();
            for (at, op) in ops.into_iter().enumerate() {
                let name = &names[at..=at];
                match op {
                    0 | 1 => {
                        links.push_back(Link::OnValue(name)).unwrap();
                        model.push_back(name);
                    }
                    2 => {
                        links.push_front(Link::OnValue(name)).unwrap();
                        model.push_front(name);
                    }
                    _ => {
                        let popped = match links.pop_front() {
                            Some(Link::OnValue(name)) => Some(name),
                            _ => None,
                        };
                        prop_assert_eq!(popped, model.pop_front());
                    }
                }
                let names = links.iter().map(|link| match link {
                    Link::OnValue(name) => *name,
                    _ => "",
                });
                prop_assert!(names.eq(model.iter().copied()));
                prop_assert_eq!((links.len(), links.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}

#[test]
fn errors_say_what_happened() {
    assert_eq!(AlreadyCalled(1).to_string(), "the Deferred has already been called");
    assert_eq!(Cancelled.to_string(), "the Deferred was cancelled");
}

// ---------------------------------------------------------------------------------------------
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
    let third = Deferred::fired(Ok(3));
    third.on_value(move |_| one);
    third.cancel();
    assert_eq!(third.outcome(), None);
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
