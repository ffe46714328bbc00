"""Replaying the application itself: what it answered to a request is a look-up in the log."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from bakeoff.events import store as events
from bakeoff.inference.model import PolicySpec, Recorded


def recorded(
    transaction: Callable[[], AbstractContextManager[events.Conn]],
    spec: PolicySpec,
    policy_version_id: str,
    decision_id: str,
) -> Recorded | None:
    """The answer of the decision with this id; None where there is none, or where another version gave it. A spec of
    another engine than 'logged' answers by itself: nothing is looked up."""
    if spec.engine != "logged":
        return None
    with transaction() as conn:
        row = events.find_decision(conn, decision_id)
    if row is None or str(row["served_policy_version_id"]) != policy_version_id:
        return None
    answer, latency = row["payload"].get("answer"), row["payload"].get("latency_s")
    if not isinstance(answer, Mapping):
        return None
    known = isinstance(latency, int | float) and not isinstance(latency, bool)
    return Recorded(answer=answer, latency_s=float(latency) if known else 0.0)
