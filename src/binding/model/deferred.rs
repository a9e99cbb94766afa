//! The class `Deferred`: a chain of the core's in a Python object. What the chain is made of is here
//! as well: a Deferred has a chain, and the outcome of a chain may be a Deferred.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;

use crate::binding::capi::{
    self, Held,
    cell::{self, Shared},
    error::Result,
    shown::Truth,
};
use crate::binding::model::{callback::Callback, waiter::Waiter};
use crate::core;

create_exception!(
    deferrous,
    AlreadyCalledError,
    PyException,
    "A Deferred was fired that had been fired already."
);

create_exception!(
    deferrous,
    CancelledError,
    PyException,
    "The operation behind a Deferred was cancelled."
);

create_exception!(
    deferrous,
    TimeoutError,
    PyException,
    "The operation behind a Deferred took too long."
);

/// The types that a chain of Python objects is made of.
pub(crate) struct Objects;

impl core::Kinds for Objects {
    type Value = Held<PyAny>;
    /// An instance of `Failure`, or something that passes for one.
    type Failure = Held<PyAny>;
    type Callback = Callback;
    type Deferred = Held<Deferred>;
    type Waiter = Waiter;
    /// A callable, or the `Task` whose generator is to be cancelled.
    type Canceller = Held<PyAny>;
    /// `Deferred.called`
    type Flag = Truth;
    type Runner = cell::Runner;
}

pub(crate) type Chain = core::Chain<Objects>;

pub(crate) type Link = core::Link<Objects>;

pub(crate) type Links = core::Links<Objects>;

pub(crate) type Outcome = core::Outcome<Objects>;

/// A result that will arrive later.
///
/// Add functions to it with `addCallback` (for a result), `addErrback` (for a failure),
/// `addBoth` or `addCallbacks`. They form a chain. `callback` or `errback` fires the Deferred
/// and runs the chain in the order of adding; each function gets what the one before returned.
/// An exception becomes a Failure and goes to the next errback. If a function returns another
/// Deferred, the chain waits for its result. In coroutines and `inlineCallbacks` functions, use
/// `await` or `yield` instead.
///
/// Arguments:
///
/// - `canceller`: a function that `cancel()` calls with this Deferred, to stop the operation
///   behind it. Optional.
///
/// Cancelling: `cancel()` calls the canceller. If that does not fire the Deferred, `cancel()`
/// fails it with CancelledError. Without a canceller, the first `callback` or `errback` after
/// that is ignored.
///
/// Threads: on a free-threaded Python, any thread may use it, and each operation is atomic. Of
/// several threads that fire it, one succeeds, the others get AlreadyCalledError. Each callback
/// is called once, in the order of adding, in any of the threads, by one at a time.
///
/// Differs from Twisted: `await` also works in asyncio tasks. Deferreds may wait for each other
/// to any depth; Twisted raises RecursionError at some depth.
///
/// ```python
/// from deferrous import Deferred
///
/// d = Deferred()
/// d.addCallback(lambda number: number * 2)
/// d.addCallback(print)
/// d.callback(21)
/// ```
///
/// This prints 42.
#[pyclass(
    crate = "crate::binding::capi::guarded",
    module = "deferrous",
    subclass,
    frozen,
    weakref,
    dict,
    generic
)]
pub(crate) struct Deferred {
    pub(crate) chain: Shared<Chain>,
}

impl Deferred {
    /// A Deferred with this chain.
    #[inline]
    pub(crate) fn of(chain: Chain) -> Self {
        Self { chain: Shared::new(chain) }
    }

    /// Make one transition of the state.
    #[inline(always)]
    pub(crate) fn chain<R>(&self, py: Python<'_>, transition: impl FnOnce(&mut Chain) -> R) -> R {
        self.chain.with(py, transition)
    }
}

/// Make a Deferred with this chain.
#[inline(always)]
pub(crate) fn new_deferred(
    py: Python<'_>,
    chain: impl FnOnce() -> Chain,
) -> Result<Bound<'_, Deferred>> {
    capi::new_exact(py, || Deferred::of(chain()))
}

/// The list of all classes of Deferreds, in the order of their definition.
pub(crate) fn subclasses<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyList>> {
    // Made with the module, and never locked.
    static LIST: PyOnceLock<Py<PyList>> = PyOnceLock::new();
    loop {
        match LIST.get(py) {
            Some(list) => return Ok(list.bind(py)),
            None => {
                let list = capi::new_list(py)?;
                list.append(py.get_type::<Deferred>())?;
                capi::keep(&LIST, list);
            }
        }
    }
}

const _: () = {
    // One word more would put each Deferred into the allocator's next size class. (Without the GIL
    // there is a lock.)
    const WORDS: usize = if cfg!(Py_GIL_DISABLED) { 10 } else { 8 };
    assert!(cfg!(debug_assertions) || size_of::<Deferred>() <= size_of::<[usize; WORDS]>());
};
