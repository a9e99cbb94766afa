//! Random programs.

use proptest::prelude::*;

/// One operation. A Deferred is meant by its number, modulo how many there are.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    New(Canceller),
    Fired(Ending),
    Add(usize, Kind, Script, Script),
    Fire(usize, Ending),
    Pause(usize),
    Unpause(usize),
    Cancel(usize),
    MarkHandled(usize),
    /// Let go of the handle.
    Drop(usize),
}

#[derive(Debug, Clone)]
pub(crate) enum Canceller {
    None,
    /// One that does these and fires nothing unless they do.
    Does(Vec<Op>),
    /// One that fires the Deferred it was asked for.
    Fires(Ending),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    OnValue,
    OnFailure,
    OnBoth,
    OnEither,
    Then,
}

/// What a callback does before it answers.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) body: Vec<Op>,
    pub(crate) answer: Answer,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// What it was called with.
    Same,
    End(Ending),
    Other(usize),
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    Value(u8),
    Failure(u8),
}

/// How many operations one program may come to, those in cancellers included.
pub(crate) const FUEL: usize = 120;

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![(0..9_u8).prop_map(Ending::Value), (0..9_u8).prop_map(Ending::Failure),]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        2 => Just(Answer::Same),
        2 => ending().prop_map(Answer::End),
        5 => (0..8_usize).prop_map(Answer::Other),
        1 => Just(Answer::Own),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::OnValue),
        Just(Kind::OnFailure),
        Just(Kind::OnBoth),
        Just(Kind::OnEither),
        Just(Kind::Then),
    ]
}

/// Operations without scripts.
fn plain_op() -> impl Strategy<Value = Op> {
    let which = 0..8_usize;
    prop_oneof![
        1 => Just(Op::New(Canceller::None)),
        1 => ending().prop_map(Op::Fired),
        4 => (which.clone(), ending()).prop_map(|(d, e)| Op::Fire(d, e)),
        2 => which.clone().prop_map(Op::Pause),
        3 => which.clone().prop_map(Op::Unpause),
        2 => which.clone().prop_map(Op::Cancel),
        1 => which.clone().prop_map(Op::MarkHandled),
        1 => which.prop_map(Op::Drop),
    ]
}

fn script(op: BoxedStrategy<Op>) -> impl Strategy<Value = Script> {
    (prop::collection::vec(op, 0..3), answer()).prop_map(|(body, answer)| Script { body, answer })
}

fn any_op(depth: usize) -> BoxedStrategy<Op> {
    if depth == 0 {
        return plain_op().boxed();
    }
    let inner = any_op(depth - 1);
    let canceller = prop_oneof![
        Just(Canceller::None),
        prop::collection::vec(inner.clone(), 0..3).prop_map(Canceller::Does),
        ending().prop_map(Canceller::Fires),
    ];
    prop_oneof![
        4 => plain_op(),
        2 => canceller.prop_map(Op::New),
        6 => (0..8_usize, kind(), script(inner.clone()), script(inner))
            .prop_map(|(d, kind, one, two)| Op::Add(d, kind, one, two)),
    ]
    .boxed()
}

pub(crate) fn program() -> impl Strategy<Value = Vec<Op>> {
    let some = prop_oneof![
        4 => Just(Op::New(Canceller::None)),
        1 => ending().prop_map(Op::Fired),
    ];
    (prop::collection::vec(some, 2..5), prop::collection::vec(any_op(2), 1..24)).prop_map(
        |(mut start, rest)| {
            start.extend(rest);
            start
        },
    )
}
