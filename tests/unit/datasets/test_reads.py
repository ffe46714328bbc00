"""Which fields a task reads: the request that takes notes behaves like any other."""

import copy
import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataset_files as made
from bakeoff.datasets.model import Row, Split
from bakeoff.datasets.reads import Notes, Traced, check_reads, fields_read, traced, unused
from bakeoff.errors import Refused
from bakeoff.fingerprint import canonical_json, digest
from bakeoff.task import Answer, Completion, Example, Field, Message, Request, TaskBase, Violation

REQUEST = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": [{"f": "x"}, {"f": "y", "g": 2.5}], "h": {}}


def watched(value: Any = REQUEST, keyed: Sequence[str] = ()) -> tuple[Any, Notes]:
    notes = Notes(keyed=keyed)
    return traced(value, "request", notes), notes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_it_is_the_same_json_value(value: dict[str, Any]) -> None:
    seen, _ = watched(value)
    assert seen == value and value == seen
    assert json.dumps(seen) == json.dumps(value)
    assert canonical_json(seen) == canonical_json(value)
    assert (
        {**seen}
        == dict(seen.items())
        == seen.copy()
        == copy.deepcopy(seen)
        == pickle.loads(pickle.dumps(seen))
        == value
    )
    assert (len(seen), list(seen), sorted(seen)) == (len(value), list(value), sorted(value))
    assert isinstance(seen, dict) and isinstance(seen, Mapping)
    assert seen | {"z": 1} == value | {"z": 1}


READS: list[tuple[Callable[[Any], object], set[str]]] = [
    (lambda r: r["a"], {"a"}),
    (lambda r: r.get("a"), {"a"}),
    (lambda r: r.get("nothing"), {"nothing"}),
    (lambda r: "a" in r, {"a"}),
    (lambda r: r["b"]["c"][0], {"b", "b.c", "b.c[]"}),
    (lambda r: [*r["b"]["c"]], {"b", "b.c", "b.c[]"}),
    (lambda r: len(r["b"]["c"]), {"b", "b.c"}),
    (lambda r: 1 in r["b"]["c"], {"b", "b.c", "b.c[]"}),
    (lambda r: ",".join(map(str, reversed(r["b"]["c"]))), {"b", "b.c", "b.c[]"}),
    (lambda r: [each["f"] for each in r["e"]], {"e", "e[]", "e[].f"}),
    (lambda r: r["e"][-1:][0]["g"], {"e", "e[]", "e[].g"}),
    (lambda r: dict(r["b"]), {"b", "b.c", "b.d"}),
    (lambda r: {**r["b"]}, {"b", "b.c", "b.d"}),
    (lambda r: list(r["b"].values()), {"b", "b.c", "b.d"}),
    (lambda r: json.dumps(r["b"]), {"b", "b.c", "b.c[]", "b.d"}),
    (lambda r: r["b"] | {}, {"b", "b.c", "b.d"}),
    (lambda r: r["e"][0].pop("f"), {"e", "e[]", "e[].f"}),
    (lambda r: bool(r["h"]), {"h"}),
]


@pytest.mark.parametrize("number", range(len(READS)))
def test_every_way_of_reading_is_noted(number: int) -> None:
    read, paths = READS[number]
    seen, notes = watched()
    read(seen)
    assert notes.read == {f"request.{path}" for path in paths}


def test_matching_is_noted() -> None:
    seen, notes = watched()
    match seen:
        case {"b": {"d": None, "c": [first, *_]}}:
            assert first == 1
        case _:
            pytest.fail("a traced request matches as any dict does")
    assert {"request.b", "request.b.d", "request.b.c"} <= notes.read
    assert "request.a" not in notes.read


def test_keys_that_are_data_are_one_path() -> None:
    seen, notes = watched({"kept": {"thai": 3, "french": 1}}, keyed=["request.kept"])
    assert seen["kept"].get("thai") == 3
    assert notes.read == {"request.kept", "request.kept.*"}


class Diner(TaskBase):
    """Reads this and that."""

    name = "diner"
    fields = {"request.kept.*": Field(meaning="how often")}  # noqa: RUF012

    def render(self, request: Request) -> Sequence[Message]:
        return [Message(role="user", content=f"{request['who']['name']} likes {', '.join(request['likes'])}")]

    def answer_schema(self, request: Request) -> Mapping[str, Any]:
        names = [option["id"] for option in request["options"]]
        return {"type": "object", "properties": {name: {"enum": ["no", "yes"]} for name in names}}

    def supervise(self, example: Example) -> Mapping[str, str] | None:
        return {example.target["dish"]: '"yes"'}

    def parse(self, request: Request, completion: Completion) -> Answer:
        said = json.loads(completion.text)
        return {"dishes": [option["id"] for option in request["options"] if said[option["id"]] == "yes"]}

    def violations(self, request: Request, answer: Answer) -> Sequence[Violation]:
        slow = [option["id"] for option in request["options"] if option["minutes"] > request["minutes"]]
        return [Violation(rule="slow", where=dish, detail="") for dish in answer["dishes"] if dish in slow]

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        return {"known": float(example.request["kept"].get(answer["dishes"][0], 0))}


def meal(number: int = 0, **changes: Any) -> Row:
    request = {
        "who": {"name": "Ada", "age": 36},
        "likes": ["figs"],
        "options": [{"id": "soup", "minutes": 20, "stars": 4.0}, {"id": "stew", "minutes": 90, "stars": 3.0}],
        "minutes": 30,
        "kept": {"soup": 2, "curry": 1},
        "weather": {"sky": "grey", "wind": 3},
        "tags": ["x"],
    } | changes
    return Row(
        example=Example(
            example_id=f"meal-{number}", unit_id="u", occurred_at=made.START, request=request, target={"dish": "soup"},
            metadata={},
        ),
        split=Split.TRAIN, slice=None, request_digest=digest(request),
    )  # fmt: skip


def test_what_the_prompt_reads() -> None:
    assert fields_read(Diner(), meal().example.request) == {
        "request.who", "request.who.name", "request.likes", "request.likes[]",
        "request.options", "request.options[]", "request.options[].id",
    }  # fmt: skip


def test_the_request_itself_stays_as_it_was() -> None:
    row = meal()
    unused(Diner(), [row])
    assert digest(row.example.request) == row.request_digest
    assert not isinstance(row.example.request, Traced)


def test_what_nothing_reads() -> None:
    """Parser, rules and scores read too: minutes and kept are used. Of the weather only the whole is named."""
    assert unused(Diner(), [meal()]) == (
        "request.options[].stars", "request.tags", "request.weather", "request.who.age"
    )  # fmt: skip


def test_a_list_of_plain_values_is_used_where_its_length_is() -> None:
    class Counter(Diner):
        def render(self, request: Request) -> Sequence[Message]:
            return [Message(role="user", content=f"{len(request['tags'])} {request['who']['name']} {request['likes']}")]

    assert "request.tags" not in unused(Counter(), [meal()])


def test_a_field_of_any_row_counts() -> None:
    assert unused(Diner(), [meal(), meal(1, season="winter")])[1] == "request.season"


def test_rows_that_the_prompt_can_be_made_from_pass() -> None:
    check_reads(Diner(), [meal(n) for n in range(3)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"who": {"age": 3}}, r"meal-7: its request has no request\.who\.name"),
        ({"options": [{"minutes": 3}]}, r"its request has no request\.options\[\]\.id"),
        ({"who": None}, r"TypeError: .*after reading request\.who$"),
        ({"likes": None}, r"TypeError: .*after reading request\.likes$"),
        ({"likes": [None]}, r"TypeError: .*after reading request\.likes\[\]$"),
    ],
)
def test_a_row_of_another_shape_is_refused_with_its_name_the_path_and_the_cure(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused) as refusal:
        check_reads(Diner(), [meal(1), meal(7, **change)])
    first, _, cure = str(refusal.value).partition("\n")
    assert re.search(message, first)
    assert "--since" in cure and "request_version 1" in cure


def test_an_index_that_is_not_there_is_named() -> None:
    class First(Diner):
        def render(self, request: Request) -> Sequence[Message]:
            return [Message(role="user", content=str(request["likes"][2]))]

    with pytest.raises(Refused, match=r"no request\.likes\[2\]"):
        check_reads(First(), [meal()])


def test_a_fault_that_has_nothing_to_do_with_the_shape_is_not_hidden() -> None:
    class Broken(Diner):
        def render(self, request: Request) -> Sequence[Message]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_reads(Broken(), [meal()])


def test_a_task_without_a_prompt_is_not_a_matter_of_rows() -> None:
    with pytest.raises(AttributeError, match="render"):
        check_reads(TaskBase(), [meal()])  # type: ignore[arg-type]
