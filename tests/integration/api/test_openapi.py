"""The OpenAPI document against the server: whatever it allows and whatever it forbids, no answer is a bug of ours, and
every answer is what the document says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from answering import application, serving
from bakeoff.access.model import KeyRole
from bakeoff.lifecycle import Deps
from bakeoff.settings import ServeSettings
from fuzzed import fuzz

FREE = ServeSettings(requests_per_second=1e6, burst=10_000_000)
EXAMPLES = 10  # of a kind, per operation; many more in tests/simulation/api


@pytest.fixture(scope="module")
def url(shop: Deps, held: dict[KeyRole, str]) -> Iterator[str]:
    with serving(application(shop, FREE)) as address:
        yield address


def test_every_answer_is_what_the_document_says(url: str, held: dict[KeyRole, str], tmp_path: Path) -> None:
    fuzz(url, held, tmp_path, examples=EXAMPLES)
