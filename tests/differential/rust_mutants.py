"""Does the differential test notice?  Our own code with one rule changed, against Twisted.

    python -m tests.differential.rust_mutants [--seconds 20] [--show] [NAME ...]

Each mutation is a piece of the text of one file, and what to put in its place.  The tree is
copied to a temporary folder once; there the mutations are made one after the other, the
extension is built where one is in Rust, and `python -m tests.differential` is run on it, with
plain random programs only, which are the faster part of it.

First of all it is run on the copy as it is: if that is told apart from Twisted, the exit code
is 2, unless `--even-so` was given.  It is 1 if a mutation was not caught or could not be tried.
What catches a mutation is run on the unchanged copy, too: it counts if it does not catch that.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = f"python/deferrous/_deferrous{sysconfig.get_config_var('EXT_SUFFIX')}"
CHAIN = "src/core/chain.rs"
CAPI_CALLS = "src/binding/capi/calls.rs"
FACE_DEFERRED = "src/binding/face/deferred.rs"
LETTING_GO = "src/binding/judge/letting_go.rs"
JUDGE_REPORT = "src/binding/judge/report.rs"
RUN_ENGINE = "src/binding/run/engine.rs"
RUN_LINKS = "src/binding/run/links.rs"
WAITS_CANCELLING = "src/binding/waits/cancelling.rs"
WAITS_DRIVING = "src/binding/waits/driving.rs"
WAITS_FIRING = "src/binding/waits/firing.rs"
WAITS_HANDING_OVER = "src/binding/waits/handing_over.rs"
WAITS_LIST = "src/binding/waits/list.rs"
WAITS_RACE = "src/binding/waits/race.rs"
WAITS_TASK = "src/binding/waits/task.rs"
PYTHON = "python/deferrous/"

# What `python -m tests.differential` prints when it has found a difference, before it reduces
# the program; and how many programs it says to have tried.
FOUND = re.compile(r"random program (\d+) of round (\d+); reducing\n")
TRIED = re.compile(r"^ +(\d+) random, ", re.MULTILINE)
# Makes that program again, by its number, its round and the seed, and runs it.
ONE = """
import sys
from itertools import islice
from tests.differential.__main__ import DEFAULT_FEATURES, Pair, load
from tests.differential.search import random_programs
tried, rounds, seed = map(int, sys.argv[1:])
pair = Pair(load("twisted.internet.defer"), load("deferrous"), DEFAULT_FEATURES).without_missing()
(program,) = islice(random_programs(pair.features, (seed, rounds)), tried - 1, tried)
print("same" if pair.difference(program) is None else "different")
"""
# Seconds to start, and to end after its time.
GRACE = 10.0

# Name, file, a text that occurs in it once, what to put there.
Mutation = tuple[str, str, str, str]

MUTATIONS: tuple[Mutation, ...] = (
    # The core
    ("paused-positive-only", CHAIN, "if self.paused != 0 {", "if self.paused > 0 {"),
    ("links-lifo", CHAIN, "self.links.push_back(link)", "self.links.push_front(link)"),
    ("front-at-end", CHAIN, "self.links.push_front(link)", "self.links.push_back(link)"),
    ("swallow-forever", CHAIN, "self.swallow = false;", "self.swallow = true;"),
    ("fire-twice-silent", CHAIN, "if self.swallow && self.called() {", "if self.called() {"),
    ("canceller-kept", CHAIN, "Accepted(self.canceller.take(),", "Accepted(None,"),
    ("steals-from-paused", CHAIN, "if self.paused != 0 || matches", "if matches"),
    ("steals-deferred", CHAIN, "Slot::Empty | Slot::Deferred(_))", "Slot::Empty)"),
    (
        "receive-clears-pauses",
        CHAIN,
        "self.paused = self.paused.saturating_sub(1);\n        self.replace",
        "self.paused = 0;\n        self.replace",
    ),
    ("wait-without-pause", CHAIN, "self.pause();\n        self.mark", "self.mark"),
    (
        "unpause-stops-at-zero",
        CHAIN,
        "self.paused.saturating_sub(1);\n        self.paused == 0",
        "(self.paused - 1).max(0);\n        self.paused == 0",
    ),
    ("unpause-runs-uncalled", CHAIN, "== 0 && self.is_runnable()", "== 0 && !self.running"),
    ("at-rest-though-paused", CHAIN, "&& self.paused == 0 && self.links", "&& self.links"),
    ("at-rest-with-links", CHAIN, "== 0 && self.links.is_empty()", "== 0"),
    (
        "cancel-not-forwarded",
        CHAIN,
        "(_, Slot::Deferred(other)) =>",
        "(_, Slot::Deferred(other)) if !self.called() =>",
    ),
    ("chained-mark-kept", CHAIN, "Ok(self.chained_to.take())", "Ok(None)"),
    ("pair-swapped", CHAIN, "if failed { (on_failure", "if !failed { (on_failure"),
    ("errback-of-results", CHAIN, "OnFailure(callback) if failed", "OnFailure(callback)"),
    (
        "deferred-as-result-kept",
        CHAIN,
        "if matches!(self.outcome, Slot::Deferred(_)) {",
        "if false {",
    ),
    (
        "waiter-not-running",
        CHAIN,
        "self.running = true;\n                return",
        "return",
    ),
    ("failure-never-rests", CHAIN, "self.watch = Watch::On;", "self.watch = Watch::Over;"),
    # The trampoline
    (
        "abandoned-goes-on",
        RUN_ENGINE,
        "while let Some(Later::GoOn(_)) = stack.last() {",
        "if stack.len() == usize::MAX {",
    ),
    (
        "self-wait-keeps-result",
        RUN_LINKS,
        "if other.is(&deferred) { Outcome::Taken } else { outcome }",
        "outcome",
    ),
    ("no-self-warning", RUN_LINKS, "if result.as_ptr() == deferred.as_ptr()", "if false"),
    ("falsy-canceller-called", WAITS_CANCELLING, "if !canceller.is_truthy()? {", "if false {"),
    ("late-result-refused", WAITS_CANCELLING, "|chain| chain.swallow_next_fire()", "|_| ()"),
    ("stolen-still-reported", RUN_LINKS, "report::forget(&other)?;\n", ""),
    # Generators and coroutines
    (
        "generator-no-context",
        CAPI_CALLS,
        "    safe::enter_context(py, context)?;\n",
        "    if !context.is_none() {\n        return Ok(work());\n    }\n"
        "    safe::enter_context(py, context)?;\n",
    ),
    (
        "generator-cancel-stops-here",
        WAITS_TASK,
        "Ok(Answer::After(Work::Cancel(waiting_on), Outcome::Deferred(deferred.hold())))",
        "drop(waiting_on); Ok(Answer::Now(Outcome::Deferred(deferred.hold())))",
    ),
    (
        "called-at-once-though-paused",
        CHAIN,
        "if !fits || !self.is_at_rest() || self.chained_to.is_some() {",
        "if !fits || !self.called() || self.running {",
    ),
    (
        "called-at-once-whatever-it-is-for",
        CHAIN,
        "Slot::Value(_) => on != On::Failure,",
        "Slot::Value(_) => true,",
    ),
    (
        "called-at-once-without-a-run",
        CHAIN,
        "        self.running = true;\n        Some(&self.outcome)",
        "        Some(&self.outcome)",
    ),
    (
        "dies-at-once-though-a-failure-is-unhandled",
        LETTING_GO,
        "self.chain(py, |chain| !chain.unhandled())",
        "self.chain(py, |chain| chain.called() || !chain.unhandled())",
    ),
    (
        "generator-waits-though-fired",
        WAITS_TASK,
        "if deferred.get().chain(task.py(), |chain| chain.is_runnable())\n        || ",
        "if ",
    ),
    (
        "generator-end-not-run",
        WAITS_TASK,
        "Some(deferred) => Answer::After(Work::Run(deferred), Outcome::Taken),",
        "Some(_) => Answer::Now(Outcome::Taken),",
    ),
    (
        "list-end-not-run",
        WAITS_LIST,
        "Some(fired) => Answer::After(fired, passed_on),",
        "Some(_) => Answer::Now(passed_on),",
    ),
    (
        "rest-settles-with-nothing",
        RUN_LINKS,
        "Some(Later::Settle(giver, outcome)) => {",
        "Some(Later::Settle(giver, _)) => { let outcome = Outcome::Taken;",
    ),
    (
        "generator-cancelled-once",
        WAITS_TASK,
        "Chain::new(Some(task.as_any().clone().hold()))",
        "Chain::new(None)",
    ),
    (
        "generator-leaves-result",
        CHAIN,
        "Some((self.take_outcome(), self.chained_to.take()))",
        "Some((self.replace_outcome(Slot::Empty), self.chained_to.take()))",
    ),
    (
        "generator-ignores-subclass",
        WAITS_DRIVING,
        "if !capi::is_exact::<Deferred>(deferred) {",
        "if false {",
    ),
    # DeferredList and race
    (
        "list-never-consumes",
        WAITS_LIST,
        "if !success && list.get().with(",
        "if false && list.get().with(",
    ),
    (
        "list-counts-successes",
        WAITS_LIST,
        "state.finished.saturating_add(1)",
        "state.finished.saturating_add(usize::from(success))",
    ),
    (
        "race-keeps-losers",
        WAITS_RACE,
        "None => cancel_losers(race, 0, stack)",
        "None => cancel_losers(race, usize::MAX, stack)",
    ),
    (
        "race-reverses-failures",
        WAITS_RACE,
        "sort_unstable_by_key(|(place, _)| *place)",
        "sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place))",
    ),
    # Locks, semaphores, queues
    ("semaphore-spare-token", WAITS_HANDING_OVER, "if acquired && !waits {", "if acquired {"),
    (
        "lock-opens-for-all",
        WAITS_HANDING_OVER,
        "state.locked = was_locked && waits;",
        "state.locked = false;",
    ),
    ("queue-one-more", WAITS_HANDING_OVER, "as u64)?.lt(limit)", "as u64)?.le(limit)"),
    # `await`, the class, reports
    (
        "await-though-paused",
        CHAIN,
        "if !self.called() || self.paused != 0 {",
        "if !self.called() {",
    ),
    (
        "await-still-reports",
        CHAIN,
        "self.mark_handled();\n        Some(&self.outcome)",
        "Some(&self.outcome)",
    ),
    (
        "chain-deferred-untold",
        FACE_DEFERRED,
        "chain.replace_chained_to(Some(waits_for))",
        "chain.replace_chained_to(None)",
    ),
    (
        "debug-no-invoker",
        WAITS_FIRING,
        "if debugging && !deferred.get()",
        "if debugging && deferred.get()",
    ),
    (
        "cancel-as-success",
        WAITS_FIRING,
        "deferred.call_method1(errback, (reason,))?;",
        'deferred.call_method1(intern!(py, "callback"), (1,))?;',
    ),
    (
        "replaced-failure-lost",
        JUDGE_REPORT,
        "failure.map_or(Ok(()), |failure| keep_replaced(deferred, &failure))",
        "failure.map_or(Ok(()), |_| Ok(()))",
    ),
    ("debug-no-creator", JUDGE_REPORT, 'intern!(py, "creator")', 'intern!(py, "maker")'),
    # What is in Python
    ("timeout-unflagged", PYTHON + "_timeout.py", "timed_out = True", "pass"),
    (
        "timeout-goes-on",
        PYTHON + "_timeout.py",
        "if not timed_out or asks_first(stop):",
        "if False:",
    ),
    ("timeout-traps-nothing", PYTHON + "_timeout.py", "result.trap(", "str("),
    (
        "first-error-repr",
        PYTHON + "_gathering.py",
        'repr(error) + "]"',
        'str(error) + "]"',
    ),
    (
        "group-shortened",
        PYTHON + "_gathering.py",
        "self.failures = failures",
        "self.failures = failures[1:]",
    ),
    (
        "failure-frames-reversed",
        PYTHON + "failure.py",
        "tb = tb.tb_next\n        return frames",
        "tb = tb.tb_next\n        frames.reverse()\n        return frames",
    ),
    (
        "failure-message-repr",
        PYTHON + "failure.py",
        "isinstance(value, Failure) else safe_str(value)",
        "isinstance(value, Failure) else safe_repr(value)",
    ),
    (
        "failure-clean-keeps",
        PYTHON + "failure.py",
        "self.value.__traceback__ = None",
        "pass",
    ),
    (
        "from-future-cancel-value",
        PYTHON + "_futures.py",
        "if result is cancelled:",
        "if False:",
    ),
    ("report-not-error", PYTHON + "_report.py", "isError=True", "isError=False"),
    ("misuse-silent", PYTHON + "_generators.py", "if len(frames) < 2:", "if True:"),
)


class Broken(Exception):
    """A mutation cannot be tried."""


class Copy:
    """A copy of the tree, in which one file at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.target = folder / "target"
        self.unchanged = folder / "unchanged"
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True
        ).stdout.decode()
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.tree / name)
        shutil.copytree(self.tree, self.unchanged)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DEFERROUS_")
        }
        self.environment |= {
            # A changed file may have the size and, to the second, the time of the one before.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYO3_PYTHON": sys.executable,
            "CARGO_TARGET_DIR": str(self.target),
            "CARGO_BUILD_JOBS": "1",
            "CARGO_TERM_COLOR": "never",
            "CARGO_INCREMENTAL": "1",
            "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
            "CARGO_PROFILE_DEV_DEBUG": "0",
            "CARGO_PROFILE_DEV_DEBUG_ASSERTIONS": "false",
            "CARGO_PROFILE_DEV_OVERFLOW_CHECKS": "false",
        }

    def build(self) -> Path:
        command = ["cargo", "rustc", "--quiet", "--lib", "--crate-type", "cdylib"]
        built = subprocess.run(
            command, cwd=self.tree, env=self.environment, capture_output=True, text=True
        )
        if built.returncode:
            raise Broken("does not build\n" + built.stderr)
        suffix = "dylib" if sys.platform == "darwin" else "so"
        return self.target / "debug" / f"libdeferrous.{suffix}"

    def install(self, extension: Path, tree: Path) -> None:
        """Put an extension in place: a new file, in case the old one is in use."""
        fresh = tree / (EXTENSION + ".new")
        shutil.copyfile(extension, fresh)
        fresh.replace(tree / EXTENSION)

    def start(self, arguments: list[str], tree: Path, **more: Any) -> subprocess.Popen[bytes]:
        """Start a Python that imports what is in a tree."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tree,
            env=self.environment | {"PYTHONPATH": str(tree / "python")},
            stdout=subprocess.PIPE,
            start_new_session=True,
            **more,
        )

    def changed(self, mutation: Mutation) -> str:
        """The text of the file with the mutation."""
        _, file, old, new = mutation
        text = (self.tree / file).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise Broken(f"{old!r} is {text.count(old)} times in {file}")
        return text.replace(old, new)

    def try_one(
        self, mutation: Mutation, seconds: float, seed: int, show: bool
    ) -> tuple[bool, str]:
        """Whether a mutation is caught, and what else there is to say of it."""
        text = self.changed(mutation)
        rust = mutation[1].endswith(".rs")
        path = self.tree / mutation[1]
        before = path.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        try:
            start = time.monotonic()
            if rust:
                self.install(self.build(), self.tree)
            built = f"  (built in {time.monotonic() - start:.0f} s)" if rust else ""
            for attempt in range(5):
                caught, text = self.search(self.tree, seconds, seed + attempt, show)
                if text is not None:
                    break
            else:
                raise Broken("what tells it apart tells the unchanged copy apart, too")
            first, *rest = text.split("\n")
            return caught, "\n".join([first + built, *rest])
        finally:
            path.write_text(before, encoding="utf-8")
            self.install(self.unchanged / EXTENSION, self.tree)

    def search(self, tree: Path, seconds: float, seed: int, show: bool) -> tuple[bool, str | None]:
        """Run the differential test: whether it noticed anything, and what.

        There is no text if it noticed what it would have noticed without the mutation.
        """
        self.check_paths(tree)
        command = ["-m", "tests.differential", "--no-hypothesis"]
        command += ["--minutes", f"{seconds / 60:.4f}", "--seed", str(seed)]
        start = time.monotonic()
        with tempfile.TemporaryFile() as errors:
            child = self.start(command, tree, stderr=errors, preexec_fn=limit_memory)
            assert child.stdout is not None
            deadline = start + seconds + GRACE
            text, found, hangs = "", None, False
            while True:
                wait = max(0.0, deadline - time.monotonic())
                if not select.select([child.stdout], [], [], wait)[0]:
                    hangs = True
                    took = time.monotonic() - start
                    break
                piece = os.read(child.stdout.fileno(), 1 << 16)
                text += piece.decode(errors="replace")
                if found is None:
                    found = FOUND.search(text)
                    took = time.monotonic() - start
                    deadline += 600 * (found is not None)
                if not piece or (found and not show):
                    break
            if hangs or (found and not show):
                os.killpg(child.pid, signal.SIGKILL)
            code = child.wait()
            child.stdout.close()
            errors.seek(0)
            problems = errors.read().decode(errors="replace")
        if found:
            if tree is not self.unchanged and self.differs(found, seed):
                return True, None
            number = int(found[1]) + sum(int(n) for n in TRIED.findall(text)[-1:])
            shown = text[found.end() :].rstrip() if show else ""
            return True, f"caught     {took:5.1f} s {number:6} programs\n{shown}".rstrip()
        if hangs:
            return True, f"caught     {took:5.1f} s  by a hang"
        if code < 0:
            return True, f"caught     {took:5.1f} s  by {signal.Signals(-code).name}"
        if code:
            raise Broken(f"it ended with {code}, and no difference\n{text}{problems}")
        return False, f"NOT CAUGHT {took:5.1f} s  {text.splitlines()[-1]}"

    def differs(self, found: re.Match[str], seed: int) -> bool:
        """Whether a random program tells the unchanged copy apart from Twisted."""
        child = self.start(["-c", ONE, found[1], found[2], str(seed)], self.unchanged)
        try:
            output, _ = child.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return True
        return child.returncode != 0 or output != b"same\n"

    def check_paths(self, tree: Path) -> None:
        """Make sure that it is the copy that is imported."""
        code = (
            "import deferrous, deferrous._deferrous as binding, tests.differential as tests\n"
            "print(deferrous.__file__, binding.__file__, tests.__file__, sep='\\n')"
        )
        child = self.start(["-c", code], tree, stderr=subprocess.PIPE)
        output, problems = child.communicate()
        if child.returncode:
            raise Broken("it cannot be imported\n" + problems.decode())
        for file in output.decode().splitlines():
            if not Path(file).resolve().is_relative_to(tree):
                raise Broken(f"{file} is imported instead of the copy")


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="only mutations with this in the name")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="the smallest programs")
    parser.add_argument(
        "--even-so", action="store_true", help="go on though the unchanged copy is told apart"
    )
    options = parser.parse_args()
    table = [
        mutation
        for mutation in MUTATIONS
        if not options.names or any(part in mutation[0] for part in options.names)
    ]
    os.nice(10)
    with tempfile.TemporaryDirectory(prefix="deferrous-mutants-") as folder:
        copy = Copy(Path(folder).resolve())
        try:
            for mutation in table:
                copy.changed(mutation)
            start = time.monotonic()
            extension = copy.build()
            copy.install(extension, copy.unchanged)
            copy.install(extension, copy.tree)
            print(f"built in {time.monotonic() - start:.0f} s", flush=True)
            caught, text = copy.search(copy.unchanged, options.seconds, options.seed, True)
        except Broken as problem:
            print(f"{'(unchanged)':28} cannot be tried: {problem}")
            return 2
        print(f"{'(unchanged)':28} {text}", flush=True)
        if caught:
            print("the unchanged copy was told apart from Twisted")
            if not options.even_so:
                return 2
        missed = []
        for mutation in table:
            try:
                caught, text = copy.try_one(mutation, options.seconds, options.seed, options.show)
            except Broken as problem:
                caught, text = False, f"cannot be tried: {problem}"
            print(f"{mutation[0]:28} {text}", flush=True)
            if not caught:
                missed.append(mutation[0])
    print(f"{len(table) - len(missed)} of {len(table)} caught;", "missed:", *missed or ["none"])
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
