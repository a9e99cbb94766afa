"""The call graph of many Deferreds, of long lines, and of cycles."""

import itertools
import re
import time

import deferrous as defer
import pytest
from call_graph_helpers import awaited_by, generator, graph, last, later, named, waits_for
from deferrous import concurrency

pytestmark = pytest.mark.deferrous_only


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


def in_line_of_a_list_by_hand():
    """Nobody has used the list so far."""
    queue = defer.DeferredQueue()
    waiting = queue.get()
    queue.waiting = [defer.Deferred(), waiting]
    return queue, waiting, "place 2 of 2 (it holds 0)"


def in_line_of_a_lock_by_hand():
    lock = defer.DeferredLock()
    lock.acquire()
    waiting = lock.acquire()
    lock.waiting = [waiting]
    return lock, waiting, "place 1 of 1 (it is locked)"


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
    return lock, lock.writing.acquire(), "place 2 of 2 (somebody writes)"


def in_line_of_writers():
    lock = concurrency.ReadWriteLock()
    lock.reading.acquire(), lock.reading.acquire()
    return lock, lock.writing.acquire(), "place 1 of 1 (2 read)"


def in_line_of_weights():
    semaphore = concurrency.Semaphore(3)
    semaphore.acquire(2)
    return semaphore, semaphore.acquire(2), "place 1 of 1 (1 of 3 are left, it wants 2)"


def in_line_of_key():
    lock = concurrency.KeyedLock()
    lock("key").acquire(), lock("key").acquire()
    return lock, lock("key").acquire(), "place 2 of 2 (for the key 'key')"


@pytest.mark.parametrize(
    "make",
    [
        in_line_of_a_list_by_hand,
        in_line_of_a_lock_by_hand,
        in_line_of_key,
        in_line_of_weights,
        in_line_of_writers,
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


def test_two_that_wait_for_each_other():
    one, other = defer.Deferred(), defer.Deferred()
    one.addCallback(lambda _: other)
    other.addCallback(lambda _: one)
    one.callback(None)
    other.callback(None)
    found = graph(one)
    assert [set(each) for each in found.cycles] == [{one, other}]
    assert "wait for each other: none of them can ever fire." in str(found)
    # A walk through the graph ends.
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
