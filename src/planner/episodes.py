"""From a household's week in the log to an example, and to what it says about the decision."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakeoff.task import Episode, Example, LeftOut, LoggedEvent, Preference, Role
from planner.edits import cost, diff, with_reasons
from planner.scores import variety

Entries = Sequence[Mapping[str, Any]]

BUILT_BY = {"user": "edited", "user_unaided": "unaided"}
"""``accepted_by`` -> how the plan came about. A time-out is censored: nobody looked, nothing is known."""


def shown_entries(decision: LoggedEvent) -> Entries:
    """The plan that people saw: payload field ``answer`` of the decision."""
    answer = decision.payload.get("answer") or {}
    entries: Entries = answer.get("entries", ())
    return entries


def acceptance(episode: Episode, accepted_by: frozenset[str]) -> LoggedEvent | None:
    """The last acceptance in the week by one of these."""
    hits = (e for e in reversed(episode.outcomes) if e.role is Role.ACCEPT)
    return next((e for e in hits if e.payload.get("accepted_by") in accepted_by), None)


def example(episode: Episode) -> Example | LeftOut:
    """Left out where nobody said what they wanted: rejected and left, timed out, unanswered, or an empty plan.

    A plan built unaided is no edit of the proposal that was sent away: it has neither edits nor a cost of them."""
    accept = acceptance(episode, frozenset(BUILT_BY))
    if accept is None or not accept.payload["entries"]:
        return LeftOut(example_id=str(episode.decision.decision_id), reason=_why_not(episode, accept))
    decision = next((d for d in episode.decisions if d.decision_id == accept.decision_id), episode.decision)
    shown, accepted = shown_entries(decision), accept.payload["entries"]
    built_by = BUILT_BY[accept.payload["accepted_by"]]
    clicks = [event for event in episode.outcomes if event.decision_id == decision.decision_id]
    edits = with_reasons(diff(shown, accepted), clicks) if built_by == "edited" else []
    target = {
        "accepted_plan": {"entries": [dict(entry) for entry in accepted]},
        "accepted_meals": sorted(entry["recipe_id"] for entry in accepted),
        "user_edits": edits,
        "edit_cost": float(cost(edits)) if built_by == "edited" else None,
        "proposed_plan": {"entries": [dict(entry) for entry in shown]},
        "built_by": built_by,
        "informative": _informative(episode, _dishes(shown), _dishes(accepted), built_by),
    }
    return Example(
        example_id=str(episode.decision.decision_id),
        unit_id=episode.unit_id,
        occurred_at=episode.decision.occurred_at,
        request=episode.request,
        target=target,
        metadata=_segments(episode) | {"built_by": built_by, "outside_options": _outside(episode, accepted)},
    )


def _why_not(episode: Episode, accept: LoggedEvent | None) -> str:
    if accept is not None:
        return "an empty plan was accepted"
    if acceptance(episode, frozenset({"timeout"})) is not None:
        return "timed out: nobody looked"
    rejected = any(event.role is Role.REJECT for event in episode.outcomes)
    return "rejected, and no other plan was made" if rejected else "nobody answered"


def outcome(episode: Episode) -> Mapping[str, float | None]:
    """accepted: explicitly, within 72 h. kept_share: of the dishes first shown, those in what was accepted of
    that decision; 0 where it was rejected or nobody answered. edits: entries changed before acceptance; None
    where the proposal was not accepted. cooked_share: of the dishes first shown, those cooked in the end; 0 where the
    proposal was not accepted, None where nobody told. shown_variety: as `scores.variety`."""
    shown = shown_entries(episode.decision)
    # What a person said holds, whenever a time-out spoke too.
    accept = acceptance(episode, frozenset({"user"})) or acceptance(episode, frozenset({"timeout"}))
    kept = edits = None
    cooked: float | None = 0.0
    if accept is not None and accept.decision_id == episode.decision.decision_id:
        kept = _share(_dishes(shown), _dishes(accept.payload["entries"]))
        edits = float(len(diff(shown, accept.payload["entries"])))
        cooked = _cooked(episode, _dishes(shown))
    return {
        "accepted": float(episode.accepted()),
        "kept_share": kept or 0.0,
        "edits": edits,
        "cooked_share": cooked,
        "shown_variety": variety(episode.request, _dishes(shown)),
    }


def _cooked(episode: Episode, shown: Sequence[str]) -> float | None:
    told = [e for e in episode.outcomes if e.role is Role.KEPT and e.decision_id == episode.decision.decision_id]
    return _share(shown, _dishes(told[-1].payload["cooked"])) if told else None


def preference(example: Example) -> Preference | None:
    """The accepted plan over the proposal that people changed into it.

    Only dishes that were options count: others no policy could have chosen. None where the dishes are the same (days
    and servings are code's business), and for a plan built unaided: people sent the proposal away as a whole and began
    anew, so nobody compared its dishes with those that came instead. Such a row teaches by its target."""
    if example.target["built_by"] != "edited":
        return None
    options = {option["id"] for option in example.request["options"]}
    chosen, rejected = (
        [dict(entry) for entry in example.target[plan]["entries"] if entry["recipe_id"] in options]
        for plan in ("accepted_plan", "proposed_plan")
    )
    if sorted(_dishes(chosen)) == sorted(_dishes(rejected)):
        return None
    return Preference(chosen={"entries": chosen}, rejected={"entries": rejected})


def _share(shown: Sequence[str], accepted: Sequence[str]) -> float:
    return sum(dish in accepted for dish in shown) / len(shown) if shown else 0.0


def _dishes(entries: Entries) -> list[str]:
    return [entry["recipe_id"] for entry in entries]


def _informative(episode: Episode, shown: Sequence[str], accepted: Sequence[str], built_by: str) -> dict[str, str]:
    """What is known about the options: recipe id -> 'yes' or 'no'. After an unaided plan each option was weighed;
    otherwise only what was shown, or taken instead, was."""
    options: Iterator[str] = (option["id"] for option in episode.request["options"])
    known = {*shown, *accepted}
    return {o: "yes" if o in accepted else "no" for o in options if built_by == "unaided" or o in known}


def _outside(episode: Episode, accepted: Entries) -> int:
    """Accepted dishes that were no options of the request (a person searched for them). They are never added to the
    options, which would tell a policy the answer; `_informative` and so the loss know nothing of them."""
    options = {option["id"] for option in episode.request["options"]}
    return len({*_dishes(accepted)} - options)


def _segments(episode: Episode) -> dict[str, Any]:
    request = episode.request
    return {
        "workflow_type": request["workflow_type"],
        "mode": request["mode"],
        "region": request["household"]["region"],
        "household_size": request["household"]["size"],
        "budget": request["household"]["budget"],
        "week_start": request["week_start"],
    }
