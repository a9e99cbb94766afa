//! Functions of CPython's that are safe to call with whatever the types let through.
//!
//! CPython's documentation says what a function takes and gives. The table below says the same by
//! types, and each entry is to be checked against it: of which classes the arguments have to be,
//! which references are borrowed (`&Bound`) and which taken over (`Bound`), and what comes back.
//! What can be given to an entry must be safe to give: that is what makes it a safe function.

use std::ffi::{CStr, c_int};

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
#[cfg(not(Py_3_11))]
use pyo3::types::PyType;
use pyo3::types::{PyCode, PyDict, PyFrame, PyFunction, PyInt, PyList, PyString, PyTuple};

use super::answers::{Called, New, Status};
use super::arguments::Arguments;
use super::conversions::{Lent, Nothing, Null, safe};
use super::kinds::Kind;
use super::raised::Raised;

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
    /// The number that an int is, and in which direction that is out of reach, if it is: puts 0, -1
    /// or 1 in place. Nothing is raised, nor taken for raised.
    fn number_of<'py>(int: &Bound<'_, PyInt>, overflow: &mut c_int) -> i64
        = ffi::PyLong_AsLongLongAndOverflow: (int, overflow);
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
    /// How many calls it allows.
    fn recursion_limit<'py>() -> c_int = ffi::Py_GetRecursionLimit: ();
    /// The reverse of entering one.
    fn leave_recursion<'py>() = ffi::Py_LeaveRecursiveCall: ();

    // Exceptions.

    /// Report the exception in flight, if any, as what a finalizer raises.
    fn report_unraisable<'py>() = ffi::PyErr_WriteUnraisable: (Null);
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
    /// The same, to be used.
    fn in_class<'py>(class: Kind<'_>, name: &Bound<'_, PyString>) -> Lent<'py, PyAny>
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
    /// The number of this thread.
    fn this_thread<'py>() -> usize = ffi::PyThread_get_thread_ident: ();

    // Frames.

    /// The innermost frame of this thread.
    fn innermost_frame<'py>() -> Lent<'py, PyFrame> = ffi::PyEval_GetFrame: ();
    /// The frame that a frame was called from.
    fn outer_frame<'py>(frame: &Bound<'_, PyFrame>) -> Option<Bound<'py, PyFrame>>
        = ffi::PyFrame_GetBack: (frame);
    /// Its code.
    fn code_of_frame<'py>(frame: &Bound<'_, PyFrame>) -> Option<Bound<'py, PyCode>>
        = ffi::PyFrame_GetCode: (frame);
    /// The code of a function.
    fn code_of_function<'py>(function: &Bound<'_, PyFunction>) -> Lent<'py, PyCode>
        = ffi::PyFunction_GetCode: (function);
}

#[cfg(not(Py_3_11))]
safe! {
    /// In which line a frame is.
    fn line_of_frame<'py>(frame: &Bound<'_, PyFrame>) -> c_int
        = ffi::PyFrame_GetLineNumber: (frame);
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
    /// Before which instruction a frame is.
    fn instruction_of_frame<'py>(frame: &Bound<'_, PyFrame>) -> c_int
        = ffi::PyFrame_GetLasti: (frame);
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
