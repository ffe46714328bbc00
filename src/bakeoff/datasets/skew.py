"""Training-serving skew: do requests rebuilt from the application's tables equal those that policies decided on?

Rows are learnt from requests as they were stored (design rule 1), so a difference spoils no dataset. It says that the
application cannot tell any more what it knew: its tables forget, or its code has changed without a new
`Task.request_version`. Data validation in TFX compares the two sides in the same way (Breck et al. 2019, "Data
validation for machine learning", section 4.2)."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bakeoff.fingerprint import as_stored, canonical_json
from bakeoff.task import Request

MISSING = "(missing)"
_EXAMPLES = 5  # requests shown
_FIELDS = 10  # differing fields shown of each


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One place where a stored and a rebuilt request differ."""

    path: str  # dotted; [] for the elements of a list: 'pantry[].days_left'
    stored: str  # canonical JSON, or MISSING
    rebuilt: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SkewedRequest:
    """One request that was rebuilt differently."""

    key: str
    differences: tuple[Difference, ...]  # the first few
    fields: int  # how many places differ


@dataclass(frozen=True, kw_only=True, slots=True)
class SkewReport:
    """What came of a comparison."""

    compared: int  # pairs of which both sides are there
    equal: int
    not_rebuilt: int  # stored requests that could not be built again
    differing: Mapping[str, int]  # dotted path -> requests in which it differs, most first
    examples: tuple[SkewedRequest, ...]  # worst first: most places, then by key
    not_rebuilt_keys: tuple[str, ...] = ()  # the first few

    @property
    def skewed(self) -> bool:
        """Whether any rebuilt request differs from the stored one."""
        return self.equal < self.compared


def compare(pairs: Iterable[tuple[object, Request, Request | None]]) -> SkewReport:
    """From (key, stored, rebuilt) for each request; `rebuilt` None where it could not be built. Streams; the report
    does not depend on the order of the pairs, apart from which keys are named as not rebuilt."""
    compared = equal = not_rebuilt = 0
    differing: Counter[str] = Counter()
    worst: list[tuple[int, str, SkewedRequest]] = []
    lost: list[str] = []
    for key, stored, rebuilt in pairs:
        if rebuilt is None:
            not_rebuilt += 1
            lost += [str(key)] * (len(lost) < _EXAMPLES)
            continue
        compared += 1
        found = list(_differences(as_stored(stored), as_stored(rebuilt), ""))
        if not found:
            equal += 1
            continue
        differing.update({difference.path for difference in found})
        skewed = SkewedRequest(key=str(key), differences=tuple(found[:_FIELDS]), fields=len(found))
        worst = heapq.nsmallest(_EXAMPLES, [*worst, (-len(found), str(key), skewed)], key=lambda each: each[:2])
    return SkewReport(
        compared=compared,
        equal=equal,
        not_rebuilt=not_rebuilt,
        differing=dict(sorted(differing.items(), key=lambda pair: (-pair[1], pair[0]))),
        examples=tuple(skewed for _, _, skewed in worst),
        not_rebuilt_keys=tuple(lost),
    )


def _differences(stored: Any, rebuilt: Any, path: str) -> Iterator[Difference]:
    """Place by place, in the order of keys. Lists of other lengths differ as a whole: which element is new cannot be
    told. 1, 1.0 and true are three values, as they are to a digest."""
    if isinstance(stored, dict) and isinstance(rebuilt, dict):
        for name in sorted(stored.keys() | rebuilt.keys()):
            place = f"{path}.{name}" if path else name
            yield from _differences(stored.get(name, _ABSENT), rebuilt.get(name, _ABSENT), place)
    elif isinstance(stored, list) and isinstance(rebuilt, list) and len(stored) == len(rebuilt):
        for left, right in zip(stored, rebuilt, strict=True):
            yield from _differences(left, right, f"{path}[]")
    elif _text(stored) != _text(rebuilt):
        yield Difference(path=path, stored=_text(stored), rebuilt=_text(rebuilt))


_ABSENT = object()


def _text(value: Any) -> str:
    return MISSING if value is _ABSENT else canonical_json(value)
