//! `check` and `trap`: which exception class a failure belongs to.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::binding::capi::{self, error::Result, interned::intern, stack};
use crate::binding::judge::{asked::Asked, class_names};
use crate::binding::model::failure::{FailureBase, State};

impl FailureBase {
    /// The first of these classes and names that the exception belongs to.
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

    /// The first of these that the exception belongs to. If there is none, the exception is raised
    /// again.
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
        // A subclass may override it.
        let found = slf.call_method1(intern!(py, "check"), capi::tuple_of(py, [], wanted)?)?;
        if !stack::truth(&found)? {
            slf.call_method0(intern!(py, "raiseException"))?;
        }
        Ok(found)
    }

    /// Whether the exception belongs to this class or the class with this name, if that is known
    /// without the list of names. The list is made only when somebody looks at it.
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
            return class_names::is_a(&kind, wanted);
        }
        match wanted.cast_exact::<PyString>() {
            Ok(name) => class_names::is_called(&kind, name),
            Err(_) => Ok(None),
        }
    }

    /// Whether the exception belongs to this class or the class with this name, according to the
    /// list that programs see.
    #[inline(never)]
    fn is_among_parents(slf: &Bound<'_, Self>, wanted: &Bound<'_, PyAny>) -> Result<bool> {
        let py = slf.py();
        let mut name = None;
        if let Ok(class) = wanted.cast::<PyType>()
            && (capi::is_exception_class(class)
                || class.is_subclass(&py.get_type::<PyException>())?)
        {
            // Another class may have the same full name, for instance if a module was loaded twice.
            name = Some(class_names::qualified_name(class)?);
        }
        let parents = slf.getattr(intern!(py, "parents"))?;
        Ok(parents.contains(name.as_ref().unwrap_or(wanted))?)
    }
}
