//! The objects of the Python half, and of Python itself, that the Rust half needs by name.

use pyo3::PyTypeCheck;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use super::cell::Shared;
use super::ffi;

/// An object that is imported when it is first needed, and kept.
pub(super) struct Imported {
    module: &'static str,
    name: &'static str,
    /// The name of the module, as a key that dicts find quickly.
    interned: PyOnceLock<Py<PyString>>,
    object: PyOnceLock<Py<PyAny>>,
}

impl Imported {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, interned: PyOnceLock::new(), object: PyOnceLock::new() }
    }

    /// The object.
    #[inline(always)]
    pub(super) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        get_or_import(&self.object, py, self.module, self.name)
    }

    /// The object, if its module has been imported by anyone and has it by now.
    #[inline(always)]
    pub(super) fn get_if_imported<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        if let Some(object) = self.object.get(py) {
            return Some(object.bind(py));
        }
        if let (Some(module), Some(modules)) = (self.interned.get(py), MODULES.object.get(py))
            && ffi::is_key_of(modules.bind(py), module.bind(py)) == Some(false)
        {
            return None;
        }
        self.look_up_if_imported(py)
    }

    #[cold]
    fn look_up_if_imported<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        let module = self.interned.get_or_init(py, || PyString::intern(py, self.module).unbind());
        let imported = MODULES.get(py).and_then(|modules| modules.contains(module.bind(py)));
        if ffi::ok(py, imported)? { ffi::ok(py, self.get(py)) } else { None }
    }
}

/// What is kept there, imported when it is first needed. `PyOnceLock::import` would prepare to import
/// it each time.
#[inline(always)]
fn get_or_import<'a, 'py, T: PyTypeCheck>(
    kept: &'a PyOnceLock<Py<T>>,
    py: Python<'py>,
    module: &str,
    name: &str,
) -> PyResult<&'a Bound<'py, T>> {
    #[cold]
    fn import<'a, 'py, T: PyTypeCheck>(
        kept: &'a PyOnceLock<Py<T>>,
        py: Python<'py>,
        module: &str,
        name: &str,
    ) -> PyResult<&'a Bound<'py, T>> {
        kept.import(py, module, name)
    }
    match kept.get(py) {
        Some(object) => Ok(object.bind(py)),
        None => import(kept, py, module, name),
    }
}

/// `sys.modules`
static MODULES: Imported = Imported::new("sys", "modules");
/// The body of `Deferred.addTimeout`.
pub(super) static ADD_TIMEOUT: Imported = Imported::new("deferrous._timeout", "add_timeout");
/// The body of `Deferred.asFuture`.
pub(super) static AS_FUTURE: Imported = Imported::new("deferrous._futures", "as_future");
/// The body of `Deferred.fromFuture`.
pub(super) static FROM_FUTURE: Imported = Imported::new("deferrous._futures", "from_future");
/// Warns of a fault in a function, in the function's own file and line.
pub(super) static WARN_ABOUT_FUNCTION: Imported =
    Imported::new("deferrous._deprecation", "warn_about_function");
/// Warns that a property is deprecated.
pub(super) static WARN_PROPERTY: Imported =
    Imported::new("deferrous._deprecation", "warn_property_deprecated");
/// What `returnValue` raises.
pub(super) static DEF_GEN_RETURN: Imported =
    Imported::new("deferrous._generators", "_DefGen_Return");
/// Warns of a `returnValue` that ended another function than the one it stands in.
pub(super) static WARN_RETURN_VALUE: Imported =
    Imported::new("deferrous._generators", "warn_return_value_misuse");
/// The callback that stands for none.
pub(super) static PASSTHRU: Imported = Imported::new("deferrous._callbacks", "passthru");
/// Calls with `*args` and `**kwargs` of any kind.
pub(super) static SPREAD: Imported = Imported::new("deferrous._callbacks", "spread");
/// Stands for what waits in a chain without being a callback.
pub(super) static WAITING: Imported = Imported::new("deferrous._callbacks", "waiting");
/// The body of `__getstate__`.
pub(super) static GET_STATE: Imported = Imported::new("deferrous._copying", "get_state");
/// The body of `__setstate__`.
pub(super) static SET_STATE: Imported = Imported::new("deferrous._copying", "set_state");
/// The body of `__reduce__`.
pub(super) static REDUCE: Imported = Imported::new("deferrous._copying", "reduce");
/// `traceback.format_stack`
pub(super) static FORMAT_STACK: Imported = Imported::new("traceback", "format_stack");
/// Tells coroutines, awaited futures and Twisted's Deferreds from plain values.
pub(super) static KIND_OF: Imported = Imported::new("deferrous._interop", "kind_of");
/// The asyncio loop that runs in this thread.
pub(super) static RUNNING_LOOP: Imported = Imported::new("asyncio.events", "_get_running_loop");
/// Twisted's module of Deferreds.
pub(super) static TWISTED: Imported = Imported::new("twisted.internet.defer", "Deferred");
/// What another driver than ours can wait for.
pub(super) static STAND_IN: Imported = Imported::new("deferrous._interop", "stand_in");
/// Makes a Deferred that fires when an asyncio future is done.
pub(super) static WAIT_FOR_FUTURE: Imported =
    Imported::new("deferrous._interop", "wait_for_future");
/// Makes a Deferred of ours of one of Twisted's.
pub(super) static ADOPT: Imported = Imported::new("deferrous._interop", "adopt");
/// Makes a Failure of ours of one of Twisted's.
pub(super) static ADOPT_FAILURE: Imported = Imported::new("deferrous._interop", "adopt_failure");
/// The class of the objects that report unhandled failures, as we define it.
pub(super) static DEBUG_INFO: Imported = Imported::new("deferrous._report", "DebugInfo");

/// Logs a failure with a text.
pub(super) static LOG_FAILURE: Imported = Imported::new("deferrous._report", "log_failure");
/// Takes apart what a gathered Deferred was fired with, whatever it is.
pub(super) static PARSE_RESULTS: Imported = Imported::new("deferrous._gathering", "parse_results");
/// The class `FirstError`.
pub(super) static FIRST_ERROR: Imported = Imported::new("deferrous._gathering", "FirstError");
/// The class `FailureGroup`.
pub(super) static FAILURE_GROUP: Imported = Imported::new("deferrous._gathering", "FailureGroup");

/// The class that failures are made of: `deferrous.failure.Failure`.
#[inline(always)]
pub(super) fn failure_class<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    get_or_import(&CLASS, py, "deferrous.failure", "Failure")
}

static NAMESPACE: Shared<Option<Py<PyDict>>> = Shared::new(None);

/// Say in which module's namespace programs expect to find, and to replace, `DebugInfo`.
pub(super) fn set_namespace(namespace: Bound<'_, PyDict>) {
    let py = namespace.py();
    let namespace = namespace.unbind();
    let before = NAMESPACE.with(py, |current| current.replace(namespace));
    drop(before);
}

/// Whether the public module has this object under a name at this moment, or not the name at all.
pub(super) fn is_public(name: &Bound<'_, PyString>, object: &Bound<'_, PyAny>) -> bool {
    match namespace(name.py()) {
        Some(namespace) => ffi::holds_or_lacks(&namespace, name, object),
        None => true,
    }
}

fn namespace(py: Python<'_>) -> Option<Bound<'_, PyDict>> {
    NAMESPACE.with(py, |namespace| namespace.as_ref().map(|namespace| namespace.bind(py).clone()))
}

/// A name of the public module as it is at this moment: programs replace some.
pub(super) fn public<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    use pyo3::types::PyDictMethods;

    match namespace(py) {
        Some(namespace) => namespace.get_item(name),
        None => Ok(None),
    }
}
