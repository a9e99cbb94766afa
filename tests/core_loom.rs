//! The state machine behind its lock, in all orders in which the steps of two or three threads can fall,
//! as Loom knows them: also those of single instructions, and what one thread sees late of another.
//!
//! Each chain has the lock that the binding has for it where there is no GIL. As there, a thread holds it
//! for one transition, and never those of two chains.
//!
//!     RUSTFLAGS='--cfg loom' cargo test --no-default-features --release --test core_loom

#![cfg(loom)]
#![allow(missing_docs)]

#[allow(dead_code)]
#[path = "../src/binding/capi/byte_lock.rs"]
mod byte_lock;
#[path = "threads/chain_behind_lock.rs"]
mod chain_behind_lock;
mod threads;

use deferrous::core::Slot;
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicUsize, Ordering};

use byte_lock::ByteLock;
use chain_behind_lock::ChainBehindLock;
use threads::{CANCELLED, CURRENT, Callback, Driver, Guarded, Op, World, check_always};

/// Run the threads in every order in which at most so many are interrupted that could go on, and look at
/// the world after each. (Who waits for a lock looks again and again, so without a limit there is no end.)
fn in_every_order(
    chains: usize,
    threads: &'static [&'static [Op]],
    most: usize,
    check: impl Fn(&World<ChainBehindLock>) + Sync + Send + 'static,
) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(most);
    builder.max_branches = 10_000;
    let orders = Shared::new(AtomicUsize::new(0));
    let tried = orders.clone();
    builder.check(move || {
        tried.fetch_add(1, Ordering::Relaxed);
        let world = Arc::new(World::<ChainBehindLock>::new(chains));
        let run = |number: usize, world: Arc<World<ChainBehindLock>>| {
            move || {
                let mut driver = Driver::new(threads[number]);
                while !driver.is_done() {
                    CURRENT.set(number + 1);
                    driver.step(&world);
                }
            }
        };
        let others: Vec<_> =
            (1..threads.len()).map(|it| thread::spawn(run(it, world.clone()))).collect();
        run(0, world.clone())();
        for other in others {
            other.join().unwrap();
        }
        check_always(&world);
        check(&world);
    });
    println!("{} threads, interrupted at most {most} times: {orders:?} orders", threads.len());
}

#[test]
fn the_lock_admits_one() {
    for (threads, most) in [(2, 3), (3, 1)] {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(most);
        builder.max_branches = 10_000;
        builder.check(move || {
            let shared = Arc::new((ByteLock::new(), UnsafeCell::new(0)));
            let add = |shared: Arc<(ByteLock, UnsafeCell<u32>)>| {
                move || {
                    let _locked = shared.0.acquire();
                    // SAFETY: the lock is held, and Loom panics if another thread is in here.
                    shared.1.with_mut(|number| unsafe { *number += 1 });
                }
            };
            let others: Vec<_> = (1..threads).map(|_| thread::spawn(add(shared.clone()))).collect();
            add(shared.clone())();
            for other in others {
                other.join().unwrap();
            }
            // SAFETY: no other thread is left.
            shared.1.with(|number| assert_eq!(unsafe { *number }, threads));
        });
    }
}

#[test]
fn two_fire() {
    const ONE: &[Op] = &[Op::Fire(0, 10), Op::Add(0, Callback::Counts(1))];
    const OTHER: &[Op] = &[Op::Fire(0, 20)];
    in_every_order(1, &[ONE, OTHER], 3, |world| {
        let log = world.log(0);
        assert_eq!((log.fired, log.refused, log.called.len()), (1, 1, 1));
    });
}

#[test]
fn one_fires_and_others_add() {
    const ONE: &[Op] = &[Op::Fire(0, 0)];
    const SECOND: &[Op] = &[Op::Add(0, Callback::Counts(1))];
    const THIRD: &[Op] = &[Op::Add(0, Callback::Counts(2))];
    in_every_order(1, &[ONE, SECOND], 3, |world| assert_eq!(world.log(0).called.len(), 1));
    in_every_order(1, &[ONE, SECOND, THIRD], 1, |world| {
        assert_eq!(world.log(0).called.len(), 2);
    });
}

#[test]
fn one_fires_what_another_cancels() {
    const FIRE: &[Op] = &[Op::Fire(0, 5)];
    const CANCEL: &[Op] = &[Op::Cancel(0), Op::Add(0, Callback::Counts(1))];
    let check = |world: &World<ChainBehindLock>| {
        let log = world.log(0);
        assert_eq!((log.fired, log.refused), (1, 0));
        let cancelled = log.called[0].1 == Slot::Failure(CANCELLED);
        assert!(cancelled || log.called[0].1 == Slot::Value(5));
    };
    in_every_order(1, &[FIRE, CANCEL], 3, check);
    in_every_order(1, &[FIRE, CANCEL, &[Op::Cancel(0)]], 1, check);
}

#[test]
fn one_waits_for_what_another_fires() {
    const CHAIN: &[Op] = &[Op::Add(0, Callback::Returns(1)), Op::Fire(0, 0)];
    const FIRE: &[Op] = &[Op::Fire(1, 50)];
    const ADD: &[Op] = &[Op::Add(0, Callback::Counts(1))];
    let check = |world: &World<ChainBehindLock>| {
        world.chains[0]
            .with(|chain, _| assert_eq!((chain.paused(), chain.chained_to()), (0, None)));
    };
    in_every_order(2, &[CHAIN, FIRE], 3, check);
    in_every_order(2, &[CHAIN, FIRE, ADD], 1, check);
}

#[test]
fn generators_wait_for_what_another_thread_fires() {
    const WAIT: &[Op] = &[Op::Await(0, 1)];
    const FIRE: &[Op] = &[Op::Fire(0, 5)];
    in_every_order(1, &[WAIT, FIRE], 3, |world| {
        assert_eq!(world.log(0).delivered[..], [(1, Slot::Value(5))]);
    });
    in_every_order(1, &[WAIT, FIRE, &[Op::Await(0, 2)]], 1, |world| {
        assert_eq!(world.log(0).delivered.len(), 2);
    });
}

#[test]
fn one_pauses_what_another_fires() {
    const PAUSE: &[Op] = &[Op::Pause(0), Op::Unpause(0)];
    const FIRE: &[Op] = &[Op::Add(0, Callback::Counts(1)), Op::Fire(0, 0)];
    in_every_order(1, &[PAUSE, FIRE], 3, |world| {
        assert_eq!(world.log(0).called.len(), 1);
    });
}

#[test]
fn one_lets_go_of_what_another_has_fired() {
    const FIRE: &[Op] = &[Op::Fire(0, 5)];
    const DROP: &[Op] = &[Op::Add(1, Callback::Counts(1)), Op::Drop(1)];
    in_every_order(2, &[FIRE, DROP], 3, |_| {});
}
