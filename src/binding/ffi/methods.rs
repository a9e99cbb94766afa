//! Methods and functions without PyO3's handling of arguments.
//!
//! The hottest ones have a second form, for calls with positional arguments alone. It stands in
//! the place of PyO3's, with the same signature and text, and leaves all other calls to that.

use std::ffi::CStr;
use std::iter;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::{PySystemError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyTypeInfo};
use smallvec::SmallVec;

use super::super::callback::Callback;
use super::super::cell::Shared;
use super::super::deferred::{self, Deferred};
use super::super::error::{Error, Raise, Result};
use super::super::failure::FailureBase;
use super::super::functions;
use super::super::gather::DeferredList;
use super::super::generator;
use super::super::interned::intern;
use super::super::run;
use super::super::sync::{DeferredLock, DeferredQueue, DeferredSemaphore, Primitive};
use super::super::timeout;
use super::exceptions::ok;
use super::making::{made, new_dict, new_str, new_tuple, no_memory, tuple_from};
use super::panics;
use crate::core::{On, refusable};

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

    /// Call it with arguments of which the last go by these names.
    fn call_named<'py>(
        _slf: &Bound<'py, Self::Of>,
        _args: Args<'_, 'py>,
        _names: &Bound<'py, PyTuple>,
    ) -> Answer<'py> {
        None
    }
}

macro_rules! quick {
    ($(#[$doc:meta])* $form:ident = $name:literal of $of:ty, |$slf:pat_param, $args:pat_param| $body:expr
     $(, but $parameter:tt by keyword, |$of_named:pat_param, $some:pat_param, $named:pat_param| $call:expr)?
     $(, named |$of_all:pat_param, $all:pat_param, $names:pat_param| $answer:expr)?) => {
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

            $(fn call_named<'py>(
                $of_named: &Bound<'py, $of>,
                args: Args<'_, 'py>,
                names: &Bound<'py, PyTuple>,
            ) -> Answer<'py> {
                let parameter = intern!(names.py(), $parameter);
                // Given by keyword, or not at all, it is left to PyO3's form, which may have to
                // refuse it.
                if args.len() <= names.len() {
                    return None;
                }
                match place_of(names, parameter) {
                    Ok(None) => {}
                    Ok(Some(_)) => return None,
                    Err(error) => return Some(Err(error)),
                }
                let $named = names;
                match args {
                    $some => Some($call),
                    _ => None,
                }
            })?

            $(fn call_named<'py>(
                $of_all: &Bound<'py, $of>,
                $all: Args<'_, 'py>,
                $names: &Bound<'py, PyTuple>,
            ) -> Answer<'py> {
                $answer
            })?
        }
    };
}

quick!(AddCallback = c"addCallback" of Deferred, |slf, [callback, args @ ..]| {
    add(slf, On::Value, *callback, args)
}, but "callback" by keyword, |slf, [callback, args @ ..], names| {
    add_named(slf, On::Value, *callback, args, names)
});
quick!(AddErrback = c"addErrback" of Deferred, |slf, [errback, args @ ..]| {
    add(slf, On::Failure, *errback, args)
}, but "errback" by keyword, |slf, [errback, args @ ..], names| {
    add_named(slf, On::Failure, *errback, args, names)
});
quick!(AddBoth = c"addBoth" of Deferred, |slf, [callback, args @ ..]| {
    add(slf, On::Either, *callback, args)
}, but "callback" by keyword, |slf, [callback, args @ ..], names| {
    add_named(slf, On::Either, *callback, args, names)
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
    functions::maybe_deferred_quickly(*function, args, None)
}, but "f" by keyword, |_, [function, args @ ..], names| {
    functions::maybe_deferred_quickly(*function, args, Some(names))
});
quick!(Execute = c"execute" of PyAny, |_, [callable, args @ ..]| {
    functions::execute_quickly(*callable, args, None).map(Bound::into_any)
}, but "callable" by keyword, |_, [callable, args @ ..], names| {
    functions::execute_quickly(*callable, args, Some(names)).map(Bound::into_any)
});
quick!(Run = c"run" of Primitive, |slf, [function, args @ ..]| {
    tuple_from(slf.py(), args)
        .and_then(|args| Ok(Primitive::run(slf, (**function).clone(), args, None)?))
}, but "f" by keyword, |slf, [function, args @ ..], names| {
    let (args, values) = args.split_at(args.len() - names.len());
    tuple_from(slf.py(), args).and_then(|args| {
        let kwargs = by_name(names, values)?;
        Ok(Primitive::run(slf, (**function).clone(), args, Some(kwargs))?)
    })
});
quick!(AddCallbacks = c"addCallbacks" of Deferred, |slf, [callback, rest @ ..]| {
    if rest.len() > 5 {
        return None;
    }
    let given = |i: usize| rest.get(i).filter(|it| !it.is_none()).map(|it| (**it).clone());
    let rest = [given(0), given(1), given(2), given(3), given(4)];
    add_callbacks(slf, (**callback).clone(), rest)
}, named |slf, args, names| {
    let mut given = [const { None }; 6];
    let positional = args.len() - names.len();
    if positional > given.len() {
        return None;
    }
    for (place, argument) in given.iter_mut().zip(&args[..positional]) {
        *place = Some((**argument).clone());
    }
    let mut left = names.len();
    for (i, parameter) in names_of_both(slf.py()).into_iter().enumerate().skip(positional) {
        if left == 0 {
            break;
        }
        match place_of(names, parameter) {
            Ok(None) => {}
            Ok(Some(place)) => {
                given[i] = Some((*args[positional + place]).clone());
                left -= 1;
            }
            Err(error) => return Some(Err(error)),
        }
    }
    let [callback, rest @ ..] = given;
    // Of what is left, there is something to say.
    let callback = callback.filter(|_| left == 0)?;
    let rest = rest.map(|it| it.filter(|it| !it.is_none()));
    Some(add_callbacks(slf, callback, rest))
});
quick!(AddTimeout = c"addTimeout" of Deferred, |slf, [seconds, clock, rest @ ..]| {
    if rest.len() > 1 {
        return None;
    }
    let given = |it: &Borrowed<'_, 'py, PyAny>| (!it.is_none()).then(|| (**it).clone());
    let (clock, on_cancel) = (given(clock), rest.first().and_then(given));
    timeout::add(slf, (**seconds).clone(), clock, on_cancel).map_err(Into::into)
});
quick!(ConvertTimedOut = c"_convertTimedOut" of PyAny, |_, [result, timeout]| {
    timeout::convert(result, timeout)
});
quick!(StopClock = c"_stopClock" of PyAny, |_, [result, timeout]| timeout::stop(result, timeout));
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

/// Add a callback, with these arguments, some of them by keyword.
fn add_named<'py>(
    slf: &Bound<'py, Deferred>,
    on: On,
    callable: Borrowed<'_, 'py, PyAny>,
    args: Args<'_, 'py>,
    names: &Bound<'py, PyTuple>,
) -> Result<Bound<'py, PyAny>> {
    let callback = Callback::with_arguments(slf.py(), callable, args, Some(names))?;
    deferred::add(slf, on.link(callback))?;
    Ok(slf.as_any().clone())
}

/// Add a callback and an errback, with these arguments.
fn add_callbacks<'py>(
    slf: &Bound<'py, Deferred>,
    callback: Bound<'py, PyAny>,
    rest: [Option<Bound<'py, PyAny>>; 5],
) -> Result<Bound<'py, PyAny>> {
    let [errback, args, kwargs, errback_args, errback_kwargs] = rest;
    let arguments = [(args, kwargs), (errback_args, errback_kwargs)];
    deferred::add_both(slf, callback, errback, arguments)?;
    Ok(slf.as_any().clone())
}

/// The parameters of `addCallbacks`.
fn names_of_both(py: Python<'_>) -> [&Bound<'_, PyString>; 6] {
    [
        intern!(py, "callback"),
        intern!(py, "errback"),
        intern!(py, "callbackArgs"),
        intern!(py, "callbackKeywords"),
        intern!(py, "errbackArgs"),
        intern!(py, "errbackKeywords"),
    ]
}

/// Where among these names one is.
fn place_of(names: &Bound<'_, PyTuple>, name: &Bound<'_, PyString>) -> Result<Option<usize>> {
    // Nearly always they are the same objects where they are the same names.
    if let Some(place) = names.iter_borrowed().position(|it| it.is(name)) {
        return Ok(Some(place));
    }
    for (place, other) in names.iter_borrowed().enumerate() {
        if other.eq(name)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
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
    // arguments the array may be null. After the positional ones, one stands for each name.
    unsafe {
        let py = Python::assume_attached();
        let work = || {
            let of = Borrowed::from_ptr(py, slf).cast_unchecked::<F::Of>();
            let given = |count: usize| {
                if count == 0 {
                    &[]
                } else {
                    std::slice::from_raw_parts(args.cast::<Borrowed<'_, '_, PyAny>>(), count)
                }
            };
            let answer = match Borrowed::from_ptr_or_opt(py, kwnames) {
                None => F::call(&of, given(nargs as usize)),
                Some(names) => {
                    let names = names.cast_unchecked::<PyTuple>();
                    F::call_named(&of, given(nargs as usize + names.len()), &names)
                }
            };
            if let Some(answer) = answer {
                return answer;
            }
            call_slowly::<F>(py, slf, args, nargs, kwnames)
        };
        panics::answering(py, work)
    }
}

/// The arguments by keyword, in a dict of their own.
#[cold]
fn by_name<'py>(names: &Bound<'py, PyTuple>, values: Args<'_, 'py>) -> Result<Bound<'py, PyDict>> {
    let named = new_dict(names.py())?;
    for (name, value) in names.iter_borrowed().zip(values) {
        named.set_item(name, value)?;
    }
    Ok(named)
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
        if refusable(|| stack.try_reserve(given + 1)).is_err() {
            return Err(no_memory(py));
        }
        stack.extend(is_method.then_some(slf));
        stack.extend((0..given).map(|i| *args.add(i)));
        let positional = stack.len() - named;
        let result = ffi::PyObject_Vectorcall(slow.as_ptr(), stack.as_ptr(), positional, kwnames);
        made(py, result).map_err(|error| in_the_singular::<F>(py, error))
    }
}

/// PyO3 says "takes 1 positional arguments".
#[cold]
fn in_the_singular<F: Quick>(py: Python<'_>, error: Error) -> Error {
    let value = error.value(py);
    if !value.is_exact_instance_of::<PyTypeError>() {
        return error;
    }
    let reworded = || -> PyResult<Option<Bound<'_, PyString>>> {
        let text = value.str()?;
        let name = text.to_str()?.split_once("() takes 1 positional arguments but ");
        let is_this = name.is_some_and(|(name, _)| {
            name.rsplit('.').next().map(str::as_bytes) == Some(F::NAME.to_bytes())
        });
        if !is_this {
            return Ok(None);
        }
        let words = [" 1 positional arguments ", " 1 positional argument "];
        let [several, one] = [new_str(py, words[0])?, new_str(py, words[1])?].map(Bound::into_any);
        let reworded = text.call_method1(new_str(py, "replace")?, new_tuple(py, [several, one])?);
        Ok(Some(reworded?.cast_into()?))
    };
    match ok(py, reworded()) {
        Some(Some(text)) => PyTypeError::error_saying(Ok(text)),
        _ => error,
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

/// A method of ours that runs what waits for it.
#[derive(Clone, Copy)]
pub(in crate::binding) enum Method {
    /// `Deferred.callback`
    Callback,
    /// `Deferred.errback`
    Errback,
    /// `Deferred.unpause`
    Unpause,
    /// `DeferredQueue.put`
    Put,
    /// `release`, of locks and semaphores
    Release,
    /// `_releaseAndReturn`, likewise
    ReleaseAndReturn,
    /// `DeferredList._cbDeferred`
    Collect,
}

/// Where the definitions of these methods are.
static METHODS: Shared<[(usize, Method); 9]> = Shared::new([(0, Method::Callback); 9]);

/// The type of bound methods that were written in Python, which PyO3 does not name.
static PYTHON_METHOD: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// Whether this is a function or method that was written in Python, and so none of ours.
#[inline(always)]
pub(in crate::binding) fn is_of_python(callable: &Bound<'_, PyAny>) -> bool {
    let kind = callable.get_type_ptr().cast_const();
    ptr::eq(kind, &raw const ffi::PyFunction_Type)
        || ptr::eq(kind, PYTHON_METHOD.load(Ordering::Relaxed))
}

/// A method, its object, its arguments.
type MethodCall<'py> = (Method, Bound<'py, PyAny>, SmallVec<[Bound<'py, PyAny>; 3]>);

/// What a call of this with an outcome and other arguments comes to, if it is one of these methods,
/// bound or not.
pub(in crate::binding) fn method_of_ours<'py>(
    callable: &Bound<'py, PyAny>,
    outcome: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
) -> Option<MethodCall<'py>> {
    let py = callable.py();
    let kind = callable.get_type_ptr().cast_const();
    // SAFETY: the object is of the very type whose layout is read. What a function is bound to, if
    // anything, it holds for as long as it lives, and a descriptor its class.
    let (definition, slf) = unsafe {
        if ptr::eq(kind, &raw const ffi::PyCFunction_Type) {
            let function = callable.as_ptr().cast::<ffi::PyCFunctionObject>();
            ((*function).m_ml, Bound::from_borrowed_ptr_or_opt(py, (*function).m_self))
        } else if ptr::eq(kind, &raw const ffi::PyMethodDescr_Type) {
            let descriptor = callable.as_ptr().cast::<ffi::PyMethodDescrObject>();
            let class = (*descriptor).d_common.d_type;
            if ffi::PyObject_TypeCheck(outcome.as_ptr(), class) == 0 {
                return None;
            }
            ((*descriptor).d_method, None)
        } else {
            return None;
        }
    };
    let (_, method) = METHODS.with(py, |methods| {
        methods.iter().find(|(known, _)| *known == definition as usize).copied()
    })?;
    // None of them takes more, and so many need no memory.
    if args.len() + usize::from(slf.is_some()) > 3 {
        return None;
    }
    Some(match slf {
        Some(slf) => (method, slf, iter::once(outcome).chain(args).cloned().collect()),
        None => (method, outcome.clone(), args.iter().cloned().collect()),
    })
}

/// Remember the definition of a method.
fn know(class: &Bound<'_, PyAny>, name: &str, place: usize, method: Method) -> PyResult<()> {
    let descriptor = class.getattr(name)?;
    if !ptr::eq(descriptor.get_type_ptr().cast_const(), &raw const ffi::PyMethodDescr_Type) {
        return Err(PySystemError::new_err("a method is none"));
    }
    // SAFETY: of the very type whose layout is read.
    let definition =
        unsafe { (*descriptor.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method as usize };
    METHODS.with(class.py(), |methods| methods[place] = (definition, method));
    Ok(())
}

/// Remember the definitions of all of these methods, in their quick forms where there are any.
fn know_methods(py: Python<'_>) -> PyResult<()> {
    let method = py.import("types")?.getattr("MethodType")?.cast_into::<PyType>()?;
    PYTHON_METHOD.store(method.as_type_ptr(), Ordering::Relaxed);
    let class = py.get_type::<Deferred>();
    know(&class, "callback", 0, Method::Callback)?;
    know(&class, "errback", 1, Method::Errback)?;
    know(&class, "unpause", 2, Method::Unpause)?;
    know(&py.get_type::<DeferredQueue>(), "put", 3, Method::Put)?;
    know(&py.get_type::<DeferredLock>(), "release", 4, Method::Release)?;
    know(&py.get_type::<DeferredSemaphore>(), "release", 5, Method::Release)?;
    let class = py.get_type::<Primitive>();
    know(&class, "release", 6, Method::Release)?;
    know(&class, "_releaseAndReturn", 7, Method::ReleaseAndReturn)?;
    know(&py.get_type::<DeferredList>(), "_cbDeferred", 8, Method::Collect)
}

/// Put the quick forms in the place of PyO3's.
pub(super) fn put_quick_forms(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = py.get_type::<Deferred>();
    put::<AddCallback>(&class)?;
    put::<AddErrback>(&class)?;
    put::<AddBoth>(&class)?;
    put::<AddCallbacks>(&class)?;
    put::<AddTimeout>(&class)?;
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
    put::<Execute>(module)?;
    put::<Run>(&py.get_type::<Primitive>())?;
    put::<RunInlineCallbacks>(module)?;
    put::<ConvertTimedOut>(module)?;
    put::<StopClock>(module)?;
    know_methods(py)
}
