//! Calls of callables, generators and coroutines.

use crate::core::refusable;
use std::ptr;

use pyo3::Borrowed;
use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use smallvec::{SmallVec, smallvec};

use super::answers::Called;
use super::conversions::FromC;
use super::error::Raised;
use super::error::{Raise, Result};
use super::in_flight::{raised_by_call, restore};
use super::making::no_memory;
use super::safe;

/// Convert a result to the return value of a C function: a new reference, or null with the
/// exception set.
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

/// The keyword arguments of a call.
#[derive(Clone, Copy)]
enum Keywords<'a, 'py> {
    /// None.
    None,
    /// The last arguments have these names. There are at most as many names as arguments.
    Names(&'a Bound<'py, PyTuple>),
    /// This dict.
    Dict(&'a Bound<'py, PyDict>),
}

/// `callable(*places[1..], **keywords)`. The first place must be empty: the callee may use it
/// during the call, as a bound method does to insert its `self`.
#[inline(always)]
fn call_with<'py>(
    callable: &Bound<'py, PyAny>,
    places: &mut [Option<Borrowed<'_, 'py, PyAny>>],
    keywords: Keywords<'_, 'py>,
) -> Called<'py> {
    let named = if let Keywords::Names(names) = keywords { names.len() } else { 0 };
    let Some(count) = places.len().checked_sub(1 + named) else {
        return Err(more_names_than_arguments(callable.py()));
    };
    let count = count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: attached. A borrowed reference is one pointer, so that after the first place, which
    // the flag leaves to the callee, so many arguments stand, and one for each name. All are alive
    // during the call, whatever it does. A new reference comes, or null with an exception in flight.
    unsafe {
        let (callee, arguments) =
            (callable.as_ptr(), places.as_mut_ptr().cast::<*mut ffi::PyObject>().add(1));
        let result = match keywords {
            Keywords::None => ffi::PyObject_Vectorcall(callee, arguments, count, ptr::null_mut()),
            Keywords::Names(names) => {
                ffi::PyObject_Vectorcall(callee, arguments, count, names.as_ptr())
            }
            Keywords::Dict(kwargs) => {
                ffi::PyObject_VectorcallDict(callee, arguments, count, kwargs.as_ptr())
            }
        };
        FromC::from_c(callable.py(), result)
    }
}

/// `callable(argument)`
#[inline]
pub(crate) fn call_one<'py>(
    callable: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> Called<'py> {
    call_with(callable, &mut [None, Some(argument.as_borrowed())], Keywords::None)
}

/// `callable(first, second)`
#[inline]
fn call_two<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> Called<'py> {
    let (first, second) = (first.as_borrowed(), second.as_borrowed());
    call_with(callable, &mut [None, Some(first), Some(second)], Keywords::None)
}

/// `object.method(argument)`
#[inline]
pub(crate) fn call_method_one<'py>(
    object: &Bound<'py, PyAny>,
    method: &Bound<'py, PyString>,
    argument: &Bound<'py, PyAny>,
) -> Called<'py> {
    safe::call_method(object.py(), method, &[object.as_borrowed(), argument.as_borrowed()])
}

/// The places for [`call_with`], in any number.
type Arguments<'a, 'py> = SmallVec<[Option<Borrowed<'a, 'py, PyAny>>; 6]>;

fn stack_of<'a, 'py>(
    first: &'a Bound<'py, PyAny>,
    rest: &'a [Bound<'py, PyAny>],
) -> Result<Arguments<'a, 'py>, Raised<'py>> {
    let mut stack: Arguments<'_, '_> = smallvec![None, Some(first.as_borrowed())];
    if rest.len() > stack.capacity() - stack.len()
        && refusable(|| stack.try_reserve(rest.len())).is_err()
    {
        return Err(no_memory(first.py()).into_raised(first.py()));
    }
    stack.extend(rest.iter().map(|argument| Some(argument.as_borrowed())));
    Ok(stack)
}

/// `callable(first, *rest)`, where the last arguments have these names.
#[inline(never)]
fn call_any<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    rest: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Called<'py> {
    let keywords = names.map_or(Keywords::None, Keywords::Names);
    call_with(callable, &mut stack_of(first, rest)?, keywords)
}

#[cold]
fn more_names_than_arguments(py: Python<'_>) -> Raised<'_> {
    PySystemError::error(py, "more names than arguments").into_raised(py)
}

/// `callable(*arguments)`, where the last arguments have these names.
#[inline]
pub(crate) fn call_many<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Called<'py> {
    match super::arguments::Arguments::new(arguments, names) {
        Some(arguments) => arguments.give(callable),
        None => Err(more_names_than_arguments(callable.py())),
    }
}

/// `callable(first, *rest)`, where the last arguments have these names.
#[inline(always)]
pub(super) fn call_first_named<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    rest: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> Called<'py> {
    match names {
        None => call_first(callable, first, rest),
        names => call_any(callable, first, rest, names),
    }
}

/// `callable(first, *args, **kwargs)`
pub(crate) fn call_with_dict<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> Called<'py> {
    call_with(callable, &mut stack_of(first, args.as_slice())?, Keywords::Dict(kwargs))
}

/// `callable(first, *rest)`
#[inline(always)]
pub(crate) fn call_first<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    rest: &[Bound<'py, PyAny>],
) -> Called<'py> {
    match rest {
        [] => call_one(callable, first),
        [one] => call_two(callable, first, one),
        rest => call_any(callable, first, rest, None),
    }
}

/// `callable(first, *args)`, where `parts` is a tuple of anything, the callable and the arguments.
/// If the first part is a tuple of names, the last arguments have these names.
#[inline(always)]
pub(crate) fn call_spread<'py>(
    parts: &Bound<'py, PyTuple>,
    first: &Bound<'py, PyAny>,
) -> Called<'py> {
    match parts.as_slice() {
        [head, callable, one] if head.is_none() => call_two(callable, first, one),
        [head, callable, rest @ ..] => {
            let names = head.cast_exact::<PyTuple>().ok().filter(|it| it.len() <= rest.len());
            call_any(callable, first, rest, names)
        }
        _ => Err(PySystemError::error(parts.py(), "no callable").into_raised(parts.py())),
    }
}

/// How a resumed generator stopped.
pub(crate) enum Sent<'py> {
    /// It yielded this.
    Yielded(Bound<'py, PyAny>),
    /// It returned this.
    Returned(Bound<'py, PyAny>),
    /// It raised this.
    Raised(Raised<'py>),
}

/// `generator.send(value)`, without the `StopIteration` when it returns.
#[inline]
pub(crate) fn send<'py>(generator: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> Sent<'py> {
    let py = generator.py();
    let mut result = None;
    match (safe::send_to(py, generator, value, &mut result), result) {
        (ffi::PySendResult::PYGEN_NEXT, Some(yielded)) => Sent::Yielded(yielded),
        (ffi::PySendResult::PYGEN_RETURN, Some(returned)) => Sent::Returned(returned),
        _ => Sent::Raised(raised_by_call(py)),
    }
}
