"""A household's situation and a plan in words that a cook can judge: no ids, no codes, nothing to look up."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from bakeoff.task import Answer, Request
from planner.plans import hard_ceilings
from planner.recipes import free_flags, load_recipes
from planner.requests import DAYS, DIET_FLAGS
from planner.safety import unsafe_flags
from planner.titles import clean

Option = Mapping[str, Any]

_WORKFLOWS = {
    "plan-first": "plans the whole week at once",
    "meal-first": "begins with a dish that they ask for",
    "pantry-first": "begins with what is at home",
}
_MODES = {
    "autopilot": "takes the plan unseen",
    "exploratory": "likes to look around",
    "constrained": "has tight limits",
}
_SAID_AS = {"home": "home cooking", "tree_nuts": "tree nuts"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STRANGER = "a dish that nobody knows any more"
_MOST_WORDS = 4  # habits that are named
_LONGEST = 120  # characters of a title; a reader has more room than a prompt


def situation(request: Request) -> list[tuple[str, str]]:
    """Label and text, in the order in which one would tell it; what there is nothing to say of is left out."""
    household = request["household"]
    told = {
        "Week": _week(request),
        "Who eats": f"{_counted(household['size'], 'person', 'people')}, {household['region']}, "
        f"{household['budget']} budget",
        "Allergies": _words(household["allergies"]) or "none",
        "Diets": _words(household["diets"]) or "none",
        "Dislikes": _words(household["dislikes"]),
        "Likes": _words([*household["liked_cuisines"], *household["liked_proteins"]]),
        "Evenings": ", ".join(_evening(slot) for slot in request["slots"]) or "none to plan",
        "Use first": ", ".join(_stock(request, item) for item in request["pantry"] if item["use_first"]),
        "Also at home": ", ".join(_stock(request, item) for item in request["pantry"] if not item["use_first"]),
        "Asked for": ", ".join(_asked_for(request, dish) for dish in request["anchors"]),
        "Last week": _last_week(request),
        "So far": _habits(request["history"]),
        "Could choose from": "; ".join(_offered(request, option) for option in request["options"]) or "nothing",
    }
    return [(label, text) for label, text in told.items() if text]


def menu(request: Request, answer: Answer) -> list[str]:
    """A line for each dinner of the week and for each dish on another day, in the order of the week."""
    entries: Sequence[Mapping[str, Any]] = answer.get("entries", ())
    lines = []
    for slot in request["slots"]:
        here = [entry for entry in entries if entry.get("day") == slot["day"]]
        lines += [_dinner(request, slot, entry) for entry in here] or [f"{_day(slot['day'])}: nothing"]
    open_days = {slot["day"] for slot in request["slots"]}
    return lines + [_dinner(request, None, entry) for entry in entries if entry.get("day") not in open_days]


# ---- the situation --------------------------------------------------------------------------------------------------


def _week(request: Request) -> str:
    first = date.fromisoformat(request["week_start"])
    workflow, mode = request["workflow_type"], request["mode"]
    day = f"{_day(DAYS[first.weekday()])} {_date(first)} {first.year}"
    return f"from {day}; {_WORKFLOWS.get(workflow, workflow)}, {_MODES.get(mode, mode)}"


def _evening(slot: Mapping[str, Any]) -> str:
    limit = "at most" if slot["hard"] else "about"
    return f"{_day(slot['day'])} {limit} {slot['max_minutes']} min for {slot['eaters']}"


def _stock(request: Request, item: Mapping[str, Any]) -> str:
    last = date.fromisoformat(request["week_start"]) + timedelta(days=item["days_left"])
    by = _day(DAYS[last.weekday()]) if 0 <= item["days_left"] <= 6 else _date(last)
    return f"{_word(item['item'])} (by {by})"


def _asked_for(request: Request, dish: str) -> str:
    option = next((o for o in request["options"] if o["id"] == dish), None)
    if option is not None and (warning := ", ".join(_unsafe(request, option))):
        return f"{_title(option)} ({warning})"
    if option is not None and option["minutes"] > max(hard_ceilings(request), default=0):
        return f"{_title(option)} (no evening has {option['minutes']} min)"
    return _name(request, dish)


def _last_week(request: Request) -> str:
    previous = request["previous_plan"]
    if previous is None:
        return "nothing was planned before"
    kept = _titles(request, previous["accepted"])
    removed = _titles(request, previous["removed"])
    told = [f"kept {kept}" if kept else "kept nothing", f"took out {removed}" if removed else ""]
    return "; ".join(part for part in told if part)


def _habits(history: Mapping[str, Mapping[str, int]]) -> str:
    most = {"kept": _most(history["kept"]), "took out": _most(history["removed"])}
    return "; ".join(f"{verb} {words}" for verb, words in most.items() if words)


def _most(counts: Mapping[str, int]) -> str:
    common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_WORDS]
    return ", ".join(f"{_word(word)} {_counted(count, 'time', 'times')}" for word, count in common)


def _offered(request: Request, option: Option) -> str:
    warning = ", ".join(_unsafe(request, option))
    return f"{_title(option)} ({_about(option)})" + (f" - {warning}" if warning else "")


# ---- a plan ---------------------------------------------------------------------------------------------------------


def _dinner(request: Request, slot: Mapping[str, Any] | None, entry: Mapping[str, Any]) -> str:
    """'Mon: Lentil soup (25 min, italian, lentils), serves 4 - uses spinach'."""
    option = next((o for o in request["options"] if o["id"] == entry.get("recipe_id")), None)
    dish = _name(request, entry.get("recipe_id")) if option is None else f"{_title(option)} ({_about(option)})"
    servings = entry.get("servings")
    serves = f", serves {servings}" if servings is not None else ""
    remarks = ["was not offered"] if option is None else list(_remarks(request, slot, option))
    remarks += ["no dinner to plan"] if slot is None else []
    return f"{_day(entry.get('day'))}: {dish}{serves}" + (f" - {', '.join(remarks)}" if remarks else "")


def _remarks(request: Request, slot: Mapping[str, Any] | None, option: Option) -> Iterator[str]:
    """What is wrong with a dish comes first."""
    yield from _unsafe(request, option)
    if slot is not None and option["minutes"] > slot["max_minutes"]:
        yield f"{option['minutes'] - slot['max_minutes']} min longer than {'allowed' if slot['hard'] else 'wished'}"
    if option["disliked"]:
        yield f"has {_words(option['disliked'])}, which they dislike"
    last_day = {item["item"]: item["days_left"] for item in request["pantry"] if item["use_first"]}
    for item in option["uses"]:
        late = slot is not None and slot["in_days"] > last_day.get(item, slot["in_days"])
        yield f"{'too late for' if late else 'uses'} {_word(item)}"
    if option["id"] in request["anchors"]:
        yield "asked for"
    if option["id"] in (request["previous_plan"] or {"accepted": ()})["accepted"]:
        yield "had last week"


def _unsafe(request: Request, option: Option) -> Iterator[str]:
    allergens = {flag: key for key, flag in free_flags().items()}
    diets = {flag: key for key, flag in DIET_FLAGS.items()}
    for flag, value in unsafe_flags(request, option).items():
        if flag in diets:
            yield f"{'not' if value == 'no' else 'perhaps not'} {_word(diets[flag])}"
        else:
            yield f"{'has' if value == 'no' else 'may have'} {_word(allergens.get(flag, flag.removesuffix('_free')))}"


# ---- words ----------------------------------------------------------------------------------------------------------


def _about(option: Option) -> str:
    kept = [_word(key) for key, flag in DIET_FLAGS.items() if option["flags"].get(flag) == "yes"]
    cuisine = [] if option["cuisine"] == "home" else [_word(option["cuisine"])]
    return ", ".join([f"{option['minutes']} min", *cuisine, _word(option["main_protein"]), *kept])


def _titles(request: Request, dishes: Iterable[str]) -> str:
    return ", ".join(_name(request, dish) for dish in dishes)


def _name(request: Request, dish: object) -> str:
    """The title of a dish, also of one that is no option."""
    option = next((o for o in request["options"] if o["id"] == dish), None)
    if option is not None:
        return _title(option)
    recipe = load_recipes().recipes.get(str(dish))
    return _STRANGER if recipe is None else recipe.short


def _title(option: Option) -> str:
    return clean(option["title"], most=_LONGEST) or "a dish without a name"


def _day(day: object) -> str:
    return str(day).capitalize() if day else "No day"


def _date(day: date) -> str:
    """Without strftime, whose names of months depend on the machine."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def _words(words: Iterable[str]) -> str:
    return ", ".join(_word(word) for word in words)


def _word(word: str) -> str:
    return clean(_SAID_AS.get(word, word), most=_LONGEST)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
