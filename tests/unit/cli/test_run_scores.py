from pathlib import Path

import pytest

import toy
from bakeoff.cli.run_scores import score_rows, weights_of
from bakeoff.cli.runs import by_id, standing
from bakeoff.errors import UsageError
from bakeoff.gates.model import SCORE
from bakeoff.task import Metric
from bakeoff.training.evals import EvalRow
from bakeoff.training.tracker import RunSummary
from stages import START

METRICS = {
    "right": Metric(name="right", unit="share", direction="higher", low=0.0, high=1.0, meaning="m"),
    "waste": Metric(name="waste", unit="g", direction="lower", low=0.0, high=10.0, meaning="m"),
}


def row(example_id: str, **scores: float | None) -> EvalRow:
    return EvalRow(example_id=example_id, unit_id=f"u{example_id}", scores=scores)


def summary(run_id: str, status: str = "FINISHED", **tags: str) -> RunSummary:
    return RunSummary(
        run_id=run_id, name="sft", status=status, started_at=START, params={}, tags=tags, metrics={},  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_row_scores_the_weighted_mean_of_what_every_run_has_for_it() -> None:
    """Row 1: (3 * 1 + 1 * 0.8) / 4; of row 2 run b lacks the waste, so both are scored by 'right' alone."""
    runs = {
        "a": [row("1", right=1.0, waste=2.0), row("2", right=0.5, waste=0.0), row("9", right=1.0)],
        "b": [row("2", right=1.0, waste=None), row("1", right=0.0, waste=10.0)],
    }
    scored = score_rows(runs, {"right": 3.0, "waste": 1.0}, METRICS)
    assert [(each.example_id, round(each.value, 6)) for each in scored["a"]] == [("1", 0.95), ("2", 0.5)]
    assert [(each.example_id, each.value, each.unit_id) for each in scored["b"]] == [("1", 0.0, "u1"), ("2", 1.0, "u2")]


def test_runs_that_share_no_scored_row_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="share no validation row"):
        score_rows({"a": [row("1", right=1.0)], "b": [row("2", right=1.0)]}, {"right": 1.0}, METRICS)


def test_the_score_is_the_gates_else_the_first_metric_or_the_one_asked_for(tmp_path: Path) -> None:
    task = toy.ToyTask()
    assert weights_of(task, None) == ("right", {"right": 1.0})
    assert weights_of(task, "known_drink") == ("known_drink", {"known_drink": 1.0})
    with pytest.raises(UsageError, match="known: right, known_drink"):
        weights_of(task, "wrong")
    task.gate_file = tmp_path / "gate.toml"
    task.gate_file.write_text(
        'name = "t"\n[metrics.right]\nkind = "shown"\n[weights]\nright = 2.0\nknown_drink = 1.0\n'
    )
    assert weights_of(task, None) == (SCORE, {"right": 2.0, "known_drink": 1.0})


def test_a_run_is_found_by_the_beginning_of_its_id() -> None:
    there = [summary("abcd1"), summary("abcd2"), summary("ffff0")]
    assert by_id(there, "ffff").run_id == "ffff0"
    for text in ("abcd", "eeee", "f"):
        with pytest.raises(UsageError, match="begins with"):
            by_id(there, text)


def test_a_run_of_ours_that_was_not_sent_whole_is_incomplete() -> None:
    assert standing(summary("a", train_fingerprint="sha256:f")) == "incomplete"
    assert standing(summary("a", train_fingerprint="sha256:f", complete="true")) == "finished"
    assert standing(summary("a")) == "finished", "another trainer's run"
    assert standing(summary("a", "RUNNING")) == "running"
