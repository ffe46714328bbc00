"""What of a unit reached which version: on facts written by hand."""

from dataclasses import replace
from typing import Any

from bakeoff.cli.sightings import GONE, _learnt, _was_read
from bakeoff.datasets.model import Split
from bakeoff.datasets.split import slice_of, split_of
from bakeoff.inference.model import PolicySpec
from bakeoff.policies.model import PolicyVersion

SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good")
VERSION = PolicyVersion(
    policy_version_id="v", policy_id="p", version=2, spec=SPEC, fingerprint="f", status="production",
    mlflow_model_name="toy_model", mlflow_model_version="7", mlflow_run_id="r", dataset_digest="sha256:d",
)  # fmt: skip


def held(rows: Any) -> list[dict[str, Any]]:
    return [{"digest": "sha256:d", "rows": rows}]


def test_a_version_learnt_from_train_and_validation_rows_and_never_from_test_rows() -> None:
    (found,) = _learnt(held({"train": 3}), [VERSION])
    assert (found["name"], found["model"], found["mlflow_run_id"]) == ("p/2", "models:/toy_model/7", "r")
    assert found["rows_of"] == "train"
    assert _learnt(held({"train": 3, "validation": 1}), [VERSION])[0]["rows_of"] == "train, validation"
    assert _learnt(held({"test": 3}), [VERSION]) == []


def test_of_a_folder_that_is_gone_the_worst_is_assumed() -> None:
    assert _learnt(held(GONE), [VERSION])[0]["rows_of"] == GONE


def test_another_dataset_taught_nothing() -> None:
    assert _learnt(held({"train": 1}), [replace(VERSION, dataset_digest="sha256:e")]) == []
    assert _learnt(held({"train": 1}), [replace(VERSION, dataset_digest=None)]) == []


def test_a_report_read_a_unit_where_it_read_its_slice() -> None:
    unit = next(f"u{n}" for n in range(99) if split_of("toy", f"u{n}") is Split.TEST)
    own = slice_of("toy", unit, Split.TEST)
    others = ",".join(str(n) for n in range(1, 5) if n != own)
    assert _was_read({"slices": str(own)}, "toy", unit)
    assert not _was_read({"slices": others}, "toy", unit)
    assert _was_read({}, "toy", unit), "reports were once made on the whole split"
