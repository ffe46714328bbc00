"""The simulated town keeps the promises of `bakeoff.task.World`."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
import uuid
from datetime import date, timedelta
from typing import Any

import pytest

from bakeoff.fingerprint import canonical_json, digest
from bakeoff.task import Episode, Example, Role
from planner.policies import explorer, heuristic
from planner.recipes import load_recipes
from planner.requests import is_safe, needed_flags
from planner.task import PlannerTask
from planner.town import open_town
from planner.town.people import resident
from planner_town import ENDS_ON, ROLES, Policy, live


def explored(_town: Any, _unit: str, _week: int, request: Any) -> Any:
    return explorer(request, seed=0)


def served(_town: Any, _unit: str, _week: int, request: Any) -> Any:
    return heuristic(request, seed=0)


def story(episodes: list[Episode]) -> list[Any]:
    return [
        [e.unit_id, e.need_id, e.request, *[[o.event_id, o.event_type, o.occurred_at, o.payload] for o in e.outcomes]]
        for e in episodes
    ]


SCRIPT = """
import sys; sys.path[:0] = sys.argv[1:]
from planner_town import live
from planner.policies import explorer
from bakeoff.fingerprint import digest
log = live(12, 2, lambda town, unit, week, request: explorer(request, seed=0))
print(digest([[e.unit_id, e.request, [[o.event_id, o.payload] for o in e.outcomes]] for e in log]))
"""


def test_the_same_town_in_every_process() -> None:
    """Another hash seed changes the order of sets; it must change nothing here."""
    prints = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *[p for p in sys.path if p]],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    here = [[e.unit_id, e.request, [[o.event_id, o.payload] for o in e.outcomes]] for e in live(12, 2, explored)]
    assert prints == {digest(here) + "\n"}


def test_a_household_lives_the_same_life_in_a_town_of_any_size_and_whoever_stands_still() -> None:
    large = live(20, 3, explored)
    small = live(8, 3, explored)
    eight = {resident(1, index).unit_id for index in range(8)}
    assert story(small) == story([e for e in large if e.unit_id in eight])
    assert story(live(20, 3, explored, only=frozenset(eight))) == story(small)


def test_another_answer_to_one_household_changes_nobody_else() -> None:
    chosen = resident(1, 0).unit_id

    def mixed(town: Any, unit: str, week: int, request: Any) -> Any:
        return (served if unit == chosen else explored)(town, unit, week, request)

    one, other = live(10, 3, explored), live(10, 3, mixed)
    assert story(one) != story(other)
    assert story([e for e in one if e.unit_id != chosen]) == story([e for e in other if e.unit_id != chosen])


def test_seeds_are_different_towns() -> None:
    assert {e.unit_id for e in live(5, 1, explored)}.isdisjoint(e.unit_id for e in live(5, 1, explored, seed=2))


@pytest.mark.parametrize("ends_on", [date(2025, 1, 12), date(2025, 1, 15)])
def test_the_last_week_ends_on_the_day_asked_for_whatever_weekday(ends_on: date) -> None:
    town = open_town(1, 10, 2, ends_on)
    times = []

    def decide(**asked: Any) -> Any:
        from bakeoff.task import Served

        start = ends_on - timedelta(days=6)
        request = asked["request"]
        assert request["week_start"] == start.isoformat()
        assert start == asked["at"].date()
        for slot in request["slots"]:
            assert (start + timedelta(days=slot["in_days"])).strftime("%a").lower() == slot["day"]
        times.append(asked["at"])
        return Served(decision_id=str(uuid.uuid4()), answer=explorer(request, seed=0).answer, context={})

    town.step(1, decide, lambda **event: times.append(event["at"]))
    assert max(times).date() == ends_on


def test_most_households_ask_each_week_and_in_the_order_of_step() -> None:
    town = open_town(1, 400, 2, ENDS_ON)
    assert 0.85 < len(town.units(0)) / 400 < 0.95
    assert [e.unit_id for e in live(40, 1, explored)] == list(open_town(1, 40, 1, ENDS_ON).units(0))


def test_events_carry_what_their_type_requires_and_say_that_they_are_synthetic(town_log: list[Episode]) -> None:
    types = {kind.name: kind for kind in PlannerTask.event_types}
    seen = set()
    for episode in town_log:
        assert [o.occurred_at for o in episode.outcomes] == sorted(o.occurred_at for o in episode.outcomes)
        for outcome in episode.outcomes:
            kind = types[outcome.event_type]
            seen.add(kind.role)
            assert kind.required <= outcome.payload.keys() <= kind.fields
            assert outcome.payload["synthetic"] is True
            assert outcome.occurred_at > episode.decision.occurred_at
            json.loads(canonical_json(outcome.payload))
    assert seen == {ROLES[name] for name in ("plan_accepted", "meal_swapped", "plan_rejected", "meals_cooked")}


def test_event_ids_are_never_used_twice(town_log: list[Episode]) -> None:
    ids = [outcome.event_id for episode in town_log for outcome in episode.outcomes]
    assert len(set(ids)) == len(ids)


def test_hidden_parameters_reach_no_request(town_log: list[Episode]) -> None:
    """Keys of a request are the documented ones; dislikes in it are those stated, some hidden ones are missing."""
    hidden = 0
    people = {person.unit_id: person for person in (resident(1, index) for index in range(30))}
    for episode in town_log:
        person = people[episode.unit_id]
        assert set(episode.request) == {
            "week_start", "workflow_type", "mode", "household", "slots", "pantry", "anchors", "previous_plan",
            "history", "options",
        }  # fmt: skip
        assert set(episode.request["household"]["dislikes"]) <= person.taste.dislikes
        hidden += len(person.taste.dislikes - set(episode.request["household"]["dislikes"]))
        text = canonical_json(episode.request)
        assert not any(repr(round(value, 4)) in text for value in person.taste.cuisine.values())
    assert hidden > 0


def test_every_request_is_safe_fillable_and_has_something_to_use_up(town_log: list[Episode]) -> None:
    people = {person.unit_id: person for person in (resident(1, index) for index in range(30))}
    for episode in town_log:
        flags = needed_flags(people[episode.unit_id].household, load_recipes())
        options = episode.request["options"]
        assert 10 <= len(options) <= 14
        assert all(is_safe(load_recipes().recipes[option["id"]], flags) for option in options)
        assert len(explorer(episode.request, seed=0).answer["entries"]) == 5
        assert any(item["use_first"] for item in episode.request["pantry"])


def test_edits_in_the_log_are_the_difference_of_the_snapshots(town_log: list[Episode]) -> None:
    logged = {"meal_swapped": "swap", "meal_removed": "remove", "servings_changed": "change_servings"}
    for example, episode in (
        (e, ep) for ep in town_log for e in PlannerTask().examples([ep]) if isinstance(e, Example)
    ):
        if example.target["built_by"] == "edited":
            clicks = sorted(logged[o.event_type] for o in episode.outcomes if o.role is Role.EDIT)
            assert clicks == sorted(edit["kind"] for edit in example.target["user_edits"])


def test_a_town_survives_answers_that_are_empty_or_strange() -> None:
    def strange(_town: Any, _unit: str, week: int, request: Any) -> Any:
        from bakeoff.task import PythonAnswer

        ghost = {"day": request["slots"][0]["day"], "recipe_id": "ghost", "servings": 2}
        return PythonAnswer(answer={"entries": [ghost]} if week else {})

    policy: Policy = strange
    assert len(live(10, 2, policy)) > 10


def test_the_world_names_its_policies_and_an_experiment_on_metrics_that_exist() -> None:
    town = open_town(1, 1, 1, ENDS_ON)
    module, _, name = town.explorer.partition(":")
    assert getattr(importlib.import_module(module), name) is explorer
    module, _, name = town.heuristic.partition(":")
    assert getattr(importlib.import_module(module), name) is heuristic
    spec = tomllib.loads(town.experiment_file.read_text(encoding="utf-8"))
    assert spec["primary"] in {metric.name for metric in PlannerTask.outcome_metrics}
    assert spec["stages"][0] <= 1000
