"""What must hold before a dataset is written. Each check raises Refused with the rows and the cure."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from bakeoff.datasets.model import Row, Split
from bakeoff.errors import Refused
from bakeoff.fingerprint import canonical_json, digest

LEAK_SHARE = 0.5  # of the rows; below it, equal parts of request and target are coincidence (a plan kept twice)
_SHOWN = 3  # rows named in a message


def check(rows: Sequence[Row], *, since: datetime, until: datetime, minimum: Mapping[Split, int]) -> None:
    """All checks, cheapest first. Raises Refused."""
    check_enough(rows, minimum)
    check_unique(rows)
    check_window(rows, since, until)
    check_units(rows)
    check_requests(rows)
    check_leaks(rows)


def check_enough(rows: Sequence[Row], minimum: Mapping[Split, int]) -> None:
    have = Counter(row.split for row in rows)
    short = [f"{split.value} has {have[split]} of {least}" for split, least in minimum.items() if have[split] < least]
    if short:
        raise Refused(
            f"not enough rows with a target: {', '.join(short)}",
            cure="widen the window (an earlier --since), or wait until more people have answered",
        )


def check_unique(rows: Sequence[Row]) -> None:
    _refuse(
        "example ids that occur twice",
        [name for name, count in Counter(row.example.example_id for row in rows).items() if count > 1],
        cure="let Task.examples make one example an episode",
    )


def check_window(rows: Sequence[Row], since: datetime, until: datetime) -> None:
    """``since <= occurred_at < until``."""
    _refuse(
        f"rows outside the window {since.isoformat()} to {until.isoformat()}",
        [row.example.example_id for row in rows if not since <= row.example.occurred_at < until],
        cure="load only episodes whose first decision lies in the window",
    )


def check_units(rows: Sequence[Row]) -> None:
    """No unit in two splits, none in two slices."""
    places = defaultdict(set)
    for row in rows:
        places[row.example.unit_id].add((row.split, row.slice))
    _refuse(
        "units in two splits",
        sorted(unit for unit, found in places.items() if len(found) > 1),
        cure="split by datasets.split.split_of, which reads nothing but the unit",
    )


def check_requests(rows: Sequence[Row]) -> None:
    """The request that a row carries is the one that the policy decided on."""
    _refuse(
        "rows whose request is not the one in the log",
        [row.example.example_id for row in rows if digest(row.example.request) != row.request_digest],
        cure="let Task.examples pass episode.request on, unchanged",
    )


def check_leaks(rows: Sequence[Row]) -> None:
    """No target field lies in the request in more than `LEAK_SHARE` of the rows: a composite value anywhere
    in it, a plain one under the same name at the top."""
    found: Counter[str] = Counter()
    for row in rows:
        found.update(_leaks(row.example.request, row.example.target))
    leaking = sorted(name for name, count in found.items() if count > LEAK_SHARE * len(rows))
    if leaking:
        raise Refused(
            f"the target {', '.join(leaking)} lies in the request in {found[leaking[0]]} of {len(rows)} rows",
            cure="build the request before people answer, without what they chose",
        )


def _leaks(request: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    composite = {name: canonical_json(v) for name, v in target.items() if isinstance(v, (Mapping, list, tuple)) and v}
    parts = set(_parts(json.loads(canonical_json(request)))) if composite else set()
    plain = [name for name, v in target.items() if name not in composite and not isinstance(v, (Mapping, list, tuple))]
    same = [name for name in plain if _same(request.get(name), target[name])]
    return [*(name for name, text in composite.items() if text in parts), *same]


def _same(left: Any, right: Any) -> bool:
    return left is not None and canonical_json(left) == canonical_json(right)


def _parts(value: Any) -> Iterator[str]:
    """Canonical JSON of every composite value inside `value`."""
    if isinstance(value, (dict, list)):
        yield canonical_json(value)
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part)


def _refuse(what: str, names: Sequence[str], *, cure: str) -> None:
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise Refused(f"{what}: {', '.join(names[:_SHOWN])}{more}", cure=cure)
