"""All Deferreds that have no result, grouped by what they wait for and where."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

from . import _deferrous
from ._graph_entries import FrameCallGraphEntry, callback_entry
from ._graph_objects import class_name, is_deferred, is_generator
from ._graph_ways import frames_of, kind_of_frame, line_of

__all__ = ["PendingDeferreds", "pending"]

#: So many groups are in the text.
_GROUPS = 30


class PendingDeferreds:
    """How many Deferreds wait, for what and where, at one moment. It keeps none of them alive.

    What is left after `later - earlier` has come since.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    @property
    def groups(self) -> list[tuple[int, str]]:
        """How many wait in the same way, and how that is: the most first."""
        return sorted(((count, text) for text, count in self._counts.items()), reverse=True)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __sub__(self, earlier: PendingDeferreds) -> PendingDeferreds:
        more = {
            text: count - earlier._counts.get(text, 0)
            for text, count in self._counts.items()
            if count > earlier._counts.get(text, 0)
        }
        return PendingDeferreds(more)

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

    def to_dict(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return {
            "count": len(self),
            "groups": [{"count": count, "waits": text} for count, text in self.groups],
        }


def pending() -> PendingDeferreds:
    """Return how many Deferreds wait at this moment, for what and where.

    They are found among all objects of the process, so nothing has to be turned on before, and it
    takes some time in a large process. Nothing is changed, and nobody's code is run.

    ```python
    from deferrous import Deferred, pending

    before = pending()
    waiting = [Deferred() for _ in range(1000)]
    print(pending() - before)
    ```
    """
    counts: dict[str, int] = {}
    # Of each class, by its address, whether its objects are Deferreds. The classes stay as long
    # as the objects, which are in this list.
    known: dict[int, bool] = {}
    objects = gc.get_objects()
    for each in objects:
        cls = id(type(each))
        wanted = known.get(cls)
        if wanted is None:
            wanted = known[cls] = is_deferred(each)
        if wanted:
            text = _why(each)
            if text is not None:
                counts[text] = counts.get(text, 0) + 1
    return PendingDeferreds(counts)


def _why(deferred: Any) -> str | None:
    """Say for what a Deferred waits and where, in the same words for all that do so alike."""
    state = _deferrous._state_of(deferred, 1)
    _, _, called, paused, running, chained_to, canceller, links, _, _ = state
    name = class_name(deferred)
    if chained_to is not None:
        return f"{name}: waits for a Deferred that one of its callbacks returned"
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
    line = line_of(canceller, deferred)
    if line is not None:
        return f"{name}: stands in line at {line[0].partition(' at ')[0]}>"
    for kind, one, other in links:
        if kind == "call":
            callback = callback_entry("", other if one is None else one)
            where = f', file "{callback.file}", line {callback.line}' if callback.file else ""
            return f"{name}: has not been fired; its next callback is {callback.name}{where}"
    return f"{name}: has not been fired"
