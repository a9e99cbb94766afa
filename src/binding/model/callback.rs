//! Callbacks: callables with their extra arguments.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::binding::capi::{
    self, Held, Hold,
    error::{Raised, Result},
};
use crate::binding::model::{names, traverse::Traverse};

/// A callable and what to pass it after the outcome.
///
/// It takes one word: the callable itself or, with extra arguments, a tuple. A tuple is not
/// callable, so the two cannot be confused; a tuple that a program adds as a callback is itself
/// wrapped. The first item tells the layout:
///
/// * `None`: the callable, then the arguments;
/// * a tuple of names: the same, where the last arguments are passed by these names;
/// * `...`: the callable, an iterable of arguments, a mapping of keyword arguments.
pub(crate) struct Callback(Held<PyAny>);

impl Callback {
    /// A callable that gets the outcome and nothing else.
    #[inline(always)]
    pub(crate) fn plain(callable: Bound<'_, PyAny>) -> Result<Self> {
        if callable.is_exact_instance_of::<PyTuple>() {
            return Self::wrapped(callable);
        }
        Ok(Self(callable.hold()))
    }

    /// A tuple that was added as a callback. Calling it raises TypeError later.
    #[cold]
    fn wrapped(tuple: Bound<'_, PyAny>) -> Result<Self> {
        Self::with_arguments(tuple.py(), &tuple, &[], None)
    }

    /// A callable that gets the outcome and these arguments, the last of which have these names.
    #[inline(always)]
    pub(crate) fn with_arguments<'py>(
        py: Python<'py>,
        callable: &Bound<'py, PyAny>,
        args: &[Bound<'py, PyAny>],
        names: Option<&Bound<'py, PyTuple>>,
    ) -> Result<Self> {
        let head = match names {
            Some(names) => names.as_any().clone(),
            None => py.None().into_bound(py),
        };
        Ok(Self(capi::tuple_of(py, [head, callable.clone()], args)?.into_any().hold()))
    }

    /// A callable that gets the outcome and the contents of `args` and `kwargs` at the time of the
    /// call.
    ///
    /// They are usually a tuple and a dict, but may be anything that a call can unpack, and their
    /// contents may change until then.
    pub(crate) fn with_spread_arguments(
        callable: Bound<'_, PyAny>,
        args: Bound<'_, PyAny>,
        kwargs: Option<Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let py = callable.py();
        let args = match (args.cast_into_exact::<PyTuple>(), &kwargs) {
            (Ok(args), None) => {
                return Self::with_arguments(py, &callable, args.as_slice(), None);
            }
            (Ok(args), Some(_)) => args.into_any(),
            (Err(other), _) => other.into_inner(),
        };
        let kwargs = match kwargs {
            Some(kwargs) => kwargs,
            None => capi::new_dict(py)?.into_any(),
        };
        let dots = py.Ellipsis().into_bound(py);
        let parts = capi::new_tuple(py, [dots, callable, args, kwargs])?;
        Ok(Self(parts.into_any().hold()))
    }

    /// A new reference to the same callable.
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// Whether it is a Python function, or has extra arguments, so that it may be one.
    #[inline(always)]
    pub(crate) fn may_be_of_python(&self, py: Python<'_>) -> bool {
        let callable = self.0.bind(py);
        capi::is_of_python(callable) || callable.is_exact_instance_of::<PyTuple>()
    }

    /// Whether it is a Python function, with or without extra arguments.
    #[inline(always)]
    pub(crate) fn is_of_python(&self, py: Python<'_>) -> bool {
        let callable = self.0.bind(py);
        if capi::is_of_python(callable) {
            return true;
        }
        let Ok(parts) = callable.cast_exact::<PyTuple>() else { return false };
        matches!(parts.as_slice(), [_, callable, ..] if capi::is_of_python(callable))
    }

    /// The callable and its extra arguments, if none of them is a keyword argument.
    pub(crate) fn without_keywords<'a, 'py>(
        &'a self,
        py: Python<'py>,
    ) -> Option<(&'a Bound<'py, PyAny>, &'a [Bound<'py, PyAny>])> {
        let callable = self.0.bind(py);
        let Ok(parts) = callable.cast_exact::<PyTuple>() else { return Some((callable, &[])) };
        match parts.as_slice() {
            [head, callable, args @ ..] if head.is_none() => Some((callable, args)),
            _ => None,
        }
    }

    /// Call it.
    ///
    /// # Errors
    ///
    /// What it raises.
    #[inline(always)]
    pub(crate) fn call<'py>(
        &self,
        outcome: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>, Raised<'py>> {
        let callable = self.0.bind(outcome.py());
        let Ok(parts) = callable.cast_exact::<PyTuple>() else {
            return capi::call_one(callable, outcome);
        };
        match parts.as_slice() {
            [head, callable, rest @ ..] if head.is_none() => {
                capi::call_first(callable, outcome, rest)
            }
            _ => Self::call_with_arguments(parts, outcome),
        }
    }

    #[inline(never)]
    fn call_with_arguments<'py>(
        parts: &Bound<'py, PyTuple>,
        outcome: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>, Raised<'py>> {
        let py = outcome.py();
        let [head, callable, rest @ ..] = parts.as_slice() else {
            // Raises the error, if there is one.
            return capi::call_spread(parts, outcome);
        };
        let names = head.cast_exact::<PyTuple>();
        let ([args, kwargs], false, Err(_)) = (rest, head.is_none(), names) else {
            return capi::call_spread(parts, outcome);
        };
        if let Ok(kwargs) = kwargs.cast_exact::<PyDict>() {
            if let Ok(args) = args.cast_exact::<PyTuple>() {
                return Self::call_unpacked(callable, outcome, args, kwargs);
            }
            if let Ok(args) = args.cast_exact::<PyList>() {
                let args = capi::tuple_of_list(args).map_err(|error| error.into_raised(py))?;
                return Self::call_unpacked(callable, outcome, &args, kwargs);
            }
        }
        // Iterators, mappings: let Python unpack them, or raise an error.
        let spread = names::SPREAD.get(py).map_err(capi::into_raised(py))?;
        spread.call1((callable, outcome, args, kwargs)).map_err(capi::into_raised(py))
    }

    fn call_unpacked<'py>(
        callable: &Bound<'py, PyAny>,
        outcome: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> Result<Bound<'py, PyAny>, Raised<'py>> {
        if kwargs.is_empty() {
            return capi::call_first(callable, outcome, args.as_slice());
        }
        capi::call_with_dict(callable, outcome, args, kwargs)
    }

    /// The callable alone.
    pub(crate) fn callable<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let callable = self.0.bind(py);
        match callable.cast_exact::<PyTuple>() {
            Err(_) => Ok(callable.clone()),
            Ok(parts) => Ok(parts.get_item(1)?),
        }
    }

    /// As a tuple: the callable, its positional arguments and its keyword arguments.
    pub(crate) fn describe<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyTuple>> {
        let callable = self.0.bind(py);
        let Ok(parts) = callable.cast_exact::<PyTuple>() else {
            let [args, kwargs] = [PyTuple::empty(py).into_any(), capi::new_dict(py)?.into_any()];
            return capi::new_tuple(py, [callable.clone(), args, kwargs]);
        };
        let (head, callable) = (parts.get_item(0)?, parts.get_item(1)?);
        let [args, kwargs] = if head.is_none() {
            [capi::slice_from(parts, 2)?.into_any(), capi::new_dict(py)?.into_any()]
        } else if let Ok(names) = head.cast_exact::<PyTuple>() {
            let (named, kwargs) = (names.len(), capi::new_dict(py)?);
            let positional = parts.len().saturating_sub(named);
            let values = parts.iter_borrowed().skip(positional);
            for (name, value) in names.iter_borrowed().zip(values) {
                kwargs.set_item(name, value)?;
            }
            [parts.get_slice(2, positional).into_any(), kwargs.into_any()]
        } else {
            [parts.get_item(2)?, parts.get_item(3)?]
        };
        capi::new_tuple(py, [callable, args, kwargs])
    }
}

impl Traverse for Callback {
    fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.traverse(visit)
    }
}
