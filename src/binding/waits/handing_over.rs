//! Hand-overs by locks, semaphores and queues, and taking them back.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyAssertionError, PyNotImplementedError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::binding::capi::{
    self,
    cell::SEVERAL_THREADS,
    error::{Raise, Result},
    interned::intern,
    overrides::overrides,
    stack,
};
#[cfg(not(Py_GIL_DISABLED))]
use crate::binding::model::queue::QueueOverflow;
use crate::binding::model::{
    awaiting::Awaiting,
    deferred::Deferred,
    fifo::Fifo,
    outcome::Link,
    place::Place,
    primitive::{DeferredLock, DeferredSemaphore, Primitive},
    queue::DeferredQueue,
};
#[cfg(not(Py_GIL_DISABLED))]
use crate::binding::waits::limits::has_room;
use crate::binding::waits::{firing::fire_one, limits::too_many_tokens, work::Work};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::{lock_steps, queue_steps, turns};
use crate::core::Flag;

/// Fire the first waiter with this result. Returns the Deferred to run, if any.
pub(crate) fn fire_first<'py>(
    line: &Bound<'py, Fifo>,
    result: Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    match line.get().pop_front(line.py())? {
        Some(first) => fire_one(first, result),
        None => Ok(None),
    }
}

/// Whether a canceller is the lock, semaphore or queue that its Deferred waits for, rather than a
/// callable.
fn is_waited_for(canceller: &Bound<'_, PyAny>) -> bool {
    (canceller.is_instance_of::<Primitive>() || canceller.is_instance_of::<DeferredQueue>())
        && !canceller.is_callable()
}

/// Whether a canceller is of ours, for what waits in a line.
pub(crate) fn is_of_line(canceller: &Bound<'_, PyAny>) -> bool {
    capi::as_exact::<Place>(canceller).is_some() || is_waited_for(canceller)
}

/// Cancel the waiting for a lock, semaphore or queue: take the Deferred out of the line. The canceller
/// [is of one](is_of_line).
pub(crate) fn give_up<'py>(
    canceller: &Bound<'py, PyAny>,
    deferred: &Bound<'py, Deferred>,
) -> PyResult<()> {
    let py = canceller.py();
    if let Some(place) = capi::as_exact::<Place>(canceller) {
        return Ok(leave(place, deferred.as_any())?);
    }
    // The owner of the line has to be told, which calls Python.
    stack::check_call(py)?;
    let line = if let Ok(primitive) = canceller.cast::<Primitive>() {
        primitive.get().line(py)?
    } else if let Ok(queue) = canceller.cast::<DeferredQueue>() {
        queue.get().waiting_line(py)?
    } else {
        return Ok(());
    };
    let removed = Fifo::remove(&line, deferred.as_any());
    // Another thread may have handed something over meanwhile: then it has been fired.
    #[cfg(Py_GIL_DISABLED)]
    if removed.as_ref().is_err_and(|error| error.is_instance_of::<PyValueError>(py)) {
        match canceller.cast::<Primitive>() {
            Ok(primitive) => turns::after_turns(py, primitive.get()),
            Err(_) => turns::after_turns(py, canceller.cast::<DeferredQueue>()?.get()),
        }
        if deferred.get().chain(py, |chain| chain.called()) {
            return Ok(());
        }
    }
    Ok(removed?)
}

/// Give up a place in a line, and call the owner's `_left`, if it has one.
pub(crate) fn leave<'py>(place: &Bound<'py, Place>, deferred: &Bound<'py, PyAny>) -> Result<()> {
    let py = place.py();
    stack::check_call(py)?;
    let mut is_woken = false;
    if let Some(line) = place.get().line(py) {
        // Whoever is taken out of the line behind the gate has been fired before the gate is left.
        #[cfg(Py_GIL_DISABLED)]
        let _behind = line.get().known_gate().map(|gate| gate.enter(py));
        match Fifo::remove(&line, deferred) {
            // It is being woken already.
            Err(error) if error.is_instance_of::<PyValueError>(py) => is_woken = true,
            removed => removed?,
        }
    }
    let left = match place.get().owner(py) {
        // If it is fired first, it does not leave. Whoever wakes it finds that out.
        Some(owner) if SEVERAL_THREADS && is_woken && knows_late(&owner) => return Ok(()),
        _ => intern!(py, "_left"),
    };
    match place.get().owner(py) {
        Some(owner) if capi::lookup(&owner.get_type(), left) != 0 => {
            owner.call_method1(left, (place, deferred))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether the owner of a line learns from whoever wakes a waiter that the waiter had left.
fn knows_late(owner: &Bound<'_, PyAny>) -> bool {
    capi::lookup(&owner.get_type(), intern!(owner.py(), "_come_back")) != 0
}

/// The lock, semaphore or queue whose hand-over is the outcome of a Deferred. None if a callback
/// comes in between, because that may have used up what was handed over.
pub(crate) fn source_of<'py>(deferred: &Bound<'py, Deferred>) -> Option<Bound<'py, PyAny>> {
    /// How many chained Deferreds to follow.
    const DEPTH: usize = 100;
    let py = deferred.py();
    let mut current = deferred.clone();
    for _ in 0..DEPTH {
        let plain = |link: &Link| match link {
            Link::OnFailure(_) => true,
            Link::Continue(_) => !current.is(deferred),
            Link::Deliver(waiter, _) => capi::is_exact::<Awaiting>(waiter.object(py)),
            _ => false,
        };
        let (is_plain, called, canceller, next) = current.get().chain(py, |chain| {
            (
                chain.links().iter().all(plain),
                chain.called(),
                chain.canceller().map(|it| it.bind(py).clone()),
                chain.chained_to().map(|it| it.bind(py).clone()),
            )
        });
        if !is_plain {
            return None;
        }
        if !called {
            return source_behind(canceller?);
        }
        current = next?;
    }
    None
}

/// The lock, semaphore or queue behind a canceller.
pub(crate) fn source_behind(canceller: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    if let Some(place) = capi::as_exact::<Place>(&canceller) {
        return place.get().has_owner(canceller.py()).then_some(canceller);
    }
    if is_waited_for(&canceller) {
        return Some(canceller);
    }
    if takes_back(&canceller) {
        return Some(canceller);
    }
    // A method: of a class that overrides `_cancelAcquire`, or one that can be called.
    let py = canceller.py();
    let kind = capi::ok(py, canceller.get_type().name())?;
    let is_method = kind == "method" || kind == "builtin_function_or_method";
    if !is_method || capi::is_of_heap_type(&canceller) {
        return None;
    }
    let name = capi::ok(py, canceller.getattr(intern!(py, "__name__")))?;
    let owner = capi::ok(py, canceller.getattr(intern!(py, "__self__")))?;
    let name = name.cast::<PyString>().ok()?;
    let waits = (name == "_cancelAcquire" && owner.is_instance_of::<Primitive>())
        || (name == "_cancelGet" && owner.is_instance_of::<DeferredQueue>());
    waits.then_some(owner)
}

/// Whether an object overrides the method for taking back.
fn takes_back(object: &Bound<'_, PyAny>) -> bool {
    capi::lookup(&object.get_type(), intern!(object.py(), "_take_back")) != 0
}

/// The number of the next hand-over that may have to be taken back.
pub(crate) fn number_of_hand_over() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// Take back what was handed over, and give it to the next waiter. Returns the Deferred to run, if
/// any.
///
/// If nobody waits, an item of a queue returns to the front; several keep their order.
pub(crate) fn take_back<'py>(
    source: &Bound<'py, PyAny>,
    object: Bound<'py, PyAny>,
    number: u64,
) -> Result<Option<Work<'py>>> {
    let py = source.py();
    if let Some(place) = capi::as_exact::<Place>(source) {
        if let Some(owner) = place.get().owner(py) {
            owner.call_method1(intern!(py, "_not_taken"), (place, object, number))?;
        }
        return Ok(None);
    }
    if let Ok(primitive) = source.cast::<Primitive>() {
        // A program has fired the Deferred itself.
        if !object.is(primitive) {
            return Ok(None);
        }
        #[cfg(Py_GIL_DISABLED)]
        lock_steps::skip_fired(primitive)?;
        #[cfg(not(Py_GIL_DISABLED))]
        Fifo::skip_fired(&primitive.get().line(py)?)?;
        if overrides_ours(primitive, intern!(py, "release")) {
            primitive.call_method0(intern!(py, "release"))?;
            return Ok(None);
        }
        return begin_release(primitive);
    }
    let Ok(queue) = source.cast::<DeferredQueue>() else {
        if takes_back(source) {
            source.call_method1(intern!(py, "_take_back"), (object, number))?;
        }
        return Ok(None);
    };
    #[cfg(Py_GIL_DISABLED)]
    return queue_steps::take_back(queue, &object, number);
    #[cfg(not(Py_GIL_DISABLED))]
    {
        let (waiting, pending) = (queue.get().waiting_line(py)?, queue.get().pending_line(py)?);
        Fifo::skip_fired(&waiting)?;
        if waiting.get().len(py) > 0 {
            return fire_first(&waiting, object);
        }
        Fifo::put_back(&pending, number, object)?;
        Ok(None)
    }
}

/// `release`, without running the callbacks of the next waiter.
pub(crate) fn begin_release<'py>(primitive: &Bound<'py, Primitive>) -> Result<Option<Work<'py>>> {
    begin_release_of(primitive, primitive.get().busy_line(primitive.py())?)
}

/// As [`begin_release`], with the line of waiters known.
#[inline(always)]
pub(crate) fn begin_release_of<'py>(
    primitive: &Bound<'py, Primitive>,
    line: Option<Bound<'py, Fifo>>,
) -> Result<Option<Work<'py>>> {
    let py = primitive.py();
    #[cfg(Py_GIL_DISABLED)]
    if primitive.is_instance_of::<DeferredLock>() || primitive.is_instance_of::<DeferredSemaphore>()
    {
        return lock_steps::release(primitive);
    }
    let waits = line.is_some();
    if primitive.is_instance_of::<DeferredLock>() {
        let quick = primitive.get().with(py, |state| {
            let is_true = state.locked.is_true();
            if is_true {
                let _true = state.locked.set(waits);
            }
            is_true
        });
        if !quick && !was_locked(primitive, waits) {
            return Err(PyAssertionError::error(py, "Tried to release an unlocked lock"));
        }
    } else if primitive.is_instance_of::<DeferredSemaphore>() {
        let quick = primitive.get().with(py, |state| {
            let (tokens, limit) = (state.tokens.quick()?, state.limit.quick()?);
            let acquired = tokens < limit;
            (!acquired || waits || state.tokens.set_quickly(tokens + 1)).then_some(acquired)
        });
        match quick {
            Some(true) => {}
            Some(false) => return Err(too_many_tokens(py)),
            None => return release_asked(primitive),
        }
    } else {
        return Err(PyNotImplementedError::error(py, "release"));
    }
    match line {
        Some(line) => fire_first(&line, primitive.as_any().clone()),
        None => Ok(None),
    }
}

/// Unlock a lock, unless somebody waits for it. Returns whether it was locked.
#[inline(never)]
fn was_locked(primitive: &Bound<'_, Primitive>, waits: bool) -> bool {
    let (was_locked, before) = primitive.get().with(primitive.py(), |state| {
        let was_locked = state.locked.is_on();
        (was_locked, state.locked.set(was_locked && waits))
    });
    drop(before.into_other(primitive.py()));
    was_locked
}

/// [`begin_release_of`] for a semaphore whose number is not one of our small ints.
#[inline(never)]
fn release_asked<'py>(primitive: &Bound<'py, Primitive>) -> Result<Option<Work<'py>>> {
    let py = primitive.py();
    // Asking a program's own object for its number may run any code, so that comes first.
    primitive.get().number(py, |state| &mut state.tokens)?;
    let limit = primitive.get().number(py, |state| &mut state.limit)?;
    let line = primitive.get().busy_line(py)?;
    let tokens = primitive.get().number(py, |state| &mut state.tokens)?;
    if tokens >= limit {
        return Err(too_many_tokens(py));
    }
    match line {
        Some(line) => fire_first(&line, primitive.as_any().clone()),
        None => {
            primitive.get().set_number(py, |state| &mut state.tokens, tokens + 1)?;
            Ok(None)
        }
    }
}

/// Whether a lock's or semaphore's `release` is not overridden.
pub(crate) fn releases_plainly(primitive: &Bound<'_, Primitive>) -> bool {
    !overrides_ours(primitive, intern!(primitive.py(), "release"))
}

/// Whether a lock or semaphore overrides this method.
pub(crate) fn overrides_ours(
    primitive: &Bound<'_, Primitive>,
    method: &Bound<'_, PyString>,
) -> bool {
    if primitive.is_instance_of::<DeferredLock>() {
        overrides::<DeferredLock>(primitive, method)
    } else if primitive.is_instance_of::<DeferredSemaphore>() {
        overrides::<DeferredSemaphore>(primitive, method)
    } else {
        overrides::<Primitive>(primitive, method)
    }
}

/// `put`, without running the callbacks of the waiter.
#[inline(always)]
pub(crate) fn begin_put<'py>(
    queue: &Bound<'py, DeferredQueue>,
    object: Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    #[cfg(Py_GIL_DISABLED)]
    return queue_steps::put(queue, &object);
    #[cfg(not(Py_GIL_DISABLED))]
    put_in_steps(queue, object)
}

#[cfg(not(Py_GIL_DISABLED))]
#[inline(always)]
fn put_in_steps<'py>(
    queue: &Bound<'py, DeferredQueue>,
    object: Bound<'py, PyAny>,
) -> Result<Option<Work<'py>>> {
    let py = queue.py();
    // Comparing sizes may run any code, after which there may be a waiter.
    for asked in [false, true] {
        if let Some(waiting) = queue.get().busy_line(py)? {
            return fire_first(&waiting, object);
        }
        let Some(size) = queue.get().capacity(py) else { break };
        if !asked && !has_room(&queue.get().pending_line(py)?, &size)? {
            return Err(QueueOverflow::bare_error(py));
        }
    }
    queue.get().pending_line(py)?.get().push_back(object)?;
    Ok(None)
}
