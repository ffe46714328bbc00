"""doctor: each finding on made-up facts."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

import served
from bakeoff.cli import checks
from bakeoff.cli.checks import Check
from bakeoff.errors import Unreachable
from bakeoff.events.health import Finding
from bakeoff.inference.model import PolicySpec, RemoteModel
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.model import Registered
from bakeoff.settings import Settings

SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good")


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        ({"present": True, "installed": True, "build": None, "usable": False}, "wrong", "CPUs only"),
        ({"present": True, "installed": True, "build": "13.0", "usable": False}, "wrong", "cannot use it"),
        ({"present": True, "installed": False, "build": None, "usable": False}, "wrong", "not installed"),
        ({"present": True, "installed": True, "build": "13.0", "usable": True}, "fine", "CUDA 13.0"),
        ({"present": False, "installed": True, "build": None, "usable": False}, "fine", "none"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_said(facts: dict[str, Any], state: str, words: str) -> None:
    found = checks.gpu(**facts)
    assert found.state == state
    assert words in found.says


def test_an_embedded_database_says_that_its_rules_are_advisory() -> None:
    assert "advisory" in checks.server(18, embedded=True).says
    assert checks.server(18, embedded=False).state == "fine"
    assert checks.server(13, embedded=False).state == "wrong"


def test_missing_migrations_are_listed_with_the_cure() -> None:
    found = checks.migrations("exp", ["bakeoff/0002.sql"])
    assert (found.state, found.cure) == ("wrong", "bakeoff db migrate")
    assert "bakeoff/0002.sql" in found.says


def test_libraries_that_are_missing_are_no_error_but_said() -> None:
    def find(name: str) -> str:
        if name == "torch":
            raise PackageNotFoundError(name)
        return "1.0"

    there, missing = checks.libraries(find)
    assert "mlflow 1.0" in there.says
    assert "torch" not in there.says
    assert (missing.state, missing.says) == ("note", "not installed: torch")


def test_number_format_tells_slow_machines() -> None:
    assert checks.number_format("bfloat16").state == "fine"
    assert checks.number_format("float32").state == "note"


@pytest.mark.parametrize(
    ("states", "code"), [(("fine", "note"), 0), (("fine", "wrong"), 3), (("wrong", "unreachable"), 4)]
)
def test_the_exit_code_is_that_of_the_worst(states: tuple[Any, ...], code: int) -> None:
    assert checks.exit_code([Check(name="x", state=state, says="") for state in states]) == code


def registered(number: int, status: Any, *, serves: bool = False) -> Registered:
    made = PolicyVersion(
        policy_version_id=str(number),
        policy_id="toy_policy",
        version=number,
        spec=SPEC,
        fingerprint=f"sha256:{number}",
        status=status,
        mlflow_model_name="toy_model",
        mlflow_model_version=str(number),
    )
    return Registered(version=made, serves=serves)


KNOWN = [registered(1, "retired"), registered(2, "production", serves=True), registered(3, "registered")]


class Registry:
    """A registry in memory."""

    def __init__(self) -> None:
        self.alias = {"toy_model": {"production": "1"}}
        self.tagged = {("toy_model", "1"): "production", ("toy_model", "2"): "candidate"}

    def aliases(self, name: str) -> dict[str, str]:
        return self.alias[name]

    def tags(self, name: str, version: str) -> dict[str, str]:
        return {"stage": self.tagged[name, version]} if (name, version) in self.tagged else {}

    def stage(self, name: str, version: str) -> None:
        return None

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self.alias[name][alias] = version

    def set_tag(self, name: str, version: str, key: str, value: str) -> None:
        assert key == "stage"
        self.tagged[name, version] = value


def test_repair_lets_the_registry_follow_our_table() -> None:
    models: Any = Registry()
    assert {check.state for check in checks.registry(KNOWN, models, repair=False)} == {"wrong"}
    assert {check.state for check in checks.registry(KNOWN, models, repair=True)} == {"note"}
    assert models.alias == {"toy_model": {"production": "2"}}
    assert [check.state for check in checks.registry(KNOWN, models, repair=False)] == ["fine"]


def test_a_registry_that_is_away_is_a_finding_not_an_error() -> None:
    class Away(Registry):
        def aliases(self, name: str) -> dict[str, str]:
            raise Unreachable(f"MLflow is away, asked for {name}", cure="start it")

    models: Any = Away()
    (found,) = checks.registry(KNOWN, models, repair=False)
    assert (found.state, found.cure) == ("unreachable", "start it")


def test_tables_that_disagree_about_who_serves_are_wrong() -> None:
    serving = registered(2, "production").version
    assert checks.standing("toy_policy", serving, "2")[0].state == "fine"
    assert checks.standing("toy_policy", serving, None)[0].state == "fine"
    (other,) = checks.standing("toy_policy", serving, "1")
    assert (other.state, "names another version" in other.says) == ("wrong", True)
    (status,) = checks.standing("toy_policy", replace(serving, status="retired"), "2")
    assert (status.state, status.cure) == ("wrong", "bakeoff doctor --repair")
    assert checks.standing("toy_policy", None, None) == []


# ---- where datasets lie ----


def test_a_folder_is_probed_and_left_as_it_was(tmp_path: Path) -> None:
    assert checks.storage(str(tmp_path)).state == "fine"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_yet_is_no_fault_and_is_not_made(tmp_path: Path) -> None:
    found = checks.storage(str(tmp_path / "home" / "datasets"))
    assert (found.state, "the first dataset makes it" in found.says) == ("fine", True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_nobody_can_make_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = checks.storage(str(tmp_path / "file" / "datasets"))
    assert found.state == "wrong"
    assert "BAKEOFF_DATASETS_ROOT" in str(found.cure)


def test_a_store_that_does_not_answer_is_told_with_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(url: str, **options: Any) -> Any:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("fsspec.core.url_to_fs", away)
    found = checks.storage("s3://bucket/datasets")
    assert found.state == "unreachable"
    assert "no route to host" in found.says
    assert "AWS_ENDPOINT_URL" in str(found.cure)


# ---- servers of models ----


def test_each_server_is_asked_for_its_models() -> None:
    with served.serving() as server:
        server.key = "s3cret"
        house = {"base_url": server.url, "key_variable": "HOUSE_KEY"}
        settings = Settings(endpoints={"house": house, "open": {"base_url": server.url}})
        locked = checks.endpoints(settings)
        server.key = None
        opened = checks.endpoints(Settings(endpoints={"open": {"base_url": server.url}}))
    assert [check.name for check in locked] == ["endpoint house", "endpoint open"]
    assert [check.state for check in locked] == ["wrong", "wrong"]
    assert "HOUSE_KEY, which is not set" in locked[0].says
    assert "refuses the key (401)" in locked[1].says
    assert [(check.state, check.says) for check in opened] == [("fine", f"{server.url} serves house-7b, other-1b")]
    (away,) = checks.endpoints(Settings(endpoints={"open": {"base_url": server.url}}))
    assert (away.state, "base_url" in str(away.cure)) == ("unreachable", True)


def test_a_version_on_a_server_that_the_settings_lack_is_wrong_once_it_may_serve() -> None:
    remote = RemoteModel(name="m", endpoint="house")
    spec = PolicySpec(task="toy", engine="openai", prompt_version="1", remote=remote)
    tried, serving = (replace(registered(1, status).version, spec=spec) for status in ("registered", "production"))
    versions = [registered(2, "production").version, tried, serving]
    assert [check.state for check in checks.endpoint_names(versions, Settings())] == ["note", "wrong"]
    known = Settings(endpoints={"house": {"base_url": "http://h"}})
    assert checks.endpoint_names(versions, known) == []


# ---- the log ----


def found(count: int, *examples: str, is_wrong: bool = True) -> Finding:
    return Finding(name="odd events", count=count, examples=examples, what_to_do="mend them", is_wrong=is_wrong)


def test_what_is_not_there_is_one_line_and_what_is_there_is_a_line_each() -> None:
    said = checks.log("toy", [found(0), found(7, "a", "b", "c", "d"), found(2, is_wrong=False)])
    assert [(check.name, check.state) for check in said] == [
        ("log of toy", "fine"), ("log of toy", "wrong"), ("log of toy", "note"),
    ]  # fmt: skip
    assert "1 of 3" in said[0].says
    assert (said[1].says, said[1].cure) == ("7 odd events: a, b, c, ...", "mend them")
    assert said[2].says == "2 odd events"
    assert checks.exit_code(said) == 3
    assert checks.exit_code(checks.log("toy", [found(0), found(2, is_wrong=False)])) == 0
