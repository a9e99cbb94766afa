//! Programs played on `core::local`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use deferrous::core::Slot;
use deferrous::core::local::{Deferred, Outcome};

use super::programs::{Answer, Canceller, FUEL, Kind, Op, Script};
use super::seen::{Event, Fault, Seen, State};

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

pub(crate) fn play_real(program: &[Op]) -> Vec<Event> {
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
            let made = real_made(world, canceller);
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

fn real_made(world: &Shared, canceller: &Canceller) -> Deferred<u8, Fault> {
    match canceller {
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
    }
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
