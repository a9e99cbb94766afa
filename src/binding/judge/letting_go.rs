//! Drops a Deferred, and reports its unhandled failure.

use pyo3::prelude::*;

use crate::binding::capi::{self, Pool, Pooled, Recycled, cell::Shared};
use crate::binding::judge::report;
use crate::binding::model::{
    deferred::Deferred,
    observe,
    outcome::{Chain, Outcome, frees_nothing},
};

impl Recycled for Deferred {
    const WATCHED: bool = true;

    #[cold]
    fn kind_of_outcome(&self, py: Python<'_>) -> u32 {
        self.chain(py, |chain| observe::number_of_chain(chain))
    }

    type State = Chain;

    #[inline(always)]
    fn state(&self) -> &Shared<Chain> {
        &self.chain
    }

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Deferred> = Pool::new(Pooled::Deferred);
        &POOL
    }

    fn pool_while_watched() -> &'static Pool<Self> {
        static POOL: Pool<Deferred> = Pool::new(Pooled::Deferred);
        &POOL
    }

    #[inline]
    fn dies_quietly(chain: &Chain) -> bool {
        !chain.unhandled()
    }

    #[inline(always)]
    fn is_light(chain: &Chain, py: Python<'_>) -> bool {
        chain.is_bare() && chain.flag().other().is_none() && frees_nothing(py, chain.outcome())
    }

    #[inline(always)]
    fn dispose_of_light(chain: &mut Chain, _py: Python<'_>) {
        drop(chain.replace_outcome(Outcome::Empty));
    }

    /// Drop the contents, and report an unhandled failure.
    fn dispose(&self, py: Python<'_>) {
        let mut chain = self.chain(py, std::mem::take);
        let called = chain.set_called(false).into_other(py);
        let failure = match chain.outcome() {
            Outcome::Failure(failure) if chain.unhandled() => Some(failure.bind(py).clone()),
            _ => None,
        };
        // What it holds is dropped first, and so reported first.
        drop((chain, called));
        if let Some(failure) = failure {
            observe::unhandled(py, self);
            report::unhandled(failure);
        }
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        capi::dropping(self);
    }
}
