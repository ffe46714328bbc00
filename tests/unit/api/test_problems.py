"""Our errors as problem documents, and the document of every kind."""

import pytest
from pydantic import BaseModel

from bakeoff.api import models, spec
from bakeoff.api.metrics import COUNTED, Metrics
from bakeoff.api.problems import TYPES, Problem, body_of, of_error
from bakeoff.errors import BakeoffError, Conflict, NotFound, Refused, Unreachable, UsageError


@pytest.mark.parametrize(
    ("error", "name", "status"),
    [
        (UsageError("x"), "invalid", 422),
        (NotFound("x"), "not-found", 404),
        (Conflict("x"), "conflict", 409),
        (Refused("x"), "refused", 409),
        (Unreachable("x"), "unavailable", 503),
        (TimeoutError("x"), "deadline", 504),
        (BakeoffError("x"), "internal", 500),
    ],
)
def test_each_error_has_its_problem(error: BakeoffError | TimeoutError, name: str, status: int) -> None:
    problem = of_error(error)
    assert (problem.type.name, problem.type.status, problem.detail) == (name, status, "x")


def test_the_cure_is_the_errors_own_where_it_has_one() -> None:
    assert body_of(of_error(UsageError("x", cure="type y")), "urn:uuid:1")["cure"] == "type y"
    assert body_of(of_error(UsageError("x")), "urn:uuid:1")["cure"] == TYPES["invalid"].cure


@pytest.mark.parametrize("name", TYPES)
def test_every_kind_is_whole(name: str) -> None:
    said = body_of(Problem(name, TYPES[name].example), "urn:uuid:1")
    assert all(said[field] for field in ("type", "title", "status", "detail", "instance", "cure"))
    assert "errors" not in said


@pytest.mark.parametrize("kind", ["decide", "events", "read", "read one", "open"])
def test_the_document_shows_an_example_of_every_refusal(kind: str) -> None:
    for status, response in spec.refusals(kind).items():
        for content in response["content"].values():
            assert {example["value"]["status"] for example in content["examples"].values()} == {status}


def test_whatever_serving_counts_has_a_place() -> None:
    metrics = Metrics()
    for name, (_, labels) in COUNTED.items():
        metrics.on_count(name, dict.fromkeys(labels, "x"))
    text = metrics.text().decode()
    assert all(f"bakeoff_{name}_total{{" in text for name in COUNTED)


def test_a_name_that_a_stranger_sent_is_no_label() -> None:
    metrics = Metrics()
    for n in range(10):
        metrics.on_count("failed", {"policy": f"made up {n}", "reason": "NotFound"})
    assert 'bakeoff_failed_total{policy="none",reason="NotFound"} 10.0' in metrics.text().decode()


BODIES = (
    models.DecideBody, models.Decided, models.OneEventBody, models.BatchBody, models.ReceiptsBody, models.PoliciesBody,
    models.StandingBody, models.ReadyBody, models.HealthBody,
)  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_every_body_has_examples_that_are_right(body: type[BaseModel]) -> None:
    examples = body.model_json_schema()["examples"]
    assert examples
    for example in examples:
        body.model_validate(example)
