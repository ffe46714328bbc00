"""PlannerTask behind the border."""

import json

from bakeoff.task import Completion, Episode, Example, Role, Task
from planner.edit_model import fit
from planner.policies import heuristic
from planner.prompt import YES
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
