//! Native steps of groups, streams and `wait` in `deferrous.concurrency`.
//!
//! Each is one function, so that a signal's exception cannot tear it apart: see `ending`.

#[cfg(Py_GIL_DISABLED)]
use pyo3::exceptions::PyIndexError;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::binding::capi::{
    self,
    again::insist,
    error::{Error, Result},
    interned::intern,
    none,
    owed::owe,
    stack, yes,
};
use crate::binding::face::ending::is_failure;
use crate::binding::face::generators::ensure_deferred;
use crate::binding::face::items::take_returned;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::face::place::_give_first;
use crate::binding::face::place::{_hand_over, fire_waiting, first_waiting, next_in};
use crate::binding::face::waiting::{
    add_later, again_if_interrupted, answer_waiting, failure_of, is, line_of, takes_callbacks,
};
use crate::binding::judge::classify::as_deferred;
#[cfg(Py_GIL_DISABLED)]
use crate::binding::model::deferred::AlreadyCalledError;
use crate::binding::model::{deferred::Deferred, fifo::Fifo, names::TELL};
#[cfg(Py_GIL_DISABLED)]
use crate::binding::waits::made;

/// Call a function from native code: one marked with `_whole` is repeated only if native code calls
/// it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (work, *args))]
pub(crate) fn _do<'py>(
    work: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> Result<Bound<'py, PyAny>> {
    Ok(work.call1(args)?)
}

/// Start a task and add its Deferred to `tasks`. `begin` starts it, in a context if there is one.
/// `ended` will be called with its result and its Deferred. Returns that.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _add_task<'py>(
    tasks: &Bound<'py, PyDict>,
    ended: &Bound<'py, PyAny>,
    task: Bound<'py, PyAny>,
    begin: &Bound<'py, PyAny>,
    context: Option<Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>> {
    let py = tasks.py();
    let deferred = match context {
        None => begun(task, begin)?,
        Some(context) => context.call_method1(intern!(py, "run"), (begin, task))?,
    };
    tasks.set_item(&deferred, py.None())?;
    if let Err(error) = deferred.call_method1(intern!(py, "addBoth"), (ended, &deferred)) {
        // `ended` will not be called, so nobody may wait for this task.
        let forgotten = tasks.del_item(&deferred);
        let cancelled = deferred.call_method0(intern!(py, "cancel"));
        drop((capi::ok(py, forgotten), capi::ok(py, cancelled)));
        return Err(error.into());
    }
    Ok(deferred)
}

/// The Deferred for something that can be awaited.
pub(crate) fn begun<'py>(
    task: Bound<'py, PyAny>,
    begin: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    if capi::is_coroutine(&task) || as_deferred(&task).is_some() {
        return ensure_deferred(task);
    }
    Ok(begin.call1((task,))?)
}

/// Hand the first result of a stream over to the first waiter, if both exist. Returns whether they
/// did; then the stream is `_hungry`, and can begin another call.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _hand_out<'py>(stream: &Bound<'py, PyAny>) -> Result<bool> {
    let py = stream.py();
    let getting = line_of(stream, intern!(py, "_getting"))?;
    let calls = stream.getattr(intern!(py, "_calls"))?;
    let stop = stream.getattr(intern!(py, "_stop"))?;
    if calls.len()? == 0 || getting.get().len(py) == 0 {
        return Ok(false);
    }
    let call = calls.get_item(0)?;
    if !is(&call, intern!(py, "is_done"))? {
        return Ok(false);
    }
    #[cfg(not(Py_GIL_DISABLED))]
    let Some(getter) = first_waiting(&getting)? else { return Ok(false) };
    let (result, is_failure) = match result_of(&call) {
        Ok(result) => result,
        Err(error)
            if error.is_instance_of::<PyMemoryError>(py)
                && takes_callbacks(&call.getattr(intern!(py, "result"))?) =>
        {
            // This is done again when there is memory for it.
            #[cfg(not(Py_GIL_DISABLED))]
            Fifo::insert_at(&getting, 0, getter)?;
            return Err(error);
        }
        Err(error) => {
            // The result cannot be read now. The waiter gets the error, or it would wait forever.
            #[cfg(Py_GIL_DISABLED)]
            let Some(getter) = first_waiting(&getting)? else { return Err(error) };
            answer_waiting(getter, Err(error))?;
            return Ok(true);
        }
    };
    calls.call_method0(intern!(py, "popleft"))?;
    call.setattr(intern!(py, "result"), none(py))?;
    let mut done = Ok(());
    if is_failure {
        calls.call_method0(intern!(py, "clear"))?;
        done = stop.call0().map(drop).map_err(Error::from);
    }
    stream.setattr(intern!(py, "_hungry"), yes(py))?;
    #[cfg(not(Py_GIL_DISABLED))]
    _hand_over(getter, result)?;
    // All waiters may have given up in other threads. Then the result is for the next one.
    #[cfg(Py_GIL_DISABLED)]
    if !_give_first(&getting, result.clone())? {
        let result =
            if is_failure { made::of_failure(py, Some(result))?.into_any() } else { result };
        call.setattr(intern!(py, "result"), result)?;
        calls.call_method1(intern!(py, "appendleft"), (call,))?;
        return done.map(|()| false);
    }
    done.map(|()| true)
}

/// The result of a call of a stream, and whether it is a failure: taken out of the Deferred that
/// would report it.
fn result_of<'py>(call: &Bound<'py, PyAny>) -> Result<(Bound<'py, PyAny>, bool)> {
    let py = call.py();
    let result = call.getattr(intern!(py, "result"))?;
    if as_deferred(&result).is_none() {
        return Ok((result, false));
    }
    let failures = capi::new_list(py)?;
    let keep = failures.getattr(intern!(py, "append"))?;
    result.call_method1(intern!(py, "addErrback"), (keep,))?;
    Ok((failures.get_item(0)?, true))
}

/// A Deferred with the first item that was given back, if there is one.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _take_returned<'py>(
    owner: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, Deferred>>> {
    take_returned(owner)
}

/// Call all functions that watch a Deferred with its result: the body of its callback.
///
/// What the functions resume may await the same Deferred, although this callback has not ended. If
/// it has failed, it is paused meanwhile. So it is awaited as usual, and its failure is handled.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _tell<'py>(
    watching: &Bound<'py, PyDict>,
    deferred: &Bound<'py, PyAny>,
    result: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = deferred.py();
    let failed = is_failure(result)?;
    let tell_later = |error: Error| {
        let all = [watching.as_any().clone(), deferred.clone(), result.clone()];
        TELL.get(py).map_or_else(|another| another, |tell| owe(tell, &all, error))
    };
    let mut all = keys_of(watching).map_err(tell_later)?;
    if failed {
        deferred.call_method0(intern!(py, "pause"))?;
    }
    let mut done = Ok(());
    loop {
        for see in all.iter() {
            // A function that is missing has been told in another thread, or was removed there.
            // (The keys are our own methods, so comparing them raises nothing.)
            if watching.del_item(&see).is_ok()
                && let Err(error) = see.call1((deferred, result))
            {
                done = Err(error.into());
            }
        }
        // Another thread may have added a function meanwhile.
        if watching.is_empty() {
            break;
        }
        all = match keys_of(watching) {
            Ok(all) => all,
            Err(error) => {
                done = Err(tell_later(error));
                break;
            }
        };
    }
    if failed {
        deferred.call_method0(intern!(py, "unpause"))?;
    }
    done
}

/// The keys of a dict, at this moment.
fn keys_of<'py>(dict: &Bound<'py, PyDict>) -> Result<Bound<'py, PyList>> {
    insist(dict.py(), || capi::keys_of(dict.py(), dict))
}

/// Move a key from a dict to the end of a list. Does nothing if it is not in the dict.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _move_key<'py>(
    from: &Bound<'py, PyDict>,
    key: &Bound<'py, PyAny>,
    to: &Bound<'py, PyAny>,
) -> Result<()> {
    if from.contains(key)? {
        to.call_method1(intern!(from.py(), "append"), (key,))?;
        from.del_item(key)?;
    }
    Ok(())
}

/// Hand finished Deferreds over to waiters: `pass_on` gives a waiter the result; an asynchronous
/// iterator is only woken, and takes the Deferred itself.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _give_done<'py>(
    done: &Bound<'py, PyAny>,
    waiting: &Bound<'py, Fifo>,
    pass_on: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = done.py();
    while done.len()? > 0 {
        let Some(first) = first_waiting(waiting)? else { break };
        let place = first.getattr(intern!(py, "_canceller"))?;
        if is(&place, intern!(py, "what"))? {
            match _hand_over(first, none(py)) {
                // It has given up in another thread.
                #[cfg(Py_GIL_DISABLED)]
                Err(error) if error.is_instance_of::<AlreadyCalledError>(py) => continue,
                handed_over => return handed_over,
            }
        }
        #[cfg(not(Py_GIL_DISABLED))]
        let next = done.call_method0(intern!(py, "popleft"))?;
        // A coroutine in another thread may have taken the last one. Then this waiter keeps
        // waiting.
        #[cfg(Py_GIL_DISABLED)]
        let next = match done.call_method0(intern!(py, "popleft")) {
            Err(error) if error.is_instance_of::<PyIndexError>(py) => {
                return Fifo::insert_at(waiting, 0, first);
            }
            next => next?,
        };
        #[cfg(not(Py_GIL_DISABLED))]
        let added = next.call_method1(intern!(py, "addBoth"), (pass_on, &first));
        // If the waiter gives up in another thread, the result goes back: see `_hand_on`.
        #[cfg(Py_GIL_DISABLED)]
        let added = {
            let owner = place.getattr(intern!(py, "owner"))?;
            next.call_method1(intern!(py, "addBoth"), (pass_on, &first, owner))
        };
        if let Err(error) = added {
            #[cfg(not(Py_GIL_DISABLED))]
            let all = [next, pass_on.clone(), first.clone()];
            #[cfg(Py_GIL_DISABLED)]
            let all = [next, pass_on.clone(), first.clone(), place.getattr(intern!(py, "owner"))?];
            if let Err(error) = add_later(&all, error.into()) {
                // Nothing else would wake this waiter.
                answer_waiting(first, Err(error))?;
            }
        }
    }
    Ok(())
}

/// Fire all waiters in a line because the time is up: with a result that `over` makes. An
/// asynchronous iterator is only woken, and finds out itself.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_waiting<'py>(
    waiting: &Bound<'py, Fifo>,
    over: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = waiting.py();
    let mut done = Ok(());
    while let Some(is_iterating) = next_in(waiting)? {
        let result = if stack::truth(&is_iterating)? {
            none(py)
        } else {
            match again_if_interrupted(py, &mut done, || over.call0()) {
                Ok(result) => result,
                // The waiter gets that error instead, if there is memory for it. Otherwise all that are left
                // are told when there is some.
                Err(error) => failure_of(py, error)?,
            }
        };
        let Some(first) = first_waiting(waiting)? else { break };
        match fire_waiting(first, result) {
            // It has given up in another thread.
            #[cfg(Py_GIL_DISABLED)]
            Err(error) if error.is_instance_of::<AlreadyCalledError>(py) => {}
            Err(error) => done = Err(error),
            Ok(()) => {}
        }
    }
    done
}
