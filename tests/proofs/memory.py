"""Memory errors: each allocation of a program fails, one after the other.

    python -m tests.proofs.memory                      each program, until it has succeeded
    python -m tests.proofs.memory --minutes 2          as many as there is time for, in any order
    python -m tests.proofs.memory --program callbacks --mode one --at 17 --show

In the mode `one`, one allocation of CPython's fails; in `all`, all from one on. Each case runs in
a child of its own, in which the program has not been run before (`cold`) or has been (`warm`), so
that what is looked up or made at its first use is tried, too.

Right is a MemoryError, what a program makes of it, or success; then every Deferred can go on, and
the same program succeeds. Never is there a panic, a death of the process, or a hang. Where CPython
itself cannot go on, the same program dies on Twisted as well: `--twisted` counts that.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import gc
import itertools
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import types
from collections import Counter
from collections.abc import Iterator

from .programs import OURS_ONLY, PROGRAMS, load, loop

#: How long a child may take, in seconds: by the clock, and of a processor's time. (CPython 3.11
#: goes round in a circle, or crashes, where it has no memory to note from where a block is left.)
PATIENCE, WORK = 20, 1
#: After so many hangs, the rest of a sweep takes too long.
ENOUGH = 5
#: How long it may take to see whether a program dies on Twisted.
LOOK = 15
#: No program here allocates as often.
MANY = 5000

#: What a child ends with.
FINISHED, HIT, WRONG = 0, 10, 11


class Stuck(Exception):
    """A Deferred has a result, and does not call what is added to it."""


def go_on(kept) -> None:
    """See that each Deferred calls what is added to it, if it has a result."""
    for d in kept:
        seen = []
        d.addBoth(seen.append)
        if d.called and not d.paused and not seen:
            raise Stuck(repr(d))
        if seen and not d.called:
            raise Stuck(f"{d!r} called back without a result")


def run_with_failures(names, program, expected, at: int, mode: str) -> int:
    """Run a program whose allocations fail. Returns what the process is to end with."""
    import _testcapi

    kept: list = []

    def keep(deferred):
        kept.append(deferred)
        return deferred

    stop = at + 1 if mode == "one" else 0
    hit = False
    _testcapi.set_nomemory(at, stop)
    try:
        program(names, keep)
    except MemoryError:
        hit = True
    except BaseException as error:
        # What a program makes of a MemoryError: it was the first.
        hit = True
        _testcapi.remove_mem_hooks()
        if "Panic" in type(error).__name__:
            traceback.print_exc()
            return WRONG
    if mode == "all":
        try:
            bytearray(5000)
        except MemoryError:
            hit = True
    _testcapi.remove_mem_hooks()
    try:
        go_on(kept)
        del kept[:]
        gc.collect()
        got = program(names, keep)
        go_on(kept)
        del kept[:]
        gc.collect()
    except BaseException:
        traceback.print_exc()
        return WRONG
    if repr(got) != expected:
        print(f"afterwards {got!r} instead of {expected}", file=sys.stderr)
        return WRONG
    return HIT if hit else FINISHED


def case(names, program, expected, at: int, mode: str, show: bool) -> tuple[str, str]:
    """Run one case in a child. Returns what became of it, and what it wrote."""
    with tempfile.TemporaryFile() as written:
        child = os.fork()
        if not child:
            code = WRONG
            try:
                if not show:
                    os.dup2(written.fileno(), 2)
                faulthandler.disable()
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(PATIENCE)
                signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_VIRTUAL, WORK)
                code = run_with_failures(names, program, expected, at, mode)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        written.seek(0)
        text = written.read().decode(errors="replace")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGALRM, signal.SIGVTALRM):
            return "hang", text
        return f"died of {signal.Signals(number).name}", text
    if "panicked at" in text:
        return "panic", text
    code = os.WEXITSTATUS(status)
    return {FINISHED: "finished", HIT: "hit"}.get(code, "wrong"), text


def summary(text: str) -> str:
    """Return the part of what a child wrote that tells cases apart."""
    found = re.search(r"panicked at ([^\n]*)\n([^\n]*)", text)
    if found:
        return re.sub(r".*/(?=pyo3-|src/)", "", found[1]) + " " + found[2][:80]
    found = re.search(r"Fatal Python error: ([^\n]*)", text)
    if found:
        return found[0][:100]
    lines = text.strip().splitlines()
    return lines[-1][:120] if lines else ""


def allocations(names, program, expected, deadline: float) -> int:
    """How often a program allocates: if all fail from there on, none has failed."""
    below, above = 0, 64
    while case(names, program, expected, above, "all", False)[0] != "finished":
        below, above = above, above * 2
        if above > MANY or time.monotonic() > deadline:
            break
    while below + 1 < above and time.monotonic() < deadline:
        middle = (below + above) // 2
        if case(names, program, expected, middle, "all", False)[0] == "finished":
            above = middle
        else:
            below = middle
    return above


def sweep(
    implementation: str, name: str, mode: str, deadline: float
) -> Iterator[tuple[int, str, str]]:
    """Let each allocation of a program fail; yield each case."""
    names, program = load(implementation), PROGRAMS[name]
    hangs = 0
    for at in range(allocations(names, program, EXPECTED[name], deadline)):
        if time.monotonic() > deadline or hangs == ENOUGH:
            return
        outcome, text = case(names, program, EXPECTED[name], at, mode, False)
        hangs += outcome == "hang"
        yield at, outcome, text


#: What each program returns.
EXPECTED: dict[str, str] = {}


def prepare(implementation: str, name: str, warm: bool) -> None:
    """Find out, in a child, what a program returns. If `warm`, run it here as well."""
    names, program = load(implementation), PROGRAMS[name]
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


BAD = ("panic", "wrong", "hang", "died")


def sweep_program(implementation: str, name: str, mode: str, warm: bool, deadline: float):
    """Sweep one program in a process of its own. Yields the number, outcome and text of each."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            with open(write, "w", buffering=1) as lines:
                logging_off()
                prepare(implementation, name, warm)
                for at, outcome, text in sweep(implementation, name, mode, deadline):
                    print(f"{at}\t{outcome}\t{summary(text)}", file=lines)
        finally:
            os._exit(0)
    os.close(write)
    try:
        with open(read) as lines:
            for line in lines:
                at, outcome, text = line.rstrip("\n").split("\t", 2)
                yield at, outcome, text
    finally:
        # Whoever asked may have seen enough.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@functools.cache
def dies_on_twisted(name: str, mode: str, warm: bool) -> bool:
    """Whether CPython ends, or does not come back, for the same program on Twisted, too.

    Which of the two, and for which allocation, is a matter of chance.
    """
    if name in OURS_ONLY:
        return False
    outcomes = sweep_program("twisted", name, mode, warm, time.monotonic() + LOOK)
    with contextlib.closing(outcomes):
        return any(outcome.startswith(("died", "hang")) for _, outcome, _ in outcomes)


def logging_off() -> None:
    """Have nobody see the reports of failures: only that they can be made matters."""
    import logging

    logging.getLogger("deferrous").addHandler(logging.NullHandler())
    logging.getLogger("deferrous").propagate = False


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--seed", type=int, help="of the order of sweeps; default: the time")
    parser.add_argument("--program", action="append", choices=sorted(PROGRAMS))
    parser.add_argument("--mode", choices=["one", "all"])
    parser.add_argument("--warm", action="store_true", help="after having run before only")
    parser.add_argument("--cold", action="store_true", help="at the first run only")
    parser.add_argument("--twisted", action="store_true", help="on Twisted instead")
    parser.add_argument("--at", type=int, help="this allocation alone; needs one program")
    parser.add_argument("--show", action="store_true", help="show what the child of --at writes")
    options = parser.parse_args()
    implementation = "twisted" if options.twisted else "deferrous"
    names = options.program or list(PROGRAMS)
    if options.twisted:
        names = [name for name in names if name not in OURS_ONLY]
    modes = [options.mode] if options.mode else ["one", "all"]
    warmths = [True] if options.warm else [False] if options.cold else [True, False]
    if options.at is not None:
        logging_off()
        prepare(implementation, names[0], warmths[0])
        loaded = load(implementation)
        program, expected = PROGRAMS[names[0]], EXPECTED[names[0]]
        outcome, text = case(loaded, program, expected, options.at, modes[0], options.show)
        print(text, outcome)
        return outcome.startswith(BAD)
    load(implementation)
    deadline = time.monotonic() + options.minutes * 60
    totals: Counter = Counter()
    kinds: Counter = Counter()
    examples: dict = {}
    sweeps = list(itertools.product(modes, warmths, names))
    seed = time.time_ns() if options.seed is None else options.seed
    random.Random(seed).shuffle(sweeps)
    swept = 0
    for mode, warm, name in sweeps:
        if time.monotonic() > deadline:
            break
        swept += 1
        for at, outcome, text in sweep_program(implementation, name, mode, warm, deadline):
            if not outcome.startswith(BAD):
                totals[mode, outcome] += 1
            elif (
                outcome.startswith(("died", "hang"))
                and "src/" not in text
                and not options.twisted
                and dies_on_twisted(name, mode, warm)
            ):
                totals[mode, f"{outcome}, as with Twisted"] += 1
            else:
                totals[mode, outcome] += 1
                kinds[mode, outcome, text] += 1
                warmth = "warm" if warm else "cold"
                examples.setdefault((mode, outcome, text), f"{name} {warmth} {at}")
    for (mode, outcome), count in sorted(totals.items()):
        print(f"{mode:4} {count:6} {outcome}")
    for key, count in kinds.most_common():
        print(f"{count:5} {' | '.join(key)}   e.g. {examples[key]}")
    bad = sum(kinds.values())
    print(f"{swept} of {len(sweeps)} sweeps (seed {seed}), {sum(totals.values())} cases, {bad} bad")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
