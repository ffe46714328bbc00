"""How far two datasets lie apart, column by column, from their profiles alone.

Two measures over the same bins. PSI, the population stability index sum((q - p) * ln(q / p)), is the one with a usual
reading: below 0.1 stable, to 0.25 moved, beyond moved much (Siddiqi 2006, Credit Risk Scorecards, chapter 9; it is the
symmetrised divergence of Kullback and Leibler 1951). Total variation distance, half of sum |q - p|, is the one with a
meaning: the share of rows that would have to change (Levin, Peres and Wilmer 2017, Markov Chains and Mixing Times,
section 4.1).

Bins of a category are its values, of a number the previous dataset's deciles or, where there are at most `FEW_VALUES`
different ones, the numbers themselves. Nulls are a bin of their own. Where a profile was cut to its most frequent
values, what is not known on both sides is one bin: the measures are then lower bounds.

Chance moves columns too. Without any drift PSI * nm / (n + m) is about chi-square with bins - 1 degrees of freedom for
samples of n and m (Yurdakul 2018, Statistical Properties of Population Stability Index). n and m are units here, since
rows of one unit are alike. What looks moved, but no more than chance does in one of a hundred columns, is 'too few
units': flagged, not alarmed."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import scipy

from bakeoff.datasets.profile import NO_VALUE

Word = Literal["stable", "moved", "moved much", "too few units"]
MOVED, MOVED_MUCH = 0.1, 0.25  # PSI
FEW_VALUES = 10
REST = "(others)"
EXPECTED_TO_MOVE = frozenset(
    f"metadata.{name}"
    for name in ("policy_version_id", "served_policy_version_id", "experiment_id", "variant_id",
                 "assignment_probability", "action_propensity")
)  # fmt: skip
"""Provenance: another policy or test does this, not people."""
_RARELY = 0.01  # columns in which chance alone does more
_EMPTY = "empty"
_NOTEWORTHY = 0.01  # change of a share that is worth a word


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One bin."""

    value: str  # of a category; of a number in words: 'up to 2', '2 to 4', 'above 9'
    before: float  # share of the rows, 0 to 1
    after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One column in two datasets."""

    column: str  # 'metadata.region', 'request.pantry[]' (the length of the list)
    kind: str  # 'category' or 'number'
    word: Word
    psi: float  # 0 and more
    total_variation: float  # 0 to 1
    chance: float  # PSI that chance alone stays below in 99 of 100 columns, given the units
    units: tuple[int, int]  # before, after
    changes: tuple[Change, ...]  # bins whose share changed, greatest first
    new: tuple[str, ...]  # values that were not there before; categories only
    vanished: tuple[str, ...]  # values that are no longer there; categories only
    medians: tuple[float | None, float | None]  # numbers only
    nulls: tuple[float, float]  # shares, 0 to 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All columns of two profiles."""

    drifts: tuple[Drift, ...]  # greatest PSI first
    added: tuple[str, ...]  # columns that the previous profile lacks
    gone: tuple[str, ...]
    retyped: tuple[str, ...]  # columns of another kind than before, in words; not compared

    @property
    def moved(self) -> tuple[Drift, ...]:
        """What deserves a look."""
        return tuple(drift for drift in self.drifts if drift.word in ("moved", "moved much"))


def compare(previous: Mapping[str, Any], current: Mapping[str, Any]) -> Comparison:
    """Of two profiles by `profile.profile`. Dates and free text move by nature and are not compared, nor is
    provenance (`EXPECTED_TO_MOVE`)."""
    before, after = previous["columns"], current["columns"]
    units = (int(previous["units"]), int(current["units"]))
    drifts, retyped = [], []
    for name in sorted(set(before) & set(after) - EXPECTED_TO_MOVE):
        kinds = {before[name]["kind"], after[name]["kind"]} - {_EMPTY}
        if len(kinds) > 1:
            retyped.append(f"{name}: was {before[name]['kind']}, is {after[name]['kind']}")
        elif kinds & {"category", "number"}:
            drifts.append(_drift(name, before[name], after[name], kinds.pop(), units))
    return Comparison(
        drifts=tuple(sorted(drifts, key=lambda drift: (-drift.psi, drift.column))),
        added=tuple(sorted(set(after) - set(before))),
        gone=tuple(sorted(set(before) - set(after))),
        retyped=tuple(retyped),
    )


def psi(before: Sequence[float], after: Sequence[float], *, alike: tuple[float, float] = (1, 1)) -> float:
    """Population stability index of counts (B,) over the same bins. 0 for proportional counts.

    `alike`: rows of one unit, before and after. A bin that is empty on one side counts as half a unit there (half a
    row would alarm three times as often by chance where rows of a unit are alike), on both sides as nothing."""
    bins = [(max(b, alike[0] / 2), max(a, alike[1] / 2)) for b, a in zip(before, after, strict=True) if b or a]
    n, m = max(sum(before), 1), max(sum(after), 1)
    return math.fsum((a / m - b / n) * math.log((a / m) / (b / n)) for b, a in bins)


def total_variation(before: Sequence[float], after: Sequence[float]) -> float:
    """Half the sum of the absolute differences of the shares, of counts (B,) over the same bins: 0 to 1."""
    n, m = max(sum(before), 1), max(sum(after), 1)
    return math.fsum(abs(a / m - b / n) for b, a in zip(before, after, strict=True)) / 2


def chance(bins: int, before_units: int, after_units: int) -> float:
    """PSI below which samples of so many units stay in 99 of 100 cases without any drift; inf without units."""
    free = bins - 1
    if free < 1:
        return 0.0
    if not before_units or not after_units:
        return math.inf
    return float(scipy.special.chdtri(free, _RARELY)) * (1 / before_units + 1 / after_units)


def word(measured: float, by_chance: float) -> Word:
    """The usual reading of a PSI, unless chance explains it."""
    if measured < MOVED:
        return "stable"
    if measured <= by_chance:
        return "too few units"
    return "moved" if measured <= MOVED_MUCH else "moved much"


def sentence(drift: Drift) -> str:
    """In plain words: "region: 'north' rose from 21 % to 34 %, 'south' fell from 40 % to 30 %; new: 'islands'"."""
    said = []
    if drift.medians[0] != drift.medians[1]:
        said.append(f"the median went from {_plain(drift.medians[0])} to {_plain(drift.medians[1])}")
    shown = [change for change in drift.changes if abs(change.after - change.before) >= _NOTEWORTHY][:2]
    said += [_moved(drift, change) for change in shown or drift.changes[:1]]
    for what, values in (("new", drift.new), ("no longer there", drift.vanished)):
        more = f" and {len(values) - 3} more" if len(values) > 3 else ""
        said += [f"{what}: {', '.join(repr(value) for value in values[:3])}{more}"] if values else []
    return f"{called(drift.column)}: {'; '.join(said) or 'as before'}"


def called(column: str) -> str:
    """'metadata.region' -> 'region', 'request.pantry[]' -> 'entries of request.pantry'."""
    name = column.removeprefix("metadata.")
    return f"entries of {name.removesuffix('[]')}" if name.endswith("[]") else name


def percent(share: float) -> str:
    """0.214 -> '21 %', 0.004 -> '0.4 %'."""
    digits = 1 if 0 < share < 0.0095 or 0.9905 < share < 1 else 0
    return f"{100 * share:.{digits}f} %"


def _moved(drift: Drift, change: Change) -> str:
    quoted = change.value if drift.kind == "number" or change.value in (REST, NO_VALUE) else repr(change.value)
    verb = "rose" if change.after > change.before else "fell"
    return f"{quoted} {verb} from {percent(change.before)} to {percent(change.after)}"


def _plain(number: float | None) -> str:
    return "none" if number is None else f"{number:g}"


def _drift(name: str, before: Mapping[str, Any], after: Mapping[str, Any], kind: str, units: tuple[int, int]) -> Drift:
    is_category = kind == "category"
    labels, counts_before, counts_after = (_category_bins if is_category else _number_bins)(before, after)
    alike = (max(before["rows"] / max(units[0], 1), 1), max(after["rows"] / max(units[1], 1), 1))
    measured = psi(counts_before, counts_after, alike=alike)
    by_chance = chance(sum(1 for b, a in zip(counts_before, counts_after, strict=True) if b or a), *units)
    return Drift(
        column=name,
        kind=kind,
        word=word(measured, by_chance),
        psi=measured,
        total_variation=total_variation(counts_before, counts_after),
        chance=by_chance,
        units=units,
        changes=tuple(_changes(labels, counts_before, counts_after)),
        new=_only(after, before) if is_category else (),
        vanished=_only(before, after) if is_category else (),
        medians=(_median(before), _median(after)),
        nulls=(_null_share(before), _null_share(after)),
    )


def _category_bins(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[str], list[float], list[float]]:
    """Values that both profiles can count, then the rest, then nulls."""
    left, right = _top(before), _top(after)
    values = sorted(
        value for value in {*left, *right}
        if (value in left or not before.get("rest")) and (value in right or not after.get("rest"))
    )  # fmt: skip

    def counts(top: Mapping[str, int], about: Mapping[str, Any]) -> list[float]:
        named = [top.get(value, 0) for value in values]
        return [*named, sum(top.values()) + about.get("rest", 0) - sum(named), about["nulls"]]

    return [*values, REST, NO_VALUE], counts(left, before), counts(right, after)


def _number_bins(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[str], list[float], list[float]]:
    """The numbers themselves where both profiles know them all and they are few; else bins between the previous
    profile's deciles. Then nulls."""
    left, right = dict(before.get("values", ())), dict(after.get("values", ()))
    values = sorted({*left, *right})
    if "percentiles" not in before and "percentiles" not in after and len(values) <= FEW_VALUES:
        labels = [*(f"{value:g}" for value in values), NO_VALUE]
        first, then = [left.get(value, 0) for value in values], [right.get(value, 0) for value in values]
        return labels, [*first, before["nulls"]], [*then, after["nulls"]]
    edges = _edges(before if before["kind"] != _EMPTY else after)
    return [*_labels(edges), NO_VALUE], _between(before, edges), _between(after, edges)


def _edges(about: Mapping[str, Any]) -> list[float]:
    """Different deciles, without the least and the greatest number; of a constant column the constant."""
    return sorted({float(edge) for edge in about["deciles"][1:-1]})


def _labels(edges: Sequence[float]) -> list[str]:
    inner = [f"over {low:g} up to {high:g}" for low, high in pairwise(edges)]
    first = [f"below {edges[0]:g}", f"{edges[0]:g}"] if len(edges) == 1 else [f"up to {edges[0]:g}"]
    return [*first, *inner, f"over {edges[-1]:g}"]


def _between(about: Mapping[str, Any], edges: Sequence[float]) -> list[float]:
    """Rows in each of the bins of `_labels`, then nulls."""
    rows = about["rows"] - about["nulls"]
    below = [_share(about, edges[0], inclusive=False)] if len(edges) == 1 else []
    marks = [0.0, *below, *(_share(about, edge, inclusive=True) for edge in edges), 1.0]
    return [*(rows * (high - low) for low, high in pairwise(marks)), about["nulls"]]


def _share(about: Mapping[str, Any], edge: float, *, inclusive: bool) -> float:
    """Share of the numbers up to `edge`, or below it: exact from values, linear between percentiles."""
    if about["kind"] == _EMPTY:
        return 0.0
    if "values" in about:
        rows = about["rows"] - about["nulls"]
        reached = sum(count for value, count in about["values"] if value < edge or (inclusive and value == edge))
        return float(reached / rows)
    marks = about["percentiles"]
    reached = (bisect_right if inclusive else bisect_left)(marks, edge)
    if reached in (0, len(marks)):
        return float(bool(reached))
    low, high = marks[reached - 1], marks[reached]
    return float((reached - 1 + (edge - low) / (high - low)) / (len(marks) - 1))


def _changes(labels: Sequence[str], before: Sequence[float], after: Sequence[float]) -> Iterator[Change]:
    n, m = max(sum(before), 1), max(sum(after), 1)
    bins = [Change(value=v, before=b / n, after=a / m) for v, b, a in zip(labels, before, after, strict=True)]
    for change in sorted(bins, key=lambda change: (-abs(change.after - change.before), change.value)):
        if change.before != change.after:
            yield change


def _top(about: Mapping[str, Any]) -> dict[str, int]:
    return dict(about.get("top", ()))


def _only(these: Mapping[str, Any], those: Mapping[str, Any]) -> tuple[str, ...]:
    """Values of `these`, most frequent first, that are certainly none of `those`."""
    return () if those.get("rest") else tuple(value for value in _top(these) if value not in _top(those))


def _median(about: Mapping[str, Any]) -> float | None:
    return float(about["deciles"][5]) if "deciles" in about else None


def _null_share(about: Mapping[str, Any]) -> float:
    return float(about["nulls"] / about["rows"]) if about["rows"] else 0.0
