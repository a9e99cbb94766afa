//! The five attributes of failures. They are stored here until somebody asks for the instance dict.

use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyAttributeError, PyBaseException};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::binding::capi::{
    self, Held, Hold, Text,
    error::{Raise, Raised, Result},
    interned::intern,
};
use crate::binding::judge::asked::Asked;
use crate::binding::model::failure::{Attributes, FailureBase, State};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::gate::Taken;

/// The exception in a failure, with the failure's traceback set on it.
///
/// # Errors
///
/// `AttributeError` if what the failure holds is not an exception.
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
        // Raises the right error: this is not an exception.
        Err(error) => {
            let other = error.into_inner();
            let raised = other.call_method1(intern!(py, "with_traceback"), (traceback,))?;
            Ok(raised.cast_into::<PyBaseException>()?)
        }
    }
}

/// Replaces a value. Returns the previous one, if there was one.
type Set = fn(&mut Attributes, Held<PyAny>) -> Option<Held<PyAny>>;

/// One of the five attributes.
pub(super) struct Field {
    text: &'static str,
    name: for<'py> fn(Python<'py>) -> &'py Bound<'py, PyString>,
    get: for<'py> fn(&Attributes, Python<'py>) -> Result<Bound<'py, PyAny>>,
    /// Replace the value, and return the previous one. None if more than that is needed.
    set: Option<Set>,
}

impl Field {
    /// Its name.
    pub(super) fn name<'py>(&self, py: Python<'py>) -> &'py Bound<'py, PyString> {
        (self.name)(py)
    }
}

pub(super) static VALUE: Field = Field {
    text: "value",
    name: |py| intern!(py, "value"),
    get: |of, py| Ok(of.value.bind(py).clone()),
    set: Some(|of, value| Some(std::mem::replace(&mut of.value, value))),
};
pub(super) static TYPE: Field = Field {
    text: "type",
    name: |py| intern!(py, "type"),
    get: |of, py| Ok(of.kind.bind(py).clone()),
    // The names of the classes may have to be stored before the value changes.
    set: None,
};
pub(super) static TB: Field = Field {
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
pub(super) static CAPTURE_VARS: Field = Field {
    text: "captureVars",
    name: |py| intern!(py, "captureVars"),
    get: |of, py| Ok(capi::new_bool(py, of.capture_vars)),
    set: None,
};
pub(super) static COUNT_FIELD: Field = Field {
    text: "count",
    name: |py| intern!(py, "count"),
    get: |of, py| capi::new_int(py, of.count),
    set: None,
};
/// The attributes, in the order in which Twisted sets them.
static FIELDS: [&Field; 5] = [&COUNT_FIELD, &TYPE, &VALUE, &CAPTURE_VARS, &TB];

impl Attributes {
    /// A copy, with new references.
    fn share(&self, py: Python<'_>) -> Self {
        Self {
            value: self.value.clone_ref(py),
            kind: self.kind.clone_ref(py),
            traceback: self.traceback.as_ref().map(|traceback| traceback.clone_ref(py)),
            #[cfg(Py_GIL_DISABLED)]
            moving: Taken::default(),
            ..*self
        }
    }

    /// Whether another copy agrees in everything that can be set here.
    #[cfg(Py_GIL_DISABLED)]
    fn is_same(&self, other: &Self) -> bool {
        let address = |held: &Held<PyAny>| held.as_ptr();
        self.value.as_ptr() == other.value.as_ptr()
            && self.traceback.as_ref().map(address) == other.traceback.as_ref().map(address)
            && self.checked == other.checked
    }

    fn put_into(&self, dict: &Bound<'_, PyDict>) -> Result<()> {
        let py = dict.py();
        for field in FIELDS {
            dict.set_item(field.name(py), (field.get)(self, py)?)?;
        }
        Ok(())
    }
}

impl FailureBase {
    /// The attributes, if they are stored here.
    fn here(&self, py: Python<'_>) -> Option<Attributes> {
        self.state.with(py, |state| match state {
            State::InDict => None,
            State::Here(attributes) => Some(attributes.share(py)),
        })
    }

    pub(super) fn attribute<'py>(
        slf: &Bound<'py, Self>,
        field: &Field,
    ) -> Result<Bound<'py, PyAny>> {
        let py = slf.py();
        // Making the object may take a lock of the interpreter, which must not happen in a step.
        #[cfg(Py_GIL_DISABLED)]
        let here = slf.get().here(py).map(|attributes| (field.get)(&attributes, py));
        #[cfg(not(Py_GIL_DISABLED))]
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

    pub(super) fn set_attribute(
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

    /// The instance dict. From now on, the five attributes are stored there.
    pub(crate) fn instance_dict<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyDict>> {
        let py = slf.py();
        let dict = capi::exception_dict(slf)?;
        #[cfg(Py_GIL_DISABLED)]
        let Some(attributes) = Self::move_into(slf, &dict)? else { return Ok(dict) };
        #[cfg(not(Py_GIL_DISABLED))]
        let Some(attributes) = slf.get().here(py) else { return Ok(dict) };
        #[cfg(not(Py_GIL_DISABLED))]
        {
            attributes.put_into(&dict)?;
            slf.get().put(py, State::InDict);
        }
        if attributes.checked {
            // It also contains the names of the classes from then on.
            slf.getattr(intern!(py, "parents"))?;
        }
        Ok(dict)
    }

    /// Move the attributes into the instance dict, if they are still stored here. Returns them.
    ///
    /// One thread at a time does this. A second one would overwrite what a program has set in the
    /// dict since then. What other threads set here meanwhile is moved, too.
    #[cfg(Py_GIL_DISABLED)]
    fn move_into<'py>(
        slf: &Bound<'py, Self>,
        dict: &Bound<'py, PyDict>,
    ) -> Result<Option<Attributes>> {
        let py = slf.py();
        loop {
            let (attributes, is_mine) = slf.get().state.with(py, |state| match state {
                State::InDict => (None, true),
                State::Here(here) if here.moving.is_taken() => (None, false),
                State::Here(here) => {
                    here.moving = Taken::now();
                    (Some(here.share(py)), true)
                }
            });
            if !is_mine {
                // The other thread may need the interpreter to finish.
                py.detach(std::thread::yield_now);
                continue;
            }
            let Some(attributes) = attributes else { return Ok(None) };
            let put = attributes.put_into(dict);
            let before = slf.get().state.with(py, |state| match state {
                State::Here(here) if put.is_err() || !here.is_same(&attributes) => {
                    here.moving = Taken::default();
                    None
                }
                _ => Some(std::mem::replace(state, State::InDict)),
            });
            put?;
            if before.is_some() {
                return Ok(Some(attributes));
            }
        }
    }

    /// Whether the exception is certainly of exactly this class.
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

    /// The exception, if there is one. Runs no code of subclasses.
    pub(crate) fn value_of<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        capi::ok(slf.py(), Self::attribute(slf, &VALUE))
    }

    pub(super) fn put(&self, py: Python<'_>, state: State) {
        let before = self.state.with(py, |current| std::mem::replace(current, state));
        drop(before);
    }

    /// Copy the state of another failure.
    pub(super) fn extrapolate(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<()> {
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
