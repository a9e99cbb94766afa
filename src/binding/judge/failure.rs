//! The hot half of `Failure`: making one, checking its class, raising it again.
//!
//! Formatting, pickling and printing are in the Python subclass, in `deferrous/failure.py`. Rust
//! makes instances of that subclass directly.

use pyo3::exceptions::{PyAttributeError, PyBaseException, PyException, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyTypeInfo, create_exception};

use crate::binding::capi::{
    self, Held, Hold, Text,
    cell::Shared,
    classes::Plain,
    constructing::{Construct, construct_quickly},
    error::{Raise, Raised, Result},
    interned::intern,
    new_exception_of,
    stack::{self, Nested},
};
use crate::binding::judge::{
    asked::{self, Asked},
    copying,
    deprecation::Deprecated,
    frames, kinds,
    ordinary::{has_plain_traceback, is_ordinary},
    showing,
};
use crate::binding::model::{
    failure::{Attributes, FailureBase, State},
    names,
    traverse::Traverse,
};

create_exception!(
    deferrous.failure,
    NoCurrentExceptionError,
    PyException,
    "`Failure()` was called while no exception was being handled."
);

/// `Failure.stack`
static STACK: Deprecated = Deprecated::new("stack", "24.10.0");

/// How many failures there have been.
static COUNT: Shared<u64> = Shared::new(0);

/// How many failures have been made in this process.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn failure_count(py: Python<'_>) -> u64 {
    COUNT.with(py, |count| *count)
}

/// Count one more failure. Returns which it is.
fn count_one(py: Python<'_>) -> u64 {
    COUNT.with(py, |count| {
        *count += 1;
        *count
    })
}

/// Make a failure of an exception that was raised, like `Failure()` in an `except` block.
///
/// # Errors
///
/// What a replacement of `Failure.__init__` raises.
pub(crate) fn from_raised(raised: Raised<'_>, capture_vars: bool) -> Result<Bound<'_, PyAny>> {
    let py = raised.py();
    let class = names::failure_class(py)?;
    if !FailureBase::is_plain(class) {
        // A replacement of `Failure.__init__` expects that the exception is being handled.
        let named = with_capture_vars(py, capture_vars)?;
        let call = || capi::call_any_way(py, class, &PyTuple::empty(py), Some(&named));
        return Ok(capi::while_handling(&raised, call)?);
    }
    let traceback = capi::traceback_of(&raised);
    make(raised.into_any(), traceback, capture_vars)
}

/// Make a failure of an exception that was not raised.
///
/// # Errors
///
/// What a replacement of `Failure.__init__` raises.
pub(crate) fn from_exception(exception: Bound<'_, PyAny>) -> Result<Bound<'_, PyAny>> {
    let class = names::failure_class(exception.py())?;
    if !FailureBase::is_plain(class) {
        return Ok(class.call1((exception,))?);
    }
    init_new(class, std::slice::from_ref(&exception)).map(Bound::into_any)
}

/// `Failure(*args)`, of up to four arguments.
///
/// # Errors
///
/// What `Failure.__init__` raises.
pub(crate) fn init_new<'py>(
    class: &Bound<'py, PyType>,
    args: &[Bound<'py, PyAny>],
) -> Result<Bound<'py, FailureBase>> {
    let py = class.py();
    let failure = new_failure(class, &capi::tuple_of(py, [], args)?, State::InDict)?;
    let argument = |i: usize| args.get(i).filter(|it| !it.is_none()).cloned();
    FailureBase::__init__(&failure, argument(0), argument(1), argument(2), argument(3))?;
    Ok(failure)
}

/// Register the class `Failure`, so that calling it bypasses `__new__` and `__init__`.
///
/// # Errors
///
/// `TypeError` if it is no class of failures.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (class, /))]
pub(crate) fn register_failure_class(class: &Bound<'_, PyType>) -> Result<()> {
    let py = class.py();
    if !capi::is_subtype(class, &py.get_type::<FailureBase>()) {
        return Err(PyTypeError::error(py, "not a class of failures"));
    }
    asked::register(class)?;
    construct_quickly::<FailureBase>(class);
    Ok(())
}

/// `Failure(...)`
impl Construct for FailureBase {
    #[inline(always)]
    fn construct<'py>(
        class: &Bound<'py, PyType>,
        arguments: &[Bound<'py, PyAny>],
    ) -> Option<Result<Bound<'py, PyAny>>> {
        if !Self::is_plain(class) || arguments.len() > 4 {
            return None;
        }
        Some(init_new(class, arguments).map(Bound::into_any))
    }
}

/// Make a failure of this class with this state: what `__new__` and `__init__` do together.
///
/// # Errors
///
/// `TypeError` if it is no class of failures: a program can have it be anything.
fn new_failure<'py>(
    class: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
    state: State,
) -> Result<Bound<'py, FailureBase>> {
    new_exception_of(class, args, FailureBase::of(state)).unwrap_or_else(|| {
        Err(PyTypeError::error(class.py(), "Failure is not a class of failures"))
    })
}

/// Make a failure of a new exception of this class, which is never raised.
pub(crate) fn of_new<T: PyTypeInfo>(py: Python<'_>) -> Result<Bound<'_, PyAny>> {
    make(py.get_type::<T>().call0()?, None, false)
}

fn make<'py>(
    value: Bound<'py, PyAny>,
    traceback: Option<Bound<'py, PyAny>>,
    capture_vars: bool,
) -> Result<Bound<'py, PyAny>> {
    let py = value.py();
    let class = names::failure_class(py)?;
    if !FailureBase::is_plain(class) || (!is_ordinary(&value) && is_failure(&value)?) {
        let named = with_capture_vars(py, capture_vars)?;
        return Ok(capi::call_any_way(py, class, &capi::new_tuple(py, [value])?, Some(&named))?);
    }
    let attributes = Attributes {
        kind: value.get_type().into_any().hold(),
        value: value.hold(),
        traceback: traceback.filter(|traceback| !traceback.is_none()).map(Hold::hold),
        capture_vars,
        count: count_one(py),
        checked: false,
    };
    let failure = new_failure(class, &PyTuple::empty(py), State::Here(attributes))?;
    Ok(failure.into_any())
}

/// `{"captureVars": ...}`
fn with_capture_vars(py: Python<'_>, capture_vars: bool) -> Result<Bound<'_, PyDict>> {
    let named = capi::new_dict(py)?;
    named.set_item(CAPTURE_VARS.name(py), capture_vars)?;
    Ok(named)
}

/// `isinstance(object, Failure)`
///
/// # Errors
///
/// What the object's own `__class__` raises when it is asked.
#[inline]
pub(crate) fn is_failure(object: &Bound<'_, PyAny>) -> Result<bool> {
    let class = names::failure_class(object.py())?;
    if capi::is_subtype(&object.get_type(), class) {
        return Ok(true);
    }
    // It may have a `__class__` that can be anything.
    let _nested = Nested::enter(object.py())?;
    Ok(object.is_instance(class)?)
}

/// The exception in a failure, with the failure's traceback set on it.
///
/// # Errors
///
/// `AttributeError` if the failure is not of an exception.
pub(crate) fn to_raise<'py>(failure: &Bound<'py, PyAny>) -> Result<Raised<'py>> {
    let py = failure.py();
    let (value, traceback) = match failure.cast::<FailureBase>() {
        Ok(failure) => {
            (FailureBase::attribute(failure, &VALUE)?, FailureBase::attribute(failure, &TB)?)
        }
        Err(_) => (failure.getattr(intern!(py, "value"))?, failure.getattr(intern!(py, "tb"))?),
    };
    match value.cast_into::<PyBaseException>() {
        Ok(exception) => {
            capi::set_traceback(&exception, &traceback)?;
            Ok(exception)
        }
        // Raises what there is to raise: this is not an exception.
        Err(error) => {
            let other = error.into_inner();
            let raised = other.call_method1(intern!(py, "with_traceback"), (traceback,))?;
            Ok(raised.cast_into::<PyBaseException>()?)
        }
    }
}

/// Puts another value in the place of one that is returned, if there was one.
type Set = fn(&mut Attributes, Held<PyAny>) -> Option<Held<PyAny>>;

/// One of the five attributes.
struct Field {
    text: &'static str,
    name: for<'py> fn(Python<'py>) -> &'py Bound<'py, PyString>,
    get: for<'py> fn(&Attributes, Python<'py>) -> Result<Bound<'py, PyAny>>,
    /// Replace the value, and return the old one. None if that needs more than a replacement.
    set: Option<Set>,
}

impl Field {
    fn name<'py>(&self, py: Python<'py>) -> &'py Bound<'py, PyString> {
        (self.name)(py)
    }
}

static VALUE: Field = Field {
    text: "value",
    name: |py| intern!(py, "value"),
    get: |of, py| Ok(of.value.bind(py).clone()),
    set: Some(|of, value| Some(std::mem::replace(&mut of.value, value))),
};
static TYPE: Field = Field {
    text: "type",
    name: |py| intern!(py, "type"),
    get: |of, py| Ok(of.kind.bind(py).clone()),
    // The names of its classes may have to be kept before it changes.
    set: None,
};
static TB: Field = Field {
    text: "tb",
    name: |py| intern!(py, "tb"),
    get: |of, py| {
        Ok(match &of.traceback {
            Some(traceback) => traceback.bind(py).clone(),
            None => py.None().into_bound(py),
        })
    },
    set: Some(|of, traceback| of.traceback.replace(traceback)),
};
static CAPTURE_VARS: Field = Field {
    text: "captureVars",
    name: |py| intern!(py, "captureVars"),
    get: |of, py| Ok(PyBool::new(py, of.capture_vars).to_owned().into_any()),
    set: None,
};
static COUNT_FIELD: Field = Field {
    text: "count",
    name: |py| intern!(py, "count"),
    get: |of, py| capi::new_int(py, of.count),
    set: None,
};
/// The attributes, in the order in which Twisted sets them.
static FIELDS: [&Field; 5] = [&COUNT_FIELD, &TYPE, &VALUE, &CAPTURE_VARS, &TB];

impl FailureBase {
    /// The attributes, if they are here.
    fn here(&self, py: Python<'_>) -> Option<Attributes> {
        self.state.with(py, |state| match state {
            State::InDict => None,
            State::Here(attributes) => Some(Attributes {
                value: attributes.value.clone_ref(py),
                kind: attributes.kind.clone_ref(py),
                traceback: attributes.traceback.as_ref().map(|traceback| traceback.clone_ref(py)),
                ..*attributes
            }),
        })
    }

    fn attribute<'py>(slf: &Bound<'py, Self>, field: &Field) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        let here = slf.get().state.with(py, |state| match state {
            // Making an int or a bool runs no Python code.
            State::Here(attributes) => Some((field.get)(attributes, py)),
            State::InDict => None,
        });
        match here {
            Some(value) => value,
            None => capi::exception_dict(slf)?.get_item(field.name(py))?.ok_or_else(|| {
                PyAttributeError::error_saying(match capi::ok(py, slf.get_type().name()) {
                    Some(class) => capi::joined(
                        py,
                        [
                            Text::Ours("'"),
                            Text::Python(class),
                            Text::Ours("' object has no attribute '"),
                            Text::Ours(field.text),
                            Text::Ours("'"),
                        ],
                    ),
                    None => capi::new_str(py, field.text),
                })
            }),
        }
    }

    fn set_attribute(
        slf: &Bound<'_, Self>,
        field: &Field,
        value: Option<&Bound<'_, PyAny>>,
    ) -> Result<()> {
        if let (Some(value), Some(set)) = (value, field.set) {
            let value = value.clone().hold();
            let rest = slf.get().state.with(slf.py(), |state| match state {
                State::Here(attributes) => Ok(set(attributes, value)),
                State::InDict => Err(value),
            });
            if let Ok(before) = rest {
                drop(before);
                return Ok(());
            }
        }
        let (dict, name) = (Self::instance_dict(slf)?, field.name(slf.py()));
        match value {
            Some(value) => Ok(dict.set_item(name, value)?),
            None if dict.contains(name)? => Ok(dict.del_item(name)?),
            None => Err(PyAttributeError::error(slf.py(), field.text)),
        }
    }

    /// The instance dict. From now on it contains the five attributes.
    pub(crate) fn instance_dict<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyDict>> {
        let py = slf.py();
        let dict = capi::exception_dict(slf)?;
        let Some(attributes) = slf.get().here(py) else { return Ok(dict) };
        for field in FIELDS {
            dict.set_item(field.name(py), (field.get)(&attributes, py)?)?;
        }
        slf.get().put(py, State::InDict);
        if attributes.checked {
            // The names of its classes are in it from then on.
            slf.getattr(intern!(py, "parents"))?;
        }
        Ok(dict)
    }

    /// Whether the exception is known to be of this very class.
    pub(crate) fn is_plainly_of<T: PyTypeInfo>(slf: &Bound<'_, Self>) -> bool {
        let py = slf.py();
        Asked::Check.is_plainly_asked(slf)
            && slf.get().state.with(py, |state| match state {
                State::Here(attributes) => {
                    attributes.kind.as_ptr() == py.get_type::<T>().as_ptr()
                        && attributes.value.bind(py).is_exact_instance_of::<T>()
                }
                State::InDict => false,
            })
    }

    /// The exception, if there is one. No code of a subclass is asked.
    pub(crate) fn value_of<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        capi::ok(slf.py(), Self::attribute(slf, &VALUE))
    }

    fn put(&self, py: Python<'_>, state: State) {
        let before = self.state.with(py, |current| std::mem::replace(current, state));
        drop(before);
    }

    /// Copy the state of another failure.
    fn extrapolate(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let dict = match other.cast::<FailureBase>() {
            Ok(other) => {
                if let Some(attributes) = other.get().here(py) {
                    capi::set_exception_dict(slf, capi::exception_dict(other)?.copy()?.as_any())?;
                    slf.get().put(py, State::Here(attributes));
                    return Ok(());
                }
                capi::exception_dict(other)?.copy()?.into_any()
            }
            Err(_) => {
                other.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?.copy()?.into_any()
            }
        };
        capi::set_exception_dict(slf, &dict)?;
        slf.get().put(py, State::InDict);
        Ok(())
    }
}

#[pymethods(crate = "crate::binding::capi::guarded")]
impl FailureBase {
    #[new]
    #[pyo3(
        signature = (*_args, **_kwargs),
        text_signature = "(exc_value=None, exc_type=None, exc_tb=None, captureVars=False)"
    )]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::of(State::InDict)
    }

    #[pyo3(signature = (exc_value=None, exc_type=None, exc_tb=None, captureVars=None))]
    #[allow(non_snake_case)]
    fn __init__<'py>(
        slf: &Bound<'py, Self>,
        exc_value: Option<Bound<'py, PyAny>>,
        exc_type: Option<Bound<'py, PyAny>>,
        exc_tb: Option<Bound<'py, PyAny>>,
        captureVars: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let count = count_one(py);
        let (value, kind, mut traceback) = match (exc_value, exc_type) {
            (None, _) => match capi::handled(py) {
                Some(handled) => {
                    let traceback = capi::traceback_of(&handled);
                    let kind = handled.get_type().into_any();
                    (handled.into_any(), kind, traceback)
                }
                None => {
                    // What is there is visible, should anyone keep this object.
                    let dict = capi::exception_dict(slf)?;
                    dict.set_item(COUNT_FIELD.name(py), capi::new_int(py, count)?)?;
                    for field in [&VALUE, &TYPE] {
                        dict.set_item(field.name(py), py.None())?;
                    }
                    dict.set_item(CAPTURE_VARS.name(py), captureVars)?;
                    return Err(NoCurrentExceptionError::bare_error(py).into());
                }
            },
            (Some(value), None) => {
                let kind = if is_ordinary(&value) {
                    value.get_type().into_any()
                } else if value.is_instance_of::<PyException>() {
                    stack::check(py)?;
                    value.getattr(intern!(py, "__class__"))?
                } else {
                    value.get_type().into_any()
                };
                (value, kind, None)
            }
            (Some(value), Some(kind)) => (value, kind, None),
        };
        if !is_ordinary(&value) && is_failure(&value)? {
            return Self::extrapolate(slf, &value);
        }
        let absent = |traceback: &Option<Bound<'py, PyAny>>| {
            traceback.as_ref().is_none_or(|traceback| traceback.is_none())
        };
        if absent(&traceback) {
            traceback = match exc_tb {
                Some(given) if stack::truth(&given)? => Some(given),
                _ => match value.cast::<PyBaseException>() {
                    Ok(raised) if has_plain_traceback(raised) => capi::traceback_of(raised),
                    _ => {
                        stack::check(py)?;
                        value
                            .getattr_opt(intern!(py, "__traceback__"))?
                            .filter(|traceback| capi::ok(py, traceback.is_truthy()) == Some(true))
                    }
                },
            };
        }
        let capture_vars = match &captureVars {
            None => Some(false),
            Some(given) => given.cast_exact::<PyBool>().ok().map(|given| given.is_true()),
        };
        let state = State::Here(Attributes {
            value: value.hold(),
            kind: kind.hold(),
            traceback: traceback.filter(|traceback| !traceback.is_none()).map(Hold::hold),
            capture_vars: capture_vars.unwrap_or(false),
            count,
            checked: false,
        });
        slf.get().put(py, state);
        if capture_vars.is_none() {
            // Something other than True or False is kept as it is.
            Self::set_attribute(slf, &CAPTURE_VARS, captureVars.as_ref())?;
        }
        Ok(())
    }

    /// The exception.
    #[getter]
    pub(crate) fn value<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::attribute(slf, &VALUE)
    }

    #[setter]
    fn set_value(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> Result<()> {
        Self::set_attribute(slf, &VALUE, Some(value))
    }

    #[deleter]
    fn delete_value(slf: &Bound<'_, Self>) -> Result<()> {
        Self::set_attribute(slf, &VALUE, None)
    }

    /// The class of the exception.
    #[getter(r#type)]
    pub(crate) fn kind<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::attribute(slf, &TYPE)
    }

    #[setter(r#type)]
    fn set_kind(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> Result<()> {
        Self::set_attribute(slf, &TYPE, Some(value))
    }

    #[deleter(r#type)]
    fn delete_kind(slf: &Bound<'_, Self>) -> Result<()> {
        Self::set_attribute(slf, &TYPE, None)
    }

    /// The traceback, or None.
    #[getter]
    pub(crate) fn tb<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::attribute(slf, &TB)
    }

    #[setter]
    fn set_tb(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> Result<()> {
        Self::set_attribute(slf, &TB, Some(value))
    }

    #[deleter]
    fn delete_tb(slf: &Bound<'_, Self>) -> Result<()> {
        Self::set_attribute(slf, &TB, None)
    }

    /// Whether `frames` keeps the variables of each frame.
    #[getter(captureVars)]
    pub(crate) fn capture_vars<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::attribute(slf, &CAPTURE_VARS)
    }

    #[setter(captureVars)]
    fn set_capture_vars(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> Result<()> {
        Self::set_attribute(slf, &CAPTURE_VARS, Some(value))
    }

    #[deleter(captureVars)]
    fn delete_capture_vars(slf: &Bound<'_, Self>) -> Result<()> {
        Self::set_attribute(slf, &CAPTURE_VARS, None)
    }

    /// The number of this Failure, counted from the start of the process.
    #[getter]
    pub(crate) fn count<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::attribute(slf, &COUNT_FIELD)
    }

    #[setter]
    fn set_count(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> Result<()> {
        Self::set_attribute(slf, &COUNT_FIELD, Some(value))
    }

    #[deleter]
    fn delete_count(slf: &Bound<'_, Self>) -> Result<()> {
        Self::set_attribute(slf, &COUNT_FIELD, None)
    }

    /// The exception, with the traceback that it is to be raised with, for `raiseException`.
    #[getter(_raised)]
    pub(crate) fn to_be_raised<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        stack::check(py)?;
        let (value, traceback) = if Asked::Check.is_plainly_asked(slf) {
            (Self::attribute(slf, &VALUE)?, Self::attribute(slf, &TB)?)
        } else {
            (slf.getattr(VALUE.name(py))?, slf.getattr(TB.name(py))?)
        };
        let name = intern!(py, "with_traceback");
        let base = py.get_type::<PyBaseException>();
        match value.cast::<PyBaseException>() {
            Ok(exception)
                if capi::lookup(&exception.get_type(), name) == capi::lookup(&base, name) =>
            {
                capi::set_traceback(exception, &traceback)?;
                Ok(value)
            }
            _ => value.call_method1(name, (traceback,)),
        }
    }

    /// The full names of the exception's class and of its bases.
    ///
    /// If `type` is no exception class, the list has only that.
    #[getter]
    pub(crate) fn parents<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        stack::check(py)?;
        let name = intern!(py, "_parents");
        let kept = slf.getattr(name)?;
        if !kept.is_none() {
            return Ok(kept);
        }
        let kind = slf.getattr(TYPE.name(py))?;
        let names = match kind.cast::<PyType>() {
            Ok(kind) => kinds::names_of(kind)?,
            Err(_) => None,
        };
        let parents = match names {
            Some(names) => capi::list_of(py, &names)?.into_any(),
            None => names::NAMES_OF.get(py)?.call1((kind,))?,
        };
        slf.setattr(name, &parents)?;
        // Ask the subclass.
        slf.getattr(name)
    }

    #[setter]
    fn set_parents(slf: &Bound<'_, Self>, parents: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        slf.setattr(intern!(slf.py(), "_parents"), parents)
    }

    #[deleter]
    fn delete_parents(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    /// The frames of the traceback, the innermost last: one list, which can be changed.
    ///
    /// Each is a tuple of the function's name, the file, the line, the local and the global
    /// variables; these are lists of pairs if `captureVars` is set, and otherwise empty.
    #[getter]
    pub(crate) fn frames<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        stack::check(slf.py())?;
        frames::frames_of(slf)
    }

    #[setter]
    fn set_frames(slf: &Bound<'_, Self>, frames: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.setattr(intern!(slf.py(), "_frames"), frames)
    }

    #[deleter]
    fn delete_frames(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    /// Always empty. Deprecated.
    #[getter]
    pub(crate) fn stack<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        stack::check(py)?;
        STACK.warn(names::failure_class(py)?)?;
        Ok(capi::new_list(py)?.into_any())
    }

    #[setter]
    fn set_stack(slf: &Bound<'_, Self>, _stack: &Bound<'_, PyAny>) -> PyResult<()> {
        stack::check(slf.py())?;
        Ok(STACK.warn(names::failure_class(slf.py())?)?)
    }

    #[deleter]
    fn delete_stack(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    #[getter]
    pub(crate) fn __dict__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyDict>> {
        if slf.get().state.with(slf.py(), |state| matches!(state, State::InDict)) {
            return capi::exception_dict(slf);
        }
        Self::instance_dict(slf)
    }

    #[setter(__dict__)]
    fn set_dict(slf: &Bound<'_, Self>, dict: &Bound<'_, PyAny>) -> PyResult<()> {
        capi::set_exception_dict(slf, dict)?;
        slf.get().put(slf.py(), State::InDict);
        Ok(())
    }

    #[deleter(__dict__)]
    fn delete_dict(slf: &Bound<'_, Self>) -> Result<()> {
        capi::no_deleter(slf.py())
    }

    /// Take on the state of another failure, tracebacks and all.
    fn _extrapolate(
        slf: &Bound<'_, Self>,
        #[allow(non_snake_case)] otherFailure: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        Self::extrapolate(slf, otherFailure)
    }

    /// Make a failure of an exception that has no traceback.
    #[staticmethod]
    #[pyo3(name = "_withoutTraceback")]
    fn without_traceback<'py>(value: Bound<'py, PyAny>) -> Result<Bound<'py, FailureBase>> {
        let py = value.py();
        let state = State::Here(Attributes {
            kind: value.getattr(intern!(py, "__class__"))?.hold(),
            value: value.hold(),
            traceback: None,
            capture_vars: false,
            count: count_one(py),
            checked: false,
        });
        new_failure(names::failure_class(py)?, &PyTuple::empty(py), state)
    }

    /// Return the first of the given exception classes that the exception belongs to, or None.
    ///
    /// Arguments:
    ///
    /// - `errorTypes`: exception classes, or their full names as strings, such as
    ///   `"builtins.KeyError"`.
    ///
    /// As in Twisted, classes are compared by their full names.
    ///
    /// ```python
    /// from deferrous import Failure
    ///
    /// failure = Failure(KeyError("name"))
    /// print(failure.check(ValueError, LookupError))
    /// ```
    ///
    /// This prints `<class 'LookupError'>`.
    #[pyo3(name = "check", signature = (*errorTypes))]
    #[allow(non_snake_case)]
    fn check<'py>(
        slf: &Bound<'py, Self>,
        errorTypes: &Bound<'py, PyTuple>,
    ) -> Result<Option<Bound<'py, PyAny>>> {
        Self::find(slf, errorTypes.as_slice())
    }

    /// Return the class that the exception belongs to, as `check` does, or raise the exception.
    ///
    /// Use it at the start of an errback, to handle some exceptions and pass on all others.
    ///
    /// Arguments:
    ///
    /// - `errorTypes`: exception classes, or their full names as strings.
    ///
    /// Errors:
    ///
    /// - The exception itself, if it belongs to none of them.
    ///
    /// ```python
    /// from deferrous import fail
    ///
    ///
    /// def missing(failure):
    ///     failure.trap(LookupError)
    ///     return "missing"
    ///
    ///
    /// fail(KeyError("name")).addErrback(missing).addCallback(print)
    /// ```
    ///
    /// This prints `missing`.
    #[pyo3(name = "trap", signature = (*errorTypes))]
    #[allow(non_snake_case)]
    fn trap<'py>(
        slf: &Bound<'py, Self>,
        errorTypes: &Bound<'py, PyTuple>,
    ) -> Result<Bound<'py, PyAny>> {
        Self::find_or_raise(slf, errorTypes.as_slice())
    }

    /// Raise the exception inside a generator, where it is suspended.
    ///
    /// Arguments:
    ///
    /// - `g`: the generator.
    ///
    /// Returns what the generator yields next.
    ///
    /// Errors:
    ///
    /// - What the generator raises. StopIteration if it ends.
    ///
    /// ```python
    /// from deferrous import Failure
    ///
    ///
    /// def numbers():
    ///     try:
    ///         yield 1
    ///     except KeyError:
    ///         yield 2
    ///
    ///
    /// generator = numbers()
    /// next(generator)
    /// print(Failure(KeyError()).throwExceptionIntoGenerator(generator))
    /// ```
    ///
    /// This prints 2.
    #[pyo3(name = "throwExceptionIntoGenerator")]
    fn throw_exception_into_generator<'py>(
        slf: &Bound<'py, Self>,
        g: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        g.call_method1(intern!(slf.py(), "throw"), (to_raise(slf)?,))
    }

    /// What `copy.copy` makes: a Failure without the traceback.
    fn __copy__<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        stack::check(slf.py())?;
        let Some(state) = copying::copied(slf)? else {
            return Ok(names::COPY_FAILURE.get(slf.py())?.call1((slf,))?);
        };
        let class = names::failure_class(slf.py())?;
        let copy = new_failure(class, &PyTuple::empty(slf.py()), State::InDict)?;
        capi::set_exception_dict(&copy, &state)?;
        Ok(copy.into_any())
    }

    /// Return the text of the exception, or of what is wrong with it. Raises nothing.
    #[pyo3(name = "getErrorMessage")]
    pub(crate) fn error_message<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        stack::check(slf.py())?;
        showing::error_message(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let State::Here(attributes) = self.state.during_gc() {
            attributes.value.traverse(visit)?;
            attributes.kind.traverse(visit)?;
            attributes.traceback.traverse(visit)?;
        }
        Ok(())
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        slf.get().put(slf.py(), State::InDict);
    }
}

impl FailureBase {
    /// Which of these the exception is an instance of.
    pub(crate) fn find<'py>(
        slf: &Bound<'py, Self>,
        wanted: &[Bound<'py, PyAny>],
    ) -> Result<Option<Bound<'py, PyAny>>> {
        Self::find_in(slf, wanted, Asked::Parents.is_plainly_asked(slf))
    }

    #[inline(always)]
    fn find_in<'py>(
        slf: &Bound<'py, Self>,
        wanted: &[Bound<'py, PyAny>],
        is_plain: bool,
    ) -> Result<Option<Bound<'py, PyAny>>> {
        for wanted in wanted {
            let known = if is_plain { Self::is_known_as(slf, wanted)? } else { None };
            let found = match known {
                Some(known) => known,
                None => Self::is_among_parents(slf, wanted)?,
            };
            if found {
                return Ok(Some(wanted.clone()));
            }
        }
        Ok(None)
    }

    /// Which of these the exception is an instance of. If it is of none, it is raised again.
    pub(crate) fn find_or_raise<'py>(
        slf: &Bound<'py, Self>,
        wanted: &[Bound<'py, PyAny>],
    ) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        if Asked::Check.is_plainly_asked(slf) {
            return match Self::find_in(slf, wanted, true)? {
                Some(found) if capi::is_plain_class(&found) || stack::truth(&found)? => Ok(found),
                _ => Err(capi::raise(Self::to_be_raised(slf)?.cast_into()?)),
            };
        }
        // The subclass may override it.
        let found = slf.call_method1(intern!(py, "check"), capi::tuple_of(py, [], wanted)?)?;
        if !stack::truth(&found)? {
            slf.call_method0(intern!(py, "raiseException"))?;
        }
        Ok(found)
    }

    /// Whether the exception is of this class or of the class with this name, if that can be said
    /// without a list of the names: that is made when somebody wants to see it.
    #[inline]
    fn is_known_as(slf: &Bound<'_, Self>, wanted: &Bound<'_, PyAny>) -> Result<Option<bool>> {
        let py = slf.py();
        if !capi::has_no_exception_dict(slf.as_super())
            && capi::exception_dict(slf)?.contains(intern!(py, "_parents"))?
        {
            return Ok(None);
        }
        let kind = slf.get().state.with(py, |state| match state {
            State::Here(attributes) => {
                let kind = attributes.kind.bind(py).cast::<PyType>().ok()?;
                attributes.checked = true;
                Some(kind.clone())
            }
            State::InDict => None,
        });
        let Some(kind) = kind else { return Ok(None) };
        if let Ok(wanted) = wanted.cast::<PyType>() {
            if kind.is(wanted)
                && capi::is_exception_class(wanted)
                && capi::has_plain_metaclass(wanted)
            {
                return Ok(Some(true));
            }
            return kinds::is_a(&kind, wanted);
        }
        match wanted.cast_exact::<PyString>() {
            Ok(name) => kinds::is_called(&kind, name),
            Err(_) => Ok(None),
        }
    }

    /// Whether the exception is of this class or of the class with this name, by the list that
    /// programs see.
    #[inline(never)]
    fn is_among_parents(slf: &Bound<'_, Self>, wanted: &Bound<'_, PyAny>) -> Result<bool> {
        let py = slf.py();
        let mut name = None;
        if let Ok(class) = wanted.cast::<PyType>()
            && (capi::is_exception_class(class)
                || class.is_subclass(&py.get_type::<PyException>())?)
        {
            // Another class may go by the same name: a module that was loaded twice, for one.
            name = Some(kinds::qualified_name(class)?);
        }
        let parents = slf.getattr(intern!(py, "parents"))?;
        Ok(parents.contains(name.as_ref().unwrap_or(wanted))?)
    }
}
