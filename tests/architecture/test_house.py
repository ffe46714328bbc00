"""The house as docs/architecture.md draws it: who imports whom, who reads which table, and the size of things."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
MODULES = sorted(SRC.rglob("*.py"))
QUERIES = sorted(path for path in SRC.rglob("*.sql") if path.parent.name != "migrations")

TABLES = {
    "access": {"api_keys"},
    "datasets": {"datasets"},
    "events": {"events", "requests", "imports"},
    "experiments": {
        "experiments",
        "variants",
        "phases",
        "exposures",
        "monitor_snapshots",
        "forced_variants",
        "waivers",
        "outcome_folds",
        "need_outcomes",
        "unit_baselines",
    },
    "gates": {"gate_reports", "open_slices"},
    "policies": {"policies", "policy_versions", "approvals", "rejections"},
    "promotion": {"promotions", "replicas"},
    "replay": {"replays", "offline_replay_results", "replay_answers"},
    "training": {"tuned_hyperparameters"},
}
"""Room -> the tables that it alone writes and reads."""
GUARDS_ONLY = {"policy_status_moves"}
"""Read by triggers, by no room."""
READERS_OF_THE_ENVIRONMENT = {
    "bakeoff/settings.py",
    "bakeoff/cli/demo.py",  # tells the libraries below not to look for a model hub
    "bakeoff/cli/serve.py",  # sets what prometheus_client reads from nowhere else
    "bakeoff/cli/ui.py",  # hands it on to the process that it starts
    "bakeoff/adapters/tracking.py",  # sets what MLflow reads from nowhere else
    "bakeoff/adapters/generation/__init__.py",  # sets what OpenMP reads when torch is imported
    "bakeoff/training/worker.py",  # asks whether torchrun started several processes
}
LONGEST_FILE, LONGEST_FUNCTION = 500, 70


def relative(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in MODULES:
        yield relative(path), ast.parse(path.read_text(encoding="utf-8"))


def statements(text: str) -> list[str]:
    """Without comments, lower case."""
    return [part.lower() for part in re.sub(r"--.*", "", text).split(";")]


def test_the_import_contracts_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run(
        [str(tool), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 broken" in ran.stdout


def test_every_table_belongs_to_one_room() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((SRC / "bakeoff/migrations").glob("*.sql")))
    made = set(re.findall(r"^create table (\w+)", text, re.MULTILINE))
    owned = [table for tables in TABLES.values() for table in tables]
    assert sorted(made - GUARDS_ONLY) == sorted(owned)


@pytest.mark.parametrize("path", QUERIES, ids=relative)
def test_a_room_names_only_its_own_tables(path: Path) -> None:
    """After from, join, into, update, and in lists: any word of a statement that is a table's name."""
    if "planner" in path.relative_to(SRC).parts[:1]:
        pytest.skip("the planner's tables are in a schema of its own")
    others = {table for room, tables in TABLES.items() if room != path.relative_to(SRC).parts[1] for table in tables}
    for statement in statements(path.read_text(encoding="utf-8")):
        named = set(re.findall(r"(?:from|join|into|update|only)\s+(?:exp\.)?(\w+)", statement))
        assert not named & others, statement


def test_the_table_scan_sees_a_foreign_table() -> None:
    assert any("phases" in part for part in statements("select 1 from phases -- policies\n; select 2"))
    assert not any("policies" in part for part in statements("select 1 from phases -- policies\n; select 2"))


@pytest.mark.parametrize("path", QUERIES, ids=relative)
def test_a_query_has_no_clock_of_its_own(path: Path) -> None:
    """Time is an argument: a replay of the story must give the same rows."""
    text = " ".join(statements(path.read_text(encoding="utf-8")))
    assert not re.search(r"\bnow\s*\(|current_timestamp|current_date|clock_timestamp|\brandom\s*\(", text)


def test_no_import_is_relative() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert found == []


def test_only_settings_read_the_environment() -> None:
    readers = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv", "environb"))
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and "environ" in {a.name for a in node.names})
    }  # fmt: skip
    assert readers == READERS_OF_THE_ENVIRONMENT


def test_files_and_functions_fit_on_a_page_or_few() -> None:
    long_files = [
        f"{relative(path)}: {lines} lines"
        for path in MODULES
        if (lines := path.read_text(encoding="utf-8").count("\n")) >= LONGEST_FILE
    ]
    long_functions = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 >= LONGEST_FUNCTION
    ]
    assert long_files == []
    assert long_functions == []


def test_no_file_is_called_utils() -> None:
    assert [relative(path) for path in MODULES if re.search("util|helper|common|misc", path.stem)] == []


def test_hashes_that_differ_between_processes_are_not_used() -> None:
    """``hash()`` of a text is salted in every process."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hash"
    ]
    assert found == []
