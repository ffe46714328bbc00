"""PlannerTask behind the border."""

import json
from dataclasses import replace

import pytest

from bakeoff.errors import UsageError
from bakeoff.task import Completion, Episode, Example, Role, Task
from planner.edit_model import fit
from planner.policies import heuristic
from planner.prompt import YES
from planner.segments import size_band
from planner.task import PlannerTask


def test_it_is_a_task() -> None:
    assert isinstance(PlannerTask(), Task)


def test_scores_are_the_declared_metrics_within_their_ranges(town_examples: list[Example]) -> None:
    task = PlannerTask(edit_model=fit(town_examples))
    for example in town_examples:
        found = task.score(example, heuristic(example.request, seed=0).answer)
        assert list(found) == [metric.name for metric in task.metrics]
        for metric in task.metrics:
            value = found[metric.name]
            assert value is not None and (metric.low or 0.0) <= value <= (metric.high or 99.0)


def test_without_an_edit_model_predicted_edits_are_undefined(town_examples: list[Example]) -> None:
    answer = heuristic(town_examples[0].request, seed=0).answer
    assert PlannerTask().score(town_examples[0], answer)["predicted_edits"] is None


def test_outcomes_are_the_declared_metrics(town_log: list[Episode]) -> None:
    task = PlannerTask()
    for episode in town_log:
        assert list(task.outcome(episode)) == [metric.name for metric in task.outcome_metrics]


def test_the_answer_it_supervises_is_one_that_it_parses(town_examples: list[Example]) -> None:
    """Filled up with 'no' where nothing is known, the target has full marks where the household planned unaided."""
    task = PlannerTask()
    for example in town_examples:
        known = task.supervise(example)
        assert known is not None
        keys = task.answer_schema(example.request)["properties"]
        assert set(known) <= set(keys)
        text = json.dumps({key: "yes" if known.get(key) == YES else "no" for key in keys})
        answer = task.parse(example.request, Completion(text=text))
        if len(example.target["accepted_meals"]) == 5:
            assert task.score(example, answer)["plan_alignment_score"] == 1.0


def test_the_need_is_the_week(town_log: list[Episode]) -> None:
    assert {PlannerTask().need(episode.request) for episode in town_log} == {"2024-12-30", "2025-01-06"}


def test_every_role_of_the_loop_has_an_event() -> None:
    assert {kind.role for kind in PlannerTask.event_types} == set(Role)


def halves(examples: list[Example]) -> tuple[list[Example], list[Example]]:
    units = sorted({example.unit_id for example in examples})
    first = set(units[: len(units) // 2])
    return [e for e in examples if e.unit_id in first], [e for e in examples if e.unit_id not in first]


def test_what_was_fitted_scores_the_same_after_it_was_frozen_as_json(town_examples: list[Example]) -> None:
    train, held_out = halves(town_examples)
    task = PlannerTask().fitted(train, held_out)
    body = task.frozen()
    thawed = PlannerTask().thawed(json.loads(json.dumps(body)))
    assert thawed.frozen() == body == PlannerTask().fitted(train, held_out).frozen()
    for example in held_out:
        answer = heuristic(example.request, seed=0).answer
        assert task.score(example, answer) == thawed.score(example, answer)


def test_the_calibration_is_of_the_held_out_rows(town_examples: list[Example]) -> None:
    train, held_out = halves(town_examples)
    task = PlannerTask().fitted(train, held_out)
    checked = task.calibration
    assert checked is not None and task.edit_model == fit(train)
    assert checked.plans == len(held_out) and checked.units == len({example.unit_id for example in held_out})
    assert checked.bias_se is not None and 0 < checked.bias_se < 1
    assert PlannerTask().fitted(train).calibration is None


def test_the_border_is_told_how_far_predicted_edits_lie_from_actual_ones(town_examples: list[Example]) -> None:
    train, held_out = halves(town_examples)
    task = PlannerTask().fitted(train, held_out)
    (found,) = task.calibrations()
    assert (found.metric, found.rows) == ("predicted_edits", len(held_out))
    assert found.metric in {metric.name for metric in task.metrics}
    predicted = [task.score(e, e.target["proposed_plan"])["predicted_edits"] or 0.0 for e in held_out]
    shown = [{entry["recipe_id"] for entry in e.target["proposed_plan"]["entries"]} for e in held_out]
    actual = [len(dishes - set(e.target["accepted_meals"])) for e, dishes in zip(held_out, shown, strict=True)]
    assert found.bias == pytest.approx((sum(predicted) - sum(actual)) / len(held_out))
    assert PlannerTask().thawed(task.frozen() or {}).calibrations() == (found,)
    assert PlannerTask().calibrations() == PlannerTask().fitted(train).calibrations() == ()


def test_segments_are_few_kinds_of_weeks(town_examples: list[Example]) -> None:
    found = [PlannerTask().segments(example) for example in town_examples]
    assert {name: {kind[name] for kind in found} for name in found[0]} == {
        "workflow_type": {"plan-first", "meal-first", "pantry-first"},
        "mode": {"exploratory", "constrained"},  # nobody looks at what an autopilot's week was
        "region": {"north", "south", "east", "west"},
        "household_size": {"1", "2", "3-4", "5+"},
        "allergies": {"yes", "no"},
    }
    for example, kind in zip(town_examples, found, strict=True):
        assert (kind["allergies"] == "yes") == bool(example.request["household"]["allergies"])


@pytest.mark.parametrize(("people", "band"), [(1, "1"), (2, "2"), (3, "3-4"), (4, "3-4"), (5, "5+"), (12, "5+")])
def test_household_sizes_in_bands(people: int, band: str) -> None:
    assert size_band(people) == band


def test_where_nobody_was_shown_anything_there_is_nothing_to_fit(town_examples: list[Example]) -> None:
    unseen = [replace(e, target={**e.target, "proposed_plan": {"entries": []}}) for e in town_examples]
    assert PlannerTask().fitted(unseen).frozen() is None
    assert PlannerTask().fitted(town_examples, unseen).calibration is None


def test_what_another_version_froze_is_refused(town_examples: list[Example]) -> None:
    body = PlannerTask().fitted(town_examples).frozen() or {}
    other = {**body, "edit_model": {**body["edit_model"], "version": 99}}
    for wrong in (other, {}):
        with pytest.raises(UsageError, match="build the dataset again"):
            PlannerTask().thawed(wrong)
