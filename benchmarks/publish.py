"""Writes the measurements into the pages: tables between markers, and charts.

The main page has those of one version of Python, with a plain build. The other page has a table for
each other set of results in target/bench.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from . import counting, growth, measure, report
from .measure import OUTPUT, ROOT

PAGE = ROOT / "docs" / "performance.md"
OTHERS = ROOT / "docs" / "performance-pythons.md"
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"


def markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by `make publish` -->", f"<!-- end of {name} -->"


def fill(path: Path, name: str, text: str) -> None:
    """Replace what is between the two markers of that name."""
    page = path.read_text(encoding="utf-8")
    begin, end = markers(name)
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    page, count = pattern.subn(lambda _: f"{begin}\n\n{text}\n\n{end}", page)
    if count != 1:
        raise ValueError(f"{path} has {count} times the markers of {name!r}")
    path.write_text(page, encoding="utf-8")


def address() -> str:
    """Return where the project is: the package index shows the README, too."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^Repository = "([^"]+)"$', text, re.MULTILINE)
    assert found
    return found[1]


def headline(results: dict[str, object]) -> str:
    found = results["environment"]
    assert isinstance(found, dict)
    main = report.main_rows(results)
    of_all = ""
    if len(results["nanoseconds"]) > len(main["nanoseconds"]):  # type: ignore[arg-type]
        count = len(report.speedups(results))
        of_all = f" ({report.mean(results):.1f} times in that of all {count} that are measured)"
    return (
        f"**{report.mean(main):.1f} times as fast as Twisted** {found['Twisted']}, in the "
        f"geometric mean of the {len(report.speedups(main))} operations below{of_all}, on "
        f"{' '.join(found['interpreter'].split()[:2])}, {found['CPU'].split(' (')[0]}. "
        f"[Performance]({address()}/blob/main/docs/performance.md) says what was measured, and how."
    )


def other(name: str, results: dict[str, Any]) -> None:
    """Fill the section of a set of results, which is added to the page if it is new."""
    page = OTHERS.read_text(encoding="utf-8")
    if markers(name)[0] not in page:
        _, version, *_ = results["environment"]["interpreter"].split()
        title = f"## CPython {version.rpartition('.')[0]}, {results['environment']['build']}"
        section = "\n\n".join([page.rstrip("\n"), title, *markers(name)])
        OTHERS.write_text(section + "\n", encoding="utf-8")
    parts = report.summary(results), report.compact(results), report.environment(results)
    fill(OTHERS, name, "\n\n".join(parts))


def publish() -> None:
    """Write all that there is in target/bench."""
    from . import chart

    # Results of a profile-guided build are never on the main page.
    main = measure.folder("plain")
    for path in sorted(OUTPUT.glob("*/results.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        if path.parent != main:
            other(path.parent.name, results)
            continue
        chart.draw(chart.rows, report.main_rows(results), IMAGES)
        fill(PAGE, "environment", report.environment(results))
        fill(PAGE, "results", report.table(report.main_rows(results)))
        fill(PAGE, "all rows", report.in_groups(results))
        fill(PAGE, "summary", report.summary(results))
        fill(README, "headline", headline(results))
    if (path := main / "growth.json").exists():
        curves = json.loads(path.read_text(encoding="utf-8"))
        chart.draw(chart.growth, curves, IMAGES)
        fill(PAGE, "growth", growth.table(curves))
    if (path := main / "allocations.json").exists():
        rows = json.loads(path.read_text(encoding="utf-8"))
        fill(PAGE, "allocations", counting.table(rows))
    if (path := main / "concurrency.json").exists():
        from . import concurrency

        results = json.loads(path.read_text(encoding="utf-8"))
        fill(PAGE, "concurrency", concurrency.table(results))
    if counting.RECORD.exists():
        recorded = json.loads(counting.RECORD.read_text(encoding="utf-8"))
        fill(PAGE, "instructions", counting.table(recorded["instructions"]))
