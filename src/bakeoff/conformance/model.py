"""What the kit says about a task."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is not as the border wants it."""

    check: str  # the part of the task, for instance 'render'
    grade: Literal["wrong", "note"]  # 'note': works, but is worth knowing
    row: str | None  # decision id of the first row that shows it; None: it is about the task itself
    says: str  # what is
    expected: str
    change: str  # what to change
    rows: int = 1  # how many rows show it


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The findings, and what was seen on the way: a kit that met no example has not judged any."""

    task: str
    findings: tuple[Finding, ...]
    seen: Mapping[str, int] = field(default_factory=dict)  # 'rows', 'examples', 'left out: ...' and so on

    @property
    def passed(self) -> bool:
        return not any(finding.grade == "wrong" for finding in self.findings)


class Broken(Exception):  # noqa: N818 - it carries a finding, it is not one of bakeoff's errors
    """A part of the task raised, so that what follows of this row cannot be judged."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.says)
        self.finding = finding


def attempt(check: str, row: str | None, function: Callable[[], Value], *, expected: str, change: str) -> Value:
    """What `function` returns. Raises Broken where it raises anything."""
    try:
        return function()
    except Exception as error:
        says = f"raised {type(error).__name__}: {error}"
        raise Broken(
            Finding(check=check, grade="wrong", row=row, says=says, expected=expected, change=change)
        ) from error


def until_broken(findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; one that a part of the task broke is the last."""
    try:
        yield from findings
    except Broken as broken:
        yield broken.finding


def kind(finding: Finding) -> tuple[Any, ...]:
    """Findings of one kind say the same of different rows."""
    return finding.check, finding.grade, finding.expected, finding.change


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same finding on many rows is one, with their number; wrong ones first, else in the order of the checks."""
    first: dict[tuple[Any, ...], Finding] = {}
    for each in findings:
        known = first.get(kind(each))
        first[kind(each)] = each if known is None else replace(known, rows=known.rows + each.rows)
    return tuple(sorted(first.values(), key=lambda each: each.grade == "note"))
