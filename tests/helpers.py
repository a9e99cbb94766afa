"""Helpers for many test modules."""

import os
import re
import subprocess
import sys
import tempfile
import textwrap

#: Import names of each implementation: its Deferreds, its Failure.
IMPLEMENTATIONS = {
    "twisted": ("twisted.internet.defer", "twisted.python.failure"),
    "deferrous": ("deferrous", "deferrous.failure"),
}


def qual(cls):
    """The dotted name under which reports show a class."""
    return f"{cls.__module__}.{cls.__name__}"


def normalise(text):
    """Replace addresses, which differ between runs, by one fixed mark."""
    return re.sub(r"0x[0-9a-f]+", "0x?", text)


def user_frames(failure, *filenames):
    """Names of the functions of these files in a failure's frames, outermost first.

    The frames of an implementation's own functions are its own affair.
    """
    return [frame[0] for frame in failure.frames if frame[1] in filenames]


def ignore(_):
    """A callback or errback that takes anything and leaves None."""


def raiser(error):
    """A callback that raises, whatever it is given."""

    def fail(*_):
        raise error

    return fail


def caught(failure, error):
    """A Failure made while an exception is being handled."""
    try:
        raise error
    except BaseException:
        return failure.Failure()


class Recorder:
    """A callback that keeps what it was called with and passes on its input."""

    def __init__(self, *returns):
        self.calls = []
        self._returns = list(returns)

    def __call__(self, result, *args, **kwargs):
        self.calls.append((result, args, kwargs) if args or kwargs else result)
        return self._returns.pop(0) if self._returns else result


def shown(value):
    """Name a value, for a test's id, in the same way in each process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def outcome(deferred):
    """Take what a Deferred holds now: a list, empty when it holds nothing."""
    results = []
    deferred.addBoth(results.append)
    return results


def run_script(implementation, script):
    """Run a script in a fresh interpreter, with `defer` and `failure` imported.

    Crashes, interpreter exit and memory are then the script's own. The time
    limit is there only so that an endless loop ends.
    """
    defer, failure = IMPLEMENTATIONS[implementation]
    prelude = (
        f"import importlib\ndefer = importlib.import_module({defer!r})\n"
        f"failure = importlib.import_module({failure!r})\n"
    )
    # A file, not -c: warnings and tracebacks then have a module to speak of.
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "script.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(prelude + textwrap.dedent(script))
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", path],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    return done


#: Puts something below the main thread's stack, so that the system lets it grow by that much at
#: most (a MiB it leaves between the two), whatever its limit is. At a real limit of memory it
#: grows no more either, but who gets the last page there is a matter of chance.
LITTLE_STACK = """
def stop_the_stack(kib):
    import ctypes, mmap
    with open("/proc/self/maps") as maps:
        (start,) = (int(line.split("-")[0], 16) for line in maps if line.endswith("[stack]\\n"))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    FIXED_NOREPLACE = 0x100000
    at = ctypes.c_void_p(start - (1 << 20) - (kib << 10))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | FIXED_NOREPLACE
    made = libc.mmap(at, ctypes.c_size_t(4096), mmap.PROT_READ, flags, -1, ctypes.c_long(0))
    assert made == at.value, ctypes.get_errno()
"""
