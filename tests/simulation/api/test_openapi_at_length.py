"""The OpenAPI document against the server, with many more examples than on each run of the tests."""

from pathlib import Path

import pytest

import stages
from answering import application, keys, serving
from bakeoff.lifecycle import Deps
from bakeoff.settings import ServeSettings
from fuzzed import fuzz


@pytest.mark.simulate
def test_every_answer_is_what_the_document_says(deps: Deps, tmp_path: Path) -> None:
    stages.open_shop(deps, "good")
    held = keys(deps)
    with serving(application(deps, ServeSettings(requests_per_second=1e6, burst=10_000_000))) as url:
        fuzz(url, held, tmp_path, examples=300)
