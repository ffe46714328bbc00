"""A gate report becomes a page that a person reads."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from bakeoff.datasets import build as dataset_build
from bakeoff.datasets import files as dataset_files
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset, Row, Split
from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.events import store as events
from bakeoff.experiments import history
from bakeoff.experiments.history import Past
from bakeoff.fingerprint import short
from bakeoff.gates.model import Gate
from bakeoff.gates.store import StoredReport
from bakeoff.lifecycle.approve import load_report
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store as replays
from bakeoff.replay.model import ReplayRow, rows_digest
from bakeoff.replay.repeats import averaged
from bakeoff.report import render, scores
from bakeoff.report.model import Evidence, Pair, Side, Training
from bakeoff.task import Task

CURVES = ("training_loss", "validation_loss")
WINDOW, LEAST = timedelta(weeks=8), timedelta(weeks=1)
MOST_DECISIONS = 50_000
"""Of the log, that the online plan is read from: the window is halved until it holds no more, down to a week."""


def write_report(deps: Deps, task: Task, digest: str, *, to: Path | None = None) -> Path:
    """The page of the gate report with this digest, in the reports' folder or at `to`; written anew each time, and the
    same report gives the same page. Raises UsageError where there is no such report, Refused where it or the rows
    that it judged are no longer there as they were, Unreachable where the dataset cannot be read."""
    place = deps.reports / f"{short(digest)}.html" if to is None else to
    page = render.html(_evidence(deps, task, digest))
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{uuid.uuid4().hex}.part")  # two may write the same at once
    part.write_text(page, encoding="utf-8")
    part.replace(place)
    return place


def _evidence(deps: Deps, task: Task, digest: str) -> Evidence:
    with deps.db.transaction() as conn:
        stored = load_report(conn, digest)
        candidate, ours = _side(conn, stored, "candidate")
        incumbent, theirs = _side(conn, stored, "incumbent")
        dataset = datasets.by_digest(conn, stored.report.subject["dataset"])
    if dataset is None:
        raise Refused(f"dataset {stored.report.subject['dataset']} of report {digest} is not recorded here")
    rules = deps.gate_in_force(task.name)
    gate = rules if rules is not None and rules.digest == stored.report.gate_digest else None
    training, why = _training(deps, candidate.version)
    return Evidence(
        task=task,
        stored=stored,
        gate=gate,
        candidate=candidate,
        incumbent=incumbent,
        pairs=_pairs(task, gate, stored, dataset, (ours, theirs)),
        dataset=dataset,
        training=training,
        why_no_training=why,
        past=_past(deps, task, until=stored.created_at),
        provenance=deps.provenance(),
    )


def _side(conn: policies.Conn, stored: StoredReport, name: str) -> tuple[Side, list[ReplayRow]]:
    subject = stored.report.subject
    version = policies.version_by_id(conn, subject[f"{name}_version"])
    replay = replays.by_digest(conn, version.policy_version_id, subject[f"{name}_replay"])
    if replay is None:
        raise Refused(
            f"the replay of {version.name} that report {stored.report.digest} judged is not here",
            cure=f"bakeoff replay {version.name}, then bakeoff gate",
        )
    rows = replays.rows(conn, replay.replay_id)
    return Side(version=version, replay=replay, is_intact=rows_digest(rows) == replay.digest), rows


def _pairs(
    task: Task, gate: Gate | None, stored: StoredReport, dataset: Dataset, sides: Sequence[Sequence[ReplayRow]]
) -> tuple[Pair, ...]:
    """Rows that both answered and the gate read, with what the dataset says of them; by example id."""
    subject = stored.report.subject
    compared = (subject["candidate_version"], subject["incumbent_version"])
    known = scores.metrics(task.metrics)
    read = {row.example.example_id: row for row in _read(dataset, subject)}
    first, other = ({row.example_id: row for row in averaged(rows)} for rows in sides)
    return tuple(
        scores.pair(
            known,
            gate,
            read[ident].example,
            dataset_build.is_neutral(read[ident], *compared),
            first[ident],
            other[ident],
        )
        for ident in sorted(first.keys() & other.keys() & read.keys())
    )


def _read(dataset: Dataset, subject: Mapping[str, str]) -> list[Row]:
    """The held-out rows in the slices that the report names, from its moment on; all, where it names none."""
    slices = {int(each) for each in subject["slices"].split(",")} if "slices" in subject else None
    since = datetime.fromisoformat(subject["since"]) if "since" in subject else None
    return [
        row
        for row in dataset_files.load(dataset.uri, splits=(Split.TEST,))
        if (slices is None or row.slice in slices) and (since is None or row.example.occurred_at >= since)
    ]


def _training(deps: Deps, version: PolicyVersion) -> tuple[Training | None, str]:
    """The run behind a version; or why there is none to show."""
    run_id = version.mlflow_run_id
    if run_id is None:
        return None, f"Nothing was trained for {version.name}: {version.what or version.spec.engine} answers as it is."
    try:
        record = deps.tracker.read_run(run_id)
        curves = {name: tuple(deps.tracker.curve(run_id, name)) for name in CURVES}
    except (Unreachable, UsageError) as error:
        first = str(error).splitlines()[0]
        return None, f"Run {run_id} could not be read when this page was written: {first}"
    return Training(run_id=run_id, params=record.params, tags=record.tags, curves=curves), ""


def _past(deps: Deps, task: Task, *, until: datetime) -> Past | None:
    """What the log said in the weeks before the report."""
    with deps.db.transaction() as conn:
        window = WINDOW
        while window > LEAST and _count(conn, task, until - window, until) > MOST_DECISIONS:
            window /= 2
        read = events.episodes(conn, task.name, since=until - window, until=until)
        return history.read(task, task.outcome_metrics, read, until=until)


def _count(conn: policies.Conn, task: Task, since: datetime, until: datetime) -> int:
    return events.count_decisions(conn, task.name, since=since, until=until)
