"""`pending`: all waiting Deferreds, by what they wait for and where."""

import gc
import json
import re

import deferrous as defer
import pytest

pytestmark = pytest.mark.deferrous_only


async def wait_for(d):
    return await d


@defer.inlineCallbacks
def generator(d):
    yield d


def later(result):
    return result


def since(before):
    found = defer.pending() - before
    assert json.loads(json.dumps(found.to_dict()))["count"] == len(found)
    return {re.sub(r'[fF]ile "[^"]*", line \d+', "FILE", text): n for n, text in found.groups}


@pytest.fixture
def before():
    gc.collect()
    return defer.pending()


def chained(d):
    return defer.succeed(None).addCallback(lambda _: d)


def paused():
    d = defer.succeed(None)
    d.pause()
    return d


def paused_while_chained():
    inner, outer = defer.Deferred(), defer.Deferred()
    outer.addCallback(lambda _: inner)
    outer.callback(None)
    outer.pause()
    inner.callback(None)
    return outer


def in_line():
    lock = defer.DeferredLock()
    lock.acquire()
    return lock.acquire()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (defer.Deferred, "Deferred: has not been fired"),
        (
            lambda: defer.Deferred().addCallback(later),
            "Deferred: has not been fired; its next callback is later, FILE",
        ),
        (
            lambda: defer.ensureDeferred(wait_for(defer.Deferred())),
            "Deferred: waits for coroutine, FILE, in wait_for",
        ),
        (
            lambda: generator(defer.Deferred()),
            "Deferred: waits for generator, FILE, in generator",
        ),
        (
            lambda: defer.DeferredList([defer.Deferred()]),
            "DeferredList: waits for members that are missing",
        ),
        (
            lambda: defer.race([defer.Deferred()]),
            "Deferred: waits for members that are missing",
        ),
        (
            lambda: chained(defer.Deferred()),
            "Deferred: waits for a Deferred that one of its callbacks returned",
        ),
        (paused, "Deferred: is paused"),
        (paused_while_chained, "Deferred: is paused"),
        (in_line, "Deferred: stands in line at <DeferredLock>"),
    ],
    ids=[
        "plain",
        "callback",
        "coroutine",
        "generator",
        "list",
        "race",
        "chained",
        "paused",
        "paused while chained",
        "in line",
    ],
)
def test_kinds(before, make, text):
    kept = [make() for _ in range(3)]
    assert since(before)[text] == 3
    del kept


def test_those_that_have_a_result_do_not_wait(before):
    kept = [defer.succeed(1), defer.Deferred()]
    kept[1].callback(2)
    assert since(before) == {}


def test_it_keeps_none_alive(before):
    kept = [defer.Deferred() for _ in range(1000)]
    found = defer.pending() - before
    assert (len(found), str(found)) == (1000, "1,000 Deferred: has not been fired")
    assert repr(found) == "<PendingDeferreds: 1,000 in 1 groups>"
    kept.clear()
    assert since(before) == {}


def test_many_groups(before):
    kept = []
    for number in range(100):
        cls = type(f"Own{number}", (defer.Deferred,), {})
        kept.append(cls())
    found = defer.pending() - before
    assert len(found) == 100
    assert str(found).splitlines()[30:] == ["... 70 more, in 70 groups ..."]


def test_objects_of_others_are_not_asked():
    class Hostile(type):
        def _refuse(cls, *args):
            raise AssertionError("called")

        __eq__ = __getattribute__ = __instancecheck__ = _refuse
        __hash__ = type.__hash__

    kept = [Hostile("Name", (), {})() for _ in range(3)]
    defer.pending()
    del kept
