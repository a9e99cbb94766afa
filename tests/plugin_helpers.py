"""Helpers for the tests of the pytest plugin."""

import importlib.metadata
import pathlib
import re

import pytest

MODULE = "deferrous.pytest_plugin"
IS_INSTALLED = any(
    each.value == MODULE for each in importlib.metadata.entry_points(group="pytest11")
)
DOCS = pathlib.Path(__file__).parent.parent / "docs" / "testing.md"
PRELUDE = """
import gc
import logging
import unittest

import pytest

import deferrous as defer

def fail(error):
    raise error

def lose(error):
    defer.maybeDeferred(fail, error)

def lose_in_cycle(error):
    d = defer.maybeDeferred(fail, error)
    d.itself = d
"""


@pytest.fixture
def run(pytester):
    """Run pytest on the source of a test module; `args` replace the option that turns it on."""

    def run(source, *more, args=("--deferrous",), subprocess=False):
        pytester.makepyfile(PRELUDE + source)
        start = pytester.runpytest_subprocess if subprocess else pytester.runpytest_inprocess
        load = () if IS_INSTALLED else ("-p", MODULE)
        return start(*load, "-p", "no:cacheprovider", "-p", "no:randomly", *args, *more)

    return run


def text_of(result):
    return re.sub(r"0x[0-9a-f]+", "0x?", result.stdout.str())


LOSING = """
def test_it():
    lose(ValueError("bad"))
"""
