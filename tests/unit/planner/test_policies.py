"""Policies that are functions."""

from collections import Counter
from collections.abc import Callable
from math import comb
from typing import Any

import pytest

from bakeoff.task import Episode
from planner.policies import explorer, heuristic, popular
from planner.rules import violations

Week = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("policy", [heuristic, popular, explorer])
def test_policies_give_plans_without_violations_and_are_functions_of_request_and_seed(
    policy: Any, town_log: list[Episode]
) -> None:
    for episode in town_log:
        answer = policy(episode.request, seed=3)
        assert violations(episode.request, answer.answer) == []
        assert policy(episode.request, seed=3) == answer


def test_the_explorers_propensity_is_one_over_the_number_of_feasible_sets(week: Week) -> None:
    """Seven dishes, one too long for any day: C(6, 5) = 6 sets; with an anchor C(5, 4) = 5."""
    minutes = [30] * 6 + [200]
    assert explorer(week(minutes), seed=0).action_propensity == 1 / comb(6, 5)
    assert explorer(week(minutes, anchors=["a"]), seed=0).action_propensity == 1 / comb(5, 4)


def test_the_explorer_draws_every_feasible_set_equally_often(week: Week) -> None:
    request = week([30] * 6)
    draws = Counter(
        frozenset(entry["recipe_id"] for entry in explorer(request, seed=seed).answer["entries"])
        for seed in range(1800)
    )
    assert len(draws) == 6
    chi2 = sum((count - 300) ** 2 / 300 for count in draws.values())
    assert chi2 < 20.5  # 99.9 % of chi-squared with five degrees of freedom


def test_the_heuristic_prefers_what_was_stated_and_popular_what_has_stars(week: Week) -> None:
    request = week()
    request["household"] |= {"liked_proteins": ["tofu"], "dislikes": ["olive"]}
    request["options"][7]["main_protein"] = "tofu"
    request["options"][0] |= {"disliked": ["olive"], "rating": 5.0}
    assert "h" in {entry["recipe_id"] for entry in heuristic(request, seed=0).answer["entries"]}
    assert "a" not in {entry["recipe_id"] for entry in heuristic(request, seed=0).answer["entries"]}
    assert "a" in {entry["recipe_id"] for entry in popular(request, seed=0).answer["entries"]}
