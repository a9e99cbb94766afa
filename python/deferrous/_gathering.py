"""The exceptions of gathered Deferreds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .failure import Failure

__all__ = ["FailureGroup", "FirstError"]


class FirstError(Exception):
    """One of several Deferreds has failed.

    `subFailure` is its Failure, and `index` its position. FirstErrors are compared by index, then
    by Failure. Failures have no order, so ordering two errors with the same index raises TypeError.

    ```python
    from deferrous import fail, gatherResults, succeed

    d = gatherResults([succeed(1), fail(KeyError())], consumeErrors=True)
    d.addErrback(lambda failure: print(failure.value.index, failure.value.subFailure.type))
    ```

    This prints `1 <class 'KeyError'>`.
    """

    subFailure: Failure
    index: int

    def __init__(self, failure: Failure, index: int) -> None:
        if len(self.args) != 2:
            # An argument was passed by keyword.
            self.args = failure, index
        self.subFailure = failure
        self.index = index

    def __repr__(self) -> str:
        error: Any = self.subFailure.value
        ours: Any = FirstError.__repr__
        if type(error).__repr__ is not ours:
            return f"FirstError[#{self.index}, {error!r}]"
        # They may be nested deeply, so this does not recurse.
        error = self
        places: list[str] = []
        seen: set[int] = set()
        while type(error).__repr__ is ours:
            if id(error) in seen:
                raise RecursionError("a FirstError in itself")
            seen.add(id(error))
            places.append(f"FirstError[#{error.index}, ")
            error = error.subFailure.value
        return "".join(places) + repr(error) + "]" * len(places)

    def __str__(self) -> str:
        return f"FirstError[#{self.index}, {self.subFailure}]"

    def __cmp__(self, other: object) -> int:
        """Return a number that is negative, zero or positive as this is less, equal or more."""
        if not isinstance(other, FirstError):
            return -1
        ours, theirs = (self.index, self.subFailure), (other.index, other.subFailure)
        return -1 if ours < theirs else int(ours != theirs)

    def __eq__(self, other: object) -> bool:
        return self.__cmp__(other) == 0

    def __ne__(self, other: object) -> bool:
        return self.__cmp__(other) != 0

    def __lt__(self, other: object) -> bool:
        return self.__cmp__(other) < 0

    def __le__(self, other: object) -> bool:
        return self.__cmp__(other) <= 0

    def __gt__(self, other: object) -> bool:
        return self.__cmp__(other) > 0

    def __ge__(self, other: object) -> bool:
        return self.__cmp__(other) >= 0

    __hash__ = Exception.__hash__


class FailureGroup(Exception):
    """All of several Deferreds have failed. `failures` are their Failures, in their order.

    ```python
    from deferrous import fail, race

    d = race([fail(KeyError()), fail(ValueError())])
    d.addErrback(lambda failure: print(len(failure.value.failures)))
    ```

    This prints 2.
    """

    failures: Sequence[Failure]

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.args = ()
        self.failures = failures


def parse_results(results: Any) -> list[Any]:
    """Return the results from a list of pairs `(True, result)`.

    Raises TypeError, ValueError or AssertionError for anything else: a program may have fired the
    Deferred of `gatherResults` itself.
    """
    parsed = []
    for pair in results:
        assert pair is not None
        success, result = pair
        assert success
        parsed.append(result)
    return parsed
