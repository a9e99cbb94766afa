//! Detects failures, and failure classes, that override none of the methods a caller relies on.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::binding::capi::{self, error::Result, interned::intern, versions::KnownTypes};
use crate::binding::model::failure::FailureBase;

/// Groups of Failure's methods that a subclass or an instance may override.
#[derive(Clone, Copy)]
pub(crate) enum Asked {
    /// Methods that tell what the exception is.
    Parents = 0,
    /// The same, and methods that act on the exception.
    Check = 1,
    /// Methods used for its message.
    Text = 2,
    /// Methods used for a copy.
    Copy = 3,
}

/// For each group, classes that override none of it.
static PLAIN: [KnownTypes<8>; 4] = [const { KnownTypes::new() }; 4];

/// The methods of `Failure` under these names, as it was defined.
static METHODS: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();

/// The methods in these groups that are not native: the group, and the name.
fn names_of_methods<'py>(py: Python<'py>) -> [(Asked, &'py Bound<'py, PyString>); 9] {
    [
        (Asked::Check, intern!(py, "raiseException")),
        (Asked::Text, intern!(py, "getTraceback")),
        (Asked::Text, intern!(py, "getBriefTraceback")),
        (Asked::Text, intern!(py, "printTraceback")),
        (Asked::Text, intern!(py, "printBriefTraceback")),
        (Asked::Copy, intern!(py, "__reduce_ex__")),
        (Asked::Copy, intern!(py, "__reduce__")),
        (Asked::Copy, intern!(py, "__getstate__")),
        (Asked::Copy, intern!(py, "__setstate__")),
    ]
}

/// Remember the methods of `Failure`, as it was defined.
///
/// # Errors
///
/// `AttributeError` if it lacks one.
pub(crate) fn register(class: &Bound<'_, PyType>) -> Result<()> {
    let py = class.py();
    let mut methods = Vec::new();
    for (_, name) in names_of_methods(py) {
        capi::push(py, &mut methods, class.getattr(name)?)?;
    }
    capi::keep(&METHODS, capi::tuple_of(py, [], &methods)?);
    Ok(())
}

/// Whether a failure has an attribute of its own with one of these names, such as a method that a
/// program has set on this very object.
#[inline(always)]
pub(crate) fn has_of_its_own(
    failure: &Bound<'_, FailureBase>,
    names: &[&Bound<'_, PyString>],
) -> bool {
    !capi::has_no_exception_dict(failure.as_super()) && has_in_dict(failure, names)
}

#[inline(never)]
fn has_in_dict(failure: &Bound<'_, FailureBase>, names: &[&Bound<'_, PyString>]) -> bool {
    match capi::exception_dict(failure) {
        Ok(dict) if has_only_ours(&dict) => false,
        Ok(dict) => names.iter().any(|name| capi::is_key_of(&dict, name) != Some(false)),
        Err(_) => true,
    }
}

/// Whether the instance dict contains only what failures cache there. That takes fewer look-ups
/// than one for each method.
fn has_only_ours(dict: &Bound<'_, PyDict>) -> bool {
    let py = dict.py();
    let ours = [intern!(py, "_frames"), intern!(py, "_parents")];
    let mut others = dict.len();
    if others > ours.len() {
        return false;
    }
    for name in ours {
        if others > 0 && capi::is_key_of(dict, name) == Some(true) {
            others -= 1;
        }
    }
    others == 0
}

impl Asked {
    /// Whether neither the failure nor its class overrides any of these methods.
    #[inline(always)]
    pub(crate) fn is_plainly_asked(self, slf: &Bound<'_, FailureBase>) -> bool {
        (PLAIN[self as usize].have_type_of(slf.as_any()) || self.is_plain(&slf.get_type()))
            && (capi::has_no_exception_dict(slf.as_super()) || self.has_none_of_its_own(slf))
    }

    /// Whether none of these methods is in the failure's instance dict.
    #[inline(never)]
    fn has_none_of_its_own(self, slf: &Bound<'_, FailureBase>) -> bool {
        let py = slf.py();
        !match self {
            Self::Parents => false,
            Self::Check => has_in_dict(slf, &[intern!(py, "check"), intern!(py, "raiseException")]),
            Self::Text => has_in_dict(
                slf,
                &[
                    intern!(py, "getErrorMessage"),
                    intern!(py, "getTraceback"),
                    intern!(py, "getBriefTraceback"),
                    intern!(py, "printTraceback"),
                    intern!(py, "printBriefTraceback"),
                ],
            ),
            Self::Copy => has_in_dict(
                slf,
                &[
                    intern!(py, "__reduce_ex__"),
                    intern!(py, "__reduce__"),
                    intern!(py, "__getstate__"),
                ],
            ),
        }
    }

    #[cold]
    fn is_plain(self, class: &Bound<'_, PyType>) -> bool {
        let py = class.py();
        let base = py.get_type::<FailureBase>();
        let is_ours = |name| capi::lookup(class, name) == capi::lookup(&base, name);
        let native: &[_] = match self {
            Self::Parents | Self::Copy => &[],
            Self::Check => &[intern!(py, "check"), intern!(py, "value"), intern!(py, "tb")],
            Self::Text => &[
                intern!(py, "value"),
                intern!(py, "tb"),
                intern!(py, "captureVars"),
                intern!(py, "count"),
                intern!(py, "frames"),
                intern!(py, "getErrorMessage"),
                intern!(py, "__setattr__"),
            ],
        };
        let has_methods = || {
            METHODS.get(py).is_some_and(|methods| {
                let methods = methods.bind(py).iter_borrowed();
                names_of_methods(py)
                    .into_iter()
                    .zip(methods)
                    .filter(|((asked, _), _)| *asked as usize == self as usize)
                    .all(|((_, name), method)| {
                        capi::lookup(class, name) == method.as_ptr() as usize
                    })
            })
        };
        let is_so = || {
            is_ours(intern!(py, "__getattribute__"))
                && is_ours(intern!(py, "parents"))
                && is_ours(intern!(py, "type"))
                && capi::lookup(class, intern!(py, "_parents")) == py.None().as_ptr() as usize
                && native.iter().all(|name| is_ours(name))
                && has_methods()
                && match self {
                    Self::Parents | Self::Check => true,
                    Self::Text | Self::Copy => {
                        capi::lookup(class, intern!(py, "_frames")) == 0
                            && capi::lookup(class, intern!(py, "__getattr__")) == 0
                    }
                }
        };
        let is_plain = is_so();
        if is_plain {
            PLAIN[self as usize].remember(class, false, is_so);
        }
        is_plain
    }
}
