"""Answers questions from other processes about what waits in this one, as data for JSON.

This runs in a thread of its own, or in the main thread between two steps of the program: see
`inspect.py`. Nothing is changed, and no code of the program is run. Objects that the program drops
meanwhile do not die here, but in its main thread, at the next garbage collection.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from typing import Any

from . import _deferrous
from ._call_graph import DeferredCallGraph
from ._graph_objects import attribute, class_name, future_classes, is_a, is_deferred, task_classes
from ._graph_search import Graph, all_that_connect, who_waits
from ._graph_state import Node, describe
from ._pending import _why as why
from ._tracking import origin_of

__all__ = ["MOST_BYTES", "PROTOCOL", "QUESTIONS", "answer", "answer_text"]

#: The version of questions and answers.
PROTOCOL = 1
#: The questions.
QUESTIONS = ("ps", "pstree")
#: The most objects that are examined.
_OBJECTS = 1_000_000
#: The most groups in an answer.
_GROUPS = 200
#: The most trees in an answer.
_TREES = 20
#: The time limits for counting and for trees, in seconds.
_COUNTING, _DRAWING = 3.0, 3.0
#: The most steps from a Deferred up to what waits for it.
_CLIMB = 1000
#: The longest answer, in bytes.
MOST_BYTES = 4_000_000

#: Objects that the program dropped while they were being examined.
_parked: list[Any] = []


class _Group:
    """Deferreds that wait for the same, at the same place."""

    __slots__ = ("count", "example", "made", "oldest", "why")

    def __init__(self, why: str, example: Any) -> None:
        self.why = why
        self.example = example
        self.count = 0
        self.oldest: float | None = None
        self.made: str | None = None


class _Survey:
    """A snapshot of all that waits in this process."""

    def __init__(self) -> None:
        self._held: list[Any] = []
        self.groups: dict[str, _Group] = {}
        classes = (_deferrous.Deferred, *task_classes())
        self._held, self.total = _deferrous._all_of(gc.get_objects, classes, _OBJECTS)
        self.unseen = self.total - len(self._held)
        #: The objects that graphs search, once one is made.
        self._every: tuple[list[Any], list[Any]] = [], []
        self._count()

    def _count(self) -> None:
        end = time.monotonic() + _COUNTING
        tracked = _deferrous._tracking()
        for place, each in enumerate(self._held):
            if place % 256 == 0 and time.monotonic() > end:
                self.unseen = self.total - place
                break
            text = _why_any(each)
            if text is None:
                continue
            group = self.groups.setdefault(text, _Group(text, each))
            group.count += 1
            if tracked and is_deferred(each):
                origin = origin_of(each)
                if origin is not None and origin.age is not None:
                    if group.oldest is None or origin.age > group.oldest:
                        group.oldest, group.example = origin.age, each
                        group.made = None if origin.made is None else str(origin.made)

    def rows(self) -> dict[str, Any]:
        groups = sorted(self.groups.values(), key=lambda each: (-each.count, each.why))
        return {
            "waiting": sum(each.count for each in groups),
            "groups": [
                {"count": each.count, "why": each.why, "oldest": each.oldest, "made": each.made}
                for each in groups[:_GROUPS]
            ],
            "groups_left_out": len(groups[_GROUPS:]),
            "not_looked_at": self.unseen,
        }

    def trees(self) -> dict[str, Any]:
        """Return graphs that contain each path once, starting from those that nobody waits for."""
        end = time.monotonic() + _DRAWING
        self._every = all_that_connect()
        trees: list[dict[str, Any]] = []
        size = left_out = 0
        shown: set[str] = set()
        groups = sorted(self.groups.values(), key=lambda each: -each.count)
        tops = [self._top(each.example) for each in groups]
        # First the roots, and then those that are in no tree yet.
        for start in (*tops, *(each.example for each in groups)):
            text = _why_any(start)
            if text is None or text in shown:
                continue
            if len(trees) == _TREES or size > MOST_BYTES // 2 or time.monotonic() > end:
                left_out += 1
                shown.add(text)
                continue
            graph = DeferredCallGraph(Graph(start, None, sys._getframe(), every=self._every), 0)
            self._hold(graph)
            shown.update(filter(None, map(_why_any, _below(graph))))
            tree = graph.to_dict()
            group = self.groups.get(text)
            tree["alike"] = 1 if group is None else group.count
            trees.append(tree)
            size += len(json.dumps(tree))
        return {"trees": trees, "trees_left_out": left_out}

    def _top(self, obj: Any) -> Any:
        """Return a root: one that waits for this, and that nobody waits for."""
        seen = {id(obj)}
        for _ in range(_CLIMB):
            if is_deferred(obj):
                followed = _deferrous._follow(obj, True, 1)
                if followed is None:
                    break
                obj = followed[0][0]
                self._held.append(obj)
            found = [each for each, _ in who_waits(obj)[0] if id(each) not in seen]
            if not found:
                break
            obj = found[0]
            self._held.append(obj)
            seen.add(id(obj))
        return obj

    def _hold(self, graph: DeferredCallGraph) -> None:
        """Hold all that a graph refers to, so that nothing dies together with the graph."""
        for node in graph._graph.nodes:
            self._held.append(node.obj)
            self._held += [entry.frame for entry in node.frames]

    def let_go(self) -> None:
        """Drop all references, except to objects that would die."""
        for group in self.groups.values():
            group.example = None
        for each in self._every:
            self._held += each
            each.clear()
        if threading.current_thread() is threading.main_thread():
            self._held.clear()
            return
        last = _deferrous._take_last(self._held)
        if last:
            _parked.extend(last)
            if not any(each is _empty for each in gc.callbacks):
                gc.callbacks.append(_empty)


def _below(graph: DeferredCallGraph) -> list[Any]:
    """Return all that a tree shows of a graph: its root, and what that waits for."""
    nodes = graph._graph.nodes
    found, left = {0}, [0]
    while left:
        new = {edge.to for edge in nodes[left.pop()].waits_for} - found
        found |= new
        left += new
    return [nodes[each].obj for each in found]


def _empty(phase: str, _: object) -> None:
    """Drop the parked objects: a callback of the garbage collector, in the main thread."""
    if phase == "stop" and threading.get_ident() == threading.main_thread().ident:
        gc.callbacks.remove(_empty)
        parked = _parked[:]
        del _parked[: len(parked)]


def _why_any(obj: Any) -> str | None:
    """Describe what a Deferred, a task or a future waits for. None if it does not wait."""
    return why(obj) if is_deferred(obj) else _why_task(obj)


def _why_task(task: Any) -> str | None:
    """Describe what an asyncio task waits for, and where."""
    cls = next((each for each in future_classes() if is_a(task, each)), None)
    if cls is None or attribute(task, cls, "_state") != "PENDING":
        return None
    node = Node(task)
    describe(node, -1, None)
    name = class_name(task)
    if not node.frames:
        return f"{name}: {node.detail}"
    entry = node.frames[0]
    where = f'File "{entry.file}", line {entry.line}, in {entry.function}'
    return f"{name}: waits for {entry.kind or 'a function'}, {where}"


def answer(question: Any) -> dict[str, Any]:
    """Answer a question. An invalid one is answered with an error."""
    asked = question.get("ask") if type(question) is dict else None
    if type(asked) is not str or asked not in QUESTIONS:
        return {"error": f"unknown question; this deferrous answers {', '.join(QUESTIONS)}"}
    begin = time.monotonic()
    survey = _Survey()
    try:
        found = {
            "protocol": PROTOCOL,
            "deferrous": _deferrous.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "pid": os.getpid(),
            "tracked": _deferrous._tracking(),
            **survey.rows(),
        }
        if asked == "pstree":
            found.update(survey.trees())
    finally:
        survey.let_go()
    found["seconds"] = round(time.monotonic() - begin, 3)
    return found


def answer_text(question: str) -> str:
    """Answer a question in JSON, in JSON. Raises only what ends programs."""
    try:
        text = json.dumps(answer(json.loads(question)))
        if len(text) > MOST_BYTES:
            text = json.dumps({"error": "the answer would be too long"})
    except Exception as error:
        text = json.dumps({"error": f"the question could not be answered: {type(error).__name__}"})
    return text
