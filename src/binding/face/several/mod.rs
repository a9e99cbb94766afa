//! Steps of `deferrous.concurrency` for several threads, for builds of the interpreter that can do
//! without the GIL.
//!
//! `concurrency/_several.py` puts these functions in the place of methods that are written in Python and
//! are atomic only with the GIL. Each looks at an object and changes it behind the
//! [gate](crate::binding::model::gate) of the object, which all its lines share.
//!
//! No Python code may run behind the gate. So what a step has to ask, such as the class of an item, is
//! asked before, and Deferreds and failures are made before or after. Waiters are taken out of a line and
//! fired behind the gate, as none may give up in between; their callbacks run after it. Whatever is
//! dropped is dropped after it, too.

pub(crate) mod behind;
pub(crate) mod channels;
pub(crate) mod events;
mod heap;
pub(crate) mod items;
pub(crate) mod keys;
pub(crate) mod locks;
pub(crate) mod one_by_one;
mod queue;
