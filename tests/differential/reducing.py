"""Makes a program smaller as long as it still shows the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .program import EXCEPTIONS, Program


def _variants(node: Any) -> Iterator[Any]:
    """Simpler forms of a piece of a program, boldest first."""
    if isinstance(node, tuple):
        if node and isinstance(node[0], tuple):  # a sequence
            size = len(node)
            chunk = size
            while chunk:
                for start in range(0, size, chunk):
                    yield node[:start] + node[start + chunk :]
                chunk //= 2
        elif node and node[0] in ("d", "f", "rf", "exc", "fd", "sd", "sub", "pd"):
            yield ("none",)
        elif node and node[0] in ("raise", "trap", "reraise", "raw"):
            yield ("ret", ("same",))
        elif node and node[0] in ("fires", "fails", "raises", "acts", "falsy"):
            yield ("nothing",)
        elif node and node[0] == "try":
            yield ("twice", node[1])
        for index, item in enumerate(node):
            for simpler in _variants(item):
                yield (*node[:index], simpler, *node[index + 1 :])
    elif isinstance(node, str):
        if node in EXCEPTIONS and node != "ValueError":
            yield "ValueError"
    elif isinstance(node, int) and not isinstance(node, bool) and node != 0:
        yield 0
        if node > 1:
            yield node - 1


def reduce(program: Program, interesting: Callable[[Program], bool], tries: int = 1500) -> Program:
    """Cut `program` down while `interesting` stays true."""
    improved = True
    while improved and tries > 0:
        improved = False
        for candidate in _variants(program):
            tries -= 1
            if tries <= 0:
                break
            if interesting(candidate):
                program = candidate
                improved = True
                break
    return program
