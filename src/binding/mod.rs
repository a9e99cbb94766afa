//! The core's Deferred as Python sees it: the hands that call what the core says is to be called.
//!
//! A value's way: `callback(x)` ([`deferred`]) → `fire` (core) → the trampoline ([`run`]) → `turn`
//! (core) → the call ([`callback`]) → `settle` (core) → … → rest. A yielded Deferred's way:
//! [`generator`] takes its outcome if it is there, else leaves its task as a waiter, to which the
//! trampoline delivers. Nobody else touches the state.

mod aside;
mod awaiting;
mod callback;
mod cell;
mod deferred;
mod error;
mod failure;
mod ffi;
mod fifo;
mod foreign;
mod functions;
mod gather;
mod gc;
mod generator;
mod hand_over;
mod interned;
mod kinds;
mod module;
mod names;
mod native;
mod outcome;
mod overrides;
mod report;
mod run;
mod sync;
mod timeout;
