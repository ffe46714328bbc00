"""Which rows are replayed, and which machine answers them."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rows
from bakeoff.datasets.model import Row, Split
from bakeoff.errors import Refused, UsageError
from bakeoff.replay.select import select, selection, shard_of
from bakeoff.task import Example


def row(n: int, split: Split = Split.TEST) -> Row:
    example = Example(example_id=f"e{n}", unit_id=f"u{n}", occurred_at=rows.START, request={"day": n}, target={})
    return Row(example=example, split=split, slice=n % 4 + 1 if split is Split.TEST else None, request_digest=f"r{n}")


ROWS = [row(n) for n in range(40)]


def chosen(**how: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"split": Split.TEST, "slices": None, "sample": None, "seed": 0, "neutral_to": ()}
    return selection(**{**asked, **how})


def ids(found: list[Row]) -> list[str]:
    return [each.example.example_id for each in found]


@given(small=st.integers(1, 40), large=st.integers(1, 40), seed=st.integers(0, 9))
def test_a_larger_sample_contains_the_smaller_one_in_the_same_order(small: int, large: int, seed: int) -> None:
    small, large = sorted((small, large))
    many, few = (ids(select(ROWS, chosen(sample=n, seed=seed))) for n in (large, small))
    assert many[:small] == few


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    found = ids(select(ROWS, chosen(sample=10, seed=1)))
    assert ids(select(ROWS[::-1], chosen(sample=10, seed=1))) == found
    assert ids(select(ROWS, chosen(sample=10, seed=2))) != found


def test_neutral_rows_come_first_and_samples_stay_nested() -> None:
    neutral = {"e3", "e17", "e30"}
    five = ids(select(ROWS, chosen(sample=5), first=neutral))
    assert set(five[:3]) == neutral
    assert ids(select(ROWS, chosen(sample=2), first=neutral)) == five[:2]
    assert len(select(ROWS, chosen(), first=neutral)) == 40


@pytest.mark.parametrize(("found", "sample"), [([], None), ([], 5), (ROWS, 0), ([row(1, Split.VALIDATION)], None)])
def test_a_replay_of_nothing_is_refused(found: list[Row], sample: int | None) -> None:
    with pytest.raises(Refused, match="no held-out example"):
        select(found, chosen(sample=sample))


def test_slices_are_parts_of_the_test_split_that_do_not_overlap() -> None:
    parts = [set(ids(select(ROWS, chosen(slices=[n])))) for n in (1, 2, 3, 4)]
    assert set.union(*parts) == set(ids(ROWS))
    assert sum(map(len, parts)) == len(ROWS)
    assert set(ids(select(ROWS, chosen(slices=[4, 2, 2])))) == parts[1] | parts[3]


def test_the_same_choice_is_the_same_words_whatever_the_order() -> None:
    one, other = chosen(slices=(3, 1), neutral_to=["b", "a"]), chosen(slices=[1, 3, 3], neutral_to=["a", "b"])
    assert one == other
    assert one == {"split": "test", "slices": [1, 3], "sample": None, "seed": 0, "neutral_to": ["a", "b"]}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"slices": []}, "some of 1 to 4"),
        ({"slices": [0]}, "some of 1 to 4"),
        ({"slices": [5]}, "some of 1 to 4"),
        ({"slices": [1], "split": Split.VALIDATION}, "validation split has no slices"),
        ({"split": Split.TRAIN}, "what models learn from"),
    ],
)
def test_a_choice_that_cannot_be_is_told(how: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        chosen(**how)


def test_every_example_is_of_one_shard_and_shards_are_about_equal() -> None:
    counted = Counter(shard_of(f"example-{n}", 4) for n in range(4000))
    assert set(counted) == {1, 2, 3, 4}
    assert max(counted.values()) - min(counted.values()) < 200
    assert {shard_of(f"example-{n}", 1) for n in range(9)} == {1}
