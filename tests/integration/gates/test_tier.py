"""After the rules pass: segments, stress requests and behaviour beside production, with real replays in PostgreSQL."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

import stages
import toy
from bakeoff import lifecycle
from bakeoff.errors import Refused
from bakeoff.gates import store as gates
from bakeoff.gates.model import GateReport, Outcome
from bakeoff.inference.model import external_spec
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.task import PythonAnswer, Request, StressCase
from strict_shop import GATE, Shop, Strict, open_shop

ALL = replace(GATE, slices_per_gate=4)


def test_a_better_policy_passes_both_and_the_report_says_what_was_looked_at(deps: Deps) -> None:
    shop = open_shop(deps)
    report = shop.gate(shop.version("good"), rules=ALL)
    assert report.verdict is Outcome.PASS, report.because()
    tier = report.tier
    assert tier is not None
    assert {segment.name: len(segment.metrics) for segment in tier.segments} == {
        "region = north": 3,
        "region = south": 3,
    }
    assert [(each.name, each.requests, each.new) for each in tier.stress] == [
        ("no cups", 3, ()),
        ("shop burnt down", 3, ()),
    ]
    beside = tier.behaviour
    assert beside.rows == report.rows
    assert 0.3 < beside.same_answers < 0.7, "half of the shoppers like the tea that the other offers everybody"
    assert (beside.candidate.unreadable, beside.candidate.violating, beside.candidate.unserved) == (0.0, 0.0, 0.0)
    assert beside.candidate.latency_p95_s > 0


def test_harm_in_one_region_fails_although_the_mean_is_better(deps: Deps) -> None:
    shop = open_shop(deps)
    report = shop.gate(shop.ours("bad_in_the_north"), rules=ALL)
    assert {v.outcome for v in report.verdicts if v.kind != "shown"} == {Outcome.PASS}, "the rules alone are fooled"
    assert report.verdict is Outcome.FAIL
    assert "worse than the incumbent where region = north: effort" in report.because()
    with shop.deps.db.transaction() as conn:
        version = policies.version_by_id(conn, report.subject["candidate_version"])
    assert version.status == "registered"
    with pytest.raises(Refused, match="only PASS can be approved"):
        lifecycle.approve(shop.deps, version.name, report_digest=report.digest, signed_by="G", note="n")


@pytest.mark.parametrize(
    ("candidate", "rule"), [("breaks_under_stress", "unknown_drink"), ("falls_over_under_stress", "no_answer")]
)
def test_a_policy_that_breaks_where_the_incumbent_holds_fails(deps: Deps, candidate: str, rule: str) -> None:
    shop = open_shop(deps)
    report = shop.gate(shop.ours(candidate))
    assert report.verdict is Outcome.FAIL
    assert f"stress request 'no cups': {rule} in 3 of 3 answers which the incumbent keeps" in report.because()


def test_what_the_incumbent_breaks_too_and_what_nobody_can_keep_is_excused(deps: Deps) -> None:
    shop = open_shop(deps)
    report = shop.gate(shop.ours("breaks_under_stress"), shop.ours("tea_or_petrol"))
    assert report.verdict is Outcome.PASS, report.because()
    assert report.tier is not None
    cups, burnt = report.tier.stress
    assert [breach.answers for breach in cups.candidate] == [3]
    assert cups.new == burnt.new == burnt.candidate == ()


def test_an_incumbent_that_only_the_log_knows_excuses_nothing(deps: Deps, clock: stages.Clock) -> None:
    """The application itself answered 200 shoppers; it cannot be asked anything new."""
    old = lifecycle.create_policy(deps, stages.POLICY, external_spec("toy", "before"))
    lifecycle.adopt(deps, old, signed_by="Ada", reason="it serves", since=clock.now)
    task, since = Strict(), clock.now
    for n in range(200):
        request = {"likes": toy.DRINKS[n % 2], "day": n, "region": "south"}
        served = lifecycle.decide(
            deps, task, stages.POLICY, key=f"k{n}", unit_id=f"u{n}", request=request, at=clock.now,
            own=lambda _: {"drink": "tea"},
        )  # fmt: skip
        lifecycle.log_outcome(
            deps, task, event_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"o{n}")), event_type="accepted", unit_id=f"u{n}",
            context=served.context, at=clock.now, payload={"accepted_by": "user", "drink": request["likes"]},
        )  # fmt: skip
    dataset = lifecycle.build_dataset(deps, task, since=since, until=clock.turn(days=1))
    shop = Shop(deps, task, dataset)
    report = shop.gate(shop.version("good"), old)
    assert report.verdict is Outcome.PASS, report.because()
    assert report.tier is not None
    assert [finding.incumbent for finding in report.tier.stress] == [None, None]
    failed = shop.gate(shop.ours("breaks_under_stress"), old)
    assert "stress request 'no cups': unknown_drink in 3 of 3 answers (" in failed.because()


def test_the_stricter_tests_wait_for_the_rules(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = open_shop(deps)
    monkeypatch.setattr(Strict, "stress", lambda *_: pytest.fail("nobody may ask yet"))
    report = shop.gate(shop.version("contrary"), shop.version("good"))
    assert report.verdict is Outcome.FAIL
    assert report.tier is None


def test_a_task_without_segments_and_stress_requests_can_pass(deps: Deps) -> None:
    shop = open_shop(deps, task=Strict(stressed=False))
    report = shop.gate(shop.version("good"), rules=replace(GATE, stress_requests=3))
    assert report.verdict is Outcome.PASS
    assert report.tier is not None
    assert report.tier.unasked == "the task has none (Task.stress)"
    none = shop.gate(shop.version("good"), rules=replace(GATE, stress_requests=0))
    assert none.tier is not None
    assert "stress_requests = 0" in str(none.tier.unasked)


moods: list[str] = []


def moody(request: Request, *, seed: int) -> PythonAnswer:
    """Fine until it is stressed; then it breaks down once, and never again."""
    moods.append("odd" if "odd" in request else "usual")
    return PythonAnswer(
        answer={"drink": "petrol" if moods.count("odd") == 1 and "odd" in request else request["likes"]}
    )


def test_the_same_question_gets_the_report_that_is_there(deps: Deps) -> None:
    """A policy whose answers vary must not be asked until it is lucky; and nothing is answered twice."""
    shop = open_shop(deps)
    first = shop.gate(shop.version("moody", __name__))
    asked = len(moods)
    again = [shop.gate(shop.version("moody", __name__)) for _ in range(3)]
    assert [each == first for each in again] == [True] * 3
    assert len(moods) == asked
    assert first.verdict is Outcome.FAIL
    harder = shop.with_task(_Harder())
    other = harder.gate(shop.version("moody", __name__))
    assert other.digest != first.digest, "other stress requests are another question"
    assert (first.attempt, other.attempt) == (1, 2)


class _Harder(Strict):
    def stress(self, requests: Sequence[Request]) -> Iterator[StressCase]:
        return (replace(case, name=f"{case.name}!") for case in super().stress(requests))


def test_the_digest_covers_what_the_stricter_tests_found_but_not_the_clock(deps: Deps) -> None:
    shop = open_shop(deps)
    report = shop.gate(shop.version("good"), rules=ALL)
    tier = report.tier
    assert tier is not None
    slower = replace(tier.behaviour, candidate=replace(tier.behaviour.candidate, latency_p95_s=9.0))
    assert replace(report, tier=replace(tier, behaviour=slower)).digest == report.digest
    assert replace(report, attempt=9).digest == report.digest
    changed = (
        replace(tier, segments=tier.segments[1:]),
        replace(tier, stress=tier.stress[1:]),
        replace(tier, behaviour=replace(tier.behaviour, same_answers=1.0)),
    )
    assert len({report.digest, *(replace(report, tier=each).digest for each in changed)}) == 4
    with shop.deps.db.transaction() as conn:
        stored = gates.find(conn, report.digest)
    assert stored.report == report
    assert GateReport.from_json(report.to_json()) == report
