//! What PyO3's macros import in `#[pymethods(crate = "...")]`, changed so that errors are made
//! early.
//!
//! PyO3 builds the message of an error, for instance about arguments, only when it hands the error
//! to Python, outside the code that catches panics. If Python has no memory for the message, PyO3
//! panics there, and the process ends. These wrappers build each error inside, so that such a panic
//! becomes a `MemoryError`; a panic of our own becomes what [`panics`](super::panics) makes of it.

#[allow(unused_imports, reason = "what the macros use of it is their affair")]
pub(crate) use pyo3::*;

/// Replaces PyO3's module of that name.
pub(crate) mod impl_ {
    pub(crate) use pyo3::impl_::*;

    use pyo3::prelude::*;

    use crate::binding::capi::error::Error;
    use crate::binding::capi::panics::catching;

    /// Run something, and make its error here.
    #[inline]
    fn making<T>(py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        Ok(catching(py, || work().map_err(Error::from))?)
    }

    /// Conversion of the values that attributes are set to.
    pub(crate) mod extract_argument {
        pub(crate) use pyo3::impl_::extract_argument::*;
        use pyo3::prelude::*;

        /// Like PyO3's, but makes the error early.
        pub(crate) fn extract_required_argument<'a, 'holder, 'py, T, const IS_FROM_PY: bool>(
            given: Option<Borrowed<'a, 'py, PyAny>>,
            holder: &'holder mut T::Holder,
            name: &str,
        ) -> PyResult<T>
        where
            T: PyFunctionArgument<'a, 'holder, 'py, IS_FROM_PY>,
        {
            use pyo3::impl_::extract_argument::extract_required_argument as extract;
            match given {
                Some(it) => super::making(it.py(), || extract(given, holder, name)),
                None => extract(given, holder, name),
            }
        }

        /// Like PyO3's, but makes the error early.
        pub(crate) fn from_py_with_required<'a, 'py, T>(
            given: Option<&'a Bound<'py, PyAny>>,
            name: &str,
            extractor: fn(&'a Bound<'py, PyAny>) -> PyResult<T>,
        ) -> PyResult<T> {
            use pyo3::impl_::extract_argument::from_py_with_required as extract;
            match given {
                Some(it) => super::making(it.py(), || extract(given, name, extractor)),
                None => extract(given, name, extractor),
            }
        }
    }

    /// Conversion of what getters, setters and deleters return.
    pub(crate) mod callback {
        pub(crate) use pyo3::impl_::callback::*;
        use pyo3::prelude::*;

        /// Like PyO3's, but makes the error early.
        #[inline]
        pub(crate) fn convert<'py, T, U>(py: Python<'py>, value: T) -> PyResult<U>
        where
            T: IntoPyCallbackOutput<'py, U>,
        {
            match value.convert(py) {
                Ok(value) => Ok(value),
                Err(error) => super::making(py, || Err(error)),
            }
        }
    }

    /// The functions that C calls.
    pub(crate) mod trampoline {
        use std::ffi::c_int;
        use std::marker::PhantomData;

        use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PySystemError};
        use pyo3::ffi;
        pub(crate) use pyo3::impl_::trampoline::*;
        use pyo3::panic::PanicException;
        use pyo3::prelude::*;
        use pyo3::types::PyModule;

        use crate::binding::capi::in_flight::restore;
        use crate::binding::capi::inspect::in_main_interpreter;
        use crate::binding::capi::making::no_memory;
        use crate::binding::capi::panics::{catching, keep_quiet_without_memory};
        use crate::binding::capi::stock::with_memory_aside;

        /// The actual reason why the module could not be initialized.
        fn reason_for(py: Python<'_>, mut error: PyErr) -> PyErr {
            const NONE_SET: &str = "attempted to fetch exception but none was set";
            // If a class cannot be made, PyO3 raises this, with the reason as its cause.
            while error.is_instance_of::<PyRuntimeError>(py)
                && let Some(cause) = error.cause(py)
            {
                error = cause;
            }
            // In some places CPython sets no exception when it has no memory for a class.
            let says_nothing = error.is_instance_of::<PySystemError>(py)
                && error.value(py).str().is_ok_and(|text| text == NONE_SET);
            if says_nothing { PyMemoryError::new_err(()) } else { error }
        }

        /// Like PyO3's, but makes the error early.
        ///
        /// # Safety
        ///
        /// Only the interpreter may call it, with a module that it is initializing.
        pub(crate) unsafe fn module_exec(
            module: *mut ffi::PyObject,
            fill: for<'a, 'py> fn(&'a Bound<'py, PyModule>) -> PyResult<()>,
        ) -> c_int {
            keep_quiet_without_memory();
            // SAFETY: the caller's promise: attached, and the module lives as long as this runs.
            // PyO3's function asks for the same.
            let (py, borrowed) = unsafe {
                let py = Python::assume_attached();
                if !in_main_interpreter(py) {
                    // PyO3 refuses to initialize it here. Making that error in our way would wait
                    // forever for the main interpreter.
                    return pyo3::impl_::trampoline::module_exec(module, fill);
                }
                (py, Borrowed::from_ptr(py, module))
            };
            let filled = catching(py, || {
                // PyO3 needs this class to inspect any error. If making it failed, inspecting that
                // very error would make PyO3 wait for itself.
                if with_memory_aside(py, || py.get_type::<PanicException>()).is_none() {
                    return Err(no_memory(py));
                }
                let filled = fill(&*borrowed.cast::<PyModule>()?);
                Ok(filled.map_err(|error| reason_for(py, error))?)
            });
            match filled {
                Ok(()) => 0,
                Err(error) => {
                    restore(error.into_raised(py));
                    -1
                }
            }
        }

        /// A function whose errors are made early.
        pub(crate) struct Made<M>(PhantomData<M>);

        /// Define that for functions with these signatures.
        macro_rules! made {
            ($(($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {$(
                impl<M> MethodDef<unsafe fn(Python<'_>, $($kind),*) -> PyResult<$result>> for Made<M>
                where
                    M: MethodDef<unsafe fn(Python<'_>, $($kind),*) -> PyResult<$result>>,
                {
                    const METH: unsafe fn(Python<'_>, $($kind),*) -> PyResult<$result> = {
                        unsafe fn call<M>(
                            py: Python<'_>,
                            $($argument: $kind),*
                        ) -> PyResult<$result>
                        where
                            M: MethodDef<unsafe fn(Python<'_>, $($kind),*) -> PyResult<$result>>,
                        {
                            // SAFETY: the caller's promise: it is for the function that is called.
                            let call = || unsafe { M::METH(py, $($argument),*) };
                            super::making(py, call)
                        }
                        call::<M>
                    };
                }
            )*};
        }

        type Object = *mut ffi::PyObject;

        made! {
            (a: Object) -> Object;
            (a: Object, b: Object) -> Object;
            (a: Object, b: Object, c: Object) -> Object;
            (a: Object, b: *const Object, c: ffi::Py_ssize_t, d: Object) -> Object;
            (a: *mut ffi::PyTypeObject, b: Object, c: Object) -> Object;
            (a: Object, b: ffi::Py_ssize_t) -> Object;
            (a: Object, b: Object, c: c_int) -> Object;
            (a: Object) -> c_int;
            (a: Object, b: Object) -> c_int;
            (a: Object, b: Object, c: Object) -> c_int;
            (a: Object, b: ffi::Py_ssize_t, c: Object) -> c_int;
            (a: Object) -> ffi::Py_ssize_t;
        }

        /// As PyO3's, of a function that is [`Made`].
        macro_rules! get_trampoline_function {
            ($trampoline:ident, $function:path) => {{
                use $crate::binding::capi::guarded::impl_::trampoline as with;
                struct Def;
                impl with::MethodDef<with::$trampoline::Func> for Def {
                    const METH: with::$trampoline::Func = $function;
                }
                with::$trampoline::<with::Made<Def>>
            }};
        }
        pub(crate) use get_trampoline_function;
    }
}
