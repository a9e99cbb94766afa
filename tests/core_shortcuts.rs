//! The fast paths of a chain, in every state: each does what the plain way does, or says that it
//! does not apply and changes nothing.

use deferrous::core::{Boxed, Chain, Fired, Kinds, Link, Slot, Turn};

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

fn outcomes() -> Vec<Outcome> {
    vec![Slot::Empty, Slot::Taken, Slot::Value(1), Slot::Failure("bad"), Slot::Deferred('d')]
}

/// A state, by how a chain gets into it.
#[derive(Clone, Copy, Debug)]
struct State {
    outcome: usize,
    fired: bool,
    links: usize,
    canceller: bool,
    chained: bool,
    /// It has ended with a failure before.
    failed_before: bool,
}

/// The rows of links that there are: how many, and of which kinds.
const ROWS: usize = 9;

fn links(row: usize) -> Vec<Link<Names>> {
    let both = || match Boxed::new(("value", "failure")) {
        Ok(pair) => Link::Both(pair),
        Err(_) => panic!("memory"),
    };
    match row {
        0 => vec![],
        1 => vec![Link::Either("either")],
        2 => vec![Link::OnValue("value")],
        3 => vec![Link::OnFailure("failure")],
        4 => vec![both()],
        5 => vec![Link::Deliver("waiter", 7)],
        6 => vec![Link::Continue('c')],
        7 => vec![Link::OnValue("value"), Link::OnFailure("failure"), Link::Either("last")],
        _ => vec![Link::OnFailure("failure"), Link::OnValue("value")],
    }
}

fn states() -> Vec<State> {
    let mut all = Vec::new();
    let choices = [false, true];
    for outcome in 0..outcomes().len() {
        for links in 0..ROWS {
            for fired in choices {
                for canceller in choices {
                    for chained in choices {
                        for failed_before in choices {
                            all.push(State {
                                outcome,
                                fired,
                                links,
                                canceller,
                                chained,
                                failed_before,
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

fn chain(state: State) -> Chain<Names> {
    let mut chain = Chain::<Names>::new(state.canceller.then_some("stop"));
    if state.failed_before {
        assert_eq!(chain.set_fired(Slot::Failure("before")), Slot::Empty);
        assert!(matches!(chain.turn(), Turn::Rest));
        assert!(chain.unhandled());
        chain.mark_handled();
        let _ = chain.set_called(false);
    }
    let _ = chain.replace_outcome(outcomes().swap_remove(state.outcome));
    let _ = chain.set_called(state.fired);
    for link in links(state.links) {
        assert!(chain.add(link).is_ok());
    }
    if state.chained {
        assert_eq!(chain.replace_chained_to(Some('t')), None);
    }
    chain
}

/// All that can be seen of a chain.
fn shown(chain: &Chain<Names>) -> String {
    let links: Vec<String> = chain.links().iter().map(named).collect();
    format!(
        "{:?} {links:?} {:?} {:?} {} {} {} {}",
        chain.outcome(),
        chain.canceller(),
        chain.chained_to(),
        chain.paused(),
        chain.called(),
        chain.running(),
        chain.unhandled(),
    )
}

fn named(link: &Link<Names>) -> String {
    match link {
        Link::OnValue(callback) => format!("on value {callback}"),
        Link::OnFailure(callback) => format!("on failure {callback}"),
        Link::Either(callback) => format!("either {callback}"),
        Link::Both(pair) => format!("both {} {}", pair.0, pair.1),
        Link::Deliver(waiter, place) => format!("deliver {waiter} {place}"),
        Link::Continue(other) => format!("continue {other}"),
    }
}

#[test]
fn a_fresh_one_fires_as_any_other() {
    for state in states() {
        for outcome in outcomes() {
            let mut plain = chain(state);
            let mut fast = chain(state);
            let before = shown(&fast);
            let fresh = !state.fired && !state.canceller && state.outcome == 0;
            match fast.fire_fresh(outcome.clone()) {
                Ok(has_something_to_do) => {
                    assert!(fresh, "{state:?}");
                    match plain.fire(outcome) {
                        Ok(Fired::Accepted(None, Slot::Empty)) => {}
                        _ => panic!("{state:?}"),
                    }
                    assert_eq!(has_something_to_do, plain.has_something_to_do(), "{state:?}");
                    assert_eq!(shown(&fast), shown(&plain), "{state:?}");
                }
                Err(refused) => {
                    assert!(!fresh, "{state:?}");
                    assert_eq!(refused, outcome);
                    assert_eq!(shown(&fast), before, "{state:?}");
                }
            }
        }
    }
}

#[test]
fn a_run_that_has_nothing_to_do_would_change_nothing() {
    for state in states() {
        let mut chain = chain(state);
        let is_value = state.outcome == 2;
        let plain = state.links == 0 && is_value && !state.chained && !state.failed_before;
        assert_eq!(chain.has_something_to_do(), !plain, "{state:?}");
        if plain {
            let before = shown(&chain);
            assert!(matches!(chain.enter(), Ok(None)));
            assert!(matches!(chain.turn(), Turn::Rest));
            assert_eq!(shown(&chain), before, "{state:?}");
        }
    }
}

#[test]
fn a_bare_one_holds_nothing_but_its_outcome() {
    for state in states() {
        let bare = state.links == 0 && !state.canceller && !state.chained;
        assert_eq!(chain(state).is_bare(), bare, "{state:?}");
    }
}

#[test]
fn a_turn_to_call_is_the_turn() {
    for state in states() {
        let mut plain = chain(state);
        let mut fast = chain(state);
        let before = shown(&fast);
        let expected = match plain.turn() {
            Turn::Call { callback, spare: None, outcome } => Some((callback, outcome.clone())),
            _ => None,
        };
        let mut asked = Vec::new();
        let about_to_call = fast.is_about_to_call(|callback| {
            asked.push(*callback);
            true
        });
        assert_eq!(about_to_call, expected.is_some(), "{state:?}");
        assert_eq!(asked, expected.iter().map(|(callback, _)| *callback).collect::<Vec<_>>());
        assert!(!fast.is_about_to_call(|_| false), "{state:?}");
        assert!(fast.turn_to_call(|_| false).is_none());
        assert_eq!(shown(&fast), before, "{state:?}");
        let got =
            fast.turn_to_call(|_| true).map(|(callback, outcome)| (callback, outcome.clone()));
        assert_eq!(got, expected, "{state:?}");
        if got.is_some() {
            assert_eq!(shown(&fast), shown(&plain), "{state:?}");
        } else {
            assert_eq!(shown(&fast), before, "{state:?}");
        }
    }
}

#[test]
fn a_turn_to_rest_is_the_turn() {
    for state in states() {
        let mut plain = chain(state);
        let mut fast = chain(state);
        let before = shown(&fast);
        let rests = matches!(plain.turn(), Turn::Rest);
        let unhandled = fast.turn_to_rest();
        assert_eq!(unhandled.is_some(), rests, "{state:?}");
        if rests {
            assert_eq!(unhandled, Some(plain.unhandled()), "{state:?}");
            assert_eq!(shown(&fast), shown(&plain), "{state:?}");
        } else {
            assert_eq!(shown(&fast), before, "{state:?}");
        }
    }
}
