"""The graph as text."""

from __future__ import annotations

import linecache
from collections.abc import Iterator

from ._graph_entries import FrameCallGraphEntry
from ._graph_search import BREADTH, Graph
from ._graph_state import FRAMES, Node

__all__ = ["lines_of"]


def lines_of(
    graph: Graph, root: int, *, sources: bool = False, callbacks: bool = True
) -> Iterator[str]:
    """Yield the lines of the text for one node.

    Arguments:

    - `sources`: whether to show the source lines at which coroutines are suspended.
    - `callbacks`: whether to show callbacks.
    """
    yield from _Text(graph, root, sources, callbacks).lines(root, None, "")
    yield from _cycles(graph)


def _cycles(graph: Graph) -> Iterator[str]:
    for members, certain in graph.cycles:
        names = [graph.nodes[each].name for each in members[:BREADTH]]
        if len(members) > BREADTH:
            names.append(f"{len(members) - BREADTH:,} more")
        if len(members) == 1 and certain:
            yield f"{names[0]} waits for itself: it can never fire."
        elif certain:
            yield f"{', '.join(names)} wait for each other: none of them can ever fire."
        elif len(members) == 1:
            yield f"{names[0]} waits for itself, unless something else comes first."
        else:
            yield f"{', '.join(names)} wait for each other, unless something else comes first."


class _Text:
    """What has been written so far, and what is still to be written."""

    def __init__(self, graph: Graph, root: int, sources: bool, callbacks: bool) -> None:
        self._nodes = graph.nodes
        self._root = root
        self._sources = sources
        self._callbacks = callbacks
        self._seen: set[tuple[int, bool]] = set()

    def lines(self, place: int, up: bool | None, indent: str, how: str = "") -> Iterator[str]:
        """Yield the lines for a node: what it waits for, who waits for it (`up`), or both."""
        node = self._nodes[place]
        if how:
            how = f"{how}: "
        first = all((place, way) not in self._seen for way in (False, True))
        if up is not None and ((place, up) in self._seen or place == self._root):
            yield f"{indent}* {how}{node.name}: see above"
            return
        yield f"{indent}* {how}{node.name} {node.detail}"
        for way in (False, True) if up is None else (up,):
            self._seen.add((place, way))
        if first:
            yield from self._details(node, indent)
        ways = (
            ("Waits for", False, node.waits_for, node.waits_for_more),
            ("Awaited by", True, node.awaited_by, node.awaited_by_more),
        )
        for title, way, edges, more in ways:
            if (up is not None and up != way) or not (edges or more):
                continue
            yield f"{indent}  + {title}:"
            for edge in edges:
                if edge.skipped:
                    yield f"{indent}    ... {edge.skipped:,} more, each waits for the next ..."
                yield from self.lines(edge.to, way, indent + "    ", edge.label)
            if more < 0:
                yield f"{indent}    ... more, in a circle: they wait for each other for ever ..."
            elif more:
                yield f"{indent}    ... {more:,} more ..."

    def _details(self, node: Node, indent: str) -> Iterator[str]:
        if node.made or node.age is not None:
            age = "" if node.age is None else f"{node.age:.1f} s ago"
            yield f"{indent}  + Made: {', '.join(filter(None, (age, node.made)))}"
        if node.frames:
            yield f"{indent}  + Call stack:"
        for place, frame in enumerate(node.frames):
            if node.frames_more and place == FRAMES:
                yield f"{indent}  |   ... {node.frames_more:,} more ..."
            kind = "" if not frame.kind else f"{frame.kind} "
            yield f'{indent}  |   File "{frame.file}", line {frame.line}, in {kind}{frame.function}'
            if self._sources and (source := _source(frame)):
                yield f"{indent}  |     {source}"
        if not self._callbacks:
            return
        if node.callbacks:
            yield f"{indent}  + Callbacks:"
        for callback in node.callbacks:
            yield f"{indent}  |   {callback}"
        if node.callbacks_more:
            yield f"{indent}  |   ... {node.callbacks_more:,} more ..."


def _source(frame: FrameCallGraphEntry) -> str:
    return linecache.getline(frame.frame.f_code.co_filename, frame.line).strip()
