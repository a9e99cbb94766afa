//! PyO3, as its macros see it in `#[pymethods(crate = "...")]`: with functions that raise what they
//! made themselves.
//!
//! PyO3 makes the text of an error, such as one about arguments, only when it hands it to Python:
//! after it has stopped to catch panics. Where Python has no memory for the text, PyO3 panics, and
//! ends the process. Here errors are made before that, where such a panic becomes a `MemoryError`,
//! and one of ours what [`panics`](super::panics) makes of it.

#[allow(unused_imports, reason = "what the macros use of it is their affair")]
pub(crate) use pyo3::*;

/// In the place of what PyO3's macros take from there.
pub(crate) mod impl_ {
    pub(crate) use pyo3::impl_::*;

    use pyo3::prelude::*;

    use crate::binding::capi::error::Error;
    use crate::binding::capi::panics::catching;

    /// Do something whose error is made here.
    #[inline]
    fn making<T>(py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        Ok(catching(py, || work().map_err(Error::from))?)
    }

    /// What an attribute is set to.
    pub(crate) mod extract_argument {
        pub(crate) use pyo3::impl_::extract_argument::*;
        use pyo3::prelude::*;

        /// As PyO3's, with an error that is made.
        pub(crate) fn extract_argument<'a, 'holder, 'py, T, const IS_FROM_PY: bool>(
            obj: Borrowed<'a, 'py, PyAny>,
            holder: &'holder mut T::Holder,
            name: &str,
        ) -> PyResult<T>
        where
            T: PyFunctionArgument<'a, 'holder, 'py, IS_FROM_PY>,
        {
            super::making(obj.py(), || {
                pyo3::impl_::extract_argument::extract_argument(obj, holder, name)
            })
        }
    }

    /// What attributes give, and what setting and deleting them comes to.
    pub(crate) mod callback {
        pub(crate) use pyo3::impl_::callback::*;
        use pyo3::prelude::*;

        /// As PyO3's, with an error that is made.
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

    /// What C calls.
    pub(crate) mod trampoline {
        use std::ffi::c_int;
        use std::marker::PhantomData;

        use pyo3::ffi;
        pub(crate) use pyo3::impl_::trampoline::*;
        use pyo3::prelude::*;

        /// A function that raises errors which are already made.
        pub(crate) struct Made<M>(PhantomData<M>);

        /// Define that for functions of such forms.
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
