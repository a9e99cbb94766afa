//! The Python classes: their fields, and short steps that change them.
//!
//! No function here runs a callback. May use `capi` and the core; all rooms above use it.

pub(crate) mod awaiting;
pub(crate) mod callback;
pub(crate) mod cancels;
pub(crate) mod deferred;
pub(crate) mod failure;
pub(crate) mod fifo;
mod fifo_memory;
#[cfg(Py_GIL_DISABLED)]
mod fifo_steps;
#[cfg(Py_GIL_DISABLED)]
pub(crate) mod gate;
pub(crate) mod line;
pub(crate) mod line_items;
pub(crate) mod list;
pub(crate) mod marks;
pub(crate) mod names;
pub(crate) mod observe;
pub(crate) mod outcome;
pub(crate) mod place;
pub(crate) mod primitive;
pub(crate) mod queue;
pub(crate) mod race;
pub(crate) mod task;
pub(crate) mod timeout;
pub(crate) mod traverse;
pub(crate) mod waiter;
pub(crate) mod wakeup;
