"""What holds of a decision's outcomes, whatever the order in which they came."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import rows
from bakeoff.events import effective
from bakeoff.events.effective import LAST_COUNTS
from bakeoff.task import Accepted, EventType, LoggedEvent, Role

TYPES = (
    EventType(name="offered", role=Role.DECISION),
    EventType(name="accepted", role=Role.ACCEPT, payload=Accepted, source="accepted_by"),
    EventType(name="rejected", role=Role.REJECT),
    EventType(name="asked_again", role=Role.REGENERATE),
    EventType(name="drunk", role=Role.KEPT),
    EventType(name="stirred", role=Role.EDIT),
    EventType(name="mended", role=Role.INTERVENTION),
)
ROLES = {kind.name: kind.role for kind in TYPES}


def event(name: str, minute: int, ident: str = "", of: str = "d", **payload: Any) -> LoggedEvent:
    return LoggedEvent(
        event_id=ident or f"{name}-{minute}", event_type=name, role=ROLES[name], unit_id="u", decision_id=of,
        occurred_at=rows.START + timedelta(minutes=minute), experiment_id="x", variant_id="v", policy_version_id="p",
        served_policy_version_id=None, payload=payload,
    )  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[LoggedEvent]:
    """Events with different ids; moments may be the same."""
    count = draw(st.integers(0, 12))
    return [
        event(
            draw(st.sampled_from([kind.name for kind in TYPES[1:]])),
            draw(st.integers(0, 5)),
            ident=f"e{n}",
            of=draw(st.sampled_from("ab")),
            accepted_by=draw(st.sampled_from(["user", "timeout"])),
        )
        for n in range(count)
    ]


def ids(events: tuple[LoggedEvent, ...]) -> list[str]:
    return [each.event_id for each in events]


def test_the_last_acceptance_of_a_person_holds_and_a_time_out_is_another_speaker() -> None:
    log = [
        event("accepted", 1, accepted_by="user", drink="tea"),
        event("accepted", 3, accepted_by="timeout"),
        event("accepted", 2, accepted_by="user", drink="coffee"),
    ]
    assert ids(effective(TYPES, log)) == ["accepted-2", "accepted-3"]


def test_every_step_counts() -> None:
    log = [event("stirred", 1), event("stirred", 2), event("mended", 1), event("mended", 2)]
    assert len(effective(TYPES, log)) == 4


def test_a_rejection_does_not_take_back_an_acceptance() -> None:
    """They are two statements; what they mean together is the task's to say."""
    log = [event("accepted", 1, accepted_by="user"), event("rejected", 2)]
    assert len(effective(TYPES, log)) == 2


def test_decisions_are_kept_apart() -> None:
    log = [event("rejected", 1, of="a"), event("rejected", 2, of="b"), event("rejected", 3, of="a")]
    assert ids(effective(TYPES, log)) == ["rejected-2", "rejected-3"]


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(log: list[LoggedEvent], dice: Any) -> None:
    shuffled = list(log)
    dice.shuffle(shuffled)
    assert effective(TYPES, shuffled) == effective(TYPES, log)


@given(histories())
def test_the_same_event_twice_is_one_event(log: list[LoggedEvent]) -> None:
    assert effective(TYPES, [*log, *log]) == effective(TYPES, log)


@given(histories())
def test_what_holds_goes_on_holding_when_it_is_asked_again(log: list[LoggedEvent]) -> None:
    held = effective(TYPES, log)
    assert effective(TYPES, held) == held


@given(histories())
def test_an_earlier_statement_that_arrives_late_changes_nothing(log: list[LoggedEvent]) -> None:
    for late in log:
        if late.role in LAST_COUNTS:
            before = effective(TYPES, log)
            old = event(late.event_type, -1, ident="late", of=str(late.decision_id), **late.payload)
            assert effective(TYPES, [*log, old]) == before


@given(histories())
def test_for_each_speaker_the_newest_statement_holds(log: list[LoggedEvent]) -> None:
    held = effective(TYPES, log)

    def speaker(each: LoggedEvent) -> tuple[object, ...]:
        said = each.payload["accepted_by"] if each.role is Role.ACCEPT else None
        return (each.decision_id, each.event_type, said)

    for each in log:
        same = [one for one in held if speaker(one) == speaker(each)]
        if each.role in LAST_COUNTS:
            assert len(same) == 1
            assert (same[0].occurred_at, same[0].event_id) >= (each.occurred_at, each.event_id)
        else:
            assert each in same
