//! Fast versions of methods and functions, which bypass PyO3's argument parsing.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString, PyTuple};

use crate::binding::capi::{
    self,
    error::{Error, Result},
    interned::intern,
    methods::{Args, place_of, put, quick},
    none, tuple_of,
};
use crate::binding::face::{
    adding::add_both, events, functions, generators, items, place, timeout, whole,
};
use crate::binding::model::{
    callback::Callback,
    deferred::Deferred,
    failure::FailureBase,
    fifo::Fifo,
    list::DeferredList,
    primitive::{DeferredLock, DeferredSemaphore, Primitive},
    queue::DeferredQueue,
};
use crate::binding::run::{at_once, engine};
use crate::binding::waits::native::{METHODS, Method};
use crate::core::On;

quick!(AddCallback = c"addCallback" of Deferred, |slf, [callback, args @ ..]| {
    add(slf, On::Value, callback, args)
}, but "callback" by keyword, |slf, [callback, args @ ..], names| {
    add_named(slf, On::Value, callback, args, names)
});
quick!(AddErrback = c"addErrback" of Deferred, |slf, [errback, args @ ..]| {
    add(slf, On::Failure, errback, args)
}, but "errback" by keyword, |slf, [errback, args @ ..], names| {
    add_named(slf, On::Failure, errback, args, names)
});
quick!(AddBoth = c"addBoth" of Deferred, |slf, [callback, args @ ..]| {
    add(slf, On::Either, callback, args)
}, but "callback" by keyword, |slf, [callback, args @ ..], names| {
    add_named(slf, On::Either, callback, args, names)
});
quick!(Fire = c"callback" of Deferred, |slf, [result]| {
    engine::fire_with(slf, result.clone())
});
quick!(FireWithFailure = c"errback" of Deferred, |slf, rest| {
    if rest.len() > 1 {
        return None;
    }
    let reason = rest.first().filter(|it| !it.is_none()).cloned();
    Deferred::errback(slf, reason)
});
quick!(Unpause = c"unpause" of Deferred, |slf, []| {
    Deferred::unpause(slf)
});
quick!(Cancel = c"cancel" of Deferred, |slf, []| Deferred::cancel(slf));
quick!(Check = c"check" of FailureBase, |slf, types| {
    let found = FailureBase::find(slf, types);
    found.map(|found| found.unwrap_or_else(|| none(slf.py())))
});
quick!(Trap = c"trap" of FailureBase, |slf, types| FailureBase::find_or_raise(slf, types));
quick!(GetErrorMessage = c"getErrorMessage" of FailureBase, |slf, []| {
    FailureBase::error_message(slf)
});
// CPython specializes methods only for an object's own class, so each class has its own.
quick!(AcquireLock = c"acquire" of DeferredLock, |slf, []| {
    Primitive::acquire(slf.as_super())
});
quick!(ReleaseLock = c"release" of DeferredLock, |slf, []| {
    Primitive::release(slf.as_super())
});
quick!(AcquireSemaphore = c"acquire" of DeferredSemaphore, |slf, []| {
    Primitive::acquire(slf.as_super())
});
quick!(ReleaseSemaphore = c"release" of DeferredSemaphore, |slf, []| {
    Primitive::release(slf.as_super())
});
quick!(Put = c"put" of DeferredQueue, |slf, [object]| {
    DeferredQueue::put(slf, object.clone())
});
quick!(Get = c"get" of DeferredQueue, |slf, []| {
    DeferredQueue::get(slf)
});
quick!(Succeed = c"succeed" of PyAny, |_, [result]| {
    functions::succeed(result.clone())
});
quick!(Fail = c"fail" of PyAny, |_, [reason]| {
    let given = (!reason.is_none()).then(|| reason.clone());
    functions::fail(reason.py(), given)
});
quick!(MaybeDeferred = c"maybeDeferred" of PyAny, |_, [function, args @ ..]| {
    functions::maybe_deferred_quickly(function, args, None)
}, but "f" by keyword, |_, [function, args @ ..], names| {
    functions::maybe_deferred_quickly(function, args, Some(names))
});
quick!(EnsureDeferred = c"ensureDeferred" of PyAny, |_, [coro]| {
    generators::ensure_deferred(coro.clone())
});
quick!(Execute = c"execute" of PyAny, |_, [callable, args @ ..]| {
    functions::execute_quickly(callable, args, None)
}, but "callable" by keyword, |_, [callable, args @ ..], names| {
    functions::execute_quickly(callable, args, Some(names))
});
quick!(Run = c"run" of Primitive, |slf, [function, args @ ..]| {
    tuple_of(slf.py(), [], args)
        .and_then(|args| Ok(Primitive::run(slf, function.clone(), args, None)?))
}, but "f" by keyword, |slf, [function, args @ ..], names| {
    let (args, values) = args.split_at(args.len() - names.len());
    tuple_of(slf.py(), [], args).and_then(|args| {
        let kwargs = capi::dict_of(names, values)?;
        Ok(Primitive::run(slf, function.clone(), args, Some(kwargs))?)
    })
});
quick!(AddCallbacks = c"addCallbacks" of Deferred, |slf, [callback, rest @ ..]| {
    if rest.len() > 5 {
        return None;
    }
    let given = |i: usize| rest.get(i).filter(|it| !it.is_none()).cloned();
    let rest = [given(0), given(1), given(2), given(3), given(4)];
    add_callbacks(slf, callback.clone(), rest)
}, named |slf, args, names| {
    let mut given = [const { None }; 6];
    let positional = args.len() - names.len();
    if positional > given.len() {
        return None;
    }
    for (place, argument) in given.iter_mut().zip(&args[..positional]) {
        *place = Some(argument.clone());
    }
    let mut left = names.len();
    for (i, parameter) in names_of_both(slf.py()).into_iter().enumerate().skip(positional) {
        if left == 0 {
            break;
        }
        match place_of(names, parameter) {
            Ok(None) => {}
            Ok(Some(place)) => {
                given[i] = Some(args[positional + place].clone());
                left -= 1;
            }
            Err(error) => return Some(Err(error)),
        }
    }
    let [callback, rest @ ..] = given;
    // If names are left, PyO3's version reports them.
    let callback = callback.filter(|_| left == 0)?;
    let rest = rest.map(|it| it.filter(|it| !it.is_none()));
    Some(add_callbacks(slf, callback, rest))
});
quick!(AddTimeout = c"addTimeout" of Deferred, |slf, [seconds, clock, rest @ ..]| {
    if rest.len() > 1 {
        return None;
    }
    let given = |it: &Bound<'py, PyAny>| (!it.is_none()).then(|| it.clone());
    let (clock, on_cancel) = (given(clock), rest.first().and_then(given));
    timeout::add(slf, seconds.clone(), clock, on_cancel).map_err(Error::from)
});
quick!(ConvertTimedOut = c"_convertTimedOut" of PyAny, |_, [result, timeout]| {
    timeout::convert(result, timeout)
});
quick!(StopClock = c"_stopClock" of PyAny, |_, [result, timeout]| timeout::stop(result, timeout));
quick!(RunInlineCallbacks = c"_runInlineCallbacks" of PyAny, |_, [function, args, kwargs]| {
    generators::start_called(function, args, kwargs)
});

// Functions about what is running.
quick!(RunningLoop = c"_running_loop" of PyAny, |module, []| {
    Ok(generators::running_loop(module.py()).unwrap_or_else(|| none(module.py())))
});
quick!(RunningTask = c"_running_task" of PyAny, |module, []| {
    generators::running_task(module.py()).map(|task| task.unwrap_or_else(|| none(module.py())))
});

// Functions for waiting in a line, and for handing over.
quick!(WaitIn = c"_wait_in" of PyAny, |_, [line, owner, what]| {
    let line = capi::as_exact::<Fifo>(line)?;
    let owner = (!owner.is_none()).then(|| owner.clone());
    place::_wait_in(line, owner, what.clone())
});
quick!(GiveBack = c"_give_back" of PyAny, |_, [owner, line, number]| {
    let line = capi::as_exact::<Fifo>(line)?;
    place::_give_back(owner, line, number, None)
});
quick!(Take = c"_take" of PyAny, |_, [queue, items, putting, deferred]| {
    let putting = capi::as_exact::<Fifo>(putting)?;
    items::_take(queue, items, putting, deferred.cast::<PyBool>().ok()?.is_true())
});
quick!(PutIn = c"_put_in" of PyAny, |_, [queue, items, getting, item]| {
    let getting = capi::as_exact::<Fifo>(getting)?;
    let put = items::_put_in(queue, items, getting, item.clone());
    put.map(|put| capi::new_bool(queue.py(), put))
});
quick!(AcquiredFor = c"_acquired_for" of PyAny, |_, [lock, condition, waiter]| {
    events::_acquired_for(lock, condition, waiter.clone())
});
quick!(CheckDepth = c"_check_depth" of PyAny, |slf, []| {
    whole::_check_depth(slf.py())
});
quick!(NeverRefused = c"_never_refused" of PyAny, |_, [function]| {
    whole::_never_refused(function.clone())
});
quick!(GiveFirst = c"_give_first" of PyAny, |_, [line, result]| {
    let line = capi::as_exact::<Fifo>(line)?;
    let given = place::_give_first(line, result.clone());
    given.map(|given| capi::new_bool(line.py(), given))
});

/// Add a callback, with these arguments.
#[inline(always)]
fn add<'py>(
    slf: &Bound<'py, Deferred>,
    on: On,
    callable: &Bound<'py, PyAny>,
    args: Args<'_, 'py>,
) -> Result<Bound<'py, PyAny>> {
    #[cfg(Py_GIL_DISABLED)]
    if args.is_empty() {
        return add_plain(slf, on, callable);
    }
    // The core checks this again. Checking it here saves a call for Deferreds that have not fired.
    if slf.get().chain(slf.py(), |chain| chain.is_at_rest())
        && at_once::call_at_once(slf, on, callable, args)?
    {
        return Ok(slf.as_any().clone());
    }
    let callback = if args.is_empty() {
        Callback::plain(callable.clone())?
    } else {
        Callback::with_arguments(slf.py(), callable, args, None)?
    };
    engine::add(slf, on.link(callback))?;
    Ok(slf.as_any().clone())
}

/// [`add`] without arguments. Such a callback costs less than a lock.
#[cfg(Py_GIL_DISABLED)]
#[inline(always)]
fn add_plain<'py>(
    slf: &Bound<'py, Deferred>,
    on: On,
    callable: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let callback = Callback::plain(callable.clone())?;
    if let Some(callback) = engine::add_unless_at_rest(slf, on, callback)?
        && !at_once::call_at_once(slf, on, callable, &[])?
    {
        engine::add(slf, on.link(callback))?;
    }
    Ok(slf.as_any().clone())
}

/// Add a callback, with these arguments, some of them by keyword.
fn add_named<'py>(
    slf: &Bound<'py, Deferred>,
    on: On,
    callable: &Bound<'py, PyAny>,
    args: Args<'_, 'py>,
    names: &Bound<'py, PyTuple>,
) -> Result<Bound<'py, PyAny>> {
    let callback = Callback::with_arguments(slf.py(), callable, args, Some(names))?;
    engine::add(slf, on.link(callback))?;
    Ok(slf.as_any().clone())
}

/// Add a callback and an errback, with these arguments.
fn add_callbacks<'py>(
    slf: &Bound<'py, Deferred>,
    callback: Bound<'py, PyAny>,
    rest: [Option<Bound<'py, PyAny>>; 5],
) -> Result<Bound<'py, PyAny>> {
    let [errback, args, kwargs, errback_args, errback_kwargs] = rest;
    let arguments = [(args, kwargs), (errback_args, errback_kwargs)];
    add_both(slf, callback, errback, arguments)?;
    Ok(slf.as_any().clone())
}

/// The parameters of `addCallbacks`.
fn names_of_both(py: Python<'_>) -> [&Bound<'_, PyString>; 6] {
    [
        intern!(py, "callback"),
        intern!(py, "errback"),
        intern!(py, "callbackArgs"),
        intern!(py, "callbackKeywords"),
        intern!(py, "errbackArgs"),
        intern!(py, "errbackKeywords"),
    ]
}

/// Register these methods, in their fast versions where there are any.
fn know_methods(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<Deferred>();
    METHODS.know(&class, "callback", Method::Callback)?;
    METHODS.know(&class, "errback", Method::Errback)?;
    METHODS.know(&class, "unpause", Method::Unpause)?;
    METHODS.know(&py.get_type::<DeferredQueue>(), "put", Method::Put)?;
    METHODS.know(&py.get_type::<DeferredLock>(), "release", Method::Release)?;
    METHODS.know(&py.get_type::<DeferredSemaphore>(), "release", Method::Release)?;
    let class = py.get_type::<Primitive>();
    METHODS.know(&class, "release", Method::Release)?;
    METHODS.know(&class, "_releaseAndReturn", Method::ReleaseAndReturn)?;
    METHODS.know(&py.get_type::<DeferredList>(), "_cbDeferred", Method::Collect)
}

/// Replace PyO3's methods by the fast versions.
pub(crate) fn put_quick_forms(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = py.get_type::<Deferred>();
    put::<AddCallback>(&class)?;
    put::<AddErrback>(&class)?;
    put::<AddBoth>(&class)?;
    put::<AddCallbacks>(&class)?;
    put::<AddTimeout>(&class)?;
    put::<Fire>(&class)?;
    put::<Cancel>(&class)?;
    put::<FireWithFailure>(&class)?;
    put::<Unpause>(&class)?;
    let class = py.get_type::<FailureBase>();
    put::<Check>(&class)?;
    put::<Trap>(&class)?;
    put::<GetErrorMessage>(&class)?;
    let class = py.get_type::<DeferredLock>();
    put::<AcquireLock>(&class)?;
    put::<ReleaseLock>(&class)?;
    let class = py.get_type::<DeferredSemaphore>();
    put::<AcquireSemaphore>(&class)?;
    put::<ReleaseSemaphore>(&class)?;
    let class = py.get_type::<DeferredQueue>();
    put::<Put>(&class)?;
    put::<Get>(&class)?;
    put::<Succeed>(module)?;
    put::<Fail>(module)?;
    put::<MaybeDeferred>(module)?;
    put::<EnsureDeferred>(module)?;
    put::<Execute>(module)?;
    put::<Run>(&py.get_type::<Primitive>())?;
    put::<RunInlineCallbacks>(module)?;
    put::<ConvertTimedOut>(module)?;
    put::<StopClock>(module)?;
    put::<RunningLoop>(module)?;
    put::<RunningTask>(module)?;
    put::<WaitIn>(module)?;
    put::<GiveBack>(module)?;
    put::<GiveFirst>(module)?;
    put::<CheckDepth>(module)?;
    put::<Take>(module)?;
    put::<PutIn>(module)?;
    put::<AcquiredFor>(module)?;
    put::<NeverRefused>(module)?;
    know_methods(py)
}
