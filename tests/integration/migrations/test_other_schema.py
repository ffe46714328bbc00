"""The schema's name is a setting: the whole loop runs in another one, and 'exp' is not touched."""

from dataclasses import replace
from pathlib import Path

import pytest

import rows
import stages
import toy
from bakeoff import lifecycle, plugins
from bakeoff.adapters import postgres
from bakeoff.bootstrap import open_deps
from bakeoff.errors import Refused
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.gates.model import Absolute, Outcome
from bakeoff.plugins import migration_folders
from bakeoff.settings import Settings

TASK = toy.ToyTask()


def test_a_life_in_another_schema(
    dsn: str, mlflow_uri: str, tmp_path: Path, clock: stages.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.connect(dsn, "other") as conn, conn.transaction():
        postgres.migrate(conn, "other", {"bakeoff": migration_folders()["bakeoff"]})
    settings = Settings(home=tmp_path, database_url=dsn, mlflow_tracking_uri=mlflow_uri, schema="other", threads=1)
    monkeypatch.setattr(plugins, "load_task", lambda _: TASK)
    with open_deps(settings, progress=stages.Silent(), clock=clock) as deps:
        monkeypatch.setattr(type(deps.tracker), "register_dataset", lambda *_: None, raising=False)
        old = stages.open_shop(deps)
        stages.live(deps, clock, day=1, shoppers=220)
        since, until = clock.now, clock.turn(days=1)
        dataset = lifecycle.build_dataset(deps, TASK, since=since, until=until)
        new = stages.python_version(deps, "good")
        ours, theirs = (lifecycle.replay(deps, TASK, version, dataset) for version in (new, old))
        rule = Absolute(metric="known_drink", column="known_drink", minimum=1.0)
        gate = replace(stages.GATE, rules=(rule,), minimum_effective_units=2.0)
        report = lifecycle.gate(deps, TASK, ours, theirs, dataset, gate)
        assert report.verdict is Outcome.PASS, report.missing_evidence()
        lifecycle.approve(deps, new.name, report_digest=report.digest, signed_by="Grace", note="read it")
        test = lifecycle.start_experiment(deps, new, stages.TEST, name="try")
        shoppers = [f"shopper-{n:05d}" for n in range(100)]
        inside = frozenset(s for s in shoppers if assign(test.experiment_id, s, 1000))
        stages.live(deps, clock, day=2, shoppers=100, only=inside)
        clock.turn(days=4)
        snapshot = lifecycle.monitor(deps, TASK, test, now=clock.now)
        assert lifecycle.act_on(deps, test, snapshot, now=clock.now).status == "running"
        with deps.db.transaction() as conn:
            assert len(experiments.exposures(conn, test.experiment_id)) == len(inside) > 0
            found = conn.execute(
                "select (select count(*) from other.events) as ours, (select count(*) from exp.events) as theirs"
            ).fetchone()
            assert found is not None
            assert found["ours"] > 220
            assert found["theirs"] == 0
            with rows.refused(conn, "is append-only"):
                conn.execute("delete from other.events")


def test_a_life_beside_a_schema_that_somebody_else_calls_exp(dsn: str, tmp_path: Path, clock: stages.Clock) -> None:
    """Their exp.events has nothing of ours, and is as it was afterwards."""
    with postgres.connect(dsn, "public") as conn, conn.transaction():
        conn.execute("drop schema exp cascade; create schema exp")
        conn.execute("create table exp.events (id serial primary key, kind text, at timestamptz)")
        conn.execute("insert into exp.events (kind) values ('login')")
        with pytest.raises(Refused, match="did not make: events"):
            postgres.migrate(conn, "exp", migration_folders())
        conn.execute("drop schema planner cascade")  # as in a database that bakeoff has not seen yet
        conn.execute("create schema bakeoff; set local search_path to bakeoff, public")
        postgres.migrate(conn, "bakeoff", migration_folders())
    settings = Settings(home=tmp_path, database_url=dsn, schema="bakeoff", threads=1)
    with open_deps(settings, progress=stages.Silent(), clock=clock) as wired:
        deps = replace(wired, tracker=NoTracker())
        stages.open_shop(deps)
        stages.live(deps, clock, day=1, shoppers=220)
        since, until = clock.now, clock.turn(days=1)
        dataset = lifecycle.build_dataset(deps, TASK, since=since, until=until)
        assert lifecycle.replay(deps, TASK, stages.python_version(deps, "good"), dataset).aggregates["right"] == 1.0
        with deps.db.transaction() as conn:
            found = conn.execute("select (select count(*) from bakeoff.events) as ours, * from exp.events").fetchall()
            assert len(found) == 1
            assert found[0]["ours"] > 220
            assert (found[0]["id"], found[0]["kind"]) == (1, "login")


class NoTracker:
    """A tracker that knows nothing, for datasets only."""

    def register_dataset(self, dataset: object) -> None:
        return None
