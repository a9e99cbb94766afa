"""`track`: which Deferreds wait, since when, and where they were made."""

import gc
import sys

import deferrous as defer
import pytest
from tracking_helpers import FILE, MADE, NEVER, before, generator, line, off_at_the_end, since

pytestmark = pytest.mark.deferrous_only


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_is_made_by_anything_is_found(before, make):
    make, number = make
    kept = make()
    found = since(before)
    assert len(found) == number
    for each in found.deferreds:
        assert 0 <= each.age < 3600
        assert each.made.file in (FILE, __file__)
        assert each.deferred is not None
    del kept


def test_the_line_and_the_function(before):
    def inner():
        return [defer.Deferred(), line()]

    kept = [inner() for _ in range(3)]
    found = since(before)
    ((count, place, age),) = found.places
    assert (count, place.file, place.line) == (3, __file__, kept[0][1])
    assert place.function.endswith("inner")
    assert place == found.deferreds[1].made
    assert hash(place) == hash(found.deferreds[1].made)
    assert age == max(each.age for each in found.deferreds)
    assert str(found) == f"3 Deferred: has not been fired; made at {place}"


def test_frames_of_the_package_are_passed_over(before):
    from deferrous.concurrency import Event

    kept = [Event().wait(), generator(NEVER)]
    assert len(since(before)) == len(kept)
    for each in since(before).deferreds:
        assert each.made.file == __file__


def test_those_that_have_fired_are_left_out(before):
    kept = [defer.Deferred() for _ in range(4)]
    kept[0].callback(1)
    kept[1].errback(ValueError())
    kept[1].addErrback(lambda failure: None)
    kept[2].callback(None)
    kept[2].pause()
    assert len(since(before)) == 2


def test_ages(before):
    kept = [defer.Deferred()]
    first = since(before)
    kept.append(defer.Deferred())
    both = defer.pending()
    older, newer = (both - before).deferreds
    assert older.age > newer.age >= 0
    assert older.age > first.deferreds[0].age
    assert [each.deferred for each in (both - before).deferreds] == kept
    limit = (older.age + newer.age) / 2
    assert len(defer.pending(older_than=1e6)) == 0
    assert len(defer.pending(older_than=0)) >= 2
    assert older.name not in str(defer.pending(older_than=1e9))
    assert limit >= 0


def test_where_it_was_made_can_be_asked_for(before):
    def here():
        return defer.Deferred()

    class Class:
        def method(self):
            return defer.Deferred()

    kept = [here(), here(), Class().method()]
    module = sys.modules[__name__]
    assert len(defer.pending(made_in=here)) == 2
    assert len(defer.pending(made_in=Class.method)) == 1
    assert len(defer.pending(made_in=Class().method)) == 1
    assert len(defer.pending(made_in=here.__code__)) == 2
    assert len(defer.pending(made_in="here")) == 2
    assert len(defer.pending(made_in="test_tracking.py") - before) == 3
    assert len(defer.pending(made_in=module) - before) == 3
    assert len(defer.pending(made_in="nowhere at all")) == 0
    with pytest.raises(TypeError, match="not int"):
        defer.pending(made_in=1)
    del kept


def test_where_a_loop_made_it_can_be_asked_for(before):
    """Before CPython 3.12 a comprehension has code of its own."""

    def in_lists():
        return [[defer.Deferred() for _ in range(2)] for _ in range(2)]

    def in_others():
        made = {defer.Deferred() for _ in range(2)} | {*(defer.Deferred() for _ in range(2))}
        return made, {each: defer.Deferred() for each in range(2)}

    def elsewhere():
        return [defer.Deferred()]

    kept = [in_lists(), in_others(), elsewhere()]
    assert len(defer.pending(made_in=in_lists)) == 4
    assert len(defer.pending(made_in=in_others)) == 6
    if sys.version_info >= (3, 11):
        # Older ones do not know the name of the function around it.
        assert len(defer.pending(made_in="in_lists")) == 4
        assert len(defer.pending(made_in=in_others.__qualname__)) == 6
    del kept


def test_what_a_decorator_wraps_is_meant(before):
    inner = []

    @defer.inlineCallbacks
    def work():
        inner.append(defer.Deferred())
        yield inner[0]

    kept = work()
    assert len(defer.pending(made_in=work)) == 1
    del kept


def test_without_tracking_there_are_no_ages():
    assert not defer._deferrous._tracking()
    for arguments in ({"older_than": 1}, {"made_in": "here"}):
        with pytest.raises(RuntimeError, match="track"):
            defer.pending(**arguments)
    d = defer.Deferred()
    found = defer.pending()
    assert (found.deferreds, found.places) == ([], [])
    del d


def test_those_that_were_there_before():
    early = defer.Deferred()
    defer.track()
    late = defer.Deferred()
    found = {each.deferred: each for each in defer.pending().deferreds}
    assert found[early].age is None
    assert found[early].made is None
    assert found[late].age >= 0
    assert early in {each.deferred for each in defer.pending(older_than=0).deferreds}
    early.callback(None)
    assert early not in {each.deferred for each in defer.pending().deferreds}
    del early, found
    gc.collect()


def test_the_difference_is_of_the_very_deferreds(before):
    def make():
        return defer.Deferred()

    kept = [make() for _ in range(3)]
    first = defer.pending()
    for each in kept:
        each.callback(None)
    kept = [make() for _ in range(3)]
    found = defer.pending() - first
    # As many wait as before, but others.
    assert len(found) == 3
    assert {each.deferred for each in found.deferreds} == set(kept)
