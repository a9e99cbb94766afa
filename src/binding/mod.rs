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
//! How a value travels: `callback(x)` ([`face`]) fires the chain (core). The engine ([`run`]) asks
//! the chain for its next turn (core), calls the callback, and settles the link with the result.
//!
//! How a yielded Deferred is waited for: if its outcome is there, the generator takes it at once.
//! Otherwise the generator's task ([`waits`]) becomes a waiter in the Deferred's chain, and the
//! engine delivers the outcome to it later.
//!
//! # Terms
//!
//! * *Outcome*: a value, a failure, or another Deferred to wait for.
//! * *Link*: one entry of a chain: a callback, an errback, both, or a waiter.
//! * *Waiter*: an object in a chain that takes the outcome without being a Python callable, such as
//!   a task, a `DeferredList` or a chained Deferred.
//! * *Task*: the object that runs one generator or coroutine.
//! * *Turn*: what a chain wants done next. *Settle*: tell the chain the result of a turn.
//! * *Run*: taking the turns of one chain, until no link is left.
//! * *At rest*: fired, not running, not paused, and without links.
//! * *Hand over*: to fire the Deferred of whoever waits for a lock, a token or an item.
//! * *Plain*: of exactly our class, or with none of our methods overridden, so that native code
//!   need not call Python.
//! * *Ordinary*: a value that is certainly neither a Deferred nor a failure.

mod capi;
mod face;
mod judge;
mod model;
mod run;
mod waits;
