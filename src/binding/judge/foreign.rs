//! Twisted's own Deferreds and Failures, if a program uses both.

use pyo3::PyTypeCheck;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::binding::capi::{self, interned::intern};
use crate::binding::model::{deferred::Deferred, failure::FailureBase, names};

static DEFERRED: Foreign = Foreign::new("Deferred", "twisted.internet.defer");
static FAILURE: Foreign = Foreign::new("Failure", "twisted.python.failure");

/// One of Twisted's classes. It is looked up when its first instance arrives, because Twisted may
/// be imported at any time.
struct Foreign {
    name: &'static str,
    module: &'static str,
    class: PyOnceLock<Py<PyType>>,
}

impl Foreign {
    const fn new(name: &'static str, module: &'static str) -> Self {
        Self { name, module, class: PyOnceLock::new() }
    }

    /// Whether an object is an instance.
    fn has(&self, object: &Bound<'_, PyAny>) -> bool {
        let py = object.py();
        let kind = object.get_type();
        if let Some(class) = self.class.get(py) {
            return capi::is_subtype(&kind, class.bind(py));
        }
        if capi::is_subtype(&kind, &py.get_type::<Deferred>())
            || capi::is_subtype(&kind, &py.get_type::<FailureBase>())
        {
            return false;
        }
        let Some(class) = capi::base_named(&kind, self.name) else { return false };
        let is_it = capi::ok(py, class.getattr(intern!(py, "__module__")))
            .is_some_and(|module| capi::ok(py, module.eq(self.module)) == Some(true));
        // After `deferrous.install()`, Twisted's name refers to our class.
        let ours = capi::is_subtype(&class, &py.get_type::<Deferred>())
            || capi::is_subtype(&class, &py.get_type::<FailureBase>());
        if !is_it || ours {
            return false;
        }
        capi::keep(&self.class, class);
        true
    }
}

/// Whether an object is one of Twisted's Deferreds.
pub(crate) fn is_deferred(object: &Bound<'_, PyAny>) -> bool {
    capi::is_of_heap_type(object) && DEFERRED.has(object)
}

/// Convert one of Twisted's Deferreds into ours. None for anything else.
#[inline]
pub(crate) fn adopt<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Deferred>>> {
    if !capi::is_of_heap_type(object) || !DEFERRED.has(object) {
        return Ok(None);
    }
    Ok(Some(names::ADOPT.get(object.py())?.call1((object,))?.cast_into()?))
}

/// Convert one of Twisted's Failures into ours. None for anything else.
#[inline]
pub(crate) fn adopt_failure<'py>(
    object: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !capi::is_of_heap_type(object)
        || !pyo3::exceptions::PyBaseException::type_check(object)
        || !FAILURE.has(object)
    {
        return Ok(None);
    }
    names::ADOPT_FAILURE.get(object.py())?.call1((object,)).map(Some)
}
