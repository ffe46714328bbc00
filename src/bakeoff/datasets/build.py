"""Episodes to rows, pure and one at a time: provenance, split, and what must hold of each. Nothing is written here.

Rows read the request as the log stored it (design rule 1); rebuilding it from history is not done here.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bakeoff.datasets.check import Faults
from bakeoff.datasets.model import SCHEMA_VERSION, Line, Row, Split
from bakeoff.datasets.split import SHARES, slice_of, split_of
from bakeoff.errors import Refused, UsageError
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest_bytes
from bakeoff.task import Episode, Example, LeftOut, Role, Task

PROVENANCE: Mapping[str, str] = {
    "policy_version_id": "policy version assigned to the first decision (intention to treat)",
    "served_policy_version_id": "policy version that answered",
    "experiment_id": "experiment of the first decision",
    "variant_id": "variant of the first decision",
    "assignment_probability": "probability of that variant for this unit, 0 to 1; null where not logged",
    "action_propensity": "probability with which a randomised policy chose this answer; null for others",
    "origin": "'live', or 'backfill' for imported history",
    "fell_back": "true where another policy than the assigned one answered",
    "proposed_by": "policy version whose proposal people reacted to; decides which rows are neutral",
}
UNAIDED = "unaided"  # metadata 'built_by' of a plan that people made without a proposal
NO_REASON = "the task gave no reason"

Stored = tuple[Episode, bytes]
"""An episode, and the text of its request as it was digested."""


@dataclass(kw_only=True, slots=True)
class Source:
    """Reads episodes for a task and knows which of them it has not answered for yet."""

    stored: Iterable[Stored]
    waiting: deque[Stored] = field(default_factory=deque)

    def episodes(self) -> Iterator[Episode]:
        for pair in self.stored:
            self.waiting.append(pair)
            yield pair[0]

    def take(self, example_id: str) -> tuple[Stored | None, int]:
        """The episode that an example was made of, and how many before it were passed over; None where it is not
        one of those that were read."""
        for passed, (episode, _) in enumerate(self.waiting):
            if episode.decision.decision_id == example_id:
                for _ in range(passed):
                    self.waiting.popleft()
                return self.waiting.popleft(), passed
        return None, 0


def lines(
    task: Task,
    stored: Iterable[Stored],
    *,
    since: datetime,
    until: datetime,
    excluded: Counter[str],
    shares: Mapping[Split, int] = SHARES,
) -> Iterator[Line]:
    """Rows of all episodes that have a target and whose first decision lies in ``[since, until)``, in the order of
    the episodes: by time of the first decision, then its id. Counts the others in `excluded`, by reason.

    Raises UsageError for a window without time zone and Refused for rows that must not be; it names them."""
    faults, source = Faults(window=(utc("since", since), utc("until", until))), Source(stored=stored)
    places: dict[str, tuple[Split, int | None]] = {}
    last = ""
    for made in task.examples(source.episodes()):
        found, passed = source.take(made.example_id)
        if found is None:
            faults.refuse_stranger(task.name, made.example_id, twice=made.example_id == last)
        excluded[NO_REASON] += passed
        last = made.example_id
        if isinstance(made, LeftOut):
            excluded[made.reason] += 1
            continue
        if (place := places.get(made.unit_id)) is None:
            split = split_of(task.name, made.unit_id, shares)
            place = places[made.unit_id] = split, slice_of(task.name, made.unit_id, split)
        yield _line(task, made, found, place, faults)
    excluded[NO_REASON] += len(source.waiting)
    faults.refuse()
    excluded -= Counter()  # drops zeros


def versions(task: Task) -> dict[str, str]:
    return {
        "schema_version": SCHEMA_VERSION,
        "request_version": task.request_version,
        "prompt_version": task.prompt_version,
    }


def content_digest(task: Task, rows_digest: str, *, since: datetime, until: datetime) -> str:
    """sha256 over the versions, the window and the digest of the rows (`rows_digest`: of each `Line.logical`, one a
    line)."""
    head = {"task": task.name, "since": since.isoformat(), "until": until.isoformat(), "rows": rows_digest}
    return digest_bytes(canonical_bytes(head | versions(task)))


def is_neutral(row: Row, *policy_version_ids: str) -> bool:
    """Whether what people kept was proposed by none of the compared versions (design rule 6)."""
    metadata = row.example.metadata
    return metadata.get("built_by") == UNAIDED or metadata["proposed_by"] not in policy_version_ids


def utc(name: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise UsageError(f"{name} {moment.isoformat()} has no time zone", cure="give UTC, for instance ...T00:00Z")
    return moment.astimezone(UTC)


def _line(task: Task, example: Example, stored: Stored, place: tuple[Split, int | None], faults: Faults) -> Line:
    episode, body = stored
    line = Line(
        example_id=example.example_id,
        unit_id=example.unit_id,
        occurred_at=utc("occurred_at", example.occurred_at),
        split=place[0],
        slice=place[1],
        request_digest=episode.request_digest,
        request=body,
        target=_text(task, example.example_id, example.target),
        metadata=_text(task, example.example_id, _metadata(task, example, episode)),
    )
    faults.look(line, is_request=example.request is episode.request or canonical_bytes(example.request) == body)
    return line


def _text(task: Task, example_id: str, value: Mapping[str, Any]) -> bytes:
    try:
        return canonical_bytes(value)
    except (TypeError, ValueError) as error:
        raise Refused(
            f"task {task.name} made example {example_id}, which JSON cannot say: {error}",
            cure="let Task.examples give JSON values",
        ) from error


def _metadata(task: Task, example: Example, episode: Episode) -> dict[str, Any]:
    if not PROVENANCE.keys().isdisjoint(example.metadata):
        taken = sorted(set(example.metadata) & set(PROVENANCE))
        raise Refused(
            f"task {task.name} writes metadata {', '.join(taken)}, which the core fills in",
            cure="rename these fields in Task.examples",
        )
    decision = episode.decision
    served = decision.served_policy_version_id or decision.policy_version_id
    return {
        **example.metadata,
        "policy_version_id": decision.policy_version_id,
        "served_policy_version_id": served,
        "experiment_id": decision.experiment_id,
        "variant_id": decision.variant_id,
        "assignment_probability": decision.assignment_probability,
        "action_propensity": decision.action_propensity,
        "origin": decision.origin,
        "fell_back": decision.fell_back,
        "proposed_by": _proposer(episode),
    }


def _proposer(episode: Episode) -> str:
    """Who served the decision that was accepted last: after a regeneration that is not the first one. What a person
    accepted counts, and a time-out only where nobody accepted anything."""
    accepts = [event for event in episode.outcomes if event.role is Role.ACCEPT]
    spoken = [event for event in accepts if event.payload.get("accepted_by") != "timeout"] or accepts
    accepted = [event.decision_id for event in spoken][-1:]
    shown = next((d for d in episode.decisions if d.decision_id in accepted), episode.decision)
    return shown.served_policy_version_id or shown.policy_version_id
