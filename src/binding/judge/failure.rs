//! The frequently used methods of `Failure`: making one, checking its class, raising it again.
//!
//! Formatting, pickling and printing are in the Python subclass, in `deferrous/failure.py`. Native
//! code makes instances of that subclass directly.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyBaseException;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple, PyType};

use crate::binding::capi::{self, Hold, error::Result, interned::intern, stack};
use crate::binding::judge::{
    asked::Asked,
    attributes::{CAPTURE_VARS, COUNT_FIELD, TB, TYPE, VALUE, to_raise},
    class_names, copying,
    creating::{count_one, is_failure, kind_of, new_failure, no_current_exception, traceback_for},
    deprecation::Deprecated,
    frames,
    ordinary::is_ordinary,
    showing,
};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::gate::Taken;
use crate::binding::model::{
    failure::{Attributes, FailureBase, State},
    names,
    traverse::Traverse,
};

/// `Failure.stack`
static STACK: Deprecated = Deprecated::new("stack", "24.10.0");

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
    pub(super) fn __init__<'py>(
        slf: &Bound<'py, Self>,
        exc_value: Option<Bound<'py, PyAny>>,
        exc_type: Option<Bound<'py, PyAny>>,
        exc_tb: Option<Bound<'py, PyAny>>,
        captureVars: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let count = count_one(py);
        let given = match (exc_value, exc_type) {
            (None, _) => capi::handled(py).map(|handled| {
                let traceback = capi::traceback_of(&handled);
                let kind = handled.get_type().into_any();
                (handled.into_any(), kind, traceback)
            }),
            (Some(value), None) => {
                let kind = kind_of(&value)?;
                Some((value, kind, None))
            }
            (Some(value), Some(kind)) => Some((value, kind, None)),
        };
        let Some((value, kind, traceback)) = given else {
            return Err(no_current_exception(slf, count, captureVars));
        };
        if !is_ordinary(&value) && is_failure(&value)? {
            return Self::extrapolate(slf, &value);
        }
        let traceback = match traceback.filter(|traceback| !traceback.is_none()) {
            None => traceback_for(&value, exc_tb)?.filter(|traceback| !traceback.is_none()),
            given => given,
        };
        let capture_vars = match &captureVars {
            None => Some(false),
            Some(given) => given.cast_exact::<PyBool>().ok().map(|given| given.is_true()),
        };
        let state = State::Here(Attributes {
            value: value.hold(),
            kind: kind.hold(),
            traceback: traceback.map(Hold::hold),
            capture_vars: capture_vars.unwrap_or(false),
            count,
            checked: false,
            #[cfg(Py_GIL_DISABLED)]
            moving: Taken::default(),
        });
        slf.get().put(py, state);
        if capture_vars.is_none() {
            // Any value other than True or False is kept as it is.
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
    pub(crate) fn set_value(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> Result<()> {
        Self::set_attribute(slf, &VALUE, Some(value))
    }

    #[deleter]
    pub(crate) fn delete_value(slf: &Bound<'_, Self>) -> Result<()> {
        Self::set_attribute(slf, &VALUE, None)
    }

    /// The class of the exception.
    #[getter(r#type)]
    pub(crate) fn kind<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::attribute(slf, &TYPE)
    }

    #[setter(r#type)]
    pub(crate) fn set_kind(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> Result<()> {
        Self::set_attribute(slf, &TYPE, Some(value))
    }

    #[deleter(r#type)]
    pub(crate) fn delete_kind(slf: &Bound<'_, Self>) -> Result<()> {
        Self::set_attribute(slf, &TYPE, None)
    }

    /// The traceback, or None.
    #[getter]
    pub(crate) fn tb<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyAny>> {
        Self::attribute(slf, &TB)
    }

    #[setter]
    pub(crate) fn set_tb(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> Result<()> {
        Self::set_attribute(slf, &TB, Some(value))
    }

    #[deleter]
    pub(crate) fn delete_tb(slf: &Bound<'_, Self>) -> Result<()> {
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
            Ok(kind) => class_names::names_of(kind)?,
            Err(_) => None,
        };
        let parents = match names {
            Some(names) => capi::list_of(py, &names)?.into_any(),
            None => names::NAMES_OF.get(py)?.call1((kind,))?,
        };
        slf.setattr(name, &parents)?;
        // The subclass finds out.
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

    /// Make a failure of an exception without a traceback.
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
            #[cfg(Py_GIL_DISABLED)]
            moving: Taken::default(),
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
