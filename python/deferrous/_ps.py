"""The commands `ps`, `pstree` and `top` of `python -m deferrous`."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

from ._asking import CannotAsk, ask

__all__ = ["COMMANDS", "main"]

COMMANDS = ("ps", "pstree", "top")

_HELP = {
    "ps": "count the waiting Deferreds in a process, by what they wait for and where",
    "pstree": "show what is waiting for what in a process, as a tree",
    "top": "repeat ps, and show what has changed",
}
#: The number of rows in `top` if the height of the terminal is unknown.
_ROWS = 40


def main(command: str, arguments: list[str]) -> int:
    """Execute a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m deferrous {command}",
        description=f"{_HELP[command].capitalize()}. The process must have been started with "
        "DEFERROUS_INSPECT=1, or have called deferrous.inspect.listen(). With Python 3.14 and "
        "newer, neither is needed, if both processes run the same version of Python.",
    )
    parser.add_argument("pid", type=_pid, metavar="PID", help="the process ID")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for an answer (10)",
    )
    if command != "pstree":
        parser.add_argument(
            "--sort",
            choices=("count", "age"),
            default="count",
            help="show the largest groups first (count), or the oldest (age)",
        )
    if command == "top":
        parser.add_argument(
            "--interval",
            type=_seconds,
            default=2.0,
            metavar="SECONDS",
            help="how often to ask (2)",
        )
    options = parser.parse_args(arguments)
    try:
        if command == "top" and sys.stdout.isatty() and not options.json:
            _top(options)
        else:
            answer = ask(
                options.pid, {"ask": "pstree" if command == "pstree" else "ps"}, options.timeout
            )
            if options.json:
                text = json.dumps(answer, indent=2)
            elif command == "pstree":
                text = "\n".join(_tree_lines(answer))
            else:
                text = "\n".join(_rows(answer, options.sort))
            print(text)
            sys.stdout.flush()
    except CannotAsk as error:
        print(f"python -m deferrous {command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # This is how `top` is stopped.
        return 0 if command == "top" else 130
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. The rest must not be written at exit.
        sys.stdout = None
        return 1
    return 0


def _pid(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a process")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


# -------------------------------------------------------------------------------------------------
# As text. What the other process says is not trusted to be printable.


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


def _rows(answer: dict[str, Any], by: str, before: dict[str, int] | None = None) -> Iterator[str]:
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


def _tree_lines(answer: dict[str, Any]) -> Iterator[str]:
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


def _top(options: argparse.Namespace) -> None:
    before: dict[str, int] | None = None
    while True:
        answer = ask(options.pid, {"ask": "ps"}, options.timeout)
        width, height = shutil.get_terminal_size((100, _ROWS))
        lines = list(_rows(answer, options.sort, before or {} if before is not None else None))
        shown = [line[: width - 1] for line in lines[: height - 2]]
        if len(lines) > len(shown):
            shown.append(f"... {len(lines) - len(shown):,} more lines ...")
        # Move to the upper left corner, clear each line behind its text, and then the rest of the
        # screen.
        text = "\x1b[K\n".join(shown)
        sys.stdout.write(
            f"\x1b[H{text}\x1b[K\x1b[J\n" if before is not None else f"\x1b[2J\x1b[H{text}\n"
        )
        sys.stdout.flush()
        before = {each["why"]: each["count"] for each in answer["groups"]}
        time.sleep(options.interval)
