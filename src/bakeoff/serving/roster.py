"""Who serves, and who may serve next: what a process has to have in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

from bakeoff.errors import UsageError
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Experiment
from bakeoff.policies import store as policies
from bakeoff.policies.model import Policy, PolicyVersion

_MAY_BEGIN = ("approved", "production")


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """A version and what it is there for."""

    version: PolicyVersion
    roles: tuple[str, ...]  # see `VersionReadiness.roles`


@dataclass(frozen=True, kw_only=True, slots=True)
class Roster:
    """A policy that serves."""

    policy: Policy
    posts: tuple[Post, ...]


def read(conn: experiments.Conn) -> list[Roster]:
    """All policies with a default experiment."""
    return [found for policy in policies.all_policies(conn) if (found := _roster(conn, policy)) is not None]


def _roster(conn: experiments.Conn, policy: Policy) -> Roster | None:
    try:
        default = experiments.default_experiment(conn, policy.policy_id)
    except UsageError:
        return None
    known = {version.policy_version_id: version for version in policies.versions(conn, policy.policy_id)}
    roles: dict[str, list[str]] = {}
    for ident, role in _posts(conn, default, policy, known):
        if role not in roles.setdefault(ident, []):
            roles[ident].append(role)
    return Roster(
        policy=policy, posts=tuple(Post(version=known[ident], roles=tuple(each)) for ident, each in roles.items())
    )


def _posts(
    conn: experiments.Conn, default: Experiment, policy: Policy, known: dict[str, PolicyVersion]
) -> Iterator[tuple[str, str]]:
    """Policy version id and role."""
    yield from _in_force(conn, default)
    for running in experiments.running(conn, policy.policy_id):
        yield from _in_force(conn, running)
    for test in experiments.tests(conn, policy.policy_id):
        if test.status == "created":
            for variant in experiments.variants(conn, test.experiment_id):
                if known[variant.policy_version_id].status in _MAY_BEGIN:
                    yield variant.policy_version_id, "next"
    if policy.last_resort is not None:
        yield policy.last_resort, "last resort"


def _in_force(conn: experiments.Conn, experiment: Experiment) -> Iterator[tuple[str, str]]:
    phases = experiments.phases(conn, experiment.experiment_id)
    if phases:
        serving = (phases[-1].control_variant_id, phases[-1].treated_variant_id)
        for variant in experiments.variants(conn, experiment.experiment_id):
            if variant.variant_id in serving:
                yield variant.policy_version_id, variant.role
