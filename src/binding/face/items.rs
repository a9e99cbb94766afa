//! Native steps of the queues and channels in `deferrous.concurrency`: see `events`.

use pyo3::exceptions::{PyException, PyMemoryError, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::binding::capi::{
    self,
    error::{Error, Result},
    interned::intern,
    none,
    owed::owe,
    stack, yes,
};
use crate::binding::face::behind::{behind, take_all};
use crate::binding::face::place::{
    _give_first, _wait_in, fire_waiting, first_waiting, is_fired, next_in,
};
use crate::binding::face::waiting::{
    add_to, answer_waiting, fail_each, failure_of, fire_each, is, line_of, report, set_attribute,
    tell_all,
};
use crate::binding::model::{
    deferred::Deferred,
    failure::FailureBase,
    fifo::{Fifo, exact_index},
    names::LET_IN,
};
use crate::binding::waits::made;

/// The error for a waiter when there will be no more items: `async for` needs one of its own to
/// end.
pub(crate) fn over<'py>(error: &Bound<'py, PyAny>, iterating: bool) -> PyResult<Bound<'py, PyAny>> {
    if iterating { error.py().get_type::<PyStopAsyncIteration>().call0() } else { error.call0() }
}

/// Tell all waiters that there will be no more items: `async for` ends, and others fail with an
/// error of this class.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _end_getting<'py>(
    owner: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let getting = line_of(owner, intern!(owner.py(), "_getting"))?;
    fail_each(&getting, |iterating| over(error, stack::truth(&iterating)?))
}

/// [`_end_getting`] for waiters that were taken out of the line.
pub(crate) fn tell_getters<'py>(
    line: &Bound<'py, Fifo>,
    taken: &Bound<'py, Fifo>,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    tell_all(line, taken, |iterating| over(error, stack::truth(&iterating)?))
}

/// Close a channel: all waiters fail with an error of this class.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _close_channel<'py>(
    channel: &Bound<'py, PyAny>,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = channel.py();
    let getting = line_of(channel, intern!(py, "_getting"))?;
    let putting = line_of(channel, intern!(py, "_putting"))?;
    let (getters, putters) = (Fifo::empty(py)?, Fifo::empty(py)?);
    let (closed, _) = behind(&getting, |_| {
        set_attribute(channel, intern!(py, "_closed"), yes(py))?;
        Ok((take_all(&getting, getters), take_all(&putting, putters)))
    });
    let (getters, putters) = closed?;
    let told = tell_getters(&getting, &getters, error);
    told.and(tell_all(&putting, &putters, |_| error.call0()))
}

/// Tell all waiters, both those for an item and those for room.
fn end_both<'py>(owner: &Bound<'py, PyAny>, error: &Bound<'py, PyAny>) -> Result<()> {
    let ended = _end_getting(owner, error);
    let putting = line_of(owner, intern!(owner.py(), "_putting"))?;
    let failed = fail_each(&putting, |_| error.call0());
    ended.and(failed)
}

/// Whether a subclass decides how a queue keeps its items, or when there is room.
fn is_programs(queue: &Bound<'_, PyAny>) -> Result<bool> {
    Ok(queue.getattr(intern!(queue.py(), "_way"))?.is_none())
}

/// Put an item into a queue, or give it to the first waiter, and count it; or do neither. False if
/// it is not a valid item: a Deferred or a failure.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _put_in<'py>(
    queue: &Bound<'py, PyAny>,
    items: &Bound<'py, PyAny>,
    getting: &Bound<'py, Fifo>,
    item: Bound<'py, PyAny>,
) -> Result<bool> {
    if item.is_instance_of::<Deferred>() || item.is_instance_of::<FailureBase>() {
        return Ok(false);
    }
    let py = queue.py();
    let unfinished = intern!(py, "_unfinished");
    add_to(queue, unfinished, 1)?;
    if getting.get().len(py) > 0 && is_programs(queue)? {
        // It goes through the subclass's methods, even if somebody waits.
        return match put_into(queue, items, item) {
            Ok(()) => give_by_methods(queue, getting).map(|()| true),
            Err(error) => add_to(queue, unfinished, -1).and(Err(error)),
        };
    }
    let given =
        if getting.get().len(py) == 0 { Ok(false) } else { _give_first(getting, item.clone()) };
    let put = match given {
        Ok(false) => put_into(queue, items, item),
        given => given.map(|_| ()),
    };
    if put.is_err() {
        add_to(queue, unfinished, -1)?;
    }
    put.map(|()| true)
}

/// Give the items of a subclass's queue to waiters, as long as its methods say that there are some.
/// A waiter gets the error if `_get` raises one.
fn give_by_methods<'py>(queue: &Bound<'py, PyAny>, getting: &Bound<'py, Fifo>) -> Result<()> {
    let py = queue.py();
    let mut raised = Ok(());
    while next_in(getting)?.is_some() && !stack::truth(&queue.call_method0(intern!(py, "empty"))?)?
    {
        let got = match queue.call_method0(intern!(py, "_get")).map_err(Error::from) {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                _give_first(getting, failure_of(py, error)?).map(|_| ())
            }
            Err(error) => return Err(error),
            Ok(item) => match _give_first(getting, item.clone()) {
                // Nobody is waiting any more.
                Ok(false) => {
                    queue.call_method1(intern!(py, "_insert"), (0, item))?;
                    Ok(())
                }
                given => given.map(|_| ()),
            },
        };
        if got.is_err() {
            raised = got;
        }
    }
    raised
}

/// Put an item into a queue, through `_put` if a subclass overrides it.
fn put_into<'py>(
    queue: &Bound<'py, PyAny>,
    items: &Bound<'py, PyAny>,
    item: Bound<'py, PyAny>,
) -> Result<()> {
    let py = queue.py();
    let way = queue.getattr(intern!(py, "_way"))?;
    if way.is_none() {
        queue.call_method1(intern!(py, "_put"), (item,))?;
    } else if stack::truth(&way)? {
        items.call_method1(intern!(py, "append"), (item,))?;
    } else {
        // Comparing items may raise anything, and may be interrupted.
        let before = items.len()?;
        if let Err(error) = queue.call_method1(intern!(py, "_push"), (items, &item)) {
            queue.call_method1(intern!(py, "_undo_push"), (items, item, before))?;
            return Err(error.into());
        }
    }
    Ok(())
}

/// Remove the next item of a queue, through `_get` if a subclass overrides it.
fn remove_next<'py>(
    queue: &Bound<'py, PyAny>,
    items: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = queue.py();
    let way = queue.getattr(intern!(py, "_way"))?;
    if way.is_none() {
        return Ok(queue.call_method0(intern!(py, "_get"))?);
    }
    if !stack::truth(&way)? {
        return pop_smallest(queue, items);
    }
    let item = items.call_method0(way.cast::<PyString>()?)?;
    let numbers = queue.getattr(intern!(py, "_numbers"))?;
    if let Ok(numbers) = numbers.cast::<PyList>()
        && !numbers.is_empty()
    {
        numbers.del_item(0)?;
    }
    Ok(item)
}

/// Remove the smallest item of a heap.
fn pop_smallest<'py>(
    queue: &Bound<'py, PyAny>,
    items: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let py = queue.py();
    let count = items.len()?;
    let (first, last) = (items.get_item(0)?, items.get_item(-1)?);
    match queue.call_method1(intern!(py, "_pop"), (items,)) {
        Ok(item) => Ok(item),
        Err(error) => {
            // If a comparison raises, the item is not removed.
            queue.call_method1(intern!(py, "_undo_pop"), (items, first, last, count))?;
            Err(error.into())
        }
    }
}

/// Take the next item of a queue, and let in waiting putters as far as there is room. Returns the
/// item, or a Deferred that has it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _take<'py>(
    queue: &Bound<'py, PyAny>,
    items: &Bound<'py, PyAny>,
    putting: &Bound<'py, Fifo>,
    deferred: bool,
) -> Result<Bound<'py, PyAny>> {
    let py = queue.py();
    let item = remove_next(queue, items)?;
    let taken = match deferred.then(|| made::of_result(item.clone())) {
        None => item.clone(),
        Some(Ok(made)) => made.into_any(),
        Some(Err(error)) => {
            report(queue, put_again(queue, items, item));
            return Err(error);
        }
    };
    if putting.get().len(py) > 0 {
        match let_in(queue, putting) {
            Err(error) if !error.is_instance_of::<PyException>(py) => {
                // Such as KeyboardInterrupt during a comparison: the caller gets it, and no item.
                report(queue, put_again(queue, items, item));
                return Err(error);
            }
            Err(error) => {
                let all = [queue.clone(), putting.as_any().clone()];
                report(queue, Err(owe(LET_IN.get(py)?, &all, error)));
            }
            Ok(()) => {}
        }
    }
    Ok(taken)
}

/// Let in waiting putters, for whom there was no memory before.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _let_in<'py>(queue: &Bound<'py, PyAny>, putting: &Bound<'py, Fifo>) -> Result<()> {
    let_in(queue, putting)
}

/// Put an item back where it was taken from.
fn put_again<'py>(
    queue: &Bound<'py, PyAny>,
    items: &Bound<'py, PyAny>,
    item: Bound<'py, PyAny>,
) -> Result<()> {
    let py = queue.py();
    let way = queue.getattr(intern!(py, "_way"))?;
    if way.is_none() {
        queue.call_method1(intern!(py, "_insert"), (0, item))?;
        return Ok(());
    }
    if way.eq(intern!(py, "popleft"))? {
        items.call_method1(intern!(py, "insert"), (0, item))?;
        return Ok(());
    }
    put_at_all(queue, items, item)
}

/// Put an item into a queue even if a comparison raises: the order may then be wrong, but no item
/// is lost.
pub(crate) fn put_at_all<'py>(
    queue: &Bound<'py, PyAny>,
    items: &Bound<'py, PyAny>,
    item: Bound<'py, PyAny>,
) -> Result<()> {
    put_into(queue, items, item.clone()).or_else(|_| put_into(queue, items, item.clone())).or_else(
        |_| {
            items.call_method1(intern!(queue.py(), "append"), (item,))?;
            Ok(())
        },
    )
}

/// Whether a queue has room.
fn has_room(queue: &Bound<'_, PyAny>) -> Result<bool> {
    let py = queue.py();
    if is_programs(queue)? {
        return Ok(!stack::truth(&queue.call_method0(intern!(py, "full"))?)?);
    }
    let inside = queue.getattr(intern!(py, "_queue"))?.len()?;
    let most = queue.getattr(intern!(py, "_maxsize"))?;
    if let Some(most) = exact_index(&most) {
        return Ok(most <= 0 || inside < most as usize);
    }
    Ok(most.le(0)? || most.gt(capi::new_int(py, inside as u64)?)?)
}

/// Let in waiting putters as far as there is room. A putter whose item cannot be put gets the
/// error.
///
/// # Errors
///
/// An error that is not an `Exception`, such as KeyboardInterrupt, is not the putter's. The putter
/// stays at the front. It also stays if there is no memory, unless a program's own method has raised that.
fn let_in<'py>(queue: &Bound<'py, PyAny>, putting: &Bound<'py, Fifo>) -> Result<()> {
    let py = queue.py();
    let mut raised = Ok(());
    while putting.get().len(py) > 0 && has_room(queue)? {
        let Some(item) = next_in(putting)? else { break };
        let Some(putter) = first_waiting(putting)? else { break };
        let done = let_one_in(queue, item);
        if let Err(error) = &done
            && (!error.is_instance_of::<PyException>(py)
                || error.is_instance_of::<PyMemoryError>(py) && !is_programs(queue)?)
        {
            if !is_fired(&putter)? {
                Fifo::insert_at(putting, 0, putter)?;
            }
            return done;
        }
        if let Err(error) = answer_waiting(putter, done) {
            raised = Err(error);
        }
    }
    raised
}

/// Put the item of one waiting putter.
fn let_one_in<'py>(queue: &Bound<'py, PyAny>, item: Bound<'py, PyAny>) -> Result<()> {
    let py = queue.py();
    let getting = line_of(queue, intern!(py, "_getting"))?;
    let items = queue.getattr(intern!(py, "_queue"))?;
    _put_in(queue, &items, &getting, item).map(|_| ())
}

/// Mark this many items of a queue as done.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _finish<'py>(queue: &Bound<'py, PyAny>, number: i64) -> Result<()> {
    let py = queue.py();
    let unfinished = intern!(py, "_unfinished");
    add_to(queue, unfinished, -number)?;
    let joining = line_of(queue, intern!(py, "_joining"))?;
    if joining.get().len(py) == 0 || is(queue, unfinished)? {
        return Ok(());
    }
    fire_each(&joining, |_| Ok(none(py)))
}

/// Shut a queue down and, if `at_once`, drop its items. All waiters get an error of this class, or
/// the end of `async for`.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _shut_down<'py>(
    queue: &Bound<'py, PyAny>,
    at_once: bool,
    error: &Bound<'py, PyAny>,
) -> Result<()> {
    let py = queue.py();
    queue.setattr(intern!(py, "_is_shut_down"), yes(py))?;
    let mut done = Ok(());
    if at_once {
        queue.setattr(intern!(py, "_is_shut_at_once"), yes(py))?;
        done = drop_items(queue);
    }
    done.and(end_both(queue, error))
}

/// Drop all items of a queue, and mark them as done.
fn drop_items(queue: &Bound<'_, PyAny>) -> Result<()> {
    let py = queue.py();
    // Their finalizers run after everything else.
    let dropped = capi::new_list(py)?;
    let mut raised = Ok(());
    if queue.getattr(intern!(py, "_way"))?.is_none() {
        // Only the subclass knows how.
        raised = empty_by_get(queue, &dropped);
    } else {
        queue.setattr(intern!(py, "_numbers"), capi::new_list(py)?)?;
        empty_into(&queue.getattr(intern!(py, "_queue"))?, &dropped)?;
    }
    let unfinished = queue.getattr(intern!(py, "_unfinished"))?.extract::<i64>()?;
    raised.and(_finish(queue, unfinished.min(dropped.len() as i64)))
}

/// Take all items out of a queue through its `_get`.
fn empty_by_get<'py>(queue: &Bound<'py, PyAny>, to: &Bound<'py, PyList>) -> Result<()> {
    let py = queue.py();
    while !stack::truth(&queue.call_method0(intern!(py, "empty"))?)? {
        to.append(queue.call_method0(intern!(py, "_get"))?)?;
    }
    Ok(())
}

/// Move all items out of a list or deque.
pub(crate) fn empty_into<'py>(items: &Bound<'py, PyAny>, to: &Bound<'py, PyList>) -> Result<()> {
    let py = items.py();
    to.call_method1(intern!(py, "extend"), (items,))?;
    items.call_method0(intern!(py, "clear"))?;
    Ok(())
}

/// Take the next item of a channel, or wait for one. Returns its Deferred.
#[pyfunction(crate = "crate::binding::capi::guarded")]
pub(crate) fn _receive<'py>(
    channel: &Bound<'py, PyAny>,
    iterating: bool,
) -> Result<Bound<'py, Deferred>> {
    let py = channel.py();
    let putting = line_of(channel, intern!(py, "_putting"))?;
    if let Some(taken) = take_returned(channel)? {
        return Ok(taken);
    }
    let buffer = channel.getattr(intern!(py, "_buffer"))?;
    if buffer.len()? > 0 {
        let taken = take_first(&buffer)?;
        let move_up = || -> Result<()> {
            if let Some(item) = next_in(&putting)? {
                buffer.call_method1(intern!(py, "append"), (item,))?;
                _give_first(&putting, none(py))?;
            }
            Ok(())
        };
        report(channel, move_up());
        return Ok(taken);
    }
    if let Some(item) = next_in(&putting)? {
        // This comes first, as it may fail: the sender may be told only when the item has been
        // received.
        let taken = made::of_result(item)?;
        if let Some(sender) = first_waiting(&putting)? {
            report(channel, fire_waiting(sender, none(py)));
            return Ok(taken);
        }
    }
    let is_over = is(channel, intern!(py, "_closed"))?;
    wait_for_item(channel, is_over, iterating)
}

/// Wait for an item, or fail if there will be none.
pub(crate) fn wait_for_item<'py>(
    owner: &Bound<'py, PyAny>,
    is_over: bool,
    iterating: bool,
) -> Result<Bound<'py, Deferred>> {
    let py = owner.py();
    if !is_over {
        let getting = line_of(owner, intern!(py, "_getting"))?;
        return _wait_in(&getting, Some(owner.clone()), capi::new_bool(py, iterating));
    }
    let error = over(&owner.getattr(intern!(py, "_over"))?, iterating)?;
    made::of_failure(py, Some(error))
}

/// Take the first item of a deque. Returns a Deferred that has it.
pub(crate) fn take_first<'py>(items: &Bound<'py, PyAny>) -> Result<Bound<'py, Deferred>> {
    let py = items.py();
    // Removed after the Deferred has been made, which may fail.
    let made = made::of_result(items.get_item(0)?)?;
    items.call_method0(intern!(py, "popleft"))?;
    Ok(made)
}

/// Take the first item that was given back. Returns a Deferred that has it.
pub(crate) fn take_returned<'py>(
    owner: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, Deferred>>> {
    let returned = owner.getattr(intern!(owner.py(), "_returned"))?;
    let returned = returned.cast::<PyList>()?;
    if returned.is_empty() {
        return Ok(None);
    }
    let made = made::of_result(returned.get_item(0)?.get_item(1)?)?;
    returned.del_item(0)?;
    Ok(Some(made))
}
