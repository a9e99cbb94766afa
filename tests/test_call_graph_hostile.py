"""Capturing the call graph runs no code of the program."""

import functools
import gc
import sys

import deferrous as defer
import pytest
from call_graph_helpers import Own, graph, last, named, outer

pytestmark = pytest.mark.deferrous_only


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
