"""Bulk import into a real PostgreSQL: nothing twice, nothing lost, nothing silently dropped."""

import gzip
import json
import random
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import stages
import toy
from bakeoff import lifecycle
from bakeoff.errors import Refused, UsageError
from bakeoff.events import importing, sources
from bakeoff.events import store as events
from bakeoff.events.model import decision_id
from bakeoff.fingerprint import canonical_json, digest
from bakeoff.inference.model import external_spec
from bakeoff.lifecycle import Deps

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
TASK = toy.ToyTask()
VERSION = "toy_policy/1"


@pytest.fixture
def shop(deps: Deps) -> Deps:
    """The application itself was adopted: it served since `SINCE`."""
    version = lifecycle.create_policy(deps, stages.POLICY, external_spec("toy", "the shop of 2024"))
    lifecycle.adopt(deps, version, signed_by="Ada", reason="it served before", since=SINCE)
    return deps


def decision(n: int, **other: Any) -> dict[str, Any]:
    row = {
        "event_type": "offered",
        "unit_id": f"shopper-{n % 7}",
        "decision_id": f"offer-{n}",
        "occurred_at": (SINCE + timedelta(hours=n)).isoformat(),
        "payload": {"answer": {"drink": "tea"}},
        "request": {"likes": "tea", "day": n, "note": "é\u2028"},
    }
    return {**row, **other}


def accepted(n: int, **other: Any) -> dict[str, Any]:
    row = {
        "event_type": "accepted",
        "unit_id": f"shopper-{n % 7}",
        "decision_id": f"offer-{n}",
        "occurred_at": (SINCE + timedelta(hours=n, minutes=5)).isoformat(),
        "payload": {"accepted_by": "user", "drink": "tea"},
    }
    return {**row, **other}


def history(rows: int) -> list[dict[str, Any]]:
    return [row for n in range(rows) for row in (decision(n), accepted(n))]


def lines(path: Path, rows: Iterable[Any]) -> Path:
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def bring(deps: Deps, path: Path, *, policy: str | None = VERSION, **how: Any) -> importing.Report:
    source = sources.open_file(path)
    rejects = path.with_name(f"{path.name}.rejects.jsonl")
    return lifecycle.import_events(deps, TASK, source, policy_version=policy, **{"rejects": rejects, **how})


def rejected(report: importing.Report) -> list[dict[str, Any]]:
    assert report.rejects is not None
    return [json.loads(line) for line in report.rejects.read_bytes().splitlines()]


def log(deps: Deps) -> list[tuple[Any, ...]]:
    with deps.db.transaction() as conn:
        found = conn.execute(
            "select event_id::text, content_digest, event_type, unit_id, decision_id::text, occurred_at, "
            "payload::text, origin, request_digest, assignment_probability from events order by event_id"
        ).fetchall()
    return [tuple(row.values()) for row in found]


def counted(report: importing.Report) -> tuple[int, int, int, int]:
    counts = report.counts
    return counts.decisions, counts.outcomes, counts.already_there, counts.rejected.total()


# ---- what comes in ----


def test_history_becomes_episodes_of_the_adopted_version(shop: Deps, tmp_path: Path) -> None:
    report = bring(shop, lines(tmp_path / "log.jsonl", history(20)))
    assert counted(report) == (20, 20, 0, 0)
    assert report.rejects is None
    assert not (tmp_path / "log.jsonl.rejects.jsonl").exists()
    with shop.db.transaction() as conn:
        found = list(events.episodes(conn, "toy", since=SINCE, until=SINCE + timedelta(days=9)))
    assert len(found) == 20
    assert all(episode.accepted() for episode in found)
    first = next(e for e in found if e.need_id == "0").decision
    assert (first.origin, first.assignment_probability) == ("backfill", 1.0)
    assert first.decision_id == decision_id(stages.POLICY, "offer-0")


def test_a_request_is_kept_as_its_canonical_text(shop: Deps, tmp_path: Path) -> None:
    """Its sha256 is its identity; numbers that are spelt in several ways, and big ones, included."""
    odd = '{"z":1.0,"day":7,"likes":"tea","a":[1e16,0.00001,-0.0,123456789012345678901234567890,null],"é":"\\u2028"}'
    row = json.dumps(decision(7, request="@")).replace('"@"', odd)
    bring(shop, lines(tmp_path / "log.jsonl", [row]))
    with shop.db.transaction() as conn:
        stored = conn.execute("select digest, body::text as text from requests").fetchone()
    assert stored is not None
    assert stored["text"] == canonical_json(json.loads(odd))
    assert stored["digest"] == digest(json.loads(odd))


def test_ids_that_are_uuids_are_taken_and_an_outcome_without_one_is_known_by_its_content(
    shop: Deps, tmp_path: Path
) -> None:
    ident, other = str(uuid.uuid4()), str(uuid.uuid4())
    given = [decision(1, decision_id=ident), accepted(1, decision_id=ident.upper(), event_id=other)]
    bring(shop, lines(tmp_path / "a.jsonl", given))
    assert {row[0] for row in log(shop)} == {ident, other}
    nameless = [accepted(1, decision_id=ident), accepted(1, decision_id=ident, unit_id="shopper-1")]
    assert counted(bring(shop, lines(tmp_path / "b.jsonl", nameless))) == (0, 1, 1, 0)


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet", "parquet with structs"])
def test_other_kinds_of_files_are_the_same_history(shop: Deps, tmp_path: Path, kind: str) -> None:
    rows = history(15)
    bring(shop, lines(tmp_path / "log.jsonl", rows))
    before = log(shop)
    path = tmp_path / ("log.jsonl.gz" if kind == "jsonl.gz" else "log.parquet")
    if kind == "jsonl.gz":
        path.write_bytes(gzip.compress((tmp_path / "log.jsonl").read_bytes()))
    else:
        columns = ("event_type", "unit_id", "decision_id", "occurred_at", "payload", "request")
        values = {name: [row.get(name) for row in rows] for name in columns}
        values["occurred_at"] = [datetime.fromisoformat(str(moment)) for moment in values["occurred_at"]]
        if kind == "parquet":
            for name in ("payload", "request"):
                values[name] = [None if value is None else json.dumps(value) for value in values[name]]
        else:
            values["payload"] = [json.dumps(value) for value in values["payload"]]
        pq.write_table(pa.table(values), path)
    assert counted(bring(shop, path)) == (0, 0, 30, 0)
    assert log(shop) == before


def test_rows_of_a_query_of_the_applications_own_tables(shop: Deps, dsn: str, tmp_path: Path) -> None:
    from bakeoff.adapters import postgres

    with postgres.connect(dsn, "public") as app:
        app.execute("create table offers (id text, who text, at timestamptz, request jsonb, liked text)")
        for n in range(5):
            row = decision(n)
            app.execute(
                "insert into offers values (%s, %s, %s, %s, 'tea')",
                (row["decision_id"], row["unit_id"], row["occurred_at"], json.dumps(row["request"])),
            )
        app.commit()
        query = """
            select 'offered' as event_type, who as unit_id, id as decision_id, at as occurred_at, request,
                   jsonb_build_object('answer', jsonb_build_object('drink', 'tea')) as payload from offers
            union all
            select 'accepted', who, id, at + interval '5 minutes', null,
                   jsonb_build_object('accepted_by', 'user', 'drink', liked) from offers
        """
        for expected in ((5, 5, 0, 0), (0, 0, 10, 0)):
            report = lifecycle.import_events(
                shop, TASK, sources.Query(app, query), policy_version=VERSION, rejects=tmp_path / "r.jsonl"
            )
            assert counted(report) == expected
        with pytest.raises(UsageError, match="the query failed"):
            lifecycle.import_events(
                shop, TASK, sources.Query(app, "select nonsense"), policy_version=VERSION, rejects=tmp_path / "r.jsonl"
            )


def test_a_mapping_function_makes_rows_of_own_lines(shop: Deps, tmp_path: Path) -> None:
    def to_events(line: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        if line["kind"] == "offer":
            yield decision(line["n"])
            yield accepted(line["n"], payload={"accepted_by": line["by"]})  # what was drunk is missing
        elif line["kind"] == "broken":
            raise KeyError("who")

    own = [{"kind": "offer", "n": 3, "by": "user"}, {"kind": "login"}, {"kind": "broken"}]
    report = bring(shop, lines(tmp_path / "app.jsonl", own), mapped=("shop:to_events", to_events))
    assert counted(report) == (1, 0, 0, 2)
    assert (report.counts.lines, report.counts.no_event) == (3, 1)
    first, second = rejected(report)
    assert (first["line"], first["reason"], first["row"]) == (1, "missing field", own[0])
    assert first["event"]["payload"] == {"accepted_by": "user"}
    assert (second["line"], second["reason"]) == (3, "the mapping function failed")


class Archive(toy.ToyTask):
    """Keeps its requests in tables of its own."""

    def requests(self, conn: Any, keys: Any) -> Any:
        if any(key.need_id == "13" for key in keys):
            raise RuntimeError("no thirteenth day")
        known = conn.execute("select generate_series(0, 15) as day").fetchall()
        days = {str(row["day"]) for row in known}
        return [{"likes": "tea", "day": int(key.need_id)} if key.need_id in days else None for key in keys]


def test_the_task_builds_requests_from_keys(shop: Deps, tmp_path: Path) -> None:
    """In batches; a key that it cannot build, or that breaks it, is refused alone."""

    def keyed(n: int, **other: Any) -> dict[str, Any]:
        row = decision(n)
        del row["request"]
        key = {"unit_id": row["unit_id"], "need_id": str(n), "as_of": row["occurred_at"]}
        return {**row, "request_key": {**key, **other}}

    rows = [*map(keyed, range(18)), keyed(3, unit_id="somebody else"), keyed(4, as_of="yesterday"), accepted(1)]
    report = lifecycle.import_events(
        shop, Archive(), sources.open_file(lines(tmp_path / "log.jsonl", rows)), policy_version=VERSION,
        rejects=tmp_path / "r.jsonl",
    )  # fmt: skip
    assert counted(report) == (15, 1, 0, 5)
    assert report.counts.rejected == {"the request cannot be built": 3, "no request": 1, "bad time": 1}
    assert "no thirteenth day" in next(row["detail"] for row in rejected(report) if row["line"] == 14)


# ---- what does not come in ----

BAD = [
    ("{", "not JSON"),
    ('{"event_type": NaN}', "not JSON"),
    ("[1, 2]", "not an object"),
    (decision(1, event_type="ofered"), "unknown event type"),
    (accepted(1, event_type=7), "wrong type"),
    (decision(1, colour="red"), "unknown field"),
    (accepted(1, request={"day": 1}), "unknown field"),
    (decision(1, unit_id=None), "missing field"),
    (decision(1, unit_id=""), "wrong type"),
    (decision(1, unit_id=12), "wrong type"),
    (decision(1, unit_id="a\0b"), "wrong type"),
    (decision(1, unit_id="\ud800"), "cannot be kept"),
    (accepted(1, payload=[]), "wrong type"),
    (accepted(1, payload={"accepted_by": "user"}), "missing field"),
    (accepted(1, payload={"accepted_by": 1, "drink": "tea"}), "wrong type"),
    (accepted(1, payload={"accepted_by": "user", "drink": "t\0"}), "cannot be kept"),
    (decision(1, occurred_at="2024-02-30T00:00:00Z"), "bad time"),
    (decision(1, occurred_at="2024-02-03T00:00:00"), "bad time"),
    (decision(1, occurred_at=1704067200), "bad time"),
    (decision(1, occurred_at="2031-01-01T00:00:00Z"), "in the future"),
    (decision(1, occurred_at="2023-12-31T23:59:59Z"), "it did not serve then"),
    (decision(1, request=None), "no request"),
    (decision(1, request=[1]), "wrong type"),
    (decision(1, request={"likes": "tea"}), "the task cannot read the request"),
    (decision(1, need_id="2"), "wrong need"),
    (decision(1, action_propensity=1.5), "wrong type"),
    (decision(1, context={"experiment_id": "e"}), "no context"),
    (
        decision(1, context={n: str(uuid.uuid4()) for n in ("experiment_id", "variant_id", "policy_version_id")}),
        "unknown variant",
    ),
]


def test_every_bad_row_is_in_the_file_of_rejects_with_line_and_reason(shop: Deps, tmp_path: Path) -> None:
    rows: list[Any] = [decision(0), *(row for row, _ in BAD), accepted(0)]
    path = tmp_path / "log.jsonl"
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n\n".join(texts))  # blank lines between, none at the end
    report = bring(shop, path)
    assert counted(report) == (1, 1, 0, len(BAD))
    found = rejected(report)
    assert [(row["line"], row["reason"]) for row in found] == [
        (2 * n + 1, reason) for n, (_, reason) in enumerate(BAD, start=1)
    ]
    for row, (was, _) in zip(found, BAD, strict=True):
        if isinstance(was, dict):
            assert row["row"] == was
        elif was.startswith("["):
            assert row["row"] == [1, 2]
        else:
            assert row["text"] == was
        assert "event" not in row
        assert row["detail"]


def test_without_a_policy_version_every_row_has_to_bring_its_context(shop: Deps, tmp_path: Path) -> None:
    with shop.db.transaction() as conn:
        variant = conn.execute("select experiment_id::text, variant_id::text, policy_version_id::text from variants")
        (context,) = variant.fetchall()
    rows = [decision(1), decision(2, context=context), accepted(2, context={**context, "decision_id": "offer-2"})]
    report = bring(shop, lines(tmp_path / "log.jsonl", rows), policy=None)
    assert counted(report) == (1, 1, 0, 1)
    assert rejected(report)[0]["reason"] == "no context"
    assert all(row[-1] is None for row in log(shop))  # how likely that variant was, nobody said


def test_only_an_adopted_application_takes_rows_without_a_context(deps: Deps, tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", history(1))
    stages.open_shop(deps)
    with pytest.raises(UsageError, match="is answered by bakeoff"):
        bring(deps, path)
    never = lifecycle.create_policy(deps, stages.POLICY, external_spec("toy", "never adopted"))
    with pytest.raises(UsageError, match="was not adopted yet"):
        bring(deps, path, policy=never.name)


def test_an_id_with_other_content_is_refused_and_both_are_named(shop: Deps, tmp_path: Path) -> None:
    bring(shop, lines(tmp_path / "a.jsonl", [decision(1), accepted(1, event_id="a")]))
    before = log(shop)
    changed = [
        decision(1, request={"likes": "coffee", "day": 1}),
        decision(1, event_id="another name"),
        accepted(1, event_id="a", payload={"accepted_by": "user", "drink": "coffee"}),
        accepted(1, event_id="a"),
        decision(2),
        decision(2, payload={"answer": {"drink": "water"}}),  # within one file
    ]
    report = bring(shop, lines(tmp_path / "b.jsonl", changed))
    assert counted(report) == (1, 0, 1, 4)
    assert [row["line"] for row in rejected(report)] == [1, 2, 3, 6]
    assert report.counts.rejected == {"other content under the same id": 4}
    for row in (rejected(report)[0], rejected(report)[2]):
        assert row["detail"].count("sha256:") == 2
    assert [row for row in log(shop) if row in before] == before


def test_an_outcome_must_fit_its_decision_when_that_is_known(shop: Deps, tmp_path: Path) -> None:
    early = (SINCE + timedelta(hours=1) - timedelta(minutes=11)).isoformat()
    just = (SINCE + timedelta(hours=1) - timedelta(minutes=9)).isoformat()
    rows = [
        accepted(1, unit_id="somebody else"),  # before its decision in the file
        decision(1),
        accepted(1, occurred_at=early),
        accepted(1, occurred_at=just),
        accepted(99),  # nobody knows that decision: it may come later
    ]
    report = bring(shop, lines(tmp_path / "log.jsonl", rows))
    assert counted(report) == (1, 2, 0, 2)
    assert [row["reason"] for row in rejected(report)] == ["the context of another decision", "before its decision"]
    assert "unit_id somebody else, not shopper-1" in rejected(report)[0]["detail"]


def test_what_only_the_database_refuses_is_refused_alone(
    shop: Deps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that our own checks do not know does not lose the rows around it."""
    with shop.db.transaction() as conn:
        conn.execute("alter table events add constraint house check (unit_id <> 'shopper-3')")
    report = bring(shop, lines(tmp_path / "log.jsonl", history(20)))
    assert counted(report) == (17, 17, 0, 6)
    assert set(report.counts.rejected) == {"the database refuses"}


def test_undeclared_payload_fields_are_kept_and_counted(shop: Deps, tmp_path: Path) -> None:
    rows = [decision(1), accepted(1, payload={"accepted_by": "user", "drink": "tea", "mood": 3, "sugar": 1})]
    report = bring(shop, lines(tmp_path / "log.jsonl", rows))
    assert report.counts.unknown_fields == {"accepted.mood": 1, "accepted.sugar": 1, "offered.answer": 1}
    assert any('"mood": 3' in row[6] for row in log(shop))


@pytest.mark.parametrize(
    "text", ["tab\tand\nline\r", "back\\slash\\N", "\\", "quote'\"", "é\U0001f600\u2028", "a" * 9000]
)
def test_any_text_comes_through_copy_as_it_is(shop: Deps, tmp_path: Path, text: str) -> None:
    request = {"likes": text, "day": 1, text: [text]}
    drunk = {"accepted_by": "user", "drink": text}
    rows = [decision(1, unit_id=text, request=request), accepted(1, unit_id=text, payload=drunk)]
    assert counted(bring(shop, lines(tmp_path / "log.jsonl", rows))) == (1, 1, 0, 0)
    with shop.db.transaction() as conn:
        (episode,) = events.episodes(conn, "toy", since=SINCE, until=SINCE + timedelta(days=9))
    assert (episode.unit_id, episode.request, episode.outcomes[0].payload) == (text, request, drunk)
    assert digest(episode.request) == episode.request_digest


# ---- again, and on ----


def test_the_same_file_again_says_so_and_changes_nothing(shop: Deps, tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", [*history(5), "{"])
    first = bring(shop, path)
    before = log(shop)
    kept = path.with_name("moved.jsonl")
    path.rename(kept)
    second = bring(shop, kept)  # known by content, not by name
    assert second.finished_before is not None
    assert second.rejects is None  # the refused row is counted, but no file of that name is there
    assert second.counts == first.counts
    third = bring(shop, kept, again=True)
    assert third.finished_before is None
    assert counted(third) == (0, 0, 10, 1)
    assert log(shop) == before


def test_a_dry_run_keeps_nothing(shop: Deps, tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", [*history(5), "{"])
    report = bring(shop, path, dry_run=True)
    assert counted(report) == (5, 5, 0, 1)
    assert log(shop) == []
    assert list(tmp_path.glob("*.rejects.jsonl")) == []
    assert bring(shop, path).finished_before is None


def test_an_import_that_broke_off_goes_on_where_it_stopped(shop: Deps, tmp_path: Path) -> None:
    rows: list[Any] = history(50)
    rows[10:10] = ["{", json.dumps(decision(1, event_type="x"))]
    rows[90:90] = ["}"]
    path = lines(tmp_path / "log.jsonl", rows)
    moved = 0

    def stop(done: int, total: int) -> None:
        nonlocal moved
        moved += 1
        if moved == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), shop.progress.stage("x"):
        source = sources.open_file(path)
        from bakeoff.experiments import contexts

        with shop.db.transaction() as conn:
            reader = contexts.reader(conn, TASK, VERSION, now=shop.clock())
        rejects = path.with_name("log.jsonl.rejects.jsonl")
        importing.run(shop.db.transaction, reader, source, rejects=rejects, batch_rows=7, on_move=stop)
    with (tmp_path / "log.jsonl.rejects.jsonl").open("a") as file:
        file.write("what a killed process wrote and did not commit")
    report = bring(shop, path, batch_rows=7)
    assert report.resumed_at == 28
    assert counted(report) == (50, 50, 0, 3)
    assert [row["line"] for row in rejected(report)] == [11, 12, 91]


def test_two_processes_do_not_import_the_same_at_once(
    shop: Deps, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_PATIENCE_S", 0.01)
    from bakeoff.adapters.postgres import Database
    from bakeoff.experiments import contexts

    path = lines(tmp_path / "log.jsonl", history(5))
    other = Database(dsn, "exp")

    def meanwhile(done: int, total: int) -> None:
        with other.transaction() as conn:
            reader = contexts.reader(conn, TASK, VERSION, now=shop.clock())
        with pytest.raises(Refused, match="another process is importing"):
            importing.run(other.transaction, reader, sources.open_file(path), rejects=tmp_path / "r.jsonl")

    with shop.db.transaction() as conn:
        reader = contexts.reader(conn, TASK, VERSION, now=shop.clock())
    importing.run(shop.db.transaction, reader, sources.open_file(path), rejects=tmp_path / "r.jsonl", on_move=meanwhile)
    other.close()
    assert len(log(shop)) == 10


def test_the_order_of_a_file_does_not_matter(shop: Deps, tmp_path: Path) -> None:
    rows = history(30)
    random.Random(1).shuffle(rows)
    assert counted(bring(shop, lines(tmp_path / "a.jsonl", rows), batch_rows=4)) == (30, 30, 0, 0)
    assert counted(bring(shop, lines(tmp_path / "b.jsonl", history(30)))) == (0, 0, 60, 0)


def test_a_broken_archive_says_where(shop: Deps, tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(json.dumps(row) for row in history(3000)).encode())
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"log.jsonl.gz cannot be unpacked after line \d+"):
        bring(shop, path)


def test_a_file_of_somebody_elses_is_not_taken_for_rejects(shop: Deps, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("dear diary")
    with pytest.raises(UsageError, match=r"notes.txt is no file of rejects"):
        bring(shop, lines(tmp_path / "log.jsonl", history(1)), rejects=notes)
    assert notes.read_text() == "dear diary"


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        sources.open_file(tmp_path / "x.jsonl")
    (tmp_path / "x.csv").touch()
    with pytest.raises(UsageError, match="unknown kind"):
        sources.open_file(tmp_path / "x.csv")
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(UsageError, match="is not a Parquet file"):
        sources.open_file(tmp_path / "x.parquet")
