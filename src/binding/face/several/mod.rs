//! What objects of `deferrous.concurrency` do in one step where several threads may use them, on
//! builds of the interpreter that can do without the GIL. There, these functions are what the methods
//! do that are written in Python.
//!
//! All that is looked at and changed together is so behind the [gate](crate::binding::model::gate) of
//! the object, which all its lines share. Nothing runs Python code there. So what has to be asked, as
//! the class of an item, is asked before; Deferreds and failures are made before, or after; who was
//! in a line is fired behind the gate, as nobody may give up in between, but callbacks run when it has
//! been left; and what is let go of is dropped then, too.

pub(crate) mod behind;
pub(crate) mod channels;
pub(crate) mod events;
mod heap;
pub(crate) mod items;
pub(crate) mod keys;
pub(crate) mod locks;
pub(crate) mod one_by_one;
mod queue;
