"""The demo, told in ten stages. Every stage calls `lifecycle`, as the command line does; each may be run again."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bakeoff import lifecycle
from bakeoff.datasets.model import Dataset
from bakeoff.demo.size import Size
from bakeoff.errors import Refused
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.experiments.load import read_spec
from bakeoff.experiments.model import Experiment, Snapshot
from bakeoff.fingerprint import short
from bakeoff.gates.model import GateReport, Outcome
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec, Price
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay.model import ReplayReport
from bakeoff.task import Served, Task
from bakeoff.training.model import TrainSpec
from bakeoff.world import World

PRICE = Price(per_million_prompt_tokens=0.05, per_million_completion_tokens=0.2)
"""Declared, as for a small hosted model; so that cost can be compared at all."""
BASE = "smollm2"
Say = Callable[[str], None]
Ask = Callable[[GateReport], str | None]
"""Shows a report to a person; returns the name of who signs, None for no."""


class StoryClock:
    """The time of the simulated world."""

    def __init__(self) -> None:
        self.now = datetime(2000, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass(kw_only=True)
class Story:
    """What has happened so far; what the summary and the JSON are made of."""

    stages: list[dict[str, Any]] = field(default_factory=list)
    dataset: Dataset | None = None
    replays: dict[str, ReplayReport] = field(default_factory=dict)
    report: GateReport | None = None
    version: PolicyVersion | None = None
    incumbent: PolicyVersion | None = None
    experiment: Experiment | None = None
    snapshots: list[Snapshot] = field(default_factory=list)
    arms: dict[str, dict[str, float]] = field(default_factory=dict)
    ending: str = ""
    reason: str = ""
    sample_decision: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """The actors and props of a demo."""

    deps: Deps
    clock: StoryClock
    task: Task
    world: World
    size: Size
    dtype: str
    say: Say
    ask: Ask

    @property
    def policy_id(self) -> str:
        return f"{self.task.name}_policy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """The policies that a demo begins with."""

    incumbent: PolicyVersion  # base model with a prompt, untuned
    heuristic: PolicyVersion  # last resort and comparator
    explorer: PolicyVersion  # random feasible answers
    random: PolicyVersion  # the same function with another seed: its answers are not those in the log


def tell(stage: Stage) -> Story:
    """Runs the loop until it ends: shipped, kept, rolled back, held, or stopped by the gate or a person."""
    story = Story()
    cast = _open(stage, story)
    _live_pilot(stage, story)
    dataset = _dataset(stage, story)
    version = _train(stage, story, dataset)
    report = _judge(stage, story, cast, version, dataset)
    if report.verdict is not Outcome.PASS:
        return _end(story, "held_at_gate", f"the gate says {report.verdict}: {report.because()}")
    if not _approve(stage, story, version, report):
        return _end(story, "not_approved", "nobody signed the gate report, so the version gets no traffic")
    return _try(stage, story, version)


@contextmanager
def _stage(stage: Stage, story: Story, name: str, text: str) -> Iterator[dict[str, Any]]:
    """Announces a stage, times it, and keeps what it adds to `digests`."""
    stage.say(f"[{len(story.stages) + 1:>2}] {text}")
    began = time.monotonic()
    digests: dict[str, Any] = {}
    yield digests
    story.stages.append({"name": name, "seconds": round(time.monotonic() - began, 1), "digests": digests})


def _open(stage: Stage, story: Story) -> Cast:
    with _stage(stage, story, "policies", "the incumbent: the base model with a prompt, untuned") as digests:
        stage.clock.now = _week(stage.world, 0)
        base = stage.deps.bases.resolve(BASE)
        digests["base"] = base.digest
        model = PolicySpec(
            task=stage.task.name,
            engine="transformers",
            prompt_version=stage.task.prompt_version,
            model=ModelRef(base=BASE, base_digest=base.digest),
            dtype="bfloat16" if stage.dtype == "bfloat16" else "float32",
            decoding=Decoding(mode="choices"),
            price=PRICE,
        )
        cast = Cast(
            incumbent=lifecycle.create_policy(stage.deps, stage.policy_id, model),
            heuristic=_python(stage, stage.world.heuristic),
            explorer=_python(stage, stage.world.explorer),
            random=_python(stage, stage.world.explorer, seed=2),
        )
        lifecycle.adopt(
            stage.deps,
            cast.incumbent,
            signed_by="bakeoff demo",
            reason="what most products start from: a base model with a prompt",
            explorer=cast.explorer,
            explorer_bp=stage.size.explorer_bp,
            last_resort=cast.heuristic,
        )
        story.incumbent = cast.incumbent
        digests["incumbent"] = cast.incumbent.fingerprint
    share = stage.size.explorer_bp / 100
    stage.say(f"     {cast.incumbent.name} serves everyone; {share:g} % of decisions are random (the explorer)")
    return cast


def _python(stage: Stage, function: str, seed: int = 1) -> PolicyVersion:
    spec = PolicySpec(
        task=stage.task.name,
        engine="python",
        prompt_version=stage.task.prompt_version,
        function=function,
        function_version="1",
        seed=seed,
    )
    return lifecycle.create_policy(stage.deps, stage.policy_id, spec)


def _live_pilot(stage: Stage, story: Story) -> None:
    size = stage.size
    with _stage(
        stage, story, "log", f"{size.pilot_weeks} weeks of {size.pilot_units} simulated households meet the incumbent"
    ) as digests:
        pilot = frozenset(stage.world.units(0)) | frozenset(stage.world.units(1))
        pilot = frozenset(sorted(pilot)[: size.pilot_units])
        for week in range(size.pilot_weeks):
            with stage.deps.progress.stage(f"week {week + 1} of {size.pilot_weeks}") as move:
                story.sample_decision = _live(stage, week, pilot, move)
        with stage.deps.db.transaction() as conn:
            found = events.summarize(conn, stage.task.name)
        digests |= {"events": found.events, "decisions": found.decisions}
    stage.say(f"     {found.decisions} decisions and {found.events - found.decisions} outcomes in the log")


def _live(stage: Stage, week: int, only: frozenset[str], move: Callable[[int, int], None]) -> str | None:
    """One week of `only`: each request goes through the real decide, each outcome into the real log. Returns the
    id of the last decision."""
    asking = [unit for unit in stage.world.units(week) if unit in only]
    done = 0
    owner: dict[str, str] = {}

    def decide(*, key: str, unit_id: str, request: Mapping[str, Any], at: datetime) -> Served:
        nonlocal done
        stage.clock.now = at
        served = lifecycle.decide(
            stage.deps, stage.task, stage.policy_id, key=key, unit_id=unit_id, request=request, at=at
        )
        owner[served.decision_id] = unit_id
        done += 1
        move(done, len(asking))
        return served

    def emit(
        *, event_id: str, event_type: str, context: Mapping[str, str], at: datetime, payload: Mapping[str, Any]
    ) -> None:
        stage.clock.now = at
        lifecycle.log_outcome(
            stage.deps,
            stage.task,
            event_id=event_id,
            event_type=event_type,
            unit_id=owner[context["decision_id"]],
            context=context,
            at=at,
            payload=payload,
        )

    stage.world.step(week, decide, emit, only=only)
    return next(reversed(owner), None)


def _dataset(stage: Stage, story: Story) -> Dataset:
    with _stage(stage, story, "dataset", "the log becomes a dataset, split by household") as digests:
        since, until = _week(stage.world, 0), _week(stage.world, stage.size.pilot_weeks)
        stage.clock.now = until
        dataset = lifecycle.build_dataset(stage.deps, stage.task, since=since, until=until)
        story.dataset = dataset
        digests["dataset"] = dataset.digest
    splits = ", ".join(f"{count} {name}" for name, count in dataset.splits.items())
    stage.say(f"     {dataset.rows} rows ({splits}) in {dataset.uri}")
    return dataset


def _train(stage: Stage, story: Story, dataset: Dataset) -> PolicyVersion:
    with _stage(stage, story, "train", f"fine-tuning {BASE} with LoRA on what people kept") as digests:
        base = stage.deps.bases.resolve(BASE)
        spec = TrainSpec(
            task=stage.task.name,
            dataset_digest=dataset.digest,
            base=BASE,
            base_digest=base.digest,
            prompt_version=stage.task.prompt_version,
            dtype="bfloat16" if stage.dtype == "bfloat16" else "float32",
            max_rows=stage.size.train_rows,
        )
        trained = lifecycle.train(stage.deps, stage.task, dataset, spec, price=PRICE)
        digests |= {"train_spec": spec.fingerprint, "adapter": _adapter(trained.policy_spec), "run": trained.run_id}
    with _stage(stage, story, "register", "the run fulfils the logging contract and is registered") as digests:
        version = lifecycle.register(stage.deps, stage.task, trained, stage.policy_id)
        story.version = version
        digests["policy"] = version.fingerprint
    stage.say(f"     models:/{version.mlflow_model_name}/{version.mlflow_model_version} is {version.name}")
    return version


def _adapter(spec: PolicySpec) -> str:
    return str(spec.model.adapter_digest) if spec.model else ""


def _judge(stage: Stage, story: Story, cast: Cast, version: PolicyVersion, dataset: Dataset) -> GateReport:
    rules = stage.deps.gate_in_force(stage.task.name)
    if rules is None:
        raise Refused(f"task {stage.task.name} brings no gate file")
    sides = {"tuned": version, "incumbent": cast.incumbent, "heuristic": cast.heuristic, "random": cast.random}
    with _stage(stage, story, "replay", "held-out households through every policy") as digests:
        reading = lifecycle.open_slices(stage.deps, stage.task, dataset, rules, (version, cast.incumbent))
        for name, policy in sides.items():
            story.replays[name] = lifecycle.replay(
                stage.deps,
                stage.task,
                policy,
                dataset,
                slices=reading.slices,
                sample=stage.size.replay_rows,
                neutral_to=(cast.incumbent, version),
            )
            digests[name] = story.replays[name].digest
    with _stage(stage, story, "gate", "the gate compares it with the incumbent") as digests:
        report = lifecycle.gate(
            stage.deps,
            stage.task,
            story.replays["tuned"],
            story.replays["incumbent"],
            dataset,
            rules,
        )
        story.report = report
        digests |= {"report": report.digest, "gate": report.gate_digest}
    for verdict in report.all_verdicts():
        stage.say(f"     {verdict.outcome:<13} {verdict.metric}: {verdict.reason}")
    if report.tier is not None:
        stage.say(f"     {report.tier.verdict:<13} stricter tests: {report.tier.summary()}")
    stage.say(f"     verdict: {report.verdict}, on {reading}")
    stage.say(f"     page to read: {lifecycle.write_report(stage.deps, stage.task, report.digest)}")
    return report


def _approve(stage: Stage, story: Story, version: PolicyVersion, report: GateReport) -> bool:
    with _stage(stage, story, "approve", "a person signs the digest of the report") as digests:
        signer = stage.ask(report)
        if signer is None:
            return False
        lifecycle.approve(
            stage.deps,
            version.name,
            report_digest=report.digest,
            signed_by=signer,
            note="signed in the demo, on the verdicts shown above",
        )
        digests |= {"report": report.digest, "signed_by": signer}
    stage.say(f"     signed by {signer} on report {short(report.digest)}")
    return True


def _try(stage: Stage, story: Story, version: PolicyVersion) -> Story:
    spec = read_spec(stage.world.experiment_file)
    with _stage(stage, story, "experiment", f"{version.name} meets {spec.stages[0] / 100:g} % of the town"):
        experiment = lifecycle.start_experiment(stage.deps, version, spec, name=f"demo-{version.version}")
        for week in range(stage.size.pilot_weeks, stage.size.weeks):
            began, over = _week(stage.world, week), _week(stage.world, week + 1)
            inside = _inside(stage, experiment, began)
            with stage.deps.progress.stage(f"week {week + 1}") as move:
                story.sample_decision = _live(stage, week, inside, move)
            stage.clock.now = over
            snapshot = lifecycle.monitor(stage.deps, stage.task, experiment, now=over)
            story.snapshots.append(snapshot)
            stage.say(
                f"     week {week + 1}, {len(inside)} households: {snapshot.advice.verdict}, {snapshot.advice.reason}"
            )
            experiment = lifecycle.act_on(stage.deps, experiment, snapshot, now=over)
            if experiment.status != "running":
                break
        story.experiment = experiment
    return _finish(stage, story, version, experiment)


def _inside(stage: Stage, experiment: Experiment, moment: datetime) -> frozenset[str]:
    """Who meets one of the two arms in the phase of `moment`. The rest of the town goes on with the incumbent
    and is not simulated: it would add decisions to compute and nothing to the comparison."""
    with stage.deps.db.transaction() as conn:
        phases = [p for p in experiments.phases(conn, experiment.experiment_id) if p.began_at <= moment]
    week = (moment.date() - stage.world.week_start(0)).days // 7
    bp = phases[-1].treated_bp
    return frozenset(unit for unit in stage.world.units(week) if assign(experiment.experiment_id, unit, bp))


def _finish(stage: Stage, story: Story, version: PolicyVersion, experiment: Experiment) -> Story:
    latest = story.snapshots[-1]
    if experiment.status == "shipped":
        with _stage(stage, story, "promote", f"{version.name} is served to everyone"):
            plan = lifecycle.plan(stage.deps, experiment)
            lifecycle.promote(stage.deps, plan, signed_by="bakeoff demo", reason=latest.advice.reason)
        return _end(story, "shipped", latest.advice.reason)
    if experiment.status == "running":
        with stage.deps.db.transaction() as conn:
            share = experiments.phases(conn, experiment.experiment_id)[-1].treated_bp / 100
        missing = latest.advice.missing_units
        more = f"about {missing} households missing" if missing else "more weeks are needed"
        return _end(story, "held", f"held at {share:g} %, {more}: {latest.advice.reason}")
    return _end(story, experiment.status, experiment.reason or latest.advice.reason)


def _end(story: Story, ending: str, reason: str) -> Story:
    story.ending, story.reason = ending, reason
    return story


def _week(world: World, week: int) -> datetime:
    """When `week` begins; the week after the last one begins when the world ends."""
    last = world.weeks - 1
    day: date = world.week_start(min(week, last)) + timedelta(days=7 if week > last else 0)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
