//! Type slots of our classes: creation, iteration, finalizing and freeing.

use crate::binding::capi::Held;
use crate::binding::capi::classes::{InitSlot, Plain};
use crate::binding::capi::constructing::{self, Construct, ConstructSub, Fresh, Initialize};
use crate::binding::judge::debug::debugging;
use crate::binding::model::timeout::Timeout;
use crate::binding::model::wakeup::Wakeup;
use pyo3::PyClass;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::initproc;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use std::sync::OnceLock;

use crate::binding::capi::error::{Raise, Result};
use crate::binding::capi::finalizing::{self, Finalize};
use crate::binding::capi::interned::intern;
use crate::binding::capi::iterating::{self, Iterate, Step};
#[cfg(not(Py_3_12))]
use crate::binding::capi::spare_one;
use crate::binding::capi::{
    self, Class, Hold, Native, Sent, bury, keep_dicts, know_classes, recycle, rely_on_base,
};
use crate::binding::judge::report;
use crate::binding::model::awaiting::{Awaiting, new_awaiting};
use crate::binding::model::deferred::Deferred;
use crate::binding::model::failure::FailureBase;
use crate::binding::model::fifo::Fifo;
use crate::binding::model::list::DeferredList;
use crate::binding::model::outcome::{Chain, Outcome};
use crate::binding::model::place::Place;
use crate::binding::model::primitive::{DeferredLock, DeferredSemaphore, LockRun, Primitive};
use crate::binding::model::queue::DeferredQueue;
use crate::binding::model::race::Race;
use crate::binding::model::task::{Task, TaskCallback};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::driving;
use crate::binding::waits::firing;
use pyo3::types::{PyInt, PyString, PyTuple, PyType};

/// List all our classes: set `tp_dealloc`, and declare which of them may have failures to report.
macro_rules! native {
    ($($bury:ident: $($class:ty $(= $reports:literal)?),*;)*) => {
        $($(
            impl Native for $class {
                $(const REPORTS: bool = $reports;)?

                #[inline(always)]
                fn class() -> &'static Class {
                    static CLASS: Class = Class::new();
                    &CLASS
                }
            }
        )*)*

        /// Set `tp_dealloc` of all classes.
        fn bury_all(py: Python<'_>) {
            know_classes(&[$($(<$class>::class),*),*]);
            #[cfg(Py_GIL_DISABLED)]
            capi::at_end_of_threads(driving::thread_ends);
            $($($bury::<$class>(py);)*)*
        }
    };
}

native! {
    recycle: Deferred, Awaiting, Task, Fifo, Place, DeferredQueue, Wakeup;
    bury: DeferredList = true, TaskCallback, Primitive, DeferredLock, DeferredSemaphore,
        LockRun, Race, Timeout, FailureBase;
}

/// A Deferred that has not fired.
impl Fresh for Deferred {
    fn fresh() -> Self {
        Self::of(Chain::new(None))
    }
}

/// An empty list.
impl Fresh for DeferredList {
    fn fresh() -> Self {
        Self::empty()
    }
}

impl Plain for Deferred {
    fn init() -> &'static InitSlot {
        static INIT: InitSlot = InitSlot::new();
        &INIT
    }
}

/// The canceller, from at most one argument. None for other arguments.
fn canceller_in(arguments: &[Bound<'_, PyAny>]) -> Option<Option<Held<PyAny>>> {
    match arguments {
        [canceller] if !canceller.is_none() => Some(Some(canceller.clone().hold())),
        [] | [_] => Some(None),
        _ => None,
    }
}

/// `Deferred(canceller=None)`
impl Construct for Deferred {
    #[inline(always)]
    fn construct<'py>(
        class: &Bound<'py, PyType>,
        arguments: &[Bound<'py, PyAny>],
    ) -> Option<Result<Bound<'py, PyAny>>> {
        if !Self::is_plain(class) {
            return None;
        }
        let canceller = canceller_in(arguments)?;
        Some(firing::make(class.py(), || Chain::new(canceller)).map(Bound::into_any))
    }

    fn parameters(py: Python<'_>) -> [Option<&Bound<'_, PyString>>; 2] {
        [Some(intern!(py, "canceller")), None]
    }
}

impl ConstructSub for Deferred {
    #[inline(always)]
    fn of_arguments(arguments: &[Bound<'_, PyAny>]) -> Option<Self> {
        Some(Self::of(Chain::new(canceller_in(arguments)?)))
    }

    #[inline(always)]
    fn made(deferred: &Bound<'_, Self>) -> Result<()> {
        if debugging(deferred)? {
            report::remember_creator(deferred)?;
        }
        Ok(())
    }
}

/// `super().__init__(canceller)`
impl Initialize for Deferred {
    fn slow() -> &'static OnceLock<initproc> {
        static SLOW: OnceLock<initproc> = OnceLock::new();
        &SLOW
    }

    #[inline(always)]
    fn initialize<'py>(
        deferred: &Bound<'py, Self>,
        arguments: &Bound<'py, PyTuple>,
    ) -> Option<Result<()>> {
        let canceller = match arguments.as_slice() {
            [canceller] if !canceller.is_none() => Some(canceller.clone()),
            [] | [_] => None,
            _ => return None,
        };
        Some(Self::__init__(deferred, canceller).map_err(Into::into))
    }
}

/// Classes that can tell whether their `__init__` has been replaced.
macro_rules! plain {
    ($($class:ty),*) => {$(
        impl Plain for $class {
            fn init() -> &'static InitSlot {
                static INIT: InitSlot = InitSlot::new();
                &INIT
            }
        }
    )*};
}

plain!(DeferredLock, DeferredSemaphore, DeferredQueue);

/// `DeferredLock()`
impl Construct for DeferredLock {
    fn construct<'py>(
        class: &Bound<'py, PyType>,
        arguments: &[Bound<'py, PyAny>],
    ) -> Option<Result<Bound<'py, PyAny>>> {
        let is_usual = arguments.is_empty() && Self::is_plain(class);
        is_usual.then(|| new_primitive(class.py(), None, Self))
    }
}

/// `DeferredSemaphore(tokens)`
impl Construct for DeferredSemaphore {
    fn construct<'py>(
        class: &Bound<'py, PyType>,
        arguments: &[Bound<'py, PyAny>],
    ) -> Option<Result<Bound<'py, PyAny>>> {
        let [tokens] = arguments else { return None };
        let tokens = capi::ok(class.py(), tokens.cast_exact::<PyInt>().ok()?.extract::<i64>())?;
        let is_usual = tokens >= 1 && Self::is_plain(class);
        is_usual.then(|| new_primitive(class.py(), Some(tokens), Self))
    }

    fn parameters(py: Python<'_>) -> [Option<&Bound<'_, PyString>>; 2] {
        [Some(intern!(py, "tokens")), None]
    }
}

/// `DeferredQueue(size=None, backlog=None)`
impl Construct for DeferredQueue {
    fn construct<'py>(
        class: &Bound<'py, PyType>,
        arguments: &[Bound<'py, PyAny>],
    ) -> Option<Result<Bound<'py, PyAny>>> {
        if arguments.len() > 2 || !Self::is_plain(class) {
            return None;
        }
        let given = |i: usize| arguments.get(i).cloned();
        let queue = Self::limited(class.py(), given(0), given(1));
        Some(queue.and_then(|queue| for_methods(queue.into_any())))
    }

    fn parameters(py: Python<'_>) -> [Option<&Bound<'_, PyString>>; 2] {
        [Some(intern!(py, "size")), Some(intern!(py, "backlog"))]
    }
}

/// Make a lock, or a semaphore with this many tokens.
fn new_primitive<'py, T>(
    py: Python<'py>,
    limit: Option<i64>,
    own_part: T,
) -> Result<Bound<'py, PyAny>>
where
    T: Native + PyClass<Frozen = True, BaseType = Primitive> + Sync,
{
    let state = Primitive::new_state(py, limit)?;
    for_methods(capi::new_exact_derived(py, || state, || own_part)?.into_any())
}

/// Prepare an object whose methods are called often. CPython 3.11 specializes method calls only if
/// the instance dict exists already, which saves some 70 instructions a call.
#[inline(always)]
fn for_methods(object: Bound<'_, PyAny>) -> Result<Bound<'_, PyAny>> {
    if cfg!(all(Py_3_11, not(Py_3_12))) {
        capi::make_dict(&object)?;
    }
    Ok(object)
}

/// If it dies by its last reference, `Drop` makes the report.
impl Finalize for Deferred {
    fn finalize(deferred: &Bound<'_, Self>) {
        report::finalize(deferred);
    }
}

impl Finalize for DeferredList {
    fn finalize(list: &Bound<'_, Self>) {
        report::finalize(list.as_super());
    }
}

impl Iterate for Deferred {
    #[inline(always)]
    fn iterate<'py>(deferred: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Ok(new_awaiting(deferred.py(), deferred.clone())?.into_any())
    }

    /// The Deferred itself if it has its result. This saves making an iterator. Without the GIL,
    /// another thread could take the result away before the interpreter asks for it.
    #[inline(always)]
    fn awaited<'py>(deferred: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        let has_a_result = deferred.get().chain(deferred.py(), |chain| {
            chain.is_at_rest() && matches!(chain.outcome(), Outcome::Value(_))
        });
        if !cfg!(Py_GIL_DISABLED) && has_a_result && capi::is_exact::<Self>(deferred) {
            return Ok(deferred.clone().into_any());
        }
        Self::iterate(deferred)
    }
}

/// What `await` does with a Deferred that has its result.
impl Step for Deferred {
    #[inline(always)]
    fn step<'py>(deferred: &Bound<'py, Self>) -> Sent<'py> {
        let py = deferred.py();
        let result = deferred.get().chain(py, |chain| match chain.outcome() {
            Outcome::Value(result) if chain.is_at_rest() => Some(result.bind(py).clone()),
            _ => None,
        });
        match result {
            Some(result) => Sent::Returned(result),
            None => Sent::Raised(
                PyTypeError::error(py, "'Deferred' object is not an iterator").into_raised(py),
            ),
        }
    }
}

impl Step for Awaiting {
    #[inline(always)]
    fn step<'py>(awaiting: &Bound<'py, Self>) -> Sent<'py> {
        Self::go_on(awaiting)
    }
}

/// Set the slots. Called once, when the module is initialized, before there can be subclasses.
pub(crate) fn fill_slots(py: Python<'_>) -> PyResult<()> {
    #[cfg(not(Py_3_12))]
    spare_one(py)?;
    constructing::fill_init::<Deferred>(py)?;
    Deferred::init().remember::<Deferred>(py);
    FailureBase::init().remember::<FailureBase>(py);
    bury_all(py);
    keep_dicts::<Deferred>(py, &[py.get_type::<DeferredList>()]);
    let locks = [py.get_type::<DeferredLock>(), py.get_type::<DeferredSemaphore>()];
    keep_dicts::<Primitive>(py, &locks);
    keep_dicts::<DeferredQueue>(py, &[]);
    rely_on_base::<DeferredList, Deferred>(py);
    rely_on_base::<DeferredLock, Primitive>(py);
    rely_on_base::<DeferredSemaphore, Primitive>(py);
    finalizing::find_call_of_del(py)?;
    constructing::fill_new::<Deferred>(py);
    constructing::construct_quickly::<Deferred>(&py.get_type::<Deferred>());
    DeferredLock::init().remember::<DeferredLock>(py);
    DeferredSemaphore::init().remember::<DeferredSemaphore>(py);
    DeferredQueue::init().remember::<DeferredQueue>(py);
    constructing::construct_quickly::<DeferredLock>(&py.get_type::<DeferredLock>());
    constructing::construct_quickly::<DeferredSemaphore>(&py.get_type::<DeferredSemaphore>());
    constructing::construct_quickly::<DeferredQueue>(&py.get_type::<DeferredQueue>());
    finalizing::fill_finalizer::<Deferred>(py);
    iterating::fill_iterate::<Deferred>(py);
    constructing::fill_new_derived::<DeferredList>(py);
    finalizing::fill_finalizer::<DeferredList>(py);
    constructing::inherit_new_of_exceptions::<FailureBase>(py);
    iterating::fill_step::<Awaiting>(py);
    iterating::fill_step::<Deferred>(py);
    Ok(())
}
