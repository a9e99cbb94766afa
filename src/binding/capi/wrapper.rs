//! Python functions that run natively.
//!
//! From CPython 3.12 on, a function object can have a vectorcall function of its own. It is still
//! an ordinary function for everybody who looks at it. The native code does what the function's own
//! code would do: call the one function in its closure with the same arguments.

use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::answers::Called;
use super::arguments::{self, Arguments, Entry};
use super::error::{Raise, Result};
use super::panics;

unsafe extern "C" {
    /// Sets a function's vectorcall. Public in CPython, but missing in PyO3.
    pub(super) fn PyFunction_SetVectorcall(
        function: *mut ffi::PyFunctionObject,
        vectorcall: ffi::vectorcallfunc,
    );
}

/// What to do before and after the wrapped function runs.
pub(crate) trait Wrap: 'static {
    /// Convert the result of the wrapped function to that of the wrapper.
    fn answer<'py>(wrapped: &Bound<'py, PyAny>, called: Called<'py>) -> Result<Bound<'py, PyAny>>;

    /// Called before the wrapped function.
    ///
    /// # Errors
    ///
    /// The wrapper raises the error, and does not call the function.
    fn begin(py: Python<'_>) -> Result<()>;
}

/// The code object that all wrappers share, taken from the first one.
static CODE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

/// The default vectorcall of functions: the interpreter.
static INTERPRETED: OnceLock<ffi::vectorcallfunc> = OnceLock::new();

/// Let a function run natively whose closure consists of the function that it wraps. All must have
/// the same code as the first one; others are left alone.
///
/// # Errors
///
/// `TypeError` if it is not such a function.
pub(crate) fn run_natively<W: Wrap>(function: &Bound<'_, PyAny>) -> Result<()> {
    let refused = || PyTypeError::error(function.py(), "not a function that wraps another");
    if function.get_type_ptr() != &raw mut ffi::PyFunction_Type {
        return Err(refused());
    }
    // SAFETY: of the very type whose layout is read, alive. A closure is a tuple, or null. The code
    // is held once more, for good. `enter` keeps the contract of what runs for a function.
    unsafe {
        let object = function.as_ptr().cast::<ffi::PyFunctionObject>();
        let closure = (*object).func_closure;
        if closure.is_null() || ffi::PyTuple_GET_SIZE(closure) != 1 {
            return Err(refused());
        }
        if let Some(vectorcall) = (*object).vectorcall
            && INTERPRETED.set(vectorcall).is_ok()
        {
            ffi::Py_INCREF((*object).func_code);
            CODE.store((*object).func_code, Ordering::Relaxed);
        }
        if CODE.load(Ordering::Relaxed) == (*object).func_code {
            PyFunction_SetVectorcall(object, enter::<W>);
        }
    }
    Ok(())
}

/// The vectorcall of these functions.
unsafe extern "C" fn enter<W: Wrap>(
    function: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this attached, with a function that `run_natively` has seen,
    // whose closure cannot be replaced and has one cell, and with a vectorcall's arguments, which
    // are alive until it returns. Where a program has given the function other code, or emptied the
    // cell, the interpreter runs it: what ran for it before gets what this got.
    unsafe {
        let py = Python::assume_attached();
        let object = function.cast::<ffi::PyFunctionObject>();
        let wrapped = if (*object).func_code == CODE.load(Ordering::Relaxed) {
            ffi::PyCell_Get(ffi::PyTuple_GET_ITEM((*object).func_closure, 0))
        } else {
            ptr::null_mut()
        };
        let Some(wrapped) = Bound::from_owned_ptr_or_opt(py, wrapped) else {
            return match INTERPRETED.get() {
                Some(vectorcall) => vectorcall(function, args, nargsf, kwnames),
                None => ptr::null_mut(),
            };
        };
        let names =
            Borrowed::from_ptr_or_opt(py, kwnames).map(|names| names.cast_unchecked::<PyTuple>());
        arguments::enter::<Wrapped<W>>(wrapped.as_borrowed(), args, nargsf, names)
    }
}

/// The wrapped function, to be called by the wrapper.
struct Wrapped<W>(PhantomData<W>);

impl<'py, W: Wrap> Entry<'py> for Wrapped<W> {
    type On<'a>
        = Borrowed<'a, 'py, PyAny>
    where
        'py: 'a;
    const HAS_FLAG: bool = true;

    #[inline(always)]
    fn enter<'a>(wrapped: Self::On<'a>, arguments: Arguments<'a, 'py>) -> *mut ffi::PyObject
    where
        'py: 'a,
    {
        let py = wrapped.py();
        panics::answering(py, || {
            W::begin(py)?;
            W::answer(&wrapped, arguments.give(&wrapped))
        })
    }
}
