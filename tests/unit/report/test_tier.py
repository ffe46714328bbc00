"""Segments, stress requests, behaviour and calibration: drawn where a report has them, left out where it has not."""

from dataclasses import replace
from typing import Any

import pytest

from bakeoff.report import render, tier
from bakeoff.report.parts import Table
from evidence import NASTY, evidence

HARMED = {
    "metric": "liking",
    "estimate": -0.2,
    "upper": -0.1,
    "p_harm": 0.001,
    "pairs": 9,
    "units": 9,
    "is_harmed": True,
}
UNHARMED = {**HARMED, "estimate": 0.05, "is_harmed": False}
BREACH = {"rule": "allergy", "answers": 2, "detail": NASTY}
SIDE = {"completion_tokens": 20.0, "unreadable": 0.0, "unserved": 0.0, "violating": 0.025, "latency_p50_s": 0.1,
        "latency_p95_s": 0.3}  # fmt: skip
BODY = {
    "tier": {
        "verdict": "FAIL",
        "reasons": ["region = north is harmed"],
        "segments": [
            {"feature": "region", "value": NASTY, "rows": 20, "units": 9, "effective_units": 9.0, "metrics": [HARMED]},
            {"feature": "region", "value": "south", "rows": 90, "units": 50, "effective_units": 48.0,
             "metrics": [UNHARMED]},
            {"feature": "region", "value": "west", "rows": 2, "units": 1, "effective_units": 1.0, "metrics": []},
        ],
        "stress": [
            {"name": "empty_pantry", "requests": 3, "candidate": [BREACH], "incumbent": [], "new": [BREACH]},
            {"name": "large", "requests": 3, "candidate": [], "incumbent": None, "new": []},
        ],
        "unasked": None,
        "behaviour": {"rows": 112, "same_answers": 0.25, "candidate": SIDE, "incumbent": SIDE},
    },
    "calibrations": [
        {"metric": "predicted_edits", "bias": -0.1, "bias_se": 0.02, "bound": 0.14, "maximum": 0.2, "rows": 80,
         "units": 40},
    ],
}  # fmt: skip


class Extended:
    """A report of a gate that says more."""

    def __init__(self, report: Any, body: dict[str, Any]) -> None:
        self._report, self._body = report, body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._report, name)

    def to_json(self) -> dict[str, Any]:
        return {**self._report.to_json(), **self._body}


def extended(body: dict[str, Any]) -> Any:
    made = evidence(rows=60)
    return replace(made, stored=replace(made.stored, report=Extended(made.stored.report, body)))


def table(sections: Any, anchor: str) -> Table:
    [section] = [each for each in sections if each.anchor == anchor]
    return next(block for block in section.blocks if isinstance(block, Table))


def test_a_report_without_them_has_no_such_sections() -> None:
    assert tier.sections(evidence(rows=60)) == []
    assert tier.sections(extended({"tier": None})) == []


def test_segments_show_harm_advantage_and_ignorance_apart() -> None:
    rows = table(tier.sections(extended(BODY)), "segments").rows
    assert "FAIL" in rows[0][3]
    assert "−0.200" in rows[0][3]
    assert [row[3] for row in rows[1:]] == ["+0.050", "–"]


def test_stress_behaviour_and_calibration_are_told() -> None:
    sections = tier.sections(extended(BODY))
    stress = table(sections, "stress").rows
    assert stress[0][1:4] == ("empty pantry", "3", f"allergy in 2: {NASTY}")
    assert stress[1][4] == "not asked"
    behaviour = table(sections, "behaviour").rows
    assert ("answers that broke a hard rule, before repair", "2.5 %", "2.5 %") in behaviour
    assert table(sections, "calibration").rows[0][:4] == ("predicted edits", "−0.100", "at most 0.140", "0.200")
    [unasked] = tier.sections(extended({"tier": {"stress": [], "unasked": "the gate asks none"}}))
    assert unasked.blocks == ("the gate asks none",)


@pytest.mark.parametrize("body", [BODY, {"tier": {"segments": BODY["tier"]["segments"]}}])
def test_the_page_with_them_escapes_them_too(body: dict[str, Any]) -> None:
    page = render.html(extended(body))
    assert NASTY not in page
    assert '<a href="#segments">' in page
