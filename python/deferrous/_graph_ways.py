"""The edges of the graph: what an object waits for, and what waits for it."""

from __future__ import annotations

import functools
import gc
import itertools
import sys
from collections.abc import Iterator
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
)
from typing import Any

from . import _deferrous
from ._futures import passes_on_only
from ._graph_blocks import is_task_group
from ._graph_futures import getters_of
from ._graph_objects import (
    ARGS_OF_PARTIAL,
    BETWEEN,
    DICT_OF_CLASS,
    FUNC_OF_PARTIAL,
    INNER,
    KINDS,
    LINKS,
    MRO_OF_CLASS,
    PACKAGE,
    PREFIXES,
    STEPS,
    class_name,
    dict_of,
    future_classes,
    held_by,
    held_by_function,
    in_its_context,
    is_a,
    is_generator,
    is_node,
    is_of_asyncio_tasks,
    is_running,
    of_future,
    of_package,
    one_of,
    slot_of,
    task_classes,
    their_classes,
)
from ._graph_parts import observers_of

#: The most objects that are searched for one with a callback that fires another.
FIRERS = 10_000
#: The most coroutines around a possible lock holder that are searched.
CLIMB = 8


def generators_of(frame: Any) -> list[Any]:
    """Return the generator or coroutine that a frame belongs to."""
    return [
        each
        for each in gc.get_referrers(frame)
        if is_generator(each) and getattr(each, f"{PREFIXES[type(each)]}_frame") is frame
    ]


def tasks_of(generator: Any) -> list[Any]:
    """Return what a generator or coroutine, or one that waits for it, will fire at the end."""
    for _ in range(CLIMB):
        found, outer = [], None
        between: list[Any] = []
        for each in gc.get_referrers(generator):
            parts = _deferrous._parts_of(each)
            if parts is not None and parts[0] == "task":
                if parts[2] is not None:
                    found.append(parts[2])
            elif is_a(each, *task_classes()):
                found.append(each)
            else:
                for other in [each] if is_generator(each) else ():
                    if getattr(other, INNER[type(other)]) is generator:
                        outer = other
                for other in generators_of(each) if type(each) is FrameType else ():
                    if getattr(other, INNER[type(other)]) is generator:
                        outer = other
                if type(generator) is AsyncGeneratorType:
                    between.append(each)
        if outer is None and between:
            outer = _around(generator, between)
        if found or outer is None:
            return found
        generator = outer
    return []


def _is_manager(obj: object) -> bool:
    """Return whether an object was made by a function with `asynccontextmanager`."""
    cls = getattr(sys.modules.get("contextlib"), "_AsyncGeneratorContextManager", None)
    return isinstance(cls, type) and is_a(obj, cls)


def _around(generator: Any, referrers: list[Any]) -> Any:
    """Return the generator or coroutine that iterates over an asynchronous generator.

    Or the one that is in a block which the asynchronous generator manages.
    """
    stands = [each for each in referrers if class_name(each) in BETWEEN or _is_manager(each)]
    for each in referrers:
        # Up to CPython 3.10, its attributes are in a dict, which refers to the generator.
        if type(each) is dict:
            stands += [it for it in gc.get_referrers(each) if _is_manager(it)]
    further = gc.get_referrers(*stands) if stands else []
    methods = [each for each in further if type(each) is MethodType and _is_manager(each.__self__)]
    further += gc.get_referrers(*methods) if methods else []
    for each in (*referrers, *further):
        if is_generator(each):
            if each is not generator:
                return each
        elif type(each) is FrameType:
            for other in generators_of(each):
                if other is not generator:
                    return other
    return None


def within(generator: Any) -> list[Any]:
    """Return the generators that one waits for, iterates over, or is in a block of."""
    found = [getattr(generator, INNER[type(generator)])]
    for each in held_by(generator):
        if type(each) is MethodType:
            each = each.__self__
        if _is_manager(each):
            each = slot_of(each, "gen")
        elif class_name(each) in BETWEEN:
            found += gc.get_referents(each)
        if type(each) is AsyncGeneratorType:
            found.append(each)
    return [each for each in found if is_generator(each) and each is not generator]


def waiters_behind(waiter: Any) -> Iterator[Any]:
    """Yield the Deferreds and futures that a waiter in a chain stands for."""
    if is_node(waiter):
        yield waiter
        return
    members = _deferrous._members_of(waiter, 0)
    parts = _deferrous._parts_of(waiter)
    if members is not None:
        if members[4] is not None:
            yield members[4]
    elif parts is None:
        return
    elif parts[0] == "task":
        if parts[2] is not None:
            yield parts[2]
    elif parts[0] == "task callback":
        yield from waiters_behind(parts[1])
    elif parts[0] == "awaiting" and parts[2] is not None:
        # The driver waits for its own future instead. The Deferred is what matters.
        future = parts[2]
        drivers = [each for callback, _ in future_callbacks(future) for each in behind(callback)]
        yield from drivers or [future]
    elif parts[0] == "awaiting":
        # Deferreds of a class that overrides the adding of callbacks are awaited through this.
        for each in gc.get_referrers(waiter):
            if is_generator(each) and getattr(each, INNER[type(each)]) is waiter:
                yield from tasks_of(each)


def behind(callback: Any) -> list[Any]:
    return list(behind_callback(callback))


def behind_callback(callback: Any) -> Iterator[Any]:
    """Yield the Deferreds and futures that a callback is for, if that can be found."""
    callback = in_its_context(callback) or callback
    if passes_on_only(callback):
        return
    if type(callback) is functools.partial:
        args, callback = ARGS_OF_PARTIAL(callback), FUNC_OF_PARTIAL(callback)
        if type(callback) is FunctionType and is_of_asyncio_tasks(callback):
            # Up to CPython 3.11, `wait_for` is woken this way.
            yield from (each for each in args if is_node(each))
        elif args and is_node(args[0]) and _is_method_of(args[0], callback):
            yield args[0]
    # Since CPython 3.15, asyncio's methods are of a class that derives from the usual one.
    if is_a(callback, MethodType, BuiltinFunctionType):
        owner = callback.__self__
        if is_node(owner):
            yield owner
        else:
            yield from held_by_function(callback)
            yield from waiters_behind(owner)
            yield from observers_of(owner)
            parent = dict_of(owner).get("_parent_task") if is_task_group(owner) else None
            if parent is not None and is_node(parent):
                yield parent
            yield from getters_of(owner)
    elif type(callback) is FunctionType:
        yield from held_by_function(callback)
        if is_of_asyncio_tasks(callback):
            yield from getters_of(callback)
    else:
        # asyncio's wrapper around the task to wake.
        if is_a(callback, *task_classes()):
            yield callback
        elif class_name(callback) in ("TaskWakeupMethWrapper", "TaskStepMethWrapper"):
            # There is no attribute for that.
            yield from (each for each in gc.get_referents(callback) if is_node(each))
        else:
            yield from waiters_behind(callback)
            yield from observers_of(callback)


def _is_method_of(obj: object, function: Any) -> bool:
    """Return whether a function is an unbound method of an object."""
    if not one_of(type(function), (FunctionType, MethodDescriptorType)):
        return False
    return any(
        function is each
        for base in MRO_OF_CLASS(type(obj))
        for each in DICT_OF_CLASS(base).values()
    )


def firers_of(objects: list[Any], deferreds: list[Any], others: list[Any]) -> list[Any]:
    """Return the Deferreds and futures with a callback that may fire one of these objects."""
    found: list[Any] = [*_deferrous._may_fire(deferreds, objects, PACKAGE, FIRERS)]
    found += itertools.islice(filter(is_node, others), FIRERS)
    return found


def future_callbacks(future: object) -> list[tuple[Any, Any]]:
    if not is_a(future, *future_classes()):
        if their_classes() and is_a(future, *their_classes()):
            return callbacks_of_theirs(future)
        return []
    callbacks = of_future(future, "_callbacks")
    if type(callbacks) is not list:
        return []
    return [each for each in callbacks[:LINKS] if type(each) is tuple and len(each) == 2]


def callbacks_of_theirs(deferred: object) -> list[tuple[Any, Any]]:
    attributes = dict_of(deferred)
    links = attributes.get("_callbacks", attributes.get("callbacks"))
    if type(links) is not list:
        return []
    found = []
    for link in links[:LINKS]:
        # A callback and an errback, each with its arguments.
        for part in link if type(link) is tuple else ():
            if type(part) is tuple and part:
                found.append((part[0], None))
    return found


def frames_of(generator: Any, skip: FrameType | None) -> tuple[list[tuple[FrameType, str]], Any]:
    """Return the frames of a suspended generator or coroutine, and what it waits for.

    The innermost frame is the last one.
    """
    frames: list[tuple[FrameType, str]] = []
    current = generator
    for _ in range(STEPS):
        if not is_generator(current):
            if class_name(current) not in BETWEEN or of_package(type(current)):
                break
            held = [
                each for each in gc.get_referents(current) if is_generator(each) or is_node(each)
            ]
            if not held:
                break
            current = held[0]
            continue
        prefix = PREFIXES[type(current)]
        frame = getattr(current, f"{prefix}_frame")
        if frame is None:
            break
        if is_running(current):
            stack = _stack_down_to(frame, skip)
            frames += [(each, kind_of_frame(each)) for each in stack]
            break
        frames.append((frame, KINDS[type(current)]))
        current = getattr(current, INNER[type(current)])
    parts = _deferrous._parts_of(current)
    if parts is not None and parts[0] == "awaiting":
        current = parts[1]
    return frames, current


def _stack_down_to(frame: FrameType, top: FrameType | None) -> list[FrameType]:
    """Return the frames on the stack above one, starting with it; or it alone."""
    stack = []
    current = top
    for _ in range(STEPS):
        if current is None:
            return [frame]
        stack.append(current)
        if current is frame:
            return stack[::-1]
        current = current.f_back
    return [frame]


def kind_of_frame(frame: FrameType) -> str:
    flags = frame.f_code.co_flags
    for flag, kind in ((0x80, "coroutine"), (0x200, "async generator"), (0x20, "generator")):
        if flags & flag:
            return kind
    return ""
