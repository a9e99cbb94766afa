//! Caches the full names in a class's MRO.
//!
//! `Failure.check` compares classes by their full names, as Twisted's does. The names of a class
//! are cached until the class changes.

#[cfg(Py_GIL_DISABLED)]
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PyString, PyTuple, PyType};

use crate::binding::capi::{
    self, Held, Hold, Text,
    cell::Shared,
    error::Result,
    interned::intern,
    versions::{Epoch, version},
};
use crate::binding::model::names;

/// The cached facts about a class whose metaclass is `type`.
struct ClassNames {
    /// The address of the class, and its version.
    class: usize,
    version: u32,
    /// The full names of the class and its bases, in MRO order.
    names: Held<PyTuple>,
    /// The same, as a set.
    set: Held<PyFrozenSet>,
    /// The first of them.
    own: Held<PyString>,
    /// Whether it derives from `Exception`.
    is_exception: bool,
    /// From CPython 3.13 on, a new `__name__` does not change the version.
    #[cfg(Py_3_13)]
    bare: capi::BareNames,
}

impl ClassNames {
    #[inline(always)]
    fn is_of(&self, class: &Bound<'_, PyType>, version: u32) -> bool {
        let is_same = self.class == class.as_ptr() as usize && self.version == version;
        #[cfg(Py_3_13)]
        let is_same = is_same && self.bare.are_those_of(class);
        is_same
    }

    /// Whether an exception of this class, `kind`, is a `wanted`, of which these facts are known.
    #[inline(always)]
    fn is_one(
        &self,
        wanted_known: &Self,
        kind: &Bound<'_, PyType>,
        wanted: &Bound<'_, PyType>,
    ) -> bool {
        let py = kind.py();
        match (self.is_exception, wanted_known.is_exception) {
            (true, true) => self.set.bind(py).contains(wanted_known.own.bind(py)).unwrap_or(false),
            // Then the classes themselves are compared.
            (false, false) => kind.is(wanted),
            _ => false,
        }
    }
}

/// An entry of the table. Without the GIL, an entry that was found is kept alive while it is used:
/// the table is not locked then, and other threads may replace it.
#[cfg(not(Py_GIL_DISABLED))]
type Entry = ClassNames;
#[cfg(Py_GIL_DISABLED)]
type Entry = Arc<ClassNames>;

/// The size of the cache.
const KEPT: usize = 256;

/// The classes, each at the index given by the lowest bits of its version.
static CLASSES: Shared<[Option<Entry>; KEPT]> = Shared::new([const { None }; KEPT]);
static EPOCH: Epoch = Epoch::new();

/// Whether the cached facts are still true.
#[inline(always)]
fn they_hold(py: Python<'_>) -> bool {
    EPOCH.holds(py, || {
        let before = CLASSES.with(py, |classes| std::mem::replace(classes, [const { None }; KEPT]));
        drop(before);
    })
}

/// The facts about a class, if they are cached and it is unchanged.
#[inline(always)]
fn find<'a>(classes: &'a [Option<Entry>; KEPT], class: &Bound<'_, PyType>) -> Option<&'a Entry> {
    let version = version(class)?;
    classes[version as usize % KEPT].as_ref().filter(|kind| kind.is_of(class, version))
}

/// Use the facts about a class, if they are cached.
#[cfg(not(Py_GIL_DISABLED))]
#[inline(always)]
fn look_at<R>(class: &Bound<'_, PyType>, look: impl FnOnce(&ClassNames) -> R) -> Option<R> {
    CLASSES.with(class.py(), |classes| find(classes, class).map(look))
}

/// Use the facts about a class, if they are cached. The table is not locked meanwhile.
#[cfg(Py_GIL_DISABLED)]
fn look_at<R>(class: &Bound<'_, PyType>, look: impl FnOnce(&ClassNames) -> R) -> Option<R> {
    let found = CLASSES.with(class.py(), |classes| find(classes, class).cloned())?;
    Some(look(&found))
}

/// Cache the facts about a class. False if that is not possible.
#[cold]
fn learn(class: &Bound<'_, PyType>) -> Result<bool> {
    let py = class.py();
    if !capi::has_plain_metaclass(class) {
        return Ok(false);
    }
    let (module, name) = (intern!(py, "__module__"), intern!(py, "__name__"));
    // This gives it a version, unless CPython has run out.
    capi::lookup(class, module);
    let Some(found) = version(class) else { return Ok(false) };
    let mro = class.mro();
    let mut all = Vec::new();
    for base in mro.iter_borrowed() {
        let (module, name) = (base.getattr(module)?, base.getattr(name)?);
        let (Ok(module), Ok(name)) =
            (module.cast_into_exact::<PyString>(), name.cast_into_exact::<PyString>())
        else {
            return Ok(false);
        };
        let parts = [Text::Python(module), Text::Ours("."), Text::Python(name)];
        capi::push(py, &mut all, capi::joined(py, parts)?)?;
    }
    let Some(own) = all.first() else { return Ok(false) };
    let kind = ClassNames {
        class: class.as_ptr() as usize,
        version: found,
        own: own.clone().hold(),
        set: PyFrozenSet::new(py, &all)?.hold(),
        names: PyTuple::new(py, &all)?.hold(),
        is_exception: capi::is_exception_class(class),
        #[cfg(Py_3_13)]
        bare: capi::BareNames::of(class)?,
    };
    if version(class) != Some(found) {
        return Ok(false);
    }
    #[cfg(Py_GIL_DISABLED)]
    let kind = Arc::new(kind);
    let before = CLASSES.with(py, |classes| classes[found as usize % KEPT].replace(kind));
    drop(before);
    Ok(true)
}

/// Whether `Failure.check` says that an exception of the class `kind` is a `wanted`. None if the
/// names of the two have to be compared.
#[inline]
pub(crate) fn is_a(kind: &Bound<'_, PyType>, wanted: &Bound<'_, PyType>) -> Result<Option<bool>> {
    let py = kind.py();
    if !they_hold(py) {
        return Ok(None);
    }
    // The second time, both are cached, unless they have the same index.
    for _ in 0..2 {
        // Without the GIL, the table is not locked while they are used: looking into a set may lock
        // that, and detach the thread.
        #[cfg(Py_GIL_DISABLED)]
        let known = CLASSES
            .with(py, |classes| {
                Some((find(classes, kind)?.clone(), find(classes, wanted)?.clone()))
            })
            .map(|(kind_known, wanted_known)| kind_known.is_one(&wanted_known, kind, wanted));
        #[cfg(not(Py_GIL_DISABLED))]
        let known = CLASSES.with(py, |classes| {
            let (kind_known, wanted_known) = (find(classes, kind)?, find(classes, wanted)?);
            Some(kind_known.is_one(wanted_known, kind, wanted))
        });
        if known.is_some() {
            return Ok(known);
        }
        if !learn(kind)? || !learn(wanted)? {
            break;
        }
    }
    Ok(None)
}

/// Whether `Failure.check` says that an exception of this class has a class with this name.
#[inline]
pub(crate) fn is_called(
    kind: &Bound<'_, PyType>,
    name: &Bound<'_, PyString>,
) -> Result<Option<bool>> {
    let look = |kind: &ClassNames| {
        kind.is_exception && kind.set.bind(name.py()).contains(name).unwrap_or(false)
    };
    known(kind, look)
}

/// The names in the MRO of a class that derives from `Exception`.
pub(crate) fn names_of<'py>(kind: &Bound<'py, PyType>) -> Result<Option<Bound<'py, PyTuple>>> {
    let names =
        known(kind, |known| known.is_exception.then(|| known.names.bind(kind.py()).clone()));
    Ok(names?.flatten())
}

/// The facts about a class, if they can be cached.
fn known<R>(class: &Bound<'_, PyType>, look: impl Fn(&ClassNames) -> R) -> Result<Option<R>> {
    let py = class.py();
    if !they_hold(py) {
        return Ok(None);
    }
    let found = look_at(class, &look);
    if found.is_some() || !learn(class)? {
        return Ok(found);
    }
    Ok(look_at(class, &look))
}

/// The full name of a class.
pub(crate) fn qualified_name<'py>(class: &Bound<'py, PyType>) -> Result<Bound<'py, PyAny>> {
    let py = class.py();
    if let Some(name) = known(class, |known| known.own.bind(py).clone())? {
        return Ok(name.into_any());
    }
    Ok(names::QUAL.get(py)?.call1((class,))?)
}
