"""What happens to people after a promotion, with real decisions on a real PostgreSQL and a real MLflow: a holdback that
finds harm goes back by itself, one whose win lasts ends, and the registry follows whatever was in its way."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import rows
import stages
import toy
from bakeoff import lifecycle
from bakeoff.bootstrap import open_deps
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.experiments.model import Experiment, Guardrail
from bakeoff.lifecycle import Deps
from bakeoff.promotion import registry
from bakeoff.promotion.model import PromotionPlan
from bakeoff.promotion.plan import make_holdback
from bakeoff.settings import Settings
from winners import POLICY, Won, two_models

TASK = toy.ToyTask()
HELD_BP = 2000
WATCHED = replace(
    stages.TEST, minimum_units=50, guardrails=(Guardrail(metric="intervention", margin=0.2, direction="lower"),)
)
SHOPPERS = [f"shopper-{n:04d}" for n in range(360)]


class After:
    """Just after version 2 was planned to take the place of version 1; `deps` has a clock that the test turns."""

    def __init__(self, deps: Deps, clock: stages.Clock, model: str) -> None:
        self.deps, self.clock, self.model = deps, clock, model
        with deps.db.transaction() as conn:
            won = Won(conn, model, ("1", "2"))
            experiments.end(conn, won.test, status="shipped", reason="it won", now=rows.at(5))
            self.old, self.new = won.old, won.new
            self.plan: PromotionPlan = won.plan(make_holdback(WATCHED, HELD_BP))
        clock.turn(days=6)

    def promote(self) -> lifecycle.Carried:
        return lifecycle.promote(self.deps, self.plan, signed_by="Grace", reason="it won")

    def serving(self) -> str:
        with self.deps.db.transaction() as conn:
            return experiments.incumbent(conn, POLICY)

    def holdback(self) -> Experiment:
        with self.deps.db.transaction() as conn:
            return experiments.holdbacks(conn, POLICY)[-1]

    def live(self, day: int, accepts: Callable[[str, str], bool]) -> None:
        """A day of the shoppers in the holdback's arms; who gets something that they take accepts it an hour later."""
        ident = self.holdback().experiment_id
        for unit in SHOPPERS:
            if assign(ident, unit, HELD_BP) is None:
                continue
            likes = toy.DRINKS[stages.draw("likes", unit, day) < 0.5]
            served = lifecycle.decide(
                self.deps, TASK, POLICY, key=f"{unit}/{day}", unit_id=unit, request={"likes": likes, "day": day},
                at=self.clock.now,
            )  # fmt: skip
            if accepts(likes, served.answer["drink"]):
                with self.clock.later(hours=1) as at:
                    lifecycle.log_outcome(
                        self.deps, TASK, event_id=rows.new_id(), event_type="accepted", unit_id=unit,
                        context=served.context, at=at, payload={"accepted_by": "user", "drink": served.answer["drink"]},
                    )  # fmt: skip

    def watch(self) -> Experiment:
        held = self.holdback()
        snapshot = lifecycle.monitor(self.deps, TASK, held, now=self.clock.now)
        return lifecycle.act_on(self.deps, held, snapshot, now=self.clock.now)

    def alias(self) -> str | None:
        return self.deps.models.aliases(self.model).get("production")

    def tags(self) -> list[str | None]:
        return [self.deps.models.tags(self.model, number).get("stage") for number in ("1", "2")]


@pytest.fixture
def after(deps: Deps, clock: stages.Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> After:
    # The report behind the signature is made up, so there is nothing to compare it with.
    monkeypatch.setattr(sys.modules["bakeoff.lifecycle.promote"], "check_approval", lambda *_: None)
    return After(deps, clock, two_models(deps, tmp_path))


def test_a_win_that_lasts_ends_the_holdback_and_everyone_gets_the_new_version(after: After) -> None:
    carried = after.promote()
    assert (carried.applied, carried.by, carried.registry_away) == (True, "Grace", None)
    assert (after.alias(), after.tags()) == ("2", ["retired", "production"])
    assert [after.deps.models.stage(after.model, n) for n in ("1", "2")] == ["Archived", "Production"]
    for day in range(3):
        after.live(day, lambda likes, drink: likes == drink)
        after.clock.turn(days=4)
        running = after.watch()
        assert running.status == "running", "it is not over before its weeks are"
    after.clock.turn(days=12)
    after.live(9, lambda likes, drink: likes == drink)
    after.clock.turn(days=4)
    ended = after.watch()
    assert (ended.status, after.serving()) == ("shipped", after.new.policy_version_id), ended.reason
    assert "accepted: +" in str(ended.reason)


def test_harm_after_a_promotion_goes_back_to_what_the_few_kept_without_a_person(after: After) -> None:
    """The world has turned: all at once everybody wants tea, which only the old version offers always."""
    after.promote()
    for day in range(4):
        after.live(day, lambda likes, drink: drink == "tea")
        after.clock.turn(days=4)
        if after.watch().status != "running":
            break
    ended = after.holdback()
    assert (ended.status, after.serving()) == ("rolled_back", after.old.policy_version_id)
    with after.deps.db.transaction() as conn:
        last = conn.execute("select kind, signed_by, reason from promotions order by number desc limit 1").fetchone()
        assert experiments.running(conn, POLICY) == ()
    assert last is not None
    assert (last["kind"], last["signed_by"]) == ("rollback", "monitor")
    assert str(last["reason"]).startswith("holdback: accepted is harmed")
    assert (after.alias(), after.tags()) == ("1", ["production", "retired"])


def test_a_crash_between_database_and_registry_is_healed_by_the_same_command(
    after: After, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:

        def die(*args: object) -> None:
            raise KeyboardInterrupt

        dying.setattr(registry, "follow", die)
        with pytest.raises(KeyboardInterrupt):
            after.promote()
    assert (after.serving(), after.alias()) == (after.new.policy_version_id, None), (
        "people are served, the alias is behind"
    )
    carried = after.promote()
    assert (carried.applied, carried.by) == (False, "Grace")
    assert (after.alias(), after.tags()) == ("2", ["retired", "production"])
    assert after.promote().followed == (), "once more changes nothing"


def test_who_looks_just_before_another_promotes_plans_nothing_and_is_told_who_did(after: After) -> None:
    after.promote()
    with after.deps.db.transaction() as conn:
        (won,) = experiments.tests(conn, POLICY)
    for late in (lifecycle.plan(after.deps, won), lifecycle.plan_back(after.deps, after.new.name)):
        assert late.stages == ()
        carried = lifecycle.promote(after.deps, late, signed_by="Ada", reason="it won")
        assert (carried.applied, carried.by, carried.followed) == (False, "Grace", ())


@pytest.fixture
def away(dsn: str, after: After, tmp_path: Path) -> Iterator[Deps]:
    """The same database, while nothing listens where MLflow was."""
    settings = Settings(home=tmp_path / "home", database_url=dsn, mlflow_tracking_uri="http://127.0.0.1:9")
    with open_deps(settings, progress=stages.Silent(), clock=after.clock) as wired:
        yield wired


def test_a_rollback_needs_no_registry_and_that_follows_later(after: After, away: Deps) -> None:
    after.promote()
    back = lifecycle.plan_back(away, after.old.name)
    carried = lifecycle.promote(away, back, signed_by="Ada", reason="customers call")
    assert carried.applied
    assert "MLflow at http://127.0.0.1:9 does not answer" in str(carried.registry_away)
    assert after.serving() == after.old.policy_version_id
    assert after.alias() == "2", "MLflow does not know yet"
    moved, why = lifecycle.follow_registry(after.deps)
    assert why is None
    assert {drift.key for drift in moved} == {"alias", "tag", "stage"}
    assert (after.alias(), after.tags()) == ("1", ["production", "retired"])


def test_what_serves_has_no_model_so_no_alias_is_left(after: After) -> None:
    """models:/NAME@production must never be what was rolled back."""
    after.promote()
    with after.deps.db.transaction() as conn:
        conn.execute("alter table policy_versions disable trigger user")
        conn.execute(
            "update policy_versions set mlflow_model_name = null, mlflow_model_version = null "
            "where policy_version_id = %s", (after.old.policy_version_id,)
        )  # fmt: skip
        conn.execute("alter table policy_versions enable trigger user")
    lifecycle.promote(
        after.deps, lifecycle.plan_back(after.deps, after.old.name), signed_by="Ada", reason="customers call"
    )
    assert after.alias() is None
    assert after.tags()[1] == "retired"


def test_a_model_that_somebody_removed_from_the_registry_holds_nothing_up(after: After) -> None:
    with after.deps.db.transaction() as conn:
        conn.execute("alter table policy_versions disable trigger user")
        conn.execute(
            "update policy_versions set mlflow_model_name = 'gone' where policy_version_id = %s",
            (after.old.policy_version_id,),
        )
        conn.execute("alter table policy_versions enable trigger user")
    carried = after.promote()
    assert "gone" in str(carried.registry_away)
    assert (after.serving(), after.alias()) == (after.new.policy_version_id, "2")
