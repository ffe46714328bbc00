import ast
import re
from dataclasses import replace

import pytest

from bakeoff.errors import Refused
from bakeoff.training.contract import CONTRACT, Item, check, enforce, script
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
    "base_model": "smollm2",
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


def without(record: RunRecord, item: Item) -> RunRecord:
    """The run as if nobody had logged this item."""
    if item.kind == "param":
        return replace(record, params={k: v for k, v in record.params.items() if k != item.name})
    if item.kind == "tag":
        return replace(record, tags={k: v for k, v in record.tags.items() if k != item.name})
    if item.kind == "dataset":
        return replace(record, datasets=())
    if item.kind == "artifact":
        return replace(record, artifacts=tuple(p for p in record.artifacts if not re.fullmatch(item.pattern, p)))
    kept = {k: v for k, v in record.metrics.items() if not re.fullmatch(item.pattern, k)}
    return replace(record, metrics=kept, points={k: v for k, v in record.points.items() if k in kept})


@pytest.mark.parametrize("item", CONTRACT, ids=lambda item: f"{item.kind} {item.name}")
def test_each_missing_item_is_named_alone(item: Item) -> None:
    """Over the list itself, so that a new item is tested by itself."""
    (problem,) = check(without(COMPLETE, item), {})
    assert item.name in problem
    assert "missing" in problem
    assert item.why in problem


@pytest.mark.parametrize("item", [i for i in CONTRACT if i.known == "start"], ids=lambda i: i.name)
def test_what_is_known_at_the_start_is_missed_before_the_first_step(item: Item) -> None:
    started = replace(COMPLETE, status="RUNNING", metrics={}, points={}, artifacts=(), datasets=())
    (problem,) = check(without(started, item), {}, stage="start")
    assert item.name in problem


def test_no_item_is_listed_twice_and_each_says_how_it_is_logged() -> None:
    assert len({(item.kind, item.name) for item in CONTRACT}) == len(CONTRACT)
    for item in CONTRACT:
        ast.parse(item.how)
        assert "mlflow.log_" in item.how or "mlflow.set_tag" in item.how


def test_the_script_for_notebooks_is_python_that_holds_every_item_which_nobody_can_work_out() -> None:
    text = script("toy", "right")
    ast.parse(text)
    for item in CONTRACT:
        indented = "\n".join(f"    {line}" for line in item.how.replace("METRIC", "right").splitlines())
        assert (indented in text) is not item.derived, item.name
    assert 'task = "toy"' in text
    assert "bakeoff." not in text, "it must run where bakeoff is not installed"


@pytest.mark.parametrize("path", ["training_args.bin", "checkpoint-3/optimizer.pt", "model/weights.PKL", "a/b.joblib"])
def test_a_pickle_anywhere_is_named(path: str) -> None:
    (problem,) = check(replace(COMPLETE, artifacts=(*FILES, path)), {})
    assert problem.startswith(f"artefact {path} is a pickle")


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


@pytest.mark.parametrize("name", ["eval_loss", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"])
def test_what_a_trainer_calls_eval_is_no_score_of_the_offline_evaluator(name: str) -> None:
    bare = {k: v for k, v in COMPLETE.metrics.items() if not k.startswith("eval_")}
    (missing,) = check(replace(COMPLETE, metrics={**bare, name: 1.0}), {})
    assert missing.startswith("metrics eval_* are missing")


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


def test_before_step_0_nothing_is_asked_for_that_only_training_finds_out() -> None:
    asked = {item.name for item in CONTRACT if item.kind == "param" and item.known == "start"}
    started = replace(
        COMPLETE, status="RUNNING", metrics={}, points={}, artifacts=(), datasets=(),
        params={name: PARAMS[name] for name in asked},
    )  # fmt: skip
    assert check(started, {}, stage="start") == ()
    assert {"rows", "steps", "tokens", "trainable_parameters", "template_digest"}.isdisjoint(asked)


def test_the_refusal_lists_everything_at_once() -> None:
    empty = replace(COMPLETE, params={}, tags={}, metrics={}, points={}, artifacts=(), datasets=(), status="FAILED")
    with pytest.raises(Refused) as refusal:
        enforce(empty, {})
    assert str(refusal.value).count("\n  - ") == len(CONTRACT) + 1
    assert "bakeoff contract show" in str(refusal.value)
