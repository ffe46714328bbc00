"""Offline scores of a plan: what each means, its range, what it is where there is nothing to judge, worked numbers.

Higher is better in all of them; predicted edits (lower is better) are in `edit_model`. None where a plan cannot be
judged, never turned into a number. A plan is judged as the policy gave it, before any repair. Every score is the same
in whatever order the entries, the options, the eaters' wishes or the pantry stand. Worked numbers are checked by
``tests/unit/planner/test_scores.py``.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence

from bakeoff.task import Answer, Request
from planner.plans import most_dinners
from planner.rules import violations

BAND = 0.5  # effective kinds by which a week may differ from the household's own and still be as varied


def recipe_ids(answer: Answer) -> list[str]:
    return [entry["recipe_id"] for entry in answer["entries"]]


def alignment(proposed: Collection[str], accepted: Collection[str]) -> float | None:
    """Shared dishes of the plan and of what people kept, over the larger one's size. A share, 0 to 1; None where both
    are empty, 0 where one is.

    X Y Z W V proposed, X Z Y Q accepted: three shared of five, .6. Q Q against Q R: .5, a doubled dish counts once.
    Days do not count: they are code's business here (`plans.assign`). By days only X would, which stands on Monday in
    both: .2. Nor is it Jaccard's index (3 of 6, .5), in which each further kept dish is worth more than the one
    before; here it is worth the same.

    The accepted plan is an edit of whatever was proposed, so rows favour whoever wrote them: a gate compares it on
    rows that neither of two policies wrote."""
    larger = max(len(proposed), len(accepted))
    shared = Counter(proposed) & Counter(accepted)
    return sum(shared.values()) / larger if larger else None


def effective_number(kinds: Sequence[str]) -> float | None:
    """How many equally common kinds would be as varied: exp of Shannon's entropy (Hill 1973, order 1). From 1 to the
    number of kinds; None for no meal.

    Chicken three times, tofu twice, beef and fish once: entropy 1.2770, 3.5860 kinds. One soup: 1."""
    if not kinds:
        return None
    shares = [count / len(kinds) for count in Counter(kinds).values()]
    return math.exp(-sum(p * math.log(p) for p in shares))


def variety(request: Request, dishes: Sequence[str]) -> float | None:
    """Effective kinds of a plan: mean of those of its cuisines and of its main proteins. From 1 to the number of
    dishes; None below two dishes that are options (others have no known kind)."""
    options = {option["id"]: option for option in request["options"]}
    known = [options[dish] for dish in dishes if dish in options]
    if len(known) < 2:
        return None
    numbers = (effective_number([option[kind] for option in known]) for kind in ("cuisine", "main_protein"))
    return sum(number or 0.0 for number in numbers) / 2


def diversity(request: Request, dishes: Sequence[str], accepted: Sequence[str]) -> float | None:
    """How close the plan's variety is to that of what the household kept. 0 to 1, without a unit: 1 within BAND of
    it, falling in a straight line to 0 at the largest distance that plans of this size can have. None where either
    has fewer than two dishes that are options.

    A target, not a maximum: people repeat on purpose, so a week more varied than theirs is as far off as one less
    varied. All five kept dishes of one kind (variety 1), the plan's of kinds A A B B C (2.8717): off by 1.8717,
    1 - (1.8717 - .5) / (4 - .5) = .6081. Five kinds against one: 0. A plan as varied as theirs with other dishes: 1.

    What was kept is an edit of what was proposed: in the simulated town the author of a row gains .02 to .04 by it,
    where plans of different policies lie within .02 of each other. Keep a gate's margin well above that."""
    own, shown = variety(request, accepted), variety(request, dishes)
    if own is None or shown is None:
        return None
    widest = max(len(dishes), len(accepted)) - 1 - BAND
    return max(0.0, 1.0 - max(0.0, abs(shown - own) - BAND) / widest)


def leftovers_utility(request: Request, answer: Answer) -> float | None:
    """Share of the use-first pantry items that the plan cooks on or before their last day. 0 to 1; None without any
    such item, 0 for an empty plan with some. A further dish never lowers it, a dish that is no option adds nothing.

    Chicken to be used by Tuesday, spinach by Wednesday, milk by Friday; the plan uses chicken on Tuesday and spinach
    on Thursday: one of three in time, .3333; with spinach on Wednesday .6667.

    The request knows no amounts, packs or portions, so an item counts as used or not. By amounts a plan that uses all
    of the chicken, 120 of 200 g spinach and no milk in time would have (1 + .6 + 0) / 3 = .5333; here it has .6667,
    and nobody gains by larger portions. An item that no option uses counts against every plan alike."""
    last_day = {item["item"]: item["days_left"] for item in request["pantry"] if item["use_first"]}
    if not last_day:
        return None
    uses = {option["id"]: option["uses"] for option in request["options"]}
    days = {slot["day"]: slot["in_days"] for slot in request["slots"]}
    used = {
        item
        for entry in answer["entries"]
        for item in uses.get(entry["recipe_id"], ())
        if days.get(entry["day"], math.inf) <= last_day[item]
    }
    return len(used) / len(last_day)


def constraint_respect(request: Request, answer: Answer, *, lenient: bool = False) -> float:
    """1.0 where the plan breaks no hard constraint (`rules`, by rule id), else 0.0; over plans, the share of those
    that break none. Always defined; without any constraint beyond the shape of a plan it is 1 for every whole plan.

    Five meals for a nut allergy, of one of which nobody knows whether it has nuts: 0 strictly, 1 leniently. Nothing
    planned at all: 0 in both, because dinners were left empty that could be filled; on that point this is stricter
    than rules of safety alone, by which refusing to plan looks perfect. Where nothing can be planned (every option is
    unsafe, or too slow), the empty plan has 1.

    Strict is never above lenient. A further constraint raises neither for a plan that leaves nothing out. One that
    leaves a dinner empty can gain by it: with fewer safe dishes, what it left out could not be had any more."""
    return 0.0 if violations(request, answer, lenient=lenient) else 1.0


def fill_rate(request: Request, answer: Answer) -> float:
    """Share of the dinners that have a dish, out of those that could have one. 0 to 1; 1 where none could.

    Dishes on three of five evenings: .6, also where a fourth is planned on a day that is not open. The same where only
    four options are safe: .75; and with four dishes 1, as an empty evening beats an unsafe one."""
    wanted = {slot["day"] for slot in request["slots"]}
    filled = len(wanted & {entry["day"] for entry in answer["entries"]})
    if filled == len(wanted):
        return 1.0
    possible = most_dinners(request)
    return min(1.0, filled / possible) if possible else 1.0
