//! Conversions of arguments and return values for CPython functions. The table in `safe` selects
//! them by the types that it states for each function.

use std::ffi::{CStr, c_char, c_int, c_longlong, c_ulong, c_ulonglong, c_void};
use std::ptr;

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyFrame;

use super::kinds::Kind;

/// An argument as a C value.
pub(super) trait ToC<C> {
    fn to_c(self) -> C;
}

/// A borrowed reference.
impl<T> ToC<*mut ffi::PyObject> for &Bound<'_, T> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        self.as_ptr()
    }
}

impl ToC<*mut ffi::PyFrameObject> for &Bound<'_, PyFrame> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyFrameObject {
        self.as_ptr().cast()
    }
}

impl<T> ToC<*mut ffi::PyObject> for Option<&Bound<'_, T>> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        self.map_or(ptr::null_mut(), Bound::as_ptr)
    }
}

impl<T> ToC<*mut ffi::PyObject> for Option<Borrowed<'_, '_, T>> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        self.map_or(ptr::null_mut(), Borrowed::as_ptr)
    }
}

/// A reference that the function takes over.
impl<T> ToC<*mut ffi::PyObject> for Option<Bound<'_, T>> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        self.map_or(ptr::null_mut(), Bound::into_ptr)
    }
}

/// A pointer to a reference, which the function may replace by another to an object of that class.
impl<T> ToC<*mut *mut ffi::PyObject> for &mut Bound<'_, T> {
    #[inline(always)]
    fn to_c(self) -> *mut *mut ffi::PyObject {
        (&raw mut *self).cast()
    }
}

/// A pointer to a reference or null, likewise.
impl<T> ToC<*mut *mut ffi::PyObject> for &mut Option<Bound<'_, T>> {
    #[inline(always)]
    fn to_c(self) -> *mut *mut ffi::PyObject {
        (&raw mut *self).cast()
    }
}

/// Borrowed references: each is one pointer.
impl ToC<*const *mut ffi::PyObject> for &[Bound<'_, PyAny>] {
    #[inline(always)]
    fn to_c(self) -> *const *mut ffi::PyObject {
        self.as_ptr().cast()
    }
}

impl<const N: usize> ToC<*const *mut ffi::PyObject> for &[Borrowed<'_, '_, PyAny>; N] {
    #[inline(always)]
    fn to_c(self) -> *const *mut ffi::PyObject {
        self.as_ptr().cast()
    }
}

impl ToC<*mut ffi::PyTypeObject> for Kind<'_> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyTypeObject {
        self.as_ptr()
    }
}

impl ToC<*const c_char> for &CStr {
    #[inline(always)]
    fn to_c(self) -> *const c_char {
        self.as_ptr()
    }
}

/// A type object where C takes any object.
impl ToC<*mut ffi::PyObject> for Kind<'_> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        self.as_ptr().cast()
    }
}

/// A null object.
pub(super) struct Null;

impl ToC<*mut ffi::PyObject> for Null {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        ptr::null_mut()
    }
}

/// A null pointer that is not typed as an object.
pub(super) struct Nothing;

impl ToC<*mut c_void> for Nothing {
    #[inline(always)]
    fn to_c(self) -> *mut c_void {
        ptr::null_mut()
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl ToC<Self> for $number {
            #[inline(always)]
            fn to_c(self) -> Self {
                self
            }
        }
    )*};
}

numbers!(usize, ffi::Py_ssize_t, c_longlong, c_ulonglong);

/// A pointer to a number, which the function may overwrite.
impl ToC<Self> for &mut c_int {
    #[inline(always)]
    fn to_c(self) -> Self {
        self
    }
}

/// A place for a number.
impl ToC<*mut ffi::Py_ssize_t> for &mut isize {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::Py_ssize_t {
        self
    }
}

/// A place for the address of an object to which the caller gets no reference.
impl ToC<*mut *mut ffi::PyObject> for &mut usize {
    #[inline(always)]
    fn to_c(self) -> *mut *mut ffi::PyObject {
        (&raw mut *self).cast()
    }
}

/// No such place.
impl ToC<*mut *mut ffi::PyObject> for Null {
    #[inline(always)]
    fn to_c(self) -> *mut *mut ffi::PyObject {
        ptr::null_mut()
    }
}

/// Converts the return value of a C function.
pub(super) trait FromC<'py, C> {
    /// Convert it.
    ///
    /// # Safety
    ///
    /// It must come straight from a function that returns what the implementation states.
    unsafe fn from_c(py: Python<'py>, it: C) -> Self;
}

/// What is made of a new reference to an object of a class, or null.
pub(super) trait FromNew<'py> {
    /// The class.
    type Class;
    /// Make it.
    fn from_new(py: Python<'py>, object: Option<Bound<'py, Self::Class>>) -> Self;
}

/// A new reference to an object of the class, or null.
impl<'py, N: FromNew<'py>, C> FromC<'py, *mut C> for N {
    #[inline(always)]
    unsafe fn from_c(py: Python<'py>, it: *mut C) -> Self {
        // SAFETY: the caller's promise.
        let object = unsafe {
            Bound::from_owned_ptr_or_opt(py, it.cast()).map(|it| it.cast_into_unchecked())
        };
        Self::from_new(py, object)
    }
}

/// None for null.
impl<'py, T> FromNew<'py> for Option<Bound<'py, T>> {
    type Class = T;

    #[inline(always)]
    fn from_new(_py: Python<'py>, object: Self) -> Self {
        object
    }
}

/// A reference that was borrowed by the function's contract and is owned from now on.
pub(super) struct Lent<'py, T>(pub(super) Option<Bound<'py, T>>);

/// A borrowed reference to an object of the class, or null.
impl<'py, T, C> FromC<'py, *mut C> for Lent<'py, T> {
    #[inline(always)]
    unsafe fn from_c(py: Python<'py>, it: *mut C) -> Self {
        // SAFETY: the caller's promise. Nothing has run since that could let go of it.
        let lent =
            unsafe { Borrowed::from_ptr_or_opt(py, it.cast()).map(|it| it.cast_unchecked()) };
        Self(lent.map(Borrowed::to_owned))
    }
}

impl FromC<'_, Self> for ffi::PySendResult {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, it: Self) -> Self {
        it
    }
}

impl FromC<'_, Self> for c_int {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, it: Self) -> Self {
        it
    }
}

/// A number that serves as an identifier.
impl FromC<'_, c_ulong> for usize {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, it: c_ulong) -> Self {
        it as Self
    }
}

impl FromC<'_, Self> for i64 {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, it: Self) -> Self {
        it
    }
}

impl FromC<'_, Self> for isize {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, it: Self) -> Self {
        it
    }
}

/// True if not 0.
impl FromC<'_, c_int> for bool {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, it: c_int) -> Self {
        it != 0
    }
}

/// The address of an object that is not given to the caller, or 0.
impl FromC<'_, *mut ffi::PyObject> for usize {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, it: *mut ffi::PyObject) -> Self {
        it as Self
    }
}

/// A return value without information, such as a status that is always the same.
impl<C> FromC<'_, C> for () {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, _it: C) {}
}

/// Define functions by such a table, as in [`safe`](super::safe).
macro_rules! safe {
    ($($(#[$meta:meta])* fn $name:ident<'py>($($argument:ident: $of:ty),*) $(-> $answer:ty)?
        = $function:path: ($($value:expr),*);)*) => {$(
        $(#[$meta])*
        #[inline(always)]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            $($argument: $of),*
        ) $(-> $answer)? {
            // SAFETY: attached. Each entry says by its types which arguments the function is safe
            // to call with, which of them it takes over, and what it gives.
            unsafe { $crate::binding::capi::conversions::FromC::from_c(py, $function($($crate::binding::capi::conversions::ToC::to_c($value)),*)) }
        }
    )*};
}
pub(super) use safe;
