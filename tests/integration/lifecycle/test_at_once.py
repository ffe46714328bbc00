"""Two people who do the same, or what goes against each other, at the same moment: the second one is told."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import rows
import stages
from bakeoff import lifecycle
from bakeoff.errors import Refused, UsageError
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Advice, Snapshot
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from overlapping import at_once

ADA = {"signed_by": "Ada", "reason": "it serves"}
GRACE = {"signed_by": "Grace", "reason": "it serves too"}


# ---- adopt ----


def test_of_two_who_adopt_different_versions_one_is_refused(deps: Deps) -> None:
    """Else both would be told that theirs serves everyone."""
    one, two = (stages.python_version(deps, function) for function in ("stubborn", "good"))
    _, second = at_once(
        deps, lambda wired: lifecycle.adopt(wired, one, **ADA), lambda wired: lifecycle.adopt(wired, two, **GRACE)
    )
    assert isinstance(second.error, Refused)
    assert "serves already; only what it started from is adopted" in str(second.error)
    with deps.db.transaction() as conn:
        assert experiments.incumbent(conn, stages.POLICY) == one.policy_version_id
        assert policies.live_approval(conn, two.policy_version_id) is None
        assert policies.version_by_id(conn, two.policy_version_id).status == "registered"


def test_two_who_adopt_the_same_find_the_same(deps: Deps) -> None:
    one = stages.python_version(deps, "stubborn")
    first, second = at_once(
        deps, lambda wired: lifecycle.adopt(wired, one, **ADA), lambda wired: lifecycle.adopt(wired, one, **GRACE)
    )
    assert (second.error, second.result) == (None, first)
    with deps.db.transaction() as conn:
        approval = policies.live_approval(conn, one.policy_version_id)
        assert len(experiments.phases(conn, first.experiment_id)) == 1
    assert approval is not None
    assert approval.signed_by == "Ada"


# ---- a test ----


@pytest.fixture
def version(deps: Deps, clock: stages.Clock, monkeypatch: pytest.MonkeyPatch) -> PolicyVersion:
    """Signed; what its report says is another test's subject."""
    monkeypatch.setattr("bakeoff.lifecycle.experiment.check_approval", lambda *_: None)
    stages.open_shop(deps)
    found = stages.python_version(deps, "good")
    with deps.db.transaction() as conn:
        judged = rows.report(conn, found.policy_version_id, 0, fingerprint=found.fingerprint)
        rows.approval(conn, found.policy_version_id, 0, fingerprint=found.fingerprint, report_digest=judged)
    clock.turn(days=1)
    return found


def start(deps: Deps, version: PolicyVersion, name: str) -> Any:
    return lifecycle.start_experiment(deps, version, stages.TEST, name=name)


def test_two_who_start_a_test_that_was_created_find_it_running(deps: Deps, version: PolicyVersion) -> None:
    lifecycle.create_experiment(deps, version, stages.TEST, name="spring")
    first, second = at_once(deps, lambda d: start(d, version, "spring"), lambda d: start(d, version, "spring"))
    assert (second.error, second.result) == (None, first)
    assert first.status == "running"


def test_of_two_who_start_different_tests_one_is_told_of_the_other(deps: Deps, version: PolicyVersion) -> None:
    for name in ("spring", "summer"):
        lifecycle.create_experiment(deps, version, stages.TEST, name=name)
    _, second = at_once(deps, lambda d: start(d, version, "spring"), lambda d: start(d, version, "summer"))
    assert isinstance(second.error, Refused)
    assert "test spring of toy_policy is running; a policy has one test at a time" in str(second.error)


def test_of_two_who_create_a_test_with_other_specs_under_one_name_one_is_told(
    deps: Deps, version: PolicyVersion
) -> None:
    def create(wired: Deps, alpha: float) -> Any:
        return lifecycle.create_experiment(wired, version, replace(stages.TEST, alpha=alpha), name="spring")

    _, second = at_once(deps, lambda d: create(d, 0.05), lambda d: create(d, 0.01))
    assert isinstance(second.error, UsageError)
    assert "exists with another spec" in str(second.error)


def looked(deps: Deps, ident: str, verdict: str) -> Snapshot:
    """Evidence that somebody stored just now."""
    moment = deps.clock() + timedelta(hours=1)
    advice = {"verdict": verdict, "reason": "r", "next_treated_bp": 2000, "missing_units": None}
    with deps.db.transaction() as conn:
        found = rows.snapshot(conn, ident, 0, verdict=verdict, analysis={"advice": advice, "analysis": {}})
        conn.execute("alter table monitor_snapshots disable trigger user")
        conn.execute("update monitor_snapshots set taken_at = %s where snapshot_id = %s", (moment, found))
        conn.execute("alter table monitor_snapshots enable trigger user")
    return Snapshot(
        snapshot_id=found, experiment_id=ident, phase_number=1, analysis=None,  # type: ignore[arg-type]
        advice=Advice(**advice), taken_at=moment,  # type: ignore[arg-type]
    )  # fmt: skip


def test_of_two_who_look_at_once_one_widens_and_the_other_changes_nothing(
    deps: Deps, version: PolicyVersion, clock: stages.Clock
) -> None:
    test = start(deps, version, "spring")
    evidence = looked(deps, test.experiment_id, "advance")
    now = clock.turn(hours=2)

    def act(wired: Deps) -> Any:
        return lifecycle.act_on(wired, test, evidence, now=now, by_hand=True)

    first, second = at_once(deps, act, act)
    assert (second.error, second.result) == (None, first)
    with deps.db.transaction() as conn:
        assert [phase.treated_bp for phase in experiments.phases(conn, test.experiment_id)][1:] == [2000]


def test_who_widens_a_test_that_another_stops_changes_nothing(
    deps: Deps, version: PolicyVersion, clock: stages.Clock
) -> None:
    test = start(deps, version, "spring")
    evidence = looked(deps, test.experiment_id, "advance")
    now = clock.turn(hours=2)
    _, second = at_once(
        deps,
        lambda wired: lifecycle.stop_experiment(wired, test, reason="tickets"),
        lambda wired: lifecycle.act_on(wired, test, evidence, now=now, by_hand=True),
    )
    assert (second.error, second.result.status) == (None, "stopped")
    with deps.db.transaction() as conn:
        assert len(experiments.phases(conn, test.experiment_id)) == 1
