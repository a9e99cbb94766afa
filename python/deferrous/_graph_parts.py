"""What Deferreds of `deferrous.concurrency` wait for: tasks of a group, a lock, a clock."""

from __future__ import annotations

import gc
import itertools
import re
import sys
from collections.abc import Iterator
from types import MethodType
from typing import Any

from . import _deferrous
from ._graph_blocks import owner_of_group
from ._graph_objects import (
    LINKS,
    MRO_OF_CLASS,
    NAME_OF_CLASS,
    STEPS,
    class_name,
    dict_of,
    is_a,
    is_deferred,
    is_node,
    of_package,
    one_of,
    slot_of,
    text_of,
)

__all__ = ["is_our", "kind_of_line", "line_of", "observers_of", "parts_of", "without_addresses"]


def _named(owner: Any) -> str:
    return f"<{class_name(owner)} at {id(owner):#x}>"


def is_our(obj: object, module: str, name: str) -> bool:
    """Return whether an object is an instance of a class of this package, ignoring `__class__`."""
    cls = getattr(sys.modules.get(f"deferrous.{module}"), name, None)
    return isinstance(cls, type) and is_a(obj, cls)


def _owner_of(canceller: Any) -> Any:
    """Return the owner of a canceller, if that can be found."""
    parts = _deferrous._parts_of(canceller)
    if parts is not None and parts[0] == "place":
        if parts[2] is not None:
            return parts[2]
        return parts[3] if _is_of_ours(parts[3]) else canceller
    return canceller.__self__ if type(canceller) is MethodType else canceller


def _is_of_ours(obj: object) -> bool:
    """Return whether an object's class is one of this package's, or derives from one."""
    return any(of_package(each) for each in MRO_OF_CLASS(type(obj)))


def _lines_of(canceller: Any) -> tuple[Any, list[Any], str]:
    """Return the lock or queue that a Deferred may be in line for, its lines, and its state."""
    owner = _owner_of(canceller)
    parts = _deferrous._parts_of(owner)
    if parts is not None and parts[0] in ("lock", "semaphore", "queue"):
        if parts[0] == "lock":
            held = " (it is locked)" if parts[2] else " (it is not locked)"
        elif parts[0] == "semaphore":
            held = f" ({parts[2]:,} of {parts[3]:,} tokens are left)"
        else:
            held = f" (it holds {parts[2]:,})"
        return owner, [parts[1]], held
    of_place = _deferrous._parts_of(canceller)
    if of_place is not None and of_place[0] == "place":
        return owner, [of_place[1]], _how_it_is(owner, of_place[3])
    if _is_of_ours(owner):
        return owner, list(_attributes(owner)), ""
    return owner, [], ""


def _how_it_is(lock: Any, wanted: Any) -> str:
    """Describe the state of a lock of `deferrous.concurrency`, and what somebody wants of it."""
    if is_our(lock, "concurrency.locks", "KeyedLock"):
        return f" (for the key {text_of(wanted)})"
    value, size = slot_of(lock, "_value"), slot_of(lock, "_size")
    if type(value) is not int or type(size) is not int or type(wanted) is not int:
        return ""
    if is_our(lock, "concurrency.locks", "ReadWriteLock"):
        return " (somebody writes)" if value == 0 else f" ({size - value:,} read)"
    if is_our(lock, "concurrency.locks", "Semaphore"):
        return f" ({value:,} of {size:,} are left, it wants {wanted:,})"
    return ""


def line_of(canceller: Any, deferred: Any) -> tuple[str, int, int, str] | None:
    """Return what a Deferred is in line for, its position, the line's length, and the state."""
    owner, lines, held = _lines_of(canceller)
    for line in itertools.islice(_within(lines), STEPS):
        if type(line) is _deferrous._Fifo or type(line) is list:
            place, count = _place_in(line, deferred)
            if place is not None:
                if type(owner) is _deferrous._Place:
                    owner = _who_has(line)
                name = "a line that nobody else has" if owner is None else _named(owner)
                return name, place, count, held
    return None


def _place_in(line: Any, deferred: Any) -> tuple[int | None, int]:
    """Return the position of a Deferred in a line, and the length of the line."""
    if type(line) is not list:
        return _deferrous._place_in(line, deferred)
    # A program has put it there, and it has not been used yet.
    return next((at for at, each in enumerate(line) if each is deferred), None), len(line)


def _who_has(line: Any) -> Any:
    """Return the owner of a line whose places do not know it."""
    for each in gc.get_referrers(line):
        if _is_of_ours(each) and type(each) is not _deferrous._Place:
            return each
        for other in gc.get_referrers(each) if type(each) is dict else ():
            if _is_of_ours(other) and dict_of(other) is each:
                return other
    return None


def kind_of_line(canceller: Any) -> str | None:
    """Return the class of the object that a Deferred is in line for, or "a line".

    This does not look for the place: that takes longer, the longer the line is.
    """
    owner, lines, _ = _lines_of(canceller)
    for line in itertools.islice(_within(lines), STEPS):
        if type(line) is _deferrous._Fifo:
            return "a line" if type(owner) is _deferrous._Place else f"<{class_name(owner)}>"
    return None


def _attributes(obj: Any) -> Iterator[Any]:
    """Yield the values of an object's own attributes, and of the slots of classes of ours."""
    yield from list(dict_of(obj).values())
    for base in MRO_OF_CLASS(type(obj)):
        if of_package(base):
            slots = base.__dict__.get("__slots__", ())
            for name in slots if type(slots) is tuple else ():
                if name != "__weakref__":
                    yield slot_of(obj, name)


def _within(objects: list[Any], depth: int = 0) -> Iterator[Any]:
    """Yield objects, and the contents of plain containers among them."""
    for each in objects:
        yield each
        if depth < 3 and one_of(type(each), (dict, list, tuple)):
            # Copied in one step, so that no other thread can change it meanwhile.
            inner = list(each.values()) if type(each) is dict else list(each)
            yield from _within(inner, depth + 1)


def parts_of(deferred: Any, canceller: Any) -> tuple[str, list[tuple[Any, str]], bool] | None:
    """Describe what a Deferred waits for that is not in a line.

    Returns a text, the others that it waits for and how, and whether one of them may be enough.
    """
    owner = dict_of(deferred).get("_part_of")
    if owner is None:
        owner = _owner_of(canceller)
    if is_deferred(owner):
        return "waits for another, but is not cancelled with it", [(owner, "shields")], False
    if is_our(owner, "concurrency.groups", "TaskGroup"):
        tasks = _keys(slot_of(owner, "_tasks"))
        detail = f"waits for {len(tasks):,} {_noun(tasks, 'task')} of {_named(owner)}"
        # A failure ends the group.
        return detail, [(each, "task") for each in tasks], True
    if is_our(owner, "concurrency.many", "_Wait"):
        done = {id(each) for each in list(slot_of(owner, "done") or ())}
        all_of = _keys(slot_of(owner, "deferreds"))
        missing = [each for each in all_of if id(each) not in done]
        detail = f"waits for {len(missing):,} that are missing of {len(all_of):,}"
        return detail, [(each, "member") for each in missing], not _is_for_all(owner)
    if is_our(owner, "concurrency.sharing", "Observable"):
        observed = slot_of(owner, "_deferred")
        ways = [(observed, "observes")] if is_node(observed) else []
        return f"observes {_named(owner)}", ways, False
    if is_our(owner, "concurrency.many", "AsCompleted"):
        missing = _keys(slot_of(owner, "_missing"))
        return f"waits for one of {len(missing):,}", [(each, "member") for each in missing], True
    if is_our(owner, "concurrency.mapping", "_Feed"):
        return _calls_of(owner)
    file = _lock_file_of(canceller)
    if file is not None:
        return file, [], False
    if of_package(type(owner)) and NAME_OF_CLASS(type(owner)) == "_Sleeping":
        return "sleeps, until a clock wakes it", [], False
    return None


def _is_for_all(wait: Any) -> bool:
    when = slot_of(wait, "return_when")
    return type(when) is str and when == "ALL_COMPLETED"


def _calls_of(feed: Any) -> tuple[str, list[tuple[Any, str]], bool]:
    """Return which calls, and which items, a `map` or `stream` waits for."""
    running = slot_of(feed, "_running")
    # Copied in one step, so that no other thread can change it meanwhile.
    calls = list(running.values()) if type(running) is dict else []
    found = [(each, "call") for each in calls if is_node(each)]
    detail = f"waits for {len(found):,} {_noun(found, 'call')}"
    for name, label in (("_fetching", "next item"), ("_closing", "end of the items")):
        each = slot_of(feed, name)
        if is_node(each):
            detail += f", and for the {label}"
            found.append((each, label))
    # A failure ends it.
    return detail, found, True


def _lock_file_of(canceller: Any) -> str | None:
    """Return the name of the lock file that a Deferred waits for."""
    # The canceller is a method of the object that makes the attempts.
    attempts = canceller.__self__ if type(canceller) is MethodType else None
    if not is_our(attempts, "_lockfile", "_Attempts"):
        return None
    return f"waits for the lock file {text_of(slot_of(slot_of(attempts, 'lock'), 'name'))}"


def _keys(found: Any) -> list[Any]:
    return [each for each in list(found) if is_node(each)] if type(found) is dict else []


def _noun(found: list[Any], noun: str) -> str:
    return noun if len(found) == 1 else f"{noun}s"


def observers_of(owner: Any) -> Iterator[Any]:
    """Yield the Deferreds that wait for what a callback of ours is told."""
    if is_our(owner, "concurrency.watching", "_Watch"):
        for each in list(slot_of(owner, "_watching") or ())[:LINKS]:
            if type(each) is MethodType and not is_our(
                each.__self__, "concurrency.watching", "_Watch"
            ):
                yield from observers_of(each.__self__)
        return
    if is_our(owner, "concurrency.groups", "TaskGroup"):
        ended = slot_of(owner, "_ended")
        if not is_node(ended):
            # The task that is in the block will have to wait for it.
            ended = owner_of_group(owner)
            parts = _deferrous._parts_of(ended)
            ended = ended if parts is None else parts[2]
    elif is_our(owner, "concurrency.many", "_Wait"):
        ended = slot_of(owner, "deferred")
    elif is_our(owner, "concurrency.mapping", "_Map"):
        ended = slot_of(owner, "_deferred")
    else:
        if is_our(owner, "concurrency.streams", "Stream"):
            yield from _in(slot_of(owner, "_getting"))
        elif is_our(owner, "concurrency.many", "AsCompleted"):
            yield from _in(slot_of(owner, "_waiting"))
        if is_our(owner, "concurrency.sharing", "Observable"):
            yield from _keys(slot_of(owner, "_observers"))
        return
    if is_node(ended):
        yield ended


def _in(line: Any) -> list[Any]:
    """Return the members of a line. Iterating over it would make a copy."""
    if type(line) is not _deferrous._Fifo:
        return []
    return [each for each in gc.get_referents(line) if is_node(each)][:LINKS]


def without_addresses(text: str) -> str:
    """Return a text without the addresses of objects and the numbers in front of them."""
    return re.sub(r" at 0x[0-9a-f]+|\(.*\)|(?<= )[0-9,]+ ", "", text).strip()
