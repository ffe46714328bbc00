"""The kit: a sound task has no findings, and each way to be unsound has one that says what to change."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import TypedDict

import planner_town
import toy
from bakeoff.conformance.check import check, examine
from bakeoff.conformance.model import Finding
from bakeoff.conformance.rows import episodes_of
from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest
from bakeoff.task import (
    Accepted,
    Answer,
    Completion,
    Episode,
    EventType,
    Example,
    Field,
    JsonSchema,
    LeftOut,
    LoggedEvent,
    Message,
    Metric,
    ParseError,
    Preference,
    Request,
    Role,
    StressCase,
    Task,
    TaskBase,
    Violation,
)
from planner.policies import heuristic
from planner.task import PlannerTask

START = datetime(2025, 1, 6, 8, tzinfo=UTC)
GATE = 'name = "shop"\n[metrics.right]\nkind = "non_inferior"\nmargin = 0.1\n'


class Sold(Accepted):
    item: str


class Offered(TypedDict):
    answer: dict[str, Any]


class Shop(TaskBase):
    """A sound task: offers one of the request's items."""

    name = "shop"
    bias = 0.0
    metrics = (Metric(name="right", unit="share", direction="higher", low=0.0, high=1.0, meaning="what was kept"),)
    event_types = (
        EventType(name="offered", role=Role.DECISION, payload=Offered),
        EventType(name="sold", role=Role.ACCEPT, payload=Sold, source="accepted_by"),
        EventType(name="refused", role=Role.REJECT),
    )
    fields: Mapping[str, Field] = {"request.items[]": Field(meaning="what is in store")}

    def need(self, request: Request) -> str:
        return str(request["day"])

    def render(self, request: Request) -> Sequence[Message]:
        return [Message(role="user", content=f"Which of {', '.join(request['items'])}?")]

    def answer_schema(self, request: Request) -> JsonSchema:
        return {
            "type": "object",
            "properties": {"item": {"enum": list(request["items"])}},
            "required": ["item"],
            "additionalProperties": False,
        }

    def parse(self, request: Request, completion: Completion) -> Answer:
        try:
            said = json.loads(completion.text)
        except (ValueError, RecursionError) as error:
            raise ParseError(str(error)) from error
        if not isinstance(said, dict) or not isinstance(said.get("item"), str):
            raise ParseError("no item")
        return {"item": said["item"]}

    def violations(self, request: Request, answer: Answer) -> Sequence[Violation]:
        sour = answer.get("item") in request["sour"]
        return [Violation(rule="sour", where=None, detail=str(answer["item"]))] if sour else []

    def repair(self, request: Request, answer: Answer, violations: Sequence[Violation]) -> Answer:
        return {"item": min(set(request["items"]) - set(request["sour"]) or request["items"])}

    def supervise(self, example: Example) -> Mapping[str, str] | None:
        return {"item": json.dumps(example.target["item"])}

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        return {"right": float(answer.get("item") == example.target["item"]) * (1 - self.bias)}

    def preference(self, example: Example) -> Preference | None:
        return None

    def segments(self, example: Example) -> Mapping[str, str]:
        return {"store": "full" if len(example.request["items"]) > 1 else "nearly empty"}

    def stress(self, requests: Sequence[Request]) -> Iterator[StressCase]:
        for request in sorted(requests, key=digest):
            yield StressCase(name="one item", request={**request, "items": ["plum"]})
            sour = {**request, "sour": list(request["items"])}
            yield StressCase(name="all is sour", request=sour, allowed=frozenset({"sour"}))

    def fitted(self, examples: Sequence[Example], held_out: Sequence[Example] = ()) -> "Shop":
        other = type(self)()
        other.bias = 1 / (1 + len(examples))
        return other

    def frozen(self) -> Mapping[str, Any] | None:
        return {"version": 1, "bias": self.bias}

    def thawed(self, frozen: Mapping[str, Any]) -> "Shop":
        if frozen.get("version") != 1:
            raise UsageError("frozen by another version")
        other = type(self)()
        other.bias = frozen["bias"]
        return other


@pytest.fixture
def gate_file(tmp_path: Path) -> Path:
    file = tmp_path / "gate.toml"
    file.write_text(GATE)
    return file


def event(name: str, role: Role, decision: str, at: datetime, payload: Mapping[str, Any]) -> LoggedEvent:
    return LoggedEvent(
        event_id=f"{decision}/{name}", event_type=name, role=role, unit_id="unit", decision_id=decision, occurred_at=at,
        experiment_id="e", variant_id="v", policy_version_id="p", served_policy_version_id="p", payload=payload,
    )  # fmt: skip


def shop_rows(count: int = 6) -> list[Episode]:
    rows = []
    for n in range(count):
        request = {"day": n, "items": ["apple", "lemon", "pear"], "sour": ["lemon"]}
        at = START + timedelta(days=n)
        sold = event("sold", Role.ACCEPT, f"d{n}", at, {"accepted_by": "user", "item": "pear"})
        rows.append(
            Episode(
                need_id=str(n), unit_id="unit", request=request, request_digest=digest(request),
                decisions=(event("offered", Role.DECISION, f"d{n}", at, {"answer": {"item": "apple"}}),),
                outcomes=(sold,) if n else (),
            )
        )  # fmt: skip
    return rows


def toy_rows() -> list[Episode]:
    rows = []
    for n in range(6):
        request = {"likes": toy.DRINKS[n % 2], "day": n}
        drink = {"accepted_by": "user", "drink": request["likes"]}
        rows.append(
            Episode(
                need_id=str(n), unit_id="unit", request=request, request_digest=digest(request),
                decisions=(event("offered", Role.DECISION, f"d{n}", START, {"answer": {"drink": "tea"}}),),
                outcomes=(event("accepted", Role.ACCEPT, f"d{n}", START, drink),),
            )
        )  # fmt: skip
    return rows


def sound(gate: Path, **parts: Any) -> Task:
    """The shop with some of its parts exchanged."""
    return type("Broken", (Shop,), {"gate_file": gate, **parts})()


def wrongs(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.grade == "wrong"]


# ---- sound tasks -----------------------------------------------------------------------------------------------------


def test_a_sound_task_has_no_finding_and_every_part_of_it_was_tried(gate_file: Path) -> None:
    report = examine(sound(gate_file), shop_rows())
    assert report.findings == ()
    assert report.passed
    assert report.seen == {
        "rows": 6,
        "prompts rendered": 6,
        "answers parsed": 18,
        "logged answers": 6,
        "answers with violations": 6,
        "answers repaired": 6,
        "left out: nothing was accepted": 1,
        "examples": 5,
        "rows with labels": 5,
        "frozen fits": 1,
        "situations told": 6,
        "stress cases": 4,
    }


def test_the_toy_is_sound_and_the_kit_says_what_it_does_without() -> None:
    findings = check(toy.ToyTask(), toy_rows())
    assert wrongs(findings) == []
    assert {finding.check for finding in findings} == {"gate_file", "answer_schema", "supervise"}


def test_the_planner_is_sound_on_rows_of_its_town() -> None:
    rows = planner_town.live(10, 3, lambda town, unit, week, request: heuristic(request, seed=0))
    report = examine(PlannerTask(), [row for n, row in enumerate(rows) if n % 2][:12])
    assert wrongs(report.findings) == []
    assert report.seen["answers parsed"] >= 12
    assert report.seen["examples"] >= 3
    assert report.seen["stress cases"] > 20


def test_no_rows_judge_the_declarations_alone(gate_file: Path) -> None:
    assert check(sound(gate_file), []) == ()
    assert [finding.check for finding in check(sound(gate_file, name="My Shop"), [])] == ["name"]


def test_a_request_alone_is_enough_for_prompt_and_answers(gate_file: Path) -> None:
    rows = episodes_of(Shop(), [("f:1", shop_rows(1)[0].request), ("f:2", {"day": 1})])
    findings = check(sound(gate_file), rows)
    shown = {("render", "f:2"), ("answer_schema", "f:2"), ("stress", "stress cases")}
    assert {(finding.check, finding.row) for finding in findings} == shown
    assert "KeyError: 'items'" in findings[0].says


# ---- unsound ones ----------------------------------------------------------------------------------------------------


def changing(part: str) -> Callable[..., Any]:
    """The part as it was, but it writes into the request (or the answer, for `repair`)."""

    def changed(self: Any, given: Any, *rest: Any) -> Any:
        answer = getattr(Shop, part)(self, given, *rest)
        (rest[0] if part == "repair" else given)["seen"] = True
        return answer

    return changed


def moody(part: str) -> Callable[..., Any]:
    """The part as it was, but for something drawn."""
    draw = random.Random(0)

    def moody_part(self: Any, *given: Any) -> Any:
        found = getattr(Shop, part)(self, *given)
        if part == "render":
            return [Message(role="user", content=f"{found[0].content} {draw.random()}")]
        if part == "need":
            return f"{found}{draw.random()}"
        return {**found, "right": draw.random()}

    return moody_part


def raising(self: Any, *_: Any) -> Any:
    raise KeyError("pantry")


def giving(value: Any) -> Callable[..., Any]:
    return lambda *_: value


def example_with(**parts: Any) -> Callable[..., Any]:
    def examples(self: Any, episodes: Any) -> Iterator[Example | LeftOut]:
        for each in TaskBase.examples(self, episodes):
            yield replace(each, **parts) if isinstance(each, Example) else each

    return examples


def all_at_once(self: Any, episodes: Any) -> Iterator[Example | LeftOut]:
    yield from TaskBase.examples(self, list(episodes))


def only_accepted(self: Any, episodes: Any) -> Iterator[Example | LeftOut]:
    return (each for each in TaskBase.examples(self, episodes) if isinstance(each, Example))


def wordy(self: Any, episodes: Any) -> Iterator[Example | LeftOut]:
    for episode in episodes:
        yield LeftOut(example_id=str(episode.decision.decision_id), reason=f"nothing for {episode.need_id}2025-01-06")


def careless_parse(self: Any, request: Any, completion: Completion) -> Answer:
    return {"item": json.loads(completion.text)["item"]}


def deaf_parse(self: Any, request: Any, completion: Completion) -> Answer:
    raise ParseError("what?")


def fitted_in_place(self: Any, examples: Any, held_out: Any = ()) -> Any:
    self.bias = 0.5
    return self


def lossy(self: Any) -> Mapping[str, Any]:
    return {"version": 1, "bias": round(self.bias, 1)}


def stressing(*, allowed: frozenset[str] = frozenset(), **parts: Any) -> Callable[..., Any]:
    """One hard case of each request, with these parts changed."""

    def stress(self: Any, requests: Sequence[Request]) -> Iterator[StressCase]:
        for request in sorted(requests, key=digest):
            yield StressCase(name="hard", request={**request, **parts}, allowed=allowed)

    return stress


def in_their_order(self: Any, requests: Sequence[Request]) -> Iterator[StressCase]:
    yield from (StressCase(name="hard", request=request) for request in requests)


def spoiling(self: Any, requests: Any) -> Iterator[StressCase]:
    for request in requests:
        request["items"] = ["plum"]
        yield StressCase(name="hard", request=request)


def by_day(self: Any, example: Example) -> Mapping[str, str]:
    return {f"day {example.request['day']}": "yes"}


def metric(**parts: Any) -> Metric:
    known = {"name": "right", "unit": "", "direction": "higher", "low": 0.0, "high": 1.0, "meaning": ""}
    return Metric(**(known | parts))


def types(**changed: Any) -> tuple[EventType, ...]:
    return tuple(replace(kind, **changed) if kind.role is Role.ACCEPT else kind for kind in Shop.event_types)


class Unreadable(TypedDict):
    item: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    # exchanged parts, the check that finds it, words of the finding
    "name": ({"name": "My Shop"}, "name", "'My Shop'"),
    "version is a number": ({"request_version": 1}, "request_version", "is 1"),
    "version is empty": ({"prompt_version": ""}, "prompt_version", "is ''"),
    "no decision type": ({"event_types": Shop.event_types[1:]}, "event_types", "0 types of role 'decision'"),
    "two decision types": (
        {"event_types": (*Shop.event_types, EventType(name="more", role=Role.DECISION))},
        "event_types",
        "2 types of role 'decision'",
    ),
    "type declared twice": ({"event_types": (*Shop.event_types, Shop.event_types[2])}, "event_types", "twice: refused"),
    "unreadable payload": ({"event_types": types(payload=Unreadable)}, "event_types", "sold cannot be read"),
    "source nobody declares": ({"event_types": types(source="who")}, "event_types", "takes its source from 'who'"),
    "nobody says who": ({"event_types": types(payload=Offered, source=None)}, "event_types", "not say who accepted"),
    "no metric": ({"metrics": ()}, "metrics", "there is none"),
    "metric twice": ({"metrics": (metric(), metric())}, "metrics", "twice: right"),
    "direction": ({"metrics": (metric(direction="up"),)}, "metrics", "'up'"),
    "bounds": ({"metrics": (metric(low=1.0, high=0.0),)}, "metrics", "between 1.0 and 0.0"),
    "outcome metrics": ({"outcome_metrics": ()}, "outcome_metrics", "there is none"),
    "gate file away": ({"gate_file": Path("nowhere.toml")}, "gate_file", "cannot be read"),
    "gate of other metrics": ({"metrics": (metric(name="left"),)}, "gate_file", "judges right"),
    "fields": ({"fields": {"items": Field(meaning="?")}}, "fields", "items cannot be read"),
    "render raises": ({"render": raising}, "render", "raised KeyError: 'pantry'"),
    "render gives text": ({"render": giving("which?")}, "render", "gave ['w'"),
    "render gives nothing": ({"render": giving([])}, "render", "gave []"),
    "render is moody": ({"render": moody("render")}, "render", "differently"),
    "render writes": ({"render": changing("render")}, "render", "changed the request"),
    "need is a number": ({"need": giving(3)}, "need", "is 3"),
    "need is moody": ({"need": moody("need")}, "need", "differently"),
    "need is another": ({"need": giving("always")}, "need", "is 'always', the log says '0'"),
    "schema raises": ({"answer_schema": raising}, "answer_schema", "raised KeyError"),
    "schema is none": ({"answer_schema": giving({"type": "objekt"})}, "answer_schema", "no JSON Schema"),
    "schema cannot be enforced": (
        {"answer_schema": giving({"type": "array", "uniqueItems": True})},
        "answer_schema",
        "cannot be enforced",
    ),
    "schema is no JSON": ({"answer_schema": giving({"enum": {1, 2} | {object()}})}, "answer_schema", "is no JSON"),
    "schema writes": ({"answer_schema": changing("answer_schema")}, "answer_schema", "changed the request"),
    "parse is careless": ({"parse": careless_parse}, "parse", "raised JSONDecodeError on ''"),
    "parse gives a text": ({"parse": giving("pear")}, "parse", "gave a str"),
    "parse is deaf": ({"parse": deaf_parse}, "parse", "cannot read '{\"item\":\"apple\"}'"),
    "parse gives a date": ({"parse": giving({"item": float("nan")})}, "parse", "cannot be stored"),
    "violations raise": ({"violations": raising}, "violations", "raised KeyError"),
    "violations write": ({"violations": changing("violations")}, "violations", "changed the request"),
    "violations are texts": ({"violations": giving(["sour"])}, "violations", "'sour'"),
    "repair leaves a breach": ({"repair": giving({"item": "lemon"})}, "repair", "leaves sour: lemon"),
    "repair gives nothing": ({"repair": giving(None)}, "repair", "gave a NoneType"),
    "repair writes": ({"repair": changing("repair")}, "repair", "changed the answer"),
    "repair raises": ({"repair": raising}, "repair", "raised KeyError"),
    "examples raise": ({"examples": raising}, "examples", "raised KeyError"),
    "examples need all rows": ({"examples": all_at_once}, "examples", "read all 6 episodes before"),
    "examples drop rows": ({"examples": only_accepted}, "examples", "gave 5 rows for 6 episodes"),
    "other id": ({"examples": example_with(example_id="x")}, "examples", "example_id is 'x'"),
    "other unit": ({"examples": example_with(unit_id="x")}, "examples", "unit_id is not the episode's: 'x'"),
    "other time": ({"examples": example_with(occurred_at=START - timedelta(1))}, "examples", "occurred_at is not"),
    "other request": ({"examples": example_with(request={})}, "examples", "request is not the episode's"),
    "target is no JSON": (
        {"examples": example_with(target={"item": "pear", "at": object()})},
        "examples",
        "cannot be stored",
    ),
    "metadata is no JSON": ({"examples": example_with(metadata={"x": float("inf")})}, "examples", "cannot be stored"),
    "wordy reasons": ({"examples": wordy}, "examples", "tell one row from another"),
    "supervise raises": ({"supervise": raising}, "supervise", "raised KeyError"),
    "unknown property": ({"supervise": giving({"colour": '"red"'})}, "supervise", "property 'colour'"),
    "value the schema forbids": ({"supervise": giving({"item": '"plum"'})}, "supervise", '"plum" is not an allowed'),
    "value is no JSON text": ({"supervise": giving({"item": "pear"})}, "supervise", "pear is not an allowed value"),
    "open schema": ({"answer_schema": giving({"type": "object"})}, "supervise", "not an object with properties"),
    "score raises": ({"score": raising}, "score", "raised KeyError"),
    "score lacks": ({"score": giving({})}, "score", "lacks right"),
    "score adds": ({"score": giving({"right": 1.0, "more": 1.0})}, "score", "adds more"),
    "score is NaN": ({"score": giving({"right": float("nan")})}, "score", "right is nan"),
    "score is a bool": ({"score": giving({"right": True})}, "score", "right is True"),
    "score out of bounds": ({"score": giving({"right": 1.5})}, "score", "right is 1.5"),
    "score is moody": ({"score": moody("score")}, "score", "differently"),
    "score of an empty answer": (
        {"score": lambda self, example, answer: {"right": float(answer["item"] == "pear")}},
        "score",
        "raised KeyError: 'item'",
    ),
    "outcome lacks": ({"outcome": giving({})}, "outcome", "lacks accepted"),
    "outcome raises": ({"outcome": raising}, "outcome", "raised KeyError"),
    "preference of equals": ({"preference": giving(Preference(chosen={}, rejected={}))}, "preference", "are the same"),
    "preference is a pair": ({"preference": giving(({}, {"a": 1}))}, "preference", "gave tuple"),
    "edit cost below 0": ({"edit_cost": giving(-1.0)}, "edit_cost", "is -1.0"),
    "edit cost is a text": ({"edit_cost": giving("2")}, "edit_cost", "is '2'"),
    "segments raise": ({"segments": raising}, "segments", "raised KeyError"),
    "segments are a list": ({"segments": giving(["north"])}, "segments", "gave ['north']"),
    "segments are numbers": ({"segments": giving({"size": 3})}, "segments", "gave {'size': 3}"),
    "segments are empty texts": ({"segments": giving({"region": ""})}, "segments", "gave {'region': ''}"),
    "segments have names of their own": ({"segments": by_day}, "segments", "names day 2 here and day 1"),
    "stress raises": ({"stress": raising}, "stress", "raised KeyError"),
    "stress gives requests": ({"stress": giving([{"day": 1}])}, "stress", "gave {'day': 1}"),
    "stress gives a nameless case": ({"stress": giving([StressCase(name="", request={})])}, "stress", "name=''"),
    "stress is no JSON": ({"stress": stressing(more=object())}, "stress", "cannot be stored"),
    "stress writes": ({"stress": spoiling}, "stress", "changed the request"),
    "stress breaks the prompt": ({"stress": stressing(items=None)}, "render", "raised TypeError"),
    "stress breaks the schema": ({"stress": stressing(items=[])}, "answer_schema", "cannot be enforced"),
    "stress breaks the repair": (
        {"stress": stressing(sour=["apple", "lemon", "pear"])},
        "repair",
        "leaves sour: apple",
    ),
    "tell raises": ({"tell": raising}, "tell", "raised KeyError"),
    "tell gives texts": ({"tell": giving(["who eats"])}, "tell", "gave ['who eats']"),
    "tell gives numbers": ({"tell": giving([("eaters", 3)])}, "tell", "gave [('eaters', 3)]"),
    "tell writes": ({"tell": lambda self, request: request.update(seen="x") or ()}, "tell", "changed the request"),
    "tell_answer needs an answer": (
        {"tell_answer": lambda self, request, answer: [answer["item"]]},
        "tell_answer",
        "raised KeyError: 'item'",
    ),
    "tell_answer gives numbers": ({"tell_answer": giving([1])}, "tell_answer", "gave [1]"),
    "fitted raises": ({"fitted": raising}, "fitted", "raised KeyError"),
    "fitted changes itself": ({"fitted": fitted_in_place}, "fitted", "changed the task"),
    "frozen is no JSON": ({"frozen": giving({"w": object()})}, "frozen", "cannot be kept"),
    "frozen rounds": ({"frozen": lossy}, "thawed", "scores otherwise"),
    "thawed takes all": ({"thawed": lambda self, frozen: self}, "thawed", "took what nobody froze"),
    "thawed breaks": ({"thawed": raising}, "thawed", "raised KeyError"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_way_to_be_unsound_is_found_and_says_what_to_change(case: str, gate_file: Path) -> None:
    parts, check_name, words = CASES[case]
    found = [
        finding for finding in wrongs(check(sound(gate_file, **parts), shop_rows())) if finding.check == check_name
    ]
    assert any(words in finding.says for finding in found), found
    assert all(finding.expected and finding.change for finding in found)


def test_a_part_that_is_not_there_is_named() -> None:
    class Half:
        name = "half"

        def render(self, request: Request) -> Sequence[Message]:
            return []

    (finding,) = check(Half(), shop_rows())  # type: ignore[arg-type]
    assert "violations" in finding.says
    assert "render" not in finding.says


def test_the_same_finding_on_many_rows_is_one_that_counts_them(gate_file: Path) -> None:
    (finding,) = wrongs(check(sound(gate_file, render=giving([])), shop_rows()))
    assert (finding.row, finding.rows) == ("d0", 6)


def test_events_that_the_log_holds_must_be_declared(gate_file: Path) -> None:
    row = shop_rows(2)[1]
    unknown = replace(row, outcomes=(event("gifted", Role.ACCEPT, "d1", START, {"accepted_by": "user"}),))
    assert "'gifted' in role 'accept'" in wrongs(check(sound(gate_file), [unknown]))[0].says
    ill = replace(row, outcomes=(event("sold", Role.ACCEPT, "d1", START, {"accepted_by": 1, "item": "pear"}),))
    assert "payload of event sold is wrong: accepted_by" in wrongs(check(sound(gate_file), [ill]))[0].says


def test_served_answers_that_breach_a_rule_are_counted_by_rule_but_not_wrong(gate_file: Path) -> None:
    """An application's own past may have served them."""
    row = shop_rows(2)[1]
    sour = replace(row, decisions=(replace(row.decision, payload={"answer": {"item": "lemon"}}),))
    report = examine(sound(gate_file), [sour])
    assert report.passed
    assert report.seen["logged answers that breach sour"] == 1
    assert "breaches sour: lemon" in report.findings[0].says


def test_a_metric_without_any_value_is_worth_a_note(gate_file: Path) -> None:
    report = examine(sound(gate_file, score=giving({"right": None})), shop_rows())
    assert report.passed
    assert [finding.says for finding in report.findings] == ["right had no value on any row"]


def test_a_field_that_nothing_reads_is_worth_a_note(gate_file: Path) -> None:
    rows = [replace(row, request={**row.request, "weather": {"rain": n}}) for n, row in enumerate(shop_rows())]
    (finding,) = check(sound(gate_file), rows)
    assert (finding.check, finding.grade, finding.says) == ("request", "note", "nothing reads request.weather")


def test_a_system_message_that_differs_from_row_to_row_is_worth_a_note(gate_file: Path) -> None:
    def render(self: Any, request: Request) -> Sequence[Message]:
        return [
            Message(role="system", content=f"Offer something for day {request['day'] % 2}."),
            Message(role="user", content=json.dumps(request)),
        ]

    (finding,) = [each for each in check(sound(gate_file, render=render), shop_rows()) if each.check == "render"]
    assert (finding.grade, finding.row) == ("note", None)
    assert "the system message has 2 texts over 6 rows" in finding.says


def test_a_model_that_cannot_be_read_any_more_is_worth_a_note(gate_file: Path) -> None:
    row = shop_rows(2)[1]
    said = {"answer": {"item": "apple"}, "raw_answer": "apple!", "parsed_answer": {"item": "apple"}}
    said["probabilities"] = [{"key": "item", "value": '"apple"', "logprobs": {}}]
    model = replace(row, decisions=(replace(row.decision, payload=said),))
    (finding,) = check(sound(gate_file), [model])
    assert (finding.check, finding.grade) == ("parse", "note")


def test_a_parser_that_breaks_on_a_models_own_words_is_wrong_and_does_not_stop_the_kit(gate_file: Path) -> None:
    def parse(self: Any, request: Any, completion: Completion) -> Answer:
        if completion.text == "apple!":
            raise LookupError("apple!")
        return Shop.parse(self, request, completion)

    row = shop_rows(2)[1]
    said = {"answer": {"item": "apple"}, "raw_answer": "apple!", "parsed_answer": {"item": "apple"}}
    said["probabilities"] = [{"key": "item", "value": '"apple"', "logprobs": {}}]
    model = replace(row, decisions=(replace(row.decision, payload=said),))
    (finding,) = wrongs(check(sound(gate_file, parse=parse), [model]))
    assert (finding.check, finding.says) == ("parse", "raised LookupError: apple!")


def test_a_segment_with_another_value_on_every_row_is_worth_a_note(gate_file: Path) -> None:
    def by_date(self: Any, example: Example) -> Mapping[str, str]:
        return {"date": str(example.occurred_at.date())}

    (finding,) = check(sound(gate_file, segments=by_date), shop_rows(8))
    assert (finding.check, finding.grade, finding.says) == ("segments", "note", "date has another value on every row")


def test_stress_cases_that_follow_the_order_of_the_requests_are_worth_a_note(gate_file: Path) -> None:
    (finding,) = check(sound(gate_file, stress=in_their_order), shop_rows())
    assert (finding.check, finding.grade) == ("stress", "note")


def test_what_no_answer_could_keep_is_no_fault_of_the_repair(gate_file: Path) -> None:
    hopeless = stressing(sour=["apple", "lemon", "pear"], allowed=frozenset({"sour"}))
    assert check(sound(gate_file, stress=hopeless), shop_rows()) == ()


def test_a_stress_case_is_named_where_it_breaks_something(gate_file: Path) -> None:
    (finding,) = wrongs(check(sound(gate_file, stress=stressing(items=None)), shop_rows(1)))[:1]
    assert finding.row == "stress case 1 (hard)"
