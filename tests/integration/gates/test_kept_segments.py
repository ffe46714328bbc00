"""A gate takes what kind of row each one is from the replay, and asks the task where that cannot be trusted."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bakeoff import lifecycle
from bakeoff.gates.model import GateReport, Outcome
from bakeoff.lifecycle import Deps
from bakeoff.replay import scores, store
from bakeoff.replay.model import ReplayReport, rows_digest
from bakeoff.task import Example
from strict_shop import GATE, Shop, Strict, open_shop

ALL = replace(GATE, slices_per_gate=4)


class Asked(Strict):
    """Counts how often it was asked what kind of row one is."""

    times = 0

    def segments(self, example: Example) -> Mapping[str, str]:
        type(self).times += 1
        return super().segments(example)


@pytest.fixture
def shop(deps: Deps) -> Shop:
    Asked.times = 0
    return open_shop(deps, task=Asked())


def replays(shop: Shop) -> tuple[ReplayReport, ReplayReport]:
    ours, theirs = (lifecycle.replay(shop.deps, shop.task, shop.version(v), shop.dataset) for v in ("good", "stubborn"))
    return ours, theirs


def judged(shop: Shop, sides: tuple[ReplayReport, ReplayReport], task: Strict | None = None) -> tuple[GateReport, int]:
    """The gate as if no report was there yet, and how often it asked the task."""
    erase(shop, "delete from gate_reports")
    before = Asked.times
    report = lifecycle.gate(shop.deps, task or shop.task, *sides, shop.dataset, ALL)
    return report, Asked.times - before


def erase(shop: Shop, statement: str, *args: Any) -> None:
    with shop.deps.db.transaction() as conn:
        conn.execute("set local bakeoff.erasure = 'on'")
        conn.execute(statement, args)


def text(report: GateReport) -> str:
    return json.dumps(report.to_json())


def test_the_first_gate_of_a_candidate_neither_asks_the_task_nor_reads_the_requests(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = replays(shop)
    monkeypatch.setattr(lifecycle.tier.dataset_files, "stream", lambda *_, **__: pytest.fail("nobody may read"))
    report, asked = judged(shop, sides)
    assert report.verdict is Outcome.PASS, report.because()
    assert report.tier is not None
    assert [segment.name for segment in report.tier.segments] == ["region = north", "region = south"]
    assert asked == 0


def test_what_cannot_be_trusted_is_read_again_and_the_report_is_the_same_to_the_byte(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = replays(shop)
    ours, theirs = sides
    expected, rows = text(judged(shop, sides)[0]), expected_rows(shop, ours)

    def read(sides: tuple[ReplayReport, ReplayReport] = sides, shop: Shop = shop) -> None:
        report, asked = judged(shop, sides)
        assert (text(report), asked) == (expected, rows)

    read((replace(ours, segments_digest=None), theirs))  # a replay from before there were any
    read((replace(ours, segments_digest="sha256:0"), theirs))
    with monkeypatch.context() as patched:  # the task's code was changed since
        patched.setattr(lifecycle.tier, "scored_by", lambda task: {**ours.scored_by, "task": "sha256:0"})
        read()
    read(shop=shop._replace(dataset=replace(shop.dataset, digest="sha256:other")))  # it was over another dataset
    erase(shop, "update offline_replay_results set segments = '{\"region\": \"north\"}' where replay_id = %s",
          ours.replay_id)  # fmt: skip
    read()
    erase(shop, "update offline_replay_results set segments = null where replay_id = %s and example_id = "
          "(select max(example_id) from offline_replay_results)", ours.replay_id)  # fmt: skip
    read()


def expected_rows(shop: Shop, replay: ReplayReport) -> int:
    with shop.deps.db.transaction() as conn:
        return len(store.answered(conn, replay.replay_id))


def test_a_task_with_other_code_says_for_itself_what_its_rows_are(shop: Shop) -> None:
    """The replay's segments are those of the code that scored it."""
    report, _ = judged(shop, replays(shop), _Finer())
    assert report.tier is not None
    assert {segment.feature for segment in report.tier.segments} == {"region", "likes"}


class _Finer(Strict):
    def segments(self, example: Example) -> Mapping[str, str]:
        return {**super().segments(example), "likes": example.request["likes"]}


class Silent(Strict):
    def segments(self, example: Example) -> Mapping[str, str]:
        return {}


class Wrong(Strict):
    def segments(self, example: Example) -> Mapping[str, str]:
        return {"region": example.request["country"]}


def test_a_task_without_segments_is_not_asked_again_either(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = open_shop(deps, task=Silent())
    sides = replays(shop)
    assert sides[0].segments_digest is not None
    monkeypatch.setattr(Silent, "segments", lambda *_: pytest.fail("it was asked at replay time"))
    report, _ = judged(shop, sides)
    assert report.verdict is Outcome.PASS
    assert report.tier is not None
    assert report.tier.segments == ()


def test_a_task_that_cannot_say_it_stops_the_gate_and_no_replay(deps: Deps) -> None:
    shop = open_shop(deps, task=Wrong())
    sides = replays(shop)
    assert sides[0].segments_digest is None
    with pytest.raises(KeyError, match="country"):
        judged(shop, sides)


def test_a_replay_that_was_begun_before_there_were_segments_vouches_for_none(shop: Shop) -> None:
    """Its first rows have none; those that are answered now have."""
    done = replays(shop)[0]
    erase(shop, "update replays set status = 'running', digest = null, finished_at = null, segments_digest = null "
          "where replay_id = %s", done.replay_id)  # fmt: skip
    erase(shop, "update offline_replay_results set segments = null where replay_id = %s and example_id < 'd150'",
          done.replay_id)  # fmt: skip
    erase(shop, "delete from offline_replay_results where replay_id = %s and example_id > 'd200'", done.replay_id)
    ended = replays(shop)[0]
    assert (ended.replay_id, ended.digest) == (done.replay_id, done.digest)
    assert ended.segments_digest is None
    with shop.deps.db.transaction() as conn:
        kept = scores.segments(conn, ended.replay_id)
    assert {name for name, said in kept.items() if said is None} == {name for name in kept if name < "d150"}


def test_segments_are_no_part_of_a_replay_s_digest(shop: Shop) -> None:
    """Replays of earlier versions keep theirs, and the reports that name them."""
    ours = replays(shop)[0]
    with shop.deps.db.transaction() as conn:
        rows = store.rows(conn, ours.replay_id)
    assert {row.segments["region"] for row in rows if row.segments} == {"north", "south"}
    assert rows_digest([replace(row, segments=None) for row in rows]) == ours.digest


BEHAVIOUR = """
select count(*) as rows, avg(cast(c.parsed_answer is not distinct from i.parsed_answer as int)) as same_answers,
    avg(c.completion_tokens) as tokens, avg(cast(c.parsed_answer is null as int)) as unreadable,
    avg(cast(c.answer is null as int)) as unserved, avg(cast(c.violations <> '[]' as int)) as violating,
    percentile_cont(0.5) within group (order by c.latency_s) as p50,
    percentile_cont(0.95) within group (order by c.latency_s) as p95
from offline_replay_results c join offline_replay_results i using (example_id, repeat)
where c.replay_id = %s and i.replay_id = %s and repeat = 0 and example_id = any(%s)
"""


def test_behaviour_is_what_sql_says_over_the_same_rows(shop: Shop) -> None:
    """To twelve digits, over all rows and over the open slices only."""
    ours, theirs = replays(shop)
    erase(shop, "update offline_replay_results set latency_s = random(), completion_tokens = random() * 400")
    erase(shop, "update offline_replay_results set parsed_answer = null, answer = null, violations = '[{}]' "
          "where replay_id = %s and example_id < 'd050'", ours.replay_id)  # fmt: skip
    erase(shop, "update offline_replay_results set parsed_answer = '{\"drink\": 1.0}' where example_id > 'd290'")
    erase(shop, "update offline_replay_results set parsed_answer = '{\"drink\": 1}' where example_id > 'd290' "
          "and replay_id = %s", ours.replay_id)  # fmt: skip
    for slices in (4, 1):
        with shop.deps.db.transaction() as conn:
            sides = [scores.scores(conn, side.replay_id, ["right"]) for side in (ours, theirs)]
            judged_ids = sides[0].example_ids[: len(sides[0].example_ids) * slices // 4]
            named = None if slices == 4 else judged_ids
            same = scores.same_answers(conn, ours.replay_id, theirs.replay_id, named)
            row = conn.execute(BEHAVIOUR, (ours.replay_id, theirs.replay_id, judged_ids)).fetchone()
        found = lifecycle.tier.tier.behaviour(*sides, np.arange(len(judged_ids)).tolist(), same_answers=same)
        assert row is not None
        side = found.candidate
        for name, value in (
            ("same_answers", found.same_answers), ("tokens", side.completion_tokens), ("unreadable", side.unreadable),
            ("unserved", side.unserved), ("violating", side.violating), ("rows", found.rows),
            ("p50", side.latency_p50_s), ("p95", side.latency_p95_s),
        ):  # fmt: skip
            assert value == float(f"{float(row[name]):.12g}"), name
