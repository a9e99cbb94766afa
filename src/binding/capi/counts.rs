//! CPython's counting of references, for builds without the GIL.
//!
//! With the GIL, PyO3 compiles it into the extension, as `Py_INCREF` and `Py_DECREF` in CPython's
//! headers do. Without, it calls the interpreter's functions each time: some twenty calls for a step of a
//! chain. Here are the same two functions, under their names. So the linker takes these for all calls of
//! this extension, PyO3's as well, and the compiler puts them in place of the calls. What they do is laid
//! down in the ABI: extensions in C have it compiled into them by a header (`refcount.h`).
//!
//! Each object has two counts. One is of the references that its own thread has taken, and only that
//! thread changes it. The other is of those that all others have taken.

use std::mem::offset_of;
use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicUsize, Ordering};

use pyo3::ffi::PyObject;

use super::here::here;

/// The beginning of an object, as several threads read and write it.
#[repr(C)]
struct Header {
    thread: AtomicUsize,
    _flags: AtomicU32,
    own: AtomicU32,
    shared: AtomicIsize,
}

const _: () = {
    assert!(offset_of!(Header, thread) == offset_of!(PyObject, ob_tid));
    assert!(offset_of!(Header, own) == offset_of!(PyObject, ob_ref_local));
    assert!(offset_of!(Header, shared) == offset_of!(PyObject, ob_ref_shared));
};

/// The own count of an object that is never freed.
const IMMORTAL: u32 = u32::MAX;

/// One reference in the shared count. The bits below are flags.
const ONE_SHARED: isize = 1 << 2;

unsafe extern "C" {
    /// The own count has become 0.
    fn _Py_MergeZeroLocalRefcount(object: &Header);
    /// Give up a reference from another thread than the object's own.
    fn _Py_DecRefShared(object: &Header);
}

impl Header {
    fn is_of_this_thread(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == here()
    }
}

/// Take a reference. The thread is attached, and somebody holds a reference.
#[unsafe(no_mangle)]
extern "C" fn _Py_IncRef(object: &Header) {
    let new = object.own.load(Ordering::Relaxed).wrapping_add(1);
    if new == 0 {
        // It is immortal.
    } else if object.is_of_this_thread() {
        object.own.store(new, Ordering::Relaxed);
    } else {
        object.shared.fetch_add(ONE_SHARED, Ordering::Relaxed);
    }
}

/// Give up a reference. The thread is attached, and the reference is the caller's.
#[unsafe(no_mangle)]
extern "C" fn _Py_DecRef(object: &Header) {
    let own = object.own.load(Ordering::Relaxed);
    if own == IMMORTAL {
        // It stays.
    } else if own > 1 && object.is_of_this_thread() {
        object.own.store(own - 1, Ordering::Relaxed);
    } else {
        give_up_last(object);
    }
}

/// Give up the last reference of the object's own thread, or one of another thread. The object may be
/// freed by that.
#[inline(never)]
fn give_up_last(object: &Header) {
    // SAFETY: called by `_Py_DecRef`, whose callers give up a reference that is theirs, on an attached
    // thread. The first function is the interpreter's for the object's own thread, once that has no
    // reference left; the second is for other threads. `Header` has atomic fields only, so that the
    // object may be freed while it is borrowed here; it is not touched afterwards.
    unsafe {
        if object.is_of_this_thread() {
            object.own.store(0, Ordering::Relaxed);
            _Py_MergeZeroLocalRefcount(object);
        } else {
            _Py_DecRefShared(object);
        }
    }
}
