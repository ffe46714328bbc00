"""What is learnt from rows and how answers are judged: examples, labels, scores, preferences, fits, outcomes."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bakeoff.conformance.answers import steady, storable
from bakeoff.conformance.declared import note, wrong
from bakeoff.conformance.model import Finding, attempt
from bakeoff.errors import UsageError
from bakeoff.fingerprint import as_stored, canonical_json
from bakeoff.inference.encode import closed_text, closed_values
from bakeoff.task import Answer, Completion, Episode, Example, LeftOut, Metric, Preference, Task

_LONGEST_REASON = 80  # characters
_ON_EVERY_ROW = "an answer for every row of the log"


# ---- examples -----------------------------------------------------------------------------------------------------


def examples(task: Task, rows: Sequence[Episode], made: list[Example], seen: Counter[str]) -> Iterator[Finding]:
    """One row each, in their order, as a stream; the examples are put into `made`. Raises Broken."""
    taken = 0

    def stream() -> Iterator[Episode]:
        nonlocal taken
        for row in rows:
            taken += 1
            yield row

    given = attempt(
        "examples", None, lambda: iter(task.examples(stream())), expected="an iterator", change="write it with yield"
    )
    found: list[Example | LeftOut] = []
    for each in _drawn(given, rows, found):
        found.append(each)
        if len(found) == 1 and taken > 2 and taken == len(rows):
            yield wrong(
                "examples",
                f"read all {taken} episodes before it gave the first row",
                expected="one episode at a time: a log may not fit into memory",
                change="yield inside the loop over episodes",
            )
    if len(found) != len(rows):
        yield wrong(
            "examples",
            f"gave {len(found)} rows for {len(rows)} episodes",
            expected="one for each: an Example, or LeftOut with the reason",
            change="yield LeftOut(example_id=..., reason=...) where there is nothing to learn",
        )
    for row, each in zip(rows, found, strict=False):
        yield from _example(row, each, made, seen)
    yield from _reasons([each.reason for each in found if isinstance(each, LeftOut)])


def _drawn(given: Iterator[Any], rows: Sequence[Episode], found: Sequence[object]) -> Iterator[Any]:
    """What the task gives; Broken names the row that it stopped at."""
    end = object()
    while True:
        at = rows[min(len(found), len(rows) - 1)].decision.decision_id
        each = attempt(
            "examples",
            at,
            lambda: next(given, end),
            expected=_ON_EVERY_ROW,
            change="give LeftOut where an outcome is missing or of another shape",
        )
        if each is end:
            return
        yield each


def _example(row: Episode, each: object, made: list[Example], seen: Counter[str]) -> Iterator[Finding]:
    ident = str(row.decision.decision_id)
    if not isinstance(each, Example | LeftOut):
        yield wrong(
            "examples",
            f"gave a {type(each).__name__}",
            expected="Example or LeftOut",
            change="build bakeoff.task.Example",
            row=ident,
        )
        return
    if each.example_id != ident:
        yield wrong(
            "examples",
            f"example_id is {each.example_id!r}",
            expected=f"the id of the first decision, {ident!r}, in the order of the episodes",
            change="example_id=str(episode.decision.decision_id)",
            row=ident,
        )
    if isinstance(each, LeftOut):
        seen[f"left out: {each.reason}"] += 1
        return
    seen["examples"] += 1
    made.append(each)
    yield from _of_episode(row, each, ident)
    yield from storable("examples", each.target, ident)
    yield from storable("examples", each.metadata, ident)


def _of_episode(row: Episode, example: Example, ident: str) -> Iterator[Finding]:
    same = {
        "unit_id": (example.unit_id, row.unit_id),
        "occurred_at": (example.occurred_at, row.decision.occurred_at),
        "request": (canonical_json(example.request), canonical_json(row.request)),
    }
    for name, (is_, was) in same.items():
        if is_ != was:
            yield wrong(
                "examples",
                f"{name} is not the episode's" + (f": {is_!r}, not {was!r}" if name != "request" else ""),
                expected="unit, time and request of the episode, unchanged",
                change=f"{name}=episode.{'decision.occurred_at' if name == 'occurred_at' else name}",
                row=ident,
            )


def _reasons(reasons: Sequence[str]) -> Iterator[Finding]:
    kinds = set(reasons)
    numbered = re.compile(r"\d{4,}|[0-9a-f-]{20,}")
    wordy = sorted(reason for reason in kinds if len(reason) > _LONGEST_REASON or numbered.search(reason))
    if wordy or (len(reasons) > 5 and len(kinds) == len(reasons)):
        yield wrong(
            "examples",
            f"reasons tell one row from another: {(wordy or sorted(kinds))[0]!r}",
            expected=f"short (at most {_LONGEST_REASON} characters) and the same for all of its kind",
            change="leave ids and numbers out of LeftOut.reason; the summary counts by reason",
        )


# ---- supervise ------------------------------------------------------------------------------------------------------


def supervised(task: Task, example: Example, seen: Counter[str], taught: dict[str, Answer]) -> Iterator[Finding]:
    """Labels are values that the schema allows, and the answer that they make can be read; it is put into `taught`."""
    ident = example.example_id
    labels, found = steady(
        "supervise", ident, lambda copy: task.supervise(replace(example, request=copy)), example.request
    )
    yield from found
    if labels is None:
        return
    seen["rows with labels"] += 1
    schema = steady("answer_schema", ident, task.answer_schema, example.request)[0]
    try:
        text = closed_text(closed_values(schema), dict(labels))
    except (UsageError, TypeError, ValueError, AttributeError) as error:
        yield wrong(
            "supervise",
            str(error).splitlines()[0],
            expected="schema property -> JSON text of a value that the schema allows, for instance '\"yes\"'",
            change="json.dumps the value; leave out properties about which nothing is known",
            row=ident,
        )
        return
    try:
        taught[ident] = task.parse(example.request, Completion(text=text))
    except Exception as error:
        yield wrong(
            "supervise",
            f"the answer that it teaches cannot be read: {type(error).__name__}: {error}",
            expected="parse reads what supervise teaches",
            change="let supervise, answer_schema and parse agree",
            row=ident,
        )


# ---- scores ---------------------------------------------------------------------------------------------------------


def scored(
    task: Task,
    example: Example,
    tried: Sequence[Answer],
    values: dict[str, list[float | None]],
    *,
    check: str = "score",
) -> Iterator[Finding]:
    """`score` over answers, and over the empty one: an answer that could not be read is scored as {}."""
    for answer in [*tried, {}]:
        figures, found = steady(
            check,
            example.example_id,
            partial(_score, task, example, answer),
            example.request,
        )
        yield from found
        yield from figures_of(check, task.metrics, figures, example.example_id)
        for name, value in figures.items():
            values.setdefault(name, []).append(value)


def _score(task: Task, example: Example, answer: Answer, request: Any) -> dict[str, float | None]:
    return dict(task.score(replace(example, request=request), answer))


def outcomes(task: Task, row: Episode, row_id: str) -> Iterator[Finding]:
    figures, found = steady("outcome", row_id, lambda _: dict(task.outcome(row)), {})
    yield from found
    yield from figures_of("outcome", task.outcome_metrics, figures, row_id)


def figures_of(check: str, metrics: Sequence[Metric], figures: Mapping[str, Any], row: str) -> Iterator[Finding]:
    """Exactly the declared metrics, finite and within their bounds."""
    declared = {metric.name: metric for metric in metrics}
    if set(figures) != set(declared):
        lacks, more = sorted(set(declared) - set(figures)), sorted(set(figures) - set(declared))
        told = (f"lacks {', '.join(lacks)}" if lacks else "", f"adds {', '.join(more)}" if more else "")
        yield wrong(
            check,
            "; ".join(filter(None, told)),
            expected="exactly the declared metrics; None where one does not apply",
            change="declare it, or return it",
            row=row,
        )
    for name, value in figures.items():
        metric = declared.get(name)
        if value is None or metric is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            yield wrong(
                check,
                f"{name} is {value!r}",
                expected="a finite number, or None where it does not apply",
                change="float(...); missing is None, never 0 and never NaN",
                row=row,
            )
        elif (metric.low is not None and value < metric.low) or (metric.high is not None and value > metric.high):
            yield wrong(
                check,
                f"{name} is {value}",
                expected=f"{metric.low} to {metric.high}, as it is declared",
                change="correct the number or the declared bounds of the metric",
                row=row,
            )


def never_there(values: Mapping[str, Sequence[float | None]]) -> Iterator[Finding]:
    empty = sorted(name for name, seen in values.items() if all(value is None for value in seen))
    if empty:
        yield note(
            "score",
            f"{', '.join(empty)} had no value on any row",
            expected="a value on most rows: a gate is INCONCLUSIVE where more than 2 % are missing",
            change="look whether these rows can have one; try more --rows",
        )


# ---- preference and edit cost -------------------------------------------------------------------------------------


def edits(task: Task, example: Example, seen: Counter[str]) -> Iterator[Finding]:
    ident = example.example_id
    preferred, found = steady(
        "preference", ident, lambda copy: task.preference(replace(example, request=copy)), example.request
    )
    yield from found
    if isinstance(preferred, Preference):
        seen["preference pairs"] += 1
        yield from storable("preference", preferred.chosen, ident)
        yield from storable("preference", preferred.rejected, ident)
    if (preferred is not None and not isinstance(preferred, Preference)) or (
        isinstance(preferred, Preference) and preferred.chosen == preferred.rejected
    ):
        yield wrong(
            "preference",
            "both answers are the same" if isinstance(preferred, Preference) else f"gave {type(preferred).__name__}",
            expected="Preference(chosen, rejected) of two different answers, else None",
            change="return None where nothing was changed",
            row=ident,
        )
    cost, found = steady(
        "edit_cost", ident, lambda copy: task.edit_cost(replace(example, request=copy)), example.request
    )
    yield from found
    if cost is None:
        return
    seen["rows with an edit cost"] += 1
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost) or cost < 0:
        yield wrong(
            "edit_cost",
            f"is {cost!r}",
            expected="a finite number, 0 or more; None where nothing was proposed",
            change="count what people changed",
            row=ident,
        )


# ---- what metrics learn ---------------------------------------------------------------------------------------------


def fits(
    task: Task,
    made: Sequence[Example],
    tried: Mapping[str, Sequence[Answer]],
    seen: Counter[str],
    values: dict[str, list[float | None]],
) -> Iterator[Finding]:
    """`fitted` on two thirds, then `frozen` and `thawed`: the same scores, and `task` as it was. `tried` are answers
    by example id. Raises Broken."""
    before = _all_scores(task, made, tried)
    train, held_out = [e for n, e in enumerate(made) if n % 3], made[::3]
    try:
        fitted = task.fitted(train, held_out)
    except UsageError as error:
        yield note(
            "fitted",
            f"says: {str(error).splitlines()[0]}",
            expected="a fit; a few rows may be too few",
            change="try more --rows",
        )
        return
    except Exception as error:
        yield wrong(
            "fitted",
            f"raised {type(error).__name__}: {error}",
            expected="the task with what its metrics learn, or UsageError for too few rows",
            change="see what these examples lack",
        )
        return
    if _all_scores(task, made, tried) != before:
        yield wrong(
            "fitted",
            "changed the task that it was called on",
            expected="a new task; the old one scores as before",
            change="return a new object",
        )
    for example in made:
        yield from scored(fitted, example, tried[example.example_id], values, check="fitted")
    yield from _round_trip(task, fitted, made, tried, seen)


def _round_trip(
    task: Task, fitted: Task, made: Sequence[Example], tried: Mapping[str, Sequence[Answer]], seen: Counter[str]
) -> Iterator[Finding]:
    frozen = attempt("frozen", None, fitted.frozen, expected="JSON values, or None", change="return a dict")
    if frozen is None:
        return
    try:
        kept = as_stored(frozen)
    except (TypeError, ValueError) as error:
        yield wrong(
            "frozen",
            f"cannot be kept with the dataset: {error}",
            expected="JSON values",
            change="turn arrays into lists of floats",
        )
        return
    seen["frozen fits"] += 1
    thawed = attempt(
        "thawed", None, lambda: task.thawed(kept), expected="the task as it was fitted", change="read what frozen wrote"
    )
    if _all_scores(thawed, made, tried) != _all_scores(fitted, made, tried):
        yield wrong(
            "thawed",
            "scores otherwise than the task that was frozen",
            expected="task.thawed(task.fitted(...).frozen()) scores as task.fitted(...)",
            change="freeze everything that score reads, without rounding",
        )
    yield from _stranger(task)


def _stranger(task: Task) -> Iterator[Finding]:
    says = "took what nobody froze"
    try:
        task.thawed({"nobody": "froze this"})
    except UsageError:
        return
    except Exception as error:
        says = f"raised {type(error).__name__} on what nobody froze: {error}"
    yield wrong(
        "thawed",
        says,
        expected="UsageError for what another version froze",
        change="freeze a version number and compare it first",
    )


def _all_scores(
    task: Task, made: Sequence[Example], tried: Mapping[str, Sequence[Answer]]
) -> list[Mapping[str, float | None]]:
    return [
        attempt(
            "score",
            example.example_id,
            partial(_score, task, example, answer, example.request),
            expected=_ON_EVERY_ROW,
            change="see what this row has that score does not expect",
        )
        for example in made
        for answer in tried[example.example_id]
    ]
