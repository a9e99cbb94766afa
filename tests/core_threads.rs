//! The state machine where several threads drive it: every order in which their steps can fall.
//!
//! Each thread is a little driver, as the binding's is: it makes one transition of one chain at a
//! time, and another thread may come in between any two. A test says what each thread does, and is
//! run once for each order, of those in which few changes are made from a thread that could go on:
//! most faults need two or three.

#![allow(missing_docs)]

mod threads;

use std::cell::{RefCell, RefMut};

use deferrous::core::{Chain, Link, On, Slot, Turn};

use threads::{
    CANCELLED, CURRENT, Callback, Driver, Guarded, Its, Log, Op, Threaded, World, check_always,
};

/// So many times, at most, another thread comes in between two steps of one that could go on.
const FEW: usize = 3;

/// A chain of which no step comes into another.
#[derive(Default)]
struct Alone(RefCell<(Chain<Threaded>, Log)>);

impl Guarded for Alone {
    fn with<R>(&self, transition: impl FnOnce(&mut Chain<Threaded>, &mut Log) -> R) -> R {
        let (chain, log) = &mut *self.0.borrow_mut();
        transition(chain, log)
    }
}

impl World<Alone> {
    fn chain(&self, of: usize) -> RefMut<'_, Chain<Threaded>> {
        RefMut::map(self.chains[of].0.borrow_mut(), |(chain, _)| chain)
    }
}

/// Run the threads in every order, and look at the world after each. Returns how many there were.
fn in_every_order(
    chains: usize,
    threads: &[&[Op]],
    most_changes: usize,
    check: impl Fn(&World<Alone>),
) -> usize {
    // What was chosen at each step, and among how many.
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut orders = 0;
    loop {
        let world = World::new(chains);
        let mut drivers: Vec<_> = threads.iter().map(|ops| Driver::new(ops)).collect();
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
            drivers[able[chosen]].step(&world);
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
        assert_eq!((world.log(0).fired, world.log(0).refused), (1, 1));
        let [first, ..] = &world.log(0).called[..] else { panic!("none was called") };
        let Slot::Value(begin) = first.1 else { panic!("no value") };
        for (place, (_, outcome)) in world.log(0).called.iter().enumerate() {
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
        assert_eq!(world.log(0).called.len(), 4);
        assert_eq!(world.log(0).delivered.len(), 1);
    });
    assert!(orders > 1_000, "{orders}");
}

#[test]
fn one_that_waits_for_what_another_thread_fires() {
    let first = [Op::Add(0, Callback::Returns(1)), Op::Add(0, Callback::Counts(1)), Op::Fire(0, 0)];
    let second = [Op::Fire(1, 50), Op::Add(1, Callback::Counts(2))];
    let third = [Op::Add(0, Callback::Counts(3))];
    let check = |world: &World<Alone>| {
        let [(1, first), (3, second)] = &world.log(0).called[..] else { panic!("not both") };
        let Slot::Value(got @ (50 | 51)) = *first else { panic!("{first:?}") };
        assert_eq!(*second, Slot::Value(got + 1));
        assert_eq!(world.chain(0).paused(), 0);
        assert_eq!(world.chain(0).chained_to(), None);
    };
    let orders = in_every_order(2, &[&first, &second], FEW, |world| {
        assert!(matches!(world.log(0).called[..], [(1, Slot::Value(50 | 51))]));
        assert_eq!(world.chain(0).paused(), 0);
    });
    assert!(orders > 500, "{orders}");
    in_every_order(2, &[&first, &second, &third], FEW, |world| {
        // The third may have been added before all.
        if world.log(0).called.first().is_some_and(|(number, _)| *number == 1) {
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
        assert_eq!(world.log(0).called.len(), 1);
        assert!((0..3).all(|of| world.chain(of).called() && world.chain(of).paused() == 0));
    });
}

#[test]
fn pauses() {
    let first = [Op::Pause(0), Op::Fire(0, 0), Op::Add(0, Callback::Counts(1)), Op::Unpause(0)];
    let second = [Op::Add(0, Callback::Counts(2)), Op::Pause(0), Op::Unpause(0)];
    in_every_order(1, &[&first, &second], FEW, |world| {
        assert_eq!(world.chain(0).paused(), 0);
        assert_eq!(world.log(0).called.len(), 2);
    });
}

#[test]
fn cancelling() {
    let first = [Op::Cancel(0), Op::Add(0, Callback::Counts(1))];
    let second = [Op::Fire(0, 5)];
    let third = [Op::Cancel(0)];
    in_every_order(1, &[&first, &second, &third], FEW, |world| {
        assert_eq!(world.log(0).fired, 1);
        let cancelled = world.log(0).called[0].1 == Slot::Failure(CANCELLED);
        assert!(cancelled || world.log(0).called[0].1 == Slot::Value(5));
        // An outcome that comes too late is discarded. Where it came first, none is.
        assert_eq!(world.log(0).refused, 0);
        assert!(cancelled || !world.chain(0).swallows_next_fire());
    });
}

#[test]
fn waiters() {
    let first = [Op::Await(0, 1), Op::Fire(0, 5)];
    let second = [Op::Await(0, 2), Op::Add(0, Callback::Counts(1))];
    in_every_order(1, &[&first, &second], FEW, |world| {
        let mut waiters: Vec<_> =
            world.log(0).delivered.iter().map(|(waiter, _)| *waiter).collect();
        waiters.sort_unstable();
        assert_eq!(waiters, [1, 2]);
        let got_it = |(_, outcome): &&(u32, Its)| matches!(outcome, Slot::Value(5));
        assert_eq!(
            world.log(0).delivered.iter().filter(got_it).count(),
            1,
            "{:?}",
            world.log(0).delivered
        );
    });
}

#[test]
fn one_that_was_said_to_be_chained_is_not_busy() {
    let mut chain = Chain::<Threaded>::fired(Slot::Value(1));
    assert!(chain.replace_chained_to(Some(1)).is_none());
    assert!(chain.add(Link::OnValue(Callback::Counts(1))).is_ok());
    assert!(matches!(chain.turn(), Turn::Call { .. }));
}

#[test]
fn one_that_was_said_to_be_chained_shows_a_deferred_that_it_was_fired_with() {
    let mut chain = Chain::<Threaded>::fired(Slot::Deferred(2));
    assert!(chain.replace_chained_to(Some(1)).is_none());
    assert!(matches!(chain.look_at_outcome(), Some(Slot::Deferred(2))));
}

#[test]
fn all_orders_of_two_threads() {
    let programs: [(usize, &[Op], &[Op]); 5] = [
        (1, &[Op::Fire(0, 1), Op::Add(0, Callback::Counts(1))], &[Op::Fire(0, 2)]),
        (1, &[Op::Fire(0, 1)], &[Op::Cancel(0), Op::Add(0, Callback::Counts(1))]),
        (1, &[Op::Await(0, 1)], &[Op::Fire(0, 1), Op::Await(0, 2)]),
        (1, &[Op::Pause(0), Op::Unpause(0)], &[Op::Fire(0, 1), Op::Add(0, Callback::Counts(1))]),
        (2, &[Op::Fire(0, 0), Op::Add(0, Callback::Returns(1))], &[Op::Fire(1, 1)]),
    ];
    for (chains, first, second) in programs {
        let orders = in_every_order(chains, &[first, second], usize::MAX, |world| {
            assert_eq!(world.log(0).fired, 1);
        });
        // 6 for the shortest, 5,141 for the longest.
        assert!(orders >= 6, "{orders}");
    }
}

#[test]
fn what_is_paused_as_it_is_fired_waits() {
    let mut chain = Chain::<Threaded>::default();
    chain.add(Link::Deliver(7, 0)).unwrap();
    assert!(chain.fire_paused(Slot::Failure(CANCELLED)).is_ok());
    assert_eq!((chain.called(), chain.paused()), (true, 1));
    assert!(chain.unpause());
    assert!(matches!(chain.turn(), Turn::Deliver(7, 0, Slot::Failure(CANCELLED))));
}

#[test]
fn what_was_fired_before_is_not_paused() {
    let mut chain = Chain::<Threaded>::default();
    assert!(chain.fire(Slot::Value(1)).is_ok());
    let refused = chain.fire_paused(Slot::Failure(CANCELLED));
    assert!(matches!(refused, Err(error) if matches!(error.0, Slot::Failure(CANCELLED))));
    assert_eq!((chain.paused(), chain.called()), (0, true));
}

#[test]
fn what_another_thread_runs_is_not_looked_at() {
    let mut chain = Chain::<Threaded>::default();
    chain.add(On::Value.link(Callback::Counts(1))).unwrap();
    CURRENT.set(1);
    assert!(chain.fire(Slot::Value(1)).is_ok());
    assert!(matches!(chain.turn(), Turn::Call { .. }));
    CURRENT.set(2);
    assert!(chain.look_at_outcome().is_none());
    CURRENT.set(1);
    assert!(chain.look_at_outcome().is_some());
    CURRENT.set(0);
}
