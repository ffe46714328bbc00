"""PolicySpec: its fingerprint is what a signature covers."""

from dataclasses import asdict, replace

import pytest
from pydantic import TypeAdapter

from bakeoff.inference.model import Decoding, ModelRef, PolicySpec, Price, RemoteModel, external_spec

PYTHON = PolicySpec(
    task="planner", engine="python", prompt_version="1", function="planner.policies:heuristic", function_version="1"
)
TUNED = PolicySpec(
    task="planner", engine="transformers", prompt_version="1", dtype="float32", decoding=Decoding(mode="choices"),
    model=ModelRef(
        base="smollm2", base_digest="sha256:d1d5", adapter="models:/planner_model/1", adapter_digest="sha256:ad"
    ),
    price=Price(per_million_prompt_tokens=2),
)  # fmt: skip
SERVED = PolicySpec(
    task="planner", engine="openai", prompt_version="1", decoding=Decoding(), prompt="You plan dinners.",
    remote=RemoteModel(name="qwen3:8b", endpoint="house"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "fingerprint"),
    [
        (PYTHON, "sha256:59c62bc0142ff527a4e9f4f23bb50eeee2d03d526f9965450cfd2644552eece6"),
        (TUNED, "sha256:818e54eca2060df91ee749df0052b1a00b51b3fa1d7511b20b05373c19050f78"),
        (
            external_spec("planner", "before bakeoff"),
            "sha256:17444d11fd3cba64dc9bafb035309b4f4003e57cb2d024d4c16a00c631af3b89",
        ),
    ],
)
def test_a_spec_from_before_there_were_prompts_and_servers_keeps_its_fingerprint(
    spec: PolicySpec, fingerprint: str
) -> None:
    """Signatures, replays and policy versions hang on it. These were taken from version 0.1.0."""
    assert spec.fingerprint == fingerprint


def test_a_spec_that_was_stored_without_the_later_fields_is_read_as_before() -> None:
    stored = asdict(TUNED)
    del stored["prompt"], stored["remote"]
    assert TypeAdapter(PolicySpec).validate_python(stored) == TUNED
    assert TypeAdapter(PolicySpec).validate_python(asdict(SERVED)) == SERVED


def test_whatever_changes_an_answer_changes_the_fingerprint() -> None:
    assert SERVED.remote is not None
    others = [
        replace(SERVED, prompt="You plan dinners!"),
        replace(SERVED, prompt=None),
        replace(SERVED, seed=1),
        replace(SERVED, decoding=Decoding(max_tokens=10)),
        *(
            replace(SERVED, remote=replace(SERVED.remote, **{name: value}))
            for name, value in {"name": "qwen3:4b", "endpoint": "hosted", "temperature": None}.items()
        ),
    ]
    assert len({spec.fingerprint for spec in [SERVED, *others]}) == len(others) + 1


def test_a_fingerprint_holds_no_address_and_spells_a_temperature_in_one_way() -> None:
    whole = replace(SERVED, remote=RemoteModel(name="qwen3:8b", endpoint="house", temperature=0))
    assert whole.fingerprint == SERVED.fingerprint


def test_only_served_models_are_remote_and_only_models_need_an_engine() -> None:
    assert [spec.is_remote for spec in (PYTHON, TUNED, SERVED)] == [False, False, True]
    assert [spec.needs_engine for spec in (PYTHON, TUNED, SERVED)] == [False, True, True]
