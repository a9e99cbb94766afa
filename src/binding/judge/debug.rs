//! Debug mode: the attribute `deferred.debug`.

use pyo3::prelude::*;

use crate::binding::capi::{
    dict_lacks,
    error::{Error, Result},
    has_instance_dict,
    interned::intern,
    is_exact, lookup,
    overrides::overrides,
    stack::Nested,
    versions::{KnownTypes, KnownVersion},
};
use crate::binding::model::deferred::Deferred;

/// The version of `Deferred` for which `Deferred.debug` is known to be false.
static NOT_DEBUGGING: KnownVersion = KnownVersion::new();

/// `deferred.debug`
#[inline(always)]
pub(crate) fn debugging(deferred: &Bound<'_, Deferred>) -> Result<bool> {
    if is_exact::<Deferred>(deferred) && !has_instance_dict(deferred) {
        debugging_by_default(deferred.py())
    } else {
        debugging_of_another(deferred).into()
    }
}

/// Whether it is known, without looking, that `deferred.debug` is false and that there is no
/// instance dict.
#[inline(always)]
pub(crate) fn is_known_not_to_debug(deferred: &Bound<'_, Deferred>) -> bool {
    is_exact::<Deferred>(deferred)
        && !has_instance_dict(deferred)
        && NOT_DEBUGGING.holds(deferred.py())
}

/// `Deferred.debug`
#[inline(always)]
pub(crate) fn debugging_by_default(py: Python<'_>) -> Result<bool> {
    if NOT_DEBUGGING.holds(py) {
        return Ok(false);
    }
    debugging_anew(py).into()
}

/// A `Result<bool>` that is returned in a register.
enum DebugFlag {
    No,
    Yes,
    Raised(Error),
}

impl From<Result<bool>> for DebugFlag {
    fn from(result: Result<bool>) -> Self {
        match result {
            Ok(false) => Self::No,
            Ok(true) => Self::Yes,
            Err(error) => Self::Raised(error),
        }
    }
}

impl From<DebugFlag> for Result<bool> {
    #[inline(always)]
    fn from(flag: DebugFlag) -> Self {
        match flag {
            DebugFlag::No => Ok(false),
            DebugFlag::Yes => Ok(true),
            DebugFlag::Raised(error) => Err(error),
        }
    }
}

#[cold]
fn debugging_anew(py: Python<'_>) -> DebugFlag {
    let debug = look_up(&py.get_type::<Deferred>());
    // The look-up may have given the class a version.
    match debug {
        DebugFlag::No => NOT_DEBUGGING.remember::<Deferred>(py, || {
            matches!(look_up(&py.get_type::<Deferred>()), DebugFlag::No)
        }),
        DebugFlag::Yes | DebugFlag::Raised(_) => NOT_DEBUGGING.forget(py),
    }
    debug
}

#[cold]
fn look_up(object: &Bound<'_, PyAny>) -> DebugFlag {
    let look =
        || -> Result<bool> { Ok(object.getattr(intern!(object.py(), "debug"))?.is_truthy()?) };
    look().into()
}

/// Subclasses that do not define `debug`, nor another way to look it up.
static WITHOUT_DEBUG: KnownTypes<16> = KnownTypes::new();

/// Whether `debug` of this Deferred is the attribute of `Deferred`, and there is no other.
#[inline(always)]
fn has_debug_by_default(deferred: &Bound<'_, Deferred>) -> bool {
    (WITHOUT_DEBUG.have_type_of(deferred.as_any()) || class_has_debug_by_default(deferred))
        && dict_lacks(deferred, intern!(deferred.py(), "debug"))
}

#[cold]
fn class_has_debug_by_default(deferred: &Bound<'_, Deferred>) -> bool {
    let (py, class) = (deferred.py(), deferred.get_type());
    let base = py.get_type::<Deferred>();
    let is_ours = |name| lookup(&class, name) == lookup(&base, name);
    let is_so = || is_ours(intern!(py, "debug")) && is_ours(intern!(py, "__getattribute__"));
    let is_default = is_so();
    if is_default {
        WITHOUT_DEBUG.remember(&class, false, is_so);
    }
    is_default
}

#[inline(never)]
fn debugging_of_another(deferred: &Bound<'_, Deferred>) -> DebugFlag {
    if has_debug_by_default(deferred) {
        return debugging_by_default(deferred.py()).into();
    }
    if overrides::<Deferred>(deferred, intern!(deferred.py(), "debug")) {
        // It may be a property, which can do anything.
        match Nested::enter(deferred.py()) {
            Ok(_nested) => return look_up(deferred),
            Err(error) => return DebugFlag::Raised(error),
        }
    }
    look_up(deferred)
}
