"""Compares both sides of a suite, and checks the differences against the list of exceptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .suites import GOOD, Result, Suite

EXCEPTIONS = Path(__file__).resolve().parent / "exceptions.txt"

#: A test that one side did not come to.
ABSENT = Result("absent", "it did not run")


@dataclass(frozen=True)
class Difference:
    """A test that does not end on deferrous as on Twisted."""

    test: str
    stock: Result
    ours: Result

    def __str__(self) -> str:
        return f"on Twisted {self.stock.outcome}, on deferrous {self.ours.outcome}"


@dataclass
class Verdict:
    """What became of a suite, or of many."""

    suite: str
    stock: Counter[str] = field(default_factory=Counter)
    ours: Counter[str] = field(default_factory=Counter)
    #: What is wrong.
    differing: list[Difference] = field(default_factory=list)
    #: Differing, and on the list.
    excepted: list[Difference] = field(default_factory=list)
    #: Differing in one run of two.
    flaky: list[Difference] = field(default_factory=list)
    #: Not passing on Twisted, and better on deferrous.
    better: list[Difference] = field(default_factory=list)
    #: What is wrong with the suite or the list.
    complaints: list[str] = field(default_factory=list)
    #: How each test of each suite ended on Twisted, and on deferrous.
    outcomes: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return not self.differing and not self.complaints

    def add(self, other: Verdict) -> None:
        self.stock += other.stock
        self.ours += other.ours
        for name in ("differing", "excepted", "flaky", "better", "complaints"):
            getattr(self, name).extend(getattr(other, name))
        self.outcomes |= other.outcomes

    def as_dict(self) -> dict[str, object]:
        """Return all of it for JSON."""
        # No asdict(): before Python 3.12 it spoils counters.
        found = {name: vars(self)[name] for name in ("suite", "stock", "ours", "outcomes")}
        for name in ("differing", "excepted", "flaky", "better"):
            found[name] = [asdict(each) for each in getattr(self, name)]
        return found | {"complaints": self.complaints, "seconds": round(self.seconds, 1)}

    def __str__(self) -> str:
        parts = [f"stock {_counts(self.stock)}", f"deferrous {_counts(self.ours)}"]
        for name in ("excepted", "flaky"):
            found = getattr(self, name)
            if found:
                parts.append(f"{len(found)} {name}")
        if self.better:
            parts.append(f"{len(self.better)} on deferrous only")
        parts.append(f"{len(self.differing)} DIFFERING" if self.differing else "0 differing")
        parts += [f"COMPLAINT: {each}" for each in self.complaints]
        return f"{self.suite}: {'; '.join(parts)}"


def _counts(outcomes: Counter[str]) -> str:
    order = {name: place for place, name in enumerate((*GOOD, "failed", "error", "died"))}
    names = sorted(outcomes, key=lambda name: order.get(name, 99))
    return ", ".join(f"{outcomes[name]} {name}" for name in names) or "nothing"


def compare(
    name: str,
    stock: Mapping[str, Result],
    ours: Mapping[str, Result],
    exceptions: Mapping[str, str],
) -> Verdict:
    """Compare the results of one suite.

    What fails on Twisted may do as it likes on deferrous; all else must end there as it does on
    Twisted. A test on the list of exceptions has to differ.
    """
    verdict = Verdict(name)
    verdict.stock.update(result.outcome for result in stock.values())
    verdict.ours.update(result.outcome for result in ours.values())
    outcomes = verdict.outcomes[name] = {}
    for test in sorted({*stock, *ours}):
        difference = Difference(test, stock.get(test, ABSENT), ours.get(test, ABSENT))
        theirs, mine = difference.stock, difference.ours
        outcomes[test] = (theirs.outcome, mine.outcome)
        if theirs.outcome == mine.outcome:
            same = True
        elif theirs is ABSENT:
            same = mine.good
        elif mine.good and (mine.outcome == "passed" or not theirs.good):
            verdict.better.append(difference)
            same = True
        else:
            same = not theirs.good
        if not same:
            (verdict.excepted if test in exceptions else verdict.differing).append(difference)
        elif test in exceptions:
            verdict.complaints.append(f"on the list of exceptions, but it does not differ: {test}")
    return verdict


def judge(suite: Suite, exceptions: Mapping[str, str], *, match: str = "") -> Verdict:
    """Run one suite on both sides, once more if they differ, and compare."""
    verdicts = []
    for _ in range(2):
        stock = suite.run(stock=True, match=match)
        ours = suite.run(stock=False, match=match)
        verdicts.append(compare(suite.name, stock, ours, exceptions))
        if not verdicts[-1].differing:
            break
    first, last = verdicts[0], verdicts[-1]
    again = {difference.test for difference in last.differing}
    first.flaky = [each for each in first.differing if each.test not in again]
    first.differing = [each for each in first.differing if each.test in again]
    return first


def read_exceptions(path: Path = EXCEPTIONS) -> dict[str, dict[str, str]]:
    """Return the tests that are allowed to differ: program -> test -> reason."""
    listed: dict[str, dict[str, str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [part.strip() for part in line.split("|", 2)]
        if len(fields) != 3 or not all(fields):
            raise ValueError(f"{path}:{number}: want: program | test | reason")
        program, test, reason = fields
        if test in listed.setdefault(program, {}):
            raise ValueError(f"{path}:{number}: {test} is listed twice")
        listed[program][test] = reason
    return listed
