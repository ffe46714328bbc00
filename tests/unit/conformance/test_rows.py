"""Rows out of files: requests, events as they are imported, and lines of an application's own log."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import toy
from bakeoff.conformance.rows import episodes_of, is_bare, read_rows
from bakeoff.errors import UsageError
from bakeoff.task import Request, RequestKey

TASK = toy.ToyTask()


def offered(n: int, **more: Any) -> dict[str, Any]:
    return {
        "event_type": "offered", "unit_id": "u", "decision_id": f"d{n}", "occurred_at": f"2025-01-0{n}T08:00Z",
        "payload": {"answer": {"drink": "tea"}}, "request": {"likes": "tea", "day": n}, **more,
    }  # fmt: skip


def accepted(n: int, at: str) -> dict[str, Any]:
    return {
        "event_type": "accepted", "unit_id": "u", "decision_id": f"d{n}", "occurred_at": at,
        "payload": {"accepted_by": "user", "drink": at},
    }  # fmt: skip


def written(folder: Path, rows: Sequence[Any], name: str = "log.jsonl") -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file = folder / name
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return file


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_events_of_a_decision_make_one_row_with_outcomes_in_their_order(tmp_path: Path, name: str) -> None:
    late, early = accepted(1, "2025-01-01T10:00Z"), accepted(1, "2025-01-01T09:00Z")
    (row,) = read_rows(TASK, written(tmp_path, [late, offered(1, need_id="n"), early], name), most=5)
    assert (row.need_id, row.unit_id, row.request) == ("n", "u", {"likes": "tea", "day": 1})
    assert row.decision.occurred_at == datetime(2025, 1, 1, 8, tzinfo=UTC)
    assert [event.payload["drink"] for event in row.outcomes] == ["2025-01-01T09:00Z", "2025-01-01T10:00Z"]
    assert not is_bare(row)


def test_no_more_decisions_than_asked_for_but_what_came_of_these(tmp_path: Path) -> None:
    lines = [offered(1), offered(2), offered(3), accepted(2, "2025-01-04T08:00Z"), accepted(3, "2025-01-04T08:00Z")]
    rows = read_rows(TASK, written(tmp_path, lines), most=2)
    assert [(row.decision.decision_id, len(row.outcomes)) for row in rows] == [("d1", 0), ("d2", 1)]


def test_a_line_that_is_no_event_is_a_request(tmp_path: Path) -> None:
    (row,) = read_rows(TASK, written(tmp_path, [{"likes": "tea", "day": 1}]), most=5)
    assert is_bare(row)
    assert row.decision.decision_id == "log.jsonl:1"


def test_lines_of_an_application_go_through_its_mapping(tmp_path: Path) -> None:
    def mapped(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if line["n"]:
            yield offered(line["n"])

    rows = read_rows(TASK, written(tmp_path, [{"n": 0}, {"n": 1}, {"n": 2}]), most=5, mapped=mapped)
    assert [row.decision.decision_id for row in rows] == ["d1", "d2"]
    with pytest.raises(UsageError, match="log.jsonl:2: the mapping raised KeyError: 'n'"):
        read_rows(TASK, written(tmp_path, [{"n": 1}, {}]), most=5, mapped=mapped)


def test_requests_named_by_key_are_built_at_once() -> None:
    asked: list[Sequence[RequestKey]] = []

    def build(keys: Sequence[RequestKey]) -> list[Request | None]:
        asked.append(keys)
        return [{"likes": "tea", "day": key.need_id} for key in keys]

    rows = [offered(n, request=None, request_key={"unit_id": "u", "need_id": n, "as_of": "2025-01-01"}) for n in (1, 2)]
    found = episodes_of(TASK, [(f"line {n}", row) for n, row in enumerate(rows)], build=build)
    assert [row.request["day"] for row in found] == ["1", "2"]
    assert len(asked) == 1
    assert asked[0][0].as_of == datetime(2025, 1, 1, tzinfo=UTC)
    with pytest.raises(UsageError, match="built no request for RequestKey"):
        episodes_of(TASK, [("line 1", rows[0])], build=lambda keys: [None for _ in keys])
    with pytest.raises(UsageError, match="not at hand"):
        episodes_of(TASK, [("line 1", rows[0])])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("no object", "log.jsonl:1 is a str"),
        (offered(1, event_type="sold"), "unknown event type 'sold'"),
        (offered(1, request=None), "a decision without its request"),
        (offered(1, request_key={"unit_id": "u"}, request=None), "a decision without its request"),
        (offered(1, occurred_at="yesterday"), "'yesterday' is no moment"),
        ({"event_type": "offered", "unit_id": "u"}, "lacks decision_id, occurred_at, payload"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(UsageError, match="log.jsonl:1.*") as caught:
        read_rows(TASK, written(tmp_path, [row]), most=5)
    assert said in str(caught.value)


def test_a_line_that_is_no_json_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("{")
    with pytest.raises(UsageError, match="log.jsonl:1 is no JSON"):
        read_rows(TASK, tmp_path / "log.jsonl", most=1)
    with pytest.raises(UsageError, match="nowhere"):
        read_rows(TASK, tmp_path / "nowhere.jsonl", most=1)
