"""One answer, what it depends on, and what would make two of them incomparable."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fickle
import toy
from bakeoff.errors import UsageError
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec, Recorded
from bakeoff.replay.answer import Kept, answer, prompt_digest, stamp
from bakeoff.replay.code import NO_SOURCE, module_digest, package_digest
from bakeoff.replay.scored_by import scored_by
from bakeoff.replay.workers import Ask
from bakeoff.task import Completion, JsonSchema, Request

TASK = fickle.Shop()
SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="fickle:fickle", function_version="1")
MODEL = replace(
    SPEC, engine="transformers", function=None, function_version=None, dtype="float32", decoding=Decoding(),
    model=ModelRef(base="tiny", base_digest="sha256:b"),
)  # fmt: skip
ASK = Ask(example_id="e1", request={"likes": "tea", "day": 3})


def test_a_repeat_rolls_the_dice_of_another_seed() -> None:
    asks = [replace(ASK, repeat=repeat) for repeat in range(12)]
    said = [answer(TASK, replace(SPEC, seed=4), ask, None).raw for ask in asks]
    assert said == [answer(TASK, replace(SPEC, seed=4 + n), ASK, None).raw for n in range(12)]
    assert len(set(said)) == 2


def test_a_function_that_fails_is_told_with_example_and_line() -> None:
    with pytest.raises(UsageError, match=r"fickle:failing fails on example e1: KeyError: .*fickle\.py:\d+"):
        answer(TASK, replace(SPEC, function="fickle:failing"), replace(ASK, request={"likes": "tea", "day": 5}), None)


def test_a_kept_answer_is_read_and_checked_like_a_fresh_one() -> None:
    def kept(text: str) -> Any:
        return answer(TASK, MODEL, ASK, Kept(completion=Completion(text=text, prompt_tokens=5, latency_s=2.0)))

    assert kept('{"drink":"coffee"}').answer == {"drink": "coffee"}
    broken = kept('{"drink":"petrol"}')
    assert ([v.rule for v in broken.violations], broken.answer) == (["unknown_drink"], {"drink": "tea"})
    assert (broken.completion.prompt_tokens, broken.completion.latency_s) == (5, 2.0)


def test_what_was_recorded_is_the_answer_of_the_application() -> None:
    spec = replace(SPEC, engine="logged", function=None, prompt_version="-")
    assert answer(TASK, spec, replace(ASK, recorded=Recorded(answer={"drink": "coffee"})), None).answer == {
        "drink": "coffee"
    }
    assert [v.rule for v in answer(TASK, spec, ASK, None).violations] == ["unrecorded"]


# ---- what an answer depends on ---------------------------------------------------------------------------------------


def test_the_prompt_s_digest_covers_messages_and_schema_with_its_order() -> None:
    class Turned(fickle.Shop):
        order = toy.DRINKS[::-1]

        def answer_schema(self, request: Request) -> JsonSchema:
            return {**super().answer_schema(request), "properties": {"drink": {"enum": list(self.order)}}}

    class Keys(fickle.Shop):
        names = ("a", "b")

        def answer_schema(self, request: Request) -> JsonSchema:
            return {"type": "object", "properties": {key: {"enum": [1, 2]} for key in self.names}}

    assert prompt_digest(TASK, MODEL, ASK.request) == prompt_digest(fickle.Shop(), MODEL, dict(ASK.request))
    assert prompt_digest(TASK, MODEL, ASK.request) != prompt_digest(TASK, MODEL, {"likes": "coffee", "day": 3})
    assert prompt_digest(TASK, MODEL, ASK.request) != prompt_digest(Turned(), MODEL, ASK.request)
    polite = replace(MODEL, prompt="Be polite.")
    assert prompt_digest(TASK, MODEL, ASK.request) != prompt_digest(TASK, polite, ASK.request)
    one, other = Keys(), Keys()
    other.names = ("b", "a")
    assert prompt_digest(one, MODEL, ASK.request) != prompt_digest(other, MODEL, ASK.request), (
        "an answer writes keys in this order"
    )


def test_a_function_is_stamped_with_the_code_that_it_lies_in() -> None:
    found = stamp(SPEC, None)
    assert found["code"] == package_digest("fickle")
    assert found == stamp(replace(SPEC, function="fickle:halting"), None)
    assert found != stamp(replace(SPEC, function="toy:good"), None)
    assert stamp(replace(SPEC, engine="logged"), None) == {"engine": "logged"}
    with pytest.raises(UsageError, match="cannot be loaded"):
        stamp(replace(SPEC, function="fickle:gone"), None)


def test_a_model_s_stamp_is_the_engine_s_own_with_the_code_that_decodes() -> None:
    found = stamp(MODEL, Kept(completion=Completion(text="")))
    assert set(found) == {"code"}
    assert found["code"].startswith("sha256:")


# ---- code ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of three files that can be imported."""
    folder = tmp_path / "feature_x"
    (folder / "below").mkdir(parents=True)
    for name in ("__init__.py", "task.py", "below/words.txt"):
        (folder / name).write_text("# one\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [each for each in sys.modules if each.startswith("feature_x")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["__init__.py", "task.py", "below/words.txt"])
def test_any_file_of_the_package_counts(package: Path, name: str) -> None:
    before = package_digest("feature_x.task")
    assert package_digest("feature_x") == before
    (package / name).write_text("# two\n")
    assert package_digest("feature_x.task") != before
    (package / name).write_text("# one\n")
    assert package_digest("feature_x.task") == before


def test_what_python_and_editors_leave_behind_does_not_count(package: Path) -> None:
    before = package_digest("feature_x.task")
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "task.pyc").write_bytes(b"x")
    (package / ".swp").write_text("x")
    assert package_digest("feature_x.task") == before
    (package / "new.py").write_text("")
    assert package_digest("feature_x.task") != before


def test_a_module_alone_is_its_file(package: Path) -> None:
    assert package_digest("toy") == module_digest("toy")
    before = module_digest("feature_x.task")
    (package / "below" / "words.txt").write_text("else")
    assert module_digest("feature_x.task") == before


def test_code_without_a_file_says_so() -> None:
    assert package_digest("builtins") == module_digest("builtins") == NO_SOURCE


# ---- what scored -----------------------------------------------------------------------------------------------------


def test_the_same_task_scores_by_the_same() -> None:
    assert scored_by(fickle.Shop()) == scored_by(fickle.Shop())
    assert set(scored_by(TASK)) == {"task", "learnt", "core", "versions"}


def test_other_code_other_learning_and_other_versions_are_told_apart() -> None:
    class Learnt(fickle.Shop):
        def __init__(self, weight: float) -> None:
            self.weight = weight

        def frozen(self) -> dict[str, float]:
            return {"weight": self.weight}

    class Renamed(Learnt):
        request_version = "2"

    def differing(one: Any, other: Any) -> set[str]:
        left, right = scored_by(one), scored_by(other)
        return {name for name in left if left[name] != right[name]}

    assert differing(Learnt(1.0), Learnt(1.0)) == set()
    assert differing(Learnt(1.0), Learnt(2.0)) == {"learnt"}
    assert differing(TASK, toy.ToyTask()) == {"task"}
    assert differing(Learnt(1.0), Renamed(1.0)) == {"task", "versions"}
