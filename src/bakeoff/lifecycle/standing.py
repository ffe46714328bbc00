"""Where policies stand, in few words: what the HTTP API and the console show."""

from dataclasses import dataclass

from bakeoff.errors import UsageError
from bakeoff.events.store import Conn
from bakeoff.experiments import store as experiments
from bakeoff.policies import store as policies
from bakeoff.policies.model import Policy, PolicyVersion, Status
from bakeoff.serving.model import Transactions


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyLine:
    """One policy in a list."""

    policy_id: str
    task: str
    incumbent: str | None  # the version that serves everyone no test takes; None where it serves nobody yet
    last_resort: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionLine:
    """One version of a policy."""

    name: str  # 'planner_policy/3'
    status: Status
    what: str | None  # what answers, in a few words
    model: str | None  # 'planner_model/3'; None where no trained model answers


@dataclass(frozen=True, kw_only=True, slots=True)
class TestLine:
    """A running test."""

    experiment_id: str
    name: str | None
    treated: str  # the version that it tries
    phase: int
    treated_share: float  # of all units, 0 to 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyStanding:
    """A policy with its versions, newest first, and its running test."""

    policy: PolicyLine
    versions: tuple[VersionLine, ...]
    test: TestLine | None


def policy_lines(db: Transactions) -> list[PolicyLine]:
    """All policies, by name."""
    with db.transaction() as conn:
        return [_line(conn, policy, _names(conn, policy)) for policy in policies.all_policies(conn)]


def policy_standing(db: Transactions, policy_id: str) -> PolicyStanding:
    """Raises NotFound."""
    with db.transaction() as conn:
        policy = policies.find_policy(conn, policy_id)
        known = policies.versions(conn, policy_id)
        names = {version.policy_version_id: version.name for version in known}
        return PolicyStanding(
            policy=_line(conn, policy, names),
            versions=tuple(_version(version) for version in reversed(known)),
            test=_test(conn, policy_id, names),
        )


def _names(conn: Conn, policy: Policy) -> dict[str, str]:
    return {version.policy_version_id: version.name for version in policies.versions(conn, policy.policy_id)}


def _line(conn: Conn, policy: Policy, names: dict[str, str]) -> PolicyLine:
    try:
        incumbent = names[experiments.incumbent(conn, policy.policy_id)]
    except UsageError:  # it serves nobody yet
        incumbent = None
    last_resort = None if policy.last_resort is None else names[policy.last_resort]
    return PolicyLine(policy_id=policy.policy_id, task=policy.task, incumbent=incumbent, last_resort=last_resort)


def _version(version: PolicyVersion) -> VersionLine:
    name = version.mlflow_model_name
    model = None if name is None else f"{name}/{version.mlflow_model_version}"
    return VersionLine(name=version.name, status=version.status, what=version.what, model=model)


def _test(conn: Conn, policy_id: str, names: dict[str, str]) -> TestLine | None:
    found = experiments.running_test(conn, policy_id)
    if found is None:
        return None
    phase = experiments.phases(conn, found.experiment_id)[-1]
    return TestLine(
        experiment_id=found.experiment_id,
        name=found.name,
        treated=names[experiments.treated(conn, found)],
        phase=phase.number,
        treated_share=phase.treated_bp / 10_000,
    )
