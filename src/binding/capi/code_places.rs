//! Places in programs: a code object and an instruction. Each gets a number when it is first seen;
//! file and line are looked up only when somebody asks.

use std::collections::HashMap;
use std::ffi::c_int;
use std::hash::{BuildHasherDefault, Hasher};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyFrame, PyFunction, PyString, PyType};

use super::cell::Shared;
use super::held::{Held, Hold};
use super::in_flight::{ok, with_error_saved};
use super::inspect::python_function_of;
use super::interned::{intern, interned};
use super::methods::is_of_python;
use super::safe;
use crate::core::refusable;

/// The number that stands for an unknown place.
pub(crate) const NOWHERE: u32 = 0;

/// From code of this package, look through at most this many outer frames for code of the program.
const OUTWARDS: usize = 64;

/// The size of the cache of recent places.
const RECENT: usize = 16;

/// All places seen so far. Their code objects are kept alive, so that addresses identify them: at
/// most one for each function of the program.
static PLACES: Shared<Option<CodePlaces>> = Shared::new(None);

/// A hasher for addresses and small numbers, which nobody chooses in order to collide.
#[derive(Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_i32(&mut self, number: i32) {
        self.write_u64(number as u64);
    }
}

/// A hash table with addresses as keys.
pub(super) type Table<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

struct CodePlaces {
    numbers: Table<(usize, c_int), u32>,
    all: Vec<CodePlace>,
    /// A cache of recent places, indexed by [`CodePlaces::recent_of`]: programs often return to them.
    recent: [((usize, c_int), (u32, bool)); RECENT],
    /// The common prefix of the package's own file names.
    own: Option<Held<PyString>>,
}

struct CodePlace {
    /// A code object, or a name if there is none.
    code: Held<PyAny>,
    /// The offset of an instruction (on CPython 3.10, a line), or a negative number for the code as
    /// a whole.
    at: c_int,
    is_own: bool,
}

/// Set the prefix of the package's own file names. What happens in those files is attributed to
/// their caller.
pub(crate) fn know_own_files(begin: Bound<'_, PyString>) {
    let py = begin.py();
    let begin = begin.hold();
    let before = PLACES.with(py, |places| {
        let places = places.get_or_insert_with(CodePlaces::new);
        places.own.replace(begin)
    });
    drop(before);
}

impl CodePlaces {
    fn new() -> Self {
        // There is no place 0.
        Self {
            numbers: Table::default(),
            all: Vec::new(),
            recent: [((0, 0), (NOWHERE, false)); RECENT],
            own: None,
        }
    }

    /// The index of a place in the cache.
    #[inline(always)]
    fn recent_of(key: (usize, c_int)) -> usize {
        ((key.0 >> 4) ^ (key.0 >> 9) ^ key.1 as usize) % RECENT
    }
}

/// The number of the innermost place in Python code outside the package.
pub(super) fn here(py: Python<'_>) -> u32 {
    let Some(mut frame) = Frame::innermost(py) else { return NOWHERE };
    let (mut found, mut is_own) = frame.place();
    let first = found;
    for _ in 0..OUTWARDS {
        if !is_own {
            return found;
        }
        match frame.outer() {
            Some(outer) => frame = outer,
            None => break,
        }
        (found, is_own) = frame.place();
    }
    if is_own { first } else { found }
}

/// The number of a code object as a whole.
pub(crate) fn of_code(code: &Bound<'_, PyAny>) -> u32 {
    number_of(code, -1).0
}

/// The number of the code that runs when something is called, or else of its name.
pub(crate) fn of_callable(callable: &Bound<'_, PyAny>) -> u32 {
    let py = callable.py();
    if let Some(code) = code_of_function(callable) {
        return of_code(&code);
    }
    let name = if callable.is_exact_instance_of::<PyCFunction>() {
        callable.getattr(intern!(py, "__name__")).and_then(|name| Ok(name.cast_into()?))
    } else if let Ok(class) = callable.cast::<PyType>() {
        class.name()
    } else if let Some(code) = python_function_of(&callable.get_type(), intern!(py, "__call__"))
        .and_then(|call| code_of_function(&call))
    {
        return of_code(&code);
    } else {
        callable.get_type().name()
    };
    match ok(py, name) {
        // Equal names become the same object, and so the same place.
        Some(name) => of_code(interned(name).as_any()),
        None => NOWHERE,
    }
}

/// The code of a Python function or method.
fn code_of_function<'py>(callable: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if !is_of_python(callable) {
        return None;
    }
    let py = callable.py();
    let mut function = callable.clone();
    for _ in 0..10 {
        if let Ok(function) = function.cast_exact::<PyFunction>() {
            return safe::code_of_function(py, function).0.map(Bound::into_any);
        }
        if !is_of_python(&function) {
            return None;
        }
        // An attribute of the method itself, which hides the function's. It may be anything.
        function = ok(py, function.getattr(intern!(py, "__func__")))?;
    }
    None
}

/// The number of a place, and whether it is in a file of this package.
#[inline]
fn number_of(code: &Bound<'_, PyAny>, at: c_int) -> (u32, bool) {
    let py = code.py();
    let key = (code.as_ptr() as usize, at);
    let known = PLACES.with(py, |places| {
        let places = places.as_mut()?;
        let recent = &mut places.recent[CodePlaces::recent_of(key)];
        if recent.0 != key {
            let number = *places.numbers.get(&key)?;
            let place = places.all.get(number as usize - 1)?;
            *recent = (key, (number, place.is_own));
        }
        Some(recent.1)
    });
    known.unwrap_or_else(|| number_anew(code, at))
}

#[cold]
fn number_anew(code: &Bound<'_, PyAny>, at: c_int) -> (u32, bool) {
    let py = code.py();
    let is_own = at >= 0 && with_error_saved(py, || is_of_package(code));
    let held = code.clone().hold();
    let key = (code.as_ptr() as usize, at);
    let (number, unused) = PLACES.with(py, |places| {
        let places = places.get_or_insert_with(CodePlaces::new);
        if let Some(number) = places.numbers.get(&key) {
            return (*number, Some(held));
        }
        let has_room = refusable(|| {
            places.numbers.try_reserve(1).is_ok() && places.all.try_reserve(1).is_ok()
        });
        match u32::try_from(places.all.len() + 1) {
            Ok(number) if has_room => {
                places.all.push(CodePlace { code: held, at, is_own });
                places.numbers.insert(key, number);
                (number, None)
            }
            _ => (NOWHERE, Some(held)),
        }
    });
    drop(unused);
    (number, is_own)
}

fn is_of_package(code: &Bound<'_, PyAny>) -> bool {
    let py = code.py();
    let own = PLACES.with(py, |places| {
        places.as_ref().and_then(|it| it.own.as_ref()).map(|own| own.bind(py).clone())
    });
    let Some(own) = own else { return false };
    let Some(file) = ok(py, code.getattr(intern!(py, "co_filename"))) else { return false };
    let Ok(file) = file.cast_exact::<PyString>() else { return false };
    match (ok(py, file.to_str()), ok(py, own.to_str())) {
        (Some(file), Some(own)) => file.starts_with(own),
        _ => false,
    }
}

/// The code object (or name) of a place, and its line: 0 for the code as a whole. None if there is
/// no such place.
pub(crate) fn code_and_line(py: Python<'_>, number: u32) -> Option<(Bound<'_, PyAny>, i32)> {
    let (code, at) = PLACES.with(py, |places| {
        let place = places.as_ref()?.all.get((number as usize).checked_sub(1)?)?;
        Some((place.code.bind(py).clone(), place.at))
    })?;
    let line = if at < 0 {
        0
    } else if cfg!(Py_3_11) {
        // SAFETY: a place with a number of 0 and more has a code object, and the number is that of
        // an instruction there, as `Frame::place` has found it.
        unsafe { ffi::PyCode_Addr2Line(code.as_ptr().cast(), at) }
    } else {
        at
    };
    Some((code, line))
}

/// Whether a frame is on the stack of this thread; with greenlets, of this greenlet.
pub(crate) fn is_on_stack(frame: &Bound<'_, PyAny>) -> bool {
    let mut next = Frame::innermost(frame.py());
    while let Some(here) = next {
        if here.0.is(frame) {
            return true;
        }
        next = here.outer();
    }
    false
}

/// Whether the interpreter has no other thread than this one.
pub(crate) fn is_only_thread(_py: Python<'_>) -> bool {
    // SAFETY: attached, so that this thread has a state and an interpreter. New threads are put in
    // front of the others. Other threads' states are compared, and not looked into.
    unsafe {
        let this = ffi::PyThreadState_Get();
        let first = ffi::PyInterpreterState_ThreadHead(ffi::PyThreadState_GetInterpreter(this));
        this == first && ffi::PyThreadState_Next(this).is_null()
    }
}

/// A frame on this thread's stack.
struct Frame<'py>(Bound<'py, PyFrame>);

impl<'py> Frame<'py> {
    fn innermost(py: Python<'py>) -> Option<Self> {
        safe::innermost_frame(py).0.map(Self)
    }

    fn outer(&self) -> Option<Self> {
        safe::outer_frame(self.0.py(), &self.0).map(Self)
    }

    fn place(&self) -> (u32, bool) {
        let py = self.0.py();
        let Some(code) = safe::code_of_frame(py, &self.0) else { return (NOWHERE, false) };
        #[cfg(Py_3_11)]
        let at = safe::instruction_of_frame(py, &self.0);
        #[cfg(not(Py_3_11))]
        let at = safe::line_of_frame(py, &self.0);
        number_of(code.as_any(), at.max(0))
    }
}
