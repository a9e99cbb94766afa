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

/// An object that is imported when the package is, and kept.
pub(crate) struct Imported<T = PyAny> {
    module: Name,
    name: Name,
    /// Written once. Nothing is locked while it is looked for: then any Python code may run, in
    /// this thread, in others and in processes forked off from them.
    object: PyOnceLock<Py<T>>,
    /// How many modules there were when it was looked for in vain.
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

    /// The object, where it is needed before the package has been imported.
    #[cold]
    fn import<'py>(&self, py: Python<'py>) -> Result<&Bound<'py, T>> {
        // Where this comes before all names are made, there may be no memory for these.
        self.module.make(py)?;
        self.name.make(py)?;
        let module = py.import(self.module.get(py))?;
        capi::keep(&self.object, module.getattr(self.name.get(py))?.cast_into::<T>()?);
        match self.object.get(py) {
            Some(object) => Ok(object.bind(py)),
            None => Err(PySystemError::error(py, "an object that was kept is gone")),
        }
    }

    /// The object, if its module has been imported by anyone and has it by now.
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

    /// The same, for what is asked so often that even a look into `sys.modules` takes too long: it
    /// is looked for only when there are more or fewer modules than the last time.
    #[inline(always)]
    pub(crate) fn get_once_imported<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, T>> {
        match self.object.get(py) {
            Some(object) => Some(object.bind(py)),
            None => self.get_if_number_has_changed(py),
        }
    }

    #[inline(always)]
    fn get_if_number_has_changed<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, T>> {
        let number = capi::ok(py, MODULES.get(py))?.cast_exact::<PyDict>().ok()?.len();
        if self.seen.load(Ordering::Relaxed) == number { None } else { self.get_anew(py, number) }
    }

    #[cold]
    fn get_anew<'py>(&self, py: Python<'py>, number: usize) -> Option<&Bound<'py, T>> {
        self.seen.store(number, Ordering::Relaxed);
        // It may be asked for while something dies with an exception in flight.
        capi::with_error_saved(py, || self.get_if_imported(py))
    }

    /// The object, from a module that may be half-way through its import. Nobody waits for that.
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
            for of_others in [&RUNNING_LOOP, &INVALID_STATE, &TWISTED, &CURRENT_GREENLET, current] {
                of_others.module.make(py)?;
                of_others.name.make(py)?;
            }
            Ok(())
        }
    };
}

/// `sys.modules`
static MODULES: Imported = Imported::new("sys", "modules");
/// The asyncio loop that runs in this thread.
pub(crate) static RUNNING_LOOP: Imported = Imported::new("asyncio.events", "_get_running_loop");
/// The current task of each loop that has one. (Not by `asyncio.tasks`, which has another of that
/// name while it is being imported.)
#[cfg(not(Py_3_14))]
pub(crate) static CURRENT_TASKS: Imported = Imported::new("_asyncio", "_current_tasks");
/// The current task of a loop.
#[cfg(Py_3_14)]
pub(crate) static CURRENT_TASK: Imported = Imported::new("_asyncio", "current_task");
/// What a future of asyncio's raises that is done already.
pub(crate) static INVALID_STATE: Imported =
    Imported::new("asyncio.exceptions", "InvalidStateError");
/// Twisted's module of Deferreds.
pub(crate) static TWISTED: Imported = Imported::new("twisted.internet.defer", "Deferred");
/// The greenlet that runs in this thread.
pub(crate) static CURRENT_GREENLET: Imported = Imported::new("greenlet", "getcurrent");

imported! {
    /// The body of `Deferred.addTimeout`.
    ADD_TIMEOUT: PyAny = "deferrous._timeout", "add_timeout";
    /// Cancels a Deferred whose time has run out.
    CANCEL_TIMED_OUT: PyAny = "deferrous._timeout", "_cancel";
    /// What a timeout replaces a CancelledError by, if it is not told otherwise.
    CANCELLED_TO_TIMED_OUT: PyAny = "deferrous._timeout", "_cancelled_to_timed_out";
    /// The body of `Deferred.asFuture`.
    AS_FUTURE: PyAny = "deferrous._futures", "as_future";
    /// Wakes a task of asyncio whose loop runs in another thread.
    WAKE_ELSEWHERE: PyAny = "deferrous._futures", "wake_elsewhere";
    /// Cancels a Deferred for the reason in an exception.
    CANCEL_AS: PyAny = "deferrous._reasons", "cancel_as";
    /// The body of `Deferred.fromFuture`.
    FROM_FUTURE: PyAny = "deferrous._futures", "from_future";
    /// Warns of a fault in a function, in the function's own file and line.
    WARN_ABOUT_FUNCTION: PyAny = "deferrous._deprecation", "warn_about_function";
    /// The names in the module that warns.
    WARNINGS: PyDict = "warnings", "__dict__";
    /// What `returnValue` raises.
    DEF_GEN_RETURN: PyAny = "deferrous._generators", "_DefGen_Return";
    /// Warns of a `returnValue` that ended another function than the one it stands in.
    WARN_RETURN_VALUE: PyAny = "deferrous._generators", "warn_return_value_misuse";
    /// The callback that stands for none.
    PASSTHRU: PyAny = "deferrous._callbacks", "passthru";
    /// The errback that stands for none.
    FAILTHRU: PyAny = "deferrous._callbacks", "_failthru";
    /// Calls with `*args` and `**kwargs` of any kind.
    SPREAD: PyAny = "deferrous._callbacks", "spread";
    /// How many frames of Python there are, and how many there may be.
    COUNT_FRAMES: PyAny = "deferrous._callbacks", "count_frames";
    /// Stands for what waits in a chain without being a callback.
    WAITING: PyAny = "deferrous._callbacks", "waiting";
    /// The body of `__getstate__`.
    GET_STATE: PyAny = "deferrous._copying", "get_state";
    /// The body of `__setstate__`.
    SET_STATE: PyAny = "deferrous._copying", "set_state";
    /// The body of `__reduce__`.
    REDUCE: PyAny = "deferrous._copying", "reduce";
    /// Does what `traceback.format_stack` does.
    FORMAT_STACK: PyAny = "deferrous._reflect", "format_stack";
    /// Tells coroutines, awaited futures and Twisted's Deferreds from plain values.
    KIND_OF: PyAny = "deferrous._interop", "kind_of";
    /// What another driver than ours can wait for.
    STAND_IN: PyAny = "deferrous._interop", "stand_in";
    /// Has asyncio's current task stand aside.
    LEAVE_TASK: PyAny = "deferrous._interop", "leave_task";
    /// Has it be current again.
    ENTER_TASK: PyAny = "deferrous._interop", "enter_task";
    /// Makes a Deferred that fires when an asyncio future is done.
    WAIT_FOR_FUTURE: PyAny = "deferrous._interop", "wait_for_future";
    /// Makes a Deferred of ours of one of Twisted's.
    ADOPT: PyAny = "deferrous._interop", "adopt";
    /// Makes a Failure of ours of one of Twisted's.
    ADOPT_FAILURE: PyAny = "deferrous._interop", "adopt_failure";
    /// The names in the MRO of a class of exceptions, or what it is if it is none.
    NAMES_OF: PyAny = "deferrous._reflect", "names_of";
    /// The name of a class with its module, whatever the two are.
    QUAL: PyAny = "deferrous._reflect", "qual";
    /// The class of the objects that report unhandled failures, as we define it.
    DEBUG_INFO: PyAny = "deferrous._report", "DebugInfo";
    /// Notes on an exception which callback it came of.
    NAME_CALLBACK: PyAny = "deferrous._notes", "name_callback";
    /// Reports an unhandled failure without such an object.
    REPORT_UNHANDLED: PyAny = "deferrous._report", "report_unhandled";
    /// The methods by which such objects report, as we define them.
    DEBUG_INFO_METHODS: PyTuple = "deferrous._report", "debug_info_methods";
    /// Notes on the exception of a failure to which Deferred it is passed on.
    PASSED_ON: PyAny = "deferrous._notes", "passed_on";
    /// Logs a failure with a text.
    LOG_FAILURE: PyAny = "deferrous._report", "log_failure";
    /// Reports that the `cancel` of one in a list has raised, and tells timeouts.
    CANCELLER_RAISED: PyAny = "deferrous._timeout", "canceller_raised";
    /// Takes apart what a gathered Deferred was fired with, whatever it is.
    PARSE_RESULTS: PyAny = "deferrous._gathering", "parse_results";
    /// The class `FirstError`.
    FIRST_ERROR: PyAny = "deferrous._gathering", "FirstError";
    /// The class `FailureGroup`.
    FAILURE_GROUP: PyAny = "deferrous._gathering", "FailureGroup";
    /// Calls with arguments that are given before.
    PARTIAL: PyType = "functools", "partial";
    /// The abstract class of generators, of whatever make.
    GENERATOR_ABC: PyAny = "collections.abc", "Generator";
    /// The class of generators.
    GENERATOR_TYPE: PyType = "types", "GeneratorType";
    /// The names in the module that reads lines of source files.
    LINECACHE: PyDict = "linecache", "__dict__";
    /// Adds frames to a list, with their variables.
    ADD_FRAMES_WITH_VARIABLES: PyAny = "deferrous.failure", "_add_frames_with_variables";
    /// The body of `Failure.getErrorMessage`, where a program has a say in it.
    ERROR_MESSAGE: PyAny = "deferrous.failure", "_error_message";
    /// Says whether Failures are to be shown in Twisted's words.
    TWISTED_IN_USE: PyAny = "deferrous.failure", "_twisted_in_use";
    /// Copies a failure by what `pickle` takes of it.
    COPY_FAILURE: PyAny = "deferrous.failure", "_copy";
    /// What programs have said of how the objects of classes are copied.
    COPYREG_TABLE: PyDict = "copyreg", "dispatch_table";
    /// The class that failures are made of.
    FAILURE: PyType = "deferrous.failure", "Failure";
}

/// The class that failures are made of: `deferrous.failure.Failure`.
#[inline(always)]
pub(crate) fn failure_class<'py>(py: Python<'py>) -> Result<&'py Bound<'py, PyType>> {
    FAILURE.get(py)
}

static NAMESPACE: Shared<Option<Py<PyDict>>> = Shared::new(None);

/// Say in which module's namespace programs expect to find, and to replace, `DebugInfo`.
pub(crate) fn set_namespace(namespace: Bound<'_, PyDict>) {
    let py = namespace.py();
    let namespace = namespace.unbind();
    let before = NAMESPACE.with(py, |current| current.replace(namespace));
    drop(before);
}

/// Whether the public module has this object under a name at this moment, or not the name at all.
pub(crate) fn is_public(name: &Bound<'_, PyString>, object: &Bound<'_, PyAny>) -> bool {
    match namespace(name.py()) {
        Some(namespace) => capi::holds_or_lacks(&namespace, name, object),
        None => true,
    }
}

fn namespace(py: Python<'_>) -> Option<Bound<'_, PyDict>> {
    NAMESPACE.with(py, |namespace| namespace.as_ref().map(|namespace| namespace.bind(py).clone()))
}

/// A name of the public module as it is at this moment: programs replace some.
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
