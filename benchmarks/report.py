"""The results as a Markdown table, and in a few words."""

from __future__ import annotations

import re
from typing import Any

from .measure import MEMORY_TARGETS
from .rows import ROWS

#: No row may cost more than this many times its floor.
FLOOR_TARGET = 1.5
MEAN_TARGET = 8.0
#: How much the longer of the two chains may cost, per callback, times what the shorter does.
FLAT_TARGET = 1.2


def geometric_mean(numbers: list[float]) -> float:
    product = 1.0
    for number in numbers:
        product *= number ** (1 / len(numbers))
    return product


def speedups(results: dict[str, Any]) -> dict[str, float]:
    """Of each row, Twisted's time / ours."""
    return {
        key: times["twisted"] / times["deferrous"] for key, times in results["nanoseconds"].items()
    }


def mean(results: dict[str, Any]) -> float:
    """The geometric mean of all timed rows."""
    return geometric_mean(list(speedups(results).values()))


def _time(nanoseconds: float | None) -> str:
    return "" if nanoseconds is None else f"{nanoseconds:,.0f}"


def _met(met: bool, what: str) -> str:
    return what if met else f"**{what}**"


def table(results: dict[str, Any]) -> str:
    """Times in ns per operation; what misses its target is in bold."""
    rows = results["nanoseconds"]
    pypy = any("pypy" in times for times in rows.values())
    columns = ["operation", "Twisted", "deferrous", "asyncio"]
    columns += ["Twisted on PyPy"] * pypy + ["floor", "× Twisted", "target", "× floor"]
    lines = [
        "| " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * (len(columns) - 1),
    ]
    for key, times in rows.items():
        row, ours = ROWS[key], times["deferrous"]
        ratio = times["twisted"] / ours
        cells = [row.title, _time(times["twisted"]), _time(ours)]
        cells += [_met(ours <= times.get("asyncio", ours), _time(times.get("asyncio")) or " ")]
        cells += [_time(times.get("pypy"))] * pypy + [_time(times.get("floor"))]
        cells += [_met(ratio >= row.target, f"{ratio:.1f}"), f"{row.target:g}"]
        above = ours / times["floor"] if "floor" in times else None
        cells += ["" if above is None else _met(above <= FLOOR_TARGET, f"{above:.2f}")]
        lines.append("| " + " | ".join(cells).replace("** **", "") + " |")
    lines += [
        "",
        "| bytes per pending Deferred | Twisted | deferrous | asyncio | floor | target |",
        "| --- |" + " ---: |" * 5,
    ]
    for title, sizes in results["bytes"].items():
        target = MEMORY_TARGETS[title]
        cells = [title, _time(sizes["twisted"])]
        cells += [_met(sizes["deferrous"] <= target, _time(sizes["deferrous"]))]
        cells += [_time(sizes["asyncio"]), _time(sizes.get("floor")), f"{target}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compact(results: dict[str, Any]) -> str:
    """The times of Twisted and ours alone; what misses its target is in bold."""
    rows = results["nanoseconds"]
    floor = any("floor" in times for times in rows.values())
    columns = ["operation", "Twisted", "deferrous", "× Twisted"] + ["× floor"] * floor
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for key, ratio in speedups(results).items():
        times = rows[key]
        cells = [ROWS[key].title, _time(times["twisted"]), _time(times["deferrous"])]
        cells += [_met(ratio >= ROWS[key].target, f"{ratio:.1f}")]
        if floor:
            above = times["deferrous"] / times["floor"]
            cells += [_met(above <= FLOOR_TARGET, f"{above:.2f}")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(results: dict[str, Any]) -> str:
    """What the issue's other targets have come to, and what the numbers were measured on."""
    rows = results["nanoseconds"]
    count = len(rows)
    ratios = speedups(results)
    met = sum(ratio >= ROWS[key].target for key, ratio in ratios.items())
    lines = [
        f"- Geometric mean of the {count} timed rows: **{mean(results):.1f} times** as fast as "
        f"Twisted (target {MEAN_TARGET:g}); {met} of {count} meet their own target.",
    ]
    slower = [ROWS[key].title for key, ratio in ratios.items() if ratio < 1]
    lines.append(f"- Slower than Twisted: {'; '.join(slower) or 'none'}.")
    slower = [
        ROWS[key].title
        for key, times in rows.items()
        if times["deferrous"] > times.get("asyncio", times["deferrous"])
    ]
    lines.append(f"- Slower than asyncio's nearest equivalent: {'; '.join(slower) or 'none'}.")
    floors = {key: t["deferrous"] / t["floor"] for key, t in rows.items() if "floor" in t}
    if floors:
        within = sum(ratio <= FLOOR_TARGET for ratio in floors.values())
        lines.append(
            f"- {within} of {len(floors)} rows are within {FLOOR_TARGET} times their floor; "
            f"the geometric mean is {geometric_mean(list(floors.values())):.2f}."
        )
    if {"callbacks_1000", "callbacks_100000"} <= rows.keys():
        growth = rows["callbacks_100000"]["deferrous"] / rows["callbacks_1000"]["deferrous"]
        lines.append(
            f"- A callback among 100,000 costs {growth:.2f} times what one among 1,000 does "
            f"(at most {FLAT_TARGET} is the target)."
        )
    pypy = {key: t["pypy"] / t["deferrous"] for key, t in rows.items() if "pypy" in t}
    if pypy:
        faster = sum(ratio > 1 for ratio in pypy.values())
        lines.append(f"- Faster than Twisted on PyPy: {faster} of {len(pypy)} rows.")
    return "\n".join(lines)


#: Folders that are only on the machine where something was measured.
PRIVATE = re.compile(r"/(?:root|tmp|home/[^\s'/]+)/(?:[^\s'/]+/)*")


def environment(results: dict[str, Any]) -> str:
    found = results["environment"]
    lines = [f"- {name}: `{PRIVATE.sub('…/', str(value))}`" for name, value in found.items()]
    return "\n".join([*lines, f"- the least of {results['rounds']} rounds"])
