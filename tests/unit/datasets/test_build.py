import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from bakeoff.datasets.build import NO_REASON, content_digest, is_neutral, lines
from bakeoff.datasets.model import Dataset, Row, Split
from bakeoff.errors import Refused, UsageError
from bakeoff.events.canonical import canonical_bytes
from bakeoff.task import Episode, Example, Message, Request, TaskBase

Window = dict[str, datetime]
Make = Callable[..., Episode]
Stored = Callable[[Iterable[Episode]], list[tuple[Episode, bytes]]]
Publish = Callable[..., Dataset]


@pytest.fixture
def rows(task: TaskBase, stored: Stored, window: Window) -> Callable[..., list[Row]]:
    def made(episodes: Iterable[Episode], *, by: TaskBase | None = None, **other: Any) -> list[Row]:
        how = {**window, "excluded": Counter()} | other
        return [line.row() for line in lines(by or task, stored(episodes), **how)]

    return made


def test_rows_carry_request_target_split_and_where_they_come_from(
    rows: Callable[..., list[Row]], episodes: list[Episode]
) -> None:
    row = rows(episodes)[0]
    assert row.example.request == episodes[0].request
    assert row.request_digest == episodes[0].request_digest
    assert row.example.target["basket"]["mon"] == "fig"
    assert row.example.metadata["region"] == "north"
    assert row.example.metadata["assignment_probability"] == 0.1
    assert row.example.metadata["action_propensity"] == 0.25
    assert row.example.metadata["proposed_by"] == episodes[0].decision.served_policy_version_id
    assert row.example.metadata["fell_back"] is False


def test_a_line_says_of_itself_what_canonical_json_would(
    task: TaskBase, stored: Stored, episodes: list[Episode], window: Window
) -> None:
    for line in lines(task, stored(episodes), excluded=Counter(), **window):
        row = line.row()
        assert line.logical() == canonical_bytes(
            {
                "example_id": row.example.example_id,
                "unit_id": row.example.unit_id,
                "occurred_at": row.example.occurred_at,
                "split": row.split.value,
                "slice": row.slice,
                "request_digest": row.request_digest,
                "target": row.example.target,
                "metadata": row.example.metadata,
            }
        )


def test_order_of_outcomes_and_of_the_log_do_not_change_the_dataset(publish: Publish, episodes: list[Episode]) -> None:
    """The log gives them back in canonical order, however they came."""
    shuffled = episodes + episodes[:7]
    random.Random(5).shuffle(shuffled)
    assert publish(shuffled) == publish(episodes)


@pytest.mark.parametrize("change", ["target", "prompt_version", "request_version", "policy", "window"])
def test_the_digest_covers(
    change: str, task: TaskBase, publish: Publish, episodes: list[Episode], window: Window
) -> None:
    before = publish(episodes)
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
    after = publish(episodes, **window)
    assert after.digest != before.digest
    assert (after.rows_digest != before.rows_digest) == (change in ("target", "policy"))


def test_the_digest_is_pinned(task: TaskBase, window: Window) -> None:
    """Other bytes under it would give every dataset that exists another name."""
    found = content_digest(task, "sha256:00", **window)
    assert found == "sha256:5af525c7be90b6b9c97bd70b00eaea41659271245429d6035ec4ed4a70110be2"


def test_old_rows_keep_their_split_when_data_grows(
    rows: Callable[..., list[Row]], episodes: list[Episode], episode: Make
) -> None:
    before = {row.example.example_id: (row.split, row.slice) for row in rows(episodes)}
    grown = rows(episodes + [episode(n) for n in range(120, 600)])
    after = {row.example.example_id: (row.split, row.slice) for row in grown}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 480


def test_no_unit_is_in_two_splits(rows: Callable[..., list[Row]], episodes: list[Episode]) -> None:
    places = {(row.example.unit_id, row.split, row.slice) for row in rows(episodes)}
    assert len(places) == len({unit for unit, _, _ in places}) == 55
    assert {split for _, split, _ in places} == set(Split)


def test_the_summary_counts_what_is_in_and_what_is_left_out(publish: Publish, episodes: list[Episode]) -> None:
    summary = publish(episodes).summary
    assert summary["rows"] == sum(summary["splits"].values()) == 110
    assert summary["units"] == sum(summary["units_by_split"].values()) == 55
    assert summary["excluded"] == {"nothing was accepted": 10}
    assert sorted(summary["proposed_by"].values()) == [22, 88]
    assert summary["targets"] == ["accepted_by", "basket"]
    assert summary["title"] == "fruit basket (supervised)"


def test_a_row_is_neutral_when_neither_compared_policy_proposed_it(
    rows: Callable[..., list[Row]], episodes: list[Episode]
) -> None:
    explored, anchored = rows(episodes)[:2]
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
    rows: Callable[..., list[Row]], episodes: list[Episode]
) -> None:
    """Without the log's own mark, the two ids tell."""
    decision = replace(episodes[1].decision, served_policy_version_id="last resort", payload={})
    episodes[1] = replace(episodes[1], decisions=(decision,))
    row = rows(episodes)[1]
    assert row.example.metadata["fell_back"] is True
    assert row.example.metadata["proposed_by"] == "last resort"


def test_too_few_rows_are_refused_with_the_cure(publish: Publish, episodes: list[Episode]) -> None:
    with pytest.raises(Refused, match="not enough rows with a target: train has 0 of 20") as refusal:
        publish(episodes[-10:])
    assert "--since" in str(refusal.value)


def test_without_any_row_there_is_no_dataset_whatever_is_asked_for(publish: Publish, episodes: list[Episode]) -> None:
    with pytest.raises(Refused, match="not enough rows with a target: train has 0 of 1"):
        publish(episodes[-10:], minimum=dict.fromkeys(Split, 0))


def test_rows_outside_the_window_are_refused(
    rows: Callable[..., list[Row]], episodes: list[Episode], window: Window
) -> None:
    with pytest.raises(Refused, match="rows outside the window") as refusal:
        rows(episodes, since=window["since"] + timedelta(hours=2))
    assert str(episodes[1].decision.decision_id) in str(refusal.value)


def test_the_end_of_the_window_is_outside(rows: Callable[..., list[Row]], episodes: list[Episode]) -> None:
    with pytest.raises(Refused, match="rows outside the window"):
        rows(episodes, until=episodes[109].decision.occurred_at)


def test_a_window_without_time_zone_is_a_usage_error(
    rows: Callable[..., list[Row]], publish: Publish, episodes: list[Episode], window: Window
) -> None:
    naive = window["since"].replace(tzinfo=None)
    with pytest.raises(UsageError, match="has no time zone"):
        rows(episodes, since=naive)
    with pytest.raises(UsageError, match="has no time zone"):
        publish(episodes, since=naive)


class Meddler(TaskBase):
    """Does what a careless task might do to its examples."""

    name = "fruit"

    def __init__(self, **change: Any) -> None:
        self.change = change

    def render(self, request: Request) -> Sequence[Message]:
        return []

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
        ("target", lambda _: {"picks": float("nan")}, "which JSON cannot say"),
    ],
)
def test_careless_tasks_are_refused(
    name: str, value: Callable[[Example], Any], message: str, publish: Publish, episodes: list[Episode]
) -> None:
    with pytest.raises(Refused, match=message):
        publish(episodes, by=Meddler(**{name: value}))


def test_what_a_careless_task_does_to_a_request_in_place_does_not_reach_the_dataset(
    rows: Callable[..., list[Row]], episodes: list[Episode]
) -> None:
    """The row carries the text that the log stored, not the object that the task was given."""

    class Scribbler(TaskBase):
        name = "fruit"

        def examples(self, episodes: Any) -> Any:
            for example in super().examples(episodes):
                if isinstance(example, Example):
                    example.request["day"] = "scribble"
                yield example

    days = [episode.request["day"] for episode in episodes[:110]]
    assert [row.example.request["day"] for row in rows(episodes, by=Scribbler())] == days


def test_equal_parts_by_coincidence_are_no_leak(publish: Publish, episodes: list[Episode]) -> None:
    """People who keep what they had last week are not a leak."""
    task = Meddler(target=lambda e: {"picks": ["fig", "kiwi"] if e.request["day"] % 3 == 0 else ["fig"]})
    assert publish(episodes, by=task).rows == 110


def test_the_letters_of_a_target_inside_a_text_are_no_leak(
    publish: Publish, episodes: list[Episode], episode: Make
) -> None:
    noted = [episode(n, note="she wrote [1] and {} there") for n in range(110)]
    assert publish(noted, by=Meddler(target=lambda _: {"picks": [1]})).rows == 110


def test_an_example_that_comes_twice_is_refused(rows: Callable[..., list[Row]], episodes: list[Episode]) -> None:
    """The same example twice is refused before it can be counted twice."""

    class Twice(TaskBase):
        name = "fruit"

        def examples(self, episodes: Any) -> Any:
            for example in super().examples(episodes):
                yield from (example, example)

    with pytest.raises(Refused, match="example ids that occur twice"):
        rows(episodes, by=Twice())


def test_a_task_may_read_ahead(rows: Callable[..., list[Row]], episodes: list[Episode]) -> None:
    """For instance to ask something about many episodes at once; the order of its examples is that of the episodes."""

    class Eager(TaskBase):
        name = "fruit"

        def examples(self, episodes: Any) -> Any:
            yield from super().examples(list(episodes))

    assert [row.example.example_id for row in rows(episodes, by=Eager())] == [
        row.example.example_id for row in rows(episodes)
    ]


def test_episodes_that_a_task_passes_over_are_counted(rows: Callable[..., list[Row]], episodes: list[Episode]) -> None:
    excluded: Counter[str] = Counter()
    assert len(rows(episodes, by=Meddler(), excluded=excluded)) == 110
    assert excluded == {NO_REASON: 10}


def test_a_request_that_was_changed_in_the_database_is_refused(
    task: TaskBase, stored: Stored, episodes: list[Episode], window: Window
) -> None:
    pairs = stored(episodes)
    pairs[4] = (pairs[4][0], pairs[4][1].replace(b"2.5", b"9.5"))
    with pytest.raises(Refused, match="is not the one that was digested"):
        list(lines(task, pairs, excluded=Counter(), **window))


def test_the_proposer_is_who_served_the_decision_that_was_accepted(
    rows: Callable[..., list[Row]], episodes: list[Episode]
) -> None:
    """After a regeneration people keep parts of the second proposal, not of the first."""
    first = episodes[1].decision
    second = replace(first, decision_id="second", served_policy_version_id="explorer")
    accept = replace(episodes[1].outcomes[0], decision_id="second")
    episodes[1] = replace(episodes[1], decisions=(first, second), outcomes=(accept,))
    metadata = rows(episodes)[1].example.metadata
    assert metadata["proposed_by"] == "explorer"
    assert metadata["served_policy_version_id"] == first.served_policy_version_id


def test_a_time_out_does_not_speak_over_a_person(rows: Callable[..., list[Row]], episodes: list[Episode]) -> None:
    """Somebody took the first proposal; that nobody looked at the second one says nothing."""
    first, taken = episodes[1].decision, episodes[1].outcomes[0]
    second = replace(first, decision_id="second", served_policy_version_id="explorer")
    nobody = replace(
        taken, decision_id="second", event_id="later", occurred_at=taken.occurred_at + timedelta(hours=1),
        payload={**taken.payload, "accepted_by": "timeout"},
    )  # fmt: skip
    episodes[1] = replace(episodes[1], decisions=(first, second), outcomes=(taken, nobody))
    assert rows(episodes)[1].example.metadata["proposed_by"] == first.served_policy_version_id
