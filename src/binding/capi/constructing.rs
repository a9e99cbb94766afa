//! Slots that make objects, `tp_new`, `tp_init` and `tp_vectorcall`, where PyO3's are much slower.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyClass};
use smallvec::SmallVec;

use super::allocating::{self, ZeroIsEmpty, new_object};
use super::arguments::{Arguments, Entry, enter};
use super::calls::call_first_named;
use super::classes::{Native, Plain, Subclass};
use super::conversions::FromC;
use super::error::{Raise, Result};
use super::in_flight::restore;
use super::inspect::python_function_of;
use super::interned::intern;
use super::kinds::Kind;
use super::making::{Text, joined};
use super::panics;
use super::pools::Recycled;
use super::slots::{Init, New, Slot, fill};

/// A class whose `__new__` ignores its arguments.
pub(crate) trait Fresh {
    /// The value of a new object.
    fn fresh() -> Self;
}

/// `tp_new`
extern "C" fn new<T: Fresh + Recycled>(
    class: Subclass<'_, '_, T>,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    panics::answering(class.py(), || new_object(class, T::fresh))
}

/// `tp_new` of a class that derives from another class of ours.
extern "C" fn new_derived<T>(
    class: Subclass<'_, '_, T>,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: Fresh + PyClass<Frozen = True> + Sync,
    T::BaseType: Fresh + Recycled,
{
    panics::answering(class.py(), || allocating::new_derived(class, T::BaseType::fresh, T::fresh))
}

/// A class whose objects can be made without going through `__new__` and `__init__`.
pub(crate) trait Construct: Plain {
    /// Make an object. None to do it the usual way, for instance if `class` is not plain.
    fn construct<'py>(
        class: &Bound<'py, PyType>,
        arguments: &[Bound<'py, PyAny>],
    ) -> Option<Result<Bound<'py, PyAny>>>;

    /// The names of the parameters. Each has the default None, or is refused by `construct` if it
    /// is None.
    fn parameters(_py: Python<'_>) -> [Option<&Bound<'_, PyString>>; MOST] {
        [None; MOST]
    }
}

/// How many parameters there are at most.
const MOST: usize = 2;

/// Arguments in the order of the parameters.
type InOrder<'py> = SmallVec<[Bound<'py, PyAny>; MOST]>;

/// Put arguments, some of them by keyword, in order. None to do it the usual way, as if one is given
/// twice.
#[inline(never)]
fn in_order<'py>(
    arguments: &[Bound<'py, PyAny>],
    names: &Bound<'py, PyTuple>,
    parameters: [Option<&Bound<'py, PyString>>; MOST],
) -> Option<InOrder<'py>> {
    let py = names.py();
    let (by_position, by_name) = arguments.split_at_checked(arguments.len() - names.len())?;
    let mut given = [const { None }; MOST];
    for (i, argument) in by_position.iter().enumerate() {
        *given.get_mut(i)? = Some(argument);
    }
    for (name, argument) in names.iter_borrowed().zip(by_name) {
        let is_it = |parameter: &Option<&Bound<'py, PyString>>| {
            parameter.is_some_and(|parameter| name.is(parameter))
        };
        let place = parameters.iter().position(is_it)?;
        if given[place].replace(argument).is_some() {
            return None;
        }
    }
    let count = given.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let or_none = |argument: &Option<&Bound<'py, PyAny>>| {
        argument.map_or_else(|| py.None().into_bound(py), Clone::clone)
    };
    Some(given[..count].iter().map(or_none).collect())
}

/// How `C` or a subclass of it is called: one of the two below.
trait Call<C> {
    /// Make an object. None to do it the usual way.
    fn call<'py>(
        class: Subclass<'_, 'py, C>,
        arguments: Arguments<'_, 'py>,
    ) -> Option<Result<Bound<'py, PyAny>>>;
}

/// For the class itself.
struct Itself;

impl<C: Construct> Call<C> for Itself {
    #[inline(always)]
    fn call<'py>(
        class: Subclass<'_, 'py, C>,
        arguments: Arguments<'_, 'py>,
    ) -> Option<Result<Bound<'py, PyAny>>> {
        let Some(names) = arguments.names() else {
            return C::construct(class.as_type(), arguments.all());
        };
        let parameters = C::parameters(class.py());
        C::construct(class.as_type(), &in_order(arguments.all(), &names, parameters)?)
    }
}

/// For a subclass.
struct Derived;

impl<C: ConstructSub> Call<C> for Derived {
    #[inline(always)]
    fn call<'py>(
        class: Subclass<'_, 'py, C>,
        arguments: Arguments<'_, 'py>,
    ) -> Option<Result<Bound<'py, PyAny>>> {
        make_sub(class, arguments).transpose().map(|made| made.map(Bound::into_any))
    }
}

/// `tp_vectorcall`, which subclasses do not inherit. It replaces `type.__call__`.
struct Called<C, K>(PhantomData<(C, K)>);

impl<'py, C: 'static, K: Call<C> + 'static> Entry<'py> for Called<C, K> {
    type On<'a>
        = Subclass<'a, 'py, C>
    where
        'py: 'a;
    const HAS_FLAG: bool = true;

    #[inline(always)]
    fn enter<'a>(class: Self::On<'a>, arguments: Arguments<'a, 'py>) -> *mut ffi::PyObject
    where
        'py: 'a,
    {
        panics::answering(class.py(), || match K::call(class, arguments) {
            Some(made) => made,
            None => call_type_slowly(class.as_type(), arguments.all(), arguments.names()),
        })
    }
}

/// Call a type as if it had no `tp_vectorcall`.
///
/// The parts of the arguments come one by one, so that they can stay in registers on the way here.
#[cold]
fn call_type_slowly<'py>(
    class: &Bound<'py, PyType>,
    all: &[Bound<'py, PyAny>],
    names: Option<Borrowed<'_, 'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>> {
    let arguments = Arguments { all, names };
    let (py, class) = (class.py(), class.as_ptr());
    let (positional, named) = (arguments.as_tuple(py)?, arguments.by_keyword(py)?);
    // SAFETY: attached; an object, and so its type, alive. `tp_call` takes a tuple and a dict; a
    // new reference comes, or null with an exception in flight.
    unsafe {
        let Some(call) = (*ffi::Py_TYPE(class)).tp_call else {
            return Err(PyTypeError::error(py, "the class cannot be called"));
        };
        FromC::from_c(py, call(class, positional.as_ptr(), named.as_ptr()))
    }
}

/// A class whose subclasses, too, can be called without making a tuple of the arguments.
pub(crate) trait ConstructSub: Construct + Fresh + Recycled {
    /// The value of an object that is made with these arguments, if `__init__` is ours. None to do
    /// it the usual way.
    fn of_arguments(arguments: &[Bound<'_, PyAny>]) -> Option<Self>;

    /// Called for each object that was made so.
    ///
    /// # Errors
    ///
    /// The call raises the error instead of returning the object.
    fn made(object: &Bound<'_, Self>) -> Result<()>;
}

#[inline(always)]
fn make_sub<'py, C: ConstructSub>(
    class: Subclass<'_, 'py, C>,
    arguments: Arguments<'_, 'py>,
) -> Result<Option<Bound<'py, C>>> {
    let (py, kind) = (class.py(), class.as_type());
    if !has_new_of::<C>(kind) {
        return Ok(None);
    }
    if C::is_plain(kind) {
        let value = match arguments.names() {
            None => C::of_arguments(arguments.all()),
            Some(names) => in_order(arguments.all(), &names, C::parameters(py))
                .and_then(|arguments| C::of_arguments(&arguments)),
        };
        let Some(value) = value else { return Ok(None) };
        let object = new_object(class, || value)?;
        C::made(&object)?;
        return Ok(Some(object));
    }
    // Held during the call, which may change the class.
    let Some(init) = python_function_of(kind, intern!(py, "__init__")) else { return Ok(None) };
    let object = new_object(class, C::fresh)?;
    let answer =
        call_first_named(&init, object.as_any(), arguments.all(), arguments.names().as_deref())?;
    if !answer.is_none() {
        let kind = Text::Python(answer.get_type().name()?);
        let text = [Text::Ours("__init__() should return None, not '"), kind, Text::Ours("'")];
        return Err(PyTypeError::error_saying(joined(py, text)));
    }
    Ok(Some(object))
}

/// Whether a class uses the `__new__` of `T`.
fn has_new_of<T: Fresh + Recycled>(class: &Bound<'_, PyType>) -> bool {
    let ours = new::<T> as New<'_, '_, T> as usize;
    Kind::from(class).slots(class.py()).new.is_some_and(|there| there as usize == ours)
}

/// Let a new subclass of `C` be called this way, too.
pub(crate) fn inherit_construction<C: ConstructSub>(class: &Bound<'_, PyType>) {
    if has_new_of::<C>(class) {
        fill(class.py(), Kind::from(class), Slot::<C>::Vectorcall(enter::<Called<C, Derived>>));
    }
}

/// A class whose `__init__` can bypass PyO3's argument parsing.
pub(crate) trait Initialize: Native {
    /// PyO3's `tp_init`.
    fn slow() -> &'static OnceLock<ffi::initproc>;

    /// Initialize an object. None to let PyO3's `tp_init` do it.
    fn initialize<'py>(
        object: &Bound<'py, Self>,
        arguments: &Bound<'py, PyTuple>,
    ) -> Option<Result<()>>;
}

/// `tp_init`, for `super().__init__()`.
extern "C" fn initialize<'py, T: Initialize>(
    object: Borrowed<'_, 'py, T>,
    arguments: Borrowed<'_, 'py, PyTuple>,
    named: Option<Borrowed<'_, 'py, PyDict>>,
) -> c_int {
    let py = object.py();
    let done = match named {
        None => panics::catching(py, || T::initialize(&object, &arguments).transpose()),
        Some(_) => Ok(None),
    };
    match done {
        Ok(Some(())) => 0,
        Ok(None) => {
            let named = named.map_or(ptr::null_mut(), |named| named.as_ptr());
            // SAFETY: attached; what it is to get: an object of the class, a tuple, a dict or null.
            T::slow()
                .get()
                .map_or(-1, |init| unsafe { init(object.as_ptr(), arguments.as_ptr(), named) })
        }
        Err(error) => {
            restore(error.into_raised(py));
            -1
        }
    }
}

/// Replace PyO3's `tp_init`, both in the slot and in the class's `__init__` descriptor.
///
/// # Errors
///
/// `TypeError` if the class has no such descriptor.
pub(crate) fn fill_init<T: Initialize>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<T>();
    let shown = class.getattr("__dict__")?.get_item("__init__")?;
    let slow = Kind::from(&class).slots(py).init;
    if !ptr::eq(shown.get_type_ptr(), &raw const ffi::PyWrapperDescr_Type) {
        return Err(PyTypeError::new_err("__init__ shows no slot"));
    }
    if slow.is_some_and(|slow| T::slow().set(slow).is_ok()) {
        fill(py, Kind::from(&class), Slot::Init(initialize::<T>));
        // SAFETY: of the very type whose layout is read. It calls what it holds as it would what is
        // in the slot, which is the same.
        unsafe {
            let shown = shown.as_ptr().cast::<ffi::PyWrapperDescrObject>();
            (*shown).d_wrapped = initialize::<T> as Init<'_, '_, T> as *mut c_void;
        }
    }
    Ok(())
}

/// Set `tp_new`.
pub(crate) fn fill_new<T: Fresh + Recycled>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::New(new::<T>));
}

/// Set `tp_new` of a class that derives from another class of ours.
pub(crate) fn fill_new_derived<T>(py: Python<'_>)
where
    T: Fresh + Native + PyClass<Frozen = True> + Sync,
    T::BaseType: Fresh + Recycled,
{
    fill(py, Kind::of::<T>(py), Slot::New(new_derived::<T>));
}

/// Let an exception class use `BaseException.__new__`. Pickles of Twisted's failures call that, and
/// it refuses classes with another `__new__`.
pub(crate) fn inherit_new_of_exceptions<T: Plain + ZeroIsEmpty>(py: Python<'_>) {
    fill(py, Kind::of::<T>(py), Slot::<T>::NewOfExceptions);
}

/// Let a class be called without detours. Does nothing if it does not derive from `C`.
pub(crate) fn construct_quickly<C: Construct>(class: &Bound<'_, PyType>) {
    fill(class.py(), Kind::from(class), Slot::<C>::Vectorcall(enter::<Called<C, Itself>>));
}
