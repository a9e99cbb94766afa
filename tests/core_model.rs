//! Random programs over `core::local::Deferred`, played as well on a reference model that is naive
//! on purpose: lists, recursion and no thought of speed. Both must make the same calls in the same
//! order and show the same state after every operation, also those inside callbacks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use deferrous::core::local::{Deferred, Outcome};
use deferrous::core::{Cancelled, Slot};
use proptest::prelude::*;

// ---------------------------------------------------------------------------------------------
// Programs

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
const FUEL: usize = 120;

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

// ---------------------------------------------------------------------------------------------
// What is compared

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Code(u8),
    Cancelled,
}

impl From<Cancelled> for Fault {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl Ending {
    fn result(self) -> Result<u8, Fault> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Failure(code) => Err(Fault::Code(code)),
        }
    }

    fn seen(self) -> Seen {
        match self {
            Self::Value(value) => Seen::Value(value),
            Self::Failure(code) => Seen::Failure(Fault::Code(code)),
        }
    }
}

/// An outcome with Deferreds by number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Absent,
    Taken,
    Value(u8),
    Failure(Fault),
    Deferred(usize),
}

#[derive(Debug, Clone, PartialEq)]
struct State {
    called: bool,
    paused: i32,
    outcome: Seen,
    running: bool,
    chained_to: Option<usize>,
    links: usize,
    unhandled: bool,
}

/// The second number of a call tells the two halves of [`Kind::OnBoth`] apart.
#[derive(Debug, Clone, PartialEq)]
enum Event {
    Call(usize, usize, Seen),
    Returned(usize),
    Asked(usize),
    Refused(usize),
    /// After an operation: the state of each Deferred that there is a handle on.
    States(Vec<Option<State>>),
    /// After an operation of the program itself: failures that were lost.
    Lost(Vec<(usize, Fault)>),
}

// ---------------------------------------------------------------------------------------------
// The real thing

#[derive(Default)]
struct World {
    handles: Vec<Option<Deferred<u8, Fault>>>,
    numbers: HashMap<*const (), usize>,
    callbacks: usize,
    spent: usize,
    trace: Vec<Event>,
    lost: Vec<(usize, Fault)>,
}

type Shared = Rc<RefCell<World>>;

fn play_real(program: &[Op]) -> Vec<Event> {
    let world = Shared::default();
    for op in program {
        real_op(&world, op);
        let mut lost = std::mem::take(&mut world.borrow_mut().lost);
        lost.sort_by_key(|(number, _)| *number);
        world.borrow_mut().trace.push(Event::Lost(lost));
    }
    world.take().trace
}

fn real_op(world: &Shared, op: &Op) {
    {
        let mut world = world.borrow_mut();
        if world.spent == FUEL {
            return;
        }
        world.spent += 1;
    }
    let pick = |d: usize| {
        let world = world.borrow();
        world.handles[d % world.handles.len()].clone()
    };
    match op {
        Op::New(canceller) => {
            let made = match canceller {
                Canceller::None => Deferred::new(),
                Canceller::Does(ops) => {
                    let (world, ops) = (Rc::clone(world), ops.clone());
                    Deferred::with_canceller(move |asked| {
                        real_asked(&world, asked);
                        for op in &ops {
                            real_op(&world, op);
                        }
                    })
                }
                Canceller::Fires(ending) => {
                    let (world, ending) = (Rc::clone(world), *ending);
                    Deferred::with_canceller(move |asked| {
                        real_asked(&world, asked);
                        asked.fire(ending.result()).expect("not fired yet");
                    })
                }
            };
            real_new(world, made);
        }
        Op::Fired(ending) => real_new(world, Deferred::fired(ending.result())),
        Op::Add(d, kind, one, two) => {
            if let Some(deferred) = pick(*d) {
                real_add(world, &deferred, *kind, one, two);
            }
        }
        Op::Fire(d, ending) => {
            if let Some(deferred) = pick(*d)
                && let Err(refused) = deferred.fire(ending.result())
            {
                assert_eq!(refused.0, ending.result());
                let number = real_number(world, &deferred);
                world.borrow_mut().trace.push(Event::Refused(number));
            }
        }
        Op::Pause(d) => drop(pick(*d).map(|deferred| deferred.pause())),
        Op::Unpause(d) => drop(pick(*d).map(|deferred| deferred.unpause())),
        Op::Cancel(d) => drop(pick(*d).map(|deferred| deferred.cancel())),
        Op::MarkHandled(d) => drop(pick(*d).map(|deferred| deferred.mark_handled())),
        Op::Drop(d) => {
            let handle = {
                let mut world = world.borrow_mut();
                let index = d % world.handles.len();
                world.handles[index].take()
            };
            drop(handle);
        }
    }
    let states = real_states(world);
    world.borrow_mut().trace.push(Event::States(states));
}

fn real_new(world: &Shared, made: Deferred<u8, Fault>) {
    let number = world.borrow().handles.len();
    // Not by `world` itself, which holds the handle.
    let weak = Rc::downgrade(world);
    made.on_unhandled(move |failure| {
        if let Some(world) = weak.upgrade() {
            world.borrow_mut().lost.push((number, failure));
        }
    });
    let mut world = world.borrow_mut();
    world.numbers.insert(made.as_ptr(), number);
    world.handles.push(Some(made));
}

fn real_number(world: &Shared, deferred: &Deferred<u8, Fault>) -> usize {
    world.borrow().numbers[&deferred.as_ptr()]
}

fn real_asked(world: &Shared, asked: &Deferred<u8, Fault>) {
    let number = real_number(world, asked);
    world.borrow_mut().trace.push(Event::Asked(number));
}

fn real_seen(world: &Shared, outcome: &Outcome<u8, Fault>) -> Seen {
    match outcome {
        Slot::Empty => Seen::Absent,
        Slot::Taken => Seen::Taken,
        Slot::Value(value) => Seen::Value(*value),
        Slot::Failure(fault) => Seen::Failure(*fault),
        Slot::Deferred(other) => Seen::Deferred(real_number(world, other)),
    }
}

fn real_add(
    world: &Shared,
    deferred: &Deferred<u8, Fault>,
    kind: Kind,
    one: &Script,
    two: &Script,
) {
    let id = {
        let mut world = world.borrow_mut();
        world.callbacks += 1;
        world.callbacks
    };
    let own = real_number(world, deferred);
    let callback = |half: usize, script: &Script| {
        let (world, script) = (Rc::clone(world), script.clone());
        move |input: Outcome<u8, Fault>| real_call(&world, own, (id, half), &script, input)
    };
    let (one, two) = (callback(0, one), callback(1, two));
    match kind {
        Kind::OnValue => deferred.on_value(move |value| one(Slot::Value(value))),
        Kind::OnFailure => deferred.on_failure(move |fault| one(Slot::Failure(fault))),
        Kind::OnBoth => deferred
            .on_both(move |value| one(Slot::Value(value)), move |fault| two(Slot::Failure(fault))),
        Kind::OnEither => deferred.on_either(move |result| one(result.into())),
        Kind::Then => deferred.then(one),
    };
}

fn real_call(
    world: &Shared,
    own: usize,
    (id, half): (usize, usize),
    script: &Script,
    input: Outcome<u8, Fault>,
) -> Outcome<u8, Fault> {
    let seen = real_seen(world, &input);
    let states = real_states(world);
    {
        let mut world = world.borrow_mut();
        world.trace.push(Event::Call(id, half, seen));
        world.trace.push(Event::States(states));
    }
    for op in &script.body {
        real_op(world, op);
    }
    let world = &mut *world.borrow_mut();
    world.trace.push(Event::Returned(id));
    let handle = |number: usize| match &world.handles[number % world.handles.len()] {
        Some(other) => Slot::Deferred(other.clone()),
        None => Slot::Value(77),
    };
    match script.answer {
        Answer::Same => input,
        Answer::End(ending) => ending.result().into(),
        Answer::Other(d) => handle(d),
        Answer::Own => handle(own),
    }
}

fn real_states(world: &Shared) -> Vec<Option<State>> {
    let handles = world.borrow().handles.clone();
    let state = |deferred: &Deferred<u8, Fault>| State {
        called: deferred.called(),
        paused: deferred.paused(),
        outcome: real_seen(world, &deferred.slot()),
        running: deferred.running(),
        chained_to: deferred.chained_to().map(|other| real_number(world, &other)),
        links: deferred.links(),
        unhandled: deferred.unhandled(),
    };
    handles.iter().map(|handle| handle.as_ref().map(state)).collect()
}

// ---------------------------------------------------------------------------------------------
// The model

#[derive(Debug, Clone)]
struct Modelled {
    result: Seen,
    todo: Vec<Todo>,
    on_cancel: Option<Canceller>,
    waits_for: Option<usize>,
    holds: i32,
    fired: bool,
    in_callback: bool,
    eat_next: bool,
    sore: bool,
    /// There is a handle in the program's hands.
    in_hand: bool,
    /// Nobody can act on it, or nobody can even run it.
    out_of_reach: bool,
    gone: bool,
}

#[derive(Debug, Clone)]
enum Todo {
    Call(usize, Kind, Script, Script),
    Feed(usize),
}

#[derive(Default)]
struct Model {
    all: Vec<Modelled>,
    callbacks: usize,
    spent: usize,
    trace: Vec<Event>,
}

fn play_model(program: &[Op]) -> Vec<Event> {
    let mut model = Model::default();
    for op in program {
        model.op(op);
        let lost = model.bury();
        model.trace.push(Event::Lost(lost));
    }
    model.trace
}

impl Model {
    fn op(&mut self, op: &Op) {
        if self.spent == FUEL {
            return;
        }
        self.spent += 1;
        match op {
            Op::New(canceller) => {
                let canceller = match canceller {
                    Canceller::None => None,
                    some => Some(some.clone()),
                };
                self.create(Seen::Absent, canceller);
            }
            Op::Fired(ending) => self.create(ending.seen(), None),
            Op::Add(d, kind, one, two) => {
                if let Some(d) = self.pick(*d) {
                    self.callbacks += 1;
                    let todo = Todo::Call(self.callbacks, *kind, one.clone(), two.clone());
                    self.all[d].todo.push(todo);
                    if self.all[d].fired && !self.all[d].in_callback {
                        self.run(d);
                    }
                }
            }
            Op::Fire(d, ending) => {
                if let Some(d) = self.pick(*d) {
                    self.fire(d, ending.seen());
                }
            }
            Op::Pause(d) => {
                if let Some(d) = self.pick(*d) {
                    self.all[d].holds += 1;
                }
            }
            Op::Unpause(d) => {
                if let Some(d) = self.pick(*d) {
                    self.all[d].holds -= 1;
                    if self.all[d].holds == 0 && self.all[d].fired && !self.all[d].in_callback {
                        self.run(d);
                    }
                }
            }
            Op::Cancel(d) => {
                if let Some(d) = self.pick(*d) {
                    self.cancel(d, &mut Vec::new());
                }
            }
            Op::MarkHandled(d) => {
                if let Some(d) = self.pick(*d) {
                    self.all[d].sore = false;
                }
            }
            Op::Drop(d) => {
                if let Some(d) = self.pick(*d) {
                    self.all[d].in_hand = false;
                }
            }
        }
        let states = self.states();
        self.trace.push(Event::States(states));
    }

    fn pick(&self, d: usize) -> Option<usize> {
        let d = d % self.all.len();
        self.all[d].in_hand.then_some(d)
    }

    fn create(&mut self, result: Seen, on_cancel: Option<Canceller>) {
        self.all.push(Modelled {
            result,
            todo: Vec::new(),
            on_cancel,
            waits_for: None,
            holds: 0,
            fired: result != Seen::Absent,
            in_callback: false,
            eat_next: false,
            sore: matches!(result, Seen::Failure(_)),
            in_hand: true,
            out_of_reach: false,
            gone: false,
        });
    }

    fn fire(&mut self, d: usize, result: Seen) {
        if self.all[d].fired {
            if self.all[d].eat_next {
                self.all[d].eat_next = false;
            } else {
                self.trace.push(Event::Refused(d));
            }
            return;
        }
        self.all[d].fired = true;
        self.all[d].on_cancel = None;
        self.all[d].result = result;
        if !self.all[d].in_callback {
            self.run(d);
        }
    }

    fn cancel(&mut self, d: usize, seen: &mut Vec<usize>) {
        if self.all[d].fired {
            if let Seen::Deferred(other) = self.all[d].result
                && !seen.contains(&other)
            {
                seen.push(other);
                self.cancel(other, seen);
            }
            return;
        }
        match self.all[d].on_cancel.clone() {
            None => self.all[d].eat_next = true,
            Some(canceller) => {
                self.trace.push(Event::Asked(d));
                match canceller {
                    Canceller::None => unreachable!(),
                    Canceller::Does(ops) => {
                        for op in &ops {
                            self.op(op);
                        }
                    }
                    Canceller::Fires(ending) => self.fire(d, ending.seen()),
                }
            }
        }
        if !self.all[d].fired {
            self.fire(d, Seen::Failure(Fault::Cancelled));
        }
    }

    /// False if a pause was met, here or further on: then everybody stops where they are.
    fn run(&mut self, d: usize) -> bool {
        let mut fresh = true;
        loop {
            if fresh {
                if self.all[d].holds != 0 {
                    return false;
                }
                self.all[d].waits_for = None;
                fresh = false;
            }
            if self.all[d].todo.is_empty() {
                break;
            }
            match self.all[d].todo.remove(0) {
                Todo::Feed(hungry) => {
                    let food = self.all[d].result;
                    self.all[hungry].result = food;
                    self.all[d].result = Seen::Taken;
                    self.all[d].sore = false;
                    self.all[hungry].holds -= 1;
                    if !self.run(hungry) {
                        return false;
                    }
                    fresh = true;
                }
                Todo::Call(id, kind, one, two) => {
                    let input = self.all[d].result;
                    self.all[d].in_callback = true;
                    let output = self.call(d, id, kind, &one, &two, input);
                    self.all[d].in_callback = false;
                    self.all[d].result = output;
                    if let Seen::Deferred(other) = output {
                        let there = self.all[other].result;
                        let ready = !matches!(there, Seen::Absent | Seen::Deferred(_))
                            && self.all[other].holds == 0;
                        if !ready {
                            self.all[d].holds += 1;
                            self.all[d].waits_for = Some(other);
                            self.all[other].todo.push(Todo::Feed(d));
                            break;
                        }
                        self.all[other].result = Seen::Taken;
                        self.all[other].sore = false;
                        self.all[d].result = there;
                    }
                }
            }
        }
        self.all[d].sore = matches!(self.all[d].result, Seen::Failure(_));
        true
    }

    fn call(
        &mut self,
        own: usize,
        id: usize,
        kind: Kind,
        one: &Script,
        two: &Script,
        input: Seen,
    ) -> Seen {
        let (half, script) = match (kind, input) {
            (Kind::Then, _) => (0, one),
            (Kind::OnValue | Kind::OnEither | Kind::OnBoth, Seen::Value(_)) => (0, one),
            (Kind::OnFailure | Kind::OnEither, Seen::Failure(_)) => (0, one),
            (Kind::OnBoth, Seen::Failure(_)) => (1, two),
            _ => return input,
        };
        self.trace.push(Event::Call(id, half, input));
        let states = self.states();
        self.trace.push(Event::States(states));
        for op in &script.body {
            self.op(op);
        }
        self.trace.push(Event::Returned(id));
        let handle = |number| self.pick(number).map_or(Seen::Value(77), Seen::Deferred);
        match script.answer {
            Answer::Same => input,
            Answer::End(ending) => ending.seen(),
            Answer::Other(d) => handle(d),
            Answer::Own => handle(own),
        }
    }

    fn states(&self) -> Vec<Option<State>> {
        let state = |one: &Modelled| State {
            called: one.fired,
            paused: one.holds,
            outcome: one.result,
            running: one.in_callback,
            chained_to: one.waits_for,
            links: one.todo.len(),
            unhandled: one.sore,
        };
        self.all.iter().map(|one| one.in_hand.then(|| state(one))).collect()
    }

    /// Bury whoever nothing refers to, until there is no such one. Circles stay.
    ///
    /// One that waits refers to the awaited as long as somebody can act on it; the awaited refers
    /// to those that it has to feed.
    fn bury(&mut self) -> Vec<(usize, Fault)> {
        let mut lost = Vec::new();
        let mut changed = true;
        while changed {
            changed = false;
            for d in 0..self.all.len() {
                let waited_for = self.all.iter().any(|one| {
                    !one.out_of_reach
                        && (one.result == Seen::Deferred(d) || one.waits_for == Some(d))
                });
                if !self.all[d].in_hand && !self.all[d].out_of_reach && !waited_for {
                    self.all[d].out_of_reach = true;
                    changed = true;
                }
                let fed = self.all.iter().any(|one| {
                    !one.gone
                        && (one.todo.iter()).any(|todo| matches!(todo, Todo::Feed(f) if *f == d))
                });
                if self.all[d].out_of_reach && !self.all[d].gone && !fed {
                    self.all[d].gone = true;
                    changed = true;
                    if let (true, Seen::Failure(fault)) = (self.all[d].sore, self.all[d].result) {
                        lost.push((d, fault));
                    }
                }
            }
        }
        lost.sort_by_key(|(number, _)| *number);
        lost
    }
}

// ---------------------------------------------------------------------------------------------

pub(crate) fn assert_same(program: &[Op]) -> Result<(), TestCaseError> {
    let (real, model) = (play_real(program), play_model(program));
    for (step, (real, model)) in real.iter().zip(&model).enumerate() {
        prop_assert_eq!(real, model, "at event {}", step);
    }
    prop_assert_eq!(real.len(), model.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 6_000,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_programs_go_as_the_model_says(program in program()) {
        assert_same(&program)?;
    }
}
