"""Formats the results: a Markdown table, and a summary."""

from __future__ import annotations

import re
from typing import Any

from .measure import MEMORY_TARGETS
from .other_rows import ALL_ROWS
from .rows import ROWS

#: No row may cost more than this many times its floor.
FLOOR_TARGET = 1.5
MEAN_TARGET = 9.5
#: And of all rows.
MEAN_OF_ALL_TARGET = 6.0
#: So many of the slowest are named.
SLOWEST = 10
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


def main_rows(results: dict[str, Any]) -> dict[str, Any]:
    """The same results, of the main rows alone."""
    rows = results["nanoseconds"]
    return {**results, "nanoseconds": {key: rows[key] for key in ROWS if key in rows}}


def mean(results: dict[str, Any]) -> float:
    """The geometric mean of all rows that were timed."""
    return geometric_mean(list(speedups(results).values()))


def distribution(results: dict[str, Any]) -> str:
    """What all rows have come to, not only the best of them."""
    ratios = speedups(results)
    ordered = sorted(ratios, key=ratios.__getitem__)
    parts = {
        "slower than Twisted": sum(ratio < 1 for ratio in ratios.values()),
        "up to 2 times as fast": sum(1 <= ratio < 2 for ratio in ratios.values()),
        "2 to 5 times": sum(2 <= ratio < 5 for ratio in ratios.values()),
        "5 to 10 times": sum(5 <= ratio < 10 for ratio in ratios.values()),
        "10 times and more": sum(10 <= ratio for ratio in ratios.values()),
    }
    lines = [
        f"- Geometric mean of all {len(ratios)} rows: **{mean(results):.1f} times** as fast as "
        f"Twisted (target {MEAN_OF_ALL_TARGET:g}).",
        f"- Of these, {', '.join(f'{count} {what}' for what, count in parts.items())}. Half of "
        f"them are at least {ratios[ordered[len(ordered) // 2]]:.1f} times as fast.",
    ]
    slowest = (f"{ALL_ROWS[key].title} {ratios[key]:.2f}" for key in ordered[:SLOWEST])
    lines.append(f"- The slowest {SLOWEST}: {'; '.join(slowest)}.")
    return "\n".join(lines)


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
        row, ours = ALL_ROWS[key], times["deferrous"]
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
        cells = [ALL_ROWS[key].title, _time(times["twisted"]), _time(times["deferrous"])]
        cells += [_met(ratio >= ALL_ROWS[key].target, f"{ratio:.1f}")]
        if floor:
            above = times["deferrous"] / times["floor"]
            cells += [_met(above <= FLOOR_TARGET, f"{above:.2f}")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def in_groups(results: dict[str, Any]) -> str:
    """The rows that are not main ones, a table for each group."""
    rows = results["nanoseconds"]
    groups: dict[str, dict[str, Any]] = {}
    for key, times in rows.items():
        groups.setdefault(ALL_ROWS[key].group, {})[key] = times
    groups.pop("main", None)
    return "\n\n".join(
        f"### {name[0].upper()}{name[1:]}\n\n{compact({**results, 'nanoseconds': part})}"
        for name, part in groups.items()
    )


def summary(results: dict[str, Any]) -> str:
    """What the issue's other targets have come to, and what the numbers were measured on."""
    others = [key for key in results["nanoseconds"] if key not in ROWS]
    about_all = distribution(results) if others else None
    results = main_rows(results) if others else results
    rows = results["nanoseconds"]
    count = len(rows)
    if not rows:
        return about_all or ""
    ratios = speedups(results)
    met = sum(ratio >= ALL_ROWS[key].target for key, ratio in ratios.items())
    lines = [
        f"- Geometric mean of the {count} main rows: **{mean(results):.1f} times** as fast as "
        f"Twisted (target {MEAN_TARGET:g}); {met} of {count} meet their own target.",
    ]
    slower = [ALL_ROWS[key].title for key, ratio in ratios.items() if ratio < 1]
    lines.append(f"- Slower than Twisted: {'; '.join(slower) or 'none'}.")
    slower = [
        ALL_ROWS[key].title
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
    if about_all:
        lines.append(about_all)
    return "\n".join(lines)


#: Folders that are only on the machine where something was measured.
PRIVATE = re.compile(r"/(?:root|tmp|home/[^\s'/]+)/(?:[^\s'/]+/)*")


def environment(results: dict[str, Any]) -> str:
    found = dict(results["environment"])
    # An interpreter that no package has put there can be in any folder.
    folder, _, name = found["executable"].rpartition("/")
    if not folder.startswith(("/usr", "/opt")):
        found["executable"] = f"…/{name}"
    lines = [f"- {name}: `{PRIVATE.sub('…/', str(value))}`" for name, value in found.items()]
    return "\n".join([*lines, f"- the least of {results['rounds']} rounds"])
