"""The OpenAPI document against the server: whatever it allows and whatever it forbids, no answer is a bug of ours, and
every answer is what the document says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import stages
from answering import application, keys, serving
from bakeoff.access.model import KeyRole
from bakeoff.bootstrap import open_deps
from bakeoff.lifecycle import Deps
from bakeoff.settings import ServeSettings, Settings
from fuzzed import fuzz

FREE = ServeSettings(requests_per_second=1e6, burst=10_000_000)
EXAMPLES = 10  # of a kind, per operation; many more in tests/simulation/api


@pytest.fixture(scope="module")
def shop(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deps]:
    found = Settings(home=tmp_path_factory.mktemp("home"), database_url=module_dsn, threads=1)
    with open_deps(found, progress=stages.Silent(), clock=stages.Clock()) as deps:
        stages.open_shop(deps, "good")
        yield deps


@pytest.fixture(scope="module")
def held(shop: Deps) -> dict[KeyRole, str]:
    return keys(shop)


@pytest.fixture(scope="module")
def url(shop: Deps, held: dict[KeyRole, str]) -> Iterator[str]:
    with serving(application(shop, FREE)) as address:
        yield address


def test_every_answer_is_what_the_document_says(url: str, held: dict[KeyRole, str], tmp_path: Path) -> None:
    fuzz(url, held, tmp_path, examples=EXAMPLES)
