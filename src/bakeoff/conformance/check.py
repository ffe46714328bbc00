"""The kit itself: a task and some rows in, findings out. Pure, but for what the task does."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import PydanticUserError

from bakeoff.conformance import answers, learning, shown
from bakeoff.conformance.declared import declared, note, protocol, wrong
from bakeoff.conformance.model import Finding, Report, kind, merged, until_broken
from bakeoff.conformance.rows import is_bare
from bakeoff.datasets import reads
from bakeoff.datasets.model import Row, Split
from bakeoff.errors import UsageError
from bakeoff.events.model import check_payload
from bakeoff.fingerprint import canonical_json
from bakeoff.task import Answer, Episode, Example, Role, Task


def check(task: Task, rows: Sequence[Episode]) -> tuple[Finding, ...]:
    """What is wrong with `task`, as `rows` show it; () where nothing is. Never raises for a mistake of the task."""
    return examine(task, rows).findings


def examine(task: Task, rows: Sequence[Episode]) -> Report:
    """The findings, and how much of the task the rows could show."""
    seen: Counter[str] = Counter(rows=len(rows))
    missing = list(protocol(task))
    if missing:
        return Report(task=str(getattr(task, "name", "?")), findings=tuple(missing), seen=seen)
    found = [*until_broken(declared(task)), *_over(task, rows, seen)]
    return Report(task=str(task.name), findings=merged(found), seen=dict(seen))


def _over(task: Task, rows: Sequence[Episode], seen: Counter[str]) -> Iterator[Finding]:
    before = [canonical_json(row.request) for row in rows]
    found = [finding for row in rows for finding in _row(task, row, seen)]
    yield from found
    known = {kind(finding) for finding in found}  # what real rows show needs no hard ones
    stressed = shown.stressed(task, [row.request for row in rows], seen)
    yield from (finding for finding in stressed if kind(finding) not in known)
    yield from until_broken(answers.beginning(task, [row.request for row in rows]))
    lived = [row for row in rows if not is_bare(row)]
    if lived:
        yield from until_broken(_learnt(task, lived, seen))
    for row, was in zip(rows, before, strict=True):
        if canonical_json(row.request) != was:
            yield wrong(
                "request",
                "was changed by examples, outcome or score",
                expected="a request that stays as it was decided on",
                change="work on a copy",
                row=str(row.decision.decision_id),
            )


def _row(task: Task, row: Episode, seen: Counter[str]) -> Iterator[Finding]:
    ident = str(row.decision.decision_id)
    if not is_bare(row):
        yield from until_broken(events(task, row, ident))
        yield from until_broken(learning.outcomes(task, row, ident))
    yield from until_broken(answers.need(task, row, ident))
    yield from until_broken(answers.prompt(task, ident, row.request, seen))
    yield from until_broken(answers.answers(task, row, ident, seen))
    yield from until_broken(shown.told(task, row, ident, seen))


def _learnt(task: Task, rows: Sequence[Episode], seen: Counter[str]) -> Iterator[Finding]:
    made: list[Example] = []
    yield from until_broken(learning.examples(task, rows, made, seen))
    if not made:
        yield note(
            "examples",
            "no row gives an example",
            expected="some: score, supervise and fitted could not be tried",
            change="try more --rows, or rows with outcomes",
        )
        return
    served = {str(row.decision.decision_id): answers.served_answer(row) for row in rows}
    taught: dict[str, Answer] = {}
    values: dict[str, list[float | None]] = {}
    tried: dict[str, list[Answer]] = {}
    for example in made:
        ident = example.example_id
        yield from until_broken(learning.supervised(task, example, seen, taught))
        tried[ident] = [answer for answer in (served.get(ident), taught.get(ident)) if answer is not None]
        yield from until_broken(learning.scored(task, example, tried[ident], values))
        yield from until_broken(learning.edits(task, example, seen))
    yield from until_broken(shown.segmented(task, made))
    yield from until_broken(learning.fits(task, made, tried, seen, values))
    yield from learning.never_there(values)
    yield from _unread(task, made)
    if not seen["rows with labels"]:
        yield note(
            "supervise",
            "gives labels for no row",
            expected="labels where a model should learn; python policies need none",
            change="override supervise and answer_schema before `bakeoff train`",
        )


def _unread(task: Task, made: Sequence[Example]) -> Iterator[Finding]:
    rows = [Row(example=example, split=Split.TRAIN, slice=None, request_digest="") for example in made]
    paths = reads.unused(task, rows)
    if paths:
        yield note(
            "request",
            f"nothing reads {', '.join(paths[:8])}" + (f" and {len(paths) - 8} more" if len(paths) > 8 else ""),
            expected="that what is logged with a request is of use to prompt, rules or scores",
            change="read it in render, or leave it out; an application may also log it for later",
        )


def events(task: Task, row: Episode, ident: str) -> Iterator[Finding]:
    """Events of the log are of declared types, with payloads as declared."""
    kinds = {kind.name: kind for kind in task.event_types}
    for event in (*row.decisions, *row.outcomes):
        kind = kinds.get(event.event_type)
        if kind is None or kind.role is not Role(event.role):
            yield wrong(
                "event_types",
                f"the log has {event.event_type!r} in role {event.role.value!r}",
                expected=f"declared types: {', '.join(f'{each.name} ({each.role.value})' for each in kinds.values())}",
                change="declare it; event types are never taken away while their events are in the log",
                row=ident,
            )
            continue
        try:
            check_payload(kind, event.payload)
        except PydanticUserError:
            continue  # `declared` says that the model cannot be read
        except UsageError as error:
            yield wrong(
                "event_types",
                str(error).splitlines()[0],
                expected="payloads of the log fit their model",
                change="make the field NotRequired or widen its type; a log is not rewritten",
                row=ident,
            )
