//! The types that a driver chooses for its chains, and the outcomes made of them.

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
    /// Stops the operation behind a Deferred.
    type Canceller;
    /// Tells whether a chain has fired. A bool will do; a driver may need another form to show it.
    type Flag: Flag;
    /// Identifies the thread that runs a chain: `()` if only one thread runs chains at a time.
    type Runner: Runner;
}

/// A thread that runs chains.
///
/// If there are several, the driver must hold a lock during each transition, and follow these
/// rules:
///
/// * Whoever [adds](super::Chain::add) a link checks in the same transition whether the chain [is
///   runnable](super::Chain::is_runnable), and runs it if so. So no link is forgotten.
/// * A run ends at [`Turn::Busy`](super::Turn::Busy): the thread that is working on the chain takes
///   the next turns.
/// * A chain whose outcome is another Deferred counts as running until it
///   [waits](super::Chain::wait).
pub trait Runner: Copy + PartialEq {
    /// Whether there can be several threads.
    const SEVERAL: bool;

    /// The current thread.
    fn here() -> Self;
}

impl Runner for () {
    const SEVERAL: bool = false;

    #[inline(always)]
    fn here() -> Self {}
}

/// A flag. Dropping one must not drop any other object.
pub trait Flag {
    /// Make a flag.
    fn new(on: bool) -> Self;

    /// Whether it is set.
    fn is_on(&self) -> bool;

    /// Whether it is unset and can be replaced. A driver may have other unset flags, which it must
    /// replace itself with [`Chain::set_called`](super::Chain::set_called).
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
