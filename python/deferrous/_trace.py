"""What happens to Deferreds, one event after the other: as text, and as a file for Perfetto."""

from __future__ import annotations

import atexit
import json
import math
import os
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

from . import _deferrous
from ._tracking import PACKAGE, made_at, name_of_place

__all__ = ["Trace", "TraceEvent", "trace"]

#: It has the events of the whole process written to the file that it names.
ENVIRONMENT_VARIABLE = "DEFERROUS_TRACE"
#: So many events are kept, the last ones.
_CAPACITY = 100_000
#: So many lines are in a text.
_LINES = 1_000

# The kinds, as the native half numbers them.
_MADE, _FIRED, _BEGINS, _ENDS, _STARTED, _RESUMED, _SUSPENDED, _ENDED = range(1, 9)
_CANCELLED, _HANDLED, _UNHANDLED, _CHAINED = range(9, 13)
_OF_RUNS = (_STARTED, _RESUMED, _SUSPENDED, _ENDED)
#: What an outcome is.
_FAILURE, _DEFERRED = 3, 4
_OUTCOMES = ("nothing", "nothing", "a result", "a failure", "another Deferred")

_Raw = tuple[int, int, int, int, int, int]


class TraceEvent:
    """Something that happened to a Deferred, or to a generator or coroutine.

    Its `kind` is one of `made`, `fired`, `failed`, `callback`, `callback ended`, `chained`,
    `started`, `resumed`, `suspended`, `ended`, `cancelled`, `handled`, `unhandled`.
    """

    __slots__ = ("detail", "kind", "other", "place", "strand", "subject", "time")

    def __init__(
        self, time: float, kind: str, subject: str, detail: str, other: str, place: int, strand: str
    ) -> None:
        #: In seconds since the trace began.
        self.time = time
        self.kind = kind
        #: A name for what it happened to. Names are numbered in the order in which they come.
        self.subject = subject
        #: More about it, in words.
        self.detail = detail
        #: A name for the other that it has to do with, or nothing.
        self.other = other
        self.place = place
        #: The thread, and the greenlet if it is none's main one.
        self.strand = strand

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        words = [self.subject, self.kind]
        if self.detail:
            words.append(self.detail)
        if self.other:
            words.append(self.other)
        where = made_at(self.place)
        return " ".join(words) + ("" if where is None else f", {where}")

    def to_dict(self) -> dict[str, Any]:
        """Return the same as a dict, for JSON."""
        where = made_at(self.place)
        return {
            "time": self.time,
            "kind": self.kind,
            "subject": self.subject,
            "detail": self.detail,
            "other": self.other,
            "place": None if where is None else where.to_dict(),
            "strand": self.strand,
        }


class _Names:
    """Names for what has been at addresses, one after the other."""

    def __init__(self) -> None:
        self._of_address: dict[int, int] = {}
        self._count = 0
        self._runs: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def made(self, address: int) -> int:
        """Return the number of a new Deferred."""
        self._count += 1
        self._of_address[address] = self._count
        return self._count

    def number(self, address: int) -> int:
        """Return the number of the Deferred that is there, or 0 for none."""
        if not address:
            return 0
        return self._of_address.get(address) or self.made(address)

    def deferred(self, address: int) -> str:
        """Return the name of the Deferred that is there."""
        number = self.number(address)
        return f"Deferred {number}" if number else ""

    def run(self, number: int, code: int = 0) -> str:
        """Return the name of a generator or coroutine. Its code is known at some events."""
        name = self._runs.get(number)
        if name is None:
            base = (name_of_place(code) if code else "") or "generator"
            self._numbers[base] = count = self._numbers.get(base, 0) + 1
            name = self._runs[number] = f"{base} {count}"
        return name


class Trace:
    """What `trace` returns: the events, as they are or, after the `with`, as they were."""

    def __init__(self, capacity: int, file: str | os.PathLike[str] | None) -> None:
        self._capacity = capacity
        self._file = file
        self._begin = self._began_at = 0
        self._running = False
        self._raw: list[_Raw] = []
        self._lost = 0
        self._strands: dict[int, str] = {}

    def __enter__(self) -> Trace:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        if self._file is not None:
            self.write(self._file)

    def _start(self) -> None:
        if self._running:
            raise RuntimeError("this trace has begun already")
        self._raw, self._lost = [], 0
        self._began_at = _deferrous._now()
        self._begin = _deferrous._trace_begin(self._capacity, PACKAGE)
        self._running = True

    def _stop(self) -> None:
        if self._running:
            try:
                self._look()
            finally:
                self._running = False
                _deferrous._trace_end()

    def _look(self) -> None:
        """Take what there is, while events are noted."""
        if not self._running:
            return
        raw, lost = _deferrous._trace_since(self._begin)
        # The ring may be larger, because somebody else wants more.
        more = max(0, len(raw) - self._capacity)
        self._raw, self._lost = raw[more:], lost + more
        names = {each.ident: each.name for each in threading._active.copy().values()}  # type: ignore[attr-defined]
        main = threading.main_thread().ident
        for number, thread, greenlet in _deferrous._trace_strands():
            name = names.get(thread)
            name = name if type(name) is str else f"thread {thread}"
            name = "main thread" if thread == main else name
            self._strands[number] = f"{name}, greenlet at {greenlet:#x}" if greenlet else name

    @property
    def lost(self) -> int:
        """How many events are lost, because there were more than are kept."""
        self._look()
        return self._lost

    @property
    def events(self) -> list[TraceEvent]:
        """The events, the oldest first."""
        self._look()
        return list(self._shown(_Names()))

    def _shown(self, names: _Names) -> Iterator[TraceEvent]:
        for raw in self._raw:
            time, number, strand, subject, other, detail = raw
            seconds = max(0, time - self._began_at) / 1e9
            where = self._strands.get(strand, "others")

            def event(
                kind: str,
                name: str,
                words: str = "",
                second: str = "",
                place: int = 0,
                seconds: float = seconds,
                where: str = where,
            ) -> TraceEvent:
                return TraceEvent(seconds, kind, name, words, second, place, where)

            if number == _MADE:
                number = names.made(subject)
                by = names.run(other) if other else ""
                yield event("made", f"Deferred {number}", "by" if by else "", by, detail)
                continue
            if number in _OF_RUNS:
                name = names.run(subject, _code_of(number, detail))
                if number == _STARTED:
                    yield event("started", name, place=detail)
                elif number == _RESUMED:
                    yield event("resumed", name, f"with {_OUTCOMES[detail % 8]}")
                elif number == _SUSPENDED:
                    on = names.deferred(other)
                    yield event("suspended", name, "waits for" if on else "", on)
                else:
                    yield event("ended", name, "by an exception" if detail else "")
                continue
            name = names.deferred(subject) or "a Deferred"
            if number == _FIRED:
                if detail == _FAILURE:
                    yield event("failed", name)
                else:
                    yield event("fired", name, _with(detail))
            elif number == _BEGINS:
                yield event("callback", name, name_of_place(detail), place=detail)
            elif number == _ENDS:
                before, after = divmod(detail, 8)
                yield event("callback ended", name, _with(after))
                if after == _FAILURE and before != _FAILURE:
                    yield event("failed", name)
                elif before == _FAILURE and after != _FAILURE:
                    yield event("handled", name)
            elif number == _CHAINED:
                yield event("chained", name, "waits for", names.deferred(other))
            elif number == _CANCELLED:
                yield event("cancelled", name)
            elif number == _HANDLED:
                yield event("handled", name, "by whoever waited for it")
            elif number == _UNHANDLED:
                yield event("unhandled", name)

    def timeline(self, *, limit: int | None = _LINES) -> str:
        """Return the events as text, a line for each.

        Arguments:

        - `limit`: so many lines at most; in the middle, the others are left out. None for all.
        """
        events = self.events
        strands = len({each.strand for each in events}) > 1
        lines = []
        if self._lost:
            lines.append(f"... {self._lost:,} earlier events are lost ...")
        cut = len(events) if limit is None else max(limit, 2)
        half = (cut + 1) // 2
        depth: dict[str, int] = {}
        for place, each in enumerate(events):
            inner = depth.get(each.strand, 0)
            if each.kind in ("callback ended", "suspended", "ended"):
                inner = depth[each.strand] = max(0, inner - 1)
            elif each.kind in ("callback", "started", "resumed"):
                depth[each.strand] = inner + 1
            if len(events) > cut and half <= place < len(events) - (cut - half):
                if place == half:
                    lines.append(f"... {len(events) - cut:,} events ...")
                continue
            where = f" [{each.strand}]" if strands else ""
            lines.append(f"{each.time * 1e3:12.3f} ms{where}  {'  ' * min(inner, 20)}{each}")
        return "\n".join(lines)

    def to_chrome(self) -> dict[str, Any]:
        """Return the events in the format of Chrome's traces, which Perfetto opens.

        Deferreds and generators are asynchronous slices, from their making to their end. Callbacks,
        and what generators do between two waits, are slices of their threads. Arrows lead from
        where a Deferred is fired to what runs because of it.
        """
        self._look()
        return _Chrome(self).result()

    def write(self, file: str | os.PathLike[str] | TextIO) -> None:
        """Write what `to_chrome` returns to a file, as JSON.

        Arguments:

        - `file`: its name, or something with a `write`.
        """
        text = json.dumps(self.to_chrome(), separators=(",", ":"))
        if isinstance(file, (str, os.PathLike)):
            with open(file, "w", encoding="utf-8") as opened:
                opened.write(text)
        else:
            file.write(text)


def _code_of(kind: int, detail: int) -> int:
    """Return the place of the code of a generator, as far as an event says it."""
    if kind in (_STARTED, _SUSPENDED):
        return detail
    return detail >> 3 if kind == _RESUMED else 0


def _with(outcome: int) -> str:
    return f"with {_OUTCOMES[outcome]}"


def _microseconds(nanoseconds: int) -> float:
    """Return a time as the format has it, in microseconds.

    Who makes nanoseconds of it again by cutting off what is behind the point, as Perfetto has done,
    would make one less of a number that is a little too small, and slices would overlap.
    """
    time = nanoseconds / 1000
    return time if int(time * 1000) >= nanoseconds else math.nextafter(time, math.inf)


class _Chrome:
    """Makes the events of a file for Perfetto. Times are in nanoseconds until they are written."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._names = _Names()
        self._pid = os.getpid()
        self._out: list[dict[str, Any]] = []
        #: Of each thread, the slices that have begun: a key, the event, and when it begins.
        self._open: dict[int, list[tuple[object, dict[str, Any], int]]] = {}
        #: The asynchronous slices that have not ended, by their ids.
        self._async: dict[str, dict[str, Any]] = {}
        #: The number of the Deferred that a run waits for.
        self._waits: dict[int, int] = {}
        #: Where each Deferred was fired: a time and a thread.
        self._fired: dict[int, tuple[int, int]] = {}
        #: Those whose first callback has been called.
        self._called: set[int] = set()
        #: The slice of each thread that ends with its next event.
        self._short: dict[int, tuple[dict[str, Any], int]] = {}
        self._flows = 0
        #: When the last event was.
        self._last = 0

    def result(self) -> dict[str, Any]:
        self._meta("process_name", 0, "deferrous")
        for number in sorted({raw[2] for raw in self._trace._raw}):
            self._meta("thread_name", number, self._trace._strands.get(number, "others"))
        for raw in self._trace._raw:
            self._add(*raw)
        end = self._last + 1
        for strand in list(self._short):
            self._end_short(strand, end)
        for opened in self._open.values():
            for _, event, begin in opened:
                self._finish(event, begin, end)
        for begun in list(self._async.values()):
            begun["args"]["open"] = True
            self._async_end(begun["id2"]["local"], end, begun["tid"])
        return {
            "traceEvents": self._out,
            "displayTimeUnit": "ms",
            "otherData": {"lost": self._trace._lost},
        }

    def _meta(self, what: str, strand: int, name: str) -> None:
        self._out.append(
            {"ph": "M", "name": what, "pid": self._pid, "tid": strand, "args": {"name": name}}
        )

    def _event(self, phase: str, name: str, time: int, strand: int, **more: Any) -> dict[str, Any]:
        at = _microseconds(time)
        event = {"ph": phase, "name": name, "ts": at, "pid": self._pid, "tid": strand, **more}
        self._out.append(event)
        return event

    @staticmethod
    def _where(place: int) -> dict[str, Any]:
        found = made_at(place)
        return {} if found is None else {"at": str(found)}

    # --- slices of threads

    def _begin(self, key: object, name: str, time: int, strand: int, **args: Any) -> None:
        event = self._event("X", name, time, strand, dur=0.0, args=args)
        self._open.setdefault(strand, []).append((key, event, time))

    def _end(self, key: object, time: int, strand: int, **args: Any) -> None:
        opened = self._open.get(strand, [])
        if not any(each == key for each, _, _ in opened):
            # Its beginning is lost.
            return
        while opened:
            each, event, begin = opened.pop()
            self._finish(event, begin, time)
            if each == key:
                event["args"].update(args)
                break

    @staticmethod
    def _finish(event: dict[str, Any], begin: int, end: int) -> None:
        event["dur"] = _microseconds(end - begin)

    def _end_short(self, strand: int, time: int) -> None:
        short = self._short.pop(strand, None)
        if short is not None:
            self._finish(*short, time)

    # --- asynchronous slices

    def _async_begin(
        self, category: str, number: int, title: str, time: int, strand: int, **args: Any
    ) -> None:
        key = f"{category[0]}{number}"
        # The number is this process's. What is alike has the same name, and is shown together.
        more = {"cat": category, "id2": {"local": key}, "args": args}
        self._async[key] = self._event("b", title, time, strand, **more)

    def _async_end(self, key: str, time: int, strand: int, **args: Any) -> None:
        begun = self._async.pop(key, None)
        if begun is not None:
            more = {"cat": begun["cat"], "id2": begun["id2"], "args": args}
            self._event("e", begun["name"], time, strand, **more)

    def _deferred(self, address: int, strand: int) -> tuple[int, str]:
        """Return the number and the name of a Deferred, which may be there from before."""
        before = self._names._count
        number = self._names.number(address)
        name = f"Deferred {number}"
        if number > before:
            self._async_begin("deferred", number, "Deferred", 0, strand, name=name, before=True)
        return number, name

    # --- arrows

    def _flow(self, deferred: int, time: int, strand: int) -> None:
        fired = self._fired.get(deferred)
        if fired is not None:
            self._flows += 1
            more = {"cat": "fires", "id": self._flows}
            self._event("s", "fires", fired[0], fired[1], **more)
            self._event("f", "fires", time, strand, bp="e", **more)

    # --- one event

    def _add(self, at: int, kind: int, strand: int, subject: int, other: int, detail: int) -> None:
        # Later than all before, so that no slice is empty, and no arrow goes back.
        self._last = time = max(at - self._trace._began_at, self._last + 1)
        self._end_short(strand, time)
        if kind in _OF_RUNS:
            self._add_run(kind, time, strand, subject, other, detail)
            return
        if kind == _MADE:
            number = self._names.made(subject)
            args = {"name": f"Deferred {number}", **self._where(detail)}
            if other:
                args["by"] = self._names.run(other)
            place = name_of_place(detail)
            name = f"Deferred of {place}" if place else "Deferred"
            self._async_begin("deferred", number, name, time, strand, **args)
            return
        if not subject:
            return
        number, name = self._deferred(subject, strand)
        key = f"d{number}"
        if kind == _FIRED:
            args = {"with": _OUTCOMES[detail]}
            event = self._event("X", f"fire {name}", time, strand, dur=0.0, args=args)
            self._short[strand] = event, time
            self._fired[number] = (time, strand)
            self._called.discard(number)
            self._async_end(key, time, strand, fired=_OUTCOMES[detail])
        elif kind == _BEGINS:
            shown = name_of_place(detail) or "callback"
            self._begin((_BEGINS, number), shown, time, strand, of=name, **self._where(detail))
            if number not in self._called:
                self._called.add(number)
                self._flow(number, time, strand)
        elif kind == _ENDS:
            self._end((_BEGINS, number), time, strand, result=_OUTCOMES[detail % 8])
        else:
            words = {
                _CANCELLED: "cancel",
                _HANDLED: "handled",
                _UNHANDLED: "unhandled",
                _CHAINED: "chained",
            }
            args = {"to": self._names.deferred(other)} if other else {}
            self._event("i", f"{words[kind]} {name}", time, strand, s="t", args=args)

    def _add_run(
        self, kind: int, time: int, strand: int, subject: int, other: int, detail: int
    ) -> None:
        known = subject in self._names._runs
        name = self._names.run(subject, _code_of(kind, detail))
        key = f"g{subject}"
        alike = name.rpartition(" ")[0]
        if kind == _STARTED:
            args = {"name": name, **self._where(detail)}
            self._async_begin("generator", subject, alike, time, strand, **args)
        elif not known:
            self._async_begin("generator", subject, alike, 0, strand, name=name, before=True)
        if kind in (_STARTED, _RESUMED):
            more = {"fires": self._names.deferred(other)} if other else {}
            self._begin((_RESUMED, subject), name, time, strand, **more)
            if kind == _RESUMED:
                self._flow(self._waits.pop(subject, 0), time, strand)
        elif kind == _SUSPENDED:
            on = {}
            if other:
                number, waited = self._deferred(other, strand)
                self._waits[subject] = number
                on = {"waits for": waited}
            self._end((_RESUMED, subject), time, strand, **on)
        else:
            result = "an exception" if detail else "a result"
            self._end((_RESUMED, subject), time, strand, result=result)
            self._async_end(key, time, strand, result=result)


def trace(*, capacity: int = _CAPACITY, file: str | os.PathLike[str] | None = None) -> Trace:
    """Note what happens to Deferreds, generators and coroutines within a `with`.

    That they are made, fired, cancelled; that their callbacks begin and end; that generators and
    coroutines are suspended and resumed; that failures come, are handled, or are not: each with the
    time. An event is a few numbers, and names are looked for when they are shown, so nobody's code
    is run and nothing is kept alive, but for code objects.

    ```python
    from deferrous import Deferred, trace

    with trace() as t:
        d = Deferred()
        d.addCallback(str)
        d.callback(1)
    print([event.kind for event in t.events])
    ```

    This prints `['made', 'fired', 'callback', 'callback ended']`.

    Arguments:

    - `capacity`: so many events are kept, the last ones. Each takes 32 bytes.
    - `file`: where to write them at the end, in the format of Chrome's traces, which
      [Perfetto](https://ui.perfetto.dev) shows.

    Returns a context manager, which has `events`, `timeline()` and `write(file)`.

    Errors:

    - ValueError: `capacity` is below 1.

    With the environment variable `DEFERROUS_TRACE=file.json`, the last events of the process are
    written to that file when it ends. `{pid}` in the name stands for the number of the process.
    """
    if capacity < 1:
        raise ValueError("a trace has to have room for one event at least")
    return Trace(capacity, file)


def heed_environment() -> None:
    """Note events until the process ends, if the environment says so."""
    file = os.environ.get(ENVIRONMENT_VARIABLE)
    if not file or sys.flags.ignore_environment:
        return
    pid = os.getpid()
    whole = Trace(_CAPACITY, None)
    whole._start()

    def write() -> None:
        if os.getpid() != pid:
            # A process that was forked off. The file is its parent's.
            return
        try:
            whole._stop()
            whole.write(file.replace("{pid}", str(pid)))
        except OSError as error:
            if sys.stderr is not None:
                print(f"deferrous: the trace cannot be written: {error}", file=sys.stderr)

    atexit.register(write)
