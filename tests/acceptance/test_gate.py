"""`bakeoff gate` as a person types it: exit codes, slices, --fresh, JSON, and the tag in a real MLflow."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rows
import stages
import strict_shop
from bakeoff import lifecycle, plugins
from bakeoff.adapters.postgres import Database
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.registry.bundle import folder_digest
from bakeoff.registry.model import DIGEST_TAG

GATE = """
name = "strict"
[metrics.right]
kind = "non_inferior"
margin = 0.05
rows = "neutral"
fallback = "effort"
[metrics.effort]
kind = "non_inferior"
margin = 0.1
maximum_bias = 0.2
[metrics.known_drink]
kind = "absolute"
minimum = 1.0
"""


@pytest.fixture(autouse=True)
def shop(deps: Deps, clock: stages.Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> strict_shop.Shop:
    """An incumbent that offers tea to everybody, and a dataset of 300 shoppers."""
    monkeypatch.setattr(plugins, "load_task", lambda _: strict_shop.Strict())
    (tmp_path / "gate.toml").write_text(GATE)
    stages.open_shop(deps)
    clock.now = rows.at(3)
    return strict_shop.open_shop(deps)


def with_model(deps: Deps, tmp_path: Path, function: str) -> PolicyVersion:
    """A policy version with a model in the registry, as training makes it."""
    folder = tmp_path / function.replace(":", "_")
    folder.mkdir()
    (folder / "adapter_config.json").write_text(f'{{"of": "{function}"}}')
    run = deps.tracker.start_run(f"toy {tmp_path.name}", {}, {"task": "toy"})
    model = deps.models.register(f"toy {tmp_path.name}", run, folder, {DIGEST_TAG: folder_digest(folder)})
    spec = stages.PolicySpec(task="toy", engine="python", prompt_version="1", function=function, function_version="1")
    with deps.db.transaction() as conn:
        return policies.create_version(
            conn, stages.POLICY, spec, now=rows.at(3), mlflow_model_name=model.name, mlflow_model_version=model.version,
            mlflow_run_id=run,
        )  # fmt: skip


def test_pass_ends_with_0_and_tags_the_model_and_nothing_else_does(bakeoff: Any, deps: Deps, tmp_path: Path) -> None:
    good, bad = (with_model(deps, tmp_path, name) for name in ("toy:good", "strict_shop:bad_in_the_north"))

    def tags(version: PolicyVersion) -> Mapping[str, str]:
        return deps.models.tags(str(version.mlflow_model_name), str(version.mlflow_model_version))

    words = ("--gate", tmp_path / "gate.toml", "--slices", "4", "--json")
    passed = bakeoff("gate", good.name, *words).json
    assert (passed["verdict"], passed["attempt"], passed["warning"]) == ("PASS", 1, None)
    assert (passed["policy_version"], passed["against"]) == (good.name, "toy_policy/1")
    assert passed["subject"]["slices"] == "1,2,3,4"
    assert (tags(good)["stage"], tags(good)["gate_report"]) == ("candidate", passed["digest"])

    failed = bakeoff("gate", bad.name, *words, code=3).json
    assert (failed["verdict"], failed["tier"]["verdict"], failed["attempt"]) == ("FAIL", "FAIL", 2)
    assert "chance of up to 10%" in failed["warning"]
    assert "stage" not in tags(bad)
    with deps.db.transaction() as conn:
        status = {v.name: v.status for v in policies.versions(conn, stages.POLICY)}
    assert (status[good.name], status[bad.name]) == ("candidate", "registered")


def test_what_is_printed_is_enough_to_decide(bakeoff: Any, shop: strict_shop.Shop, tmp_path: Path) -> None:
    words = ("--gate", tmp_path / "gate.toml", "--slices", "4")
    said = bakeoff("gate", shop.version("good").name, *words).out
    assert "stricter tests: PASS, no harm in 2 segments, 6 stress requests answered without a new breach" in said
    assert "beside the incumbent: " in said
    assert "slices 1, 2, 3, 4 of 4, attempt 1" in said
    assert "bakeoff approve" in said
    said = bakeoff("gate", shop.ours("breaks_under_stress").name, *words, code=3).out
    assert "stress request 'no cups': unknown_drink broken by 3 of 3, the incumbent's nothing broken" in said
    assert "warning: these rows were judged 1 time before" in said
    assert "verdict: FAIL" in said
    assert "bakeoff approve" not in said


def test_inconclusive_ends_with_3_too_and_says_how_to_get_more(
    bakeoff: Any, shop: strict_shop.Shop, tmp_path: Path
) -> None:
    strict = GATE.replace("margin = 0.1", "margin = 0.0001")
    (tmp_path / "gate.toml").write_text(strict)
    said = bakeoff("gate", shop.version("equal").name, "--gate", tmp_path / "gate.toml", code=3)
    assert "verdict: INCONCLUSIVE" in said.out
    assert "slice 1 of 4" in said.out
    assert "--slices N" in said.out


def test_fresh_slices_one_after_the_other_until_none_is_left(
    bakeoff: Any, deps: Deps, shop: strict_shop.Shop, tmp_path: Path
) -> None:
    good = shop.version("good").name

    def read(*more: str) -> tuple[str, int]:
        body = bakeoff("gate", good, "--gate", tmp_path / "gate.toml", "--json", *more).json
        return body["subject"]["slices"], body["attempt"]

    assert read() == ("1", 1)
    assert read() == ("1", 1), "the same again"
    assert [read("--fresh") for _ in range(3)] == [("2", 1), ("3", 1), ("4", 1)]
    refused = bakeoff("gate", good, "--gate", tmp_path / "gate.toml", "--fresh", code=3)
    assert "all 4 slices have been read" in refused.err
    assert "bakeoff dataset build" in refused.err
    with deps.db.transaction() as conn:
        replayed = conn.execute(
            "select selection -> 'slices' as slices, count(*) as n from replays group by 1 order by 1"
        ).fetchall()
    assert [(row["slices"], row["n"]) for row in replayed] == [([n], 2) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("many", ["0", "5", "many"])
def test_a_number_of_slices_that_there_is_not(bakeoff: Any, shop: strict_shop.Shop, many: str) -> None:
    assert "--slices" in bakeoff("gate", shop.version("good").name, "--slices", many, code=2).err


def test_two_gates_at_once_are_two_attempts(deps: Deps, shop: strict_shop.Shop, dsn: str) -> None:
    """One waits for the other, in the database: both as attempt 1 would hide a look."""
    versions = [shop.version("good"), shop.ours("bad_in_the_north")]
    for version in (*versions, shop.version("stubborn")):
        lifecycle.replay(deps, shop.task, version, shop.dataset)
    found: list[int | None] = []

    def judge(version: PolicyVersion) -> None:
        mine = shop._replace(deps=replace(deps, db=Database(dsn, "exp")))
        found.append(mine.gate(version).attempt)
        mine.deps.db.close()  # type: ignore[attr-defined]

    threads = [threading.Thread(target=judge, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == [1, 2]
