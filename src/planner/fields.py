"""What each field of a planner's dataset means, for schema.json.

Paths are dotted, ``[]`` stands for the elements of a list and ``*`` for the keys of an object that is keyed by what
it counts (a cuisine, a flag, a recipe id)."""

from collections.abc import Mapping
from types import MappingProxyType

from bakeoff.task import Field

_WORD = "cuisine or main protein"
_KEPT = "how often dishes of this " + _WORD + " were kept, over all weeks before"
_REMOVED = "how often dishes of this " + _WORD + " were taken out, over all weeks before"

_REQUEST = {
    "week_start": Field(meaning="first day of the week to plan", unit="ISO 8601 date"),
    "workflow_type": Field(meaning="what people begin with: plan-first, meal-first or pantry-first"),
    "mode": Field(meaning="autopilot (not reviewed), exploratory or constrained"),
    "household": Field(meaning="who is planned for, as stated to the application"),
    "household.size": Field(meaning="members", unit="people"),
    "household.region": Field(meaning="where they live, coarse"),
    "household.allergies": Field(meaning="allergens of any member", unit="keys of Regulation (EU) 1169/2011, Annex II"),
    "household.allergies[]": Field(meaning="an allergen", unit="key of Regulation (EU) 1169/2011, Annex II"),
    "household.diets": Field(meaning="diets of any member"),
    "household.diets[]": Field(meaning="a diet, for instance 'vegetarian' or 'no pork'"),
    "household.dislikes": Field(meaning="what any member dislikes"),
    "household.dislikes[]": Field(meaning="a disliked item", unit="name in the ingredient lexicon"),
    "household.liked_cuisines": Field(meaning="cuisines that they said they like"),
    "household.liked_cuisines[]": Field(meaning="a cuisine"),
    "household.liked_proteins": Field(meaning="main proteins that they said they like"),
    "household.liked_proteins[]": Field(meaning="a main protein"),
    "household.budget": Field(meaning="stated budget", unit="cost tier: low, mid, high"),
    "slots": Field(meaning="dinners to fill; other days are closed"),
    "slots[].day": Field(meaning="weekday", unit="'mon' to 'sun'"),
    "slots[].in_days": Field(meaning="days after week_start", unit="days, 0 to 6"),
    "slots[].max_minutes": Field(meaning="wished ceiling of a dish's time", unit="minutes"),
    "slots[].hard": Field(meaning="whether a longer dish breaks a rule"),
    "slots[].eaters": Field(meaning="who eats that evening", unit="people"),
    "pantry": Field(meaning="perishables at home when the plan was asked for, soonest first"),
    "pantry[].item": Field(meaning="what it is", unit="name in the ingredient lexicon"),
    "pantry[].days_left": Field(meaning="last day of use, counted from week_start", unit="days"),
    "pantry[].use_first": Field(meaning="marked to be used before the rest"),
    "anchors": Field(meaning="dishes asked for by name (meal-first); every plan must have them"),
    "anchors[]": Field(meaning="a dish asked for", unit="recipe id"),
    "previous_plan": Field(meaning="the last week that was planned before; null for the first"),
    "previous_plan.accepted": Field(meaning="dishes that were kept"),
    "previous_plan.accepted[]": Field(meaning="a dish that was kept", unit="recipe id"),
    "previous_plan.removed": Field(meaning="dishes that were shown and taken out"),
    "previous_plan.removed[]": Field(meaning="a dish that was taken out", unit="recipe id"),
    "history": Field(meaning="what this household kept and took out, over all weeks before"),
    "history.kept": Field(meaning=_KEPT, unit="dishes"),
    "history.kept.*": Field(meaning=_KEPT, unit="dishes"),
    "history.removed": Field(meaning=_REMOVED, unit="dishes"),
    "history.removed.*": Field(meaning=_REMOVED, unit="dishes"),
    "options": Field(meaning="recipes to choose from, in an order without meaning"),
    "options[].id": Field(meaning="the recipe", unit="recipe id"),
    "options[].title": Field(meaning="short title, unique in the catalogue", unit="at most 24 ASCII characters"),
    "options[].cuisine": Field(meaning="one of about a dozen groups; 'home' where the source states none"),
    "options[].main_protein": Field(meaning="main protein; 'vegetables' where there is none"),
    "options[].minutes": Field(meaning="time to cook, stated or estimated", unit="minutes"),
    "options[].cost": Field(meaning="editorial approximation from the ingredients", unit="cost tier: low, mid, high"),
    "options[].rating": Field(meaning="mean rating in the application at that time", unit="stars, 1 to 5"),
    "options[].uses": Field(meaning="use-first pantry items that the dish needs"),
    "options[].uses[]": Field(meaning="a use-first pantry item", unit="name in the ingredient lexicon"),
    "options[].disliked": Field(meaning="items of the dish that a member dislikes"),
    "options[].disliked[]": Field(meaning="a disliked item", unit="name in the ingredient lexicon"),
    "options[].flags": Field(meaning="the diet and allergen flags that this household needs"),
    "options[].flags.*": Field(
        meaning="whether the dish carries this flag; unknown never counts as safe, nor does a missing one",
        unit="yes, no, unknown",
    ),
}

_ENTRY = {
    "[].day": Field(meaning="weekday", unit="'mon' to 'sun'"),
    "[].recipe_id": Field(meaning="what is eaten", unit="recipe id"),
    "[].servings": Field(meaning="how much is cooked", unit="servings"),
}

_TARGET = {
    "accepted_plan": Field(meaning="what people kept"),
    "accepted_plan.entries": Field(meaning="dinners of the accepted plan, at most one a day"),
    **{f"accepted_plan.entries{path}": field for path, field in _ENTRY.items()},
    "accepted_meals": Field(meaning="the accepted plan's dishes, sorted"),
    "accepted_meals[]": Field(meaning="an accepted dish", unit="recipe id"),
    "proposed_plan": Field(meaning="what people were shown"),
    "proposed_plan.entries": Field(meaning="dinners of the proposed plan, at most one a day"),
    **{f"proposed_plan.entries{path}": field for path, field in _ENTRY.items()},
    "built_by": Field(
        meaning="edited: the proposal, as it was or changed; unaided: made without it, after a rejection"
    ),
    "user_edits": Field(meaning="cheapest edits from the proposal to the accepted plan; none for an unaided plan"),
    "user_edits[].kind": Field(meaning="swap, move, remove, add or change_servings"),
    "user_edits[].day": Field(
        meaning="where: in the proposal; of an add or change_servings, in the accepted plan", unit="'mon' to 'sun'"
    ),
    "user_edits[].recipe_id": Field(meaning="the dish in that place", unit="recipe id"),
    "user_edits[].to_recipe_id": Field(meaning="what came instead (swap)", unit="recipe id"),
    "user_edits[].to_day": Field(meaning="where it went (move)", unit="'mon' to 'sun'"),
    "user_edits[].servings": Field(meaning="servings in the accepted plan (add, change_servings)", unit="servings"),
    "user_edits[].servings_before": Field(meaning="servings in the proposal (change_servings)", unit="servings"),
    "user_edits[].reason": Field(meaning="reason code that people gave for it, where they gave one"),
    "edit_cost": Field(
        meaning="edits by weight: swap, remove, add 1, move .5, servings .25; null for an unaided plan", unit="edits"
    ),
    "informative": Field(meaning="options about which the week tells something; the others carry no loss"),
    "informative.*": Field(meaning="whether this option was kept", unit="yes, no"),
}

_METADATA = {
    "workflow_type": _REQUEST["workflow_type"],
    "mode": _REQUEST["mode"],
    "region": _REQUEST["household.region"],
    "household_size": _REQUEST["household.size"],
    "budget": _REQUEST["household.budget"],
    "week_start": _REQUEST["week_start"],
    "built_by": _TARGET["built_by"],
    "outside_options": Field(
        meaning="accepted dishes that were no options of the request; masked from the loss", unit="dishes"
    ),
}

FIELDS: Mapping[str, Field] = MappingProxyType(
    {f"request.{path}": field for path, field in _REQUEST.items()}
    | {f"target.{path}": field for path, field in _TARGET.items()}
    | {f"metadata.{path}": field for path, field in _METADATA.items()}
)
