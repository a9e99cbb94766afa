"""Actions on failures."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from ..program import Node
from .making import Making


class Failures(Making):
    """Looks at failures in every way."""

    def op_probe(self, owner: Any, n: int, make: int, what: int, first: Node, second: Node) -> Any:
        failure = self.failure_for(n, make, owner, first[1])
        targets = [self.target(first), self.target(second)]
        if what in (0, 12):
            return self.norm(failure.check(*targets))
        if what == 1:
            return self.norm(failure.trap(*targets))
        if what == 2:
            return failure.getErrorMessage()
        if what == 3:
            return [failure.type, failure.value, self.traceless(failure)]
        if what == 4:
            return [self.norm(parent) for parent in failure.parents]
        if what == 5:
            return failure.raiseException()
        if what == 6:
            if type(failure.value).__name__ == "_DefGen_Return":
                # Twisted looks in its traceback for who called returnValue(), and breaks if
                # there is none.
                return "returning"
            before = self.frames(failure)
            failure.cleanFailure()
            clean = getattr(failure.value, "__traceback__", None) is None
            pickled = failure.__dict__.get("pickled", failure.pickled)
            return [before, self.frames(failure), failure.tb is None, clean, pickled]
        if what == 7:
            return self.text(repr(failure)) + self.text(str(failure)).split("|")[0]
        if what == 8:
            detail = ("default", "brief", "verbose")[n % 3]
            text = failure.getTraceback(detail=detail)
            if detail == "verbose":  # the frames and variables of everybody
                text = text.replace("\nFailure: ", "\n")
                lines = text.replace(f"#{failure.count}", "#?").split("\n")
                return [lines[0], lines[-3:]]
            return text
        return self.probe_more(failure, what, targets, first, second)

    def probe_more(
        self, failure: Any, what: int, targets: list[Any], first: Node, second: Node
    ) -> Any:
        """What is made of a failure: another, a copy, an exception."""
        if what == 9:
            again = self.impl.Failure(failure)
            return [again, again.value is failure.value, again is failure]
        if what == 10:
            try:
                raise failure
            except BaseException:
                again = self.impl.Failure()
            return [again, again is failure, self.frames(again)]
        if what == 11:
            error = self.new_error(first[1])
            again = self.impl.Failure(error, self.cls(second[1]))
            return [again.type, again.value, again.tb is None, again.captureVars]
        if what == 13:
            return self.throw(failure)
        if what == 14:
            try:
                failure.raiseException()
            except BaseException:
                again = self.impl.Failure()
            return [again, again is failure, self.frames(again)]
        if what == 15:
            reduced = failure.__getstate__()
            shown = [reduced["pickled"], reduced["tb"] is None, len(reduced["parents"])]
            again = pickle.loads(pickle.dumps(failure.value and failure))
            shown += [again, again.pickled, again.tb is None, self.frames(again)]
            return [*shown, reduced["stack"], again.check(*targets)]
        if what == 16:
            return copy.copy(failure)
        holder = failure.getTracebackObject()
        frames = self.frames(failure)
        return [holder is None or not frames, failure.captureVars, frames]

    def throw(self, failure: Any) -> Any:
        def generator() -> Any:
            try:
                yield 1
            except BaseException as error:
                self.log(f"thrown {self.error(error)}")
                yield 2
            yield 3

        running = generator()
        next(running)
        return failure.throwExceptionIntoGenerator(running)

    def failure_for(self, n: int, make: int, owner: Any, name: str) -> Any:
        Failure = self.impl.Failure
        if make < 4:
            result = getattr(self.pick(n, owner), "result", None)
            if isinstance(result, Failure):
                return result
        if make == 4:
            return Failure(self.new_error(name))
        if make == 5:
            try:
                raise self.new_error(name)
            except BaseException as error:
                return Failure(error, captureVars=True)
        if make == 6:
            try:
                raise self.new_error(name)
            except BaseException as error:
                return Failure(error, type(error), error.__traceback__.tb_next)
        if make == 7 and "bare_errback" in self.features:
            return Failure()
        return self.raised(name)

    def target(self, spec: Node) -> Any:
        cls = self.cls(spec[1])
        if spec[0] == "class":
            return cls
        return f"{cls.__module__}.{cls.__qualname__}"
