"""What a registry must say, on a registry in memory that may have been tampered with, be old, or be away."""

from typing import Any

import pytest

from bakeoff.errors import Unreachable
from bakeoff.inference.model import PolicySpec
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion import registry
from bakeoff.promotion.model import Drift, Registered

SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good")


def registered(number: int, status: Any, *, serves: bool = False, model: str = "toy_model") -> Registered:
    made = PolicyVersion(
        policy_version_id=str(number), policy_id="toy_policy", version=number, spec=SPEC,
        fingerprint=f"sha256:{number}", status=status, mlflow_model_name=model, mlflow_model_version=str(number),
    )  # fmt: skip
    return Registered(version=made, serves=serves)


KNOWN = [registered(1, "retired"), registered(2, "production", serves=True), registered(3, "registered")]
TAGS = {("toy_model", "1"): "retired", ("toy_model", "2"): "production", ("toy_model", "3"): None}
FIELDS = {("toy_model", "1"): "Archived", ("toy_model", "2"): "Production", ("toy_model", "3"): "None"}


class Registry:
    """In memory. `fields` None: a server without the deprecated field."""

    def __init__(self, fields: dict[tuple[str, str], str] | None = None) -> None:
        self.alias = {"toy_model": {"production": "1"}}
        self.tag = {("toy_model", "1"): "production", ("toy_model", "2"): "candidate"}
        self.fields = fields
        self.writes = 0

    def aliases(self, name: str) -> dict[str, str]:
        return self.alias.get(name, {})

    def tags(self, name: str, version: str) -> dict[str, str]:
        return {"stage": self.tag[name, version]} if (name, version) in self.tag else {}

    def stage(self, name: str, version: str) -> str | None:
        return None if self.fields is None else self.fields.get((name, version), "None")

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self.alias[name][alias] = version
        self.writes += 1

    def delete_alias(self, name: str, alias: str) -> None:
        del self.alias[name][alias]
        self.writes += 1

    def set_tag(self, name: str, version: str, key: str, value: str) -> None:
        assert key == "stage"
        self.tag[name, version] = value
        self.writes += 1

    def set_stage(self, name: str, version: str, stage: str) -> bool:
        self.writes += 1
        if self.fields is None:
            return False
        self.fields[name, version] = stage
        return True


def test_a_registry_that_says_the_same_has_no_drift() -> None:
    assert registry.drifts(KNOWN, {"toy_model": {"production": "2"}}, TAGS, FIELDS) == []


def test_alias_tag_and_field_that_differ_are_found() -> None:
    found = registry.drifts(
        KNOWN, {"toy_model": {"production": "1"}}, TAGS | {("toy_model", "2"): "candidate"},
        FIELDS | {("toy_model", "1"): "Production"},
    )  # fmt: skip
    assert found == [
        Drift(model="toy_model", model_version="1", key="alias", found="1", expected="2"),
        Drift(model="toy_model", model_version="1", key="stage", found="Production", expected="Archived"),
        Drift(model="toy_model", model_version="2", key="tag", found="candidate", expected="production"),
    ]


@pytest.mark.parametrize("fields", [None, {}])
def test_following_puts_everything_right_once(fields: dict[tuple[str, str], str] | None) -> None:
    models: Any = Registry(fields)
    moved = registry.follow(models, KNOWN)
    assert {drift.key for drift in moved} == {"alias", "tag"} | ({"stage"} if fields is not None else set())
    assert models.alias == {"toy_model": {"production": "2"}}
    assert models.tag == {("toy_model", "1"): "retired", ("toy_model", "2"): "production"}
    before = models.writes
    assert registry.follow(models, KNOWN) == ()
    assert models.writes == before


def test_an_alias_goes_where_what_serves_has_no_model_of_that_name() -> None:
    """Whoever loads models:/toy_model@production must not get what was rolled back."""
    models: Any = Registry()
    registry.follow(models, [registered(1, "retired"), registered(2, "retired")])
    assert models.alias == {"toy_model": {}}


def test_the_model_that_was_just_promoted_is_never_tagged_retired() -> None:
    """Running a promotion again, as after a crash, must not undo it."""
    models: Any = Registry()
    for _ in range(2):
        registry.follow(models, KNOWN)
    assert models.tag["toy_model", "2"] == "production"


def test_a_registry_that_is_away_says_so() -> None:
    class Away(Registry):
        def aliases(self, name: str) -> dict[str, str]:
            raise Unreachable("MLflow is away")

    models: Any = Away()
    with pytest.raises(Unreachable):
        registry.follow(models, KNOWN)
