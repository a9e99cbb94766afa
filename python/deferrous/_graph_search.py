"""The search for all that one Deferred or future waits for, and all that waits for it."""

from __future__ import annotations

import gc
import sys
from collections import deque
from types import FrameType, FunctionType
from typing import Any

from . import _deferrous
from ._graph_blocks import group_classes, groups_by_task, groups_of
from ._graph_futures import line_of_asyncio, members_of_asyncio, stands_for
from ._graph_holders import Holds, all_are_known, line_and_lock
from ._graph_objects import (
    LINKS,
    STEPS,
    attribute,
    dict_of,
    future_classes,
    held_by_function,
    is_a,
    is_deferred,
    is_generator,
    is_node,
    of_future,
    one_of,
    task_classes,
    their_classes,
)
from ._graph_parts import parts_of
from ._graph_state import Edge, Node, describe, is_chained
from ._graph_ways import (
    behind_callback,
    callbacks_of_theirs,
    firers_of,
    frames_of,
    future_callbacks,
    generators_of,
    tasks_of,
    waiters_behind,
)

#: The most neighbours of an object that are shown, in each direction.
BREADTH = 5
#: Longer chains are shown without their middle.
DEPTH = 10
#: How much of the end of such a chain is shown.
END = 4
#: The most objects that are shown in each direction.
NODES = 50
#: The most Deferreds, futures and groups that are searched.
MOST = 1_000_000
#: The labels of a holder of what another waits for, and of a possible holder.
HELD = "held by"
PERHAPS = "perhaps held by"
#: The labels of a Deferred that a callback of another will fire, and of that other one.
BY_CALLBACK = "by a callback"
OF_CALLBACK = "a callback of"
#: The number of rounds of the search for lock holders: a holder may wait for another lock.
ROUNDS = 5

#: Neighbours: objects with a description of each, and how many more there are.
Found = tuple[list[tuple[Any, str]], int]


class Graph:
    """All that was found from one Deferred or future."""

    #: The most neighbours of an object that are shown, in each direction.
    breadth = BREADTH
    #: Whether to show those that must be waited for at the end of an enclosing block.
    ahead = True

    def __init__(
        self,
        root: object,
        limit: int | None,
        skip: FrameType | None,
        up: bool = True,
        every: tuple[list[Any], list[Any]] | None = None,
    ) -> None:
        self._every = every
        self.nodes: list[Node] = []
        self.limit = limit
        self._skip = skip
        self._at: dict[int, int] = {}
        self._start_with_locks()
        self._add(root)
        self._explore([0], up=False)
        asked: set[int] = set()
        for _ in range(DEPTH):
            found = self._find_holders() + self._find_firers(asked)
            if not found:
                break
            self._explore(found, up=False)
        if up:
            self._explore([0], up=True)
        self.cycles = self._find_cycles()
        del self._skip, self._at, self._locks, self._lines, self._weights, self._groups, self._every

    def _start_with_locks(self) -> None:
        #: The groups, by the addresses of the tasks that began them. None before the search.
        self._groups: dict[int, list[Any]] | None = None
        #: Locks whose holders are wanted, by the number of the line, with the indexes of those in
        #: line.
        self._locks: dict[int, tuple[Any, list[int]]] = {}
        #: The lock and line that each one is in, by its index.
        self._lines: dict[int, tuple[int, Any]] = {}
        #: How much of each lock the holders found so far hold together, by the number of the line.
        self._weights: dict[int, int] = {}

    def _all(self) -> tuple[list[Any], list[Any]]:
        """Return all objects that may connect two others which have no reference to each other."""
        if self._every is None:
            self._every = all_that_connect()
        return self._every

    def _add(self, obj: object) -> int:
        place = self._at.get(id(obj))
        if place is None:
            place = self._at[id(obj)] = len(self.nodes)
            self.nodes.append(Node(obj))
            describe(self.nodes[place], self.limit, self._skip)
        return place

    def _explore(self, starts: list[int], up: bool) -> None:
        """Search from these for all that they wait for; with `up`, for all that wait for them."""
        begin = len(self.nodes)
        queue = deque((start, 0) for start in starts)
        seen = set(starts)
        if not up:
            # Those whose neighbours are known.
            seen.update(place for place in range(begin) if self.nodes[place].waits_for)
        while queue:
            place, depth = queue.popleft()
            node = self.nodes[place]
            found, more = who_waits(node.obj) if up else self._waits_for(place)
            edges = []
            for obj, label in found[: self.breadth]:
                skipped = 0
                further = depth + 1
                if id(obj) not in self._at:
                    if len(self.nodes) - begin >= NODES:
                        more += 1
                        continue
                    if depth >= DEPTH and len(found) == 1 and not more and is_deferred(obj):
                        end = _deferrous._follow(obj, up, END)
                        if end is None:
                            more = -1
                            break
                        if end[1] > 1:
                            (obj, *_), skipped = end
                            label, further = "", DEPTH - END
                to = self._add(obj)
                edges.append(Edge(to, label, skipped))
                if to not in seen:
                    seen.add(to)
                    queue.append((to, further))
            if more >= 0:
                more += len(found[self.breadth :])
            if up:
                node.awaited_by, node.awaited_by_more = edges, more
            else:
                node.waits_for, node.waits_for_more = edges, more

    def _find_cycles(self) -> list[tuple[list[int], bool]]:
        """Return the cycles, and for each whether nothing can end it."""
        # What each one waits for, and how.
        ways: list[dict[int, str]] = [{} for _ in self.nodes]
        for place, node in enumerate(self.nodes):
            ways[place].update((edge.to, edge.label) for edge in node.waits_for)
            for edge in node.awaited_by:
                ways[edge.to].setdefault(place, edge.label)
        reached: list[set[int]] = []
        for place in range(len(self.nodes)):
            seen: set[int] = set()
            left = list(ways[place])
            while left:
                each = left.pop()
                if each not in seen:
                    seen.add(each)
                    left.extend(ways[each])
            reached.append(seen)
        cycles = []
        done: set[int] = set()
        for place in range(len(self.nodes)):
            if place in done or place not in reached[place]:
                continue
            members = [each for each in sorted(reached[place]) if place in reached[each]]
            done.update(members)
            certain = not any(self._may_go_on(each, ways[each], members) for each in members)
            cycles.append((members, certain))
        return cycles

    def _may_go_on(self, place: int, ways: dict[int, str], circle: list[int]) -> bool:
        """Return whether one in a cycle may continue because of something outside of it."""
        node = self.nodes[place]
        if node.state == "pending":
            # Somebody else who has a reference to it may fire it before a callback does.
            hows = [how for to, how in ways.items() if to in circle]
            if all(how in (BY_CALLBACK, OF_CALLBACK) for how in hows):
                return True
        if place in self._lines and not self._all_held(place):
            return True
        if node.any or place in self._lines:
            # One of them is enough.
            if node.waits_for_more or not ways.keys() <= set(circle):
                return True
        return any(edge.label == PERHAPS and edge.to in circle for edge in node.waits_for)

    def _waits_for(self, place: int) -> Found:
        node = self.nodes[place]
        obj = node.obj
        if is_a(obj, *future_classes()):
            return self._future_waits_for(node)
        if not is_deferred(obj):
            chained_to = dict_of(obj).get("_chainedTo")
            return ([(chained_to, "chained to")] if is_node(chained_to) else []), 0
        state = _deferrous._state_of(obj, 0)
        called, canceller = state[2], state[6]
        if is_chained(state):
            return [(state[5], "chained to")], 0
        if called:
            return [], 0
        breadth = self.breadth
        members = _deferrous._members_of(obj, breadth) or _deferrous._members_of(canceller, breadth)
        if members is not None:
            return [(each, "member") for each in members[0]], members[1] - len(members[0])
        parts = _deferrous._parts_of(canceller)
        if parts is not None and parts[0] == "task":
            end = frames_of(parts[1], self._skip)[1]
            end = parts[3] if parts[3] is not None and not is_node(end) else end
            if node.state == "running":
                return [], 0
            return self._with_groups(node, parts[1], canceller, end)
        stands = line_and_lock(obj)
        if stands is not None:
            line, lock = self._lines[place] = stands
            self._locks.setdefault(line, (lock, []))[1].append(place)
        ours = parts_of(obj, canceller)
        if ours is not None:
            node.any = node.any or ours[2]
            return ours[1][: self.breadth], len(ours[1][self.breadth :])
        found = [(each, "stands for") for each in held_by_function(canceller, "theirs", "future")]
        if not found and type(canceller) is FunctionType:
            found = [(e, "stands for") for e in held_by_function(canceller) if e is not obj]
        return found, 0

    def _with_groups(
        self, node: Node, generator: Any, task: Any, end: Any, how: str = "awaits"
    ) -> Found:
        """Return what a coroutine waits for, and the tasks of the groups that it is in."""
        found = [(end, how)] if is_node(end) else []
        if self._groups is None:
            self._groups = groups_by_task(self._all()[1]) if self.ahead else {}
        for at_end, tasks in groups_of(generator, task, self._groups.get(id(task), ())):
            if found and at_end is end:
                # The coroutine waits for the tasks.
                found = []
            elif not self.ahead or not tasks:
                continue
            # A failure ends the group.
            node.any = True
            found += [(each, "task") for each in tasks]
        return found[: self.breadth], len(found[self.breadth :])

    def _future_waits_for(self, node: Node) -> Found:
        future = node.obj
        children = None
        gathering = getattr(sys.modules.get("asyncio.tasks"), "_GatheringFuture", None)
        if type(future) is gathering:
            children = future._children
        if type(children) is list:
            missing = [
                (each, "member")
                for each in children[:STEPS]
                if is_a(each, *future_classes()) and of_future(each, "_state") == "PENDING"
            ]
            return missing[: self.breadth], len(missing[self.breadth :])
        for task in task_classes():
            if is_a(future, task):
                coroutine = attribute(future, task, "_coro")
                end = frames_of(coroutine, self._skip)[1]
                if not is_node(end):
                    end = attribute(future, task, "_fut_waiter")
                members = members_of_asyncio(coroutine, end)
                if members:
                    # One result or failure may be enough.
                    node.any = True
                    found = [(each, "member") for each in members]
                    return found[: self.breadth], len(found[self.breadth :])
                how = line_of_asyncio(coroutine, end)
                return self._with_groups(node, coroutine, future, end, how or "awaits")
        return list(stands_for(future_callbacks(future))), 0

    def _find_holders(self) -> list[int]:
        """Find the holders of the locks that the nodes found so far are in line for.

        Returns the indexes of the new nodes.
        """
        if not self._locks:
            return []
        begin = len(self.nodes)
        holds = Holds({line: lock for line, (lock, _) in self._locks.items()}, self._referrers)
        holders: dict[int, list[Any]] = {}
        waiting: set[tuple[int, int]] = set()
        self._weights.update(dict.fromkeys(self._locks, 0))
        for line, each, weight in holds.held:
            found = [each] if is_deferred(each) else self._owners_of(each)
            if found and not is_deferred(each) and (line, id(each)) not in waiting:
                # One that waits in `async with` also refers to what will release the lock: the
                # first reference is for that. With a second one, it waits for a lock that it holds
                # itself.
                if self._waits_itself(each, line):
                    waiting.add((line, id(each)))
                    continue
            _add_new(holders.setdefault(line, []), found)
            if found:
                self._weights[line] += weight
        # A coroutine that refers to the lock, and does not wait for it, may hold it.
        perhaps: dict[int, list[Any]] = {}
        for line, each in holds.known:
            noted = perhaps.setdefault(line, [])
            if not holders.get(line) and len(noted) < self.breadth:
                if not self._waits_itself(each, line, within=True):
                    _add_new(noted, self._owners_of(each))
        for line, (_, places) in self._locks.items():
            for place in places:
                for holder in holders.get(line, ())[: self.breadth]:
                    self._add_holder(self.nodes[place], holder, HELD)
                for holder in perhaps.get(line, ())[: self.breadth]:
                    if holder is not self.nodes[place].obj:
                        self._add_holder(self.nodes[place], holder, PERHAPS)
        self._locks.clear()
        return list(range(begin, len(self.nodes)))

    def _find_firers(self, asked: set[int]) -> list[int]:
        """Find the callbacks that will fire a Deferred or future that waits for nothing else.

        `asked` are the nodes for which this has been done. Returns the indexes of the new nodes.
        """
        wanted = {
            id(node.obj): node
            for place, node in enumerate(self.nodes)
            if place not in asked and node.state == "pending" and not node.waits_for
        }
        begin = len(self.nodes)
        asked.update(range(begin))
        objects = [node.obj for node in wanted.values()]
        for firer in firers_of(objects, *self._all()) if objects else ():
            for obj, _ in who_waits(firer)[0]:
                node = wanted.get(id(obj))
                if node is None or (
                    len(node.waits_for) >= self.breadth or len(self.nodes) - begin >= NODES
                ):
                    if node is not None:
                        node.waits_for_more += 1
                    continue
                node.waits_for.append(Edge(self._add(firer), OF_CALLBACK))
        return list(range(begin, len(self.nodes)))

    def _referrers(self, objects: list[Any]) -> list[Any]:
        """Return the objects that refer to any of these."""
        return gc.get_referrers(*objects)

    def _add_holder(self, node: Node, holder: Any, label: str) -> None:
        to = self._add(holder)
        if all(edge.to != to for edge in node.waits_for):
            node.waits_for.append(Edge(to, label))

    def _owners_of(self, obj: Any) -> list[Any]:
        """Return what a generator, or the owner of a frame, will fire."""
        generators = [obj] if is_generator(obj) else generators_of(obj)
        return [task for generator in generators for task in tasks_of(generator)]

    def _waits_itself(self, obj: Any, line: int, within: bool = False) -> bool:
        """Return whether the generator of an object or frame waits in a line.

        With `within`, a generator that it is part of counts, too.
        """
        for generator in [obj] if is_generator(obj) else generators_of(obj):
            frames, end = frames_of(generator, self._skip)
            if is_deferred(end) and (within or len(frames) < 2):
                found = line_and_lock(end)
                return found is not None and found[0] == line
        return False

    def _all_held(self, place: int) -> bool:
        """Return whether everything is known that could let a waiter in line continue."""
        line, lock = self._lines[place]
        holders = sum(edge.label == HELD for edge in self.nodes[place].waits_for)
        return all_are_known(line, lock, holders, self._weights.get(line, 0))


#: Callbacks of shields and delayed cancellations, which are native.
_PASS_ON = (_deferrous._pass_on, _deferrous._end_delayed)


def all_that_connect() -> tuple[list[Any], list[Any]]:
    """Return all Deferreds in the process, and all futures and groups of tasks, up to a limit."""
    others = (*future_classes(), *their_classes(), *group_classes())
    deferreds = _deferrous._all_of(gc.get_objects, (_deferrous.Deferred,), MOST)[0]
    return deferreds, _deferrous._all_of(gc.get_objects, others, MOST)[0] if others else []


def _add_new(noted: list[Any], found: list[Any]) -> None:
    noted += [each for each in found if all(each is not it for it in noted)]


def _arguments(deferred: Any) -> list[Any]:
    """Return the Deferreds among the arguments of a Deferred's callbacks."""
    held = gc.get_referents(deferred)
    held += [it for each in held if type(each) is tuple for it in each]
    return [each for each in held if is_deferred(each)]


def who_waits(obj: Any) -> Found:
    """Return those that wait for an object, and how many links were not examined."""
    found: list[tuple[Any, str]] = []
    more = 0
    if is_deferred(obj):
        state = _deferrous._state_of(obj, LINKS)
        for kind, one, other in state[7]:
            if kind == "deferred":
                found.append((one, "chained to"))
            elif kind == "waiter":
                found += [(each, "") for each in waiters_behind(one)]
            else:
                found += [(each, BY_CALLBACK) for each in behind_callback(one)]
                if other is not one:
                    found += [(each, BY_CALLBACK) for each in behind_callback(other)]
            if one is other and any(one is each for each in _PASS_ON):
                # Its argument refers to the one that waits.
                found += [
                    (each, BY_CALLBACK)
                    for each in _arguments(obj)
                    if dict_of(each).get("_part_of") is obj
                ]
        more = max(0, state[9] - LINKS)
    elif is_a(obj, *future_classes()):
        by = of_future(obj, "_asyncio_awaited_by")
        if one_of(type(by), (set, frozenset)):
            found += [(each, "") for each in list(by)[:LINKS] if is_node(each)]
        for callback, _ in future_callbacks(obj):
            found += [(each, "") for each in behind_callback(callback)]
    else:
        for callback, _ in callbacks_of_theirs(obj):
            found += [(each, "") for each in behind_callback(callback)]
    unique = {id(each): (each, label) for each, label in reversed(found) if each is not obj}
    return list(reversed(unique.values())), more
