"""What needs came to, in PostgreSQL: one row per need, written by `fold`, added up per unit by the server and read as
vectors. Derived from the log; the caller owns the transaction."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import aiosql
import numpy as np
import numpy.typing as npt
from psycopg import Connection

from bakeoff.experiments.cohort import Cohort, Series
from bakeoff.experiments.model import ARMS, Arm, ExperimentSpec
from bakeoff.experiments.needs import NeedOutcome
from bakeoff.stats.quantile_difference import Rows
from bakeoff.task import Metric

queries = aiosql.from_path(Path(__file__).with_name("outcomes.sql"), "psycopg")
Conn = Connection[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """How far the log of an experiment is folded."""

    shape: str  # digest of the metrics and their windows
    metrics: Sequence[str]  # in the order of the stored values
    received_until: datetime  # everything that arrived before is in it
    counted: int  # events that arrived before


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What a unit did before it met the test, per metric."""

    unit_id: str
    sums: Sequence[float]
    needs: Sequence[int]


def lock(conn: Conn, experiment_id: str) -> None:
    """One fold of an experiment at a time; another one waits for the end of this transaction."""
    queries.lock(conn, experiment_id=experiment_id)


def fold(conn: Conn, experiment_id: str) -> Fold | None:
    row = queries.fold(conn, experiment_id=experiment_id)
    return None if row is None else Fold(**{name: row[name] for name in Fold.__slots__})


def put_fold(conn: Conn, experiment_id: str, fold: Fold) -> None:
    values = {name: getattr(fold, name) for name in Fold.__slots__}
    queries.put_fold(conn, experiment_id=experiment_id, **values | {"metrics": list(fold.metrics)})


def forget(conn: Conn, experiment_id: str) -> None:
    """Everything derived is gone; the next fold makes it anew from the log."""
    queries.forget_needs(conn, experiment_id=experiment_id)
    queries.forget_baselines(conn, experiment_id=experiment_id)


def remove_needs(conn: Conn, experiment_id: str, keys: Iterable[tuple[str, str]]) -> None:
    """Of (unit, need)."""
    pairs = list(keys)
    queries.remove_needs(
        conn, experiment_id=experiment_id, units=[unit for unit, _ in pairs], needs=[need for _, need in pairs]
    )


def need_row(experiment_id: str, one: NeedOutcome) -> bytes:
    """As `put_needs` reads it: COPY's text format, which is several times faster to write than typed values."""
    unit, need = one.unit_id.translate(_ESCAPES), one.need_id.translate(_ESCAPES)
    stray, began = "t" if one.in_two_arms else "f", one.began_at.isoformat()
    return f"{experiment_id}\t{unit}\t{need}\t{one.variant_id}\t{stray}\t{began}\t{_array(one.measured)}\n".encode()


def put_needs(conn: Conn, rows: BinaryIO) -> None:
    """New rows; those of the same needs must have been removed."""
    _copy(conn, "need_outcomes", rows)


def baseline_row(experiment_id: str, one: Baseline) -> bytes:
    unit = one.unit_id.translate(_ESCAPES)
    return f"{experiment_id}\t{unit}\t{_array(one.sums)}\t{_array(one.needs)}\n".encode()


def put_baselines(conn: Conn, experiment_id: str, rows: BinaryIO) -> None:
    """New rows; and for every other unit that met the test: nothing is known of its past."""
    _copy(conn, "unit_baselines", rows)
    queries.put_empty_baselines(conn, experiment_id=experiment_id)


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _array(values: Iterable[float | None]) -> str:
    return "{" + ",".join(["null" if value is None else repr(value) for value in values]) + "}"


def _copy(conn: Conn, table: str, rows: BinaryIO) -> None:
    rows.seek(0)
    with conn.cursor() as cursor, cursor.copy(f"copy {table} from stdin".encode()) as copy:
        while block := rows.read(1 << 20):
            copy.write(block)


# ---- per unit, as vectors -----------------------------------------------------------------------------------------


def need_values(
    conn: Conn, experiment_id: str, spec: ExperimentSpec, metrics: Sequence[Metric], name: str, *, now: datetime
) -> dict[Arm, Rows]:
    """Every matured value of the metric `name`, per arm; of units that met one arm only."""
    place, hours = next((n, metric.matures_hours) for n, metric in enumerate(metrics, 1) if metric.name == name)
    columns = {
        "treated": ("int2", "is_treated::int"),
        "stray": ("int2", "(bool_or(in_two_arms) over (partition by unit_id))::int"),
        "unit": ("int4", "dense_rank() over (order by unit_id)"),
        "value": ("float8", f"measured[{place}]"),
    }
    window = {"experiment_id": experiment_id, "now": now, "horizon": spec.horizon}
    found = _read(conn, columns, f"where measured[{place}] is not null and {_closed(now, hours)}", window)
    inside = found["stray"] == 0
    arms = {arm: inside & (found["treated"] == (arm == "treated")) for arm in ARMS}
    return {arm: Rows(values=found["value"][has], units=found["unit"][has]) for arm, has in arms.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """Where the series `name` comes from."""

    name: str
    place: int  # in the stored values, from 1
    hours: float  # when a need's value is final
    over: float | None  # count the values above it instead of adding them up
    has_past: bool


def cohort(
    conn: Conn,
    experiment_id: str,
    spec: ExperimentSpec,
    metrics: Sequence[Metric],
    *,
    now: datetime,
    phase_began: datetime,
    last_event_at: datetime | None = None,
) -> Cohort:
    """What exposed units came to by `now`. `metrics`: those that the fold was made with, in its order."""
    sources = list(_sources(spec, metrics))
    window = {"experiment_id": experiment_id, "now": now, "horizon": spec.horizon}
    found = _read(conn, dict(_columns(sources, now, phase_began)), "group by unit_id order by unit_id", window)
    left_out = queries.left_out(conn, experiment_id=experiment_id, now=now)
    return Cohort(
        treated=found["treated"].astype(bool),
        phase=found["phase"],
        in_two_arms=found["in_two_arms"].astype(bool),
        fresh=found["fresh"],
        series={source.name: _series(found, source) for source in sources},
        forced=left_out["forced"],
        unexposed=left_out["unexposed"],
        last_event_at=last_event_at,
    )


def _sources(spec: ExperimentSpec, metrics: Sequence[Metric]) -> Iterator[_Source]:
    for place, metric in enumerate(metrics, 1):
        hours, past = metric.matures_hours, bool(spec.cuped_weeks) and metric.name in spec.compared
        yield _Source(name=metric.name, place=place, hours=hours, over=None, has_past=past)
        for budget in spec.budgets:
            if budget.metric == metric.name and budget.level is not None:
                yield _Source(name=budget.name, place=place, hours=hours, over=budget.maximum, has_past=False)


def _columns(sources: Sequence[_Source], now: datetime, phase_began: datetime) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name -> (type, aggregate over the needs of a unit). The server adds up; nothing else of a need is read."""
    yield "treated", ("int2", "bool_and(is_treated)::int")
    yield "in_two_arms", ("int2", "bool_or(in_two_arms)::int")
    yield "phase", ("int4", "min(phase)")
    yield "fresh", ("int4", f"count(*) filter (where began_at >= '{phase_began.isoformat()}')")
    for hours in {source.hours: None for source in sources}:
        yield f"due {hours}", ("int4", f"count(*) filter (where {_closed(now, hours)})")
    for source in sources:
        value, closed = f"measured[{source.place}]", _closed(now, source.hours)
        if source.over is None:
            yield f"sum {source.name}", ("float8", f"coalesce(sum({value}) filter (where {closed}), 0)")
        else:
            over = f"{value} > {float(source.over)!r}"
            yield f"sum {source.name}", ("float8", f"count(*) filter (where {closed} and {over})")
        yield f"needs {source.name}", ("int4", f"count({value}) filter (where {closed})")
        if source.has_past:
            yield f"sum before {source.name}", ("float8", f"coalesce(min(sums[{source.place}]), 0)")
            yield f"needs before {source.name}", ("int4", f"coalesce(min(needs[{source.place}]), 0)")


def _closed(now: datetime, hours: float) -> str:
    return f"began_at <= '{(now - timedelta(hours=hours)).isoformat()}'"


def _series(found: Mapping[str, npt.NDArray[Any]], source: _Source) -> Series:
    return Series(
        sums=found[f"sum {source.name}"],
        needs=found[f"needs {source.name}"],
        due=found[f"due {source.hours}"],
        sums_before=found[f"sum before {source.name}"] if source.has_past else None,
        needs_before=found[f"needs before {source.name}"] if source.has_past else None,
    )


_BIG_ENDIAN = {"int2": ">i2", "int4": ">i4", "float8": ">f8"}
_HEADER = 19  # signature, flags and an empty extension
_BLOCK = 16_384


def _read(
    conn: Conn, columns: Mapping[str, tuple[str, str]], how: str, window: Mapping[str, Any]
) -> dict[str, npt.NDArray[Any]]:
    """One vector per column. Every column has a fixed width and no nulls, so that rows of the binary COPY can be
    read as they are."""
    wanted = ", ".join(f"({query})::{kind}" for kind, query in columns.values())
    query = f"copy (select {wanted} from ({queries.unit_needs.sql.rstrip(';')}) u {how}) to stdout (format binary)"
    kinds = [_BIG_ENDIAN[kind] for kind, _ in columns.values()]
    fields = [part for i, kind in enumerate(kinds) for part in ((f"length {i}", ">i4"), (f"value {i}", kind))]
    row = np.dtype([("fields", ">i2"), *fields])
    parts: list[list[npt.NDArray[Any]]] = [[np.empty(0, kind[1:])] for kind in kinds]
    for block in _blocks(conn, query, window, row.itemsize):
        rows = np.frombuffer(block, dtype=row)
        for i, kind in enumerate(kinds):
            parts[i].append(rows[f"value {i}"].astype(kind[1:]))
    return {name: np.concatenate(found) for name, found in zip(columns, parts, strict=True)}


def _blocks(conn: Conn, query: str, window: Mapping[str, Any], width: int) -> Iterator[bytes]:
    """Whole rows of a binary COPY."""
    with conn.cursor() as cursor:
        # In one process, so that sums are added up in one order; with room to sort a million needs.
        cursor.execute(
            "select set_config('max_parallel_workers_per_gather', '0', true), set_config('work_mem', '256MB', true)"
        )
    with conn.cursor() as cursor, cursor.copy(query.encode(), window) as copy:
        held = bytearray()
        skip = _HEADER
        for part in copy:
            held += part
            if len(held) >= skip + width * _BLOCK:
                whole = (len(held) - skip) // width * width
                yield bytes(held[skip : skip + whole])
                held, skip = held[skip + whole :], 0
        whole = (len(held) - skip) // width * width
        if whole:
            yield bytes(held[skip : skip + whole])
