//! The extension module `deferrous._deferrous`.

use pyo3::panic::PanicException;
use pyo3::prelude::*;

use super::awaiting::Awaiting;
use super::error::Result;
use super::gather::Race;
use super::generator::{Task, TaskCallback};
use super::sync::Locked;

/// Have PyO3 make now what it makes when that is first needed, under a lock and without the
/// interpreter: classes that the module does not show, and the names by which it describes
/// classes.
fn make_ready(py: Python<'_>) -> Result<()> {
    py.get_type::<Awaiting>();
    py.get_type::<Task>();
    py.get_type::<TaskCallback>();
    py.get_type::<Race>();
    py.get_type::<Locked>();
    py.get_type::<PanicException>();
    let class = py.get_type::<PyAny>();
    class.name()?;
    class.qualname()?;
    class.module()?;
    class.fully_qualified_name()?;
    Ok(())
}

/// The native half of deferrous. Import `deferrous` instead.
// The state of Deferreds is guarded by the GIL. A free-threaded interpreter turns it on for us, if
// it was not told not to.
#[pymodule(gil_used = true)]
mod _deferrous {
    use pyo3::exceptions::PyImportError;
    use pyo3::prelude::*;
    use pyo3::types::{PyDict, PyModule};

    use super::super::error::Result;
    use super::super::failure::FailureBase;
    use super::super::{deferred, ffi, interned, names, timeout};
    use super::make_ready;

    #[pymodule_export]
    use super::super::deferred::{
        AlreadyCalledError, CancelledError, Deferred, TimeoutError, get_debugging, set_debugging,
    };
    #[pymodule_export]
    use super::super::failure::{NoCurrentExceptionError, failure_count, quicken_failures};
    #[pymodule_export]
    use super::super::fifo::Fifo;
    #[pymodule_export]
    use super::super::functions::{execute, fail, maybe_deferred, succeed};
    #[pymodule_export]
    use super::super::gather::{DeferredList, Race, gather_results, parse_results, race};
    #[pymodule_export]
    use super::super::generator::{
        _InternalInlineCallbacksCancelledError, NotACoroutineError, Task, driven, ensure_deferred,
        start, start_called, task_of_driven,
    };
    #[pymodule_export]
    use super::super::sync::{
        _hand_over, DeferredLock, DeferredQueue, DeferredSemaphore, Primitive, QueueOverflow,
        QueueUnderflow,
    };
    #[pymodule_export]
    use super::super::timeout::{Timeout, convert, stop};

    /// Say in which module's namespace `DebugInfo` is to be looked up.
    #[pyfunction]
    fn set_namespace(namespace: Bound<'_, PyDict>) {
        names::set_namespace(namespace);
    }

    /// Whether there is enough left of the machine's stack to make the text of a failure.
    #[pyfunction]
    fn has_room_for_text() -> bool {
        ffi::stack::has_room_to_report()
    }

    /// Look up all of the Python half that the native half needs.
    #[pyfunction]
    fn look_all_up(py: Python<'_>) -> Result<()> {
        names::look_all_up(py)
    }

    /// Have threads that the interpreter ends from now on wait, if they come from code of ours.
    #[cfg(all(
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(Py_3_14)
    ))]
    #[pyfunction]
    fn keep_threads() {
        ffi::keep_threads();
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        if !ffi::in_main_interpreter(py) {
            // Its classes, and what it remembers of Python, are one for the whole process.
            return Err(PyImportError::new_err("deferrous does not work in subinterpreters"));
        }
        if !ffi::has_gil(py) {
            return Err(PyImportError::new_err(
                "deferrous needs the GIL, which this process was told to leave off: by -X gil=0 \
                 or PYTHON_GIL=0",
            ));
        }
        ffi::stack::prepare();
        interned::make_names(py)?;
        // It is called `Failure` where it is said what its methods take: a program sees no other.
        let failure_base = py.get_type::<FailureBase>();
        failure_base.setattr("__name__", "FailureBase")?;
        failure_base.setattr("__qualname__", "FailureBase")?;
        module.add("FailureBase", failure_base)?;
        make_ready(py)?;
        ffi::fill_slots(module)?;
        timeout::know_callbacks(module)?;
        module.add("_DEFERRED_SUBCLASSES", deferred::subclasses(py)?)?;
        // How it was compiled: "plain", "profile-guided", or "quick" for tests.
        module.add("_build", env!("DEFERROUS_BUILD"))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
