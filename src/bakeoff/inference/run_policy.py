"""One request through one policy: complete, parse, validate, repair. Replay and serving call this alike."""

import time
from collections.abc import Sequence
from dataclasses import replace

from bakeoff.errors import UsageError
from bakeoff.fingerprint import as_stored, canonical_json
from bakeoff.inference.conform import check_conforms
from bakeoff.inference.model import Decoding, Engine, PolicyAnswer, PolicySpec, Recorded
from bakeoff.inference.python_policy import load_function
from bakeoff.task import Answer, Completion, Message, ParseError, Request, Task, Violation

UNRECORDED = "unrecorded"
"""Rule of the violation that says: the application's own answer to this request is not in the log."""


def run_policy(
    task: Task,
    spec: PolicySpec,
    request: Request,
    *,
    engine: Engine | None,
    deadline_s: float | None = None,
    recorded: Recorded | None = None,
) -> PolicyAnswer:
    """Answers `request` as `spec` says. `engine` is needed where `spec.needs_engine`, `recorded` for kind
    'logged': what the application answered to this request. Where nothing is recorded nothing is known: no answer,
    with the violation 'unrecorded'.

    `deadline_s` is wall-clock seconds for the engine. Raises TimeoutError past it, UsageError where the spec
    cannot be run, Unreachable where its server does not answer; an answer that cannot be read, or that a server gave
    outside of the schema, is no error but the violation 'unparseable'."""
    if spec.engine == "python":
        return _run_python(task, spec, request)
    if spec.engine == "logged":
        return _read_log(task, spec, request, recorded)
    if not spec.needs_engine or engine is None:
        raise UsageError(f"engine {spec.engine!r} needs an engine to run; python policies do not")
    schema, decoding = task.answer_schema(request), spec.decoding or Decoding()
    completion = engine.complete(prompt(task, spec, request), schema=schema, decoding=decoding, deadline_s=deadline_s)
    # PostgreSQL keeps no NUL character, and a model may write anything.
    completion = replace(completion, text=completion.text.replace("\0", "\N{REPLACEMENT CHARACTER}"))
    try:
        if spec.is_remote:  # some servers pass over the schema in silence
            check_conforms(schema, completion.text)
        parsed = task.parse(request, completion)
    except ParseError as error:
        broken = Violation(rule="unparseable", where=None, detail=f"{error}{_cut_off(completion, decoding)}")
        return _answer(spec, completion, None, (broken,), None, None)
    return _validated(task, spec, request, completion, as_stored(parsed), None)


def prompt(task: Task, spec: PolicySpec, request: Request) -> Sequence[Message]:
    """What a model reads: as the task renders it; a prompt of the spec's own stands in place of system messages."""
    rendered = task.render(request)
    if spec.prompt is None:
        return rendered
    others = [message for message in rendered if message.role != "system"]
    return [Message(role="system", content=spec.prompt), *others]


def _cut_off(completion: Completion, decoding: Decoding) -> str:
    reached = completion.completion_tokens >= decoding.max_tokens
    return f" (cut off at max_tokens = {decoding.max_tokens})" if reached else ""


def _run_python(task: Task, spec: PolicySpec, request: Request) -> PolicyAnswer:
    started = time.perf_counter()
    result = load_function(spec.function or "")(request, seed=spec.seed)
    completion = Completion(text=canonical_json(result.answer), latency_s=time.perf_counter() - started)
    return _validated(task, spec, request, completion, as_stored(result.answer), result.action_propensity)


def _read_log(task: Task, spec: PolicySpec, request: Request, recorded: Recorded | None) -> PolicyAnswer:
    """People saw the answer as it was: its violations are counted, nothing is repaired afterwards."""
    if recorded is None:
        missing = Violation(rule=UNRECORDED, where=None, detail="the log has no answer of the application to this")
        return _answer(spec, Completion(text=""), None, (missing,), None, None)
    parsed = as_stored(recorded.answer)
    completion = Completion(text=canonical_json(parsed), latency_s=recorded.latency_s)
    return _answer(spec, completion, parsed, tuple(task.violations(request, parsed)), parsed, None)


def _validated(
    task: Task, spec: PolicySpec, request: Request, completion: Completion, parsed: Answer, propensity: float | None
) -> PolicyAnswer:
    violations = tuple(task.violations(request, parsed))
    answer: Answer | None = parsed
    if violations:
        repaired = as_stored(task.repair(request, parsed, violations))
        answer = None if task.violations(request, repaired) else repaired
    return _answer(spec, completion, parsed, violations, answer, propensity)


def _answer(
    spec: PolicySpec,
    completion: Completion,
    parsed: Answer | None,
    violations: tuple[Violation, ...],
    answer: Answer | None,
    propensity: float | None,
) -> PolicyAnswer:
    return PolicyAnswer(
        raw=completion.text,
        parsed=parsed,
        violations=violations,
        answer=answer,
        completion=completion,
        cost=spec.price.of(completion),
        action_propensity=propensity,
    )
