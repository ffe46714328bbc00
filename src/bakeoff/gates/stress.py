"""Requests made hard on purpose, answered by both policies: what must hold however hard they are."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bakeoff.errors import BakeoffError
from bakeoff.gates.findings import Breach, StressFinding
from bakeoff.inference.model import PolicyAnswer
from bakeoff.task import Request, StressCase

Ask = Callable[[Request], PolicyAnswer]
Broken = Mapping[str, str]
"""Rule -> detail of the first breach in one answer."""
EMPTY, NO_ANSWER = "empty_answer", "no_answer"
_log = logging.getLogger(__name__)


def broken(case: StressCase, ask: Ask) -> Broken:
    """Rules that the answer to `case` breaks before any repair, beyond those that no answer could keep. A policy that
    raises or runs out of time has given no answer; where something outside does not answer, that is raised on."""
    try:
        answered = ask(case.request)
    except BakeoffError:
        raise
    except Exception as error:
        _log.warning("stress request %r: %s: %s", case.name, type(error).__name__, error)
        return {NO_ANSWER: f"{type(error).__name__}: {error}"}
    found: dict[str, str] = {}
    for violation in answered.violations:
        if violation.rule not in case.allowed:
            where = f"{violation.where}: " if violation.where else ""
            found.setdefault(violation.rule, f"{where}{violation.detail}")
    if not case.allowed and answered.parsed is not None and _is_empty(answered.parsed):
        found.setdefault(EMPTY, "the answer has nothing in it")
    return found


def findings(
    cases: Sequence[StressCase], candidate: Sequence[Broken], incumbent: Sequence[Broken] | None
) -> tuple[StressFinding, ...]:
    """Cases of one name together, in the order of the cases. `incumbent` None: it cannot be asked, so it excuses
    nothing."""
    excused = incumbent if incumbent is not None else [{} for _ in cases]
    new = [
        {rule: detail for rule, detail in ours.items() if rule not in theirs}
        for ours, theirs in zip(candidate, excused, strict=True)
    ]
    names = list(dict.fromkeys(case.name for case in cases))
    found = []
    for name in names:
        at = [n for n, case in enumerate(cases) if case.name == name]
        found.append(
            StressFinding(
                name=name,
                requests=len(at),
                candidate=_breaches([candidate[n] for n in at]),
                incumbent=None if incumbent is None else _breaches([incumbent[n] for n in at]),
                new=_breaches([new[n] for n in at]),
            )
        )
    return tuple(found)


def failures(stress: Sequence[StressFinding]) -> list[str]:
    """A sentence for each kind of stress request in which the candidate broke what the incumbent keeps."""
    return [
        f"stress request '{finding.name}': {breach.rule} in {breach.answers} of {finding.requests} answers"
        f"{' which the incumbent keeps' if finding.incumbent is not None else ''} ({breach.detail})"
        for finding in stress
        for breach in finding.new
    ]


def _breaches(answers: Sequence[Broken]) -> tuple[Breach, ...]:
    rules = sorted({rule for each in answers for rule in each})
    return tuple(
        Breach(
            rule=rule,
            answers=sum(rule in each for each in answers),
            detail=next(each[rule] for each in answers if rule in each),
        )
        for rule in rules
    )


def _is_empty(value: Any) -> bool:
    """Whether there is no text, number or truth value anywhere in it."""
    if isinstance(value, Mapping):
        return all(_is_empty(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(_is_empty(each) for each in value)
    return value is None or value == ""
