"""What is learnt from, and how a model is made of it."""

from datetime import datetime

from bakeoff.datasets import skew
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset
from bakeoff.datasets.publish import publish
from bakeoff.events import sample as event_sample
from bakeoff.events import store as events
from bakeoff.inference.model import PolicySpec, Price
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.registry import register as registry
from bakeoff.registry import try_out
from bakeoff.task import Task
from bakeoff.training import run as training_run
from bakeoff.training.model import TrainSpec
from bakeoff.training.run import Trained


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


def train(deps: Deps, task: Task, dataset: Dataset, spec: TrainSpec, *, price: Price, processes: int = 1) -> Trained:
    """Rows -> fine-tuned adapter, with everything the contract asks for in the tracker. `price` is what an answer
    of this model will be said to cost; `processes` of this machine train side by side."""
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
            processes=processes,
            provenance=deps.provenance(),
            price=price,
            on_step=move,
        )


def register(deps: Deps, task: Task, trained: Trained, policy_id: str) -> PolicyVersion:
    """A finished run that fulfils the contract -> registered model -> policy version that links them. A crash
    between the two is healed by running it again: both are known by content. The adapter is loaded and answers once
    before it is registered; what is registered has answered."""
    with deps.db.transaction() as conn:
        answered = policies.has_version(conn, policy_id, trained.policy_spec)
    if not answered:
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
