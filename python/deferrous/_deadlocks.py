"""Deferreds that can never fire, because they wait for each other."""

from __future__ import annotations

import gc
from types import ModuleType
from typing import Any

from . import _deferrous
from ._graph_objects import (
    PREFIXES,
    STEPS,
    attribute,
    is_a,
    is_deferred,
    is_generator,
    is_node,
    is_running,
    objects_of,
    task_classes,
)
from ._graph_search import PERHAPS, ROUNDS, Graph
from ._graph_state import Edge, Node
from ._graph_ways import within

__all__ = ["deadlocks"]

#: With at least this many objects, find their referrers by one pass over all objects.
_MANY = 20


def _generator_of(obj: Any) -> Any:
    """Return the generator or coroutine that will fire a Deferred, or that a task runs."""
    if is_deferred(obj):
        parts = _deferrous._parts_of(_deferrous._state_of(obj, 0)[6])
        return parts[1] if parts is not None and parts[0] == "task" else None
    for task in task_classes():
        if is_a(obj, task):
            return attribute(obj, task, "_coro")
    return None


class _Whole(Graph):
    """The complete graph of the process, without limits."""

    breadth = 1 << 40
    ahead = False

    def __init__(self, waiting: list[Any]) -> None:
        self.nodes = []
        self.limit = 0
        self._skip = None
        self._at = {}
        self._start_with_locks()
        #: For each suspended generator, by its address: what it will fire.
        self._owners: dict[int, Any] = {}
        for each in waiting:
            self._add(each)
        place = 0
        for _ in range(ROUNDS):
            while place < len(self.nodes):
                node = self.nodes[place]
                for obj, label in self._waits_for(place)[0]:
                    node.waits_for.append(Edge(self._add(obj), label))
                    if label == "member" and not is_a(node.obj, _deferrous.DeferredList):
                        # The first result or failure may be enough.
                        node.any = True
                place += 1
            if not self._find_holders():
                break

    def _add(self, obj: Any) -> int:
        place = self._at.get(id(obj))
        if place is None:
            place = self._at[id(obj)] = len(self.nodes)
            node = Node(obj)
            self.nodes.append(node)
            generator = _generator_of(obj)
            if is_generator(generator):
                self._note_owner(node, generator)
            if is_deferred(obj):
                canceller = _deferrous._state_of(obj, 0)[6]
                members = _deferrous._members_of(obj, 0) or _deferrous._members_of(canceller, 0)
                # A failure is enough for a list that fails with the first.
                node.any = members is not None and (
                    members[3]
                    or (
                        is_a(obj, _deferrous.DeferredList)
                        and bool(attribute(obj, _deferrous.DeferredList, "fireOnOneErrback"))
                    )
                )
        return place

    def _note_owner(self, node: Node, generator: Any) -> None:
        left = [generator]
        for _ in range(STEPS):
            if not left:
                break
            generator = left.pop()
            if id(generator) in self._owners:
                continue
            self._owners[id(generator)] = node.obj
            prefix = PREFIXES[type(generator)]
            frame = getattr(generator, f"{prefix}_frame")
            if frame is not None:
                # On CPython 3.10, the frame refers to its variables.
                self._owners[id(frame)] = node.obj
            if is_running(generator):
                node.state = "running"
            left += within(generator)

    def _owners_of(self, obj: Any) -> list[Any]:
        owner = self._owners.get(id(obj))
        return [] if owner is None else [owner]

    def _referrers(self, objects: list[Any]) -> list[Any]:
        if len(objects) <= _MANY:
            return gc.get_referrers(*objects)
        wanted = {id(each) for each in objects}
        every = gc.get_objects()
        return [
            each
            for each in every
            # On CPython 3.12, asking `_asyncio` makes a circle of its freelist.
            if each is not objects
            and not issubclass(type(each), ModuleType)
            and any(id(it) in wanted for it in gc.get_referents(each))
        ]

    def stuck(self) -> list[list[int]]:
        """Return the groups that wait for each other and can never fire."""
        ways, waiting_for, left = self._ways()
        never = [True] * len(self.nodes)
        can = [place for place, number in enumerate(left) if number == 0]
        for place in can:
            never[place] = False
        while can:
            for place in waiting_for[can.pop()]:
                left[place] -= 1
                if never[place] and left[place] <= 0:
                    never[place] = False
                    can.append(place)
        return _circles(ways, never)

    def _ways(self) -> tuple[list[list[int]], list[list[int]], list[int]]:
        """Return what each waits for, who waits for each, and how many have to fire first."""
        ways: list[list[int]] = []
        waiting_for: list[list[int]] = [[] for _ in self.nodes]
        left = []
        for place, node in enumerate(self.nodes):
            certain = {edge.to for edge in node.waits_for if edge.label != PERHAPS}
            needed = len(certain)
            if node.state == "running" or len(certain) < len({e.to for e in node.waits_for}):
                needed = 0
            elif place in self._lines:
                needed = min(1, needed) if self._all_held(place) else 0
            elif node.any:
                needed = min(1, needed)
            ways.append(sorted(certain))
            for each in certain:
                waiting_for[each].append(place)
            left.append(needed)
        return ways, waiting_for, left


def _circles(ways: list[list[int]], within: list[bool]) -> list[list[int]]:
    """Return the strongly connected components that are cycles, by Tarjan's algorithm."""
    number = [0] * len(ways)
    lowest = [0] * len(ways)
    on_stack = [False] * len(ways)
    stack: list[int] = []
    found = []
    count = 0
    for start in range(len(ways)):
        if number[start] or not within[start]:
            continue
        path = [(start, iter(ways[start]))]
        count += 1
        number[start] = lowest[start] = count
        stack.append(start)
        on_stack[start] = True
        while path:
            place, rest = path[-1]
            for each in rest:
                if not within[each]:
                    continue
                if not number[each]:
                    count += 1
                    number[each] = lowest[each] = count
                    stack.append(each)
                    on_stack[each] = True
                    path.append((each, iter(ways[each])))
                    break
                if on_stack[each]:
                    lowest[place] = min(lowest[place], number[each])
            else:
                path.pop()
                if path:
                    outer = path[-1][0]
                    lowest[outer] = min(lowest[outer], lowest[place])
                if lowest[place] == number[place]:
                    part: list[int] = []
                    while not part or part[-1] != place:
                        part.append(stack.pop())
                        on_stack[part[-1]] = False
                    if len(part) > 1 or place in ways[place]:
                        found.append(sorted(part))
    return sorted(found)


def deadlocks() -> list[tuple[Any, ...]]:
    """Return the Deferreds that can never fire because they wait for each other.

    Each cycle is a tuple of Deferreds and of asyncio's tasks and futures. Those that wait for a
    cycle without being part of one can never fire either, but are left out. A Deferred that is
    fired or cancelled from outside fires all the same.

    A Deferred that waits for several, one of which is enough, is in a cycle only if all of them
    are, or wait for one. So is a list that fails with the first of its Deferreds. A Deferred in the
    line of a lock waits for the holder if that uses `run` or `async with`; other holders are
    unknown.

    All objects of the process are examined. Nothing is changed, and no code of the program is run.

    ```python
    from deferrous import Deferred, DeferredLock, deadlocks, ensureDeferred


    async def both(first, second, gate):
        async with first:
            await gate
            async with second:
                pass


    one, two, gate = DeferredLock(), DeferredLock(), Deferred()
    works = [ensureDeferred(both(one, two, gate)), ensureDeferred(both(two, one, gate))]
    print(len(deadlocks()))
    gate.callback(None)
    print([d in deadlocks()[0] for d in works])
    ```

    This prints `0` and `[True, True]`. `print_call_graph` shows more of any one of them.
    """
    tasks = task_classes()

    def can_wait(obj: object) -> bool:
        return is_node(obj) and (is_deferred(obj) or is_a(obj, *tasks))

    whole = _Whole([each for each in objects_of(can_wait) if _waits(each, tasks)])
    return [tuple(whole.nodes[place].obj for place in part) for part in whole.stuck()]


def _waits(obj: Any, tasks: tuple[type, ...]) -> bool:
    if is_deferred(obj):
        state = _deferrous._state_of(obj, 0)
        return not state[2] or state[5] is not None
    return any(is_a(obj, task) and attribute(obj, task, "_state") == "PENDING" for task in tasks)
