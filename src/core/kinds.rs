//! What a driver chooses: the types that stand in its chains; and what an outcome is then.

/// The types that a driver chooses for its chains.
pub trait Kinds {
    /// A result.
    type Value;
    /// The reason for having no result.
    type Failure;
    /// Something the driver can call with an outcome.
    type Callback;
    /// A handle on another Deferred.
    type Deferred;
    /// Something that waits for an outcome and is not a callback.
    type Waiter;
    /// What can stop the operation behind a Deferred.
    type Canceller;
    /// Whether a chain has fired, in the form that the driver wants to show: a bool will do.
    type Flag: Flag;
    /// Which thread runs a chain: `()` where one does at a time, whatever the chain.
    type Runner: Runner;
}

/// A thread that runs chains.
///
/// If there are several, the driver has a lock around each transition, and keeps to this:
///
/// * Who [adds](super::Chain::add) a link asks in the same transition whether the chain [is
///   runnable](super::Chain::is_runnable), and runs it then. So no link is left to nobody.
/// * A run is over at [`Turn::Busy`](super::Turn::Busy): the thread that is working on the chain
///   takes the next turns.
/// * A chain whose outcome is another Deferred counts as running until it
///   [waits](super::Chain::wait).
pub trait Runner: Copy + PartialEq {
    /// Whether there can be several.
    const SEVERAL: bool;

    /// The one that this runs in.
    fn here() -> Self;
}

impl Runner for () {
    const SEVERAL: bool = false;

    #[inline(always)]
    fn here() -> Self {}
}

/// A yes or a no. One that is dropped lets go of nothing.
pub trait Flag {
    /// Yes, or no.
    fn new(on: bool) -> Self;

    /// Whether it is a yes.
    fn is_on(&self) -> bool;

    /// Whether it is a no that can be replaced. A driver may have others, which it has to replace
    /// itself, by [`Chain::set_called`](super::Chain::set_called).
    fn is_clear(&self) -> bool;
}

impl Flag for bool {
    fn new(on: bool) -> Self {
        on
    }

    fn is_on(&self) -> bool {
        *self
    }

    fn is_clear(&self) -> bool {
        !*self
    }
}

/// How an operation or a callback ended: with a value, a failure, or another Deferred to wait for.
/// This is decided once, when the result arrives.
pub type Outcome<K> = Slot<<K as Kinds>::Value, <K as Kinds>::Failure, <K as Kinds>::Deferred>;

/// Where a chain keeps its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot<V, F, D> {
    /// No outcome yet.
    Empty,
    /// The outcome has been taken, by a chained Deferred or a waiter.
    Taken,
    /// A result.
    Value(V),
    /// A failure.
    Failure(F),
    /// Another Deferred, which this chain waits for or was fired with.
    Deferred(D),
}
