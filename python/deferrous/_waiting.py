"""What a Deferred without a result waits for, in words.

The way is followed through Deferreds returned from callbacks, through coroutines and generators
down to the line at which they are suspended, through DeferredLists and races, to the Deferreds
that nobody has fired, and the locks and queues that they stand in line for.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from . import _deferrous
from ._reflect import safe_repr

__all__ = ["deferred_types", "describe", "name_of", "several_of", "task_of"]

#: What is shown of something long: this much of its start, and of its end.
_ENDS = 6
#: How many Deferreds of one list are shown, and how many lists within lists.
_BREADTH = 5
_DEPTH = 4

#: Where coroutines and generators keep their frame, and what they are suspended in.
_SUSPENDED = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))
#: Iterators of the interpreter's that stand between two of these, and do not say so.
_BETWEEN = ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper")


def deferred_types() -> tuple[type[Any], ...]:
    """Return our Deferred and, where Twisted's own is in use beside it, that too."""
    theirs = getattr(sys.modules.get("twisted.internet.defer"), "Deferred", None)
    if isinstance(theirs, type) and theirs is not _deferrous.Deferred:
        return (_deferrous.Deferred, theirs)
    return (_deferrous.Deferred,)


def name_of(obj: object) -> str:
    """Return a short text that tells an object from others."""
    if isinstance(obj, deferred_types()):
        return f"<{type(obj).__name__} at {id(obj):#x}>"
    return safe_repr(obj)


def describe(deferred: Any) -> str:
    """Say what a Deferred waits for: a line or more for each on the way, each after an arrow."""
    return "\n".join(_describe(deferred, set(), 0))


def _describe(deferred: Any, seen: set[int], depth: int) -> Iterator[str]:
    """Yield the lines for a Deferred and all that it waits for."""
    steps: list[Any] = []
    others: list[Any] = []
    current = deferred
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        steps.append(current)
        current, others = _waits_for(current)
    for step in _ends_of(steps):
        if isinstance(step, int):
            yield f"... {step:,} more ..."
        else:
            yield from _explain(step)
    if current is not None:
        yield f"-> {name_of(current)}: see above"
    if others and depth == _DEPTH:
        yield "   ..."
        return
    for other in others[:_BREADTH]:
        yield from (f"   {line}" for line in _describe(other, seen, depth + 1))
    if len(others) > _BREADTH:
        yield f"   ... {len(others) - _BREADTH:,} more ..."


def _ends_of(items: list[Any]) -> list[Any]:
    """Return the first and the last items, with the number of the others between them."""
    left_out = len(items) - 2 * _ENDS
    return items if left_out < 2 else [*items[:_ENDS], left_out, *items[-_ENDS:]]


def _is_pending(deferred: Any) -> bool:
    return not deferred.called or deferred.paused > 0 or deferred._chainedTo is not None


def _waits_for(deferred: Any) -> tuple[Any, list[Any]]:
    """Return the one Deferred that it waits for, if there is one, and the several, if several."""
    if deferred._chainedTo is not None:
        return deferred._chainedTo, []
    if deferred.called:
        return None, []
    several = several_of(deferred)
    if several is not None:
        return None, [each for each in several if _is_pending(each)]
    return task_of(deferred)[1], []


def several_of(deferred: Any) -> list[Any] | None:
    """Return the Deferreds that it was made of, or None."""
    gathered = getattr(deferred, "_deferredList", None)
    if gathered is not None:
        return [each for each in gathered if isinstance(each, deferred_types())]
    canceller = deferred._canceller
    if type(canceller) is _deferrous._Race:
        return [
            each
            for each in gc.get_referents(canceller)
            if isinstance(each, deferred_types()) and each is not deferred
        ]
    return None


def task_of(deferred: Any) -> tuple[Any, Any]:
    """Return the generator or coroutine that is to fire it, and the Deferred that this waits for.

    None where there is none. What runs the generator is the Deferred's canceller; it shows what
    it holds to nobody but the garbage collector.
    """
    canceller = deferred._canceller
    if type(canceller) is not _deferrous._Task:
        return None, None
    generator = waiting_on = None
    for each in gc.get_referents(canceller):
        if isinstance(each, deferred_types()) and each is not deferred:
            waiting_on = each
        elif generator is None and _frame_and_inner(each) is not None:
            generator = each
    return generator, waiting_on


def _frame_and_inner(obj: Any) -> tuple[FrameType | None, Any] | None:
    """Return where a coroutine or generator is, and what it awaits; None for anything else."""
    for frame, inner in _SUSPENDED:
        if hasattr(obj, frame) and hasattr(obj, inner):
            return getattr(obj, frame), getattr(obj, inner)
    return None


def _frames(generator: Any) -> list[FrameType]:
    """Return the frames of a generator and those that it is suspended in, the innermost last."""
    frames: list[FrameType] = []
    current = generator
    while current is not None:
        if type(current).__name__ in _BETWEEN:
            held = gc.get_referents(current)
            current = next((each for each in held if _frame_and_inner(each) is not None), None)
        found = _frame_and_inner(current)
        if found is None:
            break
        frame, current = found
        if frame is not None:
            frames.append(frame)
    return frames


def _explain(deferred: Any) -> Iterator[str]:
    """Yield the lines that say why one Deferred has no result."""
    name = f"-> {name_of(deferred)}"
    if deferred._chainedTo is not None:
        yield f"{name} waits for a Deferred that one of its callbacks returned"
        return
    if deferred.called:
        yield f"{name} {'is paused' if deferred.paused > 0 else 'is running its callbacks'}"
        return
    several = several_of(deferred)
    if several is not None:
        missing = sum(map(_is_pending, several))
        yield f"{name} waits for {missing:,} of {len(several):,} Deferreds"
        return
    generator, _ = task_of(deferred)
    if generator is not None:
        yield f"{name} waits for {_kind(generator)}, which is suspended at"
        for frame in _ends_of(_frames(generator)):
            if isinstance(frame, int):
                yield f"     ... {frame:,} more ..."
            else:
                yield from _source(frame)
        return
    canceller = deferred._canceller
    if isinstance(canceller, (_deferrous._ConcurrencyPrimitive, _deferrous.DeferredQueue)):
        yield f"{name} stands in line at {safe_repr(canceller)}"
        return
    yield f"{name} has not been fired"
    creator = getattr(getattr(deferred, "_debugInfo", None), "creator", None)
    if creator:
        yield "   It was created at"
        yield from (f"   {line}" for line in creator[-1].rstrip().split("\n"))


def _kind(generator: Any) -> str:
    kind = "coroutine" if hasattr(generator, "cr_frame") else "generator"
    return f"{kind} {getattr(generator, '__qualname__', safe_repr(generator))}"


def _source(frame: FrameType) -> Iterator[str]:
    """Yield the lines that show where a frame is, as tracebacks do."""
    summary = traceback.StackSummary.extract([(frame, frame.f_lineno)])
    for line in "".join(summary.format()).rstrip().split("\n"):
        yield f"   {line}"
