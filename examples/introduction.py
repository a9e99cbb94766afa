"""Every pattern of Twisted's introduction to Deferreds, on real sockets.

Each pattern is written in two or more forms: as plain synchronous Python, which waits at
every line, and with Deferreds, which never wait. All forms run against an HTTP server on
this machine, both when all goes well and when something fails: a connection is refused,
or the server answers with an error. All forms must have the same result, and take the
same steps in the same order. The exit status is 0 if they do.

It needs only deferrous and the standard library:  python examples/introduction.py
"""

import faulthandler
import inspect
import json
import socket
import sys
import textwrap
import warnings

import deferrous as defer
from introduction_world import BALANCES, DeferredWorld, Handler, Loop, Server, WaitingWorld, World

# The patterns. x is a world: `synchronous` gets one that waits, and the other forms get
# one that returns Deferreds.

PATTERNS = []

WELL = {"all goes well": {}}
F_FAILS = {"f() is refused": {"f()": "refused"}, "f() fails": {"f()": "error"}}
H_FAILS = {"h() is refused": {"h(20)": "refused"}}


def pattern(title, remark, circumstances):
    def note(forms):
        PATTERNS.append((title, remark, circumstances, forms))
        return forms

    return note


@pattern(
    "A hypothetical problem: the pod bay doors",
    "The launch needs open doors, and the clearance that opening them returns. The "
    "second line must wait for the first, so it becomes a callback.",
    {**WELL, "the doors are out of reach": {"open_doors": "refused"}},
)
class PodBayDoors:
    def synchronous(x):
        clearance = x.open_doors()
        return x.launch(clearance)

    def deferred(x):
        d = x.open_doors()
        d.addCallback(lambda clearance: x.launch(clearance))
        return d


@pattern(
    "One thing, then another, then another",
    "Each step gets the result of the one before it. addCallback returns the Deferred, "
    "so the calls can be chained. Sorting asks the server as well: if a callback returns "
    "a Deferred, the next callback waits for it.",
    {
        **WELL,
        "no names": {"get_names": "error"},
        "no sorting": {"sorted": "refused"},
    },
)
class InOrder:
    def synchronous(x):
        names = x.get_names()
        sorted_names = x.sorted(names)
        x.print(sorted_names)

    def synchronous_in_one(x):
        x.print(x.sorted(x.get_names()))

    def deferred(x):
        d = x.get_names()
        d.addCallback(x.sorted)
        d.addCallback(x.print)
        return d

    def deferred_chained(x):
        return x.get_names().addCallback(x.sorted).addCallback(x.print)


@pattern(
    "Simple failure handling",
    "An errback is like an except clause. It gets a Failure, which contains the exception.",
    {
        **WELL,
        "no connection": {"get_names": "refused"},
        "no sorting": {"sorted": "error"},
    },
)
class SimpleFailure:
    def synchronous(x):
        try:
            x.print(x.sorted(x.get_names()))
        except Exception as e:
            x.report_error(e)

    def deferred(x):
        d = x.get_names()
        d.addCallback(x.sorted)
        d.addCallback(x.print)
        d.addErrback(x.report_error)
        return d


@pattern(
    "Handle an error, but do something else on success",
    "If f succeeds, h is called; if f fails, g is called. Only one of them is called, so "
    "g does not handle errors in h.",
    {**WELL, **F_FAILS, **H_FAILS},
)
class ElseOnSuccess:
    def synchronous(x):
        try:
            y = x.f()
        except Exception as e:
            return x.g(e)
        else:
            return x.h(y)

    def deferred(x):
        d = x.f()
        d.addCallbacks(x.h, x.g)
        return d


@pattern(
    "Handle an error, then proceed anyway",
    "The next callback gets the value that the errback returns.",
    {**WELL, **F_FAILS, **H_FAILS},
)
class ThenProceed:
    def synchronous(x):
        try:
            y = x.f()
        except Exception as e:
            y = x.g(e)
        return x.h(y)

    def deferred(x):
        d = x.f()
        d.addErrback(x.g)
        d.addCallback(x.h)
        return d

    def deferred_chained(x):
        return x.f().addErrback(x.g).addCallback(x.h)


@pattern(
    "Handle an error for the entire operation",
    "The other way round: the errback comes last, and handles errors in both steps.",
    {**WELL, **F_FAILS, **H_FAILS},
)
class EntireOperation:
    def synchronous(x):
        try:
            y = x.f()
            z = x.h(y)
        except Exception as e:
            z = x.g(e)
        return z

    def deferred(x):
        d = x.f()
        d.addCallback(x.h)
        d.addErrback(x.g)
        return d

    def deferred_chained(x):
        return x.f().addCallback(x.h).addErrback(x.g)


@pattern(
    "Do something regardless",
    "addBoth adds one function for success and failure. It gets the result or the Failure. "
    "To act like a finally clause, it must return that again.",
    {**WELL, **F_FAILS},
)
class Regardless:
    def synchronous(x):
        try:
            y = x.f()
        finally:
            x.tidy()
        return y

    def deferred(x):
        def tidy(outcome):
            x.tidy()
            return outcome

        d = x.f()
        d.addBoth(tidy)
        return d

    def deferred_in_full(x):
        def tidy(outcome):
            x.tidy()
            return outcome

        return x.f().addCallbacks(tidy, tidy)


@pattern(
    "All of try, except, else and finally",
    "Add the functions in the order of the clauses.",
    {**WELL, **F_FAILS, **H_FAILS},
)
class AllOfThem:
    def synchronous(x):
        try:
            y = x.f()
        except Exception as e:
            z = x.g(e)
        else:
            z = x.h(y)
        finally:
            x.tidy()
        return z

    def deferred(x):
        def tidy(outcome):
            x.tidy()
            return outcome

        d = x.f()
        d.addCallbacks(x.h, x.g)
        d.addBoth(tidy)
        return d

    @defer.inlineCallbacks
    def generator(x):
        try:
            y = yield x.f()
        except Exception as e:
            z = x.g(e)
        else:
            z = yield x.h(y)
        finally:
            x.tidy()
        return z


@pattern(
    "Inline callbacks: yield a Deferred, get its result",
    "The generator reads like the synchronous form, but its caller gets a Deferred, as "
    "with callbacks. The value that it returns is the result. (returnValue is from the "
    "time when generators could not return values.)",
    {**WELL, "the server fails": {"GET /users": "error"}},
)
class GetUsers:
    def synchronous(x):
        body = x.make_request("GET", "/users")
        return json.loads(body)

    def deferred(x):
        d = x.make_request("GET", "/users")
        d.addCallback(json.loads)
        return d

    @defer.inlineCallbacks
    def generator(x):
        body = yield x.make_request("GET", "/users")
        return json.loads(body)

    @defer.inlineCallbacks
    def generator_of_old(x):
        body = yield x.make_request("GET", "/users")
        defer.returnValue(json.loads(body))


@pattern(
    "Inline callbacks: try and except around a yield",
    "A failure is raised at the yield. Only a refused connection is handled: trap lets "
    "any other failure pass, as the except clause does.",
    {
        **WELL,
        "the connection is refused": {"GET /users": "refused"},
        "the server fails": {"GET /users": "error"},
    },
)
class GetUsersOrNone:
    def synchronous(x):
        try:
            body = x.make_request("GET", "/users")
        except ConnectionError:
            x.log("no connection, so no users")
            return []
        return json.loads(body)

    def deferred(x):
        def no_connection(failure):
            failure.trap(ConnectionError)
            x.log("no connection, so no users")
            return []

        d = x.make_request("GET", "/users")
        d.addCallbacks(json.loads, no_connection)
        return d

    @defer.inlineCallbacks
    def generator(x):
        try:
            body = yield x.make_request("GET", "/users")
        except ConnectionError:
            x.log("no connection, so no users")
            return []
        return json.loads(body)


@pattern(
    "One call of many: users, and what each of them has",
    "A generator can call another one, and a loop is an ordinary loop.",
    {
        **WELL,
        "no users": {"GET /users": "refused"},
        "one has no balance": {"balance of frank": "error"},
    },
)
class TotalBalance:
    def synchronous(x):
        total = 0
        for user in GetUsersOrNone.synchronous(x):
            total += x.get_balance(user["name"])
        return total

    def deferred(x):
        def add_all(users, total=0):
            if not users:
                return total
            d = x.get_balance(users[0]["name"])
            return d.addCallback(lambda balance: add_all(users[1:], total + balance))

        return GetUsersOrNone.deferred(x).addCallback(add_all)

    @defer.inlineCallbacks
    def generator(x):
        total = 0
        for user in (yield GetUsersOrNone.generator(x)):
            total += yield x.get_balance(user["name"])
        return total


# Run the patterns.


def run_and_wait(form, world):
    """Return how a synchronous form ends."""
    try:
        return "returns", form(world)
    except Exception as e:
        return "raises", e


def run_deferred(form, world):
    """Return how a form with Deferreds ends. It must return before the result is there."""
    ends = []
    d = form(world)
    d.addCallbacks(
        lambda value: ends.append(("returns", value)),
        lambda failure: ends.append(("raises", failure.value)),
    )
    if ends or world.steps:
        raise AssertionError(f"{form.__name__} waited, or made its result up")
    world.loop.run(lambda: ends)
    return ends[0]


def run_pattern(addresses, title, remark, circumstances, forms):
    """Show a pattern, run its forms, and print what happened. Return how many forms differ."""
    print(f"\n{title}\n{'-' * len(title)}\n{textwrap.fill(remark, 78)}\n")
    forms = [form for name, form in vars(forms).items() if not name.startswith("_")]
    for form in forms:
        print(textwrap.indent(textwrap.dedent(inspect.getsource(form)), "    "))
    disagreements = 0
    for circumstance, trouble in circumstances.items():
        runs = []
        for form in forms:
            if form.__name__.startswith("synchronous"):
                world = WaitingWorld(addresses, trouble)
                end = run_and_wait(form, world)
                left_over = 0
            else:
                world = DeferredWorld(addresses, trouble, Loop())
                end = run_deferred(form, world)
                left_over = world.loop.close()
            runs.append((form.__name__, end[0], repr(end[1]), world.steps, left_over))
        _, how, what, steps, _ = runs[0]
        differ = [run for run in runs if run[1:] != (how, what, steps, 0)]
        print(f"  when {circumstance}:")
        print(*[f"    {step}" for step in steps], sep="\n", end="\n" if steps else "")
        print(f"    {how} {what}")
        if not differ:
            print(f"    ({len(runs)} forms agree)")
        for name, how, what, steps, left_over in differ:
            disagreements += 1
            print(f"    DISAGREES: {name} {how} {what} after {steps}", end="")
            print(f", and leaves {left_over} requests behind" if left_over else "")
    return disagreements


def run_without_waiting(addresses):
    """Do two things that only asynchronous code can do. Return how many went wrong."""
    title = "And without waiting"
    print(f"\n{title}\n{'-' * len(title)}")
    wrong = 0

    # The hypothetical problem: the lines are in order, but the operations are not.
    world = DeferredWorld(addresses, {}, Loop())
    opening = world.open_doors()
    end = run_and_wait(World.launch, world)
    print(f"  launch() on the line after open_doors(): {end[0]} {end[1]!r}")
    wrong += end[0] != "raises"
    world.loop.run(lambda: opening.called)
    world.loop.close()

    # The order of the requests does not matter, so all are made at once.
    @defer.inlineCallbacks
    def total_balance(x):
        under_way = [x.get_balance(name) for name in BALANCES]
        total = 0
        for balance in under_way:
            total += yield balance
        return total

    world = DeferredWorld(addresses, {}, Loop())
    end = run_deferred(total_balance, world)
    at_once = world.loop.most_at_once
    print(f"  the sum of {len(BALANCES)} balances {end[0]} {end[1]},", end=" ")
    print(f"with {at_once} requests under way at once")
    wrong += end != ("returns", sum(BALANCES.values())) or at_once != len(BALANCES)
    world.loop.close()
    return wrong


def main():
    faulthandler.dump_traceback_later(120, exit=True)  # so that the program cannot hang
    warnings.filterwarnings("ignore", "(?s).*returnValue", DeprecationWarning)
    with Server(("127.0.0.1", 0), Handler) as server, socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))  # a port that nobody listens on
        addresses = {
            "serving": server.server_address,
            "refusing": refusing.getsockname(),
        }
        print("Serving on {}:{};".format(*addresses["serving"]), end=" ")
        print("connections to {}:{} are refused.".format(*addresses["refusing"]))
        print(f"Deferreds from {defer.__file__}.")
        wrong = sum(run_pattern(addresses, *pattern) for pattern in PATTERNS)
        wrong += run_without_waiting(addresses)
    if wrong:
        print(f"\n{wrong} DISAGREEMENTS")
        return 1
    print(f"\n{len(PATTERNS)} patterns: all forms with Deferreds did the same as plain Python.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
