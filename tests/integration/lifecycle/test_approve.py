"""A signature holds while everything that it covers is what it was, and not a moment longer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

import stages
import toy
from bakeoff import lifecycle
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Refused, UsageError
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Experiment
from bakeoff.gates.model import Absolute, Gate, NonInferior, Outcome
from bakeoff.lifecycle import Deps
from bakeoff.policies import cover
from bakeoff.policies import store as policies
from bakeoff.policies.model import Approval, PolicyVersion, Rejection
from bakeoff.promotion.plan import plan_promotion
from overlapping import at_once

TASK = toy.ToyTask()
RULES = Gate(
    name="toy",
    rules=(
        NonInferior(metric="right", margin=0.3),
        Absolute(metric="known_drink", column="known_drink", minimum=1.0),
    ),
    minimum_effective_units=5,
    slices_per_gate=4,  # a shop is small
)


class Judged:
    """A shop whose second version passed its gate."""

    def __init__(self, deps: Deps, clock: stages.Clock) -> None:
        self.deps, self.clock = deps, clock
        self.incumbent = stages.open_shop(deps)
        since = clock.now
        stages.live(deps, clock, day=1, shoppers=120)
        clock.turn(days=4)
        self.dataset: Dataset = lifecycle.build_dataset(deps, TASK, since=since, until=clock.now)
        self.version = stages.python_version(deps, "good")
        self.digest = self.judge(RULES)

    def judge(self, rules: Gate, version: PolicyVersion | None = None) -> str:
        ours, theirs = (
            lifecycle.replay(self.deps, TASK, each, self.dataset) for each in (version or self.version, self.incumbent)
        )
        report = lifecycle.gate(self.deps, TASK, ours, theirs, self.dataset, rules)
        assert report.verdict is Outcome.PASS
        return report.digest

    def sign(self, digest: str | None = None) -> None:
        self.clock.turn(minutes=1)
        lifecycle.approve(
            self.deps, self.version.name, report_digest=digest or self.digest, signed_by="Grace", note="read it"
        )

    def start(self, name: str = "one") -> None:
        lifecycle.start_experiment(self.deps, self.version, stages.TEST, name=name)

    @property
    def folder(self) -> Path:
        return Path(self.dataset.uri)

    def standing(self) -> tuple[str, str | None]:
        """Status of the version, and why its last approval ended."""
        with self.deps.db.transaction() as conn:
            voided = policies.last_voided(conn, self.version.policy_version_id)
            found = policies.version_by_id(conn, self.version.policy_version_id)
        return found.status, None if voided is None else voided.reason


@pytest.fixture
def shop(deps: Deps, clock: stages.Clock) -> Judged:
    return Judged(deps, clock)


def test_a_signature_notes_what_it_covers_and_the_beginning_of_a_digest_is_enough(shop: Judged) -> None:
    given = lifecycle.approve(
        shop.deps, shop.version.name, report_digest=shop.digest[:16], signed_by="Grace", note="read it"
    )
    assert given.report_digest == shop.digest
    assert given.covers is not None
    assert given.covers[cover.DATASET] == shop.dataset.digest
    assert given.covers[cover.GATE] == RULES.digest
    assert {"dataset file schema.json", "dataset file training.parquet"} < set(given.covers)
    with shop.deps.db.transaction() as conn:
        assert policies.live_approval(conn, shop.version.policy_version_id) == given
    shop.clock.turn(days=1)
    shop.sign()  # the same again is the one that is there
    assert shop.standing() == ("approved", None)
    for wrong, message in (("sha256:00", "no gate report"), ("sha256:", "no gate report")):
        with pytest.raises(UsageError, match=message):
            shop.sign(wrong)


def test_a_changed_file_of_the_dataset_voids_the_signature_and_traffic_waits(shop: Judged) -> None:
    shop.sign()
    parquet = shop.folder / "training.parquet"
    whole = parquet.read_bytes()
    parquet.write_bytes(whole + b"\0")
    with pytest.raises(Refused, match=r"training.parquet of the dataset was [0-9a-f]{12}, now(.|\n)*bakeoff gate toy"):
        shop.start()
    status, reason = shop.standing()
    assert status == "candidate"
    assert str(reason).startswith("training.parquet of the dataset was")
    parquet.write_bytes(whole)
    with pytest.raises(Refused, match="no valid approval, so it gets no traffic: the one by Grace was voided"):
        shop.start()  # what is void stays void
    shop.sign()  # the folder is what was judged again: it can be signed anew
    shop.start()


def test_a_changed_description_or_a_rewritten_row_is_not_signed(shop: Judged) -> None:
    schema = shop.folder / "schema.json"
    text = schema.read_text()
    body = json.loads(text)
    body["dataset"]["digest"] = "sha256:" + "0" * 64
    schema.write_text(json.dumps(body))
    with pytest.raises(Refused, match="the dataset was [0-9a-f]{12}, now 000000000000"):
        shop.sign()
    schema.write_text(text.replace('"files"', '"fields_of_old"'))  # nothing is listed: the rows speak for themselves
    _rewrite_a_target(shop.folder / "training.parquet")
    with pytest.raises(Refused, match="training.parquet in .* is not what was built"):
        shop.sign()
    assert shop.standing() == ("candidate", None)


def _rewrite_a_target(file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    index = table.schema.get_field_index("target")
    first = [{**row, "drink": "coffee" if row["drink"] == "tea" else "tea"} for row in table["target"].to_pylist()]
    field = table.schema.field(index)
    pq.write_table(table.set_column(index, field, pa.array(first, field.type)), file)


def test_a_dataset_that_cannot_be_seen_from_here_voids_nothing(shop: Judged) -> None:
    shop.sign()
    away = shop.folder.rename(shop.folder.with_name("away"))
    with pytest.raises(Refused, match="cannot be seen from here"):
        shop.start()
    assert shop.standing() == ("approved", None)
    away.rename(shop.folder)
    shop.start()


def test_other_rules_in_force_void_the_signature(shop: Judged) -> None:
    shop.sign()
    stricter = replace(RULES, alpha=0.01)
    shop.deps = replace(shop.deps, gate_in_force=lambda _: stricter)
    with pytest.raises(Refused, match="the rules in force were [0-9a-f]{12}, now"):
        shop.start()
    assert shop.standing()[0] == "candidate"
    with pytest.raises(Refused, match="speaks of what is no longer there: the rules in force"):
        shop.sign()
    shop.sign(shop.judge(stricter))
    shop.start()


def test_a_report_that_was_tampered_with_is_not_signed_and_ends_its_signature(shop: Judged) -> None:
    """By a superuser, past every trigger: with its own digest mended or not."""
    shop.sign()
    _, stored = lifecycle.find_report(shop.deps, shop.version.name)
    report = stored.report.to_json()
    mended = replace(stored.report, units=9999).to_json()
    for body in ({}, {**report, "units": 9999}, {**report, "digest": "sha256:0"}, mended):
        with shop.deps.db.transaction() as conn:
            conn.execute("set local bakeoff.erasure = 'on'")
            conn.execute("update gate_reports set report = %s", (Jsonb(body),))
        with pytest.raises(Refused, match="its content (has digest|is none)"):
            shop.sign()
    with pytest.raises(Refused, match="the gate report was [0-9a-f]{12} and is missing now"):
        shop.start()
    assert shop.standing()[0] == "candidate"


def test_an_expired_signature_opens_no_new_phase(shop: Judged) -> None:
    shop.sign()
    shop.clock.turn(days=30)
    with pytest.raises(Refused, match=r"the one by Grace expired on 2025-02-09(.|\n)*bakeoff gate toy_policy/2"):
        shop.start()
    shop.sign()  # after reading it again
    shop.start()


def test_running_traffic_is_not_cut_but_its_version_is_not_promoted(shop: Judged) -> None:
    shop.sign()
    shop.start()
    (shop.folder / "schema.json").write_bytes((shop.folder / "schema.json").read_bytes() + b"\n")
    with shop.deps.db.transaction() as conn:
        test = experiments.running_test(conn, stages.POLICY)
        assert test is not None
    plan = plan_promotion(
        shop.version, shop.incumbent, experiment_id=test.experiment_id, snapshot_id=test.experiment_id, verdict="ship"
    )
    with pytest.raises(Refused, match="what Grace signed has changed .schema.json of the dataset"):
        lifecycle.promote(shop.deps, plan, signed_by="Grace", reason="it won")
    with shop.deps.db.transaction() as conn:
        assert experiments.running_test(conn, stages.POLICY) == test
        assert experiments.incumbent(conn, stages.POLICY) == shop.incumbent.policy_version_id


def test_a_rejection_needs_a_reason_is_final_and_waits_for_a_running_test(shop: Judged) -> None:
    def reject(reason: str = "five soups") -> None:
        lifecycle.reject(shop.deps, shop.version.name, report_digest=shop.digest, rejected_by="Grace", reason=reason)

    with pytest.raises(UsageError, match="needs a name and a reason"):
        reject(" ")
    shop.sign()
    shop.start()
    with pytest.raises(Refused, match=r"is in a running test(.|\n)*bakeoff experiment stop"):
        reject()
    with shop.deps.db.transaction() as conn:
        test = experiments.running_test(conn, stages.POLICY)
    assert test is not None
    lifecycle.stop_experiment(shop.deps, test, reason="the kettle broke")
    reject()
    reject()  # the same again is the one that is there
    assert shop.standing() == ("rejected", "rejected: five soups")
    with pytest.raises(Refused, match="cannot be approved: it was rejected"):
        shop.sign()
    with pytest.raises(Refused, match="Grace rejected it on 2025-01-10: five soups"):
        shop.start("two")


def test_a_version_without_a_report_can_be_neither_signed_nor_rejected(shop: Judged) -> None:
    with pytest.raises(UsageError, match="was not judged yet"):
        lifecycle.reject(shop.deps, shop.incumbent.name, report_digest=shop.digest, rejected_by="G", reason="r")


# ---- two at once ----


def sign(deps: Deps, shop: Judged, who: str = "Ada") -> Approval:
    return lifecycle.approve(deps, shop.version.name, report_digest=shop.digest, signed_by=who, note="read it")


def reject(deps: Deps, shop: Judged) -> Rejection:
    return lifecycle.reject(deps, shop.version.name, report_digest=shop.digest, rejected_by="Grace", reason="dull")


def test_two_who_sign_the_same_report_at_once_have_one_signature(shop: Judged) -> None:
    first, second = at_once(shop.deps, lambda d: sign(d, shop), lambda d: sign(d, shop, "Grace"))
    assert (second.error, second.result) == (None, first)
    with shop.deps.db.transaction() as conn:
        assert policies.live_approval(conn, shop.version.policy_version_id) == first


def test_a_rejection_voids_a_signature_that_was_given_at_the_same_moment(shop: Judged) -> None:
    _, second = at_once(shop.deps, lambda d: sign(d, shop), lambda d: reject(d, shop))
    assert second.error is None
    assert shop.standing() == ("rejected", "rejected: dull")
    with shop.deps.db.transaction() as conn:
        assert policies.live_approval(conn, shop.version.policy_version_id) is None


def test_who_signs_while_another_rejects_is_refused(shop: Judged) -> None:
    _, second = at_once(shop.deps, lambda d: reject(d, shop), lambda d: sign(d, shop))
    assert isinstance(second.error, Refused)
    assert "was rejected; it gets no approval any more" in str(second.error)


def begin(deps: Deps, shop: Judged) -> Experiment:
    return lifecycle.start_experiment(deps, shop.version, stages.TEST, name="one")


def test_a_version_whose_test_begins_at_the_same_moment_is_not_rejected(shop: Judged) -> None:
    shop.sign()
    begun, second = at_once(shop.deps, lambda d: begin(d, shop), lambda d: reject(d, shop))
    assert begun.status == "running"
    assert isinstance(second.error, Refused)
    assert "toy_policy/2 is in a running test; a rejection does not cut traffic" in str(second.error)
    assert shop.standing() == ("approved", None)


def test_no_test_begins_of_a_version_that_is_rejected_at_the_same_moment(shop: Judged) -> None:
    shop.sign()
    _, second = at_once(shop.deps, lambda d: reject(d, shop), lambda d: begin(d, shop))
    assert isinstance(second.error, Refused)
    assert "policy version toy_policy/2 has no valid approval, so it gets no traffic" in str(second.error)
    with shop.deps.db.transaction() as conn:
        assert experiments.running(conn, stages.POLICY) == ()
