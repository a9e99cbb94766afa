//! The public interface: methods, functions and the module.
//!
//! May use all rooms below. No room uses it.

pub(crate) mod acquiring;
pub(crate) mod adding;
pub(crate) mod awaiting;
pub(crate) mod behind;
pub(crate) mod broadcasts;
pub(crate) mod deferred;
pub(crate) mod described;
pub(crate) mod ending;
pub(crate) mod events;
pub(crate) mod feeds;
pub(crate) mod fifo;
pub(crate) mod functions;
pub(crate) mod generators;
pub(crate) mod getters;
pub(crate) mod graph;
pub(crate) mod groups;
pub(crate) mod items;
pub(crate) mod leaving;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod lock_run;
pub(crate) mod locked_calls;
pub(crate) mod module;
pub(crate) mod place;
pub(crate) mod primitive;
pub(crate) mod queue;
pub(crate) mod quick;
pub(crate) mod race;
pub(crate) mod returned;
pub(crate) mod semaphore;
#[cfg(Py_GIL_DISABLED)]
pub(crate) mod several;
pub(crate) mod slots;
pub(crate) mod survey;
pub(crate) mod timeout;
pub(crate) mod tracking;
pub(crate) mod waiting;
pub(crate) mod wakeup;
pub(crate) mod whole;
