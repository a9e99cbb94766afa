"""Relations between asyncio's futures and its functions that wait for several."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType
from typing import Any

from ._futures import passes_on_only
from ._graph_objects import (
    INNER,
    LINKS,
    PREFIXES,
    STEPS,
    cells_of,
    class_name,
    future_classes,
    held_by,
    is_a,
    is_function_in,
    is_generator,
    is_node,
    is_of_asyncio_tasks,
    of_future,
    one_of,
    slot_of,
)

__all__ = [
    "future_behind",
    "getters_of",
    "line_of_asyncio",
    "members_of_asyncio",
    "stands_for",
]


def _deque(obj: Any, name: str) -> list[Any]:
    """Return a copy of an attribute that is a deque."""
    found = slot_of(obj, name)
    # Copied in one step, so that no other thread can change it meanwhile.
    return list(found) if type(found) is deque else []


def _cell(function: FunctionType, name: str) -> Any:
    return next((held for each, held in cells_of(function) if each == name), None)


def future_behind(canceller: Any) -> Any:
    """Return the future, not one of asyncio's, behind a Deferred with this canceller."""
    if is_function_in(canceller, "_futures"):
        waiting = _cell(canceller, "waiting")
        # A future of a thread: a list with a pair of the Deferred and the future, or an empty list.
        if type(waiting) is list and len(waiting) == 1:
            return waiting[0][1]
    return None


def stands_for(callbacks: list[tuple[Any, Any]]) -> Iterator[tuple[Any, str]]:
    """Yield what a future with these callbacks stands for."""
    for callback, _ in callbacks:
        if passes_on_only(callback):
            held, how = callback.__self__.deferred, "stands for"
        elif type(callback) is FunctionType and is_of_asyncio_tasks(callback):
            held, how = _cell(callback, "inner"), "shields"
        else:
            continue
        if is_node(held):
            yield held, how


def _innermost(coroutine: Any) -> list[Any]:
    """Return a coroutine and those that it waits for, the innermost first."""
    found: list[Any] = []
    for _ in range(STEPS):
        if not is_generator(coroutine):
            break
        found.append(coroutine)
        coroutine = getattr(coroutine, INNER[type(coroutine)])
    return found[::-1]


def _code_of(generator: Any) -> CodeType:
    code: CodeType = getattr(generator, f"{PREFIXES[type(generator)]}_code")
    return code


def _is_file_of_asyncio(code: CodeType, name: str) -> bool:
    before, found, _ = code.co_filename.rpartition(f"{name}.py")
    return bool(found) and before.endswith(("asyncio/", "asyncio\\"))


def members_of_asyncio(coroutine: Any, end: Any) -> list[Any]:
    """Return the futures that a coroutine still waits for by `asyncio.wait` and the like.

    `wait_for` and `as_completed` are the others. `end` is the future that will wake the coroutine.
    """
    found: dict[int, Any] = {}
    for generator in _innermost(coroutine)[:3]:
        code = _code_of(generator)
        if not _is_file_of_asyncio(code, "tasks"):
            continue
        for each in held_by(generator):
            if one_of(type(each), (set, frozenset, list, tuple)):
                # Copied in one step, so that no other thread can change it meanwhile.
                several = list(each)[:STEPS]
            elif class_name(each) == "_AsCompletedIterator":
                todo = slot_of(each, "_todo")
                several = list(todo) if type(todo) is set else []
            elif type(each) is CellType and code.co_name == "_wait_for_one":
                several = _to_do(each)
            else:
                several = [each]
            for it in several:
                if it is not end and is_a(it, *future_classes()):
                    if of_future(it, "_state") == "PENDING":
                        found[id(it)] = it
        break
    return list(found.values())


def _to_do(cell: Any) -> list[Any]:
    """Return what is still missing for `as_completed`, by the queue in this cell.

    Up to CPython 3.12, only the callback of the futures refers to both.
    """
    for closure in gc.get_referrers(cell):
        for function in gc.get_referrers(closure) if type(closure) is tuple else ():
            if type(function) is FunctionType and function.__code__.co_name == "_on_completion":
                todo = _cell(function, "todo")
                if type(todo) is set:
                    return list(todo)
    return []


def getters_of(callback: Any) -> list[Any]:
    """Return the futures that wake the loops over an `asyncio.as_completed` with this callback."""
    if type(callback) is FunctionType:
        name = callback.__code__.co_name
        queue = _cell(callback, "done") if name == "_on_completion" else None
    else:
        queue = (
            slot_of(callback, "_done") if class_name(callback) == "_AsCompletedIterator" else None
        )
    return [each for each in _deque(queue, "_getters")[:LINKS] if is_node(each)]


def line_of_asyncio(coroutine: Any, end: Any) -> str:
    """Describe the lock or queue of asyncio's that a coroutine is in line for with this future."""
    for generator in _innermost(coroutine)[:1]:
        code = _code_of(generator)
        if not any(_is_file_of_asyncio(code, name) for name in ("locks", "queues")):
            break
        for each in held_by(generator):
            for name in ("_waiters", "_getters", "_putters"):
                if any(it is end for it in _deque(each, name)):
                    return f"in line at <{class_name(each)} at {id(each):#x}>"
    return ""
