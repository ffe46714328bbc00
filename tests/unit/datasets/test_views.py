"""Three views of one row, and the one rule which rows are learnt from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

import dataset_files as made
import toy
from bakeoff.datasets.model import Row, Split
from bakeoff.datasets.views import edit_costs, learnable, preferences, sft
from bakeoff.task import Example, Message, Preference, Request
from bakeoff.training.run import training_rows


class Taster(toy.ToyTask):
    """Knows all three views."""

    def answer_schema(self, request: Request) -> Mapping[str, Any]:
        return {"type": "object", "properties": {"drink": {"enum": list(toy.DRINKS)}}, "required": ["drink"]}

    def supervise(self, example: Example) -> Mapping[str, str] | None:
        return {"drink": f'"{example.target["drink"]}"'} if "drink" in example.target else None

    def preference(self, example: Example) -> Preference | None:
        shown, kept = example.target.get("shown"), example.target.get("drink")
        return None if shown in (None, kept) else Preference(chosen={"drink": kept}, rejected={"drink": shown})

    def edit_cost(self, example: Example) -> float | None:
        shown = example.target.get("shown")
        return None if shown is None else float(shown != example.target["drink"])


def sip(number: int, *, fell_back: bool = False, split: Split = Split.TRAIN, **target: Any) -> Row:
    return Row(
        example=Example(
            example_id=f"sip-{number}", unit_id=f"unit-{number}", occurred_at=made.START,
            request={"likes": "tea", "day": number}, target=target, metadata={"fell_back": fell_back},
        ),
        split=split, slice=None, request_digest="",
    )  # fmt: skip


CHANGED = sip(1, drink="tea", shown="coffee")
KEPT = sip(2, drink="tea", shown="tea")
UNAIDED = sip(3, drink="tea")
FELL_BACK = sip(4, drink="coffee", shown="tea", fell_back=True)
SILENT = sip(5)
ROWS = (CHANGED, KEPT, UNAIDED, FELL_BACK, SILENT)


def names(found: Sequence[Any]) -> list[str]:
    return [each.example_id for each in found]


def test_answers_of_a_last_resort_are_not_learnt_from_unless_asked_for() -> None:
    assert FELL_BACK not in list(learnable(ROWS))
    assert list(learnable(ROWS, include_fallback=True)) == list(ROWS)


def test_the_supervised_view_is_prompt_schema_and_labels() -> None:
    view = sft(Taster(), CHANGED)
    assert view is not None
    assert view.messages == [Message(role="user", content="tea or coffee for somebody who likes tea?")]
    assert view.labels == {"drink": '"tea"'}
    assert (view.example_id, view.unit_id) == ("sip-1", "unit-1")
    assert sft(Taster(), SILENT) is None


def test_a_pair_is_what_was_kept_over_what_was_shown() -> None:
    found = list(preferences(Taster(), ROWS))
    assert [(each.example_id, each.chosen, each.rejected) for each in found] == [
        ("sip-1", {"drink": "tea"}, {"drink": "coffee"})
    ]
    assert names(list(preferences(Taster(), ROWS, include_fallback=True))) == ["sip-1", "sip-4"]


def test_edit_costs_are_known_where_something_was_shown() -> None:
    rows = [replace(row, example=replace(row.example)) for row in (CHANGED, KEPT, UNAIDED, FELL_BACK)]
    assert [(each.example_id, each.cost) for each in edit_costs(Taster(), rows)] == [("sip-1", 1.0), ("sip-2", 0.0)]
    assert names(list(edit_costs(Taster(), rows, include_fallback=True))) == ["sip-1", "sip-2", "sip-4"]


@pytest.mark.parametrize(("split", "count"), [(Split.TRAIN, 3), (Split.TEST, 1)])
def test_training_takes_its_rows_by_this_rule(split: Split, count: int) -> None:
    rows = [*ROWS, sip(6, drink="tea", split=Split.TEST), sip(7, drink="tea", split=Split.TEST, fell_back=True)]
    assert len(training_rows(Taster(), rows, split)) == count
