//! Fast getters and setters. Those that make an object catch PyO3's panics when there is no memory.

use std::ffi::CStr;
use std::ptr;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::binding::capi::{
    error::Result,
    getters::{Read, Write, put, put_settable},
    interned::intern,
    is_exact, new_int, new_signed_int,
    shown::{Figure, Slot, Truth, keep_constants, put_slot},
};
use crate::binding::model::{
    deferred::{Deferred, new_deferred},
    failure::FailureBase,
    line::Line,
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

// The attributes that programs read most are in slots.
//
// `Deferred.result` is not: when a slot is empty, CPython makes an error with a message for each
// read, which takes five to ten times as long as a getter that raises lazily.
macro_rules! slots {
    ($(
        $form:ident = $name:literal of $of:ty, $in:ty,
        |$slf:ident| $state:expr, |$it:ident| $place:expr, $doc:literal;
    )+) => {
        $(
            struct $form;

            impl Slot for $form {
                type Of = $of;
                type In = $in;
                const NAME: &'static CStr = $name;
                const DOC: &'static CStr = $doc;

                fn at<R>($slf: &Bound<'_, $of>, step: impl FnOnce(*mut $in) -> R) -> R {
                    $state.with($slf.py(), |$it| step($place))
                }
            }
        )+
    };
}

slots! {
    Called = c"called" of Deferred, Truth,
        |of| of.get().chain, |chain| ptr::from_ref(chain.flag()).cast_mut(),
        c"Whether this Deferred has been fired, by `callback`, `errback` or `cancel`.";
    Locked = c"locked" of DeferredLock, Truth,
        |of| of.as_super().get(), |state| ptr::from_ref(&*state.locked).cast_mut(),
        c"Whether the lock is held.";
    Tokens = c"tokens" of DeferredSemaphore, Figure,
        |of| of.as_super().get(), |state| state.tokens.place().cast_mut(),
        c"How many tokens are left: how many more can acquire this.";
    Limit = c"limit" of DeferredSemaphore, Figure,
        |of| of.as_super().get(), |state| state.limit.place().cast_mut(),
        c"How many can hold this at a time.";
    WaitingForLock = c"waiting" of Primitive, Line,
        |of| of.get(), |state| &raw mut state.waiting,
        c"The Deferreds that wait to acquire this, in the order of asking. Can be set to any\n\
        iterable.\n\n\
        Differs from Twisted: it behaves like a list, but is not one.";
    WaitingForQueue = c"waiting" of DeferredQueue, Line,
        |of| of.get(), |state| &raw mut state.waiting,
        c"The Deferreds that wait for an object, in the order of asking. Can be set to any\n\
        iterable.\n\n\
        Differs from Twisted: it behaves like a list, but is not one.";
    Pending = c"pending" of DeferredQueue, Line,
        |of| of.get(), |state| &raw mut state.pending,
        c"The objects in the queue, the next one first. Can be set to any iterable.\n\n\
        Differs from Twisted: it behaves like a list, but is not one.";
    Size = c"size" of DeferredQueue, Line,
        |of| of.get(), |state| &raw mut state.size,
        c"How many objects the queue holds at most, or None for no limit.";
    Backlog = c"backlog" of DeferredQueue, Line,
        |of| of.get(), |state| &raw mut state.backlog,
        c"How many can wait for an object at most, or None for no limit.";
}

slots! {
    Results = c"resultList" of DeferredList, Line,
        |of| of.get(), |state| &raw mut state.results,
        c"The outcomes so far: for each Deferred a pair `(success, result)`, or None.";
    FireOnOneCallback = c"fireOnOneCallback" of DeferredList, Truth,
        |of| of.get(), |state| ptr::from_ref(&*state.fire_on_one_callback).cast_mut(),
        c"Whether the list fires with the first result.";
    FireOnOneErrback = c"fireOnOneErrback" of DeferredList, Truth,
        |of| of.get(), |state| ptr::from_ref(&*state.fire_on_one_errback).cast_mut(),
        c"Whether the list fails with the first failure.";
    ConsumeErrors = c"consumeErrors" of DeferredList, Truth,
        |of| of.get(), |state| ptr::from_ref(&*state.consume_errors).cast_mut(),
        c"Whether failures are taken from the given Deferreds.";
}

/// Add the slots to their classes.
fn put_slots(py: Python<'_>) -> PyResult<()> {
    keep_constants(py)?;
    put_slot::<Called>(&new_deferred(py, Chain::default)?)?;
    // Made like a program makes them: PyO3 would let the collector see an object before its value
    // is written.
    let lock = py.get_type::<DeferredLock>().call0()?.cast_into::<DeferredLock>()?;
    put_slot::<Locked>(&lock)?;
    put_slot::<WaitingForLock>(lock.as_super())?;
    let semaphore =
        py.get_type::<DeferredSemaphore>().call1((1,))?.cast_into::<DeferredSemaphore>()?;
    put_slot::<Tokens>(&semaphore)?;
    put_slot::<Limit>(&semaphore)?;
    let queue = py.get_type::<DeferredQueue>().call0()?.cast_into::<DeferredQueue>()?;
    put_slot::<WaitingForQueue>(&queue)?;
    put_slot::<Pending>(&queue)?;
    put_slot::<Size>(&queue)?;
    put_slot::<Backlog>(&queue)?;
    let class = py.get_type::<DeferredList>();
    let list = class.call_method1("__new__", (&class,))?.cast_into::<DeferredList>()?;
    put_slot::<Results>(&list)?;
    put_slot::<FireOnOneCallback>(&list)?;
    put_slot::<FireOnOneErrback>(&list)?;
    put_slot::<ConsumeErrors>(&list)
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

        /// Replace PyO3's getters and setters by these, and add the slots.
        pub(crate) fn put_getters(py: Python<'_>) -> PyResult<()> {
            put_slots(py)?;
            $(put::<$form>(py)?;)+
            put_setters(py)
        }
    };
}

/// The setters and deleters of attributes that have a getter here.
macro_rules! setters {
    ($($form:ident of $of:ty: $set:path, $delete:path;)+) => {
        $(
            impl Write for $form {
                #[inline(always)]
                fn write<'py>(
                    of: &Bound<'py, $of>,
                    value: Option<&Bound<'py, PyAny>>,
                ) -> Result<()> {
                    value.map_or_else(|| $delete(of), |value| $set(of, value))
                }
            }
        )+

        fn put_setters(py: Python<'_>) -> PyResult<()> {
            $(put_settable::<$form>(py)?;)+
            Ok(())
        }
    };
}

setters! {
    ResultOf of Deferred: Deferred::set_result, Deferred::delete_result;
    Value of FailureBase: FailureBase::set_value, FailureBase::delete_value;
    Kind of FailureBase: FailureBase::set_kind, FailureBase::delete_kind;
    Traceback of FailureBase: FailureBase::set_tb, FailureBase::delete_tb;
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
    Members = "_deferredList" of DeferredList, |of| {
        DeferredList::_deferredList(of).map(Bound::into_any)
    };
    FinishedCount = "finishedCount" of DeferredList, |of| {
        Ok(new_int(of.py(), DeferredList::finishedCount(of) as u64)?.into_any())
    };
}
