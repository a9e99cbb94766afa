"""Lists all Deferreds without a result: what they wait for, since when, and where made."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterable, Iterator
from types import (
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any

from . import _deferrous, _tracking
from ._environment import setting_of
from ._graph_entries import FrameCallGraphEntry, callback_entry
from ._graph_objects import class_name, dict_of, is_deferred, is_generator, objects_of
from ._graph_parts import kind_of_line, parts_of, without_addresses
from ._graph_state import is_chained, waits_chained
from ._graph_ways import frames_of, kind_of_frame
from ._tracking import MadeAt

__all__ = ["PendingDeferred", "PendingDeferreds", "Tracking", "pending", "track"]

#: The most groups in the text.
_GROUPS = 30

#: Turns tracking on when the package is imported.
ENVIRONMENT_VARIABLE = "DEFERROUS_TRACK"

#: Whether to print what waits at exit, and whether the function for that is registered.
_at_exit = [False, False]


class PendingDeferred:
    """A Deferred that was waiting at the time of the snapshot. This does not keep it alive.

    Without `track()`, its age and the place where it was made are not known.
    """

    __slots__ = ("_address", "_code", "_number", "_place", "_run", "age", "name", "waits")

    def __init__(self, deferred: Any, waits: str) -> None:
        #: A short text that identifies it.
        self.name = f"<{class_name(deferred)} at {id(deferred):#x}>"
        #: What it waits for and where: the same text for all that wait alike.
        self.waits = waits
        #: Its age in seconds. None if it existed before tracking.
        self.age: float | None = None
        self._address = id(deferred)
        self._number = self._place = self._run = self._code = 0

    @property
    def deferred(self) -> Any:
        """The Deferred itself. None if it has been freed, or is not tracked."""
        return _deferrous._tracked_at(self._address, self._number) if self._number else None

    @property
    def made(self) -> MadeAt | None:
        """The line at which it was made, outside of this package, if known."""
        return _tracking.made_at(self._place)

    @property
    def made_by(self) -> MadeAt | None:
        """The generator or coroutine that made it, if any.

        One that asyncio drives is known only if it made the Deferred itself, not in a function that
        it called.
        """
        return _tracking.made_by(self._place, self._code)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __str__(self) -> str:
        parts = [f"{self.name} {self.waits.partition(': ')[2]}"]
        if self.age is not None:
            parts.append(f"for {_duration(self.age)}")
        for what, place in (("made at", self.made), ("made by", self.made_by)):
            if place is not None:
                parts.append(f"{what} {place}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the same as a dict, for JSON."""
        made, made_by = self.made, self.made_by
        return {
            "name": self.name,
            "waits": self.waits,
            "age": self.age,
            "made": None if made is None else made.to_dict(),
            "made_by": None if made_by is None else made_by.to_dict(),
        }


def _duration(seconds: float) -> str:
    """Format a duration."""
    for limit, unit, size in ((1.0, "ms", 0.001), (120.0, "s", 1.0), (7200.0, "min", 60.0)):
        if seconds < limit:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds / 3600:,.1f} h"


class PendingDeferreds:
    """A snapshot: how many Deferreds wait, for what and where. It keeps none of them alive.

    `later - earlier` is the difference. If `track()` was on between the two, it contains exactly
    the Deferreds that were made since and still wait; otherwise, the counts of each group are
    compared.
    """

    __slots__ = ("_counts", "_deferreds", "_missed")

    def __init__(
        self, counts: dict[str, int], deferreds: list[PendingDeferred] | None, missed: int = 0
    ) -> None:
        self._counts = counts
        self._deferreds = deferreds
        self._missed = missed

    @property
    def groups(self) -> list[tuple[int, str]]:
        """The size of each group, and what its Deferreds wait for: the largest group first."""
        return sorted(((count, text) for text, count in self._counts.items()), reverse=True)

    @property
    def deferreds(self) -> list[PendingDeferred]:
        """The Deferreds, oldest first. Empty without `track()`."""
        return list(self._deferreds or ())

    @property
    def places(self) -> list[tuple[int, MadeAt | None, float | None]]:
        """For each line at which some were made: how many, the place, and the age of the oldest.

        The line with the most comes first. Empty without `track()`.
        """
        counts: dict[MadeAt | None, list[Any]] = {}
        known: dict[int, MadeAt | None] = {}
        for each in self._deferreds or ():
            if each._place not in known:
                known[each._place] = each.made
            # The first is the oldest.
            counts.setdefault(known[each._place], [0, each.age])[0] += 1
        found = [(count, place, age) for place, (count, age) in counts.items()]
        found.sort(key=lambda it: (-it[0], str(it[1])))
        return found

    def parent_of(self, deferred: PendingDeferred) -> PendingDeferred | None:
        """Return the waiting Deferred whose generator or coroutine made this one."""
        if deferred._run:
            for each in self._deferreds or ():
                if _run_of(each) == deferred._run:
                    return each
        return None

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __sub__(self, earlier: PendingDeferreds) -> PendingDeferreds:
        if self._deferreds is not None and earlier._deferreds is not None:
            before = {each._number for each in earlier._deferreds}
            return _listed((it for it in self._deferreds if it._number not in before), self._missed)
        more = {
            text: count - earlier._counts.get(text, 0)
            for text, count in self._counts.items()
            if count > earlier._counts.get(text, 0)
        }
        return PendingDeferreds(more, None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self):,} in {len(self._counts):,} groups>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        groups = self.groups
        for count, text in groups[:_GROUPS]:
            yield f"{count:,} {text}"
        if len(groups) > _GROUPS:
            left = sum(count for count, _ in groups[_GROUPS:])
            yield f"... {left:,} more, in {len(groups) - _GROUPS:,} groups ..."
        if self._missed:
            yield f"There was no memory to note {self._missed:,} others."

    def to_dict(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return {
            "count": len(self),
            "groups": [{"count": count, "waits": text} for count, text in self.groups],
            "places": [
                {"count": count, "made": place and place.to_dict(), "oldest": age}
                for count, place, age in self.places
            ],
        }


def _run_of(pending: PendingDeferred) -> int:
    """Return the number of the generator that will fire a Deferred."""
    deferred = pending.deferred
    if deferred is None:
        return 0
    parts = _deferrous._parts_of(_deferrous._state_of(deferred, 0)[6])
    return _deferrous._run_of(parts[1]) if parts is not None and parts[0] == "task" else 0


def _listed(deferreds: Iterable[PendingDeferred], missed: int) -> PendingDeferreds:
    """Return a snapshot of some, grouped by what they wait for and where they were made."""
    listed = sorted(deferreds, key=lambda it: (it._number != 0 and it.age is not None, it._number))
    counts: dict[str, int] = {}
    texts: dict[tuple[str, int], str] = {}
    for each in listed:
        key = (each.waits, each._place)
        text = texts.get(key)
        if text is None:
            made = each.made
            text = texts[key] = each.waits if made is None else f"{each.waits}; made at {made}"
        counts[text] = counts.get(text, 0) + 1
    return PendingDeferreds(counts, listed, missed)


#: What has code of its own, but is a part of a function: comprehensions before CPython 3.12.
_LOOPS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


def pending(*, older_than: float | None = None, made_in: Any = None) -> PendingDeferreds:
    """Return a snapshot: how many Deferreds wait now, for what and where.

    They are found among all objects of the process, so nothing has to be turned on beforehand, but
    it takes some time in a large process. Nothing is changed, and no code of the program is run.
    With `track()`, no search is needed, and the snapshot also has the age of each Deferred and the
    line at which it was made.

    ```python
    from deferrous import Deferred, pending

    before = pending()
    waiting = [Deferred() for _ in range(1000)]
    print(pending() - before)
    ```

    Arguments:

    - `older_than`: only those that have been there for more seconds than that. Those that were
      there before `track()` count as old as that.
    - `made_in`: only those that were made there: a function, a module, or a text that is part of
      the name of a file, or the name of a function.

    Returns an object whose text has a line for each group. Its `groups` are numbers and texts, its
    `deferreds` say more of each, its `places` are the lines at which they were made, and
    `later - earlier` is what has come since.

    Errors:

    - RuntimeError: an argument was given, and `track()` has not been called.
    - TypeError: an argument is something else.
    """
    if older_than is not None and not isinstance(older_than, (int, float)):
        raise TypeError(f"older_than has to be a number of seconds, not {class_name(older_than)}")
    if not _deferrous._tracking():
        if older_than is not None or made_in is not None:
            raise RuntimeError("the ages of Deferreds, and where they were made, need track()")
        return PendingDeferreds(_counted(), None)
    place = None if made_in is None else _place_test(made_in)
    now, missed, tracked = _deferrous._tracked()
    wanted: dict[int, bool] = {}
    found = []
    for deferred, number, made, where, run, code in tracked:
        age = _tracking.age_of(now, made)
        if older_than is not None and (age if age is not None else now / 1e9) <= older_than:
            continue
        if place is not None:
            if where not in wanted:
                wanted[where] = place(_tracking.place_of(where))
            if not wanted[where]:
                continue
        text = _why(deferred)
        if text is not None:
            each = PendingDeferred(deferred, text)
            each.age = age
            each._number, each._place, each._run, each._code = number, where, run, code
            found.append(each)
    return _listed(found, missed)


def _counted() -> dict[str, int]:
    """Count all waiting Deferreds by what they wait for."""
    counts: dict[str, int] = {}
    for each in objects_of(is_deferred):
        text = _why(each)
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    return counts


def _place_test(made_in: object) -> Any:
    """Return a function that tests whether a code object and a line match."""
    if type(made_in) is MethodType:
        made_in = made_in.__func__
    if type(made_in) is FunctionType:
        # A decorated function refers to the original.
        for _ in range(100):
            inner = made_in.__dict__.get("__wrapped__")
            if type(inner) is not FunctionType:
                break
            made_in = inner
        made_in = made_in.__code__
    if type(made_in) is CodeType:
        # By identity: code objects of two files may be equal.
        wanted = {id(each): each for each in _with_loops(made_in)}
        return lambda place: place is not None and id(place[0]) in wanted
    if isinstance(made_in, ModuleType):
        file = made_in.__dict__.get("__file__")
        return lambda place: place is not None and place[0].co_filename == file
    if not isinstance(made_in, str):
        raise TypeError(
            f"made_in has to be a function, a module or a text, not {class_name(made_in)}"
        )
    text = str(made_in)

    def test(place: tuple[CodeType, int] | None) -> bool:
        if place is None:
            return False
        code = place[0]
        whole = getattr(code, "co_qualname", code.co_name)
        names = [whole, code.co_name]
        while names[-1] in _LOOPS and "." in whole:
            whole = whole.rpartition(".<locals>.")[0]
            names += [whole, whole.rpartition(".")[2]]
        return text in names or text in code.co_filename

    return test


def _with_loops(code: CodeType) -> Iterator[CodeType]:
    """Return the code of a function, and of the comprehensions in it."""
    yield code
    for each in code.co_consts:
        if type(each) is CodeType and each.co_name in _LOOPS:
            yield from _with_loops(each)


def _why(deferred: Any) -> str | None:
    """Describe what a Deferred waits for and where: the same text for all that wait alike."""
    state = _deferrous._state_of(deferred, 1)
    _, _, called, paused, running, _, canceller, links, _, _ = state
    name = class_name(deferred)
    if is_chained(state):
        return f"{name}: {waits_chained(called)}"
    if called:
        return f"{name}: is paused" if paused and not running else None
    if (
        _deferrous._members_of(deferred, 0) is not None
        or _deferrous._members_of(canceller, 0) is not None
    ):
        return f"{name}: waits for members that are missing"
    parts = _deferrous._parts_of(canceller)
    if parts is not None and parts[0] == "task":
        frames = frames_of(parts[1], None)[0] if is_generator(parts[1]) else []
        if not frames:
            return f"{name}: waits for a generator or coroutine"
        entry = FrameCallGraphEntry(frames[-1][0])
        kind = kind_of_frame(frames[-1][0])
        where = f'File "{entry.file}", line {entry.line}, in {entry.function}'
        return f"{name}: waits for {kind or 'a function'}, {where}"
    ours = parts_of(deferred, canceller)
    if ours is not None and dict_of(deferred).get("_part_of") is not None:
        return f"{name}: {without_addresses(ours[0])}"
    line = kind_of_line(canceller)
    if line is not None:
        return f"{name}: stands in line at {line}"
    if ours is not None:
        return f"{name}: {without_addresses(ours[0])}"
    for kind, one, other in links:
        if kind == "call":
            callback = callback_entry("", other if one is None else one)
            where = f', file "{callback.file}", line {callback.line}' if callback.file else ""
            return f"{name}: has not been fired; its next callback is {callback.name}{where}"
    return f"{name}: has not been fired"


class Tracking:
    """What `track` returns. As a context manager, it ends what it has begun."""

    __slots__ = ("_before",)

    def __init__(self, before: bool) -> None:
        self._before = before

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _turn(self._before)


def _turn(on: bool) -> None:
    if on == _deferrous._tracking():
        return
    _tracking.turn(on)
    if on:
        _deferrous._track_earlier(objects_of(is_deferred))


def track(on: bool = True, /, *, report_at_exit: bool = False) -> Tracking:
    """Remember of each Deferred when and where it is made, from now on.

    `pending()` then shows how old each one is and at which line it was made, and can select the old
    ones. The record of a Deferred is the code object and the line of the nearest frame of the
    program itself, and the generator or coroutine that was running. There is no stack, and no text
    until you ask for it. Only code objects are kept alive. Each living Deferred takes at most 55
    bytes more, and less time than making and firing it.

    ```python
    from deferrous import Deferred, pending, track


    def connect():
        return Deferred()


    with track():
        waiting = [connect() for _ in range(3)]
        for count, place, age in pending(made_in=connect).places:
            print(count, place.function)
    ```

    This prints `3 connect`.

    Arguments:

    - `on`: whether to track. `track(False)` forgets all records.
    - `report_at_exit`: whether to print what still waits to standard error when the process ends.

    Returns a context manager, which turns tracking off at its end, unless it was on before. You
    need not use it.

    The environment variable `DEFERROUS_TRACK=1` turns it on when deferrous is imported;
    `DEFERROUS_TRACK=exit` also prints what waits at the end.
    """
    before = _deferrous._tracking()
    _turn(bool(on))
    _at_exit[0] = bool(on) and (report_at_exit or (before and _at_exit[0]))
    if _at_exit[0] and not _at_exit[1]:
        _at_exit[1] = True
        atexit.register(_report_at_exit)
    return Tracking(before)


def heed_environment() -> None:
    """Turn it on if the environment says so."""
    setting = setting_of(ENVIRONMENT_VARIABLE)
    if setting:
        track(report_at_exit=setting == "exit")


def _report_at_exit() -> None:
    if not _at_exit[0] or not _deferrous._tracking():
        return
    found = pending()
    if found and sys.stderr is not None:
        kind = "Deferred waits" if len(found) == 1 else "Deferreds wait"
        print(f"deferrous: {len(found):,} {kind} at exit:\n{found}", file=sys.stderr)
