//! The core's types for chains of Python objects.

use pyo3::prelude::*;

use crate::binding::capi::{self, Held, error::Result, shown::Truth};
use crate::binding::model::deferred::Deferred;
use crate::core;
use crate::core::NoMemory;

/// The types that a chain of Python objects is made of.
pub(crate) struct Objects;

impl core::Kinds for Objects {
    type Value = Held<PyAny>;
    /// An instance of `Failure`, or something that passes for one.
    type Failure = Held<PyAny>;
    type Callback = crate::binding::model::callback::Callback;
    type Deferred = Held<Deferred>;
    type Waiter = crate::binding::model::waiter::Waiter;
    /// A callable, or the `Task` whose generator is to be cancelled.
    type Canceller = Held<PyAny>;
    /// `Deferred.called`
    type Flag = Truth;
    type Runner = ();
}

pub(crate) type Chain = core::Chain<Objects>;

pub(crate) type Link = core::Link<Objects>;

pub(crate) type Links = core::Links<Objects>;

pub(crate) type Outcome = core::Outcome<Objects>;

/// A new reference to the same outcome.
#[inline]
pub(crate) fn share(py: Python<'_>, outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Empty => Outcome::Empty,
        Outcome::Taken => Outcome::Taken,
        Outcome::Value(value) => Outcome::Value(value.clone_ref(py)),
        Outcome::Failure(failure) => Outcome::Failure(failure.clone_ref(py)),
        Outcome::Deferred(deferred) => Outcome::Deferred(deferred.clone_ref(py)),
    }
}

/// The outcome as the object that a callback gets. An outcome that was taken leaves `None`.
#[inline]
pub(crate) fn into_object(py: Python<'_>, outcome: Outcome) -> Bound<'_, PyAny> {
    match outcome {
        Outcome::Empty | Outcome::Taken => py.None().into_bound(py),
        Outcome::Value(object) | Outcome::Failure(object) => object.into_bound(py),
        Outcome::Deferred(deferred) => deferred.into_bound(py).into_any(),
    }
}

/// What a transition answers that has to keep something. What it had no room for is let go of
/// here, when the transition is over.
#[inline(always)]
pub(crate) fn or_no_memory<T, L>(py: Python<'_>, kept: Result<T, NoMemory<L>>) -> Result<T> {
    kept.map_err(|NoMemory(refused)| {
        drop(refused);
        capi::no_memory(py)
    })
}
