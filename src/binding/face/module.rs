//! The extension module `deferrous._deferrous`.

use pyo3::prelude::*;
use pyo3::types::PyModule;

use crate::binding::capi::error::Result;
use crate::binding::model::awaiting::Awaiting;
use crate::binding::model::deferred::Deferred;
use crate::binding::model::failure::FailureBase;
use crate::binding::model::fifo::Fifo;
use crate::binding::model::list::DeferredList;
use crate::binding::model::place::Place;
use crate::binding::model::primitive::{DeferredLock, DeferredSemaphore, LockRun, Primitive};
use crate::binding::model::queue::DeferredQueue;
use crate::binding::model::race::Race;
use crate::binding::model::task::{Task, TaskCallback};
use crate::binding::model::timeout::Timeout;
use crate::binding::model::wakeup::Wakeup;

/// Make all classes, each after those that it derives from: PyO3 panics if it has to make a class
/// before another and fails. PyO3 makes the names by which it describes classes at their first use,
/// under a lock and without the interpreter, so they are made now as well.
///
/// Returns a module of the classes that programs do not see.
fn make_classes<'py>(module: &Bound<'py, PyModule>) -> Result<Bound<'py, PyModule>> {
    let py = module.py();
    module.add_class::<Deferred>()?;
    module.add_class::<DeferredList>()?;
    module.add_class::<Primitive>()?;
    module.add_class::<DeferredLock>()?;
    module.add_class::<DeferredSemaphore>()?;
    module.add_class::<DeferredQueue>()?;
    module.add_class::<Fifo>()?;
    module.add_class::<Race>()?;
    module.add_class::<Task>()?;
    module.add_class::<Timeout>()?;
    module.add_class::<Place>()?;
    let shown_to_nobody = PyModule::new(py, "hidden")?;
    shown_to_nobody.add_class::<Awaiting>()?;
    shown_to_nobody.add_class::<TaskCallback>()?;
    shown_to_nobody.add_class::<LockRun>()?;
    shown_to_nobody.add_class::<Wakeup>()?;
    shown_to_nobody.add_class::<FailureBase>()?;
    // Messages about arguments should say `Failure`, as programs never see the base class.
    let failure_base = py.get_type::<FailureBase>();
    failure_base.setattr("__name__", "FailureBase")?;
    failure_base.setattr("__qualname__", "FailureBase")?;
    module.add("FailureBase", failure_base)?;
    let class = py.get_type::<PyAny>();
    class.name()?;
    class.qualname()?;
    class.module()?;
    class.fully_qualified_name()?;
    Ok(shown_to_nobody)
}

/// The native half of deferrous. Import `deferrous` instead.
// On a free-threaded interpreter, locks of our own guard its state: see docs/architecture.md.
#[pymodule(crate = "crate::binding::capi::guarded", gil_used = false)]
mod _deferrous {
    use pyo3::exceptions::PyImportError;
    use pyo3::prelude::*;
    use pyo3::types::{PyDict, PyModule};

    use super::make_classes;
    use crate::binding::capi::error::Result;
    use crate::binding::capi::methods::find_python_methods;
    use crate::binding::capi::{self, interned};
    use crate::binding::face::getters::put_getters;
    use crate::binding::face::quick::put_quick_forms;
    use crate::binding::face::slots::fill_slots;
    use crate::binding::face::timeout::know_callbacks;
    use crate::binding::face::whole::{call_in_turn, running_here};
    use crate::binding::model::{deferred, names};

    #[pymodule_export]
    use crate::binding::face::broadcasts::{
        _close_broadcast, _close_subscription, _not_read, _read, _send_to_all,
    };
    #[pymodule_export]
    use crate::binding::face::ending::{
        _delay, _end_all, _end_delayed, _end_one, _in_turn, _pass_on,
    };
    #[pymodule_export]
    use crate::binding::face::events::{
        _acquired_for, _break, _cancel_waiting, _happen, _not_acquired_for, _notify, _number_all,
        _reacquire, _release_and_wait, _stop_waiting,
    };
    #[pymodule_export]
    use crate::binding::face::feeds::{
        _begin_call, _begin_calls, _begin_close, _begin_fetch, _end_call, _end_with, _take_fetched,
    };
    #[pymodule_export]
    use crate::binding::face::fifo::{line_of, list_of};
    #[pymodule_export]
    use crate::binding::face::functions::{execute, fail, maybe_deferred, succeed};
    #[pymodule_export]
    use crate::binding::face::generators::{
        _end_task, driven, ensure_deferred, run_natively, running_loop, running_task, start,
        start_called, task_of_driven,
    };
    #[pymodule_export]
    use crate::binding::face::graph::{follow, members_of, parts_of, place_in, state_of};
    #[pymodule_export]
    use crate::binding::face::groups::{
        _add_task, _do, _end_waiting, _give_done, _hand_out, _move_key, _take_returned, _tell,
    };
    #[pymodule_export]
    use crate::binding::face::items::{
        _close_channel, _end_getting, _finish, _let_in, _put_in, _receive, _shut_down, _take,
    };
    #[pymodule_export]
    use crate::binding::face::list::{gather_results, parse_results};
    #[pymodule_export]
    use crate::binding::face::locked_calls::{
        _acquire_for, _leave, _release_after, _release_key, _run_locked,
    };
    #[pymodule_export]
    use crate::binding::face::place::{_give_back, _give_first, _hand_over, _serve_rest, _wait_in};
    #[pymodule_export]
    use crate::binding::face::race::race;
    #[pymodule_export]
    use crate::binding::face::returned::_not_taken;
    #[cfg(Py_GIL_DISABLED)]
    #[pymodule_export]
    use crate::binding::face::several::channels::{
        _broadcast_close, _broadcast_send, _broadcast_subscribe, _channel_receive, _channel_send,
        _come_back, _give_returned, _subscription_close, _subscription_next,
    };
    #[cfg(Py_GIL_DISABLED)]
    #[pymodule_export]
    use crate::binding::face::several::events::{_barrier_wait, _event_wait};
    #[cfg(Py_GIL_DISABLED)]
    #[pymodule_export]
    use crate::binding::face::several::items::{
        _queue_get, _queue_join, _queue_put, _queue_shut_down, _queue_task_done,
    };
    #[cfg(Py_GIL_DISABLED)]
    #[pymodule_export]
    use crate::binding::face::several::keys::{_keyed_acquire, _keyed_release};
    #[cfg(Py_GIL_DISABLED)]
    #[pymodule_export]
    use crate::binding::face::several::locks::{
        _locks_give_back, _locks_left, _locks_take, _semaphore_locked,
    };
    #[cfg(Py_GIL_DISABLED)]
    #[pymodule_export]
    use crate::binding::face::several::one_by_one::{_hand_on, Steps};
    #[cfg(all(Py_GIL_DISABLED, debug_assertions))]
    #[pymodule_export]
    use crate::binding::face::several::shared::_is_behind_gate;
    #[cfg(Py_GIL_DISABLED)]
    #[pymodule_export]
    use crate::binding::face::several::shared::{_count, _is_forked, _share_gate};
    #[pymodule_export]
    use crate::binding::face::survey::{all_of, may_fire, take_last};
    #[pymodule_export]
    use crate::binding::face::timeout::{convert, stop};
    #[pymodule_export]
    use crate::binding::face::tracking::{
        now, place, run_of, trace_begin, trace_end, trace_since, trace_strands, track,
        track_earlier, tracked, tracked_at, tracked_one, tracking,
    };
    #[pymodule_export]
    use crate::binding::face::waiting::_fire_all;
    #[pymodule_export]
    use crate::binding::face::whole::{
        _check_depth, _knows_depth, _never_refused, _once, _owed, _owed_once, _whole, _within,
    };
    #[pymodule_export]
    use crate::binding::judge::copying::plain_state;
    #[pymodule_export]
    use crate::binding::judge::creating::NoCurrentExceptionError;
    #[pymodule_export]
    use crate::binding::judge::creating::{failure_count, register_failure_class};
    #[pymodule_export]
    use crate::binding::judge::frames::pieces_of_frames;
    #[pymodule_export]
    use crate::binding::judge::loggers::takes_reports;
    #[pymodule_export]
    use crate::binding::judge::showing::{plain_pieces, plain_repr, plain_traceback, stands_alone};
    #[pymodule_export]
    use crate::binding::model::deferred::{AlreadyCalledError, CancelledError, TimeoutError};
    #[pymodule_export]
    use crate::binding::model::queue::{QueueOverflow, QueueUnderflow};
    #[pymodule_export]
    use crate::binding::waits::starting::NotACoroutineError;
    #[pymodule_export]
    use crate::binding::waits::task_cancelling::_InternalInlineCallbacksCancelledError;

    /// Set the namespace of the module in which `DebugInfo` is looked up.
    #[pyfunction(crate = "crate::binding::capi::guarded")]
    fn set_namespace(namespace: Bound<'_, PyDict>) {
        names::set_namespace(namespace);
    }

    /// Whether enough of the machine's stack is left to make the text of a failure.
    #[pyfunction(crate = "crate::binding::capi::guarded")]
    fn has_room_for_text() -> bool {
        capi::stack::has_room_to_report()
    }

    /// Look up everything in the Python half that the native half needs.
    #[pyfunction(crate = "crate::binding::capi::guarded")]
    fn look_all_up(py: Python<'_>) -> Result<()> {
        names::look_all_up(py)
    }

    /// From now on, threads that the interpreter ends while they run native code wait forever
    /// instead.
    #[cfg(all(
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(Py_3_14)
    ))]
    #[pyfunction(crate = "crate::binding::capi::guarded")]
    fn keep_threads() {
        capi::keep_threads();
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        if !capi::in_main_interpreter(py) {
            // Our classes, and the Python objects that we keep, belong to the whole process.
            return Err(PyImportError::new_err("deferrous does not work in subinterpreters"));
        }
        capi::stack::prepare();
        interned::make_names(py)?;
        let _shown_to_nobody = make_classes(module)?;
        fill_slots(py)?;
        find_python_methods(py)?;
        put_getters(py)?;
        put_quick_forms(module)?;
        capi::depth::find(py)?;
        capi::owed::prepare(py, capi::owed::Turns { running: running_here, call: call_in_turn });
        know_callbacks(module)?;
        #[cfg(Py_GIL_DISABLED)]
        crate::binding::face::several::shared::watch_forks(module)?;
        #[cfg(Py_GIL_DISABLED)]
        for all in [module, &_shown_to_nobody] {
            capi::keep_all_of(all)?;
        }
        module.add("_DEFERRED_SUBCLASSES", deferred::subclasses(py)?)?;
        // How it was compiled: "plain", "profile-guided", or "quick" for tests.
        module.add("_build", env!("DEFERROUS_BUILD"))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
