"""The types inferred for several Deferreds."""

from typing import Any, Literal

import deferrous as defer
from deferrous import Deferred, DeferredList, Failure, FailureGroup, FirstError
from typing_extensions import assert_type


def lists(ds: list[Deferred[int]], flag: bool) -> None:
    all_of_them = DeferredList(ds)
    assert_type(all_of_them, DeferredList[list[tuple[bool, int]]])
    assert_type(all_of_them.addCallback(lambda x: x), Deferred[list[tuple[bool, int]]])
    assert_type(
        DeferredList(ds, fireOnOneErrback=True, consumeErrors=True),
        DeferredList[list[tuple[bool, int]]],
    )
    assert_type(DeferredList(ds, False, True), DeferredList[list[tuple[bool, int]]])
    assert_type(DeferredList(tuple(ds)), DeferredList[list[tuple[bool, int]]])
    assert_type(DeferredList(iter(ds)), DeferredList[list[tuple[bool, int]]])

    assert_type(DeferredList(ds, True), DeferredList[tuple[int, int]])
    assert_type(
        DeferredList(ds, fireOnOneCallback=True, fireOnOneErrback=True),
        DeferredList[tuple[int, int]],
    )
    assert_type(DeferredList(ds, fireOnOneCallback=True).addCallback(min), Deferred[int])

    assert_type(
        DeferredList(ds, fireOnOneCallback=flag),
        DeferredList[tuple[int, int] | list[tuple[bool, int]]],
    )

    assert_type(all_of_them.fireOnOneCallback, bool)
    assert_type(all_of_them.fireOnOneErrback, bool)
    assert_type(all_of_them.consumeErrors, bool)
    assert_type(all_of_them.finishedCount, int)
    assert_type(all_of_them.cancel(), None)
    for entry in all_of_them.resultList:
        assert_type(entry, Any)


async def awaited(ds: list[Deferred[int]]) -> None:
    for success, result in await DeferredList(ds):
        assert_type(success, bool)
        assert_type(result, int)
    result, index = await DeferredList(ds, fireOnOneCallback=True)
    assert_type(result, int)
    assert_type(index, int)


def as_deferreds(ds: list[Deferred[str]]) -> Deferred[list[tuple[bool, str]]]:
    """Functions that say what they return as with Twisted."""
    return DeferredList(ds)


def as_one_deferred(ds: list[Deferred[str]]) -> Deferred[tuple[str, int]]:
    return DeferredList(ds, fireOnOneCallback=True)


class Patient(DeferredList):
    """A subclass as of Twisted's class, which takes no parameters."""

    def __init__(self, ds: list[Deferred[Any]], patience: float) -> None:
        super().__init__(ds, consumeErrors=True)
        self.patience = patience


class Typed(DeferredList[list[tuple[bool, bytes]]]):
    """A subclass that says more."""


def subclasses(ds: list[Deferred[Any]], bytes_: list[Deferred[bytes]]) -> None:
    patient = Patient(ds, 3.0)
    assert_type(patient.patience, float)
    assert_type(patient.addCallback(lambda x: x), Deferred[list[tuple[bool, Any]]])
    assert_type(Typed(bytes_).addCallback(lambda x: x[0][1]), Deferred[bytes])


def gathered(ds: list[Deferred[int]]) -> None:
    assert_type(defer.gatherResults(ds), Deferred[list[int]])
    assert_type(defer.gatherResults(ds, consumeErrors=True), Deferred[list[int]])
    assert_type(defer.gatherResults(d for d in ds), Deferred[list[int]])
    assert_type(defer.gatherResults([d.addCallback(str) for d in ds]), Deferred[list[str]])
    assert_type(defer.gatherResults(ds).addCallback(len), Deferred[int])


def raced(ds: list[Deferred[int]]) -> None:
    assert_type(defer.race(ds), Deferred[tuple[int, int]])
    assert_type(defer.race(tuple(d.addCallback(str) for d in ds)), Deferred[tuple[int, str]])
    assert_type(defer.race(ds).addCallback(lambda x: x[1]), Deferred[int])
    assert_type(defer.race(d for d in ds), Deferred[tuple[int, int]])
    assert_type(defer.race(dict(enumerate(ds)).values()), Deferred[tuple[int, int]])


def mixed(number: Deferred[int], text: Deferred[str]) -> Deferred[list[int | str]]:
    """Deferreds of several types are gathered into a list of any of them."""
    return defer.gatherResults([number, text])


def errors(first: FirstError, group: FailureGroup) -> None:
    assert_type(first.subFailure, Failure)
    assert_type(first.index, int)
    assert_type(first < first, bool)
    for failure in group.failures:
        assert_type(failure, Failure)


def constants() -> None:
    success: Literal[True] | bool = defer.SUCCESS
    failure: Literal[False] | bool = defer.FAILURE
    assert success is not failure
