"""The kinds of events in a trace, and names for what they are about."""

from __future__ import annotations

from ._tracking import name_of_place

# The kinds, as the native half numbers them.
MADE, FIRED, BEGINS, ENDS, STARTED, RESUMED, SUSPENDED, ENDED = range(1, 9)
CANCELLED, HANDLED, UNHANDLED, CHAINED = range(9, 13)
OF_RUNS = (STARTED, RESUMED, SUSPENDED, ENDED)

#: What an outcome is.
FAILURE, DEFERRED = 3, 4
OUTCOMES = ("nothing", "nothing", "a result", "a failure", "another Deferred")

Raw = tuple[int, int, int, int, int, int]


class Names:
    """Names for what has been at addresses, one after the other."""

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
        """Return the number of the Deferred that is there, or 0 for none."""
        if not address:
            return 0
        return self._of_address.get(address) or self.made(address)

    def deferred(self, address: int) -> str:
        """Return the name of the Deferred that is there."""
        number = self.number(address)
        return f"Deferred {number}" if number else ""

    def run(self, number: int, code: int = 0) -> str:
        """Return the name of a generator or coroutine. Its code is known at some events."""
        name = self._runs.get(number)
        if name is None:
            base = (name_of_place(code) if code else "") or "generator"
            self._numbers[base] = count = self._numbers.get(base, 0) + 1
            name = self._runs[number] = f"{base} {count}"
        return name


def code_of(kind: int, detail: int) -> int:
    """Return the place of the code of a generator, as far as an event says it."""
    if kind in (STARTED, SUSPENDED):
        return detail
    return detail >> 3 if kind == RESUMED else 0


def with_outcome(outcome: int) -> str:
    return f"with {OUTCOMES[outcome]}"
