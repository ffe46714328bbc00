"""Things by the names that people type. Each finds one, or raises UsageError that lists what is there."""

import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset
from bakeoff.errors import UsageError
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Experiment, Snapshot
from bakeoff.fingerprint import short
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion

LATEST = "latest"
Conn = policies.Conn


def moment(text: str) -> datetime:
    """A day or a moment in ISO 8601; without a time zone it is UTC. For `click.option(type=...)`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        expected = "expected for instance 2025-01-03 or 2025-01-03T08:00Z"
        raise click.BadParameter(f"{text!r} is no moment; {expected}") from error
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def mapping_function(name: str) -> Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any]]]:
    """``module:function``, from what is installed or from the current folder: takes a line of an application's own
    log and gives rows for `bakeoff events import`. Raises UsageError."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        found: Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any]]] = pkgutil.resolve_name(name)
        if not callable(found):
            raise ValueError(f"{name} is no function")
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"--map {name}: {error}",
            cure="name a function that takes a line and gives rows: --map planner.history:to_events",
        ) from error
    return found


def find_dataset(conn: Conn, task_name: str, name: str) -> Dataset:
    """By 'latest', folder name ('2025-01-03'), folder or digest (its beginning is enough)."""
    known = datasets.all_datasets(conn, task_name)
    if not known:
        raise UsageError(f"no dataset of task {task_name!r} yet", cure=f"bakeoff dataset build --task {task_name}")
    if name == LATEST:
        found = datasets.latest(conn, task_name)
        return found if found is not None else known[-1]
    matching = matches(known, name)
    if len(matching) != 1:
        what = (
            f"{len(matching)} datasets of task {task_name!r} match" if matching else f"no dataset of {task_name!r} is"
        )
        raise UsageError(
            f"{what} {name!r}; known: {', '.join(d.version for d in known)}",
            cure="bakeoff dataset list shows versions and digests; 'latest' is the newest",
        )
    return matching[0]


def matches(known: Sequence[Dataset], name: str) -> list[Dataset]:
    """Exact folder names and folders first; else digests that begin with `name` (at least 6 digits)."""
    exact = [dataset for dataset in known if name.rstrip("/") in (dataset.version, dataset.uri)]
    digits = name.removeprefix("sha256:")
    if exact or len(digits) < 6:
        return exact
    return [dataset for dataset in known if dataset.digest.removeprefix("sha256:").startswith(digits)]


def task_of(conn: Conn, version: PolicyVersion) -> str:
    return policies.find_policy(conn, version.policy_id).task


def find_incumbent(conn: Conn, policy_id: str) -> PolicyVersion | None:
    """What the default experiment serves; None where the policy serves nobody yet."""
    try:
        return policies.version_by_id(conn, experiments.incumbent(conn, policy_id))
    except UsageError:
        return None


def treated(conn: Conn, experiment: Experiment) -> PolicyVersion:
    """The version that a test tries."""
    roles = {variant.role: variant for variant in experiments.variants(conn, experiment.experiment_id)}
    return policies.version_by_id(conn, roles["treated"].policy_version_id)


def tests_of(conn: Conn, version: PolicyVersion) -> list[Experiment]:
    """Tests that tried `version` on real traffic, oldest first."""
    wanted = version.policy_version_id
    begun = (test for test in experiments.tests(conn, version.policy_id) if test.status != "created")
    return [test for test in begun if treated(conn, test).policy_version_id == wanted]


def running_test(conn: Conn, policy_id: str) -> Experiment:
    policies.find_policy(conn, policy_id)
    found = experiments.running_test(conn, policy_id)
    if found is None:
        held = experiments.running_holdback(conn, policy_id) is not None
        raise UsageError(
            f"no test of {policy_id} is running" + (", but a holdback is" if held else ""),
            cure="the same with --holdback"
            if held
            else f"bakeoff experiment start {policy_id}/VERSION --spec FILE starts one",
        )
    return found


def running_holdback(conn: Conn, policy_id: str) -> Experiment:
    policies.find_policy(conn, policy_id)
    found = experiments.running_holdback(conn, policy_id)
    if found is None:
        raise UsageError(
            f"no holdback of {policy_id} is running",
            cure="bakeoff promote opens one; bakeoff experiment status shows what there was",
        )
    return found


def all_experiments(conn: Conn, policy_id: str) -> list[Experiment]:
    """Tests and holdbacks in the order in which they began; those that have not begun last."""
    known = [*experiments.tests(conn, policy_id), *experiments.holdbacks(conn, policy_id)]
    return sorted(
        known, key=lambda each: (each.started_at is None, each.started_at or datetime.min.replace(tzinfo=UTC))
    )


def open_test(conn: Conn, policy_id: str) -> Experiment:
    """The running test, or the newest that was created and has not begun."""
    policies.find_policy(conn, policy_id)
    found = experiments.running_test(conn, policy_id)
    waiting = [test for test in experiments.tests(conn, policy_id) if test.status == "created"]
    if found is None and not waiting:
        raise UsageError(
            f"no test of {policy_id} is running or waiting to begin",
            cure=f"bakeoff experiment create {policy_id}/VERSION --spec FILE makes one",
        )
    return found or waiting[-1]


def last_look(conn: Conn, experiment: Experiment) -> Snapshot | None:
    return experiments.last_snapshot(conn, experiment.experiment_id)


def dataset_name(known: Sequence[Dataset], digest: str | None) -> str | None:
    """'2025-01-03', or the short digest of one that is not recorded here."""
    if digest is None:
        return None
    return next((dataset.version for dataset in known if dataset.digest == digest), short(digest))
