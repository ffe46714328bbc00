import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from bakeoff.datasets.build import build, is_neutral
from bakeoff.datasets.model import Split
from bakeoff.errors import Refused, UsageError
from bakeoff.task import Episode, Example, TaskBase

Window = dict[str, datetime]
Make = Callable[..., Episode]


def test_rows_carry_request_target_split_and_where_they_come_from(
    task: TaskBase, episodes: list[Episode], window: Window
) -> None:
    draft = build(task, episodes, **window)
    row = draft.rows[0]
    assert row.example.request == episodes[0].request
    assert row.request_digest == episodes[0].request_digest
    assert row.example.target["basket"]["mon"] == "fig"
    assert row.example.metadata["region"] == "north"
    assert row.example.metadata["assignment_probability"] == 0.1
    assert row.example.metadata["action_propensity"] == 0.25
    assert row.example.metadata["proposed_by"] == episodes[0].decision.served_policy_version_id
    assert row.example.metadata["fell_back"] is False


def test_order_of_episodes_and_doubles_do_not_change_the_dataset(
    task: TaskBase, episodes: list[Episode], window: Window
) -> None:
    shuffled = episodes + episodes[:7]
    random.Random(5).shuffle(shuffled)
    assert build(task, shuffled, **window) == build(task, episodes, **window)


@pytest.mark.parametrize("change", ["target", "window", "prompt_version", "request_version", "policy"])
def test_the_digest_covers(change: str, task: TaskBase, episodes: list[Episode], window: Window) -> None:
    before = build(task, episodes, **window).digest
    if change == "window":
        window["until"] += timedelta(seconds=1)
    elif change.endswith("_version"):
        setattr(task, change, "2")
    elif change == "target":
        accept = replace(episodes[3].outcomes[0], payload={"accepted_by": "user", "basket": {}})
        episodes[3] = replace(episodes[3], outcomes=(accept,))
    else:
        decision = replace(episodes[3].decision, served_policy_version_id="somebody else")
        episodes[3] = replace(episodes[3], decisions=(decision,))
    assert build(task, episodes, **window).digest != before


def test_old_rows_keep_their_split_when_data_grows(
    task: TaskBase, episodes: list[Episode], episode: Make, window: Window
) -> None:
    before = {row.example.example_id: (row.split, row.slice) for row in build(task, episodes, **window).rows}
    grown = build(task, episodes + [episode(n) for n in range(120, 600)], **window)
    after = {row.example.example_id: (row.split, row.slice) for row in grown.rows}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 480


def test_no_unit_is_in_two_splits(task: TaskBase, episodes: list[Episode], window: Window) -> None:
    rows = build(task, episodes, **window).rows
    places = {(row.example.unit_id, row.split, row.slice) for row in rows}
    assert len(places) == len({unit for unit, _, _ in places}) == 55


def test_the_summary_counts_what_is_in_and_what_is_left_out(
    task: TaskBase, episodes: list[Episode], window: Window
) -> None:
    summary = build(task, episodes, **window).summary
    assert summary["rows"] == sum(summary["splits"].values()) == 110
    assert summary["units"] == sum(summary["units_by_split"].values()) == 55
    assert summary["excluded"] == {"nothing was accepted": 10}
    assert sorted(summary["proposed_by"].values()) == [22, 88]
    assert summary["targets"] == ["accepted_by", "basket"]
    assert summary["title"] == "fruit basket (supervised)"


def test_a_row_is_neutral_when_neither_compared_policy_proposed_it(
    task: TaskBase, episodes: list[Episode], window: Window
) -> None:
    explored, anchored = build(task, episodes, **window).rows[:2]
    incumbent = anchored.example.metadata["proposed_by"]
    assert is_neutral(explored, incumbent, "challenger")
    assert not is_neutral(anchored, incumbent, "challenger")
    assert is_neutral(anchored, "another", "challenger")
    unaided = replace(
        anchored,
        example=replace(anchored.example, metadata={**anchored.example.metadata, "built_by": "unaided"}),
    )
    assert is_neutral(unaided, incumbent, "challenger")


def test_an_answer_of_another_policy_than_the_assigned_one_is_a_fallback(
    task: TaskBase, episodes: list[Episode], window: Window
) -> None:
    """Without the log's own mark, the two ids tell."""
    decision = replace(episodes[1].decision, served_policy_version_id="last resort", payload={})
    episodes[1] = replace(episodes[1], decisions=(decision,))
    row = build(task, episodes, **window).rows[1]
    assert row.example.metadata["fell_back"] is True
    assert row.example.metadata["proposed_by"] == "last resort"


def test_too_few_rows_are_refused_with_the_cure(task: TaskBase, episodes: list[Episode], window: Window) -> None:
    with pytest.raises(Refused, match="not enough rows with a target: train has 0 of 20") as refusal:
        build(task, episodes[-10:], **window)
    assert "--since" in str(refusal.value)


def test_rows_outside_the_window_are_refused(task: TaskBase, episodes: list[Episode], window: Window) -> None:
    window["since"] += timedelta(hours=2)
    with pytest.raises(Refused, match="rows outside the window") as refusal:
        build(task, episodes, **window)
    assert str(episodes[1].decision.decision_id) in str(refusal.value)


def test_the_end_of_the_window_is_outside(task: TaskBase, episodes: list[Episode], window: Window) -> None:
    window["until"] = episodes[109].decision.occurred_at
    with pytest.raises(Refused, match="rows outside the window"):
        build(task, episodes, **window)


def test_a_window_without_time_zone_is_a_usage_error(task: TaskBase, episodes: list[Episode], window: Window) -> None:
    window["since"] = window["since"].replace(tzinfo=None)
    with pytest.raises(UsageError, match="has no time zone"):
        build(task, episodes, **window)


class Meddler(TaskBase):
    """Does what a careless task might do to its examples."""

    name = "fruit"

    def __init__(self, **change: Any) -> None:
        self.change = change

    def examples(self, episodes: Any) -> Any:
        for example in super().examples(episodes):
            if isinstance(example, Example):
                yield replace(example, **{k: v(example) for k, v in self.change.items()})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("request", lambda e: {**e.request, "day": -1}, "request is not the one in the log"),
        ("example_id", lambda _: "mine", "the first decision of no episode"),
        ("metadata", lambda _: {"origin": "x", "variant_id": "y"}, "metadata origin, variant_id"),
        ("target", lambda e: {"day": e.request["day"]}, "target day lies in the request in 110 of 110"),
        ("target", lambda _: {"picks": ["fig", "kiwi"]}, "target picks lies in the request"),
    ],
)
def test_careless_tasks_are_refused(
    name: str, value: Callable[[Example], Any], message: str, episodes: list[Episode], window: Window
) -> None:
    with pytest.raises(Refused, match=message):
        build(Meddler(**{name: value}), episodes, **window)


def test_equal_parts_by_coincidence_are_no_leak(episodes: list[Episode], window: Window) -> None:
    """People who keep what they had last week are not a leak."""
    task = Meddler(target=lambda e: {"picks": ["fig", "kiwi"] if e.request["day"] % 3 == 0 else ["fig"]})
    assert len(build(task, episodes, **window).rows) == 110


def test_a_unit_that_changes_names_between_splits_is_found(episodes: list[Episode], window: Window) -> None:
    """The same example twice is refused before it can be counted twice."""

    class Twice(TaskBase):
        name = "fruit"

        def examples(self, episodes: Any) -> Any:
            for example in super().examples(episodes):
                yield from (example, example)

    with pytest.raises(Refused, match="example ids that occur twice"):
        build(Twice(), episodes, **window)


def test_every_split_is_used(task: TaskBase, episodes: list[Episode], window: Window) -> None:
    assert {row.split for row in build(task, episodes, **window).rows} == set(Split)


def test_the_proposer_is_who_served_the_decision_that_was_accepted(
    task: TaskBase, episodes: list[Episode], window: Window
) -> None:
    """After a regeneration people keep parts of the second proposal, not of the first."""
    first = episodes[1].decision
    second = replace(first, decision_id="second", served_policy_version_id="explorer")
    accept = replace(episodes[1].outcomes[0], decision_id="second")
    episodes[1] = replace(episodes[1], decisions=(first, second), outcomes=(accept,))
    metadata = build(task, episodes, **window).rows[1].example.metadata
    assert metadata["proposed_by"] == "explorer"
    assert metadata["served_policy_version_id"] == first.served_policy_version_id
