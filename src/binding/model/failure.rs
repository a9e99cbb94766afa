//! The native part of `Failure`.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use crate::binding::capi::{
    Held, ZeroIsEmpty,
    cell::Shared,
    classes::{InitSlot, Plain},
};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::gate::Taken;

/// Where the five attributes of a failure are stored.
///
/// `BaseException.__new__` leaves zeroed memory here, so that must be a valid state: `repr` makes
/// the first variant 0.
#[repr(u8)]
pub(crate) enum State {
    /// In the instance dict, like all other attributes.
    InDict = 0,
    /// Here, until somebody asks for `__dict__`.
    Here(Attributes) = 1,
}

/// The attributes that every failure has.
pub(crate) struct Attributes {
    pub(crate) value: Held<PyAny>,
    pub(crate) kind: Held<PyAny>,
    pub(crate) traceback: Option<Held<PyAny>>,
    pub(crate) capture_vars: bool,
    pub(crate) count: u64,
    /// Whether `check` has been called. From then on, Twisted's keeps the names of the classes.
    pub(crate) checked: bool,
    /// Whether a thread is moving them into the instance dict.
    #[cfg(Py_GIL_DISABLED)]
    pub(crate) moving: Taken,
}

/// The native base class of Failure. Use `deferrous.failure.Failure`.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    name = "Failure",
    module = "deferrous._deferrous",
    extends = PyBaseException,
    subclass,
    frozen
)]
pub(crate) struct FailureBase {
    pub(crate) state: Shared<State>,
}

impl FailureBase {
    /// Make one with this state.
    pub(crate) fn of(state: State) -> Self {
        Self { state: Shared::new(state) }
    }
}

impl Plain for FailureBase {
    fn init() -> &'static InitSlot {
        static INIT: InitSlot = InitSlot::new();
        &INIT
    }
}

// SAFETY: zeroed memory is `State::InDict`, as its representation says, and owns nothing. (A debug
// build's mark beside it is false.)
unsafe impl ZeroIsEmpty for FailureBase {}
