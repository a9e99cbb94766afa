//! Waiters: tasks, lists, races, locks, queues; and firing and cancelling Deferreds.
//!
//! Nothing here calls the engine. Each function returns the next step as plain data ([`work`]).
//!
//! May use `judge` and the rooms below. `run` and `face` use it.

pub(crate) mod aside;
pub(crate) mod awaiting;
pub(crate) mod cancel_list;
pub(crate) mod cancelling;
pub(crate) mod driving;
pub(crate) mod early;
pub(crate) mod firing;
pub(crate) mod handing_over;
pub(crate) mod limits;
pub(crate) mod list;
pub(crate) mod lock_run;
#[cfg(Py_GIL_DISABLED)]
pub(crate) mod lock_steps;
pub(crate) mod loops;
pub(crate) mod made;
pub(crate) mod native;
pub(crate) mod nesting;
#[cfg(Py_GIL_DISABLED)]
pub(crate) mod queue_steps;
pub(crate) mod race;
pub(crate) mod ring;
pub(crate) mod starting;
pub(crate) mod task;
pub(crate) mod task_cancelling;
#[cfg(Py_GIL_DISABLED)]
pub(crate) mod task_steps;
#[cfg(Py_GIL_DISABLED)]
pub(crate) mod turns;
pub(crate) mod work;
pub(crate) mod yielded;
