"""Experiments, variants, phases, exposures and snapshots in PostgreSQL. The caller owns the transaction."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Jsonb

from bakeoff.errors import NotFound, UsageError
from bakeoff.experiments.load import parse_spec
from bakeoff.experiments.model import (
    Advice,
    Analysis,
    Experiment,
    ExperimentSpec,
    Exposure,
    Forced,
    InForce,
    Phase,
    Snapshot,
    Variant,
    Waiver,
)
from bakeoff.fingerprint import canonical_json, digest

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]
_NAMESPACE = uuid.UUID("3f5b1b0a-52c7-5c0a-b6d1-9f2a4f0f7c55")


def experiment_id(policy_id: str, kind: str, name: str) -> str:
    """Default: one per policy. Test: one per name, so that starting it twice is starting it once (uuid v5)."""
    return _uuid("experiment", policy_id, kind, name)


def _uuid(*parts: object) -> str:
    return str(uuid.uuid5(_NAMESPACE, canonical_json([str(part) for part in parts])))


def insert_experiment(
    conn: Conn, *, policy_id: str, kind: str, name: str, spec: ExperimentSpec | None, now: datetime
) -> Experiment:
    """The experiment with this name: a new one, or the one that is there. Raises UsageError where that one has
    another spec."""
    ident = experiment_id(policy_id, kind, name)
    body = {} if spec is None else asdict(spec)
    queries.insert_experiment(
        conn,
        experiment_id=ident,
        policy_id=policy_id,
        kind=kind,
        name=name,
        spec=Jsonb(body),
        spec_digest=digest(body),
        created_at=now,
    )
    experiment = find_experiment(conn, ident)
    if experiment.spec_digest != digest(body):
        raise UsageError(
            f"experiment {name!r} of {policy_id} exists with another spec",
            cure="give the new one another name: --name ...",
        )
    return experiment


def insert_variant(conn: Conn, *, experiment_id: str, name: str, role: str, policy_version_id: str) -> Variant:
    """The variant with this name, a new one or the one that is there."""
    queries.insert_variant(
        conn,
        variant_id=_uuid("variant", experiment_id, name),
        experiment_id=experiment_id,
        name=name,
        role=role,
        policy_version_id=policy_version_id,
        config=Jsonb({"policy_version_id": policy_version_id}),
    )
    return next(variant for variant in variants(conn, experiment_id) if variant.name == name)


def insert_phase(
    conn: Conn,
    *,
    experiment_id: str,
    treated: Variant | None,
    control: Variant,
    treated_bp: int,
    snapshot_id: str | None,
    now: datetime,
) -> Phase:
    """The next phase. The database refuses one without approval, above 10 % at first, or without fresh evidence."""
    number = len(phases(conn, experiment_id)) + 1
    queries.insert_phase(
        conn,
        phase_id=_uuid("phase", experiment_id, number),
        experiment_id=experiment_id,
        number=number,
        treated_variant_id=treated.variant_id if treated else None,
        control_variant_id=control.variant_id,
        treated_bp=treated_bp,
        snapshot_id=snapshot_id,
        began_at=now,
    )
    return phases(conn, experiment_id)[-1]


def set_running(conn: Conn, experiment_id: str, *, now: datetime) -> None:
    queries.set_running(conn, experiment_id=experiment_id, now=now)


def end(conn: Conn, experiment_id: str, *, status: str, reason: str, now: datetime) -> None:
    """Ends a running test or holdback: its units are served by the default experiment from the next decision on."""
    queries.end_experiment(conn, experiment_id=experiment_id, status=status, reason=reason, now=now)


def find_experiment(conn: Conn, ident: str) -> Experiment:
    """Raises UsageError."""
    row = queries.experiment(conn, experiment_id=ident)
    if row is None:
        raise UsageError(f"no experiment {ident}", cure="bakeoff status shows the running ones")
    return _experiment(row)


def default_experiment(conn: Conn, policy_id: str) -> Experiment:
    """Raises UsageError where the policy serves nobody yet."""
    row = queries.default_experiment(conn, policy_id=policy_id)
    if row is None:
        raise NotFound(
            f"policy {policy_id!r} has no default experiment, so it cannot serve",
            cure=f"adopt what you start from: bakeoff policy adopt {policy_id}/1 --by NAME --reason ...",
        )
    return _experiment(row)


def is_served(conn: Conn, policy_id: str) -> bool:
    """Whether the policy's default experiment serves anybody yet."""
    row = queries.default_experiment(conn, policy_id=policy_id)
    return row is not None and bool(phases(conn, str(row["experiment_id"])))


def open_default(
    conn: Conn,
    *,
    policy_id: str,
    incumbent: str,
    explorer: str | None,
    explorer_bp: int,
    now: datetime,
    began_at: datetime | None = None,
) -> Experiment:
    """The policy's default experiment, with its first phase; the one that is there where there is one.

    `incumbent` and `explorer` are policy version ids; `explorer_bp` is the explorer's share of decisions. `began_at`
    is for what served before bakeoff came (default: `now`); the database refuses it for anything else."""
    experiment = insert_experiment(conn, policy_id=policy_id, kind="default", name="default", spec=None, now=now)
    ident = experiment.experiment_id
    control = insert_variant(conn, experiment_id=ident, name="incumbent", role="incumbent", policy_version_id=incumbent)
    treated = None
    if explorer is not None:
        treated = insert_variant(
            conn, experiment_id=ident, name="explorer", role="explorer", policy_version_id=explorer
        )
    if not phases(conn, ident):
        insert_phase(
            conn,
            experiment_id=ident,
            treated=treated,
            control=control,
            treated_bp=explorer_bp,
            snapshot_id=None,
            now=began_at or now,
        )
        set_running(conn, ident, now=began_at or now)
    return find_experiment(conn, ident)


def incumbent(conn: Conn, policy_id: str) -> str:
    """Policy version id of what the default experiment serves now."""
    default = default_experiment(conn, policy_id)
    phase = phases(conn, default.experiment_id)[-1]
    known = {variant.variant_id: variant for variant in variants(conn, default.experiment_id)}
    return known[phase.control_variant_id].policy_version_id


def running_test(conn: Conn, policy_id: str) -> Experiment | None:
    row = queries.running_test(conn, policy_id=policy_id)
    return None if row is None else _experiment(row)


def tests(conn: Conn, policy_id: str) -> list[Experiment]:
    """All tests of a policy, oldest first."""
    return [_experiment(row) for row in queries.tests(conn, policy_id=policy_id)]


def running_holdback(conn: Conn, policy_id: str) -> Experiment | None:
    row = queries.running_holdback(conn, policy_id=policy_id)
    return None if row is None else _experiment(row)


def holdbacks(conn: Conn, policy_id: str) -> list[Experiment]:
    """All holdbacks of a policy, oldest first."""
    return [_experiment(row) for row in queries.holdbacks(conn, policy_id=policy_id)]


def running(conn: Conn, policy_id: str) -> tuple[Experiment, ...]:
    """The test and the holdback that are on, beside the default."""
    return tuple(
        found for found in (running_test(conn, policy_id), running_holdback(conn, policy_id)) if found is not None
    )


def variants(conn: Conn, experiment_id: str) -> list[Variant]:
    return [_build(Variant, row) for row in queries.variants(conn, experiment_id=experiment_id)]


def treated(conn: Conn, experiment: Experiment) -> str:
    """Policy version id of what a test tries."""
    return next(v.policy_version_id for v in variants(conn, experiment.experiment_id) if v.role == "treated")


def phases(conn: Conn, experiment_id: str) -> list[Phase]:
    return [_build(Phase, row) for row in queries.phases(conn, experiment_id=experiment_id)]


def in_force(conn: Conn, policy_id: str, unit_id: str) -> dict[str, InForce]:
    """What serves `policy_id` now, by kind of experiment: 'default', and 'test' and 'holdback' while they run."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in queries.in_force(conn, policy_id=policy_id, unit_id=unit_id):
        rows.setdefault(row["kind"], []).append(row)
    return {kind: _in_force(found) for kind, found in rows.items()}


def _in_force(rows: list[Mapping[str, Any]]) -> InForce:
    return InForce(
        phase=_build(Phase, rows[0]),
        variants={variant.variant_id: variant for variant in (_build(Variant, row) for row in rows)},
        met_variant_id=_text(rows[0]["met_variant_id"]),
        met_probability=rows[0]["met_probability"],
        forced_variant_id=_text(rows[0]["forced_variant_id"]),
    )


def insert_exposure(conn: Conn, exposure: Exposure) -> None:
    """A unit's first meeting with a variant; later ones are nothing."""
    queries.insert_exposure(conn, **{name: getattr(exposure, name) for name in Exposure.__slots__})


def exposure(conn: Conn, experiment_id: str, unit_id: str) -> Exposure | None:
    row = queries.exposure(conn, experiment_id=experiment_id, unit_id=unit_id)
    return None if row is None else _build(Exposure, row)


def exposures(conn: Conn, experiment_id: str) -> list[Exposure]:
    return [_build(Exposure, row) for row in queries.exposures(conn, experiment_id=experiment_id)]


def exposures_of_unit(conn: Conn, unit_id: str) -> list[Exposure]:
    """Every test and holdback that a unit met, oldest first."""
    return [_build(Exposure, row) for row in queries.exposures_of_unit(conn, unit_id=unit_id)]


def count_exposures(conn: Conn, experiment_id: str) -> int:
    """Units that met a test, test units too."""
    return int(queries.count_exposures(conn, experiment_id=experiment_id))


def insert_forced(conn: Conn, variant: Variant, unit_id: str, *, forced_by: str, now: datetime) -> Forced:
    """A test unit, put into an arm by hand; one that is forced already stays where it is. The database refuses a unit
    that has met the test."""
    queries.insert_forced(
        conn,
        experiment_id=variant.experiment_id,
        unit_id=unit_id,
        variant_id=variant.variant_id,
        policy_version_id=variant.policy_version_id,
        forced_by=forced_by,
        forced_at=now,
    )
    return next(each for each in forced(conn, variant.experiment_id) if each.unit_id == unit_id)


def forced(conn: Conn, experiment_id: str) -> list[Forced]:
    return [_build(Forced, row) for row in queries.forced(conn, experiment_id=experiment_id)]


def insert_waiver(conn: Conn, waiver: Waiver) -> None:
    """The same rule of the same phase again is nothing. The database refuses one for another than the current phase."""
    ident = _uuid("waiver", waiver.experiment_id, waiver.phase_number, waiver.rule)
    queries.insert_waiver(conn, waiver_id=ident, **{name: getattr(waiver, name) for name in Waiver.__slots__})


def waivers(conn: Conn, experiment_id: str) -> list[Waiver]:
    """Oldest first."""
    return [_build(Waiver, row) for row in queries.waivers(conn, experiment_id=experiment_id)]


def insert_snapshot(
    conn: Conn, experiment_id: str, phase_number: int, analysis: Analysis, advice: Advice, *, now: datetime
) -> Snapshot:
    """Evidence at one moment. The same moment again is the evidence that is there."""
    queries.insert_snapshot(
        conn,
        snapshot_id=_uuid("snapshot", experiment_id, now.isoformat()),
        experiment_id=experiment_id,
        phase_number=phase_number,
        verdict=advice.verdict,
        reason=advice.reason,
        analysis=Jsonb({"analysis": analysis.to_json(), "advice": advice.to_json()}),
        taken_at=now,
    )
    return _snapshot(queries.snapshot_at(conn, experiment_id=experiment_id, taken_at=now))


def snapshot_at(conn: Conn, experiment_id: str, moment: datetime) -> Snapshot | None:
    row = queries.snapshot_at(conn, experiment_id=experiment_id, taken_at=moment)
    return None if row is None else _snapshot(row)


def last_snapshot(conn: Conn, experiment_id: str) -> Snapshot | None:
    """None where nobody looked yet."""
    row = queries.last_snapshot(conn, experiment_id=experiment_id)
    return None if row is None else _snapshot(row)


def snapshots(conn: Conn, experiment_id: str) -> list[Snapshot]:
    """Oldest first."""
    return [_snapshot(row) for row in queries.snapshots(conn, experiment_id=experiment_id)]


def _snapshot(row: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        snapshot_id=str(row["snapshot_id"]),
        experiment_id=str(row["experiment_id"]),
        phase_number=row["phase_number"],
        analysis=Analysis.from_json(row["analysis"]["analysis"]),
        advice=Advice.from_json(row["analysis"]["advice"]),
        taken_at=row["taken_at"],
    )


def _experiment(row: Mapping[str, Any]) -> Experiment:
    built: Experiment = _build(Experiment, {**row, "spec": _spec(row)})
    return built


def _spec(row: Mapping[str, Any]) -> ExperimentSpec | None:
    """None where it cannot be read (another version of bakeoff wrote it): such a test can still be stopped."""
    try:
        return None if row["kind"] == "default" else parse_spec(row["spec"])
    except UsageError:
        return None


def _build(kind: Any, row: Mapping[str, Any]) -> Any:
    return kind(**{name: _text(row[name]) for name in kind.__slots__})


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value
