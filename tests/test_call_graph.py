"""capture_call_graph: what waits for what, and who waits for it."""

import asyncio
import contextlib
import functools
import gc
import io
import itertools
import json
import re
import sys
import threading
import time

import deferrous as defer
import pytest
import twisted.internet.defer
from deferrous import concurrency
from deferrous._call_graph import DeferredCallGraph
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


def graph(obj, **options):
    found = defer.capture_call_graph(obj, **options)
    assert isinstance(found, DeferredCallGraph)
    # Each form can be made of each graph.
    text = defer.format_call_graph(obj, **options)
    assert json.loads(json.dumps(found.to_dict()))["root"] == 0
    assert found.to_mermaid().startswith("flowchart TD\n")
    assert found.to_dot().startswith("digraph waiting {\n")
    assert found._repr_html_().startswith("<pre")
    assert len(text.splitlines()) < 400
    return found


def named(text, **names):
    """A text with names in the place of addresses."""
    for name, obj in names.items():
        text = text.replace(f"{type(obj).__name__} at {id(obj):#x}", name)
    return re.sub(r' at 0x\w+|file "[^"]*", line \d+|File "[^"]*", line \d+', "", text)


def waits_for(found):
    return [each.future for each in found.waits_for]


def awaited_by(found):
    return [each.future for each in found.awaited_by]


def line_of(function):
    return function.__code__.co_firstlineno


def last(found, way=waits_for):
    """The end of the one way from here."""
    steps = [found.future]
    while True:
        further = found.waits_for if way is waits_for else found.awaited_by
        if not further:
            return steps
        (found,) = further
        steps.append(found.future)


# --- the state of one


def test_one_that_nobody_has_fired():
    d = defer.Deferred()
    assert named(str(graph(d)), d=d) == "* <d> has not been fired"
    assert graph(d).state == "pending"


class Own:
    pass


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (3, "3"),
        (1.5, "1.5"),
        ("a\nb", r"'a\nb'"),
        ("x" * 1000, f"'{'x' * 60}'..."),
        (b"abc", "b'abc'"),
        (1 << 100_000, "int of 100,001 bits"),
        ([1] * 1000, "list of 1,000"),
        ({1: 2}, "dict of 1"),
        ((1, "a"), "(1, 'a')"),
        ((1,), "(1,)"),
        (Own, "class Own"),
        (Own(), "<Own>"),
        ("\ud800\x1b[0m", r"'\ud800\x1b[0m'"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_fired_with(value, text):
    found = graph(defer.succeed(value))
    assert found.state == "fired"
    assert named(found.detail) == f"was fired with {text}"


def test_failed_with():
    d = defer.fail(ValueError("no", Own(), 3, 4))
    found = graph(d)
    assert found.state == "failed"
    assert named(found.detail) == "failed with ValueError('no', <Own>, 3, ...)"
    d.addErrback(lambda _: None)


def test_cancelled():
    d = defer.Deferred()
    d.cancel()
    assert graph(d).state == "cancelled"
    assert graph(d).detail == "failed with CancelledError()"
    d.addErrback(lambda _: None)


def test_the_failure_is_still_reported(reports):
    d = defer.fail(ValueError("no"))
    graph(d)
    del d
    gc.collect()
    assert [str(each) for each in reports.values()] == ["no"]


def test_paused():
    d = defer.Deferred()
    d.pause()
    assert graph(d).detail == "has not been fired, and is paused (1 times)"
    d.callback(1)
    d.addCallback(print)
    assert graph(d).state == "paused"
    assert [each.name for each in graph(d).callbacks] == ["print"]


def test_running_inside_a_callback():
    d, seen = defer.Deferred(), []
    d.addCallback(lambda _: seen.append(graph(d)))
    d.addCallback(later)
    d.callback(1)
    assert seen[0].state == "running"
    assert [each.name for each in seen[0].callbacks] == ["later"]


def test_one_whose_result_was_taken():
    inner, outer = defer.Deferred(), defer.Deferred()
    outer.addCallback(lambda _: inner)
    outer.callback(1)
    inner.callback(2)
    assert graph(outer).detail == "was fired with 2"
    assert graph(inner).state == "fired"


# --- callbacks


def later(result):
    return result


class Service:
    def method(self, result):
        return result

    def __call__(self, result):
        return result


def test_callbacks_by_name_file_and_line():
    d = defer.Deferred()
    service = Service()
    d.addCallback(later, 1, key=2)
    d.addErrback(service.method)
    d.addBoth(service)
    d.addCallbacks(functools.partial(functools.partial(later), 1), len)
    d.addCallback(Service)
    found = graph(d)
    here = __file__
    assert [
        (each.on, named(each.name, service=service), each.file, each.line)
        for each in found.callbacks[:4]
    ] == [
        ("result", "later", here, line_of(later)),
        ("failure", "Service.method", here, line_of(Service.method)),
        ("both", "<service>", here, line_of(Service.__call__)),
        ("result", "partial of partial of later", here, line_of(later)),
    ] or found.callbacks[3].name == "partial of later"
    assert (found.callbacks[4].on, found.callbacks[4].name) == ("failure", "len")
    assert (found.callbacks[5].on, found.callbacks[5].name) == ("result", "class Service")


# --- both directions


def both_ways(waiting, awaited):
    assert awaited in last(graph(waiting)), str(graph(waiting))
    assert waiting in last(graph(awaited), awaited_by), str(graph(awaited))


def test_a_chain():
    first, second, third = (defer.Deferred() for _ in range(3))
    second.addCallback(lambda _: third)
    second.callback(None)
    first.addCallback(lambda _: second)
    first.callback(None)
    both_ways(first, third)
    assert last(graph(first)) == [first, second, third]
    assert last(graph(third), awaited_by) == [third, second, first]
    assert named(str(graph(second)), a=first, b=second, c=third) == (
        "* <b> waits for a Deferred that one of its callbacks returned\n"
        "  + Waits for:\n"
        "    * chained to: <c> has not been fired\n"
        "  + Awaited by:\n"
        "    * chained to: <a> waits for a Deferred that one of its callbacks returned"
    )


def test_chain_deferred_and_bound_callbacks():
    first, second, third = (defer.Deferred() for _ in range(3))
    first.chainDeferred(second)
    second.addCallback(third.callback)
    assert awaited_by(graph(first)) == [second]
    assert awaited_by(graph(second)) == [third]


async def inner(d):
    return await d


async def outer(d):
    return await inner(d)


def inner_generator(d):
    return (yield d)


@defer.inlineCallbacks
def generator(d):
    return (yield from inner_generator(d))


async def iterating(d):
    async def numbers():
        yield await d

    async for number in numbers():
        return number


@pytest.mark.parametrize(
    ("make", "functions"),
    [
        (lambda d: defer.ensureDeferred(outer(d)), ["inner", "outer"]),
        (generator, ["inner_generator", "generator"]),
        (lambda d: defer.ensureDeferred(iterating(d)), ["iterating.<locals>.numbers", "iterating"]),
    ],
    ids=["coroutine", "generator", "async generator"],
)
def test_generators_and_coroutines(make, functions):
    d = defer.Deferred()
    waiting = make(d)
    both_ways(waiting, d)
    found = graph(waiting)
    if sys.version_info < (3, 11):
        functions = [each.rpartition(".")[2] for each in functions]
    assert [each.function for each in found.call_stack] == functions
    assert [each.file for each in found.call_stack] == [__file__] * len(functions)
    assert all(each.line == each.frame.f_lineno for each in found.call_stack)
    assert f"line {found.call_stack[0].line}, in" in str(found)
    assert found.state == "waiting"
    # The lines are those of the moment.
    before = str(found)
    d.callback(1)
    assert str(found) == before
    assert graph(waiting).state == "fired"


def test_asked_by_the_coroutine_or_generator_itself():
    d = defer.Deferred()
    coroutine = outer(d)
    waiting = defer.ensureDeferred(coroutine)
    assert graph(coroutine).future is waiting
    d.callback(None)
    with contextlib.closing(outer(d)) as other, pytest.raises(TypeError, match="nothing runs this"):
        defer.capture_call_graph(other)


@pytest.mark.parametrize(
    "obj", [3, "text", object(), defer.Deferred], ids=["int", "str", "object", "class"]
)
def test_something_else(obj):
    with pytest.raises(TypeError, match="is needed, not"):
        defer.capture_call_graph(obj)


def test_limit():
    d = defer.Deferred()
    waiting = defer.ensureDeferred(outer(d))
    for limit, functions in ((0, []), (1, ["inner"]), (-1, ["outer"]), (5, ["inner", "outer"])):
        found = graph(waiting, limit=limit)
        assert [each.function for each in found.call_stack] == functions


@pytest.mark.parametrize("before", [None, "waited"])
def test_what_runs_now(before):
    d, seen = defer.Deferred(), []

    async def asks():
        seen.append(defer.capture_call_graph())

    async def work():
        if before:
            await d
        await asks()

    assert defer.capture_call_graph() is None
    assert defer.format_call_graph() == ""
    waiting = defer.ensureDeferred(work())
    if before:
        d.callback(None)
    assert seen[0].future is waiting
    assert seen[0].state == "running"
    assert [each.function.rpartition(".")[2] for each in seen[0].call_stack] == ["asks", "work"]


def test_print():
    out = io.StringIO()
    d = defer.Deferred()
    defer.print_call_graph(d, file=out)
    assert out.getvalue() == defer.format_call_graph(d) + "\n"


# --- many


@pytest.mark.parametrize(
    "gather", [defer.DeferredList, defer.gatherResults, defer.race], ids=lambda each: each.__name__
)
def test_lists_and_races(gather):
    missing = [defer.Deferred() for _ in range(3)]
    done = [] if gather is defer.race else [defer.succeed(1)]
    gathered = gather([*done, *missing])
    found = graph(gathered)
    assert waits_for(found) == missing
    assert f"3 that are missing of {3 + len(done)}" in found.detail
    for each in missing:
        assert awaited_by(graph(each)) == [gathered]


def test_a_million_members():
    missing = [defer.Deferred() for _ in range(100_000)]
    gathered = defer.DeferredList(missing)
    found = graph(gathered)
    assert "100,000 that are missing of 100,000" in found.detail
    assert "... 99,995 more ..." in str(found)
    assert len(str(found).splitlines()) < 15


def test_many_that_wait_for_one():
    d = defer.Deferred()
    lists = [defer.DeferredList([d]) for _ in range(100_000)]
    text = str(graph(d))
    assert "... 99,995 more ..." in text
    assert len(text.splitlines()) < 20
    del lists


def test_many_callbacks_before_one_that_waits():
    d = defer.Deferred()
    for _ in range(100_000):
        d.addCallback(later)
    gathered = defer.DeferredList([d])
    found = graph(d)
    assert "... 99,990 more ..." in str(found)
    assert awaited_by(found) == [gathered]


def test_a_long_chain_shows_both_ends():
    chain = [defer.Deferred() for _ in range(100_000)]
    for this, following in reversed(list(itertools.pairwise(chain))):
        this.addCallback(lambda _, following=following: following)
        this.callback(None)
    started = time.perf_counter()
    down, up = graph(chain[0]), graph(chain[-1])
    assert time.perf_counter() - started < 60
    assert last(down)[-1] is chain[-1]
    assert last(up, awaited_by)[-1] is chain[0]
    for found in (down, up):
        assert re.search(r"\.\.\. 99,\d{3} more, each waits for the next \.\.\.", str(found))
        assert len(str(found).splitlines()) < 50


def test_many_nested_generators():
    end = current = defer.Deferred()
    for _ in range(10_000):
        current = generator(current)
    assert last(graph(current))[-1] is end
    assert last(graph(end), awaited_by)[-1] is current


def test_deep_coroutines():
    d = defer.Deferred()

    async def nested(depth):
        return await (nested(depth - 1) if depth else d)

    waiting = defer.ensureDeferred(nested(100))
    found = graph(waiting)
    assert len(found.call_stack) == 20
    assert "... 81 more ..." in str(found)
    assert last(found)[-1] is d


def test_a_tree_that_is_wide_and_deep():
    def tree(depth):
        return (
            defer.DeferredList([tree(depth - 1) for _ in range(6)]) if depth else defer.Deferred()
        )

    assert len(graph(tree(5)).to_dict()["nodes"]) <= 60


# --- lines


def in_line_of_lock():
    lock = defer.DeferredLock()
    lock.acquire(), lock.acquire()
    return lock, lock.acquire(), "place 2 of 2 (it is locked)"


def in_line_of_semaphore():
    semaphore = defer.DeferredSemaphore(2)
    semaphore.acquire(), semaphore.acquire()
    return semaphore, semaphore.acquire(), "place 1 of 1 (0 of 2 tokens are left)"


def in_line_of_queue():
    queue = defer.DeferredQueue()
    queue.get()
    return queue, queue.get(), "place 2 of 2 (it holds 0)"


def in_line_of_list():
    queue = defer.DeferredQueue()
    waiting = queue.get()
    queue.waiting.insert(0, defer.Deferred())
    return queue, waiting, "place 2 of 2 (it holds 0)"


def in_line_of_other_queue():
    queue = concurrency.Queue()
    queue.get()
    return queue, queue.get(), "place 2 of 2"


def in_line_of_event():
    event = concurrency.Event()
    event.wait()
    return event, event.wait(), "place 2 of 2"


def in_line_of_readers():
    lock = concurrency.ReadWriteLock()
    lock.writing.acquire(), lock.reading.acquire()
    return lock, lock.writing.acquire(), "place 2 of 2"


def in_line_of_key():
    lock = concurrency.KeyedLock()
    lock("key").acquire(), lock("key").acquire()
    return lock, lock("key").acquire(), "place 2 of 2"


@pytest.mark.parametrize(
    "make",
    [
        in_line_of_key,
        in_line_of_lock,
        in_line_of_semaphore,
        in_line_of_queue,
        in_line_of_list,
        in_line_of_other_queue,
        in_line_of_event,
        in_line_of_readers,
    ],
)
def test_in_line(make):
    line, waiting, place = make()
    found = graph(waiting)
    assert named(found.detail, line=line) == f"stands in line at <line>, {place}"
    assert found.state == "waiting"


def test_who_holds_a_lock_by_run():
    lock, work = defer.DeferredLock(), defer.Deferred()
    lock.run(lambda: work)
    waiting = lock.acquire()
    assert waits_for(graph(waiting)) == [work]
    assert "held by: " in str(graph(waiting))
    # One to which it was handed over holds it likewise.
    then, second = defer.Deferred(), defer.DeferredLock()
    second.acquire()
    second.run(lambda: then)
    waiting = second.acquire()
    second.release()
    assert waits_for(graph(waiting)) == [then]


def test_who_holds_a_lock_by_async_with():
    lock, work = defer.DeferredLock(), defer.Deferred()

    async def within():
        async with lock:
            await work

    async def hold():
        await within()

    holder, waiting = defer.ensureDeferred(hold()), defer.ensureDeferred(hold())
    found = graph(waiting)
    assert last(found)[-2:] == [holder, work]
    assert not found.cycles
    assert re.search("held by: <Deferred at", str(found))
    work.callback(None)


def test_many_that_know_a_lock():
    lock, works = defer.DeferredLock(), [defer.Deferred() for _ in range(1000)]
    lock.acquire()
    waiting = lock.acquire()

    async def knows(lock, work):
        await work

    known = [defer.ensureDeferred(knows(lock, work)) for work in works]
    assert "perhaps held by" in str(graph(waiting))
    assert len(graph(waiting).waits_for) == 5
    assert not graph(waiting).cycles
    del known


# --- asyncio


def test_from_a_task_to_a_deferred_and_back():
    async def main():
        d = defer.Deferred()

        async def awaits(what):
            return await what

        task = asyncio.ensure_future(awaits(d))
        outer_task = asyncio.ensure_future(awaits(task))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert last(graph(outer_task)) == [outer_task, task, d]
        assert last(graph(d), awaited_by) == [d, task, outer_task]
        assert [each.function.rpartition(".")[2] for each in graph(task).call_stack] == ["awaits"]
        d.callback(3)
        assert await outer_task == 3
        assert graph(outer_task).detail == "was fired with 3"

    asyncio.run(main())


def test_from_a_deferred_to_a_future_and_back():
    async def main():
        future = asyncio.get_running_loop().create_future()

        async def ours():
            return await future

        async def theirs(d):
            return await d

        d = defer.ensureDeferred(ours())
        task = asyncio.ensure_future(theirs(d))
        await asyncio.sleep(0)
        assert last(graph(task)) == [task, d, future]
        steps = last(graph(future), awaited_by)
        assert steps[0] is future
        assert steps[-2:] == [d, task]
        future.set_result(1)
        await task

    asyncio.run(main())


def test_as_future_and_from_future():
    async def main():
        loop = asyncio.get_running_loop()
        d = defer.Deferred()
        future = d.asFuture(loop)
        assert awaited_by(graph(d)) == [future]
        other = loop.create_future()
        ours = defer.Deferred.fromFuture(other)
        assert awaited_by(graph(other)) == [ours]
        assert waits_for(graph(ours)) == [other]
        d.callback(1)
        other.set_result(2)
        assert await future == 1
        assert await ours == 2

    asyncio.run(main())


def test_gathered_futures():
    async def main():
        futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
        futures[0].set_result(1)
        gathered = asyncio.gather(*futures)
        assert waits_for(graph(gathered)) == futures[1:]
        # Newer versions name the task that has called `gather`, too.
        assert gathered in awaited_by(graph(futures[1]))
        gathered.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gathered
        assert graph(gathered).state == "cancelled"
        assert graph(futures[2]).state == "cancelled"

    asyncio.run(main())


def test_the_current_task():
    async def main():
        found = defer.capture_call_graph()
        assert found is not None
        assert found.future is asyncio.current_task()
        assert found.call_stack[0].function.rpartition(".")[2] == "main"
        seen = []

        async def ours():
            seen.append(defer.capture_call_graph())

        d = defer.ensureDeferred(ours())
        assert seen[0].future is d

    asyncio.run(main())


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="asyncio.current_task() does not know such tasks"
)
def test_tasks_written_in_python():
    async def main():
        loop = asyncio.get_running_loop()
        d = defer.Deferred()

        async def awaits(what):
            return await what

        task = asyncio.tasks._PyTask(awaits(d), loop=loop, name="mine")
        outer_task = asyncio.tasks._PyTask(awaits(task), loop=loop)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert last(graph(outer_task)) == [outer_task, task, d]
        assert last(graph(d), awaited_by)[:2] == [d, task]
        assert "_PyTask mine" in str(graph(task)) or "Task mine" in str(graph(task))
        d.callback(None)
        await outer_task

    asyncio.run(main())


@pytest.mark.parametrize(
    ("whose", "runs_as"),
    [
        pytest.param(
            "asyncio",
            "a task",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 11), reason="asyncio has no groups before 3.11"
            ),
        ),
        ("ours", "a task"),
        ("ours", "a Deferred"),
    ],
)
def test_groups_of_tasks(whose, runs_as):
    async def main():
        gate = asyncio.get_running_loop().create_future()
        make = asyncio.TaskGroup if whose == "asyncio" else concurrency.TaskGroup
        run = asyncio.ensure_future if runs_as == "a task" else defer.ensureDeferred
        tasks = []

        async def child():
            await gate

        async def at_the_end():
            async with make() as group:
                tasks.extend(group.create_task(child()) for _ in range(2))

        async def in_the_block():
            async with make() as group:
                tasks.append(group.create_task(child()))
                await gate

        async def without_a_name():
            async with make() as group:
                tasks.append(group.create_task(child()))
                del group
                await gate

        ended = run(at_the_end())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        found = graph(ended)
        if whose == "ours":
            (found,) = found.waits_for
        assert {id(each) for each in waits_for(found)} == {id(each) for each in tasks}
        assert all(last(graph(each), awaited_by)[-1] is ended for each in tasks)
        for work in (in_the_block, without_a_name):
            tasks.clear()
            parent = run(work())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            found = graph(parent)
            assert found.cycles == ()
            assert waits_for(found)[1:] == tasks
            assert str(found).count("task: <") == 1
            assert parent in last(graph(tasks[0]), awaited_by)
        assert defer.deadlocks() == []
        gate.set_result(None)
        await ended
        await asyncio.sleep(0)
        assert "task: <" not in str(graph(ended))

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has no groups before 3.11")
def test_a_group_whose_tasks_wait_for_it():
    async def main():
        async def child():
            await asyncio.wait([parent])

        async def work():
            async with asyncio.TaskGroup() as group:
                group.create_task(child())

        parent = asyncio.ensure_future(work())
        await asyncio.sleep(0.01)
        assert len(graph(parent).waits_for) == 1
        parent.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await parent

    asyncio.run(main())


def test_timeouts_of_coroutines_and_generators():
    clock = Clock()

    async def inner(d):
        async with concurrency.timeout(5, clock=clock):
            await d

    async def work(d):
        async with concurrency.timeout(30, clock=clock), concurrency.timeout(None, clock=clock):
            await inner(d)

    @defer.inlineCallbacks
    def generator(d):
        with concurrency.timeout_at(7, clock=clock) as limit:
            yield d
            limit.reschedule(9)
            yield defer.Deferred()

    d = defer.Deferred()
    found = graph(defer.ensureDeferred(work(d)))
    assert found.detail.split(", ")[1:] == [
        "in a timeout until 30.0 of its clock",
        "in a timeout without an end",
        "in a timeout until 5.0 of its clock",
    ]
    first = generator(d)
    assert graph(first).detail.endswith("in a timeout until 7.0 of its clock")
    d.callback(None)
    assert graph(first).detail.endswith("in a timeout until 9.0 of its clock")
    assert "in a timeout" not in graph(found.future).detail
    clock.advance(20)
    assert "in a timeout" not in graph(first).detail
    first.addErrback(lambda _: None)


def test_timeouts_that_others_are_in():
    """One that a coroutine only knows is not its own."""
    clock = Clock()
    limit = concurrency.timeout(5, clock=clock)

    async def other():
        async with limit:
            await defer.Deferred()

    async def work(limit):
        await defer.Deferred()
        return limit

    kept = [defer.ensureDeferred(other())]
    assert "in a timeout" in graph(kept[0]).detail
    assert "in a timeout" not in graph(defer.ensureDeferred(work(limit))).detail


def test_timeouts_of_tasks():
    async def main():
        loop = asyncio.get_running_loop()
        gate = loop.create_future()

        async def work(timeout):
            async with timeout:
                await gate

        async def ours():
            await work(concurrency.timeout(1000))

        makes = [lambda: concurrency.timeout(1000)]
        if sys.version_info >= (3, 11):
            makes.append(lambda: asyncio.timeout(1000))
        tasks = [asyncio.ensure_future(work(make())) for make in makes]
        tasks.append(defer.ensureDeferred(ours()))
        await asyncio.sleep(0)
        for each in tasks:
            assert re.search(r", in a timeout with (1000|999)\.\d s left$", graph(each).detail)
        gate.set_result(None)
        for each in tasks:
            await each

    asyncio.run(main())


# --- Twisted's own


def test_deferreds_of_twisted():
    theirs = twisted.internet.defer.Deferred()
    waiting = defer.ensureDeferred(outer(theirs))
    assert last(graph(waiting))[-1] is theirs
    assert last(graph(theirs), awaited_by)[-1] is waiting
    assert "<Deferred> of Twisted's own has not been fired" in named(str(graph(theirs)))
    theirs.callback(1)
    assert graph(waiting).detail == "was fired with 1"
    assert graph(theirs).state == "fired"


# --- from elsewhere


def test_while_another_thread_changes_it():
    d, stop = defer.Deferred(), threading.Event()
    lists = []

    def change():
        while not stop.is_set():
            lists.append(defer.DeferredList([d, defer.Deferred()]))
            d.addCallback(later)
            lists.pop().cancel() if len(lists) > 10 else None

    d.addErrback(lambda _: None)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            graph(d)
    finally:
        stop.set()
        thread.join()


def test_within_a_canceller_and_a_collection():
    seen = []
    d = defer.Deferred(lambda d: seen.append(graph(d)))
    waiting = defer.ensureDeferred(outer(d))
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    assert seen[0].future is d

    class Dying:
        def __init__(self):
            self.d = defer.Deferred().addCallback(self.method)

        def method(self, result):
            pass

        def __del__(self):
            seen.append(graph(self.d))

    Dying()
    gc.collect()
    assert len(seen) == 2


# --- circles


def test_two_that_wait_for_each_other():
    one, other = defer.Deferred(), defer.Deferred()
    one.addCallback(lambda _: other)
    other.addCallback(lambda _: one)
    one.callback(None)
    other.callback(None)
    found = graph(one)
    assert [set(each) for each in found.cycles] == [{one, other}]
    assert "wait for each other: none of them can ever fire." in str(found)
    # Who walks through the graph comes to an end.
    assert len(last(found)) == len(last(found, awaited_by)) == 2


def test_a_coroutine_that_waits_for_itself():
    mine = []

    async def work(go):
        await go
        await mine[0]

    go = defer.Deferred()
    mine.append(defer.ensureDeferred(work(go)))
    go.callback(None)
    found = graph(mine[0])
    assert found.cycles == ((mine[0],),)
    assert "waits for itself: it can never fire." in str(found)


def test_locks_that_wait_for_each_other():
    one, other = defer.DeferredLock(), defer.DeferredLock()
    go = [defer.Deferred(), defer.Deferred()]

    def both(first, second, go):
        return first.run(lambda: go.addCallback(lambda _: second.run(lambda: None)))

    works = [both(one, other, go[0]), both(other, one, go[1])]
    for each in go:
        each.callback(None)
    for each in works:
        found = graph(each)
        assert len(found.cycles) == 1
        assert "none of them can ever fire" in str(found)
        assert "held by" in str(found)


def test_one_more_way_out_of_a_circle():
    other, go = defer.Deferred(), defer.Deferred()
    raced = []

    async def work():
        await go
        await raced[0]

    d = defer.ensureDeferred(work())
    raced.append(defer.race([d, other]))
    go.callback(None)
    found = graph(d)
    assert len(found.cycles) == 1
    assert "wait for each other, unless something else comes first." in str(found)
    other.callback(None)


def test_a_long_circle():
    ring = [defer.Deferred() for _ in range(1000)]
    for place, each in enumerate(ring):
        each.addCallback(lambda _, place=place: ring[(place + 1) % len(ring)])
    for each in reversed(ring):
        each.callback(None)
    assert "they wait for each other for ever" in str(graph(ring[0]))


# --- nobody's code runs


class Hostile:
    """Everything that it can be asked raises."""

    def _refuse(self, *args):
        raise AssertionError("called")

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = _refuse
    __getattribute__ = __format__ = __await__ = __call__ = __dir__ = _refuse


class HostileText(str):
    __slots__ = ()

    def _refuse(self, *args):
        raise AssertionError("called")

    __repr__ = __str__ = __format__ = __eq__ = __len__ = __iter__ = __getitem__ = _refuse
    __add__ = __radd__ = __hash__ = _refuse


class HostileClass(type):
    def _refuse(cls, *args):
        raise AssertionError("called")

    __getattribute__ = __instancecheck__ = __subclasscheck__ = __repr__ = __eq__ = _refuse
    __hash__ = type.__hash__


class HostileDeferred(defer.Deferred):
    armed = False

    def __getattribute__(self, name):
        if HostileDeferred.armed:
            raise AssertionError(name)
        return super().__getattribute__(name)

    def __repr__(self):
        raise AssertionError("called")


class HostileError(Exception):
    armed = False

    def __str__(self):
        raise AssertionError("called")

    __repr__ = __str__

    def __getattribute__(self, name):
        if HostileError.armed:
            raise AssertionError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    "make",
    [
        Hostile,
        lambda: [Hostile()],
        lambda: (Hostile(), Hostile()),
        lambda: HostileClass("Name", (), {}),
        lambda: HostileClass("Name", (), {})(),
        lambda: HostileText("text"),
        lambda: type("Name", (int,), {"__repr__": Hostile._refuse})(3),
    ],
    ids=["object", "list", "tuple", "class", "its object", "text", "int"],
)
def test_hostile_results(make):
    d = defer.succeed(make())
    assert "was fired with " in str(graph(d))


def test_hostile_callbacks():
    d = defer.Deferred()
    d.addCallback(Hostile())
    d.addCallback(functools.partial(Hostile()))
    d.addErrback(HostileClass("Name", (), {}))
    function = lambda _: None  # noqa: E731
    function.__qualname__ = HostileText("function")
    d.addCallback(function)
    assert "function on result" in str(graph(d))


def test_hostile_cancellers():
    d = defer.Deferred(Hostile())
    gathered = defer.DeferredList([d])
    assert "has not been fired" in str(graph(gathered))


def test_hostile_deferreds():
    one, other = HostileDeferred(), HostileDeferred()
    waiting = defer.ensureDeferred(outer(one))
    gathered = defer.DeferredList([other, one, waiting])
    try:
        HostileDeferred.armed = True
        for each in (one, other, waiting, gathered):
            graph(each)
    finally:
        HostileDeferred.armed = False


def test_hostile_errors():
    d = defer.fail(HostileError("text", Own()))
    try:
        HostileError.armed = True
        found = graph(d)
    finally:
        HostileError.armed = False
    assert named(found.detail) == "failed with HostileError('text', <Own>)"
    d.addErrback(lambda _: None)


def test_hostile_awaitables():
    class Awaitable:
        def __await__(self):
            return self

        def __next__(self):
            return d

        def __iter__(self):
            return self

        def __getattribute__(self, name):
            raise AttributeError(name) if name == "close" else AssertionError(name)

    async def work():
        await Awaitable()

    d = defer.Deferred()
    waiting = defer.ensureDeferred(work())
    assert last(graph(waiting)) == [waiting, d]


def test_nothing_changes():
    d = defer.Deferred()
    waiting = defer.ensureDeferred(outer(d))
    before = sys.getrefcount(d), sys.getrefcount(waiting)
    graph(d)
    graph(waiting)
    gc.collect()
    assert (sys.getrefcount(d), sys.getrefcount(waiting)) == before
    d.callback(3)
    seen = []
    waiting.addCallback(seen.append)
    assert seen == [3]


# --- the forms


def test_forms_escape():
    function = lambda _: None  # noqa: E731
    function.__qualname__ = '<b>"&#\\'
    d = defer.Deferred().addCallback(function)
    awkward = defer.succeed('<i>"\\')
    assert "<b>" not in graph(d)._repr_html_()
    assert '"' not in graph(awkward).to_mermaid().split('["')[1].split('"]')[0]
    assert r"'<i>\"\\\\'" in graph(awkward).to_dot()


def test_as_data():
    d = defer.Deferred()
    waiting = defer.ensureDeferred(outer(d))
    data = graph(waiting).to_dict()
    assert [node["state"] for node in data["nodes"]] == ["waiting", "pending"]
    assert data["nodes"][0]["waits_for"] == [{"to": 1, "how": "awaits", "left_out_between": 0}]
    assert data["nodes"][0]["call_stack"][0]["function"] == "inner"
    assert data["cycles"] == []


# --- What those of deferrous.concurrency wait for


async def group_of_two(gate):
    async with concurrency.TaskGroup() as group:
        group.create_task(inner(gate))
        group.create_task(inner(gate))


async def putting(_):
    queue = concurrency.Queue(1)
    queue.put_nowait(1)
    await queue.put(2)


async def joining(_):
    queue = concurrency.Queue(1)
    queue.put_nowait(1)
    await queue.join()


async def sending(_):
    channel = concurrency.Channel()
    await channel.send(1)


async def receiving(_):
    await concurrency.Channel().receive()


async def sleeping(_):
    await concurrency.sleep(1, clock=Clock())


async def shielding(gate):
    await concurrency.shield(gate)


async def delaying(gate):
    await concurrency.delay_cancellation(gate)


async def waiting_for_several(gate):
    await concurrency.wait([gate, defer.succeed(1)])


async def meeting(_):
    await concurrency.Barrier(2).wait()


async def condition(_):
    condition = concurrency.Condition()
    await condition.acquire()
    await condition.wait()


async def completing(gate):
    for each in concurrency.as_completed([gate]):
        await each


async def observing(gate):
    await concurrency.Observable(gate).observe()


@pytest.mark.parametrize(
    ("work", "text", "finds_gate"),
    [
        (group_of_two, "waits for 2 tasks of <TaskGroup at 0x?>", True),
        (putting, "stands in line at <Queue at 0x?>, place 1 of 1", False),
        (joining, "stands in line at <Queue at 0x?>, place 1 of 1", False),
        (sending, "stands in line at <Channel at 0x?>, place 1 of 1", False),
        (receiving, "stands in line at <Channel at 0x?>, place 1 of 1", False),
        (sleeping, "sleeps, until a clock wakes it", False),
        (shielding, "waits for another, but is not cancelled with it", True),
        (delaying, "waits for another, but is not cancelled with it", True),
        (waiting_for_several, "waits for 1 that are missing of 2", True),
        (meeting, "stands in line at <Barrier at 0x?>, place 1 of 1", False),
        (condition, "stands in line at <Condition at 0x?>, place 1 of 1", False),
        (completing, "stands in line at <AsCompleted at 0x?>, place 1 of 1", False),
        (observing, "observes <Observable at 0x?>", True),
    ],
)
def test_those_of_concurrency(work, text, finds_gate):
    gate = defer.Deferred()
    d = defer.ensureDeferred(work(gate))
    found = graph(d)
    details = [re.sub("0x[0-9a-f]+", "0x?", each["detail"]) for each in found.to_dict()["nodes"]]
    assert text in details
    assert any(each.obj is gate for each in found._graph.nodes) == finds_gate
    d.addErrback(lambda _: None)
    gate.callback(None)


def test_a_group_and_a_wait_are_found_from_their_members():
    for work in (group_of_two, waiting_for_several):
        gate = defer.Deferred()
        d = defer.ensureDeferred(work(gate))
        assert any(each.obj is d for each in graph(gate)._graph.nodes)
        gate.callback(None)


def test_what_is_passed_on_is_not_kept():
    gate = defer.Deferred()
    shielded = concurrency.shield(gate)
    gate.callback(1)
    assert vars(shielded).get("_part_of") is None
