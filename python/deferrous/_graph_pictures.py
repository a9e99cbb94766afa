"""The graph as pictures: Mermaid, Graphviz and HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator

from ._graph_search import Graph

__all__ = ["as_html", "dot", "mermaid"]


def _arrows(graph: Graph) -> Iterator[tuple[int, int, str]]:
    """Yield each arrow once: who waits, for whom, and how."""
    seen = set()
    for place, node in enumerate(graph.nodes):
        ways = [(place, edge.to, edge) for edge in node.waits_for]
        ways += [(edge.to, place, edge) for edge in node.awaited_by]
        for waiting, awaited, edge in ways:
            if (waiting, awaited) not in seen:
                seen.add((waiting, awaited))
                label = f"{edge.skipped:,} between" if edge.skipped else edge.label
                yield waiting, awaited, label


def _boxes(graph: Graph) -> Iterator[tuple[int, list[str]]]:
    for place, node in enumerate(graph.nodes):
        lines = [node.name, node.detail]
        if node.frames:
            frame = node.frames[0]
            lines.append(f"{frame.file}:{frame.line} in {frame.function}")
        for more in (node.waits_for_more, node.awaited_by_more):
            if more:
                lines.append(f"... {more:,} more ..." if more > 0 else "... more ...")
        yield place, lines


def mermaid(graph: Graph) -> str:
    """Return the graph as a Mermaid flowchart. Arrows point to what is waited for."""

    def quoted(text: str) -> str:
        text = text.replace("#", "#35;")
        for character, code in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
            text = text.replace(character, code)
        return text

    lines = ["flowchart TD"]
    for place, texts in _boxes(graph):
        lines.append(f'    n{place}["{"<br>".join(map(quoted, texts))}"]')
    for waiting, awaited, label in _arrows(graph):
        arrow = f'-- "{quoted(label)}" -->' if label else "-->"
        lines.append(f"    n{waiting} {arrow} n{awaited}")
    for members, _ in graph.cycles:
        for place in members:
            lines.append(f"    style n{place} stroke:#c00,stroke-width:2px")
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """Return the graph in Graphviz's language. Arrows point to what is waited for."""

    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"')

    in_cycle = {place for members, _ in graph.cycles for place in members}
    lines = ["digraph waiting {", "    node [shape=box];"]
    for place, texts in _boxes(graph):
        colour = ", color=red" if place in in_cycle else ""
        label = "\\n".join(map(quoted, texts))
        lines.append(f'    n{place} [label="{label}"{colour}];')
    for waiting, awaited, label in _arrows(graph):
        shown = f' [label="{quoted(label)}"]' if label else ""
        lines.append(f"    n{waiting} -> n{awaited}{shown};")
    return "\n".join([*lines, "}"]) + "\n"


def as_html(text: str) -> str:
    """Return the text of a graph as HTML, for notebooks. Its colours are those of the page."""
    # Whole lines can be folded: deeper indentation belongs to the line before.
    return f'<pre style="color: inherit; background: none">{html.escape(text)}</pre>'
