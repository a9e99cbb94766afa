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
import asyncio
import contextlib
import ctypes
import faulthandler
import functools
import gc
import itertools
import json
import logging
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .programs import ASYNCIO_TOO, FRESH, OURS_ONLY, PLAIN, PROGRAMS, load, loop

#: How long a child may do nothing, in seconds, and work. (CPython 3.11 goes round in a circle, or
#: crashes, where it has no memory to note from where a block is left.)
PATIENCE, WORK = 20, 0.5
#: No program here allocates as often.
MANY = 40_000

MODES = ("one", "all", "native-one", "native-all")

#: What a child ends with.
FINISHED, HIT, WRONG, LOST, NOT_SAID = 0, 10, 11, 12, 13

ROOT = Path(__file__).parent
LIBRARY = b"_deferrous"


#: CPython 3.11 itself forgets at some places to say that it has no memory, such as where a function
#: written in Python raises. What it, or we, make of that then:
FORGOTTEN = re.compile(
    r"<function \S+ at 0x\w+> returned NULL without setting an exception"
    r"|error return without exception set|an error without an exception"
)
#: CPython 3.13 says so at some places, and goes on. Whatever it calls next is blamed for that.
WENT_ON = re.compile(r"<[^<>]*> returned a result with an exception set$")


class Stuck(Exception):
    """A Deferred has a result, and does not call what is added to it; a lock or an item is lost."""


def go_on(kept) -> None:
    """See that each Deferred calls what is added to it, if it has a result; that no lock, token
    or item has been lost."""
    for it in kept:
        if hasattr(it, "addBoth"):
            seen = []
            it.addBoth(seen.append)
            if it.called and not it.paused and not seen:
                raise Stuck(repr(it))
            if seen and not it.called:
                raise Stuck(f"{it!r} called back without a result")
            continue
        nobody_waits_in_vain(it)
        if hasattr(it, "release"):
            while it.waiting:
                waiting = len(it.waiting)
                it.release()
                nobody_waits_in_vain(it)
                if len(it.waiting) >= waiting:
                    raise Stuck(f"{it!r} is released, and {waiting} still wait")


def nobody_waits_in_vain(it) -> None:
    there = it.pending if hasattr(it, "pending") else getattr(it, "tokens", 0)
    if hasattr(it, "locked"):
        there = not it.locked
    if it.waiting and there:
        raise Stuck(f"{it!r} is there, and {len(it.waiting)} wait for it")


class Heard:
    """What is told of errors elsewhere than where they are raised: reports, and finalizers."""

    def __init__(self, implementation: str) -> None:
        self.texts: list[str] = []
        self.reports = 0
        sys.unraisablehook = lambda it: self.note(it.exc_type, it.exc_value)
        loop().set_exception_handler(lambda _, it: self.note(it["message"], it.get("exception")))
        if implementation == "twisted":
            from twisted.logger import globalLogPublisher

            globalLogPublisher.addObserver(self.twisted)
        else:
            handler = logging.Handler()
            handler.handle = self.logged
            logging.getLogger("deferrous").addHandler(handler)
            logging.getLogger("deferrous").propagate = False

    def note(self, *what) -> None:
        try:
            self.texts.append(repr(what))
        except RecursionError:
            self.texts.append("something that contains itself")

    def twisted(self, event) -> None:
        self.reports += 1
        self.note(event.get("log_failure"))

    def logged(self, record) -> None:
        self.reports += 1
        self.note(record.exc_info, record.msg)


def logging_off() -> None:
    """Have nobody see the reports of failures: only that they can be made matters."""
    logging.getLogger("deferrous").addHandler(logging.NullHandler())
    logging.getLogger("deferrous").propagate = False


def run_with_failures(names, program, expected, at: int, mode: str, heard: Heard) -> int:
    """Run a program whose allocations fail. Returns what the process is to end with."""
    import _testcapi

    kept: list = []

    def keep(it):
        kept.append(it)
        return it

    def no_more() -> None:
        _testcapi.remove_mem_hooks()
        asyncio._set_running_loop(None)
        asked = helper().grant()
        if mode.startswith("native"):
            nonlocal hit
            hit = hit or asked > at

    stop = at + 1 if mode.endswith("one") else 1 << 30
    hit = False
    got = None
    if mode.startswith("native"):
        helper().refuse(LIBRARY, at, stop)
    else:
        _testcapi.set_nomemory(at, 0 if mode == "all" else stop)
    try:
        got = program(names, keep)
    except MemoryError:
        hit = True
    except BaseException as error:
        # What a program makes of a MemoryError: it was the first.
        hit = True
        no_more()
        if FORGOTTEN.search(repr(error)):
            return NOT_SAID
        if isinstance(error, SystemError) and WENT_ON.search(str(error)):
            traceback.print_exc()
            return NOT_SAID
        if isinstance(error, SystemError) or "Panic" in type(error).__name__:
            traceback.print_exc()
            return WRONG
    if mode == "all":
        try:
            bytearray(5000)
        except MemoryError:
            hit = True
    no_more()
    try:
        lost = got is not None and mode.endswith("one") and repr(got) != expected
        heard.note(got, [getattr(it, "result", None) for it in kept])
        go_on(kept)
        del kept[:]
        gc.collect()
        again = program(names, keep)
        go_on(kept)
        del kept[:]
        gc.collect()
    except BaseException:
        traceback.print_exc()
        return WRONG
    all_heard = "\n".join(heard.texts)
    if "SystemError" in all_heard or FORGOTTEN.search(all_heard):
        print(all_heard, file=sys.stderr)
        return NOT_SAID if FORGOTTEN.search(all_heard) else WRONG
    if repr(again) != expected:
        print(f"afterwards {again!r} instead of {expected}", file=sys.stderr)
        return WRONG
    if lost and "MemoryError" not in all_heard:
        print(f"nobody heard of it, and there is {got!r} instead of {expected}", file=sys.stderr)
        return LOST
    return HIT if hit else FINISHED


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


#: Code objects, each several times.
CODE: list[types.CodeType] = []


def keep_code() -> None:
    """Refer to all code several times.

    CPython 3.12 and the first releases of 3.13 let go of a function's code twice where they cannot
    make the function (python/cpython#122752). It is used after it was freed, then, which ends in a
    crash sooner or later, whoever's function it is.
    """
    todo = [it.__code__ for it in gc.get_objects() if isinstance(it, types.FunctionType)]
    seen = set()
    while todo:
        code = todo.pop()
        if id(code) not in seen:
            seen.add(id(code))
            CODE.extend([code] * 10)
            todo.extend(it for it in code.co_consts if isinstance(it, types.CodeType))


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


@functools.cache
def helper() -> ctypes.CDLL:
    """What is preloaded."""
    library = ctypes.CDLL(None)
    library.grant.restype = ctypes.c_ulong
    library.refuse.argtypes = ctypes.c_char_p, ctypes.c_ulong, ctypes.c_ulong
    return library


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
