//! CPython functions that are safe to call with any arguments of the declared types.
//!
//! The table states for each function what CPython's documentation says: which classes the
//! arguments must belong to, which references are borrowed (`&Bound`) and which are taken over
//! (`Bound`), and what is returned. Each entry must be checked against the documentation. An entry
//! is a safe function, so it must be safe for everything that its types allow.

use std::ffi::{CStr, c_int};

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
#[cfg(not(Py_3_11))]
use pyo3::types::PyType;
use pyo3::types::{
    PyCode, PyDict, PyFrame, PyFunction, PyInt, PyList, PyString, PyTuple, PyWeakrefReference,
};

use super::answers::{Called, New, Status};
use super::arguments::Arguments;
use super::conversions::{Lent, Nothing, Null, safe};
use super::kinds::Kind;
use super::raised::Raised;

safe! {
    // Objects of built-in classes. PyO3's own functions for them panic if memory has run out.

    /// `{}`
    fn new_dict<'py>() -> New<'py, PyDict> = ffi::PyDict_New: ();
    /// `[]`
    fn new_list<'py>() -> New<'py, PyList> = ffi::PyList_New: (0_isize);
    /// `list(items)`
    fn list_of<'py>(items: &Bound<'_, PyAny>) -> New<'py, PyList> = ffi::PySequence_List: (items);
    /// `list(dict)`
    fn keys_of<'py>(dict: &Bound<'_, PyDict>) -> New<'py, PyList> = ffi::PyDict_Keys: (dict);
    /// `tuple(items)`
    fn tuple_of_list<'py>(items: &Bound<'_, PyList>) -> New<'py, PyTuple>
        = ffi::PyList_AsTuple: (items);
    /// `items * count`
    fn repeated<'py>(items: &Bound<'_, PyList>, count: isize) -> New<'py, PyAny>
        = ffi::PySequence_Repeat: (items, count);
    /// `items[start:end]`, within bounds.
    fn slice_of<'py>(items: &Bound<'_, PyTuple>, start: isize, end: isize) -> New<'py, PyTuple>
        = ffi::PyTuple_GetSlice: (items, start, end);
    /// Replace a string by its interned copy.
    fn intern<'py>(text: &mut Bound<'_, PyString>) = ffi::PyUnicode_InternInPlace: (text);
    /// A signed number.
    fn new_signed_int<'py>(number: i64) -> New<'py, PyAny> = ffi::PyLong_FromLongLong: (number);
    /// The value of an int. Sets `overflow` to 0, or to -1 or 1 if the int is too small or too
    /// large. Raises nothing, and ignores an exception in flight.
    fn number_of<'py>(int: &Bound<'_, PyInt>, overflow: &mut c_int) -> i64
        = ffi::PyLong_AsLongLongAndOverflow: (int, overflow);
    /// An unsigned number.
    fn new_int<'py>(number: u64) -> New<'py, PyAny> = ffi::PyLong_FromUnsignedLongLong: (number);

    // Calls. PyO3's own functions are not used: if there is no memory, CPython 3.11 may return null
    // without setting an exception, and PyO3 panics then.

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
    /// `generator.send(value)`, without the `StopIteration` when it returns: stores what it yields
    /// or returns. If it raises, None is stored and the exception is in flight.
    fn send_to<'py>(
        generator: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        result: &mut Option<Bound<'py, PyAny>>
    ) -> ffi::PySendResult = ffi::PyIter_Send: (generator, value, result);
    /// A copy of the current context.
    fn copy_context<'py>() -> New<'py, PyAny> = ffi::PyContext_CopyCurrent: ();
    /// Enter a context. CPython refuses what is not a context or has been entered already.
    fn enter_context<'py>(context: &Bound<'_, PyAny>) -> Status<'py>
        = ffi::PyContext_Enter: (context);
    /// Leave a context. CPython refuses one that is not current.
    fn exit_context<'py>(context: &Bound<'_, PyAny>) -> Status<'py>
        = ffi::PyContext_Exit: (context);

    /// Count one more call toward the recursion limit. `text` is the end of the error message. True
    /// if it was one too many; then the `RecursionError` is in flight.
    fn enter_recursion<'py>(text: &CStr) -> bool = ffi::Py_EnterRecursiveCall: (text);
    /// The recursion limit.
    fn recursion_limit<'py>() -> c_int = ffi::Py_GetRecursionLimit: ();
    /// Undo `enter_recursion`.
    fn leave_recursion<'py>() = ffi::Py_LeaveRecursiveCall: ();

    // Exceptions.

    /// Report the exception in flight, if any, through `sys.unraisablehook`.
    fn report_unraisable<'py>() = ffi::PyErr_WriteUnraisable: (Null);
    /// Set a traceback, None for none. CPython refuses anything else.
    fn put_traceback<'py>(
        exception: &Raised<'_>,
        traceback: &Bound<'_, PyAny>
    ) -> Status<'py> = ffi::PyException_SetTraceback: (exception, traceback);
    /// The instance dict of an object that has a slot for one. It is made if there is none.
    fn dict_of<'py>(object: &Bound<'_, PyAny>) -> New<'py, PyDict>
        = ffi::PyObject_GenericGetDict: (object, Nothing);
    /// Replace the instance dict. CPython refuses what is not a dict.
    fn put_dict<'py>(object: &Bound<'_, PyAny>, dict: &Bound<'_, PyAny>) -> Status<'py>
        = ffi::PyObject_GenericSetDict: (object, dict, Nothing);

    /// A weak reference to an object. Raises an exception if its class does not support them.
    fn new_weak_reference<'py>(object: &Bound<'_, PyAny>) -> New<'py, PyWeakrefReference>
        = ffi::PyWeakref_NewRef: (object, Null);
    /// An object's attribute, as `object.__getattribute__` finds it, even if the class overrides that.
    fn usual_attribute<'py>(
        object: &Bound<'_, PyAny>,
        name: &Bound<'_, PyString>
    ) -> Called<'py> = ffi::PyObject_GenericGetAttr: (object, name);

    // Inspection.

    /// The reference count.
    fn references<'py>(object: &Bound<'_, PyAny>) -> isize = ffi::Py_REFCNT: (object);
    /// Whether a class is another one or derives from it, going by the MRO and not by metaclasses.
    fn comes_after<'py>(class: Kind<'_>, other: Kind<'_>) -> bool
        = ffi::PyType_IsSubtype: (class, other);
    /// The address of what a class or its bases have under a name.
    fn address_in_class<'py>(class: Kind<'_>, name: &Bound<'_, PyString>) -> usize
        = _PyType_Lookup: (class, name);
    /// The address of a dict's value. 0 if there is none or an exception is in flight.
    fn address_in_dict<'py>(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> usize
        = ffi::PyDict_GetItemWithError: (dict, key);
    /// Whether a dict has a key: 1 if so.
    fn has_key<'py>(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> Status<'py>
        = ffi::PyDict_Contains: (dict, key);
    /// Whether an object is a native coroutine, as `async def` makes.
    fn is_exact_coroutine<'py>(object: &Bound<'_, PyAny>) -> bool
        = ffi::PyCoro_CheckExact: (object);
    /// `isinstance(object, class)`, ignoring `__class__` and metaclasses.
    fn is_of<'py>(object: &Bound<'_, PyAny>, class: Kind<'_>) -> bool
        = ffi::PyObject_TypeCheck: (object, class);
    /// Whether an object is a generator.
    fn is_exact_generator<'py>(object: &Bound<'_, PyAny>) -> bool
        = ffi::PyGen_CheckExact: (object);
    /// The identifier of this thread.
    fn this_thread<'py>() -> usize = ffi::PyThread_get_thread_ident: ();

    // Frames.

    /// The innermost frame of this thread.
    fn innermost_frame<'py>() -> Lent<'py, PyFrame> = ffi::PyEval_GetFrame: ();
    /// The caller of a frame.
    fn outer_frame<'py>(frame: &Bound<'_, PyFrame>) -> Option<Bound<'py, PyFrame>>
        = ffi::PyFrame_GetBack: (frame);
    /// The code object of a frame.
    fn code_of_frame<'py>(frame: &Bound<'_, PyFrame>) -> Option<Bound<'py, PyCode>>
        = ffi::PyFrame_GetCode: (frame);
    /// The code object of a function.
    fn code_of_function<'py>(function: &Bound<'_, PyFunction>) -> Lent<'py, PyCode>
        = ffi::PyFunction_GetCode: (function);
}

#[cfg(not(Py_3_11))]
safe! {
    /// The current line of a frame.
    fn line_of_frame<'py>(frame: &Bound<'_, PyFrame>) -> c_int
        = ffi::PyFrame_GetLineNumber: (frame);
    /// The exception being handled, as three parts: its class, itself and its traceback.
    fn get_handled_parts<'py>(
        kind: &mut Option<Bound<'py, PyAny>>,
        value: &mut Option<Bound<'py, PyAny>>,
        traceback: &mut Option<Bound<'py, PyAny>>
    ) = ffi::PyErr_GetExcInfo: (kind, value, traceback);
    /// Set the exception being handled, from its parts.
    fn put_handled_parts<'py>(
        kind: Option<Bound<'_, PyType>>,
        exception: Option<Raised<'_>>,
        traceback: Option<Bound<'_, PyAny>>
    ) = ffi::PyErr_SetExcInfo: (kind, exception, traceback);
}

#[cfg(Py_3_11)]
safe! {
    /// The current instruction of a frame.
    fn instruction_of_frame<'py>(frame: &Bound<'_, PyFrame>) -> c_int
        = ffi::PyFrame_GetLasti: (frame);
    /// The exception that is being handled, or `None`.
    fn get_handled<'py>() -> Option<Bound<'py, PyAny>> = ffi::PyErr_GetHandledException: ();
    /// Set or clear the exception being handled.
    fn put_handled<'py>(exception: Option<&Raised<'_>>)
        = ffi::PyErr_SetHandledException: (exception);
}

#[cfg(not(Py_GIL_DISABLED))]
safe! {
    /// What a class or its bases have under a name.
    fn in_class<'py>(class: Kind<'_>, name: &Bound<'_, PyString>) -> Lent<'py, PyAny>
        = _PyType_Lookup: (class, name);
}

// Without the GIL, another thread can replace it before a borrowed reference is counted.
#[cfg(Py_GIL_DISABLED)]
safe! {
    /// What a class or its bases have under a name.
    fn in_class<'py>(class: Kind<'_>, name: &Bound<'_, PyString>) -> Option<Bound<'py, PyAny>>
        = _PyType_LookupRef: (class, name);
    /// Have the interpreter's references to a new object not counted, as those to functions: threads
    /// would wait for each other to count them. Returns whether it does so now.
    fn defer_references<'py>(object: &Bound<'_, PyAny>) -> bool
        = PyUnstable_Object_EnableDeferredRefcount: (object);
    /// Set an object's attribute, as `object.__setattr__` does, even if the class overrides that.
    fn set_usual_attribute<'py>(
        object: &Bound<'_, PyAny>,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>
    ) -> Status<'py> = ffi::PyObject_GenericSetAttr: (object, name, value);
}

#[cfg(not(any(Py_3_14, Py_GIL_DISABLED)))]
safe! {
    /// The address of the object behind a weak reference, or of `None`.
    #[allow(deprecated, reason = "its replacement, in 3.13, makes a reference")]
    fn referent<'py>(weak: &Bound<'_, PyWeakrefReference>) -> usize
        = ffi::PyWeakref_GetObject: (weak);
    /// The address of a dict's next value. `place` is where to begin, 0 at first, and is advanced.
    /// False if there are no more. If the dict changes in between, values are missed.
    fn next_value<'py>(dict: &Bound<'_, PyDict>, place: &mut isize, value: &mut usize) -> bool
        = ffi::PyDict_Next: (dict, place, Null, value);
}

unsafe extern "C" {
    /// A borrowed reference to what a type or its bases have under a name, or null, without an
    /// exception. Private, but exported by every CPython for extensions such as Cython's.
    fn _PyType_Lookup(kind: *mut ffi::PyTypeObject, name: *mut ffi::PyObject)
    -> *mut ffi::PyObject;

    /// The same, with a new reference.
    #[cfg(Py_GIL_DISABLED)]
    fn PyUnstable_Object_EnableDeferredRefcount(object: *mut ffi::PyObject) -> c_int;
    #[cfg(Py_GIL_DISABLED)]
    fn _PyType_LookupRef(
        kind: *mut ffi::PyTypeObject,
        name: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}
