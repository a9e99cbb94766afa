"""Helpers for the tests of unhandled errors and of debug mode."""

AT_EXIT = """
    plain = defer.fail(ValueError("held by a global"))
    cycle = defer.fail(KeyError("held by a cycle"))
    cycle.me = cycle

    class Holder:
        pass

    holder = Holder()
    holder.d = defer.succeed(None).addCallback(lambda _: {}["missing"])
    print("end of script")
"""


def creates(defer):
    return defer.Deferred()


def fires(d, method, value):
    getattr(d, method)(value)
