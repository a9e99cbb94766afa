//! Programs played on the reference model.

use super::programs::{Answer, Canceller, FUEL, Kind, Op, Script};
use super::seen::{Event, Fault, Seen, State};

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

pub(crate) fn play_model(program: &[Op]) -> Vec<Event> {
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
                let some = !matches!(canceller, Canceller::None);
                self.create(Seen::Absent, some.then(|| canceller.clone()));
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
