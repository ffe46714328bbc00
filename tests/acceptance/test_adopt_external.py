"""Day one with an application that was there before, as a person types it: adopt, be told what comes next, go on."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import stages
import toy
from bakeoff import bootstrap, plugins
from bakeoff.cli import cli, run_command

BY = ("--by", "Ada", "--reason", "what we have")


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def bakeoff(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Types a command on a fresh database, with the toy as the installed task; it must end with `code`."""
    monkeypatch.setenv("BAKEOFF_DATABASE_URL", dsn)
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bootstrap, "utc_now", stages.Clock())
    monkeypatch.setattr(plugins, "load_task", lambda _: toy.ToyTask())

    def typed(*argv: str, code: int = 0) -> Said:
        capsys.readouterr()
        said = Said(run_command(cli, name="bakeoff", argv=list(argv)), *capsys.readouterr())
        assert said.code == code, said
        assert "Traceback" not in said.err
        return said

    return typed


def external(bakeoff: Any, *more: str, since: str = "2024-01-01", code: int = 0) -> Said:
    said: Said = bakeoff("policy", "adopt", "--external", "--since", since, "--task", "toy", *BY, *more, code=code)
    return said


def test_an_application_is_adopted_once_and_status_goes_on_from_there(bakeoff: Any) -> None:
    first = external(bakeoff, "--name", "toy 2024")
    assert first.out.startswith("toy_policy/1 is the application itself (toy 2024), since 2024-01-01; adopted by Ada.")
    assert "next: bakeoff events import FILE --policy toy_policy/1" in first.out
    assert external(bakeoff, "--name", "toy 2024").out == first.out
    told = bakeoff("status").out
    assert "toy_policy/1 is the application itself (toy 2024), since 2024-01-01; it answers by itself" in told
    assert "next  bakeoff events import FILE --policy toy_policy/1" in told
    assert "the application itself (toy 2024)" in bakeoff("policy", "list").out
    assert "logged" in bakeoff("policy", "show", "toy_policy/1").out


def test_neither_another_day_nor_another_name_moves_what_was_adopted(bakeoff: Any) -> None:
    external(bakeoff)
    said = external(bakeoff, since="2023-01-01", code=2)
    assert "was adopted before, since 2024-01-01 00:00 UTC; it stays as it is" in said.err
    said = external(bakeoff, "--name", "toy 2025", code=2)
    assert "toy_policy/1 serves toy_policy already: the application itself (before bakeoff)" in said.err
    assert bakeoff("policy", "list").out.count("toy_policy/") == 1, "a refused adoption leaves no version behind"


def test_what_a_policy_of_bakeoffs_serves_is_not_the_application(bakeoff: Any) -> None:
    bakeoff("policy", "create", "--task", "toy", "--python", "toy:good")
    bakeoff("policy", "adopt", "toy_policy/1", *BY)
    assert "toy_policy/1 serves toy_policy already: toy:good" in external(bakeoff, code=2).err


def test_a_version_of_bakeoffs_goes_the_long_way_beside_the_application(bakeoff: Any) -> None:
    external(bakeoff)
    bakeoff("policy", "create", "--task", "toy", "--python", "toy:good")
    said = bakeoff("policy", "adopt", "toy_policy/2", *BY, code=2)
    assert "bakeoff gate toy_policy/2 compares toy_policy/2 with what your application answered" in said.err
    assert "decide(..., own=...)" in said.err
    bakeoff("policy", "last-resort", "toy_policy/2")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--external",), "--external needs --since"),
        (("--external", "--since", "2024-01-01", "toy_policy/1"), "leave the version out"),
        (("--external", "--since", "2024-01-01", "--explorer", "toy_policy/2"), "bakeoff cannot explore"),
        (("--external", "--since", "2024-01-01", "--explorer-share", "0.1"), "bakeoff cannot explore"),
        (("--external", "--since", "2024-01-01", "--last-resort", "toy_policy/2"), "answers by itself here"),
        (("--external", "--since", "2030-01-01"), "lies in the future"),
        (("--external", "--since", "yesterday"), "is no moment"),
        ((), "none is named"),
        (("toy_policy/1", "--since", "2024-01-01"), "--since goes with --external"),
        (("toy_policy/1", "--since", "2024-01-01", "--name", "x"), "--since and --name go with --external"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_explained(bakeoff: Any, argv: tuple[str, ...], words: str) -> None:
    said = bakeoff("policy", "adopt", *argv, *BY, code=2)
    assert words in said.err
    assert "no policy yet" in bakeoff("policy", "list").out, "nothing is left behind"


def test_tables_of_somebody_else_are_described_and_left(
    bakeoff: Any, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    with psycopg.connect(dsn) as conn:
        conn.execute("create schema shop; create table shop.events (event_id int, payload jsonb not null)")
    monkeypatch.setenv("BAKEOFF_SCHEMA", "shop")
    said = bakeoff("db", "migrate", code=3)
    assert "schema 'shop' already has tables that bakeoff did not make: events" in said.err
    assert "event_id" in said.err
    with psycopg.connect(dsn) as conn:
        found = conn.execute("select count(*) from information_schema.tables where table_schema = 'shop'").fetchone()
    assert found == (1,)
    monkeypatch.setenv("BAKEOFF_SCHEMA", "bakeoff")
    assert "applied bakeoff/0001_loop.sql" in bakeoff("db", "migrate").out
    external(bakeoff)


def test_where_nothing_was_done_the_first_step_is_named(bakeoff: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BAKEOFF_DATABASE_URL")
    assert "next: bakeoff policy adopt --external --since DAY" in bakeoff("status").out  # BAKEOFF_HOME is set
    monkeypatch.delenv("BAKEOFF_HOME")
    told = bakeoff("status").out
    assert "next: bakeoff init" in told
    assert "bakeoff demo" in told


def test_doctor_looks_into_the_log_of_every_policy(bakeoff: Any, dsn: str) -> None:
    """What came in by other ways than bakeoff's is found: here an outcome whose decision nobody ever logged."""
    import psycopg

    external(bakeoff)
    context = json.loads(external(bakeoff, "--json").out)["context"]
    assert "are not there" in bakeoff("doctor", code=4).out  # no MLflow is named here
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "insert into exp.events (event_id, content_digest, event_type, role, task, unit_id, decision_id, "
            "experiment_id, variant_id, policy_version_id, occurred_at, received_at, payload) values "
            "(gen_random_uuid(), 'x', 'accepted', 'accept', 'toy', 'u', gen_random_uuid(), %(experiment_id)s, "
            "%(variant_id)s, %(policy_version_id)s, '2024-06-01', '2024-06-01', '{}')",
            context,
        )
    said = bakeoff("doctor", code=4).out
    assert "WRONG  log of toy" in said
    assert "1 outcomes without a decision after 7 days" in said
