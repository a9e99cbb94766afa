//! Steps of `deferrous.concurrency` for several threads: only on free-threaded builds.
//!
//! `concurrency/_several.py` replaces methods by these functions. The methods are written in
//! Python, and are atomic only with the GIL. Each function here looks at an object and changes it
//! behind the [gate](crate::binding::model::gate) of the object, which all its lines share.
//!
//! No Python code may run behind the gate. So whatever a step needs to ask, such as the class of an
//! item, is asked before it. Deferreds and failures are made before or after it. A waiter is taken
//! out of its line and fired behind the gate, so that it cannot give up in between; its callbacks
//! run after the gate has been left. Objects are dropped after that, too.

pub(crate) mod channels;
pub(crate) mod events;
mod heap;
pub(crate) mod items;
pub(crate) mod keys;
pub(crate) mod locks;
pub(crate) mod one_by_one;
mod queue;
pub(crate) mod shared;
