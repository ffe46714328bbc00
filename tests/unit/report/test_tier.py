"""Segments, stress requests, behaviour and calibration: drawn where a report has them, left out where it has not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bakeoff.gates.findings import (
    Behaviour,
    Breach,
    CalibrationCheck,
    Segment,
    SegmentMetric,
    Side,
    StressFinding,
    Tier,
)
from bakeoff.gates.model import Outcome
from bakeoff.report import render, tier
from bakeoff.report.model import Evidence
from bakeoff.report.parts import Section, Table
from evidence import NASTY, evidence

HARMED = SegmentMetric(metric="liking", estimate=-0.2, upper=-0.1, p_harm=0.001, pairs=9, units=9, is_harmed=True)
BREACH = Breach(rule="allergy", answers=2, detail=NASTY)
SIDE = Side(completion_tokens=20.0, unreadable=0.0, unserved=0.0, violating=0.025, latency_p50_s=0.1, latency_p95_s=0.3)
CHECK = CalibrationCheck(metric="predicted_edits", bias=-0.1, bias_se=0.02, bound=0.14, maximum=0.2, rows=80, units=40)
FOUND = Tier(
    verdict="FAIL",
    reasons=("region = north is harmed",),
    segments=(
        Segment(feature="region", value=NASTY, rows=20, units=9, effective_units=9.0, metrics=(HARMED,)),
        Segment(
            feature="region", value="south", rows=90, units=50, effective_units=48.0,
            metrics=(replace(HARMED, estimate=0.05, is_harmed=False),),
        ),
        Segment(feature="region", value="west", rows=2, units=1, effective_units=1.0, metrics=()),
    ),
    stress=(
        StressFinding(name="empty_pantry", requests=3, candidate=(BREACH,), incumbent=(), new=(BREACH,)),
        StressFinding(name="large", requests=3, candidate=(), incumbent=None, new=()),
    ),
    unasked=None,
    behaviour=Behaviour(rows=112, same_answers=0.25, candidate=SIDE, incumbent=SIDE),
)  # fmt: skip


def extended(**more: Any) -> Evidence:
    made = evidence(rows=60)
    return replace(made, stored=replace(made.stored, report=replace(made.stored.report, **more)))


def table(sections: Sequence[Section], anchor: str) -> Table:
    [section] = [each for each in sections if each.anchor == anchor]
    return next(block for block in section.blocks if isinstance(block, Table))


def test_a_report_without_them_has_no_such_sections() -> None:
    assert tier.sections(evidence(rows=60)) == []


def test_segments_show_harm_advantage_and_ignorance_apart() -> None:
    rows = table(tier.sections(extended(tier=FOUND)), "segments").rows
    assert "FAIL" in rows[0][3]
    assert "−0.200" in rows[0][3]
    assert [row[3] for row in rows[1:]] == ["+0.050", "–"]


def test_stress_behaviour_and_calibration_are_told() -> None:
    sections = tier.sections(extended(tier=FOUND, calibrations=(CHECK,)))
    stress = table(sections, "stress").rows
    assert stress[0][1:4] == ("empty pantry", "3", f"allergy in 2: {NASTY}")
    assert stress[1][4] == "not asked"
    behaviour = table(sections, "behaviour").rows
    assert ("answers that broke a hard rule, before repair", "2.5 %", "2.5 %") in behaviour
    assert table(sections, "calibration").rows[0][:4] == ("predicted edits", "−0.100", "at most 0.140", "0.200")
    unasked = tier.sections(extended(tier=replace(FOUND, segments=(), stress=(), unasked="the gate asks none")))
    assert unasked[0].blocks == ("the gate asks none",)


def test_the_page_with_them_escapes_them_too() -> None:
    page = render.html(extended(tier=FOUND, calibrations=(CHECK,)))
    assert NASTY not in page
    for anchor in ("segments", "stress", "behaviour", "calibration"):
        assert f'<a href="#{anchor}">' in page


def test_a_fail_of_the_stricter_tests_alone_is_the_headline() -> None:
    """All rules pass, and still it must not meet anybody."""
    page = render.html(extended(tier=FOUND, verdict=Outcome.FAIL))
    assert "menus_policy/2 must not meet anybody: region = north is harmed." in page


def test_anchored_rows_and_earlier_looks_are_shown_as_such() -> None:
    made = extended()
    anchored = replace(
        made.stored.report.verdicts[0], kind="shown", rows="anchored", outcome=Outcome.SHOWN, margin=None
    )
    made = extended(anchored=(anchored,))
    page = render.html(replace(made, stored=replace(made.stored, attempt=4)))
    assert "anchored rows, shown and never gated" in page
    assert "This is report 4 on these held-out rows. These rows were judged 3 times before" in page
    named = {**made.stored.report.subject, "slices": "1,2", "opening": "1"}
    assert "This is report 1 on slices 1, 2 of 4 of the test split" in render.html(extended(subject=named))
