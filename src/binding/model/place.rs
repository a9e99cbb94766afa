//! A place in a line.

use pyo3::prelude::*;

use crate::binding::capi::Held;
use crate::binding::model::fifo::Fifo;

/// A place in a line: the canceller of a Deferred that waits in it.
///
/// Cancelling the Deferred takes it out of the line, in constant time. The owner of the line, if
/// there is one, is told by its `_left`, where it has that. A task of asyncio that is cancelled
/// after it was given something, and before it runs, does not come for that: then the owner's
/// `_not_taken` is called.
#[pyclass(crate = "crate::binding::capi::guarded", name = "_Place", module = "deferrous", frozen)]
pub(crate) struct Place {
    pub(crate) line: Held<Fifo>,
    pub(crate) owner: Option<Held<PyAny>>,
    /// What the owner wants to know of it.
    pub(crate) what: Held<PyAny>,
}
