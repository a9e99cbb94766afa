"""`track` changes nothing for the program, and survives whatever the program does."""

import gc
import json
import sys
import threading
import weakref

import deferrous as defer
import pytest
from helpers import run_script
from tracking_helpers import Own, before, off_at_the_end, since

pytestmark = pytest.mark.deferrous_only


def test_nothing_is_kept_alive(before):
    kept = [Own() for _ in range(100)]
    dead = []
    references = [weakref.ref(each, dead.append) for each in kept]
    found = since(before)
    assert len(found) == 100
    kept.clear()
    assert len(dead) == len(references) == 100
    assert len(since(before)) == 0
    assert [each.deferred for each in found.deferreds] == [None] * 100
    assert found.deferreds[0].made is not None


def test_addresses_that_others_have_got(before):
    d = defer.Deferred()
    (entry,) = since(before).deferreds
    for _ in range(100):
        d = None
        d = defer.Deferred()
        assert entry.deferred is None
        assert len(since(before)) == 1
    assert d is not None


def test_a_million_that_come_and_go(before):
    def come_and_go(number):
        for _ in range(number):
            d = defer.Deferred()
            d.callback(None)

    come_and_go(100_000)
    assert len(since(before)) == 0
    many = [defer.Deferred() for _ in range(100_000)]
    assert len(since(before)) == 100_000
    del many[::2]
    assert len(since(before)) == 50_000
    many += [defer.Deferred() for _ in range(1_000)]
    assert {each.deferred for each in since(before).deferreds} == set(many)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is asked for as on Linux")
def test_bytes():
    script = """
    import gc, os
    def size():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    gc.disable()
    defer.track({on})
    N = {number}
    kept = [None] * N
    begin = size()
    for place in range(N):
        kept[place] = defer.Deferred()
    print((size() - begin) / N)
    """

    def measure(on, number):
        return float(run_script("deferrous", script.format(on=on, number=number)).stdout)

    # The table has just grown at the second number.
    for number in (600_000, 635_000):
        assert measure(True, number) - measure(False, number) < 64


def test_on_and_off_while_deferreds_live():
    kept = []
    for _ in range(20):
        kept += [defer.Deferred() for _ in range(50)]
        defer.track()
        kept += [defer.Deferred() for _ in range(50)]
        del kept[::3]
        defer.track(False)
        del kept[::5]
    with defer.track():
        with defer.track():
            assert len(defer.pending().deferreds) >= len(kept)
        assert defer._deferrous._tracking()
    assert not defer._deferrous._tracking()
    before = defer.track()
    with before:
        pass
    assert not defer._deferrous._tracking()


def test_an_error_leaves_it_as_it_was():
    with pytest.raises(ZeroDivisionError), defer.track():
        raise ZeroDivisionError
    assert not defer._deferrous._tracking()


def test_init_that_raises(before):
    kept = []

    class Fails(defer.Deferred):
        def __init__(self):
            kept.append(self)
            raise ValueError("no")

    class FailsAndGoes(defer.Deferred):
        def __init__(self):
            raise ValueError("no")

    for cls in (Fails, FailsAndGoes):
        with pytest.raises(ValueError, match="no"):
            cls()
    gc.collect()
    assert [each.deferred for each in since(before).deferreds] == kept


def test_a_collection_that_asks(before):
    """Weak references' callbacks, finalizers and reports run while Deferreds are half dead."""
    found = []

    class Ring(defer.Deferred):
        def __init__(self):
            super().__init__()
            self.ring = [self]
            self.addErrback(lambda _: self)

        def __del__(self):
            found.append(defer.pending())

    class Asks:
        def __del__(self):
            found.append(defer.pending())

    def asks(_):
        found.append(defer.pending())

    references = []
    for _ in range(50):
        ring = Ring()
        ring.ring += [defer.Deferred(), Asks(), defer.DeferredList([ring])]
        ring.ring[1].addCallback(lambda _, ring=ring: ring)
        references.append(weakref.ref(ring, asks))
    ring = None
    gc.collect()
    assert len(found) >= 100
    for snapshot in found:
        for each in snapshot.deferreds:
            str(each)
    found.clear()
    gc.collect()
    assert len(since(before)) == 0


def test_unhandled_errors_that_ask(before):
    script = """
    import gc, logging
    class Handler(logging.Handler):
        def emit(self, record):
            found = defer.pending()
            for each in found.deferreds:
                str(each), each.deferred
            seen.append(len(found))
    seen = []
    logging.getLogger("deferrous").addHandler(Handler())
    logging.getLogger("deferrous").propagate = False
    defer.track()
    for _ in range(20):
        d = defer.fail(ValueError())
        d.addErrback(lambda failure: failure)
        d.ring = [d, defer.Deferred(), defer.Deferred()]
        d.ring[1].addCallback(lambda _, d=d: d)
    del d
    gc.collect()
    defer.fail(KeyError())
    assert len(seen) == 21, seen
    assert len(defer.pending()) == 0
    """
    run_script("deferrous", script)


def test_threads_that_make_deferreds_meanwhile(before):
    stop = threading.Event()
    errors = []

    def make():
        kept = []
        while not stop.is_set():
            kept.append(defer.Deferred())
            if len(kept) > 200:
                del kept[:150]

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            for each in defer.pending().deferreds:
                assert each.made is None or each.made.file
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
    gc.collect()
    assert len(since(before)) == 0


def test_hostile_names(before):
    code = "def make(D):\n    return D()\n"
    names = {}
    exec(compile(code, "new\nline \x1b[31m\ud800", "exec"), names)
    kept = names["make"](defer.Deferred)
    (each,) = since(before).deferreds
    assert "\n" not in str(each)
    assert "\x1b" not in str(each)
    str(each).encode("utf-8")
    json.dumps(each.to_dict())
    del kept


def test_classes_that_answer_for_themselves(before):
    class Meta(type):
        def __getattribute__(cls, name):
            raise AssertionError(name)

    class Lies(defer.Deferred):
        @property
        def __class__(self):
            raise AssertionError

        def __getattribute__(self, name):
            # That is asked for each that is made.
            assert name == "debug", name
            return False

        def __repr__(self):
            raise AssertionError

    kept = Lies()
    (each,) = since(before).deferreds
    str(each)
    repr(each)
    del kept


def test_debug_mode_too(before):
    defer.setDebugging(True)
    try:
        d = defer.Deferred()
        ((_, place, _),) = since(before).places
        assert place.file == __file__
    finally:
        defer.setDebugging(False)
    del d


def test_the_environment_and_the_end():
    import os
    import subprocess

    script = (
        "import deferrous, sys\n"
        "def work():\n    return deferrous.Deferred()\n"
        "kept = [work() for _ in range(3)]\n"
        "print(deferrous._deferrous._tracking())\n"
    )

    def run(setting, *flags, more=""):
        environment = dict(os.environ, DEFERROUS_TRACK=setting)
        return subprocess.run(
            [sys.executable, *flags, "-c", script + more],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )

    for setting in ("", "0", "no"):
        done = run(setting)
        assert (done.stdout, done.stderr) == ("False\n", "")
    done = run("1")
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert run("1", "-E").stdout == "False\n"
    done = run("exit")
    assert done.stdout == "True\n"
    assert done.stderr.splitlines() == [
        "deferrous: 3 Deferreds wait at exit:",
        '3 Deferred: has not been fired; made at File "<string>", line 3, in work',
    ]
    assert run("exit", more="for each in kept: each.callback(1)\n").stderr == ""
    assert run("exit", more="deferrous.track(False)\n").stderr == ""
    assert run("exit", more="sys.stderr = None\n").stdout == "True\n"
    done = run("0", more="deferrous.track(report_at_exit=True)\nlast = work()\n")
    assert done.stderr.startswith("deferrous: 4 Deferreds wait at exit:\n")
    done = run("exit", more="sys.exit()")
    assert "3 Deferreds wait at exit" in done.stderr


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_fork(before):
    import os

    kept = [defer.Deferred() for _ in range(5)]
    pid = os.fork()
    if not pid:
        status = 1
        try:
            kept.append(defer.Deferred())
            found = defer.pending() - before
            del kept[:2]
            if len(found) == 6 and len(defer.pending() - before) == 4:
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(since(before)) == 5


def test_without_memory():
    """Where there is no memory, Deferreds are made all the same."""
    script = """
    try:
        import _testcapi
    except ImportError:
        raise SystemExit
    defer.track()
    def make():
        return defer.Deferred()
    for start in range(1, 60):
        kept = []
        _testcapi.set_nomemory(start, start + 1)
        try:
            for _ in range(20):
                kept.append(make())
        except MemoryError:
            pass
        finally:
            _testcapi.remove_mem_hooks()
        defer.pending()
        try:
            _testcapi.set_nomemory(start, 0)
            try:
                # Functions of Python's keep their arguments where there is none for their frames.
                defer._deferrous._tracked()
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError:
            pass
    kept = None
    assert len(defer.pending()) == 0
    """
    run_script("deferrous", script)


def test_errors_in_flight_stay(before):
    class Raises:
        def __iter__(self):
            try:
                raise ValueError("first")
            finally:
                kept.append(defer.Deferred())

    kept = []
    with pytest.raises(ValueError, match="first"):
        list(Raises())
    assert len(since(before)) == 1


def test_off_while_the_earlier_are_looked_for():
    """Then they are not noted: nobody would hear of their deaths."""
    run_script(
        "deferrous",
        """
from deferrous import Deferred, _pending, pending, track

def then_off(wanted):
    found = objects_of(wanted)
    track(False)
    return found

objects_of, _pending.objects_of = _pending.objects_of, then_off
ds = [Deferred() for _ in range(3000)]
track()
_pending.objects_of = objects_of
del ds
others = [bytes(range(40, 88 + i % 30)) for i in range(200_000)]
track()
assert len(pending().deferreds) == 0
""",
    )
