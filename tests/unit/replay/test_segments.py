"""What a replay keeps of `Task.segments`: texts or nothing, under a digest that moves with all that they come from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

import toy
from bakeoff.replay.segments import segments_digest, segments_of
from bakeoff.task import Example
from rows import at

EXAMPLE = Example(
    example_id="e", unit_id="u", occurred_at=at(1), request={"region": "north"}, target={}, metadata={}
)  # fmt: skip
KEPT: Mapping[str, Mapping[str, str]] = {"a": {"region": "north"}, "b": {"region": "south"}}
CODE = {"task": "sha256:1"}


class Says(toy.ToyTask):
    def __init__(self, said: Any) -> None:
        self.said = said

    def segments(self, example: Example) -> Mapping[str, str]:
        found: Mapping[str, str] = self.said(example)
        return found


def test_texts_are_kept_as_they_are() -> None:
    assert segments_of(Says(lambda example: {"region": example.request["region"]}), EXAMPLE) == {"region": "north"}
    assert segments_of(toy.ToyTask(), EXAMPLE) == {}, "a task without segments says so"


@pytest.mark.parametrize(
    "said",
    [
        lambda example: {"size": example.request["size"]},  # raises
        lambda _: {"size": 3},
        lambda _: {3: "size"},
        lambda _: {"size": None},
        lambda _: {"size": "\0"},  # PostgreSQL cannot keep it
        lambda _: {"size": "\ud800"},
        lambda _: None,
    ],
)
def test_what_cannot_be_kept_is_left_to_the_gate_and_stops_no_replay(said: Any) -> None:
    assert segments_of(Says(said), EXAMPLE) is None


def test_the_digest_depends_on_dataset_code_and_every_row_and_not_on_their_order() -> None:
    known = segments_digest("sha256:d", CODE, KEPT)
    assert known == segments_digest("sha256:d", CODE, dict(reversed(KEPT.items())))
    two = {"region": "north", "mode": "x"}
    assert segments_digest("d", CODE, {"a": two}) == segments_digest("d", CODE, {"a": dict(reversed(two.items()))})
    others = [
        segments_digest("sha256:e", CODE, KEPT),
        segments_digest("sha256:d", {"task": "sha256:2"}, KEPT),
        segments_digest("sha256:d", CODE, {**KEPT, "b": {"region": "north"}}),
        segments_digest("sha256:d", CODE, {"a": KEPT["a"]}),
        segments_digest("sha256:d", CODE, {"a": KEPT["b"], "b": KEPT["a"]}),
    ]
    assert len({known, *others}) == 6
    assert None not in (known, *others)


def test_one_row_without_segments_and_nothing_is_vouched_for() -> None:
    assert segments_digest("sha256:d", CODE, {**KEPT, "c": None}) is None


def test_metadata_may_be_what_a_segment_is_made_of() -> None:
    task = Says(lambda example: {"built_by": str(example.metadata.get("built_by"))})
    assert segments_of(task, replace(EXAMPLE, metadata={"built_by": "unaided"})) == {"built_by": "unaided"}
