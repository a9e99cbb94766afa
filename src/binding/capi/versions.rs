//! Caches facts about types until the types change.
//!
//! CPython gives a type a new version whenever the type or one of its bases is changed.

#[cfg(Py_GIL_DISABLED)]
use std::sync::atomic::AtomicPtr;
#[cfg(any(not(Py_3_11), Py_GIL_DISABLED))]
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyType;

use super::cell::SEVERAL_THREADS;
#[cfg(not(Py_GIL_DISABLED))]
use super::cell::Shared;
use super::classes::Native;
use super::inspect::type_of;
use super::kinds::Kind;

/// Up to `N` types for which a fact is known to be true: the address of each, and its version, at
/// the index given by the version's lowest bits.
pub(crate) struct KnownTypes<const N: usize> {
    places: Places<N>,
    epoch: Epoch,
}

/// A type, and its version.
type Seen = (usize, u32);

#[cfg(not(Py_GIL_DISABLED))]
struct Places<const N: usize>(Shared<[Seen; N]>);

#[cfg(not(Py_GIL_DISABLED))]
impl<const N: usize> Places<N> {
    const fn new() -> Self {
        Self(Shared::new([(0, 0); N]))
    }

    #[inline(always)]
    fn has(&self, py: Python<'_>, this: Seen) -> bool {
        self.0.with(py, |all| all[this.1 as usize % N]) == this
    }

    fn put(&self, py: Python<'_>, this: Seen, if_free: bool) {
        self.0.with(py, |all| {
            let place = &mut all[this.1 as usize % N];
            if !if_free || *place == (0, 0) {
                *place = this;
            }
        });
    }

    fn clear(&self, py: Python<'_>) {
        self.0.with(py, |all| all.fill((0, 0)));
    }
}

/// Only the versions: no two types have the same one. So each entry is one word, which any thread
/// may read and write. The fact was true of a type that had this version, whichever has it now.
#[cfg(Py_GIL_DISABLED)]
struct Places<const N: usize>([AtomicU32; N]);

#[cfg(Py_GIL_DISABLED)]
impl<const N: usize> Places<N> {
    const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; N])
    }

    #[inline(always)]
    fn has(&self, _py: Python<'_>, (_, version): Seen) -> bool {
        version != 0 && self.0[version as usize % N].load(Ordering::Relaxed) == version
    }

    fn put(&self, _py: Python<'_>, (_, version): Seen, if_free: bool) {
        let place = &self.0[version as usize % N];
        if if_free {
            let _ = place.compare_exchange(0, version, Ordering::Relaxed, Ordering::Relaxed);
        } else {
            place.store(version, Ordering::Relaxed);
        }
    }

    fn clear(&self, _py: Python<'_>) {
        for place in &self.0 {
            place.store(0, Ordering::Relaxed);
        }
    }
}

impl<const N: usize> KnownTypes<N> {
    /// Empty.
    pub(crate) const fn new() -> Self {
        Self { places: Places::new(), epoch: Epoch::new() }
    }

    /// Whether the type of an object is among them.
    #[inline(always)]
    pub(crate) fn have_type_of(&self, object: &Bound<'_, PyAny>) -> bool {
        let version = type_of(object).version;
        let this = (object.get_type_ptr() as usize, version);
        self.hold(object.py()) && self.places.has(object.py(), this)
    }

    /// Whether a type is among them.
    #[inline(always)]
    pub(crate) fn have(&self, kind: &Bound<'_, PyType>) -> bool {
        let py = kind.py();
        let version = Kind::from(kind).slots(py).version;
        self.hold(py) && self.places.has(py, (kind.as_type_ptr() as usize, version))
    }

    /// Add a type in its current version. If it is `seldom_asked` about, it does not replace
    /// another.
    ///
    /// Where another thread may have changed the type since the fact was looked up, that is looked
    /// up again.
    pub(crate) fn remember(
        &self,
        kind: &Bound<'_, PyType>,
        seldom_asked: bool,
        is_true: impl FnOnce() -> bool,
    ) {
        let py = kind.py();
        let Some(version) = version(kind) else { return };
        if !self.hold(py) || (SEVERAL_THREADS && !is_true()) {
            return;
        }
        self.places.put(py, (kind.as_type_ptr() as usize, version), seldom_asked);
    }

    #[inline(always)]
    fn hold(&self, py: Python<'_>) -> bool {
        self.epoch.holds(py, || self.places.clear(py))
    }
}

/// One of our classes, and the version for which a fact was last known to be true.
pub(crate) struct KnownVersion {
    seen: SeenOfOurs,
    epoch: Epoch,
}

/// A class, or none, and its version.
#[cfg(not(Py_GIL_DISABLED))]
struct SeenOfOurs(Shared<(Option<Kind<'static>>, u32)>);

#[cfg(not(Py_GIL_DISABLED))]
impl SeenOfOurs {
    const fn new() -> Self {
        Self(Shared::new((None, 0)))
    }

    #[inline(always)]
    fn get(&self, py: Python<'_>) -> (Option<Kind<'static>>, u32) {
        self.0.with(py, |seen| *seen)
    }

    fn set(&self, py: Python<'_>, to: (Option<Kind<'static>>, u32)) {
        self.0.with(py, |seen| *seen = to);
    }
}

/// It is always the same class, or none.
#[cfg(Py_GIL_DISABLED)]
struct SeenOfOurs {
    class: AtomicPtr<pyo3::ffi::PyTypeObject>,
    version: AtomicU32,
}

#[cfg(Py_GIL_DISABLED)]
impl SeenOfOurs {
    const fn new() -> Self {
        Self { class: AtomicPtr::new(std::ptr::null_mut()), version: AtomicU32::new(0) }
    }

    #[inline(always)]
    fn get(&self, _py: Python<'_>) -> (Option<Kind<'static>>, u32) {
        let class = self.class.load(Ordering::Relaxed);
        // SAFETY: null or a class of ours, which is never freed.
        let class = (!class.is_null()).then(|| unsafe { Kind::at(class) });
        // 0 is never the version of a class with a known fact.
        match (class, self.version.load(Ordering::Relaxed)) {
            (_, 0) => (None, 0),
            seen => seen,
        }
    }

    fn set(&self, _py: Python<'_>, (class, version): (Option<Kind<'static>>, u32)) {
        if let Some(class) = class {
            self.class.store(class.as_ptr(), Ordering::Relaxed);
        }
        self.version.store(version, Ordering::Relaxed);
    }
}

impl KnownVersion {
    /// Nothing is known yet.
    pub(crate) const fn new() -> Self {
        Self { seen: SeenOfOurs::new(), epoch: Epoch::new() }
    }

    /// Whether the fact is still true.
    #[inline(always)]
    pub(crate) fn holds(&self, py: Python<'_>) -> bool {
        match self.seen.get(py) {
            (Some(class), version) => {
                class.slots(py).version == version && self.epoch.holds(py, || self.forget(py))
            }
            (None, _) => false,
        }
    }

    /// Record that it is true of this class in its current version, as [`KnownTypes::remember`] does.
    pub(crate) fn remember<T: Native>(&self, py: Python<'_>, is_true: impl FnOnce() -> bool) {
        self.epoch.holds(py, || {});
        let class = Kind::of_ours::<T>(py);
        let version = class.slots(py).version;
        if SEVERAL_THREADS && !is_true() {
            return;
        }
        self.seen.set(py, ((version != 0).then_some(class), version));
    }

    /// Forget it.
    pub(crate) fn forget(&self, py: Python<'_>) {
        self.seen.set(py, (None, 0));
    }
}

/// The version of a type, if it has one. Looking up an attribute gives it one, unless CPython has
/// run out.
#[inline(always)]
pub(crate) fn version(kind: &Bound<'_, PyType>) -> Option<u32> {
    let version = Kind::from(kind).slots(kind.py()).version;
    (version != 0).then_some(version)
}

/// When versions were last reset. From CPython 3.11 on, they never are.
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

/// When versions were last reset.
///
/// CPython 3.10 resets the versions of all types when a program clears the type cache, even that of
/// a class that nobody ever changes.
#[cfg(not(Py_3_11))]
pub(crate) struct Epoch(AtomicU32);

/// The number of the current epoch.
#[cfg(not(Py_3_11))]
static NOW: AtomicU32 = AtomicU32::new(0);

/// A class that nobody changes, and its version when this epoch began.
#[cfg(not(Py_3_11))]
static MARK: Shared<(Option<Py<PyType>>, u32)> = Shared::new((None, 0));

#[cfg(not(Py_3_11))]
impl Epoch {
    /// Nothing is cached yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Whether cached facts are still true. If another epoch has begun, they are forgotten.
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
    // This gives it a version, unless CPython has run out.
    lookup(&class, intern!(py, "__class__"));
    let version = version(&class).unwrap_or(0);
    let class = class.unbind();
    let before = MARK.with(py, |mark| std::mem::replace(mark, (Some(class), version)));
    drop(before.0.map(|before| before.into_bound(py)));
    version != 0
}
