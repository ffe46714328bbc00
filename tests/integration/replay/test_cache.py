"""Answers that a model gave before: taken where the same was asked of the same, scored anew, and never believed by the
certificate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import fickle
import replayed
import tiny
from bakeoff import lifecycle
from bakeoff.adapters.generation.transformers_engine import TransformersEngine
from bakeoff.datasets.model import Dataset, Split
from bakeoff.inference.model import Decoding
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store
from bakeoff.replay.model import ReplayReport, ReplayRow
from bakeoff.task import Answer, Example, Message, Request

TASK = replayed.TASK


class Stricter(fickle.Shop):
    """The same questions, another score."""

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        return {**super().score(example, answer), "right": 0.25}


class Politer(fickle.Shop):
    """Another prompt for the same request."""

    def render(self, request: Request) -> list[Message]:
        return [*super().render(request), Message(role="user", content="please")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("base"), seed=3)


@pytest.fixture
def dataset(deps: Deps) -> Dataset:
    return replayed.shop_dataset(deps)


@pytest.fixture
def version(deps: Deps, base: Path) -> PolicyVersion:
    return replayed.model_version(deps, base)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the engine of this process is asked, as it is asked."""
    asked: list[str] = []
    whole = TransformersEngine.complete

    def noted(self: TransformersEngine, messages: Any, **how: Any) -> Any:
        asked.append(messages[0].content)
        return whole(self, messages, **how)

    monkeypatch.setattr(TransformersEngine, "complete", noted)
    return asked


def play(deps: Deps, version: PolicyVersion, dataset: Dataset, task: Any = TASK, **how: Any) -> ReplayReport:
    asked = {"workers": 1, "certificate_rows": 3, **how}
    return lifecycle.replay(deps, task, version, dataset, **asked)


def found(deps: Deps, report: ReplayReport) -> list[ReplayRow]:
    with deps.db.transaction() as conn:
        return store.rows(conn, report.replay_id)


def test_another_selection_asks_only_what_is_new(
    deps: Deps, dataset: Dataset, version: PolicyVersion, steps: list[str]
) -> None:
    small = play(deps, version, dataset, sample=10)
    assert (small.cached, len(steps)) == (0, 13), "ten rows and three of the certificate"
    steps.clear()
    large = play(deps, version, dataset, sample=25)
    assert (large.cached, len(steps)) == (10, 18)
    steps.clear()
    whole = play(deps, version, dataset, sample=25, seed=9)
    assert whole.aggregates["rows"] == 25
    assert len(steps) == 25 - whole.cached + 3
    assert {row.from_cache for row in found(deps, large)} == {True, False}
    anew = play(deps, version, dataset, sample=25, use_cache=False)
    assert (anew.cached, anew.digest) == (0, large.digest), "a row from the cache is the row"
    assert anew.replay_id != large.replay_id


def test_another_dataset_with_the_same_requests_and_another_split(
    deps: Deps, dataset: Dataset, version: PolicyVersion, steps: list[str]
) -> None:
    one = play(deps, version, dataset)
    longer = replayed.shop_dataset(deps, days=3)
    steps.clear()
    other = play(deps, version, longer)
    assert longer.digest != dataset.digest
    assert other.cached == other.aggregates["rows"] == one.aggregates["rows"]
    assert (other.digest, len(steps)) == (one.digest, 3)
    held = play(deps, version, dataset, split=Split.VALIDATION)
    assert held.cached == 0, "other households"
    assert held.selection["split"] == "validation"


def test_other_code_that_scores_makes_another_replay_of_the_same_answers(
    deps: Deps, dataset: Dataset, version: PolicyVersion, steps: list[str]
) -> None:
    before = play(deps, version, dataset)
    assert play(deps, version, dataset) == before, "a look-up"
    steps.clear()
    after = play(deps, version, dataset, Stricter())
    assert after.replay_id != before.replay_id
    assert after.scored_by != before.scored_by
    assert after.aggregates["right"] == 0.25 != before.aggregates["right"]
    assert (after.cached, len(steps)) == (after.aggregates["rows"], 3)
    assert after.certificate.deterministic
    said = [[row.raw_answer for row in found(deps, report)] for report in (before, after)]
    assert said[0] == said[1]


def test_another_prompt_another_decoding_and_another_engine_are_asked(
    deps: Deps, dataset: Dataset, version: PolicyVersion, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(deps, version, dataset, sample=5)
    assert play(deps, version, dataset, Politer(), sample=5).cached == 0
    greedy = replayed.model_version(deps, base, decoding=Decoding(mode="greedy"))
    assert play(deps, greedy, dataset, sample=5).cached == 0
    whole = TransformersEngine.describe
    monkeypatch.setattr(TransformersEngine, "describe", lambda self: {**whole(self), "cpu": "ANOTHER"})
    again = play(deps, version, dataset, sample=6)
    assert (again.cached, again.engine["cpu"]) == (0, "ANOTHER")


def test_a_certificate_does_not_believe_the_cache(deps: Deps, dataset: Dataset, version: PolicyVersion) -> None:
    """Somebody makes the kept answers better than they were."""
    honest = play(deps, version, dataset, sample=12)
    with deps.db.transaction() as conn:
        conn.execute("create table forged as select * from replay_answers")
        conn.execute("delete from replay_answers")
        conn.execute(
            "insert into replay_answers select fingerprint, engine_digest, prompt_digest, repeat, replace(replace("
            "completion::text, 'tea', 'TEA'), 'coffee', 'tea')::json, answered_at from forged"
        )
    forged = play(deps, version, dataset, sample=11)
    assert (forged.cached, forged.certificate.equal, forged.certificate.rows) == (11, 0, 3)
    assert not forged.certificate.deterministic
    mended = play(deps, version, dataset, sample=11, use_cache=False)
    assert mended.certificate.deterministic
    assert play(deps, version, dataset, sample=11) == mended, "the newest counts"
    assert play(deps, version, dataset, sample=9).certificate.deterministic, "and its answers are kept instead"
    assert honest.certificate.deterministic


def test_kept_answers_come_back_to_the_last_bit_and_are_never_changed(
    deps: Deps, dataset: Dataset, version: PolicyVersion
) -> None:
    play(deps, version, dataset, sample=4)
    with deps.db.transaction() as conn:
        row = conn.execute("select * from replay_answers limit 1").fetchone()
        assert row is not None
        kept = store.kept_answers(
            conn,
            fingerprint=row["fingerprint"],
            engine_digest=row["engine_digest"],
            prompt_digests=[row["prompt_digest"]],
        )
    (completion,) = kept.values()
    with deps.db.transaction() as conn:
        requests = {
            r.prompt_digest: r for report in [play(deps, version, dataset, sample=4)] for r in found(deps, report)
        }
    fresh = deps.engines.open(version.spec).complete(
        TASK.render(_request(dataset, requests[row["prompt_digest"]].example_id)),
        schema=TASK.answer_schema({}),
        decoding=Decoding(mode="choices"),
    )
    assert (completion.choices, completion.text) == (fresh.choices, fresh.text)
    with pytest.raises(Exception, match="append-only"), deps.db.transaction() as conn:
        conn.execute("update replay_answers set repeat = 7")


def _request(dataset: Dataset, example_id: str) -> Request:
    from bakeoff.datasets import files

    return next(row.example.request for row in files.load(dataset.uri) if row.example.example_id == example_id)


def test_functions_are_asked_again_and_keep_nothing(deps: Deps, dataset: Dataset) -> None:
    version = replayed.python_version(deps, "fickle")
    lifecycle.replay(deps, TASK, version, dataset, sample=5)
    assert lifecycle.replay(deps, TASK, version, dataset, sample=6).cached == 0
    with deps.db.transaction() as conn:
        assert conn.execute("select 1 from replay_answers").fetchone() is None
