"""SIMULATION: what the gate's verdicts are worth, where the truth is known. A fast set; many more by `make simulate`.

Bounds are one-sided 99 % Clopper-Pearson over the simulated gates, so a test fails when a promise is surely broken."""

import pytest

from bakeoff.gates.model import Outcome
from bakeoff.stats.proportion import exact_lower, exact_upper
from gate_worlds import GATE, MARGIN, WORLDS, count, false_alarms, reports

WORSE_BY_THE_MARGIN = {"choice": -MARGIN, "score": -MARGIN, "edits": -0.25, "rare": -MARGIN}


def at_most(times: int, runs: int) -> float:
    return exact_upper(times, runs, 0.01)


def at_least(times: int, runs: int) -> float:
    return exact_lower(times, runs, 0.01)


@pytest.mark.parametrize("units", [45, 120])
@pytest.mark.parametrize("name", sorted(WORLDS))
def test_a_loss_of_the_margin_passes_in_at_most_seven_percent(name: str, units: int) -> None:
    """45 households of unequal size count as about 33."""
    runs = 200
    passed = count(reports(name, units, WORSE_BY_THE_MARGIN[name], runs, seed=1), Outcome.PASS)
    assert at_least(passed, runs) <= 0.07


@pytest.mark.parametrize("name", ["choice", "score", "edits"])
def test_equal_policies_are_called_harmful_no_more_often_than_alpha(name: str) -> None:
    runs = 200
    failed = count(reports(name, 60, 0.0, runs, seed=2), Outcome.FAIL)
    assert at_least(failed, runs) <= 0.05


def test_a_clearly_better_candidate_passes_with_few_but_enough_households() -> None:
    """46 households count as 30 to 37; the gain is three margins."""
    runs, passed, enough = 120, 0, 0
    for report in reports("choice", 46, 3 * MARGIN, runs, seed=3):
        is_enough = report.verdicts[0].effective_units >= GATE.minimum_effective_units
        enough += is_enough
        passed += report.verdict is Outcome.PASS and is_enough
    assert enough > runs / 2
    assert at_least(passed, enough) > 0.85


def test_a_clearly_harmful_one_fails_even_where_the_detectable_effect_exceeds_the_margin() -> None:
    """20 households: far too few to pass, and what they would show is beyond the margin. Harm shows all the same."""
    runs, found = 100, list(reports("choice", 20, -6 * MARGIN, 100, seed=4))
    failed = sum(report.verdict is Outcome.FAIL for report in found)
    assert at_least(failed, runs) > 0.8
    assert all((report.verdicts[0].detectable or 0) > MARGIN for report in found)


@pytest.mark.parametrize("name", ["choice", "score", "edits"])
def test_tiny_samples_never_pass_however_good_the_candidate(name: str) -> None:
    gain = -2 * WORSE_BY_THE_MARGIN[name]
    assert {report.verdict for report in reports(name, 8, gain, 40, seed=5)} == {Outcome.INCONCLUSIVE}


def test_all_ties_are_inconclusive_until_the_exact_bound_is_below_the_margin() -> None:
    """Where nothing ever differs: 1 - .05^(1/G*) is below five points from 59 effective households on."""
    few = list(reports("rare", 60, 0.0, 20, seed=6))
    many = list(reports("rare", 120, 0.0, 20, seed=6))
    assert {report.verdict for report in few} == {Outcome.INCONCLUSIVE}
    assert max(report.verdicts[0].effective_units for report in few) < 59
    assert {report.verdict for report in many} == {Outcome.PASS}


@pytest.mark.parametrize("units", [40, 130])
def test_equal_policies_are_seldom_called_harmful_in_some_segment(units: int) -> None:
    """Six regions and two modes over three metrics; segments of 12 effective units and more are screened."""
    runs = 60
    assert at_least(false_alarms(units, 6, runs, 7), runs) <= 0.05


# ---- the same, many times ----


@pytest.mark.simulate
@pytest.mark.parametrize("units", [45, 60, 150, 400])
@pytest.mark.parametrize("name", sorted(WORLDS))
def test_a_loss_of_the_margin_rarely_passes_many_gates(name: str, units: int) -> None:
    runs = 3000
    passed = count(reports(name, units, WORSE_BY_THE_MARGIN[name], runs, seed=8), Outcome.PASS)
    assert at_most(passed, runs) <= 0.07


@pytest.mark.simulate
@pytest.mark.parametrize("units", [45, 150])
@pytest.mark.parametrize("name", ["choice", "score", "edits"])
def test_equal_policies_are_rarely_called_harmful_many_gates(name: str, units: int) -> None:
    runs = 3000
    assert at_most(count(reports(name, units, 0.0, runs, seed=9), Outcome.FAIL), runs) <= 0.07


@pytest.mark.simulate
@pytest.mark.parametrize(("units", "regions"), [(40, 3), (60, 6), (150, 6), (400, 12)])
def test_segments_give_few_false_alarms_many_gates(units: int, regions: int) -> None:
    runs = 2000
    assert at_most(false_alarms(units, regions, runs, 10), runs) <= 0.07


@pytest.mark.simulate
def test_the_power_that_the_documents_state() -> None:
    """Equal policies, yes or no in three rows of ten: about two of three gates pass with 150 households, nine of ten
    with 400."""
    runs = 1000
    assert at_least(count(reports("choice", 150, 0.0, runs, seed=11), Outcome.PASS), runs) > 0.58
    assert at_least(count(reports("choice", 400, 0.0, runs, seed=11), Outcome.PASS), runs) > 0.86
