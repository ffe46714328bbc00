"""One row: prompt, schema, parse, violations, repair. What training, replay and serving ask of a task."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from bakeoff.conformance.declared import note, wrong
from bakeoff.conformance.instances import NotCovered, instances
from bakeoff.conformance.model import Finding, attempt
from bakeoff.errors import UsageError
from bakeoff.fingerprint import as_stored, canonical_json
from bakeoff.inference.encode import OpenSchemaError, closed_values, json_text
from bakeoff.task import Answer, Completion, Episode, JsonSchema, Message, ParseError, Request, Task, Violation

Value = TypeVar("Value")

GARBAGE = (
    "", " ", "null", "[]", "{}", "{", '""', "0", "NaN", "no JSON at all", '{"a": 1}', '{"a": {"b": [null]}}',
    '[{"a": 1}, 2]', "\N{REPLACEMENT CHARACTER}", "1" * 5_000, "[" * 2_000,
)  # fmt: skip
"""What models say when they say something else."""
_TRIED = 5  # answers of the schema a row


def steady(check: str, row: str, function: Callable[[Any], Value], given: Any) -> tuple[Value, list[Finding]]:
    """Calls `function` twice, each time on a copy of `given`; says where it changes the copy or answers otherwise
    the second time. Raises Broken."""
    before = canonical_json(given)
    copies = [json.loads(before), json.loads(before)]
    answers = [
        attempt(
            check,
            row,
            partial(function, copy),
            expected="an answer for every row of the log",
            change=f"see what this row has that {check} does not expect; fields may be missing in older requests",
        )
        for copy in copies
    ]
    found = []
    if canonical_json(copies[0]) != before:
        found.append(
            wrong(
                check,
                f"changed the {'answer' if check == 'repair' else 'request'} that it was given",
                expected="a pure function: what was decided on is stored as it was",
                change="work on a copy",
                row=row,
            )
        )
    if repr(answers[0]) != repr(answers[1]):
        found.append(
            wrong(
                check,
                f"answered the same request differently: {_part(answers[0])} and then {_part(answers[1])}",
                expected="the same answer to the same request",
                change="read no clock, no random number and no state; sort what comes out of a set",
                row=row,
            )
        )
    return answers[0], found


def prompt(task: Task, row: str, request: Request, seen: Counter[str]) -> Iterator[Finding]:
    """`render` and `need`."""
    messages, found = steady("render", row, lambda copy: list(task.render(copy)), request)
    yield from found
    if not messages or not all(isinstance(m, Message) and isinstance(m.content, str) for m in messages):
        yield wrong(
            "render",
            f"gave {_part(messages)}",
            expected="at least one Message with a text",
            change="return [Message(role='user', content=...)]",
            row=row,
        )
        return
    if messages[-1].role != "user":
        yield note(
            "render",
            f"the last message is of role {messages[-1].role!r}",
            expected="'user': the model answers next",
            change="put what it should answer to at the end",
            row=row,
        )
    seen["prompts rendered"] += 1


def beginning(task: Task, requests: Sequence[Request]) -> Iterator[Finding]:
    """System messages are one text for all requests: a local engine reads them once, not with every prompt."""
    found: set[str] = set()
    for request in requests:
        try:
            messages = task.render(request)
            found.add("".join(message.content for message in messages if message.role == "system"))
        except Exception:  # `prompt` says so
            return
    if len(found) > 1:
        yield note(
            "render",
            f"the system message has {len(found)} texts over {len(requests)} rows",
            expected="one for all requests: a local engine reads it once and shares it",
            change="move what differs from request to request into the user message",
        )


def need(task: Task, row: Episode, row_id: str) -> Iterator[Finding]:
    found, findings = steady("need", row_id, task.need, row.request)
    yield from findings
    if not isinstance(found, str) or not found:
        yield wrong(
            "need",
            f"is {found!r}",
            expected="a text that is not empty",
            change="name the need of the unit, for instance its week: '2025-01-06'",
            row=row_id,
        )
    elif row.need_id and row.need_id != found:
        yield wrong(
            "need",
            f"is {found!r}, the log says {row.need_id!r}",
            expected="what the log says: decisions of one need belong together",
            change="leave `need` as it was; where its meaning must change, change request_version too",
            row=row_id,
        )


def answers(
    task: Task, row: Episode, row_id: str, seen: Counter[str], *, allowed: frozenset[str] = frozenset()
) -> Iterator[Finding]:
    """`answer_schema`, `parse`, `violations` and `repair`, over what the schema allows and what the log holds.
    `allowed` are rules that no answer to this request could keep."""
    schema, found = steady("answer_schema", row_id, task.answer_schema, row.request)
    yield from found
    about_schema = list(_schema(schema, row_id))
    yield from about_schema
    yield from _garbage(task, row.request, row_id)
    parsed: list[Answer] = []
    if not any(finding.grade == "wrong" for finding in about_schema):
        yield from _readable(task, row.request, schema, row_id, parsed, seen)
    yield from _said_before(task, row, row_id, seen)
    served = served_answer(row)
    if served is not None:
        yield from _logged(task, row, row_id, served, seen)
    for answer in [*parsed, *([served] if served is not None else [])]:
        yield from _rules(task, row.request, answer, row_id, seen, allowed)


def served_answer(row: Episode) -> Answer | None:
    """What the log says was served; None where it does not say."""
    found = row.decision.payload.get("answer")
    return found if isinstance(found, Mapping) else None


# ---- the schema ---------------------------------------------------------------------------------------------------


def _schema(schema: JsonSchema, row: str) -> Iterator[Finding]:
    said = invalid(schema)
    if said is not None:
        yield wrong(
            "answer_schema",
            said,
            expected="a JSON Schema 2020-12 that a grammar can enforce",
            change="keep to object, array, enum, const, anyOf, string, integer, number, boolean and null",
            row=row,
        )
        return
    try:
        closed_values(schema)
    except OpenSchemaError as error:
        yield note(
            "answer_schema",
            str(error).splitlines()[0],
            expected="a closed object: every property required, an enum or a const, nothing else allowed",
            change="close it over the request's options; `bakeoff train` needs that, python policies do not",
            row=row,
        )


def invalid(schema: object) -> str | None:
    """Why `schema` is none; None where it is one. As jsonschema and llguidance say, where they are installed."""
    try:
        text = json_text(as_stored(schema))
    except (TypeError, ValueError) as error:
        return f"is no JSON: {error}"
    if not isinstance(schema, Mapping):
        return f"is a {type(schema).__name__}, no object"
    return _as_jsonschema_says(json.loads(text)) or _as_llguidance_says(text)


def _as_jsonschema_says(schema: Any) -> str | None:
    try:
        from jsonschema import Draft202012Validator, SchemaError
    except ImportError:
        return None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema: {error.message}"
    return None


def _as_llguidance_says(text: str) -> str | None:
    try:
        from llguidance import LLMatcher
    except ImportError:
        return None
    said = str(LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(text)))
    return f"cannot be enforced: {said.splitlines()[0]}" if said else None


# ---- parse ----------------------------------------------------------------------------------------------------------


def _parse(task: Task, request: Request, completion: Completion) -> Any:
    """None where `parse` says, as it should, that it cannot read it."""
    try:
        return task.parse(json.loads(canonical_json(request)), completion)
    except ParseError:
        return None


def _garbage(task: Task, request: Request, row: str) -> Iterator[Finding]:
    for text in GARBAGE:
        try:
            answer = _parse(task, request, Completion(text=text))
        except Exception as error:
            yield wrong(
                "parse",
                f"raised {type(error).__name__} on {_part(text)}: {_part(str(error))}",
                expected="ParseError for whatever cannot be read",
                change="raise ParseError(...) from error, also for JSON of another shape",
                row=row,
            )
            return
        if answer is not None and not isinstance(answer, Mapping):
            yield _no_answer(answer, row)
            return


def _readable(
    task: Task, request: Request, schema: JsonSchema, row: str, parsed: list[Answer], seen: Counter[str]
) -> Iterator[Finding]:
    """What the schema lets a model say can be read; the answers are put into `parsed`."""
    if not schema.get("properties") and schema.get("type") == "object":
        return  # it says nothing: `_schema` notes that
    try:
        allowed = instances(schema, _TRIED)
    except NotCovered:
        return
    for value in allowed:
        completion = Completion(text=json_text(value))
        answer = attempt(
            "parse",
            row,
            partial(_parse, task, request, completion),
            expected="an answer, or ParseError",
            change="raise ParseError(...) from error",
        )
        if answer is None:
            yield wrong(
                "parse",
                f"cannot read {_part(completion.text)}, which answer_schema allows",
                expected="every answer that the schema allows can be read",
                change="let parse and answer_schema agree; a constrained model says nothing but this",
                row=row,
            )
        elif not isinstance(answer, Mapping):
            yield _no_answer(answer, row)
        else:
            yield from storable("parse", answer, row)
            parsed.append(answer)
            seen["answers parsed"] += 1


def _said_before(task: Task, row: Episode, row_id: str, seen: Counter[str]) -> Iterator[Finding]:
    """A model's own words of the log are still read as they were."""
    payload = row.decision.payload
    raw, before = payload.get("raw_answer"), payload.get("parsed_answer")
    if not payload.get("probabilities") or not isinstance(raw, str) or before is None:
        return
    # Without the probabilities an answer may rightly be another; that it can be read is what counts.
    seen["logged completions"] += 1
    said = attempt(
        "parse",
        row_id,
        partial(_parse, task, row.request, Completion(text=raw)),
        expected="ParseError for whatever cannot be read",
        change="raise ParseError(...) from error, also for what models of the log said",
    )
    if said is None:
        yield note(
            "parse",
            f"cannot read what a model said for this row: {_part(raw)}",
            expected="logged completions stay readable while prompt_version is the same",
            change="change prompt_version together with parse or answer_schema",
            row=row_id,
        )


def _no_answer(answer: object, row: str) -> Finding:
    return wrong(
        "parse",
        f"gave a {type(answer).__name__}",
        expected="a mapping of JSON values",
        change="return a dict, or raise ParseError",
        row=row,
    )


# ---- rules ----------------------------------------------------------------------------------------------------------


def _logged(task: Task, row: Episode, row_id: str, served: Answer, seen: Counter[str]) -> Iterator[Finding]:
    seen["logged answers"] += 1
    given, _ = steady("violations", row_id, lambda copy: list(task.violations(copy, served)), row.request)
    broken = [each for each in given if isinstance(each, Violation)]  # `_violations` finds the others
    for rule in sorted({violation.rule for violation in broken}):
        seen[f"logged answers that breach {rule}"] += 1
    if broken:
        yield note(
            "violations",
            f"the answer that was served breaches {', '.join(sorted({violation.rule for violation in broken}))}: "
            f"{broken[0].detail}",
            expected="no breach in what people saw, unless nothing checked it at the time",
            change="see whether the rule is right; served answers of `decide` are checked before they are served",
            row=row_id,
        )


def _rules(
    task: Task, request: Request, answer: Answer, row: str, seen: Counter[str], allowed: frozenset[str]
) -> Iterator[Finding]:
    broken, found = steady("violations", row, lambda copy: list(task.violations(copy, answer)), request)
    yield from found
    ill = list(_violations(broken, row))
    yield from ill
    if not broken or ill:
        return
    seen["answers with violations"] += 1
    repaired, found = steady("repair", row, lambda copy: task.repair(request, copy, broken), answer)
    yield from found
    yield from storable("repair", repaired, row)
    after = steady("violations", row, lambda copy: list(task.violations(copy, repaired)), request)[0]
    left = [violation for violation in after if violation.rule not in allowed]
    if left:
        yield wrong(
            "repair",
            f"leaves {', '.join(sorted({violation.rule for violation in left}))}: {left[0].detail}",
            expected="no violation: the repaired answer is what people see",
            change="drop or replace whatever breaches a rule; an empty answer may be the way out",
            row=row,
        )
    else:
        seen["answers repaired"] += 1


def _violations(broken: Sequence[Any], row: str) -> Iterator[Finding]:
    for each in broken:
        if not isinstance(each, Violation) or not isinstance(each.rule, str) or not each.rule:
            yield wrong(
                "violations",
                f"gave {_part(each)}",
                expected="Violation(rule='allergy', where=..., detail=...) with a stable rule id",
                change="name the rule; its frequency is counted by this id",
                row=row,
            )
            return


def storable(check: str, value: object, row: str) -> Iterator[Finding]:
    """The log and a dataset can keep `value`."""
    try:
        kept = as_stored(value)
    except (TypeError, ValueError, UsageError) as error:
        yield wrong(
            check,
            f"gave what cannot be stored: {error}",
            expected="JSON values without NaN, infinity and NUL",
            change="turn dates into text and numpy numbers into Python's",
            row=row,
        )
        return
    if not isinstance(kept, dict):
        yield wrong(check, f"gave a {type(value).__name__}", expected="a mapping", change="return a dict", row=row)


def _part(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
