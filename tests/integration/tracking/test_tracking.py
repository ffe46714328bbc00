import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from bakeoff.adapters import tracking
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Unreachable, UsageError
from bakeoff.registry.bundle import folder_digest
from bakeoff.registry.model import DIGEST_TAG
from bakeoff.registry.register import register
from bakeoff.training import contract
from bakeoff.training.tracker import MetricPoint, RunRecord

PARAMS = {
    **dict.fromkeys(["batch_size", "epochs", "seed", "rows", "steps", "tokens", "trainable_parameters"], 4),
    **dict.fromkeys(["template_digest", "base_digest", "base_model", "model_architecture", "dataset_version"], "x"),
    "learning_rate": 2e-4,
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(os.urandom(1000))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def _tags(task: str) -> dict[str, str]:
    return {
        "task": task,
        "dataset_version": "x",
        "git_commit": "abc",
        "lock_digest": "l",
        "train_fingerprint": f"sha256:{task}",
    }


def _train(tracker: tracking.MlflowTracker, dataset: Dataset, bundle: Path) -> str:
    """What a trainer does, without the training."""
    run_id = tracker.start_run("sft", PARAMS, _tags(dataset.task))
    contract.enforce(tracker.read_run(run_id), PARAMS, stage="start")
    tracker.log_dataset(run_id, dataset)
    for step in range(250):
        tracker.log_metrics(run_id, {"training_loss": 1 / (step + 1)}, step)
    for step in (0, 249):
        tracker.log_metrics(run_id, {"validation_loss": 0.5, "eval_alignment": 0.6}, step)
    tracker.log_artifacts(run_id, bundle)
    tracker.finish(run_id)
    return run_id


def test_a_run_reads_back_as_it_was_logged(mlflow: tracking.Connections, dataset: Dataset, bundle: Path) -> None:
    run_id = _train(mlflow.tracker, dataset, bundle)
    assert mlflow.tracker.read_run(run_id) == RunRecord(
        run_id=run_id,
        task=dataset.task,
        name="sft",
        status="FINISHED",
        params={name: str(value) for name, value in PARAMS.items()},
        tags={**_tags(dataset.task), "complete": "true"},
        metrics={"training_loss": 1 / 250, "validation_loss": 0.5, "eval_alignment": 0.6},
        points={"training_loss": 250, "validation_loss": 2, "eval_alignment": 2},
        artifacts=(
            "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors",
            "chat_template.jinja",
            "tokenizer.json",
        ),
        datasets=(dataset.digest[7:39],),
    )


def test_a_point_that_is_there_already_changes_nothing(mlflow: tracking.Connections, dataset: Dataset) -> None:
    """Name, step and moment are its identity: a batch that was cut off may be sent again."""
    tracker = mlflow.tracker
    run_id = tracker.start_run("sft", {}, {"task": dataset.task})
    points = [MetricPoint(name="training_loss", value=1 / (n + 1), step=n, at_ms=1000 + n) for n in range(1200)]
    points.append(MetricPoint(name="odd", value=float("nan"), step=0, at_ms=5))
    tracker.log_points(run_id, points[:700])
    for _ in range(2):
        tracker.log_points(run_id, points)
    assert tracker.history(run_id, "training_loss") == {(n, 1000 + n) for n in range(1200)}
    assert tracker.read_run(run_id).points == {"training_loss": 1200, "odd": 1}
    assert tracker.history(run_id, "never logged") == frozenset()


def test_training_runs_are_listed_latest_first_without_datasets(mlflow: tracking.Connections, dataset: Dataset) -> None:
    tracker = mlflow.tracker
    assert tracker.list_runs(dataset.task) == []
    tracker.register_dataset(dataset)
    first = tracker.start_run("one", {"epochs": 1}, _tags(dataset.task))
    time.sleep(0.002)
    second = tracker.start_run("two", {}, _tags(dataset.task))
    tracker.finish(first)
    found = tracker.list_runs(dataset.task)
    assert [(run.run_id, run.name, run.status) for run in found] == [
        (second, "two", "RUNNING"),
        (first, "one", "FINISHED"),
    ]
    assert found[1].params == {"epochs": "1"}
    assert found[1].tags == {**_tags(dataset.task), "complete": "true"}
    tracker.resume_run(first)
    assert tracker.read_run(first).status == "RUNNING"


def test_artefacts_come_back_whole_or_one_by_one(
    mlflow: tracking.Connections, dataset: Dataset, bundle: Path, tmp_path: Path
) -> None:
    run_id = _train(mlflow.tracker, dataset, bundle)
    assert folder_digest(mlflow.tracker.download(run_id, tmp_path / "all")) == folder_digest(bundle)
    one = mlflow.tracker.download(run_id, tmp_path / "one", "adapter/adapter_config.json")
    assert one.read_text() == "{}"


def test_only_finished_and_complete_runs_are_found_again(
    mlflow: tracking.Connections, dataset: Dataset, bundle: Path
) -> None:
    tracker, task = mlflow.tracker, dataset.task
    assert tracker.find_run(task, f"sha256:{task}") is None, "no experiment yet"
    open_run = tracker.start_run("sft", PARAMS, _tags(task))
    assert tracker.find_run(task, f"sha256:{task}") is None, "still running"
    tracker.finish(open_run, failed=True)
    assert tracker.find_run(task, f"sha256:{task}") is None, "failed"
    done = _train(tracker, dataset, bundle)
    found = tracker.find_run(task, f"sha256:{task}")
    assert found is not None
    assert found.run_id == done
    assert tracker.find_run(task, "sha256:other") is None


def test_a_run_without_task_and_an_unknown_run_are_usage_errors(mlflow: tracking.Connections) -> None:
    with pytest.raises(UsageError, match="names no task"):
        mlflow.tracker.start_run("sft", {}, {})
    with pytest.raises(UsageError, match="not found"):
        mlflow.tracker.read_run("0" * 32)


def test_a_dataset_is_registered_once_with_digest_source_and_schema(
    mlflow: tracking.Connections, dataset: Dataset
) -> None:
    run_id = mlflow.tracker.register_dataset(dataset)
    assert mlflow.tracker.register_dataset(dataset) == run_id
    record = mlflow.tracker.read_run(run_id)
    assert record.tags["dataset_version"] == "2025-01-03"
    assert record.tags["dataset_digest"] == dataset.digest
    assert record.artifacts == ("dataset_summary.md", "schema.json")
    (found,) = mlflow.tracker._client.get_run(run_id).inputs.dataset_inputs
    assert found.dataset.name == f"{dataset.task}/2025-01-03"
    assert dataset.uri in found.dataset.source
    assert '"name": "request", "type": "struct", "required": true' in found.dataset.schema


def test_a_registered_model_loads_as_models_name_version_anywhere(
    mlflow: tracking.Connections, mlflow_dsn: str, dataset: Dataset, bundle: Path, tmp_path: Path
) -> None:
    """The guide's own address, through mlflow's public function in another process."""
    run_id = _train(mlflow.tracker, dataset, bundle)
    name = f"{dataset.task}_model"
    model = register(
        mlflow.tracker,
        mlflow.registry,
        name=name,
        run_id=run_id,
        folder=bundle,
        requested=PARAMS,
        tags={"task": "t"},
    )
    assert (model.version, model.uri) == ("1", f"models:/{name}/1")
    code = "import sys, mlflow; print(mlflow.artifacts.download_artifacts(sys.argv[1], dst_path=sys.argv[2]))"
    env = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_dsn, "MLFLOW_DISABLE_TELEMETRY": "true"}
    loaded = subprocess.run(
        [sys.executable, "-c", code, model.uri, str(tmp_path / "loaded")],
        check=True, capture_output=True, text=True, env=env, cwd=tmp_path,
    ).stdout.strip().splitlines()[-1]  # fmt: skip
    assert folder_digest(Path(loaded)) == folder_digest(bundle) == model.digest


def test_the_same_bundle_is_the_same_version_and_another_one_the_next(
    mlflow: tracking.Connections, dataset: Dataset, bundle: Path, tmp_path: Path
) -> None:
    registry, name = mlflow.registry, f"{dataset.task}_model"
    run_id = mlflow.tracker.start_run("sft", {}, {"task": dataset.task})
    tags = {DIGEST_TAG: folder_digest(bundle), "task": "toy"}
    first = registry.register(name, run_id, bundle, tags)
    assert registry.register(name, run_id, bundle, tags) == first
    (bundle / "tokenizer.json").write_text("{ }")
    second = registry.register(name, run_id, bundle, {DIGEST_TAG: folder_digest(bundle)})
    assert (first.version, second.version) == ("1", "2")
    assert registry.tags(name, "1")["task"] == "toy"
    assert folder_digest(registry.download(name, "1", tmp_path / "one" / "deep")) == first.digest
    assert (tmp_path / "one" / "deep" / "adapter" / "adapter_config.json").is_file()


def test_tags_and_aliases_move(mlflow: tracking.Connections, dataset: Dataset, bundle: Path) -> None:
    registry, name = mlflow.registry, f"{dataset.task}_model"
    assert registry.aliases(name) == {}
    run_id = mlflow.tracker.start_run("sft", {}, {"task": dataset.task})
    registry.register(name, run_id, bundle, {DIGEST_TAG: folder_digest(bundle)})
    (bundle / "more").write_text("x")
    registry.register(name, run_id, bundle, {DIGEST_TAG: folder_digest(bundle)})
    registry.set_tag(name, "1", "stage", "candidate")
    registry.set_alias(name, "production", "1")
    registry.set_alias(name, "production", "2")
    assert registry.tags(name, "1")["stage"] == "candidate"
    assert registry.aliases(name) == {"production": "2"}
    with pytest.raises(UsageError, match="not found"):
        registry.set_alias(name, "production", "3")


def test_two_who_move_the_same_tag_and_alias_at_once_both_succeed(
    mlflow: tracking.Connections, dataset: Dataset, bundle: Path
) -> None:
    registry, name = mlflow.registry, f"{dataset.task}_model"
    run_id = mlflow.tracker.start_run("sft", {}, {"task": dataset.task})
    registry.register(name, run_id, bundle, {DIGEST_TAG: folder_digest(bundle)})

    def move(turn: int) -> None:
        registry.set_tag(name, "1", f"stage{turn}", "candidate")
        registry.set_alias(name, f"production{turn}", "1")
        registry.delete_alias(name, f"production{turn}")

    with ThreadPoolExecutor(2) as two:
        for turn in range(30):
            for moved in [two.submit(move, turn) for _ in range(2)]:
                moved.result()
    assert registry.aliases(name) == {}
    assert set(registry.tags(name, "1").values()) >= {"candidate"}


def test_two_who_register_the_same_at_once_get_the_same_version(
    mlflow: tracking.Connections, dataset: Dataset, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, name = mlflow.registry, f"{dataset.task}_model"
    run_id = mlflow.tracker.start_run("sft", {}, {"task": dataset.task})
    look, mine, meet = registry._with_digest, threading.local(), threading.Barrier(2, timeout=60)

    def both_look(*about: str) -> str | None:
        found = look(*about)
        if not hasattr(mine, "looked"):
            mine.looked = True
            meet.wait()
        return found

    monkeypatch.setattr(registry, "_with_digest", both_look)
    tags = {DIGEST_TAG: folder_digest(bundle)}
    with ThreadPoolExecutor(2) as two:
        found = [two.submit(registry.register, name, run_id, bundle, tags) for _ in range(2)]
        assert [each.result().version for each in found] == ["1", "1"]


def test_trainings_that_note_the_same_dataset_at_once_all_do(mlflow: tracking.Connections, dataset: Dataset) -> None:
    runs = [mlflow.tracker.start_run(name, {}, {"task": dataset.task}) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as two:
        for turn in range(20):
            fresh = replace(dataset, digest=f"sha256:{turn:02}{'0' * 62}")
            for noted in [two.submit(mlflow.tracker.log_dataset, run_id, fresh) for run_id in runs]:
                noted.result()
    for run_id in runs:
        assert len(mlflow.tracker.read_run(run_id).datasets) == 20


def test_nothing_is_written_outside_the_artifact_root(
    mlflow_dsn: str, dataset: Dataset, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ./mlruns and no ./mlflow.db: mlflow's global defaults are never used."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    opened = tracking.connect(mlflow_dsn, str(tmp_path / "artifacts"))
    run_id = _train(opened.tracker, dataset, bundle)
    opened.registry.register("m_" + dataset.task, run_id, bundle, {DIGEST_TAG: folder_digest(bundle)})
    opened.close()
    assert list(here.iterdir()) == []
    assert (tmp_path / "artifacts" / dataset.task).is_dir()


def test_connecting_prints_nothing(mlflow_dsn: str, tmp_path: Path) -> None:
    """Not even at the first start, when tables are made: standard output belongs to --json."""
    fresh = mlflow_dsn.replace("mlflow_tracking_tests", "mlflow_quiet")
    with psycopg.connect(mlflow_dsn, autocommit=True) as admin:
        admin.execute("create database mlflow_quiet")
    code = "import sys; from bakeoff.adapters import tracking; tracking.connect(sys.argv[1], None).close()"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, fresh], check=True, capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("scheme", ["postgresql", "http"])
def test_a_tracker_that_does_not_answer_is_unreachable_within_seconds(scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(Unreachable, match=f"MLflow at .*127.0.0.1:{port}.* does not answer") as outage:
        tracking.connect(f"{scheme}://somebody:secret@127.0.0.1:{port}/db", None)
    assert time.monotonic() - started < 40, "MLflow itself would try for minutes"
    assert "secret" not in str(outage.value)
    assert "MLFLOW_TRACKING_URI" in str(outage.value)


def test_a_database_lost_during_a_run_is_unreachable_and_works_again_afterwards(
    mlflow_dsn: str, dataset: Dataset, tmp_path: Path
) -> None:
    """Its database is renamed away and back."""
    name = "mlflow_outage"
    points = [MetricPoint(name="training_loss", value=0.1, step=step, at_ms=step) for step in range(100)]
    with psycopg.connect(mlflow_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name}")
        opened = tracking.connect(mlflow_dsn.replace("mlflow_tracking_tests", name), str(tmp_path))
        run_id = opened.tracker.start_run("sft", {}, {"task": dataset.task})
        opened.close()
        admin.execute(f"alter database {name} rename to {name}_away")
        with pytest.raises(Unreachable):
            opened.tracker.log_points(run_id, points)
        admin.execute(f"alter database {name}_away rename to {name}")
        opened.tracker.log_points(run_id, points)
        assert opened.tracker.read_run(run_id).points == {"training_loss": 100}
        opened.close()


def test_metrics_of_a_run_that_is_over_arrive_at_once(mlflow: tracking.Connections, dataset: Dataset) -> None:
    """Replay scores come days after training, from another process that never finishes the run again."""
    tracker = mlflow.tracker
    run_id = tracker.start_run("sft", {}, {"task": dataset.task})
    tracker.finish(run_id)
    tracker.log_metrics(run_id, {"replay_alignment": 0.5}, 0)
    assert tracker._client.get_run(run_id).data.metrics == {"replay_alignment": 0.5}


def test_what_training_found_out_is_added_and_what_was_asked_for_stays(
    mlflow: tracking.Connections, dataset: Dataset
) -> None:
    """More than the hundred parameters that one request may carry; equal ones may come again."""
    tracker = mlflow.tracker
    run_id = tracker.start_run("sft", {"epochs": 1}, {"task": dataset.task})
    tracker.log_params(run_id, {f"p{n}": n for n in range(250)} | {"epochs": 1})
    tracker.set_tag(run_id, "adapter_digest", "sha256:a")
    with pytest.raises(UsageError, match="epochs"):
        tracker.log_params(run_id, {"epochs": 2})
    record = tracker.read_run(run_id)
    assert (len(record.params), record.params["epochs"]) == (251, "1")
    assert record.tags["adapter_digest"] == "sha256:a"
