"""Helpers for the tests of failures."""

#: The file that the frames of `fails` and `make` are in.
FILE = __file__


class Custom(ValueError):
    """An exception of this module, to be found by name."""


class BrokenStr(Exception):
    def __str__(self):
        raise RuntimeError("no str")


def fails(error):
    local = "a local variable"  # noqa: F841 - seen in reports
    raise error


def make(failure, error, **options):
    """A Failure of an error raised two of this file's functions deep."""
    try:
        fails(error)
    except BaseException:
        return failure.Failure(**options)
