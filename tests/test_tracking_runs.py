"""`track`: which generator or coroutine made a Deferred."""

import asyncio
import threading

import deferrous as defer
import pytest
from tracking_helpers import NEVER, before, off_at_the_end

pytestmark = pytest.mark.deferrous_only


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
        made.append(("first", defer.Deferred()))
        yield made[-1][1]

    @defer.inlineCallbacks
    def second():
        main.switch()
        made.append(("second", defer.Deferred()))
        yield made[-1][1]

    kept = []
    one = greenlet.greenlet(lambda: kept.append(first()))
    two = greenlet.greenlet(lambda: kept.append(second()))
    one.switch()
    two.switch()
    made.append((None, defer.Deferred()))
    one.switch()
    made.append((None, defer.Deferred()))
    two.switch()
    found = {each.deferred: each for each in (defer.pending() - before).deferreds}
    assert [name for name, _ in made] == [None, "first", None, "second"]
    for name, d in made:
        by = found[d].made_by
        assert (by and by.function.rpartition(".")[2]) == name


def test_a_task_of_asyncio(before):
    async def main():
        made.append(defer.Deferred())

    made = []
    asyncio.run(main())
    (found,) = (defer.pending() - before).deferreds
    assert found.made_by.function.endswith("main")
    assert found.made_by.line == main.__code__.co_firstlineno
    assert found.to_dict()["made_by"]["line"] == found.made_by.line
