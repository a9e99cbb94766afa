"""Runs a program on one implementation and writes down all that can be seen.

`run(implementation, program)` gives a `Trace`.  Its `lines` are in the order in which
things happened; objects have names by order of creation (d0, d1, f0, s0 ...), addresses
and module names of the implementation are taken out.  Its `deaths` are the reports and
the last words of what was thrown away, with the number of the step at whose end they
had been heard: when a cycle is collected, or a traceback lets go, is an
implementation's own affair, as long as it is not later than in the oracle.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import importlib
import os
import pickle
import re
import sys
import types
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from .mended import mended
from .program import DEFAULT_FEATURES, LATEST, SELF, Node, Program

HERE = os.path.abspath(__file__)
SCRIPT = "<script>"
VARIABLES = (
    contextvars.ContextVar("first", default=0),
    contextvars.ContextVar("second", default=0),
)

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
            # Some messages name Twisted's modules, whoever speaks.
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
                machine = Machine.current
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


@dataclass
class Trace:
    lines: list[str] = field(default_factory=list)
    deaths: list[tuple[str, int]] = field(default_factory=list)
    # Length of `lines` where the step began that hit the recursion limit.
    recursed: int | None = None
    # Scripts that were thrown away while they held a lock or semaphore, with the length that
    # `lines` had then.
    closed: dict[str, int] = field(default_factory=dict)


class HandFuture(asyncio.Future[Any]):
    """A future that takes a StopIteration as those of CPython 3.12 and newer do.

    Before that, Twisted's `asFuture` never ends with one (docs/differences.md).
    """

    def set_exception(self, exception: Any) -> None:
        if isinstance(exception, StopIteration):
            instead = RuntimeError(
                "StopIteration interacts badly with generators and cannot be raised into a Future"
            )
            instead.__cause__ = instead.__context__ = exception
            exception = instead
        super().set_exception(exception)


class HandLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as futures need; calls run when told to."""

    def __init__(self, machine: Machine) -> None:
        self._machine = weakref.ref(machine)
        self._ready: list[tuple[Any, Any, Any]] = []

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        context = contextvars.copy_context() if context is None else context
        self._ready.append((callback, args, context))

    def create_future(self) -> Any:
        return HandFuture(loop=self)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        machine = self._machine()
        if machine is not None:
            error = context.get("exception")
            machine.died(f"loop: {context['message']} {machine.dead_error(error)}")

    def spin(self, machine: Machine) -> None:
        ready, self._ready = self._ready, []
        for callback, args, context in ready:
            try:
                context.run(callback, *args)
            except BaseException as error:
                machine.log(f"loop saw {machine.error(error)}")

    def forget(self) -> None:
        self._ready = []


@dataclass
class Holding:
    """Around what a script does while it holds a lock: sees it being closed there."""

    machine: Machine
    sid: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, cls: object, error: object, tb: object) -> None:
        if self.machine.closing(error):
            trace = self.machine.trace
            trace.closed.setdefault(self.sid, len(trace.lines))


class Falsy:
    """A canceller that is false: as if there were none."""

    def __bool__(self) -> bool:
        return False

    def __call__(self, deferred: object) -> None:
        Machine.current.log("falsy canceller was called")


FRAME = re.compile(r'  File "([^"]*)", line (\d+), in (.*)')
BRIEF = re.compile(r"(<?[/\w][^: ]*):(\d+):(\w+)$")
BRIEF_IN_REPR = re.compile(r"Traceback: [^\n]*\\n\S+:\d+:\w+\\n")
ESCAPED = re.compile(r"\\+n")
ADDRESS = re.compile(r"0x([0-9a-fA-F]+)")
NAMED = re.compile(r"@\w+")  # what `Machine.text` makes of an address
VERSION = re.compile(r"deprecated in \w+ [\w.]+")
FUEL = 400


class Machine:
    """The state of one run."""

    current: Any = None

    def __init__(self, implementation: Implementation, features: frozenset[str]):
        self.impl = implementation
        self.features = features
        self.trace = Trace()
        self.ds: list[Any] = []
        self.futures: list[Any] = []
        self.sync: dict[str, list[Any]] = {"lock": [], "sem": [], "queue": []}
        self.names: dict[int, tuple[Any, str]] = {}
        self.counts: dict[str, int] = {}
        self.states: dict[str, str] = {}
        self.step = 0
        self.depth = 0
        # How many calls of the clock are under way.
        self.advancing = 0
        self.fuel = FUEL
        self.awaited: weakref.WeakSet[Any] = weakref.WeakSet()
        self.meddled: weakref.WeakSet[Any] = weakref.WeakSet()
        # Who waits for whom, as far as `circular` wants to know: scripts by the
        # script whose Deferred stands for them, and what was gathered by what.
        self.roots: dict[str, str] = {}
        self.script_deferreds: dict[str, Any] = {}
        self.waits: dict[str, list[Any]] = {}
        self.gathered: list[tuple[Any, list[Any]]] = []
        self.ended = False
        self.clock = Clock()
        self.loop = HandLoop(self)

    # -- writing

    def log(self, text: str) -> None:
        if not self.ended and len(self.trace.lines) < 5000:
            if len(text) > 1500:
                # What shows itself in itself: how deep it gets is not compared.
                text = text[:300] + "..."
            self.trace.lines.append("  " * min(self.depth, 8) + text)
            if self.trace.recursed is None and len(set(self.trace.lines[-60:])) == 1:
                if len(self.trace.lines) > 60:
                    self.trace.recursed = self.step_began

    def died(self, text: str) -> None:
        self.trace.deaths.append((text, self.step))

    def count(self, kind: str) -> str:
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        return f"{kind}{number}"

    def name(self, thing: Any, kind: str) -> tuple[str, bool]:
        """The name of an object, and whether it got it just now."""
        known = self.names.get(id(thing))
        if known is not None and known[0]() is thing:
            return known[1], False
        name = self.count(kind)
        try:
            self.names[id(thing)] = (weakref.ref(thing), name)
        except TypeError:
            self.names[id(thing)] = (lambda: thing, name)
        return name, True

    def text(self, text: str) -> str:
        """Without addresses, versions and the implementation's names."""

        def address(match: re.Match[str]) -> str:
            known = self.names.get(int(match[1], 16))
            return f"@{known[1]}" if known and known[0]() is not None else "@?"

        text = ADDRESS.sub(address, self.impl.plain(text))
        text = VERSION.sub("deprecated in V", text)
        if "call last):\\n" in text:
            return "a traceback in a repr"
        if "maximum recursion depth exceeded" in text:
            return "recursion"  # how deep it gets is not compared
        text = re.sub(r" cb=\[[^\]]*\]", "", text)  # functions of the implementation's own
        # Whether there are frames at all depends on the implementation's own.
        text = text.replace("Traceback (failure with no frames)", "Traceback")
        text = text.replace("\nFailure: ", "\n")
        if "n C:" in text or "n I:" in text or BRIEF_IN_REPR.search(text):
            text = ESCAPED.sub("\n", text)  # a stack within a repr
        if "\n" in text:
            text = self.paragraph(text)
        return text

    def paragraph(self, text: str) -> str:
        """Lines that matter of a text with tracebacks or creation stacks in it."""
        kept: list[str] = []
        last = ""
        for line in text.split("\n"):
            if line.startswith((" C:", " I:")):
                match = FRAME.match(line[3:])
                if match:
                    if match[1] == HERE or match[1] == SCRIPT:
                        last = f"{match[3]}:{match[2]}"
                elif "Deferred was created" in line or "First Invoker" in line:
                    kept.append(last + line)
                    last = ""
                continue
            # An implementation's own frames are its own affair.
            match = FRAME.match(line) or BRIEF.match(line)
            if match:
                if match[1] in (HERE, SCRIPT):
                    kept.append(f"{match[3]}:{match[2]}")
            elif not line.startswith("    "):
                kept.append(line.split(" with str error")[0])
        return "|".join([*kept, last])

    def error(self, error: Any) -> str:
        """An exception: its class, its text, what is special about it."""
        cls = type(error)
        if not isinstance(error, BaseException):
            return self.norm(error)
        if cls.__name__.startswith("_"):
            return "<private>"
        if cls is RecursionError:
            if self.trace.recursed is None:
                self.trace.recursed = self.step_began
                self.fuel = -1
            return "RecursionError"
        try:
            text = self.text(str(error))
        except BaseException as problem:
            text = f"<{type(problem).__name__}>"
        if cls.__name__ == "FirstError":
            failure = self.norm(error.subFailure)
            text = f"#{error.index} {failure} {self.first_line(error)}"
        elif cls.__name__ == "FailureGroup":
            text = self.norm(list(error.failures))
        elif cls is StopIteration:
            text = self.norm(error.value)
        if "exc_context" in self.features:
            for link in ("__cause__", "__context__"):
                other = getattr(error, link)
                if other is not None:
                    text += f" {link}={type(other).__name__}"
        return f"{cls.__name__}({text})"

    def dead_error(self, error: Any) -> str:
        """An exception that was thrown away.

        What is inside it has a name only while it is alive, and when this is heard is not
        compared: no name is used here that was given elsewhere, and none is kept.
        """
        counts, names = self.counts, self.names
        self.counts, self.names = {}, {}
        shown = self.error(error)
        self.counts, self.names = counts, names
        return shown

    def first_line(self, error: object) -> str:
        shown = []
        for convert in (str, repr):
            try:
                shown.append(self.text(convert(error)).split("|")[0])
            except Exception as problem:
                shown.append(type(problem).__name__)
        return " ".join(shown)

    def frames(self, failure: Any) -> str:
        shown = []
        try:
            frames = failure.frames
        except AttributeError as error:  # a Failure around a class has no traceback
            return self.error(error)
        for function, filename, line, *_ in frames:
            if filename in (HERE, SCRIPT):
                shown.append(f"{function}:{line}")
            elif not self.impl.inside(filename) and "twisted" not in filename:
                shown.append(f"{os.path.basename(filename)}/{function}")
        return " ".join(shown)

    def traceless(self, failure: Any) -> bool:
        return failure.tb is None or not self.frames(failure)

    def norm(self, value: Any) -> str:
        if value is None or isinstance(value, (bool, int, float)):
            return repr(value)
        if isinstance(value, str):
            return repr(self.text(value))
        if isinstance(value, self.impl.Deferred):
            return self.name(value, "x")[0]
        if isinstance(value, self.impl.Failure):
            name, new = self.name(value, "f")
            shown = f"{name}<{self.error(value.value)}>"
            if new and "frames" in self.features:
                captured = " captured" if value.captureVars else ""
                shown += f"[{self.frames(value)}{captured}]"
            return shown
        if isinstance(value, BaseException):
            return self.error(value)
        if isinstance(value, (list, tuple)):
            inner = ", ".join(self.norm(item) for item in value)
            return f"{type(value).__name__}({inner})"
        if isinstance(value, dict):
            inner = ", ".join(f"{k}={self.norm(v)}" for k, v in value.items())
            return f"dict({inner})"
        if isinstance(value, type):
            return f"class {self.text(value.__qualname__)}"
        if isinstance(value, asyncio.Future):
            return self.name(value, "fut")[0]
        if hasattr(value, "diff_name"):
            return value.diff_name
        known = self.names.get(id(value))
        if known is not None and known[0]() is value:
            return known[1]
        if callable(value):
            owner = getattr(value, "__self__", None)
            if isinstance(owner, self.impl.Deferred) and hasattr(value, "__name__"):
                if not value.__name__.startswith("_"):
                    return f"{self.norm(owner)}.{value.__name__}"
            return "<callable>"
        return f"<{type(value).__name__}>"

    def contexts(self) -> str:
        return "".join(str(variable.get()) for variable in VARIABLES)

    def state(self, deferred: Any) -> str:
        try:
            result = self.norm(deferred.result)
        except AttributeError:
            result = "-"
        text = f"{deferred.called} {deferred.paused} {result}"
        if "chained_to" in self.features and deferred._chainedTo is not None:
            text += f" on {self.norm(deferred._chainedTo)}"
        if hasattr(deferred, "resultList"):
            results = self.norm(deferred.resultList)
            text += f" {deferred.finishedCount} {results}"
            if getattr(deferred, "result", None) is deferred.resultList:
                text += " shared"
            text += f" {deferred.fireOnOneCallback}{deferred.fireOnOneErrback}"
        return text

    def sync_state(self, kind: str, thing: Any) -> str:
        if kind == "lock":
            return f"{thing.locked} {self.norm(list(thing.waiting))}"
        if kind == "sem":
            return f"{thing.tokens}/{thing.limit} {self.norm(list(thing.waiting))}"
        waiting, pending = list(thing.waiting), list(thing.pending)
        return f"{thing.size} {thing.backlog} {self.norm(waiting)} {self.norm(pending)}"

    def future_state(self, future: Any) -> str:
        if future.cancelled():
            return "cancelled"
        if not future.done():
            return "pending"
        error = future._exception  # `exception()` would mark it as seen
        return self.norm(error) if error is not None else self.norm(future._result)

    def observe(self, final: bool = False) -> None:
        """Write down the state of all that changed since the last time."""
        if self.ended:
            return
        self.changed(" ctx", self.contexts())
        for deferred in self.ds:
            if deferred is not None:
                name = self.norm(deferred)
                if self.changed(name, self.state(deferred)) and final:
                    self.log(self.string(deferred))
        if "sync" in self.features:
            for kind, things in self.sync.items():
                for thing in things:
                    self.changed(self.norm(thing), self.sync_state(kind, thing))
        if self.futures:
            for future in self.futures:
                self.changed(self.norm(future), self.future_state(future))
        if "timeouts" in self.features:
            self.changed("clock", str(len(self.clock.calls)))

    def changed(self, name: str, state: str) -> bool:
        # A thing that dies takes its name out of the texts with its address: no change.
        nameless = NAMED.sub("@?", state)
        if self.states.get(name) == nameless:
            return False
        self.states[name] = nameless
        self.log(f"{name}: {state}")
        return True

    def string(self, deferred: Any) -> str:
        """`str()`, unless it would follow results in a circle."""
        seen = set()
        todo = [deferred]
        while todo:
            item = todo.pop()
            if isinstance(item, (list, tuple)):
                todo.extend(item)
            elif isinstance(item, self.impl.Deferred):
                if id(item) in seen:
                    return "str: circular"
                seen.add(id(item))
                if item._chainedTo is None:
                    todo.append(getattr(item, "result", None))
        try:
            return self.text(str(deferred))
        except BaseException as error:
            return f"str raised {self.error(error)}"

    # -- finding and making things

    def register(self, deferred: Any) -> Any:
        if isinstance(deferred, self.impl.Deferred):
            self.name(deferred, "d")
            if not any(known is deferred for known in self.ds):
                self.ds.append(deferred)
        return deferred

    def pick(self, number: int, owner: Any = None) -> Any:
        if number == SELF and owner is not None:
            mine = owner()
            if mine is not None:
                return mine
        live = [deferred for deferred in self.ds if deferred is not None]
        if not live:
            return self.register(self.impl.Deferred())
        return live[-1] if number in (SELF, LATEST) else live[number % len(live)]

    def cls(self, name: str) -> type[BaseException]:
        found = LOCAL.get(name) or BUILTIN.get(name)
        return found or getattr(self.impl.defer, name)

    def new_error(self, name: str) -> BaseException:
        return self.cls(name)(self.count("e"))

    def raised(self, name: str) -> Any:
        try:
            raise self.new_error(name)
        except BaseException:
            return self.impl.Failure()

    def value(self, spec: Node, owner: Any = None, argument: Any = None) -> Any:
        kind = spec[0]
        if kind == "v":
            return f"v{spec[1]}" if spec[1] else 0
        if kind == "d":
            return self.pick(spec[1], owner)
        if kind == "self":
            return self.pick(SELF, owner)
        if kind == "same":
            return argument
        if kind == "f":
            return self.impl.Failure(self.new_error(spec[1]))
        if kind == "rf":
            return self.raised(spec[1])
        if kind == "exc":
            return self.new_error(spec[1])
        if kind == "sd":
            return self.register(self.impl.defer.succeed(self.count("s")))
        if kind == "fd":
            return self.register(self.impl.defer.fail(self.new_error(spec[1])))
        if kind == "pd":
            return self.register(self.impl.Deferred())
        if kind == "sub":
            return self.register(self.impl.classes[2]())
        return None

    # -- what the implementation calls

    def make_callback(self, spec: Node | None, owner: Any) -> Any:
        if spec is None:
            return None
        name = self.count("c")

        def callback(*args: Any, **kwargs: Any) -> Any:
            return self.run_callback(spec, name, owner, args, kwargs)

        callback.diff_name = name  # type: ignore[attr-defined]
        return callback

    def run_callback(
        self,
        spec: Node,
        name: str,
        owner: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self.depth += 1
        try:
            shown = f"{self.norm(args)} {self.norm(kwargs)}" if kwargs else ""
            self.log(f"<{name} {shown or self.norm(args)} ctx={self.contexts()}")
            self.observe()
            argument = args[0] if args else None
            del args
            for act in spec[1]:
                self.do(act, owner)
            outcome = spec[2]
            kind = outcome[0]
            if kind == "ret":
                result = self.value(outcome[1], owner, argument)
                self.log(f">{name} {self.norm(result)}")
                return self.straight(result, owner and owner())
            self.log(f">{name} {outcome[:1]}")
            if kind == "raise":
                raise self.new_error(outcome[1])
            if kind == "raw":
                return self.straight(self.act(outcome[1], owner), owner and owner())
            if isinstance(argument, self.impl.Failure):
                if kind == "trap":
                    return argument.trap(self.cls(outcome[1])).__name__
                argument.raiseException()
            return argument
        finally:
            self.depth -= 1

    def make_canceller(self, spec: Node) -> Any:
        kind = spec[0]
        if kind == "nothing":
            return None
        if kind == "falsy":
            return Falsy()
        name = self.count("k")

        def cancel(deferred: Any) -> None:
            self.log(f"<{name} {self.norm(deferred)}")
            self.fuel -= 20
            self.observe()
            if kind == "fires":
                made = self.value(spec[1], weakref.ref(deferred))
                deferred.callback(self.straight(made, deferred))
            elif kind == "fails":
                deferred.errback(self.new_error(spec[1]))
            elif kind == "raises":
                raise self.new_error(spec[1])
            elif kind == "acts":
                for act in spec[1]:
                    self.do(act, weakref.ref(deferred))
            self.log(f">{name}")

        def canceller(deferred: Any) -> Any:
            try:
                cancel(deferred)
            except BaseException:
                # What a canceller raises when a time runs out keeps a Deferred of ours from
                # nothing (docs/differences.md).
                if not self.advancing:
                    raise
            return "ignored"

        canceller.diff_name = name  # type: ignore[attr-defined]
        return canceller

    # -- acts

    def do(self, act: Node, owner: Any = None) -> None:
        """Perform an act; write down how it ended, whatever that was."""
        if self.ended:
            return
        self.fuel -= 1
        if self.gathered and self.circular():
            self.fuel = -1
        if self.fuel < 0:
            return
        self.log("> " + " ".join(str(x) for x in act if not isinstance(x, tuple)))
        self.depth += 1
        try:
            shown = self.norm(self.act(act, owner))
        except BaseException as error:
            if type(error) is KeyboardInterrupt and not error.args:
                raise
            shown = f"raised {self.error(error)}"
        self.depth -= 1
        self.log(f"= {shown}")

    def act(self, act: Node, owner: Any = None) -> Any:
        return getattr(self, "op_" + act[0])(owner, *act[1:])

    def circular(self, waiting: Any = None, awaited: Any = None) -> bool:
        """Whether something gathered waits for what gathered it.

        Twisted then cancels round and round, twice as often at every turn, so the
        program ends before it can come to that.
        """
        edges: dict[int, list[Any]] = {}
        starts = []
        for list_, members in self.gathered:
            gathering = list_()
            if gathering is not None:
                found = [m for m in (member() for member in members) if m is not None]
                edges[id(gathering)] = found
                starts.append(gathering)
        for root, values in self.waits.items():
            waiter = self.script_deferred(root)
            if waiter is not None:
                found = [v for v in (value() for value in values) if v is not None]
                edges.setdefault(id(waiter), []).extend(found)
        for start in starts:
            seen: set[int] = set()
            todo = list(edges[id(start)])
            while todo:
                item = todo.pop()
                if item is start:
                    return True
                if id(item) in seen:
                    continue
                seen.add(id(item))
                todo.extend(edges.get(id(item), ()))
                after = [getattr(item, "result", None), getattr(item, "_chainedTo", 0)]
                if item is waiting:
                    after.append(awaited)
                todo.extend(x for x in after if isinstance(x, self.impl.Deferred))
        return False

    def script_deferred(self, sid: str) -> Any:
        known = self.script_deferreds.get(self.roots.get(sid, sid))
        return None if known is None else known()

    def waiting(self, sid: str, value: Any) -> Any:
        """What a script may wait for, if it was about to wait for this."""
        if isinstance(value, self.impl.Deferred):
            mine = self.script_deferred(sid)
            if self.gathered and mine is not None and self.circular(mine, value):
                return None
            self.waits.setdefault(self.roots[sid], []).append(weakref.ref(value))
        return value

    def straight(self, value: Any, target: Any = None) -> Any:
        """A result for `target` (or for whoever takes it) that closes no circle."""
        if self.gathered and isinstance(value, self.impl.Deferred):
            if target is None or self.circular(target, value):
                return None
        return value

    def gathers(self, gathering: Any, members: list[Any]) -> Any:
        found = [weakref.ref(member) for member in members]
        self.gathered.append((weakref.ref(gathering), found))
        return self.register(gathering)

    ARGUMENTS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        ((), {}),
        ((1,), {}),
        ((), {"k": 2}),
        ((1, None), {"k": 2, "callback": 3}),
    )

    def op_new(self, owner: Any, canceller: Node, cls: int) -> Any:
        made = self.make_canceller(canceller)
        if canceller[0] == "noop":
            return self.register(self.impl.classes[cls](canceller=made))
        if made is None and cls:
            return self.register(self.impl.classes[cls]())
        return self.register(self.impl.classes[cls](made))

    def op_add(self, owner: Any, n: int, how: int, first: Node, second: Any, form: int) -> Any:
        target = weakref.ref(self.pick(n, owner))
        one = self.make_callback(first, target)
        two = self.make_callback(second, target)
        args, kwargs = self.ARGUMENTS[form]
        if form == 3 and how != 9:
            kwargs = {"k": 2}
        d = target()
        if how < 3:
            return d.addCallback(one, *args, **kwargs)
        if how < 6:
            return d.addErrback(one, *args, **kwargs)
        if how < 9:
            return d.addBoth(one, *args, **kwargs)
        if how == 9:
            return d.addCallbacks(one, two, args, kwargs, args[:1], kwargs)
        if how == 10:
            return d.addCallbacks(one, errback=two, errbackArgs=args, errbackKeywords=kwargs)
        if how == 11:
            return d.addCallbacks(
                callback=one, errback=two, callbackKeywords=kwargs, callbackArgs=args
            )
        if how == 12:
            return d.addCallbacks(one)
        if how == 13:
            return d.addCallbacks(one, None, None, None, None, None)
        if how == 14:
            return d.addCallback(None if form == 3 else one)
        return d.addBoth(one)

    def op_fire(self, owner: Any, n: int, value: Node) -> Any:
        made = self.value(value, owner)
        return self.pick(n, owner).callback(self.straight(made, self.pick(n, owner)))

    def fails(self, method: Any, kind: int, name: str) -> Any:
        if kind == 0:
            return method(self.impl.Failure(self.new_error(name)))
        if kind == 1:
            return method(self.new_error(name))
        if kind == 2:
            try:
                raise self.new_error(name)
            except BaseException:
                return method()
        if kind == 3:
            return method(self.raised(name))
        if kind == 4:
            # (No text or class: a generator that it is thrown into is never resumed, and how
            # long Twisted's frames then keep that open is not compared.)
            return method(self.impl.Failure(self.new_error(name), None, None, True))
        return method(None)

    def op_err(self, owner: Any, n: int, kind: int = 0, name: str = "Boom") -> Any:
        return self.fails(self.pick(n, owner).errback, kind, name)

    def op_succeed(self, owner: Any, value: Node) -> Any:
        return self.register(self.impl.defer.succeed(self.value(value, owner)))

    def op_fail(self, owner: Any, kind: int, name: str) -> Any:
        return self.register(self.fails(self.impl.defer.fail, kind, name))

    def op_execute(self, owner: Any, callback: Node, form: int) -> Any:
        args, kwargs = self.ARGUMENTS[form]
        call = self.make_callback(callback, None)
        kwargs = {"k": 2} if kwargs else {}
        return self.register(self.impl.defer.execute(call, *args, **kwargs))

    def op_maybe(self, owner: Any, callback: Node, form: int) -> Any:
        args, kwargs = self.ARGUMENTS[form]
        call = self.make_callback(callback, None)
        kwargs = {"k": 2} if kwargs else {}
        return self.register(self.impl.defer.maybeDeferred(call, *args, **kwargs))

    def op_chain(self, owner: Any, n: int, m: int) -> Any:
        return self.pick(n, owner).chainDeferred(self.pick(m, owner))

    def meddle(self, deferred: Any) -> bool:
        """Whether a Deferred may be paused or made uncalled now.

        A coroutine that awaits one whose callbacks are running while it is paused
        goes round for ever in Twisted: the two must not meet.  One that waits for
        another may come to that later: if it is unpaused by hand it is run, and
        paused less than not at all when what it waits for is there.
        """
        if self.depth > 1 or deferred._chainedTo is not None:
            if deferred in self.awaited:
                return False
            self.meddled.add(deferred)
        return True

    def give_awaited(self, sid: str, spec: Node) -> Any:
        return self.mark_awaited(self.give(sid, spec))

    def mark_awaited(self, value: Any) -> Any:
        if isinstance(value, self.impl.Deferred):
            if value in self.meddled:
                return self.impl.defer.succeed("meddled")
            self.awaited.add(value)
        return value

    def op_pause(self, owner: Any, n: int) -> Any:
        if self.meddle(self.pick(n, owner)):
            return self.pick(n, owner).pause()
        return "awaited"

    def op_unpause(self, owner: Any, n: int) -> Any:
        if self.meddle(self.pick(n, owner)):
            return self.pick(n, owner).unpause()
        return "awaited"

    def op_cancel(self, owner: Any, n: int) -> Any:
        seen = set()
        item = self.pick(n, owner)
        while isinstance(item, self.impl.Deferred) and item.called:
            if id(item) in seen:
                return "circular"
            seen.add(id(item))
            item = getattr(item, "result", None)
        del item
        self.fuel -= 2
        return self.pick(n, owner).cancel()

    def op_drop(self, owner: Any, n: int) -> Any:
        live = [i for i, deferred in enumerate(self.ds) if deferred is not None]
        if live:
            i = live[-1] if n < 0 else live[n % len(live)]
            self.ds[i] = None
        return None

    def op_ctx(self, owner: Any, which: int, value: int) -> Any:
        VARIABLES[which].set(value)

    def op_timeout(self, owner: Any, n: int, seconds: int, callback: Any) -> Any:
        target = self.pick(n, owner)
        call = self.make_callback(callback, weakref.ref(target))
        if call is None:
            return target.addTimeout(seconds, self.clock)
        return target.addTimeout(seconds, self.clock, onTimeoutCancel=call)

    def op_advance(self, owner: Any, seconds: int) -> Any:
        self.advancing += 1
        try:
            return self.clock.advance(seconds)
        except (AlreadyCalled, AlreadyCancelled) as error:
            return type(error).__name__
        finally:
            self.advancing -= 1

    def op_setresult(self, owner: Any, n: int, value: Node) -> Any:
        made = self.value(value, owner)
        made = self.straight(made, self.pick(n, owner))
        self.pick(n, owner).result = made

    def op_setcalled(self, owner: Any, n: int, value: int) -> Any:
        target = self.pick(n, owner)
        if (hasattr(target, "result") or not value) and self.meddle(target):
            target.called = bool(value)

    def op_debug(self, owner: Any, on: int) -> Any:
        self.impl.defer.setDebugging(on)
        return self.impl.defer.getDebugging()

    def op_iter(self, owner: Any, n: int) -> Any:
        return next(iter(self.pick(n, owner)))

    def op_callbacks(self, owner: Any, n: int) -> Any:
        return len(self.pick(n, owner).callbacks)

    def op_old(self, owner: Any, which: int, n: int, name: str) -> Any:
        defer = self.impl.defer
        if which == 0:
            return defer.timeout(self.pick(n, owner))
        if which == 1:
            failure = self.raised(name)
            return defer.logError(failure) is failure
        return defer.passthru(self.value(("v", 1)))

    # Failures

    def op_probe(self, owner: Any, n: int, make: int, what: int, first: Node, second: Node) -> Any:
        failure = self.failure_for(n, make, owner, first[1])
        targets = [self.target(first), self.target(second)]
        if what in (0, 12):
            return self.norm(failure.check(*targets))
        if what == 1:
            return self.norm(failure.trap(*targets))
        if what == 2:
            return failure.getErrorMessage()
        if what == 3:
            return [failure.type, failure.value, self.traceless(failure)]
        if what == 4:
            return [self.norm(parent) for parent in failure.parents]
        if what == 5:
            return failure.raiseException()
        if what == 6:
            if type(failure.value).__name__ == "_DefGen_Return":
                # Twisted looks in its traceback for who called returnValue(), and breaks if
                # there is none.
                return "returning"
            before = self.frames(failure)
            failure.cleanFailure()
            clean = getattr(failure.value, "__traceback__", None) is None
            pickled = failure.__dict__.get("pickled", failure.pickled)
            return [before, self.frames(failure), failure.tb is None, clean, pickled]
        if what == 7:
            return self.text(repr(failure)) + self.text(str(failure)).split("|")[0]
        if what == 8:
            detail = ("default", "brief", "verbose")[n % 3]
            text = failure.getTraceback(detail=detail)
            if detail == "verbose":  # the frames and variables of everybody
                text = text.replace("\nFailure: ", "\n")
                lines = text.replace(f"#{failure.count}", "#?").split("\n")
                return [lines[0], lines[-3:]]
            return text
        if what == 9:
            again = self.impl.Failure(failure)
            return [again, again.value is failure.value, again is failure]
        if what == 10:
            try:
                raise failure
            except BaseException:
                again = self.impl.Failure()
            return [again, again is failure, self.frames(again)]
        if what == 11:
            error = self.new_error(first[1])
            again = self.impl.Failure(error, self.cls(second[1]))
            return [again.type, again.value, again.tb is None, again.captureVars]
        if what == 13:
            return self.throw(failure)
        if what == 14:
            try:
                failure.raiseException()
            except BaseException:
                again = self.impl.Failure()
            return [again, again is failure, self.frames(again)]
        if what == 15:
            reduced = failure.__getstate__()
            shown = [reduced["pickled"], reduced["tb"] is None, len(reduced["parents"])]
            again = pickle.loads(pickle.dumps(failure.value and failure))
            shown += [again, again.pickled, again.tb is None, self.frames(again)]
            return [*shown, reduced["stack"], again.check(*targets)]
        if what == 16:
            return copy.copy(failure)
        holder = failure.getTracebackObject()
        frames = self.frames(failure)
        return [holder is None or not frames, failure.captureVars, frames]

    def throw(self, failure: Any) -> Any:
        def generator() -> Any:
            try:
                yield 1
            except BaseException as error:
                self.log(f"thrown {self.error(error)}")
                yield 2
            yield 3

        running = generator()
        next(running)
        return failure.throwExceptionIntoGenerator(running)

    def failure_for(self, n: int, make: int, owner: Any, name: str) -> Any:
        Failure = self.impl.Failure
        if make < 4:
            result = getattr(self.pick(n, owner), "result", None)
            if isinstance(result, Failure):
                return result
        if make == 4:
            return Failure(self.new_error(name))
        if make == 5:
            try:
                raise self.new_error(name)
            except BaseException as error:
                return Failure(error, captureVars=True)
        if make == 6:
            try:
                raise self.new_error(name)
            except BaseException as error:
                return Failure(error, type(error), error.__traceback__.tb_next)
        if make == 7 and "bare_errback" in self.features:
            return Failure()
        return self.raised(name)

    def target(self, spec: Node) -> Any:
        cls = self.cls(spec[1])
        if spec[0] == "class":
            return cls
        return f"{cls.__module__}.{cls.__qualname__}"

    # Generators and coroutines

    def op_gen(self, owner: Any, how: int, script: Node) -> Any:
        return self.register(self.start(how, script))

    def start(self, how: int, script: Node) -> Any:
        sid = self.count("g")
        self.roots[sid] = sid
        made = self.started(how, script, sid)
        if isinstance(made, self.impl.Deferred):
            self.script_deferreds[sid] = weakref.ref(made)
        return made

    def started(self, how: int, script: Node, sid: str) -> Any:
        defer = self.impl.defer
        generator, coroutine = compiled(script)
        if how in (0, 1):
            return defer.inlineCallbacks(generator)(self, sid)
        if how == 2:
            return defer.ensureDeferred(coroutine(self, sid))
        if how == 3:
            return defer.Deferred.fromCoroutine(coroutine(self, sid))
        if how == 4:
            return defer.maybeDeferred(coroutine, self, sid=sid)
        if how == 5:
            return defer.ensureDeferred(generator(self, sid))
        return defer.inlineCallbacks(generator)(self, sid=sid)

    def nested(self, sid: str, how: int, script: Node) -> Any:
        """What a script yields or awaits to run another script."""
        generator, coroutine = compiled(script)
        if how in (0, 1):
            inner = self.count("g")
            self.roots[inner] = self.roots[sid]
            return (coroutine if how == 0 else generator)(self, inner)
        made = self.start({2: 0, 3: 2}.get(how, 3), script)
        return self.mark_awaited(self.waiting(sid, self.register(made)))

    def op_notgen(self, owner: Any, which: int, n: int) -> Any:
        defer = self.impl.defer

        def plain() -> Any:
            return 3

        def returning() -> Any:
            defer.returnValue(3)

        def raising() -> Any:
            raise self.new_error("Boom")

        if which < 3:
            function = (plain, returning, raising)[which]
            return defer.inlineCallbacks(function)()
        if which == 3:
            return defer.ensureDeferred(42)
        if which == 4:
            target = self.pick(n, owner)
            return defer.ensureDeferred(target) is target
        if which == 5:
            return defer.Deferred.fromCoroutine(self.pick(n, owner))
        return defer.Deferred.fromCoroutine("text")

    def closing(self, error: object) -> bool:
        """Whether a script is being thrown away: not one of our own exceptions."""
        return type(error) is GeneratorExit and not error.args

    def began(self, sid: str) -> None:
        self.log(f"{sid} begins ctx={self.contexts()}")
        self.observe()

    def got(self, sid: str, value: Any) -> None:
        self.log(f"{sid} got {self.norm(value)} ctx={self.contexts()}")
        self.observe()

    def caught(self, sid: str, error: BaseException) -> bool:
        if self.closing(error):
            self.died(f"{sid} closed in except")
            return True
        self.log(f"{sid} caught {self.error(error)} ctx={self.contexts()}")
        self.observe()
        return self.ended

    def finally_(self, sid: str) -> bool:
        error = sys.exc_info()[1]
        if self.ended or self.closing(error):
            self.died(f"{sid} closed in finally")
            return False
        self.log(f"{sid} finally {self.error(error) if error else ''}")
        self.observe()
        return True

    def give(self, sid: str, spec: Node) -> Any:
        return self.waiting(sid, self.value(spec))

    def last(self, spec: Node) -> Any:
        return self.straight(self.value(spec))

    def helper(self, spec: Node) -> Any:
        self.impl.defer.returnValue(self.last(spec))

    def context_manager(self, k: int) -> Any:
        return self.some(("lock", "sem")[k % 2], k)

    def holding(self, sid: str) -> Holding:
        return Holding(self, sid)

    # Gathering

    def op_dlist(self, owner: Any, refs: tuple[int, ...], flags: int) -> Any:
        chosen = [self.pick(n, owner) for n in refs]
        made = self.impl.defer.DeferredList(
            chosen,
            fireOnOneCallback=bool(flags & 1),
            fireOnOneErrback=bool(flags & 2),
            consumeErrors=bool(flags & 4),
        )
        return self.gathers(made, chosen)

    def op_gather(self, owner: Any, refs: tuple[int, ...], consume: int) -> Any:
        chosen = [self.pick(n, owner) for n in refs]
        made = self.impl.defer.gatherResults(chosen, bool(consume))
        return self.gathers(made, chosen)

    def op_race(self, owner: Any, refs: tuple[int, ...]) -> Any:
        chosen = [self.pick(n, owner) for n in refs]
        return self.gathers(self.impl.defer.race(chosen), chosen)

    def op_firsterror(self, owner: Any, one: int, two: int, name: str) -> Any:
        FirstError = self.impl.defer.FirstError
        failure = self.impl.Failure(self.new_error(name))
        other = failure if two < 2 else self.impl.Failure(self.new_error(name))
        a, b = FirstError(failure, one % 2), FirstError(other, two % 2)
        shown = [a, a.subFailure is failure, a == b, a != b, a == "a", a == a]
        if one % 2 != two % 2:
            shown += [a < b, a > b, a <= b, a >= b]
        return shown

    # Concurrency

    def some(self, kind: str, k: int) -> Any:
        things = self.sync[kind]
        if not things:
            self.act({"queue": ("queue", 0, 0), "sem": ("sem", 2)}.get(kind, (kind,)))
        return things[k % len(things)]

    def made(self, kind: str, thing: Any) -> Any:
        self.name(thing, kind)
        self.sync[kind].append(thing)
        return thing

    def op_lock(self, owner: Any) -> Any:
        return self.made("lock", self.impl.defer.DeferredLock())

    def op_sem(self, owner: Any, tokens: int) -> Any:
        return self.made("sem", self.impl.defer.DeferredSemaphore(tokens))

    def op_queue(self, owner: Any, size: int, backlog: int) -> Any:
        made = self.impl.defer.DeferredQueue(
            size=size - 1 if size else None, backlog=backlog - 1 if backlog else None
        )
        return self.made("queue", made)

    def guard(self, k: int) -> Any:
        return self.some(("lock", "sem")[k % 2], k // 2)

    def op_acquire(self, owner: Any, k: int) -> Any:
        return self.register(self.guard(k).acquire())

    def op_release(self, owner: Any, k: int) -> Any:
        return self.guard(k).release()

    def op_run(self, owner: Any, k: int, callback: Node, form: int) -> Any:
        args, kwargs = self.ARGUMENTS[form]
        call = self.make_callback(callback, None)
        kwargs = {"k": 2} if kwargs else {}
        return self.register(self.guard(k).run(call, *args, **kwargs))

    def op_put(self, owner: Any, k: int, value: Node) -> Any:
        return self.some("queue", k).put(self.straight(self.value(value, owner)))

    def op_get(self, owner: Any, k: int) -> Any:
        return self.register(self.some("queue", k).get())

    # Futures

    def future(self, k: int) -> Any:
        if not self.futures:
            self.op_future(None)
        return self.futures[k % len(self.futures)]

    def op_future(self, owner: Any) -> Any:
        future = self.loop.create_future()
        self.futures.append(future)
        return future

    def op_asfuture(self, owner: Any, n: int) -> Any:
        future = self.pick(n, owner).asFuture(self.loop)
        self.futures.append(future)
        return future

    def op_fromfuture(self, owner: Any, k: int, cls: int) -> Any:
        future = self.future(k)
        return self.register(self.impl.classes[cls].fromFuture(future))

    def op_futset(self, owner: Any, k: int, value: Node) -> Any:
        made = self.straight(self.value(value, owner))
        future = self.future(k)
        if isinstance(made, self.impl.Failure):
            made = made.value
        if isinstance(made, BaseException):
            return future.set_exception(made)
        return future.set_result(made)

    def op_futcancel(self, owner: Any, k: int) -> Any:
        return self.future(k).cancel()

    def op_spin(self, owner: Any, *_: Any) -> Any:
        return self.loop.spin(self)

    # -- the run

    def warned(
        self,
        message: Any,
        category: type,
        filename: str,
        lineno: int,
        file: Any = None,
        line: Any = None,
    ) -> None:
        text = f"{category.__name__} {self.text(str(message))}"
        if "never awaited" in text or "never retrieved" in text:
            self.died(text)
            return
        where = f"line {lineno}" if filename in (HERE, SCRIPT) else "elsewhere"
        self.log(f"warning {text} {where}")

    def logged(self, event: dict[str, Any]) -> None:
        if "reports" not in self.features:
            return
        parts = [event["log_level"].name, str(event.get("log_format"))]
        if "isError" in event:
            parts.append(f"isError={event['isError']}")
        if self.trace.recursed is not None:
            return
        failure = event.get("log_failure")
        if failure is not None:
            parts.append(self.dead_error(failure.value))
            # Python's own exceptions have no place to hang a name on.
            parts.append(self.text(str(event.get("debugInfo", "none"))))
        self.died("report " + " ".join(parts))

    def unraisable(self, event: Any) -> None:
        self.died(f"unraisable {self.dead_error(event.exc_value)}")

    def run(self, program: Program) -> None:
        for self.step, act in enumerate(program):
            self.step_began = len(self.trace.lines)
            self.depth = 0
            self.log(f"[{self.step}]")
            self.do(act)
            if self.trace.recursed is None:
                self.observe(final=True)
            if act[0] == "drop":
                gc.collect()
            if self.fuel < 0:
                break
        self.step = len(program)
        self.ended = True
        # Locks and semaphores go last, and nobody waits for them any more by then: a script that
        # is closed gives back what it holds, which resumes who waits for it unless that one was
        # closed before, and which of the two a collection closes first is its own affair.
        self.collect()
        self.collect(locks=True)

    def collect(self, locks: bool = False) -> None:
        # What dies in a collection may run scripts, which make new objects.  And a script closed
        # in it may bring all that was found back to life, for the next one: nothing was
        # collected then, but only nothing twice in a row means that nothing is left.
        idle = 0
        for _ in range(10):
            self.forget(locks)
            idle = 0 if gc.collect() else idle + 1
            if idle == 2:
                break

    def forget(self, locks: bool) -> None:
        self.states.clear()
        self.ds.clear()
        self.futures.clear()
        self.loop.forget()
        self.clock.calls.clear()
        self.sync["queue"].clear()
        if locks:
            for kind in ("lock", "sem"):
                for thing in self.sync[kind]:
                    thing.waiting.clear()
                self.sync[kind].clear()

    step_began = 0


# -- scripts as source text


class _Writer:
    """Writes a script as the body of a generator or coroutine function."""

    def __init__(self, wait: str) -> None:
        self.wait = wait
        self.lines: list[str] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        self.constants.append(value)
        return f"K[{len(self.constants) - 1}]"

    def line(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def body(self, statements: Any, indent: int) -> None:
        for statement in statements or ():
            self.statement(statement, indent)
        self.line(indent, "pass")

    def statement(self, statement: Node, indent: int) -> None:
        kind = statement[0]
        if kind == "yield":
            give = "give_awaited" if self.wait == "await" else "give"
            given = f"m.{give}(sid, {self.constant(statement[1])})"
            self.line(indent, f"m.got(sid, ({self.wait} {given}))")
        elif kind == "act":
            self.line(indent, f"m.do({self.constant(statement[1])})")
        elif kind == "return":
            self.line(indent, f"return m.last({self.constant(statement[1])})")
        elif kind == "raise":
            self.line(indent, f"raise m.new_error({self.constant(statement[1])})")
        elif kind == "rv":
            given = f"m.last({self.constant(statement[1])})"
            self.line(indent, f"m.impl.defer.returnValue({given})")
        elif kind == "hrv":
            self.line(indent, f"m.helper({self.constant(statement[1])})")
        elif kind == "nest":
            how, script = statement[1:]
            if self.wait == "await" and how == 1:
                how = 2  # a generator cannot be awaited
            given = f"m.nested(sid, {how}, {self.constant(script)})"
            self.line(indent, f"m.got(sid, ({self.wait} {given}))")
        elif kind == "twice":
            self.line(indent, "for _ in range(2):")
            self.body(statement[1], indent + 1)
        elif kind == "with":
            k, inside = statement[1:]
            if self.wait == "await":
                self.line(indent, f"async with m.context_manager({k}) as held:")
                self.line(indent + 1, "with m.holding(sid):")
                self.line(indent + 2, "m.got(sid, held)")
                self.body(inside, indent + 2)
            else:
                self.line(indent, f"held = yield m.context_manager({k}).acquire()")
                self.body(inside, indent)
                self.line(indent, "held.release()")
        elif kind == "try":
            self.attempt(statement, indent)

    def attempt(self, statement: Node, indent: int) -> None:
        _, body, caught, handler, final = statement
        self.line(indent, "try:")
        self.body(body, indent + 1)
        if caught is not None:
            self.line(indent, f"except m.cls({caught!r}) as error:")
            self.line(indent + 1, "if m.caught(sid, error):")
            self.line(indent + 2, "raise")
            self.body(handler, indent + 1)
        if final is not None or caught is None:
            self.line(indent, "finally:")
            self.line(indent + 1, "if m.finally_(sid):")
            self.body(final, indent + 2)


@lru_cache(maxsize=256)
def source(script: Node, wait: str) -> tuple[str, tuple[Any, ...]]:
    writer = _Writer(wait)
    prefix = "async " if wait == "await" else ""
    writer.line(0, f"{prefix}def script(m, sid):")
    writer.line(1, "m.began(sid)")
    if wait == "yield":
        writer.line(1, "if not sid:")
        writer.line(2, "yield")
    writer.body(script[1], 1)
    return "\n".join(writer.lines) + "\n", tuple(writer.constants)


@lru_cache(maxsize=256)
def compiled(script: Node) -> tuple[Any, Any]:
    """The script as a generator function and as a coroutine function."""
    functions = []
    for wait in ("yield", "await"):
        text, constants = source(script, wait)
        space: dict[str, Any] = {"K": constants, "__name__": __name__}
        with warnings.catch_warnings():
            # Of a `return` in a `finally` block, since 3.14.
            warnings.simplefilter("ignore", SyntaxWarning)
            exec(compile(text, SCRIPT, "exec"), space)
        functions.append(space["script"])
    return tuple(functions)


@contextmanager
def machine_in_quiet_process(
    implementation: Implementation, features: frozenset[str]
) -> Iterator[Machine]:
    """Put what the process shares aside, and back afterwards."""
    publisher = globalLogPublisher
    observers = publisher._observers
    hook = sys.unraisablehook
    debugging = implementation.Deferred.debug
    collecting = gc.isenabled()
    gc.disable()
    # Collections have only this run's objects to look at.  The machine is one of
    # them: what hangs on a frozen object is never collected.
    gc.freeze()
    machine = Machine(implementation, features)
    publisher._observers = [machine.logged]
    sys.unraisablehook = machine.unraisable
    Machine.current = machine
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = machine.warned
            with mended(implementation):
                yield machine
    finally:
        Machine.current = None
        sys.unraisablehook = hook
        publisher._observers = observers
        implementation.Deferred.debug = debugging
        globals().pop("__warningregistry__", None)
        gc.unfreeze()
        if collecting:
            gc.enable()


def run(
    implementation: Implementation,
    program: Program,
    features: frozenset[str] = DEFAULT_FEATURES,
) -> Trace:
    """What can be seen of the program on this implementation."""
    with machine_in_quiet_process(implementation, features) as machine:
        contextvars.Context().run(machine.run, program)
    return machine.trace


def difference(left: Trace, right: Trace) -> str | None:
    """The first difference between two traces, or None."""
    one, two = left.lines, right.lines
    # Where one of them ran out of stack nothing more can be compared.
    stops = [t.recursed for t in (left, right) if t.recursed is not None]
    # Nor where a script gave back what it held because it was thrown away, if the oracle throws
    # the same away later: the frames of Twisted's driver, which a failure's traceback leads to,
    # keep a script alive that nobody can resume.  Whoever waits for the lock goes on at another
    # moment then, and anything may follow from that.
    stops += [at for sid, at in right.closed.items() if at < left.closed.get(sid, 0)]
    if stops:
        one, two = one[: min(stops)], two[: min(stops)]
    for index in range(max(len(one), len(two))):
        here = one[index] if index < len(one) else "(nothing)"
        there = two[index] if index < len(two) else "(nothing)"
        if here != there and not _died_sooner(here, there) and not _misnamed(here, there):
            before = "".join(f"    {line}\n" for line in one[max(0, index - 12) : index])
            return f"{before}  - {here}\n  + {there}"
    if stops:
        return None
    return _deaths_differ(left.deaths, right.deaths)


def _died_sooner(left: str, right: str) -> bool:
    """Whether two lines differ only in addresses, of what is dead on the right already."""
    shown = r"@[\w?]+".join(map(re.escape, right.split("@?")))
    return re.fullmatch(shown, left) is not None


def _misnamed(left: str, right: str) -> bool:
    """Whether two lines differ only in a function that a warning of the oracle takes for one of
    the program: its own driver, which stands in the traceback of what `returnValue` raised once
    that has been thrown into a second generator.
    """
    return "causing '_inlineCallbacks' to exit" in left and left == re.sub(
        r"causing '\w+' to exit", "causing '_inlineCallbacks' to exit", right
    )


def _deaths_differ(left: list[tuple[str, int]], right: list[tuple[str, int]]) -> str | None:
    table: dict[str, tuple[list[int], list[int]]] = {}
    for side, deaths in enumerate((left, right)):
        for text, step in deaths:
            table.setdefault(text, ([], []))[side].append(step)
    for text, (one, two) in sorted(table.items()):
        if len(one) != len(two):
            return f"{text}\n  - heard at steps {one}\n  + heard at steps {two}"
        if any(b > a for a, b in zip(sorted(one), sorted(two), strict=True)):
            return f"{text}\n  - heard at steps {one}\n  + later, at steps {two}"
    return None
