//! Random programs over `core::local::Deferred`, played as well on a reference model that is naive
//! on purpose: lists, recursion and no thought of speed. Both must make the same calls in the same
//! order and show the same state after every operation, also those inside callbacks.

use proptest::prelude::*;

#[path = "core_model/model.rs"]
mod model;
#[path = "core_model/programs.rs"]
pub(crate) mod programs;
#[path = "core_model/real.rs"]
mod real;
#[path = "core_model/seen.rs"]
mod seen;

use model::play_model;
use programs::{Op, program};
use real::play_real;

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
