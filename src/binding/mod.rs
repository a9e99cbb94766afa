//! Python bindings: carry out the core's instructions.
//!
//! The rooms, from the top to the bottom. A file uses its own room and those below it, never one
//! above: `tests/test_layers.py` checks that.
//!
//! * [`face`]: what Python sees. Classes, methods, functions, the module.
//! * [`run`]: the engine. It does what the core and the waiters ask for, without recursion.
//! * [`waits`]: everything that waits for a Deferred, or hands something over to one. It says what
//!   is to be done next, and never calls the engine.
//! * [`judge`]: what a result is. Failures, Twisted's own objects, reports, debug mode.
//! * [`model`]: what the objects are made of.
//! * [`capi`]: CPython's C interface, made safe. It knows nothing of Deferreds.
//!
//! The way of a value: `callback(x)` ([`face`]) fires the chain (core); the engine ([`run`]) asks the
//! chain for its next turn (core), calls the callback and settles the link with what it returned.
//! The way of a yielded Deferred: its outcome is taken if it is there; else the task ([`waits`])
//! stands in its chain as a waiter, and the engine delivers the outcome to it later.

mod capi;
mod face;
mod judge;
mod model;
mod run;
mod waits;
