"""Starting from an application that was there before: adopted from a day in the past, on, and honestly."""

import sys
from datetime import datetime, timedelta

import pytest

import rows
import stages
import toy
from bakeoff import lifecycle
from bakeoff.adapters.postgres import Connection, Database
from bakeoff.errors import Refused, UsageError
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.gates.model import Outcome
from bakeoff.inference.model import external_spec
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.approve import adopt
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.plan import plan_promotion
from bakeoff.task import Request

TASK = toy.ToyTask()
SPEC = external_spec("toy", "toy 2024")
BEFORE = stages.START - timedelta(days=400)


def external(deps: Deps, name: str = "toy 2024") -> PolicyVersion:
    return lifecycle.create_policy(deps, stages.POLICY, external_spec("toy", name))


def adopted(deps: Deps) -> PolicyVersion:
    version = external(deps)
    lifecycle.adopt(deps, version, signed_by="Ada", reason="what we have", since=BEFORE)
    return version


def own(request: Request) -> dict[str, str]:
    """How this application answers by itself: tea, always."""
    return {"drink": "tea"}


def test_the_signature_is_of_today_and_the_phase_began_when_the_application_did(deps: Deps) -> None:
    version = adopted(deps)
    with deps.db.transaction() as conn:
        approval = policies.live_approval(conn, version.policy_version_id)
        default = experiments.default_experiment(conn, stages.POLICY)
        phase = experiments.phases(conn, default.experiment_id)[0]
        assert experiments.incumbent(conn, stages.POLICY) == version.policy_version_id
        assert policies.version_by_id(conn, version.policy_version_id).status == "production"
    assert approval is not None
    assert (approval.kind, approval.signed_at, approval.covers_from) == ("adopted", stages.START, BEFORE)
    assert phase.began_at == BEFORE


def test_the_same_again_is_the_same(deps: Deps, clock: stages.Clock) -> None:
    first = adopted(deps)
    clock.turn(days=1)
    assert adopted(deps) == lifecycle.create_policy(deps, stages.POLICY, SPEC)
    with deps.db.transaction() as conn:
        assert [v.name for v in policies.versions(conn, stages.POLICY)] == [first.name]
        assert conn.execute("select count(*) as n from approvals").fetchone() == {"n": 1}
        assert conn.execute("select count(*) as n from phases").fetchone() == {"n": 1}


def test_two_applications_differ_by_their_names(deps: Deps) -> None:
    assert external(deps).policy_version_id != external(deps, "toy 2025").policy_version_id


def test_a_day_in_the_future_is_refused(deps: Deps) -> None:
    with pytest.raises(UsageError, match="lies in the future"):
        lifecycle.adopt(deps, external(deps), signed_by="Ada", reason="soon", since=stages.START + timedelta(days=1))


def test_a_version_of_bakeoffs_covers_no_past(deps: Deps) -> None:
    with pytest.raises(UsageError, match="did not serve before it was adopted"):
        lifecycle.adopt(deps, stages.python_version(deps, "good"), signed_by="Ada", reason="x", since=BEFORE)


# ---- serving: nothing is pretended ----------------------------------------------------------------------------------


def ask(deps: Deps, unit: str = "u", **how: object) -> object:
    request = {"likes": "coffee", "day": 1}
    return lifecycle.decide(deps, TASK, stages.POLICY, key=unit, unit_id=unit, request=request, at=deps.clock(), **how)  # type: ignore[arg-type]  # a test's shorthand


def test_bakeoff_does_not_answer_in_the_applications_name_not_even_by_the_last_resort(deps: Deps) -> None:
    adopted(deps)
    lifecycle.name_last_resort(deps, stages.python_version(deps, "stubborn"))
    with pytest.raises(Refused, match=r"toy_policy/1 is the application itself \(toy 2024\)(.|\n)*events.append"):
        ask(deps)
    with deps.db.transaction() as conn:
        assert events.summarize(conn, "toy").events == 0


def test_the_applications_own_answer_is_logged_as_it_was_with_what_it_breaks(deps: Deps) -> None:
    version = adopted(deps)
    served = ask(deps, own=lambda request: {"drink": "petrol"})
    assert served.answer == {"drink": "petrol"}  # type: ignore[attr-defined]
    with deps.db.transaction() as conn:
        row = events.find_decision(conn, served.decision_id)  # type: ignore[attr-defined]
    assert row is not None
    assert str(row["served_policy_version_id"]) == version.policy_version_id
    assert (row["payload"]["repaired"], row["payload"]["served_by"]) == (False, version.name)
    assert [violation["rule"] for violation in row["payload"]["violations"]] == ["unknown_drink"]


def test_an_application_that_fails_is_rescued_and_the_log_says_by_whom(deps: Deps) -> None:
    version, rescue = adopted(deps), stages.python_version(deps, "stubborn")
    lifecycle.name_last_resort(deps, rescue)

    def failing(request: Request) -> dict[str, str]:
        raise RuntimeError("down")

    served = ask(deps, own=failing)
    with deps.db.transaction() as conn:
        row = events.find_decision(conn, served.decision_id)  # type: ignore[attr-defined]
    assert row is not None
    assert str(row["policy_version_id"]) == version.policy_version_id
    assert str(row["served_policy_version_id"]) == rescue.policy_version_id
    assert row["payload"]["fallback_reason"] == "RuntimeError: down"


# ---- the way forward ------------------------------------------------------------------------------------------------


def days(deps: Deps, clock: stages.Clock, days: int, shoppers: int) -> None:
    """The application answers by itself, and shoppers accept what they like."""
    import uuid

    for day in range(days):
        for n in range(shoppers):
            unit, likes = f"shopper-{n:05d}", toy.DRINKS[stages.draw("likes", n, day) < 0.5]
            served = lifecycle.decide(
                deps, TASK, stages.POLICY, key=f"{unit}/{day}", unit_id=unit, request={"likes": likes, "day": day},
                at=clock.now, own=own,
            )  # fmt: skip
            lifecycle.log_outcome(
                deps, TASK, event_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{unit}/{day}")), event_type="accepted",
                unit_id=unit, context=served.context, at=clock.now, payload={"accepted_by": "user", "drink": likes},
            )  # fmt: skip
        clock.turn(days=1)


def test_a_new_version_is_judged_against_what_the_application_answered_and_tried_beside_it(
    deps: Deps, clock: stages.Clock
) -> None:
    old = adopted(deps)
    since = clock.now
    days(deps, clock, days=1, shoppers=260)
    dataset = lifecycle.build_dataset(deps, TASK, since=since, until=clock.now)
    new = stages.python_version(deps, "good")
    ours, theirs = (lifecycle.replay(deps, TASK, version, dataset) for version in (new, old))
    assert theirs.certificate.deterministic
    assert theirs.aggregates["right_coverage"] == 1.0
    assert 0.2 < theirs.aggregates["right"] < 0.8, "tea suits about half of them"
    report = lifecycle.gate(deps, TASK, ours, theirs, dataset, stages.GATE)
    assert report.verdict is Outcome.PASS, report.missing_evidence()
    lifecycle.approve(deps, new.name, report_digest=report.digest, signed_by="Grace", note="read it")
    test = lifecycle.start_experiment(deps, new, stages.TEST, name="try")
    units = [f"shopper-{n:05d}" for n in range(300)]
    arms = {unit: drawn.arm for unit in units if (drawn := assign(test.experiment_id, unit, 1000)) is not None}
    treated, control = (next(u for u, arm in arms.items() if arm == wanted) for wanted in ("treated", "control"))
    assert ask(deps, treated).answer == {"drink": "coffee"}  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="your application answers here"):
        ask(deps, control)
    answered = ask(deps, control, own=own)
    assert answered.answer == {"drink": "tea"}  # type: ignore[attr-defined]
    assert answered.context["experiment_id"] == test.experiment_id  # type: ignore[attr-defined]
    with deps.db.transaction() as conn:
        assert sorted(e.unit_id for e in experiments.exposures(conn, test.experiment_id)) == sorted([treated, control])


def test_where_another_answered_nothing_is_known_of_the_application_and_nothing_is_proven(
    deps: Deps, clock: stages.Clock
) -> None:
    """A gap must not make the application look bad: the gate lacks evidence instead."""
    old = adopted(deps)
    lifecycle.name_last_resort(deps, stages.python_version(deps, "stubborn"))
    since = clock.now
    days(deps, clock, days=1, shoppers=260)
    dataset = lifecycle.build_dataset(deps, TASK, since=since, until=clock.now)
    other = external(deps, "toy 2025")  # it answered none of these
    missing = lifecycle.replay(deps, TASK, other, dataset)
    assert missing.aggregates["right_coverage"] == 0.0
    ours = lifecycle.replay(deps, TASK, stages.python_version(deps, "good"), dataset)
    assert lifecycle.gate(deps, TASK, ours, missing, dataset, stages.GATE).verdict is Outcome.INCONCLUSIVE
    assert lifecycle.replay(deps, TASK, old, dataset).aggregates["right_coverage"] == 1.0


# ---- what the database refuses, whoever writes ----------------------------------------------------------------------


@pytest.fixture
def conn(scratch: Connection) -> Connection:
    return scratch


def logged(conn: Connection, number: int) -> str:
    return rows.version(conn, number, spec={"engine": "logged"})


def pasts(conn: Connection) -> list[datetime | None]:
    """What each approval covers, the newest signature last."""
    found = conn.execute("select covers_from from approvals order by signed_at, covers_from")
    return [row["covers_from"] for row in found]


def began(conn: Connection, experiment_id: str) -> list[datetime]:
    """The phases of an experiment."""
    found = conn.execute("select began_at from phases where experiment_id = %s order by began_at", (experiment_id,))
    return [row["began_at"] for row in found]


def test_only_an_adoption_covers_a_past_and_only_a_past(conn: Connection) -> None:
    rows.policy(conn)
    first = logged(conn, 1)
    with rows.refused(conn, "covers_the_past"):
        rows.approval(conn, first, 1, covers_from=rows.at(1))
    digest = rows.report(conn, first, 1)
    with rows.refused(conn, "covers_the_past"):
        rows.approval(conn, first, 1, report_digest=digest, covers_from=rows.at(-100))
    assert pasts(conn) == []
    rows.approval(conn, first, 1, covers_from=rows.at(0))
    assert pasts(conn) == [rows.at(0)]


def test_only_the_application_itself_was_there_before(conn: Connection) -> None:
    rows.policy(conn)
    python = rows.version(conn, 1, spec={"engine": "python"})
    with rows.refused(conn, "p/1 is answered by bakeoff, so its adoption covers no past"):
        rows.approval(conn, python, 1, covers_from=rows.at(-100))
    rows.approval(conn, python, 1)
    assert pasts(conn) == [None]


def test_a_policy_that_serves_already_has_no_other_past(conn: Connection) -> None:
    rows.Shop(conn)
    third = logged(conn, 3)
    with rows.refused(conn, "p serves already; only what it started from is adopted"):
        rows.approval(conn, third, 3, covers_from=rows.at(-100))
    assert pasts(conn) == [None, None]


def shop(conn: Connection) -> tuple[str, str, str]:
    """The application, its default experiment and its incumbent variant; no phase yet."""
    rows.policy(conn)
    first = logged(conn, 1)
    rows.approval(conn, first, 1, covers_from=rows.at(-100))
    default = rows.experiment(conn, "default")
    return first, default, rows.variant(conn, default, "incumbent", first)


def test_a_first_phase_begins_when_the_adoption_says_and_not_before(conn: Connection) -> None:
    _, default, incumbent = shop(conn)
    with rows.refused(conn, "p/1 has no valid approval"):
        rows.phase(conn, default, incumbent, None, -101)
    rows.phase(conn, default, incumbent, None, -100)
    assert began(conn, default) == [rows.at(-100)]


def test_without_covers_from_there_is_no_past(conn: Connection) -> None:
    rows.policy(conn)
    first = logged(conn, 1)
    rows.approval(conn, first, 1)
    default = rows.experiment(conn, "default")
    incumbent = rows.variant(conn, default, "incumbent", first)
    with rows.refused(conn, "p/1 has no valid approval"):
        rows.phase(conn, default, incumbent, None, -1)
    rows.phase(conn, default, incumbent, None, 0)
    assert began(conn, default) == [rows.at(0)], "from the signature on"


def test_a_voided_adoption_covers_nothing(conn: Connection) -> None:
    _, default, incumbent = shop(conn)
    conn.execute("update approvals set voided_at = %s, void_reason = 'wrong day'", (rows.at(0),))
    with rows.refused(conn, "p/1 has no valid approval"):
        rows.phase(conn, default, incumbent, None, -50)
    assert began(conn, default) == []


def test_the_past_is_open_to_the_first_phase_of_the_default_only(conn: Connection) -> None:
    """Not to a test, not to an explorer, and to no second phase."""
    first, default, incumbent = shop(conn)
    test = rows.experiment(conn)
    control = rows.variant(conn, test, "control", first)
    second = rows.version(conn, 2)
    rows.approval(conn, second, 2, report_digest=rows.report(conn, second, 2))
    treated = rows.variant(conn, test, "treated", second)
    with rows.refused(conn, "has no valid approval"):
        rows.phase(conn, test, control, treated, -50)
    explorer = rows.variant(conn, default, "explorer", second)
    with rows.refused(conn, "p/2 has no valid approval"):
        rows.phase(conn, default, incumbent, explorer, -50)
    rows.phase(conn, default, incumbent, None, -100)
    with rows.refused(conn, "p/2 has no valid approval"):
        rows.phase(conn, test, control, treated, -50)
    rows.phase(conn, test, control, treated, 1)
    assert (began(conn, default), began(conn, test)) == ([rows.at(-100)], [rows.at(1)])


def test_the_application_is_incumbent_or_control_and_nothing_that_bakeoff_would_answer_for(conn: Connection) -> None:
    shop_ = rows.Shop(conn)
    third = logged(conn, 3)
    rows.approval(conn, third, 3, report_digest=rows.report(conn, third, 3))
    treated = rows.variant(conn, shop_.test, "treated", third)
    with rows.refused(conn, "p/3 is the application itself"):
        rows.phase(conn, shop_.test, shop_.control, treated, 1)
    assert began(conn, shop_.test) == []


def test_a_covering_adoption_is_frozen(conn: Connection) -> None:
    shop(conn)
    with rows.refused(conn, "can only be voided"):
        conn.execute("update approvals set covers_from = %s", (rows.at(-200),))
    assert pasts(conn) == [rows.at(-100)]


def test_an_adoption_can_be_given_again_after_it_was_voided_with_the_same_past(dsn: str) -> None:
    db = Database(dsn, "exp")
    with db.transaction() as conn:
        version = policies.create_version(conn, "p", SPEC, now=rows.START)
        approval = adopt(version, signed_by="Ada", reason="x", now=rows.START, covers_from=rows.at(-9))
        policies.insert_approval(conn, approval)
        experiments.open_default(
            conn, policy_id="p", incumbent=version.policy_version_id, explorer=None, explorer_bp=0, now=rows.START,
            began_at=rows.at(-9),
        )  # fmt: skip
        policies.void_approval(conn, version.policy_version_id, now=rows.at(1), reason="wrong name")
        for day, refused in ((-10, True), (-9, False)):
            again = adopt(version, signed_by="Eve", reason="y", now=rows.at(1), covers_from=rows.at(day))
            if refused:
                with rows.refused(conn, "covers no past"):
                    policies.insert_approval(conn, again)
            else:
                policies.insert_approval(conn, again)
        assert pasts(conn) == [rows.at(-9), rows.at(-9)]
        assert policies.live_approval(conn, version.policy_version_id) == again
    db.close()


def test_the_application_can_be_replaced_and_come_back(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promoted over it, a version of bakeoff's answers; rolled back, the application answers by itself again."""
    old, new = adopted(deps), stages.python_version(deps, "good")
    with deps.db.transaction() as conn:
        digest = rows.report(conn, new.policy_version_id, 0, fingerprint=new.fingerprint)
        rows.approval(
            conn, new.policy_version_id, 0, report_digest=digest, fingerprint=new.fingerprint, expires_at=rows.at(30)
        )
        policies.set_status(conn, new, "approved")
    for stage in ("experiment", "promote"):  # there is nothing behind the made-up report
        monkeypatch.setattr(sys.modules[f"bakeoff.lifecycle.{stage}"], "check_approval", lambda *_: None)
    test = lifecycle.start_experiment(deps, new, stages.TEST, name="try")
    with deps.db.transaction() as conn:
        snapshot = rows.snapshot(conn, test.experiment_id, 1, verdict="ship")
        experiments.end(conn, test.experiment_id, status="shipped", reason="it won", now=rows.at(1))
    plan = plan_promotion(new, old, experiment_id=test.experiment_id, snapshot_id=snapshot, verdict="ship")
    lifecycle.promote(deps, plan, signed_by="Ada", reason="it won")
    assert ask(deps, "u").answer == {"drink": "coffee"}  # type: ignore[attr-defined]
    lifecycle.promote(deps, lifecycle.plan_back(deps, old.name), signed_by="Ada", reason="customers call")
    with pytest.raises(Refused, match="your application answers here"):
        ask(deps, "v")
    assert ask(deps, "v", own=own).answer == {"drink": "tea"}  # type: ignore[attr-defined]
