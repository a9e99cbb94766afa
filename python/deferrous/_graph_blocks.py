"""The blocks that a coroutine or generator is in: task groups and timeouts."""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Iterable, Iterator
from types import MethodType
from typing import Any

from . import _deferrous
from ._graph_objects import (
    BETWEEN,
    DICT_OF_CLASS,
    INNER,
    LINKS,
    MRO_OF_CLASS,
    PREFIXES,
    STEPS,
    class_name,
    future_classes,
    held_by,
    is_a,
    is_generator,
    is_node,
    of_future,
    slot_of,
)

__all__ = [
    "group_classes",
    "groups_by_task",
    "groups_of",
    "is_task_group",
    "owner_of_group",
    "timeouts_of",
]

#: The longest chain of coroutines, each awaiting the next, that is searched.
_DEEP = 200


def _class(module: str, name: str) -> type | None:
    """Return a class from a module, if the module has been imported."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def is_task_group(obj: object) -> bool:
    """Return whether an object is one of asyncio's task groups."""
    group = _class("asyncio.taskgroups", "TaskGroup")
    return group is not None and is_a(obj, group)


def _all_held_by(generator: Any) -> Iterator[Any]:
    """Yield the objects that a coroutine, and those that it waits for, refer to.

    These are their variables, and what `with` and `async with` keep for the end of the block.
    """
    for _ in range(_DEEP):
        if not is_generator(generator):
            if class_name(generator) not in BETWEEN:
                return
            generator = next(filter(is_generator, gc.get_referents(generator)), None)
            continue
        if getattr(generator, f"{PREFIXES[type(generator)]}_frame") is None:
            return
        for each in held_by(generator):
            # The method that ends a block refers to the block.
            yield each.__self__ if type(each) is MethodType else each
        generator = getattr(generator, INNER[type(generator)])


def _blocks(generator: Any, task: Any, classes: tuple[type | None, ...]) -> Iterator[Any]:
    """Yield the blocks of a class that a task has entered, the outermost first."""
    wanted = tuple(each for each in classes if each is not None)
    seen = set()
    for each in _all_held_by(generator) if wanted and task is not None else ():
        if id(each) not in seen and is_a(each, *wanted):
            seen.add(id(each))
            if slot_of(each, "_parent_task" if is_task_group(each) else "_task") is task:
                yield each


def group_classes() -> tuple[type, ...]:
    theirs = _class("asyncio.taskgroups", "TaskGroup")
    ours = _class("deferrous.concurrency.groups", "TaskGroup")
    return tuple(each for each in (theirs, ours) if each is not None)


def groups_by_task(every: list[Any]) -> dict[int, list[Any]]:
    """Return the groups among these objects, by the addresses of the tasks that began them.

    A group may be in an attribute or on an exit stack, and not in a variable of the coroutine.
    """
    classes = group_classes()
    found: dict[int, list[Any]] = {}
    for each in every:
        task = owner_of_group(each) if is_a(each, *classes) else None
        if task is not None:
            found.setdefault(id(task), []).append(each)
    return found


def owner_of_group(group: Any) -> Any:
    """Return the task that began a group and will have to wait for it, unless that has ended."""
    if is_task_group(group):
        task = slot_of(group, "_parent_task")
    else:
        task = slot_of(group, "_task")
        task = slot_of(group, "_opened_by") if task is None else task
    parts = _deferrous._parts_of(task)
    if task is None or _has_ended(task) or (parts is not None and parts[1] is None):
        return None
    return task


def groups_of(
    generator: Any, task: Any, more: Iterable[Any] = ()
) -> Iterator[tuple[Any, list[Any]]]:
    """Yield, for each group of tasks that a coroutine is in, two things.

    These are what the coroutine waits for at the group's end, if it is there, and the tasks that
    have not ended. `more` are groups that it began.
    """
    found = list(_blocks(generator, task, group_classes()))
    found += [each for each in more if all(each is not it for it in found)]
    for group in found:
        tasks = slot_of(group, "_tasks")
        # Copied in one step, so that no other thread can change it meanwhile.
        tasks = list(tasks)[:STEPS] if type(tasks) in (set, dict) else []
        end = slot_of(group, "_on_completed_fut" if is_task_group(group) else "_ended")
        yield end, [each for each in tasks if is_node(each) and not _has_ended(each)]


def _has_ended(task: Any) -> bool:
    return is_a(task, *future_classes()) and of_future(task, "_state") != "PENDING"


def timeouts_of(generator: Any, task: Any) -> list[str]:
    """Describe the timeouts that a coroutine is in, the outermost first."""
    theirs = _class("asyncio.timeouts", "Timeout")
    ours = _class("deferrous.concurrency.time", "Timeout")
    found: list[str] = []
    for each in _blocks(generator, task, (theirs, ours)):
        if len(found) == LINKS:
            break
        state, when = slot_of(each, "_state"), slot_of(each, "_when")
        # Their state is an enumeration member.
        state = state if type(state) is str else slot_of(state, "_name_")
        clock = slot_of(each, "_clock") if ours is not None and is_a(each, ours) else _loop_of(task)
        if state in ("active", "ENTERED"):
            found.append(_time_left(when, clock))
        elif state in ("expiring", "EXPIRING"):
            found.append("whose time is up")
    return found


def _loop_of(task: Any) -> Any:
    return of_future(task, "_loop") if is_a(task, *future_classes()) else None


def _time_left(when: Any, clock: Any) -> str:
    if type(when) not in (int, float):
        return "without an end"
    now = _now(clock)
    if now is None or not math.isfinite(when):
        return f"until {when:.1f} of its clock"
    return f"with {max(0.0, when - now):.1f} s left"


def _now(clock: Any) -> float | None:
    """Return the time of a clock, without running its code: for the usual loops and reactors."""
    for module, base, name, read in (
        ("asyncio.base_events", "BaseEventLoop", "time", time.monotonic),
        ("twisted.internet.base", "ReactorBase", "seconds", time.time),
    ):
        cls = _class(module, base)
        if cls is not None and is_a(clock, cls):
            for each in MRO_OF_CLASS(type(clock)):
                found = DICT_OF_CLASS(each).get(name)
                if found is not None:
                    return read() if found is DICT_OF_CLASS(cls).get(name) else None
    return None
