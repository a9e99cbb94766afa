"""Running out of memory raises MemoryError, and never ends the process.

The whole sweep is `python -m tests.proofs.memory`; here is a part of it that takes seconds.
"""

import importlib.util
import subprocess
import sys
import sysconfig
import types
from pathlib import Path

import pytest
from proofs.memory_looks import evidence
from proofs.programs import FORMS, FUNCTIONS, load, object_of

pytestmark = pytest.mark.deferrous_only

ROOT = Path(__file__).parent.parent


needs_testcapi = pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None, reason="this Python has no _testcapi"
)

#: Programs that together come by most places that allocate.
SWEPT = [
    "callbacks",
    "cancelled_through_chain",
    "debug_mode",
    "failure_attributes",
    "gathered_failure",
    "generators_nested",
    "lock_runs",
    "queue_limits",
]


swept_here = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11),
    reason="swept on 3.11: other CPythons crash by themselves (docs/proofs.md)",
)


def sweep(*options):
    done = subprocess.run(
        [sys.executable, "-m", "tests.proofs.memory", "--jobs", "1", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_testcapi
@swept_here
@pytest.mark.parametrize("program", SWEPT)
def test_one_failing_allocation(program):
    """One allocation fails: the program may notice, and everything goes on."""
    sweep("--mode", "one", "--warm", "--program", program)


@needs_testcapi
@swept_here
@pytest.mark.parametrize(
    "program",
    # An exception of a generator for which there is no Failure; what is listed for asyncio.
    ["generators_deep", "coroutine_awaits_in_loop"],
)
def test_one_failing_allocation_at_first_use(program):
    sweep("--mode", "one", "--cold", "--program", program)


@needs_testcapi
@swept_here
@pytest.mark.parametrize(
    "program",
    [
        "bad_calls_of_deferreds",
        "bad_calls_of_functions",
        "bad_calls_of_locks",
        "bad_values",
        "copied",
    ],
)
def test_no_memory_for_the_text_of_an_error(program):
    """PyO3 panics where Python has no memory for the text of an error about arguments: that is a
    MemoryError, at the first use and later."""
    sweep("--mode", "one", "--program", program)


@needs_testcapi
@swept_here
@pytest.mark.parametrize(
    "program",
    [
        *(f"attributes_of_{name}" for name in FORMS),
        *(f"methods_of_{name}" for name in ("DeferredList", "DeferredSemaphore", "_Task")),
        "functions_1",
    ],
)
def test_no_memory_for_what_is_refused(program):
    """All that is called, set or deleted in a way in which it cannot be."""
    sweep("--mode", "one", "--warm", "--program", program)


@needs_testcapi
@swept_here
@pytest.mark.parametrize(("mode", "below"), [("one", "250"), ("all", "420")])
def test_no_memory_for_the_import(mode, below):
    """PyO3 waited for itself where there was no memory for its class of panics. Where there was
    none for a class of ours, it panicked."""
    program = "native_half_imported"
    sweep("--mode", mode, "--cold", "--program", program, "--below", below)


@needs_testcapi
@swept_here
def test_first_failure_of_all_without_memory():
    """Before the Python half of the package has been imported: no Deferred is left running."""
    program = """
import os, sys, _testcapi
from tests.proofs.programs import load
from tests.proofs.programs.without_us import native_half
names, wrong = load("fresh"), 0
for at in range(60):
    child = os.fork()
    if not child:
        module = native_half(names)
        first, second, seen = module.Deferred(), module.Deferred(), []
        first.addCallback(second.callback)
        second.addCallbacks(seen.append, seen.append)
        _testcapi.set_nomemory(at, 0)
        try:
            first.callback(5)
        except MemoryError:
            pass
        _testcapi.remove_mem_hooks()
        for it in (first, second):
            it.addBoth(seen.append)
        os._exit(first.called != second.called or len(seen) < 2 * first.called)
    wrong += os.waitpid(child, 0)[1] != 0
sys.exit(wrong)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_programs_of_the_proofs_run():
    """As valgrind and AddressSanitizer watch them."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.proofs.programs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_whom_cpython_blames_is_compared_with_where():
    """CPython 3.13 says at some places that it has no memory, and goes on."""
    told = """Traceback (most recent call last):
  File "program.py", line 1, in program
  File "linecache.py", line 60, in checkcache
SystemError: <built-in function len> returned a result with an exception set"""
    (where,) = evidence("not said", told)
    assert 'File "linecache.py", line 60, in checkcache' in where
    assert "<built-in function len>" in where
    assert "program.py" not in where
    # It may be anybody's.
    assert evidence("wrong", told) == ()


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="what only builds have that can do without the GIL is not swept",
)
def test_every_method_and_attribute_is_swept():
    """What the native classes and functions have is what those programs use."""
    defer = load("deferrous")
    module = sys.modules["deferrous._deferrous"]
    shown = {it for it in vars(module).values() if isinstance(it, type)}
    for name in FORMS:
        shown.update(type(object_of(defer, name)).__mro__)
    ours = {it for it in shown if it.__module__ in ("deferrous", "deferrous._deferrous")}
    native = {it for it in ours if not issubclass(it, Exception)}
    assert {it.__name__ for it in native} - FORMS.keys() == {"_ConcurrencyPrimitive", "_Place"}
    kinds = (
        types.GetSetDescriptorType,
        types.MethodDescriptorType,
        types.WrapperDescriptorType,
        types.ClassMethodDescriptorType,
    )
    there = {name for kind in native for name, it in vars(kind).items() if isinstance(it, kinds)}
    seen = {name for names in FORMS.values() for each in names for name in each.split()}
    # What the interpreter calls at other moments; attributes that are only read.
    others = {"__init_subclass__", "__weakref__", "callbacks", "what", "owner"}
    assert there - seen - others == set()
    functions = {
        name for name, it in vars(module).items() if isinstance(it, types.BuiltinFunctionType)
    }
    # It cannot be taken back.
    assert functions - {"keep_threads"} == set(FUNCTIONS.split())


@needs_testcapi
@swept_here
@pytest.mark.parametrize(
    ("program", "warmth"), [("hand_overs_deep", "--warm"), ("return_value", "--cold")]
)
def test_what_cpython_does_by_itself_is_found_in_plain_functions(program, warmth):
    """The one goes round in a circle, the other crashes: so do functions without us."""
    sweep("--mode", "all", warmth, "--program", program)


def looked(*, inner=(), line=1, outer=("_deferrous.so(+0x1)[0x1]",)):
    """What a child writes when it is looked where it is."""
    native = [
        "refusing.so(+0x1)[0x1]",
        "libc.so.6(+0x2)[0x2]",
        *inner,
        "/usr/bin/python(_PyEval_EvalFrameDefault+0x5)[0x5]",
        *outer,
    ]
    python = f'Stack (most recent call first):\n  File "a.py", line {line} in f\n'
    return python + "the machine's stack:\n" + "".join(line + "\n" for line in native)


@pytest.mark.parametrize(
    ("outcome", "text", "where"),
    [
        (
            "died of SIGSEGV",
            looked(inner=["/usr/bin/python[0x7]", "python(PyObject_Call+0x2)[0x8]"]),
            ("python:0x7 < python:PyObject_Call+0x2 < python:_PyEval_EvalFrameDefault+0x5",),
        ),
        # Ours is among what runs there.
        ("died of SIGSEGV", looked(inner=["_deferrous.so(+0x7)[0x7]"]), ()),
        (
            "hang",
            looked(inner=["python(PyLong_FromLong+0x2)[0x8]"]) + looked(),
            ("python:_PyEval_EvalFrameDefault+0x5",),
        ),
        # Nothing is known of what it does; ours takes part; it goes on to another line.
        ("hang", looked() + looked(), ()),
        ("hang", looked(inner=["_deferrous.so(+0x7)[0x7]"]) + looked(), ()),
        ("hang", looked(inner=["python(PyLong_FromLong+0x2)[0x8]"]) + looked(line=2), ()),
        ("panic", looked(), ()),
    ],
)
def test_what_has_to_be_found_without_us(outcome, text, where):
    """What a case is compared by, if it can be CPython's own at all."""
    assert evidence(outcome, text) == where


def test_the_native_half_is_made_once_more():
    """As after an import that has failed midway: the classes are the same, and whole."""
    code = """
import sys
from deferrous import Deferred
del sys.modules["deferrous._deferrous"]
Deferred.callback, native = (lambda *_: None), Deferred.callback
from deferrous import _deferrous as again
Deferred.callback = native
assert again.Deferred is Deferred
seen = []
first, second = Deferred(), again.succeed(5)
first.addCallback(second.addCallback).addCallback(lambda _: seen.append("called"))
first.callback(seen.append)
assert seen == [5, "called"], seen
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@needs_testcapi
@swept_here
def test_all_allocations_fail_from_one_on():
    """What was put off where nothing could be kept of it."""
    sweep("--mode", "all", "--warm", "--program", "lock_runs")


@needs_testcapi
@swept_here
@pytest.mark.parametrize(
    "program",
    [
        "bad_calls_of_deferreds",
        "bad_calls_of_functions",
        "bad_calls_of_locks",
        "coroutine_awaits_in_loop",
        "generators_deep",
        "hand_overs_deep",
        "queues_long",
    ],
)
def test_no_memory_for_the_native_half(program):
    """What Rust asks the system for is refused, once or from then on."""
    sweep("--mode", "native-one", "--mode", "native-all", "--program", program)


#: What has no room for all items that are sent, and what takes one out.
NO_ROOM = {
    "channel": "it, take = c.Channel(), c.Channel.receive",
    "channel that holds one": "it, take = c.Channel(1), c.Channel.receive",
    "broadcast": "it = c.Broadcast(1); reader = it.subscribe(); take = lambda _: reader.get()",
}


@needs_testcapi
@swept_here
@pytest.mark.parametrize("make", NO_ROOM.values(), ids=NO_ROOM)
def test_no_item_is_lost(make):
    """Where there is no memory to hand it over, it stays, or who has sent it is told."""
    code = f"""
import gc, itertools, logging
import _testcapi
from deferrous import Deferred, Failure, concurrency as c

logging.disable(logging.CRITICAL)
gc.disable()
for first, many in itertools.product(range(30), (1, 2, 3, 1000)):
    {make}
    sent = [it.send(item) for item in "abc"]
    # No memory of dead ones is left.
    alive = [Deferred() for _ in range(2000)]
    one = None
    _testcapi.set_nomemory(first, first + many)
    try:
        one = take(it)
    except MemoryError:
        pass
    _testcapi.remove_mem_hooks()
    taken = [one] * (one is not None) + [take(it) for _ in "abc"]
    got = [each.result for each in taken if each.called]
    told = [each.called and isinstance(each.result, Failure) for each in sent]
    left = [item for item, failed in zip("abc", told) if not failed]
    assert got and not told[0] and got == left[: len(got)], (first, many, got, told)
    del alive
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


@pytest.mark.parametrize("name", ["edges", "memory", "programs", "references", "threads"])
def test_proofs_have_what_they_take_from_each_other(name):
    """Each proof's module can be imported: most of them are run elsewhere."""
    done = subprocess.run(
        [sys.executable, "-c", f"import tests.proofs.{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
