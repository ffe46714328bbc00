"""Charts: what is drawn is where it belongs, and what is drawn is also said."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.gates.model import Outcome, Verdict
from bakeoff.report import charts, svg

VERDICT = Verdict(
    metric="liking_score", kind="non_inferior", rows="all", outcome=Outcome.PASS, reason="r", estimate=0.02,
    lower=-0.02,
    upper=0.06, margin=0.1, minimum=None, maximum=None, candidate=0.5, incumbent=0.48, pairs=60, units=30,
    effective_units=30.0, missing_candidate=0.0, missing_incumbent=0.0, detectable=0.05, units_needed=None,
)  # fmt: skip
FINITE = st.floats(-1e9, 1e9, allow_nan=False)


def places(drawn: str, kind: str) -> list[float]:
    """x of every line of this class."""
    return [float(x) for x in re.findall(rf'<line x1="([\d.]+)"[^>]*class="{kind}"', drawn)]


def test_an_interval_stands_between_margin_and_zero_where_its_numbers_are() -> None:
    drawn = str(charts.interval(VERDICT))
    [margin], [zero] = places(drawn, "limit"), places(drawn, "zero")
    dot = float(re.findall(r'<circle cx="([\d.]+)"', drawn)[0])
    assert margin < zero < dot
    assert (dot - zero) / (zero - margin) == pytest.approx(0.02 / 0.1, abs=0.01)
    assert (
        'aria-label="liking score: advantage of the candidate +0.020, sure to be above -0.020 and below 0.060; '
        'it may be worse by less than 0.1"' in drawn
    )


def test_an_unbounded_difference_ends_in_an_arrow_and_a_promise_without_bound_does_not() -> None:
    open_ended = charts.interval(replace(VERDICT, lower=None, upper=None))
    assert open_ended.count("<path") == 2
    promise = replace(VERDICT, kind="absolute", margin=None, minimum=0.4, lower=None, upper=None)
    assert charts.interval(promise).count("<path") == 0
    assert "allowed: at least 0.4" in charts.interval(promise)
    assert charts.interval(replace(VERDICT, estimate=None)) == ""


def test_units_are_counted_left_and_right_of_zero() -> None:
    drawn = str(charts.differences("effort", [-0.3, -0.3, 0.0, 0.0, 0.0, 0.2], 0.1))
    assert "of 6 units the candidate is better for 1, worse for 2 and the same for 3; mean advantage −0.067" in drawn
    bars = {kind: drawn.count(f'class="{kind}"') for kind in ("worse", "same", "better")}
    assert bars == {"worse": 1, "same": 1, "better": 1}
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" class="(?:worse|same|better)"', drawn)]
    assert heights[1] == max(heights)
    assert heights[0] == pytest.approx(2 * heights[2], abs=0.2)
    assert charts.differences("effort", [], 0.1) == ""


@settings(deadline=None)
@given(st.lists(FINITE, min_size=1, max_size=30), st.none() | st.floats(1e-6, 1e6))
def test_any_differences_are_drawn_inside_the_picture(values: Sequence[float], margin: float | None) -> None:
    drawn = str(charts.differences("m", values, margin))
    assert all(0 <= float(x) <= 360 for x in re.findall(r'\b(?:x|x1|x2|cx)="(-?[\d.]+)"', drawn))
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_a_curve_needs_two_points_and_says_both_ends() -> None:
    assert charts.curve({"training_loss": [(0, 1.0)]}) == ""
    drawn = charts.curve({"training_loss": [(0, 1.2), (50, 0.8)], "validation_loss": [(50, 0.9)]})
    assert "training loss from 1.200 to 0.800; validation loss from 0.900 to 0.900" in drawn
    assert drawn.count("<path") == 2


@settings(deadline=None)
@given(FINITE, FINITE)
def test_ticks_are_few_round_and_inside(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = svg.ticks(low, high)
    assert len(found) <= 6
    span = max(abs(low), abs(high), 1e-9)
    assert all(low - 1e-6 * span <= at <= high + 1e-6 * span for at in found)


def test_text_in_a_picture_is_escaped() -> None:
    drawn = svg.picture(10, 10, '"><script>', [svg.text(1, 1, "<b>")])
    assert "<script>" not in drawn
    assert "&lt;b&gt;" in drawn
