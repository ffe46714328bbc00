"""Episodes to rows, pure: provenance, split, canonical order, checks, digest. Nothing is written here.

Rows read the request as the log stored it (design rule 1); rebuilding it from history is not done here.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bakeoff.datasets.check import check
from bakeoff.datasets.model import SCHEMA_VERSION, Draft, Row, Split
from bakeoff.datasets.split import SHARES, slice_of, split_of
from bakeoff.errors import Refused, UsageError
from bakeoff.fingerprint import canonical_json
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
MINIMUM: Mapping[Split, int] = {Split.TRAIN: 20, Split.VALIDATION: 5, Split.TEST: 5}  # rows
UNAIDED = "unaided"  # metadata 'built_by' of a plan that people made without a proposal


def build(
    task: Task,
    episodes: Iterable[Episode],
    *,
    since: datetime,
    until: datetime,
    shares: Mapping[Split, int] = SHARES,
    minimum: Mapping[Split, int] = MINIMUM,
) -> Draft:
    """Rows of all `episodes` that have a target and whose first decision lies in ``[since, until)``.

    The same episodes and window give the same digest, in any order and on any machine. Raises UsageError for
    a window without time zone and Refused where a check fails; the message names rows and the cure."""
    since, until = _utc("since", since), _utc("until", until)
    seen = {str(episode.decision.decision_id): episode for episode in episodes}
    ordered = sorted(seen.values(), key=lambda e: (e.decision.occurred_at, str(e.decision.decision_id)))
    made = list(task.examples(ordered))
    rows = [_row(task, example, seen, shares) for example in made if isinstance(example, Example)]
    rows.sort(key=lambda row: (row.example.occurred_at, row.example.example_id))
    check(rows, since=since, until=until, minimum=minimum)
    return Draft(
        digest=content_digest(task, rows, since=since, until=until),
        task=task.name,
        since=since,
        until=until,
        rows=tuple(rows),
        summary=summarise(task, rows, excluded=Counter(left.reason for left in made if isinstance(left, LeftOut))),
    )


def content_digest(task: Task, rows: Sequence[Row], *, since: datetime, until: datetime) -> str:
    """sha256 over the versions, the window and each row's logical content, one JSON text a line."""
    sha = hashlib.sha256()
    head = {"task": task.name, "since": since, "until": until, **versions(task)}
    for line in (head, *(row.logical() for row in rows)):
        sha.update(canonical_json(line).encode() + b"\n")
    return "sha256:" + sha.hexdigest()


def versions(task: Task) -> dict[str, str]:
    return {
        "schema_version": SCHEMA_VERSION,
        "request_version": task.request_version,
        "prompt_version": task.prompt_version,
    }


def is_neutral(row: Row, *policy_version_ids: str) -> bool:
    """Whether what people kept was proposed by none of the compared versions (design rule 6)."""
    metadata = row.example.metadata
    return metadata.get("built_by") == UNAIDED or metadata["proposed_by"] not in policy_version_ids


def summarise(task: Task, rows: Sequence[Row], excluded: Mapping[str, int]) -> dict[str, Any]:
    """What people want to know first; also the row's `summary` in the database."""
    by_split = {split.value: [row for row in rows if row.split is split] for split in Split}
    return {
        "title": str(getattr(task, "title", task.name)),
        **versions(task),
        "rows": len(rows),
        "units": len({row.example.unit_id for row in rows}),
        "splits": {name: len(part) for name, part in by_split.items()},
        "units_by_split": {name: len({r.example.unit_id for r in part}) for name, part in by_split.items()},
        "slices": _counts(str(row.slice) for row in rows if row.slice is not None),
        "proposed_by": _counts(str(row.example.metadata["proposed_by"]) for row in rows),
        "origin": _counts(str(row.example.metadata["origin"]) for row in rows),
        "fell_back": sum(bool(row.example.metadata["fell_back"]) for row in rows),
        "targets": sorted({name for row in rows for name in row.example.target}),
        "excluded": {reason: count for reason, count in excluded.items() if count},
    }


def _row(task: Task, example: Example, episodes: Mapping[str, Episode], shares: Mapping[Split, int]) -> Row:
    episode = episodes.get(example.example_id)
    if episode is None:
        raise Refused(
            f"task {task.name} made example {example.example_id!r}, the first decision of no episode",
            cure="let Task.examples use str(episode.decision.decision_id) as example_id",
        )
    split = split_of(task.name, example.unit_id, shares)
    return Row(
        example=replace(
            example,
            occurred_at=_utc("occurred_at", example.occurred_at),
            metadata=_metadata(task, example, episode),
        ),
        split=split,
        slice=slice_of(task.name, example.unit_id, split),
        request_digest=episode.request_digest,
    )


def _metadata(task: Task, example: Example, episode: Episode) -> dict[str, Any]:
    taken = sorted(set(example.metadata) & set(PROVENANCE))
    if taken:
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
    """Who served the decision that was accepted last: after a regeneration that is not the first one."""
    accepted = [event.decision_id for event in episode.outcomes if event.role is Role.ACCEPT][-1:]
    shown = next((d for d in episode.decisions if d.decision_id in accepted), episode.decision)
    return shown.served_policy_version_id or shown.policy_version_id


def _utc(name: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise UsageError(f"{name} {moment.isoformat()} has no time zone", cure="give UTC, for instance ...T00:00Z")
    return moment.astimezone(UTC)


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
