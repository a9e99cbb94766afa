//! Caches facts about types until the types change.
//!
//! CPython gives a type another version whenever it or one of its bases is changed.

#[cfg(not(Py_3_11))]
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyType;

use super::cell::Shared;
use super::classes::Native;
use super::inspect::type_of;
use super::kinds::Kind;

/// Up to `N` types of which something is known to be true: where each is, and the version of it
/// that was looked at, in the place that the version's lowest bits say.
pub(crate) struct KnownTypes<const N: usize> {
    places: Shared<[(usize, u32); N]>,
    epoch: Epoch,
}

impl<const N: usize> KnownTypes<N> {
    /// None so far.
    pub(crate) const fn new() -> Self {
        Self { places: Shared::new([(0, 0); N]), epoch: Epoch::new() }
    }

    /// Whether the type of an object is one of them.
    #[inline(always)]
    pub(crate) fn have_type_of(&self, object: &Bound<'_, PyAny>) -> bool {
        let version = type_of(object).version;
        let this = (object.get_type_ptr() as usize, version);
        self.hold(object.py())
            && self.places.with(object.py(), |known| known[version as usize % N]) == this
    }

    /// Remember a type, as it is now. One that is `seldom_asked` about takes no other's place.
    pub(crate) fn remember(&self, kind: &Bound<'_, PyType>, seldom_asked: bool) {
        let py = kind.py();
        let Some(version) = version(kind) else { return };
        if !self.hold(py) {
            return;
        }
        self.places.with(py, |all| {
            let place = &mut all[version as usize % N];
            if !seldom_asked || *place == (0, 0) {
                *place = (kind.as_type_ptr() as usize, version);
            }
        });
    }

    #[inline(always)]
    fn hold(&self, py: Python<'_>) -> bool {
        self.epoch.holds(py, || self.places.with(py, |all| all.fill((0, 0))))
    }
}

/// One of our classes, and its version when something was last found to be true of it.
pub(crate) struct KnownVersion {
    seen: Shared<(Option<Kind<'static>>, u32)>,
    epoch: Epoch,
}

impl KnownVersion {
    /// Nothing is known.
    pub(crate) const fn new() -> Self {
        Self { seen: Shared::new((None, 0)), epoch: Epoch::new() }
    }

    /// Whether it is still true.
    #[inline(always)]
    pub(crate) fn holds(&self, py: Python<'_>) -> bool {
        match self.seen.with(py, |seen| *seen) {
            (Some(class), version) => {
                class.slots(py).version == version && self.epoch.holds(py, || self.forget(py))
            }
            (None, _) => false,
        }
    }

    /// Remember that it is true of this class as it is now.
    pub(crate) fn remember<T: Native>(&self, py: Python<'_>) {
        self.epoch.holds(py, || {});
        let class = Kind::of_ours::<T>(py);
        let version = class.slots(py).version;
        self.seen.with(py, |seen| *seen = ((version != 0).then_some(class), version));
    }

    /// Forget that it was.
    pub(crate) fn forget(&self, py: Python<'_>) {
        self.seen.with(py, |seen| *seen = (None, 0));
    }
}

/// The version of a type, if it has one: a look-up of an attribute gives it one, if there are any
/// left.
#[inline(always)]
pub(crate) fn version(kind: &Bound<'_, PyType>) -> Option<u32> {
    let version = Kind::from(kind).slots(kind.py()).version;
    (version != 0).then_some(version)
}

/// Since when versions mean what they mean. From CPython 3.11 on they always do.
#[cfg(Py_3_11)]
pub(crate) struct Epoch;

#[cfg(Py_3_11)]
impl Epoch {
    pub(crate) const fn new() -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn holds(&self, _py: Python<'_>, _forget: impl FnOnce()) -> bool {
        true
    }
}

/// Since when versions mean what they mean.
///
/// CPython 3.10 begins anew when a program clears its cache of types. It takes the versions of all
/// types away then, also that of a class which nobody ever changes.
#[cfg(not(Py_3_11))]
pub(crate) struct Epoch(AtomicU32);

/// The epochs are numbered.
#[cfg(not(Py_3_11))]
static NOW: AtomicU32 = AtomicU32::new(0);

/// A class that nobody changes, and its version when this epoch began.
#[cfg(not(Py_3_11))]
static MARK: Shared<(Option<Py<PyType>>, u32)> = Shared::new((None, 0));

#[cfg(not(Py_3_11))]
impl Epoch {
    /// Nothing has been written down.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Whether what was written down is still true. It is forgotten where another epoch has begun.
    #[inline(always)]
    pub(crate) fn holds(&self, py: Python<'_>, forget: impl FnOnce()) -> bool {
        let goes_on = MARK.with(py, |(class, before)| match class {
            Some(class) => version(class.bind(py)) == Some(*before),
            None => false,
        });
        if !goes_on && !begin_anew(py) {
            return false;
        }
        let now = NOW.load(Ordering::Relaxed);
        if self.0.swap(now, Ordering::Relaxed) != now {
            forget();
        }
        true
    }
}

/// Begin another epoch. False if versions cannot be relied upon.
#[cfg(not(Py_3_11))]
#[cold]
fn begin_anew(py: Python<'_>) -> bool {
    use pyo3::types::PyTuple;

    use super::in_flight::ok;
    use super::inspect::lookup;
    use super::interned::intern;
    use super::making::new_str;
    use super::safe;

    NOW.fetch_add(1, Ordering::Relaxed);
    let kept = MARK.with(py, |(class, _)| class.as_ref().map(|class| class.bind(py).clone()));
    let class = match kept {
        Some(class) => class,
        None => {
            let (Some(name), Some(dict)) =
                (ok(py, new_str(py, "_Mark")), ok(py, safe::new_dict(py)))
            else {
                return false;
            };
            let made = py.get_type::<PyType>().call1((name, PyTuple::empty(py), dict));
            let Some(made) = ok(py, made).and_then(|made| made.cast_into::<PyType>().ok()) else {
                return false;
            };
            made
        }
    };
    // That gives it a version, if there are any.
    lookup(&class, intern!(py, "__class__"));
    let version = version(&class).unwrap_or(0);
    let class = class.unbind();
    let before = MARK.with(py, |mark| std::mem::replace(mark, (Some(class), version)));
    drop(before.0.map(|before| before.into_bound(py)));
    version != 0
}
