"""Every name in our modules rebound or deleted: an exception or a result, never a crash."""

import os

import pytest
from helpers import run_script

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

SCRIPT = """
import asyncio
import gc
import importlib
import logging
import os
import pkgutil
import signal
import sys

sys.path.insert(0, {root!r})
from tests.proofs import programs

logging.disable(logging.CRITICAL)
modules = [defer] + [
    importlib.import_module("deferrous." + each.name)
    for each in pkgutil.iter_modules(defer.__path__)
    if each.name not in ("__main__", "pytest_plugin", "twisted_plugin")
]
classes = [failure.Failure, defer.DebugInfo, defer.FirstError]
names = programs.load("deferrous")


class Raises(type):
    def __instancecheck__(cls, instance):
        raise OSError
    __subclasscheck__ = __call__ = __instancecheck__


def raises(*_args, **_kwargs):
    raise OSError


instead = {{
    "gone": None,
    "a number": 42,
    "raises": raises,
    "a class that raises": Raises("C", (), {{}}),
    "returns a number": lambda *_args, **_kwargs: 7,
}}[{value!r}]


def check(error):
    while error is not None:
        if type(error).__name__ == "PanicException" or isinstance(error, SystemError):
            os._exit(9)
        error = error.__context__


def run_all():
    sys.unraisablehook = lambda info: check(info.exc_value)
    kept = []
    for program in programs.PROGRAMS.values():
        try:
            program(names, lambda d: kept.append(d) or d)
        except BaseException as error:
            check(error)
    kept.clear()
    gc.collect()


def rebind(owner, name):
    if instead is None:
        delattr(owner, name)
    else:
        setattr(owner, name, instead)


gc.collect()
gc.freeze()
bad = []
cases = [(owner, name) for owner in modules + classes for name in sorted(vars(owner))]
for owner, name in cases[{part}::{parts}]:
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            rebind(owner, name)
            run_all()
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        bad.append((owner.__name__, name, os.waitstatus_to_exitcode(status)))
assert len(cases) > 300, len(cases)
assert not bad, bad
"""

#: A part of all names is tried with each; `PARTS=1` in the environment tries all of them.
PARTS = int(os.environ.get("PARTS", "16"))


@pytest.mark.parametrize(
    ("part", "value"),
    list(enumerate(["gone", "a number", "raises", "a class that raises", "returns a number"])),
)
def test_a_name_is(part, value):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    run_script("deferrous", SCRIPT.format(root=root, value=value, part=part % PARTS, parts=PARTS))
