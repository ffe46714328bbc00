"""The first day: settings, connections, a task of one's own that works, and what it says about itself."""

import os
import pty
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

import stages
import toy
from bakeoff import plugins
from bakeoff.lifecycle import Deps
from bakeoff.task import Message, Request, RequestKey
from newcomer import Newcomer, Said, arrives

NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"


@pytest.fixture
def person() -> Iterator[Newcomer]:
    with arrives() as newcomer:
        yield newcomer


@pytest.fixture
def own_dsn(postgres_server: str, tmp_path: Path) -> Iterator[str]:
    """An application's own database: there is nothing of bakeoff's in it."""
    name = sql.Identifier(f"app_{tmp_path.name[-20:]}".lower())
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(name))
        info = admin.info
        yield f"postgresql://{info.user}:hush@/{name.as_string().strip(chr(34))}?host={info.host}&port={info.port}"
        admin.execute(sql.SQL("drop database {} with (force)").format(name))


# ---- init ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_nothing_to_a_task_that_passes_its_own_tests(person: Newcomer) -> None:
    made = person.types("bakeoff init --yes --task checkout --json").json
    assert [(check["name"], check["fine"]) for check in made["checks"]] == [
        ("database", True), ("MLflow", True), ("datasets", True),
    ]  # fmt: skip
    for command in made["next"]:
        said = person.types(command)
    assert "nothing wrong" in said.out
    person.types("cd checkout && python -m pytest -q -p no:cacheprovider")
    assert "no task 'checkout'" not in person.types("bakeoff dataset list --task checkout").out
    # Typed again, nothing changes; a file that was changed is not touched.
    again = person.types("bakeoff init --yes --task checkout --json").json
    assert (again["written"], again["files"]) == (False, [])
    person.types("echo '# mine' >> checkout/src/checkout/task.py")
    refused = person.types("bakeoff init --yes --task checkout", code=3)
    assert "src/checkout/task.py is another one" in refused.err
    assert (person.folder / "checkout/src/checkout/task.py").read_text().endswith("# mine\n")


def test_ones_own_server_is_checked_written_down_and_found_from_below(person: Newcomer, own_dsn: str) -> None:
    said = person.types(f"bakeoff init --database-url '{own_dsn}' --schema loop --datasets '{person.folder}/sets'")
    assert "schema loop, which bakeoff db migrate will fill" in said.err
    assert "it holds a password: do not commit it" in said.out
    assert "hush" not in said.out + said.err
    file = person.folder / "bakeoff.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "mlflow.db" in file.read_text()  # no MLflow was named: tracked in a file
    assert said.out.splitlines()[-2:] == ["  bakeoff db migrate", "  bakeoff status"]
    with psycopg.connect(own_dsn) as conn:
        assert conn.execute("select count(*) from pg_namespace where nspname = 'loop'").fetchone() == (0,)
    (person.folder / "src" / "deep").mkdir(parents=True)
    migrated = person.types("cd src/deep && bakeoff db migrate --json").json
    assert migrated["schema"] == "loop"
    assert person.types("cd src && bakeoff policy list --json").json == {"policy_versions": []}
    assert not (person.folder / "src" / ".bakeoff").exists()


def test_nothing_is_written_where_something_does_not_answer(person: Newcomer) -> None:
    said = person.types(f"bakeoff init --database-url {NOWHERE}", code=4)
    assert "AWAY  database" in said.err
    assert "nothing was written" in said.err
    assert not (person.folder / "bakeoff.toml").exists()
    assert "nothing was written" in person.types("bakeoff init --yes --datasets bakeoff://x", code=4).err
    person.types(f"bakeoff init --database-url {NOWHERE} --offline")
    assert NOWHERE in (person.folder / "bakeoff.toml").read_text()


def test_a_file_that_is_there_is_kept_unless_forced_and_keeps_its_other_keys(person: Newcomer) -> None:
    file = person.folder / "bakeoff.toml"
    file.write_text('schema = "one"\nthreads = 2\n')
    refused = person.types("bakeoff init --schema two --offline", code=3)
    assert "--force" in refused.err
    assert file.read_text() == 'schema = "one"\nthreads = 2\n'
    assert "kept bakeoff.toml" in person.types("bakeoff init --offline").out
    person.types("bakeoff init --schema two --offline --force")
    lines = file.read_text().splitlines()
    assert 'schema = "two"' in lines
    assert "threads = 2" in lines
    person.types("bakeoff init --schema embedded --offline --force")
    assert 'schema = "' not in file.read_text().replace('# schema = "exp"', "")


def test_a_file_that_stays_is_checked_as_it_is(person: Newcomer, own_dsn: str) -> None:
    """What `init` would add to a new file is not there: a command would miss it."""
    (person.folder / "bakeoff.toml").write_text(f'database_url = "{own_dsn}"\n')
    said = person.types("bakeoff init", code=4)
    assert "your PostgreSQL is named, but no MLflow" in said.err


def test_mistakes_are_told_before_anything_happens(person: Newcomer) -> None:
    assert "cannot be called 'My Task'" in person.types("bakeoff init --yes --task 'My Task'", code=2).err
    assert "a module 'json'" in person.types("bakeoff init --yes --offline --task json", code=2).err
    assert "BAKEOFF_SCHEMA is 'A B'" in person.types("bakeoff init --offline", code=2, BAKEOFF_SCHEMA="A B").err
    (person.folder / "bakeoff.toml").write_text('datbase_url = "x"\n')
    said = person.types("bakeoff init --offline", code=2)
    assert "did you mean 'database_url'" in said.err
    assert "did you mean 'database_url'" in person.types("bakeoff policy list", code=2).err


def test_the_environment_wins_and_is_not_written_down(person: Newcomer, own_dsn: str) -> None:
    said = person.types("bakeoff init --yes --json", BAKEOFF_DATABASE_URL=own_dsn).json
    assert "app_" in said["checks"][0]["says"]
    assert "hush" not in (person.folder / "bakeoff.toml").read_text()


def test_on_a_terminal_it_asks_for_what_is_missing(person: Newcomer) -> None:
    """Database, schema, MLflow, datasets: three defaults and one answer."""
    ours, theirs = pty.openpty()
    typing = subprocess.Popen(
        ["bakeoff", "init", "--offline"], cwd=person.folder, env=person.env, stdin=theirs, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, b"\nloop\n\n\n")
    out, err = typing.communicate(timeout=60)
    os.close(ours)
    assert (typing.returncode, "wrote bakeoff.toml" in out) == (0, True), err
    assert "embedded" in err
    lines = [line for line in (person.folder / "bakeoff.toml").read_text().splitlines() if not line.startswith("#")]
    assert lines == ['schema = "loop"']


@pytest.mark.slow
def test_an_order_that_comes_out_of_a_set_is_seen_in_another_process(person: Newcomer) -> None:
    """In one process a set of texts always has the same order."""
    person.types("bakeoff init --yes --offline --task checkout && pip install -e ./checkout")
    task = person.folder / "checkout/src/checkout/task.py"
    listed = 'for each in request["options"])\n        likes'
    assert listed in task.read_text()
    unsorted = (
        'for each in request["options"])\n        options += " ".join({str(n) for n in range(20)})\n        likes'
    )
    task.write_text(task.read_text().replace(listed, unsorted) + '\nprint("a task may say what it likes")\n')
    person.types("cd checkout && python -m pytest -q -p no:cacheprovider")
    check = "bakeoff task check --task checkout --requests checkout/sample.jsonl --map checkout.history:to_events"
    said = person.types(check, code=3)
    assert "WRONG render: prompt or answer schema is another one in another process" in said.out


# ---- task check and task skew ----------------------------------------------------------------------------------------


@pytest.fixture
def bakeoff(bakeoff: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Types a command in this process, for tasks that only a test has."""
    monkeypatch.chdir(tmp_path)

    def typed(*argv: object, code: int = 0, task: Any = None) -> Said:
        monkeypatch.setattr(plugins, "load_task", lambda _: task or toy.ToyTask())
        return bakeoff(*argv, code=code)

    return typed


class Forgetful(toy.ToyTask):
    def render(self, request: Request) -> Sequence[Message]:
        return [Message(role="user", content=f"what would {request['name']} drink?")]


def test_a_task_is_tried_on_the_log_half_of_it_accepted(bakeoff: Any, deps: Deps, clock: stages.Clock) -> None:
    assert "holds no decision" in bakeoff("task", "check", "--task", "toy", code=2).err
    stages.open_shop(deps)
    stages.live(deps, clock, day=1, shoppers=40)
    clock.turn(days=4)
    said = bakeoff("task", "check", "--task", "toy", "--rows", "12", "--json").json
    assert (said["passed"], said["seen"]["rows"], said["seen"]["logged answers"]) == (True, 12, 12)
    assert said["seen"]["examples"] >= 6
    assert bakeoff("task", "check", "--task", "toy", "--rows", "12", "--json").json == said
    wrong = bakeoff("task", "check", "--task", "toy", code=3, task=Forgetful())
    assert "WRONG render: raised KeyError: 'name'" in wrong.out
    assert "and 19 more)" in wrong.out
    assert "task toy: 1 of its parts are wrong" in wrong.err


def test_a_file_is_tried_without_any_database(bakeoff: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_DATABASE_URL", NOWHERE)
    file = tmp_path / "requests.jsonl"
    file.write_text('{"likes": "tea", "day": 1}\n')
    assert bakeoff("task", "check", "--task", "toy", "--requests", file, "--json").json["seen"]["rows"] == 1
    file.write_text("")
    assert "holds no decision" in bakeoff("task", "check", "--task", "toy", "--requests", file, code=2).err
    assert "--requests FILE" in bakeoff("task", "check", "--map", "toy:x", code=2).err
    assert "name a function" in bakeoff("task", "check", "--map", "toy:x", "--requests", file, code=2).err


class Rebuilding(toy.ToyTask):
    """Builds requests again, but remembers tea for everybody."""

    def requests(self, conn: Any, keys: Sequence[RequestKey]) -> Sequence[Request | None]:
        return [{"likes": "tea", "day": int(key.need_id)} for key in keys]


def test_skew_shows_what_the_tables_no_longer_know(bakeoff: Any, deps: Deps, clock: stages.Clock) -> None:
    assert "holds no event" in bakeoff("task", "skew", "--task", "toy", code=2).err
    stages.open_shop(deps)
    stages.live(deps, clock, day=1, shoppers=30)
    clock.turn(days=4)
    assert "nothing to compare" in bakeoff("task", "skew", "--task", "toy").out
    said = bakeoff("task", "skew", "--task", "toy", code=3, task=Rebuilding())
    assert 'likes: stored "coffee", rebuilt "tea"' in said.out
    assert "differ from the stored ones" in said.err
    body = bakeoff("task", "skew", "--task", "toy", "--json", code=3, task=Rebuilding()).json
    assert body["skewed"] is True
    assert body["compared"] == body["equal"] + body["differing"]["likes"] == 30
