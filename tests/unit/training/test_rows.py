from dataclasses import replace

import pytest

from bakeoff.errors import Refused, UsageError
from bakeoff.inference.encode import Encoder
from bakeoff.training.choice_loss import UNLABELLED
from bakeoff.training.model import TrainSpec
from bakeoff.training.rows import encode_row, encode_rows
from tiny import NO, YES, row, write_tokenizer

SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="b", prompt_version="1", dtype="float32", max_tokens=200
)
ROW = row("Likes soup.", ["soup", "stew", "curry"], {"soup": YES, "curry": NO})


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.open(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def test_inputs_hold_the_placeholder_and_targets_the_truth(encoder: Encoder) -> None:
    encoded = encode_row(encoder, ROW, "choices")
    assert encoder.text(encoded.input_ids).endswith('{"soup":"no","stew":"no","curry":"no"}')
    assert encoded.targets == [1, UNLABELLED, 0]
    assert encoded.labelled == 2
    assert [encoder.text([tokens[1]]) for tokens in encoded.tokens] == ["yes"] * 3


def test_training_sees_exactly_the_ids_that_answering_sees(encoder: Encoder) -> None:
    encoded, served = encode_row(encoder, ROW, "choices"), encoder.encode(ROW.messages, ROW.schema)
    assert encoded.input_ids == served.input_ids
    assert encoded.positions == [served.position(choice) for choice in served.choices]


def test_for_a_greedy_walk_inputs_hold_the_truth(encoder: Encoder) -> None:
    encoded = encode_row(encoder, ROW, "greedy")
    assert encoder.text(encoded.input_ids).endswith('{"soup":"yes","stew":"no","curry":"no"}')
    assert encoded.targets == [1, UNLABELLED, 0]


def test_a_label_that_the_schema_does_not_allow_is_an_error(encoder: Encoder) -> None:
    for mode in ("choices", "greedy"):
        with pytest.raises(UsageError, match="maybe"):
            encode_row(encoder, replace(ROW, labels={"soup": '"maybe"'}), mode)


def test_rows_without_a_label_are_left_out(encoder: Encoder) -> None:
    found = encode_rows(encoder, [ROW, replace(ROW, labels={})], SPEC)
    assert (len(found.kept), found.too_long) == (1, 0)
    with pytest.raises(Refused, match="no row carries a label"):
        encode_rows(encoder, [replace(ROW, labels={})], SPEC)


def test_more_than_half_a_percent_too_long_stops_the_run(encoder: Encoder) -> None:
    long = row("Likes " + "soup " * 60, ["soup"], {"soup": YES})
    found = encode_rows(encoder, [ROW] * 199 + [long], SPEC)
    assert (len(found.kept), found.too_long) == (199, 1)
    with pytest.raises(Refused, match=r"1 of 199 rows have more than --max-tokens 200"):
        encode_rows(encoder, [ROW] * 198 + [long], SPEC)
