"""Does the machine notice?  Twisted with one rule changed, against Twisted.

    python -m tests.differential.mutants [--seconds 20] [--show] [NAME ...]

Each mutation is a piece of the text of the installed `defer.py` or `failure.py`, and
what to put in its place.  The changed text is run as a module of another name; nothing
is written to disk.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import select
import signal
import sys
import time
import types
import warnings

from twisted.internet import defer as pristine_defer
from twisted.python import failure as pristine_failure

from .machine import Implementation
from .program import ALL_FEATURES
from .search import Pair, soak

Mutation = tuple[str, str, str]

DEFER: tuple[Mutation, ...] = (
    ("called-stays-false-in-succeed", "d.called = True\n    d._chained", "d._chained"),
    ("debug-not-bool", "Deferred.debug = bool(on)", "Deferred.debug = on"),
    ("timeout-traps-nothing", "value.trap(CancelledError)", "pass"),
    ("timeout-message", 'TimeoutError(timeout, "Deferred")', "TimeoutError(timeout)"),
    ("callback-swaps-kwargs", "(errback, errbackArgs, e", "(errback, callbackArgs, e"),
    ("callback-keywords-lost", "(callback, callbackArgs, callbackK", None),
    ("errback-default-passes", "errback = _failthru", "errback = lambda f: None"),
    ("add-runs-uncalled-not", "if self.called:\n            self._run", None),
    ("errback-passes-value", "(_failthru, (), {})", "(passthru, (), {'x': 1})"),
    (
        "both-only-success",
        "append((call, call))",
        "append((call, (_failthru, (), {})))",
    ),
    ("timeout-at-once", "self.cancel()\n\n        delayedCall", None),
    ("timeout-unflagged", "timedOut[0] = True", "pass"),
    ("timeout-not-cancelled", "if delayedCall.active():", "if False:"),
    ("timeout-ignores-custom", "onTimeoutCancel or _c", "_c"),
    ("chain-forgets-errback", "d.callback, d.errback)", "d.callback)"),
    ("chain-no-mark", "d._chainedTo = self", "pass"),
    ("errback-keeps-exception", "fail = Failure(fail)", "pass"),
    ("pause-once", "self.paused += 1", "self.paused = 1"),
    ("unpause-stops-at-zero", "self.paused -= 1", "self.paused = 0"),
    ("unpause-runs-uncalled", "if self.called:\n            self._runC", None),
    ("cancel-called-too", "if not self.called:\n            canc", None),
    ("canceller-not-none", "if canceller:", "if canceller is not None:"),
    ("cancel-no-suppress", "_suppressAlreadyCalled = True", "_suppressX = True"),
    ("cancel-always-suppress", "canceller(self)\n            else", None),
    ("cancel-no-errback", "if not self.called:\n                # There", None),
    ("cancel-not-forwarded", "self.result.cancel()", "pass"),
    ("suppress-forever", "_suppressAlreadyCalled = False\n   ", None),
    ("fire-twice-silent", "raise AlreadyCalledError\n", "return\n"),
    ("debug-extra-lost", "AlreadyCalledError(extra)", "AlreadyCalledError()"),
    ("debug-no-invoker", "invoker = traceback", "invoke = traceback"),
    ("canceller-kept", "self._canceller = None", "pass"),
    ("runs-recursively", "if self._runningCallbacks:", "if False:"),
    ("paused-ignored", "if current.paused:", "if False:"),
    ("paused-positive-only", "if current.paused:", "if current.paused > 0:"),
    ("chained-mark-kept", "current._chainedTo = None", "pass"),
    ("lifo", "current._callbacks.pop(0)", "current._callbacks.pop()"),
    ("result-left-behind", "current.result = None\n", "pass\n"),
    ("chain-report-twice", "failResult = None\n                    chainee", None),
    ("chainee-unpaused", "chainee.paused -= 1", "chainee.paused = 0"),
    ("no-self-warning", "if current.result is current:", "if False:"),
    ("running-stays", "current._runningCallbacks = False", "pass"),
    ("only-exceptions", "except BaseException:\n                    # Inc", None),
    ("no-capture", "current.result = Failure(captureVars=self.debug)", None),
    ("subclass-not-waited", "type(current.result) in _DEF", None),
    ("chained-result-taken", "or type(resultResult) in _DEFERRED_SUBCLASSES", ""),
    ("paused-result-taken", "or currentResult.paused", ""),
    ("chain-no-pause", "current.pause()", "pass"),
    ("chain-pause-direct", "current.pause()", "current.paused += 1"),
    ("chain-untold", "current._chainedTo = currentResult", "pass"),
    ("stolen-not-cleared", "currentResult.result = None", "pass"),
    ("stolen-still-reported", "if currentResult._debugInfo is not None:", "if False:"),
    ("no-report", "current._debugInfo.failResult = current.result", "pass"),
    ("report-though-handled", "else:\n                    # Clear out", None),
    ("str-no-chain", "if self._chainedTo is not None:", "if False:"),
    ("await-paused", "if not self.called or self.paused:", "if not self.called:"),
    ("await-still-reports", "self._debugInfo.failResult = None\n       ", None),
    ("future-cancel-lost", "if futureAgain.cancelled():", "if False:"),
    ("future-fails-cancelled", "if not future.cancelled():\n                f", None),
    ("from-future-not-cancelled", "future.cancel()\n", "pass\n"),
    ("from-future-cancel-value", "if result is futureCancel:", "if False:"),
    ("from-future-plain-class", "self = cls(cancel)", "self = Deferred(cancel)"),
    ("ensure-rewraps", "return coro  # type: ignore[return-value]", None),
    ("first-error-repr", "self.index, self.subFailure.value)", None),
    ("list-empty-fires-one", "== 0 and not fireOnOneCallback:", "== 0:"),
    ("list-index", "index = index + 1", "index = index + 2 - 1 - (index == 2)"),
    ("list-one-callback", "succeeded == SUCCESS and self.fireOnOneC", None),
    ("list-one-errback", "succeeded == FAILURE and self.fireOnOneE", None),
    ("list-consumes-never", "if succeeded == FAILURE and self.consumeErrors:", None),
    ("list-count", "self.finishedCount += 1\n", "self.finishedCount += succeeded\n"),
    ("list-cancel-unguarded", "deferred.cancel()\n                except", None),
    ("list-cancel-called", "if not self.called:\n            for", None),
    ("gather-keeps-errors", "consumeErrors=consumeErrors\n", "consumeErrors=False\n"),
    ("race-no-cancel", "if d is not winner:", "if False:"),
    ("race-cancels-winner", "if d is not winner:", "if True:"),
    ("race-fails-early", "len(failure_state) == len(to_cancel)", None),
    ("race-unsorted", "failure_state.sort()", "failure_state.reverse()"),
    ("generator-no-context", "context.run(gen.send, result)", "gen.send(result)"),
    ("generator-shares-context", "_copy_context())", None),
    ("generator-failure-sent", "isFailure = isinstance(result, Failure)", None),
    ("generator-value-lost", 'getattr(e, "value", None)', "None"),
    ("generator-misuse-silent", "if appCodeTrace.tb_next.tb_next.tb_next:", None),
    ("generator-base-exceptions", "except BaseException:\n            status", None),
    ("generator-no-nesting", "if not isDeferred and (iscoroutine(result) or", None),
    ("generator-only-addcallback", "result.addBoth(_got", "result.addCallback(_got"),
    ("generator-waiting-on", "status.waitingOn = result", "pass"),
    ("generator-second-wait", "waiting[0] = True\n", "pass\n"),
    ("generator-cancel-last", "it._callbacks, tmp = [], it._callbacks", "tmp = []"),
    ("generator-cancel-keeps-none", "it._callbacks.extend(tmp)", "pass"),
    ("generator-cancel-no-forward", "awaited.cancel()", "pass"),
    ("generator-cancel-once", "status.deferred = Deferred(lambda d: _add", None),
    ("generator-any-iterable", "if not isinstance(gen, GeneratorType):", "if False:"),
    ("timeout-keeps-value", "raise TimeoutError(timeout, ", "raise KeyError("),
    ("timeout-order", "if timedOut[0]:", "if not timedOut[0]:"),
    ("execute-exceptions-only", "except BaseException:\n        return fail()", None),
    ("maybe-exceptions-only", "except BaseException:\n        return fail(F", None),
    ("maybe-failure-as-value", "elif isinstance(result, Failure):", "elif False:"),
    ("maybe-coroutine-as-value", "elif type(result) is CoroutineType:", "elif False:"),
    ("log-error-swallows", "return err\n", "return None\n"),
    ("chain-loses-result", "chainee.result = current.result", None),
    ("errback-no-capture", "fail = Failure(captureVars=self.debug)", None),
    ("report-not-error", "isError=True", "isError=False"),
    ("report-no-debug", "if debugInfo:", "if False:"),
    ("future-succeeds-cancelled", "cancelled():\n                future.set_r", None),
    ("list-fires-twice", "if not self.called:\n            if succ", None),
    ("list-shared-results", "ListResultListT[Any], self.resultList))", None),
    ("race-late-result", "winner = to_cancel[this_index]", "winner = to_cancel[0]"),
    ("first-error-order", "cmp((self.index, self.subF", None),
    ("async-with-swallows", "return succeed(False)", "return succeed(True)"),
    ("async-with-keeps", "self.release()\n        # We", "pass\n        # We"),
    ("semaphore-over-release", "self.tokens < self.limit", "True"),
    ("queue-errors-swapped", "raise QueueUnderflow()", "raise QueueOverflow()"),
    ("queue-zero-is-none", "if self.size is None or", "if not self.size or"),
    ("generator-error-no-tb", "status.deferred.errback()", None),
    ("await-value-again", "yield self\n                continue", None),
    ("run-no-release", ".addBoth(\n                self._rel", None),
    ("lock-cancel-waits", "self.waiting.remove(d)", "pass"),
    ("lock-release-open", "self.locked = True\n            d = ", "d = "),
    ("lock-lifo", "d = self.waiting.pop(0)", "d = self.waiting.pop()"),
    ("semaphore-zero", "if tokens < 1:", "if tokens < 0:"),
    ("semaphore-greedy", "self.tokens = self.tokens - 1\n            d.c", None),
    ("queue-unbounded", "len(self.pending) < self.size:", "True:"),
    ("queue-backlog-off-by-one", "len(self.waiting) < self.backlog", None),
    ("queue-lifo", "succeed(self.pending.pop(0))", "succeed(self.pending.pop())"),
)
# Longer replacements, by name, so that the table above stays readable.
REPLACEMENTS = {
    "callback-keywords-lost": "(callback, callbackArgs, errbackK",
    "add-runs-uncalled-not": "if True:\n            self._run",
    "timeout-at-once": "pass\n\n        delayedCall",
    "unpause-runs-uncalled": "if True:\n            self._runC",
    "cancel-called-too": "if True:\n            canc",
    "cancel-always-suppress": (
        "canceller(self)\n                self._suppressAlreadyCalled = True\n            else"
    ),
    "cancel-no-errback": "if canceller is None:\n                # There",
    "suppress-forever": "_suppressAlreadyCalled = True\n   ",
    "chain-report-twice": "creator = None\n                    chainee",
    "only-exceptions": "except Exception:\n                    # Inc",
    "no-capture": "current.result = Failure()",
    "subclass-not-waited": "type(current.result) is Deferred or 0 in _DEF",
    "report-though-handled": "elif False:\n                    # Clear out",
    "await-still-reports": "pass\n       ",
    "future-fails-cancelled": "if True:\n                f",
    "ensure-rewraps": "return succeed(coro)",
    "first-error-repr": "self.index, self.subFailure)",
    "list-one-callback": "self.fireOnOneC",
    "list-one-errback": "self.fireOnOneE",
    "list-consumes-never": "if False:",
    "list-cancel-unguarded": (
        "deferred.cancel()\n                except Exception:\n"
        "                    raise\n                except"
    ),
    "list-cancel-called": "if True:\n            for",
    "race-fails-early": "failure_state",
    "generator-shares-context": "_Context())",
    "generator-failure-sent": "isFailure = False",
    "generator-misuse-silent": "if False:",
    "generator-base-exceptions": "except Exception:\n            status",
    "generator-no-nesting": "if not isDeferred and (False or",
    "generator-cancel-once": "status.deferred = Deferred(lambda d: None and _add",
    "execute-exceptions-only": "except Exception:\n        return fail()",
    "maybe-exceptions-only": "except Exception:\n        return fail(F",
    "chain-loses-result": "chainee.result = current.result or None",
    "errback-no-capture": "fail = Failure()",
    "future-succeeds-cancelled": "done() or 1:\n                future.set_r",
    "list-fires-twice": "if True:\n            if succ",
    "list-shared-results": "ListResultListT[Any], self.resultList[:]))",
    "first-error-order": "cmp((other.index, self.subF",
    "generator-error-no-tb": "status.deferred.errback(exc_info()[1])",
    "await-value-again": "yield self",
    "run-no-release": ".addCallback(\n                self._rel",
    "semaphore-greedy": "self.tokens = 0\n            d.c",
    "queue-backlog-off-by-one": "len(self.waiting) <= self.backlog",
}

FAILURE: tuple[Mutation, ...] = (
    ("failure-current-ignored", "raise NoCurrentExceptionError()", "pass"),
    (
        "failure-type-argument",
        "self.type = exc_type\n",
        "self.type = type(exc_value)\n",
    ),
    (
        "failure-no-extrapolate",
        "if isinstance(self.value, Failure):\n            s",
        None,
    ),
    ("failure-no-traceback", "tb = self.value.__traceback__", "pass"),
    ("failure-capture-lost", "self.captureVars = captureVars", "self.captureVars = 0"),
    ("failure-frames-reversed", "return frames\n", "return frames[::-1]\n"),
    ("failure-no-parents", "getmro(self.type)", "[self.type]"),
    ("failure-trap-swallows", "self.raiseException()\n        return error", None),
    ("failure-check-first", "if err in self.parents:", "if err == self.parents[0]:"),
    ("failure-check-class-only", "err = reflect.qual(error)", "pass"),
    ("failure-raise-clean", "raise self.value.with_traceback(self.tb)", None),
    ("failure-throw-clean", "g.throw(self.value.with_traceback(self.tb))", None),
    ("failure-repr", "reflect.qual(self.type),\n", "self.type,\n"),
    ("failure-message-repr", "return reflect.safe_str(self.value)", None),
    ("failure-clean-keeps", "self.value.__traceback__ = None", "pass"),
    ("failure-not-pickled", 'c["pickled"] = 1', 'c["pickled"] = 0'),
    ("failure-state-tb", 'c["tb"] = None', "pass"),
)
FAILURE_REPLACEMENTS = {
    "failure-no-extrapolate": "if False:\n            s",
    "failure-trap-swallows": "pass\n        return error",
    "failure-raise-clean": "raise self.value.with_traceback(None)",
    "failure-throw-clean": "g.throw(self.value.with_traceback(None))",
    "failure-message-repr": "return repr(self.value)",
}


def _changed(module: types.ModuleType, name: str, old: str, new: str) -> str:
    with open(module.__file__ or "", encoding="utf-8") as file:
        text = file.read()
    if old not in text:
        raise LookupError(f"{name}: {old!r} is not in {module.__file__}")
    return text.replace(old, new)


def _execute(name: str, original: types.ModuleType, text: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = original.__file__
    sys.modules[name] = module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(text, original.__file__ or name, "exec"), module.__dict__)
    return module


def mutate(number: int | str, mutation: Mutation, of_failure: bool) -> Implementation:
    """Twisted with this mutation."""
    name, old, new = mutation
    if new is None:
        new = (FAILURE_REPLACEMENTS if of_failure else REPLACEMENTS)[name]
    label = "mutant_" + re.sub(r"\W", "_", str(number))
    if not of_failure:
        text = _changed(pristine_defer, name, old, new)
        defer = _execute(f"{label}_defer", pristine_defer, text)
        return Implementation(defer, pristine_failure, name)
    text = _changed(pristine_failure, name, old, new)
    failure = _execute(f"{label}_failure", pristine_failure, text)
    text = _changed(
        pristine_defer,
        name,
        "from twisted.python.failure import",
        f"from {label}_failure import",
    )
    return Implementation(_execute(f"{label}_defer", pristine_defer, text), failure, name)


def try_one(pair: Pair, seconds: float, number: str, reduced: bool) -> str:
    """The verdict on one mutant, found in a process that it may hang or crash."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        code = 1
        try:
            start = time.monotonic()
            tried, found = soak(pair, seconds, number)
            took = time.monotonic() - start
            text = "NOT CAUGHT" if found is None else "caught"
            text = f"{text:10} {tried:6} programs {took:5.1f} s"
            if found is not None and reduced:
                found = pair.reduced(found)
                text += "\n" + pair.report(found, pair.difference(found) or "")
            os.write(writing, text.encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], 3 * seconds + 10)
        if not ready:
            os.kill(child, signal.SIGKILL)
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text or ("caught (crashes)" if ready else "caught (hangs)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only mutations with this in the name")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--show", action="store_true", help="the smallest programs")
    options = parser.parse_args()
    oracle = Implementation(pristine_defer, pristine_failure)
    table = [(m, False) for m in DEFER] + [(m, True) for m in FAILURE]
    table = [
        (mutation, of_failure)
        for mutation, of_failure in table
        if not options.names or any(part in mutation[0] for part in options.names)
    ]
    # Without these two, which must not be "caught", nothing else would be proved.
    controls = [
        (("(unchanged defer.py)", "import", "import"), False),
        (("(unchanged failure.py)", "import", "import"), True),
    ]
    missed = []
    for number, (mutation, of_failure) in enumerate(controls + table):
        mutant = mutate(number, mutation, of_failure)
        pair = Pair(oracle, mutant, ALL_FEATURES - {"exc_context"})
        control = number < len(controls)
        verdict = try_one(pair, options.seconds, options.seed, options.show or control)
        print(f"{mutation[0]:32} {verdict}", flush=True)
        if control and "NOT CAUGHT" not in verdict:
            print("an unchanged copy was told apart: the machine is not sound")
            return 2
        if not control and "NOT CAUGHT" in verdict:
            missed.append(mutation[0])
    print(f"{len(table) - len(missed)} of {len(table)} caught;", "missed:", *missed)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
