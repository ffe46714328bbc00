"""The loop, one short function per arrow: load -> pure verb -> store. The page to read first.

    events -> build_dataset -> train -> register -> replay -> gate -> approve -> start_experiment
           -> monitor -> ramp | roll_back | promote -> (events again)

The command line, the demo and later the HTTP API and the orchestrator call these functions and nothing below
them. Each may be run again: what is there already, known by content, is returned and not made anew."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from bakeoff.datasets import build as dataset_build
from bakeoff.datasets import files as dataset_files
from bakeoff.datasets import skew
from bakeoff.datasets import store as datasets
from bakeoff.datasets.fit import fitted
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.publish import publish
from bakeoff.errors import Refused, UsageError
from bakeoff.events import importing
from bakeoff.events import model as event_model
from bakeoff.events import sample as event_sample
from bakeoff.events import store as events
from bakeoff.events.sources import Source
from bakeoff.experiments import contexts
from bakeoff.experiments import run as test_run
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Advice, Analysis, Experiment, ExperimentSpec, Snapshot
from bakeoff.gates import pair
from bakeoff.gates import store as gates
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Gate, GateReport, Outcome
from bakeoff.inference.model import Engines, PolicyAnswer, PolicySpec, Price
from bakeoff.inference.run_policy import run_policy
from bakeoff.policies import approve as approvals
from bakeoff.policies import store as policies
from bakeoff.policies.model import Approval, PolicyVersion
from bakeoff.promotion import apply as promotion
from bakeoff.promotion.model import PromotionPlan
from bakeoff.promotion.plan import plan_promotion, plan_rollback
from bakeoff.registry import register as registry
from bakeoff.registry import try_out
from bakeoff.registry.model import ModelRegistry
from bakeoff.replay import logged
from bakeoff.replay import run as replay_run
from bakeoff.replay import store as replays
from bakeoff.replay.model import Certificate, ReplayReport, ReplayRow, rows_digest
from bakeoff.serving import decide as serving
from bakeoff.task import Example, Served, Task
from bakeoff.training import run as training_run
from bakeoff.training.model import TrainSpec
from bakeoff.training.run import Bases, Trained
from bakeoff.training.tracker import Tracker


class Progress(Protocol):
    """Tells a person what is going on; a silent one is fine."""

    def stage(self, name: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """A bar named `name`; the function that it gives moves it to (done, total)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Deps:
    """Everything outside, as ports. Wired in `bootstrap`, nowhere else."""

    db: serving.Transactions
    tracker: Tracker
    models: ModelRegistry
    engines: Engines
    bases: Bases  # base models by name
    datasets_root: str
    work: Path  # scratch folder for adapters and bundles
    clock: Callable[[], datetime]  # UTC
    progress: Progress
    threads: int  # for a local model
    provenance: Mapping[str, str]  # git commit and lock digest of the running code


# ---- what happened ----------------------------------------------------------------------------------------------


def decide(
    deps: Deps,
    task: Task,
    policy_id: str,
    *,
    key: str,
    unit_id: str,
    request: Mapping[str, Any],
    at: datetime,
    own: serving.Own | None = None,
) -> Served:
    """request -> variant -> policy -> validated decision -> event. See `serving.decide`."""
    return serving.decide(
        deps.db, deps.engines, task, policy_id, key=key, unit_id=unit_id, request=request, at=at, own=own
    )


def log_outcome(
    deps: Deps,
    task: Task,
    *,
    event_id: str,
    event_type: str,
    unit_id: str,
    context: Mapping[str, str],
    at: datetime,
    payload: Mapping[str, Any],
) -> bool:
    """What people did with a decision -> event. False where it is in the log already."""
    outcome = event_model.outcome(
        task.event_types,
        task=task.name,
        event_id=event_id,
        event_type=event_type,
        unit_id=unit_id,
        context=context,
        occurred_at=at,
        payload=payload,
    )
    with deps.db.transaction() as conn:
        return events.append_outcome(conn, outcome, received_at=deps.clock())


def import_events(
    deps: Deps, task: Task, source: Source, *, policy_version: str | None, **how: Any
) -> importing.Report:
    """History in a file or behind a query -> events of origin 'backfill': learnt from, left out of tests. Rows
    without a context belong to `policy_version`, an adopted application; `how` as in `importing.run`."""
    with deps.db.transaction() as conn:
        reader = contexts.reader(conn, task, policy_version, now=deps.clock())
    with deps.progress.stage(f"import {source.name}") as move:
        return importing.run(deps.db.transaction, reader, source, on_move=move, **how)


# ---- what is learnt from ----------------------------------------------------------------------------------------


def build_dataset(deps: Deps, task: Task, *, since: datetime, until: datetime) -> Dataset:
    """Episodes of the window -> rows with split -> an immutable folder, registered. Where the newest dataset has the
    same rows already, it is returned, with the window that it was built for."""
    with deps.db.transaction() as conn, deps.progress.stage("dataset") as move:
        datasets.lock(conn, task.name)
        decisions = events.count_decisions(conn, task.name, since=since, until=until)
        dataset = publish(
            deps.datasets_root,
            task,
            events.stored_episodes(conn, task.name, since=since, until=until),
            since=since,
            until=until,
            previous=datasets.latest(conn, task.name),
            proposers=policies.proposers(conn, task.name),
            on_rows=lambda rows: move(rows, decisions),
        )
    run_id = deps.tracker.register_dataset(dataset)
    with deps.db.transaction() as conn:
        datasets.insert(conn, dataset, mlflow_run_id=run_id, created_at=deps.clock())
    return dataset


def check_skew(deps: Deps, task: Task, *, since: datetime, until: datetime, sample: int = 200) -> skew.SkewReport:
    """Stored requests of today's request version against what the task builds again from the application's tables."""
    with deps.db.transaction() as conn:
        drawn = event_sample.some_requests(conn, task.name, task.request_version, since=since, until=until, rows=sample)
        rebuilt = task.requests(conn, [each.key for each in drawn])
    return skew.compare((each.name, each.request, again) for each, again in zip(drawn, rebuilt, strict=True))


# ---- how a model is made ------------------------------------------------------------------------------------------


def train(deps: Deps, task: Task, dataset: Dataset, spec: TrainSpec, *, price: Price) -> Trained:
    """Rows -> fine-tuned adapter, with everything the contract asks for in the tracker. `price` is what an answer
    of this model will be said to cost."""
    with deps.progress.stage("train") as move:
        return training_run.train(
            deps.tracker,
            deps.bases,
            deps.engines,
            task,
            dataset,
            spec,
            work=deps.work,
            threads=deps.threads,
            provenance=deps.provenance,
            price=price,
            on_step=move,
        )


def register(deps: Deps, task: Task, trained: Trained, policy_id: str) -> PolicyVersion:
    """A finished run that fulfils the contract -> registered model -> policy version that links them. A crash
    between the two is healed by running it again: both are known by content. The adapter is loaded and answers once
    before it is registered."""
    try_out.answer_once(deps.engines, task, trained.policy_spec, trained.probe)
    model = registry.register(
        deps.tracker,
        deps.models,
        name=f"{task.name}_model",
        run_id=trained.run_id,
        folder=trained.bundle,
        requested=trained.requested,
        tags={"task": task.name, "policy_id": policy_id, "dataset_version": trained.dataset_version},
    )
    with deps.db.transaction() as conn:
        return policies.create_version(
            conn,
            policy_id,
            trained.spec_at(model.uri),
            now=deps.clock(),
            mlflow_model_name=model.name,
            mlflow_model_version=model.version,
            mlflow_run_id=trained.run_id,
            dataset_digest=trained.dataset_digest,
        )


def create_policy(deps: Deps, policy_id: str, spec: PolicySpec) -> PolicyVersion:
    """A policy version without training: a base model with a prompt, or a python function."""
    with deps.db.transaction() as conn:
        return policies.create_version(conn, policy_id, spec, now=deps.clock())


# ---- what a policy would have done ----------------------------------------------------------------------------------


def replay(
    deps: Deps,
    task: Task,
    version: PolicyVersion,
    dataset: Dataset,
    *,
    sample: int | None = None,
    seed: int = 0,
    neutral_to: Sequence[PolicyVersion] = (),
    certificate_rows: int = 8,
) -> ReplayReport:
    """Held-out requests through one policy -> one row each in `offline_replay_results` -> aggregates.

    With `sample`, rows that are neutral to the versions in `neutral_to` are taken first. Rows already there are
    not answered again, so a killed replay goes on where it stopped."""
    ids = [other.policy_version_id for other in neutral_to]
    selection = {"split": "test", "sample": sample, "seed": seed, "neutral_to": sorted(ids)}
    ident = replays.replay_id(version.fingerprint, version.policy_version_id, dataset.digest, selection)
    with deps.db.transaction() as conn:
        known = replays.find_report(conn, ident)
    if known is not None:
        return known
    rows = dataset_files.load(dataset.uri, splits=(Split.TEST,))
    neutral = {row.example.example_id for row in rows if ids and dataset_build.is_neutral(row, *ids)}
    chosen = replay_run.select([row.example for row in rows], sample=sample, seed=seed, first=neutral)
    engine = deps.engines.open(version.spec) if version.spec.engine == "transformers" else None
    with deps.db.transaction() as conn:
        replays.open_replay(
            conn,
            policy_version_id=version.policy_version_id,
            fingerprint=version.fingerprint,
            dataset_digest=dataset.digest,
            selection=selection,
            engine=engine.describe() if engine else {},
            now=deps.clock(),
        )

    def answer(example: Example) -> PolicyAnswer:
        past = logged.recorded(deps.db.transaction, version.spec, version.policy_version_id, example.example_id)
        return run_policy(task, version.spec, example.request, engine=engine, recorded=past)

    answered = _answer_all(deps, fitted(task, dataset.uri), ident, version.name, chosen, answer)
    certificate = replay_run.certify(answered, chosen, answer, sample=certificate_rows)
    return _finish_replay(deps, version, ident, answered, certificate)


def _answer_all(
    deps: Deps,
    task: Task,
    ident: str,
    name: str,
    chosen: Sequence[Example],
    answer: Callable[[Example], PolicyAnswer],
) -> list[ReplayRow]:
    """Answers what is not answered yet; each row is durable before the next one begins."""
    with deps.db.transaction() as conn:
        done = {row.example_id for row in replays.rows(conn, ident)}
    with deps.progress.stage(f"replay {name}") as move:
        for n, example in enumerate(chosen):
            if example.example_id not in done:
                row = replay_run.replay_row(task, example, answer(example))
                with deps.db.transaction() as conn:
                    replays.insert_row(conn, ident, row)
            move(n + 1, len(chosen))
    with deps.db.transaction() as conn:
        return replays.rows(conn, ident)


def _finish_replay(
    deps: Deps, version: PolicyVersion, ident: str, answered: Sequence[ReplayRow], certificate: Certificate
) -> ReplayReport:
    aggregates = replay_run.aggregate(answered)
    with deps.db.transaction() as conn:
        replays.finish(
            conn,
            ident,
            certificate=certificate,
            aggregates=aggregates,
            digest=rows_digest(answered),
            now=deps.clock(),
        )
        report = replays.find_report(conn, ident)
    if version.mlflow_run_id:
        deps.tracker.log_metrics(version.mlflow_run_id, {f"replay_{k}": v for k, v in aggregates.items()}, 0)
    assert report is not None  # it was finished in this transaction
    return report


# ---- is it good enough, and who says so -----------------------------------------------------------------------------


def gate(
    deps: Deps,
    task: Task,
    candidate: ReplayReport,
    incumbent: ReplayReport,
    dataset: Dataset,
    rules: Gate,
) -> GateReport:
    """Two replays over the same rows -> a verdict per metric. On PASS the version becomes a candidate, in our
    table and as tag ``stage=candidate`` in the registry. Raises Refused where a replay is not deterministic or
    the two do not cover the same rows."""
    pair.check_comparable(candidate, incumbent)
    metadata = {row.example.example_id: row for row in dataset_files.load(dataset.uri, splits=(Split.TEST,))}
    compared = (candidate.policy_version_id, incumbent.policy_version_id)
    with deps.db.transaction() as conn:
        rows = pair.paired_rows(
            replays.rows(conn, candidate.replay_id),
            replays.rows(conn, incumbent.replay_id),
            neutral=lambda example_id: dataset_build.is_neutral(metadata[example_id], *compared),
        )
    report = judge(rules, task.metrics, rows, subject=pair.subject(candidate, incumbent))
    with deps.db.transaction() as conn:
        version = policies.version_by_id(conn, candidate.policy_version_id)
        gates.insert(conn, report, candidate, incumbent, now=deps.clock())
        if report.verdict is Outcome.PASS and version.status == "registered":
            policies.set_status(conn, version, "candidate")
    is_new = version.status in ("registered", "candidate")  # a version that serves already keeps its tag
    if report.verdict is Outcome.PASS and is_new and version.mlflow_model_name and version.mlflow_model_version:
        deps.models.set_tag(version.mlflow_model_name, version.mlflow_model_version, "stage", "candidate")
        deps.models.set_tag(version.mlflow_model_name, version.mlflow_model_version, "gate_report", report.digest)
    return report


def approve(deps: Deps, name: str, *, report_digest: str, signed_by: str, note: str) -> Approval:
    """A person signs the digest of one gate report. The same signature again is the one that is there."""
    with deps.db.transaction() as conn:
        version = policies.find_version(conn, name)
        report = gates.find(conn, report_digest)
        standing = policies.live_approval(conn, version.policy_version_id)
        valid = standing is not None and (standing.expires_at is None or standing.expires_at > deps.clock())
        if standing is not None and valid and standing.report_digest == report_digest:
            return standing
        approval = approvals.approve(
            version,
            report_digest=report_digest,
            report_verdict=report.report.verdict.value,
            report_fingerprint=report.fingerprint,
            signed_by=signed_by,
            note=note,
            now=deps.clock(),
        )
        policies.void_approval(conn, version.policy_version_id, now=deps.clock(), reason="a newer report was signed")
        policies.insert_approval(conn, approval)
        policies.set_status(conn, version, "approved")
    return approval


def adopt(
    deps: Deps,
    version: PolicyVersion,
    *,
    signed_by: str,
    reason: str,
    explorer: PolicyVersion | None = None,
    explorer_bp: int = 0,
    last_resort: PolicyVersion | None = None,
    since: datetime | None = None,
) -> Experiment:
    """What a policy starts from: an approval of kind 'adopted' and the default experiment that serves it to
    everyone, with a share of explorer decisions (`explorer_bp`, basis points). `since`: for the application itself
    (`external_spec`), which answered before bakeoff came."""
    with deps.db.transaction() as conn:
        for each in (version, explorer):
            if each is not None and policies.live_approval(conn, each.policy_version_id) is None:
                past = since if each is version else None
                given = approvals.adopt(each, signed_by=signed_by, reason=reason, now=deps.clock(), covers_from=past)
                policies.insert_approval(conn, given)
                policies.set_status(conn, each, "approved")
                policies.set_status(conn, each, "production")
        if last_resort is not None:
            policies.set_last_resort(conn, version.policy_id, last_resort)
        return experiments.open_default(
            conn,
            policy_id=version.policy_id,
            incumbent=version.policy_version_id,
            explorer=explorer.policy_version_id if explorer else None,
            explorer_bp=explorer_bp,
            now=deps.clock(),
            began_at=since,
        )


def name_last_resort(deps: Deps, version: PolicyVersion) -> None:
    """The python version that answers for its policy when all else fails."""
    with deps.db.transaction() as conn:
        policies.set_last_resort(conn, version.policy_id, version)


# ---- what it does to real people ------------------------------------------------------------------------------------


def start_experiment(deps: Deps, version: PolicyVersion, spec: ExperimentSpec, *, name: str) -> Experiment:
    """An approved version meets at most 10 % of the units, beside an equal concurrent control."""
    with deps.db.transaction() as conn:
        return test_run.open_test(
            conn, version.policy_id, version.policy_version_id, spec, name=name, label=version.name, now=deps.clock()
        )


def stop_experiment(deps: Deps, experiment: Experiment, *, reason: str) -> Experiment:
    """A person ends a test before the evidence does; its units are served by the default experiment again."""
    if not reason.strip():
        raise UsageError("stopping a test needs a reason", cure='add --reason "what you saw"')
    with deps.db.transaction() as conn:
        experiments.end(conn, experiment.experiment_id, status="stopped", reason=reason, now=deps.clock())
        return experiments.find_experiment(conn, experiment.experiment_id)


def look(deps: Deps, task: Task, experiment: Experiment, *, now: datetime) -> tuple[Analysis, Advice]:
    """What `monitor` would store, without storing it."""
    with deps.db.transaction() as conn:
        return test_run.look(conn, task, experiment, now)[1:]


def monitor(deps: Deps, task: Task, experiment: Experiment, *, now: datetime) -> Snapshot:
    """Events of both arms up to `now` -> estimates per variant -> advice, stored as evidence. The same moment
    again is the evidence that is there."""
    with deps.db.transaction() as conn:
        stored = experiments.snapshot_at(conn, experiment.experiment_id, now)
        if stored is not None:
            return stored
        phase, analysis, advice = test_run.look(conn, task, experiment, now)
        return experiments.insert_snapshot(conn, experiment.experiment_id, phase.number, analysis, advice, now=now)


def act_on(deps: Deps, experiment: Experiment, snapshot: Snapshot, *, now: datetime) -> Experiment:
    """Carries out what the evidence says: the next phase, or the end of the test. Evidence about an earlier
    phase, or about a test that has ended, changes nothing. Shipping is not done here: it needs a person
    (`promote`)."""
    with deps.db.transaction() as conn:
        return test_run.act_on(conn, experiment.experiment_id, snapshot, now)


# ---- who gets it ----------------------------------------------------------------------------------------------------


def plan(deps: Deps, experiment: Experiment) -> PromotionPlan:
    """What a promotion of the test's treated version would do. Raises Refused without evidence."""
    with deps.db.transaction() as conn:
        roles = {variant.role: variant for variant in experiments.variants(conn, experiment.experiment_id)}
        latest = experiments.snapshots(conn, experiment.experiment_id)
        if not latest:
            raise Refused("nothing was monitored yet", cure="bakeoff experiment watch takes a snapshot")
        return plan_promotion(
            policies.version_by_id(conn, roles["treated"].policy_version_id),
            policies.version_by_id(conn, experiments.incumbent(conn, experiment.policy_id)),
            experiment_id=experiment.experiment_id,
            snapshot_id=latest[-1].snapshot_id,
            verdict=latest[-1].advice.verdict,
        )


def plan_back(deps: Deps, name: str) -> PromotionPlan:
    """What a rollback to an earlier production version would do."""
    with deps.db.transaction() as conn:
        version = policies.find_version(conn, name)
        incumbent = policies.version_by_id(conn, experiments.incumbent(conn, version.policy_id))
        return plan_rollback(version, incumbent)


def promote(deps: Deps, plan: PromotionPlan, *, signed_by: str, reason: str) -> None:
    """Carries out a plan: the database in one transaction, then the registry's alias, which follows it."""
    with deps.db.transaction() as conn:
        if experiments.incumbent(conn, plan.policy_id) != plan.policy_version_id:
            promotion.apply_database(conn, plan, signed_by=signed_by, reason=reason, now=deps.clock())
    promotion.apply_registry(deps.models, plan)
