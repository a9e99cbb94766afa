//! Threads that drive chains: each is a little driver, as the binding's is, and makes one transition of one
//! chain at a time.

#![allow(missing_docs, dead_code)]

use std::cell::Cell;

use deferrous::core::{
    Cancel, Chain, Fired, Kinds, Link, NoMemory, On, Outcome, Runner, Slot, Turn,
};

pub struct Threaded;

/// What a callback does.
#[derive(Clone, Copy, Debug)]
pub enum Callback {
    /// It returns one more than it has got.
    Counts(u32),
    /// It returns another Deferred.
    Returns(usize),
}

#[derive(Clone, Copy, PartialEq)]
pub struct Thread(usize);

thread_local! {
    pub static CURRENT: Cell<usize> = const { Cell::new(0) };
}

impl Runner for Thread {
    const SEVERAL: bool = true;

    fn here() -> Self {
        Self(CURRENT.get())
    }
}

impl Kinds for Threaded {
    type Value = u32;
    type Failure = u32;
    type Callback = Callback;
    type Deferred = usize;
    /// What waits, by its number.
    type Waiter = u32;
    type Canceller = ();
    type Flag = bool;
    type Runner = Thread;
}

pub type Its = Outcome<Threaded>;

/// The failure of a Deferred that has been cancelled.
pub const CANCELLED: u32 = 1_000;

/// What a thread does. Each makes one transition, and may lead to more.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Fire(usize, u32),
    Add(usize, Callback),
    /// As a generator that waits: without a link if the outcome is there.
    Await(usize, u32),
    Pause(usize),
    Unpause(usize),
    Cancel(usize),
    /// Let go of it, with all that is left in it.
    Drop(usize),
}

/// The next step of what an operation has led to.
enum Step {
    Begin(usize),
    Enter(usize),
    Turn(usize),
    Answer(usize, Callback, Its),
    Steal(usize, usize),
    Wait(usize, usize),
    StealOrAdd(usize, usize),
    Back(usize, Its),
    Receive(usize, Its),
    FailCancelled(usize),
}

/// A chain that one thread at a time makes a transition of, and what has happened to it.
pub trait Guarded: Default {
    fn with<R>(&self, transition: impl FnOnce(&mut Chain<Threaded>, &mut Log) -> R) -> R;
}

/// What has happened to a chain.
#[derive(Clone, Default)]
pub struct Log {
    /// Its callbacks, as they were added, and as they were called, with what.
    pub added: Vec<u32>,
    pub called: Vec<(u32, Its)>,
    pub within: bool,
    pub fired: u32,
    pub refused: u32,
    pub delivered: Vec<(u32, Its)>,
}

/// The chains.
pub struct World<G> {
    pub chains: Vec<G>,
}

impl<G: Guarded> World<G> {
    pub fn new(chains: usize) -> Self {
        Self { chains: (0..chains).map(|_| G::default()).collect() }
    }

    /// What has happened to one, so far.
    pub fn log(&self, of: usize) -> Log {
        self.at(of, |_, log| log.clone())
    }

    fn at<R>(&self, of: usize, step: impl FnOnce(&mut Chain<Threaded>, &mut Log) -> R) -> R {
        self.chains[of].with(step)
    }
}

pub struct Driver {
    ops: Vec<Op>,
    next: usize,
    steps: Vec<Step>,
    /// Chains whose run goes on when that of another is over.
    later: Vec<usize>,
}

impl Driver {
    pub fn new(ops: &[Op]) -> Self {
        Self { ops: ops.to_vec(), next: 0, steps: vec![], later: vec![] }
    }

    pub fn is_done(&self) -> bool {
        self.next == self.ops.len() && self.steps.is_empty()
    }

    /// Make one transition.
    pub fn step<G: Guarded>(&mut self, world: &World<G>) {
        match self.steps.pop() {
            Some(step) => self.go_on(step, world),
            None => {
                let op = self.ops[self.next];
                self.next += 1;
                self.begin(op, world);
            }
        }
    }

    fn begin<G: Guarded>(&mut self, op: Op, world: &World<G>) {
        match op {
            Op::Fire(of, value) => {
                let begins = world.at(of, |chain, log| match chain.fire(Slot::Value(value)) {
                    Ok(Fired::Accepted(..)) => {
                        log.fired += 1;
                        true
                    }
                    Ok(Fired::Swallowed(_)) => false,
                    Err(_) => {
                        log.refused += 1;
                        false
                    }
                });
                self.begin_if(begins, of);
            }
            Op::Add(of, callback) => {
                let begins = world.at(of, |chain, log| {
                    added(chain.add(On::Either.link(callback)));
                    if let Callback::Counts(number) = callback {
                        log.added.push(number);
                    }
                    chain.is_runnable()
                });
                self.begin_if(begins, of);
            }
            Op::Await(of, waiter) => {
                let begins = world.at(of, |chain, log| {
                    if let Some((outcome, _)) = chain.take_at_rest() {
                        log.delivered.push((waiter, outcome));
                        return false;
                    }
                    added(chain.add(Link::Deliver(waiter, 0)));
                    chain.is_runnable()
                });
                self.begin_if(begins, of);
            }
            Op::Pause(of) => world.at(of, |chain, _| chain.pause()),
            Op::Unpause(of) => {
                let begins = world.at(of, |chain, _| chain.unpause());
                self.begin_if(begins, of);
            }
            Op::Cancel(of) => self.cancel(of, world),
            Op::Drop(of) => drop(world.at(of, |chain, _| std::mem::take(chain))),
        }
    }

    fn begin_if(&mut self, begins: bool, of: usize) {
        if begins {
            self.steps.push(Step::Begin(of));
        }
    }

    fn cancel<G: Guarded>(&mut self, of: usize, world: &World<G>) {
        enum Found {
            Fails,
            Waits(usize),
            Nothing,
        }
        let found = world.at(of, |chain, _| match chain.cancel() {
            Cancel::Fail => Found::Fails,
            Cancel::Forward(&other) => Found::Waits(other),
            _ => Found::Nothing,
        });
        match found {
            Found::Fails => self.steps.push(Step::FailCancelled(of)),
            Found::Waits(other) => {
                if world.at(other, |chain, _| matches!(chain.cancel(), Cancel::Fail)) {
                    self.steps.push(Step::FailCancelled(other));
                }
            }
            Found::Nothing => {}
        }
    }

    fn go_on<G: Guarded>(&mut self, step: Step, world: &World<G>) {
        match step {
            Step::Begin(of) if world.at(of, |chain, _| chain.running()) => self.run_is_over(),
            Step::Begin(of) => self.steps.push(Step::Enter(of)),
            Step::Enter(of) => match world.at(of, |chain, _| chain.enter().map(drop)) {
                Ok(()) => self.steps.push(Step::Turn(of)),
                Err(_) => self.later.clear(),
            },
            Step::Turn(of) => self.turn(of, world),
            Step::Answer(of, callback, outcome) => {
                let answer = match (callback, outcome) {
                    (Callback::Returns(other), _) => Slot::Deferred(other),
                    (Callback::Counts(_), Slot::Value(value)) => Slot::Value(value + 1),
                    (Callback::Counts(_), other) => other,
                };
                self.settle(of, answer, true, world);
            }
            Step::Steal(of, other) => match world.at(other, |chain, _| chain.steal()) {
                Some(outcome) => self.settle(of, outcome, false, world),
                None => self.steps.push(Step::Wait(of, other)),
            },
            Step::Wait(of, other) => {
                world.at(of, |chain, _| {
                    chain.stop_running();
                    let _ = chain.wait(other);
                });
                self.steps.push(Step::StealOrAdd(of, other));
            }
            Step::StealOrAdd(of, other) => {
                let link = Link::Continue(of);
                match world.at(other, |chain, _| added(chain.steal_or_add(link))) {
                    Some((outcome, _)) => self.steps.push(Step::Back(of, outcome)),
                    None => self.run_is_over(),
                }
            }
            Step::Back(of, outcome) => {
                let _ = world.at(of, |chain, _| chain.wait_no_more(outcome));
                self.steps.push(Step::Turn(of));
            }
            Step::Receive(of, outcome) => {
                let _ = world.at(of, |chain, _| chain.receive(outcome));
                self.steps.push(Step::Enter(of));
            }
            Step::FailCancelled(of) => self.fail_cancelled(of, world),
        }
    }

    fn fail_cancelled<G: Guarded>(&mut self, of: usize, world: &World<G>) {
        let failure = Slot::Failure(CANCELLED);
        let begins = world.at(of, |chain, log| match chain.fire_cancelled(failure, false) {
            Ok(Fired::Accepted(..)) => {
                log.fired += 1;
                true
            }
            Ok(Fired::Swallowed(_)) => false,
            Err(_) => panic!("cancelling was refused"),
        });
        self.begin_if(begins, of);
    }

    fn turn<G: Guarded>(&mut self, of: usize, world: &World<G>) {
        enum Next {
            Answer(Callback, Its),
            Settle(Its),
            Receive(usize, Its),
            Turn,
            Over,
        }
        let next = world.at(of, |chain, log| match chain.turn() {
            Turn::Call { callback, outcome, .. } => {
                let outcome = outcome.clone();
                assert!(!log.within, "two callbacks at a time");
                log.within = true;
                if let Callback::Counts(number) = callback {
                    log.called.push((number, outcome.clone()));
                }
                Next::Answer(callback, outcome)
            }
            Turn::Deliver(waiter, _, outcome) => {
                log.delivered.push((waiter, outcome.clone()));
                Next::Settle(Slot::Taken)
            }
            Turn::Continue(other, outcome) => Next::Receive(other, outcome),
            Turn::Skip(_) => Next::Turn,
            Turn::Pass(_, outcome) => Next::Settle(outcome),
            Turn::Busy | Turn::Rest => Next::Over,
        });
        match next {
            Next::Answer(callback, outcome) => self.steps.push(Step::Answer(of, callback, outcome)),
            Next::Settle(outcome) => self.settle(of, outcome, false, world),
            Next::Receive(other, outcome) => {
                self.later.push(of);
                self.steps.push(Step::Receive(other, outcome));
            }
            Next::Turn => self.steps.push(Step::Turn(of)),
            Next::Over => self.run_is_over(),
        }
    }

    /// The first half of settling.
    fn settle<G: Guarded>(&mut self, of: usize, outcome: Its, called: bool, world: &World<G>) {
        let other = match outcome {
            Slot::Deferred(other) => Some(other),
            _ => None,
        };
        let _ = world.at(of, |chain, log| {
            log.within &= !called;
            chain.replace_outcome(outcome)
        });
        self.steps.push(match other {
            Some(other) => Step::Steal(of, other),
            // The next turn says that this one is settled.
            None => Step::Turn(of),
        });
    }

    fn run_is_over(&mut self) {
        if let Some(waited) = self.later.pop() {
            self.steps.push(Step::Enter(waited));
        }
    }
}

fn added<T, L>(result: Result<T, NoMemory<L>>) -> T {
    result.unwrap_or_else(|_| panic!("there is memory"))
}

/// What holds at the end of everything.
pub fn check_always<G: Guarded>(world: &World<G>) {
    for chain in &world.chains {
        chain.with(|chain, log| {
            if chain.called() && chain.paused() == 0 {
                let numbers: Vec<_> = log.called.iter().map(|(number, _)| *number).collect();
                assert_eq!(numbers, log.added, "each is called once, in order");
                assert!(chain.links().is_empty(), "no link is left");
                assert!(!chain.running());
            }
            assert!(log.fired <= 1, "it is fired once");
        });
    }
}
