"""Drift from two profiles: worked numbers, properties, and what people read."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from bakeoff.datasets.drift import Change, chance, compare, psi, sentence, total_variation, word

MANY = 1_000_000  # units: chance explains nothing


def category(counts: dict[str, int], nulls: int = 0, rest: int = 0) -> dict[str, Any]:
    top = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = sum(counts.values()) + nulls + rest
    return {"kind": "category", "rows": rows, "nulls": nulls, "distinct": len(top), "top": top, "rest": rest}


def number(values: dict[float, int], nulls: int = 0) -> dict[str, Any]:
    pairs = sorted(values.items())
    rows = [value for value, count in pairs for _ in range(count)]
    deciles = [rows[max(math.ceil(len(rows) * tenth / 10), 1) - 1] for tenth in range(11)]
    return {"kind": "number", "rows": len(rows) + nulls, "nulls": nulls, "deciles": deciles, "values": pairs}


def percentiles(marks: list[float], rows: int) -> dict[str, Any]:
    return {"kind": "number", "rows": rows, "nulls": 0, "deciles": marks[::10], "percentiles": marks}


def one(before: dict[str, Any], after: dict[str, Any], units: int = MANY) -> Any:
    found = compare(
        {"units": units, "columns": {"metadata.x": before}}, {"units": units, "columns": {"metadata.x": after}}
    )
    assert len(found.drifts) == 1
    return found.drifts[0]


def test_psi_by_hand() -> None:
    """Halves that become a quarter and three quarters: -.25 ln(.5) + .25 ln(1.5)."""
    assert psi([50, 50], [25, 75]) == pytest.approx(0.25 * math.log(2) + 0.25 * math.log(1.5))
    assert psi([50, 50], [25, 75]) == pytest.approx(0.27465, abs=1e-5)


def test_an_empty_bin_counts_as_half_a_row() -> None:
    expected = (0.9 - 1.0) * math.log(0.9 / 1.0) + (0.1 - 0.005) * math.log(0.1 / 0.005)
    assert psi([100, 0], [90, 10]) == pytest.approx(expected)


def test_where_rows_of_a_unit_are_alike_an_empty_bin_counts_as_half_a_unit() -> None:
    expected = (0.9 - 1.0) * math.log(0.9 / 1.0) + (0.1 - 0.03) * math.log(0.1 / 0.03)
    assert psi([100, 0], [90, 10], alike=(6, 2)) == pytest.approx(expected)


def test_total_variation_by_hand() -> None:
    """A quarter of the rows would have to move."""
    assert total_variation([50, 50], [25, 75]) == 0.25
    assert total_variation([10, 0], [0, 3]) == 1.0


COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=8).filter(sum)
PAIRS = st.integers(2, 8).flatmap(
    lambda n: st.tuples(
        *(st.lists(st.integers(0, 500), min_size=n, max_size=n).filter(lambda counts: sum(counts) > 0) for _ in "ab")
    )
)


@given(COUNTS)
def test_nothing_moves_from_itself(counts: list[int]) -> None:
    assert psi(counts, counts) == total_variation(counts, counts) == 0


@given(PAIRS)
def test_both_measures_are_symmetric_and_bounded(pair: tuple[list[int], list[int]]) -> None:
    before, after = pair
    assert total_variation(before, after) == pytest.approx(total_variation(after, before))
    assert psi(before, after) == pytest.approx(psi(after, before))
    assert 0 <= total_variation(before, after) <= 1 + 1e-12
    assert psi(before, after) >= 0


@given(PAIRS, st.integers(1, 5))
def test_total_variation_does_not_depend_on_the_number_of_rows(pair: tuple[list[int], list[int]], k: int) -> None:
    before, after = pair
    assert total_variation([k * n for n in before], after) == pytest.approx(total_variation(before, after))


COLUMN = st.one_of(
    st.builds(category, st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 99), min_size=1), st.integers(0, 9),
              st.sampled_from([0, 0, 7])),
    st.builds(number, st.dictionaries(st.integers(-3, 30).map(float), st.integers(1, 9), min_size=1),
              st.integers(0, 9)),
    st.builds(lambda marks: percentiles(sorted(marks), 500),
              st.lists(st.floats(-9, 9, allow_nan=False), min_size=101, max_size=101)),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["metadata.a", "request.b", "target.c[]"]), COLUMN, min_size=1))
def test_a_profile_has_no_drift_from_itself(columns: dict[str, Any]) -> None:
    profile = {"units": 100, "columns": columns}
    found = compare(profile, profile)
    assert all(d.psi == d.total_variation == 0 and d.word == "stable" and not d.changes for d in found.drifts)
    assert (found.added, found.gone, found.retyped, found.moved) == ((), (), (), ())


@given(COLUMN, COLUMN)
def test_any_two_columns_can_be_compared(before: dict[str, Any], after: dict[str, Any]) -> None:
    profiles = [{"units": 50, "columns": {"metadata.x": column}} for column in (before, after)]
    found = compare(*profiles)
    assert len(found.drifts) + len(found.retyped) == 1
    for drift in found.drifts:
        assert 0 <= drift.total_variation <= 1 + 1e-9
        assert math.isfinite(drift.psi)


def test_shares_of_categories_with_new_and_vanished_values() -> None:
    drift = one(category({"low": 21, "mid": 50, "high": 29}), category({"low": 34, "mid": 50, "none": 16}))
    assert drift.changes[0] == Change(value="high", before=0.29, after=0.0)
    assert drift.changes[2] == Change(value="low", before=0.21, after=0.34)
    assert (drift.new, drift.vanished) == (("none",), ("high",))
    assert drift.total_variation == pytest.approx(0.29)


def test_what_only_one_side_knows_is_one_bin_where_the_other_was_cut() -> None:
    """'c' may hide among the others of the previous profile: it is not called new, and the measures do not count it."""
    drift = one(category({"a": 50, "b": 40}, rest=10), category({"a": 50, "b": 40, "c": 10}))
    assert (drift.psi, drift.new) == (0, ())


def test_nulls_are_a_bin_of_their_own() -> None:
    drift = one(number({1: 90}, nulls=10), number({1: 60}, nulls=40))
    assert drift.nulls == (0.1, 0.4)
    assert drift.total_variation == pytest.approx(0.3)
    assert drift.word == "moved much"


def test_a_few_numbers_are_compared_as_they_are() -> None:
    """Deciles of nothing but fives would not see fours."""
    drift = one(number({5: 100}), number({4: 30, 5: 70}))
    assert drift.total_variation == pytest.approx(0.3)
    assert drift.changes[0].value in ("4", "5")


def test_a_constant_is_told_from_what_lies_on_both_sides_of_it() -> None:
    after = percentiles([n / 10 for n in range(101)], 1000)  # 0 to 10, evenly
    drift = one(number({5: 1000}), after)
    assert {change.value: round(change.after, 2) for change in drift.changes} == {
        "below 5": 0.5,
        "5": 0.0,
        "over 5": 0.5,
    }


def test_many_numbers_are_compared_by_the_previous_deciles() -> None:
    """From 0 to 100 evenly to 0 to 50 evenly: the lower five deciles double, the upper ones empty."""
    before, after = (
        percentiles([float(n) for n in range(101)], 10_000),
        percentiles([n / 2 for n in range(101)], 10_000),
    )
    drift = one(before, after)
    assert drift.total_variation == pytest.approx(0.5, abs=0.02)
    assert drift.medians == (50.0, 25.0)
    assert {change.value for change in drift.changes if change.after > change.before} == {
        "up to 10", "over 10 up to 20", "over 20 up to 30", "over 30 up to 40", "over 40 up to 50"
    }  # fmt: skip


def test_the_usual_reading() -> None:
    assert [word(value, 0.0) for value in (0.0, 0.0999, 0.1, 0.25, 0.2501)] == [
        "stable", "stable", "moved", "moved", "moved much"
    ]  # fmt: skip


def test_what_chance_may_do_is_flagged_and_not_alarmed() -> None:
    """Thirty units a side move by .2 as they like; a thousand do not."""
    before, after = category({"a": 50, "b": 50}), category({"a": 30, "b": 70})
    assert one(before, after, units=30).word == "too few units"
    assert one(before, after, units=1_000).word == "moved"
    assert one(before, category({"a": 1, "b": 99}), units=30).word == "moved much"


@pytest.mark.parametrize("bins", [3, 5, 11, 50])
def test_chance_is_the_chi_square_of_the_smaller_world(bins: int) -> None:
    assert chance(bins, 200, 300) == pytest.approx(chi2.ppf(0.99, bins - 1) * (1 / 200 + 1 / 300))


@pytest.mark.parametrize("units", [15, 40, 150])
def test_without_drift_hardly_a_column_is_alarmed(units: int) -> None:
    """Six rows a unit, all alike, five categories: at most one alarm in a hundred columns, and what scatters beyond
    0.1 is said to rest on too few units."""
    rng = np.random.default_rng(units)
    shares = [0.4, 0.25, 0.2, 0.1, 0.05]
    draws = 6 * rng.multinomial(units, shares, size=(400, 2))
    words = [
        one(*(category(dict(zip("abcde", map(int, counts), strict=True))) for counts in pair), units=units).word
        for pair in draws
    ]
    assert words.count("moved") + words.count("moved much") <= 4 + 6  # 1 %, and three standard errors of the count
    assert words.count("too few units") > 30


def test_without_units_everything_may_be_chance() -> None:
    assert chance(3, 0, 10) == math.inf
    assert chance(1, 0, 0) == 0.0


def test_dates_text_and_provenance_are_not_compared() -> None:
    date = {"kind": "date", "rows": 9, "nulls": 0, "first": "a", "last": "b"}
    text = {"kind": "text", "rows": 9, "nulls": 0, "distinct": 9}
    columns = {"metadata.week": date, "metadata.note": text, "metadata.variant_id": category({"a": 9})}
    later = {**columns, "metadata.variant_id": category({"b": 9})}
    assert compare({"units": 1, "columns": columns}, {"units": 1, "columns": later}).drifts == ()


def test_columns_come_and_go_and_change_their_kind() -> None:
    before = {"metadata.a": category({"x": 9}), "metadata.b": category({"1": 9})}
    after = {"metadata.b": number({1: 9}), "metadata.c": number({1: 9})}
    found = compare({"units": 9, "columns": before}, {"units": 9, "columns": after})
    assert (found.added, found.gone) == (("metadata.c",), ("metadata.a",))
    assert found.retyped == ("metadata.b: was category, is number",)


def test_a_column_that_was_empty_fills_up() -> None:
    empty = {"kind": "empty", "rows": 10, "nulls": 10}
    drift = one(empty, number({3: 10}))
    assert (drift.total_variation, drift.medians, drift.nulls) == (1.0, (None, 3.0), (1.0, 0.0))
    assert one(category({"a": 10}), empty).vanished == ("a",)


def test_plain_words() -> None:
    drift = one(category({"low": 21, "mid": 50, "high": 29}), category({"low": 34, "mid": 50, "none": 16}))
    assert sentence(drift) == (
        "x: 'high' fell from 29 % to 0 %; 'none' rose from 0 % to 16 %; new: 'none'; no longer there: 'high'"
    )
    drift = one(number({2: 60, 4: 40}), number({2: 40, 4: 60}))
    assert sentence(drift) == "x: the median went from 2 to 4; 2 fell from 60 % to 40 %; 4 rose from 40 % to 60 %"
