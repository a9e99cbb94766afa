"""Prints how the source is built: what uses what, what is long, and where it is unsafe.

python tests/figures.py
"""

from __future__ import annotations

import re
from collections import Counter

from source_helpers import (
    FILES,
    MODULES,
    PYTHON,
    ROOMS,
    code,
    handed_on,
    imports,
    lengths_of_files,
    lengths_of_functions,
    room_and_file,
    siblings,
    used,
)

Graph = dict[str, set[str]]


def rust() -> Graph:
    """Which files of the Rust half each uses, as `room/file`."""
    names = {room: handed_on(room) for room in ROOMS}
    graph: Graph = {}
    for path in FILES:
        here, name = room_and_file(path)
        if here not in ROOMS or path.stem == "mod":
            continue
        others = {f"{room}/{names[room].get(name, name)}" for room, name in used(path)}
        graph[f"{here}/{name}"] = others
    return {name: (others & graph.keys()) - {name} for name, others in graph.items()}


def python() -> Graph:
    """Which modules of the Python half each uses."""
    graph = {
        name: set(imports(PYTHON / f"{name}.py")) - {name}
        for name in MODULES
        if name != "_deferrous"
    }
    for path in (PYTHON / "concurrency").glob("*.py"):
        within = {f"concurrency/{name}" for name in siblings(path)}
        graph[f"concurrency/{path.stem}"] = within - {f"concurrency/{path.stem}"}
    return {name: others & graph.keys() for name, others in graph.items()}


def reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    left = [*graph[start]]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += graph[name]
    return found


def in_circles(graph: Graph) -> list[str]:
    return [name for name in graph if name in reached(graph, name)]


def show_rust() -> None:
    graph = rust()
    height = {room: number for number, room in enumerate(ROOMS)}
    arrows = [(one.split("/")[0], other.split("/")[0]) for one in graph for other in graph[one]]
    between = [(one, other) for one, other in arrows if one != other]
    upward = [pair for pair in between if height[pair[1]] > height[pair[0]]]
    print(f"Rust: {len(graph)} files in {len(ROOMS)} rooms; {len(arrows)} arrows between files,")
    print(f"  {len(between)} of them between rooms; upward: {len(upward)};", end=" ")
    print(f"files in circles: {len(in_circles(graph))}")


def show_python() -> None:
    graph = python()
    arrows = sum(map(len, graph.values()))
    circles = in_circles(graph)
    print(f"Python: {len(graph)} modules; {arrows} arrows;", end=" ")
    print(f"modules in circles: {len(circles)}", *circles)


def show_longest(what: str, lengths: dict[str, int]) -> None:
    print(f"longest {what}:")
    for name, lines in sorted(lengths.items(), key=lambda it: -it[1])[:3]:
        print(f"  {lines:5} {name}")


def show_unsafe() -> None:
    blocks: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for path in FILES:
        room = room_and_file(path)[0] or path.name
        text = re.sub(r"#!?\[.*?\]", "", code(path))
        blocks[room] += len(re.findall(r"\bunsafe\s*\{", text))
        others[room] += len(re.findall(r"\bunsafe\s+(?!\{)", text))
    print("unsafe, by room: blocks, and functions, traits and declarations:")
    for room in reversed(ROOMS):
        print(f"  {room:6} {blocks[room]:4} {others[room]:4}")


if __name__ == "__main__":
    show_rust()
    show_python()
    show_longest("files", lengths_of_files())
    show_longest("functions", lengths_of_functions())
    show_unsafe()
