"""A real memory limit, for programs that allocate without end."""

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.deferrous_only

ROOT = Path(__file__).parent.parent

#: What a program can make without end, at a real limit.
ENDLESS = {
    "callbacks": """
        d = defer.Deferred()
        while True:
            d.addCallback(print)
    """,
    "callbacks and errbacks": """
        d = defer.Deferred()
        while True:
            d.addCallbacks(print, print)
    """,
    "callbacks with arguments": """
        d = defer.Deferred()
        while True:
            d.addCallback(print, 1, 2)
    """,
    "chained Deferreds": """
        # Where one cannot wait, it fails. So do those below.
        d, failed = defer.Deferred(), []
        while not failed:
            defer.succeed(None).addCallback(lambda _: d).addErrback(failed.append)
        failed[0].raiseException()
    """,
    "pending generators": """
        @defer.inlineCallbacks
        def wait():
            yield d

        d, failed = defer.Deferred(), []
        while not failed:
            wait().addErrback(failed.append)
        failed[0].raiseException()
    """,
    "pending coroutines": """
        async def wait():
            await d

        d, failed = defer.Deferred(), []
        while not failed:
            coroutine = wait()
            try:
                defer.ensureDeferred(coroutine).addErrback(failed.append)
            except MemoryError:
                # CPython's warning about what was never awaited crashes where there is no memory.
                coroutine.close()
                raise
        failed[0].raiseException()
    """,
    "races": """
        d = defer.Deferred()
        while True:
            defer.race([d] * 100)
    """,
    "gathered Deferreds": """
        d = defer.Deferred()
        while True:
            defer.gatherResults([d] * 100)
    """,
    "items of a queue": """
        queue = defer.DeferredQueue()
        while True:
            queue.put(None)
    """,
    "those who wait for a queue": """
        queue = defer.DeferredQueue()
        while True:
            queue.get()
    """,
    "those who wait for a lock": """
        lock = defer.DeferredLock()
        while True:
            lock.acquire()
    """,
    "those who wait for a lock, and run": """
        lock = defer.DeferredLock()
        lock.acquire()
        failed = []
        while not failed:
            lock.run(print).addErrback(failed.append)
        failed[0].raiseException()
    """,
}


def goes_on_within(most, program):
    """Run a program that gets so many bytes at first, and assert that it goes on."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=600,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1])
        ),
    )
    assert (done.returncode, done.stdout.strip()) == (0, "goes on"), done.stderr[-3000:]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is Linux's")
@pytest.mark.parametrize("name", ENDLESS)
def test_a_real_limit(name):
    """What grows with a program's data raises MemoryError where the system has no more."""
    errors = "MemoryError"
    if name == "pending coroutines" and sys.version_info < (3, 14):
        # CPython loses it where there is none for a coroutine, also without a Deferred.
        errors = "(MemoryError, SystemError)"
    program = f"""
import resource
import deferrous as defer

def endless():
{textwrap.indent(textwrap.dedent(ENDLESS[name]), "    ")}

raised = False
# Made before there is no memory for it.
errors = {errors}
# Python itself needs some memory to handle the error.
spare = bytearray(8 << 20)
try:
    endless()
except errors:
    del spare
    raised = True
most = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (most, most))
d = defer.Deferred()
d.addCallback(print)
d.callback("goes on" if raised else "")
"""
    goes_on_within(100 << 20, program)


#: What is kept or dies while there is no memory.
HELD = {
    "failures that nobody handles": """
        while True:
            held.append(defer.fail(ValueError(1)))
    """,
    "pending coroutines, which fail for want of memory": """
        async def wait():
            await d

        d = defer.Deferred()
        while True:
            coroutine = wait()
            try:
                held.append(defer.ensureDeferred(coroutine))
            except MemoryError:
                # CPython's warning about what was never awaited crashes where there is no memory.
                coroutine.close()
                raise
    """,
    "a chain of generators, which is fired": """
        @defer.inlineCallbacks
        def wait(for_):
            yield for_

        first = last = defer.Deferred()
        try:
            while True:
                last = wait(last)
        except MemoryError:
            first.callback(1)
            raise
    """,
    "results of each other, in lists": """
        last = None
        while True:
            last = defer.succeed([last])
    """,
    "queues, each in the next": """
        last = None
        while True:
            queue = defer.DeferredQueue()
            queue.put(last)
            last = queue
    """,
    "a chain of Deferreds, which is fired": """
        first = last = defer.Deferred()
        try:
            while True:
                before, last = last, defer.Deferred()
                before.addCallback(last.callback)
        except MemoryError:
            first.callback(1)
            raise
    """,
}


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is Linux's")
@pytest.mark.parametrize("name", HELD)
def test_memory_errors_and_failures_that_are_kept(name):
    """Whatever dies or fails where there is no memory left, the process goes on."""
    program = f"""
import logging, resource, sys
import deferrous as defer
logging.disable(50)
sys.path.insert(0, {str(ROOT)!r})
from tests.proofs.memory_child import keep_code

def endless(held):
{textwrap.indent(textwrap.dedent(HELD[name]), "    ")}

most = resource.getrlimit(resource.RLIMIT_AS)[1]
held = []
keep_code()
spare = bytearray(8 << 20)
try:
    endless(held)
except MemoryError:
    # What is kept dies where there is no memory.
    del held[:]
    del spare
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    defer.succeed("goes on").addCallback(print)
"""
    goes_on_within(150 << 20, program)
