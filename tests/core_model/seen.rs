//! What is compared: what a program shows as it runs.

use deferrous::core::Cancelled;

use super::programs::Ending;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    Code(u8),
    Cancelled,
}

impl From<Cancelled> for Fault {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl Ending {
    pub(crate) fn result(self) -> Result<u8, Fault> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Failure(code) => Err(Fault::Code(code)),
        }
    }

    pub(crate) fn seen(self) -> Seen {
        match self {
            Self::Value(value) => Seen::Value(value),
            Self::Failure(code) => Seen::Failure(Fault::Code(code)),
        }
    }
}

/// An outcome with Deferreds by number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Seen {
    Absent,
    Taken,
    Value(u8),
    Failure(Fault),
    Deferred(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) called: bool,
    pub(crate) paused: i32,
    pub(crate) outcome: Seen,
    pub(crate) running: bool,
    pub(crate) chained_to: Option<usize>,
    pub(crate) links: usize,
    pub(crate) unhandled: bool,
}

/// The second number of a call tells the two halves of [`Kind::OnBoth`] apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Call(usize, usize, Seen),
    Returned(usize),
    Asked(usize),
    Refused(usize),
    /// After an operation: the state of each Deferred that there is a handle on.
    States(Vec<Option<State>>),
    /// After an operation of the program itself: failures that were lost.
    Lost(Vec<(usize, Fault)>),
}
