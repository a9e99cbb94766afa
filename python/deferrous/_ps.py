"""The commands `ps`, `pstree` and `top` of `python -m deferrous`."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time

from ._asking import CannotAsk, ask
from ._ps_lines import rows, tree_lines

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
                text = "\n".join(tree_lines(answer))
            else:
                text = "\n".join(rows(answer, options.sort))
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


def _top(options: argparse.Namespace) -> None:
    before: dict[str, int] | None = None
    while True:
        answer = ask(options.pid, {"ask": "ps"}, options.timeout)
        width, height = shutil.get_terminal_size((100, _ROWS))
        lines = list(rows(answer, options.sort, before or {} if before is not None else None))
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
