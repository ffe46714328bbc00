"""MLflow as tracker and model registry. The only module that imports mlflow, and only inside functions.

Everything goes through one explicit `MlflowClient`: no active run, no global tracking URI. Two places in
mlflow 3.17 fall back to the global one and are avoided: registering from ``models:/<model id>`` (its SQL
registry store looks the model up through a default client; we pass the model's artefact location, which is
what it resolves to) and downloading from ``models:/name/version`` (we resolve the version ourselves).
Reading ``models:/planner_model/1`` elsewhere works as usual once MLFLOW_TRACKING_URI is set.
"""

import json
import logging
import os
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg

from bakeoff.datasets import files
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Unreachable, UsageError
from bakeoff.registry.model import DIGEST_TAG, RegisteredModel
from bakeoff.training.tracker import COMPLETE_TAG, FINGERPRINT_TAG, MetricPoint, RunRecord, RunSummary

_BATCH = 1_000  # metrics a request, mlflow's own limit
_PARAMS_BATCH = 100
_RUNS_PAGE = 500
_TIMEOUT_S = 5
_DIGEST_DIGITS = 32  # mlflow allows 36 characters


class Connections(NamedTuple):
    """Both ports on one MLflow."""

    tracker: "MlflowTracker"
    registry: "MlflowModelRegistry"

    def close(self) -> None:
        """Gives the database connections back."""
        self.tracker.close()


def connect(tracking_uri: str, artifact_root: str | None) -> Connections:
    """Opens MLflow at `tracking_uri`: ``http(s)://`` for a server, ``postgresql://`` for its database (tables
    are created or upgraded), ``sqlite:///``. Artefacts of new experiments go below `artifact_root` (a folder
    or ``s3://``); None leaves that to the server.

    Raises Unreachable within seconds where nothing answers; mlflow itself would retry for a minute."""
    uri = with_driver(tracking_uri)
    _probe(uri)
    _silence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow 3.17 uses what SQLAlchemy 2.1 and others call deprecated
        client = _client(uri)
    root = artifact_root if artifact_root is None or "://" in artifact_root else str(Path(artifact_root).absolute())
    return Connections(MlflowTracker(client, uri, root), MlflowModelRegistry(client, uri))


class MlflowTracker:
    """`bakeoff.training.tracker.Tracker` on MLflow. Experiments are named by task."""

    def __init__(
        self, client: Any, uri: str, artifact_root: str | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._uri = uri
        self._artifact_root = artifact_root
        self._clock = clock  # seconds since the epoch

    def find_run(self, task: str, train_fingerprint: str) -> RunRecord | None:
        found = self._find(task, {FINGERPRINT_TAG: train_fingerprint, COMPLETE_TAG: "true"})
        return None if found is None else self.read_run(found)

    def start_run(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> str:
        if not tags.get("task"):
            raise UsageError(f"run {name!r} names no task", cure="pass tags={'task': ...}")
        with _answering(self._uri):
            run_id: str = self._client.create_run(
                self._experiment(tags["task"]), run_name=name, tags={k: str(v) for k, v in tags.items()}
            ).info.run_id
        self.log_params(run_id, params)
        return run_id

    def resume_run(self, run_id: str) -> None:
        with _answering(self._uri):
            self._client.update_run(run_id, status="RUNNING")

    def list_runs(self, task: str) -> Sequence[RunSummary]:
        with _answering(self._uri):
            experiment = self._client.get_experiment_by_name(task)
            return [] if experiment is None else list(self._training_runs(experiment.experiment_id))

    def _training_runs(self, experiment_id: str) -> Iterator[RunSummary]:
        token: str | None = None
        while token is None or token:
            page = self._client.search_runs(
                [experiment_id], order_by=["attributes.start_time DESC"], max_results=_RUNS_PAGE, page_token=token
            )
            token = page.token or ""
            yield from (_summary(run) for run in page if "kind" not in run.data.tags)

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        entries = [Param(key, str(value)) for key, value in params.items()]
        with _answering(self._uri):
            for start in range(0, len(entries), _PARAMS_BATCH):
                self._client.log_batch(run_id, params=entries[start : start + _PARAMS_BATCH])

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        with _answering(self._uri):
            self._client.set_tag(run_id, key, value)

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        from mlflow.entities import DatasetInput, InputTag

        named = DatasetInput(dataset=_entity(dataset), tags=[InputTag("mlflow.data.context", "training")])
        with _answering(self._uri):
            _beside_others(lambda: self._client.log_inputs(run_id, datasets=[named]))

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        now = int(self._clock() * 1000)
        points = (MetricPoint(name=n, value=float(v), step=step, at_ms=now) for n, v in metrics.items())
        self.log_points(run_id, points)

    def log_points(self, run_id: str, points: Iterable[MetricPoint]) -> None:
        from mlflow.entities import Metric

        entries = [Metric(point.name, point.value, point.at_ms, point.step) for point in points]
        with _answering(self._uri):
            for start in range(0, len(entries), _BATCH):
                self._client.log_batch(run_id, metrics=entries[start : start + _BATCH])

    def history(self, run_id: str, name: str) -> frozenset[tuple[int, int]]:
        with _answering(self._uri):
            return frozenset((each.step, each.timestamp) for each in self._client.get_metric_history(run_id, name))

    def curve(self, run_id: str, name: str) -> Sequence[tuple[int, float]]:
        with _answering(self._uri):
            points = self._client.get_metric_history(run_id, name)
        latest = {point.step: float(point.value) for point in sorted(points, key=lambda point: point.timestamp)}
        return sorted(latest.items())

    def log_artifacts(self, run_id: str, folder: Path, path: str | None = None) -> None:
        with _answering(self._uri):
            self._client.log_artifacts(run_id, str(folder), path)

    def download(self, run_id: str, to: Path, path: str = "") -> Path:
        to.mkdir(parents=True, exist_ok=True)
        with _answering(self._uri):
            return Path(self._client.download_artifacts(run_id, path, str(to)))

    def finish(self, run_id: str, failed: bool = False) -> None:
        with _answering(self._uri):
            if not failed:
                self._client.set_tag(run_id, COMPLETE_TAG, "true")
            self._client.set_terminated(run_id, status="FAILED" if failed else "FINISHED")

    def read_run(self, run_id: str) -> RunRecord:
        with _answering(self._uri):
            run = self._client.get_run(run_id)
            return RunRecord(
                run_id=run_id,
                task=self._client.get_experiment(run.info.experiment_id).name,
                name=run.info.run_name,
                status=run.info.status,
                params=dict(run.data.params),
                tags=_own_tags(run),
                metrics=dict(run.data.metrics),
                points={name: len(self._client.get_metric_history(run_id, name)) for name in run.data.metrics},
                artifacts=tuple(sorted(self._files(run_id, None))),
                datasets=tuple(each.dataset.digest for each in run.inputs.dataset_inputs),
            )

    def register_dataset(self, dataset: Dataset) -> str:
        tags = {"kind": "dataset", "dataset_digest": dataset.digest}
        found = self._find(dataset.task, tags | {COMPLETE_TAG: "true"})
        if found is not None:
            return found
        about = {"task": dataset.task, "dataset_version": dataset.version}
        run_id = self.start_run(f"dataset {dataset.version}", {}, tags | about)
        self.log_dataset(run_id, dataset)
        self.log_metrics(run_id, {f"rows_{split}": rows for split, rows in dataset.splits.items()}, step=0)
        with _answering(self._uri):
            for name in (files.SCHEMA, files.SUMMARY):
                self._client.log_text(run_id, files.read_text(dataset.uri, name), name)
        self.finish(run_id)
        return run_id

    def close(self) -> None:
        """Gives the database connections back; the next call opens new ones."""
        for store in (self._client._tracking_client.store, self._client._get_registry_client().store):
            getattr(store, "_dispose_engine", lambda: None)()

    def _experiment(self, task: str) -> str:
        found = self._client.get_experiment_by_name(task)
        if found is None:
            location = None if self._artifact_root is None else f"{self._artifact_root}/{task}"
            with _unless_there():
                self._client.create_experiment(task, artifact_location=location)
            found = self._client.get_experiment_by_name(task)
        return str(found.experiment_id)

    def _find(self, task: str, tags: Mapping[str, str]) -> str | None:
        """The latest finished run of `task` that carries all `tags`."""
        wanted = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        with _answering(self._uri):
            experiment = self._client.get_experiment_by_name(task)
            if experiment is None:
                return None
            runs = self._client.search_runs(
                [experiment.experiment_id],
                filter_string=" and ".join([*wanted, "attributes.status = 'FINISHED'"]),
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
        return str(runs[0].info.run_id) if runs else None

    def _files(self, run_id: str, path: str | None) -> Iterator[str]:
        for each in self._client.list_artifacts(run_id, path):
            if each.is_dir:
                yield from self._files(run_id, each.path)
            else:
                yield each.path


class MlflowModelRegistry:
    """`bakeoff.registry.model.ModelRegistry` on MLflow: each version holds one LoggedModel's files."""

    def __init__(self, client: Any, uri: str) -> None:
        self._client = client
        self._uri = uri

    def register(self, name: str, run_id: str, folder: Path, tags: Mapping[str, str]) -> RegisteredModel:
        digest = tags[DIGEST_TAG]
        with _answering(self._uri):
            version = self._with_digest(name, digest)
            if version is None:
                version = self._create(name, run_id, folder, tags)
                version = self._with_digest(name, digest) or version  # of two at once both take the first one's
        return RegisteredModel(name=name, version=version, uri=f"models:/{name}/{version}", digest=digest)

    def set_tag(self, name: str, version: str, key: str, value: str) -> None:
        with _answering(self._uri):
            _beside_others(lambda: self._client.set_model_version_tag(name, version, key, value))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        with _answering(self._uri):
            _beside_others(lambda: self._client.set_registered_model_alias(name, alias, version))

    def delete_alias(self, name: str, alias: str) -> None:
        def delete() -> None:
            if alias in self.aliases(name):
                self._client.delete_registered_model_alias(name, alias)

        with _answering(self._uri):
            _beside_others(delete)

    def stage(self, name: str, version: str) -> str | None:
        with _answering(self._uri), _undeprecated():
            found = getattr(self._client.get_model_version(name, version), "current_stage", None)
        return None if found is None else str(found)

    def set_stage(self, name: str, version: str, stage: str) -> bool:
        from mlflow.exceptions import MlflowException

        move = getattr(self._client, "transition_model_version_stage", None)
        if move is None:
            return False
        try:
            with _answering(self._uri), _undeprecated():
                move(name, version, stage)
        except (MlflowException, UsageError):  # a server without stages says so in many ways
            return False
        return True

    def aliases(self, name: str) -> Mapping[str, str]:
        try:
            with _answering(self._uri):
                found = self._client.get_registered_model(name).aliases
        except UsageError:
            return {}
        return {alias: str(version) for alias, version in found.items()}

    def tags(self, name: str, version: str) -> Mapping[str, str]:
        with _answering(self._uri):
            return dict(self._client.get_model_version(name, version).tags)

    def download(self, name: str, version: str, to: Path) -> Path:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        to.mkdir(parents=True, exist_ok=True)
        with _answering(self._uri):
            source = self._client.get_model_version_download_uri(name, version)
            repository = get_artifact_repository(source, tracking_uri=self._uri, registry_uri=self._uri)
            repository.download_artifacts("", dst_path=str(to))
        return to

    def _with_digest(self, name: str, digest: str) -> str | None:
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
        return str(min(int(each.version) for each in found)) if found else None

    def _create(self, name: str, run_id: str, folder: Path, tags: Mapping[str, str]) -> str:
        run = self._client.get_run(run_id)
        model = self._client.create_logged_model(
            run.info.experiment_id, name=name, source_run_id=run_id, tags=dict(tags), model_type="bakeoff"
        )
        self._client.log_model_artifacts(model.model_id, str(folder))
        self._client.finalize_logged_model(model.model_id, "READY")
        with _unless_there():
            self._client.create_registered_model(name)
        version = self._client.create_model_version(
            name,
            source=model.artifact_location,
            run_id=run_id,
            model_id=model.model_id,
            tags={**tags, "logged_model_id": model.model_id},  # the version's own model_id stays empty on SQL
        )
        return str(version.version)


def _summary(run: Any) -> RunSummary:
    return RunSummary(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        started_at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        params=dict(run.data.params),
        tags=_own_tags(run),
        metrics=dict(run.data.metrics),
    )


def _own_tags(run: Any) -> dict[str, str]:
    return {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    _hush()
    with _answering(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_registered_models(max_results=1)  # opens the registry's store as well
    return client


# ---- what mlflow needs around it --------------------------------------------------------------------------


def with_driver(uri: str) -> str:
    """SQLAlchemy's name for PostgreSQL through psycopg 3, the driver that we install."""
    scheme, _, rest = uri.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else uri


def _probe(uri: str) -> None:
    """Raises Unreachable where nothing answers within `_TIMEOUT_S`."""
    parts = urlsplit(uri)
    try:
        if parts.scheme == "postgresql+psycopg":
            psycopg.connect(uri.replace("+psycopg", "", 1), connect_timeout=_TIMEOUT_S).close()
        elif parts.scheme in ("http", "https"):
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S).close()
    except (psycopg.OperationalError, OSError) as error:
        raise _unreachable(uri, error) from error


def _silence() -> None:
    """No usage reports, nothing printed, no progress bars. mlflow reads these variables itself, when it is imported
    and when it works; what the user has set stays."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # our --json is alone there
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its 7 take minutes; we keep metrics ourselves
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # its 120 s would let a hanging server hold up a command


def _hush() -> None:
    """No migration chatter, and no traceback for outages, which become `Unreachable`. After the import, which
    sets levels of its own."""
    levels = {
        "mlflow": "WARNING",
        "alembic": "WARNING",
        "mlflow.store.db.utils": "CRITICAL",
        "urllib3.connectionpool": "ERROR",
    }
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Outages become Unreachable; unknown runs and models, and parameters that would change, UsageError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UsageError(f"MLflow at {_shown(uri)}: {error.message}") from error
        if error.error_code == "TEMPORARILY_UNAVAILABLE" or "failed with exception" in str(error):
            raise _unreachable(uri, error) from error
        raise
    except OSError as error:
        raise _unreachable(uri, error) from error


@contextmanager
def _undeprecated() -> Iterator[None]:
    """Model stages are deprecated; who still reads them shall find what is true."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def _unless_there() -> Iterator[None]:
    """Somebody else may have created it first."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _beside_others(write: Callable[[], object], tries: int = 5) -> None:
    """MLflow's SQL store looks and then writes: where two write the same at once, the database refuses one of them.
    Once more, and it finds what the other wrote."""
    from mlflow.exceptions import MlflowException

    for left in reversed(range(tries)):
        try:
            write()
            return
        except MlflowException as error:
            if not left or error.error_code not in ("BAD_REQUEST", "INTERNAL_ERROR"):
                raise


def _unreachable(uri: str, error: Exception) -> Unreachable:
    first = str(error).strip().splitlines() or [type(error).__name__]
    return Unreachable(
        f"MLflow at {_shown(uri)} does not answer: {first[0]}",
        cure="start it, or set MLFLOW_TRACKING_URI to a server or database that runs",
    )


def _shown(uri: str) -> str:
    """Without user and password."""
    parts = urlsplit(uri)
    with suppress(ValueError):
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return parts.scheme


def _entity(dataset: Dataset) -> Any:
    from mlflow.entities import Dataset as Entity

    fields = json.loads(files.read_text(dataset.uri, files.SCHEMA))["fields"]
    columns = [
        {"name": each["name"], "type": each["type"], "required": not each["nullable"]}
        for each in fields
        if "." not in each["name"] and "[]" not in each["name"]
    ]
    scheme, found, _ = dataset.uri.partition("://")
    return Entity(
        name=f"{dataset.task}/{dataset.version}",
        digest=dataset.digest.removeprefix("sha256:")[:_DIGEST_DIGITS],
        source_type=scheme if found else "local",
        source=json.dumps({"uri": dataset.uri}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"digest": dataset.digest, "rows": dataset.rows, "splits": dict(dataset.splits)}),
    )
