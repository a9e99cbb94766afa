"""How programs are registered, what they get, and helpers for several of them."""

from __future__ import annotations

import asyncio
import importlib
import types
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

Keep = Callable[[Any], Any]
Program = Callable[[Any, Keep], Any]

#: Import names of each implementation: its Deferreds, its Failure.
IMPLEMENTATIONS = {
    "twisted": ("twisted.internet.defer", "twisted.python.failure"),
    "deferrous": ("deferrous", "deferrous.failure"),
}

PROGRAMS: dict[str, Program] = {}

#: Programs that are to find nothing imported of deferrous. They are run where they are named.
FRESH: dict[str, Program] = {}

#: What uses nothing but Python: to see what CPython does by itself.
PLAIN: dict[str, Program] = {}

#: Programs that use what Twisted's Deferreds cannot do, and those of them that asyncio can.
OURS_ONLY = set()

ASYNCIO_TOO = set()


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


def ours(function: Program) -> Program:
    OURS_ONLY.add(function.__name__)
    return program(function)


def asyncio_too(function: Program) -> Program:
    ASYNCIO_TOO.add(function.__name__)
    return ours(function)


def fresh(function: Program) -> Program:
    FRESH[function.__name__] = function
    OURS_ONLY.add(function.__name__)
    return function


def plain(function: Program) -> Program:
    PLAIN[function.__name__] = function
    return function


def load(name: str) -> types.SimpleNamespace:
    """Return all public names of an implementation, and its Failure."""
    if name == "asyncio":
        return ASYNCIO
    if name == "plain":
        return types.SimpleNamespace()
    if name == "fresh":
        package = PathFinder.find_spec("deferrous").submodule_search_locations[0]
        return types.SimpleNamespace(native_half=str(next(Path(package).glob("_deferrous.*.so"))))
    defer, failure = map(importlib.import_module, IMPLEMENTATIONS[name])
    names = {each: getattr(defer, each) for each in dir(defer)}
    names["Failure"] = failure.Failure
    names["NoCurrentExceptionError"] = failure.NoCurrentExceptionError
    names["failure"] = failure
    return types.SimpleNamespace(**names)


class Clock:
    """What `addTimeout` takes: calls nothing before it is told to."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callLater(self, _seconds: float, function: Any, *args: Any) -> Any:
        call = Call(function, args)
        self.calls.append(call)
        return call

    def advance(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            if call.active():
                call.live = False
                call.function(*call.args)


class Call:
    def __init__(self, function: Any, args: Any) -> None:
        self.function, self.args, self.live = function, args, True

    def active(self) -> bool:
        return self.live

    def cancel(self) -> None:
        self.live = False


class Oops(Exception):
    """What these programs raise."""


def oops(*_: Any) -> None:
    raise Oops("oops")


def pass_on(result: Any, *_: Any, **__: Any) -> Any:
    return result


def sort(result: Any) -> str:
    """The name of a result's class, and what :func:`kind` has of a failure."""
    name = type(result).__name__
    return name if name != "Failure" or kind(result) in USUAL else f"{name} {kind(result)}"


#: What these programs make of an error that they expect.
USUAL = ("Oops", "KeyError", "TypeError", "ValueError", "CancelledError")


def kind(failure: Any) -> str:
    """The name of a failure's class; more, if it is none of what these programs raise."""
    unexpected = failure.type in (MemoryError, SystemError)
    return repr(failure.value) if unexpected else failure.type.__name__


def nothing(*_: Any) -> None:
    return None


def turns(loop: Any, count: int = 6) -> None:
    """Let a loop make some turns. None waits for anything, so none can hang.

    As `run_forever` does, but for its `finally`: in it CPython 3.11 goes round in a circle where it
    has no memory, and takes a loop to be running for ever where it had none for a moment.
    """
    asyncio._set_running_loop(loop)
    loop._stopping = True
    for _ in range(count):
        loop._run_once()
    asyncio._set_running_loop(None)


LOOP: list[asyncio.AbstractEventLoop] = []


def loop() -> asyncio.AbstractEventLoop:
    """A loop that is made once: what it takes to make one is no part of the programs."""
    if not LOOP:
        LOOP.append(asyncio.new_event_loop())
        LOOP[0].set_exception_handler(lambda *_: None)
        turns(LOOP[0])
    return LOOP[0]


class Future(asyncio.Future):
    """A future of asyncio's as the programs for ours use a Deferred."""

    def __init__(self) -> None:
        super().__init__(loop=loop())

    called = property(asyncio.Future.done)
    paused = 0

    def callback(self, result: Any) -> None:
        self.set_result(result)

    def errback(self, error: Exception) -> None:
        self.set_exception(error)

    def addBoth(self, function: Any) -> None:
        if self.done():
            function(None if self.cancelled() else self.exception() or self.result())

    def addErrback(self, function: Any) -> None:
        if self.done() and not self.cancelled() and self.exception():
            function(self.exception())


def task_of(coroutine: Any) -> Future:
    """Run a coroutine in a task of asyncio's."""
    future, task = Future(), loop().create_task(coroutine)
    task.add_done_callback(lambda _: future.set_result(None))
    return future


#: What the programs for ours use, of asyncio alone.
ASYNCIO = types.SimpleNamespace(Deferred=Future, DeferredLock=asyncio.Lock, ensureDeferred=task_of)
