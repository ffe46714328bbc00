from dataclasses import replace

import pytest

from bakeoff.errors import Refused
from bakeoff.training.contract import CONTRACT, check, enforce
from bakeoff.training.tracker import RunRecord

PARAMS = {
    "learning_rate": "0.001",
    "batch_size": "4",
    "epochs": "1",
    "dataset_version": "2025-01-03",
    "model_architecture": "LlamaForCausalLM",
    "seed": "17",
    "rows": "300",
    "steps": "75",
    "tokens": "99000",
    "trainable_parameters": "1000000",
    "template_digest": "sha256:t",
    "base_digest": "sha256:b",
}
TAGS = {"task": "toy", "dataset_version": "2025-01-03", "git_commit": "abc", "lock_digest": "sha256:l"}
FILES = (
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "tokenizer/chat_template.jinja",
    "tokenizer/tokenizer.json",
)
COMPLETE = RunRecord(
    run_id="r1",
    task="toy",
    name="sft",
    status="FINISHED",
    params=PARAMS,
    tags=TAGS,
    metrics={"training_loss": 0.4, "validation_loss": 0.5, "eval_alignment": 0.6},
    points={"training_loss": 75, "validation_loss": 2, "eval_alignment": 1},
    artifacts=FILES,
    datasets=("0" * 32,),
)


def test_a_complete_run_fulfils_the_contract() -> None:
    assert check(COMPLETE, PARAMS | TAGS) == ()
    enforce(COMPLETE, PARAMS | TAGS)


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_each_missing_parameter_is_named(name: str) -> None:
    record = replace(COMPLETE, params={k: v for k, v in PARAMS.items() if k != name})
    assert [p for p in check(record, {}) if p.startswith(f"parameter {name} is missing")] == list(check(record, {}))
    assert len(check(record, {})) == 1


@pytest.mark.parametrize("name", sorted(TAGS))
def test_each_missing_tag_is_named(name: str) -> None:
    record = replace(COMPLETE, tags={k: v for k, v in TAGS.items() if k != name})
    (problem,) = check(record, {})
    assert problem.startswith(f"tag {name} is missing")


@pytest.mark.parametrize(
    ("gone", "problem"),
    [
        ("adapter_model.safetensors", "artefact trained model"),
        ("tokenizer.json", "artefact tokenizer"),
        ("chat_template.jinja", "artefact chat template"),
        ("adapter_config.json", "artefact model config"),
    ],
)
def test_each_missing_artefact_is_named(gone: str, problem: str) -> None:
    record = replace(COMPLETE, artifacts=tuple(path for path in FILES if not path.endswith(gone)))
    (found,) = check(record, {})
    assert found.startswith(problem)


@pytest.mark.parametrize("name", ["training_loss", "validation_loss"])
def test_each_missing_curve_is_named(name: str) -> None:
    record = replace(COMPLETE, points={k: v for k, v in COMPLETE.points.items() if k != name})
    (problem,) = check(record, {})
    assert problem.startswith(f"metric {name} is missing")


def test_a_single_loss_is_no_curve() -> None:
    record = replace(COMPLETE, points={**COMPLETE.points, "training_loss": 1})
    assert check(record, {}) == ("metric training_loss has 1 point, expected a curve of at least 2",)


def test_a_loss_that_ends_at_nan_is_wrong() -> None:
    record = replace(COMPLETE, metrics={**COMPLETE.metrics, "training_loss": float("nan")})
    assert check(record, {}) == ("metric training_loss ends at nan, expected a number",)


def test_eval_scores_are_missing_or_no_numbers() -> None:
    bare = {k: v for k, v in COMPLETE.metrics.items() if not k.startswith("eval_")}
    (missing,) = check(replace(COMPLETE, metrics=bare), {})
    assert missing.startswith("metrics eval_* are missing")
    (wrong,) = check(replace(COMPLETE, metrics={**bare, "eval_x": float("inf")}), {})
    assert wrong == "metric eval_x is inf, expected a number"


def test_a_run_without_dataset_input_is_incomplete() -> None:
    (problem,) = check(replace(COMPLETE, datasets=()), {})
    assert problem.startswith("dataset input is missing")


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED"])
def test_a_run_that_did_not_finish_is_incomplete(status: str) -> None:
    record = replace(COMPLETE, status=status)  # type: ignore[arg-type]
    assert check(record, {}) == (f"the run's status is {status}, expected FINISHED",)


def test_effective_values_must_equal_the_requested_ones() -> None:
    """A library that lowers a value silently is found out."""
    problems = check(COMPLETE, {"learning_rate": 2e-3, "dataset_version": "2025-02-01", "epochs": None})
    assert problems == (
        "parameter dataset_version is '2025-01-03', requested was '2025-02-01'",
        "tag dataset_version is '2025-01-03', requested was '2025-02-01'",
        "parameter learning_rate is '0.001', requested was '0.002'",
    )


def test_numbers_are_compared_as_numbers() -> None:
    assert check(COMPLETE, {"learning_rate": 1e-3, "batch_size": 4, "epochs": 1.0}) == ()


def test_a_requested_value_outside_the_list_must_be_logged_too() -> None:
    assert check(COMPLETE, {"policy_id": "toy_policy"}) == (
        "parameter policy_id is missing: 'toy_policy' was requested",
    )
    assert check(replace(COMPLETE, tags={**TAGS, "policy_id": "toy_policy"}), {"policy_id": "toy_policy"}) == ()


def test_before_step_0_only_tags_and_parameters_that_are_asked_for_must_be_there() -> None:
    started = replace(COMPLETE, status="RUNNING", metrics={}, points={}, artifacts=(), datasets=())
    assert check(started, PARAMS, stage="start") == ()
    assert len(check(started, PARAMS)) == 9
    asked = {"learning_rate", "batch_size", "epochs", "dataset_version", "model_architecture", "seed", "base_digest"}
    record = replace(started, params={name: PARAMS[name] for name in asked})
    assert check(record, {}, stage="start") == (), "what training finds out comes later"
    assert len(check(replace(started, params={}), {}, stage="start")) == len(asked)


def test_the_refusal_lists_everything_at_once() -> None:
    empty = replace(COMPLETE, params={}, tags={}, metrics={}, points={}, artifacts=(), datasets=(), status="FAILED")
    with pytest.raises(Refused) as refusal:
        enforce(empty, {})
    assert str(refusal.value).count("\n  - ") == len(CONTRACT) + 1
    assert "docs/training-workflow.md" in str(refusal.value)
