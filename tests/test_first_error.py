"""FirstError: comparison and texts."""

import operator

import pytest

OPERATORS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def holds(ours, theirs):
    """Return which comparisons hold."""
    return [each.__name__ for each in OPERATORS if each(ours, theirs)]


def test_by_index(defer, failure):
    first, second = (defer.FirstError(failure.Failure(KeyError()), index) for index in (1, 2))
    assert holds(first, second) == ["ne", "lt", "le"]
    assert holds(second, first) == ["ne", "gt", "ge"]
    assert first.__cmp__(second) == -1
    assert second.__cmp__(first) == 1


def test_the_same(defer, failure):
    reason = failure.Failure(KeyError())
    ours, theirs = defer.FirstError(reason, 1), defer.FirstError(reason, 1)
    assert holds(ours, theirs) == ["eq", "le", "ge"]
    assert ours.__cmp__(theirs) == 0


@pytest.mark.parametrize("other", [None, 1, KeyError()])
def test_with_something_else(defer, failure, other):
    """It counts as less than what is no FirstError."""
    error = defer.FirstError(failure.Failure(KeyError()), 1)
    assert holds(error, other) == ["ne", "lt", "le"]
    assert error.__cmp__(other) == -1


@pytest.mark.parametrize("compare", OPERATORS)
def test_failures_have_no_order(defer, failure, compare):
    ours, theirs = (defer.FirstError(failure.Failure(KeyError()), 1) for _ in range(2))
    with pytest.raises(TypeError):
        compare(ours, theirs)


@pytest.mark.deferrous_only
def test_one_in_itself_has_no_text(defer, failure):
    reason = failure.Failure(KeyError())
    error = defer.FirstError(reason, 1)
    reason.value = error
    with pytest.raises(RecursionError):
        repr(error)


def test_texts(defer, failure):
    inner = defer.FirstError(failure.Failure(KeyError("lost")), 3)
    outer = defer.FirstError(failure.Failure(inner), 5)
    assert repr(inner) == "FirstError[#3, KeyError('lost')]"
    assert repr(outer) == f"FirstError[#5, {inner!r}]"
    assert str(inner) == f"FirstError[#3, {inner.subFailure}]"
