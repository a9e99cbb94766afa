"""Rows about classes that derive from Deferred."""

# Attributes are read here for what it costs.
# ruff: noqa: B018

from __future__ import annotations

from itertools import repeat
from typing import Any

from ..rows import give, ignore, same
from .table import Clock, group

row = group("subclasses")


@row("a plain subclass: create, callback, fire", 5)
def subclass(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        pass

    for _ in repeat(None, n):
        d = Subclass()
        d.addCallback(same)
        d.callback(1)


@row("a subclass with an attribute set in `__init__`", 5)
def subclass_init(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def __init__(self):
            super().__init__()
            self.name = None

    for _ in repeat(None, n):
        d = Subclass()
        d.addCallback(same)
        d.callback(1)


@row("the same, that calls `Deferred.__init__`", 5)
def subclass_init_by_name(defer: Any, n: int) -> None:
    Deferred = defer.Deferred

    class Subclass(Deferred):
        def __init__(self, name):
            Deferred.__init__(self)
            self.name = name

    for _ in repeat(None, n):
        d = Subclass(None)
        d.addCallback(same)
        d.callback(1)


@row("a subclass that overrides `callback`", 5)
def subclass_callback(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def callback(self, result):
            super().callback(result)

    for _ in repeat(None, n):
        d = Subclass()
        d.addCallback(same)
        d.callback(1)


@row("a subclass that overrides `addCallbacks`", 4)
def subclass_add(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def addCallbacks(self, *args, **kwargs):
            return super().addCallbacks(*args, **kwargs)

    for _ in repeat(None, n):
        d = Subclass()
        d.addCallbacks(same, ignore)
        d.callback(1)


@row("a plain subclass, chained", 4)
def subclass_chained(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        pass

    for _ in repeat(None, n):
        inner, outer = Subclass(), Subclass()
        outer.addCallback(give, inner)
        outer.callback(1)
        inner.callback(1)


@row("a plain subclass, yielded", 5)
def subclass_yielded(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        pass

    @defer.inlineCallbacks
    def generator(d):
        yield d

    for _ in repeat(None, n):
        d = Subclass()
        generator(d)
        d.callback(1)


@row("defining a subclass")
def subclass_defined(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        type("Subclass", (Deferred,), {})
    # They are in a list, for good.
    del defer._DEFERRED_SUBCLASSES[-n:]


@row("a subclass with `__slots__`", 5)
def subclass_slots(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        __slots__ = ("name",)

    for _ in repeat(None, n):
        d = Subclass()
        d.name = None
        d.addCallback(same)
        d.callback(1)


@row("a subclass that overrides `addBoth`", 4)
def subclass_add_both(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def addBoth(self, *args, **kwargs):
            return super().addBoth(*args, **kwargs)

    for _ in repeat(None, n):
        d = Subclass()
        d.addBoth(same)
        d.callback(1)


@row("a subclass that overrides `errback`", 4)
def subclass_errback(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def errback(self, fail=None):
            super().errback(fail)

    error = ValueError()
    for _ in repeat(None, n):
        d = Subclass()
        d.addErrback(ignore)
        d.errback(error)


@row("a subclass that overrides `cancel`", 4)
def subclass_cancel(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def cancel(self):
            super().cancel()

    for _ in repeat(None, n):
        d = Subclass()
        d.addErrback(ignore)
        d.cancel()


@row("a subclass with an `__init__`, gathered in twos", 4)
def subclass_gathered(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def __init__(self, name):
            super().__init__()
            self.name = name

    for _ in repeat(None, n):
        deferreds = [Subclass(1), Subclass(2)]
        defer.gatherResults(deferreds)
        for d in deferreds:
            d.callback(1)


@row("an attribute of a subclass, set in `__init__`, read")
def subclass_read(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def __init__(self, name):
            super().__init__()
            self.name = name

    d = Subclass(None)
    for _ in repeat(None, n):
        d.name


@row("a method of a subclass, called")
def subclass_method(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def method(self):
            return None

    d = Subclass()
    for _ in repeat(None, n):
        d.method()


@row("addTimeout of a subclass, in time", 4)
def subclass_in_time(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        pass

    clock = Clock()
    for _ in repeat(None, n):
        d = Subclass()
        d.addTimeout(1, clock)
        d.callback(1)


@row("addTimeout of a subclass, timed out", 4)
def subclass_timed_out(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        pass

    clock = Clock()
    for _ in repeat(None, n):
        d = Subclass()
        d.addTimeout(1, clock)
        d.addErrback(ignore)
        clock.call.run()
