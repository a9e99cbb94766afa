//! The objects of the Python half, and of Python itself, that the Rust half needs by name.
//!
//! All of them are looked up when the package is imported, so that none is missing while the
//! interpreter shuts down, or in a process that was forked during an import.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::PyTypeCheck;
use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::binding::capi::{
    self,
    cell::Shared,
    error::{Raise, Result},
    interned::Name,
};

/// An object that is imported together with the package, and kept.
pub(crate) struct Imported<T = PyAny> {
    module: Name,
    name: Name,
    /// Written once. No lock is held during the import, which may run any Python code, in this
    /// thread, in others and in forked processes.
    object: PyOnceLock<Py<T>>,
    /// The number of modules when the module was last looked for in vain.
    seen: AtomicUsize,
}

impl<T: PyTypeCheck> Imported<T> {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Self {
            module: Name::new(module),
            name: Name::new(name),
            object: PyOnceLock::new(),
            seen: AtomicUsize::new(0),
        }
    }

    /// The object.
    #[inline(always)]
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Result<&Bound<'py, T>> {
        match self.object.get(py) {
            Some(object) => Ok(object.bind(py)),
            None => self.import(py),
        }
    }

    /// The object, if it is needed before the package has been imported.
    #[cold]
    fn import<'py>(&self, py: Python<'py>) -> Result<&Bound<'py, T>> {
        // If this comes before all names are made, there may be no memory for them.
        self.module.make(py)?;
        self.name.make(py)?;
        let module = py.import(self.module.get(py))?;
        capi::keep(&self.object, module.getattr(self.name.get(py))?.cast_into::<T>()?);
        match self.object.get(py) {
            Some(object) => Ok(object.bind(py)),
            None => Err(PySystemError::error(py, "an object that was kept is gone")),
        }
    }

    /// The object, if its module has been imported by anybody and has the attribute already.
    #[inline(always)]
    pub(crate) fn get_if_imported<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, T>> {
        if let Some(object) = self.object.get(py) {
            return Some(object.bind(py));
        }
        let modules = capi::ok(py, MODULES.get(py))?;
        if capi::is_key_of(modules, self.module.get(py)) == Some(false) {
            return None;
        }
        self.look_up(modules)
    }

    /// [`Imported::get_if_imported`] for frequent use, where even a look into `sys.modules` takes too
    /// long: if the module is missing, it is looked for again only when the number of modules has
    /// changed. One whose import is in progress is looked at each time.
    #[inline(always)]
    pub(crate) fn get_once_imported<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, T>> {
        match self.object.get(py) {
            Some(object) => Some(object.bind(py)),
            None => self.get_if_number_has_changed(py),
        }
    }

    #[inline(always)]
    fn get_if_number_has_changed<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, T>> {
        let modules = capi::ok(py, MODULES.get(py))?;
        let number = modules.cast_exact::<PyDict>().ok()?.len();
        if self.seen.load(Ordering::Relaxed) == number {
            None
        } else {
            self.get_anew(modules, number)
        }
    }

    #[cold]
    fn get_anew<'py>(&self, modules: &Bound<'py, PyAny>, number: usize) -> Option<&Bound<'py, T>> {
        let py = modules.py();
        // This may be called while an object dies with an exception in flight.
        capi::with_error_saved(py, || {
            if capi::is_key_of(modules, self.module.get(py)) == Some(false) {
                self.seen.store(number, Ordering::Relaxed);
                return None;
            }
            self.look_up(modules)
        })
    }

    /// Get the object, even from a module whose import is in progress. Waits for nothing.
    #[cold]
    fn look_up<'py>(&self, modules: &Bound<'py, PyAny>) -> Option<&Bound<'py, T>> {
        let py = modules.py();
        let module = capi::ok(py, modules.get_item(self.module.get(py)))?;
        let object = capi::ok(py, module.getattr(self.name.get(py)))?;
        capi::keep(&self.object, object.cast_into::<T>().ok()?);
        self.object.get(py).map(|object| object.bind(py))
    }
}

macro_rules! imported {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $module:literal, $attribute:literal;)+) => {
        $(
            $(#[doc = $doc])+
            pub(crate) static $name: Imported<$kind> = Imported::new($module, $attribute);
        )+

        /// Look all of them up.
        ///
        /// # Errors
        ///
        /// What an import raises.
        pub(crate) fn look_all_up(py: Python<'_>) -> Result<()> {
            MODULES.get(py)?;
            $($name.get(py)?;)+
            #[cfg(not(Py_3_14))]
            let current = &CURRENT_TASKS;
            #[cfg(Py_3_14)]
            let current = &CURRENT_TASK;
            for of_others in [&RUNNING_LOOP, &REACTOR, &INVALID_STATE, &TWISTED, &CURRENT_GREENLET, current] {
                of_others.module.make(py)?;
                of_others.name.make(py)?;
            }
            for class_of_others in [&FUTURE, &HANDLE] {
                class_of_others.module.make(py)?;
                class_of_others.name.make(py)?;
            }
            Ok(())
        }
    };
}

/// `sys.modules`
static MODULES: Imported = Imported::new("sys", "modules");
/// The asyncio loop that runs in this thread.
pub(crate) static RUNNING_LOOP: Imported = Imported::new("asyncio.events", "_get_running_loop");
/// Twisted's reactor.
pub(crate) static REACTOR: Imported = Imported::new("twisted.internet", "reactor");
/// The current task of each loop. (Not through `asyncio.tasks`: while that is being imported, it
/// has another object of that name.)
#[cfg(not(Py_3_14))]
pub(crate) static CURRENT_TASKS: Imported = Imported::new("_asyncio", "_current_tasks");
/// The current task of a loop.
#[cfg(Py_3_14)]
pub(crate) static CURRENT_TASK: Imported = Imported::new("_asyncio", "current_task");
/// Raised by an asyncio future that is done already.
pub(crate) static INVALID_STATE: Imported =
    Imported::new("asyncio.exceptions", "InvalidStateError");
/// What an asyncio future fails with that was cancelled.
pub(crate) static ASYNCIO_CANCELLED: Imported =
    Imported::new("asyncio.exceptions", "CancelledError");
/// asyncio's class of futures in C.
pub(crate) static FUTURE: Imported<PyType> = Imported::new("_asyncio", "Future");
/// The class of what stands in the queues of asyncio's loops.
pub(crate) static HANDLE: Imported<PyType> = Imported::new("asyncio.events", "Handle");
/// Twisted's Deferred class.
pub(crate) static TWISTED: Imported = Imported::new("twisted.internet.defer", "Deferred");
/// Returns the greenlet that runs in this thread.
pub(crate) static CURRENT_GREENLET: Imported = Imported::new("greenlet", "getcurrent");

imported! {
    /// The body of `Deferred.addTimeout`.
    ADD_TIMEOUT: PyAny = "deferrous._timeout", "add_timeout";
    /// Cancels a Deferred whose timeout has expired.
    CANCEL_TIMED_OUT: PyAny = "deferrous._timeout", "_cancel";
    /// What the cancellers of lists have raised, for each timeout that is cancelling.
    TIMEOUTS_UNDER_WAY: PyDict = "deferrous._timeout", "_under_way";
    /// Fails those, at the end of a timeout.
    END_TIMEOUT: PyAny = "deferrous._timeout", "_end";
    /// Reports what a canceller has raised.
    REPORT_CANCELLER: PyAny = "deferrous._timeout", "_report_canceller";
    /// Converts the CancelledError of a timeout, by default.
    CANCELLED_TO_TIMED_OUT: PyAny = "deferrous._timeout", "_cancelled_to_timed_out";
    /// The body of `Deferred.asFuture`.
    AS_FUTURE: PyAny = "deferrous._futures", "as_future";
    /// Whether a class of loops or handles has its methods from asyncio.
    HAS_METHODS_OF_ASYNCIO: PyAny = "deferrous._futures", "has_methods_of_asyncio";
    /// Reports what the call has raised that wakes an asyncio task.
    WAKEUP_RAISED: PyAny = "deferrous._futures", "wakeup_raised";
    /// The class of the queues of asyncio's loops.
    DEQUE: PyType = "collections", "deque";
    /// Wakes an asyncio task whose loop runs in another thread.
    WAKE_ELSEWHERE: PyAny = "deferrous._futures", "wake_elsewhere";
    /// Cancels a Deferred with the reason in an exception.
    CANCEL_AS: PyAny = "deferrous._reasons", "cancel_as";
    /// The body of `Deferred.fromFuture`.
    FROM_FUTURE: PyAny = "deferrous._futures", "from_future";
    /// Warns about a function, with the function's own file and line.
    WARN_ABOUT_FUNCTION: PyAny = "deferrous._deprecation", "warn_about_function";
    /// The namespace of the module that warns.
    WARNINGS: PyDict = "warnings", "__dict__";
    /// Raised by `returnValue`.
    DEF_GEN_RETURN: PyAny = "deferrous._generators", "_DefGen_Return";
    /// Warns about a `returnValue` that ended another function than its own.
    WARN_RETURN_VALUE: PyAny = "deferrous._generators", "warn_return_value_misuse";
    /// The callback that does nothing.
    PASSTHRU: PyAny = "deferrous._callbacks", "passthru";
    /// The errback that does nothing.
    FAILTHRU: PyAny = "deferrous._callbacks", "_failthru";
    /// Calls with `*args` and `**kwargs` of any types.
    SPREAD: PyAny = "deferrous._callbacks", "spread";
    /// Returns the number of Python frames, and the recursion limit.
    COUNT_FRAMES: PyAny = "deferrous._callbacks", "count_frames";
    /// Stands for a waiter in the list of callbacks.
    WAITING: PyAny = "deferrous._callbacks", "waiting";
    /// The body of `__getstate__`.
    GET_STATE: PyAny = "deferrous._copying", "get_state";
    /// The body of `__setstate__`.
    SET_STATE: PyAny = "deferrous._copying", "set_state";
    /// The body of `__reduce__`.
    REDUCE: PyAny = "deferrous._copying", "reduce";
    /// Like `traceback.format_stack`.
    FORMAT_STACK: PyAny = "deferrous._reflect", "format_stack";
    /// Tells coroutines, awaited futures and Twisted's Deferreds from plain values.
    KIND_OF: PyAny = "deferrous._interop", "kind_of";
    /// Makes what drivers other than ours can wait for.
    STAND_IN: PyAny = "deferrous._interop", "stand_in";
    /// Hides asyncio's current task.
    LEAVE_TASK: PyAny = "deferrous._interop", "leave_task";
    /// Makes it current again.
    ENTER_TASK: PyAny = "deferrous._interop", "enter_task";
    /// Makes a Deferred for an asyncio future.
    WAIT_FOR_FUTURE: PyAny = "deferrous._interop", "wait_for_future";
    /// Converts one of Twisted's Deferreds into ours.
    ADOPT: PyAny = "deferrous._interop", "adopt";
    /// Converts one of Twisted's Failures into ours.
    ADOPT_FAILURE: PyAny = "deferrous._interop", "adopt_failure";
    /// The names of an exception class and its bases, or of anything else in its place.
    NAMES_OF: PyAny = "deferrous._reflect", "names_of";
    /// The name of a class with its module, whatever types these have.
    QUAL: PyAny = "deferrous._reflect", "qual";
    /// `DebugInfo` as we define it: the class of the objects that report unhandled failures.
    DEBUG_INFO: PyAny = "deferrous._report", "DebugInfo";
    /// Adds a note to an exception: which callback raised it.
    NAME_CALLBACK: PyAny = "deferrous._notes", "name_callback";
    /// Reports an unhandled failure without a `DebugInfo`.
    REPORT_UNHANDLED: PyAny = "deferrous._report", "report_unhandled";
    /// The methods of `DebugInfo` that report, as we define them.
    DEBUG_INFO_METHODS: PyTuple = "deferrous._report", "debug_info_methods";
    /// Adds a note to an exception: to which Deferred it is passed on.
    PASSED_ON: PyAny = "deferrous._notes", "passed_on";
    /// Logs a failure with a message.
    LOG_FAILURE: PyAny = "deferrous._report", "log_failure";
    /// Reports that an item's `cancel` has raised, and tells timeouts.
    CANCELLER_RAISED: PyAny = "deferrous._timeout", "canceller_raised";
    /// Unpacks the result of a gathered Deferred, whatever it is.
    PARSE_RESULTS: PyAny = "deferrous._gathering", "parse_results";
    /// The class `FirstError`.
    FIRST_ERROR: PyAny = "deferrous._gathering", "FirstError";
    /// The class `FailureGroup`.
    FAILURE_GROUP: PyAny = "deferrous._gathering", "FailureGroup";
    /// `functools.partial`
    PARTIAL: PyType = "functools", "partial";
    /// The abstract base class of generators.
    GENERATOR_ABC: PyAny = "collections.abc", "Generator";
    /// The class of native generators.
    GENERATOR_TYPE: PyType = "types", "GeneratorType";
    /// The namespace of `linecache`.
    LINECACHE: PyDict = "linecache", "__dict__";
    /// Adds frames with their variables to a list.
    ADD_FRAMES_WITH_VARIABLES: PyAny = "deferrous.failure", "_add_frames_with_variables";
    /// The body of `Failure.getErrorMessage`, for values that programs can customize.
    ERROR_MESSAGE: PyAny = "deferrous.failure", "_error_message";
    /// Whether Failures are shown in Twisted's words.
    TWISTED_IN_USE: PyAny = "deferrous.failure", "_twisted_in_use";
    /// Copies a failure by means of its pickle methods.
    COPY_FAILURE: PyAny = "deferrous.failure", "_copy";
    /// The copiers that programs have registered with `copyreg`.
    COPYREG_TABLE: PyDict = "copyreg", "dispatch_table";
    /// Calls a callback with the failure of an exception.
    END_WITH: PyAny = "deferrous._deferrous", "_end_with";
    /// Cancels several Deferreds.
    END_ALL: PyAny = "deferrous._deferrous", "_end_all";
    /// Cancels a Deferred.
    END_ONE: PyAny = "deferrous._deferrous", "_end_one";
    /// Fails the Deferred of a task.
    END_TASK: PyAny = "deferrous._deferrous", "_end_task";
    /// Lets in those that wait to put something into a queue.
    LET_IN: PyAny = "deferrous._deferrous", "_let_in";
    /// Lets a waiter that was cancelled acquire the lock of a condition.
    REACQUIRE: PyAny = "deferrous._deferrous", "_reacquire";
    /// Tells those that watch a Deferred.
    TELL: PyAny = "deferrous._deferrous", "_tell";
    /// The class of failures.
    FAILURE: PyType = "deferrous.failure", "Failure";
}

/// The class of failures: `deferrous.failure.Failure`.
#[inline(always)]
pub(crate) fn failure_class<'py>(py: Python<'py>) -> Result<&'py Bound<'py, PyType>> {
    FAILURE.get(py)
}

static NAMESPACE: Shared<Option<Py<PyDict>>> = Shared::new(None);

/// Set the namespace in which programs look up, and may replace, `DebugInfo`.
pub(crate) fn set_namespace(namespace: Bound<'_, PyDict>) {
    let py = namespace.py();
    let namespace = namespace.unbind();
    let before = NAMESPACE.with(py, |current| current.replace(namespace));
    drop(before);
}

/// Whether the public module currently has this object under a name, or no such name at all.
pub(crate) fn is_public(name: &Bound<'_, PyString>, object: &Bound<'_, PyAny>) -> bool {
    match namespace(name.py()) {
        Some(namespace) => capi::holds_or_lacks(&namespace, name, object),
        None => true,
    }
}

fn namespace(py: Python<'_>) -> Option<Bound<'_, PyDict>> {
    NAMESPACE.with(py, |namespace| namespace.as_ref().map(|namespace| namespace.bind(py).clone()))
}

/// The current value of a name in the public module: programs replace some of them.
pub(crate) fn public<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    use pyo3::types::PyDictMethods;

    match namespace(py) {
        Some(namespace) => namespace.get_item(name),
        None => Ok(None),
    }
}
