//! Makes failures.

#[cfg(Py_GIL_DISABLED)]
use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

use pyo3::exceptions::{PyBaseException, PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{PyTypeInfo, create_exception};

use crate::binding::capi::{
    self, Hold,
    classes::Plain,
    constructing::{Construct, construct_quickly},
    error::{Raise, Raised, Result},
    interned::intern,
    new_exception_of,
    stack::{self, Nested},
};
use crate::binding::judge::{
    asked,
    attributes::{CAPTURE_VARS, COUNT_FIELD, TYPE, VALUE},
    ordinary::{has_plain_traceback, is_ordinary},
};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::gate::Taken;
use crate::binding::model::{
    failure::{Attributes, FailureBase, State},
    names,
};

create_exception!(
    deferrous.failure,
    NoCurrentExceptionError,
    PyException,
    "`Failure()` was called while no exception was being handled."
);

/// How many failures there have been. Without the GIL: how many numbers threads have taken for them.
#[cfg(not(Py_GIL_DISABLED))]
static COUNT: capi::cell::Shared<u64> = capi::cell::Shared::new(0);
#[cfg(Py_GIL_DISABLED)]
static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many failures have been made in this process.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn failure_count(py: Python<'_>) -> u64 {
    #[cfg(not(Py_GIL_DISABLED))]
    return count_more(py, 0);
    #[cfg(Py_GIL_DISABLED)]
    {
        let _ = py;
        count_all()
    }
}

/// Count one more failure. Returns its number.
pub(super) fn count_one(py: Python<'_>) -> u64 {
    #[cfg(not(Py_GIL_DISABLED))]
    return count_more(py, 1);
    #[cfg(Py_GIL_DISABLED)]
    {
        let _ = py;
        count_one_more()
    }
}

/// Count this many failures. Returns the number of the last one.
#[cfg(not(Py_GIL_DISABLED))]
#[inline(always)]
fn count_more(py: Python<'_>, more: u64) -> u64 {
    COUNT.with(py, |count| {
        *count += more;
        *count
    })
}

/// The numbers that a thread has taken: the last one it has used, and the last one it may use. If each
/// thread took one at a time, all would wait for each other there.
#[cfg(Py_GIL_DISABLED)]
#[derive(Clone, Copy)]
struct Numbers {
    used: u64,
    last: u64,
}

#[cfg(Py_GIL_DISABLED)]
thread_local! {
    static NUMBERS: Cell<Numbers> = const { Cell::new(Numbers { used: 0, last: 0 }) };
}

/// How many numbers a thread takes at a time.
#[cfg(Py_GIL_DISABLED)]
const AT_A_TIME: u64 = 64;

/// The number before the one that this thread's next failure will have. If no other thread makes
/// failures, that is how many there are.
#[cfg(Py_GIL_DISABLED)]
fn count_all() -> u64 {
    let here = NUMBERS.get();
    if here.used == here.last { COUNT.load(Ordering::Relaxed) } else { here.used }
}

#[cfg(Py_GIL_DISABLED)]
#[inline(always)]
fn count_one_more() -> u64 {
    NUMBERS.with(|numbers| {
        let Numbers { mut used, mut last } = numbers.get();
        if used == last {
            used = COUNT.fetch_add(AT_A_TIME, Ordering::Relaxed);
            last = used + AT_A_TIME;
        }
        used += 1;
        numbers.set(Numbers { used, last });
        used
    })
}

/// The class of the object that a failure is made of.
#[inline(always)]
pub(super) fn kind_of<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if !is_ordinary(value) && value.is_instance_of::<PyException>() {
        stack::check(value.py())?;
        return value.getattr(intern!(value.py(), "__class__"));
    }
    Ok(value.get_type().into_any())
}

/// The traceback of a failure that is made of this exception: the given one, or the exception's
/// own.
#[inline(always)]
pub(super) fn traceback_for<'py>(
    value: &Bound<'py, PyAny>,
    given: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    match given {
        Some(given) if stack::truth(&given)? => Ok(Some(given)),
        _ => match value.cast::<PyBaseException>() {
            Ok(raised) if has_plain_traceback(raised) => Ok(capi::traceback_of(raised)),
            _ => {
                stack::check(py)?;
                let traceback = value.getattr_opt(intern!(py, "__traceback__"))?;
                let is_true = |it: &Bound<'py, PyAny>| capi::ok(py, it.is_truthy()) == Some(true);
                Ok(traceback.filter(is_true))
            }
        },
    }
}

/// The error that `Failure()` raises if no exception is being handled.
#[cold]
pub(super) fn no_current_exception<'py>(
    failure: &Bound<'py, FailureBase>,
    count: u64,
    capture_vars: Option<Bound<'py, PyAny>>,
) -> PyErr {
    let py = failure.py();
    // A program that keeps the object can see these attributes.
    let show = || -> PyResult<()> {
        let dict = capi::exception_dict(failure)?;
        dict.set_item(COUNT_FIELD.name(py), capi::new_int(py, count)?)?;
        for field in [&VALUE, &TYPE] {
            dict.set_item(field.name(py), py.None())?;
        }
        dict.set_item(CAPTURE_VARS.name(py), capture_vars)
    };
    match show() {
        Ok(()) => NoCurrentExceptionError::bare_error(py).into(),
        Err(error) => error,
    }
}

/// Make a failure of an exception that was raised, like `Failure()` in an `except` block.
///
/// # Errors
///
/// What a replacement of `Failure.__init__` raises.
pub(crate) fn from_raised(raised: Raised<'_>, capture_vars: bool) -> Result<Bound<'_, PyAny>> {
    let py = raised.py();
    let class = names::failure_class(py)?;
    if !FailureBase::is_plain(class) {
        // A replacement of `Failure.__init__` expects that the exception is being handled.
        let named = with_capture_vars(py, capture_vars)?;
        let call = || capi::call_any_way(py, class, &PyTuple::empty(py), Some(&named));
        return Ok(capi::while_handling(&raised, call)?);
    }
    let traceback = capi::traceback_of(&raised);
    make(raised.into_any(), traceback, capture_vars)
}

/// Make a failure of an exception that was not raised.
///
/// # Errors
///
/// What a replacement of `Failure.__init__` raises.
pub(crate) fn from_exception(exception: Bound<'_, PyAny>) -> Result<Bound<'_, PyAny>> {
    let class = names::failure_class(exception.py())?;
    if !FailureBase::is_plain(class) {
        return Ok(class.call1((exception,))?);
    }
    init_new(class, std::slice::from_ref(&exception)).map(Bound::into_any)
}

/// `Failure(*args)`, of up to four arguments.
///
/// # Errors
///
/// What `Failure.__init__` raises.
pub(crate) fn init_new<'py>(
    class: &Bound<'py, PyType>,
    args: &[Bound<'py, PyAny>],
) -> Result<Bound<'py, FailureBase>> {
    let py = class.py();
    let failure = new_failure(class, &capi::tuple_of(py, [], args)?, State::InDict)?;
    let argument = |i: usize| args.get(i).filter(|it| !it.is_none()).cloned();
    FailureBase::__init__(&failure, argument(0), argument(1), argument(2), argument(3))?;
    Ok(failure)
}

/// Register the class `Failure`, so that calling it bypasses `__new__` and `__init__`.
///
/// # Errors
///
/// `TypeError` if the class does not derive from ours.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (class, /))]
pub(crate) fn register_failure_class(class: &Bound<'_, PyType>) -> Result<()> {
    let py = class.py();
    if !capi::is_subtype(class, &py.get_type::<FailureBase>()) {
        return Err(PyTypeError::error(py, "not a class of failures"));
    }
    asked::register(class)?;
    construct_quickly::<FailureBase>(class);
    #[cfg(Py_GIL_DISABLED)]
    capi::keep_class(class)?;
    Ok(())
}

/// `Failure(...)`
impl Construct for FailureBase {
    #[inline(always)]
    fn construct<'py>(
        class: &Bound<'py, PyType>,
        arguments: &[Bound<'py, PyAny>],
    ) -> Option<Result<Bound<'py, PyAny>>> {
        if !Self::is_plain(class) || arguments.len() > 4 {
            return None;
        }
        Some(init_new(class, arguments).map(Bound::into_any))
    }
}

/// Make a failure of this class with this state, as `__new__` and `__init__` do together.
///
/// # Errors
///
/// `TypeError` if the class does not derive from ours: a program can pass any class.
pub(super) fn new_failure<'py>(
    class: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
    state: State,
) -> Result<Bound<'py, FailureBase>> {
    new_exception_of(class, args, FailureBase::of(state)).unwrap_or_else(|| {
        Err(PyTypeError::error(class.py(), "Failure is not a class of failures"))
    })
}

/// Make a failure of a new exception of this class, which was not raised.
pub(crate) fn of_new<T: PyTypeInfo>(py: Python<'_>) -> Result<Bound<'_, PyAny>> {
    make(py.get_type::<T>().call0()?, None, false)
}

fn make<'py>(
    value: Bound<'py, PyAny>,
    traceback: Option<Bound<'py, PyAny>>,
    capture_vars: bool,
) -> Result<Bound<'py, PyAny>> {
    let py = value.py();
    let class = names::failure_class(py)?;
    if !FailureBase::is_plain(class) || (!is_ordinary(&value) && is_failure(&value)?) {
        let named = with_capture_vars(py, capture_vars)?;
        return Ok(capi::call_any_way(py, class, &capi::new_tuple(py, [value])?, Some(&named))?);
    }
    let attributes = Attributes {
        kind: value.get_type().into_any().hold(),
        value: value.hold(),
        traceback: traceback.filter(|traceback| !traceback.is_none()).map(Hold::hold),
        capture_vars,
        count: count_one(py),
        checked: false,
        #[cfg(Py_GIL_DISABLED)]
        moving: Taken::default(),
    };
    let failure = new_failure(class, &PyTuple::empty(py), State::Here(attributes))?;
    Ok(failure.into_any())
}

/// `{"captureVars": ...}`
fn with_capture_vars(py: Python<'_>, capture_vars: bool) -> Result<Bound<'_, PyDict>> {
    let named = capi::new_dict(py)?;
    named.set_item(CAPTURE_VARS.name(py), capture_vars)?;
    Ok(named)
}

/// `isinstance(object, Failure)`
///
/// # Errors
///
/// What the object's own `__class__` raises when it is asked.
#[inline]
pub(crate) fn is_failure(object: &Bound<'_, PyAny>) -> Result<bool> {
    let class = names::failure_class(object.py())?;
    if capi::is_subtype(&object.get_type(), class) {
        return Ok(true);
    }
    // Its `__class__` may be anything.
    let _nested = Nested::enter(object.py())?;
    Ok(object.is_instance(class)?)
}
