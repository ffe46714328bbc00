"""What a report is made of, by hand: a task of menus whose dishes have nasty names, judged on as many rows as asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bakeoff.datasets.model import Dataset
from bakeoff.experiments.history import Past
from bakeoff.experiments.plan import History
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Absolute, Gate, NonInferior, PairedRow
from bakeoff.gates.store import StoredReport
from bakeoff.inference.model import PolicySpec, Price
from bakeoff.policies.model import PolicyVersion, policy_version_id
from bakeoff.replay.model import Certificate, ReplayReport, ReplayRow
from bakeoff.report import scores
from bakeoff.report.model import Evidence, Pair, Side, Training
from bakeoff.task import Answer, Example, Metric, Request, TaskBase, Violation

NASTY = "<script>alert(1)</script>"
MADE = datetime(2025, 3, 1, 12, tzinfo=UTC)
RULES = Gate(
    name="menus",
    rules=(
        NonInferior(metric="liking", margin=0.1, rows="neutral"),
        NonInferior(metric="effort", margin=5.0),
        Absolute(metric="safe", column="safe", minimum=1.0),
    ),
    weights={"liking": 1.0},
)


class Menus(TaskBase):
    name = "menus"
    metrics = (
        Metric(name="liking", unit="share", direction="higher", low=0.0, high=1.0, meaning=f"liked {NASTY}"),
        Metric(name="effort", unit="minutes", direction="lower", low=0.0, high=None, meaning="time in the kitchen"),
        Metric(name="safe", unit="share", direction="higher", low=0.0, high=1.0, meaning="nothing that harms"),
    )

    def tell(self, request: Request) -> Sequence[tuple[str, str]]:
        return [("Who eats", str(request["people"])), ("Asked for", NASTY)]

    def tell_answer(self, request: Request, answer: Answer) -> Sequence[str]:
        return [f"Monday: {dish}" for dish in answer.get("dishes", ())]

    def kept(self, example: Example) -> Answer:
        return {"dishes": example.target["dishes"]}


def version(number: int, **change: Any) -> PolicyVersion:
    spec = PolicySpec(
        task="menus", engine="python", prompt_version="1", function="menus:cook", function_version=str(number),
        price=Price(per_million_prompt_tokens=1.0),
    )  # fmt: skip
    made = PolicyVersion(
        policy_version_id=policy_version_id("menus_policy", spec.fingerprint), policy_id="menus_policy", version=number,
        spec=spec, fingerprint=spec.fingerprint, status="candidate",
    )  # fmt: skip
    return replace(made, **change)


Score = Callable[[int], float]


def evidence(
    rows: int = 120,
    *,
    ours: Score = lambda n: 0.7 + 0.02 * (n % 5),
    theirs: Score = lambda n: 0.5 + 0.02 * (n % 3),
    safe: Score = lambda n: 1.0,
    training: Training | None = None,
    gate: Gate | None = RULES,
) -> Evidence:
    """`ours`, `theirs`: how much row `n` is liked; two rows for each unit, every third one anchored."""
    pairs = tuple(_pair(gate, n, (ours(n), safe(n)), theirs(n)) for n in range(rows))
    sides = [_side(version(number), [getattr(pair, name) for pair in pairs]) for number, name in _SIDES.items()]
    subject = _subject(*sides)
    paired = [
        PairedRow(
            example_id=pair.example.example_id, unit_id=pair.example.unit_id, neutral=pair.neutral,
            candidate=_values(pair.candidate), incumbent=_values(pair.incumbent),
        )
        for pair in pairs
    ]  # fmt: skip
    report = judge(RULES, Menus.metrics, paired, subject=subject)
    return Evidence(
        task=Menus(),
        stored=StoredReport(
            report=report, policy_version_id=sides[0].version.policy_version_id,
            fingerprint=sides[0].version.fingerprint, attempt=1, created_at=MADE,
        ),
        gate=gate,
        candidate=sides[0],
        incumbent=sides[1],
        pairs=pairs,
        dataset=_dataset(rows),
        training=training,
        why_no_training="Nothing was trained.",
        past=_past(),
        provenance={"git_commit": "c0ffee"},
    )  # fmt: skip


_SIDES = {2: "candidate", 1: "incumbent"}


def _pair(gate: Gate | None, n: int, ours: tuple[float, float], theirs: float) -> Pair:
    example = Example(
        example_id=f"example-{n:04d}",
        unit_id=f"household-{n // 2:04d}",
        occurred_at=MADE - timedelta(days=20, hours=n),
        request={"people": 2 + n % 3},
        target={"dishes": [f"kept {n}", NASTY]},
    )
    rows = _row(example, n, ours[0], ours[1], "candidate"), _row(example, n, theirs, 1.0, "incumbent")
    return scores.pair(scores.metrics(Menus.metrics), gate, example, n % 3 != 0, *rows)


def _row(example: Example, n: int, liking: float, safe: float, side: str) -> ReplayRow:
    answer = {"dishes": [f"{side} {n}", NASTY]}
    effort = 30.0 + n * (3 if side == "candidate" else 5) % 7
    return ReplayRow(
        example_id=example.example_id, unit_id=example.unit_id, raw_answer=str(answer), parsed_answer=answer,
        answer=answer, metrics={"liking": liking, "effort": effort, "safe": safe},
        prompt_tokens=100, completion_tokens=20, latency_s=0.1 + n / 1000, cost=0.0001,
        violations=() if safe else (Violation(rule="allergy", where="mon", detail=NASTY),),
    )  # fmt: skip


def _values(row: ReplayRow) -> dict[str, float | None]:
    return {**row.metrics, "latency_s": row.latency_s, "cost": row.cost}


def _side(made: PolicyVersion, rows: Sequence[ReplayRow]) -> Side:
    report = ReplayReport(
        replay_id="r", policy_version_id=made.policy_version_id, fingerprint=made.fingerprint,
        dataset_digest="sha256:d", selection={}, engine={"dtype": "float32"}, certificate=Certificate(rows=8, equal=8),
        aggregates={}, digest=f"sha256:replay{made.version}",
    )  # fmt: skip
    return Side(version=made, replay=report, is_intact=True)


def _subject(ours: Side, theirs: Side) -> Mapping[str, str]:
    named = {"candidate": ours, "incumbent": theirs}
    subject = {"dataset": "sha256:d"}
    for name, side in named.items():
        subject |= {
            name: side.version.fingerprint,
            f"{name}_version": side.version.policy_version_id,
            f"{name}_replay": side.replay.digest,
        }
    return subject


def _dataset(rows: int) -> Dataset:
    return Dataset(
        digest="sha256:d", task="menus", uri="/datasets/menus/2025-02-28", since=MADE - timedelta(days=30), until=MADE,
        rows=4 * rows, splits={"train": 3 * rows, "test": rows}, summary={"units": rows // 2, "title": NASTY},
    )  # fmt: skip


def _past() -> Past:
    history = History(metric="accepted", mean=0.6, sd=0.35, units=3000)
    return Past(since=MADE - timedelta(days=28), until=MADE, needs=9000, units=3000, histories=(history,))
