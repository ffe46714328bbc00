"""Which slices of the test split a gate reads: opened once, never closed again, counted at each look.

Units are in a slice for good (a hash of their id), so a slice belongs to a task, whatever dataset shows it. Everything
here is decided from counts of units, before any answer is seen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from bakeoff.datasets.places import Mask, Places
from bakeoff.datasets.split import SLICES
from bakeoff.errors import Refused, UsageError
from bakeoff.gates.model import Gate
from bakeoff.stats.paired import effective_units, unit_codes

HEADROOM = 1.3
"""So many times the minimum of effective units are opened: some metrics have no value on some rows."""
ROWS_FOR_P95 = 76
"""A 95th percentile of fewer rows has no interval (`stats.quantile`)."""
ALL = tuple(range(1, SLICES + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a gate may read."""

    opening: int  # 1 for what the first gate opened, one more for each --fresh
    slices: tuple[int, ...]  # ascending
    since: datetime | None = None  # rows from this moment on; None: all rows of the slices
    attempts: int = 0  # reports that were made on it so far

    def covers(self, places: Places) -> Mask:
        """Which rows may be read, (n,)."""
        return places.within(self.slices, self.since)

    def as_subject(self) -> dict[str, str]:
        """As a report names it."""
        since = {} if self.since is None else {"since": self.since.isoformat()}
        return {"slices": ",".join(map(str, self.slices)), "opening": str(self.opening), **since}

    def __str__(self) -> str:
        since = "" if self.since is None else f", weeks from {self.since:%Y-%m-%d} on"
        return f"slice{'s' * (len(self.slices) > 1)} {', '.join(map(str, self.slices))} of {SLICES}{since}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Slices to open; an opening that is there grows by them."""

    opening: int
    slices: tuple[int, ...]
    since: datetime | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a person asks for."""

    slices: int | None = None  # so many slices at once
    fresh: bool = False  # rows that no gate has read


def next_opening(
    gate: Gate,
    places: Places,
    compared: Collection[str],
    *,
    current: Reading | None,
    sealed: Sequence[int],
    judged_until: datetime | None,
    asked: Asked,
) -> Opening | None:
    """What has to be opened before a gate may read; None: what is open is what is read.

    `places`: the test split's rows. `compared`: ids of the two policy versions. `sealed`: slices that were never
    opened, ascending. `judged_until`: end of the newest dataset that a gate has read. Raises Refused where nothing is
    left that could be opened."""
    wanted = asked.slices or gate.slices_per_gate
    if current is None:
        first = _some(sealed, wanted) if wanted else as_many_as_needed(gate, places, compared, sealed)
        return Opening(opening=1, slices=first, since=None, reason="the first gate")
    if asked.fresh and current.attempts:
        return _fresh(gate, places, compared, current, sealed, judged_until, asked)
    missing = (wanted or 0) - len(current.slices)
    if missing <= 0:
        return None
    return Opening(
        opening=current.opening, slices=_some(sealed, missing), since=current.since, reason=f"{wanted} slices at once"
    )


def as_many_as_needed(gate: Gate, places: Places, compared: Collection[str], sealed: Sequence[int]) -> tuple[int, ...]:
    """The first of `sealed` that together hold `HEADROOM` times the gate's minimum of effective units, over all rows
    and, where a rule asks for them, over neutral rows, and the rows that a percentile needs; all, where they do not.
    Neutral rows that could not be enough anyway open nothing where every rule about them has a fallback."""
    enough = HEADROOM * gate.minimum_effective_units
    rows = ROWS_FOR_P95 if any(rule.statistic == "p95" for rule in gate.absolute()) else 0
    neutral = [rule for rule in gate.rules if rule.rows == "neutral"]
    views = [False]
    if neutral and not (
        all(getattr(rule, "fallback", None) for rule in neutral) and units(places, compared, sealed, True) < enough
    ):
        views.append(True)
    for many in range(1, len(sealed)):
        has_rows = places.within(sealed[:many]).sum() >= rows
        if has_rows and all(units(places, compared, sealed[:many], view) >= enough for view in views):
            return tuple(sealed[:many])
    return tuple(sealed)


def units(
    places: Places,
    compared: Collection[str],
    slices: Collection[int],
    neutral: bool,
    since: datetime | None = None,
) -> float:
    """Kish's effective number of units of the rows in `slices`; only of neutral ones, or later ones, if asked."""
    there = places.within(slices, since)
    if neutral:
        there &= places.neutral(*compared)
    return effective_units(np.bincount(unit_codes(places.unit_ids)[there])) if there.any() else 0.0


def _fresh(
    gate: Gate,
    places: Places,
    compared: Collection[str],
    current: Reading,
    sealed: Sequence[int],
    judged_until: datetime | None,
    asked: Asked,
) -> Opening:
    """The next sealed slices; where they hold too few units, weeks that are newer than what any gate has read."""
    following = current.opening + 1
    if asked.slices:
        return Opening(opening=following, slices=_some(sealed, asked.slices), since=None, reason="--fresh --slices")
    chosen = as_many_as_needed(gate, places, compared, sealed) if sealed else ()
    if gate.slices_per_gate and sealed:
        chosen = _some(sealed, min(gate.slices_per_gate, len(sealed)))
    there = units(places, compared, chosen, False)
    if there >= gate.minimum_effective_units:
        return Opening(opening=following, slices=chosen, since=None, reason="--fresh")
    later = 0.0 if judged_until is None else units(places, compared, ALL, False, judged_until)
    if later >= gate.minimum_effective_units:
        return Opening(opening=following, slices=ALL, since=judged_until, reason="--fresh: newer weeks")
    left = f"slices {', '.join(map(str, chosen))} are sealed, with {there:.1f} effective units" if chosen else (
        f"all {SLICES} slices have been read"
    )  # fmt: skip
    cure = "build a dataset with newer weeks (bakeoff dataset build), whose rows no gate has read, and try again"
    raise Refused(
        f"nothing fresh is left: {left}, and newer weeks hold {later:.1f}; the gate needs "
        f"{gate.minimum_effective_units:g}",
        cure=cure + (f"; `--fresh --slices {len(chosen)}` opens them all the same" if chosen else ""),
    )


def _some(sealed: Sequence[int], many: int) -> tuple[int, ...]:
    if many > len(sealed):
        raise UsageError(
            f"{many} more slices are asked for, and {len(sealed)} of {SLICES} are still sealed",
            cure="ask for fewer (--slices), or build a dataset with newer weeks and use --fresh",
        )
    return tuple(sealed[:many])


def warning(attempt: int | None, alpha: float) -> str | None:
    """What it means that the slices were read before; None for the first look."""
    if attempt is None or attempt < 2:
        return None
    return (
        f"these rows were judged {attempt - 1} time{'s' * (attempt > 2)} before: of {attempt} versions that are worse "
        f"by the margin, one passes some metric with a chance of up to {min(1.0, attempt * alpha):.0%}, not "
        f"{alpha:.0%}; --fresh judges on rows that no gate has read"
    )


def read_by(subject: Mapping[str, str]) -> str | None:
    """'slices 1, 2 of 4', as a report's subject says; None for reports from before slices."""
    if "slices" not in subject:
        return None
    since = subject.get("since")
    found = tuple(int(each) for each in subject["slices"].split(","))
    return str(
        Reading(
            opening=int(subject["opening"]),
            slices=found,
            since=None if since is None else datetime.fromisoformat(since),
        )
    )
