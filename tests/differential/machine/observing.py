"""Records what can be observed, without implementation details."""

from __future__ import annotations

import asyncio
import contextvars
import os
import re
import weakref
from typing import Any

from twisted.internet.task import Clock

from .implementation import Implementation
from .loop import HandLoop
from .scripts import SCRIPT
from .trace import Trace

#: The folder of the machine's own files.
HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
VARIABLES = (
    contextvars.ContextVar("first", default=0),
    contextvars.ContextVar("second", default=0),
)

FRAME = re.compile(r'  File "([^"]*)", line (\d+), in (.*)')
BRIEF = re.compile(r"(<?[/\w][^: ]*):(\d+):(\w+)$")
BRIEF_IN_REPR = re.compile(r"Traceback: [^\n]*\\n\S+:\d+:\w+\\n")
ESCAPED = re.compile(r"\\+n")
#: Also one of which the beginning was left out, as in a future's result.
ADDRESS = re.compile(r"(?:0x|(?<=\.\.\.)x?(?=[0-9a-f]{6}))([0-9a-fA-F]+)")
NAMED = re.compile(r"@\w+")  # what `Machine.text` makes of an address
VERSION = re.compile(r"deprecated in \w+ [\w.]+")
#: The beginning of the notes that we add to exceptions (docs/differences.md).
NOTE = "raised by the callback "
FUEL = 400


def ours(filename: str) -> bool:
    """Whether a frame is one of the program's: the machine's, or a script's."""
    return filename == SCRIPT or filename.startswith(HERE)


class Observing:
    """The state of one run, and what it writes down."""

    #: Length of the trace where the step began.
    step_began = 0

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
        if known is not None:
            self.trace.reused.add(name)
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
                    if ours(match[1]):
                        last = f"{match[3]}:{match[2]}"
                elif "Deferred was created" in line or "First Invoker" in line:
                    kept.append(last + line)
                    last = ""
                continue
            # An implementation's own frames are its own affair.
            match = FRAME.match(line) or BRIEF.match(line)
            if match:
                if ours(match[1]):
                    kept.append(f"{match[3]}:{match[2]}")
            elif not line.startswith(("    ", NOTE)):
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
            if ours(filename):
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
