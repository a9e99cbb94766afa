//! The class `Deferred`: a chain of the core's in a Python object.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;

use crate::binding::capi::{self, cell::Shared, error::Result};
use crate::binding::model::outcome::Chain;

create_exception!(
    deferrous,
    AlreadyCalledError,
    PyException,
    "A Deferred that had been fired before was fired again."
);

create_exception!(
    deferrous,
    CancelledError,
    PyException,
    "The operation that a Deferred stood for was cancelled."
);

create_exception!(
    deferrous,
    TimeoutError,
    PyException,
    "The operation that a Deferred stood for took too long."
);

/// A result that is not there yet.
///
/// Callbacks and errbacks that are added to a Deferred are called in the order in which they were
/// added, once it is fired: the first with the result, each other with what the one before
/// returned. A callback gets results; an errback gets a Failure, made of the exception that was
/// raised before it. Where one returns another Deferred, the next gets that one's result, when it
/// is there.
///
/// Takes a canceller: a function that `cancel()` calls with the Deferred, to cut short what the
/// Deferred waits for. It may fire the Deferred; if it does not, `cancel()` fails it with
/// CancelledError. Without a canceller, one call of `callback` or `errback` after `cancel()` is
/// ignored.
///
/// `await` gives its result, in coroutines that Deferreds or asyncio's tasks drive; with Twisted's,
/// it does so in the former only.
///
/// Deferreds that wait for each other, to any depth, run without recursion. Twisted's do where
/// callbacks return them, and end in a RecursionError elsewhere.
#[pyclass(module = "deferrous", subclass, frozen, weakref, dict, generic)]
pub(crate) struct Deferred {
    pub(crate) chain: Shared<Chain>,
}

impl Deferred {
    /// With this state.
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

/// Make one.
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
    // One word more would put each Deferred into the allocator's next size class.
    assert!(cfg!(debug_assertions) || size_of::<Deferred>() <= size_of::<[usize; 8]>());
};
