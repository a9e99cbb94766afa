"""Each program of `concurrency_programs`, with each actor cancelled at each step, in each world."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
from concurrency_programs import PROGRAMS
from concurrency_worlds import in_generators, in_tasks, on_a_fake_clock, sweep
from deferrous import concurrency as c

pytestmark = pytest.mark.deferrous_only

WORLDS = [on_a_fake_clock, in_generators, in_tasks]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_cancelled_at_each_step(program, world, reports):
    assert sweep(world, program) > 0
    unhandled = reports.values()
    if world is in_tasks:
        # A task that is cancelled between the failure of what it waits for and its own next step
        # does not come for that: it is reported.
        unhandled = [each for each in unhandled if not isinstance(each, (KeyError, TimeoutError))]
    assert unhandled == []


#: What nobody can wait for.
CANNOT_BE_WAITED_FOR = {
    "AnyClock",
    "AsCompleted",
    "Clock",
    "ContextDeferred",
    "DelayedCall",
    "Eventual",
    "Lockable",
    "Stream",
    "Subscription",
    "Timeout",
    "cancel",
    "checkpoint",
    "current_deferred",
    "current_task_name",
    "in_context",
}


def test_there_is_a_program_for_everything():
    """`Stream` is what `stream` returns, and so on."""
    files = pathlib.Path(__file__).with_name("concurrency_programs").glob("*.py")
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    exceptions = {
        name
        for name in c.__all__
        if isinstance(getattr(c, name), type) and issubclass(getattr(c, name), Exception)
    }
    constants = {name for name in c.__all__ if name.isupper()}
    used = set(re.findall(r"\bc\.(\w+)", text))
    assert set(c.__all__) - exceptions - constants - CANNOT_BE_WAITED_FOR - used == set()


def test_under_the_reactor():
    """The same under Twisted's reactor, which can be run once only: in a process of its own."""
    done = subprocess.run(
        [sys.executable, pathlib.Path(__file__).with_name("concurrency_reactor.py")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-2]) > 100, done.stdout
