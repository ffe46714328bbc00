"""Only two replays of the same rows, both deterministic, are compared."""

from dataclasses import replace
from typing import Any

import pytest

from bakeoff.errors import Refused
from bakeoff.gates.pair import check_comparable, paired_rows, subject
from bakeoff.replay.model import Certificate, ReplayReport, ReplayRow

SURE = Certificate(rows=8, equal=8)
OURS = ReplayReport(
    replay_id="r1", policy_version_id="v2", fingerprint="sha256:2", dataset_digest="sha256:d",
    selection={"split": "test", "sample": 80, "seed": 0}, engine={}, certificate=SURE, aggregates={}, 
    digest="sha256:r1",
)  # fmt: skip
THEIRS = replace(OURS, replay_id="r2", policy_version_id="v1", fingerprint="sha256:1", digest="sha256:r2")


def row(name: str, **metrics: float | None) -> ReplayRow:
    return ReplayRow(
        example_id=name, unit_id=f"unit of {name}", raw_answer="", parsed_answer=None, answer=None, violations=(),
        metrics=metrics, prompt_tokens=0, completion_tokens=0, latency_s=0.25, cost=0.5,
    )  # fmt: skip


def test_two_replays_of_the_same_rows_are_comparable() -> None:
    check_comparable(OURS, THEIRS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_digest": "sha256:e"}, "do not cover the same rows"),
        ({"selection": {"split": "test", "sample": 79, "seed": 0}}, "do not cover the same rows"),
        ({"selection": {"split": "test", "sample": 80, "seed": 1}}, "do not cover the same rows"),
        ({"certificate": Certificate(rows=8, equal=7)}, "r2 is not deterministic: 7 of 8 answers"),
        ({"policy_version_id": "v2"}, "not judged against itself"),
    ],
)
def test_others_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        check_comparable(OURS, replace(THEIRS, **change))


def test_a_candidate_that_answers_differently_each_time_is_refused() -> None:
    with pytest.raises(Refused, match="r1 is not deterministic"):
        check_comparable(replace(OURS, certificate=Certificate(rows=8, equal=0)), THEIRS)


def test_rows_are_paired_by_example_whatever_their_order() -> None:
    pairs = paired_rows(
        [row("a", right=1.0), row("b", right=None)], [row("b", right=0.0), row("a", right=0.5)],
        neutral=lambda example: example == "b",
    )  # fmt: skip
    assert [(p.example_id, p.unit_id, p.neutral) for p in pairs] == [
        ("a", "unit of a", False),
        ("b", "unit of b", True),
    ]
    assert pairs[0].candidate == {"right": 1.0, "latency_s": 0.25, "cost": 0.5}
    assert (pairs[0].incumbent["right"], pairs[1].candidate["right"], pairs[1].incumbent["right"]) == (0.5, None, 0.0)


@pytest.mark.parametrize(("ours", "theirs"), [("ab", "a"), ("a", "ab"), ("a", "b")])
def test_a_row_without_a_partner_is_refused(ours: str, theirs: str) -> None:
    """A pair left out in silence would be a way to pass."""
    with pytest.raises(Refused, match="were answered by one policy only"):
        paired_rows([row(name) for name in ours], [row(name) for name in theirs], neutral=lambda _: True)


def test_the_subject_names_everything_that_a_signature_covers() -> None:
    said = subject(OURS, THEIRS)
    assert said["candidate"] != said["incumbent"]
    for change in ("fingerprint", "policy_version_id", "digest"):
        assert subject(replace(OURS, **{change: "other"}), THEIRS) != said
        assert subject(OURS, replace(THEIRS, **{change: "other"})) != said
    assert subject(replace(OURS, dataset_digest="other"), THEIRS) != said
