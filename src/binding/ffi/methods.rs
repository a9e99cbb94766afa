//! Methods and functions without PyO3's handling of arguments.
//!
//! The hottest ones have a second form, for calls with positional arguments alone. It stands in
//! the place of PyO3's, with the same signature and text, and leaves all other calls to that.

use std::ffi::CStr;

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};
use pyo3::{Borrowed, PyTypeInfo};
use smallvec::SmallVec;

use super::super::callback::Callback;
use super::super::deferred::{self, Deferred};
use super::super::error::{Raise, Result};
use super::super::failure::FailureBase;
use super::super::functions;
use super::super::generator;
use super::super::run;
use super::super::sync::{DeferredLock, DeferredQueue, DeferredSemaphore, Primitive};
use super::calls::call_many;
use super::making::no_memory;
use super::panics;
use crate::core::On;

/// The positional arguments of a call.
type Args<'a, 'py> = &'a [Borrowed<'a, 'py, PyAny>];

/// What comes of a call: None if PyO3's form is to have it.
type Answer<'py> = Option<Result<Bound<'py, PyAny>>>;

/// The quick form of a method of `Self::Of`, or of a function of the module.
trait Quick {
    /// The class, or anything for a function.
    type Of: PyTypeInfo;
    /// The name in Python.
    const NAME: &'static CStr;

    /// PyO3's form.
    fn slow() -> &'static PyOnceLock<Py<PyAny>>;

    /// Call it.
    fn call<'py>(slf: &Bound<'py, Self::Of>, args: Args<'_, 'py>) -> Answer<'py>;
}

macro_rules! quick {
    ($(#[$doc:meta])* $form:ident = $name:literal of $of:ty, |$slf:pat_param, $args:pat_param| $body:expr) => {
        $(#[$doc])*
        struct $form;

        impl Quick for $form {
            type Of = $of;
            const NAME: &'static CStr = $name;

            fn slow() -> &'static PyOnceLock<Py<PyAny>> {
                static SLOW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                &SLOW
            }

            #[inline(always)]
            fn call<'py>($slf: &Bound<'py, $of>, args: Args<'_, 'py>) -> Answer<'py> {
                match args {
                    $args => Some($body),
                    #[allow(unreachable_patterns, reason = "some forms take any arguments")]
                    _ => None,
                }
            }
        }
    };
}

quick!(AddCallback = c"addCallback" of Deferred, |slf, [callback, args @ ..]| {
    add(slf, On::Value, *callback, args)
});
quick!(AddErrback = c"addErrback" of Deferred, |slf, [errback, args @ ..]| {
    add(slf, On::Failure, *errback, args)
});
quick!(AddBoth = c"addBoth" of Deferred, |slf, [callback, args @ ..]| {
    add(slf, On::Either, *callback, args)
});
quick!(Fire = c"callback" of Deferred, |slf, [result]| {
    deferred::fire_with(slf, (**result).clone()).map(|()| none(slf.py()))
});
quick!(Cancel = c"cancel" of Deferred, |slf, []| Deferred::cancel(slf).map(|()| none(slf.py())));
quick!(Check = c"check" of FailureBase, |slf, types| {
    let found = FailureBase::find(slf, types);
    found.map(|found| found.unwrap_or_else(|| none(slf.py())))
});
quick!(Trap = c"trap" of FailureBase, |slf, types| FailureBase::find_or_raise(slf, types));
// CPython's short cuts are for methods of an object's very class. So each of these has its own.
quick!(AcquireLock = c"acquire" of DeferredLock, |slf, []| {
    Primitive::acquire(slf.as_super()).map(Bound::into_any)
});
quick!(ReleaseLock = c"release" of DeferredLock, |slf, []| {
    Primitive::release(slf.as_super()).map(|()| none(slf.py()))
});
quick!(AcquireSemaphore = c"acquire" of DeferredSemaphore, |slf, []| {
    Primitive::acquire(slf.as_super()).map(Bound::into_any)
});
quick!(ReleaseSemaphore = c"release" of DeferredSemaphore, |slf, []| {
    Primitive::release(slf.as_super()).map(|()| none(slf.py()))
});
quick!(Put = c"put" of DeferredQueue, |slf, [object]| {
    DeferredQueue::put(slf, (**object).clone()).map(|()| none(slf.py()))
});
quick!(Get = c"get" of DeferredQueue, |slf, []| {
    DeferredQueue::get(slf).map(Bound::into_any)
});
quick!(Succeed = c"succeed" of PyAny, |_, [result]| {
    functions::succeed((**result).clone()).map(Bound::into_any)
});
quick!(Fail = c"fail" of PyAny, |_, [reason]| {
    let given = (!reason.is_none()).then(|| (**reason).clone());
    functions::fail(reason.py(), given).map(Bound::into_any)
});
quick!(MaybeDeferred = c"maybeDeferred" of PyAny, |_, [function, args @ ..]| {
    functions::called(function.py(), call_many(*function, args))
});
quick!(RunInlineCallbacks = c"_runInlineCallbacks" of PyAny, |_, [function, args, kwargs]| {
    generator::start_called(function, args, kwargs).map(Bound::into_any)
});

/// Add a callback, with these arguments.
#[inline(always)]
fn add<'py>(
    slf: &Bound<'py, Deferred>,
    on: On,
    callable: Borrowed<'_, 'py, PyAny>,
    args: Args<'_, 'py>,
) -> Result<Bound<'py, PyAny>> {
    // The core asks that again; here it spares those that wait a call.
    if slf.get().chain(slf.py(), |chain| chain.is_at_rest())
        && run::call_at_once(slf, on, callable, args)?
    {
        return Ok(slf.as_any().clone());
    }
    let callback = if args.is_empty() {
        Callback::plain(callable.to_owned())?
    } else {
        Callback::with_arguments(slf.py(), callable, args, None)?
    };
    deferred::add(slf, on.link(callback))?;
    Ok(slf.as_any().clone())
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

/// What the interpreter calls.
unsafe extern "C" fn enter<F: Quick>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this attached, as the method or function that `put` made of
    // it: with an instance of `F::Of`, which the method's descriptor has checked, or the module
    // (any object will do there), and with `nargs` positional arguments. All are borrowed for the
    // length of the call, and a borrowed reference is one pointer, as in the array. Without
    // arguments the array may be null.
    unsafe {
        let py = Python::assume_attached();
        let work = || {
            if kwnames.is_null() {
                let slf = Borrowed::from_ptr(py, slf).cast_unchecked::<F::Of>();
                let args = if nargs == 0 {
                    &[]
                } else {
                    let args = args.cast::<Borrowed<'_, '_, PyAny>>();
                    std::slice::from_raw_parts(args, nargs as usize)
                };
                if let Some(answer) = F::call(&slf, args) {
                    return answer;
                }
            }
            call_slowly::<F>(py, slf, args, nargs, kwnames)
        };
        panics::answering(py, work)
    }
}

/// Call PyO3's form.
///
/// # Safety
///
/// The arguments are those of [`enter`].
#[cold]
unsafe fn call_slowly<F: Quick>(
    py: Python<'_>,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> Result<Bound<'_, PyAny>> {
    let Some(slow) = F::slow().get(py) else {
        return Err(PySystemError::error(py, "the module is not complete"));
    };
    // SAFETY: the caller's promise: so many arguments, then one for each name.
    unsafe {
        let is_method = ffi::PyCFunction_Check(slow.as_ptr()) == 0;
        let mut stack = SmallVec::<[_; 8]>::new();
        let named = Bound::from_borrowed_ptr_or_opt(py, kwnames)
            .map_or(0, |names| names.cast_into_unchecked::<PyTuple>().len());
        let given = usize::try_from(nargs)? + named;
        if stack.try_reserve(given + 1).is_err() {
            return Err(no_memory(py));
        }
        stack.extend(is_method.then_some(slf));
        stack.extend((0..given).map(|i| *args.add(i)));
        let positional = stack.len() - named;
        let result = ffi::PyObject_Vectorcall(slow.as_ptr(), stack.as_ptr(), positional, kwnames);
        Ok(Bound::from_owned_ptr_or_err(py, result)?)
    }
}

/// Put the quick form in the place of PyO3's: an attribute of the class, or of the module.
fn put<F: Quick>(owner: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = owner.py();
    let name = PyString::from_bytes(py, F::NAME.to_bytes())?;
    let slow = owner.getattr(&name)?;
    // SAFETY: what PyO3 has put there is a function or else a method descriptor, whose definition
    // is alive for good. The new definition is leaked, so it is, too. Its function has the form
    // that its flags say, and gets what `enter` is to get.
    let quick = unsafe {
        let is_function = ffi::PyCFunction_Check(slow.as_ptr()) != 0;
        let before = if is_function {
            (*slow.as_ptr().cast::<ffi::PyCFunctionObject>()).m_ml
        } else {
            (*slow.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method
        };
        let definition = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: F::NAME.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: enter::<F> },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: (*before).ml_doc,
        }));
        let quick = if is_function {
            let module = slow.getattr("__module__")?;
            ffi::PyCFunction_NewEx(definition, owner.as_ptr(), module.as_ptr())
        } else {
            ffi::PyDescr_NewMethod(owner.as_ptr().cast(), definition)
        };
        Bound::from_owned_ptr_or_err(py, quick)?
    };
    let _ = F::slow().set(py, slow.unbind());
    owner.setattr(name, quick)
}

/// Put the quick forms in the place of PyO3's.
pub(super) fn put_quick_forms(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = py.get_type::<Deferred>();
    put::<AddCallback>(&class)?;
    put::<AddErrback>(&class)?;
    put::<AddBoth>(&class)?;
    put::<Fire>(&class)?;
    put::<Cancel>(&class)?;
    let class = py.get_type::<FailureBase>();
    put::<Check>(&class)?;
    put::<Trap>(&class)?;
    let class = py.get_type::<DeferredLock>();
    put::<AcquireLock>(&class)?;
    put::<ReleaseLock>(&class)?;
    let class = py.get_type::<DeferredSemaphore>();
    put::<AcquireSemaphore>(&class)?;
    put::<ReleaseSemaphore>(&class)?;
    let class = py.get_type::<DeferredQueue>();
    put::<Put>(&class)?;
    put::<Get>(&class)?;
    put::<Succeed>(module)?;
    put::<Fail>(module)?;
    put::<MaybeDeferred>(module)?;
    put::<RunInlineCallbacks>(module)
}
