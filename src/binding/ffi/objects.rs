//! Our own types: how their objects are made, finalized and freed.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use pyo3::{Borrowed, PyTypeInfo};

use super::super::awaiting::Awaiting;
use super::super::deferred::Deferred;
use super::super::error::{Raise, Result};
use super::super::failure::{self, FailureBase, State};
use super::super::fifo::Fifo;
use super::super::functions;
use super::super::gather::{DeferredList, Race};
use super::super::generator::{Task, TaskCallback};
use super::super::interned::intern;
use super::super::outcome::Chain;
use super::super::report;
use super::super::sync::{DeferredLock, DeferredQueue, DeferredSemaphore, Locked, Primitive};
use super::super::timeout::Timeout;
use super::calls::{Sent, call_first_named};
use super::dying::Native;
#[cfg(not(Py_3_12))]
use super::exceptions::spare_one;
use super::exceptions::{restore, stop_iteration};
use super::getters::put_getters;
use super::held::{Held, Hold};
use super::inspect::{debugging, is_subtype, lookup};
use super::making::{Text, joined, made, new_dict, tuple_from};
use super::memory::{Class, bury, keep_dicts, new_exact, new_object, recycle, rely_on_base};
use super::methods::put_quick_forms;
use super::panics;

/// Name all classes of ours, whose objects must not free each other without end.
macro_rules! native {
    ($($class:ty),* $(,)?) => {
        $(
            impl Native for $class {
                #[inline(always)]
                fn class() -> &'static Class {
                    static CLASS: Class = Class::new();
                    &CLASS
                }
            }
        )*

        /// What is known of each class.
        pub(super) static CLASSES: &[fn() -> &'static Class] = &[$(<$class>::class),*];
    };
}

native!(
    Deferred,
    DeferredList,
    Awaiting,
    Task,
    TaskCallback,
    Primitive,
    DeferredLock,
    DeferredSemaphore,
    DeferredQueue,
    Locked,
    Fifo,
    Race,
    Timeout,
    FailureBase,
);

/// Make a Deferred.
#[inline(always)]
pub(in crate::binding) fn new_deferred(
    py: Python<'_>,
    chain: impl FnOnce() -> Chain,
) -> Result<Bound<'_, Deferred>> {
    new_exact(py, || Deferred::of(chain()))
}

/// Make what `await` iterates.
#[inline(always)]
pub(in crate::binding) fn new_awaiting<'py>(
    py: Python<'py>,
    deferred: Bound<'py, Deferred>,
) -> Result<Bound<'py, Awaiting>> {
    new_exact(py, || Awaiting::new(deferred))
}

/// Make what runs a generator.
#[inline(always)]
pub(in crate::binding) fn new_task<'py>(
    py: Python<'py>,
    task: impl FnOnce() -> Task,
) -> Result<Bound<'py, Task>> {
    new_exact(py, task)
}

/// `Deferred.__new__`: whatever the arguments, a Deferred that has not fired.
unsafe extern "C" fn deferred_new(
    kind: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls `tp_new` attached, with a subtype of the type it stands in.
    unsafe {
        let py = Python::assume_attached();
        panics::answering(py, || new_object(py, kind, || Deferred::of(Chain::new(None))))
    }
}

/// `DeferredList.__new__`: whatever the arguments, a list of nothing that has not fired.
unsafe extern "C" fn deferred_list_new(
    kind: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls `tp_new` attached, with a subtype of the type it stands in,
    // which is a subclass of `Deferred`. The part of the object that is `DeferredList`'s own is
    // zeroed memory, written before anything reads it, as for `Deferred`'s part.
    unsafe {
        let py = Python::assume_attached();
        panics::answering(py, || {
            let deferred = new_object(py, kind, || Deferred::of(Chain::new(None)))?;
            let list = deferred.into_any().cast_into_unchecked::<DeferredList>();
            ptr::from_ref(list.get()).cast_mut().write(DeferredList::empty());
            Ok(list)
        })
    }
}

/// `Deferred(canceller=None)` without the detour by `__new__` and `__init__`.
unsafe extern "C" fn deferred_vectorcall(
    kind: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this attached, with the type it stands in (it is not
    // inherited), `PyVectorcall_NARGS(nargsf)` positional arguments and one more for each name in
    // `kwnames`, all alive during the call.
    unsafe {
        let py = Python::assume_attached();
        let nargs = ffi::PyVectorcall_NARGS(nargsf);
        let plain = DEFERRED_INIT.is_in(kind.cast());
        if !plain || !kwnames.is_null() || nargs > 1 {
            return call_type_slowly(py, kind, args, nargs, kwnames);
        }
        let canceller = canceller_in(py, args, nargs);
        panics::answering(py, || functions::make(py, || Chain::new(canceller)))
    }
}

/// The only argument of a Deferred's class, if there is one, and it is not None.
///
/// # Safety
///
/// There are so many arguments, at most one.
unsafe fn canceller_in(
    py: Python<'_>,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
) -> Option<Held<PyAny>> {
    // SAFETY: the caller's promise.
    unsafe { (nargs == 1 && *args != ffi::Py_None()).then(|| held_at(py, args)) }
}

/// One more reference to what is in this place.
///
/// # Safety
///
/// There is an object.
unsafe fn held_at(py: Python<'_>, place: *const *mut ffi::PyObject) -> Held<PyAny> {
    // SAFETY: the caller's promise.
    unsafe { Bound::from_borrowed_ptr(py, *place).hold() }
}

/// The same for a subclass of `Deferred`: what `type.__call__` does, without a tuple of arguments.
unsafe extern "C" fn subclass_vectorcall(
    kind: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as for `deferred_vectorcall`, with a subclass of `Deferred`. What it has for an
    // `__init__` is held during the call, as it may change the class. A borrowed reference is one
    // pointer, as in the array of arguments, which may be null if there are none.
    unsafe {
        let py = Python::assume_attached();
        let nargs = ffi::PyVectorcall_NARGS(nargsf);
        let class = kind.cast::<ffi::PyTypeObject>();
        let slowly = || call_type_slowly(py, kind, args, nargs, kwnames);
        if !(*class).tp_new.is_some_and(|new| ptr::fn_addr_eq(new, deferred_new as ffi::newfunc)) {
            return slowly();
        }
        if DEFERRED_INIT.is_in(class) {
            if !kwnames.is_null() || nargs > 1 {
                return slowly();
            }
            let canceller = canceller_in(py, args, nargs);
            return panics::answering(py, || {
                let deferred = new_object(py, class, || Deferred::of(Chain::new(canceller)))?;
                if debugging(&deferred)? {
                    report::remember_creator(&deferred)?;
                }
                Ok(deferred)
            });
        }
        let bound = Borrowed::from_ptr(py, kind).cast_unchecked::<PyType>();
        let init = lookup(&bound, intern!(py, "__init__")) as *mut ffi::PyObject;
        if init.is_null() || ffi::Py_TYPE(init) != &raw mut ffi::PyFunction_Type {
            return slowly();
        }
        let init = Bound::from_borrowed_ptr(py, init);
        let names = Borrowed::from_ptr_or_opt(py, kwnames)
            .map(|names| names.cast_unchecked::<PyTuple>().to_owned());
        let count = nargs as usize + names.as_ref().map_or(0, |names| names.len());
        let args = if count == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(args.cast::<Borrowed<'_, '_, PyAny>>(), count)
        };
        panics::answering(py, || {
            let deferred = new_object(py, class, || Deferred::of(Chain::new(None)))?;
            let answer = call_first_named(&init, deferred.as_any(), args, names.as_ref())?;
            if !answer.is_none() {
                let kind = Text::Python(answer.get_type().name()?);
                let text =
                    [Text::Ours("__init__() should return None, not '"), kind, Text::Ours("'")];
                return Err(PyTypeError::error_saying(joined(py, text)));
            }
            Ok(deferred)
        })
    }
}

/// `Deferred.__init__`, as `super().__init__()` calls it.
unsafe extern "C" fn deferred_init(
    object: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> c_int {
    // SAFETY: the interpreter calls `tp_init` attached, with an instance of the type it stands in or
    // of a subtype, a tuple, and a dict or null.
    unsafe {
        let py = Python::assume_attached();
        let given = Borrowed::from_ptr(py, args).cast_unchecked::<PyTuple>();
        if !kwargs.is_null() || given.len() > 1 {
            return PYO3_INIT.get().map_or(-1, |init| init(object, args, kwargs));
        }
        let deferred = Borrowed::from_ptr(py, object).cast_unchecked::<Deferred>();
        let canceller = given.iter().next().filter(|canceller| !canceller.is_none());
        let work = || Ok(Deferred::__init__(&deferred, canceller)?);
        match panics::catching(py, work) {
            Ok(()) => 0,
            Err(error) => {
                restore(error.into_raised(py));
                -1
            }
        }
    }
}

/// PyO3's form of `Deferred.__init__`.
static PYO3_INIT: OnceLock<ffi::initproc> = OnceLock::new();

/// Put [`deferred_init`] in the place of PyO3's, in the slot and in what shows it in the class.
fn put_init(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<Deferred>();
    let shown = class.getattr("__dict__")?.get_item("__init__")?;
    // SAFETY: a type of ours, complete, and not yet visible to any other code. What shows a slot is of
    // the very type whose layout is read, and calls what it holds as it would the slot.
    unsafe {
        if shown.get_type_ptr() != &raw mut ffi::PyWrapperDescr_Type {
            return Err(PyTypeError::new_err("__init__ shows no slot"));
        }
        if let Some(init) = (*class.as_type_ptr()).tp_init
            && PYO3_INIT.set(init).is_ok()
        {
            (*class.as_type_ptr()).tp_init = Some(deferred_init);
            let shown = shown.as_ptr().cast::<ffi::PyWrapperDescrObject>();
            (*shown).d_wrapped = deferred_init as *mut c_void;
        }
    }
    Ok(())
}

/// Call a type as if it had no vectorcall.
///
/// # Safety
///
/// The arguments are a vectorcall's.
unsafe fn call_type_slowly(
    py: Python<'_>,
    kind: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    panics::answering(py, || {
        // SAFETY: the caller's promise: `nargs` arguments, then one for each name. Every metaclass
        // has `tp_call`, for a tuple and a dict.
        unsafe {
            let argument = |i| Bound::from_borrowed_ptr(py, *args.add(i));
            let positional = usize::try_from(nargs)?;
            let named = new_dict(py)?;
            if let Some(names) = Bound::from_borrowed_ptr_or_opt(py, kwnames) {
                for (i, name) in names.cast_into_unchecked::<PyTuple>().iter().enumerate() {
                    named.set_item(name, argument(positional + i))?;
                }
            }
            let positional = std::slice::from_raw_parts(args.cast(), positional);
            let positional = tuple_from(py, positional)?;
            let Some(call) = (*ffi::Py_TYPE(kind)).tp_call else {
                return Err(PyTypeError::error(py, "the class cannot be called"));
            };
            made(py, call(kind, positional.as_ptr(), named.as_ptr()))
        }
    })
}

/// `Failure(...)` without the detour by `__new__` and `__init__`.
unsafe extern "C" fn failure_vectorcall(
    kind: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this attached, with the type it stands in and a vectorcall's
    // arguments. A borrowed reference is one pointer, as in the array, which may be null if there
    // are none.
    unsafe {
        let py = Python::assume_attached();
        let nargs = ffi::PyVectorcall_NARGS(nargsf);
        if !FAILURE_INIT.is_in(kind.cast()) || !kwnames.is_null() || nargs > 4 {
            return call_type_slowly(py, kind, args, nargs, kwnames);
        }
        let args = if nargs == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(args.cast::<Borrowed<'_, '_, PyAny>>(), nargs as usize)
        };
        let kind = Bound::from_borrowed_ptr(py, kind).cast_into_unchecked::<PyType>();
        panics::answering(py, || failure::init_new(&kind, args))
    }
}

/// Have failures of this class, `deferrous.failure.Failure`, made quickly.
///
/// # Errors
///
/// `TypeError` if it is no class of failures.
pub(in crate::binding) fn quicken_failures(class: &Bound<'_, PyType>) -> Result<()> {
    if !is_subtype(class, &class.py().get_type::<FailureBase>()) {
        return Err(PyTypeError::error(class.py(), "not a class of failures"));
    }
    // SAFETY: a class of failures, alive. The function has the signature and keeps the contract of the
    // slot, which subclasses do not inherit.
    unsafe {
        (*class.as_type_ptr()).tp_vectorcall = Some(failure_vectorcall);
        ffi::PyType_Modified(class.as_type_ptr());
    }
    Ok(())
}

/// The finalizer of Deferreds: what the collector calls before it takes a cycle apart.
///
/// (A Deferred that dies by its last reference reports from `Drop`.)
unsafe extern "C" fn deferred_finalize(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls `tp_finalize` attached, with an instance of the type it
    // stands in or of a subtype.
    unsafe {
        let py = Python::assume_attached();
        let deferred = Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Deferred>();
        panics::reporting(py, || report::finalize(&deferred));
    }
}

/// Make a failure of this class with this state: what `__new__` and `__init__` do together.
///
/// # Errors
///
/// `TypeError` if it is no class of failures: a program can have it be anything.
pub(in crate::binding) fn new_failure<'py>(
    kind: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
    state: State,
) -> Result<Bound<'py, FailureBase>> {
    let py = kind.py();
    if !is_failure_class(kind) {
        return Err(PyTypeError::error(py, "Failure is not a class of failures"));
    }
    // SAFETY: `BaseException` has `tp_new`; it allocates an instance of the subtype it is given,
    // and keeps the tuple. The class is a subclass of `FailureBase`, as was seen. The part of the
    // object that is `FailureBase`'s is zeroed memory, which is a valid state that owns nothing, so
    // it may be overwritten.
    unsafe {
        let Some(new) = (*ffi::PyExc_BaseException.cast::<ffi::PyTypeObject>()).tp_new else {
            return Err(PyTypeError::error(py, "cannot create 'BaseException' instances"));
        };
        let object = new(kind.as_type_ptr(), args.as_ptr(), ptr::null_mut());
        let failure = made(py, object)?.cast_into_unchecked::<FailureBase>();
        ptr::from_ref(failure.get()).cast_mut().write(FailureBase::of(state));
        Ok(failure)
    }
}

/// Whether a class is one of failures. Most often it is the one whose `__init__` is ours.
#[inline]
fn is_failure_class(kind: &Bound<'_, PyType>) -> bool {
    makes_failures_plainly(kind) || is_subtype(kind, &kind.py().get_type::<FailureBase>())
}

/// Whether making failures of this class by [`new_failure`] is what calling it would do.
///
/// Not where a program has replaced `Failure.__init__`, as `startDebugMode` does.
pub(in crate::binding) fn makes_failures_plainly(kind: &Bound<'_, PyType>) -> bool {
    // SAFETY: a type object, alive.
    unsafe { FAILURE_INIT.is_in(kind.as_type_ptr()) }
}

/// What a class with a `__del__` has for a finalizer: CPython's own function that calls it.
static CALL_DEL: AtomicUsize = AtomicUsize::new(0);

/// The finalizer of subclasses that have a `__del__` as well.
unsafe extern "C" fn finalize_and_del(object: *mut ffi::PyObject) {
    // SAFETY: as for `deferred_finalize`. `CALL_DEL` was set before this stood in any slot, to a
    // function that stood in one.
    unsafe {
        deferred_finalize(object);
        let call_del =
            std::mem::transmute::<usize, Option<ffi::destructor>>(CALL_DEL.load(Ordering::Relaxed));
        if let Some(call_del) = call_del {
            call_del(object);
        }
    }
}

/// Give a new subclass of `Deferred` its finalizer.
///
/// CPython lets a class inherit it only together with a `__del__`, which `Deferred` has not.
pub(in crate::binding) fn inherit_finalizer(class: &Bound<'_, PyType>) {
    let ours = deferred_finalize as unsafe extern "C" fn(*mut ffi::PyObject) as usize;
    let both = finalize_and_del as unsafe extern "C" fn(*mut ffi::PyObject) as usize;
    // SAFETY: a type object, alive, which is being made: it has no instances yet. What its slot
    // holds, if anything, is CPython's function that looks `__del__` up and calls it, the same for
    // all classes.
    unsafe {
        let kind = class.as_type_ptr();
        if (*kind).tp_new.is_some_and(|new| ptr::fn_addr_eq(new, deferred_new as ffi::newfunc)) {
            (*kind).tp_vectorcall = Some(subclass_vectorcall);
        }
        match (*kind).tp_finalize {
            None => (*kind).tp_finalize = Some(deferred_finalize),
            Some(other) if other as usize != ours && other as usize != both => {
                CALL_DEL.store(other as usize, Ordering::Relaxed);
                (*kind).tp_finalize = Some(finalize_and_del);
            }
            Some(_) => {}
        }
    }
}

/// What stood in the `tp_init` slots of our types when the module was made.
static DEFERRED_INIT: InitSlot = InitSlot(AtomicUsize::new(0));
static FAILURE_INIT: InitSlot = InitSlot(AtomicUsize::new(0));

/// A slot's content, to be recognised and not to be called.
struct InitSlot(AtomicUsize);

impl InitSlot {
    /// # Safety
    ///
    /// `kind` is a type object, alive.
    unsafe fn read(kind: *mut ffi::PyTypeObject) -> usize {
        // SAFETY: the caller's promise.
        unsafe { (*kind).tp_init }.map_or(0, |init| init as usize)
    }

    /// # Safety
    ///
    /// As for `read`.
    unsafe fn remember(&self, kind: *mut ffi::PyTypeObject) {
        // SAFETY: the caller's promise.
        self.0.store(unsafe { Self::read(kind) }, Ordering::Relaxed);
    }

    /// Whether nobody has replaced `__init__` since.
    ///
    /// # Safety
    ///
    /// As for `read`.
    unsafe fn is_in(&self, kind: *mut ffi::PyTypeObject) -> bool {
        // SAFETY: the caller's promise.
        self.0.load(Ordering::Relaxed) == unsafe { Self::read(kind) }
    }
}

/// `Deferred.__iter__` and `Deferred.__await__`
unsafe extern "C" fn deferred_await(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls `tp_iter` and `am_await` attached, with an instance of the
    // type they stand in or of a subtype.
    unsafe {
        let py = Python::assume_attached();
        let deferred = Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Deferred>();
        panics::answering(py, || new_awaiting(py, deferred))
    }
}

/// `Awaiting.send`, as the interpreter itself calls it.
unsafe extern "C" fn awaiting_send(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: called attached, with an instance of `Awaiting`, which has no subclasses, and a
    // valid place for the result.
    unsafe {
        let py = Python::assume_attached();
        let awaiting = Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Awaiting>();
        match panics::catching_sent(py, || Awaiting::step(&awaiting)) {
            Sent::Yielded(object) => {
                result.write(object.into_ptr());
                ffi::PySendResult::PYGEN_NEXT
            }
            Sent::Returned(object) => {
                result.write(object.into_ptr());
                ffi::PySendResult::PYGEN_RETURN
            }
            Sent::Raised(raised) => {
                result.write(ptr::null_mut());
                restore(raised);
                ffi::PySendResult::PYGEN_ERROR
            }
        }
    }
}

/// `next(awaiting)`, as the interpreter itself calls it to resume with None, from CPython 3.12 on.
unsafe extern "C" fn awaiting_next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called attached, with an instance of `Awaiting`, which has no subclasses.
    unsafe {
        let py = Python::assume_attached();
        let awaiting = Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Awaiting>();
        match panics::catching_sent(py, || Awaiting::step(&awaiting)) {
            Sent::Yielded(object) => return object.into_ptr(),
            // Without an exception, that says as much.
            Sent::Returned(object) if object.is_none() => {}
            Sent::Returned(object) => stop_iteration(object),
            Sent::Raised(raised) => restore(raised),
        }
        ptr::null_mut()
    }
}

/// Fill the slots. Called once, when the module is made, before anyone can have subclassed.
pub(in crate::binding) fn fill_slots(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let deferred = Deferred::type_object_raw(py);
    let list = DeferredList::type_object_raw(py);
    let failure = FailureBase::type_object_raw(py);
    let awaiting = Awaiting::type_object_raw(py);
    #[cfg(not(Py_3_12))]
    spare_one(py)?;
    put_init(py)?;
    // SAFETY: the four are heap types of ours, complete, alive for good and not yet visible to
    // any other code. The functions have the signatures and keep the contracts of their slots.
    // A heap type has a place of its own for its asynchronous slots. `PyType_Modified` tells the
    // interpreter's caches.
    unsafe {
        DEFERRED_INIT.remember(deferred);
        FAILURE_INIT.remember(failure);
        (*deferred).tp_new = Some(deferred_new);
        (*deferred).tp_vectorcall = Some(deferred_vectorcall);
        (*deferred).tp_finalize = Some(deferred_finalize);
        (*deferred).tp_iter = Some(deferred_await);
        if let Some(slots) = (*deferred).tp_as_async.as_mut() {
            slots.am_await = Some(deferred_await);
        }
        recycle::<Deferred>(py);
        recycle::<Awaiting>(py);
        recycle::<Task>(py);
        bury::<DeferredList>(py);
        bury::<TaskCallback>(py);
        bury::<Primitive>(py);
        bury::<DeferredLock>(py);
        bury::<DeferredSemaphore>(py);
        bury::<DeferredQueue>(py);
        bury::<Locked>(py);
        bury::<Fifo>(py);
        bury::<Race>(py);
        bury::<Timeout>(py);
        bury::<FailureBase>(py);
        let locks = [DeferredLock::type_object_raw(py), DeferredSemaphore::type_object_raw(py)];
        keep_dicts::<Deferred>(py, &[list]);
        keep_dicts::<Primitive>(py, &locks);
        keep_dicts::<DeferredQueue>(py, &[]);
        rely_on_base::<DeferredList, Deferred>(py);
        rely_on_base::<DeferredLock, Primitive>(py);
        rely_on_base::<DeferredSemaphore, Primitive>(py);
        (*list).tp_new = Some(deferred_list_new);
        (*list).tp_finalize = Some(deferred_finalize);
        // Ours would do no more, and pickles of Twisted's failures call `BaseException.__new__`,
        // which refuses classes that have another.
        (*failure).tp_new = (*ffi::PyExc_BaseException.cast::<ffi::PyTypeObject>()).tp_new;
        if let Some(slots) = (*awaiting).tp_as_async.as_mut() {
            slots.am_send = Some(awaiting_send);
        }
        (*awaiting).tp_iternext = Some(awaiting_next);
        ffi::PyType_Modified(deferred);
        ffi::PyType_Modified(list);
        ffi::PyType_Modified(failure);
        ffi::PyType_Modified(awaiting);
    }
    put_getters(py)?;
    put_quick_forms(module)
}
