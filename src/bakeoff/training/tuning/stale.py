"""How stale tuned hyperparameters are. Pure.

Refused, because they were found for something else: another base model, recipe, version of the task's prompt, or
version of its requests. Said, and used all the same: more than twice (or less than half) as many rows as they were
found with, older than 90 days, other code or other library versions."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bakeoff.training.tuning.model import Tuned

OLD = timedelta(days=90)
GROWN = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What is to be trained now."""

    base_digest: str
    recipe: str
    prompt_version: str
    request_version: str
    rows: int  # of the train split, as many as are used
    git_commit: str
    lock_digest: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Staleness:
    """Sentences for people; both empty: fresh."""

    refused: tuple[str, ...]
    said: tuple[str, ...]


def staleness(tuned: Tuned, now: Situation) -> Staleness:
    return Staleness(refused=tuple(_refused(tuned, now)), said=tuple(_said(tuned, now)))


def _refused(tuned: Tuned, now: Situation) -> Iterator[str]:
    names = {
        "base_digest": "the base model",
        "recipe": "the recipe",
        "prompt_version": "the version of the task's prompt",
        "request_version": "the version of the task's requests",
    }
    for name, text in names.items():
        was, is_now = getattr(tuned, name), getattr(now, name)
        if was != is_now:
            yield f"{text} changed: tuned on {was}, now {is_now}"


def _said(tuned: Tuned, now: Situation) -> Iterator[str]:
    if not tuned.rows / GROWN <= now.rows <= GROWN * tuned.rows:
        yield f"tuned on {tuned.rows} rows, now {now.rows}"
    if now.at - tuned.created_at > OLD:
        yield f"tuned {(now.at - tuned.created_at).days} days ago, on {tuned.created_at:%Y-%m-%d}"
    if tuned.git_commit != now.git_commit:
        yield f"tuned by code {tuned.git_commit[:12]}, now {now.git_commit[:12]}"
    if tuned.lock_digest != now.lock_digest:
        yield "library versions changed"
