"""Datasets and MLflow artefacts on a real S3 server."""

import json
import uuid
from datetime import datetime
from pathlib import Path

import boto3
import pytest
import s3fs

import rows
import toy
from bakeoff.adapters import embedded, tracking
from bakeoff.datasets import files, table
from bakeoff.datasets.model import Dataset
from bakeoff.datasets.publish import publish
from bakeoff.errors import Unreachable, UsageError
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest
from bakeoff.task import Episode, LoggedEvent, Role

SINCE, UNTIL = rows.at(0), rows.at(2)


def built(root: str, many: int = 150, until: datetime = UNTIL, previous: Dataset | None = None) -> Dataset:
    made = [_episode(n) for n in range(many)]
    stored = [(each, canonical_bytes(each.request)) for each in made]
    return publish(root, toy.ToyTask(), stored, since=SINCE, until=until, previous=previous)


def keys(root: str) -> list[str]:
    client = boto3.client("s3")
    found = client.list_objects_v2(Bucket=root.removeprefix("s3://").partition("/")[0]).get("Contents", [])
    client.close()
    return sorted(each["Key"] for each in found)


def delete(root: str, *names: str) -> None:
    client = boto3.client("s3")
    for name in names:
        client.delete_object(Bucket=root.removeprefix("s3://"), Key=name)
    client.close()


def day(root: str) -> str:
    return f"toy/{UNTIL.date().isoformat()}"


def test_a_dataset_is_built_described_loaded_and_found_again(s3: str) -> None:
    first = built(s3)
    assert first.uri == f"{s3}/{day(s3)}"
    assert keys(s3) == [f"{day(s3)}/{name}" for name in ("dataset_summary.md", "schema.json", "training.parquet")]
    assert files.describe(first.uri) == first
    assert [row.example.request["day"] for row in files.load(first.uri)] == list(range(150))
    assert (
        files.split_of_example(first.uri, files.load(first.uri)[0].example.example_id) == files.load(first.uri)[0].split
    )
    assert built(s3) == first
    assert built(s3, until=rows.at(3), previous=first) == first, "nothing new"


def test_other_content_of_the_same_day_gets_a_number(s3: str) -> None:
    first, second = built(s3), built(s3, 120)
    assert (first.version, second.version) == (UNTIL.date().isoformat(), f"{UNTIL.date().isoformat()}.2")
    assert (len(files.load(first.uri)), len(files.load(second.uri))) == (150, 120)


def test_without_schema_json_a_folder_is_no_dataset_and_the_same_content_completes_it(s3: str) -> None:
    first = built(s3)
    delete(s3, f"{day(s3)}/schema.json", f"{day(s3)}/training.parquet")
    with pytest.raises(UsageError, match=r"schema.json is missing"):
        files.describe(first.uri)
    assert built(s3, 120).version.endswith(".2"), "other content leaves it alone"
    assert built(s3) == first
    assert len(files.load(first.uri)) == 150


def test_an_upload_that_fails_shows_nothing_and_is_completed_by_the_next(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = s3fs.S3FileSystem.put_file

    def cut_off(self: s3fs.S3FileSystem, local: str, remote: str, **other: object) -> None:
        if remote.endswith(table.TRAINING):
            raise OSError("the line went dead")
        put(self, local, remote, **other)

    monkeypatch.setattr(s3fs.S3FileSystem, "put_file", cut_off)
    with pytest.raises(Unreachable, match="the line went dead"):
        built(s3)
    assert keys(s3) == [f"{day(s3)}/dataset_summary.md"]
    monkeypatch.setattr(s3fs.S3FileSystem, "put_file", put)
    assert built(s3).uri == f"{s3}/{day(s3)}"


def test_a_bucket_that_is_not_there_is_unreachable_with_what_to_do(s3: str) -> None:
    missing = f"s3://missing-{uuid.uuid4().hex}"
    with pytest.raises(Unreachable, match="check the address and its bucket"):
        built(missing)
    with pytest.raises((Unreachable, UsageError)):
        files.describe(f"{missing}/toy/2025-01-08")


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials_are_unreachable_with_what_to_do(
    variable: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = built(s3)
    monkeypatch.setenv(variable, "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    for attempt in (lambda: built(s3), lambda: files.describe(there.uri), lambda: files.load(there.uri)):
        with pytest.raises(Unreachable, match="AWS_ACCESS_KEY_ID"):
            attempt()


def test_a_server_that_does_not_answer_is_unreachable(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(Unreachable):
        built(s3)


def test_artefacts_of_mlflow_lie_there_too(s3: str, postgres_server: str, tmp_path: Path) -> None:
    """The tracking adapter over an artefact root on S3: logged, listed, and read back as they were."""
    opened = tracking.connect(embedded.ensure_database(postgres_server, "mlflow_on_s3"), f"{s3}/artifacts")
    try:
        dataset = built(s3)
        run_id = opened.tracker.register_dataset(dataset)
        assert set(opened.tracker.read_run(run_id).artifacts) >= {files.SCHEMA, files.SUMMARY}
    finally:
        opened.close()
    kept = [key for key in keys(s3) if key.startswith("artifacts/") and key.endswith(files.SCHEMA)]
    client = boto3.client("s3")
    body = client.get_object(Bucket=s3.removeprefix("s3://"), Key=kept[0])["Body"].read()
    client.close()
    assert json.loads(body)["dataset"]["digest"] == dataset.digest


def _episode(number: int) -> Episode:
    drink = toy.DRINKS[number % 2]
    request = {"likes": drink, "day": number}
    return Episode(
        need_id=str(number),
        unit_id=f"u{number}",
        request=request,
        request_digest=digest(request),
        decisions=(_event(number, Role.DECISION, {}),),
        outcomes=(_event(number, Role.ACCEPT, {"accepted_by": "user", "drink": drink}),),
    )


def _event(number: int, role: Role, payload: dict[str, str]) -> LoggedEvent:
    return LoggedEvent(
        event_id=f"{role}-{number}", event_type=role, role=role, unit_id=f"u{number}", decision_id=f"d{number:03d}",
        occurred_at=rows.at(1), experiment_id="x", variant_id="v", policy_version_id="p",
        served_policy_version_id="p" if role is Role.DECISION else None, payload=payload,
    )  # fmt: skip
