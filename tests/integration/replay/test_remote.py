"""A server's answers may differ from run to run: the replay measures by how much, and pays for none twice."""

from dataclasses import replace
from typing import Any, cast

import pytest

import fickle
import replayed
import stages
from bakeoff import lifecycle
from bakeoff.adapters.replay_workers import ReplayWorkers
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Unreachable
from bakeoff.inference.model import Decoding, PolicySpec, RemoteModel
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store
from bakeoff.replay.repeats import averaged

TASK = replayed.TASK


@pytest.fixture
def dataset(deps: Deps) -> Dataset:
    return replayed.shop_dataset(deps)


@pytest.fixture
def version(deps: Deps) -> PolicyVersion:
    spec = PolicySpec(
        task="toy", engine="openai", prompt_version="1", decoding=Decoding(),
        remote=RemoteModel(name="big", endpoint="somewhere"),
    )  # fmt: skip
    return lifecycle.create_policy(deps, stages.POLICY, spec)


def wired(deps: Deps, engines: fickle.Engines) -> Deps:
    opened = cast(Any, engines)
    workers = ReplayWorkers(engines=opened, elsewhere=fickle.on_cpu, cores=lambda: 4)
    return replace(deps, engines=opened, workers=workers)


def test_a_moody_server_is_certified_by_its_noise(deps: Deps, dataset: Dataset, version: PolicyVersion) -> None:
    moody = fickle.Engines(moody=True)
    report = lifecycle.replay(wired(deps, moody), TASK, version, dataset)
    rows = int(report.aggregates["rows"])
    assert len(moody.asked) == rows + 40
    certificate = report.certificate
    assert (certificate.kind, certificate.rows) == ("noise", 40)
    assert 5 < certificate.equal < 35, "a coin for each"
    assert set(certificate.noise) == {"right", "known_drink"}
    assert 0.1 < certificate.noise["right"] < 0.6
    assert certificate.noise["known_drink"] == pytest.approx(1 - 0.025 ** (1 / 40)), "a drink we have, each time"
    assert report.engine["answered_as"] == sorted(set(moody.asked))[:1], "what was heard meanwhile"


def test_repeats_are_their_own_certificate_and_cost_nothing_more(
    deps: Deps, dataset: Dataset, version: PolicyVersion
) -> None:
    moody = fickle.Engines(moody=True)
    report = lifecycle.replay(wired(deps, moody), TASK, version, dataset, repeats=3)
    with deps.db.transaction() as conn:
        rows = store.rows(conn, report.replay_id)
    assert len(moody.asked) == len(rows) == 3 * len(averaged(rows))
    assert (report.certificate.kind, report.certificate.rows) == ("noise", len(averaged(rows)))
    same = sum(
        one.raw_answer == other.raw_answer
        for one, other in zip(*([r for r in rows if r.repeat == n] for n in (0, 1)), strict=True)
    )
    assert report.certificate.equal == same


def test_what_was_paid_for_is_not_paid_for_again(deps: Deps, dataset: Dataset, version: PolicyVersion) -> None:
    first = fickle.Engines(moody=True)
    small = lifecycle.replay(wired(deps, first), TASK, version, dataset, sample=10, repeats=2)
    second = fickle.Engines(moody=True)
    large = lifecycle.replay(wired(deps, second), TASK, version, dataset, sample=15, repeats=2)
    assert (large.cached, len(second.asked)) == (20, 10)
    with deps.db.transaction() as conn:
        few, many = ({r.key: r.raw_answer for r in store.rows(conn, each.replay_id)} for each in (small, large))
    assert few.items() <= many.items(), "each repeat is kept by itself"


def test_a_server_that_goes_away_costs_the_row_in_flight(deps: Deps, dataset: Dataset, version: PolicyVersion) -> None:
    with pytest.raises(Unreachable, match="the server is gone"):
        lifecycle.replay(wired(deps, fickle.Engines(answers=6)), TASK, version, dataset, sample=10)
    back = fickle.Engines()
    report = lifecycle.replay(wired(deps, back), TASK, version, dataset, sample=10, certificate_rows=2)
    assert len(back.asked) == 4 + 2
    assert (report.cached, report.aggregates["rows"], report.certificate.equal) == (0, 10, 2)
