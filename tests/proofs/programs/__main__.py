"""Runs each program three times, and compares."""

from __future__ import annotations

from typing import Any

from .base import PROGRAMS, load, nothing


def main() -> int:
    import gc
    import logging

    logging.getLogger("deferrous").addHandler(logging.NullHandler())
    logging.getLogger("deferrous").propagate = False
    names = load("deferrous")
    bad = 0
    for name, run in PROGRAMS.items():
        kept: list[Any] = []
        results = [repr(run(names, lambda d, kept=kept: kept.append(d) or d)) for _ in range(3)]
        for each in kept:
            if hasattr(each, "addBoth"):
                each.addBoth(nothing)
        kept.clear()
        gc.collect()
        if len(set(results)) > 1:
            bad += 1
            print(f"{name}: {results}")
    print(f"{len(PROGRAMS)} programs, {bad} bad")
    return bad > 0


if __name__ == "__main__":
    raise SystemExit(main())
