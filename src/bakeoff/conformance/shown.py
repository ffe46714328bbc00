"""What gates and reports ask of a task: kinds of rows, hard requests, and words for a reader."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bakeoff.conformance import answers
from bakeoff.conformance.answers import steady, storable
from bakeoff.conformance.declared import note, wrong
from bakeoff.conformance.model import Finding, attempt, until_broken
from bakeoff.conformance.rows import bare
from bakeoff.task import Answer, Episode, Example, Request, StressCase, Task

_HARDENED = 2  # requests that stress cases are made from


# ---- segments -------------------------------------------------------------------------------------------------------


def segmented(task: Task, made: Sequence[Example]) -> Iterator[Finding]:
    """`segments`: the same features for every row, each with a text of few values. Raises Broken."""
    values: defaultdict[str, list[str]] = defaultdict(list)
    first: set[str] | None = None
    for example in made:
        found, findings = _segments(task, example)
        yield from findings
        if findings:
            return
        first = set(found) if first is None else first
        if set(found) != first:
            yield wrong(
                "segments",
                f"names {_named(found)} here and {_named(first)} for another row",
                expected="the same features for every row",
                change="give each feature a value always, for instance 'unknown'",
                row=example.example_id,
            )
            return
        for name, value in found.items():
            values[name].append(value)
    yield from _row_by_row(values)


def _segments(task: Task, example: Example) -> tuple[Mapping[str, str], list[Finding]]:
    ident = example.example_id
    found, findings = steady(
        "segments", ident, lambda copy: task.segments(replace(example, request=copy)), example.request
    )
    texts = isinstance(found, Mapping) and all(_is_text(part) for pair in found.items() for part in pair)
    if not texts:
        findings.append(
            wrong(
                "segments",
                f"gave {found!r}"[:120],
                expected="texts by name of the feature, none empty, for instance {'region': 'north'}",
                change="str(...) of each value, numbers in bands ('3-4')",
                row=ident,
            )
        )
    return found, findings


def _row_by_row(values: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    lonely = sorted(name for name, found in values.items() if len(found) > 5 and len(set(found)) == len(found))
    if lonely:
        yield note(
            "segments",
            f"{_named(lonely)} has another value on every row",
            expected="few values: a gate judges each of them by its own households",
            change="leave ids and dates out; put numbers into bands",
        )


# ---- stress ---------------------------------------------------------------------------------------------------------


def stressed(task: Task, requests: Sequence[Request], seen: Counter[str]) -> Iterator[Finding]:
    """`stress`: the same cases again and in any order of the requests, each of which the task itself survives."""
    cases: list[StressCase] = []
    yield from until_broken(_cases(task, requests[:_HARDENED], cases))
    for number, case in enumerate(cases):
        seen["stress cases"] += 1
        row = f"stress case {number + 1} ({case.name})"
        yield from until_broken(_case(task, row, case))


def _cases(task: Task, requests: Sequence[Request], cases: list[StressCase]) -> Iterator[Finding]:
    """The cases are put into `cases`, where they are ones."""
    given = {"requests": list(requests)}
    made, found = steady("stress", "stress cases", lambda copy: list(task.stress(copy["requests"])), given)
    yield from found
    ill = next((each for each in made if not isinstance(each, StressCase) or not _is_text(each.name)), None)
    if ill is not None:
        yield wrong(
            "stress",
            f"gave {ill!r}"[:120],
            expected="StressCase(name=..., request=...) with a name that is not empty",
            change="name what makes the request hard",
        )
        return
    unstorable = [finding for case in made for finding in storable("stress", case.request, f"stress ({case.name})")]
    yield from unstorable
    if unstorable:
        return
    cases += made
    turned = attempt(
        "stress",
        "stress cases",
        lambda: list(task.stress(list(requests)[::-1])),
        expected="cases of any requests",
        change="see what is different in another order",
    )
    if turned != made:
        yield note(
            "stress",
            "makes other cases of the same requests in another order",
            expected="the same: a gate is repeated on rows that come as they come",
            change="sort the requests first, for instance by bakeoff.fingerprint.digest",
        )


def _case(task: Task, row: str, case: StressCase) -> Iterator[Finding]:
    seen: Counter[str] = Counter()  # what stress shows is not what the log shows
    episode = bare(task, row, case.request)
    yield from answers.prompt(task, row, case.request, seen)
    yield from answers.answers(task, episode, row, seen, allowed=case.allowed)
    yield from told(task, episode, row, seen)


# ---- words for a reader ---------------------------------------------------------------------------------------------


def told(task: Task, row: Episode, ident: str, seen: Counter[str]) -> Iterator[Finding]:
    """`tell` and `tell_answer`: of the request, of what was served, and of an answer that could not be read."""
    situation, found = steady("tell", ident, lambda copy: list(task.tell(copy)), row.request)
    yield from found
    if not all(_is_pair(each) for each in situation):
        yield wrong(
            "tell",
            f"gave {situation!r}"[:120],
            expected="pairs of texts: a label, and what there is to say",
            change="for instance [('Evenings', 'Mon 30 min, Tue 45 min')]",
            row=ident,
        )
    served = answers.served_answer(row)
    for answer in ({}, *([served] if served is not None else [])):
        yield from _told_answer(task, row.request, answer, ident)
    seen["situations told"] += 1


def _told_answer(task: Task, request: Request, answer: Answer, ident: str) -> Iterator[Finding]:
    lines, found = steady("tell_answer", ident, lambda copy: list(task.tell_answer(copy, answer)), request)
    yield from found
    if not all(isinstance(line, str) for line in lines):
        yield wrong(
            "tell_answer",
            f"gave {lines!r}"[:120],
            expected="texts, one for each part of the answer",
            change="put what a reader should know of a part into one line",
            row=ident,
        )


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and _is_text(value[0]) and isinstance(value[1], str)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _named(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or "nothing"
