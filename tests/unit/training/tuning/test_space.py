"""The space holds what `bakeoff train` does, and every point of it is a spec that can be trained and served."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.training.model import TrainSpec
from bakeoff.training.tuning.model import OneOf, Params, Range
from bakeoff.training.tuning.space import SPACE, USUAL, describe, early_rows, spec_fields

SMOLLM2_LAYERS = 30


def values(dimension: Range | OneOf) -> st.SearchStrategy[float | int | str]:
    if isinstance(dimension, OneOf):
        return st.sampled_from(dimension.values)
    if dimension.whole:
        return st.integers(int(dimension.low), int(dimension.high))
    return st.floats(dimension.low, dimension.high)


POINTS = st.fixed_dictionaries({dimension.name: values(dimension) for dimension in SPACE})


def spec(**other: object) -> TrainSpec:
    known: dict[str, object] = {
        "task": "toy", "dataset_digest": "d", "base": "b", "base_digest": "b", "prompt_version": "1",
        "dtype": "float32",
    }  # fmt: skip
    return TrainSpec(**{**known, **other})  # type: ignore[arg-type]


@given(params=POINTS, layers=st.integers(1, 80))
def test_every_point_is_a_spec_that_servers_accept(params: Params, layers: int) -> None:
    found = spec(**spec_fields(params, layers))
    assert found.lora_alpha == 2 * found.lora_r
    assert found.lora_layers is None or 1 <= found.lora_layers <= layers


def test_the_first_trial_is_what_train_does_on_smollm2() -> None:
    assert spec(**spec_fields(USUAL, SMOLLM2_LAYERS)) == spec()
    assert set(spec_fields(USUAL, 30)) <= {field.name for field in fields(TrainSpec)}


@given(layers=st.integers(1, 80))
def test_a_third_is_no_more_than_two(layers: int) -> None:
    third, two = (
        spec_fields({**USUAL, "lora_layers": share}, layers)["lora_layers"] for share in ("third", "two_thirds")
    )
    assert 1 <= third <= two <= layers


def test_the_cheap_rung_has_a_quarter_of_the_rows() -> None:
    assert [early_rows(rows) for rows in (1, 4, 5, 300)] == [1, 1, 2, 75]


def test_a_point_is_described_in_one_line() -> None:
    assert describe({"learning_rate": 0.0012345, "epochs": 2}) == "learning_rate 0.00123, epochs 2"
