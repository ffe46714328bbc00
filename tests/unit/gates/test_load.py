"""Gate files: closed, and wrong ones say what is wrong."""

from pathlib import Path

import pytest

from bakeoff.errors import UsageError
from bakeoff.gates.load import parse_gate, read_gate
from bakeoff.gates.model import Absolute, NonInferior, Shown
from planner.task import PlannerTask

PLANNERS = Path(str(PlannerTask.gate_file))
GOOD = """
name = "mine"
alpha = 0.1
[metrics.quality]
kind = "non_inferior"
margin = 0.02
rows = "neutral"
[metrics.respect]
kind = "absolute"
minimum = 1
[metrics.anchored]
kind = "shown"
"""


def test_a_gate_file_becomes_rules() -> None:
    gate = parse_gate(GOOD, source="gate.toml")
    assert (gate.name, gate.alpha, gate.minimum_effective_units) == ("mine", 0.1, 30.0)
    assert gate.rules == (
        NonInferior(metric="quality", margin=0.02, rows="neutral"),
        Absolute(metric="respect", column="respect", minimum=1.0),
        Shown(metric="anchored"),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("margin = 0.02", "margin = 0.0", "metrics.quality.non_inferior.margin"),
        ("margin = 0.02", "", "margin: Field required"),
        ("minimum = 1", "", "needs `minimum`, `maximum` or both"),
        ("minimum = 1", "minimum = nan", "finite number"),
        ('kind = "shown"', 'kind = "maybe"', "metrics.anchored"),
        ("alpha = 0.1", "alpha = 0.1\nalhpa = 0.2", "alhpa: Extra inputs are not permitted"),
        ("alpha = 0.1", "alpha = 0.5", "alpha"),
        ("[metrics.quality]", "[metrics.offline_eval_score]", "needs a [weights] table"),
        ("alpha = 0.1", "alpha = ", "is not TOML"),
        ("alpha = 0.1", "slices_per_gate = 5", "slices_per_gate"),
        ("alpha = 0.1", "minimum_segment_units = 4", "minimum_segment_units"),
        ("alpha = 0.1", "stress_requests = -1", "stress_requests"),
        ('rows = "neutral"', 'fallback = "quality"', "only neutral rows can be too few of many"),
        ('rows = "neutral"', 'rows = "neutral"\nfallback = "edits"', "needs a non_inferior rule over all rows"),
        ('rows = "neutral"', 'rows = "neutral"\nfallback = "respect"', "needs a non_inferior rule over all rows"),
        ('rows = "neutral"', 'rows = "neutral"\nmaximum_bias = 0.0', "maximum_bias"),
    ],
)
def test_mistakes_are_named_with_the_file(old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gate(GOOD.replace(old, new), source="gate.toml")
    assert "gate.toml" in str(caught.value)
    assert message in str(caught.value)


def test_a_fallback_has_to_say_how_wrong_it_may_be() -> None:
    edits = '[metrics.edits]\nkind = "non_inferior"\nmargin = 0.25\n'
    with_fallback = GOOD.replace('rows = "neutral"', 'rows = "neutral"\nfallback = "edits"') + edits
    with pytest.raises(UsageError, match="edits, whose rule has to say how wrong it may be"):
        parse_gate(with_fallback, source="gate.toml")
    rules = {rule.metric: rule for rule in parse_gate(with_fallback + "maximum_bias = 0.5\n", source="").rules}
    assert rules["quality"] == NonInferior(metric="quality", margin=0.02, rows="neutral", fallback="edits")
    assert rules["edits"] == NonInferior(metric="edits", margin=0.25, maximum_bias=0.5)


def test_what_a_gate_file_may_say_about_slices_segments_and_stress_requests() -> None:
    gate = parse_gate(
        GOOD.replace("alpha = 0.1", "slices_per_gate = 2\nminimum_segment_units = 8\nstress_requests = 0"), source=""
    )
    assert (gate.slices_per_gate, gate.minimum_segment_units, gate.stress_requests) == (2, 8.0, 0)
    assert parse_gate(GOOD, source="").slices_per_gate is None


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert read_gate(path) == parse_gate(GOOD, source="")
    with pytest.raises(UsageError, match="cannot be read"):
        read_gate(tmp_path / "absent.toml")


def test_the_planners_gate_holds_the_promises_of_the_design() -> None:
    rules = {rule.metric: rule for rule in read_gate(PLANNERS).rules}
    assert rules["plan_alignment_score"] == NonInferior(
        metric="plan_alignment_score", margin=0.05, rows="neutral", fallback="predicted_edits"
    )
    edits = rules["predicted_edits"]
    assert isinstance(edits, NonInferior)
    assert (edits.rows, edits.margin, edits.maximum_bias) == ("all", 0.25, 0.5)
    score, latency = rules["offline_eval_score"], rules["latency_p95_s"]
    assert isinstance(score, NonInferior)
    assert score.not_below
    assert isinstance(latency, Absolute)
    assert latency.wall_clock
    minima = {name: rule.minimum for name, rule in rules.items() if isinstance(rule, Absolute)}
    assert minima["constraint_respect_score"] == 1.0
    assert minima["fill_rate"] == 0.98
    assert (read_gate(PLANNERS).minimum_effective_units, read_gate(PLANNERS).alpha) == (30.0, 0.05)
