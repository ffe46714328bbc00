import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.datasets.model import Split
from bakeoff.datasets.split import SHARES, slice_of, split_of

units = st.text("abc-é0", min_size=1)


@given(task=units, unit=units)
def test_a_unit_has_one_split_and_one_slice_for_ever(task: str, unit: str) -> None:
    """The split reads nothing but task and unit, so rows that come later cannot move anybody."""
    split = split_of(task, unit)
    assert split is split_of(task, unit)
    assert (slice_of(task, unit, split) in {1, 2, 3, 4}) == (split is Split.TEST)


@given(unit=units, moved=st.integers(0, 4000))
def test_a_larger_train_share_takes_units_only_from_its_neighbour(unit: str, moved: int) -> None:
    before = split_of("t", unit, {Split.TRAIN: 6000, Split.VALIDATION: 4000, Split.TEST: 0})
    after = split_of("t", unit, {Split.TRAIN: 6000 + moved, Split.VALIDATION: 4000 - moved, Split.TEST: 0})
    assert before is after or (before, after) == (Split.VALIDATION, Split.TRAIN)


def test_shares_and_slices_are_met_within_sampling_error() -> None:
    """20000 units: five standard errors of a share of a quarter are 0.015."""
    found = [split_of("planner", f"household-{n}") for n in range(20_000)]
    for split, share in SHARES.items():
        assert found.count(split) / 20_000 == pytest.approx(share / 10_000, abs=0.018)
    slices = [slice_of("planner", f"household-{n}", Split.TEST) for n in range(20_000)]
    for number in (1, 2, 3, 4):
        assert slices.count(number) / 20_000 == pytest.approx(0.25, abs=0.016)


def test_slices_are_independent_of_splits() -> None:
    """Within the test split each slice holds about a quarter: the second salt does not follow the first."""
    inside = [
        slice_of("planner", unit, Split.TEST)
        for n in range(20_000)
        if split_of("planner", unit := f"household-{n}") is Split.TEST
    ]
    for number in (1, 2, 3, 4):
        assert inside.count(number) / len(inside) == pytest.approx(0.25, abs=0.032)


def test_the_hash_is_pinned() -> None:
    """Another hash would move units between splits of datasets that exist."""
    assert [split_of("planner", f"household-{n}").value for n in range(6)] == [
        "validation", "train", "train", "train", "train", "test",
    ]  # fmt: skip


def test_shares_that_do_not_cover_everything_are_refused() -> None:
    with pytest.raises(ValueError, match="9000 basis points"):
        split_of("t", "u", {Split.TRAIN: 9000})
