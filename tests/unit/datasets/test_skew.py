"""Stored against rebuilt requests."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.datasets.skew import MISSING, Difference, compare

words = st.text("ab.é", max_size=2)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
requests = st.dictionaries(words, json_values, max_size=4)

STORED = {"size": 2, "pantry": [{"item": "egg", "days": 3}, {"item": "milk", "days": 1}], "note": None}


def changed(**changes: Any) -> dict[str, Any]:
    return STORED | changes


def test_a_changed_value_is_named_by_its_place_with_both_values() -> None:
    pantry = [{"item": "egg", "days": 3}, {"item": "milk", "days": 4}]
    report = compare([("k", STORED, changed(pantry=pantry)), ("same", STORED, dict(STORED))])
    assert (report.compared, report.equal, report.not_rebuilt, report.skewed) == (2, 1, 0, True)
    assert report.differing == {"pantry[].days": 1}
    assert report.examples[0].differences == (Difference(path="pantry[].days", stored="1", rebuilt="4"),)


def test_a_list_of_another_length_differs_as_a_whole() -> None:
    report = compare([("k", STORED, changed(pantry=[]))])
    assert list(report.differing) == ["pantry"] and report.examples[0].fields == 1


def test_a_place_that_one_side_lacks_is_not_a_null() -> None:
    lacking = {name: value for name, value in STORED.items() if name != "note"}
    [skewed] = compare([("k", STORED, lacking)]).examples
    assert skewed.differences == (Difference(path="note", stored="null", rebuilt=MISSING),)


def test_numbers_that_are_equal_but_written_differently_are_different_requests() -> None:
    """The digest of a request is that of its text."""
    assert compare([("k", {"n": 1}, {"n": 1.0})]).differing == {"n": 1}
    assert compare([("k", {"n": 1}, {"n": True})]).differing == {"n": 1}


def test_a_path_counts_once_for_a_request() -> None:
    other = [{"item": "egg", "days": 9}, {"item": "milk", "days": 9}]
    report = compare([("k", STORED, changed(pantry=other))])
    assert report.differing == {"pantry[].days": 1} and report.examples[0].fields == 2


def test_what_cannot_be_rebuilt_is_no_difference_but_is_counted_and_named() -> None:
    report = compare([("gone", STORED, None)])
    assert (report.compared, report.not_rebuilt, report.not_rebuilt_keys) == (0, 1, ("gone",))
    assert not report.skewed


def test_the_worst_come_first_and_the_most_frequent_path_too() -> None:
    pairs = [(f"k{n}", STORED, changed(size=n + 10)) for n in range(7)]
    pairs.append(("z", STORED, changed(size=0, note="x")))
    report = compare(pairs)
    assert [skewed.key for skewed in report.examples] == ["z", "k0", "k1", "k2", "k3"]
    assert list(report.differing.items()) == [("size", 8), ("note", 1)]


@given(request=requests)
def test_a_request_does_not_differ_from_itself(request: dict[str, Any]) -> None:
    assert compare([("k", request, request)]).equal == 1


@given(pairs=st.lists(st.tuples(requests, requests), max_size=6), seed=st.integers(0, 9))
def test_the_order_of_requests_changes_nothing_and_a_report_agrees_with_itself(pairs: Any, seed: int) -> None:
    keyed = [(str(n), stored, rebuilt) for n, (stored, rebuilt) in enumerate(pairs)]
    report = compare(keyed)
    assert compare(random.Random(seed).sample(keyed, len(keyed))) == report
    assert report.skewed == bool(report.differing) == bool(report.examples)
    assert max([0, *report.differing.values()]) <= report.compared - report.equal <= len(pairs)
