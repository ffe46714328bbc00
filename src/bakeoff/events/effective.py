"""Which of a decision's outcomes count. History stays in the log; the last word of each speaker is what holds."""

from collections.abc import Iterable, Sequence

from bakeoff.task import EventType, LoggedEvent, Role

LAST_COUNTS = frozenset({Role.ACCEPT, Role.REJECT, Role.KEPT, Role.REGENERATE})
"""Statements: a later one by the same speaker takes the place of an earlier one. Edits and interventions are steps,
and all of them happened."""


def effective(types: Sequence[EventType], outcomes: Iterable[LoggedEvent]) -> tuple[LoggedEvent, ...]:
    """The outcomes that hold, oldest first: of `LAST_COUNTS` the last per decision, event type and source, all
    others as they are.

    `source` is the payload field that the event type names (a person and a time-out are two speakers, and neither
    takes back what the other said). The order of arrival and repeated events change nothing; of two events at one
    moment the one with the larger id holds."""
    source = {kind.name: kind.source for kind in types}
    holds: dict[tuple[object, ...], LoggedEvent] = {}
    for event in sorted(outcomes, key=lambda event: (event.occurred_at, event.event_id)):
        named = source.get(event.event_type)
        speaker = None if named is None else str(event.payload.get(named))
        is_step = event.role not in LAST_COUNTS
        holds[(event.decision_id, event.event_type, speaker, event.event_id if is_step else None)] = event
    return tuple(sorted(holds.values(), key=lambda event: (event.occurred_at, event.event_id)))
