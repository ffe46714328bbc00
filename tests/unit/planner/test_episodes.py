"""Examples and outcomes of single weeks."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bakeoff.task import Episode, Example, LeftOut, Preference, Role
from planner.episodes import example, outcome
from planner.prompt import NO, YES, property_names
from planner.task import PlannerTask

Week = Callable[..., dict[str, Any]]
Entries = Callable[[str], list[dict[str, Any]]]
ASKED = datetime(2025, 1, 6, 8, tzinfo=UTC)


def episode(week: Week, event: Any, shown: Any, *outcomes: tuple[Role, dict[str, Any], timedelta]) -> Episode:
    """Options a to h, `shown` proposed."""
    return Episode(
        need_id="2025-01-06", unit_id="u", request=week(), request_digest="",
        decisions=(event(Role.DECISION, {"answer": {"entries": shown}}, at=ASKED),),
        outcomes=tuple(event(role, payload, at=ASKED + after) for role, payload, after in outcomes),
    )  # fmt: skip


HOUR = timedelta(hours=1)


def reaction(one: Episode) -> dict[str, float | None]:
    """What people did with the proposal at once."""
    return {name: value for name, value in outcome(one).items() if name in ("accepted", "kept_share", "edits")}


def test_an_edited_week(week: Week, event: Any, entries: Entries) -> None:
    """b swapped for h, e removed: 3 of 5 kept, two edits; f and g were never weighed."""
    accepted = {"accepted_by": "user", "entries": entries("ahcd ")}
    one = episode(week, event, entries("abcde"), (Role.ACCEPT, accepted, HOUR))
    assert reaction(one) == {"accepted": 1.0, "kept_share": 3 / 5, "edits": 2.0}
    row = example(one)
    assert row is not None and row.example_id == "d"
    assert row.target["accepted_meals"] == ["a", "c", "d", "h"] and row.target["built_by"] == "edited"
    assert row.target["user_edits"] == [
        {"kind": "swap", "day": "tue", "recipe_id": "b", "to_recipe_id": "h"},
        {"kind": "remove", "day": "fri", "recipe_id": "e"},
    ]
    assert row.target["edit_cost"] == PlannerTask().edit_cost(row) == 2.0
    kept = PlannerTask().preference(row)
    assert kept == Preference(chosen={"entries": entries("ahcd ")}, rejected={"entries": entries("abcde")})
    names = {recipe_id: key for key, recipe_id in property_names(one.request).items()}
    wanted = {"a": YES, "b": NO, "c": YES, "d": YES, "e": NO, "h": YES}
    assert PlannerTask().supervise(row) == {names[dish]: value for dish, value in wanted.items()}


def test_a_plan_built_unaided_is_no_acceptance_and_tells_about_every_option(
    week: Week, event: Any, entries: Entries
) -> None:
    built = {"accepted_by": "user_unaided", "entries": entries("afghb")}
    one = episode(week, event, entries("abcde"), (Role.REJECT, {}, HOUR), (Role.ACCEPT, built, 2 * HOUR))
    assert reaction(one) == {"accepted": 0.0, "kept_share": 0.0, "edits": None}
    row = example(one)
    assert row is not None and row.metadata["built_by"] == "unaided"
    assert row.target["informative"] == {dish: "yes" if dish in "afghb" else "no" for dish in "abcdefgh"}
    assert row.target["user_edits"] == [] and row.target["edit_cost"] is None
    assert PlannerTask().edit_cost(row) is None and PlannerTask().preference(row) is None


def test_nothing_is_preferred_to_itself(week: Week, event: Any, entries: Entries) -> None:
    """Nor where only days and servings changed: a policy chooses dishes."""
    for plan in ("abcde", "bacde"):
        accepted = {"accepted_by": "user", "entries": entries(plan)}
        row = example(episode(week, event, entries("abcde"), (Role.ACCEPT, accepted, HOUR)))
        assert isinstance(row, Example) and PlannerTask().preference(row) is None
        assert row.target["edit_cost"] == (0.0 if plan == "abcde" else 1.0)


def test_an_accepted_dish_that_was_no_option_is_counted_and_teaches_nothing(
    week: Week, event: Any, entries: Entries
) -> None:
    """It is not added to the options: a policy that sees it there knows the answer."""
    accepted = {"accepted_by": "user", "entries": entries("aZcdY")}
    one = episode(week, event, entries("abcde"), (Role.ACCEPT, accepted, HOUR))
    row = example(one)
    assert isinstance(row, Example) and row.metadata["outside_options"] == 2
    assert row.request == one.request and row.target["accepted_meals"] == ["Y", "Z", "a", "c", "d"]
    assert row.target["informative"] == {"a": "yes", "b": "no", "c": "yes", "d": "yes", "e": "no"}
    supervised = PlannerTask().supervise(row) or {}
    assert len(supervised) == 5 and set(supervised) <= set(property_names(row.request))
    kept = PlannerTask().preference(row)
    assert kept is not None and kept.chosen == {"entries": entries("a cd ")}


def test_edits_carry_the_reasons_that_people_gave(week: Week, event: Any, entries: Entries) -> None:
    accepted = {"accepted_by": "user", "entries": entries("ahcde")}
    swap = {"day": "tue", "from": "b", "to": "h", "reason_code": "no_time"}
    plain = event(Role.EDIT, swap, at=ASKED + HOUR / 2)
    one = episode(week, event, entries("abcde"), (Role.ACCEPT, accepted, HOUR))
    one = replace(one, outcomes=(replace(plain, event_type="meal_swapped"), *one.outcomes))
    row = example(one)
    assert isinstance(row, Example) and [edit["reason"] for edit in row.target["user_edits"]] == ["no_time"]
    elsewhere = replace(one, outcomes=(replace(one.outcomes[0], decision_id="other"), *one.outcomes[1:]))
    row = example(elsewhere)
    assert isinstance(row, Example) and "reason" not in row.target["user_edits"][0]


def test_weeks_in_which_nobody_said_what_they_wanted_are_no_examples(week: Week, event: Any, entries: Entries) -> None:
    timed_out = {"accepted_by": "timeout", "entries": entries("abcde")}
    rejected = episode(week, event, entries("abcde"), (Role.REJECT, {}, HOUR))
    silent = episode(week, event, entries("abcde"))
    automatic = episode(week, event, entries("abcde"), (Role.ACCEPT, timed_out, 24 * HOUR))
    made = [example(one) for one in (rejected, silent, automatic)]
    assert [each.reason for each in made if isinstance(each, LeftOut)] == [
        "rejected, and no other plan was made", "nobody answered", "timed out: nobody looked",
    ]  # fmt: skip
    assert reaction(rejected) == reaction(silent) == {"accepted": 0.0, "kept_share": 0.0, "edits": None}
    assert reaction(automatic) == {"accepted": 0.0, "kept_share": 1.0, "edits": 0.0}


def test_acceptance_after_three_days_counts_as_none_but_what_was_kept_counts(
    week: Week, event: Any, entries: Entries
) -> None:
    late = {"accepted_by": "user", "entries": entries("abcde")}
    one = episode(week, event, entries("abcde"), (Role.ACCEPT, late, 73 * HOUR))
    assert reaction(one) == {"accepted": 0.0, "kept_share": 1.0, "edits": 0.0}


def test_an_anchor_is_no_choice_and_carries_no_loss(week: Week, event: Any, entries: Entries) -> None:
    accepted = {"accepted_by": "user", "entries": entries("abcde")}
    one = episode(lambda: week(anchors=["a"]), event, entries("abcde"), (Role.ACCEPT, accepted, HOUR))
    row = example(one)
    assert row is not None
    supervised = PlannerTask().supervise(row) or {}
    assert len(supervised) == 4 and not any(key.startswith("A:") for key in supervised)


def test_what_was_cooked_of_the_proposal_is_known_at_the_end_of_the_week(
    week: Week, event: Any, entries: Entries
) -> None:
    """Of the dishes first shown; nobody told is unknown, sent away is nothing."""
    accepted = {"accepted_by": "user", "entries": entries("ahcde")}
    told = {"cooked": [{"day": "mon", "recipe_id": dish} for dish in "ahc"], "skipped": []}
    accept, cooked = (Role.ACCEPT, accepted, HOUR), (Role.KEPT, told, 150 * HOUR)
    assert outcome(episode(week, event, entries("abcde"), accept, cooked))["cooked_share"] == 2 / 5
    assert outcome(episode(week, event, entries("abcde"), accept))["cooked_share"] is None
    built = (Role.ACCEPT, {"accepted_by": "user_unaided", "entries": entries("abc  ")}, 2 * HOUR)
    away = episode(week, event, entries("abcde"), (Role.REJECT, {}, HOUR), built, cooked)
    assert outcome(away)["cooked_share"] == 0.0
    matures = {metric.name: metric.matures_hours for metric in PlannerTask.outcome_metrics}
    assert (matures["cooked_share"], matures["accepted"], matures["shown_variety"]) == (168.0, 72.0, 0.0)


def test_the_variety_of_what_was_shown_does_not_depend_on_what_people_did(
    week: Week, event: Any, entries: Entries
) -> None:
    one = episode(week, event, entries("abcde"))
    shown = outcome(one)["shown_variety"]
    assert shown == 1.0, "every option of this week is of one kind"
    accepted = (Role.ACCEPT, {"accepted_by": "user", "entries": entries("a    ")}, HOUR)
    assert outcome(episode(week, event, entries("abcde"), accepted))["shown_variety"] == shown
    assert outcome(episode(week, event, entries("a    ")))["shown_variety"] is None
