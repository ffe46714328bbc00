"""A shop that serves, and a key of each role: one of a module's own, as it commits."""

from collections.abc import Iterator

import pytest

import stages
from answering import keys
from bakeoff.access.model import KeyRole
from bakeoff.bootstrap import open_deps
from bakeoff.lifecycle import Deps
from bakeoff.settings import Settings


@pytest.fixture(scope="module")
def shop(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deps]:
    """One for all tests of a module: each has its own keys and units."""
    found = Settings(home=tmp_path_factory.mktemp("home"), database_url=module_dsn, threads=1)
    with open_deps(found, progress=stages.Silent(), clock=stages.Clock()) as deps:
        stages.open_shop(deps, "good")
        yield deps


@pytest.fixture(scope="module")
def held(shop: Deps) -> dict[KeyRole, str]:
    return keys(shop)
