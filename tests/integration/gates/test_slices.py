"""Slices are opened once, by counts, in the database; gates read what is open and are counted."""

from dataclasses import replace

import psycopg
import pytest

import rows
import stages
from bakeoff import lifecycle
from bakeoff.adapters import postgres
from bakeoff.errors import Refused
from bakeoff.gates import store as gates
from bakeoff.gates.model import Outcome
from bakeoff.lifecycle import Deps
from bakeoff.plugins import migration_folders
from bakeoff.replay.model import Certificate
from bakeoff.task import Calibration
from strict_shop import GATE, Shop, Strict, open_shop, put, stored


def opened(deps: Deps) -> list[tuple[int, int]]:
    """(opening, slice)"""
    with deps.db.transaction() as conn:
        found = conn.execute("select opening, slice from open_slices order by opening, slice").fetchall()
    return [(row["opening"], row["slice"]) for row in found]


def judge_slices(shop: Shop, **asked: object) -> object:
    """What the command line does before it replays."""
    compared = (shop.version("good"), shop.version("stubborn"))
    return lifecycle.open_slices(shop.deps, shop.task, shop.dataset, GATE, compared, **asked)  # type: ignore[arg-type]


def test_the_first_gate_opens_one_slice_where_it_holds_enough_units_and_reads_no_other(deps: Deps) -> None:
    shop = open_shop(deps)
    report = shop.gate(shop.version("good"))
    assert opened(shop.deps) == [(1, 1)]
    assert (report.subject["slices"], report.subject["opening"], report.attempt) == ("1", "1", 1)
    assert 39 <= report.units < shop.dataset.splits["test"] / 2, "one of four slices"
    with shop.deps.db.transaction() as conn:
        total = conn.execute("select count(distinct example_id) as n from offline_replay_results").fetchone()
    assert total == {"n": shop.dataset.splits["test"]}, "more was replayed than the gate may read"


def test_later_candidates_are_judged_on_the_same_slices_and_counted(deps: Deps) -> None:
    shop = open_shop(deps)
    first = shop.gate(shop.version("good"))
    second = shop.gate(shop.ours("bad_in_the_north"))
    again = shop.gate(shop.version("good"))
    assert opened(shop.deps) == [(1, 1)]
    assert (first.attempt, second.attempt) == (1, 2)
    assert again == first, "the same judgement again is no other attempt"


def test_fresh_opens_the_next_slice_and_counts_from_one(deps: Deps) -> None:
    shop = open_shop(deps)
    old = shop.gate(shop.version("good"))
    judge_slices(shop, fresh=True)
    judge_slices(shop, fresh=True)  # as after a crash: it was not judged on, so it is still fresh
    assert opened(shop.deps) == [(1, 1), (2, 2)]
    new = shop.gate(shop.version("good"))
    assert (new.subject["slices"], new.attempt) == ("2", 1)
    assert new.digest != old.digest


def test_after_the_last_slice_only_newer_weeks_are_fresh(deps: Deps) -> None:
    shop = open_shop(deps)
    judge_slices(shop, slices=4)
    shop.gate(shop.version("good"))
    with pytest.raises(Refused, match="all 4 slices have been read, and newer weeks hold 0.0"):
        judge_slices(shop, fresh=True)
    more = put(deps, shop.task, [*stored(300), *stored(300, day=3, prefix="n")], until=5)
    newer = Shop(deps, shop.task, more)
    judge_slices(newer, fresh=True)
    assert opened(deps)[4:] == [(2, 1), (2, 2), (2, 3), (2, 4)]
    report = newer.gate(shop.version("good"))
    assert report.subject["since"] == rows.at(2).isoformat(), "the end of what was judged before"
    assert (report.rows, report.attempt) == (shop.dataset.splits["test"], 1), "one new row for each shopper"


def test_a_replay_that_leaves_out_a_slice_is_refused(deps: Deps) -> None:
    shop = open_shop(deps)
    judge_slices(shop, slices=2)
    versions = (shop.version("good"), shop.version("stubborn"))
    ours, theirs = (lifecycle.replay(shop.deps, shop.task, v, shop.dataset, slices=[1]) for v in versions)
    with pytest.raises(Refused, match="covers slices 1 of the test split; the gate reads slices 1, 2"):
        lifecycle.gate(shop.deps, shop.task, ours, theirs, shop.dataset, GATE)
    ours, theirs = (lifecycle.replay(shop.deps, shop.task, v, shop.dataset, slices=[2, 1]) for v in versions)
    assert lifecycle.gate(shop.deps, shop.task, ours, theirs, shop.dataset, GATE).verdict is Outcome.PASS


def test_a_few_units_say_how_many_there_are(deps: Deps) -> None:
    shop = open_shop(deps, 30)
    report = shop.gate(shop.version("good"))
    assert report.verdict is Outcome.INCONCLUSIVE
    assert report.subject["slices"] == "1,2,3,4", "all of them were not enough"
    assert "30 are needed" in report.because()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("delete from open_slices", "append-only"),
        ("update open_slices set opening = 2", "append-only"),
        ("truncate open_slices", "append-only"),
        ("insert into open_slices select task, 2, slice, since, opened_at, dataset_digest, 'again' from open_slices",
         "a_seal_breaks_once"),
        ("insert into open_slices select task, 2, 5, since, opened_at, dataset_digest, 'fifth' from open_slices",
         "slice_check"),
    ],
)  # fmt: skip
def test_the_database_keeps_a_broken_seal_broken(deps: Deps, statement: str, message: str) -> None:
    shop = open_shop(deps)
    judge_slices(shop)
    with pytest.raises((psycopg.Error, Refused), match=message), shop.deps.db.transaction() as conn:
        conn.execute(statement)  # type: ignore[call-overload]


def test_reports_from_before_slices_have_opened_all_of_them(postgres_server: str, conn: postgres.Connection) -> None:
    """Their gates read the whole test split; a first look at it is no longer to be had."""
    conn.execute("create schema before; set search_path to before")
    folder = migration_folders()["bakeoff"]
    for script in sorted(folder.glob("*.sql")):
        if script.name >= "0006":
            break
        conn.execute(script.read_text(encoding="utf-8").encode())
    rows.policy(conn)
    version = rows.version(conn, 1)
    digest = rows.report(conn, version, 1)
    rows.report(conn, version, 1, created_at=rows.at(3))
    conn.execute((folder / "0006_gates.sql").read_text(encoding="utf-8").encode())
    found = gates.reading(conn, "toy")
    assert found is not None
    assert (found.opening, found.slices, found.attempts) == (1, (1, 2, 3, 4), 2)
    assert gates.sealed(conn, "toy") == ()
    row = conn.execute("select task, opening, question from gate_reports where digest = %s", (digest,)).fetchone()
    assert row == {"task": "toy", "opening": 1, "question": None}
    with pytest.raises(psycopg.Error, match="append-only"):
        conn.execute("delete from gate_reports")


# ---- what else is asked of real replays ----


def test_a_prediction_decides_where_nearly_every_row_was_proposed_by_the_incumbent(deps: Deps) -> None:
    """Design rule 6 from the log to the verdict."""
    calibration = Calibration(metric="effort", bias=0.02, bias_se=0.03, rows=60, units=60)
    old = stages.python_version(deps, "stubborn")
    log = stored(300, author=old.policy_version_id)
    shop = Shop(deps, Strict(unaided=0.05, calibration=calibration), put(deps, Strict(unaided=0.05), log))
    report = shop.gate(shop.version("good"), old)
    right = next(verdict for verdict in report.verdicts if verdict.metric == "right")
    assert (right.fallback, right.outcome) == ("effort", Outcome.PASS)
    assert 0 < report.neutral_rows < 10
    assert report.verdict is Outcome.PASS, report.because()
    assert [(each.metric, each.pairs) for each in report.anchored] == [("right", report.rows - report.neutral_rows)]
    assert [each.holds for each in report.calibrations] == [True]
    unchecked = shop.with_task(Strict(unaided=0.05)).gate(shop.version("good"), old)
    assert unchecked.verdict is Outcome.INCONCLUSIVE
    assert "never compared with what people did" in unchecked.because()


def test_a_remote_engine_s_noise_is_compared_with_the_margins(deps: Deps) -> None:
    shop = open_shop(deps)
    versions = (shop.version("good"), shop.version("stubborn"))
    ours, theirs = (lifecycle.replay(shop.deps, shop.task, v, shop.dataset) for v in versions)

    def judged(**moved: float) -> Outcome:
        certificate = Certificate(rows=40, equal=33, kind="noise", noise=moved)
        noisy = replace(ours, certificate=certificate)
        return lifecycle.gate(shop.deps, shop.task, noisy, theirs, shop.dataset, GATE).verdict

    assert judged(right=0.01, effort=0.02) is Outcome.PASS
    assert judged(right=0.05, effort=0.02) is Outcome.INCONCLUSIVE
    assert judged(right=0.01) is Outcome.INCONCLUSIVE, "nobody measured the other one"
    with pytest.raises(Refused, match="not deterministic"):
        local = replace(ours, certificate=Certificate(rows=40, equal=33))
        lifecycle.gate(shop.deps, shop.task, local, theirs, shop.dataset, GATE)
