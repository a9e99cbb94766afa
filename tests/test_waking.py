"""Tasks of asyncio's that wait for ours are woken as asyncio wakes them: when, where and in which
order.

Each program runs with asyncio's own Event or Queue, and with ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import sys
import weakref
from unittest import mock

import pytest
from deferrous import concurrency

pytestmark = pytest.mark.deferrous_only


@pytest.fixture(params=[asyncio, concurrency], ids=["asyncio", "deferrous"])
def kit(request):
    return request.param


@pytest.fixture
def loop():
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


def turn(loop):
    """Run what is to run now."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def waiters(loop, event, log, count, then=lambda number: None):
    """Tasks that wait for an event, and log their numbers."""

    async def wait(number):
        await event.wait()
        log.append(number)
        then(number)

    tasks = [loop.create_task(wait(number)) for number in range(count)]
    turn(loop)
    return tasks


def end(loop, tasks):
    return loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def test_each_has_its_place_among_other_calls(kit, loop):
    first, second, log = kit.Event(), kit.Event(), []
    tasks = waiters(loop, first, log, 3)
    tasks += waiters(loop, second, log, 2, lambda number: loop.call_soon(log.append, "then"))
    loop.call_soon(log.append, "before")
    second.set()
    loop.call_soon(log.append, "between")
    first.set()
    loop.call_soon(log.append, "after")
    turn(loop)
    assert log == ["before", 0, 1, "between", 0, 1, 2, "after"]
    end(loop, tasks)
    assert log[8:] == ["then", "then"]


def test_what_is_woken_by_the_woken_runs_in_the_next_turn(kit, loop):
    first, second, log = kit.Event(), kit.Event(), []
    tasks = waiters(loop, second, log, 2)

    def go_on(number):
        second.set()
        loop.stop()

    tasks += waiters(loop, first, log, 3, go_on)
    first.set()
    loop.run_forever()
    assert log == [0, 1, 2]
    loop.call_soon(log.append, "later")
    turn(loop)
    assert log == [0, 1, 2, 0, 1, "later"]
    end(loop, tasks)


def test_each_runs_in_its_own_context(kit, loop):
    name = contextvars.ContextVar("name", default="none")
    event, log = kit.Event(), []

    async def wait(number):
        name.set(number)
        await event.wait()
        log.append(name.get())
        name.set("changed")

    tasks = [loop.create_task(wait(number)) for number in range(3)]
    turn(loop)
    name.set("the one of who sets it")
    try:
        event.set()
        end(loop, tasks)
        assert log == [0, 1, 2]
        assert name.get() == "the one of who sets it"
    finally:
        name.set("none")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no context= there")
def test_tasks_may_have_one_context(kit, loop):
    name = contextvars.ContextVar("name", default=0)
    context = contextvars.copy_context()
    event = kit.Event()

    async def count():
        await event.wait()
        name.set(name.get() + 1)

    tasks = [loop.create_task(count(), context=context) for _ in range(3)]
    turn(loop)
    event.set()
    assert end(loop, tasks) == [None] * 3
    assert context[name] == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_one_leaves_the_others_to_the_next_turn(kit, loop, error):
    event, log = kit.Event(), []

    def interrupt(number):
        if number == 1:
            raise error

    tasks = waiters(loop, event, log, 4, interrupt)
    event.set()
    loop.call_soon(log.append, "after")
    with pytest.raises(error):
        turn(loop)
    assert log == [0, 1]
    loop.call_soon(log.append, "later")
    turn(loop)
    assert log == [0, 1, 2, 3, "after", "later"]
    assert isinstance(tasks[1].exception(), error)


def test_an_error_is_reported_as_asyncio_does_and_stops_no_other(kit, loop):
    event, log, reported = kit.Event(), [], []
    loop.set_exception_handler(lambda _, context: reported.append((context, sys.exc_info()[1])))
    tasks = waiters(loop, event, log, 3)
    future = tasks[1]._fut_waiter
    ((wake, context),) = future._callbacks

    def call(future):
        raise ValueError("from a callback")

    future.remove_done_callback(wake)
    future.add_done_callback(call, context=context)
    event.set()
    turn(loop)
    assert log == [0, 2]
    ((told, handled),) = reported
    assert set(told) == {"message", "exception", "handle"}
    assert told["message"].startswith("Exception in callback test_an_error")
    # Its arguments are shown up to CPython 3.13.
    assert ".call(" in told["message"]
    assert f" at {__file__}:" in told["message"]
    assert not told["message"].endswith(">")
    assert type(told["handle"]) is asyncio.Handle
    assert isinstance(told["exception"], ValueError)
    assert handled is told["exception"]
    loop.call_soon(wake, future, context=context)
    end(loop, tasks)


def test_a_context_that_is_in_use_is_an_error_like_others(kit, loop, caplog):
    event, log = kit.Event(), []
    tasks = waiters(loop, event, log, 2)
    ((_, context),) = tasks[0]._fut_waiter._callbacks
    event.set()
    handles = list(loop._ready)
    loop._ready.clear()
    loop.call_soon(context.run, handles[0]._run)
    loop.call_soon(handles[1]._run)
    turn(loop)
    assert log == [1]
    assert "Exception in callback " in caplog.text
    assert "already entered" in caplog.text
    tasks[0].cancel()


def test_cancelled_before_it_runs(kit, loop):
    event, log = kit.Event(), []
    tasks = waiters(loop, event, log, 3)
    event.set()
    assert tasks[1]._fut_waiter.done()
    assert tasks[1].cancel()
    loop.call_soon(log.append, "after")
    turn(loop)
    assert tasks[1].cancelled()
    assert log == [0, 2, "after"]


def test_an_item_is_not_lost_if_its_task_is_cancelled(kit, loop):
    queue = kit.Queue()
    tasks = [loop.create_task(queue.get()) if kit is asyncio else get(loop, queue) for _ in "ab"]
    turn(loop)
    queue.put_nowait("item")
    tasks[0].cancel()
    assert loop.run_until_complete(tasks[1]) == "item"
    assert tasks[0].cancelled()


def get(loop, queue):
    async def get():
        return await queue.get()

    return loop.create_task(get())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks there")
def test_eager_tasks(kit, loop):
    loop.set_task_factory(asyncio.eager_task_factory)
    event, log = kit.Event(), []

    async def main():
        async def wait(number):
            await event.wait()
            log.append(number)

        tasks = [asyncio.create_task(wait(number)) for number in range(3)]
        event.set()
        asyncio.get_running_loop().call_soon(log.append, "after")
        await asyncio.gather(*tasks)

    loop.run_until_complete(main())
    assert log == [0, 1, 2, "after"]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="current_task() does not find them there")
def test_tasks_in_python(kit, loop):
    loop.set_task_factory(
        lambda loop, coroutine, **kwargs: asyncio.tasks._PyTask(coroutine, loop=loop, **kwargs)
    )
    event, log = kit.Event(), []
    tasks = waiters(loop, event, log, 3)
    event.set()
    loop.call_soon(log.append, "after")
    turn(loop)
    assert log == [0, 1, 2, "after"]
    assert all(task.done() for task in tasks)


def test_futures_in_python(kit, loop):
    loop.create_future = lambda: asyncio.futures._PyFuture(loop=loop)
    event, log = kit.Event(), []
    tasks = waiters(loop, event, log, 2)
    assert type(tasks[0]._fut_waiter) is asyncio.futures._PyFuture
    event.set()
    turn(loop)
    assert log == [0, 1]


def test_all_callbacks_of_a_future_are_called(kit, loop):
    event, log = kit.Event(), []
    tasks = waiters(loop, event, log, 1)
    tasks[0]._fut_waiter.add_done_callback(lambda future: log.append(future.done()))
    event.set()
    turn(loop)
    assert log == [0, True]


def test_no_callback_at_all(kit, loop):
    event, log = kit.Event(), []
    (task,) = waiters(loop, event, log, 1)
    future = task._fut_waiter
    ((wake, context),) = future._callbacks
    future.remove_done_callback(wake)
    event.set()
    turn(loop)
    assert future.done()
    assert not log
    loop.call_soon(wake, future, context=context)
    turn(loop)
    assert log == [0]


def test_a_task_shows_a_future(kit, loop):
    event, log = kit.Event(), []
    (task,) = waiters(loop, event, log, 1)
    assert type(task._fut_waiter) is asyncio.Future
    assert "wait_for=<Future pending cb=[" in repr(task)
    assert task.get_stack()
    event.set()
    assert "wait_for=<Future finished result=" in repr(task)
    turn(loop)
    assert task._callbacks is None


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no call graphs there")
def test_who_awaits_a_future_is_known(kit, loop):
    event, log = kit.Event(), []
    (task,) = waiters(loop, event, log, 1)
    future = task._fut_waiter
    graph = asyncio.capture_call_graph(future)
    assert [each.future for each in graph.awaited_by] == [task]
    event.set()
    turn(loop)
    assert not asyncio.capture_call_graph(future).awaited_by


def test_a_closed_loop_is_told_of(kit):
    loop = asyncio.SelectorEventLoop()
    event, log = kit.Event(), []
    (task,) = waiters(loop, event, log, 1)
    loop.close()
    try:
        event.set()
    except RuntimeError as error:
        assert "closed" in str(error)
    assert not loop._ready
    # As a coroutine that is not resumed any more says so when it is collected.
    task._log_destroy_pending = False
    task.get_coro().close()


def test_in_debug_mode_all_is_asyncios(kit, loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    event, log = kit.Event(), []
    waiters(loop, event, log, 2)
    event.set()
    assert [type(handle) for handle in loop._ready] == [asyncio.Handle] * 2
    assert all(handle._source_traceback for handle in loop._ready)
    with caplog.at_level(logging.WARNING, "asyncio"):
        turn(loop)
    assert log == [0, 1]
    assert any("Executing <Task finished" in record.getMessage() for record in caplog.records)


def test_debug_mode_that_is_set_later(kit, loop, caplog):
    """The loop then shows what it finds in its queue."""
    event, log = kit.Event(), []
    waiters(loop, event, log, 1)
    event.set()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    with caplog.at_level(logging.WARNING, "asyncio"):
        turn(loop)
    assert log == [0]
    assert any("Executing <" in record.getMessage() for record in caplog.records)


@contextlib.contextmanager
def own_class(loop, called):
    class Own(asyncio.SelectorEventLoop):
        def call_soon(self, *args, **kwargs):
            called.append(args)
            return super().call_soon(*args, **kwargs)

    loop.__class__ = Own
    yield
    loop.__class__ = asyncio.SelectorEventLoop


def own_object(loop, called):
    call_soon = loop.call_soon
    return mock.patch.object(
        loop, "call_soon", lambda *args, **named: called.append(args) or call_soon(*args, **named)
    )


def all_loops(loop, called):
    call_soon = asyncio.BaseEventLoop.call_soon

    def patched(self, *args, **kwargs):
        called.append(args)
        return call_soon(self, *args, **kwargs)

    return mock.patch.object(asyncio.BaseEventLoop, "call_soon", patched)


def all_handles(loop, called):
    run = asyncio.Handle._run

    def patched(self):
        called.append(self._args)
        return run(self)

    return mock.patch.object(asyncio.Handle, "_run", patched)


@pytest.mark.parametrize("patch", [own_class, own_object, all_loops, all_handles])
def test_what_a_program_has_put_there_is_called(kit, loop, patch):
    """Before the first wait of a class of loops, and after one."""
    event, log, called = kit.Event(), [], []
    (task,) = waiters(loop, event, log, 1)
    with patch(loop, called):
        event.set()
        turn(loop)
    assert log == [0]
    assert sum(isinstance(each, asyncio.Future) for args in called for each in args) == 1
    assert task.done()
    event = kit.Event()
    tasks = waiters(loop, event, log, 2)
    called.clear()
    event.set()
    turn(loop)
    assert log == [0, 0, 1]
    assert not called
    end(loop, tasks)


def test_what_stands_in_the_queue_is_like_a_handle(kit, loop):
    event, log = kit.Event(), []
    tasks = waiters(loop, event, log, 3)
    futures = [task._fut_waiter for task in tasks]
    ((wake, context),) = futures[0]._callbacks
    event.set()
    first, second, third = loop._ready
    assert (first._callback, first._args, first._loop) == (wake, (futures[0],), loop)
    assert first._context is context
    assert first._source_traceback is None
    assert not second.cancelled()
    second.cancel()
    second.cancel()
    assert second.cancelled()
    assert second._callback is None
    assert second._args is None
    turn(loop)
    assert log == [0, 2]
    assert not third.cancelled()
    tasks[1].cancel()


def test_nothing_is_kept(kit, loop):
    event, log = kit.Event(), []
    (task,) = waiters(loop, event, log, 1)
    seen = weakref.ref(task)
    gc.disable()
    try:
        event.set()
        turn(loop)
        del task
        assert seen() is None
    finally:
        gc.enable()


def test_what_never_runs_is_collected():
    loop = asyncio.SelectorEventLoop()
    event, log = concurrency.Event(), []
    (task,) = waiters(loop, event, log, 1)
    task._log_destroy_pending = False
    seen, future = weakref.ref(task), task._fut_waiter
    event.set()
    future.kept_by_what_it_keeps = loop._ready[0]
    loop.close()
    del task, event, future
    gc.collect()
    assert seen() is None
