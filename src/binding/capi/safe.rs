//! Functions of CPython's that are safe to call with whatever the types let through.
//!
//! CPython's documentation says what a function takes and gives. The table below says the same by
//! types, and each entry is to be checked against it: of which classes the arguments have to be,
//! which references are borrowed (`&Bound`) and which taken over (`Bound`), and what comes back.
//! What can be given to an entry must be safe to give: that is what makes it a safe function.

use std::ffi::{CStr, c_char, c_int, c_longlong, c_ulonglong, c_void};
use std::marker::PhantomData;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyClass, PyTypeInfo};

use super::arguments::Arguments;
use super::error::Raised;
use super::error::Result;
use super::exceptions::raised_by_call;

/// A type object that is alive for so long.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a>(*mut ffi::PyTypeObject, PhantomData<&'a ()>);

impl<'a> Kind<'a> {
    /// That of a class of ours, or of PyO3's.
    #[inline(always)]
    pub(super) fn of<T: PyTypeInfo>(py: Python<'a>) -> Self {
        Self(T::type_object_raw(py), PhantomData)
    }

    /// That which stands there.
    ///
    /// # Safety
    ///
    /// It is alive for so long.
    pub(super) unsafe fn at(place: *mut ffi::PyTypeObject) -> Self {
        Self(place, PhantomData)
    }

    /// What stands in it now.
    #[inline(always)]
    pub(super) fn slots(self, _py: Python<'_>) -> Slots {
        // SAFETY: a type object, alive.
        unsafe {
            Slots {
                version: (*self.0).tp_version_tag,
                getattro: (*self.0).tp_getattro,
                init: (*self.0).tp_init,
                new: (*self.0).tp_new,
                finalize: (*self.0).tp_finalize,
                #[cfg(Py_3_13)]
                name: (*self.0).tp_name,
            }
        }
    }

    /// Where it is.
    #[inline(always)]
    pub(super) fn as_ptr(self) -> *mut ffi::PyTypeObject {
        self.0
    }
}

impl Kind<'static> {
    /// That of a class of ours, which PyO3 keeps for good.
    pub(super) fn of_ours<T: PyClass>(py: Python<'_>) -> Self {
        Self(T::type_object_raw(py), PhantomData)
    }
}

// SAFETY: it says where a type object is. What stands there is read on attached threads alone.
unsafe impl Send for Kind<'_> {}

impl<'a> From<&'a Bound<'_, PyType>> for Kind<'a> {
    #[inline(always)]
    fn from(class: &'a Bound<'_, PyType>) -> Self {
        Self(class.as_type_ptr(), PhantomData)
    }
}

/// What stands in a type object, as far as it is of interest.
pub(super) struct Slots {
    /// Another after each change of the type or one of its bases, and 0 for none.
    pub(super) version: u32,
    /// What looks attributes up.
    pub(super) getattro: Option<ffi::getattrofunc>,
    /// `__init__`
    pub(super) init: Option<ffi::initproc>,
    /// `__new__`
    pub(super) new: Option<ffi::newfunc>,
    /// What is called before the collector takes a cycle apart.
    pub(super) finalize: Option<ffi::destructor>,
    /// The text of the name.
    #[cfg(Py_3_13)]
    pub(super) name: *const c_char,
}

/// An argument, as C has it.
trait ToC<C> {
    fn to_c(self) -> C;
}

/// A reference that is borrowed.
impl<T> ToC<*mut ffi::PyObject> for &Bound<'_, T> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        self.as_ptr()
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

/// A reference that is taken over.
impl<T> ToC<*mut ffi::PyObject> for Option<Bound<'_, T>> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        self.map_or(ptr::null_mut(), Bound::into_ptr)
    }
}

/// A place with a reference, which the function may replace by another to an object of the class.
impl<T> ToC<*mut *mut ffi::PyObject> for &mut Bound<'_, T> {
    #[inline(always)]
    fn to_c(self) -> *mut *mut ffi::PyObject {
        (&raw mut *self).cast()
    }
}

/// A place with a reference or null, likewise.
impl<T> ToC<*mut *mut ffi::PyObject> for &mut Option<Bound<'_, T>> {
    #[inline(always)]
    fn to_c(self) -> *mut *mut ffi::PyObject {
        (&raw mut *self).cast()
    }
}

/// References that are borrowed: each is one pointer.
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

/// Where C asks for an object, as such.
impl ToC<*mut ffi::PyObject> for Kind<'_> {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        self.as_ptr().cast()
    }
}

/// No object.
struct Null;

impl ToC<*mut ffi::PyObject> for Null {
    #[inline(always)]
    fn to_c(self) -> *mut ffi::PyObject {
        ptr::null_mut()
    }
}

/// The same, where C does not say that it would be an object.
struct Nothing;

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

/// What a function gives, as Rust has it.
pub(super) trait FromC<'py, C> {
    /// # Safety
    ///
    /// It has just come from a function that gives what the implementation says.
    unsafe fn from_c(py: Python<'py>, it: C) -> Self;
}

/// A new object, or one exception more.
type New<'py, T> = Result<Bound<'py, T>>;

/// What a call has returned or raised.
pub(super) type Called<'py> = Result<Bound<'py, PyAny>, Raised<'py>>;

/// What a function says that has either done what it is for or raised an exception.
type Status<'py> = Result<c_int, Raised<'py>>;

/// A new reference to an object of the class, or null with an exception in flight.
impl<'py, T, E: From<Raised<'py>>> FromC<'py, *mut ffi::PyObject> for Result<Bound<'py, T>, E> {
    #[inline(always)]
    unsafe fn from_c(py: Python<'py>, it: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller's promise.
        match unsafe { Option::<Bound<'py, T>>::from_c(py, it) } {
            Some(object) => Ok(object),
            None => Err(raised_by_call(py).into()),
        }
    }
}

/// A new reference to an object of the class, or null.
impl<'py, T> FromC<'py, *mut ffi::PyObject> for Option<Bound<'py, T>> {
    #[inline(always)]
    unsafe fn from_c(py: Python<'py>, it: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Some(Bound::from_owned_ptr_or_opt(py, it)?.cast_into_unchecked()) }
    }
}

/// A negative number with an exception in flight, or another.
impl<'py> FromC<'py, c_int> for Status<'py> {
    #[inline(always)]
    unsafe fn from_c(py: Python<'py>, status: c_int) -> Self {
        if status < 0 { Err(raised_by_call(py)) } else { Ok(status) }
    }
}

impl FromC<'_, Self> for ffi::PySendResult {
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

/// Not 0 for true.
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

/// Nothing, or what says nothing, such as a status that is always the same.
impl<C> FromC<'_, C> for () {
    #[inline(always)]
    unsafe fn from_c(_py: Python<'_>, _it: C) {}
}

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
            unsafe { FromC::from_c(py, $function($(ToC::to_c($value)),*)) }
        }
    )*};
}

safe! {
    // Python's own objects, made where memory may have run out. PyO3's functions for that panic
    // then.

    /// `{}`
    fn new_dict<'py>() -> New<'py, PyDict> = ffi::PyDict_New: ();
    /// `[]`
    fn new_list<'py>() -> New<'py, PyList> = ffi::PyList_New: (0_isize);
    /// `list(items)`
    fn list_of<'py>(items: &Bound<'_, PyAny>) -> New<'py, PyList> = ffi::PySequence_List: (items);
    /// `items * count`
    fn repeated<'py>(items: &Bound<'_, PyList>, count: isize) -> New<'py, PyAny>
        = ffi::PySequence_Repeat: (items, count);
    /// `items[start:end]`, within bounds.
    fn slice_of<'py>(items: &Bound<'_, PyTuple>, start: isize, end: isize) -> New<'py, PyTuple>
        = ffi::PyTuple_GetSlice: (items, start, end);
    /// Put the string in place that is the same object wherever it is used as a name.
    fn intern<'py>(text: &mut Bound<'_, PyString>) = ffi::PyUnicode_InternInPlace: (text);
    /// A number that may be below zero.
    fn new_signed_int<'py>(number: i64) -> New<'py, PyAny> = ffi::PyLong_FromLongLong: (number);
    /// A number as Python has it.
    fn new_int<'py>(number: u64) -> New<'py, PyAny> = ffi::PyLong_FromUnsignedLongLong: (number);

    // Calls. Not PyO3's: where there is no memory, CPython 3.11 may come back without an exception,
    // and PyO3 panics as it makes one.

    /// `callable(*args, **kwargs)`
    fn call_any_way<'py>(
        callable: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>
    ) -> Called<'py> = ffi::PyObject_Call: (callable, args, kwargs);
    /// `callable(*arguments)`
    fn call_with_names<'py>(
        callable: &Bound<'_, PyAny>,
        arguments: Arguments<'_, '_>
    ) -> Called<'py> = ffi::PyObject_Vectorcall: (
        callable, arguments.all(), arguments.count_by_position(), arguments.names()
    );
    /// `object.method(argument)`
    fn call_method<'py>(
        method: &Bound<'_, PyString>,
        object_and_argument: &[Borrowed<'_, '_, PyAny>; 2]
    ) -> Called<'py>
        = ffi::PyObject_VectorcallMethod: (method, object_and_argument, 2_usize, Null);
    /// `generator.send(value)`, without a `StopIteration` where it returns: puts in place what it
    /// yields or returns. None is put there where it raises, and the exception is in flight.
    fn send_to<'py>(
        generator: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        result: &mut Option<Bound<'py, PyAny>>
    ) -> ffi::PySendResult = ffi::PyIter_Send: (generator, value, result);
    /// A copy of the current context.
    fn copy_context<'py>() -> New<'py, PyAny> = ffi::PyContext_CopyCurrent: ();
    /// Make a context the current one. What is no context, or is in use further up, is refused.
    fn enter_context<'py>(context: &Bound<'_, PyAny>) -> Status<'py>
        = ffi::PyContext_Enter: (context);
    /// The reverse. A context that is not the current one is refused.
    fn exit_context<'py>(context: &Bound<'_, PyAny>) -> Status<'py>
        = ffi::PyContext_Exit: (context);

    /// One more call that the interpreter's recursion limit counts. The text is the end of what the
    /// error says. True if it is one too many, with that error in flight.
    fn enter_recursion<'py>(text: &CStr) -> bool = ffi::Py_EnterRecursiveCall: (text);
    /// The reverse.
    fn leave_recursion<'py>() = ffi::Py_LeaveRecursiveCall: ();

    // Exceptions.

    /// Have a class raise an exception: an instance of it, or one that is to be made of an object.
    /// What is no class of exceptions is refused, by an exception.
    fn raise_of<'py>(class: Kind<'_>, of: Option<&Bound<'_, PyAny>>)
        = ffi::PyErr_SetObject: (class, of);
    /// Have a `MemoryError` in flight. Python keeps some for that.
    fn raise_no_memory<'py>() = ffi::PyErr_NoMemory: ();
    /// Report the exception in flight, if any, as what a finalizer raises.
    fn report_unraisable<'py>() = ffi::PyErr_WriteUnraisable: (Null);
    /// As `raise ... from ...`: what an exception came of.
    fn set_cause_of<'py>(exception: &Raised<'_>, cause: Option<Raised<'_>>)
        = ffi::PyException_SetCause: (exception, cause);
    /// What was being handled when an exception was raised.
    fn set_context_of<'py>(exception: &Raised<'_>, context: Option<Raised<'_>>)
        = ffi::PyException_SetContext: (exception, context);
    /// The traceback of an exception, whatever its class has under that name.
    fn get_traceback<'py>(exception: &Raised<'_>) -> Option<Bound<'py, PyAny>>
        = ffi::PyException_GetTraceback: (exception);
    /// Set it, None for none. What is neither None nor a traceback is refused.
    fn put_traceback<'py>(
        exception: &Raised<'_>,
        traceback: &Bound<'_, PyAny>
    ) -> Status<'py> = ffi::PyException_SetTraceback: (exception, traceback);
    /// The instance dict of an object that has a slot for one, made where there was none.
    fn dict_of<'py>(object: &Bound<'_, PyAny>) -> New<'py, PyDict>
        = ffi::PyObject_GenericGetDict: (object, Nothing);
    /// Replace it. What is no dict is refused.
    fn put_dict<'py>(object: &Bound<'_, PyAny>, dict: &Bound<'_, PyAny>) -> Status<'py>
        = ffi::PyObject_GenericSetDict: (object, dict, Nothing);

    // Questions.

    /// How many references there are to an object.
    fn references<'py>(object: &Bound<'_, PyAny>) -> isize = ffi::Py_REFCNT: (object);
    /// Whether a class is another or comes after it in its MRO, whatever their metaclasses say.
    fn comes_after<'py>(class: Kind<'_>, other: Kind<'_>) -> bool
        = ffi::PyType_IsSubtype: (class, other);
    /// What a class or its bases have under a name.
    fn address_in_class<'py>(class: Kind<'_>, name: &Bound<'_, PyString>) -> usize
        = _PyType_Lookup: (class, name);
    /// What a dict has under a key. 0 if that is nothing, or an exception, which is in flight then.
    fn address_in_dict<'py>(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> usize
        = ffi::PyDict_GetItemWithError: (dict, key);
    /// Whether a dict has a key: 1 if so.
    fn has_key<'py>(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> Status<'py>
        = ffi::PyDict_Contains: (dict, key);
    /// Whether an object is what a function with `async def` makes.
    fn is_exact_coroutine<'py>(object: &Bound<'_, PyAny>) -> bool
        = ffi::PyCoro_CheckExact: (object);
    /// `isinstance(object, class)`, whatever their classes say.
    fn is_of<'py>(object: &Bound<'_, PyAny>, class: Kind<'_>) -> bool
        = ffi::PyObject_TypeCheck: (object, class);
    /// Whether an object is a generator.
    fn is_exact_generator<'py>(object: &Bound<'_, PyAny>) -> bool
        = ffi::PyGen_CheckExact: (object);
}

#[cfg(not(Py_3_12))]
safe! {
    /// Take what is in flight out of flight: puts its class, the exception or what that is to be
    /// made of, and its traceback in place.
    fn fetch<'py>(
        kind: &mut Option<Bound<'py, PyAny>>,
        value: &mut Option<Bound<'py, PyAny>>,
        traceback: &mut Option<Bound<'py, PyAny>>
    ) = ffi::PyErr_Fetch: (kind, value, traceback);
    /// Make the exception, or another where that fails. What is no class of exceptions is left.
    fn normalize<'py>(
        kind: &mut Option<Bound<'py, PyAny>>,
        value: &mut Option<Bound<'py, PyAny>>,
        traceback: &mut Option<Bound<'py, PyAny>>
    ) = ffi::PyErr_NormalizeException: (kind, value, traceback);
    /// `callable(*args)`. What that raises stays in flight.
    fn call_or_raise<'py>(
        callable: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>
    ) -> Option<Bound<'py, PyAny>> = ffi::PyObject_Call: (callable, args, Null);
    /// `callable(*arguments)`. What that raises stays in flight.
    fn call_many_or_raise<'py>(
        callable: &Bound<'_, PyAny>,
        arguments: &[Bound<'_, PyAny>]
    ) -> Option<Bound<'py, PyAny>>
        = ffi::PyObject_Vectorcall: (callable, arguments, arguments.len(), Null);
}

#[cfg(Py_3_12)]
safe! {
    /// The exception in flight, taken out of flight.
    fn take_in_flight<'py>() -> Option<Raised<'py>> = ffi::PyErr_GetRaisedException: ();
    /// Put an exception in flight, or none.
    fn put_in_flight<'py>(exception: Option<Raised<'_>>)
        = ffi::PyErr_SetRaisedException: (exception);
}

#[cfg(not(Py_3_11))]
safe! {
    /// Put the class of the exception that is being handled in place, if there is any, itself and
    /// its traceback.
    fn get_handled_parts<'py>(
        kind: &mut Option<Bound<'py, PyAny>>,
        value: &mut Option<Bound<'py, PyAny>>,
        traceback: &mut Option<Bound<'py, PyAny>>
    ) = ffi::PyErr_GetExcInfo: (kind, value, traceback);
    /// Say which exception is being handled, if any, by its class, itself and its traceback.
    fn put_handled_parts<'py>(
        kind: Option<Bound<'_, PyType>>,
        exception: Option<Raised<'_>>,
        traceback: Option<Bound<'_, PyAny>>
    ) = ffi::PyErr_SetExcInfo: (kind, exception, traceback);
}

#[cfg(Py_3_11)]
safe! {
    /// The exception that is being handled, or `None`.
    fn get_handled<'py>() -> Option<Bound<'py, PyAny>> = ffi::PyErr_GetHandledException: ();
    /// Say which exception is being handled, if any.
    fn put_handled<'py>(exception: Option<&Raised<'_>>)
        = ffi::PyErr_SetHandledException: (exception);
}

unsafe extern "C" {
    /// A borrowed reference to what a type or its bases have under a name, or null, without an
    /// exception. Private, but exported by every CPython for the likes of Cython.
    fn _PyType_Lookup(kind: *mut ffi::PyTypeObject, name: *mut ffi::PyObject)
    -> *mut ffi::PyObject;
}
