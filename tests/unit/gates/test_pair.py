"""Only two replays of the same rows are compared, and a local engine has to answer the same each time."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bakeoff.errors import Refused
from bakeoff.gates.pair import check_comparable, check_covers, noise, pair_scores, subject
from bakeoff.gates.slices import Reading
from bakeoff.replay.model import Certificate, ReplayReport
from bakeoff.replay.scores import Scores

SURE = Certificate(rows=8, equal=8)
READING = Reading(opening=1, slices=(1, 2))
OURS = ReplayReport(
    replay_id="r1", policy_version_id="v2", fingerprint="sha256:2", dataset_digest="sha256:d",
    selection={"split": "test", "slices": [1, 2], "sample": 80, "seed": 0}, engine={}, certificate=SURE,
    aggregates={}, digest="sha256:r1",
)  # fmt: skip
THEIRS = replace(OURS, replay_id="r2", policy_version_id="v1", fingerprint="sha256:1", digest="sha256:r2")


def remote(**moved: float) -> Certificate:
    return Certificate(rows=40, equal=31, kind="noise", noise=moved)


def scores(ids: str, **values: list[float]) -> Scores:
    return Scores(
        example_ids=list(ids),
        unit_ids=[f"unit of {name}" for name in ids],
        values={name: np.array(column) for name, column in values.items()},
    )


def test_two_replays_of_the_same_rows_are_comparable() -> None:
    check_comparable(OURS, THEIRS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_digest": "sha256:e"}, "do not cover the same rows"),
        ({"selection": {**OURS.selection, "sample": 79}}, "do not cover the same rows"),
        ({"selection": {**OURS.selection, "seed": 1}}, "do not cover the same rows"),
        ({"selection": {**OURS.selection, "slices": [1]}}, "do not cover the same rows"),
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


def test_a_remote_engine_may_answer_differently_and_says_by_how_much() -> None:
    ours, theirs = (
        replace(OURS, certificate=remote(right=0.02, fill=0.01)),
        replace(THEIRS, certificate=remote(right=0.03)),
    )
    check_comparable(ours, THEIRS)
    assert noise(OURS, THEIRS) is None, "both are the same in every run"
    assert noise(ours, THEIRS) == {"right": 0.02, "fill": 0.01}
    assert noise(ours, theirs) == pytest.approx({"right": 0.05}), "both move; what one was not measured on is unknown"


@pytest.mark.parametrize("slices", [None, [1, 2], [1, 2, 3]])
def test_a_replay_of_all_slices_that_are_read_is_enough(slices: list[int] | None) -> None:
    check_covers(replace(OURS, selection={"split": "test", "slices": slices}), READING)
    check_covers(replace(OURS, selection={"split": "test"}), READING)


@pytest.mark.parametrize("chosen", [{"split": "test", "slices": [2]}, {"split": "validation", "slices": None}])
def test_one_that_leaves_out_some_is_refused(chosen: dict[str, Any]) -> None:
    """Whoever saw the answers could have left out the slice in which the candidate is bad."""
    with pytest.raises(Refused, match="the gate reads slices 1, 2 of 4"):
        check_covers(replace(OURS, selection=chosen), READING)


def test_only_rows_that_the_gate_reads_become_pairs() -> None:
    pairs = pair_scores(
        scores("abc", right=[1.0, np.nan, 0.0]), scores("abc", right=[0.5, 0.0, 1.0]),
        neutral={"b": True, "c": False},
    )  # fmt: skip
    assert (pairs.example_ids, pairs.unit_ids) == (["b", "c"], ["unit of b", "unit of c"])
    assert pairs.neutral.tolist() == [True, False]
    assert np.isnan(pairs.candidate["right"][0])
    assert (pairs.candidate["right"][1], pairs.incumbent["right"].tolist()) == (0.0, [0.0, 1.0])


@pytest.mark.parametrize(("ours", "theirs"), [("ab", "a"), ("a", "ab"), ("a", "b")])
def test_a_row_without_a_partner_is_refused(ours: str, theirs: str) -> None:
    """A pair left out in silence would be a way to pass."""
    with pytest.raises(Refused, match="were answered by one policy only"):
        pair_scores(scores(ours), scores(theirs), neutral={"a": True, "b": True})


def test_the_subject_names_everything_that_a_signature_covers() -> None:
    said = subject(OURS, THEIRS, READING)
    assert said["candidate"] != said["incumbent"]
    assert (said["slices"], said["opening"]) == ("1,2", "1")
    for change in ("fingerprint", "policy_version_id", "digest"):
        assert subject(replace(OURS, **{change: "other"}), THEIRS, READING) != said
        assert subject(OURS, replace(THEIRS, **{change: "other"}), READING) != said
    assert subject(replace(OURS, dataset_digest="other"), THEIRS, READING) != said
    assert subject(OURS, THEIRS, replace(READING, slices=(1, 2, 3))) != said
