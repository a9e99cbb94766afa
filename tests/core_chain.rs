//! The chain, one transition at a time.

use deferrous::core::{AlreadyCalled, Boxed, Cancel, Chain, Fired, Link, On, Paused, Slot};

mod names;
use names::{Names, Outcome, fired, linked, told};

const FAILURE: Outcome = Slot::Failure("bad");

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
fn whether_the_next_outcome_is_discarded_can_be_set_by_hand() {
    let mut chain = fired(Slot::Value(1));
    assert!(!chain.swallows_next_fire());
    chain.set_swallows_next_fire(true);
    assert!(chain.swallows_next_fire());
    assert!(chain.fire(Slot::Value(2)).is_ok());
    assert!(!chain.swallows_next_fire());
    assert!(chain.fire(Slot::Value(3)).is_err());
}
