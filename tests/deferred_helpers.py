"""What several tests of Deferreds use."""


def snapshot(d):
    return d.called, d.paused, getattr(d, "result", "absent")
