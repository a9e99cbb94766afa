"""Put what was measured into the pages: tables between markers, and charts."""

from __future__ import annotations

import json
import re
from pathlib import Path

from . import counting, growth, measure, report
from .measure import ROOT

PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"


def fill(path: Path, name: str, text: str) -> None:
    """Replace what is between the two markers of that name."""
    page = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: written by `make publish` -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    page, count = pattern.subn(lambda _: f"{begin}\n\n{text}\n\n{end}", page)
    if count != 1:
        raise ValueError(f"{path} has {count} times the markers of {name!r}")
    path.write_text(page, encoding="utf-8")


def headline(results: dict[str, object]) -> str:
    found = results["environment"]
    assert isinstance(found, dict)
    return (
        f"**{report.mean(results):.1f} times as fast as Twisted** {found['Twisted']}, in the "
        f"geometric mean of {len(report.speedups(results))} operations, on "
        f"{' '.join(found['interpreter'].split()[:2])}, {found['CPU'].split(' (')[0]}. "
        "[Performance](docs/performance.md) says what was measured, and how."
    )


def publish() -> None:
    """Write all that there is in target/bench."""
    from . import chart

    if measure.RESULTS.exists():
        results = json.loads(measure.RESULTS.read_text(encoding="utf-8"))
        chart.draw(chart.rows, results, IMAGES)
        fill(PAGE, "environment", report.environment(results))
        fill(PAGE, "results", report.table(results))
        fill(PAGE, "summary", report.summary(results))
        fill(README, "headline", headline(results))
    if growth.RESULTS.exists():
        curves = json.loads(growth.RESULTS.read_text(encoding="utf-8"))
        chart.draw(chart.growth, curves, IMAGES)
        fill(PAGE, "growth", growth.table(curves))
    if counting.ALLOCATIONS.exists():
        rows = json.loads(counting.ALLOCATIONS.read_text(encoding="utf-8"))
        fill(PAGE, "allocations", counting.table(rows))
    if counting.RECORD.exists():
        recorded = json.loads(counting.RECORD.read_text(encoding="utf-8"))
        fill(PAGE, "instructions", counting.table(recorded["instructions"]))
