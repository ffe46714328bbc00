"""Replay through the loop, over a dataset in a folder: resumed after a kill, certified, refused when it wavers."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import replayed
import rows
import stages
from bakeoff import lifecycle
from bakeoff.adapters.postgres import Database
from bakeoff.datasets import files
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.publish import publish
from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.gates.model import Outcome
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store
from bakeoff.replay.repeats import averaged
from bakeoff.task import PythonAnswer, Request
from bakeoff.training.tracker import Tracker

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


# ---- which rows, and how often ---------------------------------------------------------------------------------------


def test_slices_of_the_test_split_are_replayed_apart_and_together_are_all_of_it(deps: Deps, dataset: Dataset) -> None:
    one = version(deps, "good")
    reports = [lifecycle.replay(deps, TASK, one, dataset, slices=slices) for slices in ([1], [2], [3, 4], None)]
    with deps.db.transaction() as conn:
        found = [{row.example_id for row in store.rows(conn, report.replay_id)} for report in reports]
    numbers = {row.example.example_id: row.slice for row in files.load(dataset.uri, splits=(Split.TEST,))}
    assert [{numbers[each] for each in ids} for ids in found] == [{1}, {2}, {3, 4}, {1, 2, 3, 4}]
    assert sum(map(len, found[:3])) == len(found[3]) == len(numbers)
    assert [report.selection["slices"] for report in reports] == [[1], [2], [3, 4], None]
    assert len({report.replay_id for report in reports}) == 4


def test_a_repeat_is_a_row_of_its_own_with_a_seed_of_its_own(deps: Deps, dataset: Dataset) -> None:
    dice = replayed.python_version(deps, "fickle", seed=10)
    many = lifecycle.replay(deps, TASK, dice, dataset, repeats=3)
    singly = [
        lifecycle.replay(deps, TASK, replayed.python_version(deps, "fickle", seed=10 + n), dataset) for n in range(3)
    ]
    with deps.db.transaction() as conn:
        rows_ = store.rows(conn, many.replay_id)
        alone = [store.rows(conn, report.replay_id) for report in singly]
    assert [row.key for row in rows_] == sorted(row.key for row in rows_)
    by_repeat = [[row.raw_answer for row in rows_ if row.repeat == n] for n in range(3)]
    assert by_repeat == [[row.raw_answer for row in each] for each in alone]
    means = averaged(rows_)
    assert len(means) == len(alone[0])
    assert many.aggregates["right"] == pytest.approx(
        sum(float(row.metrics["right"] or 0) for row in means) / len(means)
    )
    assert (many.repeats, many.selection, many.certificate.deterministic) == (3, singly[0].selection, True)


# ---- what else is written --------------------------------------------------------------------------------------------


def test_a_row_says_what_was_asked(deps: Deps, dataset: Dataset) -> None:
    report = lifecycle.replay(deps, TASK, version(deps, "broken"), dataset, sample=3)
    digests = {row.example.example_id: row.request_digest for row in files.load(dataset.uri, splits=(Split.TEST,))}
    with deps.db.transaction() as conn:
        found = store.rows(conn, report.replay_id)
    assert [row.request_digest for row in found] == [digests[row.example_id] for row in found]
    for row in found:
        assert (row.parsed_answer, row.answer, row.prompt_digest) == ({"drink": "petrol"}, {"drink": "tea"}, None)
        assert [violation.rule for violation in row.violations] == ["unknown_drink"]
        assert row.metrics == {"right": 0.0, "known_drink": 0.0}


class Away:
    """A tracker that does not answer the first time."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.calls = tracker, 0

    def log_metrics(self, *args: Any) -> None:
        self.calls += 1
        if self.calls == 1:
            raise Unreachable("MLflow is away")
        self.tracker.log_metrics(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tracker, name)


def test_a_trained_model_s_run_gets_the_aggregates_even_if_the_tracker_was_away(deps: Deps, dataset: Dataset) -> None:
    run_id = deps.tracker.start_run("train", {}, {"task": "toy"})
    spec = version(deps, "counting", __name__).spec
    with deps.db.transaction() as conn:
        trained = policies.create_version(
            conn, stages.POLICY, replace(spec, seed=1), now=rows.at(2), mlflow_model_name="toy_model",
            mlflow_model_version="1", mlflow_run_id=run_id,
        )  # fmt: skip
    wired = replace(deps, tracker=cast(Any, Away(deps.tracker)))
    with pytest.raises(Unreachable, match="MLflow is away"):
        lifecycle.replay(wired, TASK, trained, dataset, sample=9, certificate_rows=0)
    assert len(asked) == 9
    report = lifecycle.replay(wired, TASK, trained, dataset, sample=9, certificate_rows=0)
    assert len(asked) == 9, "the rows were there"
    held = lifecycle.replay(wired, TASK, trained, dataset, split=Split.VALIDATION)
    run = deps.tracker.read_run(run_id)
    for name, value in report.aggregates.items():
        assert run.metrics[f"replay_{name}"] == pytest.approx(value)
    assert run.metrics["replay_validation_right"] == pytest.approx(held.aggregates["right"])
    assert run.tags["replay_id"] == report.replay_id
    assert run.tags["replay_validation_id"] == held.replay_id


def test_a_function_that_changed_is_not_mixed_with_what_it_was(
    deps: Deps, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay is killed, then somebody edits the policy and forgets to give it another version."""
    one = version(deps, "counting", __name__)
    before = lifecycle.replay(deps, TASK, one, dataset, sample=4, certificate_rows=0)
    fails_at.append(7)
    with pytest.raises(KeyboardInterrupt):
        lifecycle.replay(deps, TASK, one, dataset, sample=12, certificate_rows=0)
    asked.clear()
    monkeypatch.setattr("bakeoff.replay.answer.package_digest", lambda _: "sha256:edited")
    report = lifecycle.replay(deps, TASK, one, dataset, sample=12, certificate_rows=0)
    assert len(asked) == 12, "none of the three rows that were there is one of these"
    assert report.engine["code"] == "sha256:edited"
    asked.clear()
    assert lifecycle.replay(deps, TASK, one, dataset, sample=4, certificate_rows=0) != before
    assert len(asked) == 4
