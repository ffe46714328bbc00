"""Each kind of spec is opened by its own engines, which are made when they are needed."""

import subprocess
import sys
from typing import Any

import pytest

from bakeoff.adapters.engines import EnginesByKind
from bakeoff.errors import UsageError
from bakeoff.inference.model import ModelRef, PolicySpec, RemoteModel

LOCAL = PolicySpec(
    task="toy", engine="transformers", prompt_version="1", model=ModelRef(base="b", base_digest="sha256:b")
)
SERVED = PolicySpec(
    task="toy", engine="openai", prompt_version="1", remote=RemoteModel(name="m", endpoint="house")
)  # fmt: skip


class Opener:
    def __init__(self, name: str) -> None:
        self.name, self.closed = name, 0
        self.released: list[PolicySpec] = []

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> Any:
        return self.name, spec, threads

    def release(self, spec: PolicySpec) -> None:
        self.released.append(spec)

    def close(self) -> None:
        self.closed += 1


def test_a_spec_goes_to_its_kind_and_nothing_else_is_made() -> None:
    made: list[Opener] = []

    def maker(name: str) -> Any:
        return lambda: made.append(Opener(name)) or made[-1]

    engines = EnginesByKind({"transformers": maker("local"), "openai": maker("served")})
    assert engines.open(SERVED) == ("served", SERVED, None)
    assert engines.open(SERVED, threads=1) == ("served", SERVED, 1)
    assert [each.name for each in made] == ["served"]
    assert engines.open(LOCAL) == ("local", LOCAL, None)
    engines.close()
    engines.close()
    assert [each.closed for each in made] == [1, 1]


def test_a_spec_is_given_back_to_its_kind_and_one_that_nobody_opened_is_nothing() -> None:
    opener = Opener("local")
    engines = EnginesByKind({"transformers": lambda: opener, "openai": lambda: pytest.fail("nobody opened it")})
    engines.open(LOCAL)
    engines.release(LOCAL)
    engines.release(SERVED)
    assert opener.released == [LOCAL]


def test_a_kind_without_engine_is_refused() -> None:
    with pytest.raises(UsageError, match="engine 'python' has no model"):
        EnginesByKind({}).open(PolicySpec(task="toy", engine="python", prompt_version="1", function="a:b"))


def test_a_policy_on_a_server_needs_no_torch() -> None:
    script = """
import sys
from bakeoff.adapters.remote.engine import OpenAIEngines
from bakeoff.adapters.remote.connection import Endpoint
from bakeoff.inference.model import PolicySpec, RemoteModel
from bakeoff.inference.run_policy import run_policy
spec = PolicySpec(task="toy", engine="openai", prompt_version="1", remote=RemoteModel(name="m", endpoint="house"))
OpenAIEngines(lambda name: Endpoint(name=name, base_url="http://h")).open(spec)
print(sorted({"torch", "transformers", "mlflow", "openai"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
