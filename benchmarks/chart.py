"""The charts: SVG for light and dark pages, and a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from .growth import SHAPES
from .report import mean, speedups
from .rows import ROWS

plt.switch_backend("agg")
plt.rcParams.update({"svg.hashsalt": "deferrous", "font.size": 10, "font.family": "DejaVu Sans"})

THEMES = {
    "light": {
        "page": "#ffffff", "text": "#1f2328", "faint": "#59636e", "grid": "#d1d9e0",
        "ours": "#c2410c", "floor": "#1f2328", "asyncio": "#2563eb", "pypy": "#15803d",
    },
    "dark": {
        "page": "#0d1117", "text": "#f0f6fc", "faint": "#9198a1", "grid": "#3d444d",
        "ours": "#f97316", "floor": "#f0f6fc", "asyncio": "#60a5fa", "pypy": "#4ade80",
    },
}  # fmt: skip


def _dress(axes: Axes, theme: dict[str, str]) -> None:
    axes.set_facecolor(theme["page"])
    axes.tick_params(colors=theme["faint"], which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _times(value: float, _: object) -> str:
    return f"{value:g}×"


def rows(results: dict[str, Any], theme: dict[str, str]) -> Figure:
    """A bar for each row: how many times as fast as Twisted; a mark for each of the others."""
    ratios = speedups(results)
    keys = list(ratios)
    figure, axes = plt.subplots(figsize=(9.6, 0.27 * len(keys) + 1.5), facecolor=theme["page"])
    _dress(axes, theme)
    places = range(len(keys))
    # The left end of a bar is what it is compared with: 1.
    widths = [ratios[key] - 1 for key in keys]
    axes.barh(places, widths, left=1, height=0.62, color=theme["ours"], label="deferrous")
    times = results["nanoseconds"]
    for name, title, look in (
        ("floor", "the least that native code can do", {"marker": "|", "s": 90, "linewidths": 2}),
        ("pypy", "Twisted on PyPy", {"marker": "D", "s": 18, "edgecolors": theme["page"]}),
        ("asyncio", "asyncio's nearest", {"marker": "o", "s": 22, "edgecolors": theme["page"]}),
    ):
        points = [
            (times[key]["twisted"] / times[key][name], place)
            for place, key in enumerate(keys)
            if name in times[key]
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, **{"linewidths": 0.8, **look}, c=theme[name], zorder=3, label=title)
    axes.axvline(1, color=theme["text"], linewidth=1)
    axes.set_xscale("log")
    # None of the marks may be left out.
    ends = [t["twisted"] / each for t in times.values() for each in t.values()]
    axes.set_ylim(len(keys) - 0.4, -0.6)
    axes.set_xticks([0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500])
    axes.set_xlim(min([0.5, *ends]) / 1.2, max([100, *ends]) * 1.2)
    axes.xaxis.set_major_formatter(FuncFormatter(_times))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color=theme["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
    labels = [ROWS[key].title.replace("`", "") for key in keys]
    axes.set_yticks(places, labels, color=theme["text"], fontsize=9)
    axes.tick_params(axis="y", pad=44)
    for place, key in enumerate(keys):
        axes.annotate(
            f"{ratios[key]:.1f}×", (0, place), (-6, 0), ("axes fraction", "data"), "offset points",
            ha="right", va="center", color=theme["ours"], fontsize=9, fontweight="bold",
        )  # fmt: skip
    figure.text(
        0, 1.05, f"{mean(results):.1f} times as fast as Twisted, in the geometric mean",
        color=theme["text"], fontsize=13, fontweight="bold", transform=axes.transAxes,
    )  # fmt: skip
    handles, titles = axes.get_legend_handles_labels()
    # The bars come last, for they are another kind of thing; they are the subject.
    order = sorted(range(len(titles)), key=lambda index: titles[index] != "deferrous")
    axes.legend(
        [handles[index] for index in order], [titles[index] for index in order],
        loc="upper left", bbox_to_anchor=(-0.01, 1.035), ncols=4, frameon=False, fontsize=9,
        labelcolor=theme["text"], handletextpad=0.4, columnspacing=1.4, borderaxespad=0,
    )  # fmt: skip
    return figure


def growth(results: dict[str, Any], theme: dict[str, str]) -> Figure:
    """A panel for each structure: ns per item over the number of items."""
    figure, panels = plt.subplots(
        1,
        len(results),
        figsize=(13, 3.4),
        gridspec_kw={"wspace": 0.12},
        sharey=True,
        facecolor=theme["page"],
    )
    for axes, (shape, curves) in zip(panels, results.items(), strict=True):
        _dress(axes, theme)
        for name, title, color in (
            ("twisted", "Twisted", theme["faint"]),
            ("deferrous", "deferrous", theme["ours"]),
        ):
            points = [(int(s), ns) for s, ns in curves[name].items() if ns is not None]
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=color, marker="o", markersize=3.5, label=title)
            if None in curves[name].values():
                axes.plot(x[-1:], y[-1:], color=color, marker="X", markersize=9)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(5, 2_000_000)
        axes.set_title(SHAPES[shape][1], color=theme["text"], fontsize=8.5)
        axes.grid(color=theme["grid"], linewidth=0.6)
        axes.set_xticks([10, 1_000, 100_000], ["10", "1,000", "100,000"])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.minorticks_off()
    panels[0].set_ylabel("ns per item", color=theme["text"])
    panels[0].legend(frameon=False, labelcolor=theme["text"], fontsize=9, loc="upper left")
    return figure


def draw(kind: Any, results: dict[str, Any], folder: Path) -> list[Path]:
    """Write one of the two charts in all its forms; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, theme in THEMES.items():
        figure = kind(results, theme)
        for suffix in ["svg", "png"] if name == "light" else ["svg"]:
            path = folder / f"{kind.__name__}-{name}.{suffix}"
            metadata = {"Date": None} if suffix == "svg" else {"Software": None}
            figure.savefig(path, bbox_inches="tight", dpi=110, metadata=metadata)
            written.append(path)
        plt.close(figure)
    return written
