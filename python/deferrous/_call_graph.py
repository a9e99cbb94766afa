"""The graph of what waits for what, with the names and in the form of `asyncio.graph`.

It is captured while programs are stuck, and inside callbacks. So nothing here changes anything or
runs a program's code: attributes are not looked up where a class could intervene, `repr` is called
only for built-in types, and classes are not asked about instances.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, TextIO

from . import _deferrous
from ._graph_entries import CallbackEntry, FrameCallGraphEntry
from ._graph_objects import (
    KINDS,
    PREFIXES,
    STEPS,
    attribute,
    class_name,
    is_a,
    is_generator,
    is_node,
    task_classes,
)
from ._graph_pictures import as_html, dot, mermaid
from ._graph_search import Graph
from ._graph_state import Edge, Node
from ._graph_text import lines_of
from ._graph_ways import tasks_of

__all__ = [
    "CallbackEntry",
    "DeferredCallGraph",
    "FrameCallGraphEntry",
    "capture_call_graph",
    "describe",
    "format_call_graph",
    "print_call_graph",
]


class DeferredCallGraph:
    """A snapshot of what waits for what, from one Deferred, future or task.

    It has the attributes of asyncio's `FutureCallGraph`, and more. It describes the moment when it
    was captured. It keeps the Deferred and the frames alive, as asyncio's does.
    """

    __slots__ = ("_graph", "_path", "_place")

    def __init__(self, graph: Graph, place: int, path: tuple[int, ...] = ()) -> None:
        self._graph = graph
        self._place = place
        self._path = (*path, place)

    @property
    def _node(self) -> Node:
        return self._graph.nodes[self._place]

    @property
    def future(self) -> Any:
        """The Deferred, future or task."""
        return self._node.obj

    @property
    def call_stack(self) -> tuple[FrameCallGraphEntry, ...]:
        """The stack of the generator or coroutine that will fire it, the innermost frame first."""
        return tuple(self._node.frames)

    @property
    def awaited_by(self) -> tuple[DeferredCallGraph, ...]:
        """Who waits for it. Nodes on the path to this one are left out, so this never goes in
        circles.
        """
        return self._step(self._node.awaited_by)

    @property
    def waits_for(self) -> tuple[DeferredCallGraph, ...]:
        """What it waits for. Nodes on the path to this one are left out."""
        return self._step(self._node.waits_for)

    def _step(self, edges: list[Edge]) -> tuple[DeferredCallGraph, ...]:
        return tuple(
            DeferredCallGraph(self._graph, edge.to, self._path)
            for edge in edges
            if edge.to not in self._path
        )

    @property
    def state(self) -> str:
        """One of pending, waiting, running, paused, fired, failed, cancelled."""
        return self._node.state

    @property
    def detail(self) -> str:
        """The state in words."""
        return self._node.detail

    @property
    def callbacks(self) -> tuple[CallbackEntry, ...]:
        """The callbacks that are still to be called, up to a limit."""
        return tuple(self._node.callbacks)

    @property
    def cycles(self) -> tuple[tuple[Any, ...], ...]:
        """The cycles in the whole graph: those that wait for each other."""
        return tuple(
            tuple(self._graph.nodes[each].obj for each in members)
            for members, _ in self._graph.cycles
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._node.name}: {self._node.detail}>"

    def __str__(self) -> str:
        return "\n".join(lines_of(self._graph, self._place))

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as lists, dicts, strings and numbers, for JSON.

        `nodes` are numbered by their index; `waits_for` and `awaited_by` refer to these numbers. A
        number of `..._more` is -1 if it is not known.
        """

        def edges(edges: list[Edge]) -> list[dict[str, Any]]:
            return [{"to": e.to, "how": e.label, "left_out_between": e.skipped} for e in edges]

        return {
            "root": self._place,
            "nodes": [
                {
                    "name": node.name,
                    "state": node.state,
                    "detail": node.detail,
                    "call_stack": [each.to_dict() for each in node.frames],
                    "call_stack_more": node.frames_more,
                    "made": node.made,
                    "age": node.age,
                    "callbacks": [each.to_dict() for each in node.callbacks],
                    "callbacks_more": node.callbacks_more,
                    "waits_for": edges(node.waits_for),
                    "waits_for_more": node.waits_for_more,
                    "awaited_by": edges(node.awaited_by),
                    "awaited_by_more": node.awaited_by_more,
                }
                for node in self._graph.nodes
            ],
            "cycles": [
                {"nodes": members, "for_ever": certain} for members, certain in self._graph.cycles
            ],
        }

    def to_mermaid(self) -> str:
        """Return the graph as a flowchart of Mermaid's. Arrows go to what is waited for."""
        return mermaid(self._graph)

    def to_dot(self) -> str:
        """Return the graph in the language of Graphviz. Arrows go to what is waited for."""
        return dot(self._graph)

    def _repr_html_(self) -> str:
        """Return the text as HTML, for notebooks. Its colours are those of the page."""
        return as_html(str(self))


def _current(frame: FrameType | None) -> Any:
    """Return what runs at a frame: a Deferred whose generator we drive, or an asyncio task."""
    running: dict[int, Any] = {}
    tasks: Any = sys.modules.get("asyncio.tasks")
    events: Any = sys.modules.get("asyncio.events")
    if tasks is not None and events is not None:
        loop = events._get_running_loop()
        task = None if loop is None else tasks.current_task(loop)
        for cls in task_classes():
            if task is not None and is_a(task, cls):
                coroutine = attribute(task, cls, "_coro")
                if is_generator(coroutine):
                    running[id(getattr(coroutine, f"{PREFIXES[type(coroutine)]}_frame"))] = task
    for generator in _deferrous._driven():
        if is_generator(generator):
            of_frame = getattr(generator, f"{PREFIXES[type(generator)]}_frame")
            running[id(of_frame)] = generator
    for _ in range(STEPS):
        if frame is None:
            break
        found = running.get(id(frame))
        if is_generator(found):
            # If it has not waited yet, its Deferred is made here.
            task = _deferrous._task_for(found)
            return None if task is None else task[1]
        if found is not None:
            return found
        frame = frame.f_back
    return None


def _root_of(future: Any, frame: FrameType | None) -> Any:
    """Return the Deferred or future to start at."""
    if future is None:
        return _current(frame)
    if is_generator(future):
        for each in tasks_of(future):
            return each
        raise TypeError(
            f"nothing runs this {KINDS[type(future)]}, or only something that waits for it itself"
        )
    if not is_node(future):
        raise TypeError(
            "a Deferred, a future, a task, or a coroutine or generator that one of them runs is "
            f"needed, not {class_name(future)}"
        )
    return future


def capture_call_graph(
    future: Any = None, /, *, depth: int = 1, limit: int | None = None
) -> DeferredCallGraph | None:
    """Return what a Deferred waits for and who waits for it, at this moment.

    For each Deferred, the graph shows whether it has fired and with what, and whether it is paused,
    running or cancelled. It shows the lines at which generators and coroutines are suspended,
    places in lines of locks and queues, the missing members of lists and races, the callbacks that
    are still to be called, and cycles.

    This changes nothing and runs no code of the program, so you can call it at any time, even in
    callbacks. Large graphs are cut, with the number of what was left out.

    ```python
    from deferrous import Deferred, capture_call_graph, gatherResults

    d = Deferred()
    both = gatherResults([d, Deferred()])
    graph = capture_call_graph(d)
    print(graph.detail)
    print(graph.awaited_by[0].future is both)
    ```

    Arguments:

    - `future`: a Deferred, an asyncio future or task, or a coroutine or generator that runs as one
      of them. By default, what is running now. If nothing is, the result is None.
    - `depth`: how many frames at the top of the current stack are left out.
    - `limit`: the number of frames of each call stack: of the innermost ones, or of the outermost
      ones if it is negative. None for all.

    Errors:

    - TypeError: `future` is something else, or nothing runs the coroutine or generator.
    """
    skip: FrameType | None = sys._getframe(0)
    for _ in range(max(depth, 0)):
        if skip is not None:
            skip = skip.f_back
    root = _root_of(future, skip)
    return None if root is None else DeferredCallGraph(Graph(root, limit, skip), 0)


def describe(deferred: Any) -> str:
    """Return what a Deferred waits for as text, with source lines: for failed assertions."""
    graph = Graph(deferred, None, sys._getframe(1), up=False)
    return "\n".join(lines_of(graph, 0, sources=True, callbacks=False))


def format_call_graph(future: Any = None, /, *, depth: int = 1, limit: int | None = None) -> str:
    """Return what `capture_call_graph` finds, as a text; an empty one if nothing runs now.

    ```python
    from deferrous import Deferred, format_call_graph

    print("has not been fired" in format_call_graph(Deferred()))
    ```

    Arguments:

    - `future`, `depth`, `limit`: as for `capture_call_graph`.

    Errors:

    - TypeError: as for `capture_call_graph`.
    """
    graph = capture_call_graph(future, depth=depth + 1, limit=limit)
    return "" if graph is None else str(graph)


def print_call_graph(
    future: Any = None,
    /,
    *,
    file: TextIO | None = None,
    depth: int = 1,
    limit: int | None = None,
) -> None:
    """Print what `format_call_graph` returns.

    ```python
    from deferrous import Deferred, print_call_graph

    print_call_graph(Deferred())
    ```

    Arguments:

    - `future`, `depth`, `limit`: as for `capture_call_graph`.
    - `file`: where to print it, by default standard output.

    Errors:

    - TypeError: as for `capture_call_graph`.
    """
    print(format_call_graph(future, depth=depth + 1, limit=limit), file=file)
