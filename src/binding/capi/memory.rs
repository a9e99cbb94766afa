//! Free lists for short-lived objects, and fast access to their types.
//!
//! Most Deferreds live for less than one Python call. So the memory of a few hundred is kept for
//! reuse, as CPython does for lists, dicts and frames.

use std::ffi::{c_int, c_void};
use std::iter;
use std::marker::PhantomData;
use std::mem::{self, transmute};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyClass};

use super::cell::Shared;
use super::conversions::FromC;
use super::dying::{self, Dead, Native};
use super::error::Result;
use super::inspect::is_key_of;
use super::kinds::Kind;
use super::lives;
use super::safe;
use super::{panics, stack};

/// What is known of a class.
pub(crate) struct Class {
    /// The type object. PyO3 knows it, too, but asks each time whether it has been made.
    kind: AtomicPtr<ffi::PyTypeObject>,
    /// Where its objects have the slots for their dict and for weak references.
    dict_offset: AtomicIsize,
    weak_offset: AtomicIsize,
    /// What frees its objects, whatever has happened to them.
    pyo3_dealloc: OnceLock<ffi::destructor>,
    /// What takes them out of a ring.
    pyo3_clear: OnceLock<ffi::inquiry>,
    /// What shows the collector the part of its objects that is its, and what the other, which is
    /// the base's.
    traverse: OnceLock<[ffi::traverseproc; 2]>,
    /// What takes them out of a ring: the base's, then its own.
    clear: OnceLock<[ffi::inquiry; 2]>,
}

impl Class {
    pub(crate) const fn new() -> Self {
        Self {
            kind: AtomicPtr::new(ptr::null_mut()),
            dict_offset: AtomicIsize::new(0),
            weak_offset: AtomicIsize::new(0),
            pyo3_dealloc: OnceLock::new(),
            pyo3_clear: OnceLock::new(),
            traverse: OnceLock::new(),
            clear: OnceLock::new(),
        }
    }

    /// The type object. Null until the module is made.
    #[inline(always)]
    pub(super) fn kind(&self) -> *mut ffi::PyTypeObject {
        self.kind.load(Ordering::Relaxed)
    }

    /// What frees an object of the class, or that part of an object of a subclass which is its: to
    /// be called once for a dead one, attached.
    pub(super) fn destructor(&self) -> Option<ffi::destructor> {
        self.pyo3_dealloc.get().copied()
    }
}

/// The dict of an object, if it has one.
#[inline(always)]
fn dict_of<'a, 'py, T: Native>(object: &'a Bound<'py, T>) -> Option<Borrowed<'a, 'py, PyAny>> {
    let offset = T::class().dict_offset.load(Ordering::Relaxed);
    if offset == 0 {
        return None;
    }
    // SAFETY: an object of the class or a subclass, which has a slot at this offset: a dict or
    // null. No code runs here that could replace it.
    unsafe {
        let slot = object.as_ptr().byte_offset(offset).cast::<*mut ffi::PyObject>();
        Borrowed::from_ptr_or_opt(object.py(), *slot)
    }
}

/// Whether an object has a dict.
#[inline(always)]
pub(super) fn has_dict<T: Native>(object: &Bound<'_, T>) -> bool {
    dict_of(object).is_some()
}

/// Whether an object has no dict, or none with this key.
#[inline(always)]
pub(crate) fn dict_lacks<T: Native>(object: &Bound<'_, T>, key: &Bound<'_, PyString>) -> bool {
    dict_of(object).is_none_or(|dict| is_key_of(&dict, key) == Some(false))
}

/// A class of ours or one that comes after it, as `tp_new` gets it.
#[repr(transparent)]
pub(super) struct Subclass<'a, 'py, T>(Borrowed<'a, 'py, PyType>, PhantomData<T>);

impl<T> Clone for Subclass<'_, '_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Subclass<'_, '_, T> {}

impl<'py, T> Subclass<'_, 'py, T> {
    pub(super) fn py(&self) -> Python<'py> {
        self.0.py()
    }

    /// As a type.
    pub(super) fn as_type(&self) -> &Bound<'py, PyType> {
        &self.0
    }
}

impl<'a, 'py, T: PyClass> Subclass<'a, 'py, T> {
    /// As one that comes after the base.
    pub(super) fn of_base(self) -> Subclass<'a, 'py, T::BaseType> {
        Subclass(self.0, PhantomData)
    }
}

/// Set how the objects of a class are freed.
pub(crate) fn bury<T: Native>(py: Python<'_>) {
    bury_by::<T>(py, dying::dealloc::<T>);
}

/// Set how the objects of a class are freed, and keep their memory for reuse.
pub(crate) fn recycle<T: Recycled>(py: Python<'_>) {
    bury_by::<T>(py, dealloc::<T>);
}

/// Have the objects of a class freed by this function.
fn bury_by<T: Native>(py: Python<'_>, dealloc: extern "C" fn(Dead<T>)) {
    let (class, kind) = (T::class(), T::type_object_raw(py));
    // SAFETY: a type of ours, complete, whose `tp_dealloc`, PyO3's, is replaced once. The
    // interpreter calls it attached, with a dead object of the type or a subclass: one pointer.
    unsafe {
        if let Some(pyo3_dealloc) = (*kind).tp_dealloc
            && class.pyo3_dealloc.set(pyo3_dealloc).is_ok()
        {
            let dealloc = transmute::<extern "C" fn(Dead<T>), ffi::destructor>(dealloc);
            (*kind).tp_dealloc = Some(dealloc);
        }
        class.dict_offset.store((*kind).tp_dictoffset, Ordering::Relaxed);
        class.weak_offset.store((*kind).tp_weaklistoffset, Ordering::Relaxed);
    }
    class.kind.store(kind, Ordering::Relaxed);
}

/// See to the rings that objects of a class stand in, a class with a dict of its own whose base is
/// `object`, and of those subclasses of ours that PyO3 has clear their objects in the same way.
/// Its deaths have been seen to.
pub(crate) fn keep_dicts<T: Native>(py: Python<'_>, subclasses: &[Bound<'_, PyType>]) {
    let of = Kind::of::<T>(py);
    let kinds: Vec<_> = iter::once(of).chain(subclasses.iter().map(Kind::from)).collect();
    let all = kinds.iter().all(|&kind| safe::comes_after(py, kind, of));
    if !all || T::class().dict_offset.load(Ordering::Relaxed) <= 0 {
        return;
    }
    // SAFETY: type objects of ours, alive, whose objects have a slot for a dict where the function
    // expects it.
    unsafe {
        let Some(pyo3_clear) = (*of.as_ptr()).tp_clear else { return };
        if T::class().pyo3_clear.set(pyo3_clear).is_ok() {
            for kind in kinds {
                let slot = &raw mut (*kind.as_ptr()).tp_clear;
                if (*slot).is_some_and(|there| ptr::fn_addr_eq(there, pyo3_clear)) {
                    *slot = Some(clear::<T>);
                }
            }
        }
    }
}

/// `tp_clear`: as PyO3's, but lets go of the dict, as CPython does. PyO3's empties it, also where a
/// program has made it the dict of another object, which lives on.
unsafe extern "C" fn clear<T: Native>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector calls `tp_clear` attached, with an object of the class or a subclass,
    // which has a slot for a dict at this offset. The slot is emptied before anything else runs.
    unsafe {
        let class = T::class();
        if lives::watching() {
            lives::died(Python::assume_attached(), object);
        }
        let slot = object.byte_offset(class.dict_offset.load(Ordering::Relaxed));
        let dict = slot.cast::<*mut ffi::PyObject>().replace(ptr::null_mut());
        let status = class.pyo3_clear.get().map_or(0, |pyo3_clear| pyo3_clear(object));
        ffi::Py_XDECREF(dict);
        status
    }
}

/// Have the objects of a class show the collector what is in them, and let go of it, by its own
/// functions and those of its base, whatever is between the two.
///
/// PyO3's asks the class that is the base now. A program can put one of its own there, whose base
/// is ours: that does its part by asking the first class that is not written in Python, which is
/// this again.
///
/// The slots of `B`, the base of `T`, are as they are to be.
pub(crate) fn rely_on_base<T: Native, B: Native>(py: Python<'_>) {
    let (kind, base) = (Kind::of::<T>(py), Kind::of::<B>(py));
    if !safe::comes_after(py, kind, base) {
        return;
    }
    // SAFETY: type objects of ours, alive, and objects of one are objects of the other.
    unsafe {
        let (kind, base) = (kind.as_ptr(), base.as_ptr());
        if let (Some(own), Some(base)) = ((*kind).tp_traverse, (*base).tp_traverse)
            && T::class().traverse.set([own, base]).is_ok()
        {
            (*kind).tp_traverse = Some(traverse::<T>);
        }
        if let (Some(own), Some(base)) = ((*kind).tp_clear, (*base).tp_clear)
            && !ptr::fn_addr_eq(own, base)
            && T::class().clear.set([base, own]).is_ok()
        {
            (*kind).tp_clear = Some(clear_with_base::<T>);
        }
    }
}

/// `tp_clear`, as [`traverse`] is `tp_traverse`.
unsafe extern "C" fn clear_with_base<T: Native>(object: *mut ffi::PyObject) -> c_int {
    let mut status = 0;
    for clear in T::class().clear.get().into_iter().flatten() {
        if status == 0 {
            // SAFETY: as for `traverse`.
            status = unsafe { clear(object) };
        }
    }
    status
}

/// `tp_traverse`: PyO3's shows what is of the class itself, and asks no base, as it is not found in
/// the slot of any class. Then the base's.
unsafe extern "C" fn traverse<T: Native>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    let mut status = 0;
    for traverse in T::class().traverse.get().into_iter().flatten() {
        if status == 0 {
            // SAFETY: the collector's arguments, with an object of the class or a subclass, and so
            // of its base, are passed on.
            status = unsafe { traverse(object, visit, argument) };
        }
    }
    status
}

/// How many pieces of memory are kept for each class: none where memory is watched over. There, one
/// that is used after it was freed would pass for the next that it has become.
const KEPT: usize = if cfg!(debug_assertions) { 0 } else { 256 };

/// Memory of objects of one class, header included, with nothing in it.
pub(crate) struct Pool(Shared<Kept>);

struct Kept {
    count: usize,
    pieces: [*mut ffi::PyObject; KEPT],
}

// SAFETY: the pieces belong to nobody else, and are no thread's in particular.
unsafe impl Send for Kept {}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self(Shared::new(Kept { count: 0, pieces: [ptr::null_mut(); KEPT] }))
    }

    #[inline]
    fn take(&self, py: Python<'_>) -> Option<*mut ffi::PyObject> {
        self.0.with(py, |kept| {
            kept.count = kept.count.checked_sub(1)?;
            kept.pieces.get(kept.count).copied()
        })
    }

    /// Let go of all memory, and keep none from now on; or keep some again.
    pub(crate) fn close(&self, py: Python<'_>, closed: bool) {
        /// A count of pieces above all that there can be. [`Pool::take`] finds none there, and
        /// makes it one less each time, which nobody lives to see come to an end.
        const CLOSED: usize = usize::MAX / 2;
        let (count, pieces) = self.0.with(py, |kept| {
            let count = mem::replace(&mut kept.count, if closed { CLOSED } else { 0 });
            (if count > KEPT { 0 } else { count }, kept.pieces)
        });
        for &piece in pieces.iter().take(count) {
            // SAFETY: the pool's own, given up above: without a value, and untracked.
            unsafe { ffi::PyObject_GC_Del(piece.cast()) };
        }
    }

    /// Keep a piece of memory. False if the pool is full.
    #[inline]
    fn keep(&self, py: Python<'_>, piece: *mut ffi::PyObject) -> bool {
        self.0.with(py, |kept| match kept.pieces.get_mut(kept.count) {
            Some(place) => {
                *place = piece;
                kept.count += 1;
                true
            }
            None => false,
        })
    }
}

/// A class of ours whose objects come and go quickly.
pub(crate) trait Recycled: Native + PyClass<Frozen = True> + Sync {
    /// Whether a list of those that are alive can be asked for: see [`lives`].
    const WATCHED: bool = false;

    /// What it has been fired with, as a number, if it is watched; 0 for nothing.
    fn kind_of_outcome(&self, _py: Python<'_>) -> u32 {
        0
    }

    /// Memory that is kept for it.
    fn pool() -> &'static Pool;

    /// Memory that is kept while it is watched: the other pool is closed then, so that those that
    /// are made and freed come by where that is noted.
    fn pool_while_watched() -> &'static Pool {
        Self::pool()
    }

    /// Whether [`Recycled::dispose`] cannot do more than let references go.
    fn dies_quietly(&self, py: Python<'_>) -> bool;

    /// Whether nothing of ours can die of it, nor anything that leads there.
    fn is_light(&self, py: Python<'_>) -> bool;

    /// Let go of what a light one can hold.
    fn dispose_of_light(&self, py: Python<'_>);

    /// Let go of all that this holds. What is left needs no drop.
    fn dispose(&self, py: Python<'_>);
}

/// For the `drop` of a value of ours that lets go of Python objects.
pub(crate) fn dropping<T: Recycled>(value: &T) {
    // SAFETY: a value of ours is only ever part of a Python object, which the interpreter frees on
    // an attached thread, or on its way to be made one, on such a thread, too.
    value.dispose(unsafe { Python::assume_attached() });
}

/// Whether an object's type is exactly this class.
#[inline(always)]
pub(crate) fn is_exact<T: Native>(object: &Bound<'_, PyAny>) -> bool {
    ptr::eq(object.get_type_ptr(), T::class().kind())
}

/// An object as one of this very class.
#[inline(always)]
pub(crate) fn as_exact<'a, 'py, T: Native>(
    object: &'a Bound<'py, PyAny>,
) -> Option<&'a Bound<'py, T>> {
    // SAFETY: the type is that of `T`.
    is_exact::<T>(object).then(|| unsafe { object.cast_unchecked::<T>() })
}

/// An object as one of this very class, or itself if it is none.
#[inline(always)]
pub(crate) fn into_exact<T: Native>(
    object: Bound<'_, PyAny>,
) -> Result<Bound<'_, T>, Bound<'_, PyAny>> {
    if is_exact::<T>(&object) {
        // SAFETY: the type is that of `T`.
        Ok(unsafe { object.cast_into_unchecked::<T>() })
    } else {
        Err(object)
    }
}

/// Make an object of this very class: one allocation at most, no instance dict. `value` makes what
/// is in it, and runs no Python code; it is called when there is a place for that, so as to write
/// there at once.
///
/// PyO3 would go through `object.__new__`, which gives each instance a dict on CPython 3.11 and
/// 3.12.
#[inline(always)]
pub(crate) fn new_exact<'py, T: Recycled>(
    py: Python<'py>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    let Some(memory) = T::pool().take(py) else { return new_without_pool(py, value) };
    // SAFETY: the pool's own memory.
    Ok(unsafe { new_within(py, memory, value) })
}

/// As [`new_exact`], where no memory is kept in the pool, perhaps because the class is watched.
#[inline(always)]
fn new_without_pool<'py, T: Recycled>(
    py: Python<'py>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    if T::WATCHED
        && lives::watching()
        && let Some(memory) = T::pool_while_watched().take(py)
    {
        // SAFETY: the pool's own memory.
        let object = unsafe { new_within(py, memory, value) };
        note(&object);
        return Ok(object);
    }
    // SAFETY: the type of `T`, which stays.
    let class =
        unsafe { Borrowed::from_ptr(py, T::class().kind().cast()).cast_unchecked::<PyType>() };
    new_object(Subclass(class, PhantomData), value)
}

/// Make an object of this very class in memory that another has left.
///
/// # Safety
///
/// The memory comes from a pool of the class.
#[inline(always)]
unsafe fn new_within<'py, T: Recycled>(
    py: Python<'py>,
    memory: *mut ffi::PyObject,
    value: impl FnOnce() -> T,
) -> Bound<'py, T> {
    let kind = T::class().kind();
    // SAFETY: memory that an object of this very type has left: its slots for a dict and weak
    // references are null, as `dealloc` has seen, and its value was dropped, so it is written
    // before anything reads it. The collector sees it from then on.
    unsafe {
        let object = Bound::from_owned_ptr(py, ffi::PyObject_Init(memory, kind));
        let object = object.cast_into_unchecked::<T>();
        ptr::from_ref(object.get()).cast_mut().write(value());
        ffi::PyObject_GC_Track(object.as_ptr().cast());
        object
    }
}

/// Make an object of a class or a subclass of it, as [`new_exact`] does, in new memory.
#[inline(always)]
pub(super) fn new_object<'py, T: Recycled>(
    class: Subclass<'_, 'py, T>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    let object = new_base(class, value)?;
    note(&object);
    Ok(object)
}

/// Note that an object of a class that is watched has been made, if that is wanted.
#[inline(always)]
pub(super) fn note<T: Recycled>(object: &Bound<'_, T>) {
    if T::WATCHED && lives::watching() {
        let value = object.get();
        lives::born(object.as_any(), value, value.kind_of_outcome(object.py()));
    }
}

/// As [`new_object`], for an object that is not complete yet.
#[inline(always)]
pub(super) fn new_base<'py, T: Recycled>(
    class: Subclass<'_, 'py, T>,
    value: impl FnOnce() -> T,
) -> Result<Bound<'py, T>> {
    // SAFETY: the object is one of `T`. The place that `get` refers to is in bounds and aligned by
    // PyO3's layout; the memory there is zeroed, and written before anything reads it: no Python
    // code and no collection runs between the allocation and this write. The dict and weak
    // reference slots beside it are null, as PyO3 has them at first.
    unsafe {
        let object = allocate(class.py(), class.0.as_type_ptr())?.cast_into_unchecked::<T>();
        ptr::from_ref(object.get()).cast_mut().write(value());
        Ok(object)
    }
}

/// An object of a type, in zeroed memory, which the collector sees already.
///
/// # Safety
///
/// `kind` is a type object, alive.
#[inline(never)]
unsafe fn allocate(py: Python<'_>, kind: *mut ffi::PyTypeObject) -> Result<Bound<'_, PyAny>> {
    // SAFETY: attached; every type has `tp_alloc`. A new reference comes, or null with an exception
    // in flight.
    unsafe {
        if ffi::PyType_HasFeature(kind, ffi::Py_TPFLAGS_IS_ABSTRACT) != 0 {
            return allocate_abstract(py, kind);
        }
        let alloc = (*kind).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
        FromC::from_c(py, alloc(kind, 0))
    }
}

/// As [`allocate`], for a class that says that methods are missing.
///
/// # Safety
///
/// As for that.
#[cold]
unsafe fn allocate_abstract(
    py: Python<'_>,
    kind: *mut ffi::PyTypeObject,
) -> Result<Bound<'_, PyAny>> {
    // SAFETY: the caller's promise. `object` has `tp_new`. It says which methods are missing; if it
    // did not, it would make the object.
    unsafe {
        let no_arguments = PyTuple::empty(py);
        let object = match ffi::PyBaseObject_Type.tp_new {
            Some(object_new) => object_new(kind, no_arguments.as_ptr(), ptr::null_mut()),
            None => ffi::PyType_GenericAlloc(kind, 0),
        };
        FromC::from_c(py, object)
    }
}

/// `tp_dealloc`: what PyO3's does, but quicker for objects of the class itself that nothing
/// special has happened to.
extern "C" fn dealloc<T: Recycled>(dead: Dead<T>) {
    // SAFETY: a dead object of the class or a subclass, on an attached thread. It is freed once.
    unsafe {
        let (py, object) = (Python::assume_attached(), dead.as_ptr());
        let class = T::class();
        let value = object_value::<T>(object);
        let plain = ffi::Py_TYPE(object) == class.kind()
            && is_unused(object, class.dict_offset.load(Ordering::Relaxed))
            && is_unused(object, class.weak_offset.load(Ordering::Relaxed))
            && (*value).dies_quietly(py);
        if plain && (*value).is_light(py) {
            free_plain::<T>(py, object, |value| value.dispose_of_light(py));
            dying::finish();
        } else {
            dealloc_heavy::<T>(dead, plain);
        }
    }
}

/// What [`dealloc`] does with objects of which more can die.
///
/// # Safety
///
/// If the object is said to be plain, it is as [`free_plain`] asks.
#[inline(never)]
unsafe fn dealloc_heavy<T: Recycled>(dead: Dead<T>, plain: bool) {
    // SAFETY: as for `dealloc`; where the object is plain, it is as `free_plain` asks.
    unsafe {
        let (py, object) = (Python::assume_attached(), dead.as_ptr());
        let quiet = plain || (*object_value::<T>(object)).dies_quietly(py);
        let has_room = if quiet { stack::has_room() } else { stack::has_room_to_report() };
        if !has_room {
            return dying::put_by(dead);
        }
        if plain {
            free_plain::<T>(py, object, |value| panics::reporting(py, || value.dispose(py)));
        } else {
            dead.free();
        }
    }
    dying::finish();
}

/// Free an object of the class itself that nothing special has happened to.
///
/// # Safety
///
/// It is dead, has no dict and no weak references, and this is called once for it, attached.
#[inline(always)]
unsafe fn free_plain<T: Recycled>(
    py: Python<'_>,
    object: *mut ffi::PyObject,
    dispose: impl FnOnce(&T),
) {
    // SAFETY: the caller's promise. No collection may see the object once it is untracked.
    // Disposing of the value may run any code, but nobody can reach the object.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        dispose(&*object_value::<T>(object));
        // If its finalizer has run, the object carries a mark that would keep the finalizer of the
        // next one from running.
        if ffi::PyObject_GC_IsFinalized(object) != 0 || !T::pool().keep(py, object) {
            free_watched::<T>(py, object);
        }
        // The object's hold on its type.
        ffi::Py_DECREF(T::class().kind().cast());
    }
}

/// Free the memory of an object for which there is no room in the pool, perhaps because the class
/// is watched.
///
/// # Safety
///
/// It has no value, is untracked, and this is called once for it, attached.
#[inline(always)]
unsafe fn free_watched<T: Recycled>(py: Python<'_>, object: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    unsafe {
        if T::WATCHED && lives::watching() {
            lives::died(py, object);
            if ffi::PyObject_GC_IsFinalized(object) == 0 && T::pool_while_watched().keep(py, object)
            {
                return;
            }
        }
        ffi::PyObject_GC_Del(object.cast());
    }
}

/// Where an object has its value.
///
/// # Safety
///
/// An object of `T`, attached.
unsafe fn object_value<T: Recycled>(object: *mut ffi::PyObject) -> *mut T {
    // SAFETY: the caller's promise. The reference is borrowed, and given up before the object dies.
    unsafe {
        let py = Python::assume_attached();
        let object = Borrowed::from_ptr(py, object).cast_unchecked::<T>();
        ptr::from_ref(object.get()).cast_mut()
    }
}

/// Whether a slot of an object holds nothing, or there is no such slot.
///
/// # Safety
///
/// An object whose type has this offset for a slot, or 0 for none.
#[inline]
unsafe fn is_unused(object: *mut ffi::PyObject, offset: ffi::Py_ssize_t) -> bool {
    // SAFETY: the caller's promise.
    unsafe { offset == 0 || (*object.byte_offset(offset).cast::<*mut ffi::PyObject>()).is_null() }
}
