//! Fast versions of getters. Where they make something, they catch what PyO3 does without memory.

use std::ffi::CStr;
use std::ptr;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use crate::binding::capi::{
    error::Result,
    getters::{Read, put},
    interned::intern,
    is_exact, new_int, new_signed_int,
    shown::{Slot, Truth, put_slot},
};
use crate::binding::model::{
    deferred::{Deferred, new_deferred},
    failure::FailureBase,
    list::DeferredList,
    outcome::{Chain, Outcome},
    primitive::{DeferredLock, DeferredSemaphore, Primitive},
    queue::DeferredQueue,
};

/// `Deferred.result`
struct ResultOf;

impl Read for ResultOf {
    type Of = Deferred;
    const NAME: &'static str = "result";

    fn read<'py>(of: &Bound<'py, Deferred>) -> Result<Bound<'py, PyAny>> {
        Deferred::result(of)
    }

    #[inline(always)]
    fn missing<'a, 'py>(of: &'a Bound<'py, Deferred>) -> Option<&'a Bound<'py, PyString>> {
        let py = of.py();
        let is_empty = of.get().chain(py, |chain| matches!(chain.outcome(), Outcome::Empty));
        (is_empty && is_exact::<Deferred>(of))
            .then(|| intern!(py, "'Deferred' object has no attribute 'result'"))
    }
}

/// `Deferred.called`: programs read it more than anything else.
///
/// `result` is none: if a slot is empty, CPython makes an error with a text for everybody who asks,
/// which takes five to ten times as long as a getter that says no.
struct Called;

impl Slot for Called {
    type Of = Deferred;
    const NAME: &'static CStr = c"called";
    const DOC: &'static CStr =
        c"Whether this Deferred has been fired, by `callback`, `errback` or `cancel`.";

    fn place(of: &Bound<'_, Deferred>) -> *const Truth {
        of.get().chain(of.py(), |chain| ptr::from_ref(chain.flag()))
    }
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

        /// Replace PyO3's getters by these, and add the slots.
        pub(crate) fn put_getters(py: Python<'_>) -> PyResult<()> {
            put_slot::<Called>(&new_deferred(py, Chain::default)?)?;
            put::<ResultOf>(py)?;
            $(put::<$form>(py)?;)+
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
    Paused = "paused" of Deferred, |of| new_signed_int(of.py(), Deferred::paused(of).into());
    Callbacks = "callbacks" of Deferred, |of| Deferred::callbacks(of).map(Bound::into_any);
    OwnCallbacks = "_callbacks" of Deferred, |of| Deferred::_callbacks(of).map(Bound::into_any);
    Value = "value" of FailureBase, |of| FailureBase::value(of);
    Kind = "type" of FailureBase, |of| FailureBase::kind(of);
    Traceback = "tb" of FailureBase, |of| FailureBase::tb(of);
    CaptureVars = "captureVars" of FailureBase, |of| FailureBase::capture_vars(of);
    Count = "count" of FailureBase, |of| FailureBase::count(of);
    Raised = "_raised" of FailureBase, |of| Ok(FailureBase::to_be_raised(of)?);
    Parents = "parents" of FailureBase, |of| Ok(FailureBase::parents(of)?);
    Stack = "stack" of FailureBase, |of| FailureBase::stack(of);
    Frames = "frames" of FailureBase, |of| FailureBase::frames(of);
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
    Members = "_deferredList" of DeferredList, |of| {
        DeferredList::_deferredList(of).map(Bound::into_any)
    };
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
