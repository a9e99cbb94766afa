//! The core against its model, with programs that the fuzzer chooses by the code that they reach.
//!
//! The bytes are what the strategies of `tests/core_model.rs` take for random numbers.

#![no_main]

#[path = "../../tests/core_model.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fuzz_target!(|bytes: &[u8]| {
    let random = TestRng::from_seed(RngAlgorithm::PassThrough, bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    // Where the bytes do not come to a program, there is nothing to try.
    if let Ok(program) = model::program().new_tree(&mut runner) {
        model::assert_same(&program.current()).unwrap();
    }
});
