"""Draws the pictures of chains in the tutorial: `python tools/chains.py`.

Each picture is of a real Deferred. It is made, fired, and watched; what is drawn thick is the way
that its result took. With `--check`, says which pictures in docs/images/chains are not what would
be drawn now, and fails if there are any.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

import deferrous as defer

FOLDER = Path(__file__).parents[1] / "docs/images/chains"


class Link(NamedTuple):
    """A link of a chain: the names of its callback and errback, each or None."""

    callback: str | None
    errback: str | None


class Step(NamedTuple):
    """What happened at a link: what was called, if anything, and whether it failed."""

    called: str | None
    failed: bool


class Picture(NamedTuple):
    """What comes first, what is added to it, who raises an exception, who returns a Deferred."""

    first: str
    links: list[Link]
    raising: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()


def callback(name: str) -> Link:
    return Link(name, None)


def errback(name: str) -> Link:
    return Link(None, name)


def both(name: str) -> Link:
    return Link(name, name)


SORTED = [callback("sorted"), callback("pprint")]
REPORTED = [*SORTED, errback("report_error")]
ELSE = [Link("h", "g")]
PROCEED = [errback("g"), callback("h")]
ENTIRE = [callback("h"), errback("g")]
FINALLY = [both("tidy")]

PICTURES = {
    "order": Picture("get_names()", SORTED),
    "waiting": Picture(
        'succeed("Dave")', [callback("look_up_age"), callback("print")], slow=("look_up_age",)
    ),
    "simple-well": Picture("get_names()", REPORTED),
    "simple-first-fails": Picture("get_names()", REPORTED, ("get_names()",)),
    "simple-second-fails": Picture("get_names()", REPORTED, ("sorted",)),
    "else-well": Picture("f()", ELSE),
    "else-f-fails": Picture("f()", ELSE, ("f()",)),
    "else-h-fails": Picture("f()", ELSE, ("h",)),
    "proceed-well": Picture("f()", PROCEED),
    "proceed-f-fails": Picture("f()", PROCEED, ("f()",)),
    "proceed-h-fails": Picture("f()", PROCEED, ("h",)),
    "entire-well": Picture("f()", ENTIRE),
    "entire-f-fails": Picture("f()", ENTIRE, ("f()",)),
    "entire-h-fails": Picture("f()", ENTIRE, ("h",)),
    "finally-well": Picture("f()", FINALLY),
    "finally-f-fails": Picture("f()", FINALLY, ("f()",)),
}


# Watching.


def watch(picture: Picture) -> list[Step]:
    """Run a chain: a step for what comes first, and one for each link."""
    steps: list[Step] = []
    called: list[str] = []
    later: list[defer.Deferred[object]] = []

    def function(name: str | None):
        def run(outcome: object) -> object:
            called.append(name)
            if name in picture.raising:
                raise ValueError(name)
            if name in picture.slow:
                later.append(defer.Deferred())
                return later[-1]
            # What tidies up hands on what it was given.
            return outcome if name == "tidy" else name

        return defer.passthru if name is None else run

    def see(outcome: object) -> object:
        failed = isinstance(outcome, defer.Failure)
        steps.append(Step(called.pop() if called else None, failed))
        return outcome

    d: defer.Deferred[object] = defer.Deferred()
    d.addBoth(see)
    for link in picture.links:
        d.addCallbacks(function(link.callback), function(link.errback))
        d.addBoth(see)
    if picture.first in picture.raising:
        d.errback(ValueError(picture.first))
    else:
        d.callback(picture.first)
    for number, waited_for in enumerate(later, len(steps)):
        if len(steps) != number:
            raise AssertionError("it has not waited")
        waited_for.callback("later")
    d.addErrback(lambda _: None)
    return steps


def in_words(picture: Picture, steps: list[Step]) -> str:
    """Say what a picture shows, for those who do not see it."""
    says = [f"{picture.first} {'fails' if steps[0].failed else 'succeeds'}."]
    for link, step in zip(picture.links, steps[1:], strict=True):
        names = [name for name in dict.fromkeys(link) if name]
        for name in names:
            if name != step.called:
                says.append(f"{name} is skipped.")
        if step.called == "tidy":
            says.append(f"{step.called} is called, and hands the {end_of(step)} on.")
        elif step.called in picture.slow:
            says.append(f"{step.called} is called, and returns a Deferred, which is waited for.")
        elif step.called:
            says.append(f"{step.called} is called, and {'raises' if step.failed else 'returns'}.")
    says.append(f"What comes out is a {end_of(steps[-1])}.")
    return " ".join(says)


def end_of(step: Step) -> str:
    return "failure" if step.failed else "result"


# Drawing.

#: Where the ways of results and of failures run, from left to right, and what is between links.
RAILS = (70, 190)
WIDTH, BOX, HIGH, ROW, TOP = 260, 104, 30, 62, 58

STYLE = """
.chain text { font: 13px ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  text-anchor: middle; fill: var(--md-default-fg-color, #808691) }
.chain .quiet { fill: var(--md-default-fg-color--light, #808691) }
.chain .idle { fill: none; stroke: var(--md-default-fg-color--lighter, #a0a5ad);
  stroke-dasharray: 2 4 }
.chain rect { fill: none; stroke: var(--md-default-fg-color--lighter, #a0a5ad) }
.chain .passed { fill: var(--md-default-fg-color--light, #808691) }
.chain .well { fill: none; stroke: #2e9e6b; stroke-width: 3 }
.chain .badly { fill: none; stroke: #d9534f; stroke-width: 3 }
.chain .waits { stroke-dasharray: 7 5 }
.chain rect.well, .chain rect.badly { stroke-width: 2 }
.chain rect.well { fill: #2e9e6b22 }
.chain rect.badly { fill: #d9534f22 }
"""


def kind_of(failed: bool) -> str:
    return "badly" if failed else "well"


class Parts:
    """The parts of a picture."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def box(self, x: float, y: float, text: str, kind: str, width: int = BOX) -> None:
        shape = f'x="{x - width / 2:g}" y="{y}" width="{width}" height="{HIGH}" rx="6"'
        self.texts.append(f'<rect {shape} class="{kind}"/>')
        self.texts.append(
            f'<text x="{x:g}" y="{y + 19}" class="{"" if kind else "passed"}">{escape(text)}</text>'
        )

    def way(self, x: float, y: float, to_x: float, to_y: float, kind: str) -> None:
        middle = (y + to_y) / 2
        line = (
            f"M{x:g} {y:g}V{to_y:g}"
            if x == to_x
            else f"M{x:g} {y:g}C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"
        )
        self.texts.append(f'<path d="{line}" class="{kind}"/>')


def draw(name: str, picture: Picture) -> str:
    """Return a picture as SVG."""
    steps = watch(picture)
    bottom = TOP + ROW * len(picture.links)
    made = Parts()
    box, way, parts = made.box, made.way, made.texts

    # The ways that could be taken, from box to box.
    for rail, x in enumerate(RAILS):
        y = TOP - 14
        for number, link in enumerate(picture.links):
            if link[rail] is not None:
                top = TOP + ROW * number + 16
                way(x, y, x, top, "idle")
                y = top + HIGH
        way(x, y, x, bottom + 16, "idle")
    x = WIDTH / 2
    y = HIGH + 6
    for number, (link, step) in enumerate(zip(picture.links, steps[1:], strict=True)):
        before = steps[number].failed
        top = TOP + ROW * number + 16
        waited = " waits" if steps[number].called in picture.slow else ""
        way(x, y, RAILS[before], top, kind_of(before) + waited)
        x = RAILS[before]
        if step.called in picture.slow:
            parts.append(f'<text x="{x + 34}" y="{top + HIGH + 21}" class="quiet">waits</text>')
        if step.called is None:
            way(x, top, x, top + HIGH, kind_of(before))
        y = top + HIGH
        for rail, each in enumerate(link):
            if each is not None:
                is_called = step.called is not None and rail == before
                box(RAILS[rail], top, each, kind_of(step.failed) if is_called else "")
    last = steps[-1].failed
    way(x, y, RAILS[last], bottom + 18, kind_of(last))
    box(WIDTH / 2, 6, picture.first, kind_of(steps[0].failed), 128)
    for rail, text in enumerate(("result", "failure")):
        arrived = rail == last
        parts.append(
            f'<text x="{RAILS[rail]}" y="{bottom + 36}" class="{"" if arrived else "quiet"}">'
            f"{text if arrived else '·'}</text>"
        )
    words = escape(in_words(picture, steps))
    height = bottom + 46
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chain" role="img" width="{WIDTH}" '
        f'height="{height}" viewBox="0 0 {WIDTH} {height}">\n<title>{words}</title>\n'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def main(arguments: list[str]) -> int:
    drawn = {FOLDER / f"{name}.svg": draw(name, picture) for name, picture in PICTURES.items()}
    if arguments == ["--check"]:
        there = {path: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.svg")}
        wrong = sorted(
            path.name for path in drawn.keys() | there if drawn.get(path) != there.get(path)
        )
        print(*(f"{name} is not as it would be drawn" for name in wrong), sep="\n")
        return bool(wrong)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in drawn.items():
        path.write_text(text, encoding="utf-8")
    print(f"{len(drawn)} pictures in {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
