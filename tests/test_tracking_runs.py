"""`track`: which generator or coroutine made a Deferred."""

import asyncio
import gc
import threading
import weakref

import deferrous as defer
import pytest
from tracking_helpers import NEVER, before, off_at_the_end

pytestmark = pytest.mark.deferrous_only


def check_made_by(made, before):
    """Each Deferred was made by what has this name, or outside of all."""
    found = {each.deferred: each.made_by for each in (defer.pending() - before).deferreds}
    for d, name in made:
        by = found[d]
        assert (by and by.function.rpartition(".")[2]) == name


@defer.inlineCallbacks
def parent(children, d):
    children.append(defer.Deferred())
    yield d
    children.append(defer.Deferred())
    yield children[-1]


async def parent_coroutine(children, d):
    children.append(defer.Deferred())
    await d
    children.append(defer.Deferred())
    await children[-1]


@pytest.mark.parametrize("kind", [parent, lambda *a: defer.ensureDeferred(parent_coroutine(*a))])
def test_what_ran_is_known(before, kind):
    name = "parent" if kind is parent else "parent_coroutine"
    children, gate = [], defer.Deferred()
    d = kind(children, gate)
    gate.callback(None)
    outside = defer.Deferred()
    found = defer.pending() - before
    by = {each.deferred: each for each in found.deferreds}
    for child in children:
        assert by[child].made_by.function == name
        assert found.parent_of(by[child]).deferred is d
    for other in (outside, d):
        assert by[other].made_by is None
        assert found.parent_of(by[other]) is None


def test_what_ran_is_not_mistaken_for_another(before):
    """Generators take the places of those that have ended."""
    children = []

    @defer.inlineCallbacks
    def ends():
        children.append(defer.Deferred())
        yield defer.succeed(None)

    @defer.inlineCallbacks
    def stays():
        yield NEVER

    for _ in range(10):
        ends()
    kept = [stays() for _ in range(20)]
    found = defer.pending() - before
    for each in found.deferreds:
        assert found.parent_of(each) is None
        assert (each.made_by is not None) == (each.deferred in children)
    del kept


def test_nested_generators(before):
    children = []

    @defer.inlineCallbacks
    def inner():
        children.append(defer.Deferred())
        yield children[-1]

    @defer.inlineCallbacks
    def outer():
        yield inner()

    d = outer()
    found = defer.pending() - before
    by = {each.deferred: each for each in found.deferreds}
    of_inner = found.parent_of(by[children[0]])
    assert of_inner.made_by.function.endswith("outer")
    assert found.parent_of(of_inner).deferred is d


def test_threads_do_not_run_what_others_run(before):
    made = []
    begun, done = threading.Event(), threading.Event()

    def other():
        begun.wait()
        made.append(defer.Deferred())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    @defer.inlineCallbacks
    def work():
        begun.set()
        done.wait()
        made.append(defer.Deferred())
        yield made[-1]

    d = work()
    thread.join()
    found = {each.deferred: each for each in (defer.pending() - before).deferreds}
    assert found[made[0]].made_by is None
    assert found[made[1]].made_by.function.endswith("work")
    del d


def test_greenlets_do_not_run_what_others_run(before):
    greenlet = pytest.importorskip("greenlet")
    made = []
    main = greenlet.getcurrent()

    @defer.inlineCallbacks
    def first():
        main.switch()
        made.append((defer.Deferred(), "first"))
        yield made[-1][0]

    @defer.inlineCallbacks
    def second():
        main.switch()
        made.append((defer.Deferred(), "second"))
        yield made[-1][0]

    kept = []
    one = greenlet.greenlet(lambda: kept.append(first()))
    two = greenlet.greenlet(lambda: kept.append(second()))
    one.switch()
    two.switch()
    made.append((defer.Deferred(), None))
    one.switch()
    made.append((defer.Deferred(), None))
    two.switch()
    assert [name for _, name in made] == [None, "first", None, "second"]
    check_made_by(made, before)


def test_a_task_of_asyncio(before):
    async def main():
        made.append(defer.Deferred())

    made = []
    asyncio.run(main())
    (found,) = (defer.pending() - before).deferreds
    assert found.made_by.function.endswith("main")
    assert found.made_by.line == main.__code__.co_firstlineno
    assert found.to_dict()["made_by"]["line"] == found.made_by.line


def make():
    return defer.Deferred()


def make_deeper():
    return next(make() for _ in range(1))


async def awaited(made):
    made.append(make())


def in_a_thread(function):
    done = []
    thread = threading.Thread(target=lambda: done.append(function()))
    thread.start()
    thread.join()
    return done[0]


@pytest.mark.parametrize(
    "way",
    [
        make,
        make_deeper,
        lambda: defer.succeed(None).addCallback(lambda _: defer.Deferred()),
        lambda: defer.gatherResults([NEVER]),
        lambda: defer.maybeDeferred(make),
        type("Made", (), {"__call__": lambda self: make()})(),
    ],
)
def test_what_a_task_of_asyncio_calls(before, way):
    async def main():
        kept.append(way())
        await asyncio.sleep(0)
        kept.append(way())

    kept = []
    asyncio.run(main())
    kept.append(way())
    found = [
        each.made_by and each.made_by.function for each in (defer.pending() - before).deferreds
    ]
    assert len(found) >= 3
    assert [name.rpartition(".")[2] for name in found if name] == ["main"] * (len(found) * 2 // 3)


def test_the_task_is_named_and_not_what_it_awaits(before):
    async def main():
        await awaited(made)

    made = []
    asyncio.run(main())
    (found,) = (defer.pending() - before).deferreds
    assert found.made_by.function.endswith("main")
    assert found.made_by.line == main.__code__.co_firstlineno


def test_tasks_of_asyncio_are_not_mistaken_for_each_other(before):
    """They take turns, and take the places of those that have ended."""

    async def one(made):
        made.append((make(), "one"))
        await asyncio.sleep(0)
        made.append((make(), "one"))

    async def other(made):
        made.append((make(), "other"))
        await asyncio.sleep(0)
        made.append((make(), "other"))

    async def main():
        await asyncio.gather(*(each(made) for each in (one, other, one)))
        for each in (other, one, other):
            await asyncio.ensure_future(each(made))
        made.append((make(), "main"))
        asyncio.get_running_loop().call_soon(lambda: made.append((make(), None)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    made = []
    asyncio.run(main())
    made.append((make(), None))
    check_made_by(made, before)


def test_a_task_of_asyncio_in_another_thread(before):
    """Each thread has a loop, and what one runs is not what the other does."""

    async def main():
        made.append((make(), "main"))
        made.append((in_a_thread(make), None))
        made.append((in_a_thread(lambda: asyncio.run(other())), "other"))
        made.append((make(), "main"))

    async def other():
        return make()

    made = []
    asyncio.run(main())
    check_made_by(made, before)


def test_a_loop_that_goes_on_in_another_thread(before):
    loop = asyncio.new_event_loop()
    made = []
    inside, done = threading.Event(), threading.Event()

    async def first():
        made.append((make(), "first"))

    async def second():
        inside.set()
        done.wait()
        made.append((make(), "second"))

    loop.run_until_complete(first())
    thread = threading.Thread(target=lambda: loop.run_until_complete(second()))
    thread.start()
    inside.wait()
    made.append((make(), None))
    done.set()
    thread.join()
    loop.close()
    check_made_by(made, before)


def test_ours_in_a_task_of_asyncio(before):
    @defer.inlineCallbacks
    def work():
        made.append((make(), "work"))
        yield NEVER

    async def main():
        made.append((make(), "main"))
        made.append((work(), "main"))
        made.append((make(), "main"))

    made = []
    asyncio.run(main())
    check_made_by(made, before)


def test_classes_of_tasks_are_not_asked(before):
    """No code of a program's runs where a Deferred is made."""
    asked = []

    class Task(asyncio.Task):
        def get_coro(self):
            asked.append(1)
            return super().get_coro()

        def __getattribute__(self, name):
            asked.append(name)
            return super().__getattribute__(name)

        def __eq__(self, other):
            asked.append("eq")
            return self is other

        __hash__ = asyncio.Task.__hash__

    async def main():
        await asyncio.sleep(0)
        asked.clear()
        made.append(make())
        made.append(list(asked))

    made = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(Task(main(), loop=loop))
    loop.close()
    assert made[1] == []
    (found,) = (defer.pending() - before).deferreds
    assert found.made_by.function.endswith("main")


def test_no_task_of_asyncio_is_kept(before):
    async def main():
        made.append(make())
        return weakref.ref(asyncio.current_task())

    made = []
    task = asyncio.run(main())
    gc.collect()
    assert task() is None
