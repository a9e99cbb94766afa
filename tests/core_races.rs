//! The state machine behind its lock, where threads of the system run it at the same time.
//!
//! Which orders come is chance; `core_loom.rs` has them all. But ThreadSanitizer sees each access that
//! nothing puts in order with another, also if nothing goes wrong: `make proof-races`.

#![cfg(not(loom))]
#![allow(missing_docs)]

#[allow(dead_code)]
#[path = "../src/binding/capi/byte_lock.rs"]
mod byte_lock;
#[path = "threads/chain_behind_lock.rs"]
mod chain_behind_lock;
mod threads;

use std::sync::{Arc, Barrier};
use std::thread;

use deferrous::core::Slot;

use chain_behind_lock::ChainBehindLock;
use threads::{CURRENT, Callback, Driver, Op, World, check_always};

const ROUNDS: usize = 200;

/// Run the threads at the same time, many times, and look at the world after each.
fn at_once(
    chains: usize,
    threads: &'static [&'static [Op]],
    check: impl Fn(&World<ChainBehindLock>),
) {
    for _ in 0..ROUNDS {
        let world = Arc::new(World::<ChainBehindLock>::new(chains));
        let begin = Arc::new(Barrier::new(threads.len()));
        let running: Vec<_> = threads
            .iter()
            .enumerate()
            .map(|(number, ops)| {
                let (world, begin) = (world.clone(), begin.clone());
                thread::spawn(move || {
                    CURRENT.set(number + 1);
                    let mut driver = Driver::new(ops);
                    begin.wait();
                    while !driver.is_done() {
                        driver.step(&world);
                    }
                })
            })
            .collect();
        for thread in running {
            thread.join().expect("no step fails");
        }
        check_always(&world);
        check(&world);
    }
}

#[test]
fn many_add_to_what_is_fired() {
    const FIRE: &[Op] = &[Op::Add(0, Callback::Counts(1)), Op::Fire(0, 0)];
    const ADD: &[Op] = &[Op::Add(0, Callback::Counts(2)), Op::Add(0, Callback::Counts(3))];
    const OTHER: &[Op] = &[Op::Fire(0, 10), Op::Add(0, Callback::Counts(4)), Op::Await(0, 1)];
    at_once(1, &[FIRE, ADD, OTHER], |world| {
        let log = world.log(0);
        assert_eq!((log.fired, log.refused), (1, 1));
        assert_eq!((log.called.len(), log.delivered.len()), (4, 1));
    });
}

#[test]
fn some_cancel_and_pause() {
    const FIRE: &[Op] = &[Op::Fire(0, 5), Op::Add(0, Callback::Counts(1))];
    const CANCEL: &[Op] = &[Op::Cancel(0), Op::Add(0, Callback::Counts(2))];
    const PAUSE: &[Op] = &[Op::Pause(0), Op::Add(0, Callback::Counts(3)), Op::Unpause(0)];
    at_once(1, &[FIRE, CANCEL, PAUSE], |world| {
        assert_eq!(world.log(0).fired, 1);
        assert_eq!(world.log(0).called.len(), 3);
    });
}

#[test]
fn chains_of_three() {
    const FIRST: &[Op] = &[Op::Add(0, Callback::Returns(1)), Op::Fire(0, 0), Op::Await(0, 1)];
    const SECOND: &[Op] = &[Op::Add(1, Callback::Returns(2)), Op::Fire(1, 0)];
    const THIRD: &[Op] = &[Op::Fire(2, 70), Op::Add(2, Callback::Counts(1))];
    at_once(3, &[FIRST, SECOND, THIRD], |world| {
        assert_eq!(world.log(0).delivered.len(), 1);
        assert!(!matches!(world.log(0).delivered[0].1, Slot::Failure(_)));
    });
}
