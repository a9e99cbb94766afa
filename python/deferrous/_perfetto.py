"""The events of a trace as a file for Perfetto."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from ._trace_names import (
    BEGINS,
    CANCELLED,
    CHAINED,
    ENDS,
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
    code_of,
)
from ._tracking import made_at, name_of_place

if TYPE_CHECKING:
    from ._trace import Trace


def microseconds(nanoseconds: int) -> float:
    """Convert to microseconds, the unit of the format.

    A reader that converts back to nanoseconds by truncating, as Perfetto used to do, would get one
    less for a number that is slightly too small, and slices would overlap.
    """
    time = nanoseconds / 1000
    return time if int(time * 1000) >= nanoseconds else math.nextafter(time, math.inf)


class Perfetto:
    """Builds the events of a file for Perfetto. Times are in nanoseconds until they are written."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._names = Names()
        self._pid = os.getpid()
        self._out: list[dict[str, Any]] = []
        #: For each thread, the open slices: a key, the event, and its start.
        self._open: dict[int, list[tuple[object, dict[str, Any], int]]] = {}
        #: The open asynchronous slices, by id.
        self._async: dict[str, dict[str, Any]] = {}
        #: The number of the Deferred that a run waits for.
        self._waits: dict[int, int] = {}
        #: Where each Deferred was fired: a time and a thread.
        self._fired: dict[int, tuple[int, int]] = {}
        #: The Deferreds whose first callback has been called.
        self._called: set[int] = set()
        #: For each thread, the slice that ends with its next event.
        self._short: dict[int, tuple[dict[str, Any], int]] = {}
        self._flows = 0
        #: The time of the latest event.
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
        at = microseconds(time)
        event = {"ph": phase, "name": name, "ts": at, "pid": self._pid, "tid": strand, **more}
        self._out.append(event)
        return event

    @staticmethod
    def _where(place: int) -> dict[str, Any]:
        found = made_at(place)
        return {} if found is None else {"at": str(found)}

    def _begin(self, key: object, name: str, time: int, strand: int, **args: Any) -> None:
        event = self._event("X", name, time, strand, dur=0.0, args=args)
        self._open.setdefault(strand, []).append((key, event, time))

    def _end(self, key: object, time: int, strand: int, **args: Any) -> None:
        opened = self._open.get(strand, [])
        if not any(each == key for each, _, _ in opened):
            # Its start is lost.
            return
        while opened:
            each, event, begin = opened.pop()
            self._finish(event, begin, time)
            if each == key:
                event["args"].update(args)
                break

    @staticmethod
    def _finish(event: dict[str, Any], begin: int, end: int) -> None:
        event["dur"] = microseconds(end - begin)

    def _end_short(self, strand: int, time: int) -> None:
        short = self._short.pop(strand, None)
        if short is not None:
            self._finish(*short, time)

    def _async_begin(
        self, category: str, number: int, title: str, time: int, strand: int, **args: Any
    ) -> None:
        key = f"{category[0]}{number}"
        # The id is that of this process. Similar slices have the same name, and are shown together.
        more = {"cat": category, "id2": {"local": key}, "args": args}
        self._async[key] = self._event("b", title, time, strand, **more)

    def _async_end(self, key: str, time: int, strand: int, **args: Any) -> None:
        begun = self._async.pop(key, None)
        if begun is not None:
            more = {"cat": begun["cat"], "id2": begun["id2"], "args": args}
            self._event("e", begun["name"], time, strand, **more)

    def _deferred(self, address: int, strand: int) -> tuple[int, str]:
        """Return the number and the name of a Deferred, which may be older than the trace."""
        before = self._names._count
        number = self._names.number(address)
        name = f"Deferred {number}"
        if number > before:
            self._async_begin("deferred", number, "Deferred", 0, strand, name=name, before=True)
        return number, name

    def _flow(self, deferred: int, time: int, strand: int) -> None:
        fired = self._fired.get(deferred)
        if fired is not None:
            self._flows += 1
            more = {"cat": "fires", "id": self._flows}
            self._event("s", "fires", fired[0], fired[1], **more)
            self._event("f", "fires", time, strand, bp="e", **more)

    def _add(self, at: int, kind: int, strand: int, subject: int, other: int, detail: int) -> None:
        # Later than all before, so that no slice is empty and no arrow points back.
        self._last = time = max(at - self._trace._began_at, self._last + 1)
        self._end_short(strand, time)
        if kind in OF_RUNS:
            self._add_run(kind, time, strand, subject, other, detail)
            return
        if kind == MADE:
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
        if kind == FIRED:
            args = {"with": OUTCOMES[detail]}
            event = self._event("X", f"fire {name}", time, strand, dur=0.0, args=args)
            self._short[strand] = event, time
            self._fired[number] = (time, strand)
            self._called.discard(number)
            self._async_end(key, time, strand, fired=OUTCOMES[detail])
        elif kind == BEGINS:
            shown = name_of_place(detail) or "callback"
            self._begin((BEGINS, number), shown, time, strand, of=name, **self._where(detail))
            if number not in self._called:
                self._called.add(number)
                self._flow(number, time, strand)
        elif kind == ENDS:
            self._end((BEGINS, number), time, strand, result=OUTCOMES[detail % 8])
        else:
            words = {
                CANCELLED: "cancel",
                HANDLED: "handled",
                UNHANDLED: "unhandled",
                CHAINED: "chained",
            }
            args = {"to": self._names.deferred(other)} if other else {}
            self._event("i", f"{words[kind]} {name}", time, strand, s="t", args=args)

    def _add_run(
        self, kind: int, time: int, strand: int, subject: int, other: int, detail: int
    ) -> None:
        known = subject in self._names._runs
        name = self._names.run(subject, code_of(kind, detail))
        key = f"g{subject}"
        alike = name.rpartition(" ")[0]
        if kind == STARTED:
            args = {"name": name, **self._where(detail)}
            self._async_begin("generator", subject, alike, time, strand, **args)
        elif not known:
            self._async_begin("generator", subject, alike, 0, strand, name=name, before=True)
        if kind in (STARTED, RESUMED):
            more = {"fires": self._names.deferred(other)} if other else {}
            self._begin((RESUMED, subject), name, time, strand, **more)
            if kind == RESUMED:
                self._flow(self._waits.pop(subject, 0), time, strand)
        elif kind == SUSPENDED:
            on = {}
            if other:
                number, waited = self._deferred(other, strand)
                self._waits[subject] = number
                on = {"waits for": waited}
            self._end((RESUMED, subject), time, strand, **on)
        else:
            result = "an exception" if detail else "a result"
            self._end((RESUMED, subject), time, strand, result=result)
            self._async_end(key, time, strand, result=result)
