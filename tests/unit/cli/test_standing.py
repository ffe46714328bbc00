"""next_command: in every situation one command, and it is the right one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bakeoff.cli.standing import (
    RunningTest,
    Standing,
    VersionFacts,
    find_challenger,
    first_command,
    next_command,
)
from bakeoff.inference.model import PolicySpec, external_spec
from bakeoff.policies.model import PolicyVersion

NOW = datetime(2025, 3, 1, tzinfo=UTC)
SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good")
RUNNING = RunningTest(
    experiment_id="e", treated="toy_policy/4", phase=1, treated_bp=1000, units=0, verdict=None, reason=None,
    looked_at=None,
)  # fmt: skip


def version(number: int, status: Any = "registered", *, learnt: str | None = None, **facts: Any) -> VersionFacts:
    made = PolicyVersion(
        policy_version_id=str(number),
        policy_id="toy_policy",
        version=number,
        spec=SPEC,
        fingerprint=f"sha256:{number}",
        status=status,
        dataset_digest=learnt,
    )
    return VersionFacts(version=made, **facts)


def standing(*versions: VersionFacts, **others: Any) -> Standing:
    """An incumbent 1, a last resort 2, an explorer 3, a log and a dataset; and `versions`."""
    base = Standing(
        policy_id="toy_policy",
        task="toy",
        versions=(version(1, "production"), version(2), version(3, "production"), *versions),
        incumbent="toy_policy/1",
        explorer="toy_policy/3",
        explorer_bp=1000,
        last_resort="toy_policy/2",
        running=None,
        events=90,
        decisions=60,
        dataset="2025-02-28",
        dataset_digest="sha256:d",
    )
    return replace(base, **others)


@pytest.mark.parametrize(
    ("where", "command"),
    [
        (
            standing(versions=(), incumbent=None),
            'bakeoff policy adopt --external --since DAY --task toy --by "Your Name" --reason "..."',
        ),
        (standing(incumbent=None), 'bakeoff policy adopt toy_policy/1 --by "Your Name" --reason "..."'),
        (standing(decisions=0, dataset=None, dataset_digest=None), "bakeoff dataset build --task toy"),
        (standing(dataset=None, dataset_digest=None), "bakeoff dataset build --task toy"),
        (standing(), "bakeoff train --dataset 2025-02-28 --task toy"),
        (standing(version(4, learnt="sha256:d")), "bakeoff gate toy_policy/4"),
        (standing(version(4, learnt="sha256:d", verdict="FAIL")), "bakeoff dataset build --task toy"),
        (
            standing(version(4, learnt="sha256:c", verdict="INCONCLUSIVE")),
            "bakeoff train --dataset 2025-02-28 --task toy",
        ),
        (
            standing(version(4, "candidate", verdict="PASS", report_digest="sha256:r")),
            'bakeoff approve toy_policy/4 --report sha256:r --note "..."',
        ),
        (
            standing(version(4, "candidate", verdict="PASS", report_digest="sha256:r", void_because="it changed")),
            "bakeoff gate toy_policy/4",
        ),
        (standing(version(4, "rejected", learnt="sha256:d", verdict="PASS")), "bakeoff dataset build --task toy"),
        (
            standing(version(4, "approved", verdict="PASS", approved_until=NOW + timedelta(days=1))),
            "bakeoff experiment start toy_policy/4 --spec FILE",
        ),
        (standing(version(4, "approved", verdict="PASS", approved_until=NOW)), "bakeoff gate toy_policy/4"),
        (
            standing(version(4, "approved", test_status="running"), running=RUNNING),
            "bakeoff experiment watch --task toy",
        ),
        (standing(version(4, "approved", test_status="shipped")), "bakeoff promote toy_policy/4 --explain"),
        (
            standing(version(4, "approved", test_status="stopped")),
            "bakeoff experiment start toy_policy/4 --spec FILE --name ANOTHER",
        ),
        (standing(version(4, "approved", learnt="sha256:d", test_status="kept")), "bakeoff dataset build --task toy"),
        (
            standing(version(4, "approved", learnt="sha256:d", test_status="rolled_back")),
            "bakeoff dataset build --task toy",
        ),
        (
            standing(version(4, "production", learnt="sha256:d", test_status="shipped"), incumbent="toy_policy/4"),
            "bakeoff dataset build --task toy",
        ),
    ],
)  # fmt: skip
def test_each_situation_has_its_next_command(where: Standing, command: str) -> None:
    assert next_command(where, NOW).command == command


def test_a_passed_version_is_read_before_it_is_signed_or_turned_down() -> None:
    why = next_command(standing(version(4, "candidate", verdict="PASS", report_digest="sha256:r")), NOW).why
    assert "bakeoff report toy_policy/4 --open" in why
    assert "bakeoff reject toy_policy/4 --report sha256:r --reason" in why


def test_a_void_approval_and_a_verdict_say_where_to_look() -> None:
    voided = version(4, "candidate", verdict="PASS", report_digest="sha256:r", void_because="the rules changed")
    assert next_command(standing(voided), NOW).why == "the approval of toy_policy/4 is void: the rules changed"
    failed = standing(version(4, learnt="sha256:c", verdict="FAIL"))
    assert "bakeoff report toy_policy/4 shows why" in next_command(failed, NOW).why


# ---- day one: an application that answered before bakeoff came -------------------------------------------------------


def external(*versions: VersionFacts, **others: Any) -> Standing:
    """Version 1 is the application itself, since 2024; no explorer, no last resort, an empty log."""
    first = version(1, "production")
    application = replace(first, version=replace(first.version, spec=external_spec("toy", "toy 2024")))
    base = standing(
        versions=(application, *versions), explorer=None, explorer_bp=0, last_resort=None, events=0, decisions=0,
        dataset=None, dataset_digest=None, external_since=datetime(2024, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return replace(base, **others)


LOG = {"events": 90, "decisions": 60}
DATASET = {**LOG, "dataset": "2025-02-28", "dataset_digest": "sha256:d"}


@pytest.mark.parametrize(
    ("where", "command"),
    [
        (external(), "bakeoff events import FILE --policy toy_policy/1"),
        (external(**LOG), "bakeoff dataset build --task toy"),
        (external(**DATASET), "bakeoff train --dataset 2025-02-28 --task toy"),
        (external(version(2, learnt="sha256:d"), **DATASET), "bakeoff gate toy_policy/2"),
        (external(version(2), incumbent=None, external_since=None),
         'bakeoff policy adopt toy_policy/2 --by "Your Name" --reason "..."'),
        (external(incumbent=None, external_since=None),
         'bakeoff policy adopt --external --since DAY --task toy --by "Your Name" --reason "..."'),
    ],
)  # fmt: skip
def test_day_one_goes_from_adopting_to_importing_to_learning(where: Standing, command: str) -> None:
    assert next_command(where, NOW).command == command


def test_the_control_of_a_test_beside_the_application_is_explained() -> None:
    approved = version(2, "approved", verdict="PASS", approved_until=NOW + timedelta(days=1))
    assert "decide(own=...)" in next_command(external(approved, **DATASET), NOW).why


def test_another_past_of_the_application_is_no_challenger() -> None:
    other = external().versions[0]
    other = replace(other, version=replace(other.version, version=2, status="registered"))
    assert find_challenger(external(other, **DATASET)) is None


def test_where_nothing_was_done_the_first_step_depends_on_whether_settings_are_there() -> None:
    assert first_command(has_settings=False).command == "bakeoff init"
    assert "bakeoff demo" in first_command(has_settings=False).why
    assert first_command(has_settings=True).command.startswith("bakeoff policy adopt --external --since DAY --by")
    assert "bakeoff policy create" in first_command(has_settings=True).why


def test_a_running_test_comes_before_everything_else() -> None:
    where = standing(version(4, "approved"), version(5, "candidate", verdict="PASS"), running=RUNNING)
    assert next_command(where, NOW).command.startswith("bakeoff experiment watch")


def test_the_reason_of_the_last_look_is_told() -> None:
    looked = replace(RUNNING, verdict="hold", reason="3 h of this stage are left", looked_at=NOW)
    assert "3 h of this stage are left" in next_command(standing(running=looked), NOW).why


def test_the_newest_open_version_is_the_challenger_and_older_ones_do_not_nag() -> None:
    assert find_challenger(standing(version(4), version(5))) == version(5)
    assert find_challenger(standing(version(4), version(5, "rejected"))) == version(4)
    assert find_challenger(standing(version(4), version(5, "production"), incumbent="toy_policy/5")) is None


def test_the_default_task_is_not_spelled_out() -> None:
    assert next_command(standing(task="planner"), NOW).command == "bakeoff train --dataset 2025-02-28"
