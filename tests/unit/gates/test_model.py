"""Gate and report as values: identity by content, and reports that cannot be edited unseen."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bakeoff.errors import UsageError
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Gate, GateReport, NonInferior, Outcome, PairedRow, Shown
from bakeoff.task import Metric

QUALITY = Metric(name="quality", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
GATE = Gate(name="g", rules=(NonInferior(metric="quality", margin=0.05), Shown(metric="cost")))


def report() -> GateReport:
    rows = [
        PairedRow(
            example_id=str(i), unit_id=str(i), neutral=True, candidate={"quality": 0.5}, incumbent={"quality": 0.5}
        )
        for i in range(70)
    ]
    return judge(GATE, [QUALITY], rows, subject={"dataset": "sha256:d"})


def test_the_order_of_rules_does_not_change_a_gate_but_every_number_does() -> None:
    assert replace(GATE, rules=GATE.rules[::-1]).digest == GATE.digest
    changed = [
        replace(GATE, alpha=0.04),
        replace(GATE, minimum_effective_units=29.0),
        replace(GATE, weights={"quality": 1.0}),
        replace(GATE, slices_per_gate=1),
        replace(GATE, minimum_segment_units=11.0),
        replace(GATE, stress_requests=2),
        replace(GATE, rules=(NonInferior(metric="quality", margin=0.06), Shown(metric="cost"))),
        replace(GATE, rules=(NonInferior(metric="quality", margin=0.05), NonInferior(metric="cost", margin=1))),
    ]
    assert len({gate.digest for gate in (GATE, *changed)}) == 9


def test_a_report_survives_json_text() -> None:
    original = report()
    body = json.loads(json.dumps(original.to_json(), allow_nan=False))
    assert GateReport.from_json(body) == original
    assert body["digest"] == original.digest


def test_an_edited_report_is_refused() -> None:
    body = report().to_json()
    body["verdict"] = "FAIL"
    with pytest.raises(UsageError, match="its content has digest"):
        GateReport.from_json(body)


def test_a_wall_clock_verdict_cannot_be_edited_unseen_either() -> None:
    original = report()
    verdict = replace(original.verdicts[0], metric="latency_p95_s", outcome=Outcome.FAIL)
    body = replace(original, wall_clock=(verdict,)).to_json()
    body["wall_clock"][0]["outcome"] = "PASS"
    with pytest.raises(UsageError, match="its content has digest"):
        GateReport.from_json(body)


def test_nothing_is_missing_where_everything_was_decided() -> None:
    assert report().missing_evidence() == []


def test_a_report_from_before_slices_and_stricter_tests_still_loads_with_its_digest() -> None:
    """Written by the version before; people signed such digests."""
    text = (Path(__file__).parent / "data" / "report_before_slices.json").read_text(encoding="utf-8")
    loaded = GateReport.from_json(json.loads(text))
    assert loaded.to_json() == json.loads(text)
    assert (loaded.tier, loaded.attempt, loaded.anchored, loaded.calibrations) == (None, None, (), ())
    assert loaded.verdict is Outcome.PASS
