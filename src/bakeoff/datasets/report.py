"""dataset_summary.md: what a dataset holds, for people who never saw one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from bakeoff.datasets.drift import Comparison, Drift, called, compare, percent, sentence
from bakeoff.datasets.model import VERSIONS
from bakeoff.task import Task

_NAMED = 12  # fields named in a note
_TOLD = 8  # columns whose drift is told in words

Lines = Iterable[Sequence[object]]


def markdown(schema: pa.Schema, task: Task, about: Mapping[str, Any], previous: Mapping[str, Any] | None = None) -> str:
    """Rows, fields, tasks, targets, notes; what changed since the `previous` dataset; then the counts behind them.
    `about` and `previous` are the ``dataset`` parts of two schema.json."""
    found = about["summary"]
    names: Mapping[str, str] = found["names"]
    return "\n".join(
        [
            f"# Dataset {task.name} / {about['date']}",
            "",
            f"- **Rows**: {about['rows']:,} of {found['units']:,} units",
            f"- **Fields**: {', '.join(f'`{field.name}`' for field in schema)} (each in `schema.json`)",
            f"- **Tasks**: {found['title']}",
            f"- **Targets**: {', '.join(found['targets'])}",
            "- **Notes**:",
            *(f"  - {note}" for note in _notes(about)),
            "",
            *_drift(about, previous),
            *_table("Splits (by hash of the unit)", ("split", "rows", "units"), _splits(found)),
            *_taught(found),
            *_views(found["views"]),
            *_neutral(found["neutral"], names),
            *_table("Who proposed what people reacted to", ("policy version", "rows"), _proposers(found, names)),
            *_table("Origin", ("origin", "rows"), found["origin"].items()),
            *_table("Who is in it", ("field", "most frequent values"), _segments(found["profile"])),
            *_table("Left out", ("reason", "episodes"), found["excluded"].items()),
        ]
    )


def drift_table(found: Sequence[Drift]) -> list[dict[str, Any]]:
    """Small rows for a table, greatest first."""
    return [
        {
            "column": called(drift.column),
            "reading": drift.word,
            "PSI": f"{drift.psi:.3f}",
            "rows that differ": percent(drift.total_variation),
            "median": _medians(drift),
            "no value": _before_after(*map(percent, drift.nulls)),
        }
        for drift in found
    ]


def told(comparison: Comparison) -> list[str]:
    """What moved, one sentence a column; columns that say the same (a segment and the request's field that it comes
    from) only once."""
    said: dict[str, str] = {}
    for drift in comparison.moved:
        text = sentence(drift)
        said.setdefault(text.partition(": ")[2], f"{text} ({drift.word})")
    lines = list(said.values())
    return lines[:_TOLD] + ([f"and {len(lines) - _TOLD} more columns, see the table"] if len(lines) > _TOLD else [])


def _notes(about: Mapping[str, Any]) -> Iterator[str]:
    found = about["summary"]
    yield f"window: first decisions from {about['since']} to before {about['until']}"
    yield f"content digest `{about['digest']}`"
    yield "versions: " + ", ".join(f"{name.removesuffix('_version')} {found[name]}" for name in VERSIONS)
    yield f"answered by a fallback: {found['fell_back']:,} rows (`metadata.fell_back`); by default not learnt from"
    own = found["self_generated"]
    share = percent(own["share"])
    yield f"self-generated: {own['rows']:,} rows ({share}) began as the answer of a model that we trained"
    if found["outside_options"] is not None:
        outside = found["outside_options"]
        yield f"accepted though no option: {outside:,} (`metadata.outside_options`); they carry no loss"
    yield "checks passed: " + "; ".join(found["checks"])
    if found["unread"]:
        yield f"nothing of the task reads {_named(found['unread'])} (seen in a sample)"
    if found["undocumented"]:
        count = len(found["undocumented"])
        lack = "1 field has" if count == 1 else f"{count} fields have"
        yield f"{lack} no meaning in `Task.fields`: {_named(found['undocumented'])}"
    else:
        yield "every field has a meaning in `schema.json`"


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(f"`{path}`" for path in paths[:_NAMED]) + more


def _drift(about: Mapping[str, Any], previous: Mapping[str, Any] | None) -> Iterator[str]:
    if previous is None or "profile" not in previous["summary"]:
        return
    comparison = compare(previous["summary"]["profile"], about["summary"]["profile"])
    rows = f"{previous['rows']:,} rows then, {about['rows']:,} now"
    yield from (f"## What changed since {previous['date']}", "", f"{verdict(comparison)} ({rows})", "")
    lines = [*told(comparison), *unlike(comparison)]
    yield from (*(f"- {line}" for line in lines), *([""] if lines else []))
    shown = [drift for drift in comparison.drifts if drift.word != "stable"]
    if shown:
        table = drift_table(shown)
        yield from _rows(tuple(table[0]), (tuple(row.values()) for row in table))
        yield "PSI below 0.1 is stable, up to 0.25 moved, beyond moved much. 'Too few units': chance alone may do that."
        yield ""


def verdict(comparison: Comparison) -> str:
    """How many columns moved, in one line."""
    moved, few = len(comparison.moved), sum(drift.word == "too few units" for drift in comparison.drifts)
    stable = len(comparison.drifts) - moved - few
    unclear = f", {few} may have (too few units to tell)" if few else ""
    return f"Of {len(comparison.drifts)} compared columns {moved} moved{unclear}; {stable} are stable."


def unlike(comparison: Comparison) -> Iterator[str]:
    """Columns that only one side has, or that are of another kind."""
    for what, names in (("new columns", comparison.added), ("columns that are gone", comparison.gone)):
        if names:
            yield f"{what}: {_named(names)}"
    yield from comparison.retyped


def _splits(found: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    for name, rows in found["splits"].items():
        yield name, rows, found["units_by_split"][name]


def _taught(found: Mapping[str, Any]) -> Iterator[str]:
    balance = found["class_balance"]
    if not balance["labels"]:
        return
    lines = [(f"`{value}`", percent(share)) for value, share in balance["values"].items()]
    lines += [("(other values)", percent(balance["other_values"]))] if balance["other_values"] else []
    yield from _table("What a model is taught (class balance)", ("right answer", "share of the labels"), lines)
    silent = balance["unsupervised"]
    nothing = "" if silent is None else f" Of the answer's places {percent(silent)} carry no loss: nothing is known."
    yield f"From a sample of {balance['sample']:,} rows of the train split.{nothing}"
    yield ""


def _views(about: Mapping[str, Any]) -> Iterator[str]:
    if not about["sample"]:
        return
    mean = "" if about["mean_edit_cost"] is None else f", {about['mean_edit_cost']:.2f} on average"
    lines = [
        ("supervised target", about["supervised"], "what the model should have answered"),
        ("preference pair", about["preferences"], "what people kept over what they were shown"),
        ("edit cost", about["edit_costs"], f"how much people changed{mean}"),
    ]
    yield from _table(
        f"Ways to learn from a row (sample of {about['sample']:,} rows of the train split)",
        ("view", "rows", "what"),
        lines,
    )


def _proposers(about: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    return ((names.get(ident, ident), rows) for ident, rows in about["proposed_by"].items())


def _neutral(about: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    none = "a version that has proposed nothing yet"
    lines = [(names.get(one, one), none, found["rows"], found["test"]) for one, found in about["to_one"].items()]
    lines += [(*(names.get(each, each) for each in f["versions"]), f["rows"], f["test"]) for f in about["to_both"]]
    yield from _table("Neutral rows", ("comparing", "with", "rows", "in the test split"), lines)
    yield (
        "People keep most of what they are shown, so a row favours whoever proposed it. Versions are compared on rows "
        f"that neither of them proposed. {about['unaided']:,} rows were built without a proposal, "
        f"{about['explorer']:,} were proposed at random."
    )
    yield ""


def _segments(profile: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Columns of the metadata with few values, without provenance."""
    for name, column in profile["columns"].items():
        if not name.startswith("metadata.") or name.endswith(("_id", "proposed_by", "origin", "fell_back")):
            continue
        if column["kind"] == "category":
            shares = [f"{value} {percent(count / column['rows'])}" for value, count in column["top"][:5]]
            yield called(name), ", ".join(shares) + (", ..." if column["distinct"] > 5 else "")
        elif column["kind"] == "number" and not name.endswith(("probability", "propensity")):
            low, median, high = (column["deciles"][at] for at in (0, 5, 10))
            yield called(name), f"{low:g} everywhere" if low == high else f"{low:g} to {high:g}, median {median:g}"
        elif column["kind"] == "date":
            yield called(name), f"{column['first']} to {column['last']}"


def _medians(drift: Drift) -> str:
    before, after = ("-" if value is None else f"{value:g}" for value in drift.medians)
    return _before_after(before, after)


def _before_after(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _table(title: str, head: tuple[str, ...], lines: Lines) -> list[str]:
    body = list(_rows(head, lines))
    return [f"## {title}", "", *body] if body else []


def _rows(head: tuple[str, ...], lines: Lines) -> Iterator[str]:
    body = [" | ".join(f"{cell:,}" if isinstance(cell, int) else _cell(cell) for cell in line) for line in lines]
    if body:
        rule = " | ".join("---" for _ in head)
        yield from (f"| {line} |" for line in (" | ".join(head), rule, *body))
        yield ""


def _cell(value: object) -> str:
    """A value may hold what Markdown would take for a border."""
    return str(value).replace("|", "\\|").replace("\n", " ")
