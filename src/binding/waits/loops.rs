//! Futures of asyncio's own loops, made and given their result without a call of Python code.
//!
//! `loop.create_future` and `loop.call_soon` are written in Python, and take most of the time of a
//! wait in a task. If a loop has these methods from asyncio, their work is done here: the callback
//! of a future is put into the loop's queue, each on its own and in order.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
#[cfg(Py_3_13)]
use pyo3::types::PyDict;
use pyo3::types::{PyBool, PyList, PyString, PyTuple, PyType};

use crate::binding::capi::{
    self,
    error::{Error, Result},
    interned::intern,
    keep,
    versions::{KnownTypes, version},
};
use crate::binding::model::{names, wakeup::new_wakeup};

/// Classes of loops and handles that have their methods from asyncio.
static USUAL: KnownTypes<16> = KnownTypes::new();

/// Other classes of loops and handles.
static OTHERS: KnownTypes<16> = KnownTypes::new();

/// Whether a class of loops or handles has its methods from asyncio.
#[inline]
fn is_usual(class: &Bound<'_, PyType>) -> bool {
    USUAL.have(class) || (!OTHERS.have(class) && find_out(class))
}

#[cold]
fn find_out(class: &Bound<'_, PyType>) -> bool {
    let py = class.py();
    let look = || Ok(names::HAS_METHODS_OF_ASYNCIO.get(py)?.call1((class,))?.is_truthy()?);
    let has_them = || capi::ok::<_, Error>(py, look());
    // This gives the class a version. It may change while Python code looks at it.
    let _ = has_them();
    let before = version(class);
    let Some(found) = has_them() else { return false };
    if version(class) == before {
        let known = if found { &USUAL } else { &OTHERS };
        known.remember(class, false, || has_them() == Some(found));
    }
    found
}

/// A loop's own attributes, apart from those of its class.
///
/// Up to CPython 3.12, they are found by name: reading `__dict__` would make all attributes of the
/// loop slower from then on.
struct Own<'a, 'py> {
    #[cfg_attr(Py_3_13, expect(dead_code, reason = "its dict says all"))]
    of: &'a Bound<'py, PyAny>,
    #[cfg(Py_3_13)]
    dict: Bound<'py, PyDict>,
}

impl<'a, 'py> Own<'a, 'py> {
    /// None if the loop's class is not a usual one.
    fn new(of: &'a Bound<'py, PyAny>) -> Option<Self> {
        Some(Self {
            of,
            #[cfg(Py_3_13)]
            dict: capi::ok(of.py(), capi::instance_dict(of.py(), of))?,
        })
    }

    /// Whether the loop does not override a method of its class.
    fn lacks(&self, name: &Bound<'py, PyString>) -> bool {
        #[cfg(Py_3_13)]
        return capi::is_key_of(&self.dict, name) == Some(false);
        #[cfg(not(Py_3_13))]
        {
            let py = name.py();
            let method = self.of.getattr(name);
            let function = method.and_then(|method| method.getattr(intern!(py, "__func__")));
            capi::ok(py, function).is_some_and(|function| {
                function.as_ptr() as usize == capi::lookup(&self.of.get_type(), name)
            })
        }
    }

    /// An attribute.
    fn get(&self, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
        #[cfg(Py_3_13)]
        return capi::ok(name.py(), self.dict.get_item(name))?;
        #[cfg(not(Py_3_13))]
        return capi::ok(name.py(), self.of.getattr(name));
    }

    /// Whether an attribute is False.
    fn is_off(&self, name: &Bound<'py, PyString>) -> bool {
        self.get(name).is_some_and(|it| it.is(PyBool::new(name.py(), false)))
    }
}

/// Make a future of a loop.
pub(crate) fn new_future<'py>(running_loop: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    let py = running_loop.py();
    let create = intern!(py, "create_future");
    match names::FUTURE.get_once_imported(py) {
        Some(class)
            if is_usual(&running_loop.get_type())
                && Own::new(running_loop).is_some_and(|own| own.lacks(create)) =>
        {
            let keyword = keyword(py)?;
            Ok(capi::call_many(class, std::slice::from_ref(running_loop), Some(keyword))?)
        }
        _ => Ok(running_loop.call_method0(create)?),
    }
}

/// `("loop",)`
fn keyword(py: Python<'_>) -> Result<&Bound<'_, PyTuple>> {
    static KEYWORD: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
    if KEYWORD.get(py).is_none() {
        keep(&KEYWORD, capi::new_tuple(py, [intern!(py, "loop").clone().into_any()])?);
    }
    KEYWORD.get(py).map(|names| names.bind(py)).ok_or_else(|| capi::no_memory(py))
}

/// Give a future the result None, and put its callback into the loop's queue. False, and nothing
/// happens, if asyncio has to do that, or the future does not have exactly one callback.
///
/// # Errors
///
/// `MemoryError`. Nothing has happened then.
pub(crate) fn wake<'py>(future: &Bound<'py, PyAny>, its_loop: &Bound<'py, PyAny>) -> Result<bool> {
    let py = future.py();
    let Some(ready) = queue_of(its_loop) else { return Ok(false) };
    let Some((callback, context)) = only_callback(future) else { return Ok(false) };
    let wakeup = new_wakeup(callback.clone(), future.clone(), context.clone())?;
    capi::call_method_one(future, intern!(py, "remove_done_callback"), &callback)?;
    // This is a method of a deque, so it calls no Python code.
    if let Err(error) = capi::call_method_one(&ready, intern!(py, "append"), wakeup.as_any()) {
        let keywords = capi::new_dict(py)?;
        keywords.set_item(intern!(py, "context"), context)?;
        future.call_method(intern!(py, "add_done_callback"), (callback,), Some(&keywords))?;
        return Err(error.into());
    }
    capi::call_method_one(future, intern!(py, "set_result"), &capi::none(py))?;
    Ok(true)
}

/// The queue of a loop, if all that the loop would do with the callback of a future is put it
/// there.
fn queue_of<'py>(running_loop: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = running_loop.py();
    if !is_usual(&running_loop.get_type()) || !is_usual(names::HANDLE.get_once_imported(py)?) {
        return None;
    }
    let own = Own::new(running_loop)?;
    let is_as_usual = own.lacks(intern!(py, "call_soon"))
        && own.is_off(intern!(py, "_closed"))
        && own.is_off(intern!(py, "_debug"));
    if !is_as_usual {
        return None;
    }
    let ready = own.get(intern!(py, "_ready"))?;
    let is_deque = ready.get_type_ptr() == capi::ok(py, names::DEQUE.get(py))?.as_type_ptr();
    is_deque.then_some(ready)
}

/// The callback of a future, with its context, if it has exactly one.
fn only_callback<'py>(
    future: &Bound<'py, PyAny>,
) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = future.py();
    if future.get_type_ptr() != names::FUTURE.get_once_imported(py)?.as_type_ptr() {
        return None;
    }
    let all = capi::ok(py, future.getattr(intern!(py, "_callbacks")))?;
    let all = all.cast_exact::<PyList>().ok()?;
    if all.len() != 1 {
        return None;
    }
    let only = capi::ok(py, all.get_item(0))?;
    match only.cast_exact::<PyTuple>().ok()?.as_slice() {
        [callback, context] => Some((callback.clone(), context.clone())),
        _ => None,
    }
}
