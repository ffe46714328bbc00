"""docs/serving.md, typed block by block by somebody in an empty folder, with the server in another window."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from bakeoff.settings import ServeSettings
from newcomer import Newcomer, arrives

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "serving.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
LISTENS = re.compile(r"bakeoff answers on http://127\.0\.0\.1:(\d+)\b.*\n")
EXAMPLE = ROOT / "examples" / "client" / "suggest.py"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def empty_dsn(postgres_server: str) -> Iterator[str]:
    """A database in which there is nothing."""
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute("create database serving_docs")
        info = admin.info
        yield f"postgresql://{info.user}@/serving_docs?host={info.host}&port={info.port}"
        admin.execute("drop database serving_docs with (force)")


@contextmanager
def another_window(person: Newcomer, command: str) -> Iterator[str]:
    """Runs `command` until the test is over; gives what it says until it listens."""
    log = person.folder / "window.log"
    with log.open("wb") as said:
        window = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=person.folder, env=person.env, stdout=said, stderr=said,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            ends = time.monotonic() + 120
            while not LISTENS.search(log.read_text()) and window.poll() is None and time.monotonic() < ends:
                time.sleep(0.05)
            yield log.read_text()
        finally:
            window.terminate()
            assert window.wait(60) == 0, log.read_text()


def test_every_block_runs_as_it_is_typed(empty_dsn: str) -> None:
    """On a server that runs already: starting the embedded one for each command is another test's subject."""
    (serve,) = [block.strip() for block in blocks("text") if block.startswith("bakeoff serve")]
    install, key, ask = blocks("sh")
    with arrives() as person:
        person.env |= {"PYTHONPATH": str(ROOT / "src"), "BAKEOFF_DATABASE_URL": empty_dsn}
        person.types(install)
        assert "shop" in person.types(key).out
        with another_window(person, f"{serve} --port 0") as said:
            listens = LISTENS.search(said)
            assert listens, said
            port = listens[1]
            answer = json.loads(person.types(ask.replace("8080", port)).out)
            example = f'BAKEOFF_KEY="$(cat shop.key)" python {EXAMPLE} http://127.0.0.1:{port}'
            shown = person.types(example).out.strip()
    assert answer["answer"] == {"option": "soup"}
    assert shown == "soup"


def test_the_python_that_is_shown_is_the_example() -> None:
    """But for white space: a formatter sees the two at different depths."""
    example = "".join(EXAMPLE.read_text(encoding="utf-8").split())
    assert [block for block in blocks("python") if "".join(block.split()) not in example] == []


def test_every_limit_is_told() -> None:
    assert [name for name in ServeSettings.model_fields if f"`{name}`" not in TEXT] == []
