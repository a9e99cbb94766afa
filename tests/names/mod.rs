//! Chains of names and numbers, and what they do in words.

use deferrous::core::{Chain, Kinds, Link, Slot, Turn};

/// All by name or number, so that what comes back can be compared.
pub struct Names;

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

pub type Outcome = Slot<i32, &'static str, char>;

pub fn fired(outcome: Outcome) -> Chain<Names> {
    Chain::fired(outcome)
}

/// A turn in words.
pub fn told(turn: Turn<'_, Names>) -> String {
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

pub fn linked(link: &Link<Names>) -> String {
    match link {
        Link::OnValue(callback) => format!("on value {callback}"),
        Link::OnFailure(callback) => format!("on failure {callback}"),
        Link::Either(callback) => format!("either {callback}"),
        Link::Both(pair) => format!("both {} {}", pair.0, pair.1),
        Link::Continue(other) => format!("continue {other}"),
        Link::Deliver(waiter, place) => format!("deliver {waiter} {place}"),
    }
}
