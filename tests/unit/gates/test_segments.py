"""Harm in one kind of rows is found although the mean over all rows looks fine, and seldom where there is none."""

import numpy as np
import pytest

from bakeoff.gates.columns import pairs_of
from bakeoff.gates.model import Absolute, Gate, NonInferior, PairedRow
from bakeoff.gates.segments import Labels, harms, screen
from bakeoff.stats.proportion import exact_lower
from bakeoff.task import Metric

QUALITY = Metric(name="quality", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
FILL = Metric(name="fill", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
GATE = Gate(
    name="t",
    rules=(
        NonInferior(metric="quality", margin=0.05),
        Absolute(metric="fill", column="fill", minimum=0.5),
        Absolute(metric="latency_p95_s", column="latency_s", statistic="p95", maximum=5.0, wall_clock=True),
        Absolute(metric="cost", column="cost", maximum=1.0),
    ),
)


def world(n: int, *, north: float = 0.0, seed: int = 1, units: int | None = None) -> tuple[list[PairedRow], Labels]:
    """Rows with noise of 0.1; the candidate is better by `north` in the north. One in ten lives on an island."""
    rng = np.random.default_rng(seed)
    rows, labels = [], {}
    for i in range(n):
        region = "island" if i % 10 == 0 else "north" if i % 10 < 4 else "south"
        gain = rng.normal(0, 0.1) + (north if region == "north" else 0.0)
        rows.append(
            PairedRow(
                example_id=f"e{i:05}",
                unit_id=f"u{i % (units or n)}",
                neutral=True,
                candidate={"quality": float(np.clip(0.5 + gain, 0, 1)), "fill": 1.0, "latency_s": 9.0, "cost": 9.0},
                incumbent={"quality": 0.5, "fill": 1.0, "latency_s": 1.0, "cost": 1.0},
            )
        )
        labels[f"e{i:05}"] = {"region": region, "mode": "only"}
    return rows, labels


def found(n: int, **given: float) -> list[str]:
    rows, labels = world(n, **given)  # type: ignore[arg-type]
    return harms(screen(GATE, (QUALITY, FILL), pairs_of(rows), labels), GATE.alpha)


def test_harm_in_one_segment_is_named() -> None:
    said = found(120, north=-0.2)
    assert len(said) == 1
    assert said[0].startswith("worse than the incumbent where region = north: quality -0.")
    assert "significant at 0.05 over all segments and metrics" in said[0]
    assert found(120, north=0.2) == []


def test_every_segment_is_listed_and_small_ones_say_nothing() -> None:
    rows, labels = world(100, north=-0.2)
    segments = {s.value: s for s in screen(GATE, (QUALITY, FILL), pairs_of(rows), labels)}
    assert {value: (s.rows, s.units, len(s.metrics)) for value, s in segments.items()} == {
        "island": (10, 10, 0),
        "north": (30, 30, 2),
        "south": (60, 60, 2),
    }, "a feature that is the same on all rows is no segmentation"
    assert [m.metric for m in segments["north"].metrics] == ["fill", "quality"], "budgets of time and cost are no harm"
    assert segments["north"].name == "region = north"


def test_few_units_with_many_rows_are_few() -> None:
    rows, labels = world(600, north=-0.2, units=9)
    assert all(not segment.metrics for segment in screen(GATE, (QUALITY, FILL), pairs_of(rows), labels))


def test_a_segment_of_neutral_rules_counts_neutral_rows_only() -> None:
    rows, labels = world(100)
    gate = Gate(name="t", rules=(NonInferior(metric="quality", margin=0.05, rows="neutral"),))
    tinted = [r if i < 30 else PairedRow(**{**_fields(r), "neutral": False}) for i, r in enumerate(rows)]
    segments = {s.value: s for s in screen(gate, (QUALITY,), pairs_of(tinted), labels)}
    assert segments["north"].metrics == (), "9 neutral rows of 30"
    assert segments["south"].metrics[0].pairs == 18


def _fields(row: PairedRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in PairedRow.__slots__}


def test_rows_without_labels_are_in_no_segment() -> None:
    rows, _ = world(50)
    assert screen(GATE, (QUALITY, FILL), pairs_of(rows), {}) == ()


def test_two_segments_with_p_values_near_alpha_are_no_alarm_together() -> None:
    """Holm over all pairs: .03 alone is below .05, and of four it is not below .05 / 4."""
    rows, labels = world(300, north=-0.018, seed=0)
    segments = screen(GATE, (QUALITY, FILL), pairs_of(rows), labels)
    p = {(s.value, m.metric): m.p_harm for s in segments for m in s.metrics}
    assert 0.05 / 6 < p["north", "quality"] < 0.05
    assert harms(segments, GATE.alpha) == []


@pytest.mark.parametrize("n", [40, 130])
def test_a_candidate_that_is_equal_everywhere_is_seldom_called_harmful_somewhere(n: int) -> None:
    """The chance of any false alarm over all segments and metrics, .05 and a little for the few units in each."""
    runs = 80
    alarms = sum(bool(found(n, seed=seed)) for seed in range(runs))
    assert exact_lower(alarms, runs, 0.01) <= 0.05
