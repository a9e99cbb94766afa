"""The first use of each part, by anybody at any moment.

What Rust needs of the Python half used to be imported when that was first needed, under a lock. A
finalizer, an import hook, a collection, another thread or a forked process that used Deferreds
meanwhile then waited for itself, or for nobody.
"""

import subprocess
import sys

import pytest
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

#: Every part that has to be looked up for something.
USES = """
import asyncio
import copy
import sys

def raiser(*_):
    raise ValueError("expected")

class Subclass(defer.Deferred):
    pass

@defer.inlineCallbacks
def generator(value):
    return (yield value)

async def coroutine(value):
    return await value

async def in_asyncio():
    d = defer.Deferred()
    asyncio.get_running_loop().call_soon(d.callback, 1)
    await d
    await asyncio.ensure_future(coroutine(defer.succeed(1)))
    await defer.ensureDeferred(coroutine(asyncio.sleep(0))).asFuture(asyncio.get_running_loop())

class Clock:
    def callLater(self, *_):
        return self

    def active(self):
        return False

def use():
    ignore = lambda _: None
    defer.fail(ValueError()).addErrback(ignore)
    defer.succeed(1).addCallback(raiser).addErrback(ignore)
    defer.maybeDeferred(raiser).addErrback(ignore)
    defer.execute(raiser).addErrback(ignore)
    generator(object())
    generator(defer.succeed(1))
    generator(defer.fail(ValueError())).addErrback(ignore)
    defer.ensureDeferred(coroutine(defer.succeed(1)))
    defer.Deferred().addTimeout(1, Clock())
    defer.gatherResults([defer.fail(ValueError())], consumeErrors=True).addErrback(ignore)
    defer.race([defer.fail(ValueError())]).addErrback(ignore)
    Subclass().addCallbacks(ignore, callbackArgs=[], errback=ignore).cancel()
    copy.copy(defer.succeed(1))
    defer.DeferredLock().run(ignore, 1)
    defer.DeferredSemaphore(1).run(ignore, 1)
    queue = defer.DeferredQueue()
    queue.get().cancel
    copy.copy(queue)
    d = defer.Deferred()
    defer.DeferredList([d]).cancel()
    d.addErrback(ignore)
    try:
        defer.succeed(1).callback(2)
    except defer.AlreadyCalledError:
        pass
    str(failure.Failure(ValueError()))
    failure.Failure(ValueError()).getTraceback()
    asyncio.run(in_asyncio())
"""


def test_all_is_there():
    """Nothing that Deferreds need is imported after the package has been."""
    run_script(
        "deferrous",
        USES
        + """
before = set(sys.modules)
use()
late = {name for name in set(sys.modules) - before if name.startswith("deferrous")}
assert not late, late
""",
    )


def test_the_package_imports_no_event_loop():
    """Having everything at hand is no reason to have asyncio."""
    run_script("deferrous", "import sys; assert 'asyncio' not in sys.modules")


@pytest.mark.parametrize("import_of", ["any", "deferrous"])
def test_import_hooks(import_of):
    """A finder that uses Deferreds for each module that is looked for."""
    run_script(
        "deferrous",
        USES
        + f"""
prefix = {import_of!r}

class Finder:
    busy = False

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if not cls.busy and (prefix == "any" or name.startswith(prefix)):
            cls.busy = True
            use()
            cls.busy = False

sys.meta_path.insert(0, Finder)
for name in [name for name in sys.modules if name.startswith("deferrous._")]:
    if name != "deferrous._deferrous":
        del sys.modules[name]
use()
import wave, deferrous._waiting, deferrous.testing
""",
    )


def test_finalizers_and_collections():
    """Any allocation or deallocation, with Deferreds used meanwhile."""
    run_script(
        "deferrous",
        USES
        + """
import gc

class Dies:
    busy = False

    def __del__(self):
        if not Dies.busy:
            Dies.busy = True
            use()
            Dies.busy = False

gc.set_threshold(50)
Dies()
for _ in range(3):
    dies = Dies()
    dies.itself = dies
    del dies
    use()
""",
    )


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork")
def test_fork_during_a_first_use():
    """A process that is forked while another thread uses each part for the first time."""
    run_script(
        "deferrous",
        USES
        + """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
sys.setswitchinterval(1e-6)

stop = False
children = []

def fork():
    while not stop:
        child = os.fork()
        if child == 0:
            use()
            os._exit(0)
        children.append(child)
        if len(children) == 20:
            break

thread = threading.Thread(target=fork)
thread.start()
use()
stop = True
thread.join()
for child in children:
    assert os.waitpid(child, 0)[1] == 0
""",
    )


def test_threads_at_first_use():
    """Several threads at once, none of which has seen any part before."""
    run_script(
        "deferrous",
        USES
        + """
import threading
sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
errors = []

def work():
    start.wait()
    try:
        use()
    except BaseException as error:
        errors.append(error)

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not errors, errors
""",
    )


def test_a_module_half_way_through_its_import():
    """Whoever imports asyncio may take their time. Nobody waits for it."""
    run_script(
        "deferrous",
        """
import sys, types
assert "asyncio" not in sys.modules
sys.modules["asyncio"] = types.ModuleType("asyncio")
sys.modules["asyncio.events"] = types.ModuleType("asyncio.events")
sys.modules["twisted.internet.defer"] = types.ModuleType("twisted.internet.defer")

async def coroutine(d):
    return await d

d = defer.Deferred()
e = defer.ensureDeferred(coroutine(d))
d.callback(1)
assert e.result == 1

# It gets there, and the number of modules is the same as before.
asked = []
sys.modules["asyncio.events"]._get_running_loop = lambda: asked.append(1)
defer.ensureDeferred(coroutine(defer.Deferred()))
assert asked
""",
    )


def test_twisted_half_way_through_its_import():
    """Its Deferreds are there already, what would drive them is not."""
    run_script(
        "deferrous",
        """
import sys, types

assert "twisted.internet.defer" not in sys.modules
module = types.ModuleType("twisted.internet.defer")
module.Deferred = type("Deferred", (), {})
sys.modules["twisted.internet.defer"] = module

async def coroutine(d):
    return await d

@defer.inlineCallbacks
def generator(d):
    yield object()
    return (yield coroutine(d))

d = defer.Deferred()
results = []
for each in (defer.ensureDeferred(coroutine(d)), generator(d)):
    each.addBoth(results.append)
d.callback(1)
assert results == [1, None], results
""",
    )


def test_collections_in_the_midst_of_the_import():
    """Of every so many objects: at a different moment each time."""
    run_script(
        "deferrous",
        """
        import subprocess
        import sys

        for threshold in [*range(1, 12), 46, 94, 98]:
            program = f"import gc; gc.collect(); gc.set_threshold({threshold}); import deferrous"
            assert subprocess.run([sys.executable, "-c", program]).returncode == 0, threshold
        """,
    )


#: Before CPython 3.11 a changed limit changes nothing in the count.
COUNTS_UP = sys.version_info < (3, 11)

WATCHED = """
import sys

def of_ours(frame):
    return frame.f_code.co_name == "nest" and frame.f_code.co_filename == "<string>"

def quietly(frame, event, argument):
    return quietly

def counting(frame, event, argument):
    # It changes what is left each time.
    if of_ours(frame):
        sys.setrecursionlimit(sys.getrecursionlimit() + 1)

def raising(frame, event, argument):
    if of_ours(frame):
        raise error("from what watches")

def imported():
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        import deferrous
    except BaseException as raised:
        return type(raised)
    finally:
        sys.settrace(None)
        sys.setprofile(None)

error, profile = {error}, {profile}
trace = {trace}
got = imported()
assert got is {raised}, got
import deferrous
from deferrous import _deferrous, concurrency
assert _deferrous._knows_depth() is {known}
event = concurrency.Event()
waits = event.wait()
event.set()
assert waits.called
"""


@pytest.mark.parametrize(
    "watched",
    [
        dict(trace="quietly", profile="quietly"),
        dict(trace="counting", known=COUNTS_UP),
        dict(profile="counting", known=COUNTS_UP),
        dict(trace="raising", error="ValueError", known=False),
        dict(trace="raising", error="KeyboardInterrupt", raised="KeyboardInterrupt"),
        dict(trace="raising", error="MemoryError", raised="MemoryError"),
        dict(trace="raising", error="RecursionError", raised="RecursionError"),
    ],
    ids=lambda watched: " ".join(map(str, watched.values())),
)
def test_what_watches_the_import(watched):
    """How many calls are allowed is found, or it is done without, or the next import finds it."""
    names = dict(trace=None, profile=None, error=None, raised=None, known=True) | watched
    program = WATCHED.format(**names)
    subprocess.run([sys.executable, "-c", program], check=True)
