//! The objects of the Python half, and of Python itself, that the Rust half needs by name.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use super::cell::Shared;

/// An object that is imported when it is first needed, and kept.
pub(super) struct Imported {
    module: &'static str,
    name: &'static str,
    object: PyOnceLock<Py<PyAny>>,
}

impl Imported {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, object: PyOnceLock::new() }
    }

    /// The object.
    pub(super) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        self.object.import(py, self.module, self.name)
    }
}

/// The body of `Deferred.addTimeout`.
pub(super) static ADD_TIMEOUT: Imported = Imported::new("deferrous._timeout", "add_timeout");
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
/// Calls with `*args` and `**kwargs` of any kind.
pub(super) static SPREAD: Imported = Imported::new("deferrous._generators", "spread");
/// `traceback.format_stack`
pub(super) static FORMAT_STACK: Imported = Imported::new("traceback", "format_stack");
/// `asyncio.iscoroutine`
pub(super) static IS_COROUTINE: Imported = Imported::new("asyncio", "iscoroutine");
/// The class of the objects that report unhandled failures, as we define it.
pub(super) static DEBUG_INFO: Imported = Imported::new("deferrous._report", "DebugInfo");

/// Logs a failure with a text.
pub(super) static LOG_FAILURE: Imported = Imported::new("deferrous._report", "log_failure");
/// The class `FirstError`.
pub(super) static FIRST_ERROR: Imported = Imported::new("deferrous._gathering", "FirstError");
/// The class `FailureGroup`.
pub(super) static FAILURE_GROUP: Imported = Imported::new("deferrous._gathering", "FailureGroup");

/// The class that failures are made of: `deferrous.failure.Failure`.
pub(super) fn failure_class<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "deferrous.failure", "Failure")
}

static NAMESPACE: Shared<Option<Py<PyDict>>> = Shared::new(None);

/// Say in which module's namespace programs expect to find, and to replace, `DebugInfo`.
pub(super) fn set_namespace(namespace: Bound<'_, PyDict>) {
    let py = namespace.py();
    let namespace = namespace.unbind();
    let before = NAMESPACE.with(py, |current| current.replace(namespace));
    drop(before);
}

/// A name of the public module as it is at this moment: programs replace some.
pub(super) fn public<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    use pyo3::types::PyDictMethods;

    let namespace =
        NAMESPACE.with(py, |current| current.as_ref().map(|namespace| namespace.clone_ref(py)));
    match namespace {
        Some(namespace) => namespace.into_bound(py).get_item(name),
        None => Ok(None),
    }
}
