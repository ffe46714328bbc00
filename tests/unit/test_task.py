"""Defaults of the border that the core relies on."""

from typing import Any

import rows
from bakeoff.task import Episode, Example, LeftOut, LoggedEvent, Role, TaskBase


def event(role: Role, day: float, **payload: Any) -> LoggedEvent:
    return LoggedEvent(
        event_id=f"{role}{day}", event_type=role.value, role=role, unit_id="u", decision_id="d",
        occurred_at=rows.at(day), experiment_id="x", variant_id="v", policy_version_id="p",
        served_policy_version_id="p", payload=payload,
    )  # fmt: skip


def example(*outcomes: LoggedEvent) -> Example | LeftOut:
    decision = event(Role.DECISION, 1)
    episode = Episode(
        need_id="n", unit_id="u", request={}, request_digest="", decisions=(decision,), outcomes=outcomes
    )  # fmt: skip
    (made,) = TaskBase().examples([episode])
    return made


def test_the_last_acceptance_of_a_person_is_learnt_from_not_the_time_out_after_it() -> None:
    """A person and a clock that ran out are two speakers: the second takes nothing back."""
    first = event(Role.ACCEPT, 1.1, accepted_by="user", drink="tea")
    last = event(Role.ACCEPT, 1.2, accepted_by="user", drink="coffee")
    timeout = event(Role.ACCEPT, 2, accepted_by="timeout", drink="tea")
    made = example(first, last, timeout)
    assert isinstance(made, Example)
    assert made.target == {"accepted_by": "user", "drink": "coffee"}


def test_a_time_out_alone_teaches_nothing() -> None:
    made = example(event(Role.ACCEPT, 2, accepted_by="timeout"))
    assert made == LeftOut(example_id="d", reason="timed out: nobody looked")
    assert example() == LeftOut(example_id="d", reason="nothing was accepted")
