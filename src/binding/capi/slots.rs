//! The type slots that we set, with exact Rust types for their functions.

use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, transmute};

use pyo3::Borrowed;
use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::classes::{Native, Subclass};
use super::dying::Dead;
use super::kinds::Kind;
use super::safe;

/// The functions in slots of a type, for its objects or for its subclasses.
pub(super) type New<'a, 'py, T> = extern "C" fn(
    Subclass<'a, 'py, T>,
    *mut ffi::PyObject,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;
type Vectorcall<'a, 'py, T> = unsafe extern "C" fn(
    Subclass<'a, 'py, T>,
    *const *mut ffi::PyObject,
    usize,
    Option<Borrowed<'a, 'py, PyTuple>>,
) -> *mut ffi::PyObject;
pub(super) type Init<'a, 'py, T> = extern "C" fn(
    Borrowed<'a, 'py, T>,
    Borrowed<'a, 'py, PyTuple>,
    Option<Borrowed<'a, 'py, PyDict>>,
) -> c_int;
type Traverse<'a, T> =
    unsafe extern "C" fn(Borrowed<'a, 'a, T>, ffi::visitproc, *mut c_void) -> c_int;
type Deallocator<'a, T> = extern "C" fn(Dead<'a, T>);
type Clearer<'a, T> = extern "C" fn(Borrowed<'a, 'a, T>) -> c_int;
type Finalizer<'a, T> = extern "C" fn(Borrowed<'a, 'a, T>);
type Unary<'a, T> = extern "C" fn(Borrowed<'a, 'a, T>) -> *mut ffi::PyObject;
type SendTo<'a, T> = extern "C" fn(
    Borrowed<'a, 'a, T>,
    *mut ffi::PyObject,
    &'a mut MaybeUninit<*mut ffi::PyObject>,
) -> ffi::PySendResult;

/// Something to put into a slot of `T` or of a subclass.
pub(super) enum Slot<T: 'static> {
    /// `__new__`
    New(New<'static, 'static, T>),
    /// `BaseException.__new__`: `T` is an exception class, and the fields that it adds are valid
    /// when zeroed.
    NewOfExceptions,
    /// `tp_vectorcall`. Subclasses do not inherit it.
    Vectorcall(Vectorcall<'static, 'static, T>),
    /// `__init__`
    Init(Init<'static, 'static, T>),
    /// `tp_dealloc`
    Dealloc(Deallocator<'static, T>),
    /// `tp_traverse` and `tp_clear`
    Traverse(Traverse<'static, T>),
    Clear(Clearer<'static, T>),
    Finalize(Finalizer<'static, T>),
    Iterate(Unary<'static, T>),
    Await(Unary<'static, T>),
    Send(SendTo<'static, T>),
    Next(Unary<'static, T>),
}

/// Set a slot of a class. Does nothing if the class does not derive from `T`.
pub(super) fn fill<T: Native>(py: Python<'_>, class: Kind<'_>, slot: Slot<T>) {
    if !safe::comes_after(py, class, Kind::of::<T>(py)) {
        return;
    }
    let (kind, exceptions) = (class.as_ptr(), Kind::of::<PyBaseException>(py));
    // SAFETY: a type object, alive, and no code of Python's runs meanwhile. The interpreter calls
    // what is put there attached, and as the slot's function says: with an object of the class or a
    // subclass, and so of `T`, or with such a class, and with what else its type says, where a
    // borrowed reference is one pointer, and null is none. A vectorcall's is not inherited by
    // subclasses. A heap type has a place of its own for its asynchronous slots.
    // `PyType_Modified` tells the interpreter's caches.
    unsafe {
        match slot {
            Slot::New(new) => {
                (*kind).tp_new = Some(transmute::<New<'_, '_, T>, ffi::newfunc>(new));
            }
            Slot::Vectorcall(call) => {
                let call = transmute::<Vectorcall<'_, '_, T>, ffi::vectorcallfunc>(call);
                (*kind).tp_vectorcall = Some(call);
            }
            Slot::NewOfExceptions if !safe::comes_after(py, class, exceptions) => {}
            Slot::NewOfExceptions => (*kind).tp_new = exceptions.slots(py).new,
            Slot::Init(init) => {
                (*kind).tp_init = Some(transmute::<Init<'_, '_, T>, ffi::initproc>(init));
            }
            Slot::Dealloc(dealloc) => {
                let dealloc = transmute::<Deallocator<'_, T>, ffi::destructor>(dealloc);
                (*kind).tp_dealloc = Some(dealloc);
            }
            Slot::Traverse(traverse) => {
                let traverse = transmute::<Traverse<'_, T>, ffi::traverseproc>(traverse);
                (*kind).tp_traverse = Some(traverse);
            }
            Slot::Clear(clear) => {
                (*kind).tp_clear = Some(transmute::<Clearer<'_, T>, ffi::inquiry>(clear));
            }
            Slot::Finalize(finalize) => {
                let finalize = transmute::<Finalizer<'_, T>, ffi::destructor>(finalize);
                (*kind).tp_finalize = Some(finalize);
            }
            Slot::Iterate(iterate) => {
                (*kind).tp_iter = Some(transmute::<Unary<'_, T>, ffi::unaryfunc>(iterate));
            }
            Slot::Await(awaited) => {
                if let Some(slots) = (*kind).tp_as_async.as_mut() {
                    slots.am_await = Some(transmute::<Unary<'_, T>, ffi::unaryfunc>(awaited));
                }
            }
            Slot::Send(send) => {
                if let Some(slots) = (*kind).tp_as_async.as_mut() {
                    slots.am_send = Some(transmute::<SendTo<'_, T>, ffi::sendfunc>(send));
                }
            }
            Slot::Next(next) => {
                (*kind).tp_iternext = Some(transmute::<Unary<'_, T>, ffi::unaryfunc>(next));
            }
        }
        ffi::PyType_Modified(kind);
    }
}
