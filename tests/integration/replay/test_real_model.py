"""The real SmolLM2 in one process and in two: the same to the last bit of its log-probabilities."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import replayed
import stages
from bakeoff import lifecycle
from bakeoff.bootstrap import open_deps
from bakeoff.lifecycle import Deps
from bakeoff.settings import Settings

pytestmark = pytest.mark.weights


@pytest.fixture
def wired(dsn: str, mlflow_uri: str, tmp_path: Path, clock: stages.Clock, smollm2_cache: Path) -> Iterator[Deps]:
    settings = Settings(
        home=tmp_path / "home", database_url=dsn, mlflow_tracking_uri=mlflow_uri, model_cache=smollm2_cache,
        dtype="float32", threads=1,
    )  # fmt: skip
    with open_deps(settings, progress=stages.Silent(), clock=clock) as deps:
        yield deps


def test_real_weights_say_the_same_in_one_process_and_in_two_and_in_another_order(wired: Deps) -> None:
    dataset = replayed.shop_dataset(wired, 60)
    version = replayed.model_version(wired, Path("smollm2"))
    how = {"use_cache": False, "certificate_rows": 4}
    one = lifecycle.replay(wired, replayed.TASK, version, dataset, workers=1, **how)
    alone = replayed.said(wired, version, one)
    two = lifecycle.replay(wired, replayed.TASK, version, dataset, workers=2, seed=5, **how)
    assert one.replay_id != two.replay_id
    assert (one.digest, one.engine) == (two.digest, two.engine)
    assert replayed.said(wired, version, two) == alone
    assert len(alone) == one.aggregates["rows"] >= 15
    assert len({choices for _, choices, _ in alone.values()}) == len(alone), "each prompt was read"
    assert (one.certificate.equal, two.certificate.equal) == (4, 4)
