import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bakeoff.errors import BakeoffError, Refused, UsageError
from bakeoff.inference.encode import Encoder
from bakeoff.training.choice_trainer import Keeping
from bakeoff.training.model import UNLABELLED, PairRow, TrainResult, TrainSpec
from bakeoff.training.recipes import lora_dpo, lora_sft
from bakeoff.training.recipes.lora_dpo import forgetting
from bakeoff.training.rows import encode_pair, encode_pairs
from tiny import NO, YES, row, write_model

SFT = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="sha256:b", prompt_version="7", dtype="float32",
    learning_rate=0.02, lora_r=8, lora_layers=None,
)  # fmt: skip
DISHES = ("curry", "pie", "soup", "stew")
SHOWN = {"soup": YES, "stew": YES, "curry": NO, "pie": NO}
KEPT = {**SHOWN, "stew": NO, "curry": YES}  # stew was taken out, curry put in


def _pairs(count: int, seed: int) -> list[PairRow]:
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        plain = row(rng.choice(["A.", "Bee.", "Sea."]), rng.sample(DISHES, 4), KEPT)
        found.append(PairRow(messages=plain.messages, schema=plain.schema, labels=KEPT, chosen=KEPT, rejected=SHOWN))
    return found


PAIRS, HELD_OUT = _pairs(14, 1), _pairs(5, 2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def start(base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """What lora_sft learns from people who keep soup and pie."""
    truth = {"soup": YES, "stew": NO, "curry": NO, "pie": YES}
    rows = [row("A.", list(DISHES), truth) for _ in range(8)]
    out = tmp_path_factory.mktemp("start") / "adapter"
    return lora_sft.train(SFT, rows, base_dir=base, out_dir=out, threads=1)


def _spec(parent: TrainResult, **changes: object) -> TrainSpec:
    spec = replace(
        SFT, recipe="lora_dpo", start=parent.adapter_digest, learning_rate=0.01, epochs=4, min_pairs=10, beta=0.5
    )
    return replace(spec, **changes)


def _train(
    base: Path, parent: TrainResult, out: Path, keeping: Keeping | None = None, **changes: object
) -> TrainResult:
    return lora_dpo.train(
        _spec(parent, **changes), PAIRS, HELD_OUT,
        start_dir=parent.adapter_dir, base_dir=base, out_dir=out, threads=1, keeping=keeping,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(base: Path, start: TrainResult, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return _train(base, start, tmp_path_factory.mktemp("dpo") / "adapter")


def _curve(result: TrainResult, name: str) -> dict[int, float]:
    return {point.step: point.value for point in result.curves if point.name == name}


def test_the_first_step_costs_ln_2(result: TrainResult) -> None:
    """The model that training starts from is its own reference; anything else means that the wrong one was loaded."""
    assert _curve(result, "dpo_loss")[1] == pytest.approx(math.log(2), abs=1e-5)
    assert _curve(result, "chosen_gain")[1] == pytest.approx(0, abs=1e-5)
    assert _curve(result, "validation_loss")[0] == pytest.approx(
        math.log(2) + 0.5 * _curve(result, "validation_sft_loss")[0], abs=1e-5
    )


def test_a_reference_that_is_not_the_start_stops_at_the_first_step(
    base: Path, start: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another model is loaded as reference: the loss looks fine, low even, and means nothing."""
    noted = lora_dpo.PairTrainer.note_references

    def other(self: lora_dpo.PairTrainer, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"reference": row["reference"] - 20} for row in noted(self, rows)]

    monkeypatch.setattr(lora_dpo.PairTrainer, "note_references", other)
    with pytest.raises(BakeoffError, match="first step of lora_dpo costs 0.000 nats per pair, expected ln 2 = 0.693"):
        _train(base, start, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_loss_is_both_terms(result: TrainResult) -> None:
    dpo, sft = _curve(result, "dpo_loss"), _curve(result, "sft_loss")
    assert _curve(result, "training_loss") == pytest.approx({step: dpo[step] + 0.5 * sft[step] for step in dpo})


def test_people_who_were_not_seen_get_what_they_would_keep(result: TrainResult) -> None:
    """Preference is learnt, and the kept answers became likelier, not only the shown ones less likely."""
    dpo, held_out = _curve(result, "dpo_loss"), _curve(result, "validation_loss")
    assert dpo[max(dpo)] < 0.4
    assert held_out[max(held_out)] < 0.7 * held_out[0]
    assert _curve(result, "chosen_gain")[max(dpo)] > 0.1
    assert _curve(result, "preferred")[max(dpo)] == 1.0


def test_micro_batches_do_not_change_what_is_learned(base: Path, start: TrainResult, tmp_path: Path) -> None:
    one, four = (_train(base, start, tmp_path / str(size), micro_batch=size, epochs=1) for size in (1, 4))
    for name in ("training_loss", "dpo_loss", "sft_loss", "preferred"):
        assert _curve(one, name) == pytest.approx(_curve(four, name), rel=1e-3, abs=1e-4)


def test_a_broken_run_goes_on_to_the_same_adapter(
    base: Path, start: TrainResult, result: TrainResult, tmp_path: Path
) -> None:
    keeping = Keeping(root=tmp_path / "checkpoints", every=3)

    def break_off(step: int, _: int, __: Mapping[str, float]) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lora_dpo.train(
            _spec(start), PAIRS, HELD_OUT, start_dir=start.adapter_dir, base_dir=base, out_dir=tmp_path / "a",
            threads=1, keeping=keeping, on_step=break_off,
        )  # fmt: skip
    again = _train(base, start, tmp_path / "a", keeping)
    assert (again.resumed_at, again.adapter_digest) == (6, result.adapter_digest)
    assert again.curves == result.curves


def test_a_start_that_is_not_the_one_named_is_refused(base: Path, start: TrainResult, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the run asks for sha256:other"):
        _train(base, start, tmp_path / "a", start="sha256:other")
    with pytest.raises(Refused, match="trained with prompt_version 7, this run has 8"):
        _train(base, start, tmp_path / "a", prompt_version="8")
    with pytest.raises(UsageError, match="--lora-r 8 --lora-alpha 32"):
        _train(base, start, tmp_path / "a", lora_r=16)


def test_too_few_pairs_are_refused_with_their_number(base: Path, start: TrainResult, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="14 edit pairs .0 more look the same.*from 15 pairs on"):
        _train(base, start, tmp_path / "a", min_pairs=15)


def test_a_run_that_forgets_what_people_kept_is_refused(base: Path, start: TrainResult, tmp_path: Path) -> None:
    """A supervised term that teaches the opposite pulls the kept answers down, however well the margins look."""
    turned = [replace(pair, labels=SHOWN) for pair in PAIRS]
    with pytest.raises(Refused, match="(?s)stopped at step .*less likely than before .-.*--learning-rate 0.0025"):
        lora_dpo.train(
            _spec(start, sft_weight=20), turned, HELD_OUT, start_dir=start.adapter_dir, base_dir=base,
            out_dir=tmp_path / "a", threads=1,
        )  # fmt: skip
    assert not (tmp_path / "a").exists()


def test_forgetting_is_judged_over_the_last_steps() -> None:
    assert forgetting([-0.5] * 9, steps=40) == 0.0  # too early to say
    assert forgetting([-0.5] * 2 + [0.3] * 8, steps=40) == 0.0  # first down, then up
    assert forgetting([9.0] + [-0.25] * 10, steps=40) == -0.25
    assert forgetting([-0.009] * 12, steps=40) == 0.0  # rounding
    assert forgetting([-1.0] * 10 + [1.0] * 10, steps=100) == 0.0  # a fifth of the steps


def test_choices_that_do_not_tell_two_answers_apart_are_left_out(base: Path) -> None:
    encoder = Encoder.open(base)
    plain = row("A.", ["soup", "stew", "curry", "pie"], {})
    pair = PairRow(
        messages=plain.messages, schema=plain.schema, labels={"soup": YES},
        chosen={"soup": YES, "stew": NO, "curry": YES}, rejected={"soup": YES, "stew": YES, "pie": NO},
    )  # fmt: skip
    encoded = encode_pair(encoder, pair)
    assert encoded.chosen == [UNLABELLED, 0, UNLABELLED, UNLABELLED]
    assert encoded.rejected == [UNLABELLED, 1, UNLABELLED, UNLABELLED]
    assert encoded.targets == [1, UNLABELLED, UNLABELLED, UNLABELLED]
    assert (encoded.differing, encoded.labelled) == (1, 1)
    same = replace(pair, rejected=pair.chosen)
    found = encode_pairs(encoder, [pair, same], SFT)
    assert (len(found.kept), found.same) == (1, 1)


def test_the_spec_is_closed_about_preferences() -> None:
    with pytest.raises(UsageError, match="--from-run RUN"):
        replace(SFT, recipe="lora_dpo")
    with pytest.raises(UsageError, match="--beta means nothing to recipe lora_sft"):
        replace(SFT, beta=0.1)
    with pytest.raises(UsageError, match="decoding mode 'choices'"):
        replace(SFT, recipe="lora_dpo", start="sha256:a", decoding_mode="greedy")
    with pytest.raises(UsageError, match="--beta 0"):
        replace(SFT, recipe="lora_dpo", start="sha256:a", beta=0)
    filled = replace(SFT, recipe="lora_dpo", start="sha256:a")
    assert (filled.beta, filled.sft_weight, filled.min_pairs) == (0.1, 0.5, 200)


def test_random_states_and_threads_are_left_alone(base: Path, start: TrainResult, tmp_path: Path) -> None:
    before = (torch.get_num_threads(), torch.get_rng_state().tolist())
    _train(base, start, tmp_path / "a", epochs=1)
    assert (torch.get_num_threads(), torch.get_rng_state().tolist()) == before
