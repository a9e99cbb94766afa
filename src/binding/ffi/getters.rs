//! Attributes that are read quickly.
//!
//! PyO3's getters make sure of what the interpreter has made sure of already. These stand in their
//! place, with the same names and texts, and the same setters.

use std::ffi::c_void;
use std::ptr;

use pyo3::PyTypeInfo;
use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::super::deferred::Deferred;
use super::super::error::Result;
use super::super::failure::FailureBase;
use super::super::gather::DeferredList;
use super::super::interned::intern;
use super::super::outcome::Outcome;
use super::super::sync::{DeferredLock, DeferredQueue, DeferredSemaphore, Primitive};
use super::making::{new_int, new_signed_int};
use super::memory::is_exact;
use super::panics;

/// An attribute of `Self::Of`.
trait Read {
    /// The class.
    type Of: PyTypeInfo;
    /// The name in Python.
    const NAME: &'static str;

    /// Read it.
    fn read<'py>(of: &Bound<'py, Self::Of>) -> Result<Bound<'py, PyAny>>;
}

/// What the interpreter calls.
unsafe extern "C" fn get<R: Read>(
    object: *mut ffi::PyObject,
    _closure: *mut c_void,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this attached, with an instance of `R::Of`: its descriptor has
    // looked. It is borrowed for the length of the call, and a reference is one pointer.
    unsafe {
        let py = Python::assume_attached();
        let of = pyo3::Borrowed::from_ptr(py, object).cast_unchecked::<R::Of>();
        panics::answering(py, || R::read(&of))
    }
}

/// `Deferred.result`, which most programs ask for by a `getattr` or `hasattr` that finds none: its
/// error is not made before it is looked at.
unsafe extern "C" fn get_result(
    object: *mut ffi::PyObject,
    closure: *mut c_void,
) -> *mut ffi::PyObject {
    // SAFETY: as for `get`, with a Deferred. The class of an error and its text, both alive, are put
    // in flight.
    unsafe {
        let py = Python::assume_attached();
        let deferred = pyo3::Borrowed::from_ptr(py, object).cast_unchecked::<Deferred>();
        let is_empty = deferred.get().chain(py, |chain| matches!(chain.outcome(), Outcome::Empty));
        if is_empty && is_exact::<Deferred>(&deferred) {
            let text = intern!(py, "'Deferred' object has no attribute 'result'");
            ffi::PyErr_SetObject(ffi::PyExc_AttributeError, text.as_ptr());
            return ptr::null_mut();
        }
        get::<ResultOf>(object, closure)
    }
}

struct ResultOf;

impl Read for ResultOf {
    type Of = Deferred;
    const NAME: &'static str = "result";

    fn read<'py>(of: &Bound<'py, Deferred>) -> Result<Bound<'py, PyAny>> {
        Deferred::result(of)
    }
}

/// Put the quick getter in the place of PyO3's, in the class's own descriptor.
fn put<R: Read>(py: Python<'_>, getter: ffi::getter) -> PyResult<()> {
    let class = py.get_type::<R::Of>();
    let slow = class.getattr("__dict__")?.get_item(R::NAME)?;
    // SAFETY: of the very type whose layout is read. Its definition is replaced by one that is leaked,
    // and so is alive for good: the same with another getter, which has the form and gets what `get`
    // is to get. The interpreter looks at the definition whenever the attribute is read or set.
    unsafe {
        if slow.get_type_ptr() != &raw mut ffi::PyGetSetDescr_Type {
            return Err(PySystemError::new_err("an attribute is none"));
        }
        let descriptor = slow.as_ptr().cast::<ffi::PyGetSetDescrObject>();
        let definition = ffi::PyGetSetDef { get: Some(getter), ..*(*descriptor).d_getset };
        (*descriptor).d_getset = Box::leak(Box::new(definition));
    }
    Ok(())
}

macro_rules! getters {
    ($($form:ident = $name:literal of $of:ty, |$slf:ident| $read:expr;)+) => {
        $(
            struct $form;

            impl Read for $form {
                type Of = $of;
                const NAME: &'static str = $name;

                #[inline(always)]
                fn read<'py>($slf: &Bound<'py, $of>) -> Result<Bound<'py, PyAny>> {
                    $read
                }
            }
        )+

        /// Put all of them in the place of PyO3's.
        pub(super) fn put_getters(py: Python<'_>) -> PyResult<()> {
            put::<ResultOf>(py, get_result)?;
            $(put::<$form>(py, get::<$form>)?;)+
            Ok(())
        }
    };
}

fn truth(py: Python<'_>, value: bool) -> Result<Bound<'_, PyAny>> {
    Ok(PyBool::new(py, value).to_owned().into_any())
}

fn or_none<'py>(py: Python<'py>, value: Option<Bound<'py, PyAny>>) -> Result<Bound<'py, PyAny>> {
    Ok(value.unwrap_or_else(|| py.None().into_bound(py)))
}

getters! {
    Called = "called" of Deferred, |of| truth(of.py(), Deferred::called(of));
    Paused = "paused" of Deferred, |of| new_signed_int(of.py(), Deferred::paused(of).into());
    Value = "value" of FailureBase, |of| FailureBase::value(of);
    Kind = "type" of FailureBase, |of| FailureBase::kind(of);
    Traceback = "tb" of FailureBase, |of| FailureBase::tb(of);
    CaptureVars = "captureVars" of FailureBase, |of| FailureBase::capture_vars(of);
    Count = "count" of FailureBase, |of| FailureBase::count(of);
    Raised = "_raised" of FailureBase, |of| Ok(FailureBase::to_be_raised(of)?);
    Parents = "parents" of FailureBase, |of| Ok(FailureBase::parents(of)?);
    DictOf = "__dict__" of FailureBase, |of| FailureBase::__dict__(of).map(Bound::into_any);
    Locked = "locked" of DeferredLock, |of| truth(of.py(), DeferredLock::locked(of));
    Tokens = "tokens" of DeferredSemaphore, |of| {
        new_signed_int(of.py(), DeferredSemaphore::tokens(of))
    };
    Limit = "limit" of DeferredSemaphore, |of| new_signed_int(of.py(), DeferredSemaphore::limit(of));
    WaitingForLock = "waiting" of Primitive, |of| Ok(Primitive::waiting(of)?.into_any());
    WaitingForQueue = "waiting" of DeferredQueue, |of| Ok(DeferredQueue::waiting(of)?.into_any());
    Pending = "pending" of DeferredQueue, |of| Ok(DeferredQueue::pending(of)?.into_any());
    Size = "size" of DeferredQueue, |of| or_none(of.py(), DeferredQueue::size(of));
    Backlog = "backlog" of DeferredQueue, |of| or_none(of.py(), DeferredQueue::backlog(of));
    Results = "resultList" of DeferredList, |of| DeferredList::resultList(of).map(Bound::into_any);
    FireOnOneCallback = "fireOnOneCallback" of DeferredList, |of| {
        truth(of.py(), DeferredList::fireOnOneCallback(of))
    };
    FireOnOneErrback = "fireOnOneErrback" of DeferredList, |of| {
        truth(of.py(), DeferredList::fireOnOneErrback(of))
    };
    ConsumeErrors = "consumeErrors" of DeferredList, |of| {
        truth(of.py(), DeferredList::consumeErrors(of))
    };
    FinishedCount = "finishedCount" of DeferredList, |of| {
        Ok(new_int(of.py(), DeferredList::finishedCount(of) as u64)?.into_any())
    };
}
