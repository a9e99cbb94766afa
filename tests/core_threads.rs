//! The state machine where several threads drive it: every order in which their steps can fall.
//!
//! Each thread is a little driver, as the binding's is: it makes one transition of one chain at a
//! time, and another thread may come in between any two. A test says what each thread does, and is
//! run once for each order, of those in which few changes are made from a thread that could go on:
//! most faults need two or three.

#![allow(missing_docs)]

use std::cell::Cell;

use deferrous::core::{
    Cancel, Chain, Fired, Kinds, Link, NoMemory, On, Outcome, Runner, Slot, Turn,
};

struct Threaded;

/// What a callback does.
#[derive(Clone, Copy, Debug)]
enum Callback {
    /// It returns one more than it has got.
    Counts(u32),
    /// It returns another Deferred.
    Returns(usize),
}

#[derive(Clone, Copy, PartialEq)]
struct Thread(usize);

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
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

type Its = Outcome<Threaded>;

/// So many times, at most, another thread comes in between two steps of one that could go on.
const FEW: usize = 3;

/// The failure of a Deferred that has been cancelled.
const CANCELLED: u32 = 1_000;

/// What a thread does. Each makes one transition, and may lead to more.
#[derive(Clone, Copy, Debug)]
enum Op {
    Fire(usize, u32),
    Add(usize, Callback),
    /// As a generator that waits: without a link if the outcome is there.
    Await(usize, u32),
    Pause(usize),
    Unpause(usize),
    Cancel(usize),
}

/// The next step of what an operation has led to.
enum Step {
    Begin(usize),
    Enter(usize),
    Turn(usize),
    Answer(usize, Callback, Its),
    Stop(usize),
    Steal(usize, usize),
    Wait(usize, usize),
    StealOrAdd(usize, usize),
    Back(usize, Its),
    Receive(usize, Its),
    FailCancelled(usize),
}

/// What has happened.
#[derive(Default)]
struct World {
    chains: Vec<Chain<Threaded>>,
    /// The callbacks of each chain, as they were added, and as they were called, with what.
    added: Vec<Vec<u32>>,
    called: Vec<Vec<(u32, Its)>>,
    within: Vec<bool>,
    fired: Vec<u32>,
    refused: Vec<u32>,
    delivered: Vec<(u32, Its)>,
}

struct Driver {
    ops: Vec<Op>,
    next: usize,
    steps: Vec<Step>,
    /// Chains whose run goes on when that of another is over.
    later: Vec<usize>,
}

impl Driver {
    fn is_done(&self) -> bool {
        self.next == self.ops.len() && self.steps.is_empty()
    }

    /// Make one transition.
    fn step(&mut self, world: &mut World) {
        match self.steps.pop() {
            Some(step) => self.go_on(step, world),
            None => {
                let op = self.ops[self.next];
                self.next += 1;
                self.begin(op, world);
            }
        }
    }

    fn begin(&mut self, op: Op, world: &mut World) {
        match op {
            Op::Fire(of, value) => match world.chains[of].fire(Slot::Value(value)) {
                Ok(Fired::Accepted(..)) => {
                    world.fired[of] += 1;
                    self.steps.push(Step::Begin(of));
                }
                Ok(Fired::Swallowed(_)) => {}
                Err(_) => world.refused[of] += 1,
            },
            Op::Add(of, callback) => {
                let chain = &mut world.chains[of];
                added(chain.add(On::Either.link(callback)));
                if let Callback::Counts(number) = callback {
                    world.added[of].push(number);
                }
                if chain.is_runnable() {
                    self.steps.push(Step::Begin(of));
                }
            }
            Op::Await(of, waiter) => {
                let chain = &mut world.chains[of];
                if let Some((outcome, _)) = chain.take_at_rest() {
                    return world.delivered.push((waiter, outcome));
                }
                added(chain.add(Link::Deliver(waiter, 0)));
                if chain.is_runnable() {
                    self.steps.push(Step::Begin(of));
                }
            }
            Op::Pause(of) => world.chains[of].pause(),
            Op::Unpause(of) => {
                if world.chains[of].unpause() {
                    self.steps.push(Step::Begin(of));
                }
            }
            Op::Cancel(of) => match world.chains[of].cancel() {
                Cancel::Fail => self.steps.push(Step::FailCancelled(of)),
                Cancel::Forward(&other) => {
                    if let Cancel::Fail = world.chains[other].cancel() {
                        self.steps.push(Step::FailCancelled(other));
                    }
                }
                _ => {}
            },
        }
    }

    fn go_on(&mut self, step: Step, world: &mut World) {
        match step {
            Step::Begin(of) if world.chains[of].running() => self.run_is_over(),
            Step::Begin(of) => self.steps.push(Step::Enter(of)),
            Step::Enter(of) => match world.chains[of].enter() {
                Ok(_) => self.steps.push(Step::Turn(of)),
                Err(_) => self.later.clear(),
            },
            Step::Turn(of) => self.turn(of, world),
            Step::Answer(of, callback, outcome) => {
                world.within[of] = false;
                let answer = match (callback, outcome) {
                    (Callback::Returns(other), _) => Slot::Deferred(other),
                    (Callback::Counts(_), Slot::Value(value)) => Slot::Value(value + 1),
                    (Callback::Counts(_), other) => other,
                };
                self.settle(of, answer, world);
            }
            Step::Stop(of) => {
                world.chains[of].stop_running();
                self.steps.push(Step::Turn(of));
            }
            Step::Steal(of, other) => match world.chains[other].steal() {
                Some(outcome) => self.settle(of, outcome, world),
                None => self.steps.push(Step::Wait(of, other)),
            },
            Step::Wait(of, other) => {
                world.chains[of].stop_running();
                let _ = world.chains[of].wait(other);
                self.steps.push(Step::StealOrAdd(of, other));
            }
            Step::StealOrAdd(of, other) => {
                match added(world.chains[other].steal_or_add(Link::Continue(of))) {
                    Some((outcome, _)) => self.steps.push(Step::Back(of, outcome)),
                    None => self.run_is_over(),
                }
            }
            Step::Back(of, outcome) => {
                let _ = world.chains[of].wait_no_more(outcome);
                self.steps.push(Step::Turn(of));
            }
            Step::Receive(of, outcome) => {
                let _ = world.chains[of].receive(outcome);
                self.steps.push(Step::Enter(of));
            }
            Step::FailCancelled(of) => {
                match world.chains[of].fire_cancelled(Slot::Failure(CANCELLED), false) {
                    Ok(Fired::Accepted(..)) => {
                        world.fired[of] += 1;
                        self.steps.push(Step::Begin(of));
                    }
                    Ok(Fired::Swallowed(_)) => {}
                    Err(_) => panic!("cancelling was refused"),
                }
            }
        }
    }

    fn turn(&mut self, of: usize, world: &mut World) {
        match world.chains[of].turn() {
            Turn::Call { callback, outcome, .. } => {
                let outcome = outcome.clone();
                assert!(!world.within[of], "two callbacks at a time");
                world.within[of] = true;
                if let Callback::Counts(number) = callback {
                    world.called[of].push((number, outcome.clone()));
                }
                self.steps.push(Step::Answer(of, callback, outcome));
            }
            Turn::Deliver(waiter, _, outcome) => {
                world.delivered.push((waiter, outcome.clone()));
                self.settle(of, Slot::Taken, world);
            }
            Turn::Continue(other, outcome) => {
                self.later.push(of);
                self.steps.push(Step::Receive(other, outcome));
            }
            Turn::Skip(_) => self.steps.push(Step::Turn(of)),
            Turn::Pass(_, outcome) => self.settle(of, outcome, world),
            Turn::Busy | Turn::Rest => self.run_is_over(),
        }
    }

    /// The first half of settling.
    fn settle(&mut self, of: usize, outcome: Its, world: &mut World) {
        let other = match outcome {
            Slot::Deferred(other) => Some(other),
            _ => None,
        };
        let _ = world.chains[of].replace_outcome(outcome);
        self.steps.push(match other {
            Some(other) => Step::Steal(of, other),
            None => Step::Stop(of),
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

/// Run the threads in every order, and look at the world after each. Returns how many there were.
fn in_every_order(
    chains: usize,
    threads: &[&[Op]],
    most_changes: usize,
    check: impl Fn(&World),
) -> usize {
    // What was chosen at each step, and among how many.
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut orders = 0;
    loop {
        let mut world = World::default();
        for _ in 0..chains {
            world.chains.push(Chain::default());
            world.added.push(Vec::new());
            world.called.push(Vec::new());
            world.within.push(false);
            world.fired.push(0);
            world.refused.push(0);
        }
        let mut drivers: Vec<_> = threads
            .iter()
            .map(|ops| Driver { ops: ops.to_vec(), next: 0, steps: vec![], later: vec![] })
            .collect();
        let (mut step, mut changes, mut last) = (0, 0, None);
        loop {
            let mut able: Vec<usize> =
                (0..drivers.len()).filter(|&it| !drivers[it].is_done()).collect();
            if able.is_empty() {
                break;
            }
            // That which ran last comes first.
            let goes_on = last.is_some_and(|last| able.contains(&last));
            if let Some(place) = able.iter().position(|&it| Some(it) == last) {
                able.swap(0, place);
            }
            let choices = if goes_on && changes >= most_changes { 1 } else { able.len() };
            if step == path.len() {
                path.push((0, choices));
            }
            let chosen = path[step].0;
            changes += usize::from(goes_on && chosen != 0);
            last = Some(able[chosen]);
            CURRENT.set(able[chosen]);
            drivers[able[chosen]].step(&mut world);
            step += 1;
        }
        check_always(&world);
        check(&world);
        orders += 1;
        while let Some((chosen, choices)) = path.pop() {
            if chosen + 1 < choices {
                path.push((chosen + 1, choices));
                break;
            }
        }
        if path.is_empty() {
            return orders;
        }
    }
}

/// What holds at the end of everything.
fn check_always(world: &World) {
    for (of, chain) in world.chains.iter().enumerate() {
        let numbers: Vec<_> = world.called[of].iter().map(|(number, _)| *number).collect();
        if chain.called() && chain.paused() == 0 {
            assert_eq!(numbers, world.added[of], "each is called once, in order");
            assert!(chain.links().is_empty(), "no link is left");
            assert!(!chain.running());
        }
        assert!(world.fired[of] <= 1, "it is fired once");
    }
}

fn counts(numbers: std::ops::Range<u32>) -> Vec<Callback> {
    numbers.map(Callback::Counts).collect()
}

#[test]
fn of_several_that_fire_one_wins() {
    let [first, second] = [
        [Op::Fire(0, 10), Op::Add(0, Callback::Counts(1)), Op::Add(0, Callback::Counts(2))],
        [Op::Fire(0, 20), Op::Add(0, Callback::Counts(3)), Op::Add(0, Callback::Counts(4))],
    ];
    let orders = in_every_order(1, &[&first, &second], FEW, |world| {
        assert_eq!((world.fired[0], world.refused[0]), (1, 1));
        let [first, ..] = &world.called[0][..] else { panic!("none was called") };
        let Slot::Value(begin) = first.1 else { panic!("no value") };
        for (place, (_, outcome)) in world.called[0].iter().enumerate() {
            assert_eq!(*outcome, Slot::Value(begin + place as u32));
        }
    });
    assert!(orders > 1_000, "{orders}");
}

#[test]
fn callbacks_of_three_threads() {
    let add = counts(1..5);
    let first = [Op::Add(0, add[0]), Op::Fire(0, 0), Op::Add(0, add[1])];
    let second = [Op::Add(0, add[2])];
    let third = [Op::Add(0, add[3]), Op::Await(0, 7)];
    let orders = in_every_order(1, &[&first, &second, &third], FEW, |world| {
        assert_eq!(world.called[0].len(), 4);
        assert_eq!(world.delivered.len(), 1);
    });
    assert!(orders > 1_000, "{orders}");
}

#[test]
fn one_that_waits_for_what_another_thread_fires() {
    let first = [Op::Add(0, Callback::Returns(1)), Op::Add(0, Callback::Counts(1)), Op::Fire(0, 0)];
    let second = [Op::Fire(1, 50), Op::Add(1, Callback::Counts(2))];
    let third = [Op::Add(0, Callback::Counts(3))];
    let check = |world: &World| {
        let [(1, first), (3, second)] = &world.called[0][..] else { panic!("not both") };
        let Slot::Value(got @ (50 | 51)) = *first else { panic!("{first:?}") };
        assert_eq!(*second, Slot::Value(got + 1));
        assert_eq!(world.chains[0].paused(), 0);
        assert_eq!(world.chains[0].chained_to(), None);
    };
    let orders = in_every_order(2, &[&first, &second], FEW, |world| {
        assert!(matches!(world.called[0][..], [(1, Slot::Value(50 | 51))]));
        assert_eq!(world.chains[0].paused(), 0);
    });
    assert!(orders > 500, "{orders}");
    in_every_order(2, &[&first, &second, &third], FEW, |world| {
        // The third may have been added before all.
        if world.called[0].first().is_some_and(|(number, _)| *number == 1) {
            check(world);
        }
    });
}

#[test]
fn a_chain_of_three_from_three_threads() {
    let first = [Op::Fire(0, 0), Op::Add(0, Callback::Returns(1)), Op::Add(0, Callback::Counts(1))];
    let second = [Op::Add(1, Callback::Returns(2)), Op::Fire(1, 0)];
    let third = [Op::Fire(2, 70)];
    in_every_order(3, &[&first, &second, &third], FEW, |world| {
        // What the second got may have been on its way, or there, or not yet begun.
        assert_eq!(world.called[0].len(), 1);
        assert!(world.chains.iter().all(|chain| chain.called() && chain.paused() == 0));
    });
}

#[test]
fn pauses() {
    let first = [Op::Pause(0), Op::Fire(0, 0), Op::Add(0, Callback::Counts(1)), Op::Unpause(0)];
    let second = [Op::Add(0, Callback::Counts(2)), Op::Pause(0), Op::Unpause(0)];
    in_every_order(1, &[&first, &second], FEW, |world| {
        assert_eq!(world.chains[0].paused(), 0);
        assert_eq!(world.called[0].len(), 2);
    });
}

#[test]
fn cancelling() {
    let first = [Op::Cancel(0), Op::Add(0, Callback::Counts(1))];
    let second = [Op::Fire(0, 5)];
    let third = [Op::Cancel(0)];
    in_every_order(1, &[&first, &second, &third], FEW, |world| {
        assert_eq!(world.fired[0], 1);
        let cancelled = world.called[0][0].1 == Slot::Failure(CANCELLED);
        assert!(cancelled || world.called[0][0].1 == Slot::Value(5));
        // An outcome that comes too late is discarded. Where it came first, none is.
        assert_eq!(world.refused[0], 0);
        assert!(cancelled || !world.chains[0].swallows_next_fire());
    });
}

#[test]
fn waiters() {
    let first = [Op::Await(0, 1), Op::Fire(0, 5)];
    let second = [Op::Await(0, 2), Op::Add(0, Callback::Counts(1))];
    in_every_order(1, &[&first, &second], FEW, |world| {
        let mut waiters: Vec<_> = world.delivered.iter().map(|(waiter, _)| *waiter).collect();
        waiters.sort_unstable();
        assert_eq!(waiters, [1, 2]);
        let got_it = |(_, outcome): &&(u32, Its)| matches!(outcome, Slot::Value(5));
        assert_eq!(world.delivered.iter().filter(got_it).count(), 1, "{:?}", world.delivered);
    });
}

#[test]
fn one_that_was_said_to_be_chained_is_not_busy() {
    let mut chain = Chain::<Threaded>::fired(Slot::Value(1));
    assert!(chain.replace_chained_to(Some(1)).is_none());
    assert!(chain.add(Link::OnValue(Callback::Counts(1))).is_ok());
    assert!(matches!(chain.turn(), Turn::Call { .. }));
}
