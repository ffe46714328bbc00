"""Replay through the loop, over a dataset in a folder: resumed after a kill, certified, refused when it wavers."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

import replayed
import rows
import stages
from bakeoff import lifecycle
from bakeoff.adapters.postgres import Database
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.publish import publish
from bakeoff.errors import Refused, UsageError
from bakeoff.gates.model import Outcome
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store
from bakeoff.task import PythonAnswer, Request

TASK = replayed.TASK


@pytest.fixture
def dataset(deps: Deps) -> Dataset:
    return replayed.shop_dataset(deps)


def version(deps: Deps, function: str, module: str = "toy") -> PolicyVersion:
    return replayed.python_version(deps, function, module)


asked: list[int] = []
fails_at: list[int] = []


def counting(request: Request, *, seed: int) -> PythonAnswer:
    if len(asked) in fails_at:
        fails_at.clear()
        raise KeyboardInterrupt
    asked.append(request["day"])
    return PythonAnswer(answer={"drink": "tea"})


@pytest.fixture(autouse=True)
def nothing_asked_yet() -> None:
    asked.clear()
    fails_at.clear()


def test_a_killed_replay_goes_on_where_it_stopped(deps: Deps, dataset: Dataset, dsn: str) -> None:
    one = version(deps, "counting", __name__)
    fails_at.append(5)
    with pytest.raises(KeyboardInterrupt):
        lifecycle.replay(deps, TASK, one, dataset, sample=12, certificate_rows=0)
    fresh = replace(deps, db=Database(dsn, "exp"))  # another process
    report = lifecycle.replay(fresh, TASK, one, dataset, sample=12, certificate_rows=0)
    assert len(asked) == len(set(asked)) == 12, "no row was answered twice"
    assert report.aggregates["rows"] == 12
    asked.clear()
    assert lifecycle.replay(deps, TASK, one, dataset, sample=12) == report
    assert asked == [], "a finished replay is a look-up"
    fresh.db.close()  # type: ignore[attr-defined]


def test_a_resumed_replay_has_the_digest_of_one_that_was_never_killed(deps: Deps, dataset: Dataset) -> None:
    one = version(deps, "counting", __name__)
    fails_at.append(5)
    with pytest.raises(KeyboardInterrupt):
        lifecycle.replay(deps, TASK, one, dataset, sample=12)
    resumed = lifecycle.replay(deps, TASK, one, dataset, sample=12)
    straight = lifecycle.replay(deps, TASK, version(deps, "stubborn"), dataset, sample=12)
    assert resumed.digest == straight.digest
    assert resumed.replay_id != straight.replay_id


def test_another_sample_is_another_replay_whose_rows_contain_the_smaller_one(deps: Deps, dataset: Dataset) -> None:
    one = version(deps, "good")
    small, large = (lifecycle.replay(deps, TASK, one, dataset, sample=n) for n in (5, 10))
    with deps.db.transaction() as conn:
        few, many = ({r.example_id for r in store.rows(conn, report.replay_id)} for report in (small, large))
        assert store.latest_report(conn, one.policy_version_id) is not None
    assert few < many
    assert len(many) == 10


def dicing(request: Request, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": "tea", "mood": random.random()})


def test_a_policy_that_rolls_dice_is_caught_and_not_judged(deps: Deps, dataset: Dataset) -> None:
    dice, sure = version(deps, "dicing", __name__), version(deps, "stubborn")
    ours, theirs = (lifecycle.replay(deps, TASK, v, dataset) for v in (dice, sure))
    assert not ours.certificate.deterministic
    assert theirs.certificate.deterministic
    for one, other in ((ours, theirs), (theirs, ours)):
        with pytest.raises(Refused, match="is not deterministic: 0 of 16"):
            lifecycle.gate(deps, TASK, one, other, dataset, stages.GATE)


def test_a_gate_report_is_stored_once_and_found_by_its_digest(deps: Deps, dataset: Dataset) -> None:
    good, old = version(deps, "good"), version(deps, "stubborn")
    ours, theirs = (lifecycle.replay(deps, TASK, v, dataset) for v in (good, old))
    report = lifecycle.gate(deps, TASK, ours, theirs, dataset, stages.GATE)
    assert report.verdict is Outcome.PASS, report.missing_evidence()
    assert lifecycle.gate(deps, TASK, ours, theirs, dataset, stages.GATE) == report
    lifecycle.gate(deps, TASK, ours, theirs, dataset, stages.lenient())
    with deps.db.transaction() as conn:
        stored = lifecycle.judge.gates.find(conn, report.digest)
        attempts = conn.execute("select attempt from gate_reports order by attempt").fetchall()
        latest = lifecycle.judge.gates.latest(conn, good.policy_version_id)
        assert lifecycle.judge.gates.latest(conn, old.policy_version_id) is None
        with pytest.raises(UsageError, match="no gate report sha256:0"):
            lifecycle.judge.gates.find(conn, "sha256:0")
    assert (stored.report, stored.policy_version_id, stored.fingerprint, stored.attempt) == (
        report, good.policy_version_id, good.fingerprint, 1,
    )  # fmt: skip
    assert [row["attempt"] for row in attempts] == [1, 2], "each look at the test split is counted"
    assert latest is not None


def test_an_empty_test_split_is_refused(deps: Deps, tmp_path: Path) -> None:
    shares = {Split.TRAIN: 8000, Split.VALIDATION: 2000, Split.TEST: 0}
    dataset = publish(
        str(tmp_path), TASK, replayed.stored(60), since=rows.at(0), until=rows.at(2), shares=shares,
        minimum=dict.fromkeys(Split, 0),
    )  # fmt: skip
    with pytest.raises(Refused, match="no held-out example"):
        lifecycle.replay(deps, TASK, version(deps, "good"), dataset)
