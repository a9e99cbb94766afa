"""Helpers for several tests of Deferreds."""


def snapshot(d):
    return d.called, d.paused, getattr(d, "result", "absent")
