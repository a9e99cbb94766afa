"""An implementation of Deferreds: its modules, its names, and subclasses of its classes."""

from __future__ import annotations

import importlib
import os
import sys
import types
from typing import Any

# Names that an implementation must have for a feature to be used on it.
REQUIRES: dict[str, tuple[str, ...]] = {
    "generators": ("inlineCallbacks", "ensureDeferred", "Deferred.fromCoroutine"),
    "timeouts": ("Deferred.addTimeout",),
    "debug": ("setDebugging", "getDebugging"),
    "iterate": ("Deferred.__iter__",),
    "callbacks": ("Deferred.callbacks",),
    "old_functions": ("timeout", "logError", "returnValue", "passthru"),
    "gather": ("DeferredList", "gatherResults", "race", "FirstError", "FailureGroup"),
    "sync": ("DeferredLock", "DeferredSemaphore", "DeferredQueue", "QueueOverflow"),
    "futures": ("Deferred.asFuture", "Deferred.fromFuture"),
}


class Boom(Exception):
    pass


class SubBoom(Boom):
    pass


class BaseBoom(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


LOCAL = {cls.__name__: cls for cls in (Boom, SubBoom, BaseBoom, Unprintable)}
BUILTIN = {
    cls.__name__: cls
    for cls in (
        Exception,
        BaseException,
        ValueError,
        KeyError,
        SystemExit,
        GeneratorExit,
        KeyboardInterrupt,
        StopIteration,
    )
}


class Current:
    """The machine that runs."""

    machine: Any = None


class Implementation:
    """One implementation: its module of Deferreds and its module of Failure."""

    def __init__(self, defer: types.ModuleType, failure: types.ModuleType, label: str = "") -> None:
        self.defer = defer
        self.failure = failure
        self.label = label or defer.__name__
        self.Deferred = defer.Deferred
        self.Failure = failure.Failure
        self.classes = self._classes()
        package = defer.__name__
        self._renames = (
            (failure.__name__ + ".", "failure."),
            (package + ".Failure", "failure.Failure"),
            (f"{package}._{package}.", "defer."),
            (package + ".", "defer."),
            # Some messages name Twisted's modules on both sides.
            ("twisted.internet.defer.", "defer."),
            ("twisted.python.failure.", "failure."),
        )
        self._directories = tuple(
            os.path.dirname(os.path.abspath(module.__file__ or "")) + os.sep
            for module in (defer, failure)
        )

    def missing(self) -> dict[str, list[str]]:
        """Features this implementation cannot do, with the names it lacks."""
        lacks = {}
        for feature, names in REQUIRES.items():
            absent = []
            for name in names:
                owner = self.defer
                for part in name.split("."):
                    if not hasattr(owner, part):
                        absent.append(name)
                        break
                    owner = getattr(owner, part)
            if absent:
                lacks[feature] = absent
        return lacks

    def plain(self, text: str) -> str:
        for old, new in self._renames:
            text = text.replace(old, new)
        return text

    def inside(self, filename: str) -> bool:
        return filename.startswith(self._directories)

    def _classes(self) -> tuple[type, ...]:
        Deferred = self.Deferred

        class Second:
            extra = "extra"

        class Sub(Deferred):
            pass

        class Logging(Deferred):
            def _saw(self, name: str, *args: object) -> None:
                machine = Current.machine
                if machine is not None:
                    shown = ", ".join(machine.norm(arg) for arg in args)
                    machine.log(f"~{name}({machine.norm(self)}, {shown})")

        def override(name: str, shown: int) -> None:
            inherited = getattr(Deferred, name)

            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                self._saw(name, *args[:shown])
                return inherited(self, *args, **kwargs)

            method.__name__ = name
            setattr(Logging, name, method)

        for name in ("callback", "errback", "addCallback", "addErrback", "addBoth"):
            override(name, 1)
        override("addCallbacks", 2)
        for name in ("cancel", "pause", "unpause", "chainDeferred"):
            override(name, 0)

        class Mixed(Deferred, Second):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                self.made = True
                super().__init__(*args, **kwargs)

        return (Deferred, Sub, Logging, Mixed)


def load(name: str) -> Implementation:
    """The implementation whose module of Deferreds has this name."""
    defer = importlib.import_module(name)
    if name == "twisted.internet.defer":
        failure = importlib.import_module("twisted.python.failure")
    else:
        try:
            failure = importlib.import_module(name + ".failure")
        except ImportError:
            failure = sys.modules[defer.Failure.__module__]
    return Implementation(defer, failure)
