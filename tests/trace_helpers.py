"""Helpers for the tests of `trace`."""

import json


def kinds(t):
    for each in t.events:
        json.dumps(each.to_dict())
        repr(each)
    check(t.to_chrome())
    return [each.kind for each in t.events]


def words(t):
    return [str(each).partition(", File")[0] for each in t.events]


#: What each kind of event has, as Google's "Trace Event Format" says, and of which type.
FORMAT = {
    "M": {"args": dict},
    "X": {"ts": float, "dur": float, "args": dict},
    "b": {"ts": float, "cat": str, "id2": dict, "args": dict},
    "e": {"ts": float, "cat": str, "id2": dict, "args": dict},
    "s": {"ts": float, "cat": str, "id": int},
    "f": {"ts": float, "cat": str, "id": int, "bp": str},
    "i": {"ts": float, "s": str, "args": dict},
}


def check(chrome):
    """Look at all that the format asks of a file, and Perfetto, which cuts times to nanoseconds."""
    text = json.dumps(chrome, allow_nan=False)
    chrome = json.loads(text)
    assert set(chrome) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert chrome["displayTimeUnit"] in ("ms", "ns")
    opened, ended, flows = {}, set(), {}
    slices, named, strands = {}, set(), set()
    for place, event in enumerate(chrome["traceEvents"]):
        phase = event["ph"]
        asked = {"ph": str, "name": str, "pid": int, "tid": int, **FORMAT[phase]}
        assert set(event) == set(asked)
        assert all(type(event[key]) is kind for key, kind in asked.items())
        if phase == "M":
            named.add((event["name"], event["tid"]))
            assert set(event["args"]) == {"name"}
            continue
        strands.add(event["tid"])
        assert all(type(it) in (str, bool, int) for it in event.get("args", {}).values())
        event["at"] = at = int(event["ts"] * 1000)
        assert at >= 0
        if phase == "X":
            end = at + int(event["dur"] * 1000)
            assert end > at
            slices.setdefault(event["tid"], []).append((at, end, place))
        elif phase == "b":
            (local,) = event["id2"].values()
            assert event["id2"] == {"local": local}
            assert local not in opened
            assert local not in ended
            opened[local] = event
        elif phase == "e":
            local = event["id2"]["local"]
            begun = opened.pop(local)
            ended.add(local)
            assert (begun["cat"], begun["name"]) == (event["cat"], event["name"])
            assert begun["at"] < at
        elif phase in "sf":
            flows.setdefault(event["id"], []).append((event, place))
        else:
            assert event["s"] == "t"
    assert not opened
    assert ("process_name", 0) in named
    assert {("thread_name", each) for each in strands} <= named
    # What is in a thread is nested.
    for each in slices.values():
        inner = []
        for begin, end, _ in sorted(each):
            while inner and inner[-1] <= begin:
                inner.pop()
            assert not inner or end <= inner[-1]
            inner.append(end)
    # Each arrow begins and ends once, with a slice of its thread that comes before it in the file.
    for (begin, first), (end, second) in flows.values():
        assert (begin["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert (begin["cat"], begin["name"]) == (end["cat"], end["name"])
        assert begin["at"] < end["at"]
        for event, written in ((begin, first), (end, second)):
            assert any(a == event["at"] and at < written for a, _, at in slices[event["tid"]])
    return flows


def add(result, more=1):
    return result + more


class Callable:
    def __call__(self, result):
        return result

    def method(self, result):
        return result
