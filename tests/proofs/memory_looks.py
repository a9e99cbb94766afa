"""Where a child process of the memory test was before it died or was stopped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Look(NamedTuple):
    """Where a process died, or was at some moment after its time was up."""

    #: The innermost frames of the machine's stack, as places in its code, down to one of the eval
    #: loop.
    native: tuple[str, ...]
    #: Python's stack, from the innermost frame.
    python: tuple[str, ...]

    @property
    def ours(self) -> bool:
        """Whether the native half is among what runs there."""
        return any(frame.startswith("_deferrous") for frame in self.native)

    @property
    def site(self) -> str:
        """The place in the eval loop that something is called from, if it is."""
        in_loop = len(self.native) > 1 and "EvalFrameDefault" in self.native[-1]
        return self.native[-1] if in_loop else ""


def looks(text: str) -> list[Look]:
    """Find in what a child wrote where it was, each time that it was looked."""
    found = []
    before, *stacks = text.split("the machine's stack:\n")
    for stack in stacks:
        frames = []
        for line in stack.splitlines():
            frame = re.match(r"(\S+?)(?:\((\S*?)\))? ?\[(\w+)\]", line)
            if not frame:
                break
            frames.append(f"{Path(frame[1]).name.partition('.')[0]}:{frame[2] or frame[3]}")
        # By way of the second the signal came, and so did the one that was raised in handling it.
        if len(frames) > 1:
            frames = frames[len(frames) - frames[::-1].index(frames[1]) :]
        loop_at = [i for i, frame in enumerate(frames) if "EvalFrameDefault" in frame]
        lines = before.rpartition("most recent call first):\n")[2].splitlines()
        python = [line.strip() for line in lines if line.startswith("  File ")]
        found.append(Look(tuple(frames[: loop_at[0] + 1] if loop_at else frames), tuple(python)))
        before = stack
    return found


def evidence(outcome: str, text: str) -> tuple[str, ...]:
    """What has to be found without us as well, if this is to be of CPython's own making. Nothing,
    if it cannot be."""
    if outcome.startswith("died"):
        last = looks(text)[-1:]
        return tuple(" < ".join(it.native) for it in last if not it.ours)
    if outcome == "hang":
        seen = looks(text)
        if any(it.ours or it.python != seen[0].python for it in seen):
            return ()
        # It is at one line for ever, in the eval loop, which does there what these places tell.
        return tuple(sorted({it.site for it in seen} - {""}))
    if outcome == "not said":
        # What is blamed, and the line that calls it.
        lines = re.findall(r'^  File "[^"]+", line \d+, in .*', text, re.M)
        return (" ".join([*lines[-1:], summary(outcome, text)]),)
    return (summary(outcome, text),) if outcome == "lost" else ()


def summary(outcome: str, text: str) -> str:
    """Return the part of what a child wrote that tells cases apart."""
    found = re.search(r"panicked at ([^\n]*)\n([^\n]*)", text)
    if found:
        return re.sub(r".*/(?=pyo3-|src/)", "", found[1]) + " " + found[2][:80]
    if outcome.startswith(("died", "hang")):
        seen = looks(text)
        if not seen:
            return "nobody knows where"
        found = re.search(r"(memory allocation|Fatal Python error: (?!Segm|Abort))[^\n]*", text)
        what = found[0] + ", " if found else ""
        if any(it.ours for it in seen):
            what += "by ours, "
        if outcome == "hang":
            what += f"at {len({it.python for it in seen})} places in {len(seen)} looks, such as "
        return what + " < ".join(seen[-1].native[:6]) + " for " + " ".join(seen[-1].python[:1])
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else ""
