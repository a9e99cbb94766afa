//! Methods and functions that bypass PyO3's argument parsing.
//!
//! The hottest ones have a fast version for calls with positional arguments. It replaces PyO3's
//! version, has the same signature and docstring, and passes all other calls on.

use std::ffi::CStr;
use std::iter;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::{PySystemError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyTypeInfo};
use smallvec::SmallVec;

use super::arguments::{Arguments, Entry, enter};
use super::cell::Shared;
use super::conversions::FromC;
use super::error::{Error, Raise, Result};
use super::in_flight::ok;
use super::kinds::Kind;
use super::making::{new_str, new_tuple, none};
use super::panics;
use super::safe;

/// The positional arguments of a call.
pub(crate) type Args<'a, 'py> = &'a [Bound<'py, PyAny>];

/// The result of a call. None to let PyO3's version handle it.
pub(crate) type Answer<'py> = Option<Result<Bound<'py, PyAny>>>;

/// What the body of a fast version may return.
pub(crate) trait Returned<'py> {
    /// As an object.
    fn object(self, py: Python<'py>) -> Bound<'py, PyAny>;
}

impl<'py> Returned<'py> for () {
    #[inline(always)]
    fn object(self, py: Python<'py>) -> Bound<'py, PyAny> {
        none(py)
    }
}

impl<'py, T> Returned<'py> for Bound<'py, T> {
    #[inline(always)]
    fn object(self, _: Python<'py>) -> Bound<'py, PyAny> {
        self.into_any()
    }
}

/// A result as the interpreter gets it.
#[inline(always)]
pub(crate) fn answer<'py, T: Returned<'py>>(py: Python<'py>, result: Result<T>) -> Answer<'py> {
    Some(result.map(|it| it.object(py)))
}

/// The fast version of a method of `Self::Of`, or of a function of the module.
pub(crate) trait Quick: 'static {
    /// The class; anything for a function.
    type Of: PyTypeInfo;
    /// The name in Python.
    const NAME: &'static CStr;

    /// PyO3's version.
    fn slow() -> &'static PyOnceLock<Py<PyAny>>;

    /// Call it.
    fn call<'py>(slf: &Bound<'py, Self::Of>, args: Args<'_, 'py>) -> Answer<'py>;

    /// Call it with arguments whose last ones have these names.
    fn call_named<'py>(
        _slf: &Bound<'py, Self::Of>,
        _args: Args<'_, 'py>,
        _names: &Bound<'py, PyTuple>,
    ) -> Answer<'py> {
        None
    }
}

/// Define the fast version of a method or function.
macro_rules! quick {
    ($(#[$doc:meta])* $form:ident = $name:literal of $of:ty, |$slf:pat_param, $args:pat_param| $body:expr
     $(, but $parameter:tt by keyword, |$of_named:pat_param, $some:pat_param, $named:pat_param| $call:expr)?
     $(, named |$of_all:pat_param, $all:pat_param, $names:pat_param| $answer:expr)?) => {
        $(#[$doc])*
        struct $form;

        impl $crate::binding::capi::methods::Quick for $form {
            type Of = $of;
            const NAME: &'static std::ffi::CStr = $name;

            fn slow() -> &'static pyo3::sync::PyOnceLock<pyo3::Py<pyo3::PyAny>> {
                static SLOW: pyo3::sync::PyOnceLock<pyo3::Py<pyo3::PyAny>> =
                    pyo3::sync::PyOnceLock::new();
                &SLOW
            }

            #[inline(always)]
            fn call<'py>(
                slf: &pyo3::Bound<'py, $of>,
                args: $crate::binding::capi::methods::Args<'_, 'py>,
            ) -> $crate::binding::capi::methods::Answer<'py> {
                let $slf = slf;
                match args {
                    $args => $crate::binding::capi::methods::answer(slf.py(), $body),
                    #[allow(unreachable_patterns, reason = "some forms take any arguments")]
                    _ => None,
                }
            }

            $(#[inline(never)]
            fn call_named<'py>(
                slf: &pyo3::Bound<'py, $of>,
                args: $crate::binding::capi::methods::Args<'_, 'py>,
                names: &pyo3::Bound<'py, pyo3::types::PyTuple>,
            ) -> $crate::binding::capi::methods::Answer<'py> {
                use $crate::binding::capi::methods::place_of;
                let parameter = $crate::binding::capi::interned::intern!(names.py(), $parameter);
                // If it is given by keyword or missing, leave the call to PyO3's version, which may
                // have to reject it.
                if args.len() <= names.len() {
                    return None;
                }
                match place_of(names, parameter) {
                    Ok(None) => {}
                    Ok(Some(_)) => return None,
                    Err(error) => return Some(Err(error)),
                }
                let ($of_named, $named) = (slf, names);
                match args {
                    $some => $crate::binding::capi::methods::answer(slf.py(), $call),
                    _ => None,
                }
            })?

            $(#[inline(never)]
            fn call_named<'py>(
                $of_all: &pyo3::Bound<'py, $of>,
                $all: $crate::binding::capi::methods::Args<'_, 'py>,
                $names: &pyo3::Bound<'py, pyo3::types::PyTuple>,
            ) -> $crate::binding::capi::methods::Answer<'py> {
                $answer
            })?
        }
    };
}
pub(crate) use quick;

/// The index of a name among these names.
pub(crate) fn place_of(
    names: &Bound<'_, PyTuple>,
    name: &Bound<'_, PyString>,
) -> Result<Option<usize>> {
    // Equal names are nearly always the same object.
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

/// What the interpreter calls: a method, with an object whose type its descriptor has checked; or a
/// function, with its module, as any object will do.
struct Called<F>(PhantomData<F>);

impl<'py, F: Quick> Entry<'py> for Called<F> {
    type On<'a>
        = Borrowed<'a, 'py, F::Of>
    where
        'py: 'a;
    const HAS_FLAG: bool = false;

    #[inline(always)]
    fn enter<'a>(slf: Self::On<'a>, arguments: Arguments<'a, 'py>) -> *mut ffi::PyObject
    where
        'py: 'a,
    {
        panics::answering(slf.py(), || {
            let answer = match arguments.names() {
                None => F::call(&slf, arguments.all()),
                Some(names) => F::call_named(&slf, arguments.all(), &names),
            };
            match answer {
                Some(answer) => answer,
                None => call_slowly::<F>(&slf, arguments.all(), arguments.names()),
            }
        })
    }
}

/// Call PyO3's version.
///
/// The parts of the arguments come one by one, so that they can stay in registers on the way here.
#[cold]
fn call_slowly<'py, F: Quick>(
    slf: &Bound<'py, F::Of>,
    all: &[Bound<'py, PyAny>],
    names: Option<Borrowed<'_, 'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>> {
    let (py, arguments) = (slf.py(), Arguments { all, names });
    let Some(slow) = F::slow().get(py) else {
        return Err(PySystemError::error(py, "the module is not complete"));
    };
    let slow = slow.bind(py);
    let result = if native(slow).is_some_and(|slow| slow.class.is_none()) {
        arguments.give(slow).map_err(Error::from)
    } else {
        arguments.give_after(slow, slf.as_any())
    };
    result.map_err(|error| in_the_singular::<F>(py, error))
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

/// Replace PyO3's version in the class or the module.
pub(crate) fn put<F: Quick>(owner: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = owner.py();
    if owner.is_instance_of::<PyType>() && F::slow().get(py).is_some() {
        // The module is initialized again, and the class has the fast version already.
        return Ok(());
    }
    let name = PyString::from_bytes(py, F::NAME.to_bytes())?;
    let slow = owner.getattr(&name)?;
    let of = Kind::of::<F::Of>(py);
    let class = owner.cast::<PyType>().ok();
    let definition = match (native(&slow), class) {
        (Some(method), Some(class)) if safe::comes_after(py, Kind::from(class), of) => {
            method.definition
        }
        (Some(function), None) if safe::is_of(py, owner, of) => function.definition,
        _ => return Err(PySystemError::new_err("a method is none")),
    };
    type Enter<'a, 'py, T> = unsafe extern "C" fn(
        Borrowed<'a, 'py, T>,
        *const *mut ffi::PyObject,
        usize,
        Option<Borrowed<'a, 'py, PyTuple>>,
    ) -> *mut ffi::PyObject;
    let module = if class.is_none() { Some(slow.getattr("__module__")?) } else { None };
    // SAFETY: the definition that PyO3 has made is alive for good. The new one is leaked, so it is,
    // too. Its function has the form that its flags say: a borrowed reference is one pointer, and
    // null is none. It gets what it is to get: objects of the class, which is `F::Of` or a
    // subclass, or the owner, which is an `F::Of`. A new reference comes, or null with an exception
    // in flight.
    let quick: Bound<'_, PyAny> = unsafe {
        let function = std::mem::transmute::<Enter<'_, '_, F::Of>, ffi::PyCFunctionFastWithKeywords>(
            enter::<Called<F>>,
        );
        let definition = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: F::NAME.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: (*definition).ml_doc,
        }));
        let quick = match (class, &module) {
            (Some(class), _) => ffi::PyDescr_NewMethod(class.as_type_ptr(), definition),
            (None, module) => {
                let module = module.as_ref().map_or(ptr::null_mut(), Bound::as_ptr);
                ffi::PyCFunction_NewEx(definition, owner.as_ptr(), module)
            }
        };
        Result::<_, Error>::from_c(py, quick)?
    };
    #[cfg(Py_GIL_DISABLED)]
    if class.is_none() {
        let _is_deferred = safe::defer_references(py, &quick);
    }
    owner.setattr(name, quick)?;
    let _ = F::slow().set(py, slow.unbind());
    Ok(())
}

/// A native function or method.
struct Native<'a, 'py> {
    definition: *mut ffi::PyMethodDef,
    /// The object that a function is bound to.
    bound_to: Option<Bound<'py, PyAny>>,
    /// For an unbound method, the class that its objects must belong to.
    class: Option<Kind<'a>>,
}

/// Look into a native function or method.
#[inline(always)]
fn native<'a, 'py>(callable: &'a Bound<'py, PyAny>) -> Option<Native<'a, 'py>> {
    let kind = callable.get_type_ptr().cast_const();
    // SAFETY: the object is of the very type whose layout is read. What a function is bound to, if
    // anything, it holds for as long as it lives, and a descriptor its class.
    unsafe {
        if ptr::eq(kind, &raw const ffi::PyCFunction_Type) {
            let function = callable.as_ptr().cast::<ffi::PyCFunctionObject>();
            let bound_to = Bound::from_borrowed_ptr_or_opt(callable.py(), (*function).m_self);
            Some(Native { definition: (*function).m_ml, bound_to, class: None })
        } else if ptr::eq(kind, &raw const ffi::PyMethodDescr_Type) {
            let descriptor = callable.as_ptr().cast::<ffi::PyMethodDescrObject>();
            let class = Some(Kind::at((*descriptor).d_common.d_type));
            Some(Native { definition: (*descriptor).d_method, bound_to: None, class })
        } else {
            None
        }
    }
}

/// The type of bound Python methods, which PyO3 does not name.
static PYTHON_METHOD: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// Whether this is a Python function or method, and so none of ours.
#[inline(always)]
pub(crate) fn is_of_python(callable: &Bound<'_, PyAny>) -> bool {
    let kind = callable.get_type_ptr().cast_const();
    ptr::eq(kind, &raw const ffi::PyFunction_Type)
        || ptr::eq(kind, PYTHON_METHOD.load(Ordering::Relaxed))
}

/// Native methods, recognised by their definitions, with our identifier for each.
pub(crate) struct KnownMethods<M: 'static, const N: usize>(Shared<[Option<(usize, M)>; N]>);

/// A method, its object and its arguments.
pub(crate) type MethodCall<'py, M> = (M, Bound<'py, PyAny>, SmallVec<[Bound<'py, PyAny>; 3]>);

impl<M: Copy, const N: usize> KnownMethods<M, N> {
    /// Empty.
    pub(crate) const fn new() -> Self {
        Self(Shared::new([None; N]))
    }

    /// Add a method of a class.
    ///
    /// # Errors
    ///
    /// `SystemError` if it is not a native method, or if the table is full.
    pub(crate) fn know(&self, class: &Bound<'_, PyAny>, name: &str, method: M) -> PyResult<()> {
        let descriptor = class.getattr(name)?;
        let Some(Native { definition, class: Some(_), .. }) = native(&descriptor) else {
            return Err(PySystemError::new_err("a method is none"));
        };
        let known = (definition as usize, method);
        let is_for_it = |it: &&mut Option<(usize, M)>| it.is_none_or(|(there, _)| there == known.0);
        self.0.with(class.py(), |all| match all.iter_mut().find(is_for_it) {
            Some(place) => {
                *place = Some(known);
                Ok(())
            }
            None => Err(PySystemError::new_err("more methods than places")),
        })
    }

    /// If this callable is one of these methods, bound or not: the method, object and arguments of
    /// a call with this first argument and these others.
    pub(crate) fn call_of<'py>(
        &self,
        callable: &Bound<'py, PyAny>,
        first: &Bound<'py, PyAny>,
        args: &[Bound<'py, PyAny>],
    ) -> Option<MethodCall<'py, M>> {
        let py = callable.py();
        let Native { definition, bound_to: slf, class } = native(callable)?;
        if class.is_some_and(|class| !safe::is_of(py, first, class)) {
            return None;
        }
        let (_, method) = self.0.with(py, |all| {
            all.iter().flatten().find(|(known, _)| *known == definition as usize).copied()
        })?;
        // None of them takes more arguments, and this many need no heap memory.
        if args.len() + usize::from(slf.is_some()) > 3 {
            return None;
        }
        Some(match slf {
            Some(slf) => (method, slf, iter::once(first).chain(args).cloned().collect()),
            None => (method, first.clone(), args.iter().cloned().collect()),
        })
    }
}

/// Find the type of bound Python methods.
pub(crate) fn find_python_methods(py: Python<'_>) -> PyResult<()> {
    let method = py.import("types")?.getattr("MethodType")?.cast_into::<PyType>()?;
    PYTHON_METHOD.store(method.as_type_ptr(), Ordering::Relaxed);
    Ok(())
}
