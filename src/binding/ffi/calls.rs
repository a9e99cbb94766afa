//! Calls of callables, generators and coroutines.

use std::ptr;

use pyo3::Borrowed;
use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use smallvec::{SmallVec, smallvec};

use super::super::error::{Raise, Result};
use super::super::outcome::Raised;
use super::exceptions::{restore, take_raised};
use super::making::no_memory;
use crate::core::refusable;

/// Make a result of what a C function returned.
///
/// # Safety
///
/// `object` is a new reference, or null with an exception in flight.
#[inline]
unsafe fn returned(
    py: Python<'_>,
    object: *mut ffi::PyObject,
) -> Result<Bound<'_, PyAny>, Raised<'_>> {
    // SAFETY: the caller's promise.
    match unsafe { Bound::from_owned_ptr_or_opt(py, object) } {
        Some(object) => Ok(object),
        None => Err(take_raised(py)),
    }
}

/// Make of a result what a C function returns: a new reference, or null with an exception in
/// flight.
#[inline]
pub(super) fn returning<T>(py: Python<'_>, result: Result<Bound<'_, T>>) -> *mut ffi::PyObject {
    match result {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            restore(error.into_raised(py));
            ptr::null_mut()
        }
    }
}

/// `callable(argument)`
#[inline]
pub(in crate::binding) fn call_one<'py>(
    callable: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    // SAFETY: the argument outlives the call.
    unsafe { call_stack(callable, [ptr::null_mut(), argument.as_ptr()]) }
}

/// Call with the arguments that stand after the first slot. That is left to the callee, as the flag
/// says: a bound method puts its `self` there.
///
/// # Safety
///
/// They are objects that are alive during the call, whatever it does.
#[inline(always)]
unsafe fn call_stack<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    mut stack: [*mut ffi::PyObject; N],
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    // SAFETY: so many arguments, by the caller's promise alive, as is the callable.
    unsafe {
        returned(
            callable.py(),
            ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                stack.as_mut_ptr().add(1),
                (N - 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                ptr::null_mut(),
            ),
        )
    }
}

/// `callable(*arguments)`, of which the last go by these names.
#[inline]
pub(in crate::binding) fn call_many<'py>(
    callable: Borrowed<'_, 'py, PyAny>,
    arguments: &[Borrowed<'_, 'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>> {
    let py = callable.py();
    let named = names.map_or(0, |names| names.len());
    let Some(positional) = arguments.len().checked_sub(named) else {
        return Err(PySystemError::error(py, "more names than arguments"));
    };
    let names = names.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: a borrowed reference is one pointer, so the slice is an array of so many arguments and
    // then one for each name, all alive during the call. The function does not write to it.
    unsafe {
        let stack = arguments.as_ptr().cast();
        let result = ffi::PyObject_Vectorcall(callable.as_ptr(), stack, positional, names);
        Ok(returned(py, result)?)
    }
}

/// `callable(*args, **kwargs)`
///
/// Not PyO3's: where there is no memory, CPython 3.11 may come back without an exception, and PyO3
/// panics as it makes one.
#[inline]
pub(in crate::binding) fn call_any_way<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    let kwargs = kwargs.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: attached; a tuple and a dict or null, which outlive the call.
    unsafe {
        let result = ffi::PyObject_Call(callable.as_ptr(), args.as_ptr(), kwargs);
        returned(callable.py(), result)
    }
}

/// `object.method(argument)`
#[inline]
pub(in crate::binding) fn call_method_one<'py>(
    object: &Bound<'py, PyAny>,
    method: &Bound<'py, PyString>,
    argument: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    let stack = [object.as_ptr(), argument.as_ptr()];
    // SAFETY: the stack has the object and one argument; all three objects outlive the call.
    unsafe {
        returned(
            object.py(),
            ffi::PyObject_VectorcallMethod(
                method.as_ptr(),
                stack.as_ptr(),
                stack.len(),
                ptr::null_mut(),
            ),
        )
    }
}

/// `callable(first, second)`
#[inline]
fn call_two<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    // SAFETY: the arguments outlive the call.
    unsafe { call_stack(callable, [ptr::null_mut(), first.as_ptr(), second.as_ptr()]) }
}

/// The arguments of a call, after a slot that the callee may use.
type Arguments = SmallVec<[*mut ffi::PyObject; 6]>;

fn stack_of<'py>(
    first: &Bound<'py, PyAny>,
    rest: impl Iterator<Item = *mut ffi::PyObject>,
) -> Result<Arguments, Raised<'py>> {
    let mut stack: Arguments = smallvec![ptr::null_mut(), first.as_ptr()];
    for argument in rest {
        if stack.len() == stack.capacity() && refusable(|| stack.try_reserve(1)).is_err() {
            return Err(no_memory(first.py()).into_raised(first.py()));
        }
        stack.push(argument);
    }
    Ok(stack)
}

/// `callable(first, *rest)`, of which the last go by these names.
///
/// # Safety
///
/// The rest are objects that are alive during the call, whatever it does, and at least so many as
/// there are names.
#[inline(never)]
unsafe fn call_any<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    rest: impl Iterator<Item = *mut ffi::PyObject>,
    names: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    let mut stack = stack_of(first, rest)?;
    let named = names.map_or(0, |names| names.len());
    let count = (stack.len() - 1 - named) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    let names = names.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: so many arguments stand after the first slot, which the flag leaves to the callee, and
    // then one for each name. They are alive during the call: `first` by its caller, the others by
    // the promise. Without names, the tuple may be null.
    unsafe {
        let arguments = stack.as_mut_ptr().add(1);
        let result = ffi::PyObject_Vectorcall(callable.as_ptr(), arguments, count, names);
        returned(callable.py(), result)
    }
}

/// `callable(first, *rest)`
#[inline]
pub(in crate::binding) fn call_first<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    rest: &[Borrowed<'_, 'py, PyAny>],
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    match rest {
        [] => call_one(callable, first),
        [one] => call_two(callable, first, one),
        // SAFETY: they are borrowed for longer than the call.
        rest => unsafe { call_any(callable, first, rest.iter().map(|it| it.as_ptr()), None) },
    }
}

/// `callable(first, *rest)`, of which the last go by these names.
pub(super) fn call_first_named<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    rest: &[Borrowed<'_, 'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    match names {
        None => call_first(callable, first, rest),
        Some(names) if names.len() > rest.len() => {
            let error = PySystemError::error(first.py(), "more names than arguments");
            Err(error.into_raised(first.py()))
        }
        // SAFETY: they are borrowed for longer than the call, and at least so many.
        names => unsafe { call_any(callable, first, rest.iter().map(|it| it.as_ptr()), names) },
    }
}

/// `callable(first, *args)`, where `parts` is a tuple of anything, the callable and the arguments.
/// If it begins with a tuple of names, the last arguments go by these.
pub(in crate::binding) fn call_spread<'py>(
    parts: &Bound<'py, PyTuple>,
    first: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    match parts.as_slice() {
        [head, callable, one] if head.is_none() => call_two(callable, first, one),
        [head, callable, rest @ ..] => {
            let names = head.cast_exact::<PyTuple>().ok().filter(|it| it.len() <= rest.len());
            // SAFETY: the tuple holds them, and is borrowed for longer than the call. There are at
            // least so many as there are names.
            unsafe { call_any(callable, first, rest.iter().map(Bound::as_ptr), names) }
        }
        _ => Err(PySystemError::error(parts.py(), "no callable").into_raised(parts.py())),
    }
}

/// `callable(first, *args, **kwargs)`
pub(in crate::binding) fn call_with_dict<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> Result<Bound<'py, PyAny>, Raised<'py>> {
    let rest = args.as_slice().iter().map(Bound::as_ptr);
    let mut stack = stack_of(first, rest)?;
    let count = (stack.len() - 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: so many arguments stand after the first slot, which the flag leaves to the callee.
    // They are held by the caller and by the tuple, which is borrowed for longer than the call, as
    // is the dict.
    unsafe {
        let arguments = stack.as_mut_ptr().add(1);
        let kwargs = kwargs.as_ptr();
        let result = ffi::PyObject_VectorcallDict(callable.as_ptr(), arguments, count, kwargs);
        returned(callable.py(), result)
    }
}

/// A tuple of these.
#[inline]
pub(in crate::binding) fn tuple_of<'py>(
    first: Bound<'py, PyAny>,
    second: Borrowed<'_, 'py, PyAny>,
    rest: &[Borrowed<'_, 'py, PyAny>],
) -> Result<Bound<'py, PyTuple>> {
    let py = first.py();
    // SAFETY: the new tuple has so many places, and each is filled, with a reference of its own,
    // before anyone else sees the tuple.
    unsafe {
        let length = (rest.len() + 2) as ffi::Py_ssize_t;
        let tuple = returned(py, ffi::PyTuple_New(length))?;
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 0, first.into_ptr());
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 1, second.to_owned().into_ptr());
        for (i, item) in (2..).zip(rest) {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i, (**item).clone().into_ptr());
        }
        Ok(tuple.cast_into_unchecked())
    }
}

/// How a generator came back.
pub(in crate::binding) enum Sent<'py> {
    /// It yielded this.
    Yielded(Bound<'py, PyAny>),
    /// It returned this.
    Returned(Bound<'py, PyAny>),
    /// It raised this.
    Raised(Raised<'py>),
}

/// `generator.send(value)`, without a `StopIteration` where it returns.
#[inline]
pub(in crate::binding) fn send<'py>(
    generator: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> Sent<'py> {
    let py = generator.py();
    let mut result = ptr::null_mut();
    // SAFETY: both objects are alive and the out-pointer is valid. On the first two answers the
    // result is a new reference, on the third an exception is in flight.
    unsafe {
        match ffi::PyIter_Send(generator.as_ptr(), value.as_ptr(), &mut result) {
            ffi::PySendResult::PYGEN_NEXT => Sent::Yielded(Bound::from_owned_ptr(py, result)),
            ffi::PySendResult::PYGEN_RETURN => Sent::Returned(Bound::from_owned_ptr(py, result)),
            ffi::PySendResult::PYGEN_ERROR => Sent::Raised(take_raised(py)),
        }
    }
}

/// A copy of the current context.
pub(in crate::binding) fn copy_context(py: Python<'_>) -> Result<Bound<'_, PyAny>> {
    // SAFETY: attached; a new reference, or null with an exception in flight.
    unsafe { Ok(returned(py, ffi::PyContext_CopyCurrent())?) }
}

/// Run something in a context that [`copy_context`] made.
///
/// # Errors
///
/// `RuntimeError` if the context is in use further up.
#[inline]
pub(in crate::binding) fn in_context<'py, R>(
    context: &Bound<'py, PyAny>,
    work: impl FnOnce() -> R,
) -> Result<R, Raised<'py>> {
    let py = context.py();
    // SAFETY: `context` is a context object.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(take_raised(py));
    }
    let result = work();
    // SAFETY: it was entered above, and what `work` entered it has left again.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return Err(take_raised(py));
    }
    Ok(result)
}
