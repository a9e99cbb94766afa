"""Memory errors: each allocation of a program fails, one after the other.

    python -m tests.proofs.memory                      each program, until it has succeeded
    python -m tests.proofs.memory --minutes 2          as many as there is time for
    python -m tests.proofs.memory --program callbacks --mode one --at 17 --show

In the mode `one`, one allocation of CPython's fails; in `all`, all from one on. In `native-one` and
`native-all` it is those of the native half, which Rust makes of the system, past CPython. Each case
runs in a child of its own, in which the program has not been run before (`cold`) or has been
(`warm`), so that what is looked up or made at its first use is tried, too.

Right is a MemoryError, what a program makes of it, or success; then every Deferred can go on, locks
and queues are whole, and the same program succeeds. Never is there a panic, a death of the process,
a hang, or an error that nobody hears of. Where CPython itself cannot go on, the same program on
Twisted, or a plain function, comes to the same end at the same place, if at another allocation: at
the very same addresses of CPython's code, from the innermost to its eval loop.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .memory_child import (
    FINISHED,
    HIT,
    LOST,
    NOT_SAID,
    WENT_ON,
    WRONG,
    Heard,
    helper,
    keep_code,
    run_with_failures,
)
from .memory_looks import evidence, summary
from .programs import ASYNCIO_TOO, FRESH, OURS_ONLY, PLAIN, PROGRAMS, load, loop

#: How long a child may do nothing, in seconds, and work. (CPython 3.11 goes round in a circle, or
#: crashes, where it has no memory to note from where a block is left.)
PATIENCE, WORK = 20, 0.5
#: No program here allocates as often.
MANY = 40_000

MODES = ("one", "all", "native-one", "native-all")

ROOT = Path(__file__).parent


def case(names, program, expected, at: int, mode: str, heard, show: bool) -> tuple[str, str]:
    """Run one case in a child. Returns what became of it, and what it wrote."""
    with tempfile.TemporaryFile() as written:
        child = os.fork()
        if not child:
            code = WRONG
            try:
                os.dup2(written.fileno(), 2)
                # By the helper the machine's stack is told, and before that by this, Python's.
                helper().watch(PATIENCE)
                faulthandler.enable(2, all_threads=False)
                for number in (signal.SIGALRM, signal.SIGVTALRM):
                    faulthandler.register(number, file=2, all_threads=False, chain=True)
                signal.alarm(PATIENCE)
                signal.setitimer(signal.ITIMER_VIRTUAL, WORK)
                code = run_with_failures(names, program, expected, at, mode, heard)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        written.seek(0)
        text = written.read().decode(errors="replace")
    if show:
        print(text)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGALRM, signal.SIGVTALRM):
            return "hang", text
        return f"died of {signal.Signals(number).name}", text
    if "panicked at" in text:
        return "panic", text
    code = os.WEXITSTATUS(status)
    if code == NOT_SAID:
        return "not said", text if WENT_ON.search(text.strip()) else ""
    return {FINISHED: "finished", HIT: "hit", LOST: "lost", NOT_SAID: "not said"}.get(
        code, "wrong"
    ), text


def allocations(names, program, expected, mode: str, heard) -> int:
    """How often a program allocates: if all fail from there on, none has failed."""
    mode = "all" if mode in ("one", "all") else "native-all"

    def finished(at: int) -> bool:
        return case(names, program, expected, at, mode, heard, False)[0] == "finished"

    below, above = 0, 64
    while not finished(above):
        below, above = above, above * 2
        if above > MANY:
            raise RuntimeError(f"{program.__name__} comes to no end in {mode}")
    while below + 1 < above:
        middle = (below + above) // 2
        if finished(middle):
            above = middle
        else:
            below = middle
    return above


def program_called(name: str):
    return (PROGRAMS | FRESH | PLAIN)[name]


def names_for(implementation: str, name: str):
    """The names that a program gets."""
    return load("fresh" if name in FRESH else implementation)


#: What each program returns.
EXPECTED: dict[str, str] = {}


def prepare(implementation: str, name: str, warm: bool) -> None:
    """Find out, in a child, what a program returns. If `warm`, run it here as well."""
    names, program = names_for(implementation, name), program_called(name)
    loop()
    with tempfile.TemporaryFile() as written:
        child = os.fork()
        if not child:
            try:
                kept = []
                result = repr(program(names, lambda d: kept.append(d) or d))
                os.write(written.fileno(), result.encode())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        written.seek(0)
        EXPECTED[name] = written.read().decode()
    if not EXPECTED[name]:
        sys.exit(f"{name} does not run on {implementation}")
    if warm:
        for _ in range(3):
            program(names, lambda d: d)
        gc.collect()
    keep_code()
    # What is there now is not looked at again, in none of the many children.
    gc.freeze()


BAD = ("panic", "wrong", "hang", "died", "lost", "not said")


class Sweep(NamedTuple):
    mode: str
    warm: bool
    name: str


class Row(NamedTuple):
    """What became of one case."""

    mode: str
    warm: bool
    name: str
    at: int
    outcome: str
    text: str
    #: What :func:`evidence` has.
    where: tuple[str, ...] = ()

    @property
    def is_bad(self) -> bool:
        return self.outcome.startswith(BAD)


def sweep_here(implementation: str, sweep: Sweep, below: int, last_moment: float) -> Iterator[Row]:
    """Let each allocation of a program fail, in this process, which has run nothing before."""
    heard = Heard(implementation)
    prepare(implementation, sweep.name, sweep.warm)
    names, program = names_for(implementation, sweep.name), program_called(sweep.name)
    expected = EXPECTED[sweep.name]
    for at in range(min(below, allocations(names, program, expected, sweep.mode, heard))):
        if time.monotonic() > last_moment:
            yield Row(*sweep, at, "given up", "")
            return
        outcome, text = case(names, program, expected, at, sweep.mode, heard, False)
        bad = outcome.startswith(BAD)
        told = (summary(outcome, text), evidence(outcome, text)) if bad else ("",)
        yield Row(*sweep, at, outcome, *told)


def swept(
    implementation: str, sweeps: list[Sweep], jobs: int, deadline: float, below: int = MANY
) -> Iterator[Row]:
    """Make sweeps, so many at once, each in a process of its own. Yields all cases, and one whose
    outcome is `ended` at the end of each sweep. None begins after the deadline, and none takes
    longer after that than it was away at first."""
    read, write = os.pipe()
    last_moment = deadline + max(deadline - time.monotonic(), 0)

    def tell(row: Row) -> None:
        # So short a line is written in one.
        os.write(write, (json.dumps(row) + "\n").encode())

    def sweep_all(mine: list[Sweep]) -> None:
        for sweep in mine:
            if time.monotonic() > deadline:
                break
            _, status = os.waitpid(in_child(lambda sweep=sweep: sweep_one(sweep)), 0)
            tell(Row(*sweep, -1, "wrong" if status else "ended", ""))

    def sweep_one(sweep: Sweep) -> None:
        for row in sweep_here(implementation, sweep, below, last_moment):
            tell(row)

    def work(mine: list[Sweep]) -> None:
        # With its children it can be stopped as one.
        os.setpgid(0, 0)
        sweep_all(mine)

    workers = [in_child(lambda i=i: work(sweeps[i::jobs])) for i in range(jobs)]
    os.close(write)
    try:
        with open(read) as lines:
            for line in lines:
                *row, where = json.loads(line)
                yield Row(*row, tuple(where))
    except BaseException:
        for worker in workers:
            # It may not have got as far as to have a group.
            for kill in os.killpg, os.kill:
                with contextlib.suppress(ProcessLookupError):
                    kill(worker, signal.SIGKILL)
        raise
    finally:
        for worker in workers:
            os.waitpid(worker, 0)


def in_child(work) -> int:
    """Do something in a child. Returns its process id."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


class Control:
    """What becomes of a program on another implementation, if it is bad: how, and where."""

    def __init__(self, implementation: str, name: str, mode: str, jobs: int) -> None:
        sweeps = [Sweep(mode, warm, name) for warm in (True, False)]
        self.rows = swept(implementation, sweeps, jobs, float("inf"))
        self.seen: dict[str, set[str]] = {}

    def comes_to(self, row: Row) -> bool:
        """Whether it comes to this end, for any of its allocations; tries no more than needed."""
        while not self.seen.get(row.outcome, set()).issuperset(row.where):
            other = next(self.rows, None)
            if other is None:
                return False
            if other.is_bad:
                self.seen.setdefault(other.outcome, set()).update(other.where)
        return True

    def stop(self) -> None:
        """Try no more."""
        self.rows.close()


class Controls:
    """Those of all programs. That of one program lasts as long as it is asked about, what is plain
    as long as this."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.of_program: dict[tuple[str, str, str], Control] = {}
        self.plain: dict[tuple[str, str, str], Control] = {}

    def like(self, row: Row) -> str | None:
        """Return the name of what comes to the same end without us at the same place, if anything
        does."""
        if row.mode.startswith("native") or not row.where:
            return None
        # These are soon known for all programs.
        for name in PLAIN:
            if self.made(self.plain, ("plain", name, row.mode)).comes_to(row):
                return name
        kind = control_of(row.name)
        if kind is None:
            return None
        key = kind, row.name, row.mode
        if key not in self.of_program:
            self.stop(self.of_program)
        return kind if self.made(self.of_program, key).comes_to(row) else None

    def made(self, controls: dict, key: tuple[str, str, str]) -> Control:
        if key not in controls:
            controls[key] = Control(*key, self.jobs)
        return controls[key]

    def stop(self, controls: dict) -> None:
        for control in controls.values():
            control.stop()
        controls.clear()

    def close(self) -> None:
        self.stop(self.of_program)
        self.stop(self.plain)


def with_helper() -> None:
    """Begin anew with the helper, unless it is there."""
    if hasattr(ctypes.CDLL(None), "refuse"):
        return
    output = ROOT.parents[1] / "target" / "proofs"
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as partial:
        made = Path(partial) / "refusing.so"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        source = ROOT / "native" / "refusing.c"
        subprocess.run([*compiler, "-O1", "-fPIC", "-shared", "-o", made, source], check=True)
        library = made.replace(output / "refusing.so")
    os.environ["LD_PRELOAD"] = str(library)
    # The same allocations each time.
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.proofs.memory", *sys.argv[1:]])


def control_of(name: str) -> str | None:
    """On what else a program runs, if on anything: asyncio can do some of what Twisted cannot."""
    if name in ASYNCIO_TOO:
        return "asyncio"
    return None if name in OURS_ONLY else "twisted"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=600, help="begin no sweep later")
    parser.add_argument("--seed", type=int, default=0, help="of the order of sweeps")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--program", action="append", choices=sorted(PROGRAMS | FRESH))
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--warm", action="store_true", help="after having run before only")
    parser.add_argument("--cold", action="store_true", help="at the first run only")
    parser.add_argument("--control", action="store_true", help="on Twisted or asyncio instead")
    parser.add_argument("--at", type=int, help="this allocation alone; needs one program")
    parser.add_argument("--below", type=int, default=MANY, help="the allocations before this one")
    parser.add_argument("--show", action="store_true", help="show what the child of --at writes")
    parser.add_argument("--log", type=Path, help="write every case there")
    options = parser.parse_args()
    with_helper()
    names = options.program or list(PROGRAMS)
    if options.control:
        names = [name for name in names if control_of(name)]
    modes = options.mode or list(MODES)
    if options.control:
        modes = [mode for mode in modes if not mode.startswith("native")]
    warmths = [True] if options.warm else [False] if options.cold else [True, False]
    if options.at is not None:
        sweep = Sweep(modes[0], warmths[0], names[0])
        implementation = control_of(sweep.name) if options.control else "deferrous"
        heard = Heard(implementation)
        prepare(implementation, sweep.name, sweep.warm)
        names = names_for(implementation, sweep.name)
        program, expected = program_called(sweep.name), EXPECTED[sweep.name]
        outcome, text = case(names, program, expected, options.at, sweep.mode, heard, options.show)
        print(outcome, summary(outcome, text))
        return outcome.startswith(BAD)
    deadline = time.monotonic() + options.minutes * 60
    sweeps = [Sweep(*it) for it in itertools.product(modes, warmths, names)]
    random.Random(options.seed).shuffle(sweeps)
    rows: list[Row] = []
    log = options.log.open("w", buffering=1) if options.log else None
    for implementation in ("twisted", "asyncio") if options.control else ("deferrous",):
        mine = [it for it in sweeps if not options.control or control_of(it.name) == implementation]
        for row in swept(implementation, mine, options.jobs, deadline, options.below):
            rows.append(row)
            if log:
                print(*row, sep="\t", file=log)
    return report(rows, len(sweeps), options)


def report(rows: list[Row], sweeps: int, options) -> int:
    """Print what has become of all cases. Whether anything is bad."""
    totals: Counter = Counter()
    kinds: Counter = Counter()
    examples: dict = {}
    done = 0
    controls = Controls(options.jobs)
    # By program, so that the controls of one run at a time.
    for row in sorted(rows, key=lambda row: (row.mode, row.name)):
        if row.outcome == "ended":
            done += 1
        elif row.outcome == "given up":
            done -= 1
        elif not row.is_bad:
            totals[row.mode, row.outcome] += 1
        elif not options.control and (like := controls.like(row)):
            totals[row.mode, f"{row.outcome}, as without us: {like}"] += 1
        else:
            totals[row.mode, row.outcome] += 1
            kinds[row.mode, row.outcome, row.text] += 1
            warmth = "warm" if row.warm else "cold"
            examples.setdefault((row.mode, row.outcome, row.text), f"{row.name} {warmth} {row.at}")
    controls.close()
    for (mode, outcome), count in sorted(totals.items()):
        print(f"{mode:10} {count:6} {outcome}")
    for key, count in kinds.most_common():
        print(f"{count:5} {' | '.join(key)}   e.g. {examples[key]}")
    bad = sum(kinds.values())
    print(
        f"{done} of {sweeps} sweeps (seed {options.seed}), {sum(totals.values())} cases, {bad} bad"
    )
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
