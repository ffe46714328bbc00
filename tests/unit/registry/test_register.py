import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bakeoff.errors import Refused
from bakeoff.registry.bundle import folder_digest
from bakeoff.registry.model import DIGEST_TAG, RegisteredModel
from bakeoff.registry.register import register
from bakeoff.training.tracker import RunRecord

RECORD = RunRecord(
    run_id="r1",
    task="toy",
    name="sft",
    status="FINISHED",
    params={
        **dict.fromkeys(["learning_rate", "batch_size", "epochs", "seed", "rows", "steps", "tokens"], "1"),
        **dict.fromkeys(["trainable_parameters", "template_digest", "base_digest", "model_architecture"], "1"),
        "dataset_version": "d",
        "base_model": "tiny",
    },
    tags={"task": "toy", "dataset_version": "d", "git_commit": "abc", "lock_digest": "l"},
    metrics={"training_loss": 0.4, "validation_loss": 0.5, "eval_alignment": 0.6},
    points={"training_loss": 5, "validation_loss": 2, "eval_alignment": 1},
    artifacts=(
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
    ),
    datasets=("0" * 32,),
)


class OneRun:
    def __init__(self, record: RunRecord) -> None:
        self.record = record

    def read_run(self, run_id: str) -> RunRecord:
        assert run_id == self.record.run_id
        return self.record


class Shelf:
    """A registry on a folder."""

    def __init__(self, folder: Path, *, spoils: bool = False) -> None:
        self.folder = folder
        self.spoils = spoils
        self.tags_of: list[Mapping[str, str]] = []

    def register(self, name: str, run_id: str, folder: Path, tags: Mapping[str, str]) -> RegisteredModel:
        assert run_id == RECORD.run_id
        digests = [each[DIGEST_TAG] for each in self.tags_of]
        if tags[DIGEST_TAG] not in digests:
            self.tags_of.append(tags)
            digests.append(tags[DIGEST_TAG])
            shutil.copytree(folder, self.folder / str(len(digests)))
        version = str(digests.index(tags[DIGEST_TAG]) + 1)
        uri = f"models:/{name}/{version}"
        return RegisteredModel(name=name, version=version, uri=uri, digest=tags[DIGEST_TAG])

    def download(self, name: str, version: str, to: Path) -> Path:
        assert name == "toy_model"
        copy = shutil.copytree(self.folder / version, to / "copy")
        if self.spoils:
            (copy / "weights").write_text("torn")
        return copy


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "weights").write_text("w")
    return folder


def _register(record: RunRecord, shelf: Shelf, folder: Path, **requested: Any) -> RegisteredModel:
    return register(
        OneRun(record),  # type: ignore[arg-type]
        shelf,  # type: ignore[arg-type]
        name="toy_model",
        run_id="r1",
        folder=folder,
        requested=requested,
        tags={"task": "toy"},
    )


def test_a_run_that_fulfils_the_contract_is_registered_once(bundle: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    first = _register(RECORD, shelf, bundle, epochs=1)
    assert first == RegisteredModel(
        name="toy_model", version="1", uri="models:/toy_model/1", digest=folder_digest(bundle)
    )
    assert _register(RECORD, shelf, bundle) == first
    assert shelf.tags_of == [{"task": "toy", DIGEST_TAG: first.digest}]


def test_other_files_are_the_next_version(bundle: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    _register(RECORD, shelf, bundle)
    (bundle / "weights").write_text("better")
    assert _register(RECORD, shelf, bundle).version == "2"


def test_a_run_that_breaks_the_contract_never_reaches_the_registry(bundle: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    with pytest.raises(Refused, match="parameter epochs is '1', requested was '3'"):
        _register(RECORD, shelf, bundle, epochs=3)
    with pytest.raises(Refused, match="tag git_commit is missing"):
        _register(replace(RECORD, tags={"task": "toy", "dataset_version": "d", "lock_digest": "l"}), shelf, bundle)
    assert shelf.tags_of == []


def test_another_bundle_than_the_run_logged_is_refused(bundle: Path, tmp_path: Path) -> None:
    record = replace(RECORD, tags={**RECORD.tags, DIGEST_TAG: "sha256:" + "0" * 64})
    with pytest.raises(Refused, match="logged bundle 000000000000"):
        _register(record, Shelf(tmp_path / "shelf"), bundle)


def test_a_registry_that_gives_back_other_files_is_found_out(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="models:/toy_model/1 holds"):
        _register(RECORD, Shelf(tmp_path / "shelf", spoils=True), bundle)
