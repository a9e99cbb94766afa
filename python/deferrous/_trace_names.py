"""The kinds of events in a trace, and names for their subjects."""

from __future__ import annotations

from ._tracking import name_of_place

# The numbers of the kinds, as in the native half.
MADE, FIRED, BEGINS, ENDS, STARTED, RESUMED, SUSPENDED, ENDED = range(1, 9)
CANCELLED, HANDLED, UNHANDLED, CHAINED = range(9, 13)
OF_RUNS = (STARTED, RESUMED, SUSPENDED, ENDED)

#: The kinds of outcomes.
FAILURE, DEFERRED = 3, 4
OUTCOMES = ("nothing", "nothing", "a result", "a failure", "another Deferred")

Raw = tuple[int, int, int, int, int, int]


class Names:
    """Names for the objects that were at an address, one after the other."""

    def __init__(self) -> None:
        self._of_address: dict[int, int] = {}
        self._count = 0
        self._runs: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def made(self, address: int) -> int:
        """Return the number of a new Deferred."""
        self._count += 1
        self._of_address[address] = self._count
        return self._count

    def number(self, address: int) -> int:
        """Return the number of the Deferred at an address, or 0."""
        if not address:
            return 0
        return self._of_address.get(address) or self.made(address)

    def deferred(self, address: int) -> str:
        """Return the name of the Deferred at an address."""
        number = self.number(address)
        return f"Deferred {number}" if number else ""

    def run(self, number: int, code: int = 0) -> str:
        """Return the name of a generator or coroutine. Only some events tell its code."""
        name = self._runs.get(number)
        if name is None:
            base = (name_of_place(code) if code else "") or "generator"
            self._numbers[base] = count = self._numbers.get(base, 0) + 1
            name = self._runs[number] = f"{base} {count}"
        return name


def code_of(kind: int, detail: int) -> int:
    """Return the code of a generator, if this event tells it."""
    if kind in (STARTED, SUSPENDED):
        return detail
    return detail >> 3 if kind == RESUMED else 0


def with_outcome(outcome: int) -> str:
    return f"with {OUTCOMES[outcome]}"
