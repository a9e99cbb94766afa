"""Records what happens to Deferreds, as text and as a file for Perfetto."""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

from . import _deferrous
from ._perfetto import Perfetto
from ._trace_names import (
    BEGINS,
    CANCELLED,
    CHAINED,
    ENDS,
    FAILURE,
    FIRED,
    HANDLED,
    MADE,
    OF_RUNS,
    OUTCOMES,
    RESUMED,
    STARTED,
    SUSPENDED,
    UNHANDLED,
    Names,
    Raw,
    code_of,
    with_outcome,
)
from ._tracking import PACKAGE, made_at, name_of_place

__all__ = ["Trace", "TraceEvent", "trace"]

#: Names a file to which the events of the whole process are written.
ENVIRONMENT_VARIABLE = "DEFERROUS_TRACE"

#: The default number of events to keep. Older ones are dropped.
_CAPACITY = 100_000

#: The default number of lines in a text.
_LINES = 1_000


class TraceEvent:
    """Something that happened to a Deferred, or to a generator or coroutine.

    Its `kind` is one of `made`, `fired`, `failed`, `callback`, `callback ended`, `chained`,
    `started`, `resumed`, `suspended`, `ended`, `cancelled`, `handled`, `unhandled`.
    """

    __slots__ = ("detail", "kind", "other", "place", "strand", "subject", "time")

    def __init__(
        self, time: float, kind: str, subject: str, detail: str, other: str, place: int, strand: str
    ) -> None:
        #: Seconds since the trace began.
        self.time = time
        self.kind = kind
        #: The name of the subject. Names are numbered in order of appearance.
        self.subject = subject
        #: More about it, in words.
        self.detail = detail
        #: The name of the other object involved, or "".
        self.other = other
        self.place = place
        #: The thread, and the greenlet unless it is the thread's main one.
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


class Trace:
    """The result of `trace`: the events so far or, after the `with`, those within it."""

    def __init__(self, capacity: int, file: str | os.PathLike[str] | None) -> None:
        self._capacity = capacity
        self._file = file
        self._begin = self._began_at = 0
        self._running = False
        self._raw: list[Raw] = []
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
        """Fetch the new events, while they are recorded."""
        if not self._running:
            return
        raw, lost = _deferrous._trace_since(self._begin)
        # The ring may be larger, if another user needs more.
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
        """How many events were lost, because there were more than the capacity."""
        self._look()
        return self._lost

    @property
    def events(self) -> list[TraceEvent]:
        """The events, oldest first."""
        self._look()
        return list(self._shown(Names()))

    def _shown(self, names: Names) -> Iterator[TraceEvent]:
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

            if number == MADE:
                number = names.made(subject)
                by = names.run(other) if other else ""
                yield event("made", f"Deferred {number}", "by" if by else "", by, detail)
                continue
            if number in OF_RUNS:
                name = names.run(subject, code_of(number, detail))
                if number == STARTED:
                    yield event("started", name, place=detail)
                elif number == RESUMED:
                    yield event("resumed", name, f"with {OUTCOMES[detail % 8]}")
                elif number == SUSPENDED:
                    on = names.deferred(other)
                    yield event("suspended", name, "waits for" if on else "", on)
                else:
                    yield event("ended", name, "by an exception" if detail else "")
                continue
            name = names.deferred(subject) or "a Deferred"
            if number == FIRED:
                if detail == FAILURE:
                    yield event("failed", name)
                else:
                    yield event("fired", name, with_outcome(detail))
            elif number == BEGINS:
                yield event("callback", name, name_of_place(detail), place=detail)
            elif number == ENDS:
                before, after = divmod(detail, 8)
                yield event("callback ended", name, with_outcome(after))
                if after == FAILURE and before != FAILURE:
                    yield event("failed", name)
                elif before == FAILURE and after != FAILURE:
                    yield event("handled", name)
            elif number == CHAINED:
                yield event("chained", name, "waits for", names.deferred(other))
            elif number == CANCELLED:
                yield event("cancelled", name)
            elif number == HANDLED:
                yield event("handled", name, "by whoever waited for it")
            elif number == UNHANDLED:
                yield event("unhandled", name)

    def timeline(self, *, limit: int | None = _LINES) -> str:
        """Return the events as text, one line for each.

        Arguments:

        - `limit`: the most lines; events in the middle are left out. None for all.
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

        Deferreds and generators are asynchronous slices, from creation to end. Callbacks, and
        generators between two waits, are slices of their threads. Arrows point from where a
        Deferred is fired to what runs because of it.
        """
        self._look()
        return Perfetto(self).result()

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


def trace(*, capacity: int = _CAPACITY, file: str | os.PathLike[str] | None = None) -> Trace:
    """Record what happens to Deferreds, generators and coroutines within a `with` block.

    There are events when a Deferred is made, fired or cancelled, when a callback starts or ends,
    when a generator or coroutine is suspended or resumed, and when a failure is handled, or is not.
    Each has a time. An event consists of a few numbers, and names are looked up when they are
    shown. So no code of the program is run, and only code objects are kept alive.

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

    - `capacity`: how many of the latest events are kept. Each takes 32 bytes.
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
    """Record events until the process ends, if the environment variable is set."""
    file = os.environ.get(ENVIRONMENT_VARIABLE)
    if not file or sys.flags.ignore_environment:
        return
    pid = os.getpid()
    whole = Trace(_CAPACITY, None)
    whole._start()

    def write() -> None:
        if os.getpid() != pid:
            # A forked process. The file is its parent's.
            return
        try:
            whole._stop()
            whole.write(file.replace("{pid}", str(pid)))
        except OSError as error:
            if sys.stderr is not None:
                print(f"deferrous: the trace cannot be written: {error}", file=sys.stderr)

    atexit.register(write)
