"""Which variants imported rows may name, and when each had traffic."""

from datetime import datetime

from bakeoff.errors import UsageError
from bakeoff.events.incoming import Reader, Served
from bakeoff.experiments import store
from bakeoff.experiments.model import Experiment, Phase, Variant
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import Task

Stretch = tuple[datetime, datetime | None]


def reader(conn: store.Conn, task: Task, policy_version: str | None, *, now: datetime) -> Reader:
    """Reads rows of `task`. Those without a context belong to `policy_version` ('planner_policy/1'); None: each row
    has to bring its own. Raises UsageError."""
    version = policies.find_version(conn, policy_version) if policy_version else None
    return Reader(
        task=task,
        variants=served_variants(conn, task.name),
        default=external(conn, version, task.name) if version else None,
        now=now,
    )


def served_variants(conn: store.Conn, task_name: str) -> dict[str, Served]:
    """Every variant of the policies of a task, by id."""
    found: dict[str, Served] = {}
    for policy in policies.all_policies(conn):
        if policy.task == task_name:
            versions = {version.policy_version_id: version for version in policies.versions(conn, policy.policy_id)}
            for experiment in _experiments(conn, policy.policy_id):
                phases = store.phases(conn, experiment.experiment_id)
                for variant in store.variants(conn, experiment.experiment_id):
                    version = versions[variant.policy_version_id]
                    found[variant.variant_id] = _served(experiment, variant, phases, version)
    return found


def external(conn: store.Conn, version: PolicyVersion, task_name: str) -> Served:
    """Where `version` is (or was) what the default experiment served: what rows without a context belong to. Raises
    UsageError where it is not an application that was adopted."""
    adopt = "bakeoff policy adopt --external --since D --by WHO --reason WHY"
    if version.spec.task != task_name:
        raise UsageError(f"{version.name} is a policy of task {version.spec.task}, the rows are of task {task_name}")
    if version.spec.engine != "logged":
        raise UsageError(
            f"{version.name} is answered by bakeoff, so its decisions are in the log; rows without a context can only "
            "belong to the application itself",
            cure=f"{adopt} makes a version for it",
        )
    default = [experiment for experiment in _experiments(conn, version.policy_id) if experiment.kind == "default"]
    for experiment in default:
        for variant in store.variants(conn, experiment.experiment_id):
            if variant.policy_version_id == version.policy_version_id and variant.role == "incumbent":
                return _served(experiment, variant, store.phases(conn, experiment.experiment_id), version)
    raise UsageError(f"{version.name} was not adopted yet, so no row can belong to it", cure=adopt)


def stretches(experiment: Experiment, variant_id: str, phases: list[Phase]) -> tuple[Stretch, ...]:
    """When a variant had traffic: the phases that name it, joined where they touch."""
    ends: list[datetime | None] = [*(phase.began_at for phase in phases[1:]), experiment.ended_at]
    found: list[Stretch] = []
    for phase, end in zip(phases, ends, strict=False):
        if variant_id in (phase.control_variant_id, phase.treated_variant_id):
            begin = phase.began_at
            if found and found[-1][1] == begin:
                begin = found.pop()[0]
            found.append((begin, end))
    return tuple(found)


def _served(experiment: Experiment, variant: Variant, phases: list[Phase], version: PolicyVersion) -> Served:
    return Served(
        policy_id=version.policy_id,
        version=version.name,
        experiment_id=experiment.experiment_id,
        variant_id=variant.variant_id,
        policy_version_id=variant.policy_version_id,
        stretches=stretches(experiment, variant.variant_id, phases),
    )


def _experiments(conn: store.Conn, policy_id: str) -> list[Experiment]:
    tests = [*store.tests(conn, policy_id), *store.holdbacks(conn, policy_id)]
    try:
        return [store.default_experiment(conn, policy_id), *tests]
    except UsageError:
        return tests
