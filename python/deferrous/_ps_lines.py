"""The answers to `ps` and `pstree` as lines of text.

What the other process says need not be printable.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["rows", "tree_lines"]


def _clean(text: object) -> str:
    text = str(text)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _age(seconds: object) -> str:
    if not isinstance(seconds, (int, float)):
        return "-"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {seconds:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 100 else f"{hours // 24} d {hours % 24} h"


def _title(answer: dict[str, Any]) -> str:
    ages = "" if answer["tracked"] else "; no ages: DEFERROUS_TRACK is off"
    return (
        f"process {answer['pid']}: {answer['waiting']:,} wait "
        f"(deferrous {_clean(answer['deferrous'])}, Python {_clean(answer['python'])}{ages})"
    )


def _sorted(groups: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    if by == "age":
        return sorted(groups, key=lambda each: -(each["oldest"] or 0))
    return sorted(groups, key=lambda each: -each["count"])


def rows(answer: dict[str, Any], by: str, before: dict[str, int] | None = None) -> Iterator[str]:
    """Yield the lines of `ps`; given the counts before, those of `top`."""
    yield _title(answer)
    groups = _sorted(answer["groups"], by)
    aged = any(each["oldest"] is not None for each in groups)
    if groups:
        change = f"{'CHANGE':>8}  " if before is not None else ""
        age = f"{'OLDEST':>13}  " if aged else ""
        yield f"{'COUNT':>9}  {change}{age}WAITS"
    for each in groups:
        count, why = each["count"], _clean(each["why"])
        change = ""
        if before is not None:
            more = count - before.get(each["why"], 0)
            change = f"{f'{more:+,}' if more else '':>8}  "
        age = f"{_age(each['oldest']):>13}  " if aged else ""
        made = f"; the oldest was made at {_clean(each['made'])}" if each.get("made") else ""
        yield f"{count:>9,}  {change}{age}{why}{made}"
    yield from _left_out(answer)


def _left_out(answer: dict[str, Any]) -> Iterator[str]:
    if answer["groups_left_out"]:
        yield f"... {answer['groups_left_out']:,} more groups ..."
    if answer["not_looked_at"]:
        yield f"... {answer['not_looked_at']:,} more were not looked at, as there are so many ..."


def tree_lines(answer: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of `pstree`."""
    yield _title(answer)
    for tree in answer["trees"]:
        yield ""
        yield from _tree(tree)
    if answer["trees_left_out"]:
        yield f"\n... {answer['trees_left_out']:,} more trees ..."
    yield from _left_out(answer)


def _tree(tree: dict[str, Any]) -> Iterator[str]:
    nodes = tree["nodes"]
    seen: set[int] = set()
    # Each is a node, the arrow to it, and the prefixes of its own line and of its children.
    left: list[tuple[int, str, str, str]] = [(tree["root"], "", "", "")]
    alike = tree.get("alike", 1)
    while left:
        place, how, first, rest = left.pop()
        if place < 0:
            yield f"{first}{how}"
            continue
        node = nodes[place]
        name = f"{how}{_clean(node['name'])}"
        if place in seen:
            yield f"{first}{name}: see above"
            continue
        seen.add(place)
        more = f"  ({alike - 1:,} more wait alike)" if alike > 1 and place == tree["root"] else ""
        yield f"{first}{name} {_clean(node['detail'])}{more}"
        parts: list[tuple[int, str]] = []
        stack = node["call_stack"]
        for number, frame in enumerate(reversed(stack)):
            if node["call_stack_more"] and number == len(stack) // 2:
                parts.append((-1, f"... {node['call_stack_more']:,} more ..."))
            kind = f"{frame['kind']} " if frame["kind"] else ""
            where = f'File "{frame["file"]}", line {frame["line"]}, in {kind}{frame["function"]}'
            parts.append((-1, _clean(where)))
        for call in node["callbacks"]:
            where = "" if call["file"] is None else f', file "{call["file"]}", line {call["line"]}'
            parts.append((-1, _clean(f"then calls {call['name']} on {call['on']}{where}")))
        if node["callbacks_more"]:
            parts.append((-1, f"... then calls {node['callbacks_more']:,} more ..."))
        for edge in node["waits_for"]:
            if edge["left_out_between"]:
                parts.append(
                    (-1, f"... {edge['left_out_between']:,} more, each waits for the next")
                )
            parts.append((edge["to"], f"{_clean(edge['how'])}: " if edge["how"] else ""))
        if node["waits_for_more"]:
            number = node["waits_for_more"]
            parts.append(
                (-1, f"... {number:,} more ..." if number > 0 else "... more, in a circle")
            )
        for number, (to, text) in reversed(list(enumerate(parts))):
            last = number == len(parts) - 1
            left.append(
                (to, text, rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "))
            )
    for cycle in tree["cycles"]:
        names = ", ".join(_clean(nodes[each]["name"]) for each in cycle["nodes"][:5])
        others = len(cycle["nodes"]) - 5
        names += f", {others:,} more" if others > 0 else ""
        if len(cycle["nodes"]) == 1 and cycle["for_ever"]:
            yield f"{names} waits for itself: it can never fire."
        elif len(cycle["nodes"]) == 1:
            yield f"{names} waits for itself, unless something else comes first."
        elif cycle["for_ever"]:
            yield f"{names} wait for each other: none of them can ever fire."
        else:
            yield f"{names} wait for each other, unless something else comes first."
