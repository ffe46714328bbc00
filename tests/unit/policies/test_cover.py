"""What a signature covers: one sentence for each thing that is no longer what was signed."""

from dataclasses import replace

from bakeoff.inference.model import ModelRef
from bakeoff.policies import cover
from evidence import RULES, evidence

SIGNED = {cover.REPORT: "sha256:aaaaaaaaaaaaaaaa", cover.GATE: "sha256:bbbbbbbbbbbbbbbb",
          f"{cover.FILE}schema.json": "sha256:cccccccccccccccc"}  # fmt: skip


def test_what_is_the_same_says_nothing_and_what_is_new_is_not_covered() -> None:
    assert cover.changes(SIGNED, SIGNED | {"more": "sha256:d"}) == []


def test_each_change_is_a_sentence_with_both_digests() -> None:
    found = {**SIGNED, cover.GATE: "sha256:dddddddddddddddd"}
    assert cover.changes(SIGNED, found) == ["the rules in force were bbbbbbbbbbbb, now dddddddddddd"]
    del found[f"{cover.FILE}schema.json"]
    assert cover.changes(SIGNED, found)[1] == "schema.json of the dataset was cccccccccccc and is missing now"


def test_the_cure_names_the_gate_and_the_signature_to_type() -> None:
    assert cover.cure(SIGNED, {**SIGNED, cover.GATE: "x"}, "p/3").startswith(
        "judge the version by today's rules: run the gate again: bakeoff gate p/3"
    )
    assert "build it again" in cover.cure(SIGNED, {**SIGNED, f"{cover.FILE}schema.json": "x"}, "p/3")


def test_a_report_covers_its_dataset_its_rules_and_the_spec_and_adapter_that_it_judged() -> None:
    made = evidence(rows=20)
    version = made.candidate.version
    judged = cover.judged(made.stored, version)
    assert judged == {
        cover.REPORT: made.stored.report.digest,
        cover.SPEC: version.fingerprint,
        cover.GATE: RULES.digest,
        cover.DATASET: "sha256:d",
    }
    model = ModelRef(base="b", base_digest="sha256:0", adapter="models:/m/1", adapter_digest="sha256:1")
    tuned = replace(version, spec=replace(version.spec, model=model))
    assert cover.judged(made.stored, tuned) == judged | {cover.ADAPTER: "sha256:1"}
