//! The core against its model, with programs that the fuzzer chooses by the code that they reach.
//!
//! Each byte is one choice: which operation comes next, on which Deferred, with what. Where the
//! bytes end, so does the program.

#![no_main]

#[path = "../../tests/core_model.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use model::programs::{Answer, Canceller, Ending, Kind, Op, Script};

/// How many operations stand in one callback or canceller at most, and how deep they nest.
const BODY: u8 = 3;
const DEPTH: u8 = 2;

/// What is left of the bytes.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    /// One of so many. None where the bytes have ended.
    fn among(&mut self, count: u8) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first % count)
    }

    fn which(&mut self) -> Option<usize> {
        self.among(8).map(usize::from)
    }

    fn ending(&mut self) -> Option<Ending> {
        let choice = self.among(18)?;
        Some(if choice < 9 { Ending::Value(choice) } else { Ending::Failure(choice - 9) })
    }

    fn kind(&mut self) -> Option<Kind> {
        let kinds = [Kind::OnValue, Kind::OnFailure, Kind::OnBoth, Kind::OnEither, Kind::Then];
        self.among(kinds.len() as u8).map(|choice| kinds[usize::from(choice)])
    }

    fn body(&mut self, depth: u8) -> Option<Vec<Op>> {
        let count = self.among(BODY)?;
        (0..count).map(|_| self.op(depth)).collect()
    }

    fn script(&mut self, depth: u8) -> Option<Script> {
        let body = self.body(depth)?;
        let answer = match self.among(4)? {
            0 => Answer::Same,
            1 => Answer::End(self.ending()?),
            2 => Answer::Other(self.which()?),
            _ => Answer::Own,
        };
        Some(Script { body, answer })
    }

    fn op(&mut self, depth: u8) -> Option<Op> {
        // The last three have operations of their own, so they stand where there is room for some.
        let count = if depth == 0 { 8 } else { 11 };
        Some(match self.among(count)? {
            0 => Op::New(Canceller::None),
            1 => Op::Fired(self.ending()?),
            2 => Op::Fire(self.which()?, self.ending()?),
            3 => Op::Pause(self.which()?),
            4 => Op::Unpause(self.which()?),
            5 => Op::Cancel(self.which()?),
            6 => Op::MarkHandled(self.which()?),
            7 => Op::Drop(self.which()?),
            8 => Op::New(Canceller::Fires(self.ending()?)),
            9 => Op::New(Canceller::Does(self.body(depth - 1)?)),
            _ => {
                let (which, kind) = (self.which()?, self.kind()?);
                Op::Add(which, kind, self.script(depth - 1)?, self.script(depth - 1)?)
            }
        })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let mut program = vec![Op::New(Canceller::None), Op::New(Canceller::None)];
    program.extend(std::iter::from_fn(|| choices.op(DEPTH)));
    model::assert_same(&program).unwrap();
});
